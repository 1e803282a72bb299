//! The floating-point mode of the thread that runs tasks: results below the least normal number become 0 while stages
//! run, and what the caller had set comes back after them.
//!
//! On x86-64 an operation on a subnormal number takes a hundred times as long as on others, and powers of scores that
//! are far below their maximum are such numbers. Only results are flushed: what a caller hands over is read as it is,
//! so a subnormal element times infinity stays infinite. Other architectures take subnormal numbers in their stride, so
//! their mode is left alone.

use inkwell::values::PointerValue;

use super::assembler::{Element, Opcode};
use super::unit::Unit;

/// The bit of MXCSR by which subnormal results become 0.
const FLUSH_TO_ZERO: i64 = 1 << 15;

/// Room for the caller's mode and for that of stages; there is none where nothing is changed.
pub(super) struct Mode<'u, 'c> {
    unit: &'u Unit<'c>,
    room: Option<[PointerValue<'c>; 2]>,
}

impl<'u, 'c> Mode<'u, 'c> {
    /// At the beginning of a function.
    pub(super) fn new(unit: &'u Unit<'c>) -> Mode<'u, 'c> {
        let room = |name| unit.asm.builder.build_alloca(unit.asm.context.i32_type(), name);
        let both = || ["mode", "flushing"].map(|it| room(it).expect("there is room in the frame"));
        Mode { unit, room: unit.machine.flushes.then(both) }
    }

    /// From here on subnormal results become 0.
    pub(super) fn flush(&self) {
        let Some([before, now]) = self.room else { return };
        let asm = &self.unit.asm;
        asm.effect("llvm.x86.sse.stmxcsr", before);
        let old = asm.load(asm.ty(Element::I32, None), before, 4);
        let new = asm.binary(Opcode::Or, old, asm.int(Element::I32, None, FLUSH_TO_ZERO));
        asm.store(now, new, 4);
        asm.effect("llvm.x86.sse.ldmxcsr", now);
    }

    /// The mode is again what it was.
    pub(super) fn restore(&self) {
        if let Some([before, _]) = self.room {
            self.unit.asm.effect("llvm.x86.sse.ldmxcsr", before);
        }
    }
}
