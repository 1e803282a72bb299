//! Binary formats of floats, and rounding into them once, in any direction.
//!
//! A number to round is [`Exact`]: a magnitude of 64 bits, a power of two, and whether more digits
//! follow. Every operation that rounds ends here, but for those that the host rounds just so.

/// A format: so many bits of exponent and of fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Format {
    exponent: u32,
    fraction: u32,
    /// Whether the largest exponent is that of numbers, and only all bits are NaN.
    finite: bool,
}

pub(in super::super) const F16: Format = Format { exponent: 5, fraction: 10, finite: false };
pub(in super::super) const BF16: Format = Format { exponent: 8, fraction: 7, finite: false };
pub(in super::super) const TF32: Format = Format { exponent: 8, fraction: 10, finite: false };
pub(in super::super) const E4M3: Format = Format { exponent: 4, fraction: 3, finite: true };
pub(in super::super) const E5M2: Format = Format { exponent: 5, fraction: 2, finite: false };
pub(in super::super) const F32: Format = Format { exponent: 8, fraction: 23, finite: false };
pub(in super::super) const F64: Format = Format { exponent: 11, fraction: 52, finite: false };

/// A direction of rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mode {
    /// To the nearest, ties to even.
    Nearest,
    /// To the nearest, ties away from 0.
    Away,
    Zero,
    Down,
    Up,
}

/// What a number too large becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Excess {
    /// Infinity, or the largest number where the direction says so.
    Infinite,
    /// The largest number.
    Largest,
}

/// `±magnitude · 2^exponent`, and a little more in magnitude where `more`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Exact {
    pub(in super::super) negative: bool,
    pub(in super::super) magnitude: u64,
    pub(in super::super) exponent: i32,
    pub(in super::super) more: bool,
}

impl Exact {
    /// A finite float.
    pub(in super::super) fn of(value: f64) -> Exact {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (magnitude, exponent) =
            if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        Exact { negative: value.is_sign_negative(), magnitude, exponent, more: false }
    }

    /// An integer.
    pub(in super::super) fn integer(value: i128) -> Exact {
        let magnitude = u64::try_from(value.unsigned_abs()).expect("an integer of at most 64 bits");
        Exact { negative: value < 0, magnitude, exponent: 0, more: false }
    }
}

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn sign(self, negative: bool) -> u64 {
        u64::from(negative) << (self.exponent + self.fraction)
    }

    /// The NaN that operations give.
    pub(in super::super) fn nan(self) -> u64 {
        (1 << (self.exponent + self.fraction)) - 1
    }

    /// The bits above the sign are 0 in the largest number, counted from 0.
    fn largest(self) -> u64 {
        if self.finite { self.nan() - 1 } else { self.infinity() - 1 }
    }

    /// Infinity, or NaN in a format that has none.
    fn infinity(self) -> u64 {
        if self.finite { self.nan() } else { ((1 << self.exponent) - 1) << self.fraction }
    }

    /// The float whose bits these are.
    pub(in super::super) fn decode(self, bits: u64) -> f64 {
        let negative = bits >> (self.exponent + self.fraction) & 1 == 1;
        let exponent = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let fraction = bits & ((1 << self.fraction) - 1);
        let top = (1 << self.exponent) - 1;
        let magnitude = if self.finite && bits & self.nan() == self.nan() {
            f64::NAN
        } else if exponent == top && !self.finite {
            if fraction == 0 { f64::INFINITY } else { f64::NAN }
        } else {
            let (digits, exponent) =
                if exponent == 0 { (fraction, 1) } else { (fraction | 1 << self.fraction, exponent) };
            let power = exponent - self.bias() - self.fraction as i32;
            // Two steps, as the least power of f64 is none that it can hold as a normal number.
            digits as f64 * 2f64.powi(power / 2) * 2f64.powi(power - power / 2)
        };
        if negative { -magnitude } else { magnitude }
    }

    /// The bits of a float, rounded. NaN becomes the one NaN of operations.
    pub(in super::super) fn encode(self, value: f64, mode: Mode, excess: Excess) -> u64 {
        if value.is_nan() {
            self.nan()
        } else if value.is_infinite() {
            let magnitude = if excess == Excess::Largest { self.largest() } else { self.infinity() };
            self.sign(value < 0.0) | magnitude
        } else {
            self.round(Exact::of(value), mode, excess)
        }
    }

    /// The bits of a number, rounded.
    pub(in super::super) fn round(self, value: Exact, mode: Mode, excess: Excess) -> u64 {
        let sign = self.sign(value.negative);
        if value.magnitude == 0 {
            return sign;
        }
        let top = value.exponent + 63 - value.magnitude.leading_zeros() as i32;
        let mut quantum = top.max(1 - self.bias()) - self.fraction as i32;
        let mut digits = rounded(value, quantum - value.exponent, mode);
        if digits >> (self.fraction + 1) == 1 {
            digits >>= 1;
            quantum += 1;
        }
        if digits >> self.fraction == 0 {
            return sign | digits;
        }
        let exponent = quantum + self.fraction as i32 + self.bias();
        let bits = (exponent as u64) << self.fraction | (digits & ((1 << self.fraction) - 1));
        if bits > self.largest() { sign | self.overflow(value.negative, mode, excess) } else { sign | bits }
    }

    fn overflow(self, negative: bool, mode: Mode, excess: Excess) -> u64 {
        let inward = match mode {
            Mode::Nearest | Mode::Away => false,
            Mode::Zero => true,
            Mode::Down => !negative,
            Mode::Up => negative,
        };
        if inward || excess == Excess::Largest { self.largest() } else { self.infinity() }
    }
}

/// The magnitude without its last `shift` digits, rounded.
fn rounded(value: Exact, shift: i32, mode: Mode) -> u64 {
    if shift <= 0 {
        return value.magnitude << -shift;
    }
    let (kept, rest) = if shift >= 64 {
        (0, if shift == 64 { value.magnitude } else { 1 })
    } else {
        (value.magnitude >> shift, value.magnitude << (64 - shift))
    };
    let half = 1u64 << 63;
    let inexact = rest != 0 || value.more;
    let up = match mode {
        Mode::Nearest => rest > half || (rest == half && (value.more || kept & 1 == 1)),
        Mode::Away => rest >= half,
        Mode::Zero => false,
        Mode::Down => value.negative && inexact,
        Mode::Up => !value.negative && inexact,
    };
    kept + u64::from(up)
}

/// `a + b` rounded to odd, so that one more rounding to half the digits is the only one.
pub(super) fn odd_sum(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    odd(sum, (a - (sum - part)) + (b - part))
}

/// A number rounded to the nearest turned to the one that is odd, unless it is exact; `lack` has the sign
/// of what it lacks.
pub(super) fn odd(nearest: f64, lack: f64) -> f64 {
    let bits = nearest.to_bits();
    if !nearest.is_finite() || lack == 0.0 || bits & 1 == 1 {
        nearest
    } else {
        f64::from_bits(if (lack > 0.0) == (nearest > 0.0) { bits + 1 } else { bits - 1 })
    }
}
