//! How each tensor could come about: from memory alone, or by traversals for boxes of rows. What does not fit
//! is stored, until everything does.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{Flow, Ranks};
use crate::ir::cascade::{Einsum, Op, RankId, ReduceOp, TensorId};

/// How a tensor comes about.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// The ranks of the rows for which something is traversed before the tensor is there; none if nothing is.
    pub(super) rows: Option<Ranks>,
    /// The ranks that are traversed for it.
    pub(super) streams: Ranks,
    /// The ranks that its own reduction traverses, tile by tile.
    pub(super) fold: Ranks,
    /// A reduction is part of it.
    pub(super) deep: bool,
}

/// The shapes of all tensors that have tiles.
pub(super) struct Shapes {
    pub(super) of: BTreeMap<TensorId, Shape>,
}

/// Tensors that have to be stored.
pub(super) struct Clash(pub(super) BTreeSet<TensorId>);

impl Shapes {
    /// Decides what is stored, and how everything else comes about.
    pub(super) fn settle(flow: &mut Flow<'_>) -> Shapes {
        loop {
            let mut shapes = Shapes { of: BTreeMap::new() };
            let Err(Clash(tensors)) = shapes.try_all(flow) else { return shapes };
            let before = flow.stored.len() + flow.at_once.len();
            for tensor in tensors {
                let made = shapes.cone(flow, tensor);
                let sums: Vec<TensorId> =
                    made.into_iter().filter(|it| shapes.is_better_at_once(flow, *it)).collect();
                for sum in &sums {
                    flow.stored.extend(shapes.deep_reads(flow, *sum));
                }
                match sums.as_slice() {
                    [] => flow.stored.extend([tensor]),
                    [..] => flow.at_once.extend(sums),
                }
            }
            let after = flow.stored.len() + flow.at_once.len();
            assert!(after > before, "a clash names tensors that are not stored yet");
        }
    }

    /// A sum of powers for every pair of tokens, of what is known of each token, need not be traversed.
    fn is_better_at_once(&self, flow: &Flow<'_>, tensor: TensorId) -> bool {
        let einsum = flow.einsums[&tensor];
        let is_traversed = |it: &TensorId| self.of.get(it).is_some_and(|it| it.rows.is_some());
        let exps = flow.exponents(einsum.value);
        let in_power = |rank: &RankId| exps.iter().any(|it| flow.cascade.exprs.free(*it).contains(rank));
        let mut outer: Vec<RankId> = flow.ranks(tensor).iter().copied().filter(in_power).collect();
        outer.retain(|it| flow.is_outer(*it));
        let reads: Vec<&Ranks> = flow.read(einsum).iter().map(|it| flow.ranks(*it)).collect();
        let apart = |a: &RankId, b: &RankId| !reads.iter().any(|it| it.contains(a) && it.contains(b));
        flow.sums_powers(einsum)
            && !flow.at_once.contains(&tensor)
            && is_traversed(&tensor)
            && !self.deep_reads(flow, tensor).iter().any(is_traversed)
            && outer.iter().any(|a| outer.iter().any(|b| a != b && apart(a, b)))
    }

    /// The sums that an einsum reads and that are not in memory.
    fn deep_reads(&self, flow: &Flow<'_>, tensor: TensorId) -> Vec<TensorId> {
        let reads = self.local_reads(flow, flow.einsums[&tensor]);
        reads.into_iter().filter(|it| self.of[it].deep).collect()
    }

    fn try_all(&mut self, flow: &Flow<'_>) -> Result<(), Clash> {
        for einsum in flow.cascade.einsums().filter(|it| flow.live.contains(&it.tensor)) {
            if flow.einsums.contains_key(&einsum.tensor) {
                let shape = self.shape(flow, einsum)?;
                self.of.insert(einsum.tensor, shape);
            }
        }
        self.whole_reads(flow)
    }

    /// The tensors that an einsum reads and that are not in memory.
    pub(super) fn local_reads(&self, flow: &Flow<'_>, einsum: &Einsum) -> Vec<TensorId> {
        let local = |it: &TensorId| self.of.contains_key(it) && !flow.stored.contains(it);
        flow.read(einsum).iter().copied().filter(local).collect()
    }

