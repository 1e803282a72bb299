//! exp, exp2 and expm1: `x = k ln 2 + r`, a polynomial for `exp r`, then a scaling by `2^k`.

use super::arith::{Arith, Bits, Float, Format};

/// `x = k ln 2 + hi + lo` with `|hi| <= ln 2 / 2` and `lo` below half an ulp of `hi`.
pub(super) struct Reduced<'a, A: Arith> {
    pub(super) k: Bits<'a, A>,
    pub(super) hi: Float<'a, A>,
    pub(super) lo: Float<'a, A>,
}

/// ln 2 as a head with enough trailing zeros that `k` times it is exact, and the rest.
pub(super) fn ln2(format: Format) -> (f64, f64) {
    match format {
        Format::Single => (0.693_145_751_953_125, 1.428_606_765_3e-6),
        Format::Double => (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10),
    }
}

/// The integer nearest to `x`, as a float and as an integer, for `|x|` below a quarter of `2^significand_bits`.
pub(super) fn nearest<A: Arith>(x: Float<'_, A>) -> (Float<'_, A>, Bits<'_, A>) {
    let anchor = anchor(x);
    let shifted = x + anchor;
    (shifted - anchor, shifted.bits() - anchor.bits())
}

/// The same of `x * factor`, by one instruction less.
fn nearest_multiple<'a, A: Arith>(x: Float<'a, A>, factor: f64) -> (Float<'a, A>, Bits<'a, A>) {
    let anchor = anchor(x);
    let shifted = x.mul_add(x.constant(factor), anchor);
    (shifted - anchor, shifted.bits() - anchor.bits())
}

/// `exp r * 2^n` for `|r| <= ln 2 / 2` and the whole `n` as a float and as an integer: products that are added without
/// being rounded need no second term, and a degree of even parity has no root.
pub(super) fn exp_fused<'a, A: Arith>(r: Float<'a, A>, n: Float<'a, A>, k: Bits<'a, A>) -> Float<'a, A> {
    let y = r.fused_poly(&EXP_FUSED);
    y.scaled(n).unwrap_or_else(|| scale(y, k))
}

/// The small integer `k` as a float beside `x`.
pub(super) fn to_float<'a, A: Arith>(x: Float<'a, A>, k: Bits<'a, A>) -> Float<'a, A> {
    let anchor = anchor(x);
    (k + anchor.bits()).float() - anchor
}

/// In the binade of this number the unit in the last place is one.
fn anchor<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    x.constant(match x.format() {
        Format::Single => 12_582_912.0,
        Format::Double => 6_755_399_441_055_744.0,
    })
}

pub(super) fn exp<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let x = clamp(x, limit(x.format()));
    if x.fuses() && x.format() == Format::Single {
        let (r, n, k) = reduce_fused(x);
        return exp_fused(r, n, k);
    }
    exp_reduced(&reduce(x))
}

/// `x - n ln 2`, and the nearest `n` as a float and as an integer.
pub(super) fn reduce_fused<'a, A: Arith>(x: Float<'a, A>) -> (Float<'a, A>, Float<'a, A>, Bits<'a, A>) {
    let (n, k) = nearest_multiple(x, std::f64::consts::LOG2_E);
    let (head, tail) = ln2(Format::Single);
    let high = n.mul_add(x.constant(-head), x);
    (n.mul_add(x.constant(-tail), high), n, k)
}

/// [`exp`] where infinities are NaN: without limits, where a power of two that is one instruction makes up for them.
/// There, what is beyond 2^21 may be infinite or NaN, too.
pub(super) fn power_of_finite<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    if x.fuses() && x.format() == Format::Single {
        let (r, n, _) = reduce_fused(x);
        if let Some(it) = r.fused_poly(&EXP_FUSED).scaled(n) {
            return it;
        }
    }
    x.mul_add(x.constant(0.0), exp(x))
}

pub(super) fn exp2<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let x = clamp(x, limit(x.format()) * std::f64::consts::LOG2_E);
    let (n, k) = nearest(x);
    if x.fuses() && x.format() == Format::Single {
        return exp_fused((x - n) * std::f64::consts::LN_2, n, k);
    }
    let hi = (x - n) * std::f64::consts::LN_2;
    exp_reduced(&Reduced { k, hi, lo: hi.constant(0.0) })
}

pub(super) fn expm1<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    // Far below zero only the -1 is left.
    let r = reduce(x.min(x.constant(limit(x.format()))).max(x.constant(-40.0)));
    let tail = r.lo + quadratic(r.hi);
    // expm1 x = 2^k (expm1 r + (1 - 2^-k)); the sum with the constant keeps its rounding error.
    let one = x.constant(1.0);
    let shift = one - scale(one, r.k.constant(0) - r.k);
    let (sum, error) = two_sum(shift, r.hi);
    let y = scale(sum + (error + tail), r.k);
    x.is(0.0).select(x, y)
}

