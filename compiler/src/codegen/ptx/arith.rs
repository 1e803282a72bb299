//! Formulas to instructions: a floating-point register as a back end of `codegen::math`, and integers and truth values of
//! which some are known.

use attnc_ptx::Op;
use attnc_ptx::modifier::{
    Combine, Compare, CvtRound, FloatCompare, FloatOp, Flush, Function, IntOp, LogicOp, Round, Saturate,
    SignOp,
};
use attnc_ptx::types::{Bits, Float, Int, Logical, Number, Real, RegType, Scalar as Type};

use super::value::Value;
use super::writer::Writer;
use crate::codegen::math::{Arith, Format};

/// Numbers of one floating-point type.
pub(super) struct Lane<'w> {
    writer: &'w Writer,
    format: Format,
}

impl<'w> Lane<'w> {
    pub(super) fn new(writer: &'w Writer, format: Format) -> Lane<'w> {
        Lane { writer, format }
    }

    fn register(&self) -> RegType {
        if self.format == Format::Single { RegType::F32 } else { RegType::F64 }
    }

    fn bits_register(&self) -> RegType {
        if self.format == Format::Single { RegType::B32 } else { RegType::B64 }
    }

    fn ty(&self) -> Float {
        if self.format == Format::Single { Float::F32 } else { Float::F64 }
    }

    fn real(&self) -> Real {
        if self.format == Format::Single { Real::F32 } else { Real::F64 }
    }

    fn int_type(&self) -> Int {
        if self.format == Format::Single { Int::S32 } else { Int::S64 }
    }

    fn bits_type(&self) -> Bits {
        if self.format == Format::Single { Bits::B32 } else { Bits::B64 }
    }

    fn raw_type(&self) -> Type {
        if self.format == Format::Single { Type::B32 } else { Type::B64 }
    }

    fn logical(&self) -> Logical {
        if self.format == Format::Single { Logical::B32 } else { Logical::B64 }
    }

    fn float_op(&self, op: FloatOp, a: Value, b: Value) -> Value {
        let op = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty: self.ty() };
        self.writer.pure(self.register(), op, &[a, b])
    }

    fn sign_op(&self, op: SignOp, a: Value) -> Value {
        self.writer.pure(self.register(), Op::FloatSign { op, flush: Flush::Keep, ty: self.ty() }, &[a])
    }

    fn int_op(&self, op: IntOp, a: Value, b: Value) -> Value {
        self.writer.pure(self.bits_register(), Op::IntBinary { op, ty: self.int_type() }, &[a, b])
    }

    fn logic_op(&self, op: LogicOp, a: Value, b: Value) -> Value {
        self.writer.pure(self.bits_register(), Op::Logic { op, ty: self.logical() }, &[a, b])
    }

    fn compare(&self, cmp: FloatCompare, a: Value, b: Value) -> Value {
        float_compare(self.writer, self.ty(), cmp, a, b)
    }
}

/// A comparison of floats.
pub(super) fn float_compare(writer: &Writer, ty: Float, cmp: FloatCompare, a: Value, b: Value) -> Value {
    let op = Op::FloatSetp { cmp, combine: Combine::None, flush: Flush::Keep, ty };
    let predicate = writer.pure(RegType::Pred, op, &[a, b]);
    if cmp == FloatCompare::Neu {
        writer.note_difference(predicate, a, b);
    }
    predicate
}

impl<'w> Arith for Lane<'w> {
    type F = Value;
    type I = Value;
    type B = Value;
    type Wide = Lane<'w>;

    fn format(&self) -> Format {
        self.format
    }

    fn float(&self, x: f64) -> Value {
        match self.format {
            Format::Single => Value::F32((x as f32).to_bits()),
            Format::Double => Value::F64(x.to_bits()),
        }
    }

    fn int(&self, x: i64) -> Value {
        Value::Int(if self.format == Format::Single { i64::from(x as i32) } else { x })
    }

    fn add(&self, a: Value, b: Value) -> Value {
        self.float_op(FloatOp::Add, a, b)
    }

    fn sub(&self, a: Value, b: Value) -> Value {
        self.float_op(FloatOp::Sub, a, b)
    }

    fn mul(&self, a: Value, b: Value) -> Value {
        self.float_op(FloatOp::Mul, a, b)
    }

    fn div(&self, a: Value, b: Value) -> Value {
        let how = attnc_ptx::modifier::Division::Nearest;
        self.writer.pure(self.register(), Op::Div { how, flush: Flush::Keep, ty: self.real() }, &[a, b])
    }

    fn neg(&self, a: Value) -> Value {
        self.sign_op(SignOp::Neg, a)
    }

    fn abs(&self, a: Value) -> Value {
        self.sign_op(SignOp::Abs, a)
    }

    fn sqrt(&self, a: Value) -> Value {
        let op = Op::Function { f: Function::SqrtExact, flush: Flush::Keep, ty: self.ty() };
        self.writer.pure(self.register(), op, &[a])
    }

    fn fuses(&self) -> bool {
        true
    }

