//! Whether chunks are worth it: operations for each token, by the sizes of what is computed.
//!
//! ```text
//! a state for each token    |d|·|e| + 4·|d|·|e|
//! a state for each chunk    |d|·|e| + |d|·|e| + |i|/2·(|d| + |e|)
//! one that is read in its own update    |d|·|e| more; in chunks |d|·|e| + |i|/2·(|d| + |e|) + |i|²/6 more
//! ```

use crate::ir::cascade::{ExprId, Extent, RankId, Step};

use super::Walker;
use super::draft::Draft;
use super::pair::Pairs;
use super::product::Product;
use super::state::{self, Reading, State};

/// How many tokens a chunk has: where gates differ between features, and each pair of tokens has a product of gates for every
/// feature; where what they add depends on each other; and elsewhere.
const OF_THREAD: [i64; 3] = [8, 16, 32];
/// The same for products of matrices, which are sixteen deep.
const OF_BLOCK: [i64; 3] = [16, 32, 64];
/// How many tokens a state has to be shared by at least so that pairs of tokens cost more.
const CHUNK: i64 = 32;
/// A likely extent of features and heads.
const LIKELY: f64 = 64.0;
/// Operations for each element of a state at each token: it fades, gains, and is stored.
const DIRECT: f64 = 4.0;

/// What a sum over the features of pairs of tokens is of; equal ones are computed once.
pub(super) type Score = (Vec<RankId>, Vec<ExprId>);

/// The sums over features that the readings of a state need for each pair of tokens.
pub(super) fn scores(draft: &Draft, state: &State) -> Vec<Score> {
    let of = |reading: &Reading, term: &Product| {
        let over = draft.atoms(&reading.over);
        let all = reading.weights.factors.iter().chain(&term.factors).chain(&state.gate);
        let mut factors: Vec<ExprId> = all.copied().filter(|&it| draft.touches(it, &over)).collect();
        factors.sort_unstable();
        (reading.over.clone(), factors)
    };
    state.all_readings().flat_map(|it| state.terms.iter().map(move |term| of(it, term))).collect()
}

/// How many tokens a chunk should have; none if the state is better computed for each token. `known` are sums over
/// features that are there anyway.
pub(super) fn chunk(draft: &Draft, state: &State, walker: Walker, known: &[Score]) -> Option<i64> {
    saving(draft, state, walker, known).filter(|it| it.1 > 0.0).map(|it| it.0)
}

/// How many tokens a chunk should have, and how many operations that saves for each token, which may be fewer than none;
/// none if there are too few tokens.
pub(super) fn saving(draft: &Draft, state: &State, walker: Walker, known: &[Score]) -> Option<(i64, f64)> {
    let fades = draft.free(&state.gate);
    let kind = match (is_fine(draft, state), &state.own) {
        (true, _) => 0,
        (false, Some(_)) => 1,
        (false, None) => 2,
    };
    let size = match walker {
        Walker::Thread => OF_THREAD[kind],
        Walker::Block => OF_BLOCK[kind],
    };
    let tokens = match draft.cascade.ranks[state.rank].extent {
        Extent::Fixed(it) => it,
        Extent::Carried | Extent::Derived(_) => i64::MAX,
    };
    let along = draft.atoms(&[state.rank]);
    let dims: Vec<RankId> = draft.cascade.tensors[state.tensor].dims.iter().map(|it| it.rank).collect();
    let elements = points(draft, &draft.atoms(&dims), &along);
    let half = OF_THREAD[kind] as f64 / 2.0;
    let mut work = elements;
    for (over, factors) in scores(draft, state) {
        let mut pairs = draft.free(&factors);
        if !along.iter().all(|it| pairs.contains(it)) {
            return None;
        }
        let is_known = known.contains(&(over.clone(), factors));
        let over = draft.atoms(&over);
        let sides = if fades.iter().any(|it| over.contains(it)) { 3.0 } else { 1.0 };
        pairs.extend(&over);
        work += if is_known { 0.0 } else { half * sides * points(draft, &pairs, &along) };
    }
    for reading in &state.readings {
        let Step::Einsum(einsum) = &draft.cascade.steps[reading.step] else { return None };
        let out = draft.atoms(&einsum.iterated());
        work += half * state.terms.len() as f64 * points(draft, &out, &along);
    }
    let mut direct = DIRECT * elements;
    if let Some(own) = &state.own {
        let out = points(draft, &draft.atoms(&own.ranks), &along);
        let heads = [along.as_slice(), &draft.atoms(&own.reading.over)].concat();
        let pulls = points(draft, &draft.free(&own.reading.weights.factors), &heads);
        direct += elements;
        work += elements + half * state.terms.len() as f64 * out + half * half * pulls / 1.5;
    }
    (tokens >= 2 * size).then_some((size, direct - work))
}

