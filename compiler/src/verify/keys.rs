//! A cascade to the rank of its keys, and to extents with many of them.
//!
//! ```text
//! S[m, n] = sum[d](Q * K);  O[m, e] = sum[n](softmax[n](S) * V)   ->   n, read three times
//! ```

use std::cmp::Reverse;

use super::draw;
use crate::analyze::passes::passes;
use crate::ir::cascade::{Cascade, Extent, RankId, Step};
use crate::ir::expr::Expr;
use crate::schedule::live;

/// The rank that takes the place of keys: of those that inputs carry and something traverses, and that are not features,
/// the one that is traversed most often as written; of equals the one that most inputs have next to last.
pub fn key_rank(cascade: &Cascade) -> Option<RankId> {
    let traversed = traversed(cascade);
    let candidates = cascade.ranks.ids().filter(|&it| {
        let atoms = cascade.exprs.atoms(it);
        !cascade.ranks[it].local
            && atoms.iter().any(|atom| traversed.contains(atom))
            && !is_feature(cascade, it)
    });
    let carried = candidates.filter(|&it| cascade.ranks[root(cascade, it)].extent == Extent::Carried);
    carried.min_by_key(|&it| Reverse((passes(cascade, it).passes, next_to_last(cascade, it))))
}

/// Extents that meet the constraints of a kernel, with so many coordinates along that rank and few along others.
pub fn with_keys(cascade: &Cascade, rank: RankId, keys: i64) -> Option<Vec<i64>> {
    draw::extents_with(cascade, root(cascade, rank), keys)
}

/// The rank whose extent is that of an alias.
fn root(cascade: &Cascade, rank: RankId) -> RankId {
    if let Extent::Derived(value) = cascade.ranks[rank].extent
        && let Expr::Extent(same) = *cascade.exprs.get(value)
        && same != rank
    {
        return root(cascade, same);
    }
    rank
}

/// The part-less ranks that something live reduces, selects from, or goes along.
fn traversed(cascade: &Cascade) -> Vec<RankId> {
    let live = live(cascade);
    let einsums = cascade.einsums().filter(|it| live.contains(&it.tensor));
    let of = |it: &crate::ir::cascade::Op| it.reduced().iter().copied().chain(it.along()).collect::<Vec<_>>();
    let recurrences = cascade.steps.iter().filter_map(|it| match it {
        Step::Recurrence(it) => Some(it.rank),
        Step::Einsum(_) => None,
    });
    let ranks = einsums.flat_map(|it| of(&it.op)).chain(recurrences);
    ranks.flat_map(|it| cascade.exprs.atoms(it).to_vec()).collect()
}

/// The last rank of every input of several ranks that has it.
fn is_feature(cascade: &Cascade, rank: RankId) -> bool {
    let mut inputs = cascade.inputs().map(|it| &cascade.tensors[it].dims).filter(|it| it.len() > 1);
    inputs.all(|dims| dims[..dims.len() - 1].iter().all(|dim| dim.rank != rank))
}

fn next_to_last(cascade: &Cascade, rank: RankId) -> usize {
    let dims = cascade.inputs().map(|it| &cascade.tensors[it].dims);
    dims.filter(|it| it.len() > 1 && it[it.len() - 2].rank == rank).count()
}
