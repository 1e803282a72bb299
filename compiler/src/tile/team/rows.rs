//! The rows of a block: all points that share factors, along one rank or along several.
//!
//! Where keys and values belong to several heads of queries, points of these heads are rows of the same block, beside each
//! other, so that a tile of keys is read once for all of them: in decoding a block has rows at all only so.
//!
//! ```text
//! Q[b, (k, g), m, d], K[b, k, n, d]   ->   row r of a block: m = r / |g|, g = r % |g|;  tasks: b, k, |m| |g| / 128
//! ```

use attnc_dsl::ast::CompareOp;

use super::Tiling;
use super::points::Points;
use crate::ir::cascade::{Cascade, Einsum, ExprId, RankId};
use crate::ir::expr::Expr;
use crate::ir::nest::{TileDim, ValueId};
use crate::schedule::{Axis, Loop, Stream, factors, loops, sharing};
use crate::tile::{Lanes, Tasks};

/// The ranks whose points are rows.
pub(super) struct Rows {
    /// That along which tiles have them.
    pub(super) rank: RankId,
    /// Those that vary faster, major to minor.
    pub(super) packed: Vec<RankId>,
}

impl Rows {
    /// How many rows there are.
    pub(super) fn extent(&self, cascade: &Cascade) -> u32 {
        let extents = self.packed.iter().map(|it| cascade.most_coordinates(*it));
        extents.fold(cascade.most_coordinates(self.rank), u32::saturating_mul)
    }
}

impl Tiling<'_> {
    /// The ranks of rows that share factors of sums of products.
    pub(super) fn rows_of_team(&self, stream: &Stream) -> Option<Rows> {
        let exprs = &self.cascade.exprs;
        let mut einsums = Vec::new();
        stream.acts.iter().for_each(|act| act.einsums(&mut |it| einsums.push(it)));
        let plain = |it: &&Einsum| {
            let mut coords = exprs.reads(it.value).filter(|(tensor, _)| self.is_tile(*tensor));
            coords.all(|(tensor, coords)| {
                let dims = &self.cascade.tensors[tensor].dims;
                coords.iter().zip(dims).all(|(&it, dim)| *exprs.get(it) == Expr::Index(dim.rank))
            })
        };
        let is_row = |it: &RankId| stream.rows.iter().any(|row| row.rank == *it);
        // The parts of a composite rank are all rows, or all points of one traversal.
        let is_traversed = |atoms: &[RankId]| {
            let of = |it: &Loop, rank: &RankId| it.axes.iter().any(|axis| axis.rank == *rank);
            loops(&stream.acts).into_iter().any(|it| atoms.iter().all(|rank| of(it, rank)))
        };
        let is_whole = |it: &RankId| {
            let atoms = exprs.atoms(*it);
            atoms.iter().all(is_row) || is_traversed(atoms)
        };
        if !einsums.iter().all(plain) || !stream.composites.iter().all(is_whole) {
            return None;
        }
        let products: Vec<(ExprId, ExprId)> = einsums.iter().filter_map(|it| factors(exprs, it)).collect();
        // Rows of one part alone read the same keys.
        let part = stream.part.map(|it| it.0);
        let ranks = stream.rows.iter().map(|it| it.rank).filter(|it| Some(*it) != part);
        let ranks: Vec<RankId> = ranks.collect();
        let (rank, packed) = sharing(exprs, &products, &ranks)?;
        // Where a composite rank may end before its parts do, rows know it by their mask; what is no row would have to ask.
        let ends = |it: &RankId| exprs.atoms(*it).last().copied();
        let by_rows = |it: &RankId| ends(it).is_some_and(|last| last == rank || packed.contains(&last));
        let mut rows_alone = stream.composites.iter().filter(|it| exprs.atoms(**it).iter().all(is_row));
        let whole = rows_alone.all(|it| !self.cascade.is_ragged(*it) || by_rows(it));
        whole.then_some(Rows { rank, packed })
    }

    /// A task for each box of rows, and each point of the other ranks that a stream's boxes are made of. From now on its
    /// rows are at hand.
    pub(super) fn team_rows(
        &mut self,
        (axes, composites): (&[Axis], &[RankId]),
        rows: &Rows,
        dim: TileDim,
    ) -> Tasks {
        let others: Vec<&Axis> = axes.iter().filter(|it| !rows.packed.contains(&it.rank)).collect();
        let points = self.points(rows.rank, &rows.packed);
        let extent = self.extent(rows.rank);
        let all = self.numbered(&points, extent);
        let tile = self.builder.int(dim.extent.into());
        let counts = others
            .iter()
            .map(|it| if it.rank == rows.rank { self.pieces(all, tile) } else { self.extent(it.rank) });
        let counts: Vec<ValueId> = counts.collect();
        let (tasks, numbers) = self.numbers(&counts);
        for (axis, number) in others.into_iter().zip(numbers) {
            self.region.tiles.insert(axis.rank, 1);
            if axis.rank != rows.rank {
                self.fix(axis.rank);
                self.bind(axis.rank, number);
                continue;
            }
            let zero = self.builder.int(0);
            self.enter(axis.rank, (zero, all), tile, number);
        }
        let span = self.span(rows.rank);
        self.enter_rows((axes, composites), &points, dim, span);
        tasks
    }

    /// From now on the coordinates of rows are those of points from one number on, below another.
    fn enter_rows(
        &mut self,
        (axes, composites): (&[Axis], &[RankId]),
        points: &Points,
        dim: TileDim,
        (from, to): (ValueId, ValueId),
    ) {
        let iota = self.builder.iota(dim);
        let numbers = self.sum(from, iota);
        let mask = self.builder.compare(CompareOp::Lt, numbers, to);
        self.enter_points(points, numbers, (from, to));
        let is_row = |it: &RankId| axes.iter().any(|row| row.rank == *it);
        let composites: Vec<RankId> = composites
            .iter()
            .filter(|it| self.cascade.exprs.atoms(**it).iter().all(is_row))
            .copied()
            .collect();
        let mask = self.enter_composites(&composites, Some(mask));
        self.team_mut().lanes.push(Lanes {
            dim,
            first: from,
            indices: numbers,
            offsets: numbers,
            shifted: numbers,
            mask,
            reduced: false,
        });
    }
}
