//! What a state is read for in its own update: a sum over its features, and a factor of what it gains that is affine in
//! that sum.
//!
//! ```text
//! decayed = a * H[t]; R = sum[d](w * decayed); u = b * (v - R); H[t+1] = decayed + k * u
//! sum R with weights w, a; factor u = -b * R + b * v; H[t+1] = a * H[t] + k * u
//! ```

use super::draft::Draft;
use super::product::{Linear, Product};
use super::state::{Reading, read_along};
use crate::ir::cascade::{At, Einsum, ExprId, Op, RankId, Recurrence, ReduceOp, Role, Step, TensorId};
use attnc_dsl::ast::DType;

/// A state's part in what it gains itself.
pub(super) struct Own {
    /// The sum over its features, before the token is taken in.
    pub(super) reading: Reading,
    /// The ranks of that sum.
    pub(super) ranks: Vec<RankId>,
    /// The term that has the factor, and the factor.
    pub(super) term: usize,
    pub(super) factor: ExprId,
    /// The factor is `rate · sum + rest`.
    pub(super) rate: Vec<ExprId>,
    pub(super) rest: Vec<Product>,
    /// What defines the factor, where it has a name.
    pub(super) named: Option<Einsum>,
}

/// A recurrence in one equation, but for a sum over the features of its state and what is made of that sum.
pub(super) struct Update {
    /// The equation of the state.
    pub(super) state: Einsum,
    sum: Option<Einsum>,
    /// Names of expressions of the sum.
    maps: Vec<Einsum>,
}

impl Update {
    /// Takes a recurrence apart; none if it has more than one state or sum.
    pub(super) fn of(draft: &mut Draft, it: &Recurrence, state: TensorId) -> Option<Update> {
        let mut body = it.body.clone();
        for at in 0..body.len() {
            let local = body[at].clone();
            if local.tensor != state && local.op == Op::Map && draft.reads(local.value, state) {
                // What is a function of the state itself is no more than a name.
                let read = draft.read(local.tensor);
                for later in &mut body[at + 1..] {
                    later.value = draft.exprs().replaced(later.value, read, local.value);
                }
            }
        }
        let reads_state = |it: &Einsum| draft.reads(it.value, state);
        let (mut states, locals): (Vec<_>, Vec<_>) = body.into_iter().partition(|it| it.tensor == state);
        let (maps, sums): (Vec<_>, Vec<_>) = locals.into_iter().partition(|it| it.op == Op::Map);
        let (_, maps): (Vec<_>, Vec<_>) = maps.into_iter().partition(reads_state);
        let (update, sum) = match (states.as_mut_slice(), sums.as_slice()) {
            ([update], []) => (update.clone(), None),
            ([update], [sum]) if matches!(sum.op, Op::Reduce(ReduceOp::Sum, _)) => {
                (update.clone(), Some(sum.clone()))
            }
            _ => return None,
        };
        let in_place = |it: &Einsum| it.at.iter().all(|at| matches!(at, At::Rank(_, 0)));
        let plain = maps.iter().chain(&sum).all(|it| in_place(it) && !it.exact && is_wide(draft, it.tensor));
        plain.then_some(Update { state: update, sum, maps })
    }

