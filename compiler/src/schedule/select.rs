//! Selections over what is traversed: the best points so far, in order, with their indices.
//!
//! ```text
//! I = topk[n -> j](x)   ->   I.at = -1;  for each tile of n:  I.best topk= x, with the indices in I.at
//! ```
//!
//! The order of points does not depend on the order in which they come: of equal values the smaller index is first.

use attnc_dsl::ast::{CompareOp, Kind};

use super::plan::Act;
use super::scaled::Scaled;
use super::weave::{Weaver, left};
use crate::ir::cascade::{Einsum, Op};
use crate::ir::expr::Expr;

impl Weaver<'_> {
    /// A selection over a traversal: after it, the indices, absent where there were fewer points.
    pub(super) fn selection(&mut self, einsum: &Einsum, level: usize) -> Scaled {
        let along = self.shapes.of[&einsum.tensor].fold.clone();
        let name = self.cascade.tensors[einsum.tensor].name.clone();
        let ranks = self.ranks_of(einsum.tensor);
        let value = self.plain(einsum.value);
        let kind = self.cascade.exprs.kind(value);
        let (best, _) = self.new_tile(&format!("{name}.best"), &ranks, kind);
        let (indices, read) = self.new_tile(&format!("{name}.at"), &ranks, Kind::Int);
        self.indices.insert(best, indices);
        let exprs = &mut self.cascade.exprs;
        let (none, zero) = (exprs.int(-1), exprs.int(0));
        let nothing = match kind {
            Kind::Int => zero,
            Kind::Real => exprs.real(0.0),
            Kind::Bool => exprs.add(Expr::Bool(false)),
        };
        let found = exprs.compare(CompareOp::Ge, read, zero);
        let index = exprs.add(Expr::Where(read, found));
        let clear = |tensor, value| {
            Act::Define(Einsum { tensor, at: left(&ranks), op: Op::Map, value, exact: false })
        };
        let starts = [clear(best, nothing), clear(indices, none)];
        let fold = Einsum { tensor: best, at: left(&ranks), op: einsum.op.clone(), value, exact: false };
        let round = self.round(level, &along);
        round.starts.extend(starts);
        round.effects.push(Act::Fold(fold));
        Scaled::plain(index)
    }

    /// The stage keeps the best points of a traversal.
    pub(super) fn selects(&self) -> bool {
        let selects = |it: &Einsum| matches!(it.op, Op::Select(..) | Op::Arg(..));
        self.group.cone.iter().any(|it| selects(self.flow.einsums[it]))
    }
}
