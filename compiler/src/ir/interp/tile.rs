//! What operations of a nest do to single elements: F32 in f32, F64 in f64, integers wrapping.

use attnc_dsl::ast::DType;

use super::scalar;
use crate::ir::array::Value;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Scalar, TileDim};

/// For each element of a tile, the element of another whose ranks it has.
pub(super) enum Projection {
    /// The other is a scalar.
    Scalar,
    /// Both have the same ranks.
    Same,
    /// The positions in the other.
    Table(Vec<usize>),
}

impl Projection {
    /// From the elements of `onto` to those of `from`; a rank that `onto` lacks stays at 0.
    pub(super) fn new(from: &[TileDim], onto: &[TileDim]) -> Projection {
        if from.is_empty() {
            return Projection::Scalar;
        }
        if from == onto {
            return Projection::Same;
        }
        let mut table = vec![0];
        for dim in onto {
            let place = from.iter().position(|it| it.rank == dim.rank);
            let stride = place.map_or(0, |at| points(&from[at + 1..]));
            table = table
                .iter()
                .flat_map(|base| (0..dim.extent as usize).map(move |coord| base + coord * stride))
                .collect();
        }
        Projection::Table(table)
    }

    pub(super) fn at(&self, element: usize) -> usize {
        match self {
            Projection::Scalar => 0,
            Projection::Same => element,
            Projection::Table(table) => table[element],
        }
    }
}

/// How many elements a tile of that shape has.
pub(super) fn points(shape: &[TileDim]) -> usize {
    shape.iter().map(|dim| dim.extent as usize).product()
}

/// The value as that scalar holds it, after an operation in f64.
pub(super) fn held(scalar: Scalar, value: Value) -> Value {
    match (scalar, value) {
        (Scalar::F32, Value::Real(x)) => Value::Real(f64::from(x as f32)),
        (Scalar::F64 | Scalar::F32 | Scalar::I64 | Scalar::I32 | Scalar::Bool, value) => value,
    }
}

pub(super) fn unary(op: UnaryOp, value: Value) -> Value {
    scalar::unary(op, value).unwrap_or(Value::Int(0))
}

/// `e` to the power of a finite real, else NaN.
pub(super) fn power(value: Value) -> Value {
    match value {
        Value::Real(x) if !x.is_finite() => Value::Real(f64::NAN),
        other @ (Value::Real(_) | Value::Int(_) | Value::Bool(_)) => unary(UnaryOp::Exp, other),
    }
}

pub(super) fn binary(op: BinaryOp, a: Value, b: Value) -> Value {
    match (op, a, b) {
        (BinaryOp::And, Value::Bool(a), Value::Bool(b)) => Value::Bool(a && b),
        (BinaryOp::Or, Value::Bool(a), Value::Bool(b)) => Value::Bool(a || b),
        (BinaryOp::Shl | BinaryOp::Shr, a, Value::Int(b)) => {
            scalar::binary(op, a, Value::Int(b & 63)).unwrap_or(Value::Int(0))
        }
        (op, a, b) => scalar::binary(op, a, b).unwrap_or(Value::Int(0)),
    }
}

/// The value in another scalar.
pub(super) fn convert(scalar: Scalar, value: Value) -> Value {
    let dtype = match scalar {
        Scalar::F64 | Scalar::F32 => DType::F64,
        Scalar::I64 => DType::I64,
        Scalar::I32 => DType::I32,
        Scalar::Bool => DType::Bool,
    };
    held(scalar, scalar::cast(dtype, value))
}

/// The value as a buffer of that dtype holds it.
pub(super) fn stored(dtype: DType, value: Value) -> Value {
    held(Scalar::of(dtype), scalar::cast(dtype, value))
}

/// 0 or false.
pub(super) fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::F64 | Scalar::F32 => Value::Real(0.0),
        Scalar::I64 | Scalar::I32 => Value::Int(0),
        Scalar::Bool => Value::Bool(false),
    }
}

/// Four integers of 8 bits as a word of 32, the first in its low byte.
pub(super) fn packed(bytes: [Value; 4]) -> Value {
    let byte = |it: Value| match it {
        Value::Real(x) => x as i8,
        Value::Int(_) | Value::Bool(_) => unreachable!("reals are packed"),
    };
    Value::Int(i32::from_le_bytes(bytes.map(|it| byte(it).cast_unsigned())).into())
}

/// The products of the bytes of two words, of the first without sign, added to an integer.
pub(super) fn dot(a: Value, b: Value, into: Value) -> Value {
    let integer = |it: Value| match it {
        Value::Int(it) => it,
        Value::Real(_) | Value::Bool(_) => unreachable!("words are integers"),
    };
    let bytes = |it: Value| (integer(it) as i32).to_le_bytes();
    let products = bytes(a).into_iter().zip(bytes(b)).map(|(a, b)| i64::from(a) * i64::from(b.cast_signed()));
    Value::Int(integer(into) + products.sum::<i64>())
}
