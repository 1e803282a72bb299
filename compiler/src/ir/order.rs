//! In which order tensors have their ranks: as outputs do, then as inputs do, then as they are read, and as declared where
//! nothing else tells.
//!
//! ```text
//! rank b, n, e; rank m: n; input x[b, n, e]; output o[b, e];  o = sum[m](x[b, m, e] * ..)        b, n, m, e
//! ```
//!
//! What a law makes lies in memory as its neighbours do, so that what runs along the last rank of one runs along that of all.

use super::cascade::{Cascade, ExprId, RankId, Role};
use super::expr::{Expr, Exprs};

/// Which part-less ranks of a cascade come before which others; of many pairs nothing is said.
#[derive(Debug, Default)]
pub(crate) struct Order {
    precedes: Vec<Vec<bool>>,
}

impl Order {
    /// That of the tensors of a cascade.
    pub(crate) fn of(cascade: &Cascade) -> Order {
        let n = cascade.ranks.len();
        let mut order = Order { precedes: vec![vec![false; n]; n] };
        let alike = |role: Role| cascade.tensors.iter().filter(move |(_, it)| it.role == role);
        let tensors = [Role::Output, Role::Input, Role::Intermediate].into_iter().flat_map(alike);
        let of_tensors = tensors.map(|(_, it)| it.dims.iter().map(|dim| dim.rank).collect());
        let reads = cascade.einsums().flat_map(|it| cascade.exprs.reads(it.value));
        let of_reads = reads.map(|(_, coords)| indices(cascade, coords));
        let composites = cascade.ranks.ids().map(|it| vec![it]);
        for ranks in of_tensors.chain(of_reads).chain(composites) {
            let atoms: Vec<RankId> =
                ranks.iter().flat_map(|it: &RankId| cascade.exprs.atoms(*it)).copied().collect();
            for (at, before) in atoms.iter().enumerate() {
                atoms[at + 1..].iter().for_each(|after| order.add(before.idx(), after.idx()));
            }
        }
        order
    }

    /// One comes before another, unless it is known to come after it.
    fn add(&mut self, before: usize, after: usize) {
        if before == after || self.precedes[after][before] || self.precedes[before][after] {
            return;
        }
        let behind: Vec<usize> =
            (0..self.precedes.len()).filter(|it| *it == after || self.precedes[after][*it]).collect();
        for at in 0..self.precedes.len() {
            if at == before || self.precedes[at][before] {
                behind.iter().for_each(|it| self.precedes[at][*it] = true);
            }
        }
    }

    /// Some ranks in order; those of which nothing is said stay as they are. A composite one is where its last part is, for
    /// that is what lies side by side.
    pub(crate) fn sorted(&self, exprs: &Exprs, mut ranks: Vec<RankId>) -> Vec<RankId> {
        let mut sorted = Vec::with_capacity(ranks.len());
        while !ranks.is_empty() {
            let is_first = |it: &RankId| !ranks.iter().any(|other| self.is_before(exprs, *other, *it));
            let at = ranks.iter().position(is_first).expect("the order has no circles");
            sorted.push(ranks.remove(at));
        }
        sorted
    }

    fn is_before(&self, exprs: &Exprs, before: RankId, after: RankId) -> bool {
        let [before, after] = [before, after].map(|it| exprs.atoms(it).last().map(|it| it.idx()));
        let (Some(before), Some(after)) = (before, after) else { return false };
        // What was declared since is not known.
        self.precedes.get(before).and_then(|it| it.get(after)).is_some_and(|it| *it)
    }
}

/// The ranks at whose own coordinates something is read, in order.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn indices(cascade: &Cascade, coords: &[ExprId]) -> Vec<RankId> {
    let index = |it: &ExprId| match cascade.exprs.get(*it) {
        Expr::Index(rank) => Some(*rank),
        _ => None,
    };
    coords.iter().filter_map(index).collect()
}
