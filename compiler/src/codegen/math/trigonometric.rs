//! sin and cos: `x = n π/2 + r`, polynomials for both at `r`, and `n` chooses. Computed in double.

use super::arith::{Arith, Bits, Float};
use super::exponential::{clamp, nearest, two_sum};

/// `x = n π/2 + hi + lo`, `|hi| <= π/4`.
struct Reduced<'a, A: Arith> {
    n: Bits<'a, A>,
    hi: Float<'a, A>,
    lo: Float<'a, A>,
}

pub(super) fn sin<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    x.in_double(|x| {
        let r = reduce(x);
        let turn = turn(&r);
        let y = turn.is(0.0).select(sin_reduced(&r), cos_reduced(&r)).with_sign(turn);
        x.is(0.0).select(x, y)
    })
}

pub(super) fn cos<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    x.in_double(|x| {
        let r = reduce(x);
        let turn = turn(&r);
        turn.is(0.0).select(cos_reduced(&r), -sin_reduced(&r)).with_sign(turn)
    })
}

/// Zero where `n` is even, negative where the quadrant is one of the last two.
fn turn<'a, A: Arith>(r: &Reduced<'a, A>) -> Float<'a, A> {
    (r.n << 62).float()
}

/// The products of `n` with all parts of π/2 but the last are exact while `|x| <= 2^30`, and so are the differences
/// with the first three: what cancels there leaves no error. Beyond, `hi` is merely kept in range.
fn reduce<A: Arith>(x: Float<'_, A>) -> Reduced<'_, A> {
    let (float_n, n) = nearest(x * std::f64::consts::FRAC_2_PI);
    let [a, b, c, d, e] = HALF_PI;
    let (high, first) = two_sum((x - float_n * a) - float_n * b, -(float_n * c));
    let (high, second) = two_sum(high, -(float_n * d));
    let low = (first + second) - float_n * e;
    let hi = high + low;
    let lo = (high - hi) + low;
    let exact = x.abs().lt(1_073_741_825.0);
    Reduced { n, hi: clamp(hi, std::f64::consts::FRAC_PI_4), lo: exact.select(lo, x.constant(0.0)) }
}

fn sin_reduced<'a, A: Arith>(r: &Reduced<'a, A>) -> Float<'a, A> {
    let z = r.hi * r.hi;
    let cube = z * r.hi;
    let (first, rest) = (SIN[0], &SIN[1..]);
    r.hi - ((z * (r.lo * 0.5 - cube * z.poly(rest)) - r.lo) - cube * first)
}

fn cos_reduced<'a, A: Arith>(r: &Reduced<'a, A>) -> Float<'a, A> {
    let z = r.hi * r.hi;
    let half = z * 0.5;
    let head = -half + 1.0;
    // What 1 - z/2 lost is added back to the small terms.
    head + (((-head + 1.0) - half) + (z * (z * z.poly(&COS)) - r.hi * r.lo))
}

/// π/2 in four parts of 23 bits and a last one of 53.
const HALF_PI: [f64; 5] = [
    1.570_796_251_296_997,
    7.549_789_415_861_596e-8,
    5.390_300_835_891_87e-15,
    2.022_265_958_410_353_3e-21,
    2.903_855_973_979_360_5e-28,
];

/// Coefficients of `(sin r - r) / r³` in `r²`, for `|r| <= π/4`, from fdlibm.
const SIN: [f64; 6] = [
    -1.666_666_666_666_663_2e-1,
    8.333_333_333_322_49e-3,
    -1.984_126_982_985_795e-4,
    2.755_731_370_707_006_8e-6,
    -2.505_076_025_340_686_3e-8,
    1.589_690_995_211_55e-10,
];

/// Coefficients of `(cos r - 1 + r²/2) / r⁴` in `r²`, likewise.
const COS: [f64; 6] = [
    4.166_666_666_666_66e-2,
    -1.388_888_888_887_411e-3,
    2.480_158_728_947_673e-5,
    -2.755_731_435_139_066_3e-7,
    2.087_572_321_298_175e-9,
    -1.135_964_755_778_819_5e-11,
];
