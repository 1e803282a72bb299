//! Intervals over the box at hand: where indices lie, and whether conditions can, or must, hold.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, Kind};

use super::Tiling;
use crate::ir::cascade::{Einsum, ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::nest::ValueId;
use crate::schedule::{Act, presence};

/// The least and the greatest value of an integer.
type Span = (ValueId, ValueId);

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
            if last != rank || !majors.iter().all(|it| self.builder.indices.contains_key(it)) {
                continue;
            }
            let before = self.composed(majors);
            let extent = self.extent(rank);
            let before = self.builder.binary(BinaryOp::Mul, before, extent);
            let whole = self.extent(whole);
            let left = self.minus(whole, before);
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
    }

    /// Where the point at hand exists: in all ragged ranks that the box may reach beyond. `None` is everywhere.
    pub(super) fn exists(&mut self) -> Option<ValueId> {
        let mut all = None;
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

    /// The rank is the minor part of a composite rank of this stage.
    pub(super) fn ends_composite(&self, rank: RankId) -> bool {
        let mut composites = self.region.composites.iter();
        composites.any(|&it| self.cascade.exprs.atoms(it).last() == Some(&rank))
    }

    /// The coordinate that those along some part-less ranks make.
    fn composed(&mut self, parts: &[RankId]) -> ValueId {
        let mut index = self.builder.indices[&parts[0]];
        for part in &parts[1..] {
            let extent = self.extent(*part);
            let major = self.builder.binary(BinaryOp::Mul, index, extent);
            index = self.builder.binary(BinaryOp::Add, major, self.builder.indices[part]);
        }
        index
    }

    /// Binds the composite ranks of this stage whose parts are bound now.
    pub(super) fn bind_composites(&mut self, rank: RankId) {
        for whole in self.region.composites.clone() {
            let parts = self.cascade.exprs.atoms(whole).to_vec();
            let bound = |it: &RankId| self.builder.indices.contains_key(it);
            if parts.contains(&rank) && parts.iter().all(bound) {
                let index = self.composed(&parts);
                self.builder.bind(whole, index);
            }
        }
    }

    /// From now to the end of the innermost block, that is the coordinate along a rank; gives its distance from
    /// where the box begins.
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
        for einsum in acts.iter().filter_map(einsum) {
            for id in self.cascade.exprs.postorder(einsum.value) {
                let Expr::Where(_, condition) = *self.cascade.exprs.get(id) else { continue };
                for part in presence::parts(&self.cascade.exprs, condition) {
                    if conditions.contains(&part) {
                        continue;
                    }
                    if let Some(truth) = self.truth(part) {
                        all = self.builder.both(all, Some(truth.must));
                        conditions.insert(part);
                    }
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
                Some(self.compared(op, a, b))
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

    fn compared(&mut self, op: CompareOp, a: Span, b: Span) -> Truth {
        let mut test = |op, a, b| self.builder.compare(op, a, b);
        match op {
            CompareOp::Lt | CompareOp::Le => Truth { may: test(op, a.0, b.1), must: test(op, a.1, b.0) },
            CompareOp::Gt | CompareOp::Ge => Truth { may: test(op, a.1, b.0), must: test(op, a.0, b.1) },
            CompareOp::Eq | CompareOp::Ne => {
                let (low, high) = (test(CompareOp::Le, a.0, b.1), test(CompareOp::Le, b.0, a.1));
                let (first, second) = (test(CompareOp::Eq, a.0, b.1), test(CompareOp::Eq, a.1, b.0));
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
    pub(super) fn interval(&mut self, expr: ExprId) -> Option<Span> {
        if let Some(value) = self.constant(expr) {
            return Some((value, value));
        }
        match *self.cascade.exprs.get(expr) {
            Expr::Index(rank) => self.index_interval(rank),
            Expr::Read(..) => self.extremes(expr),
            Expr::Unary(UnaryOp::Neg, a) => {
                let (low, high) = self.interval(a)?;
                let mut negated = |it| self.builder.unary(UnaryOp::Neg, it);
                Some((negated(high), negated(low)))
            }
            Expr::Unary(UnaryOp::Abs, a) => {
                let (low, high) = self.interval(a)?;
                let (zero, down) = (self.builder.int(0), self.builder.unary(UnaryOp::Neg, low));
                let most = self.builder.binary(BinaryOp::Max, high, down);
                let up = self.builder.binary(BinaryOp::Max, low, zero);
                let beyond = self.builder.unary(UnaryOp::Neg, high);
                let least = self.builder.binary(BinaryOp::Max, up, beyond);
                Some((least, most))
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.interval(a)?, self.interval(b)?);
                self.combined(op, a, b)
            }
            _ => None,
        }
    }

    /// The least and the greatest of what is read along one rank of the box, found by a walk along it.
    fn extremes(&mut self, expr: ExprId) -> Option<Span> {
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
        known.present.is_none().then(|| (all[0], all[1]))
    }

    fn index_interval(&mut self, rank: RankId) -> Option<Span> {
        if let Some(&index) = self.builder.indices.get(&rank) {
            return Some((index, index));
        }
        let parts = self.cascade.ranks[rank].parts.clone();
        if parts.is_empty() {
            let (from, to) = self.span(rank);
            return Some((from, self.plus(to, -1)));
        }
        let mut all: Option<Span> = None;
        for part in parts {
            let (low, high) = self.index_interval(part)?;
            let Some((lows, highs)) = all else {
                all = Some((low, high));
                continue;
            };
            let extent = self.extent(part);
            let (lows, highs) = [lows, highs].map(|it| self.builder.binary(BinaryOp::Mul, it, extent)).into();
            let mut sum = |a, b| self.builder.binary(BinaryOp::Add, a, b);
            all = Some((sum(lows, low), sum(highs, high)));
        }
        all
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn combined(&mut self, op: BinaryOp, a: Span, b: Span) -> Option<Span> {
        let mut of = |a, b| self.builder.binary(op, a, b);
        match op {
            BinaryOp::Add | BinaryOp::Min | BinaryOp::Max => Some((of(a.0, b.0), of(a.1, b.1))),
            BinaryOp::Sub => Some((of(a.0, b.1), of(a.1, b.0))),
            BinaryOp::Mul => {
                let corners = [of(a.0, b.0), of(a.0, b.1), of(a.1, b.0), of(a.1, b.1)];
                let mut all = |op| corners.into_iter().reduce(|a, b| self.builder.binary(op, a, b));
                Some((all(BinaryOp::Min)?, all(BinaryOp::Max)?))
            }
            // A divisor of which nothing is known could be 0, or negative.
            BinaryOp::FloorDiv if b.0 == b.1 && self.builder.is_positive(b.0) => {
                let mut of = |a, b| self.builder.binary(op, a, b);
                Some((of(a.0, b.0), of(a.1, b.0)))
            }
            BinaryOp::Mod if b.0 == b.1 && self.builder.is_positive(b.0) => {
                let mut of = |op, a, b| self.builder.binary(op, a, b);
                let (first, last) = (of(BinaryOp::FloorDiv, a.0, b.0), of(BinaryOp::FloorDiv, a.1, b.0));
                let (low, high) = (of(BinaryOp::Mod, a.0, b.0), of(BinaryOp::Mod, a.1, b.0));
                let one_turn = self.builder.compare(CompareOp::Eq, first, last);
                let (zero, top) = (self.builder.int(0), self.plus(b.0, -1));
                Some((self.builder.select(one_turn, low, zero), self.builder.select(one_turn, high, top)))
            }
            _ => None,
        }
    }
}

fn einsum(act: &Act) -> Option<&Einsum> {
    match act {
        Act::Define(it) | Act::Fold(it) => Some(it),
        Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
    }
}
