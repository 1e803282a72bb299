//! A traversal to one over parts of its fiber, by the law `⊕_n x = ⊕_p ⊕_{n in part p} x`.
//!
//! Few rows with many keys leave most threads idle; parts of a fiber can be tasks of their own. Whether they are is
//! decided by the extents of a call and cannot be seen in its results: the same parts are folded and put together in
//! the same order, either by one task from tile to tile, or by tasks that store what they have and a stage that
//! merges that. What a part comes to is an accumulator, or a sum with its scale, so the running maximum that brings
//! tiles to one scale brings parts to one scale, too (`accumulate.rs`).
//!
//! A block of threads has no room for the sums of a part beside those of all parts. So its tasks have one part each, where
//! one block is known to have all rows that share a fiber, as in decoding; elsewhere fibers have one part. What merges the
//! parts has a task for each feature.
//!
//! ```text
//! stream m in 48                       stream n.turn, m in 48
//!   Z.sum = 0                            Z.sum = 0
//!   for n in 64                          for n.part of n
//!     Z.sum += sum[n](x)           ->      Z.part.sum = 0
//!   output L = log(Z.sum)                  for n in 64
//!                                            Z.part.sum += sum[n](x)
//!                                          if apart: Z.kept = Z.part.sum   else Z.sum += sum[n.part](Z.part.sum)
//!                                        unless apart: output L = log(Z.sum)
//!                                      stream m in 48 where apart
//!                                        Z.sum = 0
//!                                        for n.part of n
//!                                          Z.sum += sum[n.part](Z.kept)
//!                                        output L = log(Z.sum)
//! ```

use std::collections::BTreeSet;

use attnc_dsl::ast::CompareOp;

