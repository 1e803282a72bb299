//! Affine conditions to bounds of a loop: which tiles of a rank can matter at all.
//!
//! ```text
//! n <= m + |n| - |m|   ->   n runs to max(m) + |n| - |m|      over the rows of the box
//! m - n < w            ->   n runs from min(m) - w + 1
//! ```

use attnc_dsl::ast::{CompareOp, Kind};

use super::Tiling;
use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::nest::ValueId;

/// Bounds of a rank's coordinates: the first, and one past the last.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    from: Option<ValueId>,
    to: Option<ValueId>,
}

/// `sign · rank + Σ terms`, each with its own sign.
struct Line {
    sign: i64,
    terms: Vec<(i64, ExprId)>,
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
            let bounds = self.bounds_of(list, rank);
            all = Some(match all {
                None => bounds,
                Some(all) => Bounds {
                    from: self.both_bounds(BinaryOp::Min, all.from, bounds.from),
                    to: self.both_bounds(BinaryOp::Max, all.to, bounds.to),
                },
            });
        }
        let Bounds { from, to } = all.unwrap_or_default();
        let (begin, _) = self.span(rank);
        let zero = self.builder.int(0);
        let first = from.map_or(zero, |from| {
            let from = self.minus(from, begin);
            let number = self.builder.binary(BinaryOp::FloorDiv, from, tile);
            self.builder.binary(BinaryOp::Max, number, zero)
        });
        let last = to.map_or(count, |to| {
            let to = self.minus(to, begin);
            let number = self.pieces(to, tile);
            self.builder.binary(BinaryOp::Min, number, count)
        });
        (first, last)
    }

    /// What holds of the coordinates wherever one of two does; nothing if one says nothing.
    fn both_bounds(&mut self, op: BinaryOp, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
        Some(self.builder.binary(op, a?, b?))
    }

    /// The bounds that follow from all of some conditions.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn bounds_of(&mut self, conditions: &[ExprId], rank: RankId) -> Bounds {
        let mut all = Bounds::default();
        for &condition in conditions {
            let Expr::Compare(op, a, b) = *self.cascade.exprs.get(condition) else { continue };
            if self.cascade.exprs.kind(a) != Kind::Int {
                continue;
            }
            match *self.cascade.exprs.get(a) {
                Expr::Unary(UnaryOp::Abs, inner) if matches!(op, CompareOp::Le | CompareOp::Lt) => {
                    self.restrict(&mut all, op, (inner, 1), b, rank);
                    self.restrict(&mut all, op, (inner, -1), b, rank);
                }
                _ => self.restrict(&mut all, op, (a, 1), b, rank),
            }
        }
        all
    }

    /// Adds what `sign · a op b` says.
    fn restrict(
        &mut self,
        all: &mut Bounds,
        op: CompareOp,
        (a, sign): (ExprId, i64),
        b: ExprId,
        rank: RankId,
    ) {
        let mut line = Line { sign: 0, terms: Vec::new() };
        if !self.add(&mut line, sign, a, rank) || !self.add(&mut line, -1, b, rank) {
            return;
        }
        // The condition is now `line.sign · rank + rest op 0`.
        let Some((low, high)) = self.rest(&line.terms) else { return };
        let strict = i64::from(matches!(op, CompareOp::Lt | CompareOp::Gt));
        let above = matches!(op, CompareOp::Le | CompareOp::Lt);
        let below = matches!(op, CompareOp::Ge | CompareOp::Gt);
        let equal = op == CompareOp::Eq;
        let zero = self.builder.int(0);
        let (least, most) = match line.sign {
            1 => (
                self.builder.binary(BinaryOp::Sub, zero, high),
                self.builder.binary(BinaryOp::Sub, zero, low),
            ),
            -1 => (low, high),
            _ => return,
        };
        // `rank <= most` where the comparison bounds it from above, `rank >= least` from below.
        let (upper, lower) = if line.sign == 1 { (above, below) } else { (below, above) };
        if upper || equal {
            let to = self.plus(most, 1 - strict);
            all.to = Some(all.to.map_or(to, |it| self.builder.binary(BinaryOp::Min, it, to)));
        }
        if lower || equal {
            let from = self.plus(least, strict);
            all.from = Some(all.from.map_or(from, |it| self.builder.binary(BinaryOp::Max, it, from)));
        }
    }

    /// Adds an expression to a line; false if it is not affine in the rank with a factor of ±1.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn add(&self, line: &mut Line, sign: i64, expr: ExprId, rank: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        if !exprs.free(expr).contains(&rank) {
            line.terms.push((sign, expr));
            return true;
        }
        match *exprs.get(expr) {
            Expr::Index(it) if it == rank => {
                line.sign += sign;
                true
            }
            Expr::Unary(UnaryOp::Neg, a) => self.add(line, -sign, a, rank),
            Expr::Binary(BinaryOp::Add, a, b) => {
                self.add(line, sign, a, rank) && self.add(line, sign, b, rank)
            }
            Expr::Binary(BinaryOp::Sub, a, b) => {
                self.add(line, sign, a, rank) && self.add(line, -sign, b, rank)
            }
            _ => false,
        }
    }

    /// Between which numbers a sum lies.
    fn rest(&mut self, terms: &[(i64, ExprId)]) -> Option<(ValueId, ValueId)> {
        let mut sum = (self.builder.int(0), self.builder.int(0));
        for &(sign, term) in terms {
            let (low, high) = self.interval(term)?;
            let (op, low, high) =
                if sign > 0 { (BinaryOp::Add, low, high) } else { (BinaryOp::Sub, high, low) };
            sum = (self.builder.binary(op, sum.0, low), self.builder.binary(op, sum.1, high));
        }
        Some(sum)
    }
}
