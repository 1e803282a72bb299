//! A traversal to one over parts of its fiber, by the law `⊕_n x = ⊕_p ⊕_{n in part p} x`.
//!
//! Few rows with many keys leave most threads idle; parts of a fiber can be tasks of their own. Whether they are is
//! decided by the extents of a call and cannot be seen in its results: the same parts are folded and put together in
//! the same order, either by one task from tile to tile, or by tasks that store what they have and a stage that
//! merges that. What a part comes to is an accumulator, or a sum with its scale, so the running maximum that brings
//! tiles to one scale brings parts to one scale, too (`accumulate.rs`).
//!
//! A block of threads has no room for the sums of a part beside those of all parts. So its tasks have one part each, of
//! several where one block has all rows that share a fiber, as in decoding, and else the whole. That depends on the extents
//! of one sequence alone, so no bit tells what else is in a batch. What merges the parts has a task for each feature.
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

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::CompareOp;

use super::flow::Ranks;
use super::plan::{Act, Axis, Loop, Parts, Stream};
use super::sharing::{factors, sharing};
use super::weave::{Round, Weaver, left};
use crate::ir::cascade::{Einsum, ExprId, Extent, Op, Rank, RankId, Role, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr, operands, with_operands};

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
        let few = match self.mapping.defaults.block {
            Some(block) => Some(self.few_rows(rows, block.rows)?),
            None => None,
        };
        let exprs = &mut self.cascade.exprs;
        let (least, most) = (exprs.int((i64::from(chunk) - 1) / points + 1), exprs.int(most.into()));
        let one = exprs.int(1);
        let most = few.map_or(most, |few| exprs.add(Expr::If(few, most, one)));
        let share = pieces(exprs, extent, most);
        let share = exprs.binary(BinaryOp::Max, share, least);
        let tile = exprs.int(outer.tile.into());
        let tiles = pieces(exprs, share, tile);
        let length = exprs.binary(BinaryOp::Mul, tiles, tile);
        let mut count = pieces(exprs, extent, length);
        if matches!(exprs.get(count), Expr::Int(..2)) {
            return None;
        }
        if few.is_some() {
            // The task of a box that has nothing to traverse has a part all the same.
            count = exprs.binary(BinaryOp::Max, count, one);
        }
        let boxes = if few.is_some() { None } else { Some(self.boxes(rows)?) };
        let part = self.new_rank(&format!("{name}.part"), count);
        let count = self.extent(part);
        let exprs = &mut self.cascade.exprs;
        let two = exprs.int(2);
        let several = exprs.compare(CompareOp::Ge, count, two);
        let apart = boxes.map_or(several, |few| exprs.binary(BinaryOp::And, several, few));
        let parts = Parts { of, length, least: chunk, most: at_most };
        if few.is_some() {
            return Some(Split { along, part, turn: part, parts, apart });
        }
        let exprs = &mut self.cascade.exprs;
        let turns = exprs.add(Expr::If(apart, count, one));
        let turn = self.new_rank(&format!("{name}.turn"), turns);
        let turns = self.extent(turn);
        let apart = self.cascade.exprs.compare(CompareOp::Ge, turns, two);
        Some(Split { along, part, turn, parts, apart })
    }

    /// Holds where one block of so many has all rows that share what is traversed; `None` if it never does.
    fn few_rows(&mut self, rows: &[Axis], most: u32) -> Option<ExprId> {
        let einsums = self.group.cone.iter().map(|it| self.flow.einsums[it]);
        let products: Vec<_> = einsums.filter_map(|it| factors(&self.flow.cascade.exprs, it)).collect();
        let rows: Vec<RankId> = rows.iter().map(|it| it.rank).collect();
        let (rank, packed) = sharing(&self.flow.cascade.exprs, &products, &rows)?;
        let extents: Vec<ExprId> = packed.into_iter().chain([rank]).map(|it| self.extent(it)).collect();
        let exprs = &mut self.cascade.exprs;
        let (one, most) = (exprs.int(1), exprs.int(most.into()));
        let all = extents.into_iter().fold(one, |all, it| exprs.binary(BinaryOp::Mul, all, it));
        let few = exprs.compare(CompareOp::Le, all, most);
        (*exprs.get(few) != Expr::Bool(false)).then_some(few)
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

    /// The stage that goes over parts, and the one that merges them.
    pub(super) fn in_parts(
        &mut self,
        split: &Split,
        rows: Vec<Axis>,
        composites: Vec<RankId>,
    ) -> Vec<Stream> {
        let mut between = std::mem::take(&mut self.between).into_iter();
        let before = between.next().unwrap_or_default();
        let rounds = std::mem::take(&mut self.rounds).into_iter().flatten();
        let is_merge = |it: &Round| it.along == Ranks::from([split.part]);
        let (mut folds, mut merges, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        let (mut starts, mut totals) = (Vec::new(), Vec::new());
        for round in rounds {
            let (own, is_merge, is_fold) =
                (round.starts.clone(), is_merge(&round), round.along == split.along);
            let it = self.traversal(round);
            if is_merge {
                totals.extend(own);
                merges.push(it);
            } else if is_fold {
                starts.extend(own);
                folds.push(it);
            } else {
                behind.extend(own);
                behind.push(Act::Loop(it));
            }
        }
        behind.extend(between.flatten());
        let matters: Vec<Vec<ExprId>> = folds.iter().flat_map(|it| it.matters.clone()).collect();
        let merges: Vec<Act> = merges.into_iter().flat_map(|it| it.acts).collect();
        let (keeps, kept) = self.kept_parts(split, &starts, &merges);
        let from_memory = self.with_reads(&merges, &kept);
        let over_parts = |matters, acts| {
            let axes = vec![Axis { rank: split.part, tile: 1 }];
            Act::Loop(Loop { axes, parts: Some(split.parts), matters, gauges: Vec::new(), acts })
        };
        let (tiles, stores): (Vec<Act>, Vec<Act>) =
            before.iter().cloned().partition(|it| defined(it).is_some_and(|it| self.tiles.contains(&it)));
        starts.extend(folds.into_iter().map(Act::Loop));
        let alone = split.turn == split.part;
        let one = if alone {
            let rest = [stores, behind.clone()].concat();
            let states = starts.iter().filter_map(defined).collect();
            let merged = [totals.clone(), merges.clone(), rest.clone()].concat();
            let rest = self.of_one_part(split.part, &states, &merges, &rest).unwrap_or(merged);
            starts.push(Act::Choose(split.apart, keeps, rest));
            [tiles, starts].concat()
        } else {
            starts.push(Act::Choose(split.apart, keeps, merges));
            let traversal = over_parts(self.in_turn(split, &matters), starts);
            let rest = Act::Choose(split.apart, Vec::new(), [stores, behind.clone()].concat());
            [tiles, totals.clone(), vec![traversal, rest]].concat()
        };
        let two = [before, totals, vec![over_parts(matters, from_memory)], behind].concat();
        let turn = Axis { rank: split.turn, tile: 1 };
        let turns = std::iter::once(turn).chain(rows.iter().copied()).collect();
        let (one, two) = (self.needed(one), self.needed(two));
        let unscaled = std::mem::take(&mut self.unscaled);
        let first = Stream {
            rows: turns,
            part: alone.then_some((split.part, split.parts)),
            when: None,
            composites: composites.clone(),
            unscaled,
            acts: one,
        };
        let merge = |(rows, acts)| Stream {
            rows,
            part: None,
            when: Some(split.apart),
            composites: composites.clone(),
            unscaled: BTreeSet::new(),
            acts,
        };
        let merges = if alone { self.by_feature(&rows, two) } else { vec![(rows, two)] };
        std::iter::once(first).chain(merges.into_iter().map(merge)).collect()
    }

    /// Acts with rows for each point of what they store, apart for tensors with other features; as they are where some
    /// combine features with each other.
    fn by_feature(&self, rows: &[Axis], acts: Vec<Act>) -> Vec<(Vec<Axis>, Vec<Act>)> {
        let mut combined = Ranks::new();
        let mut moved = false;
        acts.iter().for_each(|act| {
            act.einsums(&mut |it| {
                let exprs = &self.cascade.exprs;
                combined.extend(it.op.reduced().iter().flat_map(|rank| exprs.atoms(*rank)));
                moved |= !matches!(it.op, Op::Map | Op::Reduce(..));
                moved |= exprs.reads(it.value).any(|(tensor, coords)| {
                    let dims = &self.cascade.tensors[tensor].dims;
                    coords.iter().zip(dims).any(|(at, dim)| *exprs.get(*at) != Expr::Index(dim.rank))
                });
            });
        });
        let features = |act: &Act| -> Option<Vec<RankId>> {
            let tensor = defined(act).filter(|it| !self.tiles.contains(it))?;
            let own = self.ranks_of(tensor).into_iter();
            Some(own.filter(|it| !rows.iter().any(|row| row.rank == *it)).collect())
        };
        let sets: BTreeSet<Vec<RankId>> = acts.iter().filter_map(features).collect();
        if moved || sets.iter().flatten().any(|it| combined.contains(it)) {
            return vec![(rows.to_vec(), acts)];
        }
        let stage = |set: &Vec<RankId>| {
            let stored = acts.iter().filter(|act| features(act).as_ref() == Some(set)).filter_map(defined);
            let more = set.iter().map(|&rank| Axis { rank, tile: 1 });
            (rows.iter().copied().chain(more).collect(), self.only(&acts, stored.collect()))
        };
        sets.iter().map(stage).collect()
    }

    /// What of some acts is needed for some tensors.
    fn only(&self, acts: &[Act], mut needed: BTreeSet<TensorId>) -> Vec<Act> {
        let mut einsums = Vec::new();
        acts.iter().for_each(|act| act.einsums(&mut |it| einsums.push(it)));
        loop {
            let those = einsums.iter().filter(|it| needed.contains(&it.tensor));
            let reads = those.flat_map(|it| self.cascade.exprs.reads(it.value).map(|(tensor, _)| tensor));
            let reads: Vec<TensorId> = reads.filter(|it| !needed.contains(it)).collect();
            if reads.is_empty() {
                return acts.iter().filter_map(|it| without_others(it, &needed)).collect();
            }
            needed.extend(reads);
        }
    }

    /// What stores the state of a part, and where it is found.
    fn kept_parts(
        &mut self,
        split: &Split,
        starts: &[Act],
        merges: &[Act],
    ) -> (Vec<Act>, BTreeMap<TensorId, TensorId>) {
        let (mut keeps, mut kept) = (Vec::new(), BTreeMap::new());
        let mut read = BTreeSet::new();
        for act in merges {
            act.einsums(&mut |it| read.extend(self.cascade.exprs.reads(it.value).map(|(it, _)| it)));
        }
        for tensor in starts.iter().filter_map(defined).filter(|it| read.contains(it)) {
            let Tensor { name, dims, kind, .. } = self.cascade.tensors[tensor].clone();
            let ranks: Vec<RankId> = dims.iter().map(|it| it.rank).collect();
            let coords = ranks.iter().map(|&it| self.cascade.exprs.index(it)).collect();
            let value = self.cascade.exprs.add(Expr::Read(tensor, coords, kind));
            let name = format!("{}.kept", name.trim_end_matches('~'));
            let copy =
                self.cascade.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Temporary });
            keeps.push(Act::Define(Einsum {
                tensor: copy,
                at: left(&ranks),
                op: Op::Map,
                value,
                exact: false,
            }));
            self.room_where.insert(copy, split.apart);
            kept.insert(tensor, copy);
        }
        (keeps, kept)
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

    /// Acts that read what all parts come to where there is one: that is what this one comes to.
    fn of_one_part(
        &mut self,
        part: RankId,
        states: &BTreeSet<TensorId>,
        merges: &[Act],
        acts: &[Act],
    ) -> Option<Vec<Act>> {
        let mut state_of = BTreeMap::new();
        for act in merges {
            let Act::Fold(it) = act else { continue };
            let reads: BTreeSet<TensorId> = self.cascade.exprs.reads(it.value).map(|it| it.0).collect();
            let mut own = reads.intersection(states);
            let (Some(state), None) = (own.next(), own.next()) else { return None };
            state_of.insert(it.tensor, *state);
        }
        let index = self.cascade.exprs.index(part);
        Some(self.with_others(acts, &mut |expr| {
            if let Expr::Read(tensor, coords, _) = expr
                && let Some(&state) = state_of.get(tensor)
            {
                *tensor = state;
                *coords = std::iter::once(index).chain(coords.iter().copied()).collect();
            }
        }))
    }

    /// The same acts where tensors are read from others.
    fn with_reads(&mut self, acts: &[Act], others: &BTreeMap<TensorId, TensorId>) -> Vec<Act> {
        self.with_others(acts, &mut |expr| {
            if let Expr::Read(tensor, ..) = expr
                && let Some(&other) = others.get(tensor)
            {
                *tensor = other;
            }
        })
    }

    /// The same acts where expressions are others.
    fn with_others(&mut self, acts: &[Act], change: &mut dyn FnMut(&mut Expr)) -> Vec<Act> {
        let mut changed = |it: &Einsum| Einsum { value: self.changed(it.value, change), ..it.clone() };
        acts.iter()
            .map(|act| match act {
                Act::Define(it) => Act::Define(changed(it)),
                Act::Fold(it) => Act::Fold(changed(it)),
                Act::Loop(_) | Act::Along(..) | Act::Choose(..) => {
                    unreachable!("what merges parts are einsums")
                }
            })
            .collect()
    }

    fn changed(&mut self, value: ExprId, change: &mut dyn FnMut(&mut Expr)) -> ExprId {
        let mut new: BTreeMap<ExprId, ExprId> = BTreeMap::new();
        for id in self.cascade.exprs.postorder(value) {
            let expr = self.cascade.exprs.get(id).clone();
            let inside: Vec<ExprId> = operands(&expr).iter().map(|it| new[it]).collect();
            let mut expr = with_operands(&expr, &inside);
            change(&mut expr);
            let it = self.cascade.exprs.add(expr);
            new.insert(id, it);
        }
        new[&value]
    }

    /// Acts without the tiles that nothing reads afterwards.
    fn needed(&self, acts: Vec<Act>) -> Vec<Act> {
        let mut read = std::collections::BTreeSet::new();
        let mut kept: Vec<Act> = Vec::new();
        for act in acts.into_iter().rev() {
            let idle = defined(&act).is_some_and(|it| self.tiles.contains(&it) && !read.contains(&it));
            if !idle {
                act.einsums(&mut |it| {
                    read.insert(it.tensor);
                    read.extend(self.cascade.exprs.reads(it.value).map(|(tensor, _)| tensor));
                });
                kept.push(act);
            }
        }
        kept.reverse();
        kept
    }
}