/// `exp (k ln 2 + hi + lo)`; `k` may reach beyond the exponents of the format on both sides.
pub(super) fn exp_reduced<'a, A: Arith>(r: &Reduced<'a, A>) -> Float<'a, A> {
    let (sum, rest) = mantissa(r);
    scale(sum + rest, r.k)
}

/// `exp x` as a pair, the second term below an ulp of the first.
pub(super) fn exp_pair<A: Arith>(x: Float<'_, A>) -> (Float<'_, A>, Float<'_, A>) {
    let r = reduce(clamp(x, limit(x.format())));
    let (sum, rest) = mantissa(&r);
    let high = sum + rest;
    (scale(high, r.k), scale((sum - high) + rest, r.k))
}

/// `exp (hi + lo)` as a sum yet to be rounded.
pub(super) fn mantissa<'a, A: Arith>(r: &Reduced<'a, A>) -> (Float<'a, A>, Float<'a, A>) {
    let sum = r.hi + 1.0;
    let lost = (-sum + 1.0) + r.hi;
    (sum, lost + (r.lo + quadratic(r.hi)))
}

/// Finds the nearest multiple of ln 2; `x` is clamped.
pub(super) fn reduce<A: Arith>(x: Float<'_, A>) -> Reduced<'_, A> {
    reduce_pair(x, x.constant(0.0))
}

/// The same of `x + error`, `error` being small beside `x`.
pub(super) fn reduce_pair<'a, A: Arith>(x: Float<'a, A>, error: Float<'a, A>) -> Reduced<'a, A> {
    let (n, k) = nearest(x * std::f64::consts::LOG2_E);
    let (head, tail) = ln2(x.format());
    let high = x - n * head;
    let low = n * tail - error;
    let hi = high - low;
    Reduced { k, hi, lo: (high - hi) - low }
}

/// Where exp has just overflowed and, negated, just vanished.
pub(super) fn limit(format: Format) -> f64 {
    match format {
        Format::Single => 104.5,
        Format::Double => 746.5,
    }
}

/// Keeps NaN, and the integers made from an infinite `x` small.
pub(super) fn clamp<A: Arith>(x: Float<'_, A>, limit: f64) -> Float<'_, A> {
    x.min(x.constant(limit)).max(x.constant(-limit))
}

/// `y * 2^k` in two exact steps and one rounding: the second factor alone may leave the normal range.
pub(super) fn scale<'a, A: Arith>(y: Float<'a, A>, k: Bits<'a, A>) -> Float<'a, A> {
    let half = k >> 1;
    y * power_of_two(y, half) * power_of_two(y, k - half)
}

fn power_of_two<'a, A: Arith>(beside: Float<'a, A>, k: Bits<'a, A>) -> Float<'a, A> {
    let format = beside.format();
    ((k + format.bias()) << format.significand_bits()).float()
}

/// `exp r - 1 - r` for `|r| <= ln 2 / 2`.
fn quadratic<A: Arith>(r: Float<'_, A>) -> Float<'_, A> {
    let square = r * r;
    square
        * r.poly(match r.format() {
            Format::Single => &EXP_SINGLE,
            Format::Double => &EXP_DOUBLE,
        })
}

/// `a + b` and its rounding error, exact.
pub(super) fn two_sum<'a, A: Arith>(a: Float<'a, A>, b: Float<'a, A>) -> (Float<'a, A>, Float<'a, A>) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// Coefficients of `(exp r - 1 - r) / r²`, fitted for `|r| <= ln 2 / 2`.
const EXP_SINGLE: [f64; 6] = [
    0.500_000_001_353_873,
    0.166_666_666_817_042_15,
    4.166_646_419_740_569e-2,
    8.333_310_844_647_862e-3,
    1.393_373_071_579_208_3e-3,
    1.989_108_046_399_884_2e-4,
];
/// The whole polynomial for exp r, the same way; its error is a twentieth of an ulp.
const EXP_FUSED: [f64; 7] = [
    1.0,
    1.0,
    0.499_999_934_321_106_07,
    0.166_665_203_989_624_28,
    4.166_839_078_736_797e-2,
    8.368_745_116_356_874e-3,
    1.381_453_998_875_013_9e-3,
];
const EXP_DOUBLE: [f64; 11] = [
    0.5,
    0.166_666_666_666_666_7,
    4.166_666_666_666_667e-2,
    8.333_333_333_326_084e-3,
    1.388_888_888_888_371_1e-3,
    1.984_126_987_500_228e-4,
    2.480_158_732_567_746e-5,
    2.755_725_517_000_089e-6,
    2.755_727_347_871_858e-7,
    2.510_531_272_962_210_3e-8,
    2.091_475_532_589_32e-9,
];
