//! The basic operations that the expansions are made of, and the operators that make formulas of them.
//!
//! A back end implements [`Arith`] once per floating-point type; [`Float`], [`Bits`] and [`Mask`] pair one of its
//! values with the back end, so that an expansion is written as the formula it is. Nothing here branches, and no
//! operation may be contracted or reassociated: the error bounds of the expansions rest on every single rounding.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Shl, Shr, Sub};

/// A floating-point type of a back end, as a scalar or as a vector of lanes.
///
/// Every operation is IEEE 754 with round to nearest even, gradual underflow included.
pub trait Arith {
    /// Lanes of this floating-point type.
    type F: Copy;
    /// Lanes of signed integers of the same width.
    type I: Copy;
    /// What a comparison gives, per lane.
    type B: Copy;
    /// The same number of lanes in [`Format::Double`]; of a double the type itself.
    type Wide: Arith;

    /// Which type the lanes have.
    fn format(&self) -> Format;
    /// The constant `x`, rounded to the type.
    fn float(&self, x: f64) -> Self::F;
    /// The constant `x`.
    fn int(&self, x: i64) -> Self::I;

    /// `a + b`
    fn add(&self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(&self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(&self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(&self, a: Self::F, b: Self::F) -> Self::F;
    /// `a` with the other sign, also of a zero.
    fn neg(&self, a: Self::F) -> Self::F;
    /// `a` without its sign.
    fn abs(&self, a: Self::F) -> Self::F;
    /// The square root of `a`, correctly rounded.
    fn sqrt(&self, a: Self::F) -> Self::F;

    /// Whether [`Arith::mul_add`] is one instruction and rounds once. Formulas whose form hangs on it ask.
    fn fuses(&self) -> bool {
        false
    }
    /// `a * b + c`
    fn mul_add(&self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.add(self.mul(a, b), c)
    }
    /// `a * 2^n` for a whole `n`, rounded once, where that is one instruction.
    fn scaled(&self, _a: Self::F, _n: Self::F) -> Option<Self::F> {
        None
    }

    /// `a / b` for `b` from 1 to 2, by what takes the least time.
    fn quotient(&self, a: Self::F, b: Self::F) -> Self::F {
        self.div(a, b)
    }

    /// `a < b`; false when either is NaN.
    fn lt(&self, a: Self::F, b: Self::F) -> Self::B;
    /// `a == b`; false when either is NaN.
    fn eq(&self, a: Self::F, b: Self::F) -> Self::B;
    /// Both.
    fn both(&self, a: Self::B, b: Self::B) -> Self::B;
    /// At least one.
    fn either(&self, a: Self::B, b: Self::B) -> Self::B;
    /// The opposite.
    fn not(&self, a: Self::B) -> Self::B;
    /// `a` where `mask` holds, `b` elsewhere.
    fn select(&self, mask: Self::B, a: Self::F, b: Self::F) -> Self::F;

    /// The same of integers.
    fn select_bits(&self, mask: Self::B, a: Self::I, b: Self::I) -> Self::I {
        self.to_bits(self.select(mask, self.from_bits(a), self.from_bits(b)))
    }

    /// The bit pattern of `a`.
    fn to_bits(&self, a: Self::F) -> Self::I;
    /// The float whose bit pattern is `a`.
    #[allow(clippy::wrong_self_convention, reason = "`self` is the back end, not what is converted")]
    fn from_bits(&self, a: Self::I) -> Self::F;
    /// `a + b`, wrapping.
    fn iadd(&self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`, wrapping.
    fn isub(&self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn iand(&self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn ior(&self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise exclusive or.
    fn ixor(&self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << by`, for `by` below the width.
    fn shl(&self, a: Self::I, by: u32) -> Self::I;
    /// `a >> by` with copies of the sign, for `by` below the width.
    fn sshr(&self, a: Self::I, by: u32) -> Self::I;

    /// Computes `f` in [`Format::Double`] and rounds its result; of a double it is `f` itself.
    fn in_double<const N: usize>(
        &self,
        x: [Self::F; N],
        f: impl Fn(&Self::Wide, [<Self::Wide as Arith>::F; N]) -> <Self::Wide as Arith>::F,
    ) -> Self::F;
}

/// The two floating-point types that kernels compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// IEEE binary32.
    Single,
    /// IEEE binary64.
    Double,
}

impl Format {
    /// All bits.
    pub const fn bits(self) -> u32 {
        match self {
            Format::Single => 32,
            Format::Double => 64,
        }
    }

    /// Stored bits of the significand.
    pub const fn significand_bits(self) -> u32 {
        match self {
            Format::Single => 23,
            Format::Double => 52,
        }
    }

    /// The exponent field of 1.0.
    pub const fn bias(self) -> i64 {
        match self {
            Format::Single => 127,
            Format::Double => 1023,
        }
    }
}

macro_rules! operand {
    ($(#[$doc:meta])* $name:ident, $of:ident) => {
        $(#[$doc])*
        pub(super) struct $name<'a, A: Arith> {
            arith: &'a A,
            v: A::$of,
        }

        impl<A: Arith> Copy for $name<'_, A> {}

        impl<A: Arith> Clone for $name<'_, A> {
            fn clone(&self) -> Self {
                *self
            }
        }
    };
}

operand!(
    /// A floating-point operand of a formula.
    Float, F
);
operand!(
    /// The bits of a [`Float`], or an integer made from them.
    Bits, I
);
operand!(
    /// The outcome of a comparison.
    Mask, B
);

macro_rules! operator {
    ($ty:ident: $($op:ident $method:ident $arith:ident),*) => {$(
        impl<'a, A: Arith> $op for $ty<'a, A> {
            type Output = $ty<'a, A>;
            fn $method(self, other: Self) -> Self {
                $ty { arith: self.arith, v: self.arith.$arith(self.v, other.v) }
            }
        }
    )*};
    ($ty:ident with $constant:ident($num:ty): $($op:ident $method:ident),*) => {$(
        impl<'a, A: Arith> $op<$num> for $ty<'a, A> {
            type Output = $ty<'a, A>;
            fn $method(self, other: $num) -> Self {
                self.$method(self.$constant(other))
            }
        }
    )*};
}

operator!(Float: Add add add, Sub sub sub, Mul mul mul, Div div div);
operator!(Float with constant(f64): Add add, Sub sub, Mul mul, Div div);
operator!(Bits: Add add iadd, Sub sub isub, BitAnd bitand iand, BitOr bitor ior, BitXor bitxor ixor);
operator!(Bits with constant(i64): Add add, Sub sub, BitAnd bitand, BitOr bitor, BitXor bitxor);
operator!(Mask: BitAnd bitand both, BitOr bitor either);

impl<A: Arith> Neg for Float<'_, A> {
    type Output = Self;
    fn neg(self) -> Self {
        Float { arith: self.arith, v: self.arith.neg(self.v) }
    }
}

impl<A: Arith> Not for Mask<'_, A> {
    type Output = Self;
    fn not(self) -> Self {
        Mask { arith: self.arith, v: self.arith.not(self.v) }
    }
}

impl<A: Arith> Shl<u32> for Bits<'_, A> {
    type Output = Self;
    fn shl(self, by: u32) -> Self {
        Bits { arith: self.arith, v: self.arith.shl(self.v, by) }
    }
}