/// An act with those einsums alone that define some tensors, if there are any.
fn without_others(act: &Act, wanted: &BTreeSet<TensorId>) -> Option<Act> {
    let all = |acts: &[Act]| acts.iter().filter_map(|it| without_others(it, wanted)).collect::<Vec<Act>>();
    match act {
        Act::Define(it) | Act::Fold(it) => wanted.contains(&it.tensor).then(|| act.clone()),
        Act::Loop(it) => Some(Act::Loop(Loop { acts: all(&it.acts), ..it.clone() })),
        Act::Along(rank, acts) => Some(Act::Along(*rank, all(acts))),
        Act::Choose(condition, then, otherwise) => Some(Act::Choose(*condition, all(then), all(otherwise))),
    }
}

/// The tensor that an act defines, if it is one einsum.
fn defined(act: &Act) -> Option<TensorId> {
    match act {
        Act::Define(it) => Some(it.tensor),
        Act::Fold(_) | Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
    }
}

/// How many pieces of a size cover an extent.
fn pieces(exprs: &mut crate::ir::expr::Exprs, extent: ExprId, size: ExprId) -> ExprId {
    let one = exprs.int(1);
    let more = exprs.binary(BinaryOp::Sub, size, one);
    let more = exprs.binary(BinaryOp::Add, extent, more);
    exprs.binary(BinaryOp::FloorDiv, more, size)
}
