//! A walk that a block of threads takes: rows are what it carries for many features of values, in registers from one
//! coordinate to the next, and what else a coordinate needs lies in memory.
//!
//! ```text
//! walk b, h, e along t.chunk                        rows: e;  carried: H~[e, d]
//!   before[t, e] = sum[d](q * H~)             ->      contract H~ [e, d], q [t, d]
//!   H~[d, e] = H~ + sum[t.key](k * v)         ->      contract v [e, t.key], k [t.key, d] into H~
//! ```
//!
//! So do blocks that compute what a walk reads for each pair of tokens of a chunk, without a state.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::CompareOp;

use super::fit::Need;
use super::rows::Rows;
use super::{MOST, Team};
use crate::ir::cascade::{Einsum, ExprId, RankId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::nest::{Stage, TileDim};
use crate::schedule::{self, Act, Axis, Stream, Walk, factors, loops, sharing};
use crate::target::Block;
use crate::tile::stream::stores;
use crate::tile::{Region, Tasks, Tiling};

/// How many rows a block has: as many as four warps take.
const ROWS: u32 = 64;

/// What a block does for a box of rows: one thing after the other, some of it at each coordinate of a rank.
struct Held<'a> {
    /// What tasks and rows are spread over.
    axes: Vec<Axis>,
    rank: Option<RankId>,
    before: &'a [Act],
    step: &'a [Act],
    after: &'a [Act],
}

impl Held<'_> {
    fn einsums(&self) -> Vec<&Einsum> {
        let mut all = Vec::new();
        let acts = self.before.iter().chain(self.step).chain(self.after);
        acts.for_each(|act| act.einsums(&mut |it| all.push(it)));
        all
    }
}

impl Tiling<'_> {
    /// A walk as a stage of which a block runs a task, if it fits.
    pub(in crate::tile) fn walk_in_team(&mut self, walk: &Walk) -> bool {
        let Walk { rows, rank, before, step, after } = walk;
        self.held_in_team(Held { axes: rows.clone(), rank: Some(*rank), before, step, after })
    }

    /// Products of pairs that a walk reads: those of a chunk are rows and columns of one tile.
    pub(super) fn pairs_in_team(&mut self, stream: &Stream) -> bool {
        let stored = stores(&stream.acts, &self.plan.tiles);
        let reads = |walk: &Walk| {
            let mut all = walk.einsums().into_iter();
            all.any(|it| self.cascade.exprs.reads(it.value).any(|it| stored.contains(&it.0)))
        };
        let is_read = self.plan.stages.iter().any(|it| matches!(it, schedule::Stage::Walk(it) if reads(it)));
        let plain = stream.part.is_none() && stream.when.is_none() && loops(&stream.acts).is_empty();
        let axes = stream.rows.clone();
        let held = Held { axes, rank: None, before: &stream.acts, step: &[], after: &[] };
        plain && is_read && self.held_in_team(held)
    }

    fn held_in_team(&mut self, mut held: Held<'_>) -> bool {
        let Some(blocks) = &self.plan.blocks else { return false };
        let Some((rows, columns)) = self.rows_of_held(&held) else { return false };
        let limits = blocks.limits;
        let dim = TileDim { rank: rows.rank, extent: ROWS };
        if held.rank.is_none() {
            held.axes.retain(|it| !columns.contains(&it.rank));
        }
        let before = (self.builder.clone(), self.extents.clone(), self.stored.clone(), self.workspace);
        // Where tiles do not fit, others have fewer registers, as in streams.
        let [_, most] = MOST;
        let (registers, split_registers) =
            (limits.registers.max(most[0]), limits.split_registers.max(most[1]));
        let wide = Block { registers, split_registers, ..limits };
        let stage = self.held_stage(&held, &rows, dim);
        let lacks = stage.as_ref().and_then(|it| Need::of(&self.builder, it, dim).lacks(&wide, ROWS));
        match (stage, lacks) {
            (Some(stage), None) => {
                self.builder.nest.stages.push(stage);
                true
            }
            (Some(_), Some(_)) | (None, _) => {
                (self.builder, self.extents, self.stored, self.workspace) = before;
                false
            }
        }
    }

    /// The rank of rows that share factors of sums of products, and those that the factors have instead of it; nothing if
    /// tiles are not read by the indices along their ranks.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn rows_of_held(&self, held: &Held<'_>) -> Option<(Rows, Vec<RankId>)> {
        let exprs = &self.cascade.exprs;
        let einsums = held.einsums();
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
            let einsum = Einsum { value: exprs.unconditioned(it.value), ..(*it).clone() };
            factors(exprs, &einsum)
        };
        let products: Vec<(ExprId, ExprId)> = einsums.iter().filter_map(product).collect();
        let ranks: Vec<RankId> = held.axes.iter().map(|it| it.rank).collect();
        let (rank, _) = sharing(exprs, &products, &ranks)?;
        let has = |it: ExprId, rank: RankId| exprs.free(it).contains(&rank);
        let sides = products.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        let sides: Vec<(ExprId, ExprId)> = sides.filter(|it| has(it.0, rank) && !has(it.1, rank)).collect();
        let is_column = |it: &RankId| sides.iter().any(|&(own, other)| has(other, *it) && !has(own, *it));
        let columns = ranks.into_iter().filter(is_column).collect();
        Some((Rows { rank, packed: Vec::new() }, columns))
    }

    fn held_stage(&mut self, held: &Held<'_>, rows: &Rows, dim: TileDim) -> Option<Stage> {
        let acts: Vec<Act> = held.before.iter().chain(held.step).chain(held.after).cloned().collect();
        let mut defines: Vec<TensorId> = stores(&acts, &self.plan.tiles);
        defines.sort_unstable();
        defines.dedup();
        self.region = Region { walks: true, ..Region::default() };
        let team = Team {
            rows: dim,
            stream: 1,
            lanes: Vec::new(),
            held: BTreeMap::new(),
            composites: Vec::new(),
            whole_tiles: None,
        };
        self.stage_of_team(team, &defines, |it| it.held_tasks(held, rows, dim))
    }

    fn held_tasks(&mut self, held: &Held<'_>, rows: &Rows, dim: TileDim) -> Option<Tasks> {
        let tasks = self.team_rows((&held.axes, &[]), rows, dim);
        self.enter_features(self.features_of_held(held))?;
        self.held_acts(held.before)?;
        if let Some(rank) = held.rank {
            let span = self.all_of(rank);
            let fixed = self.region.fixed.clone();
            self.carrying(held.step, rank, span, |it, number| {
                it.fix(rank);
                it.bind(rank, number);
                it.held_acts(held.step)
            })?;
            self.region.fixed = fixed;
        }
        self.held_acts(held.after)?;
        Some(tasks)
    }

    /// The ranks of which tiles hold all coordinates.
    fn features_of_held(&self, held: &Held<'_>) -> BTreeSet<RankId> {
        let einsums = held.einsums();
        let all = einsums.iter().flat_map(|it| it.iterated().into_iter().chain(it.op.reduced().to_vec()));
        let mut ranks: BTreeSet<RankId> = all.flat_map(|it| self.cascade.atoms(it)).collect();
        let given = |it: &RankId| held.axes.iter().any(|row| self.cascade.exprs.atoms(row.rank).contains(it));
        ranks.retain(|it| Some(*it) != held.rank && !given(it));
        ranks
    }

    /// Acts, each at the coordinates that there are of what it iterates over: the last chunk of a rank may be cut off.
    fn held_acts(&mut self, acts: &[Act]) -> Option<()> {
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
