//! Loops over ranks: tasks, plain loops, and loops in tiles with a tail.

use super::{LANES, Lanes, ROWS, Tasks, Tiling};
use crate::ir::cascade::RankId;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Scalar, TileDim, TileType, ValueId};

/// A rank that is walked along in tiles, where this holds (`None`: always).
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) rank: RankId,
    pub(super) unit_strides: Option<ValueId>,
    /// A rank around it that is taken in tiles, too.
    pub(super) rows: Option<RankId>,
}

impl Tiling<'_> {
    /// Spreads the points of some ranks over tasks.
    pub(super) fn tasks(&mut self, ranks: &[RankId]) -> Tasks {
        let mut count = self.builder.int(1);
        for &rank in ranks {
            let extent = self.extent(rank);
            count = self.builder.binary(BinaryOp::Mul, count, extent);
        }
        let task = self.builder.fresh(TileType::scalar(Scalar::I64));
        let mut rest = task;
        for (idx, &rank) in ranks.iter().enumerate().rev() {
            let (index, major) = if idx == 0 { (rest, rest) } else { self.digit(rest, rank) };
            rest = major;
            self.bind(rank, index);
        }
        Tasks { task, count }
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

    fn open_from(&mut self, rank: RankId, from: ValueId, inits: &[ValueId]) -> Vec<ValueId> {
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
                let main = self.open_lanes(lane, &[]).0;
                self.for_each(inner, None, body);
                self.close_lanes(&[]);
                self.open_from(rank, main, &[]);
            }
            Some(lane) if lane.rows == Some(rank) => {
                let inside = Some(Lane { rows: None, ..lane });
                let main = self.open_rows(rank);
                self.for_each(inner, inside, body);
                self.rows = None;
                self.builder.close_loop(&[]);
                self.open_from(rank, main, &[]);
                self.for_each(inner, inside, body);
                self.builder.close_loop(&[]);
                return;
            }
            Some(_) | None => {
                self.open(rank, &[]);
            }
        }
        self.for_each(inner, lane.filter(|it| it.rank != rank), body);
        self.builder.close_loop(&[]);
    }

    /// Opens a loop over tiles of rows; gives where the tail begins.
    fn open_rows(&mut self, rank: RankId) -> ValueId {
        let (from, to) = self.span(rank);
        let (length, step) = (self.minus(to, from), self.builder.int(ROWS.into()));
        let tiles = self.builder.binary(BinaryOp::FloorDiv, length, step);
        let whole = self.builder.binary(BinaryOp::Mul, tiles, step);
        let end = self.sum(from, whole);
        let (index, _) = self.builder.open_loop(rank, (from, end, ROWS), &[]);
        self.rows = Some(self.bind_tile(TileDim { rank, extent: ROWS }, index));
        end
    }

    /// From now to the end of the innermost block, the coordinates along a rank are those of a tile.
    fn bind_tile(&mut self, dim: TileDim, first: ValueId) -> Lanes {
        let iota = self.builder.iota(dim);
        let indices = self.builder.binary(BinaryOp::Add, first, iota);
        self.bind(dim.rank, indices);
        let offsets = self.bind_offset(dim.rank, indices);
        Lanes { dim, indices, offsets }
    }

    /// Opens a loop over the whole tiles of a rank; gives where the tail begins.
    pub(super) fn open_lanes(&mut self, lane: Lane, inits: &[ValueId]) -> (ValueId, Vec<ValueId>) {
        let (from, to) = self.span(lane.rank);
        let mask = self.builder.int(-i64::from(LANES));
        let length = self.minus(to, from);
        let length = self.builder.binary(BinaryOp::BitAnd, length, mask);
        let whole = self.sum(from, length);
        let end = lane.unit_strides.map_or(whole, |unit| self.builder.select(unit, whole, from));
        let (index, currents) = self.builder.open_loop(lane.rank, (from, end, LANES), inits);
        self.builder.minor = Some(lane.rank);
        self.lane = Some(self.bind_tile(TileDim { rank: lane.rank, extent: LANES }, index));
        (end, currents)
    }

    pub(super) fn close_lanes(&mut self, nexts: &[ValueId]) -> Vec<ValueId> {
        self.lane = None;
        self.builder.minor = None;
        self.builder.close_loop(nexts)
    }

    /// Folds over every point of some ranks, the last of them in tiles if it is the lane: tiles are folded into
    /// accumulators of their own, which `merge` adds to the others.
    pub(super) fn fold_over(
        &mut self,
        ranks: &[RankId],
        lane: Option<Lane>,
        inits: &[ValueId],
        fold: &mut dyn Folding,
    ) -> Vec<ValueId> {
        let Some((&rank, inner)) = ranks.split_first() else { return fold.step(self, inits) };
        let mut accs = inits.to_vec();
        let mut from = self.span(rank).0;
        if let Some(lane) = lane.filter(|it| it.rank == rank) {
            let dim = TileDim { rank, extent: LANES };
            let wide = fold.inits(self, &[dim]);
            let (end, currents) = self.open_lanes(lane, &wide);
            let nexts = fold.step(self, &currents);
            let sums = self.close_lanes(&nexts);
            accs = fold.merge(self, &accs, &sums);
            from = end;
        }
        let currents = self.open_from(rank, from, &accs);
        let nexts = self.fold_over(inner, lane, &currents, fold);
        self.builder.close_loop(&nexts)
    }
}

/// What a fold does with its accumulators.
pub(super) trait Folding {
    /// The accumulators before the first point, with these ranks.
    fn inits(&mut self, tiling: &mut Tiling<'_>, shape: &[TileDim]) -> Vec<ValueId>;
    /// The accumulators after the point at hand.
    fn step(&mut self, tiling: &mut Tiling<'_>, accs: &[ValueId]) -> Vec<ValueId>;
    /// Scalar accumulators together with those of all elements of a tile.
    fn merge(&mut self, tiling: &mut Tiling<'_>, accs: &[ValueId], tiles: &[ValueId]) -> Vec<ValueId>;
}
