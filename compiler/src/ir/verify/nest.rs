//! The invariants of a nest: values are defined once, where their uses see them, and types fit.

mod types;

use super::Broken;
use crate::ir::nest::{Block, BufferId, Checks, Loop, Nest, Op, Place, Scalar, Stmt, TileDim, ValueId, Word};

/// Every invariant holds, or those that do not.
pub fn nest(nest: &Nest) -> Result<(), Broken> {
    let n_values = nest.values.len();
    let mut scope = Scope {
        nest,
        defined: vec![false; n_values],
        visible: vec![false; n_values],
        trail: Vec::new(),
        at: String::new(),
        broken: Broken::default(),
    };
    scope.enter("prologue".to_owned());
    scope.unguarded(&nest.prologue);
    scope.scalar_ints(&nest.extents);
    scope.scalar_ints(&[nest.workspace, nest.shared, nest.scratch]);
    scope.buffers();
    for default in &nest.defaults {
        scope.enter(format!("default of parameter {}", default.param));
        scope.nested(|scope| {
            scope.unguarded(&default.block);
            scope.sees(&[default.value]);
        });
    }
    scope.checks("check of extents", &nest.extent_checks);
    scope.checks("check of the call", &nest.call_checks);
    for (idx, stage) in nest.stages.iter().enumerate() {
        scope.enter(format!("stage {idx}"));
        scope.scalar_ints(&[stage.tasks]);
        scope.nested(|scope| {
            scope.define(stage.task);
            scope.scalar_ints(&[stage.task]);
            scope.block(&stage.body);
        });
    }
    scope.broken.verdict()
}

/// What may be used at the statement at hand.
struct Scope<'a> {
    nest: &'a Nest,
    /// By value: it has its definition.
    defined: Vec<bool>,
    /// By value: it is defined before, in this block or one around it.
    visible: Vec<bool>,
    /// What is visible, in order of definition.
    trail: Vec<ValueId>,
    /// Where the statement is.
    at: String,
    broken: Broken,
}

