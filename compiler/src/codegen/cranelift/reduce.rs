//! Contractions and reductions.

use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::arith::shuffle;
use super::block::Emitter;
use super::tile::{Form, LANES, Tile, lane};
use crate::codegen::points::{combination, lacking};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Scalar, TileDim, TileType, ValueId};

impl<'a> Emitter<'a, '_, '_> {
    /// `into + Σ a · b`
    pub(super) fn contract(&mut self, ty: &'a TileType, a: ValueId, b: ValueId, into: ValueId) -> Tile<'a> {
        let [a_ty, b_ty] = [a, b].map(|it| &self.nest.values[it]);
        let summed = lacking(&ty.shape, a_ty.shape.iter().chain(&b_ty.shape));
        if let Some(shape) = lanes_summed(ty, &summed, a_ty, b_ty) {
            return self.contract_across(ty, &shape, [a, b], into);
        }
        let form = Form::of(ty);
        let shape = [&summed[..], &ty.shape].concat();
        let register = form.register(ty.scalar);
        let [a, b] = [a, b].map(|it| self.tile(it).spread(&mut self.builder, &shape, form));
        let mut sums = self.spread(into, ty, form);
        for at in 0..a.len() {
            let sum = at % sums.len();
            sums[sum] = self.multiply_add(register, a[at], b[at], sums[sum]);
        }
        Tile { ty, form, registers: sums }
    }

    /// The same with the lanes along the last rank that is summed; they are added up at the end.
    fn contract_across(
        &mut self,
        ty: &'a TileType,
        shape: &[TileDim],
        factors: [ValueId; 2],
        into: ValueId,
    ) -> Tile<'a> {
        let [a, b] = factors.map(|it| self.tile(it).spread(&mut self.builder, shape, Form::Vectors));
        let mut sums: Vec<Option<Value>> = vec![None; ty.points()];
        let points = shape[shape.len() - 1].extent as usize / LANES;
        for at in 0..a.len() {
            let sum = &mut sums[at / points % ty.points()];
            let (a, b) = (a[at], b[at]);
            *sum = Some(match *sum {
                Some(sum) if self.linker.fuses() => self.builder.ins().fma(a, b, sum),
                Some(sum) => {
                    let product = self.builder.ins().fmul(a, b);
                    self.builder.ins().fadd(sum, product)
                }
                None => self.builder.ins().fmul(a, b),
            });
        }
        let sums: Vec<Value> = sums.into_iter().flatten().collect();
        let form = Form::of(ty);
        let totals: Vec<Value> = sums.chunks(form.lanes()).map(|it| self.totals(it)).collect();
        let into = self.spread(into, ty, form);
        let sums = totals.into_iter().zip(into);
        let registers = sums.map(|(total, into)| self.builder.ins().fadd(into, total)).collect();
        Tile { ty, form, registers }
    }

    /// The sum of a vector's lanes, or the vector of the sums of four vectors' lanes.
    fn totals(&mut self, vectors: &[Value]) -> Value {
        let builder = &mut self.builder;
        let &[a, b, c, d] = vectors else {
            return self.across(ReduceOp::Sum, Scalar::F32, vectors[0]);
        };
        let mut pairs = |a, b| {
            let low = shuffle(builder, a, b, [0, 1, 4, 5]);
            let high = shuffle(builder, a, b, [2, 3, 6, 7]);
            builder.ins().fadd(low, high)
        };
        let (ab, cd) = (pairs(a, b), pairs(c, d));
        let even = shuffle(builder, ab, cd, [0, 2, 4, 6]);
        let odd = shuffle(builder, ab, cd, [1, 3, 5, 7]);
        builder.ins().fadd(even, odd)
    }

    fn multiply_add(&mut self, ty: Type, a: Value, b: Value, sum: Value) -> Value {
        if self.linker.fuses() && ty.lane_type().is_float() {
            return self.builder.ins().fma(a, b, sum);
        }
        let product = self.binary(BinaryOp::Mul, ty, a, b);
        self.binary(BinaryOp::Add, ty, sum, product)
    }

    /// The value combined over the ranks that the result lacks.
    pub(super) fn reduce(&mut self, ty: &'a TileType, op: ReduceOp, a: ValueId) -> Tile<'a> {
        let tile = self.tile(a);
        let keeps_lanes = tile.ty.shape.last().is_none_or(|last| ty.shape.last() == Some(last));
        if tile.form == Form::Elements || keeps_lanes {
            let shape = [&lacking(&ty.shape, &tile.ty.shape)[..], &ty.shape].concat();
            let all = tile.spread(&mut self.builder, &shape, tile.form);
            let register = tile.form.register(ty.scalar);
            let registers = self.folded(op, register, &all, ty.points() / tile.form.lanes());
            return Tile { ty, form: tile.form, registers };
        }
        let last = *tile.ty.shape.last().expect("vectors lie along a rank");
        let mut outer = lacking(&ty.shape, &tile.ty.shape);
        outer.retain(|dim| *dim != last);
        let register = tile.form.register(ty.scalar);
        let shape = [&outer[..], &ty.shape, &[last]].concat();
        let all = tile.spread(&mut self.builder, &shape, Form::Vectors);
        let points = last.extent as usize / LANES;
        let registers = (0..ty.points()).map(|point| {
            let mine = (0..all.len()).filter(|at| at / points % ty.points() == point);
            let mine: Vec<Value> = mine.map(|at| all[at]).collect();
            let combined = self.folded(op, register, &mine, 1)[0];
            self.across(op, ty.scalar, combined)
        });
        Tile { ty, form: Form::Elements, registers: registers.collect() }
    }

    /// Every `count`-th register combined.
    fn folded(&mut self, op: ReduceOp, ty: Type, all: &[Value], count: usize) -> Vec<Value> {
        let mut results = all[..count].to_vec();
        for (at, &register) in all.iter().enumerate().skip(count) {
            results[at % count] = self.combine(op, ty, results[at % count], register);
        }
        results
    }

    /// The lanes of a vector combined.
    fn across(&mut self, op: ReduceOp, scalar: Scalar, vector: Value) -> Value {
        let ty = Form::Vectors.register(scalar);
        let upper = shuffle(&mut self.builder, vector, vector, [2, 3, 2, 3]);
        let two = self.combine(op, ty, vector, upper);
        let [a, b] = [0, 1].map(|it| lane(&mut self.builder, scalar, two, it));
        self.combine(op, Form::Elements.register(scalar), a, b)
    }

    fn combine(&mut self, op: ReduceOp, ty: Type, a: Value, b: Value) -> Value {
        self.binary(combination(op), ty, a, b)
    }
}

/// The points of a contraction with the summed rank innermost along which both factors have vectors, if there is one.
fn lanes_summed(ty: &TileType, summed: &[TileDim], a: &TileType, b: &TileType) -> Option<Vec<TileDim>> {
    let last = *a.shape.last()?;
    let along = ty.scalar == Scalar::F32 && b.shape.last() == Some(&last) && summed.contains(&last);
    if !along || Form::of(a) == Form::Elements {
        return None;
    }
    let outer: Vec<TileDim> = summed.iter().copied().filter(|dim| *dim != last).collect();
    Some([&outer[..], &ty.shape, &[last]].concat())
}
