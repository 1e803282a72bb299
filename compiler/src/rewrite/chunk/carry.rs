//! Sums over pairs of tokens whose terms are products of what each of the two gives: a state along the tokens.
//!
//! ```text
//! A[m, n] = sum[d](q[m, d] * k[n, d]) * gamma^(m - n) where n <= m     o[m, e] = sum[n](A * v)
//! H[m+1, d, e] = gamma * H[m, d, e] + k[m, d] * v[m, e]                o[m, e] = sum[d](q * H[m+1, d, e])
//! ```
//!
//! The terms may fade with the distance: powers of it, and differences of running sums under an exponential, are
//! gates of the state. No exponential is taken apart, so nothing on the way is larger than it was.

use attnc_dsl::ast::{CompareOp, Kind};

use super::draft::Draft;
use super::pair::{Pair, Pairs};
use super::worth;
use crate::ir::cascade::{At, Dim, Einsum, ExprId, Op, RankId, Recurrence, ReduceOp, ScanOp, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::schedule::live;

/// Takes all sums over the first pair of ranks of tokens that is worth it; false if there is none.
pub(super) fn apply(draft: &mut Draft) -> bool {
    let all: Vec<(usize, Pairs)> = (0..draft.cascade.steps.len())
        .filter_map(|step| {
            let Step::Einsum(einsum) = draft.cascade.steps[step].clone() else { return None };
            Some((step, pairs(draft, &einsum)?))
        })
        .collect();
    let ranks: Vec<Pair> = all.iter().map(|(_, it)| it.pair).collect();
    ranks.into_iter().any(|pair| {
        let chosen: Vec<&(usize, Pairs)> = all.iter().filter(|(_, it)| it.pair == pair).collect();
        let worth = chosen.iter().any(|(_, it)| !it.over.is_empty() && worth::carry(draft, it));
        let next = worth.then(|| replaced(draft, &chosen)).flatten();
        let applies = next.is_some();
        if let Some(next) = next {
            *draft = next;
        }
        applies
    })
}

/// The einsum as a sum over pairs of tokens.
fn pairs(draft: &mut Draft, einsum: &Einsum) -> Option<Pairs> {
    let Op::Reduce(ReduceOp::Sum, over) = &einsum.op else { return None };
    let plain = einsum.at.iter().all(|at| matches!(at, At::Rank(_, 0)));
    let (&[earlier], true, Kind::Real) =
        (over.as_slice(), plain && !einsum.exact, draft.cascade.exprs.kind(einsum.value))
    else {
        return None;
    };
    let dims = einsum.iterated();
    let may = |draft: &Draft, rank: RankId| draft.may_split(rank) && draft.same_extent(rank, earlier);
    let later = dims.iter().copied().filter(|&it| it != earlier && may(draft, it)).collect::<Vec<_>>();
    let fits = draft.may_split(earlier);
    later.into_iter().filter(|_| fits).find_map(|later| {
        let found = Pairs::of(draft, einsum.value, Pair { later, earlier })?;
        let apart = found.over.iter().all(|it| !dims.contains(it));
        apart.then_some(found)
    })
}

/// The cascade with states in place of sums over pairs; none if the pairs are needed all the same.
fn replaced(draft: &Draft, chosen: &[&(usize, Pairs)]) -> Option<Draft> {
    let mut next = draft.clone();
    let steps = next.cascade.steps.clone();
    let mut states: Vec<(Vec<ExprId>, Vec<RankId>, TensorId)> = Vec::new();
    let mut all = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match (chosen.iter().find(|it| it.0 == number), step) {
            (Some((_, pairs)), Step::Einsum(einsum)) => {
                let state = state(&mut next, &einsum, pairs, &mut states);
                let reading = reading(&mut next, &einsum, pairs, state);
                next.new.push(Step::Einsum(reading));
            }
            (_, step) => next.new.push(step),
        }
        all.append(&mut next.new);
    }
    next.cascade.steps = all;
    let live = live(&next.cascade);
    if chosen.iter().any(|(_, it)| it.scores.iter().any(|it| live.contains(it))) {
        return None;
    }
    next.cascade.steps.retain(|step| match step {
        Step::Einsum(it) => live.contains(&it.tensor),
        Step::Recurrence(_) => true,
    });
    next.forget_undefined();
    Some(next)
}