    /// All that a tensor is made of and that is not in memory, itself included.
    pub(super) fn cone(&self, flow: &Flow<'_>, tensor: TensorId) -> BTreeSet<TensorId> {
        let mut cone = BTreeSet::from([tensor]);
        let mut todo = vec![tensor];
        while let Some(it) = todo.pop() {
            for read in self.local_reads(flow, flow.einsums[&it]) {
                if cone.insert(read) {
                    todo.push(read);
                }
            }
        }
        cone
    }

    /// It changes along what is traversed.
    pub(super) fn is_streamed(&self, flow: &Flow<'_>, tensor: TensorId, streams: &Ranks) -> bool {
        !flow.ranks(tensor).is_disjoint(streams)
    }

    fn shape(&self, flow: &Flow<'_>, einsum: &Einsum) -> Result<Shape, Clash> {
        let (dims, reduced) = (flow.ranks(einsum.tensor), flow.reduced(einsum));
        let reads = self.local_reads(flow, einsum);
        let streams: Ranks = reads.iter().flat_map(|it| self.of[it].streams.iter().copied()).collect();
        let rows = self.rows(flow, &reads)?;
        let fits = |rows: &Ranks| match rows.is_empty() {
            false => rows.is_subset(dims),
            // All of it would be held at once.
            true => dims.iter().all(|it| streams.contains(it) || flow.is_feature(*it)),
        };
        if rows.as_ref().is_some_and(|it| !fits(it)) {
            return Err(self.parted(flow, &reads));
        }
        // For each of the rows all of it would be held, along a rank that no row has.
        let held = |rows: &Ranks| {
            let mut others = dims.iter().filter(|it| !rows.contains(it) && !streams.contains(it));
            !rows.is_empty() && others.any(|it| flow.is_outer(*it))
        };
        if rows.as_ref().is_some_and(held) {
            return Err(self.parted(flow, &reads));
        }
        let deep = matches!(einsum.op, Op::Reduce(..)) || reads.iter().any(|it| self.of[it].deep);
        let mut shape = Shape { rows, streams, fold: Ranks::new(), deep };
        self.traverse(flow, einsum, &reads, &reduced, &mut shape)?;
        if shape.rows.is_some() {
            self.check_cost(flow, einsum, &reads, &shape)?;
        }
        Ok(shape)
    }

    /// The rows that some tensors have in common. What is there once for all rows of others is stored.
    fn rows(&self, flow: &Flow<'_>, reads: &[TensorId]) -> Result<Option<Ranks>, Clash> {
        let mut all: Vec<&Ranks> = reads.iter().filter_map(|it| self.of[it].rows.as_ref()).collect();
        all.sort();
        all.dedup();
        match all.as_slice() {
            [] => Ok(None),
            [rows] => Ok(Some((*rows).clone())),
            [none, _] if none.is_empty() => {
                let once = |it: &&TensorId| self.of[it].rows.as_ref().is_some_and(Ranks::is_empty);
                let once: Vec<TensorId> = reads.iter().filter(once).copied().collect();
                Err(self.parted(flow, &once))
            }
            [..] => Err(self.parted(flow, reads)),
        }
    }

    /// Rows cannot be kept: what is there once for each row is stored.
    fn parted(&self, flow: &Flow<'_>, reads: &[TensorId]) -> Clash {
        let mut parts = BTreeSet::new();
        for &read in reads.iter().filter(|it| self.of[it].rows.is_some()) {
            if self.is_streamed(flow, read, &self.of[&read].streams) {
                let by_row = |it: &&TensorId| {
                    let shape = &self.of[it];
                    shape.rows.is_some() && !self.is_streamed(flow, **it, &shape.streams)
                };
                parts.extend(self.cone(flow, read).iter().filter(by_row));
            } else {
                parts.insert(read);
            }
        }
        Clash(parts)
    }

