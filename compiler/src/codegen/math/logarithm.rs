//! log and its variants: `x = 2^k (1 + f)`, then the series of `log (1 + f)` in `s = f / (2 + f)`.

use super::arith::{Arith, Float, Format};
use super::exponential::{ln2, to_float};

/// `x = 2^k (1 + f)` with `1 + f` from √½ to √2.
pub(super) struct Split<'a, A: Arith> {
    pub(super) k: Float<'a, A>,
    pub(super) f: Float<'a, A>,
}

pub(super) fn log<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let Split { k, f } = split(x);
    let (head, tail) = ln2(x.format());
    let half_square = f * f * 0.5;
    let y = k * head - ((half_square - (beyond_square(f, half_square) + k * tail)) - f);
    at_edges(x, y)
}

pub(super) fn log2<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let Split { k, f } = split(x);
    // 1 / ln 2 and f - f²/2 as heads whose product is exact, and the rest.
    let (head, tail, low_bits) = match x.format() {
        Format::Single => (1.442_871_093_75, -1.760_528_539_3e-4, 12),
        Format::Double => (1.442_695_040_721_446_3, 1.675_171_316_488_651_2e-10, 32),
    };
    let half_square = f * f * 0.5;
    let high = ((f - half_square).bits() & (-1 << low_bits)).float();
    let low = ((f - high) - half_square) + beyond_square(f, half_square);
    let product = high * head;
    let sum = k + product;
    let rest = (low + high) * tail + low * head + ((k - sum) + product);
    at_edges(x, sum + rest)
}

pub(super) fn log1p<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let u = x + 1.0;
    let Split { k, f } = split(u);
    let (head, tail) = ln2(x.format());
    // Near zero f is x itself; elsewhere what the sum 1 + x lost enters to first order.
    let near = k.is(0.0);
    let lost = u.gt(2.0).select(x.constant(1.0) - (u - x), x - (u - 1.0)) / u;
    let f = near.select(x, f);
    let lost = near.select(x.constant(0.0), lost);
    let half_square = f * f * 0.5;
    let y = k * head - ((half_square - (beyond_square(f, half_square) + (k * tail + lost))) - f);
    x.is(0.0).select(x, at_edges(u, y))
}

pub(super) fn split<A: Arith>(x: Float<'_, A>) -> Split<'_, A> {
    let (least, lift, lifted) = match x.format() {
        Format::Single => (f64::from(f32::MIN_POSITIVE), 33_554_432.0, 25.0),
        Format::Double => (f64::MIN_POSITIVE, 18_014_398_509_481_984.0, 54.0),
    };
    let subnormal = x.lt(least);
    let normal = subnormal.select(x * lift, x);
    let bits = normal.bits();
    let shift = x.format().significand_bits();
    let exponent = (bits - x.constant(std::f64::consts::FRAC_1_SQRT_2).bits()) >> shift;
    let k = to_float(x, exponent) - subnormal.select(x.constant(lifted), x.constant(0.0));
    Split { k, f: (bits - (exponent << shift)).float() - 1.0 }
}

/// `log (1 + f) - f + f²/2`
fn beyond_square<'a, A: Arith>(f: Float<'a, A>, half_square: Float<'a, A>) -> Float<'a, A> {
    let s = f / (f + 2.0);
    let z = s * s;
    let series = z * z.poly(match f.format() {
        Format::Single => &LOG_SINGLE,
        Format::Double => &LOG_DOUBLE,
    });
    s * (half_square + series)
}

/// Of zero, the infinities, negative numbers and NaN.
pub(super) fn at_edges<'a, A: Arith>(x: Float<'a, A>, y: Float<'a, A>) -> Float<'a, A> {
    let y = x.lt(f64::INFINITY).select(y, x);
    let y = x.is(0.0).select(x.constant(f64::NEG_INFINITY), y);
    x.lt(0.0).select(x.constant(f64::NAN), y)
}

/// Coefficients of `(log (1 + f) - log (1 - f)) / s - 2` in `s²`, for `|s| <= 0.1716`, from fdlibm.
const LOG_SINGLE: [f64; 4] = [0.666_666_626_93, 0.400_009_721_52, 0.284_987_866_88, 0.242_790_788_41];
const LOG_DOUBLE: [f64; 7] = [
    6.666_666_666_666_735e-1,
    3.999_999_999_940_942e-1,
    2.857_142_874_366_239e-1,
    2.222_219_843_214_978_4e-1,
    1.818_357_216_161_805e-1,
    1.531_383_769_920_937_3e-1,
    1.479_819_860_511_658_6e-1,
];
