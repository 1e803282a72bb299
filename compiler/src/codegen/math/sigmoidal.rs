//! tanh, sigmoid, softplus and silu, from exp.

use super::arith::{Arith, Float, Format};
use super::exponential::{clamp, exp, exp_fused, exp_pair, limit, mantissa, reduce, reduce_fused, scale};
use super::logarithm::log1p;

pub(super) fn tanh<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    if x.fuses() && x.format() == Format::Single {
        return tanh_fused(x);
    }
    let magnitude = x.abs();
    let large = -(x.constant(2.0) / (exp(magnitude + magnitude) + 1.0)) + 1.0;
    let z = x * x;
    let p = z.poly(match x.format() {
        Format::Single => &TANH_SINGLE,
        Format::Double => &TANH_DOUBLE,
    });
    let small = magnitude + magnitude * z * p;
    magnitude.lt(0.625).select(small, large).with_sign(x)
}

/// By the power that does not overflow, so that the divisor is small.
fn tanh_fused<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let magnitude = x.abs();
    let e = power_below(magnitude * -2.0);
    let large = -(e + e).quotient(e + 1.0) + 1.0;
    let z = x * x;
    let small = (magnitude * z).mul_add(z.fused_poly(&TANH_SINGLE), magnitude);
    magnitude.lt(0.625).select(small, large).with_sign(x)
}

/// exp of what is not above 0.
fn power_below<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let (r, n, k) = reduce_fused(x.max(x.constant(-limit(x.format()))));
    exp_fused(r, n, k)
}

pub(super) fn sigmoid<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    if x.fuses() && x.format() == Format::Single {
        let e = power_below(-x.abs());
        return x.lt(0.0).select(e, x.constant(1.0)).quotient(e + 1.0);
    }
    let one = x.constant(1.0);
    let negative = x.lt(0.0);
    let (e, e_lo) = exp_pair(-x.abs());
    let divisor = e + 1.0;
    let lost = (one - divisor) + e;
    let quotient = negative.select(e, one) / divisor;
    // The reciprocal of the divisor is known already, as the quotient or its complement.
    let reciprocal = negative.select(one - quotient, quotient);
    let slope = negative.select(reciprocal, -reciprocal) * reciprocal;
    quotient + (e_lo * slope - quotient * (lost * reciprocal))
}

pub(super) fn silu<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let vanished = limit(x.format()) + 6.0;
    let r = reduce(clamp(-x.abs(), vanished));
    let (sum, rest) = mantissa(&r);
    let mantissa = sum + rest;
    // A factor below the normal range would lose digits: x comes in before the scaling.
    let small = scale(mantissa * clamp(x, vanished), r.k);
    let y = x.lt(0.0).select(small, x) / (scale(mantissa, r.k) + 1.0);
    nan_at_minus_infinity(x, y)
}

/// What `x` times a function that vanishes gives, though the limit is zero.
pub(super) fn nan_at_minus_infinity<'a, A: Arith>(x: Float<'a, A>, y: Float<'a, A>) -> Float<'a, A> {
    x.is(f64::NEG_INFINITY).select(x.constant(f64::NAN), y)
}

pub(super) fn softplus<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    x.max(x.constant(0.0)) + log1p(exp(-x.abs()))
}

/// Coefficients of `(tanh x - x) / x³` in `x²`, fitted for `|x| <= 0.626`.
const TANH_SINGLE: [f64; 6] = [
    -0.333_333_331_692_415_8,
    0.133_333_031_179_909_52,
    -0.053_959_155_802_231_9,
    0.021_768_075_495_855_292,
    -0.008_341_188_925_429_174,
    0.002_289_626_186_311_622_7,
];
const TANH_DOUBLE: [f64; 12] = [
    -0.333_333_333_333_333_3,
    0.133_333_333_333_330_3,
    -0.053_968_253_967_886_39,
    0.021_869_488_518_555_2,
    -0.008_863_235_093_353_298,
    0.003_592_121_625_788_060_5,
    -0.001_455_774_424_617_797_7,
    0.000_589_655_678_986_869_5,
    -0.000_237_574_569_188_287,
    9.253_899_476_295_944e-5,
    -3.116_482_391_288_970_4e-5,
    6.467_533_020_977_372e-6,
];
