//! A state that is read in its own update, in chunks: what the tokens of a chunk add depends on each other by a
//! triangle, which is solved once for the chunk.
//!
//! ```text
//! u[t, e] = b * (v - sum[d](w * H[t]));  H[t+1] = a * H[t] + k * u                            as written
//! N[c, i, j] = -b * sum[d](w[(c, i), d] * k[(c, j), d]) * L[c, i, j]                          of earlier tokens
//! T[c, i, j] = (if i == j then 1 else 0) + sum[l](N[c, i, l] * T[c, l, j] where l < i)        (I - N)⁻¹
//! u[c, i, e] = sum[j](T[c, i, j] * b * (v - D[c, j] * sum[d](w * G[c])) where j <= i)
//! G[c+1, d, e] = D[c, |i| - 1] * G[c, d, e] + sum[j](E[c, j] * k * u[c, j, e])
//! ```
//!
//! Nothing is divided by: the triangle has ones on its diagonal.

use attnc_dsl::ast::CompareOp;

use super::Walker;
use super::form::Form;
use super::own::Own;
use super::product::Product;
use super::tokens::Tokens;
use crate::ir::cascade::{At, Einsum, ExprId, Extent, Op, RankId, Recurrence, ReduceOp, Step, TensorId};
use crate::ir::expr::Expr;

impl Form<'_> {
    /// Puts what the tokens of a chunk add together in place of the factor that depends on the state.
    pub(super) fn solve(&mut self, own: &Own) {
        let Tokens { rank, chunk, place, .. } = self.tokens;
        let parts = |it: &RankId| if *it == rank { vec![chunk, place] } else { vec![*it] };
        let dims: Vec<RankId> = own.ranks.iter().flat_map(parts).collect();
        let inverse = self.inverse(own, &dims);
        let right = self.right(own, &dims);
        let solved = self.solved(inverse, right, &dims);
        let terms = self.terms.iter_mut().flat_map(|it| &mut it.factors);
        terms.filter(|it| **it == own.factor).for_each(|it| *it = solved);
        self.solved = Some(solved);
    }

    /// The inverse of the triangle: how much of what an earlier token would add by itself a token adds.
    fn inverse(&mut self, own: &Own, dims: &[RankId]) -> TensorId {
        let Tokens { place, key, size, .. } = self.tokens;
        let weights = self.held_weights(own, dims);
        let term = &self.terms[own.term];
        let factors = term.factors.iter().copied().filter(|it| *it != own.factor).collect();
        let term = Product { factors, conditions: Vec::new() };
        let name = self.name.clone();
        let pair = self.pair(&name, dims, &own.reading.over, &weights, &term, false);
        let value = self.draft.multiplied(&[own.rate.as_slice(), &pair.factors].concat());
        let zero = self.draft.exprs().real(0.0);
        // Beyond the last token nothing depends on anything.
        let value = self.draft.exprs().add(Expr::Else(value, zero));
        let order = [dims, &[key]].concat();
        let ranks = self.draft.dims(&[self.draft.free(&[value]).as_slice(), &[place, key]].concat(), &order);
        let pull = self.draft.sum(&format!("{name}.pull"), &ranks, &[], value);
        let between = self.draft.rank(
            &format!("{}.between", self.draft.cascade.ranks[self.tokens.rank].name),
            Vec::new(),
            Extent::Fixed(size),
        );
        let ranked = |draft: &super::draft::Draft| draft.cascade.tensors[pull].dims.clone();
        let dims = ranked(self.draft);
        let sums = self.draft.tensor(&format!("{name}.inverse.sum"), dims.clone());
        let inverse = self.draft.tensor(&format!("{name}.inverse"), dims.clone());
        let (i, l, j) = (
            self.draft.exprs().index(place),
            self.draft.exprs().index(between),
            self.draft.exprs().index(key),
        );
        let (pulled, earlier) =
            (self.draft.read_at(pull, &[(key, l)]), self.draft.read_at(inverse, &[(place, l)]));
        let through = self.draft.times(pulled, earlier);
        let is_earlier = self.draft.compare(CompareOp::Lt, l, i);
        let through = self.draft.exprs().add(Expr::Where(through, is_earlier));
        let (same, one) = (self.draft.compare(CompareOp::Eq, i, j), self.draft.exprs().real(1.0));
        let own_part = self.draft.exprs().add(Expr::If(same, one, zero));
        let sum = self.draft.read(sums);
        let value = self.draft.plus(own_part, sum);
        let at: Vec<At> = dims.iter().map(|it| At::Rank(it.rank, 0)).collect();
        let einsum = |tensor, op, value| Einsum { tensor, at: at.clone(), op, value, exact: false };
        let over = Op::Reduce(ReduceOp::Sum, vec![between]);
        let body = vec![einsum(sums, over, through), einsum(inverse, Op::Map, value)];
        self.draft.new.push(Step::Recurrence(Recurrence { rank: place, bases: Vec::new(), body }));
        inverse
    }

    /// What each token of a chunk would add if the others of the chunk added nothing that depends on them.
    fn right(&mut self, own: &Own, dims: &[RankId]) -> TensorId {
        let weights = self.held_weights(own, dims);
        let name = self.name.clone();
        let mut sum = self.before(&name, dims, &own.reading.over, &weights, false);
        for (at, term) in self.terms.clone().iter().enumerate() {
            if at != own.term {
                let inner = self.within(&name, dims, &own.reading.over, &weights, term, false);
                sum = self.draft.plus(sum, inner);
            }
        }
        let rate = self.draft.multiplied(&own.rate);
        let mut value = self.draft.times(rate, sum);
        for rest in &own.rest {
            let rest = self.draft.multiplied(&rest.factors);
            value = self.draft.plus(rest, value);
        }
        let zero = self.draft.exprs().real(0.0);
        let value = self.draft.exprs().add(Expr::Else(value, zero));
        let ranks = self.draft.dims(&self.draft.free(&[value]), dims);
        self.draft.sum(&format!("{name}.right"), &ranks, &[], value)
    }

    /// What each token of a chunk adds.
    fn solved(&mut self, inverse: TensorId, right: TensorId, dims: &[RankId]) -> ExprId {
        let Tokens { place, key, .. } = self.tokens;
        let (index, earlier) = (self.draft.exprs().index(place), self.draft.exprs().index(key));
        let (mut inverse, right) = (self.draft.read(inverse), self.draft.read_at(right, &[(place, earlier)]));
        let sees = self.draft.compare(CompareOp::Le, earlier, index);
        if self.walker == Walker::Block {
            inverse = self.seen(&format!("{}.inverse", self.name), dims, inverse, sees);
        }
        let value = self.conditioned(&[inverse, right], &[sees]);
        let mut free = self.draft.free(&[value]);
        free.retain(|it| *it != key);
        let ranks = self.draft.dims(&free, dims);
        let tensor = self.draft.sum(&format!("{}.solved", self.name), &ranks, &[key], value);
        self.draft.read(tensor)
    }

    fn held_weights(&mut self, own: &Own, dims: &[RankId]) -> Product {
        let factors = match self.total {
            true => {
                let heads = self.draft.free(&own.reading.weights.factors);
                self.side(&own.reading.weights.factors, &heads).into_iter().collect()
            }
            false => own.reading.weights.factors.iter().map(|&it| self.held(it, dims)).collect(),
        };
        Product { factors, conditions: Vec::new() }
    }
}