impl<A: Arith> Shr<u32> for Bits<'_, A> {
    type Output = Self;
    fn shr(self, by: u32) -> Self {
        Bits { arith: self.arith, v: self.arith.sshr(self.v, by) }
    }
}

impl<'a, A: Arith> Float<'a, A> {
    pub(super) fn new(arith: &'a A, v: A::F) -> Self {
        Float { arith, v }
    }

    /// The bare value, for the back end.
    pub(super) fn value(self) -> A::F {
        self.v
    }

    pub(super) fn format(self) -> Format {
        self.arith.format()
    }

    /// A constant beside this operand.
    pub(super) fn constant(self, x: f64) -> Self {
        Float { arith: self.arith, v: self.arith.float(x) }
    }

    pub(super) fn abs(self) -> Self {
        Float { arith: self.arith, v: self.arith.abs(self.v) }
    }

    pub(super) fn sqrt(self) -> Self {
        Float { arith: self.arith, v: self.arith.sqrt(self.v) }
    }

    pub(super) fn lt(self, other: f64) -> Mask<'a, A> {
        self.less(self.constant(other))
    }

    pub(super) fn gt(self, other: f64) -> Mask<'a, A> {
        self.constant(other).less(self)
    }

    pub(super) fn is(self, other: f64) -> Mask<'a, A> {
        self.same(self.constant(other))
    }

    pub(super) fn same(self, other: Self) -> Mask<'a, A> {
        Mask { arith: self.arith, v: self.arith.eq(self.v, other.v) }
    }

    fn less(self, other: Self) -> Mask<'a, A> {
        Mask { arith: self.arith, v: self.arith.lt(self.v, other.v) }
    }

    /// The smaller; `self` when it is NaN.
    pub(super) fn min(self, other: Self) -> Self {
        other.less(self).select(other, self)
    }

    /// The larger; `self` when it is NaN.
    pub(super) fn max(self, other: Self) -> Self {
        self.less(other).select(other, self)
    }

    pub(super) fn bits(self) -> Bits<'a, A> {
        Bits { arith: self.arith, v: self.arith.to_bits(self.v) }
    }

    /// `self`, negated where `of` has its sign bit set.
    pub(super) fn with_sign(self, of: Self) -> Self {
        (self.bits() ^ (of.bits() & self.constant(-0.0).bits())).float()
    }

    /// Computes `f` in double and rounds once.
    pub(super) fn in_double(self, f: impl Fn(Float<'_, A::Wide>) -> Float<'_, A::Wide>) -> Self {
        Float { arith: self.arith, v: self.arith.in_double([self.v], |wide, [x]| f(Float::new(wide, x)).v) }
    }

    /// The same of two operands.
    pub(super) fn in_double_with(
        self,
        other: Self,
        f: impl for<'w> Fn(Float<'w, A::Wide>, Float<'w, A::Wide>) -> Float<'w, A::Wide>,
    ) -> Self {
        let f = |wide: &A::Wide, [x, y]: [_; 2]| f(Float::new(wide, x), Float::new(wide, y)).v;
        Float { arith: self.arith, v: self.arith.in_double([self.v, other.v], f) }
    }

    /// Whether a product is added by one instruction, rounded once.
    pub(super) fn fuses(self) -> bool {
        self.arith.fuses()
    }

    /// `self * by + to`
    pub(super) fn mul_add(self, by: Self, to: Self) -> Self {
        Float { arith: self.arith, v: self.arith.mul_add(self.v, by.v, to.v) }
    }

    /// `self * 2^n` for a whole `n`, where that is one instruction.
    pub(super) fn scaled(self, n: Self) -> Option<Self> {
        Some(Float { arith: self.arith, v: self.arith.scaled(self.v, n.v)? })
    }

    /// `self / by` for `by` from 1 to 2.
    pub(super) fn quotient(self, by: Self) -> Self {
        Float { arith: self.arith, v: self.arith.quotient(self.v, by.v) }
    }

    /// [`Float::poly`] by [`Float::mul_add`].
    pub(super) fn fused_poly(self, c: &[f64]) -> Self {
        let (last, rest) = c.split_last().expect("a polynomial has a coefficient");
        rest.iter().rfold(self.constant(*last), |sum, &c| sum.mul_add(self, self.constant(c)))
    }

    /// `c[0] + c[1] x + c[2] x² + …`
    pub(super) fn poly(self, c: &[f64]) -> Self {
        let (last, rest) = c.split_last().expect("a polynomial has a coefficient");
        rest.iter().rfold(self.constant(*last), |sum, &c| sum * self + c)
    }
}