    /// What the state gains that depends on itself; none if that is not of the form, or if others need it.
    pub(super) fn own(
        &self,
        draft: &mut Draft,
        (step, it): (usize, &Recurrence),
        axis: usize,
        (gate, terms): (&[ExprId], &[Product]),
    ) -> Option<Own> {
        let sum = self.sum.as_ref()?;
        let Op::Reduce(_, over) = &sum.op else { return None };
        let index = draft.exprs().index(it.rank);
        let before = read_along(draft, self.state.tensor, axis, index);
        let Linear { gate: weights, terms: others } = draft.linear(sum.value, self.state.tensor, before)?;
        let over_atoms = draft.atoms(over);
        let (inside, outside): (Vec<ExprId>, Vec<ExprId>) =
            weights?.into_iter().partition(|&it| draft.touches(it, &over_atoms));
        let weights = Product { factors: inside, conditions: Vec::new() };
        let own = draft.read(sum.tensor);
        let mut found = Vec::new();
        for (term, product) in terms.iter().enumerate() {
            for &factor in &product.factors {
                let value = self.spelled_out(draft, factor);
                if draft.reads(value, sum.tensor) {
                    found.push((term, factor, value));
                }
            }
        }
        let &[(term, factor, value)] = found.as_slice() else { return None };
        let Linear { gate: rate, terms: rest } = draft.linear(value, sum.tensor, own)?;
        let named = self.maps.iter().find(|it| draft.read(it.tensor) == factor).cloned();
        let dims = draft.cascade.tensors[self.state.tensor].dims.iter();
        let state_ranks: Vec<RankId> = dims.map(|it| it.rank).collect();
        let features = draft.atoms(over).iter().all(|it| draft.atoms(&state_ranks).contains(it));
        let apart = |it: &ExprId| !self.depends(draft, *it);
        let direct = |it: &ExprId| draft.reads(*it, self.state.tensor);
        let total =
            |it: &Product| it.conditions.is_empty() && it.factors.iter().all(|&it| draft.is_total(it));
        let rate = Product { factors: [rate?, outside].concat(), conditions: Vec::new() };
        let steady = weights.factors.iter().chain(gate).all(apart);
        let parts = || [&weights, &rate].into_iter().chain(&rest);
        let once = !parts().flat_map(|it| &it.factors).any(direct);
        let fits = others.is_empty() && features && steady && once && parts().all(total);
        fits.then(|| Own {
            reading: Reading { step, inclusive: false, over: over.clone(), weights },
            ranks: sum.iterated(),
            term,
            factor,
            rate: rate.factors,
            rest,
            named,
        })
    }

    /// The value without names for what depends on the sum.
    fn spelled_out(&self, draft: &mut Draft, value: ExprId) -> ExprId {
        self.maps.iter().rev().fold(value, |value, map| {
            let read = draft.read(map.tensor);
            draft.exprs().replaced(value, read, map.value)
        })
    }

    /// The value reads something that is defined along with the state.
    fn depends(&self, draft: &Draft, value: ExprId) -> bool {
        self.maps.iter().chain(&self.sum).any(|it| draft.reads(value, it.tensor))
    }

    /// Nothing but the recurrence reads what it defines beside the state, unless it has a name that stays.
    pub(super) fn is_private(&self, draft: &Draft, step: usize, own: Option<&Own>) -> bool {
        let Step::Recurrence(it) = &draft.cascade.steps[step] else { return false };
        let named = own.and_then(|it| it.named.as_ref()).map(|it| it.tensor);
        let locals = it.body.iter().map(|it| it.tensor);
        let mut hidden = locals.filter(|it| *it != self.state.tensor && Some(*it) != named);
        let others: Vec<&Einsum> = draft
            .cascade
            .steps
            .iter()
            .enumerate()
            .filter(|it| it.0 != step)
            .flat_map(|(_, step)| match step {
                Step::Einsum(it) => vec![it],
                Step::Recurrence(it) => it.bases.iter().chain(&it.body).collect(),
            })
            .collect();
        hidden.all(|tensor| {
            let is_output = draft.cascade.tensors[tensor].role == Role::Output;
            !is_output && !others.iter().any(|it| draft.reads(it.value, tensor))
        })
    }

    /// Whether anything is defined beside the state.
    pub(super) fn is_alone(&self) -> bool {
        self.sum.is_none() && self.maps.is_empty()
    }
}

/// Nothing is rounded in it.
pub(super) fn is_wide(draft: &Draft, tensor: TensorId) -> bool {
    matches!(draft.cascade.tensors[tensor].dtype, None | Some(DType::F32 | DType::F64))
}
