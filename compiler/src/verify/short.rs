//! What a kernel loses that rounds factors of its products, as products of matrices take them.
//!
//! A nest says where it does: `contract round(bf16, %p), %v`. A factor that is rounded to nearest is off by at most `u`
//! times itself, `u` being half the distance of neighbours at 1, or `u` times the least normal number `t` where it is
//! smaller than that. So a sum of such products is off by at most `u Σ (|p| + t) · |v|`.
//! Products of f32 in a block are those of two parts of each factor but for the smallest, as back ends take them
//! (`codegen/ptx/split.rs`): off by `5 · 2^-22` of themselves, for factors that are not so small that a part is 0.
//! The nest is run with each of these sums off by as much, one after the other, and by what its outputs move then they may
//! be off, those of all sums added. Where an output takes such a sum as it is, or times a number, that is the bound; where
//! it depends on several points of one, they are off all upwards, all downwards, and as drawn, of which the largest counts.
//!
//! ```text
//! %9 = contract %p', %v into %o   ->   %r = contract %p', %v into %o;  %t = contract |%p| + t, |%v| into 0;  %9 = %r ± u * %t
//! ```

use std::collections::HashMap;

use crate::codegen::math::narrow::Narrow;
use crate::ir::array::Array;
use crate::ir::cascade::Cascade;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::factors::Factors;
use crate::ir::interp::nest::{Manner, run};
use crate::ir::interp::{Call, NestError};
use crate::ir::nest::{Block, Nest, Op, Place, Scalar, Stmt, TileType, ValueId};
use attnc_dsl::ast::{CompareOp, DType};
use indexmap::IndexMap;

use super::compare::real;

/// What products of short floats may cost in one call.
#[derive(Debug, Clone, Default)]
pub struct Short {
    /// By output and point: how far off it may be.
    costs: IndexMap<String, Vec<f64>>,
}

/// Which way a sum is off.
#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
    /// Up at some points and down at others, by this number.
    Drawn(i64),
}

const WAYS: [Way; 4] = [Way::Up, Way::Down, Way::Drawn(1), Way::Drawn(2)];

impl Short {
    /// What rounding of factors may cost a nest of this cascade in a call; nothing if it rounds none.
    ///
    /// # Errors
    /// The nest refuses the call, or does something that it must not.
    pub fn of(nest: &Nest, cascade: &Cascade, call: &Call) -> Result<Short, NestError> {
        let sums = sums(nest);
        let mut costs: IndexMap<String, Vec<f64>> = IndexMap::new();
        if sums.is_empty() {
            return Ok(Short { costs });
        }
        let run = |nest: &Nest| run(nest, cascade, call, Manner::default());
        let exact = run(nest)?;
        for sum in sums {
            let runs =
                WAYS.map(|way| run(&off(nest, sum, way))).into_iter().collect::<Result<Vec<_>, _>>()?;
            for (name, exact) in &exact {
                let moves = |at| runs.iter().map(|it| moved(exact, &it[name], at)).fold(0.0, f64::max);
                let costs = costs.entry(name.clone()).or_insert_with(|| vec![0.0; exact.data.len()]);
                costs.iter_mut().enumerate().for_each(|(at, cost)| *cost += moves(at));
            }
        }
        Ok(Short { costs })
    }

    /// How far off each point of an output may be; none if nothing is rounded.
    pub(super) fn costs(&self, output: &str) -> &[f64] {
        self.costs.get(output).map_or(&[], Vec::as_slice)
    }
}

/// By how much a point has moved; by nothing where there is no number, so that nothing is allowed for that.
fn moved(from: &Array, to: &Array, at: usize) -> f64 {
    let by = (real(to, at) - real(from, at)).abs();
    if by.is_finite() { by } else { 0.0 }
}

/// A sum of products whose factors are rounded.
#[derive(Debug, Clone, Copy)]
struct Sum {
    value: ValueId,
    /// The left factor before it is rounded, and the right one.
    factors: (ValueId, ValueId),
    there: Option<ValueId>,
    rounding: Rounding,
}

/// By how much a product is off.
#[derive(Debug, Clone, Copy)]
struct Rounding {
    /// Relative to what it is of factors that are so much larger: the left one, and the right one.
    unit: f64,
    least: (f64, f64),
}

/// Of factors that are taken in parts. Parts are cut off at 2^-136 or a rounding before.
const SPLIT: Rounding = Rounding { unit: 5.0 / (1u64 << 22) as f64, least: (SMALL, SMALL) };
/// 2^-114
const SMALL: f64 = f32::MIN_POSITIVE as f64 * 4096.0;

/// Those of factors that are rounded: that blocks of threads take, or that an earlier stage has stored so.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn sums(nest: &Nest) -> Vec<Sum> {
    let (mut rounded, mut sums) = (HashMap::new(), Vec::new());
    for stage in &nest.stages {
        let factors = Factors::of(&nest.prologue, &stage.body);
        let stored = |it| {
            let Some(Op::Load { buffer, .. }) = factors.definition(it) else { return None };
            let buffer = &nest.buffers[*buffer];
            let own = matches!(buffer.place, Place::Workspace(_)).then_some(buffer.dtype)?;
            // What is off by a part of itself is so by a little more of what it is rounded to.
            short(own).map(|it| Rounding { unit: it.unit / (1.0 - it.unit), least: (0.0, it.least.0) })
        };
        let in_block = stage.team.is_some();
        visit(&stage.body, &mut |value, op| match *op {
            Op::Round(dtype, of) => {
                _ = short(dtype).map(|rounding| rounded.insert(value, (of, rounding)));
            }
            Op::Contract { a, b, there, .. } if in_block && factors.is_split(nest, b) => {
                sums.push(Sum { value, factors: (a, b), there, rounding: SPLIT });
            }
            Op::Contract { a, b, there, .. } => {
                let left = rounded.get(&a).filter(|_| in_block);
                for (a, b) in [(a, b), (b, a)] {
                    sums.extend(stored(b).map(|rounding| Sum { value, factors: (a, b), there, rounding }));
                }
                if let Some(&(a, rounding)) = left {
                    sums.push(Sum { value, factors: (a, b), there, rounding });
                }
            }
            _ => {}
        });
    }
    sums
}

