//! Elements as they lie in memory to scalars, and back.

use attnc_dsl::ast::DType;
use inkwell::IntPredicate;

use super::assembler::{Element, Opcode, Value, lanes_of};
use super::block::Emitter;
use crate::codegen::formula::Formula;
use crate::ir::nest::Scalar;

/// What lies in memory.
pub(super) fn stored(dtype: DType) -> Element {
    match dtype {
        DType::F64 => Element::F64,
        DType::F32 => Element::F32,
        DType::I64 => Element::I64,
        DType::I32 => Element::I32,
        DType::F16 | DType::BF16 | DType::I16 => Element::I16,
        DType::F8E4M3 | DType::F8E5M2 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => Element::I8,
    }
}

impl<'c> Emitter<'_, '_, 'c> {
    /// What lies in memory as the scalar that its dtype is computed with.
    pub(super) fn widened(&self, dtype: DType, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        match dtype {
            DType::F64 | DType::F32 | DType::I64 => x,
            DType::F16 if self.unit.machine.halves => {
                asm.cast(Opcode::FPExt, asm.cast(Opcode::BitCast, x, Element::F16), Element::F32)
            }
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let bits = asm.cast(Opcode::ZExt, x, Element::I32);
                self.formula(Formula::Decode(dtype), Scalar::F32, &[bits])
            }
            DType::I32 | DType::I16 | DType::I8 => asm.cast(Opcode::SExt, x, Element::I64),
            DType::U8 => asm.cast(Opcode::ZExt, x, Element::I64),
            DType::I4 => {
                let four = asm.int(Element::I8, lanes_of(x), 4);
                let top = asm.binary(Opcode::Shl, x, four);
                asm.cast(Opcode::SExt, asm.binary(Opcode::AShr, top, four), Element::I64)
            }
            DType::Bool => asm.icmp(IntPredicate::NE, x, asm.int(Element::I8, lanes_of(x), 0)),
        }
    }

    /// A scalar as it lies in memory.
    pub(super) fn narrowed(&self, dtype: DType, scalar: Scalar, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        match dtype {
            DType::F64 | DType::F32 => self.convert(scalar, Scalar::of(dtype), x),
            DType::F16 if self.unit.machine.halves && scalar == Scalar::F32 => {
                asm.cast(Opcode::BitCast, asm.cast(Opcode::FPTrunc, x, Element::F16), Element::I16)
            }
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let bits = self.formula(Formula::Encode(dtype), scalar, &[x]);
                asm.cast(Opcode::Trunc, bits, stored(dtype))
            }
            DType::I64 => x,
            DType::I32 if scalar == Scalar::I32 => x,
            DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 => {
                asm.cast(Opcode::Trunc, self.round_to(dtype, scalar, x), stored(dtype))
            }
            DType::Bool => asm.cast(Opcode::ZExt, x, Element::I8),
        }
    }
}
