//! Scalar functions to code: instantiates `codegen::math` on lanes.

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{Type, Value};
use cranelift_frontend::FunctionBuilder;

use attnc_dsl::ast::DType;

use super::arith::{Lanes, bits_type, with_lanes};
use crate::codegen::math::{self, Arith, narrow::Narrow};
use crate::ir::expr::UnaryOp;

/// A function that takes more than a few instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Formula {
    /// A function of one real.
    Real(UnaryOp),
    /// The first to the power of the second.
    Pow,
    /// The number that these bits of a narrow float stand for.
    Decode(DType),
    /// The bits of the nearest narrow float.
    Encode(DType),
}

impl Formula {
    /// The types of its parameters and of its result, for lanes of that type.
    pub(super) fn types(self, ty: Type) -> (Vec<Type>, Type) {
        match self {
            Formula::Real(_) => (vec![ty], ty),
            Formula::Pow => (vec![ty, ty], ty),
            Formula::Decode(_) => (vec![bits_type(ty)], ty),
            Formula::Encode(_) => (vec![ty], bits_type(ty)),
        }
    }

    /// The name of its function.
    pub(super) fn name(self, ty: Type) -> String {
        let name = match self {
            Formula::Real(op) => op.name().to_owned(),
            Formula::Pow => "pow".to_owned(),
            Formula::Decode(dtype) => format!("from_{}", dtype.name()),
            Formula::Encode(dtype) => format!("to_{}", dtype.name()),
        };
        format!("attnc.{name}.{ty}")
    }

    /// Whether it is repeated where it is used, because a call would spill the registers around it.
    pub(super) fn is_inlined(self, ty: Type) -> bool {
        let short = match self {
            Formula::Real(op) => matches!(op, UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Rsqrt),
            Formula::Pow => false,
            Formula::Decode(_) | Formula::Encode(_) => true,
        };
        short && ty == F32X4
    }
}

/// Emits a formula in place.
pub(super) fn emit(builder: &mut FunctionBuilder<'_>, formula: Formula, ty: Type, args: &[Value]) -> Value {
    with_lanes(builder, ty, |lanes| match (formula, args) {
        (Formula::Real(op), &[x]) => real(lanes, op, x),
        (Formula::Pow, &[x, y]) => math::pow(lanes, x, y),
        (Formula::Decode(dtype), &[bits]) => narrow(dtype).decode(lanes, bits),
        (Formula::Encode(dtype), &[x]) => narrow(dtype).encode(lanes, x),
        (formula, args) => unreachable!("{formula:?} of {} arguments", args.len()),
    })
}

fn narrow(dtype: DType) -> Narrow {
    Narrow::of(dtype).expect("only narrow floats are encoded")
}

fn real(lanes: &Lanes<'_, '_, '_>, op: UnaryOp, x: Value) -> Value {
    match op {
        UnaryOp::Exp => math::exp(lanes, x),
        UnaryOp::Exp2 => math::exp2(lanes, x),
        UnaryOp::Expm1 => math::expm1(lanes, x),
        UnaryOp::Log => math::log(lanes, x),
        UnaryOp::Log2 => math::log2(lanes, x),
        UnaryOp::Log1p => math::log1p(lanes, x),
        UnaryOp::Rsqrt => math::rsqrt(lanes, x),
        UnaryOp::Sin => math::sin(lanes, x),
        UnaryOp::Cos => math::cos(lanes, x),
        UnaryOp::Tanh => math::tanh(lanes, x),
        UnaryOp::Sigmoid => math::sigmoid(lanes, x),
        UnaryOp::Softplus => math::softplus(lanes, x),
        UnaryOp::Erf => math::erf(lanes, x),
        UnaryOp::Gelu => math::gelu(lanes, x),
        UnaryOp::Silu => math::silu(lanes, x),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => to_whole(lanes, op, x),
        UnaryOp::Neg
        | UnaryOp::Not
        | UnaryOp::ToReal
        | UnaryOp::Sqrt
        | UnaryOp::Relu
        | UnaryOp::Abs
        | UnaryOp::Sign
        | UnaryOp::Ilog2
        | UnaryOp::IsNan
        | UnaryOp::IsInf => unreachable!("{} is an instruction or two", op.name()),
    }
}

/// The neighbouring whole number that `op` names, for processors that have no such instruction.
fn to_whole<A: Arith>(arith: &A, op: UnaryOp, x: A::F) -> A::F {
    // From here on every number is whole, and its sum with one below is rounded to a whole number.
    let large = arith.float(2f64.powi(arith.format().significand_bits().cast_signed()));
    let magnitude = arith.abs(x);
    let nearest = arith.sub(arith.add(magnitude, large), large);
    let beyond = |limit, by| {
        let moved = arith.sub(nearest, arith.float(by));
        arith.select(limit, moved, nearest)
    };
    let negative = arith.lt(x, arith.float(0.0));
    let over = arith.lt(magnitude, nearest);
    let under = arith.lt(nearest, magnitude);
    let whole = match op {
        UnaryOp::Trunc => beyond(over, 1.0),
        UnaryOp::Floor => arith.select(negative, beyond(under, -1.0), beyond(over, 1.0)),
        UnaryOp::Ceil => arith.select(negative, beyond(over, 1.0), beyond(under, -1.0)),
        _ => nearest,
    };
    let sign = arith.iand(arith.to_bits(x), arith.to_bits(arith.float(-0.0)));
    let signed = arith.from_bits(arith.ior(arith.to_bits(whole), sign));
    arith.select(arith.lt(magnitude, large), signed, x)
}
