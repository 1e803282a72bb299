//! Contractions and reductions.

use super::assembler::{Value, lanes_of};
use super::block::Emitter;
use super::tile::{Tile, element, lanes, width};
use crate::codegen::points::{combination, lacking};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Scalar, TileDim, TileType, ValueId};

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// `into + Σ a · b`
    pub(super) fn contract(&self, ty: &'a TileType, a: ValueId, b: ValueId, into: ValueId) -> Tile<'a, 'c> {
        let [a_ty, b_ty] = [a, b].map(|it| &self.nest.values[it]);
        let summed = lacking(&ty.shape, a_ty.shape.iter().chain(&b_ty.shape));
        let into = self.spread(into, ty);
        let last = a_ty.shape.last().filter(|last| summed.contains(last) && b_ty.shape.last() == Some(last));
        let Some(&last) = last else {
            let shape = [&summed[..], &ty.shape].concat();
            return Tile::new(ty, self.products(ty.scalar, &shape, [a, b], into));
        };
        // Along the rank that both factors have last, lanes are summed at the end.
        let outer = summed.into_iter().filter(|dim| *dim != last);
        let shape: Vec<TileDim> = outer.chain(ty.shape.iter().copied()).chain([last]).collect();
        let zero = match ty.scalar {
            Scalar::I64 | Scalar::I32 => self.asm.int(element(ty.scalar), lanes(&shape), 0),
            scalar @ (Scalar::F64 | Scalar::F32 | Scalar::Bool) => {
                self.asm.float(element(scalar), lanes(&shape), -0.0)
            }
        };
        let sums = self.products(ty.scalar, &shape, [a, b], vec![zero; ty.points()]);
        let totals = self.across(ReduceOp::Sum, ty, sums);
        let sums = totals.into_iter().zip(into);
        let rows = sums.map(|(total, into)| self.binary(BinaryOp::Add, ty.scalar, into, total));
        Tile::new(ty, rows.collect())
    }

    /// Adds the products at the points of a shape to sums that repeat along its first ranks.
    fn products(
        &self,
        scalar: Scalar,
        shape: &[TileDim],
        factors: [ValueId; 2],
        mut sums: Vec<Value<'c>>,
    ) -> Vec<Value<'c>> {
        let [a, b] = factors.map(|it| self.tile(it).spread(self.asm, shape));
        let count = sums.len();
        for (at, (a, b)) in a.into_iter().zip(b).enumerate() {
            let sum = &mut sums[at % count];
            *sum = self.multiply_add(scalar, a, b, *sum);
        }
        sums
    }

    /// `a · b + sum`, rounded once where that is one instruction.
    fn multiply_add(&self, scalar: Scalar, a: Value<'c>, b: Value<'c>, sum: Value<'c>) -> Value<'c> {
        if self.unit.machine.fuses && scalar != Scalar::I64 {
            return self.asm.function("llvm.fma", &[a, b, sum]);
        }
        self.binary(BinaryOp::Add, scalar, sum, self.binary(BinaryOp::Mul, scalar, a, b))
    }

    /// The value combined over the ranks that the result lacks.
    pub(super) fn reduce(&self, ty: &'a TileType, op: ReduceOp, a: ValueId) -> Tile<'a, 'c> {
        let tile = self.tile(a);
        let mut outer = lacking(&ty.shape, &tile.ty.shape);
        let last = tile.ty.shape.last().copied().filter(|last| outer.contains(last));
        let Some(last) = last else {
            let all = tile.spread(self.asm, &[&outer[..], &ty.shape].concat());
            return Tile::new(ty, self.folded(op, ty.scalar, &all, Tile::rows_of(ty)));
        };
        outer.retain(|dim| *dim != last);
        let all = tile.spread(self.asm, &[&outer[..], &ty.shape, &[last]].concat());
        let folded = self.folded(op, ty.scalar, &all, ty.points());
        Tile::new(ty, self.across(op, ty, folded))
    }

    /// Every `count`th row combined, in pairs.
    fn folded(&self, op: ReduceOp, scalar: Scalar, all: &[Value<'c>], count: usize) -> Vec<Value<'c>> {
        let combine = |a, b| self.binary(combination(op), scalar, a, b);
        let column = |at: usize| {
            let mut rows: Vec<Value<'c>> = all.iter().copied().skip(at).step_by(count).collect();
            while rows.len() > 1 {
                rows = rows.chunks(2).map(|it| it.iter().copied().reduce(combine).unwrap_or(it[0])).collect();
            }
            rows[0]
        };
        (0..count).map(column).collect()
    }

    /// The lanes of each vector combined; a vector for each point of a type becomes the rows of that type.
    fn across(&self, op: ReduceOp, ty: &TileType, vectors: Vec<Value<'c>>) -> Vec<Value<'c>> {
        let row = |vectors: &[Value<'c>]| {
            let totals = self.totals(op, ty.scalar, vectors);
            if ty.shape.is_empty() { self.asm.lane(totals, 0) } else { totals }
        };
        vectors.chunks(width(&ty.shape)).map(row).collect()
    }

    /// The vector of what the lanes of each of these vectors combine to.
    ///
    /// Halves of vectors are combined with halves of their neighbours, so that no lane is idle:
    /// `[a0 a1 a2 a3] [b0 b1 b2 b3]` become `[a0 a1 b0 b1] + [a2 a3 b2 b3]`, then `[. .] + [. .]` of what that gives.
    fn totals(&self, op: ReduceOp, scalar: Scalar, vectors: &[Value<'c>]) -> Value<'c> {
        let asm = self.asm;
        let combine = |a, b| self.binary(combination(op), scalar, a, b);
        let mut rows: Vec<Value<'c>> = vectors.iter().map(|it| self.even(op, scalar, *it)).collect();
        let mut group = width_of(rows[0]);
        while group > 1 {
            let halves = |pair: &[Value<'c>]| {
                let (a, b) = (pair[0], pair[pair.len() - 1]);
                let groups = (0..width_of(a) * pair.len()).step_by(group);
                let half = |from| groups.clone().flat_map(|it| it + from..it + from + group / 2).collect();
                let [low, high]: [Vec<usize>; 2] = [half(0), half(group / 2)];
                combine(asm.shuffle(a, b, &low), asm.shuffle(a, b, &high))
            };
            let single = rows[rows.len() - 1];
            if rows.len() > 1 && rows.len() % 2 == 1 {
                rows.push(single);
            }
            rows = rows.chunks(2).map(halves).collect();
            group /= 2;
        }
        let all = asm.concatenated(rows);
        let lanes: Vec<usize> = (0..vectors.len()).collect();
        if width_of(all) == lanes.len() { all } else { asm.shuffle(all, all, &lanes) }
    }

    /// A vector with the lanes beyond a power of two combined with the first.
    fn even(&self, op: ReduceOp, scalar: Scalar, vector: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        let lanes = width_of(vector);
        let kept = 1 << lanes.ilog2();
        let rest = lanes - kept;
        if rest == 0 {
            return vector;
        }
        let part = |from: usize, to: usize| asm.shuffle(vector, vector, &(from..to).collect::<Vec<_>>());
        let both = self.binary(combination(op), scalar, part(0, rest), part(kept, lanes));
        let widened: Vec<usize> = (0..kept).map(|it| it.min(rest - 1)).collect();
        let merged: Vec<usize> = (0..kept).map(|it| if it < rest { kept + it } else { it }).collect();
        asm.shuffle(part(0, kept), asm.shuffle(both, both, &widened), &merged)
    }
}

fn width_of(vector: Value<'_>) -> usize {
    lanes_of(vector).map_or(1, |it| it as usize)
}
