//! Operations on tiles to what they take, in slots: the time of one product of two vectors where nothing else is done.

use super::Scene;
use crate::codegen::Backend;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Nest, Op, Scalar, TileDim, TileType, ValueId, bytes_of};

/// What straight-line code needs of each kind of unit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// Slots of the units that compute.
    pub(super) compute: f64,
    /// Loads of a vector or of less.
    pub(super) loads: f64,
    /// Stores.
    pub(super) stores: f64,
    /// Operations on single numbers: indices, conditions.
    pub(super) single: f64,
    /// Operations on numbers that count as work.
    pub(super) flops: f64,
}

/// The seconds of a slot: as many vectors are multiplied and added in a second as the peak of the machine takes.
pub(super) fn slot(scene: &Scene<'_>) -> f64 {
    2.0 * f64::from(scene.machine.lanes.max(1)) / scene.machine.flops.one.max(1.0)
}

impl Need {
    pub(super) fn add(&mut self, other: Need) {
        self.compute += other.compute;
        self.loads += other.loads;
        self.stores += other.stores;
        self.single += other.single;
        self.flops += other.flops;
    }

    /// The slots that all of it takes, side by side.
    pub(super) fn slots(self, scene: &Scene<'_>) -> f64 {
        let vector = 4.0 * f64::from(scene.lanes.max(4));
        let near = scene.machine.levels[0].read().one.max(1.0);
        // Processors load one or two vectors in the time of two products, whatever a probe says that was disturbed.
        let load = (vector / near / slot(scene)).clamp(0.5, 2.0);
        let instructions = (self.compute + self.loads + self.stores + self.single) / 3.0;
        self.compute.max(self.loads * load).max(2.0 * self.stores).max(instructions)
    }
}

/// What an operation needs that defines a value.
pub(super) fn of(scene: &Scene<'_>, value: ValueId, op: &Op) -> Need {
    let nest = scene.nest;
    let ty = &nest.values[value];
    let price = Price { scene, ty };
    match op {
        Op::Int(_)
        | Op::Real(_)
        | Op::Bool(_)
        | Op::Word(_)
        | Op::Address(_)
        | Op::WorkspaceAddress
        | Op::WorkspaceBytes
        | Op::Threads
        | Op::Iota => Need::default(),
        Op::Unary(op, _) => price.map(price.unary(*op)),
        Op::Power(_) => price.map(price.unary(UnaryOp::Exp2)),
        Op::Binary(op, ..) => price.map(price.binary(*op)),
        Op::Compare(..) | Op::Select(..) | Op::Convert(_) => price.quiet(1.0),
        Op::Round(..) => price.quiet(3.0),
        Op::Load { buffer, guard, contiguous, .. } => {
            price.access(bytes_of(nest.buffers[*buffer].dtype), *contiguous, guard.is_some())
        }
        Op::Contract { a, b, .. } => price.contract(&nest.values[*a], &nest.values[*b]),
        Op::Dot { a, b, .. } => price.contract(&nest.values[*a], &nest.values[*b]),
        Op::Pack(a) => price.reduce(&nest.values[*a]),
        Op::Reduce(_, a) => price.reduce(&nest.values[*a]),
    }
}

/// What a store needs.
pub(super) fn of_store(scene: &Scene<'_>, index: &[ValueId], value: ValueId, contiguous: bool) -> Need {
    let nest = scene.nest;
    let ty = &nest.values[value];
    let last = index.iter().rev().find_map(|it| nest.values[*it].shape.last()).copied();
    let price = Price { scene, ty };
    let mut need = price.access(4, contiguous, false);
    (need.stores, need.loads) = (need.loads, 0.0);
    // What lies along another rank is turned in registers, pair by pair.
    let turned = ty.shape.len() > 1 && last.is_some() && last != ty.shape.last().copied();
    if turned {
        need.compute += 2.0 * price.vectors(ty) * f64::from(scene.lanes.max(2).ilog2());
    }
    need
}

/// Vectors that a tile takes, for what registers hold.
pub(super) fn vectors(nest: &Nest, value: ValueId, lanes: u32) -> f64 {
    let ty = &nest.values[value];
    rows(&ty.shape, lanes_of(ty.scalar, lanes))
}

fn lanes_of(scalar: Scalar, lanes: u32) -> u32 {
    match scalar {
        Scalar::F32 | Scalar::I32 | Scalar::Bool => lanes,
        Scalar::F64 | Scalar::I64 => (lanes / 2).max(1),
    }
}

/// Vectors of that many elements for the rows of a shape.
fn rows(shape: &[TileDim], lanes: u32) -> f64 {
    let Some((last, others)) = shape.split_last() else { return 1.0 };
    let rows: f64 = others.iter().map(|it| f64::from(it.extent)).product();
    rows * f64::from(last.extent.div_ceil(lanes.max(1)))
}

