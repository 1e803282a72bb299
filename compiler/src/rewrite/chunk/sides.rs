//! What the tokens of a chunk give to others, held once for the chunk: a term in two sides.
//!
//! ```text
//! k[t, d] * b[t] * v[t, e]     side of features [c, d, i] = k else 0; other side [c, i, e] = b * v else 0
//! ```
//!
//! A side is 0 beyond the last token, so that a sum over the places of a chunk need not ask which of them are there. That
//! of features has the places last, next to each other, for they are what scores are computed for together; where they
//! fade by features, a score is a sum of products of three, and features are next to each other.

use super::Walker;
use super::form::Form;
use super::product::Product;
use super::tokens::Tokens;
use crate::ir::cascade::{ExprId, RankId, Role};
use crate::ir::expr::Expr;

impl Form<'_> {
    /// The factors of a term that have some features, and the others.
    pub(super) fn sides(&self, term: &Product, features: &[RankId]) -> (Vec<ExprId>, Vec<ExprId>) {
        term.factors.iter().partition(|&&it| self.draft.touches(it, features))
    }

    /// The features that readings sum over.
    pub(super) fn features(&self) -> Vec<RankId> {
        self.state.all_readings().flat_map(|it| self.draft.atoms(&it.over)).collect()
    }

    /// What earlier tokens of a chunk give: for each side its factors, at the place of the earlier token; and whether
    /// they are 0 beyond the last token.
    pub(super) fn at_keys(&mut self, sides: &[Vec<ExprId>; 2]) -> ([Vec<ExprId>; 2], bool) {
        let mut ends = self.total;
        let heads = self.draft.free(&sides[0]);
        let all = [0, 1].map(|at| {
            let side = &sides[at];
            let held: Vec<ExprId> = match self.total {
                true => self.side(side, &heads).into_iter().collect(),
                false => {
                    let others = self.others.clone();
                    side.iter().map(|&it| self.held(it, &others)).collect()
                }
            };
            ends &= held.iter().all(|&it| self.ends(it));
            held.into_iter().map(|it| self.at_key(it)).collect()
        });
        (all, ends)
    }

    /// A product that is computed once for each token of a chunk, and is 0 beyond the last one. Ranks of heads come
    /// before those of the chunk in memory.
    pub(super) fn side(&mut self, factors: &[ExprId], heads: &[RankId]) -> Option<ExprId> {
        let Tokens { chunk, place, .. } = self.tokens;
        let value = self.draft.multiplied(factors);
        let free = self.draft.free(&[value]);
        if factors.is_empty() || self.has_places(value) || !free.contains(&place) {
            return (!factors.is_empty()).then_some(value);
        }
        let zero = self.draft.exprs().real(0.0);
        let value = self.draft.exprs().add(Expr::Else(value, zero));
        if self.walker == Walker::Block && self.is_taken_in_place(factors) {
            return Some(value);
        }
        let own = free.into_iter().filter(|it| *it != chunk && *it != place);
        let features = self.features();
        let (first, rest): (Vec<RankId>, Vec<RankId>) = own.partition(|it| features.contains(it));
        let (outer, last): (Vec<RankId>, Vec<RankId>) = rest.into_iter().partition(|it| heads.contains(it));
        let [outer, first, last] = [outer, first, last].map(|it| self.draft.dims(&it, &self.others));
        let dims = match self.fades_by_features() {
            true => [outer.as_slice(), &[chunk, place], &first, &last].concat(),
            false => [outer.as_slice(), &[chunk], &first, &[place], &last].concat(),
        };
        let tensor = self.draft.sum(&format!("{}.side", self.name), &dims, &[], value);
        Some(self.draft.read(tensor))
    }

    /// Between two tokens there is a product of gates for each feature.
    fn fades_by_features(&self) -> bool {
        let features = self.features();
        self.fading.as_ref().is_some_and(|it| it.free.iter().any(|it| features.contains(it)))
    }

    /// Products of matrices take it where it lies in memory, or it is made of what a block has of its rows.
    fn is_taken_in_place(&self, factors: &[ExprId]) -> bool {
        let features = self.features();
        let dims = self.draft.atoms(&self.others);
        let is_row = |it: &RankId| dims.contains(it) && !features.contains(it);
        let is_input = |it: &ExprId| match self.draft.cascade.exprs.get(*it) {
            Expr::Read(tensor, ..) => self.draft.cascade.tensors[*tensor].role == Role::Input,
            _ => false,
        };
        let readers = self.state.all_readings().flat_map(|it| self.draft.free(&it.weights.factors));
        let shared: Vec<RankId> = readers.collect();
        let free = self.draft.free(factors);
        let has_rows = free.iter().any(|it| is_row(it) && !shared.contains(it));
        has_rows || matches!(factors, [it] if is_input(it))
    }

    /// It is 0 beyond the last token.
    fn ends(&self, value: ExprId) -> bool {
        matches!(self.draft.cascade.exprs.get(value), Expr::Else(..)) || self.has_places(value)
    }

    /// It is held for all places of a chunk.
    fn has_places(&self, value: ExprId) -> bool {
        let Expr::Read(tensor, ..) = self.draft.cascade.exprs.get(value) else { return false };
        self.draft.cascade.tensors[*tensor].dims.iter().any(|it| it.rank == self.tokens.place)
    }

    /// A value that is computed once for each token of a chunk, if it has to be computed: it is used for every pair.
    pub(super) fn held(&mut self, value: ExprId, order: &[RankId]) -> ExprId {
        let Tokens { chunk, place, .. } = self.tokens;
        let free = self.draft.free(&[value]);
        let is_computed = match self.draft.cascade.exprs.get(value) {
            Expr::Read(tensor, ..) => {
                let it = &self.draft.cascade.tensors[*tensor];
                it.role != Role::Input && !it.dims.iter().any(|it| it.rank == place)
            }
            _ => !self.draft.is_held(value),
        };
        if !(is_computed && free.contains(&chunk) && free.contains(&place)) {
            return value;
        }
        let own: Vec<RankId> = free.into_iter().filter(|it| *it != chunk && *it != place).collect();
        let (outer, inner) = self.parted(&own, order);
        let dims = [outer.as_slice(), &[chunk, place], &inner].concat();
        let zero = self.draft.exprs().real(0.0);
        let value =
            if self.draft.is_total(value) { self.draft.exprs().add(Expr::Else(value, zero)) } else { value };
        let tensor = self.draft.sum(&format!("{}.factor", self.name), &dims, &[], value);
        self.draft.read(tensor)
    }

    /// What is read or held for a token, for an earlier one of the chunk.
    pub(super) fn at_key(&mut self, value: ExprId) -> ExprId {
        let Tokens { rank, place, key, keys, .. } = self.tokens;
        let (token, within) = (self.draft.exprs().index(keys), self.draft.exprs().index(key));
        let value = self.draft.moved(value, rank, token);
        self.draft.moved(value, place, within)
    }
}
