//! Operations that combine elements of tiles, or work on them together.

use super::builder::Builder;
use crate::ir::cascade::{RankId, ReduceOp};
use crate::ir::nest::{Op, TileType, ValueId};

impl Builder {
    /// `e` to the power of a finite number.
    pub(super) fn power(&mut self, a: ValueId) -> ValueId {
        self.map(Op::Power(a), self.scalar(a), &[a])
    }

    /// `into + Σ a · b`
    pub(super) fn contract(&mut self, a: ValueId, b: ValueId, into: ValueId) -> ValueId {
        let ty = self.nest.values[into].clone();
        self.emit(Op::Contract { a, b, into }, ty, &[a, b, into])
    }

    /// The elements combined along one rank.
    pub(super) fn reduce(&mut self, op: ReduceOp, a: ValueId, along: RankId) -> ValueId {
        let TileType { scalar, mut shape } = self.nest.values[a].clone();
        shape.retain(|dim| dim.rank != along);
        self.emit(Op::Reduce(op, a), TileType { scalar, shape }, &[a])
    }
}
