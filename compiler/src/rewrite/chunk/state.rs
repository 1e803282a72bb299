//! Which tensors are states: sums over all earlier tokens that fade on the way, and how they are read.
//!
//! ```text
//! H[t+1, d, e] = a[t] * H[t, d, e] + k[t, d] * v[t, e]      a state along t, gate a, one term
//! o[t, e] = sum[d](q * H[t+1, d, e])                        a reading over d with weights q
//! S[d, e] = H[|t|, d, e]                                    its last value
//! ```

use attnc_dsl::ast::Kind;

use super::draft::Draft;
use super::own::{Own, Update, is_wide};
use super::product::{Linear, Look, Product};
use crate::ir::cascade::{
    At, Einsum, ExprId, Op, RankId, Recurrence, ReduceOp, Role, ScanOp, Step, TensorId,
};
use crate::ir::expr::{BinaryOp, Expr};

/// A sum over earlier tokens.
pub(super) struct State {
    /// The step that defines it.
    pub(super) step: usize,
    pub(super) tensor: TensorId,
    /// The rank of the tokens, and which dimension it is.
    pub(super) rank: RankId,
    pub(super) axis: usize,
    /// What it starts with; nothing for a sum of terms alone.
    pub(super) base: Option<ExprId>,
    /// What it is multiplied by at each token; no factors if it does not fade.
    pub(super) gate: Vec<ExprId>,
    /// What each token adds.
    pub(super) terms: Vec<Product>,
    /// The part of it that depends on the state itself.
    pub(super) own: Option<Own>,
    pub(super) readings: Vec<Reading>,
    /// Reads of what it is after all tokens: the step, and the read.
    pub(super) lasts: Vec<(usize, ExprId)>,
}

/// A sum over features of a state at each token.
pub(super) struct Reading {
    pub(super) step: usize,
    /// After the token is taken in, not before.
    pub(super) inclusive: bool,
    /// What is summed over.
    pub(super) over: Vec<RankId>,
    /// What the state is multiplied by.
    pub(super) weights: Product,
}

impl State {
    /// Every sum over its features: for others, and for itself.
    pub(super) fn all_readings(&self) -> impl Iterator<Item = &Reading> {
        self.readings.iter().chain(self.own.iter().map(|it| &it.reading))
    }
}

/// The first state that is read by sums over its features, and by nothing else but for its last value.
pub(super) fn find(draft: &mut Draft, done: &[TensorId]) -> Option<State> {
    (0..draft.cascade.steps.len()).find_map(|step| {
        let state = of_step(draft, step).filter(|it| !done.contains(&it.tensor))?;
        let state = with_readings(draft, state)?;
        (!state.readings.is_empty()).then_some(state)
    })
}

fn of_step(draft: &mut Draft, step: usize) -> Option<State> {
    match draft.cascade.steps[step].clone() {
        Step::Einsum(it) => match it.op {
            Op::Scan(ScanOp::Sum, rank) => of_scan(draft, step, &it, rank),
            _ => None,
        },
        Step::Recurrence(it) => of_recurrence(draft, step, &it),
    }
}

fn of_scan(draft: &mut Draft, step: usize, einsum: &Einsum, rank: RankId) -> Option<State> {
    let axis = einsum.at.iter().position(|at| *at == At::Rank(rank, 0))?;
    let terms = vec![draft.product(einsum.value, Look::Cheap)];
    let state = State {
        step,
        tensor: einsum.tensor,
        rank,
        axis,
        base: None,
        gate: Vec::new(),
        terms,
        own: None,
        readings: Vec::new(),
        lasts: Vec::new(),
    };
    may_change(draft, &state, einsum).then_some(state)
}

fn of_recurrence(draft: &mut Draft, step: usize, it: &Recurrence) -> Option<State> {
    let [base] = it.bases.as_slice() else { return None };
    let update = Update::of(draft, it, base.tensor)?;
    let body = &update.state;
    let axis = body.at.iter().position(|at| *at == At::Rank(it.rank, 1))?;
    let others = body.at.iter().enumerate().filter(|(at, _)| *at != axis);
    if base.op != Op::Map
        || body.op != Op::Map
        || !others.into_iter().all(|(_, at)| matches!(at, At::Rank(_, 0)))
    {
        return None;
    }
    let index = draft.exprs().index(it.rank);
    let read = read_along(draft, body.tensor, axis, index);
    let Linear { gate, terms } = draft.linear(body.value, body.tensor, read)?;
    let gate = gate?;
    let own = match update.is_alone() {
        true => None,
        false => Some(update.own(draft, (step, it), axis, (&gate, &terms))?),
    };
    if !update.is_private(draft, step, own.as_ref()) {
        return None;
    }
    let is_own = |factor: ExprId| own.as_ref().is_some_and(|it| it.factor == factor);
    let is_there = |&it: &ExprId| draft.is_total(it) || is_own(it);
    let always = gate.iter().all(is_there)
        && terms.iter().all(|it| it.conditions.is_empty() && it.factors.iter().all(is_there));
    let state = State {
        step,
        tensor: body.tensor,
        rank: it.rank,
        axis,
        base: Some(base.value),
        gate,
        terms,
        own,
        readings: Vec::new(),
        lasts: Vec::new(),
    };
    (always && !base.exact && may_change(draft, &state, body)).then_some(state)
}