    fn mul_add(&self, a: Value, b: Value, c: Value) -> Value {
        let op = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: self.ty() };
        self.writer.pure(self.register(), op, &[a, b, c])
    }

    fn lt(&self, a: Value, b: Value) -> Value {
        self.compare(FloatCompare::Lt, a, b)
    }

    fn eq(&self, a: Value, b: Value) -> Value {
        self.compare(FloatCompare::Eq, a, b)
    }

    fn both(&self, a: Value, b: Value) -> Value {
        and(self.writer, a, b)
    }

    fn either(&self, a: Value, b: Value) -> Value {
        or(self.writer, a, b)
    }

    fn not(&self, a: Value) -> Value {
        not(self.writer, a)
    }

    fn select(&self, mask: Value, a: Value, b: Value) -> Value {
        select(self.writer, self.register(), mask, a, b)
    }

    fn select_bits(&self, mask: Value, a: Value, b: Value) -> Value {
        select(self.writer, self.bits_register(), mask, a, b)
    }

    fn to_bits(&self, a: Value) -> Value {
        match a {
            Value::F32(bits) => Value::Int(i64::from(bits.cast_signed())),
            Value::F64(bits) => Value::Int(bits.cast_signed()),
            Value::Reg(_) | Value::Int(_) | Value::Bool(_) => {
                self.writer.pure(self.bits_register(), Op::Mov { ty: self.raw_type() }, &[a])
            }
        }
    }

    fn from_bits(&self, a: Value) -> Value {
        match a {
            Value::Int(bits) if self.format == Format::Single => Value::F32((bits as i32).cast_unsigned()),
            Value::Int(bits) => Value::F64(bits.cast_unsigned()),
            Value::Reg(_) | Value::F32(_) | Value::F64(_) | Value::Bool(_) => {
                self.writer.pure(self.register(), Op::Mov { ty: self.raw_type() }, &[a])
            }
        }
    }

    fn iadd(&self, a: Value, b: Value) -> Value {
        self.int_op(IntOp::Add, a, b)
    }

    fn isub(&self, a: Value, b: Value) -> Value {
        self.int_op(IntOp::Sub, a, b)
    }

    fn iand(&self, a: Value, b: Value) -> Value {
        self.logic_op(LogicOp::And, a, b)
    }

    fn ior(&self, a: Value, b: Value) -> Value {
        self.logic_op(LogicOp::Or, a, b)
    }

    fn ixor(&self, a: Value, b: Value) -> Value {
        self.logic_op(LogicOp::Xor, a, b)
    }

    fn shl(&self, a: Value, by: u32) -> Value {
        self.writer.pure(self.bits_register(), Op::Shl { ty: self.bits_type() }, &[a, Value::Int(by.into())])
    }

    fn sshr(&self, a: Value, by: u32) -> Value {
        self.writer.pure(self.bits_register(), Op::Shr { ty: self.int_type() }, &[a, Value::Int(by.into())])
    }

    fn in_double<const N: usize>(&self, x: [Value; N], f: impl Fn(&Self, [Value; N]) -> Value) -> Value {
        if self.format == Format::Double {
            return f(self, x);
        }
        let wide = x.map(|it| widened(self.writer, it));
        narrowed(self.writer, f(&Lane { writer: self.writer, format: Format::Double }, wide))
    }
}

/// An f32 as an f64.
pub(super) fn widened(writer: &Writer, x: Value) -> Value {
    if let Value::F32(bits) = x {
        return Value::F64(f64::from(f32::from_bits(bits)).to_bits());
    }
    convert(writer, CvtRound::Exact, (RegType::F64, Number::F64), Number::F32, x)
}

/// An f64 as the nearest f32.
pub(super) fn narrowed(writer: &Writer, x: Value) -> Value {
    if let Value::F64(bits) = x {
        return Value::F32((f64::from_bits(bits) as f32).to_bits());
    }
    convert(writer, CvtRound::Nearest, (RegType::F32, Number::F32), Number::F64, x)
}

/// A register as another type.
pub(super) fn convert(
    writer: &Writer,
    round: CvtRound,
    (register, to): (RegType, Number),
    from: Number,
    x: Value,
) -> Value {
    writer.pure(register, Op::Cvt { round, saturate: Saturate::No, to, from }, &[x])
}

/// `a op b` of 64-bit integers.
pub(super) fn int(writer: &Writer, op: IntOp, a: Value, b: Value) -> Value {
    let plain = || writer.pure(RegType::B64, Op::IntBinary { op, ty: Int::S64 }, &[a, b]);
    match (op, a.int(), b.int()) {
        (IntOp::Add | IntOp::Sub, ..) => sum(writer, op, a, b),
        (IntOp::MulLo, Some(a), Some(b)) => Value::Int(a.wrapping_mul(b)),
        (IntOp::Min, Some(a), Some(b)) => Value::Int(a.min(b)),
        (IntOp::Max, Some(a), Some(b)) => Value::Int(a.max(b)),
        (IntOp::MulLo, _, Some(1)) => a,
        (IntOp::MulLo, Some(1), _) => b,
        (IntOp::MulLo, Some(0), _) | (IntOp::MulLo, _, Some(0)) => Value::Int(0),
        _ => plain(),
    }
}

