//! Which values of the prologue, and which buffers, each function of a kernel needs.

use crate::ir::nest::{Block, BufferId, Checks, Nest, Op, Place, Stage, Stmt, ValueId};

/// Marks of what is needed.
pub(super) struct Uses<'a> {
    nest: &'a Nest,
    values: Vec<bool>,
    buffers: Vec<bool>,
    /// What branches need counts, too.
    branches: bool,
}

impl<'a> Uses<'a> {
    /// What `bind` needs: the extents, their checks and the defaults.
    pub(super) fn by_bind(nest: &'a Nest) -> Uses<'a> {
        Uses::of(nest, |uses| {
            uses.checks(&nest.extent_checks);
            uses.take(nest.extents.iter().copied());
            for default in &nest.defaults {
                uses.block(&default.block);
                uses.take([default.value]);
            }
        })
    }

    /// What `workspace` needs: its size.
    pub(super) fn by_workspace(nest: &'a Nest) -> Uses<'a> {
        Uses::of(nest, |uses| uses.take([nest.workspace]))
    }

    /// What `check` needs: all checks.
    pub(super) fn by_check(nest: &'a Nest) -> Uses<'a> {
        Uses::of(nest, |uses| {
            uses.checks(&nest.extent_checks);
            uses.checks(&nest.call_checks);
        })
    }

    /// What `tasks` needs: the number of tasks of each stage.
    pub(super) fn by_tasks(nest: &'a Nest) -> Uses<'a> {
        Uses::of(nest, |uses| uses.take(nest.stages.iter().map(|it| it.tasks)))
    }

    /// What a stage needs: what its body reads, and where scratch lies.
    pub(super) fn by_stage(nest: &'a Nest, stage: &Stage) -> Uses<'a> {
        Uses::of(nest, |uses| {
            uses.block(&stage.body);
            uses.take([nest.shared, nest.scratch]);
        })
    }

    /// What a stage without scratch needs, but for what only branches do.
    pub(super) fn outside_branches(nest: &'a Nest, stage: &Stage) -> Uses<'a> {
        Uses::of(nest, |uses| {
            uses.branches = false;
            uses.block(&stage.body);
        })
    }

    /// What a block needs.
    pub(super) fn by_block(nest: &'a Nest, block: &Block) -> Uses<'a> {
        Uses::of(nest, |uses| uses.block(block))
    }

    /// What a block itself names, without what that is computed of.
    #[cfg(feature = "llvm")]
    pub(super) fn named(nest: &'a Nest, block: &Block) -> Uses<'a> {
        let mut uses = Uses::nothing(nest);
        uses.block(block);
        uses
    }

    fn nothing(nest: &'a Nest) -> Uses<'a> {
        let (values, buffers) = (vec![false; nest.values.len()], vec![false; nest.buffers.len()]);
        Uses { nest, values, buffers, branches: true }
    }

    fn of(nest: &'a Nest, needs: impl FnOnce(&mut Uses<'a>)) -> Uses<'a> {
        let mut uses = Uses::nothing(nest);
        needs(&mut uses);
        uses.close();
        uses
    }

    /// The statements of the prologue that are needed.
    pub(super) fn prologue(&self) -> impl Iterator<Item = &'a Stmt> {
        self.nest.prologue.stmts.iter().filter(|stmt| match stmt {
            Stmt::Let(value, _) => self.values[value.idx()],
            Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => unreachable!("a prologue only defines"),
        })
    }

    /// All values that are needed.
    #[cfg(feature = "llvm")]
    pub(super) fn values(&self) -> impl Iterator<Item = ValueId> {
        self.nest.values.ids().filter(|it| self.values[it.idx()])
    }

    /// The buffers that are read or written or whose address is asked for.
    #[cfg(feature = "llvm")]
    pub(super) fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.nest.buffers.ids().filter(|it| self.buffers[it.idx()])
    }

    fn take(&mut self, values: impl IntoIterator<Item = ValueId>) {
        for value in values {
            self.values[value.idx()] = true;
        }
    }

    fn block(&mut self, block: &Block) {
        block.stmts.iter().for_each(|it| self.stmt(it));
    }

    fn checks(&mut self, checks: &Checks) {
        self.block(&checks.block);
        self.take(checks.faults.iter().map(|(condition, _)| *condition));
    }

    /// Needs what the needed values of the prologue are computed from.
    fn close(&mut self) {
        let nest = self.nest;
        for stmt in nest.prologue.stmts.iter().rev() {
            match stmt {
                Stmt::Let(value, op) if self.values[value.idx()] => self.op(op),
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
                self.take([*value]);
                self.take(*guard);
            }
            Stmt::Loop(it) => {
                self.take([it.from, it.to]);
                self.take(it.carried.iter().flat_map(|it| [it.init, it.next]));
                self.block(&it.body);
            }
            Stmt::If { condition, then, otherwise } => {
                self.take([*condition]);
                if self.branches {
                    self.block(then);
                    self.block(otherwise);
                }
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn op(&mut self, op: &Op) {
        match op {
            Op::Address(buffer) => self.place(*buffer),
            Op::Load { buffer, index, guard, .. } => {
                self.access(*buffer, index);
                self.take(*guard);
            }
            other => self.take(other.operands()),
        }
    }

    fn access(&mut self, buffer: BufferId, index: &[ValueId]) {
        self.place(buffer);
        let nest = self.nest;
        self.take(nest.buffers[buffer].strides.iter().copied());
        self.take(index.iter().copied());
    }

    fn place(&mut self, buffer: BufferId) {
        self.buffers[buffer.idx()] = true;
        match self.nest.buffers[buffer].place {
            Place::Input(_) | Place::Output(_) => {}
            Place::Workspace(offset) | Place::Scratch(offset) => self.take([offset]),
        }
    }
}