struct Price<'a> {
    scene: &'a Scene<'a>,
    ty: &'a TileType,
}

impl Price<'_> {
    fn vectors(&self, ty: &TileType) -> f64 {
        rows(&ty.shape, lanes_of(ty.scalar, self.scene.lanes))
    }

    /// The operation, which counts as work where it is on reals, takes so many slots for a vector.
    fn map(&self, slots: f64) -> Need {
        let real = matches!(self.ty.scalar, Scalar::F32 | Scalar::F64);
        let flops = if real { self.ty.points() as f64 } else { 0.0 };
        Need { flops, ..self.quiet(slots) }
    }

    fn quiet(&self, slots: f64) -> Need {
        match self.ty.shape.is_empty() {
            true => Need { single: slots, ..Need::default() },
            false => Need { compute: slots * self.vectors(self.ty), ..Need::default() },
        }
    }

    fn unary(&self, op: UnaryOp) -> f64 {
        let lanes = f64::from(lanes_of(self.ty.scalar, self.scene.lanes));
        let exp = lanes / self.scene.machine.exp_by(self.scene.backend) / slot(self.scene);
        match op {
            UnaryOp::Neg
            | UnaryOp::Not
            | UnaryOp::ToReal
            | UnaryOp::Abs
            | UnaryOp::Relu
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc
            | UnaryOp::IsNan
            | UnaryOp::IsInf => 1.0,
            UnaryOp::Sign | UnaryOp::Ilog2 => 3.0,
            UnaryOp::Sqrt | UnaryOp::Rsqrt => 16.0,
            UnaryOp::Exp | UnaryOp::Exp2 => exp,
            UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log1p
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Sigmoid
            | UnaryOp::Silu => 1.5 * exp + 8.0,
            UnaryOp::Tanh | UnaryOp::Softplus | UnaryOp::Erf | UnaryOp::Gelu => 2.0 * exp + 8.0,
        }
    }

    fn binary(&self, op: BinaryOp) -> f64 {
        match op {
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Min
            | BinaryOp::Max
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => 1.0,
            BinaryOp::Div => 16.0,
            BinaryOp::FloorDiv | BinaryOp::Mod => 20.0,
            BinaryOp::Pow => 80.0,
        }
    }

    /// Elements of so many bytes that lie next to each other, or one by one.
    fn access(&self, bytes: u32, contiguous: bool, guarded: bool) -> Need {
        let (vectors, points) = (self.vectors(self.ty), self.ty.points() as f64);
        let masks = if guarded && !self.ty.shape.is_empty() { vectors } else { 0.0 };
        let widening = if bytes < 4 { vectors } else { 0.0 };
        match contiguous || self.ty.shape.is_empty() {
            true => Need { loads: vectors, compute: masks + widening, ..Need::default() },
            // A few feed broadcasts; many are put together.
            false => {
                let together =
                    if self.ty.shape.last().is_some_and(|it| it.extent > 8) { points } else { 0.0 };
                Need { loads: points, compute: masks + widening + together, ..Need::default() }
            }
        }
    }

    /// A product and a sum for each point of both factors.
    fn contract(&self, a: &TileType, b: &TileType) -> Need {
        let mut all = self.ty.shape.clone();
        let lacking: Vec<TileDim> =
            a.shape.iter().chain(&b.shape).filter(|it| !self.ty.shape.contains(it)).copied().collect();
        for dim in lacking {
            if !all.contains(&dim) {
                // Sums go along vectors only if nothing else does.
                all.insert(0, dim);
            }
        }
        let points: f64 = all.iter().map(|it| f64::from(it.extent)).product();
        let vectors = if self.ty.shape.is_empty() {
            points / f64::from(self.scene.lanes) + 2.0 * f64::from(self.scene.lanes.max(2).ilog2())
        } else {
            rows(&all, lanes_of(self.ty.scalar, self.scene.lanes))
        };
        let fused = if self.scene.backend == Backend::Llvm { 1.0 } else { 2.0 };
        Need { compute: fused * vectors, flops: 2.0 * points, ..Need::default() }
    }

    fn reduce(&self, a: &TileType) -> Need {
        let across = a.shape.last().is_some_and(|it| !self.ty.shape.contains(it));
        let lanes = lanes_of(a.scalar, self.scene.lanes);
        let steps =
            if across { 2.0 * f64::from(lanes.max(2).ilog2()) * self.ty.points() as f64 } else { 0.0 };
        Need { compute: self.vectors(a) + steps, flops: a.points() as f64, ..Need::default() }
    }
}
