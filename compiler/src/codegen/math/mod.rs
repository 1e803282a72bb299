//! Scalar functions to basic operations: each function of the language is one formula over [`Arith`], which every back
//! end instantiates, so that kernels call no library and all back ends agree to the bit, but for exp, exp2, tanh
//! and sigmoid of f32, which have a form of fewer instructions for processors that add a product by one.
//!
//! The formulas do not branch and look nothing up, so they serve vectors as well. They keep NaN, have the limits of
//! the functions at zeros and infinities, overflow to an infinity and underflow gradually. The errors given are the
//! largest that were measured against references of higher precision, in units in the last place. sin, cos and pow
//! of f32 are computed in f64.

mod arith;
mod erf;
mod exponential;
pub mod host;
mod logarithm;
pub mod narrow;
mod power;
mod sigmoidal;
#[cfg(test)]
mod tests;
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
    /// e to the power of x.
    ///
    /// Error: 0.8 ulp in f32 (1.0 where products are added by one instruction), 0.8 in f64.
    exponential::exp;
    /// The same, but NaN for any x that is not finite; where a scaling by a power of two is one instruction, an x beyond
    /// 2^21 may give NaN or an infinity, too.
    exponential::power_of_finite;
    /// 2 to the power of x.
    ///
    /// Error: 0.8 ulp in f32 (1.0 where products are added by one instruction), 0.8 in f64.
    exponential::exp2;
    /// `exp x - 1`, without the cancellation near 0.
    ///
    /// Error: 1.1 ulp in f32, 1.1 in f64.
    exponential::expm1;
    /// The natural logarithm; -inf at 0, NaN below.
    ///
    /// Error: 0.9 ulp in f32, 0.8 in f64.
    logarithm::log;
    /// The logarithm to base 2, exact for powers of two.
    ///
    /// Error: 0.8 ulp in f32, 0.8 in f64.
    logarithm::log2;
    /// `log (1 + x)`, without the cancellation near 0.
    ///
    /// Error: 0.9 ulp in f32, 0.8 in f64.
    logarithm::log1p;
    /// The sine, for `|x| <= 2^30`; beyond, some value from -1 to 1.
    ///
    /// Error: 0.5 ulp in f32, 0.8 in f64.
    trigonometric::sin;
    /// The cosine, for `|x| <= 2^30`; beyond, some value from -1 to 1.
    ///
    /// Error: 0.5 ulp in f32, 0.8 in f64.
    trigonometric::cos;
    /// The hyperbolic tangent.
    ///
    /// Error: 1.4 ulp in f32 (1.5 where products are added by one instruction), 1.3 in f64.
    sigmoidal::tanh;
    /// `1 / (1 + exp -x)`
    ///
    /// Error: 1.1 ulp in f32 (2.0 where products are added by one instruction), 1.1 in f64.
    sigmoidal::sigmoid;
    /// `log (1 + exp x)`, which never overflows.
    ///
    /// Error: 1.4 ulp in f32, 1.5 in f64.
    sigmoidal::softplus;
    /// `x / (1 + exp -x)`, NaN at -inf.
    ///
    /// Error: 2.8 ulp in f32, 2.5 in f64.
    sigmoidal::silu;
    /// The error function.
    ///
    /// Error: 1.2 ulp in f32, 1.3 in f64.
    erf::erf;
    /// `x (1 + erf (x / √2)) / 2`, NaN at -inf.
    ///
    /// Error: 4.5 ulp in f32, 6.0 in f64.
    erf::gelu;
    /// `1 / sqrt x`
    ///
    /// Error: 1.5 ulp in f32, 1.5 in f64.
    power::rsqrt;
}

/// `x^y` with the special cases of IEEE 754: `x^0 = 1^y = 1`, signs by the parity of `y`, NaN for a negative base with
/// a fractional exponent.
///
/// Error: 0.5 ulp in f32, 0.7 in f64.
pub fn pow<A: Arith>(arith: &A, x: A::F, y: A::F) -> A::F {
    power::pow(Float::new(arith, x), Float::new(arith, y)).value()
}
