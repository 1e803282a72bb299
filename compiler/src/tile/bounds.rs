//! Intervals over the box at hand: where indices lie, and whether conditions can, or must, hold.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, Kind};

use super::Tiling;
use crate::ir::cascade::{Einsum, ExprId, Extent, RankId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, parts};
use crate::ir::nest::ValueId;
use crate::schedule::Act;

/// The first coordinate of a rank in a box, and one past the last.
type Span = (ValueId, ValueId);

/// Between which integers an expression lies, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub(super) low: ValueId,
    pub(super) high: ValueId,
    /// A condition without which nothing is said, not even that the value is present.
    pub(super) given: Option<ValueId>,
}

impl Interval {
    fn of(low: ValueId, high: ValueId) -> Interval {
        Interval { low, high, given: None }
    }

    /// The value, if it is the same at all points of the box.
    pub(super) fn single(self) -> Option<ValueId> {
        (self.low == self.high && self.given.is_none()).then_some(self.low)
    }
}

/// Whether a condition may hold somewhere, and whether it holds everywhere.
#[derive(Debug, Clone, Copy)]
struct Truth {
    may: ValueId,
    must: ValueId,
}

impl Tiling<'_> {
    /// The coordinates of a rank in the box at hand: from, and one past the last.
    pub(super) fn span(&mut self, rank: RankId) -> Span {
        match self.region.spans.get(&rank) {
            Some(&span) => span,
            None => self.all_of(rank),
        }
    }

    /// All coordinates of a rank, where it ends a composite rank only those that the composite has.
    pub(super) fn all_of(&mut self, rank: RankId) -> Span {
        let (zero, mut to) = (self.builder.int(0), self.extent(rank));
        for whole in self.region.composites.clone() {
            let parts = self.cascade.exprs.atoms(whole).to_vec();
            let Some((&last, majors)) = parts.split_last() else { continue };
            let is_known = majors.iter().all(|it| self.builder.indices.contains_key(it));
            if last != rank || !is_known || !self.cascade.is_ragged(whole) {
                continue;
            }
            let first = self.composed(whole, Some(rank));
            let whole = self.extent(whole);
            let left = self.minus(whole, first);
            let left = self.builder.binary(BinaryOp::Max, left, zero);
            to = self.builder.binary(BinaryOp::Min, to, left);
        }
        (zero, to)
    }

    /// A box of parts may reach beyond a ragged rank, unless its major parts are given.
    pub(super) fn may_reach_beyond(&self, rank: RankId) -> bool {
        let made = self.region.composites.contains(&rank) && self.cascade.is_ragged(rank);
        let majors = self.cascade.exprs.atoms(rank).split_last().map_or(&[][..], |(_, it)| it);
        made && !majors.iter().all(|it| self.region.fixed.contains(it))
            && !self.is_inside_rank(rank).is_some_and(|it| self.holding.contains(&it))
    }

    /// The condition that a coordinate is one of a rank, where a cascade has it.
    fn is_inside_rank(&self, rank: RankId) -> Option<ExprId> {
        let exprs = &self.cascade.exprs;
        let extent = match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => Expr::Int(extent),
            Extent::Carried | Extent::Derived(_) => Expr::Extent(rank),
        };
        let [index, extent] = [Expr::Index(rank), extent].map(|it| exprs.find(&it));
        exprs.find(&Expr::Compare(CompareOp::Lt, index?, extent?))
    }

    /// Where the point at hand exists: in all ragged ranks that the box may reach beyond, and where points of a tile are
    /// combined, in the box. `None` is everywhere.
    pub(super) fn exists(&mut self) -> Option<ValueId> {
        let mut all = self.lane.filter(|it| it.reduced).and_then(|it| it.mask);
        for rank in self.region.composites.clone() {
            if let Some(&index) = self.builder.indices.get(&rank)
                && self.may_reach_beyond(rank)
            {
                let extent = self.extent(rank);
                let inside = self.builder.compare(CompareOp::Lt, index, extent);
                all = self.builder.both(all, Some(inside));
            }
        }
        all
    }

    /// The rank is a part of a composite rank of this stage.
    pub(super) fn is_part(&self, rank: RankId) -> bool {
        self.region.composites.iter().any(|it| self.cascade.exprs.atoms(*it).contains(&rank))
    }

    /// The rank is the minor part of a composite rank of this stage.
    pub(super) fn ends_composite(&self, rank: RankId) -> bool {
        let mut composites = self.region.composites.iter();
        composites.any(|&it| self.cascade.exprs.atoms(it).last() == Some(&rank))
    }

    /// The coordinate that those along its part-less ranks make, one of which may be taken as 0.
    pub(super) fn composed(&mut self, rank: RankId, first_along: Option<RankId>) -> ValueId {
        let parts = self.cascade.ranks[rank].parts.clone();
        let Some((&major, minors)) = parts.split_first() else {
            return if first_along == Some(rank) { self.builder.int(0) } else { self.builder.indices[&rank] };
        };
        let mut index = self.composed(major, first_along);
        for &part in minors {
            let extent = self.extent(part);
            index = self.builder.binary(BinaryOp::Mul, index, extent);
            let minor = self.composed(part, first_along);
            index = self.sum(minor, index);
        }
        index
    }

    /// Binds the composite ranks of this stage whose parts are bound now.
    pub(super) fn bind_composites(&mut self, rank: RankId) {
        for whole in self.region.composites.clone() {
            let parts = self.cascade.exprs.atoms(whole).to_vec();
            let bound = |it: &RankId| self.builder.indices.contains_key(it);
            if parts.contains(&rank) && parts.iter().all(bound) {
                let index = self.composed(whole, None);
                self.builder.bind(whole, index);
            }
        }
    }

    /// From now to the end of the innermost block, that is the coordinate along a rank; gives its distance from
    /// where the box, or the strip, begins.
    pub(super) fn bind_offset(&mut self, rank: RankId, index: ValueId) -> ValueId {
        let offset = match self.region.spans.get(&rank) {
            Some(&(from, _)) => self.minus(index, from),
            None => index,
        };
        self.builder.bind_offset(rank, offset);
        offset
    }

    pub(super) fn minus(&mut self, a: ValueId, b: ValueId) -> ValueId {
        if b == self.builder.int(0) { a } else { self.builder.binary(BinaryOp::Sub, a, b) }
    }

    pub(super) fn sum(&mut self, a: ValueId, b: ValueId) -> ValueId {
        if a == self.builder.int(0) { b } else { self.builder.binary(BinaryOp::Add, a, b) }
    }

    /// Whether the box matters: in one of the lists every condition may hold. `None` is always.
    pub(super) fn matters(&mut self, lists: &[Vec<ExprId>]) -> Option<ValueId> {
        let mut any: Option<ValueId> = None;
        for list in lists {
            let mut all: Option<ValueId> = None;
            for &condition in list {
                let may = self.truth(condition).map(|it| it.may);
                all = self.builder.both(all, may);
            }
            let all = all?;
            any = Some(any.map_or(all, |any| self.builder.or(any, all)));
        }
        any
    }

    /// The conditions of acts of which it can be told, and whether all of them hold everywhere in the box.
    pub(super) fn all_hold(&mut self, acts: &[Act]) -> (BTreeSet<ExprId>, Option<ValueId>) {
        let mut conditions = BTreeSet::new();
        let mut all: Option<ValueId> = None;
        let mut tell = |it: &mut Self, part: ExprId| {
            if !conditions.contains(&part)
                && let Some(truth) = it.truth(part)
            {
                all = it.builder.both(all, Some(truth.must));
                conditions.insert(part);
            }
        };
        // Traversals inside tell it of their own, smaller boxes.
        let is_innermost = acts.iter().all(|it| einsum(it).is_some());
        for rank in self.region.composites.clone() {
            if is_innermost
                && self.may_reach_beyond(rank)
                && let Some(inside) = self.is_inside_rank(rank)
            {
                tell(self, inside);
            }
        }
        for einsum in acts.iter().filter_map(einsum) {
            for id in self.cascade.exprs.postorder(einsum.value) {
                let Expr::Where(_, condition) = *self.cascade.exprs.get(id) else { continue };
                for part in parts(&self.cascade.exprs, condition) {
                    tell(self, part);
                }
            }
        }
        (conditions, all)
    }

    /// What can be told of a condition.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn truth(&mut self, condition: ExprId) -> Option<Truth> {
        if let Some(value) = self.constant(condition) {
            return Some(Truth { may: value, must: value });
        }
        match *self.cascade.exprs.get(condition) {
            Expr::Compare(op, a, b) if self.cascade.exprs.kind(a) == Kind::Int => {
                let (a, b) = (self.interval(a)?, self.interval(b)?);
                let truth = self.compared(op, a, b);
                Some(match self.builder.both(a.given, b.given) {
                    None => truth,
                    Some(given) => {
                        let unknown = self.builder.not(given);
                        let may = self.builder.or(unknown, truth.may);
                        Truth { may, must: self.builder.and(given, truth.must) }
                    }
                })
            }
            Expr::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => {
                let (a, b) = (self.truth(a)?, self.truth(b)?);
                let mut both = |a, b| self.builder.binary(op, a, b);
                Some(Truth { may: both(a.may, b.may), must: both(a.must, b.must) })
            }
            Expr::Unary(UnaryOp::Not, a) => {
                let a = self.truth(a)?;
                Some(Truth { may: self.builder.not(a.must), must: self.builder.not(a.may) })
            }
            _ => None,
        }
    }

    /// The value of an expression that is the same at all points of the box, and present.
    fn constant(&mut self, expr: ExprId) -> Option<ValueId> {
        let free = self.cascade.exprs.free(expr);
        let fixed = free.iter().all(|it| self.builder.indices.contains_key(it));
        if !fixed || self.reads_tile[expr.idx()] {
            return None;
        }
        let known = self.value(expr);
        known.present.is_none().then_some(known.value)
    }

    fn compared(&mut self, op: CompareOp, a: Interval, b: Interval) -> Truth {
        let mut test = |op, a, b| self.builder.compare(op, a, b);
        match op {
            CompareOp::Lt | CompareOp::Le => {
                Truth { may: test(op, a.low, b.high), must: test(op, a.high, b.low) }
            }
            CompareOp::Gt | CompareOp::Ge => {
                Truth { may: test(op, a.high, b.low), must: test(op, a.low, b.high) }
            }
            CompareOp::Eq | CompareOp::Ne => {
                let (low, high) = (test(CompareOp::Le, a.low, b.high), test(CompareOp::Le, b.low, a.high));
                let (first, second) =
                    (test(CompareOp::Eq, a.low, b.high), test(CompareOp::Eq, a.high, b.low));
                let (meet, same) = (self.builder.and(low, high), self.builder.and(first, second));
                if op == CompareOp::Eq {
                    return Truth { may: meet, must: same };
                }
                Truth { may: self.builder.not(same), must: self.builder.not(meet) }
            }
        }
    }

    /// Between which integers an expression lies.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn interval(&mut self, expr: ExprId) -> Option<Interval> {
        if let Some(value) = self.constant(expr) {
            return Some(Interval::of(value, value));
        }
        match *self.cascade.exprs.get(expr) {
            Expr::Index(rank) => self.index_interval(rank),
            Expr::Read(..) => self.extremes(expr),
            Expr::Unary(UnaryOp::Neg, a) => {
                let a = self.interval(a)?;
                let mut negated = |it| self.builder.unary(UnaryOp::Neg, it);
                Some(Interval { low: negated(a.high), high: negated(a.low), ..a })
            }
            Expr::Unary(UnaryOp::Abs, a) => {
                let a = self.interval(a)?;
                let (zero, down) = (self.builder.int(0), self.builder.unary(UnaryOp::Neg, a.low));
                let high = self.builder.binary(BinaryOp::Max, a.high, down);
                let up = self.builder.binary(BinaryOp::Max, a.low, zero);
                let beyond = self.builder.unary(UnaryOp::Neg, a.high);
                let low = self.builder.binary(BinaryOp::Max, up, beyond);
                Some(Interval { low, high, ..a })
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.interval(a)?, self.interval(b)?);
                let (low, high) = self.combined(op, a, b)?;
                let mut given = self.builder.both(a.given, b.given);
                if matches!(op, BinaryOp::FloorDiv | BinaryOp::Mod) {
                    let positive = self.positive(b.low);
                    given = self.builder.both(given, positive);
                }
                Some(Interval { low, high, given })
            }
            _ => None,
        }
    }

    /// That a number is positive; `None` where that is known.
    pub(super) fn positive(&mut self, number: ValueId) -> Option<ValueId> {
        if self.builder.is_positive(number) {
            return None;
        }
        let zero = self.builder.int(0);
        Some(self.builder.compare(CompareOp::Gt, number, zero))
    }

    /// The least and the greatest of what is read along one rank of the box, found by a walk along it.
    fn extremes(&mut self, expr: ExprId) -> Option<Interval> {
        let free = self.cascade.exprs.free(expr).iter().copied();
        let open: Vec<RankId> = free.filter(|it| !self.builder.indices.contains_key(it)).collect();
        let &[rank] = open.as_slice() else { return None };
        if self.reads_tile[expr.idx()] || !self.region.spans.contains_key(&rank) {
            return None;
        }
        let inits = [self.builder.int(i64::MAX), self.builder.int(i64::MIN)];
        let seen = self.open(rank, &inits);
        let known = self.value(expr);
        let low = self.builder.binary(BinaryOp::Min, seen[0], known.value);
        let high = self.builder.binary(BinaryOp::Max, seen[1], known.value);
        let all = self.builder.close_loop(&[low, high]);
        known.present.is_none().then(|| Interval::of(all[0], all[1]))
    }

    fn index_interval(&mut self, rank: RankId) -> Option<Interval> {
        if let Some(&index) = self.builder.indices.get(&rank) {
            return Some(Interval::of(index, index));
        }
        let parts = self.cascade.ranks[rank].parts.clone();
        if parts.is_empty() {
            let (from, to) = self.span(rank);
            return Some(Interval::of(from, self.plus(to, -1)));
        }
        let mut all: Option<Interval> = None;
        for part in parts {
            let it = self.index_interval(part)?;
            let Some(majors) = all else {
                all = Some(it);
                continue;
            };
            let extent = self.extent(part);
            let mut composed = |major, minor| {
                let major = self.builder.binary(BinaryOp::Mul, major, extent);
                self.builder.binary(BinaryOp::Add, major, minor)
            };
            all = Some(Interval::of(composed(majors.low, it.low), composed(majors.high, it.high)));
        }
        all
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn combined(&mut self, op: BinaryOp, a: Interval, b: Interval) -> Option<(ValueId, ValueId)> {
        let mut of = |op, a, b| self.builder.binary(op, a, b);
        match op {
            BinaryOp::Add | BinaryOp::Min | BinaryOp::Max => {
                Some((of(op, a.low, b.low), of(op, a.high, b.high)))
            }
            BinaryOp::Sub => Some((of(op, a.low, b.high), of(op, a.high, b.low))),
            BinaryOp::Mul => {
                let corners = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)];
                let corners = corners.map(|(a, b)| of(op, a, b));
                let mut all = |op| corners.into_iter().reduce(|a, b| of(op, a, b));
                Some((all(BinaryOp::Min)?, all(BinaryOp::Max)?))
            }
            // By one positive number; a caller sees to it that it is.
            BinaryOp::FloorDiv => {
                let by = b.single()?;
                Some((of(op, a.low, by), of(op, a.high, by)))
            }
            BinaryOp::Mod => {
                let by = b.single()?;
                let (first, last) = (of(BinaryOp::FloorDiv, a.low, by), of(BinaryOp::FloorDiv, a.high, by));
                let (low, high) = (of(op, a.low, by), of(op, a.high, by));
                let one_turn = self.builder.compare(CompareOp::Eq, first, last);
                let (zero, top) = (self.builder.int(0), self.plus(by, -1));
                Some((self.builder.select(one_turn, low, zero), self.builder.select(one_turn, high, top)))
            }
            _ => None,
        }
    }
}

pub(super) fn einsum(act: &Act) -> Option<&Einsum> {
    match act {
        Act::Define(it) | Act::Fold(it) => Some(it),
        Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
    }
}
