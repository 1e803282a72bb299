//! A woven stage to acts in order: the axes of its rows and loops, and for each loop what its effects need.

use std::collections::BTreeSet;

use super::flow::Ranks;
use super::gauge::CALM;
use super::plan::{Act, Axis, Gauge, Loop};
use super::weave::{Round, Weaver};
use crate::ir::cascade::{Einsum, ExprId, Extent, Op, RankId, TensorId};
use crate::ir::expr::Expr;

impl Weaver<'_> {
    /// What is used for every coordinate of a rank is used often.
    pub(super) fn is_long(&self, rank: RankId) -> bool {
        match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => extent >= 8,
            Extent::Carried | Extent::Derived(_) => true,
        }
    }

    /// The rows, those that something streamed lacks in boxes.
    pub(super) fn rows(&self) -> Vec<Axis> {
        let mut order: Vec<RankId> = self.ranks_of(self.group.roots[0]);
        order.retain(|it| self.group.rows.contains(it));
        let mut shared = self.lacked();
        if shared.is_empty() && !self.holds_matrices() {
            shared.extend(order.last());
        }
        // Where the major parts are given, the minor one ends where a ragged rank does.
        let majors: Vec<RankId> = self
            .composites()
            .into_iter()
            .filter(|&it| self.cascade.is_ragged(it))
            .flat_map(|it| {
                self.cascade.exprs.atoms(it).split_last().map_or(Vec::new(), |(_, it)| it.to_vec())
            })
            .collect();
        let mut tiles = self.mapping.defaults;
        if self.selects() {
            // What a row keeps may be long.
            tiles.rows = tiles.rows.min(tiles.inner_rows);
        }
        let mut room = tiles.rows;
        let mut axes = Vec::new();
        for &rank in order.iter().rev() {
            let fixed = self.cascade.most_coordinates(rank);
            if axes.is_empty() && self.lies_along(rank) && shared.len() > 1 && !self.selects() {
                // As features would be, but in tiles.
                let tile = self.mapping.stream(&self.cascade.ranks[rank].name, true);
                axes.push(Axis {
                    rank,
                    tile: self.mapping.cut(&self.cascade.ranks[rank].name).rows.unwrap_or(tile),
                });
                continue;
            }
            let most = if axes.is_empty() && order.iter().any(|it| *it != rank && shared.contains(it)) {
                tiles.inner_rows
            } else {
                tiles.rows
            };
            let tile = match self.mapping.cut(&self.cascade.ranks[rank].name).rows {
                _ if majors.contains(&rank) => 1,
                Some(rows) => fixed.min(rows),
                None if shared.contains(&rank) => fixed.min(most).min(room),
                None => 1,
            };
            room = (room / tile).max(1);
            axes.push(Axis { rank, tile });
        }
        axes.reverse();
        axes
    }

    /// A row is a matrix, which takes long enough by itself.
    fn holds_matrices(&self) -> bool {
        let fills = |rank: &RankId| {
            !self.group.rows.contains(rank)
                && self.cascade.most_coordinates(*rank) >= self.mapping.defaults.stream
        };
        self.ranks_of(self.group.roots[0]).iter().filter(|it| fills(it)).count() > 1
    }

    /// What is stored lies along that row in memory, and so does something that is read along a stream.
    fn lies_along(&self, row: RankId) -> bool {
        let (flow, exprs) = (self.flow, &self.flow.cascade.exprs);
        let mut reads = self.group.cone.iter().flat_map(|it| exprs.reads(flow.einsums[it].value));
        self.ranks_of(self.group.roots[0]).last() == Some(&row)
            && self.cascade.most_coordinates(row) >= self.mapping.defaults.lanes
            && reads.any(|(_, coords)| {
                let (last, outer) =
                    coords.split_last().map_or((None, &[][..]), |(it, outer)| (Some(*it), outer));
                let along = outer.iter().any(|it| exprs.free(*it).iter().any(|it| self.streams.contains(it)));
                let is_row = |it: ExprId| matches!(*exprs.get(it), Expr::Index(of) if exprs.atoms(of).last() == Some(&row));
                along && last.is_some_and(is_row)
            })
    }

    /// The rows that something read along a stream lacks, but for tables that say where to read.
    fn lacked(&self) -> Ranks {
        let mut lacked = Ranks::new();
        let whole: Vec<&Einsum> = self.group.cone.iter().map(|it| self.flow.einsums[it]).collect();
        for einsum in whole {
            let exprs = &self.flow.cascade.exprs;
            let nested =
                exprs.reads(einsum.value).flat_map(|(_, coords)| coords).flat_map(|it| exprs.reads(*it));
            let tables: BTreeSet<TensorId> = nested.map(|(tensor, _)| tensor).collect();
            for (_, coords) in exprs.reads(einsum.value).filter(|(tensor, _)| !tables.contains(tensor)) {
                let free: Ranks =
                    coords.iter().flat_map(|&it| self.flow.cascade.exprs.free(it).to_vec()).collect();
                if !free.is_disjoint(&self.streams) {
                    lacked.extend(self.group.rows.difference(&free));
                }
            }
        }
        lacked
    }

    /// Composite ranks that what is computed here has as a dimension, with those that are parts of others.
    pub(super) fn composites(&self) -> Vec<RankId> {
        let mut found = Vec::new();
        for &tensor in &self.group.cone {
            let dims = self.flow.cascade.tensors[tensor].dims.iter().map(|it| it.rank);
            let mut ranks: Vec<RankId> =
                dims.chain(self.flow.einsums[&tensor].op.reduced().iter().copied()).collect();
            while let Some(rank) = ranks.pop() {
                let parts = &self.cascade.ranks[rank].parts;
                if !parts.is_empty() && !found.contains(&rank) {
                    found.push(rank);
                }
                ranks.extend(parts);
            }
        }
        found
    }

    /// What a stage does that takes its fibers whole.
    pub(super) fn acts(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        let (between, rounds) = (std::mem::take(&mut self.between), std::mem::take(&mut self.rounds));
        let n_levels = between.len().max(rounds.len() + 1);
        let (mut between, mut rounds) = (between.into_iter(), rounds.into_iter());
        for _ in 0..n_levels {
            acts.extend(between.next().unwrap_or_default());
            for round in rounds.next().unwrap_or_default() {
                acts.extend(round.starts.clone());
                acts.push(Act::Loop(self.traversal(round)));
            }
        }
        acts
    }

    /// A traversal with everything that its effects need.
    pub(super) fn traversal(&self, mut round: Round) -> Loop {
        let mut matters: Vec<Vec<ExprId>> = Vec::new();
        for effect in &round.effects {
            let conditions = match effect {
                Act::Fold(it) => match it.op {
                    Op::Reduce(op, _) => {
                        super::presence::matters(&self.cascade.exprs, &self.held, op, it.value)
                    }
                    Op::Select(..) | Op::Arg(..) => {
                        super::presence::conditions(&self.cascade.exprs, &self.held, it.value)
                    }
                    Op::Map | Op::Scan(..) | Op::Place(_) => BTreeSet::new(),
                },
                Act::Define(_) | Act::Loop(_) | Act::Along(..) | Act::Choose(..) => BTreeSet::new(),
            };
            let conditions: Vec<ExprId> = conditions.into_iter().collect();
            if !matters.contains(&conditions) {
                matters.push(conditions);
            }
        }
        if matters.iter().any(Vec::is_empty) {
            matters.clear();
        }
        let mut acts = Vec::new();
        let mut done = BTreeSet::new();
        for effect in std::mem::take(&mut round.effects) {
            self.with_needs(&round, effect, &mut done, &mut acts);
        }
        let gauges = round.gauges.iter().map(|(&scale, acts)| {
            let mut updates: Vec<Einsum> = Vec::new();
            acts.iter().for_each(|act| act.einsums(&mut |it| updates.push(it.clone())));
            let calm = updates[CALM].tensor;
            Gauge { scale, calm, updates }
        });
        Loop { axes: self.axes(&round.along), parts: None, matters, gauges: gauges.collect(), acts }
    }

    /// What a traversal goes along, outer to inner, in tiles.
    pub(super) fn axes(&self, along: &Ranks) -> Vec<Axis> {
        let order = self.group.cone.iter().flat_map(|it| {
            let einsum = self.flow.einsums[it];
            [self.flow.reduced_in_order(einsum), self.ranks_of(*it)].concat()
        });
        let mut ranks: Vec<RankId> = Vec::new();
        for rank in order.filter(|it| along.contains(it)) {
            if !ranks.contains(&rank) {
                ranks.push(rank);
            }
        }
        // What is looked up lies anywhere, and what goes along the other ranks there lies together.
        let looked_up = self.looked_up();
        ranks.sort_by_key(|it| !looked_up.contains(it));
        let mut axes: Vec<Axis> = Vec::new();
        for &rank in ranks.iter().rev() {
            let whole = self.cascade.most_coordinates(rank);
            let tile = self.mapping.stream(&self.cascade.ranks[rank].name, axes.is_empty());
            axes.push(Axis { rank, tile: tile.min(whole) });
        }
        axes.reverse();
        axes
    }

    /// The ranks that decide on coordinates which are not just indices.
    fn looked_up(&self) -> Ranks {
        let exprs = &self.flow.cascade.exprs;
        let is_index = |it: &ExprId| matches!(exprs.get(*it), Expr::Index(_));
        let values = self.group.cone.iter().map(|it| self.flow.einsums[it].value);
        let reads = values.flat_map(|it| exprs.reads(it));
        let coords = reads.flat_map(|(_, coords)| coords).filter(|it| !is_index(it));
        coords.flat_map(|it| exprs.free(*it).iter().copied()).collect()
    }

    /// An act after all that it reads and that is computed for each tile.
    fn with_needs(&self, round: &Round, act: Act, done: &mut BTreeSet<TensorId>, acts: &mut Vec<Act>) {
        let einsum = match &act {
            Act::Define(it) | Act::Fold(it) => it,
            Act::Loop(_) | Act::Along(..) | Act::Choose(..) => {
                unreachable!("the acts of a round are einsums")
            }
        };
        for (tensor, _) in self.cascade.exprs.reads(einsum.value) {
            if tensor == einsum.tensor || done.contains(&tensor) {
                continue;
            }
            let needed: Vec<Act> = match (round.gauges.get(&tensor), self.on_demand.get(&tensor)) {
                (Some(update), _) => update.clone(),
                (None, Some(it)) => vec![it.clone()],
                (None, None) => continue,
            };
            done.insert(tensor);
            for it in needed {
                self.with_needs(round, it, done, acts);
            }
        }
        acts.push(act);
    }
}
