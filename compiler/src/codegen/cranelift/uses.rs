//! Which values of the prologue a function needs.

use crate::ir::nest::{Block, BufferId, Checks, Nest, Op, Place, Stmt, ValueId};

/// Marks of the values that are needed.
pub(super) struct Uses<'a> {
    nest: &'a Nest,
    needed: Vec<bool>,
}

impl<'a> Uses<'a> {
    /// Of nothing yet.
    pub(super) fn new(nest: &'a Nest) -> Uses<'a> {
        Uses { nest, needed: vec![false; nest.values.len()] }
    }

    /// Whether anything needs a value.
    pub(super) fn needs(&self, value: ValueId) -> bool {
        self.needed[value.idx()]
    }

    /// Needs these.
    pub(super) fn values(&mut self, values: impl IntoIterator<Item = ValueId>) {
        for value in values {
            self.needed[value.idx()] = true;
        }
    }

    /// Needs all that a block reads.
    pub(super) fn block(&mut self, block: &Block) {
        block.stmts.iter().for_each(|it| self.stmt(it));
    }

    /// Needs all that checks read.
    pub(super) fn checks(&mut self, checks: &Checks) {
        self.block(&checks.block);
        self.values(checks.faults.iter().map(|(condition, _)| *condition));
    }

    /// Needs what the needed values of the prologue are computed from.
    pub(super) fn close(&mut self) {
        let nest = self.nest;
        for stmt in nest.prologue.stmts.iter().rev() {
            match stmt {
                Stmt::Let(value, op) if self.needs(*value) => self.op(op),
                Stmt::Let(..) => {}
                Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => {
                    unreachable!("a prologue only defines")
                }
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let(_, op) => self.op(op),
            Stmt::Store { buffer, index, value, guard, .. } => {
                self.access(*buffer, index);
                self.values([*value]);
                self.values(*guard);
            }
            Stmt::Loop(it) => {
                self.values([it.from, it.to]);
                self.values(it.carried.iter().flat_map(|it| [it.init, it.next]));
                self.block(&it.body);
            }
            Stmt::If { condition, then, otherwise } => {
                self.values([*condition]);
                self.block(then);
                self.block(otherwise);
            }
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Int(_)
            | Op::Real(_)
            | Op::Bool(_)
            | Op::Word(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Threads
            | Op::Iota => {}
            Op::Address(buffer) => self.place(*buffer),
            Op::Unary(_, a) | Op::Convert(a) | Op::Round(_, a) | Op::Reduce(_, a) => self.values([*a]),
            Op::Binary(_, a, b) | Op::Compare(_, a, b) => self.values([*a, *b]),
            Op::Select(a, b, c) | Op::Contract { a, b, into: c } => self.values([*a, *b, *c]),
            Op::Load { buffer, index, guard, .. } => {
                self.access(*buffer, index);
                self.values(*guard);
            }
        }
    }

    fn access(&mut self, buffer: BufferId, index: &[ValueId]) {
        self.place(buffer);
        let nest = self.nest;
        self.values(nest.buffers[buffer].strides.iter().copied());
        self.values(index.iter().copied());
    }

    fn place(&mut self, buffer: BufferId) {
        match self.nest.buffers[buffer].place {
            Place::Input(_) | Place::Output(_) => {}
            Place::Workspace(offset) | Place::Scratch(offset) => self.values([offset]),
        }
    }
}
