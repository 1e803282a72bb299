//! What instructions compute with: registers, and numbers that are known when the kernel is written.

use attnc_ptx::types::{RegType, Scalar as Type};
use attnc_ptx::{Operand, Reg};

use crate::ir::nest::Scalar;

/// A register, or a number that is known. Those of floats are their bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Reg(Reg),
    F32(u32),
    F64(u64),
    Int(i64),
    Bool(bool),
}

impl Value {
    /// A real number as a register of that scalar holds it.
    pub(super) fn real(scalar: Scalar, x: f64) -> Value {
        match scalar {
            Scalar::F32 => Value::F32((x as f32).to_bits()),
            Scalar::F64 => Value::F64(x.to_bits()),
            Scalar::I64 | Scalar::I32 | Scalar::Bool => unreachable!("{} holds no reals", scalar.name()),
        }
    }

    /// The integer that it is known to be.
    pub(super) fn int(self) -> Option<i64> {
        if let Value::Int(it) = self { Some(it) } else { None }
    }

    /// The truth value that it is known to be.
    pub(super) fn bool(self) -> Option<bool> {
        if let Value::Bool(it) = self { Some(it) } else { None }
    }
}

impl From<Value> for Operand {
    fn from(value: Value) -> Operand {
        match value {
            Value::Reg(it) => it.into(),
            Value::F32(bits) => Operand::F32(bits),
            Value::F64(bits) => Operand::F64(bits),
            Value::Int(it) => it.into(),
            Value::Bool(it) => unreachable!("no instruction takes {it} as it stands"),
        }
    }
}

/// The register of an element.
pub(super) fn register(scalar: Scalar) -> RegType {
    match scalar {
        Scalar::F64 => RegType::F64,
        Scalar::F32 => RegType::F32,
        Scalar::I64 => RegType::B64,
        Scalar::I32 => RegType::B32,
        Scalar::Bool => RegType::Pred,
    }
}

/// The type in which registers of a kind are moved; predicates have an instruction of their own.
pub(super) fn moved_as(register: RegType) -> Option<Type> {
    match register {
        RegType::Pred => None,
        RegType::B16 => Some(Type::B16),
        RegType::B32 => Some(Type::B32),
        RegType::B64 => Some(Type::B64),
        RegType::F32 => Some(Type::F32),
        RegType::F64 => Some(Type::F64),
    }
}
