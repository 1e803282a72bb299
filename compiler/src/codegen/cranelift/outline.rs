//! Loops of a nest that become calls of [`Products`].

use attnc_dsl::ast::DType;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    InstBuilder, InstructionData, Opcode, StackSlot, StackSlotData, StackSlotKind, Value, ValueDef,
};
use indexmap::{IndexMap, IndexSet};

use super::address::Line;
use super::block::Emitter;
use super::memory::DATA;
use super::products::{Distance, Factor, Kind, Products, Read, Spot};
use super::tile::{Form, LANES, Tile};
use crate::codegen::points::{lacking, positions};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{BufferId, Carried, Loop, Op, Scalar, Stmt, TileDim, TileType, ValueId};

/// The operations of a loop's body.
type Body<'a> = IndexMap<ValueId, &'a Op>;

/// How a register is read, and the positions of what it holds.
type Wanted = (Kind, Vec<usize>);

/// A factor that is read in every step.
#[derive(Clone, Copy)]
struct Side<'a> {
    ty: &'a TileType,
    buffer: BufferId,
    index: &'a [ValueId],
    contiguous: bool,
}

/// What is handed to the function.
#[derive(Default)]
struct Handed {
    bases: IndexSet<Value>,
    strides: IndexSet<Value>,
}

impl<'a> Emitter<'a, '_, '_> {
    /// Calls a function that does what the loop does, if the loop only adds products of what it reads.
    pub(super) fn outlined(&mut self, it: &'a Loop) -> bool {
        let &[carried] = &it.carried[..] else { return false };
        let Some(body) = self.body_of(it) else { return false };
        let Some((sides, shape)) = self.sides(&body, carried) else { return false };
        let ty = &self.nest.values[carried.result];
        let form = Form::of(ty);
        let Some(kinds) =
            sides.map(|it| self.kinds(it, &shape, form)).into_iter().collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let from = self.scalar(it.from);
        self.define_scalar(it.index, from);
        let mut handed = Handed::default();
        let mut factors = Vec::new();
        for (side, (reads, _)) in sides.iter().zip(&kinds) {
            let Some(factor) = self.factor(it, &body, *side, reads, &mut handed) else { return false };
            factors.push(factor);
        }
        let Ok(factors) = <[Factor; 2]>::try_from(factors) else { unreachable!("a product has two factors") };
        let init = self.spread(carried.init, ty, form);
        let fresh = init.iter().all(|it| self.is_zero(*it));
        let products = Products {
            register: form.register(ty.scalar),
            sums: init.len(),
            fresh,
            factors,
            products: kinds[0].1.iter().zip(&kinds[1].1).map(|(a, b)| [*a, *b]).collect(),
            step: it.step,
            bases: handed.bases.len(),
            strides: handed.strides.len(),
        };
        let registers = self.call_products(it, products, &init, handed);
        self.define(carried.result, Tile { ty, form, registers });
        true
    }

