//! A stream to a stage: a box of rows for each task, loops over tiles of what is traversed, tiles in scratch.
//!
//! An act is evaluated by the same loops as a whole einsum, within the box at hand. A traversal has its body
//! twice where conditions can be told for a whole tile: once as it stands and once for tiles at all points of
//! which they hold; tiles that do not matter are skipped.

use attnc_dsl::ast::DType;

use super::builder::Known;
use super::fold::Fold;
use super::loops::Lane;
use super::memory::Stored;
use super::strip::mentions;
use super::{Region, Tasks, Tiling};
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, TensorId};
use crate::ir::expr::{BinaryOp, Expr, operands, parts};
use crate::ir::nest::{Buffer, BufferId, Place, Scalar, TileType, ValueId};
use crate::schedule::{Act, Axis, Loop, Plan, Stream, loops};

/// By expression: it reads a tile.
pub(super) fn reads_tile(plan: &Plan) -> Vec<bool> {
    let mut reads: Vec<bool> = Vec::new();
    for (_, expr) in plan.cascade.exprs.iter() {
        let own = matches!(expr, Expr::Read(tensor, ..) if plan.tiles.contains(tensor));
        reads.push(own || operands(expr).iter().any(|it| reads[it.idx()]));
    }
    reads
}

impl Tiling<'_> {
    /// One stage.
    pub(super) fn stream(&mut self, stream: &Stream) {
        if self.in_team(stream) {
            return;
        }
        let defines: Vec<TensorId> = stores(&stream.acts, &self.plan.tiles);
        self.region = Region { composites: stream.composites.clone(), ..Region::default() };
        for axis in stream.rows.iter().chain(loops(&stream.acts).into_iter().flat_map(|it| &it.axes)) {
            self.region.tiles.insert(axis.rank, axis.tile);
        }
        self.region.rows = stream.rows.iter().map(|it| it.rank).collect();
        self.region.mentions = mentions(stream, self);
        self.scratch = self.no_bytes();
        // Several stages may hold a tile, each in its own scratch.
        self.stored.retain(|it, _| !self.plan.tiles.contains(it));
        self.tile_masks.clear();
        self.words = self.words_of(stream);
        self.word_sums.clear();
        self.zeroed.clear();
        self.stage(&defines, |it| {
            let mut tasks = it.boxes(&stream.rows);
            if let Some(condition) = stream.when {
                let (holds, none) = (it.value(condition).value, it.builder.int(0));
                tasks.count = it.builder.select(holds, tasks.count, none);
            }
            it.enter_part(stream);
            it.acts(&stream.acts);
            tasks
        });
        self.note_scratch();
        self.words.clear();
        self.region = Region::default();
    }

    /// From now on a task has a part of what it traverses, if it has one alone.
    pub(super) fn enter_part(&mut self, stream: &Stream) {
        let Some((part, parts)) = stream.part else { return };
        let (length, all) = (self.value(parts.length).value, self.all_of(parts.of));
        let length = self.in_whole_tiles(stream, parts.of, length);
        let number = self.builder.indices[&part];
        self.enter(parts.of, all, length, number);
    }

    /// The stage at hand is done; its scratch is free for the next.
    pub(super) fn note_scratch(&mut self) {
        let (most, now) = (self.most_scratch, self.scratch);
        let mut larger = |a, b| self.builder.binary(BinaryOp::Max, a, b);
        self.most_scratch =
            super::Bytes { exact: larger(most.exact, now.exact), wide: larger(most.wide, now.wide) };
    }

    pub(super) fn no_bytes(&mut self) -> super::Bytes {
        super::Bytes { exact: self.builder.int(0), wide: self.builder.real(0.0, Scalar::F64) }
    }

    /// Spreads boxes of rows over tasks.
    pub(super) fn boxes(&mut self, rows: &[Axis]) -> Tasks {
        let mut counts = Vec::new();
        for row in rows {
            let (extent, tile) = (self.extent(row.rank), self.builder.int(row.tile.into()));
            counts.push(self.pieces(extent, tile));
        }
        let (tasks, digits) = self.numbers(&counts);
        for (row, digit) in rows.iter().zip(digits) {
            if row.tile == 1 && !self.ends_composite(row.rank) {
                self.fix(row.rank);
                self.bind(row.rank, digit);
            } else {
                self.enter_tile(*row, digit);
            }
        }
        tasks
    }

    /// A task for each combination of numbers below these, and its numbers.
    pub(super) fn numbers(&mut self, counts: &[ValueId]) -> (Tasks, Vec<ValueId>) {
        let one = self.builder.int(1);
        let count = counts.iter().fold(one, |all, &it| self.builder.binary(BinaryOp::Mul, all, it));
        let task = self.builder.fresh(TileType::scalar(Scalar::I64));
        let mut rest = task;
        let mut digits = Vec::new();
        for (at, &count) in counts.iter().enumerate().rev() {
            let first = at == 0;
            digits.push(if first { rest } else { self.builder.binary(BinaryOp::Mod, rest, count) });
            rest = if first { rest } else { self.builder.binary(BinaryOp::FloorDiv, rest, count) };
        }
        digits.reverse();
        (Tasks { task, count }, digits)
    }

    /// How many tiles there are of a number of coordinates.
    pub(super) fn pieces(&mut self, extent: ValueId, tile: ValueId) -> ValueId {
        let more = self.plus(tile, -1);
        let more = self.sum(extent, more);
        self.builder.binary(BinaryOp::FloorDiv, more, tile)
    }

    /// From now on the box has the coordinates of that tile of a rank.
    fn enter_tile(&mut self, axis: Axis, number: ValueId) {
        let span = self.all_of(axis.rank);
        let tile = self.builder.int(axis.tile.into());
        self.enter(axis.rank, span, tile, number);
    }

    /// From now on the box has the coordinates of that piece of a span.
    pub(super) fn enter(
        &mut self,
        rank: RankId,
        (begin, end): (ValueId, ValueId),
        length: ValueId,
        number: ValueId,
    ) {
        let offset = self.builder.binary(BinaryOp::Mul, number, length);
        let from = self.sum(begin, offset);
        let to = self.builder.binary(BinaryOp::Add, from, length);
        let mut to = self.builder.binary(BinaryOp::Min, to, end);
        if self.ends_composite(rank) {
            // A whole piece may lie beyond the extent of a ragged rank.
            to = self.builder.binary(BinaryOp::Max, from, to);
        }
        self.region.spans.insert(rank, (from, to));
    }

    /// Tiles may hold something else than before from now on; gives what to hand to `unpin`.
    pub(super) fn pin_tiles(&mut self) -> usize {
        let reads_tile = &self.reads_tile;
        self.builder.forget_those(|it| reads_tile[it.idx()]);
        self.builder.pin()
    }

    pub(super) fn acts(&mut self, acts: &[Act]) {
        self.acts_before(acts, &[]);
    }

    /// Acts, of which others later read what they define.
    pub(super) fn acts_before(&mut self, mut acts: &[Act], later: &[Act]) {
        while let Some((act, rest)) = acts.split_first() {
            let chained = self.chained(acts, later);
            if chained > 0 {
                acts = &acts[chained..];
                continue;
            }
            acts = rest;
            let floor = self.pin_tiles();
            match act {
                Act::Define(einsum) => self.boxed_einsum(einsum),
                Act::Fold(einsum) => self.fold_into(einsum),
                Act::Loop(it) => self.traverse(it, 0),
                Act::Along(rank, acts) => self.along(*rank, acts),
                Act::Choose(condition, then, otherwise) => {
                    let condition = self.value(*condition).value;
                    let [then, otherwise] = [then, otherwise].map(|acts| {
                        self.builder.open_branch();
                        self.acts(acts);
                        self.builder.close_branch()
                    });
                    self.builder.branch(condition, then, otherwise);
                }
            }
            self.builder.unpin(floor);
        }
    }

    /// Acts at each coordinate of a rank, which tiles keep all of.
    fn along(&mut self, rank: RankId, acts: &[Act]) {
        self.open(rank, &[]);
        self.region.at_hand.insert(rank);
        self.acts(acts);
        self.region.at_hand.remove(&rank);
        self.builder.close_loop(&[]);
    }

    /// The ranks of an einsum, the composite ones of the region in parts, without those that are bound.
    pub(super) fn open_ranks(&self, einsum: &Einsum) -> Vec<RankId> {
        let parts = |it: RankId| match self.region.composites.contains(&it) {
            true => self.cascade.exprs.atoms(it).to_vec(),
            false => vec![it],
        };
        let ranks = einsum.iterated().into_iter().filter(|it| !self.region.at_hand.contains(it));
        self.unbound(ranks.flat_map(parts))
    }

    /// Ranks that have more than the coordinate at hand.
    pub(super) fn unbound(&self, ranks: impl IntoIterator<Item = RankId>) -> Vec<RankId> {
        ranks.into_iter().filter(|it| !self.region.fixed.contains(it)).collect()
    }

    fn boxed_einsum(&mut self, einsum: &Einsum) {
        let open = self.open_ranks(einsum);
        if let Some(&words) = self.words.get(&einsum.tensor) {
            return self.define_words(einsum, &open, words);
        }
        if let Some(turn) = self.turn(einsum, &open) {
            return self.turned(einsum, &open, turn);
        }
        let lane = self.lane(einsum, &open);
        match &einsum.op {
            Op::Map => self.for_each(&open, lane, &mut |it| {
                let known = it.value(einsum.value);
                it.store(einsum.tensor, &einsum.at, known);
            }),
            Op::Reduce(op, over) => {
                let (inner, outer) = split(lane, over);
                // What rows of a tile read is used again by the other rows of the box at once.
                let rows = inner.and_then(|it| it.rows).map(|it| it.rank);
                let mut open = open;
                open.sort_by_key(|it| Some(*it) != rows);
                self.for_each(&open, outer, &mut |it| {
                    let known = it.reduction(*op, over, einsum.value, inner);
                    it.store(einsum.tensor, &einsum.at, known);
                });
            }
            Op::Scan(op, along) => self.scan(einsum, *op, *along, &open),
            Op::Select(op, from, to) => self.select(einsum, *op, *from, *to, &open),
            Op::Place(along) => self.place(einsum, *along, &open),
            Op::Arg(op, along) => self.arg(einsum, *op, *along, &open),
        }
    }

    /// Combines a reduction over the box with what the accumulator holds.
    fn fold_into(&mut self, einsum: &Einsum) {
        let open = self.open_ranks(einsum);
        let (op, over) = match &einsum.op {
            Op::Reduce(op, over) => (op, over),
            Op::Select(..) | Op::Arg(..) => return self.keep_best(einsum, &open),
            Op::Map | Op::Scan(..) | Op::Place(_) => unreachable!("they do not accumulate"),
        };
        let lane = self.lane(einsum, &open);
        // A fold over parts has one of them at hand.
        let over = &self.unbound(over.iter().copied());
        let (inner, outer) = split(lane, over);
        let combine = Fold::new(self, *op, einsum.value).combine();
        self.for_each(&open, outer, &mut |it| {
            let tile = it.reduction(*op, over, einsum.value, inner).value;
            let before = it.read_tile(einsum.tensor).value;
            let value = it.builder.binary(combine, before, tile);
            it.store(einsum.tensor, &einsum.at, Known { value, present: None });
        });
    }

    /// Loops over the tiles of the ranks from that position on.
    fn traverse(&mut self, it: &Loop, at: usize) {
        let Some(&Axis { rank, tile }) = it.axes.get(at) else { return self.body(it) };
        // Another loop of the stage may take other tiles of the rank.
        let other = self.region.tiles.insert(rank, tile);
        let outer = self.region.spans.get(&rank).copied();
        let span = match outer {
            Some(part) => part,
            None => self.all_of(rank),
        };
        let (length, tile) = (self.minus(span.1, span.0), self.builder.int(tile.into()));
        let count = self.pieces(length, tile);
        let mut range = self.tiles_that_matter(&it.matters, rank, tile, count);
        let parts = it.parts.map(|parts| (parts.of, self.value(parts.length).value));
        if let Some((of, length)) = parts {
            let (first, last) = self.tiles_that_matter(&it.matters, of, length, count);
            range.0 = self.builder.binary(BinaryOp::Max, range.0, first);
            range.1 = self.builder.binary(BinaryOp::Min, range.1, last);
        }
        let (number, _) = self.builder.open_loop(rank, (range.0, range.1, 1), &[]);
        self.enter(rank, span, tile, number);
        if let Some((of, length)) = parts {
            self.region.fixed.insert(rank);
            self.bind(rank, number);
            let all = self.all_of(of);
            self.enter(of, all, length, number);
        }
        self.traverse(it, at + 1);
        self.region.spans.remove(&rank);
        self.region.spans.extend(outer.map(|it| (rank, it)));
        if let Some((of, _)) = parts {
            self.region.fixed.remove(&rank);
            self.region.spans.remove(&of);
        }
        self.region.tiles.extend(other.map(|it| (rank, it)));
        self.builder.close_loop(&[]);
    }

    pub(super) fn is_tile(&self, tensor: TensorId) -> bool {
        self.plan.tiles.contains(&tensor)
    }

    /// The part-less ranks of a tile that are more than one coordinate.
    pub(super) fn held_ranks(&self, tensor: TensorId) -> Vec<RankId> {
        let ranks = self.cascade.tensors[tensor].dims.iter();
        ranks.flat_map(|it| self.held_parts(it.rank)).collect()
    }

    /// The parts of a rank of which a tile has more than one coordinate.
    pub(super) fn held_parts(&self, rank: RankId) -> Vec<RankId> {
        let parts = self.cascade.exprs.atoms(rank).iter().copied();
        parts.filter(|it| !self.region.fixed.contains(it)).collect()
    }

    pub(super) fn tile_coordinates(&mut self, tensor: TensorId) -> Vec<ValueId> {
        self.held_ranks(tensor).into_iter().map(|it| self.offset_of(tensor, it)).collect()
    }

    /// The point of a tile at the indices that are bound.
    pub(super) fn read_tile(&mut self, tensor: TensorId) -> Known {
        let index = self.tile_coordinates(tensor);
        self.load(tensor, index, None)
    }

    pub(super) fn tile_buffer(&mut self, tensor: TensorId) -> BufferId {
        let name = self.cascade.tensors[tensor].name.clone();
        let is_word = self.words.contains_key(&tensor);
        let dtype = if is_word { DType::I32 } else { self.widths.stored(self.cascade, tensor) };
        let values = self.reserve_scratch(tensor, name, dtype);
        self.stored.insert(tensor, Stored { values, mask: None });
        values
    }

    /// The mask of a tile that has absent points now.
    pub(super) fn tile_mask(&mut self, tensor: TensorId) -> BufferId {
        let mask = match self.tile_masks.get(&tensor) {
            Some(&mask) => mask,
            None => {
                let name = format!("{}?", self.cascade.tensors[tensor].name);
                self.reserve_scratch(tensor, name, DType::Bool)
            }
        };
        self.tile_masks.insert(tensor, mask);
        self.stored.get_mut(&tensor).expect("it has a buffer").mask = Some(mask);
        mask
    }

    /// A tile is present everywhere from now on.
    pub(super) fn forget_mask(&mut self, tensor: TensorId) {
        self.stored.get_mut(&tensor).expect("it has a buffer").mask = None;
    }

    fn reserve_scratch(&mut self, tensor: TensorId, name: String, dtype: DType) -> BufferId {
        let mut extents = Vec::new();
        let mut padded = false;
        let words = self.words.get(&tensor).copied();
        let ranks = words.map_or_else(|| self.held_ranks(tensor), |it| self.word_ranks(tensor, it));
        for rank in ranks {
            if let Some(words) = words.filter(|it| it.along == rank) {
                extents.push(self.room_for_words(words));
                continue;
            }
            padded |= self.is_in_strips(rank);
            let own = self.region.strip.rows_of(tensor, rank, self.plan.register.strip);
            extents.push(match own.or_else(|| self.room_along(rank)) {
                Some(tile) => self.builder.int(tile.into()),
                None => self.extent(rank),
            });
        }
        self.scratch_buffer(name, dtype, (extents, padded))
    }

    /// Room for something at each point of a tile that has not some of its ranks.
    pub(super) fn tile_without(
        &mut self,
        tensor: TensorId,
        without: &[RankId],
        (name, dtype): (String, DType),
    ) -> BufferId {
        let tile = self.buffer(tensor);
        let Buffer { extents, padded, .. } = self.builder.nest.buffers[tile].clone();
        let ranks = self
            .words
            .get(&tensor)
            .map_or_else(|| self.held_ranks(tensor), |it| self.word_ranks(tensor, *it));
        let extents = ranks.iter().zip(extents).filter(|(it, _)| !without.contains(it));
        let extents: Vec<ValueId> = extents.map(|(_, it)| it).collect();
        self.scratch_buffer(name, dtype, (extents, padded))
    }

    /// Where it lies for the point at hand.
    pub(super) fn coordinates_without(&mut self, tensor: TensorId, without: &[RankId]) -> Vec<ValueId> {
        let ranks = self.held_ranks(tensor).into_iter().filter(|it| !without.contains(it));
        ranks.map(|it| self.offset_of(tensor, it)).collect()
    }

    /// How many coordinates of a rank there is room for in a tile: of rows, for whole strips.
    fn room_along(&self, rank: RankId) -> Option<u32> {
        let (tile, strip) = (*self.region.tiles.get(&rank)?, self.plan.register.strip);
        Some(if self.is_in_strips(rank) { tile.next_multiple_of(strip) } else { tile })
    }

    /// Boxes have more rows along a rank than a strip.
    pub(super) fn is_in_strips(&self, rank: RankId) -> bool {
        let many = |it: &u32| *it > self.plan.register.strip;
        self.region.rows.contains(&rank) && self.region.tiles.get(&rank).is_some_and(many)
    }

    /// Takes room in the scratch of the stage at hand, in C order.
    pub(super) fn scratch_buffer(
        &mut self,
        name: String,
        dtype: DType,
        (extents, padded): (Vec<ValueId>, bool),
    ) -> BufferId {
        let (strides, bytes) = self.in_c_order(dtype, &extents);
        let place = Place::Scratch(self.scratch.exact);
        self.scratch = self.grown(self.scratch, bytes);
        self.builder.nest.buffers.push(Buffer { name, dtype, place, extents, strides, padded })
    }

    /// Whether a condition holds at all points of the box.
    pub(super) fn is_holding(&self, condition: ExprId) -> bool {
        !self.holding.is_empty()
            && parts(&self.cascade.exprs, condition).iter().all(|it| self.holding.contains(it))
    }
}

/// What is a lane of points that are combined, and what is one of others, or has rows.
pub(super) fn split(lane: Option<Lane>, over: &[RankId]) -> (Option<Lane>, Option<Lane>) {
    let is_inner = |it: &Lane| over.contains(&it.rank);
    (lane.filter(is_inner), lane.filter(|it| !is_inner(it) || it.rows.is_some()))
}

/// The tensors that acts write to memory.
pub(super) fn stores(acts: &[Act], tiles: &std::collections::BTreeSet<TensorId>) -> Vec<TensorId> {
    let mut stored = Vec::new();
    for act in acts {
        match act {
            Act::Define(it) if !tiles.contains(&it.tensor) => stored.push(it.tensor),
            Act::Define(_) | Act::Fold(_) => {}
            Act::Loop(Loop { acts, .. }) | Act::Along(_, acts) => stored.extend(stores(acts, tiles)),
            Act::Choose(_, then, otherwise) => {
                stored.extend(stores(then, tiles));
                stored.extend(stores(otherwise, tiles));
            }
        }
    }
    stored
}
