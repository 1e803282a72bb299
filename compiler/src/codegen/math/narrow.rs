//! Floats below 32 bits: their bits to and from the lanes of a kernel, and to and from the host's f64.
//!
//! Encoding rounds to nearest even, once, from the full width of the lanes, and keeps subnormals, the sign of zero
//! and NaN. Neither direction computes with subnormals, so a kernel may flush them.

use attnc_dsl::ast::DType;

use super::arith::{Arith, Bits, Float, Format};
use super::exponential::to_float;
use super::host::Host64;

/// A binary floating-point layout: a sign, an exponent with bias, a significand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    bits: u32,
    significand_bits: u32,
    bias: i64,
    overflow: Overflow,
}

/// What a layout does beyond its largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Gives the infinity, whose exponent field is all ones, as IEEE 754 has it.
    Infinity,
    /// Stays at the largest number, just below the NaN whose bits are all ones.
    Saturates,
}

/// `x` as a tensor of `dtype` stores it; the interpreter stores everything but the narrow floats in full.
pub fn round_to(dtype: DType, x: f64) -> f64 {
    Narrow::of(dtype).map_or(x, |narrow| narrow.value_of(narrow.bits_of(x)))
}

impl Narrow {
    /// The layout of a dtype below 32 bits.
    pub const fn of(dtype: DType) -> Option<Narrow> {
        match dtype {
            DType::F16 => Some(Narrow::new(16, 10, 15, Overflow::Infinity)),
            DType::BF16 => Some(Narrow::new(16, 7, 127, Overflow::Infinity)),
            DType::F8E4M3 => Some(Narrow::new(8, 3, 7, Overflow::Saturates)),
            DType::F8E5M2 => Some(Narrow::new(8, 2, 15, Overflow::Infinity)),
            DType::F64
            | DType::F32
            | DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U8
            | DType::I4
            | DType::Bool => None,
        }
    }

    const fn new(bits: u32, significand_bits: u32, bias: i64, overflow: Overflow) -> Narrow {
        Narrow { bits, significand_bits, bias, overflow }
    }

    /// The largest relative error of a normal number that is rounded to nearest.
    pub fn unit_roundoff(self) -> f64 {
        // The first of the bits of a significand is not stored.
        power_of_two(-i64::from(self.significand_bits) - 1)
    }

    /// The least number whose significand has all its bits.
    pub fn least_normal(self) -> f64 {
        power_of_two(1 - self.bias)
    }

    /// The number that these bits stand for.
    pub fn value_of(self, bits: u16) -> f64 {
        self.decode(&Host64, bits.into())
    }

    /// The bits of the nearest number.
    pub fn bits_of(self, x: f64) -> u16 {
        u16::try_from(self.encode(&Host64, x)).expect("a layout has at most 16 bits")
    }

    /// The number that the low bits of each lane stand for; the bits above are zero.
    pub fn decode<A: Arith>(self, arith: &A, bits: A::I) -> A::F {
        let bits = Bits::new(arith, bits);
        let format = arith.format();
        let magnitude = bits & !self.sign();
        let sign = (bits ^ magnitude) << (format.bits() - self.bits);
        let rebias = (format.bias() - self.bias) << format.significand_bits();
        let normal = (magnitude << self.narrowing(format)) + rebias;
        let value = if rebias == 0 {
            normal
        } else {
            // Below the least normal number the bits count units; above the largest they are the top of any layout.
            let count = to_float(bits.float_constant(0.0), magnitude);
            let small = (count * power_of_two(self.unit_exponent())).bits();
            let value = count.lt(power_of_two(self.significand_bits.into())).select_bits(small, normal);
            count.gt(self.largest() as f64).select_bits(normal + rebias, value)
        };
        (value | sign).float().value()
    }

    /// The bits of the nearest number, in the low bits of each lane.
    pub fn encode<A: Arith>(self, arith: &A, x: A::F) -> A::I {
        let x = Float::new(arith, x);
        let format = x.format();
        let magnitude = x.abs().min(x.constant(self.limit()));
        let drop = self.narrowing(format);
        let bits = magnitude.bits();
        let half_less_one = (1 << (drop - 1)) - 1;
        let rounded = (bits + half_less_one + ((bits >> drop) & 1)) >> drop;
        let normal = rounded - ((format.bias() - self.bias) << self.significand_bits);
        let value = if format.bias() == self.bias {
            normal
        } else {
            // The unit in the last place of this sum is the layout's least number.
            let anchor =
                x.constant(power_of_two(self.unit_exponent() + i64::from(format.significand_bits())));
            let small = (magnitude + anchor).bits() - anchor.bits();
            magnitude.lt(power_of_two(1 - self.bias)).select_bits(small, normal)
        };
        let value = x.same(x).select_bits(value, bits.constant(self.nan()));
        let sign = (x.bits() >> (format.bits() - self.bits)) & self.sign();
        (value | sign).value()
    }

    const fn sign(self) -> i64 {
        1 << (self.bits - 1)
    }

    /// How many bits of the significand the layout lacks.
    const fn narrowing(self, format: Format) -> u32 {
        format.significand_bits() - self.significand_bits
    }

    /// The exponent of the least number.
    fn unit_exponent(self) -> i64 {
        1 - self.bias - i64::from(self.significand_bits)
    }

    /// Where every number above rounds like this one.
    fn limit(self) -> f64 {
        match self.overflow {
            Overflow::Infinity => power_of_two(self.bias + 1),
            Overflow::Saturates => {
                power_of_two(self.bias + 1) * (2.0 - power_of_two(1 - i64::from(self.significand_bits)))
            }
        }
    }

    /// The bits of the largest number.
    const fn largest(self) -> i64 {
        match self.overflow {
            Overflow::Infinity => ((2 * self.bias + 1) << self.significand_bits) - 1,
            Overflow::Saturates => self.sign() - 2,
        }
    }

    /// The bits of the quiet NaN.
    const fn nan(self) -> i64 {
        match self.overflow {
            Overflow::Infinity => self.sign() - (1 << (self.significand_bits - 1)),
            Overflow::Saturates => self.sign() - 1,
        }
    }
}

/// `2^exponent`, of a normal number.
fn power_of_two(exponent: i64) -> f64 {
    let format = Format::Double;
    f64::from_bits(((exponent + format.bias()) << format.significand_bits()).cast_unsigned())
}