    /// The operations, if there is nothing else.
    fn body_of(&self, it: &'a Loop) -> Option<Body<'a>> {
        let ops = it.body.stmts.iter().map(|stmt| match stmt {
            Stmt::Let(value, op) => Some((*value, op)),
            Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        ops.collect()
    }

    /// The factors of the products that are added, and the points at which they are.
    fn sides(&self, body: &Body<'a>, carried: Carried) -> Option<([Side<'a>; 2], Vec<TileDim>)> {
        let &Op::Contract { a, b, there: None, into } = *body.get(&carried.next)? else { return None };
        let ty = &self.nest.values[carried.next];
        let side = |value: ValueId| {
            let ty = &self.nest.values[value];
            let Op::Load { buffer, index, guard: None, contiguous } = *body.get(&value)? else { return None };
            Some(Side { ty, buffer: *buffer, index, contiguous: *contiguous })
        };
        let sides = [side(a)?, side(b)?];
        let summed = lacking(&ty.shape, sides.iter().flat_map(|it| &it.ty.shape));
        // Lanes along a rank that is summed are added up in the end, which is not for here.
        let across = sides.iter().all(|it| it.ty.shape.last().is_some_and(|last| summed.contains(last)));
        let computed = |it: &Side<'_>| {
            let stored = Scalar::of(self.nest.buffers[it.buffer].dtype);
            it.ty.scalar == ty.scalar && stored == ty.scalar
        };
        let real = matches!(ty.scalar, Scalar::F64 | Scalar::F32);
        let fits = into == carried.current && real && !across && sides.iter().all(computed);
        fits.then(|| (sides, [&summed[..], &ty.shape].concat()))
    }

    /// What is read of a factor, by positions, and which of these each point needs.
    fn kinds(&self, side: Side<'_>, shape: &[TileDim], form: Form) -> Option<(Vec<Wanted>, Vec<usize>)> {
        let dtype = self.nest.buffers[side.buffer].dtype;
        let mut reads: IndexSet<Wanted> = IndexSet::new();
        let mut uses = Vec::new();
        for at in positions(&side.ty.shape, shape).chunks(form.lanes()) {
            let first = at[0];
            let is_run = || {
                let fits =
                    side.ty.shape.last().is_some_and(|last| (last.extent as usize).is_multiple_of(LANES));
                fits && side.contiguous && at.iter().enumerate().all(|(lane, it)| *it == first + lane)
            };
            let wanted = match form {
                Form::Elements if matches!(dtype, DType::F64 | DType::F32) => (Kind::Element, vec![first]),
                Form::Elements => return None,
                Form::Vectors if at.iter().all(|it| *it == first) => (Kind::Splat, vec![first]),
                Form::Vectors if is_run() => (Kind::Vector, vec![first]),
                Form::Vectors => (Kind::Apart, at.to_vec()),
            };
            uses.push(reads.insert_full(wanted).0);
        }
        Some((reads.into_iter().collect(), uses))
    }

    /// A factor, with what has to be handed in to read it.
    fn factor(
        &mut self,
        it: &'a Loop,
        body: &Body<'a>,
        side: Side<'a>,
        reads: &[Wanted],
        handed: &mut Handed,
    ) -> Option<Factor> {
        let slopes: Vec<i64> =
            side.index.iter().map(|value| self.slope(it, body, *value)).collect::<Option<_>>()?;
        side.index.iter().for_each(|value| self.at_first(body, *value));
        let scales = self.scales(side.buffer);
        let lines = self.lines(side.buffer, side.index, &scales, &side.ty.shape, 1);
        let mut spot = |at: &usize| {
            let Line { base, ref strides, offset } = lines[*at];
            let base = handed.bases.insert_full(base).0;
            let strides =
                strides.iter().map(|&(it, times)| (handed.strides.insert_full(it).0, times)).collect();
            // Room for the distance of a few steps.
            let offset = i32::try_from(offset).ok().filter(|it| it.unsigned_abs() < 1 << 28)?;
            Some(Spot { base, strides, offset })
        };
        let reads = reads.iter().map(|(kind, at)| {
            let spots = at.iter().map(&mut spot).collect::<Option<_>>()?;
            Some(Read { kind: *kind, spots })
        });
        let reads = reads.collect::<Option<_>>()?;
        let ahead = self.ahead(it, &slopes, &scales, handed)?;
        Some(Factor { dtype: self.nest.buffers[side.buffer].dtype, reads, ahead })
    }

    /// How far one step moves what is read.
    fn ahead(
        &mut self,
        it: &Loop,
        slopes: &[i64],
        scales: &[Value],
        handed: &mut Handed,
    ) -> Option<Distance> {
        let mut bytes = 0i64;
        let mut sum: Option<Value> = None;
        for (&slope, &scale) in slopes.iter().zip(scales).filter(|it| *it.0 != 0) {
            let slope = slope.checked_mul(it.step.into())?;
            if let Some(scale) = self.constant(scale) {
                bytes = bytes.checked_add(slope.checked_mul(scale)?)?;
                continue;
            }
            let distance = if slope == 1 { scale } else { self.builder.ins().imul_imm_s(scale, slope) };
            sum = Some(sum.map_or(distance, |sum| self.builder.ins().iadd(sum, distance)));
        }
        let Some(sum) = sum else {
            let bytes = i32::try_from(bytes).ok().filter(|it| it.unsigned_abs() < 1 << 24)?;
            return Some(Distance::Bytes(bytes));
        };
        let sum = if bytes == 0 { sum } else { self.builder.ins().iadd_imm_s(sum, bytes) };
        Some(Distance::Stride(handed.strides.insert_full(sum).0))
    }

    /// How far a coordinate goes when the loop goes on by one, if that is always as far.
    fn slope(&self, it: &Loop, body: &Body<'a>, value: ValueId) -> Option<i64> {
        if value == it.index {
            return Some(1);
        }
        let Some(op) = body.get(&value) else { return Some(0) };
        if let Op::Binary(sign @ (BinaryOp::Add | BinaryOp::Sub), a, b) = op {
            let [a, b] = [self.slope(it, body, *a)?, self.slope(it, body, *b)?];
            return if *sign == BinaryOp::Add { a.checked_add(b) } else { a.checked_sub(b) };
        }
        None
    }

    /// Computes a coordinate as it is in the first step.
    fn at_first(&mut self, body: &Body<'a>, value: ValueId) {
        let Some(&op) = body.get(&value) else { return };
        op.operands().into_iter().for_each(|it| self.at_first(body, it));
        let tile = self.op(&self.nest.values[value], op);
        self.define(value, tile);
    }

    fn call_products(
        &mut self,
        it: &Loop,
        products: Products,
        init: &[Value],
        Handed { bases, strides }: Handed,
    ) -> Vec<Value> {
        let register = products.register;
        let size = register.bytes() * init.len() as u32;
        let room = self.room(size);
        let room = self.builder.ins().stack_addr(I64, room, 0);
        let offsets: Vec<i32> = (0..init.len()).map(|it| products.offset_of(it)).collect();
        if !products.fresh {
            for (&sum, &offset) in init.iter().zip(&offsets) {
                self.builder.ins().store(DATA, sum, room, offset);
            }
        }
        let (from, to) = (self.scalar(it.from), self.scalar(it.to));
        let left = self.builder.ins().isub(to, from);
        let args: Vec<Value> = bases.into_iter().chain(strides).chain([left, room]).collect();
        let function = self.linker.products(products);
        self.call(function, &args);
        offsets.into_iter().map(|it| self.builder.ins().load(register, DATA, room, it)).collect()
    }

    /// So many bytes of the frame, which nothing holds on to beyond a call.
    fn room(&mut self, size: u32) -> StackSlot {
        if let Some(&known) = self.rooms.get(&size) {
            return known;
        }
        let room = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
        let room = self.builder.create_sized_stack_slot(room);
        self.rooms.insert(size, room);
        room
    }

    /// Whether a register is known to hold nothing but 0.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_zero(&self, value: Value) -> bool {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return false };
        match dfg.insts[inst] {
            InstructionData::Unary { opcode: Opcode::Splat, arg } => self.is_zero(arg),
            InstructionData::UnaryIeee32 { imm, .. } => imm.bits() == 0,
            InstructionData::UnaryIeee64 { imm, .. } => imm.bits() == 0,
            _ => false,
        }
    }
}
