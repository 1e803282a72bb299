//! A stream that a block of threads takes together: tiles are values, not scratch.
//!
//! A task has a box of rows. What it holds of them (scores, weights, sums) are values with an element for each row and
//! each neighbour along one other rank, which loops carry; a sum of products of such a tile and one that lies in memory
//! is one contraction. The back end spreads the rows over its warps and takes contractions as products of matrices.
//! A stream does not fit where it needs more than that: a tile of three ranks, features of unknown number, factors that
//! would lose digits as products take them. Then a thread takes each row.
//!
//! ```text
//! S~[m, n] = sum[d](Q * K)        ->   %9 = contract %7 [m, d], %8 [n, d] into 0
//! O~[m, e] += sum[n](P~ * V)      ->   %15 = contract %13 [m, n], %14 [n, e] into 0;  carried: %16 = %12 + %15
//! ```

mod fit;
mod order;
mod phases;
mod points;
mod rows;
mod sums;
mod turns;
mod walks;

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::CompareOp;

use super::builder::Known;
use super::fold::Fold;
use super::stream::stores;
use super::{Lanes, Region, Tasks, Tiling};
use crate::ir::cascade::{Einsum, Extent, Op, RankId, TensorId};
use crate::ir::nest::{self, Scalar, Stage, Stmt, TileDim, ValueId};
use crate::schedule::{Act, Axis, Stream, loops};
use crate::target::Block;
pub(crate) use fit::staged_bytes;
use fit::{Need, Said, Sizes};
use rows::Rows;

/// Extents of tiles are multiples of this, the depth of a product of matrices.
const GRAIN: u32 = 16;
/// The most features that one product of matrices has.
const FEATURES: i64 = 256;

/// How many registers tiles may take where nothing fits otherwise, and those of stages with products of f32, which take more only
/// where it has to be.
const MOST: [[u32; 2]; 2] = [[186, 165], [186, 182]];
/// Tiles of fewer coordinates of what is streamed over keep products waiting. Where groups take them, sums of many features leave
/// more of the registers than the limit says, for nothing of those is on its way through others.
const FEW: u32 = 32;
const OF_GROUPS: u32 = 160;

/// How many registers tiles leave to what a task is that has a part.
const OF_PART: u32 = 8;

/// What a block of threads holds.
pub(super) struct Team {
    /// The rank whose coordinates it shares.
    rows: TileDim,
    /// How many coordinates of what it streams over it has at hand.
    stream: u32,
    /// The coordinates at hand along each rank that has several.
    pub(super) lanes: Vec<Lanes>,
    /// The tiles.
    held: BTreeMap<TensorId, Known>,
    /// Composite ranks that have a coordinate wherever their parts have.
    composites: Vec<RankId>,
    /// The rank whose parts have whole tiles.
    whole_tiles: Option<RankId>,
}

