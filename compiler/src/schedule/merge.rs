//! What parts of a fiber come to, kept and put together: by a stage of its own, or at once where there is one part.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::Ranks;
use super::plan::{Act, Axis, Loop};
use super::weave::{Weaver, left};
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, Role, Tensor, TensorId};
use crate::ir::expr::{Expr, operands, with_operands};

impl Weaver<'_> {
    /// What stores the state of a part, and where it is found.
    pub(super) fn kept_parts(
        &mut self,
        apart: ExprId,
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
            self.room_where.insert(copy, apart);
            kept.insert(tensor, copy);
        }
        (keeps, kept)
    }

    /// Acts with rows for each point of what they store, apart for tensors with other features; as they are where some
    /// combine features with each other.
    pub(super) fn by_feature(&self, rows: &[Axis], acts: Vec<Act>) -> Vec<(Vec<Axis>, Vec<Act>)> {
        let mut combined = Ranks::new();
        let mut moved = false;
        acts.iter().for_each(|act| {
            act.einsums(&mut |it| {
                let exprs = &self.cascade.exprs;
                combined.extend(it.op.reduced().iter().flat_map(|rank| exprs.atoms(*rank)));
                moved |= !matches!(it.op, Op::Map | Op::Reduce(..));
                let mut tiles = exprs.reads(it.value).filter(|(it, _)| self.tiles.contains(it));
                moved |= tiles.any(|(tensor, coords)| {
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

    /// Acts that read what all parts come to where there is one: that is what this one comes to.
    pub(super) fn of_one_part(
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
    pub(super) fn with_reads(&mut self, acts: &[Act], others: &BTreeMap<TensorId, TensorId>) -> Vec<Act> {
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
    pub(super) fn needed(&self, acts: Vec<Act>) -> Vec<Act> {
        let mut read = BTreeSet::new();
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
pub(super) fn defined(act: &Act) -> Option<TensorId> {
    match act {
        Act::Define(it) => Some(it.tensor),
        Act::Fold(_) | Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
    }
}