/// Defines the state of a sum over pairs, or finds the one that is there.
fn state(
    draft: &mut Draft,
    einsum: &Einsum,
    pairs: &Pairs,
    states: &mut Vec<(Vec<ExprId>, Vec<RankId>, TensorId)>,
) -> TensorId {
    let Pair { later, earlier } = pairs.pair;
    let index = draft.exprs().index(later);
    let mut value = draft.multiplied(&pairs.keys.factors);
    for &condition in &pairs.keys.conditions {
        value = draft.exprs().add(Expr::Where(value, condition));
    }
    let value = draft.moved(value, earlier, index);
    let mut free = draft.free(&[[value].as_slice(), &pairs.gate].concat());
    free.push(later);
    free.sort_unstable();
    free.dedup();
    let mut order = einsum.iterated();
    let after = order.iter().position(|it| *it == later).map_or(order.len(), |it| it + 1);
    order.splice(after..after, pairs.over.iter().copied());
    let ranks = draft.dims(&free, &order);
    let key = ([[value].as_slice(), &pairs.gate].concat(), ranks.clone());
    if let Some((_, _, tensor)) = states.iter().find(|it| (&it.0, &it.1) == (&key.0, &key.1)) {
        return *tensor;
    }
    let lag = i64::from(!pairs.gate.is_empty());
    let dims = ranks.iter().map(|&rank| Dim { rank, lag: if rank == later { lag } else { 0 } }).collect();
    let name = draft.cascade.tensors[einsum.tensor].name.clone();
    let tensor = draft.tensor(&format!("{name}.state"), dims);
    let at = |along: At| ranks.iter().map(|&it| if it == later { along } else { At::Rank(it, 0) }).collect();
    let step = if lag == 0 {
        let op = Op::Scan(ScanOp::Sum, later);
        Step::Einsum(Einsum { tensor, at: at(At::Rank(later, 0)), op, value, exact: false })
    } else {
        let zero = draft.exprs().real(0.0);
        let before = draft.read(tensor);
        let gate = draft.multiplied(&pairs.gate);
        let faded = draft.times(gate, before);
        let gain = if draft.is_total(value) { value } else { draft.exprs().add(Expr::Else(value, zero)) };
        let value = draft.plus(faded, gain);
        let einsum = |at, value| Einsum { tensor, at, op: Op::Map, value, exact: false };
        let bases = vec![einsum(at(At::Const(0)), zero)];
        Step::Recurrence(Recurrence { rank: later, bases, body: vec![einsum(at(At::Rank(later, 1)), value)] })
    };
    draft.new.push(step);
    states.push((key.0, key.1, tensor));
    tensor
}

/// The sum as one over the features of a state.
fn reading(draft: &mut Draft, einsum: &Einsum, pairs: &Pairs, state: TensorId) -> Einsum {
    let later = pairs.pair.later;
    let (index, one) = (draft.exprs().index(later), draft.exprs().int(1));
    let fades = !pairs.gate.is_empty();
    let coordinate = match (fades, pairs.inclusive) {
        (true, true) => draft.plus(index, one),
        (false, false) => draft.exprs().binary(BinaryOp::Sub, index, one),
        (true, false) | (false, true) => index,
    };
    let sees = sees_any(draft, einsum, pairs);
    let mut factors = pairs.queries.factors.clone();
    if fades && !pairs.inclusive {
        factors.extend(&pairs.gate);
    }
    factors.push(draft.read_at(state, &[(later, coordinate)]));
    let mut value = draft.multiplied(&factors);
    for &condition in pairs.queries.conditions.iter().chain(&sees) {
        value = draft.exprs().add(Expr::Where(value, condition));
    }
    if pairs.over.is_empty() {
        let zero = draft.exprs().real(0.0);
        let value = draft.exprs().add(Expr::Else(value, zero));
        return Einsum { op: Op::Map, value, ..einsum.clone() };
    }
    Einsum { op: Op::Reduce(ReduceOp::Sum, pairs.over.clone()), value, ..einsum.clone() }
}

/// That a token sees another one, if it may see none: then what it would multiply the state by counts for nothing.
fn sees_any(draft: &mut Draft, einsum: &Einsum, pairs: &Pairs) -> Option<ExprId> {
    let Pair { later, earlier } = pairs.pair;
    let index = draft.exprs().index(later);
    if pairs.keys.conditions.is_empty() {
        let zero = draft.exprs().int(0);
        return (!pairs.inclusive).then(|| draft.compare(CompareOp::Gt, index, zero));
    }
    let (one, zero) = (draft.exprs().real(1.0), draft.exprs().real(0.0));
    let seen = pairs.keys.conditions.iter().fold(one, |all, &it| draft.exprs().add(Expr::Where(all, it)));
    let seen = draft.moved(seen, earlier, index);
    let free = [draft.free(&[seen]).as_slice(), &[later]].concat();
    let dims = draft.dims(&free, &einsum.iterated());
    let name = draft.cascade.tensors[einsum.tensor].name.clone();
    let count = draft.running(&format!("{name}.seen"), &dims, ScanOp::Sum, later, seen);
    let unit = draft.exprs().int(1);
    let last = if pairs.inclusive { index } else { draft.exprs().binary(BinaryOp::Sub, index, unit) };
    let count = draft.read_at(count, &[(later, last)]);
    Some(draft.compare(CompareOp::Gt, count, zero))
}

/// `earlier <= later` or `earlier < later`: whether a token is among the earlier ones itself.
pub(super) fn prefix(draft: &Draft, pair: Pair, condition: ExprId) -> Option<bool> {
    let exprs = &draft.cascade.exprs;
    let Expr::Compare(op, a, b) = *exprs.get(condition) else { return None };
    let (a, b, inclusive) = match op {
        CompareOp::Le => (a, b, true),
        CompareOp::Lt => (a, b, false),
        CompareOp::Ge => (b, a, true),
        CompareOp::Gt => (b, a, false),
        CompareOp::Eq | CompareOp::Ne => return None,
    };
    let is_earlier = *exprs.get(a) == Expr::Index(pair.earlier);
    let distance = *exprs.get(a) == Expr::Int(0) && pair.is_distance(draft, b);
    (is_earlier && pair.is_later(draft, b) || distance).then_some(inclusive)
}