impl Tiling<'_> {
    /// A stream as a stage of which a block runs a task, if it fits with tiles of some sizes.
    pub(super) fn in_team(&mut self, stream: &Stream) -> bool {
        if self.pairs_in_team(stream) {
            return true;
        }
        let Some(blocks) = &self.plan.blocks else { return false };
        let Some(rows) = self.rows_of_team(stream) else { return false };
        let Some(said) = Said::of(self.cascade, blocks, stream, rows.rank) else { return false };
        let of_part = if stream.part.is_some() { OF_PART } else { 0 };
        let most = [blocks.limits.registers, blocks.limits.split_registers];
        let with =
            |[registers, split_registers]: [u32; 2]| Block { registers, split_registers, ..blocks.limits };
        let least = most.map(|it| it.saturating_sub(of_part));
        let limits = with(least);
        let mut stage = Err(String::new());
        if said == said.nothing() && stream.part.is_none() && most[0] >= OF_GROUPS {
            stage =
                self.team_of_many(stream, &rows, said, [limits, with([most[0].max(MOST[0][0]), most[1]])]);
        }
        if stage.is_err() {
            stage = self.team_that_fits(stream, &rows, said, &limits);
        }
        if said == said.nothing() {
            // Where no sizes fit, others have fewer registers: single threads would have no products of matrices at all.
            let [few, many] = MOST.map(|more| [0, 1].map(|it| most[it].max(more[it])));
            for more in [most, few, many] {
                if stage.is_err() && more != least {
                    let wide = with(more);
                    stage = self.team_that_fits(stream, &rows, said, &wide);
                }
            }
        }
        if let Ok((_, stage)) = stage {
            self.builder.nest.stages.push(stage);
            return true;
        }
        if said != said.nothing() {
            self.refuse_sizes(stream, &rows, said, &limits);
        }
        false
    }

    /// The stage with the best sizes that fit; else what the last of them lacks, in words, or none if blocks cannot take it
    /// with any sizes.
    fn team_that_fits(
        &mut self,
        stream: &Stream,
        rows: &Rows,
        said: Said,
        limits: &Block,
    ) -> Result<(Sizes, Stage), String> {
        let mut why = String::new();
        for sizes in said.sizes(rows.extent(self.cascade), limits) {
            let before = (self.builder.clone(), self.extents.clone(), self.stored.clone(), self.workspace);
            let dim = TileDim { rank: rows.rank, extent: sizes.rows };
            let stage = self.team_stage(stream, rows, (dim, sizes.stream));
            let lacks = stage.as_ref().map(|it| Need::of(&self.builder, it, dim).lacks(limits, sizes.rows));
            if let (Some(stage), Some(None)) = (stage, &lacks) {
                return Ok((sizes, stage));
            }
            (self.builder, self.extents, self.stored, self.workspace) = before;
            // What cannot be taken with some sizes cannot be with others.
            why = lacks.flatten().ok_or(String::new())?;
        }
        Err(why)
    }

    /// The stage with sizes that fit, if its tiles are not small; else with those of which tiles are larger under wider limits.
    fn team_of_many(
        &mut self,
        stream: &Stream,
        rows: &Rows,
        said: Said,
        [limits, wide]: [Block; 2],
    ) -> Result<(Sizes, Stage), String> {
        let before = (self.builder.clone(), self.extents.clone(), self.stored.clone(), self.workspace);
        let stage = self.team_that_fits(stream, rows, said, &limits);
        if !matches!(&stage, Ok((sizes, _)) if sizes.stream < FEW) {
            return stage;
        }
        (self.builder, self.extents, self.stored, self.workspace) = before;
        self.team_that_fits(stream, rows, said, &wide)
    }

    /// Notes why what is said of sizes cannot be, if it is for the sizes.
    fn refuse_sizes(&mut self, stream: &Stream, rows: &Rows, said: Said, limits: &Block) {
        let why = self.team_that_fits(stream, rows, said, limits).err().unwrap_or_default();
        let before = (self.builder.clone(), self.extents.clone(), self.stored.clone(), self.workspace);
        let nearest = self.team_that_fits(stream, rows, said.nothing(), limits);
        (self.builder, self.extents, self.stored, self.workspace) = before;
        // Sizes are not why threads take what blocks cannot.
        if !matches!(&nearest, Err(lacks) if lacks.is_empty()) {
            self.refused.push(said.refusal(self.cascade, &why, nearest.ok().map(|it| it.0)));
        }
    }

    fn team_stage(&mut self, stream: &Stream, rows: &Rows, (dim, tile): (TileDim, u32)) -> Option<Stage> {
        let composites = stream.composites.clone();
        let (lanes, held) = (Vec::new(), BTreeMap::new());
        let team = Team { rows: dim, stream: tile, lanes, held, composites, whole_tiles: None };
        let defines = stores(&stream.acts, &self.plan.tiles);
        self.stage_of_team(team, &defines, |it| it.team_tasks(stream, rows, dim))
    }

    /// A stage of which a block runs a task.
    fn stage_of_team(
        &mut self,
        team: Team,
        defines: &[TensorId],
        tasks: impl FnOnce(&mut Self) -> Option<Tasks>,
    ) -> Option<Stage> {
        let (dim, walks) = (team.rows, self.region.walks);
        self.team = Some(team);
        self.builder.repeats = true;
        // Coordinates of features, which no loop gives, mean something else in other stages.
        let memos = self.builder.forget();
        self.builder.open_body();
        let tasks = tasks(self);
        self.team = None;
        self.builder.repeats = false;
        self.region = Region::default();
        let Tasks { task, count } = tasks?;
        let mut body = self.builder.close_body();
        // Without products of matrices threads do as well on their own.
        let multiplies = multiplies(&body);
        order::products_late(&self.builder.prologue(), &mut body);
        if walks {
            order::others_late(&self.builder.prologue(), &mut body);
        }
        self.builder.forget();
        self.builder.recollect(memos);
        self.builder.unbind_all();
        let names: Vec<&str> = defines.iter().map(|&it| self.cascade.tensors[it].name.as_str()).collect();
        let stage = Stage { defines: names.join(", "), tasks: count, task, team: Some(dim), body };
        multiplies.then_some(stage)
    }

    fn team_tasks(&mut self, stream: &Stream, rows: &Rows, dim: TileDim) -> Option<Tasks> {
        for it in loops(&stream.acts) {
            let tile =
                |axis: &Axis| it.parts.map_or(self.team.as_ref().map_or(1, |it| it.stream), |_| axis.tile);
            let tiles: Vec<_> = it.axes.iter().map(|it| (it.rank, tile(it))).collect();
            self.region.tiles.extend(tiles);
        }
        self.region.rows = stream.rows.iter().map(|it| it.rank).collect();
        let mut tasks = self.team_rows((&stream.rows, &stream.composites), rows, dim);
        if let Some(condition) = stream.when {
            let (holds, none) = (self.value(condition).value, self.builder.int(0));
            tasks.count = self.builder.select(holds, tasks.count, none);
        }
        self.enter_part(stream);
        self.enter_features(self.features_of(stream))?;
        self.team_acts(&stream.acts)?;
        Some(tasks)
    }

    /// From now to the end of the innermost block, tiles hold all coordinates of these ranks, if they are of known number and not
    /// too many.
    fn enter_features(&mut self, ranks: BTreeSet<RankId>) -> Option<()> {
        for rank in ranks {
            let Extent::Fixed(extent @ 1..=FEATURES) = self.cascade.ranks[rank].extent else { return None };
            let whole = u32::try_from(extent).ok()?.next_multiple_of(GRAIN);
            let (zero, to) = (self.builder.int(0), self.builder.int(extent));
            let to = (i64::from(whole) != extent).then_some(to);
            self.enter_lane(TileDim { rank, extent: whole }, zero, to);
        }
        Some(())
    }

    /// The ranks of which tiles hold all coordinates.
    fn features_of(&self, stream: &Stream) -> BTreeSet<RankId> {
        let mut ranks = BTreeSet::new();
        stream.acts.iter().for_each(|act| {
            act.einsums(&mut |it| {
                let all = it.iterated().into_iter().chain(it.op.reduced().to_vec());
                ranks.extend(all.flat_map(|it| self.cascade.atoms(it)));
            });
        });
        for it in loops(&stream.acts) {
            it.axes.iter().for_each(|axis| _ = ranks.remove(&axis.rank));
            ranks.remove(&it.parts.map_or(it.axes[0].rank, |parts| parts.of));
        }
        stream.rows.iter().for_each(|row| _ = ranks.remove(&row.rank));
        ranks
    }

    /// From now to the end of the innermost block, the coordinates along a rank are those of a tile, of which there are
    /// those below `to`.
    fn enter_lane(&mut self, dim: TileDim, from: ValueId, to: Option<ValueId>) {
        let iota = self.builder.iota(dim);
        let indices = self.sum(from, iota);
        self.bind(dim.rank, indices);
        let mask = to.map(|to| self.builder.compare(CompareOp::Lt, indices, to));
        let lane =
            Lanes { dim, first: from, indices, offsets: indices, shifted: indices, mask, reduced: false };
        self.team_mut().lanes.push(lane);
    }

    fn team_mut(&mut self) -> &mut Team {
        self.team.as_mut().expect("a block has rows")
    }

    /// The tile that a block holds of a tensor.
    pub(super) fn held(&self, tensor: TensorId) -> Option<Known> {
        self.team.as_ref()?.held.get(&tensor).copied()
    }

    fn team_acts(&mut self, acts: &[Act]) -> Option<()> {
        for act in acts {
            let reads_tile = &self.reads_tile;
            self.builder.forget_those(|it| reads_tile[it.idx()]);
            match act {
                Act::Define(einsum) => self.team_define(einsum)?,
                Act::Fold(einsum) => self.team_fold(einsum)?,
                Act::Loop(it) => self.team_loop(it)?,
                Act::Choose(condition, then, otherwise) => {
                    let condition = self.value(*condition).value;
                    let then = self.team_branch(then)?;
                    let otherwise = self.team_branch(otherwise)?;
                    self.builder.branch(condition, then, otherwise);
                }
                Act::Along(..) => return None,
            }
        }
        let reads_tile = &self.reads_tile;
        self.builder.forget_those(|it| reads_tile[it.idx()]);
        Some(())
    }

    /// Acts of a branch, which changes no tile that is there before it.
    fn team_branch(&mut self, acts: &[Act]) -> Option<nest::Block> {
        let outside = self.team_mut().held.clone();
        let mut changes = false;
        acts.iter().for_each(|act| act.einsums(&mut |it| changes |= outside.contains_key(&it.tensor)));
        if changes {
            return None;
        }
        let memos = self.builder.forget();
        let written = self.builder.written();
        self.builder.open_branch();
        self.team_acts(acts)?;
        let inside = self.builder.close_branch().stmts;
        // What one branch alone needs is computed in it, so that the other has its registers.
        let stmts = [self.builder.take_back(written), inside].concat();
        self.team_mut().held = outside;
        self.builder.forget();
        self.builder.recollect(memos);
        Some(nest::Block { stmts })
    }

    /// A loop that carries the tiles that its acts change.
    fn carrying(
        &mut self,
        acts: &[Act],
        rank: RankId,
        (from, to): (ValueId, ValueId),
        body: impl FnOnce(&mut Self, ValueId) -> Option<()>,
    ) -> Option<()> {
        let outside = self.team_mut().held.clone();
        let mut changed = BTreeSet::new();
        acts.iter().for_each(|act| act.einsums(&mut |it| _ = changed.insert(it.tensor)));
        changed.retain(|it| outside.contains_key(it));
        // Whether a point is there is not carried.
        if changed.iter().any(|it| outside[it].present.is_some()) {
            return None;
        }
        let inits: Vec<ValueId> = changed.iter().map(|it| outside[it].value).collect();
        let (index, currents) = self.builder.open_loop(rank, (from, to, 1), &inits);
        let known = |value| Known { value, present: None };
        self.team_mut().held.extend(changed.iter().copied().zip(currents.into_iter().map(known)));
        body(self, index)?;
        let nexts: Vec<Known> = changed.iter().map(|it| self.team_mut().held[it]).collect();
        if nexts.iter().any(|it| it.present.is_some()) {
            return None;
        }
        let nexts: Vec<ValueId> = nexts.iter().map(|it| it.value).collect();
        let results = self.builder.close_loop(&nexts);
        self.team_mut().held = outside;
        self.team_mut().held.extend(changed.into_iter().zip(results.into_iter().map(known)));
        Some(())
    }

    fn team_define(&mut self, einsum: &Einsum) -> Option<()> {
        let known = match &einsum.op {
            Op::Map => self.value(einsum.value),
            Op::Reduce(op, over) => {
                let value = self.team_reduction(*op, over, einsum)?;
                Known { value, present: None }
            }
            Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => return None,
        };
        if self.is_tile(einsum.tensor) {
            return self.hold(einsum.tensor, known);
        }
        let shape = &self.builder.nest.values[known.value].shape;
        let rows = self.team.as_ref()?.rows;
        if shape.len() > 2 || (shape.len() == 2 && !shape.contains(&rows)) {
            return None;
        }
        self.store(einsum.tensor, &einsum.at, known);
        Some(())
    }

    fn team_fold(&mut self, einsum: &Einsum) -> Option<()> {
        let Op::Reduce(op, over) = &einsum.op else { return None };
        let over = self.unbound(over.iter().copied());
        let value = self.team_reduction(*op, &over, einsum)?;
        let before = self.held(einsum.tensor)?.value;
        let combine = Fold::new(self, *op, einsum.value).combine();
        let value = self.builder.convert(value, self.builder.scalar(before));
        let value = self.builder.binary(combine, before, value);
        self.hold(einsum.tensor, Known { value, present: None })
    }

    /// From now on a block holds that of a tensor.
    fn hold(&mut self, tensor: TensorId, known: Known) -> Option<()> {
        let dtype = self.widths.stored(self.cascade, tensor);
        let value = self.cast(dtype, known.value, Scalar::of(dtype));
        let ranks = self.cascade.tensors[tensor].dims.iter().map(|it| it.rank);
        let ranks: Vec<RankId> = ranks.filter(|it| !self.region.fixed.contains(it)).collect();
        let shape = self.shape_along(&ranks);
        if ranks.iter().any(|it| self.shape_along(&[*it]).is_empty()) || shape.len() > 2 {
            return None;
        }
        // What all rows share stays what is loaded.
        let is_shared = !shape.contains(&self.team_mut().rows) && shape.len() == 2;
        let value = if is_shared { value } else { self.builder.spread(value, &shape) };
        self.team_mut().held.insert(tensor, Known { value, present: known.present });
        Some(())
    }
}

/// There are products of matrices in a block or within it.
fn multiplies(block: &nest::Block) -> bool {
    block.stmts.iter().any(|it| match it {
        Stmt::Let(_, op) => matches!(op, nest::Op::Contract { .. }),
        Stmt::Loop(it) => multiplies(&it.body),
        Stmt::If { then, otherwise, .. } => multiplies(then) || multiplies(otherwise),
        Stmt::Store { .. } => false,
    })
}
