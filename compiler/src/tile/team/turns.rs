//! Traversals of a block of threads: one loop over the tiles that are whole and of which no row is to be left out, and
//! one over the others, which come later.
//!
//! ```text
//! for n in 64 tiles .. where n <= m    ->   for n .. up to the first row: without masks;  for n .. up to the last: with masks
//! ```

use std::collections::{BTreeSet, HashMap};

use attnc_dsl::ast::Kind;

use super::Tiling;
use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{TileDim, ValueId};
use crate::schedule::{Axis, Loop, presence};

/// A traversal that is under way.
struct Turns {
    rank: RankId,
    /// How many coordinates a tile has.
    tile: u32,
    /// The coordinates that are traversed, and how many a turn takes.
    span: (ValueId, ValueId),
    width: ValueId,
    /// The rank that is traversed in parts, and their length.
    parts: Option<(RankId, ValueId)>,
    /// The coordinates at hand of a traversal around it.
    outer: Option<(ValueId, ValueId)>,
}

impl Tiling<'_> {
    /// A traversal; [`Tiling::traverse`] with values that are carried.
    pub(super) fn team_loop(&mut self, it: &Loop) -> Option<()> {
        let &[Axis { rank, tile }] = it.axes.as_slice() else { return None };
        let tile = if it.parts.is_some() { tile } else { self.team_mut().stream };
        let outer = self.region.spans.get(&rank).copied();
        let span = self.span(rank);
        let (length, width) = (self.minus(span.1, span.0), self.builder.int(tile.into()));
        let count = self.pieces(length, width);
        let mut range = self.tiles_of_box(it, rank, width, count);
        let parts = it.parts.map(|parts| (parts.of, self.value(parts.length).value));
        if let Some((of, length)) = parts {
            let (first, last) = self.tiles_of_box(it, of, length, count);
            range.0 = self.builder.binary(BinaryOp::Max, range.0, first);
            range.1 = self.builder.binary(BinaryOp::Min, range.1, last);
        }
        let turns = Turns { rank, tile, span, width, parts, outer };
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

    /// Some turns of a traversal; `ragged` if the tile at hand may be one that the end of the rank cuts off.
    fn turns(&mut self, it: &Loop, turns: &Turns, range: (ValueId, ValueId), ragged: bool) -> Option<()> {
        let Turns { rank, tile, span, width, parts, outer } = *turns;
        self.carrying(&it.acts, rank, range, |this, number| {
            this.enter(rank, span, width, number);
            if let Some((of, length)) = parts {
                this.region.fixed.insert(rank);
                this.bind(rank, number);
                let all = this.all_of(of);
                this.enter(of, all, length, number);
            } else {
                let (from, to) = this.span(rank);
                this.enter_lane(TileDim { rank, extent: tile }, from, ragged.then_some(to));
            }
            this.team_acts(&it.acts)?;
            this.region.spans.remove(&rank);
            this.region.spans.extend(outer.map(|it| (rank, it)));
            if let Some((of, _)) = parts {
                this.region.fixed.remove(&rank);
                this.region.spans.remove(&of);
            } else {
                this.team_mut().lanes.pop();
            }
            Some(())
        })
    }

    /// One past the last of the tiles, from the first on, that are whole and all points of which meet the conditions on
    /// coordinates, and these conditions; nothing if there is one of which it cannot be told where it fails.
    fn full_tiles(
        &mut self,
        it: &Loop,
        turns: &Turns,
        range: (ValueId, ValueId),
    ) -> Option<(ValueId, BTreeSet<ExprId>)> {
        let conditions = self.conditions_along(it, turns.rank);
        let mut end = turns.span.1;
        for &condition in &conditions {
            let fails = self.of_box(|this| this.where_one_fails(&[condition], turns.rank))?;
            end = self.builder.binary(BinaryOp::Min, end, fails);
        }
        let whole = self.minus(end, turns.span.0);
        let whole = self.builder.binary(BinaryOp::FloorDiv, whole, turns.width);
        let whole = self.builder.binary(BinaryOp::Min, whole, range.1);
        Some((self.builder.binary(BinaryOp::Max, whole, range.0), conditions))
    }

    /// The conditions of a traversal that compare integers and differ along a rank.
    fn conditions_along(&self, it: &Loop, rank: RankId) -> BTreeSet<ExprId> {
        let exprs = &self.cascade.exprs;
        let mut conditions = BTreeSet::new();
        it.acts.iter().for_each(|act| {
            act.einsums(&mut |einsum| {
                for id in exprs.postorder(einsum.value) {
                    let &Expr::Where(_, condition) = exprs.get(id) else { continue };
                    conditions.extend(presence::parts(exprs, condition).into_iter().filter(|it| {
                        let is_integer =
                            !matches!(exprs.get(*it), Expr::Compare(_, a, _) if exprs.kind(*a) == Kind::Real);
                        is_integer && exprs.free(*it).contains(&rank)
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
