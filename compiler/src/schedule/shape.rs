//! How each tensor could come about: from memory alone, or by traversals for boxes of rows. What does not fit
//! is stored, until everything does.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{Flow, Ranks};
use crate::ir::cascade::{Einsum, Op, ReduceOp, TensorId};

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
struct Clash(BTreeSet<TensorId>);

impl Shapes {
    /// Decides what is stored, and how everything else comes about.
    pub(super) fn settle(flow: &mut Flow<'_>) -> Shapes {
        loop {
            match Shapes::tried(flow) {
                Ok(shapes) => return shapes,
                Err(Clash(tensors)) => {
                    let before = flow.stored.len();
                    flow.stored.extend(tensors);
                    assert!(flow.stored.len() > before, "a clash names tensors that are not stored yet");
                }
            }
        }
    }

    fn tried(flow: &Flow<'_>) -> Result<Shapes, Clash> {
        let mut shapes = Shapes { of: BTreeMap::new() };
        for einsum in flow.cascade.einsums().filter(|it| flow.live.contains(&it.tensor)) {
            if flow.einsums.contains_key(&einsum.tensor) {
                let shape = shapes.shape(flow, einsum)?;
                shapes.of.insert(einsum.tensor, shape);
            }
        }
        shapes.whole_reads(flow)?;
        Ok(shapes)
    }

    /// What is evaluated whole reads memory.
    fn whole_reads(&self, flow: &Flow<'_>) -> Result<(), Clash> {
        let mut read = BTreeSet::new();
        for (&tensor, shape) in self.of.iter().rev() {
            let in_memory = flow.stored.contains(&tensor) || flow.is_output(tensor);
            if shape.rows.is_none() && in_memory {
                read.extend(self.local_reads(flow, flow.einsums[&tensor]));
            }
        }
        read.retain(|it| !flow.is_output(*it));
        if read.is_empty() { Ok(()) } else { Err(Clash(read)) }
    }

    /// The tensors that an einsum reads and that are not in memory.
    pub(super) fn local_reads(&self, flow: &Flow<'_>, einsum: &Einsum) -> Vec<TensorId> {
        let local = |it: &TensorId| self.of.contains_key(it) && !flow.stored.contains(it);
        flow.read(einsum).into_iter().filter(local).collect()
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
            false => rows.is_subset(&dims),
            // All of it would be held at once.
            true => dims.iter().all(|it| streams.contains(it) || flow.is_feature(*it)),
        };
        if rows.as_ref().is_some_and(|it| !fits(it)) {
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
        let Op::Reduce(op, _) = &einsum.op else { return Ok(()) };
        let (mut along, mut kept, mut by_row) = (Ranks::new(), Ranks::new(), Ranks::new());
        let mut powers = false;
        for &read in reads {
            let (it, ranks) = (&self.of[&read], flow.ranks(read));
            let streamed = self.is_streamed(flow, read, &it.streams);
            if it.rows.is_some() && !streamed {
                by_row.extend(ranks);
            } else if it.deep && ranks.intersection(reduced).any(|it| !flow.is_feature(*it)) {
                along.extend(ranks.intersection(reduced).filter(|it| !flow.is_feature(**it)));
                kept.extend(ranks.difference(reduced));
            }
        }
        if matches!(op, ReduceOp::Sum | ReduceOp::Mean) && flow.is_real(einsum.value) {
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
            kept = flow.ranks(einsum.tensor).into_iter().filter(|it| !flow.is_feature(*it)).collect();
        }
        shape.rows.get_or_insert(kept);
        shape.streams.extend(along.iter().copied());
        shape.fold = along;
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
        let is_dear = |it: &TensorId| {
            let all: Ranks = flow.space(flow.einsums[it]).union(rows).copied().collect();
            !spaces.iter().any(|other| all.is_subset(other))
        };
        let reduces_rows = |it: &TensorId| !flow.reduced(flow.einsums[it]).is_disjoint(rows);
        let again: Vec<TensorId> = again.into_iter().filter(|it| is_dear(it) || reduces_rows(it)).collect();
        if let Some(first) = again.iter().map(|it| flow.generations[it]).min() {
            // Without them there may be other rows, and what is made of them may cost no more than it has to.
            return Err(Clash(again.into_iter().filter(|it| flow.generations[it] == first).collect()));
        }
        if shape.fold.is_empty() {
            return Ok(());
        }
        let crossing: BTreeSet<TensorId> = cone
            .iter()
            .copied()
            .filter(|it| {
                let ranks = flow.ranks(*it);
                let streams: Ranks = ranks.intersection(&shape.streams).copied().collect();
                !streams.is_disjoint(&shape.fold) && !streams.is_subset(&shape.fold)
            })
            .collect();
        if crossing.is_empty() { Ok(()) } else { Err(Clash(crossing)) }
    }
}