/// Laws may touch it, and it is kept in full precision.
fn may_change(draft: &Draft, state: &State, einsum: &Einsum) -> bool {
    let it = &draft.cascade.tensors[state.tensor];
    let wide = is_wide(draft, state.tensor);
    let spoken_of = draft.cascade.assumes.iter().any(|it| draft.reads(it.condition, state.tensor));
    !einsum.exact && wide && it.kind == Kind::Real && it.role != Role::Output && !spoken_of
}

/// A tensor in place, but for one dimension.
pub(super) fn read_along(draft: &mut Draft, tensor: TensorId, axis: usize, coordinate: ExprId) -> ExprId {
    let rank = draft.cascade.tensors[tensor].dims[axis].rank;
    draft.read_at(tensor, &[(rank, coordinate)])
}

fn with_readings(draft: &mut Draft, mut state: State) -> Option<State> {
    let steps = draft.cascade.steps.clone();
    for (step, it) in steps.iter().enumerate().filter(|it| it.0 != state.step) {
        for einsum in it.einsums() {
            let exprs = &draft.cascade.exprs;
            let reads: Vec<ExprId> = exprs
                .postorder(einsum.value)
                .into_iter()
                .filter(|&id| matches!(exprs.get(id), Expr::Read(tensor, ..) if *tensor == state.tensor))
                .collect();
            let (lasts, others): (Vec<_>, Vec<_>) =
                reads.into_iter().partition(|&read| is_last(draft, &state, read));
            state.lasts.extend(lasts.iter().map(|&read| (step, read)));
            match others.as_slice() {
                [] => {}
                &[read] if lasts.is_empty() && matches!(it, Step::Einsum(_)) => {
                    let reading = reading(draft, &state, step, einsum, read)?;
                    state.readings.push(reading);
                }
                _ => return None,
            }
        }
    }
    Some(state)
}

/// The read is of the state after all tokens.
fn is_last(draft: &Draft, state: &State, read: ExprId) -> bool {
    let exprs = &draft.cascade.exprs;
    let Expr::Read(_, coords, _) = exprs.get(read) else { return false };
    let is_extent = |id: ExprId| match (exprs.get(id), draft.cascade.ranks[state.rank].extent) {
        (Expr::Extent(rank), _) => *rank == state.rank,
        (Expr::Int(it), crate::ir::cascade::Extent::Fixed(extent)) => *it == extent,
        _ => false,
    };
    match (exprs.get(coords[state.axis]), state.base, draft.cascade.ranks[state.rank].extent) {
        (_, Some(_), _) => is_extent(coords[state.axis]),
        (Expr::Binary(BinaryOp::Sub, extent, one), None, _) => {
            is_extent(*extent) && *exprs.get(*one) == Expr::Int(1)
        }
        (Expr::Int(it), None, crate::ir::cascade::Extent::Fixed(extent)) => *it == extent - 1,
        _ => false,
    }
}

fn reading(draft: &mut Draft, state: &State, step: usize, einsum: &Einsum, read: ExprId) -> Option<Reading> {
    let Op::Reduce(ReduceOp::Sum, over) = &einsum.op else { return None };
    let index = draft.exprs().index(state.rank);
    let one = draft.exprs().int(1);
    let (before, after) = match state.base {
        Some(_) => (index, draft.exprs().binary(BinaryOp::Add, index, one)),
        None => (draft.exprs().binary(BinaryOp::Sub, index, one), index),
    };
    let [before, after] = [before, after].map(|it| read_along(draft, state.tensor, state.axis, it));
    let in_place = einsum.at.iter().all(|at| matches!(at, At::Rank(_, 0)));
    let along = einsum.at.contains(&At::Rank(state.rank, 0));
    if einsum.exact || !in_place || !along || (read != before && read != after) {
        return None;
    }
    let mut weights = draft.product(einsum.value, Look::Cheap);
    let n_factors = weights.factors.len();
    weights.factors.retain(|it| *it != read);
    let others = weights.factors.iter().chain(&weights.conditions);
    let linear = n_factors == weights.factors.len() + 1
        && !others.into_iter().any(|&it| draft.reads(it, state.tensor));
    let dims: Vec<RankId> = draft.cascade.tensors[state.tensor].dims.iter().map(|it| it.rank).collect();
    let features = draft.atoms(over).iter().any(|it| draft.atoms(&dims).contains(it));
    (linear && features).then(|| Reading { step, inclusive: read == after, over: over.clone(), weights })
}