/// A state takes fewer operations than all pairs of tokens.
pub(super) fn carry(draft: &Draft, pairs: &Pairs) -> bool {
    let along = [pairs.pair.later, pairs.pair.earlier];
    let scored =
        [draft.free(&pairs.queries.factors), draft.free(&pairs.keys.factors), draft.atoms(&pairs.over)];
    let all = points(draft, &scored.concat(), &along);
    let state = points(draft, &[draft.free(&pairs.keys.factors), draft.atoms(&pairs.over)].concat(), &along);
    // An einsum of all ranks but one side's own is what a pair takes, twice.
    let over = points(draft, &draft.atoms(&pairs.over), &along);
    let pair = all / over.max(1.0) + over;
    let tokens = match draft.cascade.ranks[pairs.pair.earlier].extent {
        Extent::Fixed(it) => it as f64,
        Extent::Carried | Extent::Derived(_) => f64::INFINITY,
    };
    tokens * pair / 2.0 > 2.0 * state + CHUNK as f64 * pair / 2.0
}

/// The least of the sizes that states along a rank ask for.
pub(super) fn smallest(draft: &mut Draft, rank: RankId, walker: Walker, size: i64) -> i64 {
    let mut done = Vec::new();
    let mut least = size;
    while let Some(it) = state::find(draft, &done) {
        done.push(it.tensor);
        if it.rank == rank {
            least = chunk(draft, &it, walker, &[]).map_or(least, |size| least.min(size));
        }
    }
    least
}

/// Between two tokens there is a product of gates for each feature that a reading sums over, or that it gives.
fn is_fine(draft: &Draft, state: &State) -> bool {
    let fades = draft.free(&state.gate);
    let along = draft.atoms(&[state.rank]);
    let ranks = |reading: &Reading| match (&draft.cascade.steps[reading.step], &state.own) {
        (Step::Einsum(einsum), _) => einsum.iterated(),
        (Step::Recurrence(_), own) => own.as_ref().map_or(Vec::new(), |it| it.ranks.clone()),
    };
    state.all_readings().any(|reading| {
        let weighed = draft.free(&reading.weights.factors);
        let mut out = draft.atoms(&ranks(reading));
        out.retain(|it| !along.contains(it));
        let summed = draft.atoms(&reading.over).iter().any(|it| fades.contains(it));
        let given = out.iter().all(|it| fades.contains(it)) && out.iter().any(|it| !weighed.contains(it));
        summed || given
    })
}

/// How many points some part-less ranks have, without those of some.
fn points(draft: &Draft, ranks: &[RankId], without: &[RankId]) -> f64 {
    let mut ranks: Vec<RankId> = ranks.iter().copied().filter(|it| !without.contains(it)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let extent = |rank: RankId| match draft.cascade.ranks[rank].extent {
        Extent::Fixed(it) => it as f64,
        Extent::Carried | Extent::Derived(_) => LIKELY,
    };
    ranks.into_iter().map(extent).product()
}