impl Scope<'_> {
    fn enter(&mut self, at: String) {
        self.at = at;
    }

    fn expect(&mut self, holds: bool, invariant: &str) {
        self.broken.expect(holds, &self.at, invariant);
    }

    fn expect_of(&mut self, holds: bool, id: ValueId, invariant: &str) {
        self.broken.expect(holds, &format!("{}, %{}", self.at, id.idx()), invariant);
    }

    /// What is defined inside is not seen behind.
    fn nested(&mut self, inside: impl FnOnce(&mut Self)) {
        let before = self.trail.len();
        inside(self);
        for id in self.trail.drain(before..) {
            self.visible[id.idx()] = false;
        }
    }

    fn define(&mut self, id: ValueId) {
        let fresh = !std::mem::replace(&mut self.defined[id.idx()], true);
        self.expect_of(fresh, id, "a value is defined once");
        self.visible[id.idx()] = true;
        self.trail.push(id);
    }

    fn sees(&mut self, ids: &[ValueId]) {
        for &id in ids {
            let visible = self.visible[id.idx()];
            self.expect_of(visible, id, "a value is defined before it is used, in this block or around it");
        }
    }

    fn scalar(&self, id: ValueId) -> Scalar {
        self.nest.values[id].scalar
    }

    fn shape(&self, id: ValueId) -> &[TileDim] {
        &self.nest.values[id].shape
    }

    fn scalar_ints(&mut self, ids: &[ValueId]) {
        self.sees(ids);
        for &id in ids {
            let holds = self.scalar(id) == Scalar::I64 && self.shape(id).is_empty();
            self.expect_of(holds, id, "an extent, a size or the bound of a loop is an integer");
        }
    }

    fn conditions(&mut self, ids: &[ValueId]) {
        self.sees(ids);
        for &id in ids {
            let holds = self.scalar(id) == Scalar::Bool && self.shape(id).is_empty();
            self.expect_of(holds, id, "a condition is a bool");
        }
    }

    /// A block that runs before anything is checked.
    fn unguarded(&mut self, block: &Block) {
        for stmt in &block.stmts {
            let holds = matches!(stmt, Stmt::Let(_, op) if !matches!(op, Op::Load { .. }));
            self.expect(holds, "what runs before the stages defines values and reads no memory");
        }
        self.block(block);
    }

    fn checks(&mut self, at: &str, checks: &Checks) {
        self.enter(at.to_owned());
        self.nested(|scope| {
            scope.unguarded(&checks.block);
            for (condition, _) in &checks.faults {
                scope.conditions(&[*condition]);
            }
        });
    }

    fn buffers(&mut self) {
        for (id, buffer) in self.nest.buffers.iter() {
            self.enter(format!("buffer {}", buffer.name));
            self.scalar_ints(&buffer.extents);
            self.scalar_ints(&buffer.strides);
            self.expect(buffer.extents.len() == buffer.strides.len(), "each dimension has a stride");
            match buffer.place {
                Place::Workspace(offset) | Place::Scratch(offset) => self.scalar_ints(&[offset]),
                Place::Input(word) | Place::Output(word) => {
                    let holds = self.nest.words.get(word as usize) == Some(&Word::Data(id));
                    self.expect(holds, "its address is in the word that says so");
                }
            }
        }
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(id, op) => {
                    self.check_op(*id, op);
                    self.define(*id);
                }
                Stmt::Store { buffer, index, value, guard, .. } => {
                    self.check_store(*buffer, index, *value, *guard);
                }
                Stmt::Loop(it) => self.check_loop(it),
                Stmt::If { condition, then, otherwise } => {
                    self.conditions(&[*condition]);
                    self.nested(|scope| scope.block(then));
                    self.nested(|scope| scope.block(otherwise));
                }
            }
        }
    }

    fn check_loop(&mut self, it: &Loop) {
        self.scalar_ints(&[it.from, it.to]);
        self.expect(it.step > 0, "a loop goes forward");
        for carried in &it.carried {
            self.sees(&[carried.init]);
        }
        self.nested(|scope| {
            scope.define(it.index);
            scope.scalar_ints(&[it.index]);
            it.carried.iter().for_each(|carried| scope.define(carried.current));
            scope.block(&it.body);
            it.carried.iter().for_each(|carried| scope.sees(&[carried.next]));
        });
        for carried in &it.carried {
            let of = |id: ValueId| &self.nest.values[id];
            let init = of(carried.init);
            let one_type = [carried.current, carried.next, carried.result].iter().all(|&it| of(it) == init);
            self.expect_of(one_type, carried.current, "what a loop carries keeps its type");
            self.define(carried.result);
        }
    }

    fn check_store(&mut self, id: BufferId, index: &[ValueId], value: ValueId, guard: Option<ValueId>) {
        let buffer = &self.nest.buffers[id];
        self.check_access(id, index, guard);
        self.sees(&[value]);
        let writable = !matches!(buffer.place, Place::Input(_));
        self.expect(writable, &format!("input `{}` is not written", buffer.name));
        let fits = types::kind(self.scalar(value)) == buffer.dtype.kind();
        self.expect_of(fits, value, &format!("`{}` stores values of that kind", buffer.name));
        let addressed = |dim: &TileDim| index.iter().any(|&it| self.shape(it).contains(dim));
        let apart = self.shape(value).iter().all(addressed);
        self.expect_of(apart, value, "each element is stored at coordinates of its own");
    }

    fn check_access(&mut self, id: BufferId, index: &[ValueId], guard: Option<ValueId>) {
        let buffer = &self.nest.buffers[id];
        self.sees(index);
        let as_many = format!("`{}` takes a coordinate for each dimension", buffer.name);
        self.expect(index.len() == buffer.extents.len(), &as_many);
        let are_ints = index.iter().all(|&it| self.scalar(it) == Scalar::I64);
        self.expect(are_ints, &format!("the coordinates of `{}` are integers", buffer.name));
        if let Some(guard) = guard {
            self.sees(&[guard]);
            let is_bool = self.scalar(guard) == Scalar::Bool;
            self.expect_of(is_bool, guard, "a guard is a bool");
        }
    }
}