/// A sum or difference, with the numbers of both added last.
fn sum(writer: &Writer, op: IntOp, a: Value, b: Value) -> Value {
    let [(a, x), (b, y)] = [a, b].map(|it| writer.split(it));
    let add = |a, b| writer.pure(RegType::B64, Op::IntBinary { op: IntOp::Add, ty: Int::S64 }, &[a, b]);
    let (base, number) = match (op, a, b) {
        (IntOp::Add, a, Value::Int(_)) => (a, x.wrapping_add(y)),
        (IntOp::Add, Value::Int(_), b) => (b, x.wrapping_add(y)),
        (IntOp::Add, a, b) => (add(a, b), x.wrapping_add(y)),
        (_, a, Value::Int(_)) => (a, x.wrapping_sub(y)),
        (_, a, b) if a == b => (Value::Int(0), x.wrapping_sub(y)),
        (_, a, b) => {
            let op = Op::IntBinary { op: IntOp::Sub, ty: Int::S64 };
            (writer.pure(RegType::B64, op, &[a, b]), x.wrapping_sub(y))
        }
    };
    match (base, number) {
        (Value::Int(_), number) => Value::Int(number),
        (base, 0) => base,
        (base, number) => {
            let result = add(base, Value::Int(number));
            writer.note_sum(result, base, number);
            result
        }
    }
}

/// Bits of 64-bit integers.
pub(super) fn bits(writer: &Writer, op: LogicOp, a: Value, b: Value) -> Value {
    match (op, a.int(), b.int()) {
        (LogicOp::And, Some(a), Some(b)) => Value::Int(a & b),
        (LogicOp::Or, Some(a), Some(b)) => Value::Int(a | b),
        (LogicOp::Xor, Some(a), Some(b)) => Value::Int(a ^ b),
        (LogicOp::And, _, Some(-1)) | (LogicOp::Or | LogicOp::Xor, _, Some(0)) => a,
        _ => writer.pure(RegType::B64, Op::Logic { op, ty: Logical::B64 }, &[a, b]),
    }
}

/// A comparison of 64-bit integers.
pub(super) fn int_compare(writer: &Writer, cmp: Compare, a: Value, b: Value) -> Value {
    if let (Some(a), Some(b)) = (a.int(), b.int()) {
        return Value::Bool(match cmp {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        });
    }
    writer.pure(RegType::Pred, Op::IntSetp { cmp, combine: Combine::None, ty: Int::S64 }, &[a, b])
}

/// Whether both hold.
pub(super) fn and(writer: &Writer, a: Value, b: Value) -> Value {
    match (a.bool(), b.bool()) {
        (Some(false), _) | (_, Some(false)) => Value::Bool(false),
        (Some(true), _) => b,
        (_, Some(true)) => a,
        (None, None) => predicate(writer, LogicOp::And, a, b),
    }
}

/// Whether one holds at least.
pub(super) fn or(writer: &Writer, a: Value, b: Value) -> Value {
    match (a.bool(), b.bool()) {
        (Some(true), _) | (_, Some(true)) => Value::Bool(true),
        (Some(false), _) => b,
        (_, Some(false)) => a,
        (None, None) => predicate(writer, LogicOp::Or, a, b),
    }
}

/// Whether exactly one holds.
pub(super) fn xor(writer: &Writer, a: Value, b: Value) -> Value {
    match (a.bool(), b.bool()) {
        (Some(true), _) => not(writer, b),
        (_, Some(true)) => not(writer, a),
        (Some(false), _) => b,
        (_, Some(false)) => a,
        (None, None) => predicate(writer, LogicOp::Xor, a, b),
    }
}

/// The opposite.
pub(super) fn not(writer: &Writer, a: Value) -> Value {
    match a.bool() {
        Some(it) => Value::Bool(!it),
        None => writer.pure(RegType::Pred, Op::Not { ty: Logical::Pred }, &[a]),
    }
}

fn predicate(writer: &Writer, op: LogicOp, a: Value, b: Value) -> Value {
    writer.pure(RegType::Pred, Op::Logic { op, ty: Logical::Pred }, &[a, b])
}

/// Whether it is an infinite f32.
pub(super) fn is_infinite(value: Value) -> bool {
    matches!(value, Value::F32(bits) if f32::from_bits(bits).is_infinite())
}

/// `a` where the mask holds, `b` elsewhere; of that kind of register.
pub(super) fn select(writer: &Writer, ty: RegType, mask: Value, a: Value, b: Value) -> Value {
    match mask.bool() {
        Some(true) => return a,
        Some(false) => return b,
        None if a == b => return a,
        // There is one infinity of a sign: what is not different from it is it.
        None if is_infinite(b) && writer.difference(mask) == Some((a, b)) => return a,
        None => {}
    }
    match super::value::moved_as(ty) {
        Some(moved) => writer.pure(ty, Op::Selp { ty: moved }, &[a, b, mask]),
        None => or(writer, and(writer, mask, a), and(writer, not(writer, mask), b)),
    }
}
