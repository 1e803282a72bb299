//! Strips of a box: a few rows go through all that is done for a tile before the next rows do, so that what is held
//! between the acts is a few rows, in the first level of cache. A strip goes along no more of the tile than matters to
//! its own rows.
//!
//! ```text
//! for n in 256                     for n in 256
//!   K~[d, n] = K                     K~[d, n] = K
//!   S~[m, n] = …             ->      for m in strips of 6
//!   P~[m, n] = …                       S~[m, n] = …            6 × 256 points
//!   O[m, e] += …                       P~[m, n] = …
//!                                      O[m, e] += …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Tiling;
use crate::ir::cascade::{Einsum, RankId, TensorId};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Block, ValueId};
use crate::schedule::{Act, Axis, Loop, Stream};

/// What is different within a strip.
#[derive(Debug, Clone, Default)]
pub(super) struct Strip {
    /// The rank of its rows, where there is a strip.
    rank: Option<RankId>,
    /// Tiles of which only the strip's rows are held.
    own: BTreeSet<TensorId>,
    /// How far from where the box begins it begins along some ranks.
    shifts: BTreeMap<RankId, ValueId>,
}

/// Acts that are done for the box as a whole, or strip by strip.
struct Run {
    in_strips: bool,
    acts: Vec<Act>,
}

impl Strip {
    /// How many rows of a tensor are held.
    pub(super) fn rows_of(&self, tensor: TensorId, rank: RankId, strip: u32) -> Option<u32> {
        (self.rank == Some(rank) && self.own.contains(&tensor)).then_some(strip)
    }

    /// It is one of rows along that rank.
    pub(super) fn goes_along(&self, rank: RankId) -> bool {
        self.rank == Some(rank)
    }

    /// Only the strip's rows of a tensor are held.
    pub(super) fn is_own(&self, tensor: TensorId) -> bool {
        self.own.contains(&tensor)
    }
}

/// By tensor, the acts that read or write it, those that are the same once.
pub(super) fn mentions(stream: &Stream, tiling: &Tiling<'_>) -> BTreeMap<TensorId, Vec<Einsum>> {
    let mut found: BTreeMap<TensorId, Vec<Einsum>> = BTreeMap::new();
    let mut see = |einsum: &Einsum| {
        for tensor in touched(einsum, tiling) {
            let all = found.entry(tensor).or_default();
            if !all.contains(einsum) {
                all.push(einsum.clone());
            }
        }
    };
    stream.acts.iter().for_each(|act| act.einsums(&mut |it| see(it)));
    found
}

/// What an act reads and writes.
fn touched(einsum: &Einsum, tiling: &Tiling<'_>) -> BTreeSet<TensorId> {
    let reads = tiling.cascade.exprs.reads(einsum.value).map(|(it, _)| it);
    reads.chain([einsum.tensor]).collect()
}

