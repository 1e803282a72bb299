//! Real numbers with the precision of f64 and exponents of 64 bits: what a cascade gives where f64 overflows on the way.
//!
//! ```text
//! exp(1e4) / (exp(1e4) + exp(9999))   ->   ∞ / ∞ in f64, 0.731… here
//! ```
//!
//! Where no number leaves the range, every operation is that of f64, to the last bit. Beyond it, products, sums,
//! quotients, roots, logarithms and exponentials are right to some units of the last place; a power to as many as its
//! exponent has.

use std::cmp::Ordering;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2};

use super::number::Number;
use super::scalar::{self, unary_real};
use crate::ir::expr::{BinaryOp, UnaryOp};

/// `mantissa` where the exponent is 0; else `mantissa * 2^exponent`, of a magnitude in 1 … 2.
///
/// The exponent is 0 exactly for 0, ∞, NaN and numbers that f64 holds with room to spare, so equal numbers look equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extended {
    mantissa: f64,
    exponent: i64,
}

/// Exponents below this magnitude are those of f64.
const ROOM: i64 = 1000;
/// Exponents beyond are taken for 0 and ∞.
const MOST: i64 = 1 << 60;
/// Powers of larger numbers are taken for 0 and ∞.
const FAR: f64 = 1e17;
/// What ln 2 is more than its nearest f64.
const LN_2_REST: f64 = 2.319_046_813_846_299_6e-17;
const ONE: Extended = Extended { mantissa: 1.0, exponent: 0 };
const ZERO: Extended = Extended { mantissa: 0.0, exponent: 0 };

impl Number for Extended {
    fn of(x: f64) -> Extended {
        Extended::new(x, 0)
    }

    fn to_f64(self) -> f64 {
        let Extended { mantissa, exponent } = self;
        match exponent {
            0 => mantissa,
            1024.. => mantissa * f64::INFINITY,
            ROOM..1024 => mantissa * power_of_2(exponent),
            // Rounded once, as the first product is exact.
            -1100..ROOM => mantissa * power_of_2(-900) * power_of_2(exponent + 900),
            _ => mantissa * 0.0,
        }
    }

    fn unary(op: UnaryOp, x: Extended) -> Extended {
        match op {
            UnaryOp::ToReal => x,
            UnaryOp::Neg | UnaryOp::Abs => Extended { mantissa: unary_real(op, x.mantissa), ..x },
            UnaryOp::Relu => scalar::extreme(x, ZERO, Ordering::Greater),
            UnaryOp::Sign => Extended { mantissa: unary_real(op, x.mantissa), exponent: 0 },
            UnaryOp::Exp => x.exp(),
            UnaryOp::Exp2 => x.exp2(),
            UnaryOp::Sqrt => x.sqrt(),
            UnaryOp::Rsqrt => ONE.over(x.sqrt()),
            UnaryOp::Sigmoid => x.sigmoid(),
            UnaryOp::Silu => x.times(x.sigmoid()),
            UnaryOp::Softplus => {
                let small = Extended::unary(UnaryOp::Log1p, x.minus_size().exp());
                scalar::extreme(x, ZERO, Ordering::Greater).plus(small)
            }
            UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log1p
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tanh
            | UnaryOp::Erf
            | UnaryOp::Gelu
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc => x.function(op),
            UnaryOp::Not | UnaryOp::Ilog2 | UnaryOp::IsNan | UnaryOp::IsInf => {
                unreachable!("{} gives no real", op.name())
            }
        }
    }

    fn binary(op: BinaryOp, a: Extended, b: Extended) -> Extended {
        match op {
            BinaryOp::Add => a.plus(b),
            BinaryOp::Sub => a.plus(Extended::unary(UnaryOp::Neg, b)),
            BinaryOp::Mul => a.times(b),
            BinaryOp::Div => a.over(b),
            BinaryOp::Pow => a.power(b),
            BinaryOp::Min => scalar::extreme(a, b, Ordering::Less),
            BinaryOp::Max => scalar::extreme(a, b, Ordering::Greater),
            BinaryOp::FloorDiv
            | BinaryOp::Mod
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => unreachable!("{} of reals", op.name()),
        }
    }

