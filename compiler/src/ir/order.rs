//! In which order tensors have their ranks: as outputs do, then as inputs do, then as they are read, and as declared where
//! nothing else tells.
//!
//! ```text
//! rank b, n, e; rank m: n; input x[b, n, e]; output o[b, e];  o = sum[m](x[b, m, e] * ..)        b, n, m, e
//! ```
//!
//! What a law makes lies in memory as its neighbours do, so that what runs along the last rank of one runs along that of all.

use super::cascade::{Cascade, ExprId, RankId, Role};
use super::expr::Expr;

/// Positions of the part-less ranks of a cascade.
#[derive(Debug)]
pub(crate) struct Order(Vec<usize>);

impl Order {
    /// That of the tensors of a cascade.
    pub(crate) fn of(cascade: &Cascade) -> Order {
        let n = cascade.ranks.len();
        let mut precedes = Precedes { all: vec![vec![false; n]; n] };
        let alike = |role: Role| cascade.tensors.iter().filter(move |(_, it)| it.role == role);
        let tensors = [Role::Output, Role::Input, Role::Intermediate].into_iter().flat_map(alike);
        let of_tensors = tensors.map(|(_, it)| it.dims.iter().map(|dim| dim.rank).collect());
        let reads = cascade.einsums().flat_map(|it| cascade.exprs.reads(it.value));
        let of_reads = reads.map(|(_, coords)| indices(cascade, coords));
        let composites = cascade.ranks.ids().map(|it| vec![it]);
        for ranks in of_tensors.chain(of_reads).chain(composites) {
            let atoms: Vec<RankId> =
                ranks.iter().flat_map(|it: &RankId| cascade.exprs.atoms(*it)).copied().collect();
            for pair in atoms.windows(2) {
                precedes.add(pair[0].idx(), pair[1].idx());
            }
        }
        Order(precedes.positions())
    }

    /// Where a part-less rank comes.
    pub(crate) fn position(&self, atom: RankId) -> usize {
        self.0[atom.idx()]
    }
}

/// The ranks at whose own coordinates something is read, in order.
fn indices(cascade: &Cascade, coords: &[ExprId]) -> Vec<RankId> {
    let index = |it: &ExprId| match cascade.exprs.get(*it) {
        Expr::Index(rank) => Some(*rank),
        _ => None,
    };
    coords.iter().filter_map(index).collect()
}

/// Which ranks come before which, whatever lies between them.
struct Precedes {
    all: Vec<Vec<bool>>,
}

impl Precedes {
    /// One comes before another, unless it is known to come after it.
    fn add(&mut self, before: usize, after: usize) {
        if before == after || self.all[after][before] {
            return;
        }
        let behind: Vec<usize> =
            (0..self.all.len()).filter(|it| *it == after || self.all[after][*it]).collect();
        for at in 0..self.all.len() {
            if at == before || self.all[at][before] {
                behind.iter().for_each(|it| self.all[at][*it] = true);
            }
        }
    }

    /// The position of each; what was declared first comes first where both may.
    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![None; self.all.len()];
        for position in 0..self.all.len() {
            let is_next = |it: &usize| {
                let is_left = |other: usize| positions[other].is_none();
                is_left(*it) && (0..self.all.len()).all(|before| !is_left(before) || !self.all[before][*it])
            };
            let next = (0..self.all.len()).find(is_next).expect("the order has no circles");
            positions[next] = Some(position);
        }
        positions.into_iter().flatten().collect()
    }
}
