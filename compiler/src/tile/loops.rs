//! Loops over ranks: tasks, plain loops, and loops in tiles with a tail.

use attnc_dsl::ast::CompareOp;

use super::{Lanes, Tasks, Tiling};
use crate::ir::cascade::{ExprId, Extent, RankId};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{TileDim, ValueId};
use crate::schedule::Register;

/// A rank that is walked along in tiles, where this holds (`None`: always).
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) rank: RankId,
    pub(super) unit_strides: Option<ValueId>,
    /// A rank around it that is taken in tiles, too.
    pub(super) rows: Option<Rows>,
    /// More than a vector at a time gains little: rows are few, or what takes long is the same for a vector.
    pub(super) single: bool,
}

/// A rank of which tiles of registers have a few coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rows {
    pub(super) rank: RankId,
    /// They are the rows of a strip, and all is done for as many as a strip has. What becomes of those beyond the box
    /// goes nowhere but into tiles, which have room for it.
    pub(super) padded: bool,
}

/// One of the loops that go along a rank in tiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Piece {
    /// Whole tiles.
    Tiles,
    /// Half a tile.
    Half,
    /// What is left of a rank, a vector at a time, the last under a mask.
    Rest,
    /// Single coordinates: what is left, or all where neighbours are apart in memory.
    Points,
}

