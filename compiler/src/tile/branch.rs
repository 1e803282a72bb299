//! Blocks that run only under some condition, and what must not leave them.

use super::builder::{Builder, Level};
use crate::ir::nest::{Block, Op, Scalar, Stmt, TileDim, TileType, ValueId};

impl Builder {
    /// Opens a block that runs only under some condition.
    pub(super) fn open_branch(&mut self) {
        self.levels.push(Level::default());
    }

    /// The block of the branch that was opened last.
    pub(super) fn close_branch(&mut self) -> Block {
        Block { stmts: self.close_level().stmts }
    }

    /// How many statements the innermost block has so far.
    pub(super) fn written(&mut self) -> usize {
        self.here().stmts.len()
    }

    /// Takes the statements back that the innermost block has beyond so many.
    pub(super) fn take_back(&mut self, written: usize) -> Vec<Stmt> {
        self.here().stmts.split_off(written)
    }

    /// The operation that defines a value, if one does in a block that is open.
    pub(super) fn definition(&self, value: ValueId) -> Option<&Op> {
        self.levels.iter().flat_map(|it| &it.stmts).find_map(|stmt| match stmt {
            Stmt::Let(it, op) if *it == value => Some(op),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        })
    }

    /// The same elements for every point of a shape that has the ranks of the value and others.
    pub(super) fn spread(&mut self, value: ValueId, shape: &[TileDim]) -> ValueId {
        let TileType { scalar, shape: own } = self.nest.values[value].clone();
        if shape.iter().all(|it| own.contains(it)) {
            return self.in_order(value, shape);
        }
        let yes = self.filled(Op::Bool(true), Scalar::Bool, shape);
        self.emit(Op::Select(yes, value, value), TileType { scalar, shape: shape.to_vec() }, &[yes, value])
    }

    /// Runs one of two blocks.
    pub(super) fn branch(&mut self, condition: ValueId, then: Block, otherwise: Block) {
        self.here().stmts.push(Stmt::If { condition, then, otherwise });
    }

    /// From now on scratch may hold something else than before; gives what to hand to [`Builder::unpin`].
    pub(super) fn pin(&mut self) -> usize {
        std::mem::replace(&mut self.floor, self.levels.len() - 1)
    }

    /// Undoes [`Builder::pin`].
    pub(super) fn unpin(&mut self, floor: usize) {
        self.floor = floor;
    }
}
