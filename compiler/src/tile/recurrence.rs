//! A recurrence: its first coordinates, then a loop along its rank with the einsums of a step inside.

use std::collections::BTreeSet;

use super::Tiling;
use crate::ir::cascade::{At, Einsum, ExprId, RankId, Recurrence, TensorId};
use crate::ir::expr::Expr;

impl Tiling<'_> {
    /// One stage for all tensors of a recurrence; its tasks are the points of the ranks that all of them share.
    pub(super) fn recurrence(&mut self, recurrence: &Recurrence) {
        let tensors: Vec<TensorId> = members(recurrence).into_iter().collect();
        let shared = self.shared_ranks(recurrence);
        let all: BTreeSet<TensorId> = tensors.iter().copied().collect();
        self.until_masks_settle(&all, |it| {
            it.always_masked.clone().into_iter().for_each(|tensor| {
                it.mask(tensor);
            });
            it.stage(&tensors, |it| {
                let tasks = it.tasks(&shared);
                it.steps(recurrence, &shared);
                tasks
            });
        });
    }

    fn steps(&mut self, recurrence: &Recurrence, shared: &[RankId]) {
        for base in &recurrence.bases {
            self.einsum(base, shared);
        }
        self.open(recurrence.rank, &[]);
        // Where blocks take the walk that reads it, what is solved before is no more than its first steps so far.
        self.region.walks = self.plan.blocks.is_some();
        let atoms = self.cascade.exprs.atoms(recurrence.rank);
        for einsum in &recurrence.body {
            let mut bound = shared.to_vec();
            let along = |it: &RankId| self.cascade.exprs.atoms(*it).iter().all(|atom| atoms.contains(atom));
            bound.extend(einsum.iterated().into_iter().filter(along));
            self.einsum(einsum, &bound);
        }
        self.region.walks = false;
        self.builder.close_loop(&[]);
    }

    /// Ranks along which no point of the recurrence depends on another: every member has them, and is
    /// read within the group only at their own index.
    fn shared_ranks(&self, recurrence: &Recurrence) -> Vec<RankId> {
        let group = members(recurrence);
        let einsums: Vec<&Einsum> = recurrence.bases.iter().chain(&recurrence.body).collect();
        let along = self.cascade.exprs.atoms(recurrence.rank);
        let mut shared: Vec<RankId> = einsums[0].iterated();
        shared.retain(|&rank| {
            !self.cascade.exprs.atoms(rank).iter().any(|it| along.contains(it))
                && einsums.iter().all(|it| {
                    it.at.contains(&At::Rank(rank, 0))
                        && !it.op.reduced().contains(&rank)
                        && it.op.along() != Some(rank)
                        && self.reads_at_index(it.value, rank, &group)
                })
        });
        shared
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn reads_at_index(&self, value: ExprId, rank: RankId, group: &BTreeSet<TensorId>) -> bool {
        let exprs = &self.cascade.exprs;
        exprs.postorder(value).into_iter().all(|id| match exprs.get(id) {
            Expr::Read(tensor, coords, _) if group.contains(tensor) => {
                let dims = &self.cascade.tensors[*tensor].dims;
                let mut own = coords.iter().zip(dims).filter(|(_, dim)| dim.rank == rank);
                own.all(|(&coord, _)| *exprs.get(coord) == Expr::Index(rank))
            }
            _ => true,
        })
    }
}

fn members(recurrence: &Recurrence) -> BTreeSet<TensorId> {
    recurrence.bases.iter().chain(&recurrence.body).map(|it| it.tensor).collect()
}