impl Tiling<'_> {
    /// Spreads the points of some ranks over tasks.
    pub(super) fn tasks(&mut self, ranks: &[RankId]) -> Tasks {
        let counts: Vec<ValueId> = ranks.iter().map(|&it| self.extent(it)).collect();
        let (tasks, indices) = self.numbers(&counts);
        for (&rank, index) in ranks.iter().zip(indices).rev() {
            self.bind(rank, index);
        }
        tasks
    }

    /// The least significant digit of a number whose base is the extent of a rank, and the rest.
    fn digit(&mut self, number: ValueId, rank: RankId) -> (ValueId, ValueId) {
        let extent = self.extent(rank);
        let digit = self.builder.binary(BinaryOp::Mod, number, extent);
        (digit, self.builder.binary(BinaryOp::FloorDiv, number, extent))
    }

    /// From now to the end of the innermost block, that is the coordinate along a rank, and its digits those
    /// along its parts.
    pub(super) fn bind(&mut self, rank: RankId, index: ValueId) {
        self.builder.bind(rank, index);
        let parts = self.cascade.ranks[rank].parts.clone();
        let mut rest = index;
        for (idx, &part) in parts.iter().enumerate().rev() {
            let (digit, major) = if idx == 0 { (rest, rest) } else { self.digit(rest, part) };
            rest = major;
            self.bind(part, digit);
        }
        self.bind_composites(rank);
    }

    /// Opens a loop over all coordinates of a rank; gives what its body sees of the carried values.
    pub(super) fn open(&mut self, rank: RankId, inits: &[ValueId]) -> Vec<ValueId> {
        let (from, _) = self.span(rank);
        self.open_from(rank, from, inits)
    }

    pub(super) fn open_from(&mut self, rank: RankId, from: ValueId, inits: &[ValueId]) -> Vec<ValueId> {
        let (_, to) = self.span(rank);
        let (index, currents) = self.builder.open_loop(rank, (from, to, 1), inits);
        self.bind(rank, index);
        self.bind_offset(rank, index);
        currents
    }

    /// Runs `body` for every point of some ranks, the lane in tiles.
    pub(super) fn for_each(&mut self, ranks: &[RankId], lane: Option<Lane>, body: &mut dyn FnMut(&mut Self)) {
        let Some((&rank, inner)) = ranks.split_first() else { return body(self) };
        match lane {
            Some(lane) if lane.rank == rank => {
                let mut from = self.span(rank).0;
                for piece in self.pieces_of(lane) {
                    from = self.open_piece(lane, (piece, self.tile_of(lane, piece)), from, &[]).0;
                    self.for_each(inner, None, body);
                    self.close_piece(&[]);
                }
                return;
            }
            Some(lane @ Lane { rows: Some(rows), .. }) if rows.rank == rank => {
                let inside = Some(Lane { rows: None, ..lane });
                let mut from = self.span(rank).0;
                for tile in self.tiles_of_rows(rank) {
                    from = self.open_rows(rows, tile, from, &[]).0;
                    self.for_each(inner, inside, body);
                    self.rows = None;
                    self.builder.close_loop(&[]);
                }
                if !rows.padded {
                    self.open_from(rank, from, &[]);
                    let is_seldom = self.is_seldom;
                    self.is_seldom |= self.is_in_strips(rank);
                    self.for_each(inner, inside, body);
                    self.is_seldom = is_seldom;
                    self.builder.close_loop(&[]);
                }
                return;
            }
            Some(_) | None => {
                self.open(rank, &[]);
            }
        }
        self.for_each(inner, lane, body);
        self.builder.close_loop(&[]);
    }

    /// How many rows tiles of registers have, one after the other: a strip, and what strips leave of a rank that a walk
    /// holds whole.
    fn tiles_of_rows(&self, rank: RankId) -> Vec<u32> {
        let strip = self.rows_of_tile(rank);
        let rest = match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) if self.region.walks => extent.rem_euclid(strip.into()),
            Extent::Fixed(_) | Extent::Carried | Extent::Derived(_) => 0,
        };
        let rest = u32::try_from(rest).ok().filter(|it| *it > 1);
        [strip].into_iter().chain(rest).collect()
    }

    /// Opens a loop over tiles of so many rows from one on; gives where what is left begins, and what its body sees of the
    /// carried values.
    pub(super) fn open_rows(
        &mut self,
        Rows { rank, padded }: Rows,
        tile: u32,
        from: ValueId,
        inits: &[ValueId],
    ) -> (ValueId, Vec<ValueId>) {
        let to = self.span(rank).1;
        let dim = TileDim { rank, extent: tile };
        if padded {
            let end = self.plus(from, tile.into());
            let (index, currents) = self.builder.open_loop(rank, (from, end, tile), inits);
            let mut rows = self.bind_tile(dim, index);
            // Rows beyond the box have the coordinate of its last, so that inputs and masks are asked for what there is.
            let last = self.plus(to, -1);
            rows.indices = self.builder.binary(BinaryOp::Min, rows.indices, last);
            self.bind(rank, rows.indices);
            self.rows = Some(rows);
            return (to, currents);
        }
        let (length, step) = (self.minus(to, from), self.builder.int(tile.into()));
        let tiles = self.builder.binary(BinaryOp::FloorDiv, length, step);
        let whole = self.builder.binary(BinaryOp::Mul, tiles, step);
        let end = self.sum(from, whole);
        let (index, currents) = self.builder.open_loop(rank, (from, end, tile), inits);
        self.rows = Some(self.bind_tile(dim, index));
        (end, currents)
    }

    /// A condition on a tile of rows, or where a row is none of the box's.
    pub(super) fn or_beyond(&mut self, condition: ValueId) -> ValueId {
        let Some(rows) = self.rows.filter(|it| self.region.strip.goes_along(it.dim.rank)) else {
            return condition;
        };
        let (from, to) = self.span(rows.dim.rank);
        let length = self.minus(to, from);
        let beyond = self.builder.compare(CompareOp::Ge, rows.offsets, length);
        self.builder.or(condition, beyond)
    }

    /// How many rows a tile of registers has: a strip, or all of a box that has fewer.
    pub(super) fn rows_of_tile(&self, rank: RankId) -> u32 {
        let strip = self.plan.register.strip;
        self.region.tiles.get(&rank).map_or(strip, |&rows| strip.min(rows))
    }

    /// From now to the end of the innermost block, the coordinates along a rank are those of a tile.
    fn bind_tile(&mut self, dim: TileDim, first: ValueId) -> Lanes {
        let iota = self.builder.iota(dim);
        let indices = self.builder.binary(BinaryOp::Add, first, iota);
        self.bind(dim.rank, indices);
        let offsets = self.bind_offset(dim.rank, indices);
        let shifted = self.counted_in_box(dim.rank, offsets);
        Lanes { dim, first, indices, offsets, shifted, mask: None, reduced: false }
    }

    /// The loops that go along a lane, one after the other.
    pub(super) fn pieces_of(&self, lane: Lane) -> Vec<Piece> {
        let Register { lanes, vector, .. } = self.plan.register;
        let masked = vector > 1;
        // Of features some may be left that are more than two vectors; sums of six rows and one vector wait for each other.
        let halves = self.rows.is_some()
            && self.lanes_of_tile(lane.rank) == lanes
            && self.has_wide_tiles()
            && !self.is_brief(lane)
            && !self.region.spans.contains_key(&lane.rank);
        let all = [
            (Piece::Tiles, self.has_tiles(lane.rank) && !self.is_done_by_rest(lane)),
            (Piece::Half, halves),
            (Piece::Rest, masked),
            (Piece::Points, !masked || lane.unit_strides.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(it, _)| it).collect()
    }

    /// Tiles of registers have several vectors, and what they leave is done under masks.
    fn has_wide_tiles(&self) -> bool {
        let Register { lanes, vector, .. } = self.plan.register;
        vector > 1 && lanes >= 4 * vector
    }

    /// Loops have as few instructions as may be: those that are seldom run, and those that are as fast with fewer.
    fn is_brief(&self, lane: Lane) -> bool {
        self.has_wide_tiles() && self.rows.is_none() && (lane.single || self.is_seldom)
    }

    /// What masks cost is less than another loop takes.
    fn is_done_by_rest(&self, lane: Lane) -> bool {
        self.is_brief(lane) && (self.is_seldom || self.region.rows.contains(&lane.rank))
    }

    /// As many coordinates of a rank are at hand at a time as a tile of registers has.
    fn has_tiles(&self, rank: RankId) -> bool {
        let Register { lanes, strip, .. } = self.plan.register;
        let at_hand = match self.region.strip.goes_along(rank) {
            true => Some(strip),
            false => self.region.tiles.get(&rank).copied(),
        };
        at_hand.is_none_or(|it| it >= lanes)
    }

    /// Opens one of them, for so many coordinates at a time; gives where the next begins, and what the body sees of the carried values.
    pub(super) fn open_piece(
        &mut self,
        lane: Lane,
        (piece, extent): (Piece, u32),
        from: ValueId,
        inits: &[ValueId],
    ) -> (ValueId, Vec<ValueId>) {
        let to = self.span(lane.rank).1;
        if piece == Piece::Points {
            return (to, self.open_from(lane.rank, from, inits));
        }
        // Where neighbours are apart, there are no tiles.
        let end = lane.unit_strides.map_or(to, |unit| self.builder.select(unit, to, from));
        let length = self.minus(end, from);
        let length = if piece == Piece::Rest { self.plus(length, i64::from(extent) - 1) } else { length };
        let mask = self.builder.int(-i64::from(extent));
        let length = self.builder.binary(BinaryOp::BitAnd, length, mask);
        let last = self.sum(from, length);
        let dim = TileDim { rank: lane.rank, extent };
        let (index, currents) = self.builder.open_loop(dim.rank, (from, last, extent), inits);
        self.builder.minor = Some(dim.rank);
        let mut lanes = self.bind_tile(dim, index);
        if piece == Piece::Rest {
            lanes.mask = Some(self.builder.compare(CompareOp::Lt, lanes.indices, end));
        }
        self.lane = Some(lanes);
        (if piece == Piece::Rest { end } else { last }, currents)
    }

    /// How many coordinates it takes at a time.
    fn tile_of(&self, lane: Lane, piece: Piece) -> u32 {
        let register = self.plan.register;
        match piece {
            Piece::Tiles if self.is_brief(lane) => register.vector,
            Piece::Tiles => self.lanes_of_tile(lane.rank),
            Piece::Half => register.lanes / 2,
            Piece::Rest => register.vector,
            Piece::Points => 1,
        }
    }

    /// How many neighbours a tile of registers has: fewer than usual where a walk holds no more of a rank.
    fn lanes_of_tile(&self, rank: RankId) -> u32 {
        let Register { lanes, vector, .. } = self.plan.register;
        let held = match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) if self.region.walks => u32::try_from(extent).unwrap_or(lanes),
            Extent::Fixed(_) | Extent::Carried | Extent::Derived(_) => lanes,
        };
        match held.checked_ilog2().map(|it| 1 << it) {
            Some(whole) if whole >= vector => lanes.min(whole),
            Some(_) | None => lanes,
        }
    }

    pub(super) fn close_piece(&mut self, nexts: &[ValueId]) -> Vec<ValueId> {
        self.lane = None;
        self.builder.minor = None;
        self.builder.close_loop(nexts)
    }

    /// One piece of a fold along a lane: a tile has accumulators of its own, which are combined at the end.
    fn fold_piece(
        &mut self,
        lane: Lane,
        piece: Piece,
        (from, accs): (ValueId, &[ValueId]),
        fold: &mut dyn Folding,
    ) -> (ValueId, Vec<ValueId>) {
        if piece == Piece::Points {
            let (end, currents) = self.open_piece(lane, (piece, 1), from, accs);
            let nexts = fold.step(self, &currents);
            return (end, self.close_piece(&nexts));
        }
        let dim = TileDim { rank: lane.rank, extent: self.tile_of(lane, piece) };
        let shape: Vec<TileDim> = self.rows.iter().map(|it| it.dim).chain([dim]).collect();
        let wide = fold.inits(self, &shape);
        let (end, currents) = self.open_piece(lane, (piece, dim.extent), from, &wide);
        self.lane.as_mut().expect("a tile is open").reduced = true;
        let nexts = fold.step(self, &currents);
        let sums = self.close_piece(&nexts);
        (end, fold.merge(self, accs, &sums, lane.rank))
    }

    /// Folds over every point of some ranks, the one that is the lane last and in tiles.
    pub(super) fn fold_over(
        &mut self,
        ranks: &[RankId],
        lane: Option<Lane>,
        inits: &[ValueId],
        fold: &mut dyn Folding,
    ) -> Vec<ValueId> {
        let Some((&rank, inner)) = ranks.split_first() else { return fold.step(self, inits) };
        if let Some(lane) = lane.filter(|it| it.rank == rank && !inner.is_empty()) {
            return self.fold_over(&[inner, &[rank]].concat(), Some(lane), inits, fold);
        }
        let mut from = self.span(rank).0;
        if let Some(lane) = lane.filter(|it| it.rank == rank) {
            let mut accs = inits.to_vec();
            let pieces = self.pieces_of(lane);
            let (whole, rest) = pieces.split_at(usize::from(pieces[0] == Piece::Tiles));
            for &piece in whole {
                (from, accs) = self.fold_piece(lane, piece, (from, &accs), fold);
            }
            // Mostly nothing is left, and sums over lanes of nothing take as long as others.
            let may_be_none = !whole.is_empty() && rest != [Piece::Points];
            if may_be_none {
                let to = self.span(rank).1;
                let some = self.builder.compare(CompareOp::Lt, from, to);
                accs = self.builder.open_times(some, [1, 0], rank, &accs);
            }
            for &piece in rest {
                (from, accs) = self.fold_piece(lane, piece, (from, &accs), fold);
            }
            return if may_be_none { self.builder.close_loop(&accs) } else { accs };
        }
        let conditions = fold.conditions(self);
        if let Some(cut) = self.cut(&conditions, rank) {
            let memos = self.builder.forget();
            let outside = self.holding.clone();
            self.holding.extend(conditions);
            let safe = self.fold_between(ranks, lane, (cut.begin, cut.safe), inits, fold);
            self.holding = outside;
            self.builder.forget();
            self.builder.recollect(memos);
            return self.fold_between(ranks, lane, (cut.safe, cut.end), &safe, fold);
        }
        let currents = self.open_from(rank, from, inits);
        let nexts = self.fold_over(inner, lane, &currents, fold);
        self.builder.close_loop(&nexts)
    }

    /// Folds over the points of some ranks, of the first of them only from one coordinate to another.
    fn fold_between(
        &mut self,
        ranks: &[RankId],
        lane: Option<Lane>,
        (from, to): (ValueId, ValueId),
        inits: &[ValueId],
        fold: &mut dyn Folding,
    ) -> Vec<ValueId> {
        let (index, currents) = self.builder.open_loop(ranks[0], (from, to, 1), inits);
        self.bind(ranks[0], index);
        self.bind_offset(ranks[0], index);
        let nexts = self.fold_over(&ranks[1..], lane, &currents, fold);
        self.builder.close_loop(&nexts)
    }
}

/// What a fold does with its accumulators.
pub(super) trait Folding {
    /// Conditions without which a point does nothing.
    fn conditions(&self, _tiling: &Tiling<'_>) -> Vec<ExprId> {
        Vec::new()
    }
    /// The accumulators before the first point, with these ranks.
    fn inits(&mut self, tiling: &mut Tiling<'_>, shape: &[TileDim]) -> Vec<ValueId>;
    /// The accumulators after the point at hand.
    fn step(&mut self, tiling: &mut Tiling<'_>, accs: &[ValueId]) -> Vec<ValueId>;
    /// Accumulators together with those of all elements of a tile along a rank.
    fn merge(
        &mut self,
        tiling: &mut Tiling<'_>,
        accs: &[ValueId],
        tiles: &[ValueId],
        along: RankId,
    ) -> Vec<ValueId>;
}
