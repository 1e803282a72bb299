//! Operations on one element.

use attnc_dsl::ast::{CompareOp, DType};
use attnc_ptx::Op;
use attnc_ptx::modifier::{
    Combine, Compare, CountOp, CvtRound, Extreme, FloatCompare, Flush, IntOp, LogicOp, Nan, SignOp,
};
use attnc_ptx::types::{Bits, Float, Int, Number, RegType, Signed, WideBits};

use super::arith::{
    Lane, and, bits, convert, float_compare, int, int_compare, narrowed, not, or, select, widened, xor,
};
use super::value::{Value, register};
use super::writer::Writer;
use crate::codegen::formula::{self, Formula};
use crate::codegen::integer_range;
use crate::codegen::math::{Arith, Format};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::Scalar;

/// The value of a formula for numbers of that scalar.
pub(super) fn formula(writer: &Writer, formula: Formula, scalar: Scalar, args: &[Value]) -> Value {
    formula::emit(&lane(writer, scalar), formula, args)
}

fn lane(writer: &Writer, scalar: Scalar) -> Lane<'_> {
    Lane::new(writer, if scalar == Scalar::F32 { Format::Single } else { Format::Double })
}

/// How instructions name a float.
fn float(scalar: Scalar) -> (Float, Number) {
    if scalar == Scalar::F32 { (Float::F32, Number::F32) } else { (Float::F64, Number::F64) }
}

/// An operation on an element of that scalar.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(super) fn unary(writer: &Writer, op: UnaryOp, scalar: Scalar, x: Value) -> Value {
    if scalar == Scalar::I64 {
        return integer_unary(writer, op, x);
    }
    let lane = lane(writer, scalar);
    match op {
        UnaryOp::Not => not(writer, x),
        UnaryOp::Neg => lane.neg(x),
        UnaryOp::Abs => lane.abs(x),
        UnaryOp::Sqrt => lane.sqrt(x),
        UnaryOp::Relu => lane.select(lane.lt(x, lane.float(0.0)), lane.float(0.0), x),
        UnaryOp::Sign => {
            let [minus, zero, one] = [-1.0, 0.0, 1.0].map(|it| lane.float(it));
            let rest = lane.select(lane.lt(zero, x), one, x);
            lane.select(lane.lt(x, zero), minus, rest)
        }
        UnaryOp::Floor => whole(writer, CvtRound::DownInt, scalar, x),
        UnaryOp::Ceil => whole(writer, CvtRound::UpInt, scalar, x),
        UnaryOp::Round => whole(writer, CvtRound::NearestInt, scalar, x),
        UnaryOp::Trunc => whole(writer, CvtRound::ZeroInt, scalar, x),
        UnaryOp::IsNan => is_nan(writer, scalar, x),
        UnaryOp::IsInf => lane.eq(lane.abs(x), lane.float(f64::INFINITY)),
        op if op.is_real_function() => formula(writer, Formula::Real(op), scalar, &[x]),
        _ => unreachable!("{} of a real", op.name()),
    }
}

fn is_nan(writer: &Writer, scalar: Scalar, x: Value) -> Value {
    float_compare(writer, float(scalar).0, FloatCompare::Unordered, x, x)
}

