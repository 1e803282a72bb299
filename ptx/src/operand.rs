//! Making operands from what code generators have at hand.

use crate::modifier::special::Special;
use crate::module::{Address, Base, Label, Operand, ParamId, Reg, VarId};

/// Operands of an instruction: `args![d, a, 3, -1.0f32]`.
#[macro_export]
macro_rules! args {
    ($($operand:expr),* $(,)?) => { ::std::vec![$($crate::Operand::from($operand)),*] };
}

/// Implements `From` by a function for each type.
macro_rules! from {
    ($($source:ty => $make:expr),+ $(,)?) => { $(
        impl From<$source> for Operand {
            fn from(value: $source) -> Operand {
                let make: fn($source) -> Operand = $make;
                make(value)
            }
        }
    )+ };
}

from! {
    Reg => Operand::Reg,
    i32 => |value| Operand::Int(value.into()),
    u32 => |value| Operand::Int(value.into()),
    i64 => Operand::Int,
    u64 => |value| Operand::Int(value.cast_signed()),
    f32 => |value| Operand::F32(value.to_bits()),
    f64 => |value| Operand::F64(value.to_bits()),
    Special => Operand::Special,
    VarId => Operand::Var,
    ParamId => Operand::Param,
    Label => Operand::Label,
    Address => Operand::Address,
    &[Reg] => |regs| Operand::Vector(regs.iter().copied().map(Operand::Reg).collect()),
    &Vec<Reg> => |regs| regs.as_slice().into(),
    Vec<Operand> => Operand::Vector,
    &Operand => Operand::clone,
}

impl<const N: usize> From<[Reg; N]> for Operand {
    fn from(regs: [Reg; N]) -> Operand {
        regs.as_slice().into()
    }
}

/// The place that a register, variable or parameter gives.
pub fn at(base: impl Into<Base>) -> Address {
    Address { base: base.into(), offset: 0 }
}

impl Address {
    /// So many bytes further on.
    pub fn plus(self, bytes: i32) -> Address {
        Address { offset: self.offset + bytes, ..self }
    }
}

impl Base {
    /// The base that an operand without brackets would be.
    pub(crate) fn of(operand: &Operand) -> Option<Base> {
        match operand {
            Operand::Reg(reg) => Some(Base::Reg(*reg)),
            Operand::Var(var) => Some(Base::Var(*var)),
            Operand::Param(param) => Some(Base::Param(*param)),
            Operand::Int(_)
            | Operand::F32(_)
            | Operand::F64(_)
            | Operand::Special(_)
            | Operand::Sink
            | Operand::Label(_)
            | Operand::Vector(_)
            | Operand::Address(_)
            | Operand::Tensor(..) => None,
        }
    }
}

impl From<Reg> for Base {
    fn from(reg: Reg) -> Base {
        Base::Reg(reg)
    }
}

impl From<VarId> for Base {
    fn from(var: VarId) -> Base {
        Base::Var(var)
    }
}

impl From<ParamId> for Base {
    fn from(param: ParamId) -> Base {
        Base::Param(param)
    }
}
