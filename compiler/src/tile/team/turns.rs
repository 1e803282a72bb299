//! Traversals of a block of threads: one loop over the tiles that are whole and of which no row is to be left out, and
//! one over the others, which come later.
//!
//! ```text
//! for n in 64 tiles .. where n <= m    ->   for n .. up to the first row: without masks;  for n .. up to the last: with masks
//! ```
//!
//! Points of several ranks, as those of pages, are numbered, and tiles are of points that follow each other.

use std::collections::{BTreeSet, HashMap};

use attnc_dsl::ast::Kind;

use super::Tiling;
use super::points::Points;
use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr, parts};
use crate::ir::nest::{TileDim, ValueId};
use crate::schedule::{Loop, Stream, loops};

/// A traversal that is under way.
struct Turns {
    /// What is traversed.
    points: Points,
    /// How many points a tile has.
    tile: u32,
    /// The numbers of the points that are traversed, and how many a turn takes.
    span: (ValueId, ValueId),
    width: ValueId,
    /// One past the last number that a tile may have.
    end: ValueId,
    /// The rank that is traversed in parts, and their length.
    parts: Option<(RankId, ValueId)>,
    /// The coordinates at hand of a traversal around it.
    outer: Option<(ValueId, ValueId)>,
}

impl Tiling<'_> {
    /// A traversal; [`Tiling::traverse`] with values that are carried.
    pub(super) fn team_loop(&mut self, it: &Loop) -> Option<()> {
        let ranks: Vec<RankId> = it.axes.iter().map(|it| it.rank).collect();
        let (&first, minors) = ranks.split_first()?;
        let points = self.points(first, minors);
        let tile = if it.parts.is_some() { it.axes[0].tile } else { self.team_mut().stream };
        let outer = self.region.spans.get(&points.first).copied();
        let (from, to) = self.span(points.first);
        let span = (self.numbered(&points, from), self.numbered(&points, to));
        let width = self.builder.int(tile.into());
        let parts = it.parts.map(|parts| (parts.of, self.value(parts.length).value));
        let end = match self.team_mut().whole_tiles == Some(points.first) {
            true => self.all_of(points.first).1,
            false => span.1,
        };
        let turns = Turns { points, tile, span, width, end, parts, outer };
        let mut range = self.turns_that_matter(it, &turns);
        if let Some((of, length)) = parts {
            let length_of_all = self.minus(span.1, span.0);
            let count = self.pieces(length_of_all, width);
            let (first, last) = self.tiles_of_box(it, of, length, count);
            range.0 = self.builder.binary(BinaryOp::Max, range.0, first);
            range.1 = self.builder.binary(BinaryOp::Min, range.1, last);
        }
        let full = if parts.is_none() { self.full_tiles(it, &turns, range) } else { None };
        let Some((full, conditions)) = full else { return self.turns(it, &turns, range, true) };
        let exprs = &self.cascade.exprs;
        let depends = |it| exprs.postorder(it).iter().any(|it| conditions.contains(it));
        let depend: BTreeSet<ExprId> = exprs.iter().map(|it| it.0).filter(|it| depends(*it)).collect();
        let outside = self.holding.clone();
        self.builder.forget_those(|it| depend.contains(&it));
        self.holding.extend(conditions);
        let fits = self.turns(it, &turns, (range.0, full), false);
        self.holding = outside;
        fits?;
        self.builder.forget_those(|it| depend.contains(&it));
        self.turns(it, &turns, (full, range.1), true)
    }

    /// The length of a part of a rank, in a block as many whole tiles as it takes: where it goes along that rank alone no tile
    /// is cut off then but by the end of the rank, as copies of boxes are.
    pub(in crate::tile) fn in_whole_tiles(
        &mut self,
        stream: &Stream,
        of: RankId,
        length: ValueId,
    ) -> ValueId {
        if self.team.is_none() || loops(&stream.acts).iter().any(|it| it.axes.len() > 1) {
            return length;
        }
        let team = self.team_mut();
        team.whole_tiles = Some(of);
        let tile = team.stream.into();
        let tile = self.builder.int(tile);
        let tiles = self.pieces(length, tile);
        self.builder.binary(BinaryOp::Mul, tiles, tile)
    }

    /// Some turns of a traversal; `ragged` if the tile at hand may be one that the end of the rank cuts off.
    fn turns(&mut self, it: &Loop, turns: &Turns, range: (ValueId, ValueId), ragged: bool) -> Option<()> {
        let Turns { ref points, tile, span, width, end, parts, outer } = *turns;
        let rank = points.last();
        self.carrying(&it.acts, rank, range, |this, number| {
            this.enter(rank, (span.0, end), width, number);
            if let Some((of, length)) = parts {
                this.region.fixed.insert(rank);
                this.bind(rank, number);
                let all = this.all_of(of);
                this.enter(of, all, length, number);
            } else {
                let span = this.span(rank);
                this.enter_lane(TileDim { rank, extent: tile }, span.0, ragged.then_some(span.1));
                this.enter_points_of_lane(points, span);
            }
            this.team_acts(&it.acts)?;
            points.ranks().for_each(|it| _ = this.region.spans.remove(&it));
            this.region.spans.extend(outer.map(|it| (points.first, it)));
            if let Some((of, _)) = parts {
                this.region.fixed.remove(&rank);
                this.region.spans.remove(&of);
            } else {
                this.team_mut().lanes.pop();
            }
            Some(())
        })
    }

    /// The turns that can matter to some row of the box.
    fn turns_that_matter(&mut self, it: &Loop, turns: &Turns) -> (ValueId, ValueId) {
        let Turns { points, span, width, .. } = turns;
        let length = self.minus(span.1, span.0);
        if points.minors.is_empty() {
            let count = self.pieces(length, *width);
            return self.tiles_of_box(it, points.first, *width, count);
        }
        let (from, to) = self.span(points.first);
        let (one, count) = (self.builder.int(1), self.minus(to, from));
        let (first, last) = self.tiles_of_box(it, points.first, one, count);
        let [first, last] = [first, last].map(|it| self.numbered(points, it));
        let first = self.builder.binary(BinaryOp::FloorDiv, first, *width);
        (first, self.pieces(last, *width))
    }

    /// One past the last of the tiles, from the first on, that are whole and all points of which meet the conditions on
    /// coordinates, and these conditions; nothing if there is one of which it cannot be told where it fails.
    fn full_tiles(
        &mut self,
        it: &Loop,
        turns: &Turns,
        range: (ValueId, ValueId),
    ) -> Option<(ValueId, BTreeSet<ExprId>)> {
        let points = &turns.points;
        let conditions = self.conditions_along(it, points);
        let mut end = turns.span.1;
        for &condition in &conditions {
            let fails = self.of_box(|this| this.where_one_fails(&[condition], points.first))?;
            let fails = self.numbered(points, fails);
            end = self.builder.binary(BinaryOp::Min, end, fails);
        }
        let whole = self.minus(end, turns.span.0);
        let whole = self.builder.binary(BinaryOp::FloorDiv, whole, turns.width);
        let whole = self.builder.binary(BinaryOp::Min, whole, range.1);
        Some((self.builder.binary(BinaryOp::Max, whole, range.0), conditions))
    }

    /// The conditions of a traversal that compare integers and differ along what is traversed.
    fn conditions_along(&self, it: &Loop, points: &Points) -> BTreeSet<ExprId> {
        let exprs = &self.cascade.exprs;
        let mut conditions = BTreeSet::new();
        it.acts.iter().for_each(|act| {
            act.einsums(&mut |einsum| {
                for id in exprs.postorder(einsum.value) {
                    let &Expr::Where(_, condition) = exprs.get(id) else { continue };
                    conditions.extend(parts(exprs, condition).into_iter().filter(|it| {
                        let is_integer =
                            !matches!(exprs.get(*it), Expr::Compare(_, a, _) if exprs.kind(*a) == Kind::Real);
                        is_integer && points.ranks().any(|rank| exprs.free(*it).contains(&rank))
                    }));
                }
            });
        });
        conditions
    }

    /// The tiles that can matter to some row of the box, whose coordinates count as intervals for that.
    fn tiles_of_box(
        &mut self,
        it: &Loop,
        rank: RankId,
        width: ValueId,
        count: ValueId,
    ) -> (ValueId, ValueId) {
        self.of_box(|this| this.tiles_that_matter(&it.matters, rank, width, count))
    }

    /// What can be told of all rows of the box, whose coordinates count as intervals.
    fn of_box<T>(&mut self, tell: impl FnOnce(&mut Self) -> T) -> T {
        let memos = self.builder.forget();
        let values = &self.builder.nest.values;
        let (several, single) = std::mem::take(&mut self.builder.indices)
            .into_iter()
            .partition(|it| !values[it.1].shape.is_empty());
        self.builder.indices = single;
        let told = tell(self);
        self.builder.indices.extend::<HashMap<RankId, ValueId>>(several);
        self.builder.forget();
        self.builder.recollect(memos);
        told
    }
}
