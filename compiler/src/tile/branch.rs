//! Blocks that run only under some condition, and what must not leave them.

use super::builder::{Builder, Level};
use crate::ir::nest::{Block, Stmt, ValueId};

impl Builder {
    /// Opens a block that runs only under some condition.
    pub(super) fn open_branch(&mut self) {
        self.levels.push(Level::default());
    }

    /// The block of the branch that was opened last.
    pub(super) fn close_branch(&mut self) -> Block {
        Block { stmts: self.close_level().stmts }
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
