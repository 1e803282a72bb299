//! The values that have to come out to the bit.

use super::super as math;
use super::super::host::{Fused32, Host32, Host64};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Same number, same zero, or both NaN.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

macro_rules! edges {
    ($($name:ident: $($x:expr => $y:expr),*;)*) => {
        #[test]
        fn one_argument() {
            $($(
                let (x, y): (f64, f64) = ($x, $y);
                let double = math::$name(&Host64, x);
                for single in [math::$name(&Host32, x as f32), math::$name(&Fused32, x as f32)] {
                    assert!(same(single.into(), (y as f32).into()), "{}({x:e}) in f32 is {single:e}", stringify!($name));
                }
                assert!(same(double, y), "{}({x:e}) in f64 is {double:e}", stringify!($name));
            )*)*
        }
    };
}

edges! {
    exp: 0.0 => 1.0, -0.0 => 1.0, 800.0 => INF, INF => INF, -800.0 => 0.0, -INF => 0.0, NAN => NAN;
    power_of_finite: 0.0 => 1.0, -0.0 => 1.0, 800.0 => INF, INF => NAN, -800.0 => 0.0, -INF => NAN, NAN => NAN;
    exp2: 0.0 => 1.0, 10.0 => 1024.0, -126.0 => 2f64.powi(-126), -149.0 => 2f64.powi(-149), 1024.0 => INF, INF => INF, -1080.0 => 0.0, -INF => 0.0, NAN => NAN;
    expm1: 0.0 => 0.0, -0.0 => -0.0, 1e-42 => 1e-42, 800.0 => INF, INF => INF, -800.0 => -1.0, -INF => -1.0, NAN => NAN;
    log: 1.0 => 0.0, 0.0 => -INF, -0.0 => -INF, -1.0 => NAN, -INF => NAN, INF => INF, NAN => NAN;
    log2: 1.0 => 0.0, 8.0 => 3.0, 2f64.powi(-149) => -149.0, 0.0 => -INF, -0.0 => -INF, -1e-42 => NAN, INF => INF, NAN => NAN;
    log1p: 0.0 => 0.0, -0.0 => -0.0, 1e-42 => 1e-42, -1.0 => -INF, -1.5 => NAN, -INF => NAN, INF => INF, NAN => NAN;
    sin: 0.0 => 0.0, -0.0 => -0.0, INF => NAN, -INF => NAN, NAN => NAN;
    cos: 0.0 => 1.0, -0.0 => 1.0, INF => NAN, -INF => NAN, NAN => NAN;
    tanh: 0.0 => 0.0, -0.0 => -0.0, 1e-42 => 1e-42, 800.0 => 1.0, INF => 1.0, -INF => -1.0, NAN => NAN;
    sigmoid: 0.0 => 0.5, -0.0 => 0.5, 800.0 => 1.0, INF => 1.0, -800.0 => 0.0, -INF => 0.0, NAN => NAN;
    softplus: -800.0 => 0.0, -INF => 0.0, 800.0 => 800.0, INF => INF, NAN => NAN;
    erf: 0.0 => 0.0, -0.0 => -0.0, 7.0 => 1.0, INF => 1.0, -INF => -1.0, NAN => NAN;
    gelu: 0.0 => 0.0, -0.0 => -0.0, 50.0 => 50.0, -50.0 => -0.0, INF => INF, -INF => NAN, NAN => NAN;
    silu: 0.0 => 0.0, -0.0 => -0.0, 800.0 => 800.0, -800.0 => -0.0, INF => INF, -INF => NAN, NAN => NAN;
    rsqrt: 4.0 => 0.5, 0.0 => INF, -0.0 => -INF, INF => 0.0, -1.0 => NAN, NAN => NAN;
}

/// The host's `powf` has the special cases of IEEE 754; its finite results need not be the same to the bit.
#[test]
fn power() {
    let agree =
        |got: f64, want: f64, tolerance: f64| same(got, want) || (got / want - 1.0).abs() <= tolerance;
    let points = [0.0, 0.5, 1.0, 2.0, 3.0, 2.5, 1e30, 9_007_199_254_740_991.0, 1e-30, INF, NAN];
    let both_signs = || points.into_iter().flat_map(|x| [x, -x]);
    for (x, y) in both_signs().flat_map(|x| both_signs().map(move |y| (x, y))) {
        let (got, want) = (math::pow(&Host64, x, y), x.powf(y));
        assert!(agree(got, want, f64::EPSILON), "{x:e}^{y:e} in f64 is {got:e}, expected {want:e}");
        let (x, y) = (x as f32, y as f32);
        let (got, want) = (math::pow(&Host32, x, y), f64::from(x).powf(y.into()) as f32);
        assert!(
            agree(got.into(), want.into(), f32::EPSILON.into()),
            "{x:e}^{y:e} in f32 is {got:e}, expected {want:e}"
        );
    }
}

#[test]
fn angles_beyond_the_exact_reduction_stay_on_the_circle() {
    for x in super::words(6).map(f64::from_bits).filter(|x| x.is_finite()).take(1 << 16) {
        let (sin, cos) = (math::sin(&Host64, x), math::cos(&Host64, x));
        assert!(sin.abs() <= 1.0 && cos.abs() <= 1.0, "sin({x:e}) = {sin}, cos({x:e}) = {cos}");
    }
}
