//! A state in chunks: inside a chunk the masked sum over pairs of tokens, between chunks one value of the state.
//!
//! ```text
//! U[c, d, e] = sum[j](E[c, j] * k[(c, j), d] * v[(c, j), e])       what a chunk adds, faded to its end
//! G[c+1, d, e] = D[c, |i| - 1] * G[c, d, e] + U[c, d, e]           the state before each chunk
//! A[c, i, j] = sum[d](q[(c, i), d] * k[(c, j), d])                 inside a chunk
//! o[(c, i), e] = D[c, i] * sum[d](q * G) + sum[j](A * L[c, i, j] * v[(c, j), e] where j <= i)
//! ```
//!
//! `D`, `E` and `L` are products of the gates of one chunk, from its start, to its end, and between two tokens. They
//! are running products of the gates themselves: nothing is divided by a product, no logarithm is taken, so gates
//! of any sign, and exact zeros, stay what they are, and decays are at most 1.

use attnc_dsl::ast::CompareOp;

use super::Walker;
use super::draft::Draft;
use super::fade::Fading;
use super::product::Product;
use super::state::{Reading, State};
use super::tokens::Tokens;
use crate::ir::cascade::{At, Dim, Einsum, ExprId, Op, RankId, Recurrence, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// A state in the making.
pub(super) struct Form<'a> {
    pub(super) draft: &'a mut Draft,
    pub(super) state: &'a State,
    pub(super) tokens: Tokens,
    pub(super) walker: Walker,
    pub(super) name: String,
    /// The ranks of the state but for the tokens, in order.
    pub(super) others: Vec<RankId>,
    /// The gate at a token, 1 beyond the last one; none if the state does not fade.
    pub(super) gate: Option<ExprId>,
    pub(super) fading: Option<Fading>,
    /// What each token adds.
    pub(super) terms: Vec<Product>,
    /// Terms are there for every token, whatever the token.
    pub(super) total: bool,
    /// What stands for the factor that depends on the state.
    pub(super) solved: Option<ExprId>,
    /// The state before each chunk.
    pub(super) carried: TensorId,
}

/// Replaces a state and what reads it.
pub(super) fn apply(draft: &mut Draft, state: &State, tokens: Tokens, walker: Walker) {
    let dims = draft.cascade.tensors[state.tensor].dims.clone();
    let others = dims.iter().map(|it| it.rank).filter(|it| *it != state.rank).collect();
    let name = draft.cascade.tensors[state.tensor].name.clone();
    let dims = dims.iter().map(|it| match it.rank == state.rank {
        true => Dim { rank: tokens.chunk, lag: 1 },
        false => *it,
    });
    let carried = draft.tensor(&format!("{name}.carried"), dims.collect());
    let terms = state.terms.clone();
    let is_own = |factor: ExprId| state.own.as_ref().is_some_and(|it| it.factor == factor);
    let there = |&it: &ExprId| is_own(it) || draft.is_total(it);
    let total = terms.iter().all(|it| it.conditions.is_empty() && it.factors.iter().all(there));
    let (gate, fading, solved) = (None, None, None);
    let mut form =
        Form { draft, state, tokens, walker, name, others, gate, fading, terms, total, solved, carried };
    let steps = form.draft.cascade.steps.clone();
    let mut all = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let reading = state.readings.iter().find(|it| it.step == number);
        match (step, reading) {
            _ if number == state.step => form.carry(),
            (Step::Einsum(einsum), Some(reading)) => form.reading(&einsum, reading),
            (step, _) => {
                let step = form.with_lasts(number, step);
                form.draft.new.push(step);
            }
        }
        all.append(&mut form.draft.new);
    }
    draft.cascade.steps = draft.ordered(all);
    draft.forget_undefined();
}

