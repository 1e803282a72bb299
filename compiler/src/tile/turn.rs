//! Maps that change along which rank neighbours lie next to each other: squares are read and computed along one rank,
//! turned in registers and written along the other.
//!
//! ```text
//! K~[d, n] = K[n, d]   ->   for n in 16: for d in 16: load K[n: 16, d: 16]; store K~[d: 16, n: 16]
//! ```

use attnc_dsl::ast::Kind;

use super::builder::Known;
use super::loops::{Lane, Piece};
use super::{Lanes, Tiling};
use crate::ir::cascade::{At, Einsum, ExprId, Op, RankId, TensorId};
use crate::ir::expr::Expr;
use crate::ir::nest::{Scalar, TileDim};

/// The ranks of a square.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Neighbours lie along it where they are read.
    from: Lane,
    /// And along this where they are written.
    to: RankId,
}

impl Tiling<'_> {
    /// How an einsum copies, if it turns.
    pub(super) fn turn(&mut self, einsum: &Einsum, open: &[RankId]) -> Option<Turn> {
        let (Op::Map, Some(&At::Rank(to, 0))) = (&einsum.op, einsum.at.last()) else { return None };
        let plain = |it: RankId| self.cascade.ranks[it].parts.is_empty() && open.contains(&it);
        let single = self.widths.scalar(self.cascade, einsum.value) == Scalar::F32;
        let from = self.read_along(einsum.value, to)?;
        if from == to || !single || !plain(from) || !plain(to) || self.plan.register.square == 1 {
            return None;
        }
        let [read, written] = [self.unit_strides(einsum, from), self.unit_stride(einsum.tensor)];
        let unit_strides = self.builder.both(read, written);
        Some(Turn { from: Lane { rank: from, unit_strides, rows: None, single: false }, to })
    }

    /// The rank along which neighbours lie next to each other in all that is read and varies along it and another one.
    pub(super) fn read_along(&self, value: ExprId, to: RankId) -> Option<RankId> {
        let exprs = &self.cascade.exprs;
        let reads: Vec<(TensorId, &[ExprId])> = exprs.reads(value).collect();
        let last = |coords: &[ExprId]| {
            let &Expr::Index(rank) = exprs.get(*coords.last()?) else { return None };
            Some(rank)
        };
        let varies =
            |coords: &[ExprId], rank: RankId| coords.iter().any(|it| exprs.free(*it).contains(&rank));
        let from =
            reads.iter().filter(|it| varies(it.1, to)).filter_map(|it| last(it.1)).find(|it| *it != to)?;
        let both = |it: &&(TensorId, &[ExprId])| varies(it.1, from) && varies(it.1, to);
        let moved = reads.iter().filter(both);
        let apart = moved.clone().all(|&(tensor, coords)| self.walks(tensor, coords, from));
        (apart && moved.count() > 0 && exprs.kind(value) == Kind::Real).then_some(from)
    }

    /// All points of an einsum that turns.
    pub(super) fn turned(&mut self, einsum: &Einsum, open: &[RankId], turn: Turn) {
        let Turn { from, to } = turn;
        let others: Vec<RankId> = open.iter().copied().filter(|it| ![from.rank, to].contains(it)).collect();
        self.for_each(&others, None, &mut |it| {
            let across = Lane { rank: to, ..from };
            let mut begin = it.span(to).0;
            for piece in it.columns_of(across) {
                if piece == Piece::Points {
                    it.open_piece(across, (piece, 1), begin, &[]);
                    it.for_each(&[from.rank], None, &mut |it| {
                        let known = it.value(einsum.value);
                        it.store(einsum.tensor, &einsum.at, known);
                    });
                    it.close_piece(&[]);
                    continue;
                }
                begin = it.open_piece(across, (piece, it.plan.register.square), begin, &[]).0;
                let columns = it.lane.take();
                it.squares(einsum, from, columns);
                it.close_piece(&[]);
            }
        });
    }

    /// The loops that go along the rank that squares are written along. Under masks it is one: a row that is not there
    /// costs no more than one that is.
    pub(super) fn columns_of(&self, across: Lane) -> Vec<Piece> {
        let mut pieces = self.pieces_of(across);
        if pieces.contains(&Piece::Rest) {
            pieces.retain(|it| *it != Piece::Tiles);
        }
        pieces
    }

    /// Squares at some coordinates along the rank that they are written along.
    fn squares(&mut self, einsum: &Einsum, from: Lane, columns: Option<Lanes>) {
        let mut begin = self.span(from.rank).0;
        for piece in self.pieces_of(from) {
            if piece == Piece::Points {
                // Under masks, nothing is left; else what is left is read element by element.
                if self.plan.register.vector == 1 {
                    self.lane = columns;
                    self.builder.minor = columns.map(|it| it.dim.rank);
                    self.open_from(from.rank, begin, &[]);
                    let known = self.value(einsum.value);
                    self.store(einsum.tensor, &einsum.at, known);
                    self.builder.close_loop(&[]);
                }
                continue;
            }
            begin = self.open_piece(from, (piece, self.plan.register.square), begin, &[]).0;
            self.rows = columns;
            let known = self.value(einsum.value);
            let square: Vec<TileDim> = self.lane.iter().chain(&self.rows).map(|it| it.dim).collect();
            (self.lane, self.rows) = (self.rows, self.lane);
            self.builder.minor = self.lane.map(|it| it.dim.rank);
            let value = self.builder.in_order(known.value, &square);
            let present = known.present.map(|it| match self.builder.nest.values[it].shape.len() {
                2 => self.builder.in_order(it, &square),
                _ => it,
            });
            self.store(einsum.tensor, &einsum.at, Known { value, present });
            self.rows = None;
            self.close_piece(&[]);
        }
    }
}
