//! A walk that a block of threads takes: rows are what it carries for many features of values, in registers from one
//! coordinate to the next, and what else a coordinate needs lies in memory.
//!
//! ```text
//! walk b, h, e along t.chunk                        rows: e;  carried: H~[e, d]
//!   before[t, e] = sum[d](q * H~)             ->      contract H~ [e, d], q [t, d]
//!   H~[d, e] = H~ + sum[t.key](k * v)         ->      contract v [e, t.key], k [t.key, d] into H~
//! ```

use std::collections::BTreeMap;

use attnc_dsl::ast::CompareOp;

use super::fit::Need;
use super::rows::Rows;
use super::{FEATURES, GRAIN, Team};
use crate::ir::cascade::{Einsum, ExprId, Extent, RankId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::nest::{Stage, TileDim};
use crate::schedule::{Act, Walk, factors, sharing};
use crate::target::Block;
use crate::tile::stream::stores;
use crate::tile::{Region, Tasks, Tiling};

/// How many rows a block has: as many as four warps take.
const ROWS: u32 = 64;

impl Tiling<'_> {
    /// A walk as a stage of which a block runs a task, if it fits.
    pub(in crate::tile) fn walk_in_team(&mut self, walk: &Walk) -> bool {
        let Some(blocks) = &self.plan.blocks else { return false };
        let Some(rows) = self.rows_of_walk(walk) else { return false };
        let size = blocks.rows.get(&rows.rank).copied().unwrap_or(ROWS);
        if size % ROWS != 0 {
            return false;
        }
        let limits = blocks.limits;
        let dim = TileDim { rank: rows.rank, extent: size };
        let before = (self.builder.clone(), self.extents.clone(), self.stored.clone(), self.workspace);
        let stage = self.walk_stage(walk, &rows, dim);
        if let Some(stage) = stage
            && self.fits(&stage, dim, &limits)
        {
            self.builder.nest.stages.push(stage);
            return true;
        }
        (self.builder, self.extents, self.stored, self.workspace) = before;
        false
    }

    fn fits(&self, stage: &Stage, dim: TileDim, limits: &Block) -> bool {
        Need::of(&self.builder, stage, dim).lacks(limits, dim.extent).is_none()
    }

    /// The rank of rows that share factors of sums of products, if tiles are read where they are written.
    fn rows_of_walk(&self, walk: &Walk) -> Option<Rows> {
        let exprs = &self.cascade.exprs;
        let mut einsums: Vec<&Einsum> = Vec::new();
        walk.acts().for_each(|act| act.einsums(&mut |it| einsums.push(it)));
        let plain = |it: &&Einsum| {
            let mut reads = exprs.reads(it.value).filter(|(tensor, _)| self.is_tile(*tensor));
            reads.all(|(tensor, coords)| {
                let dims = &self.cascade.tensors[tensor].dims;
                coords.iter().zip(dims).all(|(&it, dim)| *exprs.get(it) == Expr::Index(dim.rank))
            })
        };
        if !einsums.iter().all(plain) {
            return None;
        }
        let product = |it: &&Einsum| {
            let einsum = Einsum { value: self.unconditioned(it.value), ..(*it).clone() };
            factors(exprs, &einsum)
        };
        let products: Vec<(ExprId, ExprId)> = einsums.iter().filter_map(product).collect();
        let ranks: Vec<RankId> = walk.rows.iter().map(|it| it.rank).collect();
        let (rank, _) = sharing(exprs, &products, &ranks)?;
        Some(Rows { rank, packed: Vec::new() })
    }

    fn walk_stage(&mut self, walk: &Walk, rows: &Rows, dim: TileDim) -> Option<Stage> {
        let acts: Vec<Act> = walk.acts().cloned().collect();
        let mut defines: Vec<TensorId> = stores(&acts, &self.plan.tiles);
        defines.sort_unstable();
        defines.dedup();
        self.region = Region { walks: true, ..Region::default() };
        let (lanes, held, composites) = (Vec::new(), BTreeMap::new(), Vec::new());
        let team = Team { rows: dim, stream: 1, lanes, held, composites, whole_tiles: None };
        self.stage_of_team(team, &defines, |it| it.walk_tasks(walk, rows, dim))
    }

    fn walk_tasks(&mut self, walk: &Walk, rows: &Rows, dim: TileDim) -> Option<Tasks> {
        let tasks = self.team_rows((&walk.rows, &[]), rows, dim);
        for rank in self.features_of_walk(walk) {
            let Extent::Fixed(extent @ 1..=FEATURES) = self.cascade.ranks[rank].extent else { return None };
            let whole = u32::try_from(extent).ok()?.next_multiple_of(GRAIN);
            let (zero, to) = (self.builder.int(0), self.builder.int(extent));
            let to = (i64::from(whole) != extent).then_some(to);
            self.enter_lane(TileDim { rank, extent: whole }, zero, to);
        }
        self.team_walk_acts(&walk.before)?;
        let span = self.all_of(walk.rank);
        self.carrying(&walk.step, walk.rank, span, |it, number| {
            it.fix(walk.rank);
            it.bind(walk.rank, number);
            it.team_walk_acts(&walk.step)?;
            it.region.fixed.remove(&walk.rank);
            Some(())
        })?;
        self.team_walk_acts(&walk.after)?;
        Some(tasks)
    }

    /// The ranks of which tiles hold all coordinates.
    fn features_of_walk(&self, walk: &Walk) -> Vec<RankId> {
        let mut ranks = Vec::new();
        walk.acts().for_each(|act| {
            act.einsums(&mut |it| {
                let all = it.iterated().into_iter().chain(it.op.reduced().to_vec());
                ranks.extend(all.flat_map(|it| self.cascade.atoms(it)));
            });
        });
        ranks.retain(|it| *it != walk.rank && !walk.rows.iter().any(|row| row.rank == *it));
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    /// Acts, each at the coordinates that there are of what it iterates over: the last chunk of a rank may be cut off.
    fn team_walk_acts(&mut self, acts: &[Act]) -> Option<()> {
        for act in acts {
            let composites = self.cut_ranks(act);
            let lanes = self.team_mut().lanes.clone();
            self.region.composites.clone_from(&composites);
            for whole in composites.iter().copied() {
                let index = self.composed(whole, None);
                let Some(&minor) = self.cascade.exprs.atoms(whole).last() else { return None };
                if self.cascade.is_ragged(whole) {
                    let extent = self.extent(whole);
                    let exists = self.builder.compare(CompareOp::Lt, index, extent);
                    let lane = self.team_mut().lanes.iter().position(|it| it.dim.rank == minor)?;
                    let mask = self.team_mut().lanes[lane].mask;
                    let mask = self.builder.both(mask, Some(exists));
                    self.team_mut().lanes[lane].mask = mask;
                }
                self.forget_along(whole);
                self.builder.indices.insert(whole, index);
            }
            self.team_acts(std::slice::from_ref(act))?;
            self.region.composites.clear();
            for whole in composites {
                self.forget_along(whole);
                self.builder.indices.remove(&whole);
            }
            self.team_mut().lanes = lanes;
        }
        Some(())
    }

    /// Coordinates along a rank, or which of them there are, are about to mean something else.
    fn forget_along(&mut self, whole: RankId) {
        let exprs = &self.cascade.exprs;
        let minor = exprs.atoms(whole).last();
        let of =
            |it: &Expr| *it == Expr::Index(whole) || minor.is_some_and(|minor| *it == Expr::Index(*minor));
        let mut depends: Vec<bool> = Vec::new();
        for (_, expr) in exprs.iter() {
            depends.push(of(expr) || operands(expr).iter().any(|it| depends[it.idx()]));
        }
        self.builder.forget_those(|it| depends[it.idx()]);
    }
}
