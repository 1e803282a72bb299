//! `x^y = exp (y log |x|)` with a logarithm of some 65 bits, then the edges of the real function.

use super::arith::{Arith, Float, Format, Mask};
use super::exponential::{clamp, exp, exp_reduced, limit, ln2, reduce_pair, two_sum};
use super::logarithm::{Split, at_edges, log, split};

/// An unevaluated sum, the second term below an ulp of the first.
type Pair<'a, A> = (Float<'a, A>, Float<'a, A>);

pub(super) fn pow<'a, A: Arith>(x: Float<'a, A>, y: Float<'a, A>) -> Float<'a, A> {
    match x.format() {
        Format::Single => x.in_double_with(y, |x, y| at_corners(x, y, exp(y * log(x.abs())))),
        Format::Double => at_corners(x, y, magnitude(x.abs(), y)),
    }
}

pub(super) fn rsqrt<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    x.constant(1.0) / x.sqrt()
}

/// `x^y` for `x >= 0`.
fn magnitude<'a, A: Arith>(x: Float<'a, A>, y: Float<'a, A>) -> Float<'a, A> {
    let (log_hi, log_lo) = log_pair(x);
    let (product, error) = two_product(y, at_edges(x, log_hi));
    let small = product.abs().lt(limit(Format::Double));
    let error = small.select(error + y * log_lo, x.constant(0.0));
    exp_reduced(&reduce_pair(clamp(product, limit(Format::Double)), error))
}

/// `log x` as a pair, by `2 atanh (f / (2 + f))`, whose first two terms are computed as pairs.
fn log_pair<A: Arith>(x: Float<'_, A>) -> Pair<'_, A> {
    let Split { k, f } = split(x);
    let (divisor, divisor_lo) = two_sum(x.constant(2.0), f);
    let s = f / divisor;
    let (back, back_lo) = two_product(s, divisor);
    let s_lo = (((f - back) - back_lo) - s * divisor_lo) / divisor;

    let (z, z_lo) = two_product(s, s);
    let z_lo = z_lo + s * s_lo * 2.0;
    let series = z * z.poly(&ATANH);
    let factor = series + TWO_THIRDS;
    let factor_lo = ((-factor + TWO_THIRDS) + series) + TWO_THIRDS_LO;
    let cubic = product((z, z_lo), (factor, factor_lo));
    let (cubic, cubic_lo) = product((s, s_lo), cubic);

    let (sum, sum_lo) = two_sum(s + s, cubic);
    let (head, tail) = ln2(x.format());
    let (log, log_lo) = two_sum(k * head, sum);
    (log, log_lo + (sum_lo + (s_lo + s_lo) + cubic_lo + k * tail))
}

/// Signs, the exceptions of IEEE 754 section 9.2, and NaN for what is no real number.
fn at_corners<'a, A: Arith>(x: Float<'a, A>, y: Float<'a, A>, magnitude: Float<'a, A>) -> Float<'a, A> {
    let one = x.constant(1.0);
    let integer = is_integer(y.abs());
    let odd = integer & !is_integer(y.abs() * 0.5);
    let unit = x.abs().is(1.0) & y.same(y);
    let r = unit.select(one, magnitude);
    let r = odd.select(r.with_sign(x), r);
    let complex = x.lt(0.0) & x.gt(f64::NEG_INFINITY) & !integer;
    let r = complex.select(x.constant(f64::NAN), r);
    (y.is(0.0) | x.is(1.0)).select(one, r)
}

/// Of a double that is not negative; the infinity counts as an even integer.
fn is_integer<A: Arith>(y: Float<'_, A>) -> Mask<'_, A> {
    let unit_spacing = y.constant(4_503_599_627_370_496.0);
    y.gt(4_503_599_627_370_495.5) | ((y + unit_spacing) - unit_spacing).same(y)
}

/// The product of two pairs.
fn product<'a, A: Arith>(a: Pair<'a, A>, b: Pair<'a, A>) -> Pair<'a, A> {
    let (high, low) = two_product(a.0, b.0);
    (high, low + (a.0 * b.1 + a.1 * b.0))
}

/// `a * b` of doubles and its rounding error; halves of 26 and 27 bits make the partial products exact.
fn two_product<'a, A: Arith>(a: Float<'a, A>, b: Float<'a, A>) -> Pair<'a, A> {
    let halves = |x: Float<'a, A>| {
        let head = (x.bits() & (-1 << 27)).float();
        (head, x - head)
    };
    let ((a_hi, a_lo), (b_hi, b_lo)) = (halves(a), halves(b));
    let product = a * b;
    (product, (((a_hi * b_hi - product) + a_hi * b_lo) + a_lo * b_hi) + a_lo * b_lo)
}

const TWO_THIRDS: f64 = 2.0 / 3.0;
const TWO_THIRDS_LO: f64 = 3.700_743_415_417_188e-17;

/// Coefficients of `(2 atanh s / s - 2) / s² - 2/3` over `s²` in `s²`, fitted for `|s| <= 0.1716`.
const ATANH: [f64; 8] = [
    0.4,
    0.285_714_285_714_293_7,
    0.222_222_222_216_527_65,
    0.181_818_183_360_998_48,
    0.153_845_948_870_071_8,
    0.133_348_087_988_123_4,
    0.117_061_264_645_633_98,
    0.117_243_270_608_467_47,
];
