//! Points of several ranks, numbered: rows of a block, or what it streams over.
//!
//! ```text
//! i, s of pages of 16   ->   point 37: i = 2, s = 5
//! ```

use attnc_dsl::ast::CompareOp;

use super::Tiling;
use crate::ir::cascade::RankId;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::ValueId;

/// The points of some ranks.
pub(super) struct Points {
    /// The rank that varies most slowly.
    pub(super) first: RankId,
    /// Those that vary faster, major to minor.
    pub(super) minors: Vec<RankId>,
    /// How many points there are for a coordinate of the first.
    pub(super) apart: ValueId,
}

impl Points {
    /// The ranks, major to minor.
    pub(super) fn ranks(&self) -> impl Iterator<Item = RankId> {
        std::iter::once(self.first).chain(self.minors.iter().copied())
    }

    /// The rank that varies fastest.
    pub(super) fn last(&self) -> RankId {
        self.minors.last().copied().unwrap_or(self.first)
    }
}

impl Tiling<'_> {
    /// The points of ranks: one, and those that vary faster, major to minor.
    pub(super) fn points(&mut self, first: RankId, minors: &[RankId]) -> Points {
        let apart = minors.iter().fold(self.builder.int(1), |apart, &rank| {
            let extent = self.extent(rank);
            self.builder.binary(BinaryOp::Mul, apart, extent)
        });
        Points { first, minors: minors.to_vec(), apart }
    }

    /// The number of the first point at a coordinate of the first rank.
    pub(super) fn numbered(&mut self, points: &Points, coordinate: ValueId) -> ValueId {
        match points.minors.is_empty() {
            true => coordinate,
            false => self.builder.binary(BinaryOp::Mul, coordinate, points.apart),
        }
    }

    /// From now on coordinates are those of points with these numbers, which the box has from one up to another.
    pub(super) fn enter_points(&mut self, points: &Points, numbers: ValueId, (from, to): (ValueId, ValueId)) {
        let mut rest = numbers;
        for &rank in points.minors.iter().rev() {
            let extent = self.extent(rank);
            let major = self.builder.binary(BinaryOp::FloorDiv, rest, extent);
            let before = self.builder.binary(BinaryOp::Mul, major, extent);
            let digit = self.builder.binary(BinaryOp::Sub, rest, before);
            self.builder.bind(rank, digit);
            let all = self.all_of(rank);
            self.region.spans.insert(rank, all);
            rest = major;
        }
        self.builder.bind(points.first, rest);
        if !points.minors.is_empty() {
            let last = self.plus(to, -1);
            let [first, last] =
                [from, last].map(|it| self.builder.binary(BinaryOp::FloorDiv, it, points.apart));
            let end = self.plus(last, 1);
            self.region.spans.insert(points.first, (first, end));
        }
    }

    /// The coordinates of points at hand along composite ranks, too; where all of them exist that may not.
    pub(super) fn enter_composites(
        &mut self,
        ranks: &[RankId],
        mut mask: Option<ValueId>,
    ) -> Option<ValueId> {
        for &whole in ranks {
            let index = self.composed(whole, None);
            self.builder.bind(whole, index);
            if self.cascade.is_ragged(whole) {
                let extent = self.extent(whole);
                let exists = self.builder.compare(CompareOp::Lt, index, extent);
                mask = self.builder.both(mask, Some(exists));
            }
        }
        mask
    }

    /// The numbers of the lane at hand are those of points, if these are of several ranks.
    pub(super) fn enter_points_of_lane(&mut self, points: &Points, span: (ValueId, ValueId)) {
        if points.minors.is_empty() {
            return;
        }
        let numbers = self.builder.indices[&points.last()];
        self.enter_points(points, numbers, span);
        let is_made = |it: &RankId| {
            let atoms = self.cascade.exprs.atoms(*it);
            atoms.iter().all(|it| points.ranks().any(|rank| rank == *it))
        };
        let composites = self.team_mut().composites.clone();
        let composites: Vec<RankId> = composites.into_iter().filter(is_made).collect();
        let mask = self.team_mut().lanes.last().and_then(|it| it.mask);
        let mask = self.enter_composites(&composites, mask);
        if let Some(lane) = self.team_mut().lanes.last_mut() {
            lane.mask = mask;
        }
    }
}
