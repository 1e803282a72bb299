//! Sums under conditions on coordinates: in a walk, whose tiles hold all of a chunk, a loop goes no further than the
//! conditions allow, and tests none of them where all hold for every row at hand.
//!
//! ```text
//! i in 6 .. 12                                  i in 6 .. 12
//!   for j in 0 .. 64                      ->      for j in 0 .. 7: o[i] += a[i, j] * b[j]
//!     o[i] += a[i, j] * b[j] where j <= i         for j in 7 .. 12: o[i] += a[i, j] * b[j] where j <= i
//! ```

use super::Tiling;
use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr, parts};
use crate::ir::nest::ValueId;

/// The coordinates that a loop goes along.
pub(super) struct Cut {
    pub(super) begin: ValueId,
    /// Up to here all conditions hold.
    pub(super) safe: ValueId,
    pub(super) end: ValueId,
}

impl Tiling<'_> {
    /// The conditions on an expression as a whole, but for those that are known to hold.
    pub(super) fn conditions_on(&self, mut value: ExprId) -> Vec<ExprId> {
        let mut all = Vec::new();
        while let &Expr::Where(x, condition) = self.cascade.exprs.get(value) {
            all.extend(parts(&self.cascade.exprs, condition));
            value = x;
        }
        all.retain(|it| !self.is_holding(*it));
        all
    }

    /// What conditions leave of a rank that a walk holds whole; none if they say nothing about it.
    pub(super) fn cut(&mut self, conditions: &[ExprId], rank: RankId) -> Option<Cut> {
        let told = conditions.iter().any(|it| self.cascade.exprs.free(*it).contains(&rank));
        if !self.region.walks || !told {
            return None;
        }
        // Rows that are worked on together are an interval.
        let rows = self.rows.map(|it| {
            let end = self.plus(it.first, it.dim.extent.into());
            let span = self.region.spans.insert(it.dim.rank, (it.first, end));
            (it.dim.rank, self.builder.indices.remove(&it.dim.rank), span)
        });
        let (may, fail) = (self.where_all_hold(conditions, rank), self.where_one_fails(conditions, rank));
        if let Some((rank, index, span)) = rows {
            self.builder.indices.extend(index.map(|it| (rank, it)));
            self.region.spans.remove(&rank);
            self.region.spans.extend(span.map(|it| (rank, it)));
        }
        let (from, to) = self.span(rank);
        let mut larger = |op, a, b: Option<ValueId>| b.map_or(a, |b| self.builder.binary(op, a, b));
        let begin = larger(BinaryOp::Max, from, may.0);
        let end = larger(BinaryOp::Min, to, may.1);
        let end = larger(BinaryOp::Max, begin, Some(end));
        let safe = larger(BinaryOp::Min, end, Some(fail.unwrap_or(begin)));
        let safe = larger(BinaryOp::Max, begin, Some(safe));
        let cut = Cut { begin, safe, end };
        let scalar = |it: &ValueId| self.builder.nest.values[*it].shape.is_empty();
        [cut.begin, cut.safe, cut.end].iter().all(scalar).then_some(cut)
    }
}