impl<'a, A: Arith> Bits<'a, A> {
    pub(super) fn new(arith: &'a A, v: A::I) -> Self {
        Bits { arith, v }
    }

    /// The bare value, for the back end.
    pub(super) fn value(self) -> A::I {
        self.v
    }

    /// A floating-point constant beside this operand.
    pub(super) fn float_constant(self, x: f64) -> Float<'a, A> {
        Float { arith: self.arith, v: self.arith.float(x) }
    }

    /// The float with these bits.
    pub(super) fn float(self) -> Float<'a, A> {
        Float { arith: self.arith, v: self.arith.from_bits(self.v) }
    }

    pub(super) fn constant(self, x: i64) -> Self {
        Bits { arith: self.arith, v: self.arith.int(x) }
    }
}

impl<'a, A: Arith> Mask<'a, A> {
    /// `a` where the mask holds, `b` elsewhere.
    pub(super) fn select(self, a: Float<'a, A>, b: Float<'a, A>) -> Float<'a, A> {
        Float { arith: self.arith, v: self.arith.select(self.v, a.v, b.v) }
    }

    /// The same of integers.
    pub(super) fn select_bits(self, a: Bits<'a, A>, b: Bits<'a, A>) -> Bits<'a, A> {
        Bits { arith: self.arith, v: self.arith.select_bits(self.v, a.v, b.v) }
    }
}