use super::flow::Ranks;
use super::merge::defined;
use super::plan::{Act, Axis, Loop, Parts, Stream};
use super::sharing::{factors, sharing};
use super::weave::Weaver;
use crate::ir::cascade::{ExprId, Extent, Rank, RankId, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// How a traversal goes over parts.
pub(super) struct Split {
    /// What it traverses.
    pub(super) along: Ranks,
    /// The rank whose coordinates are the parts.
    pub(super) part: RankId,
    /// The rank of the tasks for one box: a part each, or one for all. That of the parts if a task never has several.
    turn: RankId,
    /// What a part has of the outermost rank that is traversed.
    parts: Parts,
    /// Parts are tasks of their own: a box has several.
    apart: ExprId,
}

/// What is done for boxes of rows, around the traversal of a part and the merge of all.
#[derive(Default)]
struct InOrder {
    before: Vec<Act>,
    /// What the states of a part are at first, and what feeds them.
    starts: Vec<Act>,
    folds: Vec<Loop>,
    /// The same of what all parts come to.
    totals: Vec<Act>,
    merges: Vec<Loop>,
    behind: Vec<Act>,
}

impl InOrder {
    /// What is done for a part.
    fn part(&self) -> Vec<Act> {
        self.starts.iter().cloned().chain(self.folds.iter().cloned().map(Act::Loop)).collect()
    }
}

impl Split {
    /// A task never has several parts.
    fn is_alone(&self) -> bool {
        self.turn == self.part
    }

    /// A loop over parts.
    fn over_parts(&self, matters: Vec<Vec<ExprId>>, acts: Vec<Act>) -> Act {
        let axes = vec![Axis { rank: self.part, tile: 1 }];
        Act::Loop(Loop { axes, parts: Some(self.parts), matters, gauges: Vec::new(), acts })
    }
}

impl Weaver<'_> {
    /// How the stage goes over parts, if that may ever pay for boxes of these rows: of its only round of traversals,
    /// the first one that the mapping parts.
    pub(super) fn split(&mut self, rows: &[Axis]) -> Option<Split> {
        let shapes = self.shapes;
        let deep = |it: &TensorId| self.level_of(*it) + usize::from(self.is_stored_by_tiles(*it)) > 1;
        if self.group.cone.iter().any(deep) || self.selects() {
            return None;
        }
        let folds: Vec<Ranks> = self.group.cone.iter().map(|it| shapes.of[it].fold.clone()).collect();
        folds.into_iter().filter(|it| !it.is_empty()).find_map(|along| self.parted(along, rows))
    }

    /// How many rounds of traversals a tensor takes.
    fn level_of(&self, tensor: TensorId) -> usize {
        let einsum = self.flow.einsums[&tensor];
        let reads = self.shapes.local_reads(self.flow, einsum);
        let before = reads.into_iter().map(|it| self.level_of(it)).max().unwrap_or(0);
        before + usize::from(!self.shapes.of[&tensor].fold.is_empty())
    }

    /// It is stored tile by tile, in a traversal.
    fn is_stored_by_tiles(&self, tensor: TensorId) -> bool {
        self.group.roots.contains(&tensor) && self.is_streamed(tensor)
    }

    fn parted(&mut self, along: Ranks, rows: &[Axis]) -> Option<Split> {
        let axes = self.axes(&along);
        let (outer, inner) = axes.split_first()?;
        let name = self.cascade.ranks[outer.rank].name.clone();
        let (chunk, most) = self.mapping.parts(&name);
        // What a coordinate of the outermost rank has of the others must be known for parts to have enough of all.
        let points = inner.iter().try_fold(1, |all: i64, it| match self.cascade.ranks[it.rank].extent {
            Extent::Fixed(extent) => all.checked_mul(extent.max(1)),
            Extent::Carried | Extent::Derived(_) => None,
        })?;
        if most < 2 {
            return None;
        }
        let extent = self.extent(outer.rank);
        let (of, at_most) = (outer.rank, most);
        let alone = match self.mapping.defaults.block {
            Some(block) if !self.has_few_rows(rows, block.rows) => return None,
            block => block.is_some(),
        };
        let exprs = &mut self.cascade.exprs;
        let (least, most) = (exprs.int((i64::from(chunk) - 1) / points + 1), exprs.int(most.into()));
        let one = exprs.int(1);
        let share = pieces(exprs, extent, most);
        let share = exprs.binary(BinaryOp::Max, share, least);
        let tile = exprs.int(outer.tile.into());
        let tiles = pieces(exprs, share, tile);
        let length = exprs.binary(BinaryOp::Mul, tiles, tile);
        let mut count = pieces(exprs, extent, length);
        if matches!(exprs.get(count), Expr::Int(..2)) {
            return None;
        }
        if alone {
            // The task of a box that has nothing to traverse has a part all the same.
            count = exprs.binary(BinaryOp::Max, count, one);
        }
        let boxes = if alone { None } else { Some(self.boxes(rows)?) };
        let part = self.new_rank(&format!("{name}.part"), count);
        let count = self.extent(part);
        let exprs = &mut self.cascade.exprs;
        let two = exprs.int(2);
        let several = exprs.compare(CompareOp::Ge, count, two);
        let apart = boxes.map_or(several, |few| exprs.binary(BinaryOp::And, several, few));
        let parts = Parts { of, length, least: chunk, most: at_most };
        if alone {
            return Some(Split { along, part, turn: part, parts, apart });
        }
        let exprs = &mut self.cascade.exprs;
        let turns = exprs.add(Expr::If(apart, count, one));
        let turn = self.new_rank(&format!("{name}.turn"), turns);
        let turns = self.extent(turn);
        let apart = self.cascade.exprs.compare(CompareOp::Ge, turns, two);
        Some(Split { along, part, turn, parts, apart })
    }

    /// One block of so many rows has all that share what is traversed, whatever the extents of a call are.
    fn has_few_rows(&self, rows: &[Axis], most: u32) -> bool {
        let exprs = &self.flow.cascade.exprs;
        let einsums = self.group.cone.iter().map(|it| self.flow.einsums[it]);
        let products: Vec<_> = einsums.filter_map(|it| factors(exprs, it)).collect();
        let rows: Vec<RankId> = rows.iter().map(|it| it.rank).collect();
        let Some((rank, packed)) = sharing(exprs, &products, &rows) else { return false };
        let extents = packed.into_iter().chain([rank]).map(|it| self.cascade.most_coordinates(it));
        extents.fold(1, u32::saturating_mul) <= most
    }

    /// Holds where there are few boxes of rows; `None` if there never are.
    fn boxes(&mut self, rows: &[Axis]) -> Option<ExprId> {
        let (mut all, mut least) = (self.cascade.exprs.int(1), 1_i64);
        for row in rows {
            let extent = self.extent(row.rank);
            let exprs = &mut self.cascade.exprs;
            let tile = exprs.int(row.tile.into());
            let count = pieces(exprs, extent, tile);
            if let Expr::Int(count) = exprs.get(count) {
                least = least.saturating_mul((*count).max(1));
            }
            all = exprs.binary(BinaryOp::Mul, all, count);
        }
        let most = i64::from(self.mapping.defaults.tasks);
        let exprs = &mut self.cascade.exprs;
        let limit = exprs.int(most);
        let few = exprs.compare(CompareOp::Le, all, limit);
        (least <= most).then_some(few)
    }

    fn extent(&mut self, rank: RankId) -> ExprId {
        match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => self.cascade.exprs.int(extent),
            Extent::Carried | Extent::Derived(_) => self.cascade.exprs.add(Expr::Extent(rank)),
        }
    }

    /// A rank of this plan alone.
    fn new_rank(&mut self, name: &str, extent: ExprId) -> RankId {
        let taken = self.cascade.ranks.iter().filter(|(_, it)| it.name.starts_with(name)).count();
        let name = if taken == 0 { name.to_owned() } else { format!("{name}{}", taken + 1) };
        let derived = Extent::Derived(extent);
        let extent =
            if let Expr::Int(it) = self.cascade.exprs.get(extent) { Extent::Fixed(*it) } else { derived };
        let rank = self.cascade.ranks.push(Rank { name, parts: Vec::new(), extent, local: true });
        self.cascade.exprs.add_rank(rank, vec![rank]);
        rank
    }

    /// The stage that goes over parts, and those that merge them.
    pub(super) fn in_parts(
        &mut self,
        split: &Split,
        rows: Vec<Axis>,
        composites: Vec<RankId>,
    ) -> Vec<Stream> {
        let order = self.in_order(split);
        let merges: Vec<Act> = order.merges.iter().flat_map(|it| it.acts.clone()).collect();
        let (keeps, kept) = self.kept_parts(split.apart, &order.starts, &merges);
        let from_memory = self.with_reads(&merges, &kept);
        let matters: Vec<Vec<ExprId>> = order.folds.iter().flat_map(|it| it.matters.clone()).collect();
        let alone = split.is_alone();
        let one = if alone {
            self.one_part(split, &order, keeps, &merges)
        } else {
            self.all_parts(split, &order, &matters, (keeps, merges))
        };
        let InOrder { before, totals, behind, .. } = order;
        let two = [before, totals, vec![split.over_parts(matters, from_memory)], behind].concat();
        let turn = Axis { rank: split.turn, tile: 1 };
        let turns = std::iter::once(turn).chain(rows.iter().copied()).collect();
        let (one, two) = (self.needed(one), self.needed(two));
        let unscaled = std::mem::take(&mut self.unscaled);
        let part = alone.then_some((split.part, split.parts));
        let first =
            Stream { rows: turns, part, when: None, composites: composites.clone(), unscaled, acts: one };
        let merges = if alone { self.by_feature(&rows, two) } else { vec![(rows, two)] };
        let merge = |(rows, acts)| {
            let (when, unscaled) = (Some(split.apart), BTreeSet::new());
            Stream { rows, part: None, when, composites: composites.clone(), unscaled, acts }
        };
        std::iter::once(first).chain(merges.into_iter().map(merge)).collect()
    }

    /// What was woven, in order.
    fn in_order(&mut self, split: &Split) -> InOrder {
        let mut between = std::mem::take(&mut self.between).into_iter();
        let mut order = InOrder { before: between.next().unwrap_or_default(), ..InOrder::default() };
        let rounds = std::mem::take(&mut self.rounds).into_iter().flatten();
        for round in rounds {
            let (own, is_merge) = (round.starts.clone(), round.along == Ranks::from([split.part]));
            let is_fold = round.along == split.along;
            let it = self.traversal(round);
            if is_merge {
                order.totals.extend(own);
                order.merges.push(it);
            } else if is_fold {
                order.starts.extend(own);
                order.folds.push(it);
            } else {
                order.behind.extend(own);
                order.behind.push(Act::Loop(it));
            }
        }
        order.behind.extend(between.flatten());
        order
    }

    /// What a task does that has one part or all.
    fn all_parts(
        &mut self,
        split: &Split,
        order: &InOrder,
        matters: &[Vec<ExprId>],
        (keeps, merges): (Vec<Act>, Vec<Act>),
    ) -> Vec<Act> {
        let (tiles, stores) = self.tiles_before(order);
        let mut part = order.part();
        part.push(Act::Choose(split.apart, keeps, merges));
        let traversal = split.over_parts(self.in_turn(split, matters), part);
        let rest = Act::Choose(split.apart, Vec::new(), [stores, order.behind.clone()].concat());
        [tiles, order.totals.clone(), vec![traversal, rest]].concat()
    }

    /// What a task does that has one part, which may be all there is.
    fn one_part(&mut self, split: &Split, order: &InOrder, keeps: Vec<Act>, merges: &[Act]) -> Vec<Act> {
        let (tiles, stores) = self.tiles_before(order);
        let mut part = order.part();
        let rest = [stores, order.behind.clone()].concat();
        let states = part.iter().filter_map(defined).collect();
        let merged = [order.totals.clone(), merges.to_vec(), rest.clone()].concat();
        let rest = self.of_one_part(split.part, &states, merges, &rest).unwrap_or(merged);
        part.push(Act::Choose(split.apart, keeps, rest));
        [tiles, part].concat()
    }

    /// What is done before all traversals: what defines tiles, and what stores.
    fn tiles_before(&self, order: &InOrder) -> (Vec<Act>, Vec<Act>) {
        let is_tile = |act: &Act| defined(act).is_some_and(|it| self.tiles.contains(&it));
        order.before.iter().cloned().partition(is_tile)
    }

    /// What must hold for a part to be the turn of a task, beside one of these lists.
    fn in_turn(&mut self, split: &Split, matters: &[Vec<ExprId>]) -> Vec<Vec<ExprId>> {
        let all = self.extent(split.part);
        let exprs = &mut self.cascade.exprs;
        let (part, turn, none) = (exprs.index(split.part), exprs.index(split.turn), exprs.int(0));
        let more = exprs.add(Expr::If(split.apart, none, all));
        let last = exprs.binary(BinaryOp::Add, turn, more);
        let own = [exprs.compare(CompareOp::Ge, part, turn), exprs.compare(CompareOp::Le, part, last)];
        let always = [Vec::new()];
        let lists = if matters.is_empty() { &always } else { matters };
        lists.iter().map(|list| own.iter().chain(list).copied().collect()).collect()
    }
}

/// How many pieces of a size cover an extent.
fn pieces(exprs: &mut crate::ir::expr::Exprs, extent: ExprId, size: ExprId) -> ExprId {
    let one = exprs.int(1);
    let more = exprs.binary(BinaryOp::Sub, size, one);
    let more = exprs.binary(BinaryOp::Add, extent, more);
    exprs.binary(BinaryOp::FloorDiv, more, size)
}
