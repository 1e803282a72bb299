//! Boxes without a traversal of their own: what is computed from memory, or from what nobody else reads, goes box by box,
//! and its sums over what lies in memory are traversed.
//!
//! ```text
//! X.sum = sum[d](q * KV)                     stream b, h, n in 48
//! o = v / 2 + X.sum / pi            ->         X.sum = sum[d](q * KV)
//!                                              output o = v / 2 + X.sum / pi
//! ```

use std::collections::BTreeSet;

use super::flow::{Flow, Ranks};
use super::shape::{Clash, Shapes};
use crate::ir::cascade::{Op, RankId, TensorId};

impl Shapes {
    /// What is evaluated without any traversal so far goes box by box with all that it is made of, and its sums over what
    /// lies in memory are traversed. What does not fit into boxes is read from memory.
    pub(super) fn whole_reads(&mut self, flow: &Flow<'_>) -> Result<(), Clash> {
        let mut read = BTreeSet::new();
        let in_memory = |it: &TensorId| flow.stored.contains(it) || flow.is_output(*it);
        let tensors: Vec<TensorId> = self.of.keys().rev().copied().filter(in_memory).collect();
        // How these come about is settled with what reads them along a traversal.
        let traversed = tensors.iter().filter(|it| self.of[it].rows.is_some());
        let settled: BTreeSet<TensorId> = traversed.flat_map(|it| self.cone(flow, *it)).collect();
        for tensor in tensors {
            if self.of[&tensor].rows.is_some() {
                continue;
            }
            let rows = match self.boxes(flow, tensor) {
                Ok(rows) => rows,
                Err(misfits) => {
                    // Outputs that a stage has at hand need not be read.
                    let in_whole = |it: &TensorId| !flow.is_output(*it) || self.of[it].rows.is_none();
                    let mut misfits: Vec<TensorId> = misfits.into_iter().filter(in_whole).collect();
                    if misfits.is_empty() {
                        misfits = self.local_reads(flow, flow.einsums[&tensor]);
                        misfits.retain(|it| !flow.is_output(*it));
                    }
                    read.extend(misfits);
                    continue;
                }
            };
            let cone = self.cone(flow, tensor);
            let mut streams = Ranks::new();
            for &part in cone.iter().filter(|it| !settled.contains(it)) {
                let fold = flow.long(flow.einsums[&part]);
                streams.extend(&fold);
                self.of.get_mut(&part).expect("it has a shape").fold = fold;
            }
            // What is as it lies in memory is no work for a box.
            if cone.len() > 1 || matches!(flow.einsums[&tensor].op, Op::Reduce(..)) {
                let shape = self.of.get_mut(&tensor).expect("it has a shape");
                (shape.rows, shape.streams) = (Some(rows), streams);
            }
        }
        if read.is_empty() { Ok(()) } else { Err(Clash(read)) }
    }

    /// The rows of the boxes in which a tensor is evaluated together with all that it is made of: a box holds no more of
    /// that than features and tiles, and nothing that takes long is computed for two boxes. Else, what has to be stored.
    fn boxes(&self, flow: &Flow<'_>, tensor: TensorId) -> Result<Ranks, BTreeSet<TensorId>> {
        let cone = self.cone(flow, tensor);
        let rows_of = |it: TensorId| -> Ranks {
            flow.ranks(it).iter().copied().filter(|it| !flow.is_feature(*it)).collect()
        };
        let rows = rows_of(tensor);
        let readers = |it: TensorId| {
            let all = cone.iter().map(|reader| flow.einsums[reader]);
            all.filter(|reader| flow.read(reader).contains(&it)).collect::<Vec<_>>()
        };
        let fits = |it: &TensorId| {
            if self.of[it].deep {
                return rows_of(*it) == rows;
            }
            let (own, readers) = (flow.ranks(*it), readers(*it));
            let beyond: Ranks = rows_of(*it).difference(&rows).copied().collect();
            let in_tiles = readers.iter().all(|reader| beyond.is_subset(&flow.long(reader)));
            in_tiles || matches!(readers.as_slice(), [reader] if flow.space(reader).is_subset(own))
        };
        // A box has no more points than the composite ranks of what is in it; what is stored may have more.
        let dims: Vec<RankId> = flow.cascade.tensors[tensor].dims.iter().map(|it| it.rank).collect();
        let is_narrower = |it: &TensorId| {
            let own = flow.cascade.tensors[*it].dims.iter().map(|it| it.rank);
            let mut all = own.chain(flow.einsums[it].op.reduced().iter().copied());
            all.any(|whole| {
                let parts = flow.cascade.exprs.atoms(whole);
                let meets = parts.iter().any(|it| rows.contains(it));
                flow.cascade.is_ragged(whole) && !dims.contains(&whole) && meets
            })
        };
        if cone.iter().any(is_narrower) {
            return Err(self.local_reads(flow, flow.einsums[&tensor]).into_iter().collect());
        }
        let parts = cone.iter().copied().filter(|it| *it != tensor);
        let misfits: BTreeSet<TensorId> = parts.filter(|it| flow.is_output(*it) || !fits(it)).collect();
        if misfits.is_empty() { Ok(rows) } else { Err(misfits) }
    }
}
