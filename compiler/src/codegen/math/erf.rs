//! erf and gelu: a polynomial near zero, and `erfc x = exp(-x²) p(u) / (x + c)`,
//! `u = (x - c) / (x + c)`, away from it.

use super::arith::{Arith, Float, Format};
use super::exponential::{mantissa, reduce_pair, scale};
use super::sigmoidal::nan_at_minus_infinity;

pub(super) fn erf<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let magnitude = x.abs();
    let bounded = bounded(magnitude, 1.0);
    let large = -tail(bounded, square(bounded), x.constant(1.0)) + 1.0;
    magnitude.lt(1.0).select(near_zero(x), large.with_sign(x))
}

pub(super) fn gelu<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let magnitude = x.abs();
    let u = magnitude * std::f64::consts::FRAC_1_SQRT_2;
    // The square comes from x itself: an error in u would grow with u² in the exponent.
    let (high, low) = square(bounded(magnitude, std::f64::consts::SQRT_2));
    let tail =
        tail(bounded(u, 1.0), (high * 0.5, low * 0.5), bounded(magnitude, std::f64::consts::SQRT_2) * 0.5);
    let large = x.lt(0.0).select(-tail, x - tail);
    let y = u.lt(0.5).select(x * 0.5 * (near_zero(u.with_sign(x)) + 1.0), large);
    nan_at_minus_infinity(x, y)
}

/// erf for `|x| < 1`.
fn near_zero<A: Arith>(x: Float<'_, A>) -> Float<'_, A> {
    let z = x * x;
    x + x * z.poly(match x.format() {
        Format::Single => &ERF_SINGLE,
        Format::Double => &ERF_DOUBLE,
    })
}

/// `factor erfc x` for `0.5 <= x`, given the square of `x`; accurate relative to its size, as gelu needs.
fn tail<'a, A: Arith>(
    x: Float<'a, A>,
    square: (Float<'a, A>, Float<'a, A>),
    factor: Float<'a, A>,
) -> Float<'a, A> {
    let divisor = x + CENTRE;
    let u = (x - CENTRE) / divisor;
    let p = u.poly(match x.format() {
        Format::Single => &TAIL_SINGLE,
        Format::Double => &TAIL_DOUBLE,
    });
    let r = reduce_pair(-square.0, -square.1);
    let (sum, rest) = mantissa(&r);
    scale((sum + rest) * (factor * p / divisor), r.k)
}

/// Where erfc has just vanished.
fn greatest(format: Format) -> f64 {
    match format {
        Format::Single => 10.2,
        Format::Double => 27.4,
    }
}

fn bounded<A: Arith>(x: Float<'_, A>, share: f64) -> Float<'_, A> {
    x.min(x.constant(share * greatest(x.format())))
}

/// The square of `x` as an exact head and the rest.
fn square<A: Arith>(x: Float<'_, A>) -> (Float<'_, A>, Float<'_, A>) {
    let low_bits = match x.format() {
        Format::Single => 12,
        Format::Double => 27,
    };
    let head = (x.bits() & (-1 << low_bits)).float();
    (head * head, (x - head) * (x + head))
}

/// Coefficients of `erf x / x - 1` in `x²`, fitted for `|x| <= 1`.
const ERF_SINGLE: [f64; 8] = [
    0.128_379_167_061_543_43,
    -0.376_126_384_680_287_1,
    0.112_837_824_952_368_45,
    -0.026_865_430_727_670_243,
    0.005_221_031_807_858_023,
    -0.000_848_408_040_553_510_7,
    0.000_112_659_590_256_066_09,
    -9.667_044_571_486_996e-6,
];
const ERF_DOUBLE: [f64; 13] = [
    0.128_379_167_095_512_6,
    -0.376_126_389_031_837_5,
    0.112_837_916_709_548_79,
    -0.026_866_170_645_076_792,
    0.005_223_977_624_818_014_5,
    -0.000_854_832_698_083_379,
    0.000_120_553_311_116_427_1,
    -1.492_559_526_683_118_2e-5,
    1.646_100_048_412_136_8e-6,
    -1.635_031_270_105_469_5e-7,
    1.465_977_527_404_743_6e-8,
    -1.137_284_885_679_167_4e-9,
    5.957_176_147_748_911e-11,
];

/// The `c` of the fit.
const CENTRE: f64 = 3.5;

/// Coefficients of `p`, fitted from 0.499 to where erfc vanishes.
const TAIL_SINGLE: [f64; 10] = [
    1.087_055_588_645_439,
    -0.937_799_740_330_605_2,
    0.694_113_746_268_690_8,
    -0.435_255_350_614_379_5,
    0.225_736_331_985_335_96,
    -0.092_327_274_964_809_58,
    0.026_535_581_509_172_002,
    -0.003_131_224_579_494_620_4,
    -0.001_352_187_563_614_566_4,
    0.000_609_896_060_988_144_7,
];
const TAIL_DOUBLE: [f64; 21] = [
    1.087_055_589_262_26,
    -0.937_799_724_567_112_2,
    0.694_113_646_634_642_5,
    -0.435_256_026_716_860_64,
    0.225_738_621_647_522_18,
    -0.092_318_706_639_611_25,
    0.026_518_619_879_246_835,
    -0.003_177_050_322_560_708_5,
    -0.001_305_354_665_034_090_6,
    0.000_714_531_491_491_509_3,
    -4.206_233_603_827_845e-5,
    -7.477_597_077_761_714e-5,
    1.864_786_122_540_792e-5,
    7.240_130_810_721_235e-6,
    -3.393_663_594_613_553e-6,
    -7.872_117_454_004_158e-7,
    5.529_592_590_158_685e-7,
    1.033_763_512_412_732_2e-7,
    -8.552_267_457_896_769e-8,
    -1.183_736_314_607_167_4e-8,
    9.753_980_004_236_544e-9,
];