/// A number rounded to a whole one.
fn whole(writer: &Writer, round: CvtRound, scalar: Scalar, x: Value) -> Value {
    let ty = float(scalar).1;
    let x = Value::Reg(writer.reg(register(scalar), x));
    convert(writer, round, (register(scalar), ty), ty, x)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn integer_unary(writer: &Writer, op: UnaryOp, x: Value) -> Value {
    let sign = |op| writer.pure(RegType::B64, Op::IntSign { op, ty: Signed::S64 }, &[x]);
    match op {
        UnaryOp::Neg => int(writer, IntOp::Sub, Value::Int(0), x),
        UnaryOp::Abs => sign(SignOp::Abs),
        UnaryOp::Relu => int(writer, IntOp::Max, x, Value::Int(0)),
        UnaryOp::Sign => {
            let above = int(writer, IntOp::Max, x, Value::Int(-1));
            int(writer, IntOp::Min, above, Value::Int(1))
        }
        UnaryOp::Ilog2 => {
            // A leading one is sought in `x | 1`, which has the logarithm of `x` but for 0, where it is 0.
            let positive = int(writer, IntOp::Max, x, Value::Int(0));
            let odd = bits(writer, LogicOp::Or, positive, Value::Int(1));
            let count = Op::Count { op: CountOp::Clz, ty: WideBits::B64 };
            let zeros = writer.pure(RegType::B32, count, &[odd]);
            let zeros = convert(writer, CvtRound::Exact, (RegType::B64, Number::S64), Number::U32, zeros);
            int(writer, IntOp::Sub, Value::Int(63), zeros)
        }
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => x,
        _ => unreachable!("{} of an integer", op.name()),
    }
}

/// An operation on two elements of that scalar.
pub(super) fn binary(writer: &Writer, op: BinaryOp, scalar: Scalar, x: Value, y: Value) -> Value {
    if scalar == Scalar::I64 {
        return integer_binary(writer, op, x, y);
    }
    let lane = || lane(writer, scalar);
    match op {
        BinaryOp::Add => lane().add(x, y),
        BinaryOp::Sub => lane().sub(x, y),
        BinaryOp::Mul => lane().mul(x, y),
        BinaryOp::Div => lane().div(x, y),
        BinaryOp::Min => extreme(writer, Extreme::Min, scalar, x, y),
        BinaryOp::Max => extreme(writer, Extreme::Max, scalar, x, y),
        BinaryOp::Pow => formula(writer, Formula::Pow, scalar, &[x, y]),
        BinaryOp::And => and(writer, x, y),
        BinaryOp::Or => or(writer, x, y),
        BinaryOp::FloorDiv
        | BinaryOp::Mod
        | BinaryOp::BitAnd
        | BinaryOp::BitOr
        | BinaryOp::BitXor
        | BinaryOp::Shl
        | BinaryOp::Shr => unreachable!("`{}` of reals or bools", op.name()),
    }
}

/// The smaller or the larger; NaN if one is.
fn extreme(writer: &Writer, op: Extreme, scalar: Scalar, x: Value, y: Value) -> Value {
    let (ty, nan) = (float(scalar).0, if scalar == Scalar::F32 { Nan::NaN } else { Nan::Number });
    let extreme = writer.pure(register(scalar), Op::Extreme { op, flush: Flush::Keep, nan, ty }, &[x, y]);
    if scalar == Scalar::F32 {
        return extreme;
    }
    // There is no such instruction for f64 that keeps NaN.
    let unordered = float_compare(writer, ty, FloatCompare::Unordered, x, y);
    select(writer, register(scalar), unordered, lane(writer, scalar).add(x, y), extreme)
}

fn integer_binary(writer: &Writer, op: BinaryOp, x: Value, y: Value) -> Value {
    match op {
        BinaryOp::Add => int(writer, IntOp::Add, x, y),
        BinaryOp::Sub => int(writer, IntOp::Sub, x, y),
        BinaryOp::Mul => int(writer, IntOp::MulLo, x, y),
        BinaryOp::Min => int(writer, IntOp::Min, x, y),
        BinaryOp::Max => int(writer, IntOp::Max, x, y),
        BinaryOp::BitAnd => bits(writer, LogicOp::And, x, y),
        BinaryOp::BitOr => bits(writer, LogicOp::Or, x, y),
        BinaryOp::BitXor => bits(writer, LogicOp::Xor, x, y),
        BinaryOp::Shl | BinaryOp::Shr if let (Some(x), Some(y)) = (x.int(), y.int()) => {
            let by = (y & 63) as u32;
            Value::Int(if op == BinaryOp::Shl { x.wrapping_shl(by) } else { x >> by })
        }
        BinaryOp::Shl => writer.pure(RegType::B64, Op::Shl { ty: Bits::B64 }, &[x, shift(writer, y)]),
        BinaryOp::Shr => writer.pure(RegType::B64, Op::Shr { ty: Int::S64 }, &[x, shift(writer, y)]),
        BinaryOp::FloorDiv | BinaryOp::Mod => division(writer, op, x, y),
        BinaryOp::Div | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => {
            unreachable!("`{}` of integers", op.name())
        }
    }
}

/// By how many bits to shift, modulo 64.
fn shift(writer: &Writer, y: Value) -> Value {
    if let Some(y) = y.int() {
        return Value::Int(y & 63);
    }
    let low = convert(writer, CvtRound::Exact, (RegType::B32, Number::U32), Number::S64, y);
    let op = Op::Logic { op: LogicOp::And, ty: attnc_ptx::types::Logical::B32 };
    writer.pure(RegType::B32, op, &[low, Value::Int(63)])
}

/// Quotient or remainder towards minus infinity; 0 for a divisor of 0.
fn division(writer: &Writer, op: BinaryOp, x: Value, y: Value) -> Value {
    let by = |op, y| writer.pure(RegType::B64, Op::IntBinary { op, ty: Int::S64 }, &[x, y]);
    match y.int() {
        Some(0) => return Value::Int(0),
        Some(1) if op == BinaryOp::Mod => return Value::Int(0),
        Some(1) => return x,
        // Bits from the sign on are those of a number without end.
        Some(y) if y > 0 && y & (y - 1) == 0 => {
            return if op == BinaryOp::Mod {
                bits(writer, LogicOp::And, x, Value::Int(y - 1))
            } else {
                by_shift(writer, x, y.trailing_zeros())
            };
        }
        Some(_) | None => {}
    }
    // What a divisor of 0 gives is not defined, and so is the least integer by -1.
    let special = match y.int() {
        Some(y) => Value::Bool(y == -1),
        None => {
            let shifted = int(writer, IntOp::Add, y, Value::Int(1));
            let compare = Op::IntSetp { cmp: Compare::Le, combine: Combine::None, ty: Int::U64 };
            writer.pure(RegType::Pred, compare, &[shifted, Value::Int(1)])
        }
    };
    let divisor = select(writer, RegType::B64, special, Value::Int(1), y);
    let quotient = by(IntOp::Div, divisor);
    let back = int(writer, IntOp::MulLo, quotient, divisor);
    let remainder = int(writer, IntOp::Sub, x, back);
    let signs = bits(writer, LogicOp::Xor, remainder, divisor);
    let differ = int_compare(writer, Compare::Lt, signs, Value::Int(0));
    let inexact = int_compare(writer, Compare::Ne, remainder, Value::Int(0));
    let below = and(writer, differ, inexact);
    if op == BinaryOp::Mod {
        let moved = int(writer, IntOp::Add, remainder, divisor);
        return select(writer, RegType::B64, below, moved, remainder);
    }
    let less = int(writer, IntOp::Sub, quotient, Value::Int(1));
    let floor = select(writer, RegType::B64, below, less, quotient);
    // A quotient by 0 or -1 is the dividend times the divisor.
    let product = int(writer, IntOp::MulLo, x, y);
    select(writer, RegType::B64, special, product, floor)
}

fn by_shift(writer: &Writer, x: Value, by: u32) -> Value {
    writer.pure(RegType::B64, Op::Shr { ty: Int::S64 }, &[x, Value::Int(by.into())])
}

/// A comparison of elements of that scalar.
pub(super) fn compare(writer: &Writer, op: CompareOp, scalar: Scalar, x: Value, y: Value) -> Value {
    let (float_op, int_op) = match op {
        CompareOp::Eq => (FloatCompare::Eq, Compare::Eq),
        CompareOp::Ne => (FloatCompare::Neu, Compare::Ne),
        CompareOp::Lt => (FloatCompare::Lt, Compare::Lt),
        CompareOp::Le => (FloatCompare::Le, Compare::Le),
        CompareOp::Gt => (FloatCompare::Gt, Compare::Gt),
        CompareOp::Ge => (FloatCompare::Ge, Compare::Ge),
    };
    match scalar {
        Scalar::F64 | Scalar::F32 => float_compare(writer, float(scalar).0, float_op, x, y),
        Scalar::I64 | Scalar::I32 => int_compare(writer, int_op, x, y),
        Scalar::Bool if int_op == Compare::Eq => not(writer, xor(writer, x, y)),
        Scalar::Bool => xor(writer, x, y),
    }
}

/// The value of one scalar in another.
pub(super) fn converted(writer: &Writer, from: Scalar, to: Scalar, x: Value) -> Value {
    match (from, to) {
        (from, to) if from == to => x,
        (Scalar::F32, Scalar::F64) => widened(writer, x),
        (Scalar::F64, Scalar::F32) => narrowed(writer, x),
        (Scalar::I64, Scalar::F32 | Scalar::F64) => match x.int() {
            Some(known) => Value::real(to, known as f64),
            None => convert(writer, CvtRound::Nearest, (register(to), float(to).1), Number::S64, x),
        },
        (Scalar::Bool, Scalar::F32 | Scalar::F64) => {
            select(writer, register(to), x, Value::real(to, 1.0), Value::real(to, 0.0))
        }
        (Scalar::Bool, _) => select(writer, RegType::B64, x, Value::Int(1), Value::Int(0)),
        (Scalar::I64, _) => int_compare(writer, Compare::Ne, x, Value::Int(0)),
        (_, Scalar::Bool) => compare(writer, CompareOp::Ne, from, x, Value::real(from, 0.0)),
        (_, _) => {
            let x = Value::Reg(writer.reg(register(from), x));
            let nearest =
                convert(writer, CvtRound::NearestInt, (RegType::B64, Number::S64), float(from).1, x);
            select(writer, RegType::B64, is_nan(writer, from, x), Value::Int(0), nearest)
        }
    }
}

/// The bits of the nearest float of 16 bits to an f32, by one instruction.
pub(super) fn encoded(writer: &Writer, dtype: DType, x: Value) -> Value {
    let to = if dtype == DType::F16 { Number::F16 } else { Number::BF16 };
    let x = Value::Reg(writer.reg(RegType::F32, x));
    convert(writer, CvtRound::Nearest, (RegType::B16, to), Number::F32, x)
}

/// The f32 that the bits of a float of 16 bits stand for.
pub(super) fn decoded(writer: &Writer, dtype: DType, half: Value) -> Value {
    if dtype == DType::F16 {
        return convert(writer, CvtRound::Exact, (RegType::F32, Number::F32), Number::F16, half);
    }
    // It is the upper half of an f32.
    let bits = convert(writer, CvtRound::Exact, (RegType::B32, Number::U32), Number::U16, half);
    let upper = writer.pure(RegType::B32, Op::Shl { ty: Bits::B32 }, &[bits, Value::Int(16)]);
    Lane::new(writer, Format::Single).from_bits(upper)
}

/// The value as a dtype stores it.
pub(super) fn rounded(writer: &Writer, dtype: DType, scalar: Scalar, x: Value) -> Value {
    if let Some((least, greatest)) = integer_range(dtype) {
        let above = int(writer, IntOp::Max, x, Value::Int(least));
        return int(writer, IntOp::Min, above, Value::Int(greatest));
    }
    match dtype {
        DType::F16 | DType::BF16 if scalar == Scalar::F32 => {
            decoded(writer, dtype, encoded(writer, dtype, x))
        }
        DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
            let bits = formula(writer, Formula::Encode(dtype), scalar, &[x]);
            formula(writer, Formula::Decode(dtype), scalar, &[bits])
        }
        DType::F32 if scalar == Scalar::F64 => widened(writer, narrowed(writer, x)),
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