    fn order(self, other: Extended) -> Option<Ordering> {
        if self.exponent == 0 && other.exponent == 0 {
            return self.mantissa.partial_cmp(&other.mantissa);
        }
        let difference = Extended::binary(BinaryOp::Sub, self, other);
        difference.mantissa.partial_cmp(&0.0)
    }
}

impl Extended {
    /// `mantissa * 2^exponent`.
    fn new(mantissa: f64, exponent: i64) -> Extended {
        if mantissa == 0.0 || !mantissa.is_finite() {
            return Extended { mantissa, exponent: 0 };
        }
        let (mantissa, own) = split(mantissa);
        let exponent = exponent + own;
        match exponent {
            _ if (-ROOM..ROOM).contains(&exponent) => {
                Extended { mantissa: mantissa * power_of_2(exponent), exponent: 0 }
            }
            MOST.. => Extended { mantissa: mantissa * f64::INFINITY, exponent: 0 },
            _ if exponent < -MOST => Extended { mantissa: mantissa * 0.0, exponent: 0 },
            _ => Extended { mantissa, exponent },
        }
    }

    /// A mantissa of a magnitude in 1 … 2 and its exponent; of 0, ∞ and NaN themselves.
    fn parts(self) -> (f64, i64) {
        let is_special = self.mantissa == 0.0 || !self.mantissa.is_finite();
        if self.exponent != 0 || is_special { (self.mantissa, self.exponent) } else { split(self.mantissa) }
    }

    /// What f64 makes of two numbers, where it has room for them and for the result.
    fn in_f64(self, other: Extended, result: f64) -> Option<Extended> {
        let has_room = self.exponent == 0 && other.exponent == 0 && has_room(result);
        has_room.then_some(Extended { mantissa: result, exponent: 0 })
    }

    fn times(self, other: Extended) -> Extended {
        self.in_f64(other, self.mantissa * other.mantissa).unwrap_or_else(|| {
            let ((a, i), (b, j)) = (self.parts(), other.parts());
            Extended::new(a * b, i + j)
        })
    }

    fn over(self, other: Extended) -> Extended {
        self.in_f64(other, self.mantissa / other.mantissa).unwrap_or_else(|| {
            let ((a, i), (b, j)) = (self.parts(), other.parts());
            Extended::new(a / b, i - j)
        })
    }

    fn plus(self, other: Extended) -> Extended {
        let sum = self.mantissa + other.mantissa;
        if self.exponent == 0 && other.exponent == 0 && (has_room(sum) || sum == 0.0) {
            return Extended { mantissa: sum, exponent: 0 };
        }
        let ((a, i), (b, j)) = (self.parts(), other.parts());
        match () {
            () if !a.is_finite() || !b.is_finite() => Extended { mantissa: a + b, exponent: 0 },
            () if a == 0.0 => other,
            () if b == 0.0 => self,
            () if i < j => other.plus(self),
            // Beyond the last place.
            () if i - j > 200 => self,
            () => Extended::new(a + b * power_of_2(j - i), i),
        }
    }

    fn minus_size(self) -> Extended {
        Extended { mantissa: -self.mantissa.abs(), ..self }
    }

    fn exp(self) -> Extended {
        let x = self.mantissa;
        if self.exponent != 0 {
            return self.beyond([0.0, f64::INFINITY, 1.0]);
        }
        if x.is_nan() || x.abs() < 690.0 {
            return Extended::new(x.exp(), 0);
        }
        if x.abs() > FAR {
            return Extended { mantissa: if x > 0.0 { f64::INFINITY } else { 0.0 }, exponent: 0 };
        }
        let times = (x / LN_2).round();
        let rest = (-times).mul_add(LN_2_REST, (-times).mul_add(LN_2, x));
        Extended::new(rest.exp(), times as i64)
    }

