//! Which rank an einsum takes in tiles.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, DType};

use super::loops::{Lane, Rows};
use super::{Lanes, Tiling};
use crate::codegen::formula::Formula;
use crate::ir::cascade::{At, Einsum, ExprId, Extent, Op, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{self, BufferId, Place, Scalar, ValueId};

/// A function of an element takes as long as so many accesses to elements that lie apart.
const FUNCTION: i64 = 4;

impl Tiling<'_> {
    /// The rank along which most loads and stores walk through neighbours in memory, if it pays.
    pub(super) fn lane(&mut self, einsum: &Einsum, open: &[RankId]) -> Option<Lane> {
        let is_constant = matches!(self.cascade.exprs.get(einsum.value), Expr::Real(_))
            && self.widths.stored(self.cascade, einsum.tensor) == DType::F32;
        if !is_constant && !self.is_in_lanes(einsum.value) {
            return None;
        }
        let reduced = match &einsum.op {
            Op::Reduce(_, ranks) if !einsum.exact => &ranks[..],
            Op::Map | Op::Scan(..) | Op::Reduce(..) => &[],
            Op::Select(..) | Op::Place(_) | Op::Arg(..) => return None,
        };
        // What is not the last goes there, where it decides of no other.
        let is_apart = |it: &RankId| reduced.last() == Some(it) || !self.is_part(*it);
        let last = open.last().copied().filter(|it| !self.cuts(reduced, *it));
        let candidates = reduced.iter().copied().filter(is_apart).chain(last);
        let rank = candidates
            .filter(|&it| Some(it) != einsum.op.along())
            .filter(|&it| self.cascade.ranks[it].parts.is_empty())
            .filter(|&it| self.gain(einsum, it) > 0)
            .max_by_key(|&it| self.gain(einsum, it))?;
        let unit_strides = self.unit_strides(einsum, rank);
        let rows = self.tile_rows(einsum, open, rank).map(|rank| {
            let padded = self.region.strip.goes_along(rank) && self.is_tile(einsum.tensor);
            Rows { rank, padded }
        });
        let of_rows = einsum.op == Op::Map && self.region.rows.contains(&rank) && open == [rank];
        let single =
            rows.is_none() && !self.calls(einsum.value) && (of_rows || self.is_divided(einsum.value, rank));
        Some(Lane { rank, unit_strides, rows, single })
    }

    /// The rank along which points that are put in order are looked at several at a time.
    pub(super) fn rank_of_points(&self, einsum: &Einsum, open: &[RankId]) -> Option<RankId> {
        let points = open.iter().copied().filter(|it| Some(*it) != einsum.op.along());
        let simple = points.filter(|it| self.cascade.ranks[*it].parts.is_empty());
        let pays = simple.filter(|it| self.is_in_lanes(einsum.value) && self.gain(einsum, *it) > 0);
        pays.max_by_key(|it| self.gain(einsum, *it))
    }

    /// The same as a lane.
    pub(super) fn lane_of_points(&mut self, einsum: &Einsum, open: &[RankId]) -> Option<Lane> {
        let rank = self.rank_of_points(einsum, open)?;
        let unit_strides = self.unit_strides(einsum, rank);
        Some(Lane { rank, unit_strides, rows: None, single: true })
    }

    /// How far a reduction goes along its ranks depends on the coordinate along another, so that no vector may go along that:
    /// it is a part of a ragged composite rank, of which they are the minor part.
    fn cuts(&self, reduced: &[RankId], major: RankId) -> bool {
        self.region.composites.iter().filter(|it| self.cascade.is_ragged(**it)).any(|it| {
            let parts = self.cascade.exprs.atoms(*it).split_last();
            parts.is_some_and(|(last, majors)| reduced.contains(last) && majors.contains(&major))
        })
    }

    /// It is a real, or a condition on numbers.
    fn is_in_lanes(&self, value: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        match self.widths.scalar(self.cascade, value) {
            Scalar::F32 | Scalar::F64 => true,
            Scalar::I64 | Scalar::I32 => false,
            Scalar::Bool => {
                exprs.postorder(value).iter().any(|it| matches!(exprs.get(*it), Expr::Compare(..)))
            }
        }
    }

    /// Where elements along a rank are is divided by something, which takes long.
    fn is_divided(&self, value: ExprId, rank: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        let mut along = exprs.postorder(value).into_iter().filter(|it| exprs.free(*it).contains(&rank));
        along.any(|it| {
            matches!(exprs.get(it), Expr::Binary(op, ..) if matches!(op, BinaryOp::FloorDiv | BinaryOp::Mod))
        })
    }

    /// A function of it is long, and best called for many elements at a time.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn calls(&self, value: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        exprs.postorder(value).into_iter().any(|it| match *exprs.get(it) {
            Expr::Unary(op, _) => op.is_real_function() && !Formula::Real(op).is_short(),
            Expr::Binary(op, ..) => op == BinaryOp::Pow,
            _ => false,
        })
    }

    /// A rank of a box that is taken in tiles together with the lane: the last one before it, along which the
    /// elements of a factor that has the lane are used again, or, if points along the lane are combined, along which
    /// there are others to combine at the same time.
    fn tile_rows(&self, einsum: &Einsum, open: &[RankId], lane: RankId) -> Option<RankId> {
        let exprs = &self.cascade.exprs;
        let Op::Reduce(op, over) = &einsum.op else { return None };
        let before = open.iter().take_while(|it| **it != lane);
        let boxed = |it: &&RankId| {
            let is_open = !over.contains(it) && !self.cuts(over, **it);
            self.is_boxed(**it) && is_open && self.rows_of_tile(**it) > 1
        };
        if over.contains(&lane) {
            // Bools of several rows are not combined any faster than those of one.
            if self.widths.scalar(self.cascade, einsum.value) != Scalar::F32 {
                return None;
            }
            let varies = |it: &&RankId| exprs.free(einsum.value).contains(it);
            let shares = |it: &&RankId| self.shares_what_streams(einsum.value, **it);
            let rows = before.filter(boxed);
            return rows.clone().filter(shares).last().or_else(|| rows.filter(varies).last()).copied();
        }
        let value = exprs.unconditioned(einsum.value);
        let (ReduceOp::Sum, &Expr::Binary(BinaryOp::Mul, a, b)) = (op, exprs.get(value)) else {
            return None;
        };
        let has = |factor: ExprId, rank: RankId| exprs.free(factor).contains(&rank);
        let apart = |rank: RankId| {
            [(a, b), (b, a)]
                .into_iter()
                .any(|(a, b)| has(a, lane) && !has(a, rank) && has(b, rank) && !has(b, lane))
        };
        before.filter(boxed).copied().filter(|it| apart(*it)).last()
    }

    /// A row for whose points, of which there surely are several, the same elements of what is traversed are factors, such as a
    /// head of a group: they are read, and made f32, once.
    fn shares_what_streams(&self, value: ExprId, row: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        let &Expr::Binary(BinaryOp::Mul, a, b) = exprs.get(exprs.unconditioned(value)) else { return false };
        let are_several = matches!(self.cascade.ranks[row].extent, Extent::Fixed(extent) if extent > 1);
        let streams = |it: &RankId| self.is_boxed(*it) && !self.region.rows.contains(it);
        let is_shared = |shared: &[RankId], other: &[RankId]| {
            other.contains(&row) && !shared.contains(&row) && shared.iter().any(streams)
        };
        let [a, b] = [a, b].map(|it| exprs.free(it));
        are_several && self.region.rows.contains(&row) && (is_shared(a, b) || is_shared(b, a))
    }

    /// Several coordinates of a rank are at hand, whatever those of others.
    fn is_boxed(&self, rank: RankId) -> bool {
        let bounds = |whole: &RankId| {
            self.cascade.exprs.atoms(*whole).split_last().is_some_and(|(_, majors)| majors.contains(&rank))
        };
        let held = self.cascade.ranks[rank].parts.is_empty() && !self.region.composites.iter().any(bounds);
        self.region.spans.contains_key(&rank) || (self.region.walks && held)
    }

    /// How many more accesses a tile along a rank makes contiguous than it scatters.
    fn gain(&self, einsum: &Einsum, rank: RankId) -> i64 {
        let exprs = &self.cascade.exprs;
        let mut gain = i64::from(self.writes_along(einsum, rank));
        // What does not vary along what is reduced is read once for all of it.
        let over = einsum.op.reduced();
        let is_often_read = |free: &[RankId]| over.is_empty() || free.iter().any(|it| over.contains(it));
        for id in exprs.postorder(einsum.value) {
            if let Expr::Read(tensor, coords, _) = exprs.get(id)
                && exprs.free(id).contains(&rank)
                && is_often_read(exprs.free(id))
            {
                let is_shifted = |it: &ExprId| !matches!(exprs.get(*it), Expr::Index(_));
                gain += match self.walks(*tensor, coords, rank) {
                    // Part of a tile may lie outside.
                    true if coords.last().is_some_and(is_shifted) => 0,
                    true => 1,
                    false => -1,
                };
            }
            // A function of elements that are gathered is still computed faster for many at a time.
            if let Expr::Unary(op, _) = exprs.get(id)
                && op.is_real_function()
                && exprs.free(id).contains(&rank)
                && is_often_read(exprs.free(id))
            {
                gain += FUNCTION;
            }
        }
        gain
    }

    /// A read whose last coordinate alone goes up along a rank as its index does.
    pub(super) fn walks(&self, tensor: TensorId, coords: &[ExprId], rank: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        let Some((&last, others)) = coords.split_last() else { return false };
        self.goes_along(last, rank)
            && others.iter().all(|&it| !exprs.free(it).contains(&rank))
            && !self.cascade.tensors[tensor].dims.is_empty()
    }

    /// The index along a rank, or along one of which it is the last part, perhaps shifted.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn goes_along(&self, coord: ExprId, rank: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        let is_fixed = |it: ExprId| !exprs.free(it).contains(&rank);
        match *exprs.get(coord) {
            Expr::Index(of) => exprs.atoms(of).last() == Some(&rank),
            Expr::Binary(BinaryOp::Add, a, b) => {
                self.goes_along(a, rank) && is_fixed(b) || self.goes_along(b, rank) && is_fixed(a)
            }
            Expr::Binary(BinaryOp::Sub, a, b) => self.goes_along(a, rank) && is_fixed(b),
            _ => false,
        }
    }

    /// What an einsum writes lies along a rank.
    fn writes_along(&self, einsum: &Einsum, rank: RankId) -> bool {
        let Some(&At::Rank(last, 0)) = einsum.at.last() else { return false };
        self.cascade.exprs.atoms(last).last() == Some(&rank)
    }

    /// Holds where the arguments that may be walked through have neighbours next to each other.
    pub(super) fn unit_strides(&mut self, einsum: &Einsum, rank: RankId) -> Option<ValueId> {
        let exprs = &self.cascade.exprs;
        let mut walked: BTreeSet<TensorId> = BTreeSet::new();
        for id in exprs.postorder(einsum.value) {
            // Under conditions and in branches an index is one, too.
            if let Expr::Read(tensor, coords, _) = exprs.get(id)
                && coords.last().is_some_and(|it| exprs.free(*it).contains(&rank))
            {
                walked.insert(*tensor);
            }
        }
        if matches!(einsum.at.last(), Some(At::Rank(last, _)) if exprs.atoms(*last).contains(&rank)) {
            walked.insert(einsum.tensor);
        }
        let mut all: Option<ValueId> = None;
        for tensor in walked {
            let unit = self.unit_stride(tensor);
            all = self.builder.both(all, unit);
        }
        all
    }

    /// Holds where neighbours along a tensor's last dimension lie next to each other (`None`: always).
    pub(super) fn unit_stride(&mut self, tensor: TensorId) -> Option<ValueId> {
        let buffer = self.buffer(tensor);
        let it = &self.builder.nest.buffers[buffer];
        match it.place {
            Place::Workspace(_) | Place::Scratch(_) => None,
            Place::Input(_) | Place::Output(_) => {
                // A tile of which only fixed coordinates are held is one element.
                let stride = *it.strides.last()?;
                let one = self.builder.int(1);
                Some(self.builder.compare(CompareOp::Eq, stride, one))
            }
        }
    }

    /// The elements of a tile follow one another in memory: the last coordinate goes up with the lane, and no other has it.
    pub(super) fn is_contiguous(&self, buffer: BufferId, index: &[ValueId]) -> bool {
        let in_scratch = matches!(self.builder.nest.buffers[buffer].place, Place::Scratch(_));
        let lane = self.lane.or(self.rows.filter(|_| in_scratch));
        let (Some(lane), Some((last, others))) = (lane, index.split_last()) else {
            return false;
        };
        self.follows(&lane, *last)
            && others.iter().all(|it| !self.has_lane(&lane, *it))
            && !self.builder.nest.buffers[buffer].strides.is_empty()
    }

    /// It goes up by one from each coordinate of a lane to the next.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn follows(&self, lane: &Lanes, value: ValueId) -> bool {
        if [lane.indices, lane.offsets, lane.shifted].contains(&value) {
            return true;
        }
        match self.builder.definition(value) {
            Some(&nest::Op::Binary(BinaryOp::Add, a, b)) => {
                self.follows(lane, a) && !self.has_lane(lane, b)
                    || self.follows(lane, b) && !self.has_lane(lane, a)
            }
            Some(&nest::Op::Binary(BinaryOp::Sub, a, b)) => self.follows(lane, a) && !self.has_lane(lane, b),
            _ => false,
        }
    }

    fn has_lane(&self, lane: &Lanes, value: ValueId) -> bool {
        self.builder.nest.values[value].shape.contains(&lane.dim)
    }
}
