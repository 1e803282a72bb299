//! Values that stay where they are computed.
//!
//! Cranelift computes what is cheap again where it is used, and with it everything that is made of it: an extent or an
//! address that a stage needs in its innermost loop would be derived there from the arguments of the call. A trip
//! through memory, as a float, which it does not see through, keeps it at the beginning of the function.

use std::collections::BTreeSet;

use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value};

use super::block::Emitter;
use crate::codegen::uses::Uses;
use crate::ir::nest::{Op, Scalar, Stmt, ValueId};

impl<'a> Emitter<'a, '_, '_> {
    /// The values of the prologue that are needed; integers that depend on the call are computed once.
    pub(super) fn pinned_prologue(&mut self, uses: &Uses<'a>) {
        let mut constants: BTreeSet<ValueId> = BTreeSet::new();
        for stmt in uses.prologue() {
            self.stmt(stmt);
            let Stmt::Let(value, op) = stmt else { continue };
            let ty = &self.nest.values[*value];
            if op.operands().iter().all(|it| constants.contains(it)) && !matches!(op, Op::Word(_)) {
                constants.insert(*value);
            } else if ty.scalar == Scalar::I64 && ty.shape.is_empty() {
                let pinned = self.pinned(self.scalar(*value));
                self.define_scalar(*value, pinned);
            }
        }
    }

    /// The same value, computed here.
    pub(super) fn pinned(&mut self, value: Value) -> Value {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let slot = self.builder.create_sized_stack_slot(slot);
        let float = self.builder.ins().bitcast(F64, MemFlagsData::new(), value);
        self.builder.ins().stack_store(I64, float, slot, 0);
        self.builder.ins().stack_load(I64, I64, slot, 0)
    }
}