    /// Whether an einsum is a reduction over what changes along the fiber and is not in memory.
    fn traverse(
        &self,
        flow: &Flow<'_>,
        einsum: &Einsum,
        reads: &[TensorId],
        reduced: &Ranks,
        shape: &mut Shape,
    ) -> Result<(), Clash> {
        let op = match &einsum.op {
            Op::Reduce(op, _) => op,
            Op::Select(..) | Op::Arg(..) => return self.select(flow, einsum, reads, reduced, shape),
            Op::Map | Op::Scan(..) | Op::Place(_) => return Ok(()),
        };
        let (mut along, mut kept, mut by_row) = (Ranks::new(), Ranks::new(), Ranks::new());
        let mut summands = BTreeSet::new();
        let mut powers = false;
        let sums_reals = matches!(op, ReduceOp::Sum | ReduceOp::Mean) && flow.is_real(einsum.value);
        for &read in reads {
            let (it, ranks) = (&self.of[&read], flow.ranks(read));
            let streamed = self.is_streamed(flow, read, &it.streams);
            let common = || ranks.intersection(reduced).copied();
            let tiled = if sums_reals { flow.tiled(read, common()) } else { flow.no_features(common()) };
            if it.rows.is_some() && !streamed {
                by_row.extend(ranks);
            } else if it.deep && !tiled.is_empty() {
                along.extend(tiled);
                kept.extend(ranks.difference(reduced));
                summands.insert(read);
            }
        }
        if sums_reals && !flow.at_once.contains(&einsum.tensor) {
            for exponent in flow.exponents(einsum.value) {
                let ranks: Ranks = flow.cascade.exprs.free(exponent).iter().copied().collect();
                along.extend(ranks.intersection(reduced).filter(|it| !flow.is_feature(**it)));
                kept.extend(ranks.difference(reduced));
                powers |= !ranks.is_disjoint(reduced);
            }
        }
        along.retain(|it| !by_row.contains(it));
        kept.retain(|it| flow.ranks(einsum.tensor).contains(it));
        if along.is_empty() {
            // A sum of powers needs a scale for each row even where nothing is traversed.
            if powers && shape.rows.is_none() && !kept.is_empty() {
                shape.rows = Some(kept);
            }
            return Ok(());
        }
        if kept.is_empty() {
            // Every point of the result takes the same fiber; features are held together.
            let own = flow.ranks(einsum.tensor).iter().copied();
            kept = own.filter(|it| !flow.is_feature(*it)).collect();
        }
        let held = |it: &RankId| !kept.contains(it) && flow.is_outer(*it);
        if !powers && flow.ranks(einsum.tensor).iter().any(held) {
            // All of the result would be held for the sake of something that is no larger.
            summands.retain(|it| flow.points(*it) <= flow.points(einsum.tensor));
            if !summands.is_empty() {
                return Err(Clash(summands));
            }
        }
        shape.rows.get_or_insert(kept);
        shape.streams.extend(along.iter().copied());
        shape.fold = along;
        Ok(())
    }

    /// A selection traverses what it selects from, for the rows of its result.
    fn select(
        &self,
        flow: &Flow<'_>,
        einsum: &Einsum,
        reads: &[TensorId],
        from: &Ranks,
        shape: &mut Shape,
    ) -> Result<(), Clash> {
        let at_hand = |it: &&TensorId| {
            let streams = &self.of[*it].streams;
            let by_row = self.of[*it].rows.is_some() && !self.is_streamed(flow, **it, streams);
            by_row && !flow.ranks(**it).is_disjoint(from)
        };
        let at_hand: BTreeSet<TensorId> = reads.iter().filter(at_hand).copied().collect();
        if !at_hand.is_empty() {
            return Err(Clash(at_hand));
        }
        let mut rows = flow.ranks(einsum.tensor).clone();
        if let Op::Select(_, _, to) = einsum.op {
            rows.remove(&to);
        }
        shape.rows.get_or_insert(rows);
        shape.streams.extend(from);
        shape.fold.clone_from(from);
        Ok(())
    }