    fn exp2(self) -> Extended {
        let x = self.mantissa;
        if self.exponent != 0 {
            return self.beyond([0.0, f64::INFINITY, 1.0]);
        }
        if x.is_nan() || x.abs() < ROOM as f64 {
            return Extended::new(x.exp2(), 0);
        }
        if x.abs() > FAR {
            return Extended { mantissa: if x > 0.0 { f64::INFINITY } else { 0.0 }, exponent: 0 };
        }
        Extended::new((x - x.floor()).exp2(), x.floor() as i64)
    }

    fn sqrt(self) -> Extended {
        let (mantissa, exponent) = (self.mantissa, self.exponent);
        let odd = exponent.rem_euclid(2);
        Extended::new((mantissa * (1 + odd) as f64).sqrt(), (exponent - odd) / 2)
    }

    fn sigmoid(self) -> Extended {
        let small = self.minus_size().exp();
        let all = ONE.plus(small);
        if self.mantissa >= 0.0 { ONE.over(all) } else { small.over(all) }
    }

    /// What is given for large negative, large positive and tiny numbers.
    fn beyond(self, [low, high, tiny]: [f64; 3]) -> Extended {
        let found = if self.exponent < 0 {
            tiny
        } else if self.mantissa < 0.0 {
            low
        } else {
            high
        };
        Extended::new(found, 0)
    }

    /// A function whose result leaves the range only where its operand does.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn function(self, op: UnaryOp) -> Extended {
        let (m, e) = (self.mantissa, self.exponent);
        let (is_huge, is_tiny) = (e > 0, e < 0);
        match op {
            UnaryOp::Expm1 if is_huge || m >= 690.0 => {
                if m > 0.0 {
                    self.exp()
                } else {
                    Extended::new(-1.0, 0)
                }
            }
            UnaryOp::Log | UnaryOp::Log1p if is_huge => Extended::new(m.ln() + e as f64 * LN_2, 0),
            UnaryOp::Log if is_tiny => Extended::new(m.ln() + e as f64 * LN_2, 0),
            UnaryOp::Log2 if is_huge || is_tiny => Extended::new(m.log2() + e as f64, 0),
            UnaryOp::Expm1 | UnaryOp::Log1p | UnaryOp::Sin | UnaryOp::Tanh if is_tiny => self,
            UnaryOp::Erf if is_tiny => self.times(Extended::new(FRAC_2_SQRT_PI, 0)),
            UnaryOp::Gelu if is_tiny => self.times(Extended::new(0.5, 0)),
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc if is_huge => self,
            UnaryOp::Gelu if is_huge => scalar::extreme(self, ZERO, Ordering::Greater),
            op if is_huge => Extended::new(unary_real(op, f64::MAX.copysign(m)), 0),
            op if is_tiny => Extended::new(unary_real(op, f64::MIN_POSITIVE.copysign(m)), 0),
            op => Extended::new(unary_real(op, m), 0),
        }
    }

    fn power(self, by: Extended) -> Extended {
        let (y, result) = (by.to_f64(), self.mantissa.powf(by.to_f64()));
        let (m, e) = self.parts();
        let is_special = m == 0.0 || !m.is_finite() || !y.is_finite() || result.is_nan();
        if let Some(it) = self.in_f64(by, result) {
            return it;
        }
        if is_special {
            return Extended::new(self.to_f64().powf(y), 0);
        }
        let (high, log) = (e as f64 * y, m.abs().log2() * y);
        let low = (e as f64).mul_add(y, -high);
        let whole = (high + log).clamp(-1e18, 1e18).round();
        let sign = if m < 0.0 && y % 2.0 != 0.0 { -1.0 } else { 1.0 };
        Extended::new(sign * ((high - whole) + log + low).clamp(-1.0, 1.0).exp2(), whole as i64)
    }
}

/// f64 has room for a number and its neighbours.
fn has_room(x: f64) -> bool {
    const LEAST: f64 = 1.0 / GREATEST;
    const GREATEST: f64 = f64::from_bits(((ROOM + 1023) as u64) << 52);
    (LEAST..GREATEST).contains(&x.abs())
}

