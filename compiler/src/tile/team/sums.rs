//! Sums of what a block of threads holds: along its own tiles, and of products with what lies in memory.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, DType};

use super::Tiling;
use crate::ir::cascade::{Einsum, ExprId, RankId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::nest::{Op as TileOp, Scalar, TileDim, ValueId};
use crate::schedule::factors;
use crate::tile::builder::Known;
use crate::tile::fold::Fold;

impl Tiling<'_> {
    /// A reduction of all that is at hand along some ranks; what is absent counts as nothing.
    pub(super) fn team_reduction(
        &mut self,
        op: ReduceOp,
        over: &[RankId],
        einsum: &Einsum,
    ) -> Option<ValueId> {
        let fold = Fold::new(self, op, einsum.value);
        // Products of matrices have an order of their own.
        if einsum.exact
            || op == ReduceOp::Mean
            || (!over.is_empty() && !matches!(fold.scalar, Scalar::F32 | Scalar::Bool))
        {
            return None;
        }
        let over = self.lanes_of(over)?;
        if over.contains(&self.team_mut().rows.rank) {
            return None;
        }
        let product = Einsum { value: self.cascade.exprs.unconditioned(einsum.value), ..einsum.clone() };
        if let ([over], Some((a, b))) = (over.as_slice(), factors(&self.cascade.exprs, &product)) {
            let ranks = self.shape_of(einsum.value).len();
            if ranks > 2 {
                let conditions = self.conditions_on(einsum.value);
                return self.team_contraction(&fold, *over, (a, b), &conditions);
            }
        }
        let mut shape = self.shape_of(einsum.value);
        if shape.len() > 2 || (shape.len() == 2 && !shape.contains(&self.team_mut().rows)) {
            return None;
        }
        let mut known = self.value(einsum.value);
        for lane in self.team_mut().lanes.clone().iter().filter(|it| over.contains(&it.dim.rank)) {
            known.present = self.builder.both(known.present, lane.mask);
            if !shape.contains(&lane.dim) {
                shape.push(lane.dim);
            }
        }
        let (identity, scalar) = fold.identity();
        let value = if op == ReduceOp::Count { self.builder.bool(true) } else { known.value };
        let value = self.builder.convert(value, scalar);
        let value = match known.present {
            Some(there) => {
                // What is added to a sum without a trace is -0, and marks what products leave out, too.
                let identity = if let TileOp::Real(0.0) = identity { TileOp::Real(-0.0) } else { identity };
                let neutral = self.builder.filled(identity, scalar, &[]);
                self.builder.select(there, value, neutral)
            }
            None => value,
        };
        let mut value = self.builder.spread(value, &shape);
        let op = if op == ReduceOp::Count { ReduceOp::Sum } else { op };
        for rank in over {
            value = self.builder.reduce(op, value, rank);
        }
        Some(value)
    }

    /// The ranks that tiles have along some ranks, if tiles have all points of these and of no others along them.
    fn lanes_of(&self, over: &[RankId]) -> Option<Vec<RankId>> {
        let lanes = over.iter().map(|it| match self.shape_along(&[*it]).as_slice() {
            [dim] => Some(dim.rank),
            [..] => None,
        });
        let lanes: BTreeSet<RankId> = lanes.collect::<Option<_>>()?;
        let others = self.builder.indices.keys().filter(|it| {
            let is_part = self.cascade.ranks[**it].parts.is_empty() && !over.contains(it);
            is_part && self.shape_along(&[**it]).iter().any(|dim| lanes.contains(&dim.rank))
        });
        (others.count() == 0).then(|| lanes.into_iter().collect())
    }

    /// The ranks along which an expression has several points at hand.
    fn shape_of(&self, value: ExprId) -> Vec<TileDim> {
        self.shape_along(self.cascade.exprs.free(value))
    }

    /// The ranks along which there are several points at hand that differ along some ranks.
    pub(super) fn shape_along(&self, ranks: &[RankId]) -> Vec<TileDim> {
        let at_hand = ranks.iter().filter_map(|it| self.builder.indices.get(it));
        let dims: Vec<TileDim> =
            at_hand.flat_map(|it| self.builder.nest.values[*it].shape.iter().copied()).collect();
        let lanes = self.team.as_ref().map(|it| it.lanes.iter().map(|it| it.dim)).into_iter().flatten();
        lanes.filter(|it| dims.contains(it)).collect()
    }

    /// A sum of products of what rows have and what lies in memory for all of them.
    fn team_contraction(
        &mut self,
        fold: &Fold,
        over: RankId,
        (a, b): (ExprId, ExprId),
        conditions: &[ExprId],
    ) -> Option<ValueId> {
        let rows = self.team_mut().rows;
        let (a, b) = if self.shape_of(a).contains(&rows) { (a, b) } else { (b, a) };
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        let out: Vec<TileDim> = right.iter().copied().filter(|it| it.rank != over).collect();
        if left.len() != 2 || right.len() != 2 || right.contains(&rows) || fold.scalar != Scalar::F32 {
            return None;
        }
        let factor = b;
        let [mut a, b] = [a, b].map(|it| self.value(it));
        let dtype = self.taken(b.value)?;
        let hidden = self.left_out((&left, &mut a), factor, conditions)?;
        // What is absent in memory is 0 in the tile.
        let (along, apart) = self.presence_of(b.present, over)?;
        let (streamed, rounds) = (self.region.spans.contains_key(&over), dtype != DType::F32);
        let is_whole = self.taken(a.value) == Some(dtype);
        // What lies in memory is taken whole; weights are rounded as products of short floats take them, and so is what a walk
        // holds; what is handed in is not.
        let may_round = streamed || self.region.walks && self.taken(a.value).is_none();
        if is_whole && a.present.is_some()
            || rounds && (is_whole && along.is_some() || !may_round && !is_whole)
            || hidden.is_some() && a.present.is_some()
        {
            return None;
        }
        let lane = self.team_mut().lanes.iter().find(|it| it.dim.rank == over)?.mask;
        let there = self.builder.both(a.present, lane.filter(|_| streamed || !is_whole));
        let there = self.builder.both(there, along);
        let value = self.builder.convert(a.value, Scalar::F32);
        // Products that leave out some of the other factor may be taken one by one, of what is in registers.
        let stays = is_whole && hidden.is_none();
        let value = if stays { value } else { self.builder.spread(value, &left) };
        // What is in memory beyond a tile is 0, so only what rows do not see may be something else.
        let seen = a.present.and(there);
        let value = match (seen, there) {
            (None, Some(there)) => {
                let zero = self.builder.real(0.0, Scalar::F32);
                self.builder.select(there, value, zero)
            }
            (Some(_), _) | (None, None) => value,
        };
        let (mut value, mut factor) = (value, None);
        if rounds && !is_whole {
            if dtype == DType::F16 {
                let (within, by) = self.in_range(value, seen, over);
                (value, factor) = (within, Some(by));
            }
            value = self.builder.round(dtype, value);
        }
        let into = self.builder.filled(TileOp::Real(0.0), Scalar::F32, &[rows, out[0]]);
        let sum = self.builder.contract_where(seen.or(hidden), value, b.value, into);
        let sum = factor.map_or(sum, |it| self.builder.binary(BinaryOp::Mul, sum, it));
        Some(match apart {
            Some(there) => {
                let none = self.builder.real(0.0, Scalar::F32);
                self.builder.select(there, sum, none)
            }
            None => sum,
        })
    }

    /// Where conditions on products leave out some of the factor in memory; those on what rows have make that absent. Nothing
    /// if they are neither.
    #[allow(clippy::option_option, reason = "there may be no such conditions, or other ones")]
    fn left_out(
        &mut self,
        (left, a): (&[TileDim], &mut Known),
        factor: ExprId,
        conditions: &[ExprId],
    ) -> Option<Option<ValueId>> {
        let mut hidden = None;
        for &condition in conditions {
            let Known { value, present } = self.value(condition);
            let holds = self.builder.both(present, Some(value));
            let shape = &self.builder.nest.values[value].shape;
            if shape.iter().all(|it| left.contains(it)) {
                a.present = self.builder.both(a.present, holds);
            } else if self.is_nothing_without(factor, condition) {
                hidden = self.builder.both(hidden, holds);
            } else {
                return None;
            }
        }
        Some(hidden)
    }

    /// What an earlier stage has stored is 0 where a condition on its coordinates does not hold.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_nothing_without(&self, factor: ExprId, condition: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        let Expr::Read(tensor, coords, _) = exprs.get(factor) else { return false };
        let dims = &self.cascade.tensors[*tensor].dims;
        let in_place = coords.iter().zip(dims).all(|(&it, dim)| *exprs.get(it) == Expr::Index(dim.rank));
        let is_zero = |it| matches!(exprs.get(it), Expr::Real(bits) if *bits == 0);
        let has = |value: ExprId| match exprs.get(value) {
            Expr::Else(x, nothing) => {
                is_zero(*nothing) && matches!(exprs.get(*x), Expr::Where(_, it) if *it == condition)
            }
            _ => self.is_nothing_without(value, condition),
        };
        in_place && self.plan.einsums().iter().any(|it| it.tensor == *tensor && has(it.value))
    }

    /// Where a factor is present along what is summed over, and along the other rank; nothing if that cannot be told apart.
    fn presence_of(
        &self,
        present: Option<ValueId>,
        over: RankId,
    ) -> Option<(Option<ValueId>, Option<ValueId>)> {
        let Some(there) = present else { return Some((None, None)) };
        match self.builder.nest.values[there].shape.as_slice() {
            [dim] if dim.rank == over => Some((present, None)),
            [_] | [] => Some((None, present)),
            [..] => None,
        }
    }

    /// Weights in the range of f16, and by what their sums are to be multiplied: the largest of a row becomes 2^15, so that
    /// nothing overflows and only what is 2^29 times smaller has fewer digits. A row with a weight that is not finite
    /// has no finite sum, and stays as it is.
    fn in_range(&mut self, value: ValueId, seen: Option<ValueId>, over: RankId) -> (ValueId, ValueId) {
        let b = &mut self.builder;
        let [zero, one, least, top, infinity] =
            [0.0, 1.0, 2f64.powi(-100), 2f64.powi(-15), f64::INFINITY].map(|it| b.real(it, Scalar::F32));
        let size = b.unary(UnaryOp::Abs, value);
        let size = seen.map_or(size, |seen| b.select(seen, size, zero));
        let peak = b.reduce(ReduceOp::Max, size, over);
        let is_finite = b.compare(CompareOp::Lt, peak, infinity);
        let peak = b.binary(BinaryOp::Max, peak, least);
        let factor = b.binary(BinaryOp::Mul, peak, top);
        let factor = b.select(is_finite, factor, one);
        let inverse = b.binary(BinaryOp::Div, one, factor);
        (b.binary(BinaryOp::Mul, value, inverse), factor)
    }

    /// The dtype in which products of matrices take it, if it is read from memory as that.
    fn taken(&self, value: ValueId) -> Option<DType> {
        let Some(TileOp::Load { buffer, .. }) = self.builder.definition(value) else { return None };
        Some(self.builder.nest.buffers[*buffer].dtype)
            .filter(|it| matches!(it, DType::BF16 | DType::F16 | DType::F32))
    }
}
