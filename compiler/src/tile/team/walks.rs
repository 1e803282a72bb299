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

    /// The rank of rows that share factors of sums of products, if tiles are read by the indices along their ranks.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn rows_of_walk(&self, walk: &Walk) -> Option<Rows> {
        let exprs = &self.cascade.exprs;
        let mut einsums: Vec<&Einsum> = Vec::new();
        walk.acts().for_each(|act| act.einsums(&mut |it| einsums.push(it)));
        let plain = |it: &&Einsum| {
            let mut reads = exprs.reads(it.value).filter(|(tensor, _)| self.is_tile(*tensor));
            reads.all(|(tensor, coords)| {
                let dims = &self.cascade.tensors[tensor].dims;
                let extent = |it: RankId| self.cascade.ranks[it].extent;
                coords.iter().zip(dims).all(|(&it, dim)| match *exprs.get(it) {
                    Expr::Index(rank) => rank == dim.rank || extent(rank) == extent(dim.rank),
                    _ => false,
                })
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
        let given = |it: &RankId| walk.rows.iter().any(|row| self.cascade.exprs.atoms(row.rank).contains(it));
        ranks.retain(|it| *it != walk.rank && !given(it));
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    /// Acts, each at the coordinates that there are of what it iterates over: the last chunk of a rank may be cut off.
    fn team_walk_acts(&mut self, acts: &[Act]) -> Option<()> {
        for act in acts {
            let (turned, composites) = (self.turned_lanes(act)?, self.cut_ranks(act));
            let (lanes, indices) = (self.team_mut().lanes.clone(), self.builder.indices.clone());
            if let Some([a, b]) = turned {
                let (of_a, of_b) = (indices[&a], indices[&b]);
                self.builder.indices.extend([(a, of_b), (b, of_a)]);
            }
            self.region.composites.clone_from(&composites);
            for &whole in &composites {
                self.enter_cut(whole)?;
            }
            let changed = || composites.iter().copied().chain(turned.into_iter().flatten());
            changed().for_each(|it| self.forget_along(it));
            self.team_acts(std::slice::from_ref(act))?;
            changed().for_each(|it| self.forget_along(it));
            self.region.composites.clear();
            self.builder.indices = indices;
            self.team_mut().lanes = lanes;
        }
        Some(())
    }

    /// From now on a composite rank has the coordinates that its parts make, as far as it has any.
    fn enter_cut(&mut self, whole: RankId) -> Option<()> {
        let index = self.composed(whole, None);
        self.builder.indices.insert(whole, index);
        if self.cascade.is_ragged(whole) {
            let minor = self.cascade.exprs.atoms(whole).last()?;
            let [along] = self.shape_along(&[*minor])[..] else { return None };
            let extent = self.extent(whole);
            let exists = self.builder.compare(CompareOp::Lt, index, extent);
            let lane = self.team_mut().lanes.iter().position(|it| it.dim == along)?;
            let mask = self.team_mut().lanes[lane].mask;
            let mask = self.builder.both(mask, Some(exists));
            self.team_mut().lanes[lane].mask = mask;
        }
        Some(())
    }

    /// Two ranks, if an act reads a tile along one of them that it holds along the other: what a place of a chunk is where it
    /// is written is an earlier one where it is read. Then they take each other's places for that act, so that the tile is
    /// read as it is held. None at all if that does not make all tiles fit.
    #[allow(clippy::option_option, reason = "there may be no such ranks, or too many")]
    fn turned_lanes(&self, act: &Act) -> Option<Option<[RankId; 2]>> {
        let exprs = &self.cascade.exprs;
        let mut reads = Vec::new();
        act.einsums(&mut |it| reads.extend(exprs.reads(it.value)));
        let (mut turned, mut in_place) = (None, false);
        for (tensor, coords) in reads.into_iter().filter(|it| self.is_tile(it.0)) {
            let held = &self.builder.nest.values[self.held(tensor)?.value].shape;
            let ranks: Vec<RankId> = coords.iter().flat_map(|it| exprs.free(*it).to_vec()).collect();
            let read = self.shape_along(&ranks);
            let lacking = |of: &[TileDim], those: &[TileDim]| -> Vec<TileDim> {
                of.iter().copied().filter(|it| !those.contains(it)).collect()
            };
            match (lacking(held, &read).as_slice(), lacking(&read, held).as_slice()) {
                ([], []) => in_place |= read.len() > 1,
                ([a], [b]) if a.extent == b.extent && turned.is_none_or(|it| it == [a.rank, b.rank]) => {
                    turned = Some([a.rank, b.rank]);
                }
                (_, _) => return None,
            }
        }
        (turned.is_none() || !in_place).then_some(turned)
    }

    /// Coordinates along a rank, or which of them there are, are about to mean something else.
    fn forget_along(&mut self, rank: RankId) {
        let exprs = &self.cascade.exprs;
        let minor = exprs.atoms(rank).last();
        let of =
            |it: &Expr| *it == Expr::Index(rank) || minor.is_some_and(|minor| *it == Expr::Index(*minor));
        let mut depends: Vec<bool> = Vec::new();
        for (_, expr) in exprs.iter() {
            depends.push(of(expr) || operands(expr).iter().any(|it| depends[it.idx()]));
        }
        self.builder.forget_those(|it| depends[it.idx()]);
    }
}
