//! What a state fades by inside a chunk: running products of its gates.
//!
//! ```text
//! start[c, i] = cumprod[i](gate)                                  from the start of the chunk to each token
//! end[c, i] = cumprod[i](if i == 0 then 1 else gate[c, |i| - i])  the last so many gates of the chunk
//! between[c, i, j] = cumprod[i](if i > j then gate else 1)        between two tokens
//! ```

use attnc_dsl::ast::CompareOp;

use super::form::Form;
use super::tokens::Tokens;
use crate::ir::cascade::{ExprId, RankId, ScanOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// The products of the gates of one chunk.
pub(super) struct Fading {
    /// From the start of the chunk to each token, that token included.
    pub(super) start: TensorId,
    /// From each place to the end of the chunk, counted backwards: the product of the last so many gates.
    pub(super) end: TensorId,
    /// What they fade along, besides the tokens.
    pub(super) free: Vec<RankId>,
}

impl Form<'_> {
    /// The place up to which a chunk fades. A gate that depends on the token is 1 beyond the last one; the chunk
    /// of one that does not ends there.
    pub(super) fn last_place(&mut self) -> ExprId {
        let Tokens { rank, chunk, size, .. } = self.tokens;
        let last = self.draft.exprs().int(size - 1);
        if self.gate.is_some_and(|it| self.draft.touches(it, &[chunk])) {
            return last;
        }
        let (extent, index) = (self.draft.extent(rank), self.draft.exprs().index(chunk));
        let (one, all) = (self.draft.exprs().int(1), self.draft.exprs().int(size));
        let first = self.draft.exprs().binary(BinaryOp::Mul, index, all);
        let left = self.draft.exprs().binary(BinaryOp::Sub, extent, first);
        let left = self.draft.exprs().binary(BinaryOp::Sub, left, one);
        self.draft.exprs().binary(BinaryOp::Min, left, last)
    }

    /// The products of gates that every reading needs.
    pub(super) fn fade(&mut self) {
        if self.state.gate.is_empty() {
            return;
        }
        let Tokens { chunk, place, size, .. } = self.tokens;
        let one = self.draft.exprs().real(1.0);
        let value = self.draft.multiplied(&self.state.gate);
        let free = self.draft.free(&[value]);
        let order: Vec<RankId> = self.others.clone();
        let own: Vec<RankId> = free.iter().copied().filter(|it| *it != chunk && *it != place).collect();
        let varies = own.len() < free.len();
        let (mut outer, inner) = self.parted(&own, &order);
        if varies {
            outer.push(chunk);
        }
        let dims: Vec<RankId> = [outer.as_slice(), &[place], &inner].concat();
        let gate = if varies {
            let total = self.draft.exprs().add(Expr::Else(value, one));
            let tensor = self.draft.sum(&format!("{}.gate", self.name), &dims, &[], total);
            self.draft.read(tensor)
        } else {
            value
        };
        self.gate = Some(gate);
        let start = self.draft.running(&format!("{}.start", self.name), &dims, ScanOp::Prod, place, gate);
        let (index, zero, all) =
            (self.draft.exprs().index(place), self.draft.exprs().int(0), self.draft.exprs().int(size));
        let first = self.draft.compare(CompareOp::Eq, index, zero);
        let back = self.draft.exprs().binary(BinaryOp::Sub, all, index);
        // Within the chunk for the first place, too, though nothing asks for it there.
        let last = self.draft.exprs().int(size - 1);
        let back = self.draft.exprs().binary(BinaryOp::Min, back, last);
        let reversed = self.draft.moved(gate, place, back);
        let reversed = self.draft.exprs().add(Expr::If(first, one, reversed));
        let end = self.draft.running(&format!("{}.end", self.name), &dims, ScanOp::Prod, place, reversed);
        self.fading = Some(Fading { start, end, free: own });
    }

    /// The product of the gates from the start of the chunk to a token.
    pub(super) fn since_start(&mut self, inclusive: bool) -> Option<ExprId> {
        let start = self.fading.as_ref()?.start;
        if inclusive {
            return Some(self.draft.read(start));
        }
        let place = self.tokens.place;
        let (index, zero) = (self.draft.exprs().index(place), self.draft.exprs().int(0));
        let (one, unit) = (self.draft.exprs().int(1), self.draft.exprs().real(1.0));
        let first = self.draft.compare(CompareOp::Eq, index, zero);
        let earlier = self.draft.exprs().binary(BinaryOp::Sub, index, one);
        let read = self.draft.read_at(start, &[(place, earlier)]);
        Some(self.draft.exprs().add(Expr::If(first, unit, read)))
    }

    /// The product of the gates between two tokens of a chunk, the earlier one excluded.
    pub(super) fn between(&mut self, inclusive: bool) -> Option<ExprId> {
        let gate = self.gate?;
        let free = self.fading.as_ref()?.free.clone();
        let Tokens { chunk, place, key, .. } = self.tokens;
        let (mut last, mut from) = (gate, self.draft.exprs().index(key));
        let index = self.draft.exprs().index(place);
        if !inclusive {
            let one = self.draft.exprs().int(1);
            let earlier = self.draft.exprs().binary(BinaryOp::Sub, index, one);
            last = self.draft.moved(gate, place, earlier);
            from = self.draft.plus(from, one);
        }
        let one = self.draft.exprs().real(1.0);
        let later = self.draft.compare(CompareOp::Gt, index, from);
        let value = self.draft.exprs().add(Expr::If(later, last, one));
        let order = self.others.clone();
        let (mut outer, inner) = self.parted(&free, &order);
        if self.draft.free(&[value]).contains(&chunk) {
            outer.push(chunk);
        }
        let dims = [outer.as_slice(), &[place, key], &inner].concat();
        let tensor = self.draft.running(&format!("{}.between", self.name), &dims, ScanOp::Prod, place, value);
        Some(self.draft.read(tensor))
    }
}
