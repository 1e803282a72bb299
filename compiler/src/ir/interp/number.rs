//! What the interpreter needs of real numbers: f64 is the meaning, numbers of a wider range check what leaves it.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::scalar;
use crate::ir::array::Value;
use crate::ir::expr::{BinaryOp, UnaryOp};

/// A real number, infinities and NaN included.
pub(super) trait Number: Copy + PartialEq + Debug {
    /// The same number.
    fn of(x: f64) -> Self;
    /// The nearest f64.
    fn to_f64(self) -> f64;
    /// An operation that gives a real.
    fn unary(op: UnaryOp, x: Self) -> Self;
    /// An operation that gives a real.
    fn binary(op: BinaryOp, a: Self, b: Self) -> Self;
    /// Which is larger; none for a NaN.
    fn order(self, other: Self) -> Option<Ordering>;

    fn is_nan(self) -> bool {
        self.order(self).is_none()
    }
}

impl Number for f64 {
    fn of(x: f64) -> f64 {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn unary(op: UnaryOp, x: f64) -> f64 {
        scalar::unary_real(op, x)
    }

    fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
        scalar::binary_real(op, a, b)
    }

    fn order(self, other: f64) -> Option<Ordering> {
        self.partial_cmp(&other)
    }
}

/// A value that came from outside.
pub(super) fn lifted<R: Number>(value: Value) -> Value<R> {
    match value {
        Value::Real(it) => Value::Real(R::of(it)),
        Value::Int(it) => Value::Int(it),
        Value::Bool(it) => Value::Bool(it),
    }
}
