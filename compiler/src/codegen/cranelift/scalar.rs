//! Operations on one register: an element, or the elements of a vector.

use attnc_dsl::ast::{CompareOp, DType};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::arith::{choose, float_const, not};
use super::block::Emitter;
use super::tile::Form;
use crate::codegen::formula::Formula;
use crate::codegen::integer_range;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::Scalar;

impl Emitter<'_, '_, '_> {
    /// An operation on a register of that type.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn unary(&mut self, op: UnaryOp, ty: Type, x: Value) -> Value {
        if ty.is_int() && op != UnaryOp::Not {
            return self.integer_unary(op, x);
        }
        let rounds = self.linker.rounds();
        let builder = &mut self.builder;
        match op {
            UnaryOp::Not => not(builder, x),
            UnaryOp::Neg => builder.ins().fneg(x),
            UnaryOp::Abs => builder.ins().fabs(x),
            UnaryOp::Sqrt => builder.ins().sqrt(x),
            UnaryOp::Relu => {
                let zero = float_const(builder, ty, 0.0);
                let negative = builder.ins().fcmp(FloatCC::LessThan, x, zero);
                choose(builder, negative, zero, x)
            }
            UnaryOp::Sign => {
                let [minus, zero, one] = [-1.0, 0.0, 1.0].map(|it| float_const(builder, ty, it));
                let negative = builder.ins().fcmp(FloatCC::LessThan, x, zero);
                let positive = builder.ins().fcmp(FloatCC::GreaterThan, x, zero);
                let rest = choose(builder, positive, one, x);
                choose(builder, negative, minus, rest)
            }
            UnaryOp::Floor if rounds => builder.ins().floor(x),
            UnaryOp::Ceil if rounds => builder.ins().ceil(x),
            UnaryOp::Round if rounds => builder.ins().nearest(x),
            UnaryOp::Trunc if rounds => builder.ins().trunc(x),
            UnaryOp::IsNan => builder.ins().fcmp(FloatCC::Unordered, x, x),
            UnaryOp::IsInf => {
                let infinity = float_const(builder, ty, f64::INFINITY);
                let magnitude = builder.ins().fabs(x);
                builder.ins().fcmp(FloatCC::Equal, magnitude, infinity)
            }
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => {
                self.formula(Formula::Real(op), ty, &[x])
            }
            op if op.is_real_function() => self.formula(Formula::Real(op), ty, &[x]),
            _ => unreachable!("{} of a real", op.name()),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn integer_unary(&mut self, op: UnaryOp, x: Value) -> Value {
        let ins = self.builder.ins();
        match op {
            UnaryOp::Neg => ins.ineg(x),
            UnaryOp::Abs => ins.iabs(x),
            UnaryOp::Relu => {
                let zero = ins.iconst(I64, 0);
                self.builder.ins().smax(x, zero)
            }
            UnaryOp::Sign => {
                let [low, high] = [-1, 1].map(|it| self.builder.ins().iconst(I64, it));
                let clamped = self.builder.ins().smax(x, low);
                self.builder.ins().smin(clamped, high)
            }
            UnaryOp::Ilog2 => {
                // A leading one is sought in `x | 1`, which has the logarithm of `x` but for 0, where it is 0.
                let positive = self.integer_unary(UnaryOp::Relu, x);
                let odd = self.builder.ins().bor_imm_u(positive, 1);
                let zeros = self.builder.ins().clz(odd);
                let top = self.builder.ins().iconst(I64, 63);
                self.builder.ins().isub(top, zeros)
            }
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => x,
            _ => unreachable!("{} of an integer", op.name()),
        }
    }

    /// An operation on two registers of that type.
    pub(super) fn binary(&mut self, op: BinaryOp, ty: Type, x: Value, y: Value) -> Value {
        if ty == I64 {
            return self.integer_binary(op, x, y);
        }
        let ins = self.builder.ins();
        match op {
            BinaryOp::Add => ins.fadd(x, y),
            BinaryOp::Sub => ins.fsub(x, y),
            BinaryOp::Mul => ins.fmul(x, y),
            BinaryOp::Div => ins.fdiv(x, y),
            BinaryOp::Min => ins.fmin(x, y),
            BinaryOp::Max => ins.fmax(x, y),
            BinaryOp::Pow => self.formula(Formula::Pow, ty, &[x, y]),
            BinaryOp::And => ins.band(x, y),
            BinaryOp::Or => ins.bor(x, y),
            BinaryOp::FloorDiv
            | BinaryOp::Mod
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => unreachable!("`{}` of reals or bools", op.name()),
        }
    }

    fn integer_binary(&mut self, op: BinaryOp, x: Value, y: Value) -> Value {
        let ins = self.builder.ins();
        match op {
            BinaryOp::Add => ins.iadd(x, y),
            BinaryOp::Sub => ins.isub(x, y),
            BinaryOp::Mul => ins.imul(x, y),
            BinaryOp::Min => ins.smin(x, y),
            BinaryOp::Max => ins.smax(x, y),
            BinaryOp::BitAnd => ins.band(x, y),
            BinaryOp::BitOr => ins.bor(x, y),
            BinaryOp::BitXor => ins.bxor(x, y),
            BinaryOp::Shl => ins.ishl(x, y),
            BinaryOp::Shr => ins.sshr(x, y),
            BinaryOp::FloorDiv | BinaryOp::Mod => self.division(op, x, y),
            BinaryOp::Div | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => {
                unreachable!("`{}` of integers", op.name())
            }
        }
    }

    /// Quotient or remainder towards minus infinity; 0 for a divisor of 0.
    fn division(&mut self, op: BinaryOp, x: Value, y: Value) -> Value {
        let builder = &mut self.builder;
        let [zero, one] = [0, 1].map(|it| builder.ins().iconst(I64, it));
        // The processor traps at a divisor of 0 and at the least integer by -1.
        let shifted = builder.ins().iadd(y, one);
        let special = builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, shifted, one);
        let divisor = builder.ins().select(special, one, y);
        let quotient = builder.ins().sdiv(x, divisor);
        let back = builder.ins().imul(quotient, divisor);
        let remainder = builder.ins().isub(x, back);
        let signs = builder.ins().bxor(remainder, divisor);
        let differ = builder.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let inexact = builder.ins().icmp(IntCC::NotEqual, remainder, zero);
        let below = builder.ins().band(differ, inexact);
        if op == BinaryOp::Mod {
            let moved = builder.ins().iadd(remainder, divisor);
            return builder.ins().select(below, moved, remainder);
        }
        let less = builder.ins().isub(quotient, one);
        let floor = builder.ins().select(below, less, quotient);
        // A quotient by 0 or -1 is the dividend times the divisor.
        let product = builder.ins().imul(x, y);
        builder.ins().select(special, product, floor)
    }

    /// A comparison of registers of that scalar.
    pub(super) fn compare(&mut self, op: CompareOp, scalar: Scalar, x: Value, y: Value) -> Value {
        let (float, signed, unsigned) = match op {
            CompareOp::Eq => (FloatCC::Equal, IntCC::Equal, IntCC::Equal),
            CompareOp::Ne => (FloatCC::NotEqual, IntCC::NotEqual, IntCC::NotEqual),
            CompareOp::Lt => (FloatCC::LessThan, IntCC::SignedLessThan, IntCC::UnsignedLessThan),
            CompareOp::Le => {
                (FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual)
            }
            CompareOp::Gt => (FloatCC::GreaterThan, IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan),
            CompareOp::Ge => (
                FloatCC::GreaterThanOrEqual,
                IntCC::SignedGreaterThanOrEqual,
                IntCC::UnsignedGreaterThanOrEqual,
            ),
        };
        let ins = self.builder.ins();
        match scalar {
            Scalar::F64 | Scalar::F32 => ins.fcmp(float, x, y),
            Scalar::I64 | Scalar::I32 => ins.icmp(signed, x, y),
            Scalar::Bool => ins.icmp(unsigned, x, y),
        }
    }

    /// The value of one scalar in another.
    pub(super) fn convert_register(&mut self, form: Form, from: Scalar, to: Scalar, x: Value) -> Value {
        let real = |scalar| matches!(scalar, Scalar::F64 | Scalar::F32);
        let (old, new) = (form.register(from), form.register(to));
        let builder = &mut self.builder;
        match (from, to) {
            (from, to) if from == to => x,
            (Scalar::F32, Scalar::F64) => builder.ins().fpromote(F64, x),
            (Scalar::F64, Scalar::F32) => builder.ins().fdemote(F32, x),
            (Scalar::I64, to) if real(to) => builder.ins().fcvt_from_sint(new, x),
            (Scalar::Bool, to) if real(to) => {
                let [zero, one] = [0.0, 1.0].map(|it| float_const(builder, new, it));
                choose(builder, x, one, zero)
            }
            (Scalar::Bool, _) => builder.ins().uextend(I64, x),
            (Scalar::I64, _) => builder.ins().icmp_imm_u(IntCC::NotEqual, x, 0),
            (_, Scalar::Bool) => {
                let zero = float_const(builder, old, 0.0);
                builder.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            (_, _) => {
                let whole = self.unary(UnaryOp::Round, old, x);
                self.builder.ins().fcvt_to_sint_sat(I64, whole)
            }
        }
    }

    /// The value as a dtype stores it.
    pub(super) fn round_to(&mut self, dtype: DType, ty: Type, x: Value) -> Value {
        if let Some((least, greatest)) = integer_range(dtype) {
            let [least, greatest] = [least, greatest].map(|it| self.builder.ins().iconst(I64, it));
            let above = self.builder.ins().smax(x, least);
            return self.builder.ins().smin(above, greatest);
        }
        match dtype {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let bits = self.formula(Formula::Encode(dtype), ty, &[x]);
                self.formula(Formula::Decode(dtype), ty, &[bits])
            }
            DType::F32 if ty == F64 => {
                let single = self.builder.ins().fdemote(F32, x);
                self.builder.ins().fpromote(F64, single)
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