fn visit(block: &Block, see: &mut impl FnMut(ValueId, &Op)) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(value, op) => see(*value, op),
            Stmt::Loop(it) => visit(&it.body, see),
            Stmt::If { then, otherwise, .. } => [then, otherwise].iter().for_each(|it| visit(it, see)),
            Stmt::Store { .. } => {}
        }
    }
}

/// What rounding of the left factor to a dtype costs whose numbers products take as factors.
fn short(dtype: DType) -> Option<Rounding> {
    let format = matches!(dtype, DType::BF16 | DType::F16).then(|| Narrow::of(dtype)).flatten()?;
    Some(Rounding { unit: format.unit_roundoff(), least: (format.least_normal(), 0.0) })
}

/// The nest with one sum off.
fn off(nest: &Nest, sum: Sum, way: Way) -> Nest {
    let mut own = nest.clone();
    let mut stages = std::mem::take(&mut own.stages);
    stages.iter_mut().for_each(|it| replace(&mut own, &mut it.body, sum, way));
    own.stages = stages;
    own
}

fn replace(nest: &mut Nest, block: &mut Block, sum: Sum, way: Way) {
    for stmt in std::mem::take(&mut block.stmts) {
        match stmt {
            Stmt::Let(value, op) if value == sum.value => block.stmts.extend(moved_sum(nest, sum, op, way)),
            Stmt::Loop(mut it) => {
                replace(nest, &mut it.body, sum, way);
                block.stmts.push(Stmt::Loop(it));
            }
            Stmt::If { condition, mut then, mut otherwise } => {
                [&mut then, &mut otherwise].into_iter().for_each(|it| replace(nest, it, sum, way));
                block.stmts.push(Stmt::If { condition, then, otherwise });
            }
            Stmt::Let(..) | Stmt::Store { .. } => block.stmts.push(stmt),
        }
    }
}

/// What computes a sum that is off.
fn moved_sum(nest: &mut Nest, sum: Sum, op: Op, way: Way) -> Vec<Stmt> {
    let mut code = Code { nest, stmts: Vec::new() };
    let ty = code.nest.values[sum.value].clone();
    let right = code.op(op, ty.clone());
    let Sum { factors: (a, b), rounding: Rounding { unit, least }, .. } = sum;
    let [a, b] = [(a, least.0), (b, least.1)].map(|(it, least)| {
        let ty = code.nest.values[it].clone();
        let size = code.op(Op::Unary(UnaryOp::Abs, it), ty.clone());
        let least = code.op(Op::Real(least), ty.clone());
        code.op(Op::Binary(BinaryOp::Add, size, least), ty)
    });
    let zero = code.op(Op::Real(0.0), ty.clone());
    let total = code.op(Op::Contract { a, b, there: sum.there, into: zero }, ty.clone());
    let [up, down] = [unit, -unit].map(|it| code.op(Op::Real(it), ty.clone()));
    let unit = match way {
        Way::Up => up,
        Way::Down => down,
        Way::Drawn(number) => {
            let is_up = code.drawn(&ty, number);
            code.op(Op::Select(is_up, up, down), ty.clone())
        }
    };
    let off = code.op(Op::Binary(BinaryOp::Mul, total, unit), ty);
    code.stmts.push(Stmt::Let(sum.value, Op::Binary(BinaryOp::Add, right, off)));
    code.stmts
}

/// Statements that are added to a nest.
struct Code<'a> {
    nest: &'a mut Nest,
    stmts: Vec<Stmt>,
}

impl Code<'_> {
    fn op(&mut self, op: Op, ty: TileType) -> ValueId {
        let value = self.nest.values.push(ty);
        self.stmts.push(Stmt::Let(value, op));
        value
    }

    /// A bool for each point of a tile, which looks as if it were drawn.
    fn drawn(&mut self, ty: &TileType, number: i64) -> ValueId {
        let single = TileType { scalar: Scalar::I64, shape: Vec::new() };
        let all = TileType { scalar: Scalar::I64, shape: ty.shape.clone() };
        let mut place = self.op(Op::Int(number), single.clone());
        for (dim, prime) in ty.shape.iter().zip([31, 17]) {
            let line = TileType { scalar: Scalar::I64, shape: vec![*dim] };
            let iota = self.op(Op::Iota, line.clone());
            let factor = self.op(Op::Int(prime), single.clone());
            let part = self.op(Op::Binary(BinaryOp::Mul, iota, factor), line);
            place = self.op(Op::Binary(BinaryOp::Add, place, part), all.clone());
        }
        let [prime, two, zero] = [257, 2, 0].map(|it| self.op(Op::Int(it), single.clone()));
        let square = self.op(Op::Binary(BinaryOp::Mul, place, place), all.clone());
        let rest = self.op(Op::Binary(BinaryOp::Mod, square, prime), all.clone());
        let bit = self.op(Op::Binary(BinaryOp::Mod, rest, two), all.clone());
        self.op(Op::Compare(CompareOp::Eq, bit, zero), TileType { scalar: Scalar::Bool, shape: all.shape })
    }
}
