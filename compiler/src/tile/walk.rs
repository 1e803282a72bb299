//! A walk to a stage: boxes of rows as tasks, a loop along the rank, and in scratch what is held.
//!
//! ```text
//! walk b along t                      stage: tasks |b|
//!   H~[b, d] = 0                        for d: H~[d] = 0
//!   for t                         ->    for t: for d: H~[d] = G[b, t] * H~[d] + K[b, t, d]
//!     H~[b, d] = G * H~ + K             for d: F[b, d] = H~[d]
//!   output F[b, d] = H~
//! ```

use std::collections::BTreeSet;

use super::builder::Known;
use super::stream::stores;
use super::{Region, Tiling};
use crate::ir::cascade::{Einsum, ExprId, RankId, TensorId};
use crate::ir::expr::Expr;
use crate::schedule::{Act, Walk};

impl Tiling<'_> {
    /// One stage.
    pub(super) fn walk(&mut self, walk: &Walk) {
        if self.walk_in_team(walk) {
            return;
        }
        let acts: Vec<Act> = walk.acts().cloned().collect();
        let mut defines: Vec<TensorId> = Vec::new();
        for tensor in stores(&acts, &self.plan.tiles) {
            if !defines.contains(&tensor) {
                defines.push(tensor);
            }
        }
        let held = acts.iter().filter_map(defined).map(|it| it.tensor);
        let lasting: BTreeSet<TensorId> = held.chain(defines.iter().copied()).collect();
        self.until_masks_settle(&lasting, |it| {
            it.region = Region { walks: true, ..Region::default() };
            for axis in &walk.rows {
                it.region.tiles.insert(axis.rank, axis.tile);
            }
            it.scratch = it.no_bytes();
            it.zeroed.clear();
            it.stage(&defines, |it| {
                let tasks = it.boxes(&walk.rows);
                it.fix(walk.rank);
                it.always_masked.clone().into_iter().for_each(|tensor| {
                    it.mask(tensor);
                });
                it.walk_acts(&walk.before);
                it.open(walk.rank, &[]);
                it.walk_acts(&walk.step);
                it.builder.close_loop(&[]);
                it.walk_acts(&walk.after);
                tasks
            });
        });
        self.note_scratch();
        self.region = Region::default();
    }

    /// One coordinate along a rank is worked on at a time.
    pub(super) fn fix(&mut self, rank: RankId) {
        self.region.fixed.insert(rank);
        self.region.fixed.extend(self.cascade.exprs.atoms(rank).iter().copied());
    }

    /// Acts, each within what its composite ranks leave of their other parts at the coordinate at hand.
    fn walk_acts(&mut self, acts: &[Act]) {
        let mut rest = acts;
        while let Some(first) = rest.first() {
            let composites = self.cut_ranks(first);
            let same = rest.iter().take_while(|it| self.cut_ranks(it) == composites).count();
            let (run, behind) = rest.split_at(same);
            rest = behind;
            self.region.composites = composites;
            self.acts(run);
            self.region.composites.clear();
        }
    }

    /// The composite ranks of an act of which the coordinate at hand leaves some.
    pub(super) fn cut_ranks(&self, act: &Act) -> Vec<RankId> {
        let ranks = defined(act).map_or(Vec::new(), Einsum::iterated);
        let cut = |it: &RankId| {
            let mut atoms = self.cascade.exprs.atoms(*it).iter();
            !self.region.fixed.contains(it) && atoms.any(|it| self.region.fixed.contains(it))
        };
        ranks.into_iter().filter(cut).collect()
    }

    /// Runs `body` again until it is known beforehand which of some tensors have absent points: those that are
    /// read before they are written, by a later step, need their masks from the start.
    pub(super) fn until_masks_settle(
        &mut self,
        tensors: &BTreeSet<TensorId>,
        mut body: impl FnMut(&mut Self),
    ) {
        loop {
            let before = (
                self.builder.clone(),
                self.stored.clone(),
                self.workspace,
                self.extents.clone(),
                self.tile_masks.clone(),
            );
            body(self);
            let has_mask = |it: &&TensorId| {
                let in_memory = self.stored.get(it).is_some_and(|it| it.mask.is_some());
                in_memory || self.tile_masks.contains_key(it)
            };
            let now: BTreeSet<TensorId> = tensors.iter().filter(has_mask).copied().collect();
            let settled = now == self.always_masked;
            self.always_masked = now;
            if settled {
                self.always_masked.clear();
                return;
            }
            (self.builder, self.stored, self.workspace, self.extents, self.tile_masks) = before;
        }
    }

    /// A point of a tile, absent outside.
    pub(super) fn read_tile_at(&mut self, tensor: TensorId, coords: &[ExprId]) -> Known {
        if let Some(known) = self.held(tensor) {
            return known;
        }
        let dims = self.cascade.tensors[tensor].dims.clone();
        let (mut index, mut guard) = (Vec::new(), None);
        for (&coord, dim) in coords.iter().zip(&dims) {
            let known = self.value(coord);
            guard = self.builder.both(guard, known.present);
            if *self.cascade.exprs.get(coord) == Expr::Index(dim.rank) {
                for rank in self.held_parts(dim.rank) {
                    index.push(self.offset_of(tensor, rank));
                }
            } else {
                let extent = self.extent(dim.rank);
                guard = self.guarded(guard, coord, (dim.rank, dim.lag), known.value, extent);
                index.push(known.value);
            }
        }
        self.load(tensor, index, guard)
    }
}

fn defined(act: &Act) -> Option<&Einsum> {
    match act {
        Act::Define(it) | Act::Fold(it) => Some(it),
        Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
    }
}
