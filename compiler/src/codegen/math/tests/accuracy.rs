//! Errors in units in the last place, against the host's library and, where it has none, `reference`.

use super::super::host::{Fused32, Host32, Host64};
use super::super::{self as math, Format};
use super::{even, reference, words};

/// What the host's library may itself be wrong by, and the formulas made of two of its functions.
const HOST: f64 = 1.0;

/// Any bits of either format, and as many points evenly within `span`.
fn points(span: f64) -> impl Iterator<Item = f64> {
    let count = 1 << 17;
    let any = words(1).map(f64::from_bits);
    let any_single = words(2).map(|w| f64::from(f32::from_bits(w as u32)));
    let near = words(3).map(move |w| even(w, span));
    any.take(count).chain(any_single.take(count)).chain(near.take(2 * count))
}

/// Those points at which the reduction is exact, and multiples of π/2, where it cancels most.
fn angles() -> impl Iterator<Item = f64> {
    let multiples = (1..1 << 16).map(|k| f64::from(k * 10_007) * std::f64::consts::FRAC_PI_2);
    points(1e9).filter(|x| x.abs() <= 1_073_741_824.0).chain(multiples)
}

/// The distance from `got` to `want` in units of `format` at `want`.
fn error(format: Format, got: f64, want: f64) -> f64 {
    let want = match format {
        Format::Single if (want as f32).is_infinite() => f64::from(want as f32),
        Format::Single | Format::Double => want,
    };
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    let least = 1 - format.bias();
    let exponent = ((want.abs().to_bits() >> 52) as i64 - 1023).max(least) as i32;
    (got - want).abs() / 2f64.powi(exponent) * 2f64.powi(format.significand_bits() as i32)
}

fn check(what: &str, bound: f64, errors: impl Iterator<Item = (f64, f64)>) {
    let larger = |a: (f64, f64), b: (f64, f64)| if b.1 > a.1 { b } else { a };
    let (x, worst) = errors.fold((0.0, 0.0), larger);
    println!("{what:12} {worst:.3} at {x:e}");
    assert!(worst <= bound, "{what}({x:e}) is {worst} ulp off");
}

macro_rules! accuracy {
    ($($name:ident, f32 $single:literal, f64 $double:literal, on $points:expr, is $want:expr;)*) => {$(
        #[test]
        fn $name() {
            let want: fn(f64) -> f64 = $want;
            let single = |x: f64| {
                let x = x as f32;
                (x.into(), error(Format::Single, math::$name(&Host32, x).into(), want(x.into())))
            };
            let double = |x: f64| (x, error(Format::Double, math::$name(&Host64, x), want(x)));
            check(concat!(stringify!($name), " f32"), $single, $points.map(single));
            check(concat!(stringify!($name), " f64"), $double + HOST, $points.map(double));
        }
    )*};
}

accuracy! {
    exp, f32 0.8, f64 0.8, on points(800.0), is f64::exp;
    exp2, f32 0.8, f64 0.8, on points(1100.0), is f64::exp2;
    expm1, f32 1.1, f64 1.1, on points(5.0), is f64::exp_m1;
    log, f32 0.9, f64 0.8, on points(4.0), is f64::ln;
    log2, f32 0.8, f64 0.8, on points(4.0), is f64::log2;
    log1p, f32 0.9, f64 0.8, on points(4.0), is f64::ln_1p;
    sin, f32 0.5001, f64 0.8, on angles(), is f64::sin;
    cos, f32 0.5001, f64 0.8, on angles(), is f64::cos;
    tanh, f32 1.4, f64 1.3, on points(3.0), is f64::tanh;
    sigmoid, f32 1.1, f64 1.1, on points(90.0), is reference::sigmoid;
    silu, f32 2.8, f64 2.5, on points(90.0), is reference::silu;
    softplus, f32 1.4, f64 1.5, on points(90.0), is |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    rsqrt, f32 1.5, f64 1.5, on points(9.0), is reference::rsqrt;
    erf, f32 1.2, f64 1.3, on points(6.0), is reference::erf;
    gelu, f32 4.5, f64 6.0, on points(12.0), is reference::gelu;
}

/// The forms that f32 has where products are added by one instruction.
#[test]
fn by_fused_products() {
    macro_rules! fused {
        ($($name:ident, $bound:literal, on $points:expr, is $want:expr;)*) => {$(
            let want: fn(f64) -> f64 = $want;
            let of = |x: f64| {
                let x = x as f32;
                (x.into(), error(Format::Single, math::$name(&Fused32, x).into(), want(x.into())))
            };
            check(concat!(stringify!($name), " fused"), $bound, $points.map(of));
        )*};
    }
    fused! {
        exp, 1.0, on points(800.0), is f64::exp;
        exp2, 1.0, on points(1100.0), is f64::exp2;
        tanh, 1.5, on points(3.0), is f64::tanh;
        sigmoid, 2.0, on points(90.0), is reference::sigmoid;
    }
}

#[test]
fn pow() {
    let pairs = || {
        let bases = words(4).map(|w| if w % 2 == 0 { even(w, 30.0).exp() } else { even(w, 4.0) });
        let exponents = words(5).map(|w| if w % 4 == 0 { even(w, 40.0).round() } else { even(w, 60.0) });
        bases.zip(exponents).take(1 << 19)
    };
    let double = |(x, y): (f64, f64)| (x, error(Format::Double, math::pow(&Host64, x, y), x.powf(y)));
    let single = |(x, y): (f64, f64)| {
        let (x, y) = (x as f32, y as f32);
        let want = f64::from(x).powf(y.into());
        (x.into(), error(Format::Single, math::pow(&Host32, x, y).into(), want))
    };
    check("pow f32", 0.5001, pairs().map(single));
    check("pow f64", 0.7 + HOST, pairs().map(double));
}