/// For exponents of normal numbers.
fn power_of_2(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The mantissa, of a magnitude in 1 … 2, and the exponent of a finite number other than 0.
fn split(x: f64) -> (f64, i64) {
    const FIELD: u64 = 0x7ff << 52;
    let scale = if x.is_normal() { 0 } else { 64 };
    let bits = (x * power_of_2(scale)).to_bits();
    let exponent = ((bits & FIELD) >> 52) as i64 - 1023 - scale;
    (f64::from_bits(bits & !FIELD | 1023 << 52), exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: f64) -> Extended {
        Extended::of(x)
    }

    fn unary(op: UnaryOp, x: Extended) -> Extended {
        Extended::unary(op, x)
    }

    #[track_caller]
    fn near(a: Extended, b: Extended) {
        let off = a.over(b).to_f64() - 1.0;
        assert!(off.abs() < 1e-14, "{a:?} and {b:?}");
    }

    #[test]
    fn what_f64_holds_is_as_in_f64() {
        let numbers =
            [0.0, -0.0, 1.5, -3e-300, 1e300, -7.25, 1e-310, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        for (a, b) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
            for op in
                [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Pow, BinaryOp::Max]
            {
                let expected = scalar::binary_real(op, a, b);
                let overflows = expected == 0.0 || expected.is_infinite() || expected.is_subnormal();
                let found = Extended::binary(op, of(a), of(b)).to_f64();
                let same = found == expected || found.is_nan() && expected.is_nan();
                assert!(same || overflows, "{} of {a:e} and {b:e}: {found:e}, not {expected:e}", op.name());
            }
            assert_eq!(of(a).order(of(b)), a.partial_cmp(&b));
            assert!(of(a).to_f64().to_bits() == a.to_bits());
        }
    }

    #[test]
    fn laws_hold_where_f64_overflows() {
        for x in [625.0, 1e4, -1e4, 54321.125, -777.5, 1e9] {
            let (whole, half) = (unary(UnaryOp::Exp, of(x)), unary(UnaryOp::Exp, of(x / 2.0)));
            near(whole, half.times(half));
            near(unary(UnaryOp::Sqrt, whole), half);
            near(unary(UnaryOp::Log, whole), of(x));
            near(whole.over(half), half);
            near(unary(UnaryOp::Log2, unary(UnaryOp::Exp2, of(x))), of(x));
            near(whole.plus(whole), whole.times(of(2.0)));
            near(half.power(of(2.0)), whole);
            assert_eq!(whole.order(half), x.partial_cmp(&(x / 2.0)));
            assert_eq!(whole.plus(Extended::unary(UnaryOp::Neg, whole)), of(0.0));
        }
        // From products that f64 holds: exp(10000) is exp(625) to the 16th.
        let mut product = of(625f64.exp());
        for _ in 0..4 {
            product = product.times(product);
        }
        near(unary(UnaryOp::Exp, of(1e4)), product);
    }

    #[test]
    fn functions_go_on_beyond_the_range() {
        let (huge, tiny) = (unary(UnaryOp::Exp, of(1e4)), unary(UnaryOp::Exp, of(-1e4)));
        assert_eq!(unary(UnaryOp::Tanh, huge), of(1.0));
        assert_eq!(unary(UnaryOp::Tanh, tiny), tiny);
        assert_eq!(unary(UnaryOp::Exp, tiny), of(1.0));
        assert_eq!(unary(UnaryOp::Exp, huge), of(f64::INFINITY));
        assert_eq!(unary(UnaryOp::Floor, huge), huge);
        assert_eq!(unary(UnaryOp::Ceil, tiny), of(1.0));
        assert_eq!(unary(UnaryOp::Sigmoid, of(-1e4)), tiny);
        near(unary(UnaryOp::Log1p, tiny), tiny);
        near(unary(UnaryOp::Softplus, huge), huge);
        near(unary(UnaryOp::Rsqrt, tiny), unary(UnaryOp::Exp, of(5e3)));
    }
}