    /// What is computed again for every box of rows costs no more than something that has to be computed anyway;
    /// and loops over different ranks do not cross.
    fn check_cost(
        &self,
        flow: &Flow<'_>,
        einsum: &Einsum,
        reads: &[TensorId],
        shape: &Shape,
    ) -> Result<(), Clash> {
        let rows = shape.rows.as_ref().expect("only rows are computed again");
        let mut cone = BTreeSet::new();
        reads.iter().for_each(|&it| cone.extend(self.cone(flow, it)));
        let mut spaces: Vec<Ranks> = cone.iter().map(|it| flow.space(flow.einsums[it])).collect();
        spaces.push(flow.space(einsum));
        let again: Vec<TensorId> =
            cone.iter().copied().filter(|it| self.of[it].rows.is_none() && self.of[it].deep).collect();
        // What has points for pairs of a row and what is traversed would be larger than anything that is handed in.
        let lacked = self.lacked(flow, cone.iter().map(|it| flow.einsums[it]).chain([einsum]), shape);
        let pairs: Ranks = rows.union(&shape.streams).copied().collect();
        let anyway = flow.live_spaces.iter().filter(|it| pairs.is_subset(it));
        let most = anyway.chain(&spaces).map(|it| flow.size(it)).fold(1.0, f64::max);
        let is_dear = |it: &TensorId| {
            let own = flow.ranks(*it);
            let mut all: Ranks = flow.space(flow.einsums[it]).union(rows).copied().collect();
            // A tile of it is computed again for each tile of all ranks that are traversed together with one of its own.
            let folds = cone.iter().map(|it| &self.of[it].fold).chain([&shape.fold]);
            folds.filter(|it| !it.is_disjoint(own)).for_each(|it| all.extend(it));
            let is_of_pairs = !own.is_disjoint(&lacked) && !own.is_disjoint(&shape.streams);
            !(spaces.iter().any(|other| all.is_subset(other)) || is_of_pairs && flow.size(&all) <= most)
        };
        // Of the rows there is only a box, and of what is traversed only a tile where something changes along it.
        let reduces_part = |it: &TensorId| {
            let over = flow.reduced(flow.einsums[it]);
            let is_in_tiles = !flow.ranks(*it).is_disjoint(&shape.streams);
            !over.is_disjoint(rows) || is_in_tiles && !over.is_disjoint(&shape.streams)
        };
        let again: Vec<TensorId> = again.into_iter().filter(|it| is_dear(it) || reduces_part(it)).collect();
        if let Some(first) = again.iter().map(|it| flow.generations[it]).min() {
            // Without them there may be other rows, and what is made of them may cost no more than it has to.
            return Err(Clash(again.into_iter().filter(|it| flow.generations[it] == first).collect()));
        }
        let crosses = |it: &TensorId| {
            let ranks = flow.ranks(*it);
            let streams: Ranks = ranks.intersection(&shape.streams).copied().collect();
            !streams.is_disjoint(&shape.fold) && !streams.is_subset(&shape.fold)
        };
        let mut crossing: BTreeSet<TensorId> = cone.iter().copied().filter(crosses).collect();
        crossing.extend(self.held_whole(flow, rows, &cone, &shape.fold));
        if shape.fold.is_empty() {
            let folds: Ranks = cone.iter().flat_map(|it| &self.of[it].fold).copied().collect();
            let over: Ranks = flow.reduced(einsum).intersection(&folds).copied().collect();
            crossing.extend(reads.iter().filter(|it| self.is_tile_along(flow, **it, &over)));
        }
        if crossing.is_empty() { Ok(()) } else { Err(Clash(crossing)) }
    }

    /// What accumulates all of a rank, other than of a row, that something else is traversed along, of which there is a tile
    /// at a time; and what is reduced at once along such a rank.
    pub(super) fn held_whole(
        &self,
        flow: &Flow<'_>,
        rows: &Ranks,
        cone: &BTreeSet<TensorId>,
        fold: &Ranks,
    ) -> BTreeSet<TensorId> {
        let folds: Ranks = cone.iter().flat_map(|it| &self.of[it].fold).chain(fold).copied().collect();
        let is_held = |it: &TensorId| {
            if !self.of[it].fold.is_empty() {
                return flow.ranks(*it).difference(rows).any(|it| folds.contains(it));
            }
            let over: Ranks = flow.reduced(flow.einsums[it]).intersection(&folds).copied().collect();
            let mut read = flow.read(flow.einsums[it]).iter().filter(|it| cone.contains(it));
            read.any(|it| self.is_tile_along(flow, *it, &over))
        };
        cone.iter().copied().filter(is_held).collect()
    }

    /// There is a tile of it at a time where one of some ranks is traversed; what is a function of inputs is computed anywhere.
    fn is_tile_along(&self, flow: &Flow<'_>, tensor: TensorId, ranks: &Ranks) -> bool {
        self.of[&tensor].deep && !flow.ranks(tensor).is_disjoint(ranks)
    }

    /// The rows that something in memory lacks that is read along what is traversed.
    fn lacked<'a>(&self, flow: &Flow<'_>, einsums: impl Iterator<Item = &'a Einsum>, shape: &Shape) -> Ranks {
        let rows = shape.rows.iter().flatten();
        let mut lacked = Ranks::new();
        for read in einsums.flat_map(|it| flow.read(it)) {
            let ranks = flow.ranks(*read);
            let local = self.of.contains_key(read) && !flow.stored.contains(read);
            if !local && !ranks.is_disjoint(&shape.streams) {
                lacked.extend(rows.clone().filter(|it| !ranks.contains(it)));
            }
        }
        lacked
    }
}
