//! Conditions to bounds of a loop: which tiles of a rank can matter at all.
//!
//! ```text
//! n <= m + |n| - |m|     ->   n runs to max(m) + |n| - |m|      over the rows of the box
//! abs(m - n) < w         ->   n runs from min(m) - w + 1 to max(m) + w - 1
//! n // 16 == m // 16     ->   n runs from the first key of the block of min(m) to the last of that of max(m)
//! ```

use attnc_dsl::ast::{CompareOp, Kind};

use super::Tiling;
use super::bounds::Interval;
use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::nest::ValueId;

/// Bounds of an integer, both included; `None` says nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    least: Option<ValueId>,
    most: Option<ValueId>,
    /// A condition without which they say nothing.
    given: Option<ValueId>,
}

impl Bounds {
    fn say_nothing(self) -> bool {
        self.least.is_none() && self.most.is_none()
    }
}

impl Tiling<'_> {
    /// The first tile of a rank that can matter, and one past the last, of so many of some length that begin where
    /// the box does.
    pub(super) fn tiles_that_matter(
        &mut self,
        lists: &[Vec<ExprId>],
        rank: RankId,
        tile: ValueId,
        count: ValueId,
    ) -> (ValueId, ValueId) {
        let mut all: Option<Bounds> = None;
        for list in lists {
            let mut bounds = Bounds::default();
            for &condition in list {
                let it = self.bounds_where(condition, true, rank);
                bounds = self.all_of_bounds(bounds, it);
            }
            all = Some(all.map_or(bounds, |all| self.any_of_bounds(all, bounds)));
        }
        let Bounds { least, most, .. } = all.unwrap_or_default();
        let (begin, _) = self.span(rank);
        let zero = self.builder.int(0);
        let first = least.map_or(zero, |least| {
            let from = self.minus(least, begin);
            let number = self.builder.binary(BinaryOp::FloorDiv, from, tile);
            self.builder.binary(BinaryOp::Max, number, zero)
        });
        let last = most.map_or(count, |most| {
            let to = self.plus(most, 1);
            let to = self.minus(to, begin);
            let number = self.pieces(to, tile);
            self.builder.binary(BinaryOp::Min, number, count)
        });
        (first, last)
    }

    /// The first coordinate of a rank where all conditions may hold, and one past the last.
    pub(super) fn where_all_hold(
        &mut self,
        conditions: &[ExprId],
        rank: RankId,
    ) -> (Option<ValueId>, Option<ValueId>) {
        let mut all = Bounds::default();
        for &condition in conditions {
            let it = self.bounds_where(condition, true, rank);
            all = self.all_of_bounds(all, it);
        }
        (all.least, all.most.map(|it| self.plus(it, 1)))
    }

    /// The first coordinate of a rank where one of some conditions may not hold, if there is one that is known.
    pub(super) fn where_one_fails(&mut self, conditions: &[ExprId], rank: RankId) -> Option<ValueId> {
        let all: Vec<Bounds> = conditions.iter().map(|&it| self.bounds_where(it, false, rank)).collect();
        all.into_iter().reduce(|a, b| self.any_of_bounds(a, b))?.least
    }

    /// What holds of a number where two statements hold.
    fn all_of_bounds(&mut self, a: Bounds, b: Bounds) -> Bounds {
        let mut both = |op, a: Option<ValueId>, b: Option<ValueId>| match (a, b) {
            (Some(a), Some(b)) => Some(self.builder.binary(op, a, b)),
            (a, b) => a.or(b),
        };
        Bounds {
            least: both(BinaryOp::Max, a.least, b.least),
            most: both(BinaryOp::Min, a.most, b.most),
            given: None,
        }
    }

    /// What holds of a number where one of two statements holds.
    fn any_of_bounds(&mut self, a: Bounds, b: Bounds) -> Bounds {
        let mut both = |op, a: Option<ValueId>, b: Option<ValueId>| Some(self.builder.binary(op, a?, b?));
        Bounds {
            least: both(BinaryOp::Min, a.least, b.least),
            most: both(BinaryOp::Max, a.most, b.most),
            given: None,
        }
    }

    /// The coordinates of a rank where a condition holds, or where it is present and does not.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn bounds_where(&mut self, condition: ExprId, holds: bool, rank: RankId) -> Bounds {
        let exprs = &self.cascade.exprs;
        if !exprs.free(condition).contains(&rank) {
            return Bounds::default();
        }
        match *exprs.get(condition) {
            Expr::Unary(UnaryOp::Not, a) => self.bounds_where(a, !holds, rank),
            Expr::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => {
                let [a, b] = [a, b].map(|it| self.bounds_where(it, holds, rank));
                let all = (op == BinaryOp::And) == holds;
                if all { self.all_of_bounds(a, b) } else { self.any_of_bounds(a, b) }
            }
            Expr::If(_, a, b) => {
                let [a, b] = [a, b].map(|it| self.bounds_where(it, holds, rank));
                self.any_of_bounds(a, b)
            }
            Expr::Compare(op, a, b) if exprs.kind(a) == Kind::Int => {
                let op = if holds { op } else { negated(op) };
                let left = self.bounds_beside(a, op, b, rank);
                let right = self.bounds_beside(b, turned(op), a, rank);
                self.all_of_bounds(left, right)
            }
            _ => Bounds::default(),
        }
    }

    /// The coordinates of a rank of which `a op b` holds for some value of `b`.
    fn bounds_beside(&mut self, a: ExprId, op: CompareOp, b: ExprId, rank: RankId) -> Bounds {
        if op == CompareOp::Ne || !self.cascade.exprs.free(a).contains(&rank) {
            return Bounds::default();
        }
        let Some(Interval { low, high, given }) = self.interval(b) else { return Bounds::default() };
        let bounds = match op {
            CompareOp::Lt => Bounds { most: Some(self.plus(high, -1)), ..Bounds::default() },
            CompareOp::Le => Bounds { most: Some(high), ..Bounds::default() },
            CompareOp::Gt => Bounds { least: Some(self.plus(low, 1)), ..Bounds::default() },
            CompareOp::Ge => Bounds { least: Some(low), ..Bounds::default() },
            CompareOp::Eq => Bounds { least: Some(low), most: Some(high), given: None },
            CompareOp::Ne => Bounds::default(),
        };
        self.where_within(a, Bounds { given, ..bounds }, rank)
    }

    /// The coordinates of a rank for which an expression is within bounds.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn where_within(&mut self, expr: ExprId, within: Bounds, rank: RankId) -> Bounds {
        let exprs = &self.cascade.exprs;
        if within.say_nothing() || !exprs.free(expr).contains(&rank) {
            return Bounds::default();
        }
        match *exprs.get(expr) {
            Expr::Index(it) if it == rank => self.wherever(within, rank),
            Expr::Index(whole) if exprs.atoms(whole).first() == Some(&rank) => {
                let within = self.of_major(whole, within);
                self.wherever(within, rank)
            }
            Expr::Unary(UnaryOp::Neg, a) => {
                let within = self.negative(within);
                self.where_within(a, within, rank)
            }
            Expr::Unary(UnaryOp::Abs, a) => {
                let down = within.most.map(|it| self.builder.unary(UnaryOp::Neg, it));
                self.where_within(a, Bounds { least: down, ..within }, rank)
            }
            Expr::Binary(op, a, b) => {
                let (left, right) = self.operands_within(op, (a, b), within, rank);
                let left = self.where_within(a, left, rank);
                let right = self.where_within(b, right, rank);
                self.all_of_bounds(left, right)
            }
            _ => Bounds::default(),
        }
    }

    /// Between which bounds the operands lie if the result lies between some.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn operands_within(
        &mut self,
        op: BinaryOp,
        (a, b): (ExprId, ExprId),
        within: Bounds,
        rank: RankId,
    ) -> (Bounds, Bounds) {
        let has_rank = |it: ExprId| self.cascade.exprs.free(it).contains(&rank);
        let (left, right) = (has_rank(a), has_rank(b));
        let mut shifted = |wanted: bool, within, op, other| match wanted {
            true => self.shifted(within, op, other),
            false => Bounds::default(),
        };
        match op {
            BinaryOp::Add => {
                (shifted(left, within, BinaryOp::Sub, b), shifted(right, within, BinaryOp::Sub, a))
            }
            BinaryOp::Sub => {
                let a_bounds = shifted(left, within, BinaryOp::Add, b);
                let turned = self.negative(within);
                (a_bounds, if right { self.shifted(turned, BinaryOp::Add, a) } else { Bounds::default() })
            }
            BinaryOp::Min => {
                let both = Bounds { most: None, ..within };
                (both, both)
            }
            BinaryOp::Max => {
                let both = Bounds { least: None, ..within };
                (both, both)
            }
            BinaryOp::FloorDiv => (self.dividend(a, b, within), Bounds::default()),
            _ => (Bounds::default(), Bounds::default()),
        }
    }

    /// Bounds of a number from those of its sum with another, or of its difference, undone by `undo`.
    fn shifted(&mut self, within: Bounds, undo: BinaryOp, other: ExprId) -> Bounds {
        let Some(Interval { low, high, given }) = self.interval(other) else { return Bounds::default() };
        let (low, high) = if undo == BinaryOp::Sub { (high, low) } else { (low, high) };
        let mut by = |it: Option<ValueId>, other| Some(self.builder.binary(undo, it?, other));
        let (least, most) = (by(within.least, low), by(within.most, high));
        Bounds { least, most, given: self.builder.both(within.given, given) }
    }

    fn negative(&mut self, it: Bounds) -> Bounds {
        let mut negated = |it: ValueId| self.builder.unary(UnaryOp::Neg, it);
        Bounds { least: it.most.map(&mut negated), most: it.least.map(&mut negated), ..it }
    }

    /// Bounds of a number from those of its quotient by a positive one, rounded down.
    fn dividend(&mut self, a: ExprId, by: ExprId, quotient: Bounds) -> Bounds {
        let Some(by) = self.interval(by).and_then(Interval::single) else { return Bounds::default() };
        let Some(range) = self.interval(a) else { return Bounds::default() };
        let positive = self.positive(by);
        let mut within = |op, it: ValueId, end: ValueId| {
            // What the quotient cannot be anyway might not fit when it is multiplied.
            let end = self.builder.binary(BinaryOp::FloorDiv, end, by);
            let it = self.builder.binary(op, it, end);
            self.builder.binary(BinaryOp::Mul, it, by)
        };
        let least = quotient.least.map(|it| within(BinaryOp::Max, it, range.low));
        let most = quotient.most.map(|it| within(BinaryOp::Min, it, range.high));
        let most = most.map(|first| {
            let next = self.builder.binary(BinaryOp::Add, first, by);
            self.plus(next, -1)
        });
        let given = self.builder.both(quotient.given, range.given);
        Bounds { least, most, given: self.builder.both(given, positive) }
    }

    /// Bounds of the first part-less rank of a composite from those of its coordinate.
    fn of_major(&mut self, whole: RankId, within: Bounds) -> Bounds {
        let parts = self.cascade.ranks[whole].parts.clone();
        let Some((&major, minors)) = parts.split_first() else { return within };
        let mut points = self.builder.int(1);
        for &minor in minors {
            let extent = self.extent(minor);
            points = self.builder.binary(BinaryOp::Mul, points, extent);
        }
        let mut of = |it: ValueId| self.builder.binary(BinaryOp::FloorDiv, it, points);
        let bounds = Bounds { least: within.least.map(&mut of), most: within.most.map(&mut of), ..within };
        self.of_major(major, bounds)
    }

    /// The bounds of a rank, whether or not they are given.
    fn wherever(&mut self, within: Bounds, rank: RankId) -> Bounds {
        let Some(given) = within.given else { return within };
        let (from, to) = self.span(rank);
        let last = self.plus(to, -1);
        let least = within.least.map(|it| self.builder.select(given, it, from));
        let most = within.most.map(|it| self.builder.select(given, it, last));
        Bounds { least, most, given: None }
    }
}

/// What holds where a comparison does not.
fn negated(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Eq => CompareOp::Ne,
        CompareOp::Ne => CompareOp::Eq,
        CompareOp::Lt => CompareOp::Ge,
        CompareOp::Le => CompareOp::Gt,
        CompareOp::Gt => CompareOp::Le,
        CompareOp::Ge => CompareOp::Lt,
    }
}

/// The comparison of the operands in the other order.
fn turned(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Eq | CompareOp::Ne => op,
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
    }
}
