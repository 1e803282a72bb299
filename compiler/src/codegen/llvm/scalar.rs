//! Operations on one register, whose elements are of a scalar.

use attnc_dsl::ast::{CompareOp, DType};
use inkwell::{FloatPredicate, IntPredicate};

use super::assembler::{Element, Opcode, Value, lanes_of};
use super::block::Emitter;
use super::tile::element;
use crate::codegen::formula::Formula;
use crate::codegen::integer_range;
use crate::codegen::math::Format;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::Scalar;

impl<'c> Emitter<'_, '_, 'c> {
    fn real(&self, like: Value<'c>, scalar: Scalar, x: f64) -> Value<'c> {
        self.asm.float(element(scalar), lanes_of(like), x)
    }

    fn whole(&self, like: Value<'c>, x: i64) -> Value<'c> {
        self.asm.int(Element::I64, lanes_of(like), x)
    }

    /// The value of a formula on registers of a real scalar.
    pub(super) fn formula(&self, formula: Formula, scalar: Scalar, args: &[Value<'c>]) -> Value<'c> {
        let format = match scalar {
            Scalar::F32 => Format::Single,
            Scalar::F64 => Format::Double,
            Scalar::I64 | Scalar::I32 | Scalar::Bool => unreachable!("{formula:?} of {}", scalar.name()),
        };
        self.unit.formula(formula, format, args)
    }

    /// An operation on a register.
    pub(super) fn unary(&self, op: UnaryOp, scalar: Scalar, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        match scalar {
            Scalar::Bool => return asm.not(x),
            Scalar::I64 | Scalar::I32 => return self.integer_unary(op, x),
            Scalar::F32 | Scalar::F64 => {}
        }
        let rounds = self.unit.machine.rounds;
        match op {
            UnaryOp::Neg => asm.fneg(x),
            UnaryOp::Abs => asm.function("llvm.fabs", &[x]),
            UnaryOp::Sqrt => asm.function("llvm.sqrt", &[x]),
            UnaryOp::Relu => {
                let zero = self.real(x, scalar, 0.0);
                asm.select(asm.fcmp(FloatPredicate::OLT, x, zero), zero, x)
            }
            UnaryOp::Sign => {
                let [minus, zero, one] = [-1.0, 0.0, 1.0].map(|it| self.real(x, scalar, it));
                let rest = asm.select(asm.fcmp(FloatPredicate::OGT, x, zero), one, x);
                asm.select(asm.fcmp(FloatPredicate::OLT, x, zero), minus, rest)
            }
            UnaryOp::Floor if rounds => asm.function("llvm.floor", &[x]),
            UnaryOp::Ceil if rounds => asm.function("llvm.ceil", &[x]),
            UnaryOp::Round if rounds => asm.function("llvm.roundeven", &[x]),
            UnaryOp::Trunc if rounds => asm.function("llvm.trunc", &[x]),
            UnaryOp::IsNan => asm.fcmp(FloatPredicate::UNO, x, x),
            UnaryOp::IsInf => {
                let infinity = self.real(x, scalar, f64::INFINITY);
                asm.fcmp(FloatPredicate::OEQ, asm.function("llvm.fabs", &[x]), infinity)
            }
            UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log1p
            | UnaryOp::Rsqrt
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Gelu
            | UnaryOp::Silu
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc => self.formula(Formula::Real(op), scalar, &[x]),
            UnaryOp::Not | UnaryOp::ToReal | UnaryOp::Ilog2 => unreachable!("{} of a real", op.name()),
        }
    }

    fn integer_unary(&self, op: UnaryOp, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        let flag = |it: bool| asm.int(Element::Bool, None, it.into());
        match op {
            UnaryOp::Neg => asm.binary(Opcode::Sub, self.whole(x, 0), x),
            UnaryOp::Abs => asm.function("llvm.abs", &[x, flag(false)]),
            UnaryOp::Relu => asm.function("llvm.smax", &[x, self.whole(x, 0)]),
            UnaryOp::Sign => {
                let above = asm.function("llvm.smax", &[x, self.whole(x, -1)]);
                asm.function("llvm.smin", &[above, self.whole(x, 1)])
            }
            UnaryOp::Ilog2 => {
                // A leading one is sought in `x | 1`, which has the logarithm of `x` but for 0, where it is 0.
                let positive = asm.function("llvm.smax", &[x, self.whole(x, 0)]);
                let odd = asm.binary(Opcode::Or, positive, self.whole(x, 1));
                let zeros = asm.function("llvm.ctlz", &[odd, flag(true)]);
                asm.binary(Opcode::Sub, self.whole(x, 63), zeros)
            }
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => x,
            UnaryOp::Not
            | UnaryOp::ToReal
            | UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Rsqrt
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Gelu
            | UnaryOp::Silu
            | UnaryOp::IsNan
            | UnaryOp::IsInf => unreachable!("{} of an integer", op.name()),
        }
    }

    /// An operation on two registers.
    pub(super) fn binary(&self, op: BinaryOp, scalar: Scalar, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        if matches!(scalar, Scalar::I64 | Scalar::I32) {
            return self.integer_binary(op, scalar, x, y);
        }
        let asm = self.asm;
        match op {
            BinaryOp::Add => asm.binary(Opcode::FAdd, x, y),
            BinaryOp::Sub => asm.binary(Opcode::FSub, x, y),
            BinaryOp::Mul => asm.binary(Opcode::FMul, x, y),
            BinaryOp::Div => asm.binary(Opcode::FDiv, x, y),
            BinaryOp::Min => asm.extreme("llvm.minimum", x, y),
            BinaryOp::Max => asm.extreme("llvm.maximum", x, y),
            BinaryOp::Pow => self.formula(Formula::Pow, scalar, &[x, y]),
            BinaryOp::And => asm.binary(Opcode::And, x, y),
            BinaryOp::Or => asm.binary(Opcode::Or, x, y),
            BinaryOp::FloorDiv
            | BinaryOp::Mod
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => unreachable!("`{}` of reals or bools", op.name()),
        }
    }

    fn integer_binary(&self, op: BinaryOp, scalar: Scalar, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        let count = || asm.binary(Opcode::And, y, self.whole(y, 63));
        match op {
            BinaryOp::Add => asm.binary(Opcode::Add, x, y),
            BinaryOp::Sub => asm.binary(Opcode::Sub, x, y),
            BinaryOp::Mul => asm.binary(Opcode::Mul, x, y),
            BinaryOp::Min => asm.function("llvm.smin", &[x, y]),
            BinaryOp::Max => asm.function("llvm.smax", &[x, y]),
            BinaryOp::BitAnd => asm.binary(Opcode::And, x, y),
            BinaryOp::BitOr => asm.binary(Opcode::Or, x, y),
            BinaryOp::BitXor => asm.binary(Opcode::Xor, x, y),
            BinaryOp::Shl => asm.binary(Opcode::Shl, x, count()),
            BinaryOp::Shr => asm.binary(Opcode::AShr, x, count()),
            BinaryOp::FloorDiv | BinaryOp::Mod => self.division(op, scalar, x, y),
            BinaryOp::Div | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => {
                unreachable!("`{}` of integers", op.name())
            }
        }
    }

    /// Quotient or remainder towards minus infinity; 0 for a divisor of 0.
    fn division(&self, op: BinaryOp, scalar: Scalar, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        if self.unit.machine.converts_long && lanes_of(x).is_some_and(|it| it > 1) && scalar == Scalar::I64 {
            return self.division_of_lanes(op, x, y);
        }
        let [zero, one] = [0, 1].map(|it| self.whole(x, it));
        // Undefined are a divisor of 0 and the least integer by -1.
        let shifted = asm.binary(Opcode::Add, y, one);
        let special = asm.icmp(IntPredicate::ULE, shifted, one);
        let divisor = asm.select(special, one, y);
        let quotient = asm.binary(Opcode::SDiv, x, divisor);
        let remainder = asm.binary(Opcode::SRem, x, divisor);
        let signs = asm.binary(Opcode::Xor, remainder, divisor);
        let differ = asm.icmp(IntPredicate::SLT, signs, zero);
        let inexact = asm.icmp(IntPredicate::NE, remainder, zero);
        let below = asm.binary(Opcode::And, differ, inexact);
        if op == BinaryOp::Mod {
            return asm.select(below, asm.binary(Opcode::Add, remainder, divisor), remainder);
        }
        let floor = asm.select(below, asm.binary(Opcode::Sub, quotient, one), quotient);
        // A quotient by 0 or -1 is the dividend times the divisor.
        asm.select(special, asm.binary(Opcode::Mul, x, y), floor)
    }

    /// The same for vectors, of which no machine divides integers: the quotient in f64 is near, that of what it leaves is
    /// off by less than one, whatever the integers.
    fn division_of_lanes(&self, op: BinaryOp, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        let [zero, one, two] = [0, 1, 2].map(|it| self.whole(x, it));
        // A quotient by -1, 0 or 1 is the dividend times the divisor, and might be beyond what is converted.
        let shifted = asm.binary(Opcode::Add, y, one);
        let special = asm.icmp(IntPredicate::ULE, shifted, two);
        let divisor = asm.select(special, two, y);
        let inverse = {
            let real = asm.cast(Opcode::SIToFP, divisor, Element::F64);
            asm.binary(Opcode::FDiv, self.real(real, Scalar::F64, 1.0), real)
        };
        let (mut quotient, mut rest) = (zero, x);
        for _ in 0..2 {
            let real = asm.cast(Opcode::SIToFP, rest, Element::F64);
            let near = asm.function("llvm.rint", &[asm.binary(Opcode::FMul, real, inverse)]);
            let more = asm.cast(Opcode::FPToSI, near, Element::I64);
            quotient = asm.binary(Opcode::Add, quotient, more);
            rest = asm.binary(Opcode::Sub, rest, asm.binary(Opcode::Mul, more, divisor));
        }
        // What is left lies between half a divisor on either side of 0; it has to have the divisor's sign.
        let signs = asm.icmp(IntPredicate::SLT, asm.binary(Opcode::Xor, rest, divisor), zero);
        let inexact = asm.icmp(IntPredicate::NE, rest, zero);
        let below = asm.binary(Opcode::And, signs, inexact);
        if op == BinaryOp::Mod {
            let remainder = asm.select(below, asm.binary(Opcode::Add, rest, divisor), rest);
            return asm.select(special, zero, remainder);
        }
        let floor = asm.select(below, asm.binary(Opcode::Sub, quotient, one), quotient);
        asm.select(special, asm.binary(Opcode::Mul, x, y), floor)
    }

    /// A comparison of registers.
    pub(super) fn compare(&self, op: CompareOp, scalar: Scalar, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        let (float, signed, unsigned) = match op {
            CompareOp::Eq => (FloatPredicate::OEQ, IntPredicate::EQ, IntPredicate::EQ),
            CompareOp::Ne => (FloatPredicate::UNE, IntPredicate::NE, IntPredicate::NE),
            CompareOp::Lt => (FloatPredicate::OLT, IntPredicate::SLT, IntPredicate::ULT),
            CompareOp::Le => (FloatPredicate::OLE, IntPredicate::SLE, IntPredicate::ULE),
            CompareOp::Gt => (FloatPredicate::OGT, IntPredicate::SGT, IntPredicate::UGT),
            CompareOp::Ge => (FloatPredicate::OGE, IntPredicate::SGE, IntPredicate::UGE),
        };
        match scalar {
            Scalar::F64 | Scalar::F32 => self.asm.fcmp(float, x, y),
            Scalar::I64 | Scalar::I32 => self.asm.icmp(signed, x, y),
            Scalar::Bool => self.asm.icmp(unsigned, x, y),
        }
    }

    /// The value of one scalar in another.
    pub(super) fn convert(&self, from: Scalar, to: Scalar, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        match (from, to) {
            (Scalar::F32, Scalar::F64) => asm.cast(Opcode::FPExt, x, Element::F64),
            (Scalar::F64, Scalar::F32) => asm.cast(Opcode::FPTrunc, x, Element::F32),
            (Scalar::I64, Scalar::F32 | Scalar::F64) => {
                // Vectors of 32 bits are converted twice as fast, and without the instructions of a later AVX-512.
                let x = asm.not_widened(x).unwrap_or(x);
                asm.cast(Opcode::SIToFP, x, element(to))
            }
            (Scalar::Bool, Scalar::F32 | Scalar::F64) => asm.cast(Opcode::UIToFP, x, element(to)),
            (Scalar::Bool, Scalar::I64) => asm.cast(Opcode::ZExt, x, Element::I64),
            (Scalar::I64, Scalar::Bool) => asm.icmp(IntPredicate::NE, x, self.whole(x, 0)),
            (Scalar::F32 | Scalar::F64, Scalar::Bool) => {
                asm.fcmp(FloatPredicate::UNE, x, self.real(x, from, 0.0))
            }
            (Scalar::F32 | Scalar::F64, Scalar::I64) => {
                let near = self.unary(UnaryOp::Round, from, x);
                let types = [asm.ty(Element::I64, lanes_of(x)), x.get_type()];
                asm.intrinsic("llvm.fptosi.sat", &types, &[near])
            }
            (Scalar::I32, Scalar::F32 | Scalar::F64) => asm.cast(Opcode::SIToFP, x, element(to)),
            // What is loaded as words lies in memory as that.
            (Scalar::I64, Scalar::I32) => asm.not_widened(x).expect("words are loaded as such"),
            (Scalar::I32, Scalar::I64 | Scalar::Bool)
            | (Scalar::F32 | Scalar::F64 | Scalar::Bool, Scalar::I32) => {
                unreachable!("words are packed, and their sums become reals")
            }
            (Scalar::F32, Scalar::F32)
            | (Scalar::F64, Scalar::F64)
            | (Scalar::I64, Scalar::I64)
            | (Scalar::I32, Scalar::I32)
            | (Scalar::Bool, Scalar::Bool) => x,
        }
    }

    /// The value as a dtype stores it.
    pub(super) fn round_to(&self, dtype: DType, scalar: Scalar, x: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        if let Some((least, greatest)) = integer_range(dtype) {
            let above = asm.function("llvm.smax", &[x, self.whole(x, least)]);
            return asm.function("llvm.smin", &[above, self.whole(x, greatest)]);
        }
        match dtype {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let bits = self.formula(Formula::Encode(dtype), scalar, &[x]);
                self.formula(Formula::Decode(dtype), scalar, &[bits])
            }
            DType::F32 if scalar == Scalar::F64 => {
                let single = asm.cast(Opcode::FPTrunc, x, Element::F32);
                asm.cast(Opcode::FPExt, single, Element::F64)
            }
            DType::F64
            | DType::F32
            | DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U8
            | DType::I4
            | DType::Bool => x,
        }
    }
}
