//! What each operation does to present values, in f64 and wrapping 64-bit integers.
//!
//! An operation without a value for its operands, such as a division by the integer 0, gives `None`:
//! its result is absent.

use std::cmp::Ordering;
use std::f64::consts::FRAC_1_SQRT_2;

use attnc_dsl::ast::{CompareOp, DType, Kind};

use super::number::Number;
use crate::codegen::math::narrow::round_to;
use crate::ir::array::Value;
use crate::ir::expr::{BinaryOp, UnaryOp};

/// An operation on one value.
pub(super) fn unary<R: Number>(op: UnaryOp, value: Value<R>) -> Option<Value<R>> {
    Some(match value {
        Value::Real(x) if op == UnaryOp::IsNan => Value::Bool(x.is_nan()),
        Value::Real(x) if op == UnaryOp::IsInf => {
            Value::Bool(x == R::of(f64::INFINITY) || x == R::of(f64::NEG_INFINITY))
        }
        Value::Real(x) => Value::Real(R::unary(op, x)),
        Value::Int(_) if matches!(op, UnaryOp::IsNan | UnaryOp::IsInf) => Value::Bool(false),
        Value::Int(x) if op.kind(Kind::Int) == Kind::Real => Value::Real(R::unary(op, R::of(x as f64))),
        Value::Int(x) => Value::Int(unary_int(op, x)?),
        Value::Bool(x) if op == UnaryOp::Not => Value::Bool(!x),
        Value::Bool(_) => unreachable!("{} of a bool", op.name()),
    })
}

/// An operation on one real that gives a real.
pub(super) fn unary_real(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::ToReal => x,
        UnaryOp::Exp => x.exp(),
        UnaryOp::Exp2 => x.exp2(),
        UnaryOp::Expm1 => x.exp_m1(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log2 => x.log2(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => sigmoid(x),
        UnaryOp::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        UnaryOp::Erf => libm::erf(x),
        UnaryOp::Gelu => 0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2),
        UnaryOp::Silu => x * sigmoid(x),
        UnaryOp::Relu => extreme(x, 0.0, Ordering::Greater),
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign => {
            if x == 0.0 || x.is_nan() {
                x
            } else {
                x.signum()
            }
        }
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Trunc => x.trunc(),
        UnaryOp::Not | UnaryOp::Ilog2 | UnaryOp::IsNan | UnaryOp::IsInf => {
            unreachable!("{} gives no real", op.name())
        }
    }
}

/// An operation on one integer that gives an integer.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(super) fn unary_int(op: UnaryOp, x: i64) -> Option<i64> {
    Some(match op {
        UnaryOp::Neg => x.wrapping_neg(),
        UnaryOp::Relu => x.max(0),
        UnaryOp::Abs => x.wrapping_abs(),
        UnaryOp::Sign => x.signum(),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => x,
        UnaryOp::Ilog2 => x.checked_ilog2()?.into(),
        _ => unreachable!("{} of an integer", op.name()),
    })
}

/// An operation on two values of one kind; absence that decides `and` and `or` is the caller's affair.
pub(super) fn binary<R: Number>(op: BinaryOp, a: Value<R>, b: Value<R>) -> Option<Value<R>> {
    match (a, b) {
        (Value::Real(a), Value::Real(b)) => Some(Value::Real(R::binary(op, a, b))),
        (Value::Int(a), Value::Int(b)) => binary_int(op, a, b).map(Value::Int),
        (a, b) => unreachable!("{} of {a:?} and {b:?}", op.name()),
    }
}

/// An operation on two reals.
pub(super) fn binary_real(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Min => extreme(a, b, Ordering::Less),
        BinaryOp::Max => extreme(a, b, Ordering::Greater),
        BinaryOp::FloorDiv
        | BinaryOp::Mod
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::BitAnd
        | BinaryOp::BitOr
        | BinaryOp::BitXor
        | BinaryOp::Shl
        | BinaryOp::Shr => unreachable!("{} of reals", op.name()),
    }
}

/// An operation on two integers.
pub(super) fn binary_int(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    let count = || u32::try_from(b).ok().filter(|&it| it < 64);
    Some(match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => return None,
        BinaryOp::FloorDiv => a.wrapping_div(b) - i64::from(floor_mod(a, b) != 0 && (a < 0) != (b < 0)),
        BinaryOp::Mod => floor_mod(a, b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        BinaryOp::Shl => a << count()?,
        BinaryOp::Shr => a >> count()?,
        BinaryOp::Div | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => {
            unreachable!("{} of integers", op.name())
        }
    })
}

/// The remainder of a division that rounds down.
fn floor_mod(a: i64, b: i64) -> i64 {
    let rest = a.wrapping_rem(b);
    if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
}

/// The larger or smaller of two reals; NaN if one of them is.
pub(super) fn extreme<R: Number>(a: R, b: R, wanted: Ordering) -> R {
    match a.order(b) {
        Some(found) if found == wanted => a,
        Some(_) => b,
        None => R::of(f64::NAN),
    }
}

/// A comparison of two values of one kind.
pub(super) fn compare<R: Number>(op: CompareOp, a: Value<R>, b: Value<R>) -> bool {
    let order = match (a, b) {
        (Value::Real(a), Value::Real(b)) => a.order(b),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
        (a, b) => unreachable!("{a:?} and {b:?} are compared"),
    };
    order.map_or(op == CompareOp::Ne, |order| op.holds(order))
}

/// The order of selections: NaN below every number.
pub(super) fn order<R: Number>(a: Value<R>, b: Value<R>) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (Value::Real(a), Value::Real(b)) => a.order(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())),
        (a, b) => unreachable!("{a:?} and {b:?} are ordered"),
    }
}

/// The value as that dtype stores it; f64 and f32 store every real.
pub(super) fn cast<R: Number>(dtype: DType, value: Value<R>) -> Value<R> {
    match (dtype.kind(), value) {
        (Kind::Real, Value::Real(x)) if matches!(dtype, DType::F64 | DType::F32) => Value::Real(x),
        (Kind::Real, Value::Real(x)) => Value::Real(R::of(round_to(dtype, x.to_f64()))),
        (Kind::Real, Value::Int(x)) => Value::Real(R::of(round_to(dtype, x as f64))),
        (Kind::Real, Value::Bool(x)) => Value::Real(R::of(f64::from(u8::from(x)))),
        // A conversion of Rust rounds to zero, saturates and makes NaN 0.
        (Kind::Int, Value::Real(x)) => Value::Int(saturate(dtype, x.to_f64().round_ties_even() as i64)),
        (Kind::Int, Value::Int(x)) => Value::Int(saturate(dtype, x)),
        (Kind::Int, Value::Bool(x)) => Value::Int(x.into()),
        (Kind::Bool, Value::Real(x)) => Value::Bool(x != R::of(0.0)),
        (Kind::Bool, Value::Int(x)) => Value::Bool(x != 0),
        (Kind::Bool, Value::Bool(x)) => Value::Bool(x),
    }
}

fn saturate(dtype: DType, x: i64) -> i64 {
    let (low, high) = dtype.int_range().expect("the dtype is one of integers");
    x.clamp(low, high)
}

/// What an absent point of an output becomes.
pub(super) fn absent(kind: Kind, dtype: Option<DType>) -> Value {
    match kind {
        Kind::Real => Value::Real(0.0),
        Kind::Int => Value::Int(if dtype == Some(DType::U8) { 0 } else { -1 }),
        Kind::Bool => Value::Bool(false),
    }
}

fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}