impl Form<'_> {
    /// The state before each chunk.
    fn carry(&mut self) {
        self.fade();
        if let Some(own) = &self.state.own {
            self.solve(own);
        }
        let terms = self.terms.clone();
        let gains: Vec<ExprId> = terms.iter().map(|term| self.gain(term)).collect();
        let mut value = self.draft.read(self.carried);
        if let Some(start) = self.fading.as_ref().map(|it| it.start) {
            // Every chunk has a token; that its last place is not below 0 is said for those who come later.
            let (last, zero) = (self.last_place(), self.draft.exprs().int(0));
            let last = self.draft.exprs().binary(BinaryOp::Max, last, zero);
            let whole = self.draft.read_at(start, &[(self.tokens.place, last)]);
            value = self.draft.times(whole, value);
        }
        for gain in gains {
            value = self.draft.plus(value, gain);
        }
        let zero = self.draft.exprs().real(0.0);
        let dims = self.draft.cascade.tensors[self.carried].dims.clone();
        let at = |chunk: At| {
            dims.iter()
                .map(|it| if it.rank == self.tokens.chunk { chunk } else { At::Rank(it.rank, 0) })
                .collect()
        };
        let einsum = |at, value| Einsum { tensor: self.carried, at, op: Op::Map, value, exact: false };
        let bases = vec![einsum(at(At::Const(0)), self.state.base.unwrap_or(zero))];
        let update = einsum(at(At::Rank(self.tokens.chunk, 1)), value);
        let mut body = self.draft.take_readers(self.carried);
        body.push(update);
        let recurrence = Recurrence { rank: self.tokens.chunk, bases, body };
        self.draft.new.push(Step::Recurrence(recurrence));
        let named = self.state.own.as_ref().and_then(|it| it.named.clone());
        if let (Some(named), Some(value)) = (named, self.solved) {
            self.draft.new.push(Step::Einsum(Einsum { op: Op::Map, value, ..named }));
        }
    }

    /// Ranks that come before those of a chunk in memory, and features, which come after.
    pub(super) fn parted(&self, atoms: &[RankId], order: &[RankId]) -> (Vec<RankId>, Vec<RankId>) {
        let features: Vec<RankId> =
            self.state.readings.iter().flat_map(|it| self.draft.atoms(&it.over)).collect();
        let (inner, outer): (Vec<RankId>, Vec<RankId>) = atoms.iter().partition(|it| features.contains(it));
        (self.draft.dims(&outer, order), self.draft.dims(&inner, order))
    }

    /// What a term adds to the state in one chunk.
    fn gain(&mut self, term: &Product) -> ExprId {
        let Tokens { chunk, place, key, keys, rank, .. } = self.tokens;
        let fade = self.fading.as_ref().map(|it| it.end).map(|end| {
            let (last, index) = (self.last_place(), self.draft.exprs().index(place));
            let back = self.draft.exprs().binary(BinaryOp::Sub, last, index);
            self.draft.read_at(end, &[(place, back)])
        });
        let features = self.features();
        let (mut features, mut others) = self.sides(term, &features);
        match fade {
            Some(it) if self.draft.touches(it, &self.features()) => features.push(it),
            Some(it) => others.push(it),
            None => {}
        }
        let (factors, ends) = self.at_keys(&[features, others]);
        let mut value = self.draft.multiplied(&factors.concat());
        let at = self.draft.exprs().index(keys);
        for &condition in &term.conditions {
            let condition = self.draft.moved(condition, rank, at);
            value = self.draft.exprs().add(Expr::Where(value, condition));
        }
        if !ends {
            let extent = self.draft.extent(rank);
            let exists = self.draft.compare(CompareOp::Lt, at, extent);
            value = self.draft.exprs().add(Expr::Where(value, exists));
        }
        let mut free = self.draft.free(&[value]);
        free.retain(|it| *it != chunk && *it != key);
        let mut dims: Vec<RankId> =
            self.draft.cascade.tensors[self.carried].dims.iter().map(|it| it.rank).collect();
        dims = self.draft.dims(&[free, vec![chunk]].concat(), &dims);
        let tensor = self.draft.sum(&format!("{}.gain", self.name), &dims, &[key], value);
        self.draft.read(tensor)
    }

    /// A sum over features, from the state before the chunk and from earlier tokens of the chunk.
    fn reading(&mut self, einsum: &Einsum, reading: &Reading) {
        let over = self.draft.atoms(&reading.over);
        let dims: Vec<RankId> = einsum.iterated();
        let name = self.draft.cascade.tensors[einsum.tensor].name.clone();
        let Reading { weights, inclusive, .. } = reading;
        let common = |&id: &ExprId| !self.draft.touches(id, &over) && self.draft.is_total(id);
        let (outside, inside): (Vec<ExprId>, Vec<ExprId>) = weights.factors.iter().partition(|it| common(it));
        let weights = Product {
            factors: inside.into_iter().map(|it| self.held(it, &dims)).collect(),
            conditions: weights.conditions.clone(),
        };
        let mut value = self.before(&name, &dims, &reading.over, &weights, *inclusive);
        for term in &self.terms.clone() {
            let inner = self.within(&name, &dims, &reading.over, &weights, term, *inclusive);
            value = self.draft.plus(value, inner);
        }
        let outside = self.draft.multiplied(&outside);
        let mut value = self.draft.times(outside, value);
        if !inclusive && self.state.base.is_none() {
            // The first token sees nothing, whatever it would multiply it by.
            let (index, zero) = (self.draft.exprs().index(self.tokens.rank), self.draft.exprs().int(0));
            let (later, none) =
                (self.draft.compare(CompareOp::Gt, index, zero), self.draft.exprs().real(0.0));
            value = self.draft.exprs().add(Expr::If(later, value, none));
        }
        self.draft.new.push(Step::Einsum(Einsum { op: Op::Map, value, ..einsum.clone() }));
    }

    /// What the state before the chunk gives to a reading.
    pub(super) fn before(
        &mut self,
        name: &str,
        dims: &[RankId],
        over: &[RankId],
        weights: &Product,
        inclusive: bool,
    ) -> ExprId {
        let atoms = self.draft.atoms(over);
        let state = self.draft.read(self.carried);
        let fade = self.since_start(inclusive);
        let (inside, outside): (Vec<ExprId>, Vec<ExprId>) =
            fade.into_iter().partition(|&it| self.draft.touches(it, &atoms));
        let mut factors = weights.factors.clone();
        if !inside.is_empty() {
            // Once for each token, not once for each element of the state.
            let faded = self.draft.multiplied(&[factors, inside].concat());
            factors = vec![self.held(faded, dims)];
        }
        factors.push(state);
        let value = self.conditioned(&factors, &weights.conditions);
        let free = self.at_each_token(value, &atoms);
        let dims = self.draft.dims(&free, dims);
        let tensor = self.draft.sum(&format!("{name}.before"), &dims, over, value);
        let read = self.draft.read(tensor);
        let outside = self.draft.multiplied(&outside);
        self.draft.times(outside, read)
    }

    /// The ranks of a sum over some ranks that every token has its own of.
    fn at_each_token(&mut self, value: ExprId, over: &[RankId]) -> Vec<RankId> {
        let mut free = self.draft.free(&[value]);
        free.retain(|it| !over.contains(it));
        free.extend([self.tokens.chunk, self.tokens.place]);
        free.sort_unstable();
        free.dedup();
        free
    }

    /// What earlier tokens of the chunk give to a reading.
    pub(super) fn within(
        &mut self,
        name: &str,
        dims: &[RankId],
        over: &[RankId],
        weights: &Product,
        term: &Product,
        inclusive: bool,
    ) -> ExprId {
        let Tokens { place, key, .. } = self.tokens;
        let mut pair = self.pair(name, dims, over, weights, term, inclusive);
        let (index, earlier) = (self.draft.exprs().index(place), self.draft.exprs().index(key));
        let op = if inclusive { CompareOp::Le } else { CompareOp::Lt };
        let sees = self.draft.compare(op, earlier, index);
        if self.walker == Walker::Block && pair.conditions.is_empty() {
            pair.factors[0] = self.seen(name, dims, pair.factors[0], sees);
        }
        pair.conditions.push(sees);
        let value = self.conditioned(&pair.factors, &pair.conditions);
        let free = self.at_each_token(value, &[key]);
        let ranks = self.draft.dims(&free, dims);
        let tensor = self.draft.sum(&format!("{name}.within"), &ranks, &[key], value);
        self.draft.read(tensor)
    }

    /// A factor of pairs of tokens as products of matrices take it: 0 for those that are not seen.
    pub(super) fn seen(&mut self, name: &str, dims: &[RankId], factor: ExprId, sees: ExprId) -> ExprId {
        let Tokens { chunk, place, key, .. } = self.tokens;
        let zero = self.draft.exprs().real(0.0);
        let value = self.draft.exprs().add(Expr::Where(factor, sees));
        let value = self.draft.exprs().add(Expr::Else(value, zero));
        let free = self.draft.free(&[value]);
        let ranks = self.draft.dims(&free, &[dims, &self.others, &[chunk, place, key]].concat());
        let tensor = self.draft.sum(&format!("{name}.seen"), &ranks, &[], value);
        self.draft.read(tensor)
    }

    /// What one earlier token of the chunk gives to a reading, as a product; the sum over features is its first factor.
    pub(super) fn pair(
        &mut self,
        name: &str,
        dims: &[RankId],
        over: &[RankId],
        weights: &Product,
        term: &Product,
        inclusive: bool,
    ) -> Product {
        let Tokens { rank, chunk, place, key, keys, .. } = self.tokens;
        let atoms = self.draft.atoms(over);
        let (features, rest) = self.sides(term, &atoms);
        let ([mut inside, mut outside], _) = self.at_keys(&[features, rest]);
        let fade = self.between(inclusive);
        inside.extend(fade.filter(|&it| self.draft.touches(it, &atoms)));
        let fade = fade.filter(|it| !inside.contains(it));
        let at = self.draft.exprs().index(keys);
        let conditions: Vec<ExprId> =
            term.conditions.iter().map(|&it| self.draft.moved(it, rank, at)).collect();
        let (hidden, shown): (Vec<ExprId>, Vec<ExprId>) =
            conditions.into_iter().partition(|&it| self.draft.touches(it, &atoms));
        let score = self.conditioned(
            &[weights.factors.as_slice(), &inside].concat(),
            &[weights.conditions.as_slice(), &hidden].concat(),
        );
        let mut free = self.draft.free(&[score]);
        free.retain(|it| !atoms.contains(it));
        let order = [dims, &self.others, &[chunk, place, key]].concat();
        let ranks = self.draft.dims(&free, &order);
        let score = self.draft.sum(&format!("{name}.score"), &ranks, over, score);
        let mut score = self.draft.read(score);
        if let Some(fade) = fade {
            let faded = self.draft.times(score, fade);
            let ranks = self.draft.dims(&self.draft.free(&[faded]), &order);
            let faded = self.draft.sum(&format!("{name}.faded"), &ranks, &[], faded);
            score = self.draft.read(faded);
        }
        outside.insert(0, score);
        Product { factors: outside, conditions: shown }
    }

    pub(super) fn conditioned(&mut self, factors: &[ExprId], conditions: &[ExprId]) -> ExprId {
        let value = self.draft.multiplied(factors);
        conditions.iter().fold(value, |value, &it| self.draft.exprs().add(Expr::Where(value, it)))
    }

    /// The same step with the state before a chunk that is not there in place of the last state.
    fn with_lasts(&mut self, number: usize, step: Step) -> Step {
        let reads: Vec<ExprId> = self.state.lasts.iter().filter(|it| it.0 == number).map(|it| it.1).collect();
        if reads.is_empty() {
            return step;
        }
        let mut einsum = |mut it: Einsum| {
            for &read in &reads {
                let last = self.last(read);
                it.value = self.draft.exprs().replaced(it.value, read, last);
            }
            it
        };
        match step {
            Step::Einsum(it) => Step::Einsum(einsum(it)),
            Step::Recurrence(it) => Step::Recurrence(Recurrence {
                rank: it.rank,
                bases: it.bases.into_iter().map(&mut einsum).collect(),
                body: it.body.into_iter().map(&mut einsum).collect(),
            }),
        }
    }

    fn last(&mut self, read: ExprId) -> ExprId {
        let Expr::Read(_, mut coords, kind) = self.draft.cascade.exprs.get(read).clone() else {
            unreachable!("a read of the state is a read")
        };
        coords[self.state.axis] = self.draft.extent(self.tokens.chunk);
        let value = self.draft.exprs().add(Expr::Read(self.carried, coords, kind));
        if self.state.base.is_some() {
            return value;
        }
        // A running sum over nothing has no last value.
        let (extent, zero) = (self.draft.extent(self.tokens.rank), self.draft.exprs().int(0));
        let some = self.draft.compare(CompareOp::Gt, extent, zero);
        self.draft.exprs().add(Expr::Where(value, some))
    }
}
