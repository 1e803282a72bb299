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
        self.emit(Op::Contract { a, b, there: None, into }, ty, &[a, b, into])
    }

    /// The same without products of elements of `a` that are not there.
    pub(super) fn contract_where(
        &mut self,
        there: Option<ValueId>,
        a: ValueId,
        b: ValueId,
        into: ValueId,
    ) -> ValueId {
        let ty = self.nest.values[into].clone();
        let operands: Vec<ValueId> = [a, b, into].into_iter().chain(there).collect();
        self.emit(Op::Contract { a, b, there, into }, ty, &operands)
    }

    /// The elements combined along one rank.
    pub(super) fn reduce(&mut self, op: ReduceOp, a: ValueId, along: RankId) -> ValueId {
        let TileType { scalar, mut shape } = self.nest.values[a].clone();
        shape.retain(|dim| dim.rank != along);
        self.emit(Op::Reduce(op, a), TileType { scalar, shape }, &[a])
    }
}
