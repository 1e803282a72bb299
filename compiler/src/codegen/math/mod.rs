//! Scalar functions to basic operations: each function of the language is one formula over [`Arith`], which every back
//! end instantiates, so that kernels call no library and all back ends agree to the bit.
//!
//! The formulas do not branch and look nothing up, so they serve vectors as well. All keep NaN, give the limits at
//! the infinities and the zeros, and round subnormal results correctly. Errors are the largest that the tests have
//! seen, in units in the last place, for f32 and for f64.

mod arith;
mod exponential;
mod logarithm;
mod power;
mod trigonometric;

use arith::Float;
pub use arith::{Arith, Format};

macro_rules! functions {
    ($($(#[$doc:meta])* $module:ident::$name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name<A: Arith>(arith: &A, x: A::F) -> A::F {
            $module::$name(Float::new(arith, x)).value()
        }
    )*};
}

functions! {
    /// `1 / sqrt x`
    exponential::rsqrt;
    /// `x / (1 + exp -x)`, NaN at -inf.
    exponential::silu;
    /// e to the power of x.
    exponential::exp;
    /// 2 to the power of x.
    exponential::exp2;
    /// `exp x - 1`, without the cancellation near 0.
    exponential::expm1;
    /// The natural logarithm; -inf at 0, NaN below.
    logarithm::log;
    /// The logarithm to base 2, exact for powers of two.
    logarithm::log2;
    /// `log (1 + x)`, without the cancellation near 0.
    logarithm::log1p;
    /// The sine, for `|x| <= 2^30`; beyond, some value from -1 to 1.
    trigonometric::sin;
    /// The cosine, likewise.
    trigonometric::cos;
    /// The hyperbolic tangent.
    exponential::tanh;
    /// `1 / (1 + exp -x)`
    exponential::sigmoid;
    /// `log (1 + exp x)`, which never overflows.
    exponential::softplus;
}

/// `x^y` with the special cases of IEEE 754: `x^0 = 1^y = 1`, signs by the parity of `y`, NaN for a negative base with
/// a fractional exponent.
pub fn pow<A: Arith>(arith: &A, x: A::F, y: A::F) -> A::F {
    power::pow(Float::new(arith, x), Float::new(arith, y)).value()
}