impl Tiling<'_> {
    /// The body of a traversal.
    pub(super) fn body(&mut self, it: &Loop) {
        match self.rank_of_strips(it) {
            None => self.where_it_matters(it, &it.acts),
            Some(rank) => self.if_it_matters(it, |tiling| {
                for run in tiling.runs(rank, &it.acts) {
                    match run.in_strips {
                        true => tiling.in_strips(it, rank, &run.acts),
                        // What has no mask in memory is the same to those who read it, whichever variant wrote it.
                        false if tiling.are_words(&run.acts) => tiling.variants(it, &run.acts),
                        false => tiling.acts(&run.acts),
                    }
                }
            }),
        }
    }

    /// The last rank of the box's rows that has more of them than a strip.
    fn rank_of_strips(&self, it: &Loop) -> Option<RankId> {
        let plain = it.acts.iter().all(|act| matches!(act, Act::Define(_) | Act::Fold(_)));
        let many = |rank: &RankId| self.is_in_strips(*rank) && self.region.spans.contains_key(rank);
        if !plain || it.parts.is_some() {
            return None;
        }
        self.region.rows.iter().copied().rfind(|it| many(it) && !self.is_part(*it))
    }

    /// Acts in runs of those that have a rank and those that do not; the latter go first where order leaves it open.
    fn runs(&self, rank: RankId, acts: &[Act]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut touched, mut written): (BTreeSet<TensorId>, BTreeSet<TensorId>) = Default::default();
        for act in acts {
            let (Act::Define(einsum) | Act::Fold(einsum)) = act else { unreachable!("only einsums are cut") };
            let in_strips = self.open_ranks(einsum).contains(&rank);
            let own = self::touched(einsum, self);
            let is_apart = !touched.contains(&einsum.tensor) && own.is_disjoint(&written);
            let last = runs.len().checked_sub(1);
            let place = match last {
                Some(last) if runs[last].in_strips == in_strips => Some(last),
                // What strips before it neither read nor write can be done before them.
                Some(last) if !in_strips && is_apart => match last.checked_sub(1) {
                    Some(before) => Some(before),
                    None => {
                        runs.insert(0, Run { in_strips, acts: Vec::new() });
                        Some(0)
                    }
                },
                Some(_) | None => None,
            };
            match place {
                Some(place) => runs[place].acts.push(act.clone()),
                None => {
                    touched.clear();
                    written.clear();
                    runs.push(Run { in_strips, acts: vec![act.clone()] });
                }
            }
            if in_strips {
                touched.extend(own);
                written.insert(einsum.tensor);
            }
        }
        runs
    }

    /// Acts for one strip of the box after the other.
    fn in_strips(&mut self, it: &Loop, rank: RankId, acts: &[Act]) {
        let floor = self.builder.pin();
        let outside = self.region.clone();
        let span = self.span(rank);
        let rows = self.builder.int(self.plan.register.strip.into());
        let length = self.minus(span.1, span.0);
        let count = self.pieces(length, rows);
        let zero = self.builder.int(0);
        let (number, _) = self.builder.open_loop(rank, (zero, count, 1), &[]);
        self.enter(rank, span, rows, number);
        let first = self.builder.binary(BinaryOp::Mul, number, rows);
        let strip =
            Strip { rank: Some(rank), own: self.own_of(acts), shifts: BTreeMap::from([(rank, first)]) };
        self.region.strip = strip;
        for axis in &it.axes {
            self.narrow(it, axis.rank);
        }
        self.in_pieces(it, acts);
        self.region = outside;
        self.builder.close_loop(&[]);
        self.builder.unpin(floor);
    }

    /// Acts for all of the tile at once where their conditions hold and there are scales to go by, else for one tile of registers after the other, of
    /// which only those on the border have to be tested.
    fn in_pieces(&mut self, it: &Loop, acts: &[Act]) {
        if self.rescales_by_others(acts) {
            return self.where_it_matters(it, acts);
        }
        let (_, hold) = self.all_hold(acts);
        let bold = self.bold(it, acts);
        let are_calm = bold.map(|it| self.are_calm(&it));
        let hold = self.builder.both(hold, are_calm);
        let lanes = self.plan.register.lanes;
        // Of a tile of several ranks the innermost that has more than a tile of registers.
        let step = |at: usize| if at + 1 == it.axes.len() { lanes } else { 1 };
        let inside = |at: usize| it.axes[at + 1..].iter().map(|it| it.tile).product::<u32>() * step(at);
        let axis =
            it.axes.iter().enumerate().rfind(|(at, axis)| axis.tile > step(*at) && inside(*at) >= lanes);
        let (Some(hold), Some((at, &Axis { rank, .. }))) = (hold, axis) else {
            return self.where_it_matters(it, acts);
        };
        let (span, outside) = (self.span(rank), self.region.clone());
        let (length, one) = (self.minus(span.1, span.0), self.builder.int(1));
        let piece = self.builder.int(step(at).into());
        let step = self.builder.select(hold, length, piece);
        let step = self.builder.binary(BinaryOp::Max, step, one);
        let (count, zero) = (self.pieces(length, step), self.builder.int(0));
        let (number, _) = self.builder.open_loop(rank, (zero, count, 1), &[]);
        self.enter(rank, span, step, number);
        let further = self.builder.binary(BinaryOp::Mul, number, step);
        let shift = self.counted_in_box(rank, further);
        self.region.strip.shifts.insert(rank, shift);
        self.where_it_matters(it, acts);
        self.region = outside;
        self.builder.close_loop(&[]);
    }

    /// Something that is added to is first brought under a scale that other acts have changed for all of the tile: once, not
    /// for every piece.
    fn rescales_by_others(&self, acts: &[Act]) -> bool {
        let einsums = || acts.iter().filter_map(super::bounds::einsum);
        let is_folded =
            |tensor: TensorId| acts.iter().any(|it| matches!(it, Act::Fold(it) if it.tensor == tensor));
        let is_own = |tensor: TensorId| einsums().any(|it| it.tensor == tensor);
        let rescaled = acts.iter().filter_map(|act| match act {
            Act::Define(it) if is_folded(it.tensor) => Some(it),
            Act::Define(_) | Act::Fold(_) | Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
        });
        let mut reads = rescaled.flat_map(|it| self.cascade.exprs.reads(it.value));
        reads.any(|(tensor, _)| self.is_tile(tensor) && !is_own(tensor))
    }

    /// A tile is of use after the strips at hand, where it is no longer known which of their variants wrote it.
    pub(super) fn is_read_after_strips(&self, tensor: TensorId) -> bool {
        let strip = &self.region.strip;
        strip.rank.is_some() && !strip.own.contains(&tensor)
    }

    /// The tiles that only these acts mention.
    fn own_of(&self, acts: &[Act]) -> BTreeSet<TensorId> {
        let here: Vec<&Einsum> = acts.iter().filter_map(super::bounds::einsum).collect();
        let defined = acts.iter().filter_map(|act| match act {
            Act::Define(einsum) => Some(einsum.tensor),
            Act::Fold(_) | Act::Loop(_) | Act::Along(..) | Act::Choose(..) => None,
        });
        let own = |it: &TensorId| {
            self.is_tile(*it) && self.region.mentions[it].iter().all(|einsum| here.contains(&einsum))
        };
        defined.filter(own).collect()
    }

    /// Leaves of a span what matters to the rows at hand, in whole tiles of registers.
    fn narrow(&mut self, it: &Loop, rank: RankId) {
        let (from, to) = self.span(rank);
        let tile = self.builder.int(self.plan.register.lanes.into());
        let length = self.minus(to, from);
        let count = self.pieces(length, tile);
        let (first, last) = self.tiles_that_matter(&it.matters, rank, tile, count);
        if first == self.builder.int(0) && last == count {
            return;
        }
        let mut at = |number| self.builder.binary(BinaryOp::Mul, number, tile);
        let (shift, end) = (at(first), at(last));
        let (begin, end) = (self.sum(from, shift), self.sum(from, end));
        let end = self.builder.binary(BinaryOp::Min, end, to);
        let end = self.builder.binary(BinaryOp::Max, end, begin);
        self.region.spans.insert(rank, (begin, end));
        self.region.strip.shifts.insert(rank, shift);
    }

    /// Acts where the tile at hand matters, without tests where all their conditions hold.
    fn where_it_matters(&mut self, it: &Loop, acts: &[Act]) {
        self.if_it_matters(it, |tiling| tiling.variants(it, acts));
    }

    /// What is done only where the tile at hand matters.
    fn if_it_matters(&mut self, it: &Loop, then: impl FnOnce(&mut Self)) {
        let floor = self.builder.pin();
        let matters = self.matters(&it.matters);
        if matters.is_some() {
            self.builder.open_branch();
        }
        then(self);
        if let Some(matters) = matters {
            let block = self.builder.close_branch();
            self.builder.branch(matters, block, Block::default());
        }
        self.builder.unpin(floor);
    }

    /// How far the coordinate along a rank is from where what is held of a tile begins.
    pub(super) fn offset_of(&mut self, tensor: TensorId, rank: RankId) -> ValueId {
        let known = self.builder.offsets.get(&rank).copied();
        let near = known.unwrap_or_else(|| self.builder.indices[&rank]);
        match self.lane {
            _ if self.region.strip.own.contains(&tensor) => near,
            Some(lane) if lane.dim.rank == rank => lane.shifted,
            Some(_) | None => self.counted_in_box(rank, near),
        }
    }

    /// Distances from where the strip begins, counted from where the box does.
    pub(super) fn counted_in_box(&mut self, rank: RankId, offsets: ValueId) -> ValueId {
        match self.region.strip.shifts.get(&rank).copied() {
            Some(shift) => self.sum(shift, offsets),
            None => offsets,
        }
    }
}
