//! A cascade to the rank of its keys, and to extents with many of them.
//!
//! ```text
//! S[m, n] = sum[d](Q * K);  O[m, e] = sum[n](softmax[n](S) * V)   ->   n, read three times
//! ```

use std::cmp::Reverse;

use super::draw;
use super::random::Random;
use crate::analyze::passes::passes;
use crate::ir::cascade::{Cascade, Dim, Extent, RankId, Step};
use crate::ir::expr::Expr;
use crate::schedule::live;
use attnc_dsl::ast::Kind;

/// How often other extents are drawn before the constraints count as not to be met.
const TRIES: i64 = 12;

/// How many coordinates of what inputs carry there may be for one key.
const MOST_FOR_ONE: i64 = 64;

/// Ranks that may take the place of keys.
pub struct Keys {
    /// Those that something traverses: first the one that is traversed most often as written; of equals the one that
    /// most inputs have next to last.
    pub proper: Vec<RankId>,
    /// Features among them, in the same order.
    pub features: Vec<RankId>,
}

/// The ranks of a kernel that may take the place of keys.
pub fn key_ranks(cascade: &Cascade) -> Keys {
    let traversed = traversed(cascade);
    let mut all: Vec<RankId> = cascade
        .ranks
        .ids()
        .filter(|&it| {
            let atoms = cascade.exprs.atoms(it);
            !cascade.ranks[it].local && atoms.iter().any(|atom| traversed.contains(atom))
        })
        .collect();
    all.sort_by_key(|&it| Reverse((passes(cascade, it).passes, next_to_last(cascade, it))));
    let (features, proper) = all.into_iter().partition(|&it| is_feature(cascade, it));
    Keys { proper, features }
}

/// Extents that meet the constraints of a kernel, with that many coordinates along a rank, or the next number of them
/// that there can be, and few along others.
pub fn with_keys(cascade: &Cascade, rank: RankId, keys: i64) -> Option<Vec<i64>> {
    let powers = std::iter::successors(Some(1), |it| Some(2 * it));
    let powers: Vec<i64> = powers.take_while(|it| *it <= MOST_FOR_ONE * keys).collect();
    with_some(cascade, (rank, keys), &powers, &[])
}

/// The same with the least number of keys that there can be, and as many coordinates along some other ranks, if inputs carry
/// what these follow from.
pub(super) fn with_least(
    cascade: &Cascade,
    (rank, keys): (RankId, i64),
    others: &[RankId],
) -> Option<Vec<i64>> {
    let all: Vec<i64> = (1..=keys).collect();
    with_some(cascade, (rank, keys), &all, others)
}

/// Extents with enough keys; what these follow from has one of some numbers of coordinates, the first with which they are.
fn with_some(
    cascade: &Cascade,
    (rank, keys): (RankId, i64),
    numbers: &[i64],
    others: &[RankId],
) -> Option<Vec<i64>> {
    let of_others = others.iter().filter_map(|it| drivers(cascade, *it).first().copied());
    let of_others: Vec<RankId> = of_others.collect();
    let (drivers, random) = (drivers(cascade, rank), &mut Random::new(1));
    (0..TRIES).find_map(|attempt| {
        let most = 1 + attempt / 2;
        let mut drawn: Vec<i64> = (0..cascade.ranks.len()).map(|_| 1 + random.below(most)).collect();
        of_others.iter().for_each(|it| drawn[it.idx()] = keys);
        let grown =
            |random: &mut Random, driver| grown(cascade, &drawn, (driver, numbers), (rank, keys), random);
        let found = drivers.iter().find_map(|&driver| grown(random, driver));
        let fixed = |random: &mut Random| draw::settled(cascade, drawn.clone(), &[], random);
        found.or_else(|| fixed(random)).filter(|it| it[rank.idx()] >= keys && it.iter().all(|it| *it > 0))
    })
}

/// The drawn extents with so much of one of them that the rank has enough coordinates: exactly as many, or one of some
/// numbers.
fn grown(
    cascade: &Cascade,
    drawn: &[i64],
    (driver, numbers): (RankId, &[i64]),
    (rank, keys): (RankId, i64),
    random: &mut Random,
) -> Option<Vec<i64>> {
    let mut with = |extent| draw::settled(cascade, drawn.to_vec(), &[(driver, extent)], random);
    if let Some(exact) = with(keys).filter(|it| it[rank.idx()] == keys) {
        return Some(exact);
    }
    numbers.iter().filter_map(|it| with(*it)).find(|it| it[rank.idx()] >= keys)
}

/// The ranks that inputs carry and that the extent of a rank follows from, itself first.
pub(super) fn drivers(cascade: &Cascade, rank: RankId) -> Vec<RankId> {
    let extents =
        |value| {
            cascade.exprs.postorder(value).into_iter().filter_map(|it| {
                if let Expr::Extent(rank) = *cascade.exprs.get(it) { Some(rank) } else { None }
            })
        };
    let demands: Vec<_> = cascade.checks.iter().filter_map(|it| draw::demand(cascade, it)).collect();
    let (mut known, mut at) = (vec![rank], 0);
    while let Some(&next) = known.get(at) {
        at += 1;
        let asked = demands.iter().filter(|it| it.0 == next).map(|it| it.1);
        let derived = match cascade.ranks[next].extent {
            Extent::Derived(value) => Some(value),
            Extent::Carried | Extent::Fixed(_) => None,
        };
        let behind = asked.chain(derived).flat_map(extents).chain(cascade.ranks[next].parts.iter().copied());
        let new: Vec<RankId> = behind.filter(|it| !known.contains(it)).collect();
        known.extend(new);
    }
    known.retain(|it| cascade.ranks[*it].extent == Extent::Carried);
    known
}

/// The part-less ranks that something live reduces, selects from, or goes along.
fn traversed(cascade: &Cascade) -> Vec<RankId> {
    let live = live(cascade);
    let einsums = cascade.einsums().filter(|it| live.contains(&it.tensor));
    let of = |it: &crate::ir::cascade::Op| it.reduced().iter().copied().chain(it.along()).collect::<Vec<_>>();
    let recurrences = cascade.steps.iter().filter_map(Step::walked);
    let ranks = einsums.flat_map(|it| of(&it.op)).chain(recurrences);
    ranks.flat_map(|it| cascade.exprs.atoms(it).to_vec()).collect()
}

/// The last rank of every input of several ranks that has it, and not only of ids and masks, or a part of such a rank.
fn is_feature(cascade: &Cascade, rank: RankId) -> bool {
    let inputs: Vec<_> =
        cascade.inputs().map(|it| &cascade.tensors[it]).filter(|it| it.dims.len() > 1).collect();
    let has = |dim: &Dim| dim.rank == rank || cascade.ranks[dim.rank].parts.contains(&rank);
    inputs.iter().all(|it| !it.dims[..it.dims.len() - 1].iter().any(|dim| dim.rank == rank))
        && inputs.iter().any(|it| it.kind == Kind::Real && it.dims.iter().any(has))
}

fn next_to_last(cascade: &Cascade, rank: RankId) -> usize {
    let dims = cascade.inputs().map(|it| &cascade.tensors[it].dims);
    dims.filter(|it| it.len() > 1 && it[it.len() - 2].rank == rank).count()
}
