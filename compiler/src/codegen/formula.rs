//! Scalar functions that take more than a few instructions, by name; instantiates `codegen::math` for any back end.

use attnc_dsl::ast::DType;

use super::math::{self, Arith, narrow::Narrow};
use crate::ir::expr::UnaryOp;

/// A function that takes more than a few instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Formula {
    /// A function of one real.
    Real(UnaryOp),
    /// `e` to the power of a finite real; NaN for any other.
    Power,
    /// The first to the power of the second.
    Pow,
    /// The number that these bits of a narrow float stand for.
    Decode(DType),
    /// The bits of the nearest narrow float.
    Encode(DType),
}

impl Formula {
    /// The name of its function for registers of a type.
    pub(super) fn name(self, ty: impl std::fmt::Display) -> String {
        let name = match self {
            Formula::Real(op) => op.name().to_owned(),
            Formula::Power => "power".to_owned(),
            Formula::Pow => "pow".to_owned(),
            Formula::Decode(dtype) => format!("from_{}", dtype.name()),
            Formula::Encode(dtype) => format!("to_{}", dtype.name()),
        };
        format!("attnc.{name}.{ty}")
    }

    /// Whether it is short enough to be repeated where it is used.
    pub(crate) fn is_short(self) -> bool {
        match self {
            Formula::Real(op) => matches!(op, UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Rsqrt),
            Formula::Power => true,
            Formula::Pow => false,
            Formula::Decode(_) | Formula::Encode(_) => true,
        }
    }
}

/// Emits a formula in place; back ends that have it as one instruction do not ask.
pub(super) fn emit<V: Copy, A: Arith<F = V, I = V>>(lanes: &A, formula: Formula, args: &[V]) -> V {
    match (formula, args) {
        (Formula::Real(op), &[x]) => real(lanes, op, x),
        (Formula::Power, &[x]) => math::power_of_finite(lanes, x),
        (Formula::Pow, &[x, y]) => math::pow(lanes, x, y),
        (Formula::Decode(dtype), &[bits]) => narrow(dtype).decode(lanes, bits),
        (Formula::Encode(dtype), &[x]) => narrow(dtype).encode(lanes, x),
        (formula, args) => unreachable!("{formula:?} of {} arguments", args.len()),
    }
}

fn narrow(dtype: DType) -> Narrow {
    Narrow::of(dtype).expect("only narrow floats are encoded")
}

fn real<A: Arith>(lanes: &A, op: UnaryOp, x: A::F) -> A::F {
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
        UnaryOp::Round => to_whole(lanes, x, |near| near.nearest),
        UnaryOp::Trunc => to_whole(lanes, x, |near| near.below),
        UnaryOp::Floor => to_whole(lanes, x, |near| lanes.select(near.negative, near.above, near.below)),
        UnaryOp::Ceil => to_whole(lanes, x, |near| lanes.select(near.negative, near.below, near.above)),
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

/// The whole numbers around the magnitude of a number.
struct Near<A: Arith> {
    negative: A::B,
    nearest: A::F,
    below: A::F,
    above: A::F,
}

/// One of the whole numbers around `x`, for processors that have no such instruction.
fn to_whole<A: Arith>(lanes: &A, x: A::F, choose: impl FnOnce(Near<A>) -> A::F) -> A::F {
    // From here on every number is whole, and its sum with one below is rounded to a whole number.
    let large = lanes.float(2f64.powi(lanes.format().significand_bits().cast_signed()));
    let [zero, one] = [0.0, 1.0].map(|it| lanes.float(it));
    let magnitude = lanes.abs(x);
    let nearest = lanes.sub(lanes.add(magnitude, large), large);
    let less = lanes.sub(nearest, one);
    let more = lanes.add(nearest, one);
    let whole = choose(Near {
        negative: lanes.lt(x, zero),
        nearest,
        below: lanes.select(lanes.lt(magnitude, nearest), less, nearest),
        above: lanes.select(lanes.lt(nearest, magnitude), more, nearest),
    });
    let sign = lanes.iand(lanes.to_bits(x), lanes.to_bits(lanes.float(-0.0)));
    let signed = lanes.from_bits(lanes.ior(lanes.to_bits(whole), sign));
    lanes.select(lanes.lt(magnitude, large), signed, x)
}
