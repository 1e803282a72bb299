//! Conversions between numbers.

use attnc_ptx::modifier::*;
use attnc_ptx::types::*;

use super::float::from_single;
use super::format::{self, Exact, Excess, Format, Mode};
use super::{low, signed};

/// What a type of `cvt` is.
enum Kind {
    Int { bits: u32, signed: bool },
    Float(Format),
}

fn kind(ty: Number) -> Kind {
    let ty = Type::from(ty);
    match ty {
        Type::F16 => Kind::Float(format::F16),
        Type::BF16 => Kind::Float(format::BF16),
        Type::F32 => Kind::Float(format::F32),
        Type::F64 => Kind::Float(format::F64),
        Type::Pred
        | Type::B8
        | Type::B16
        | Type::B32
        | Type::B64
        | Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::S8
        | Type::S16
        | Type::S32
        | Type::S64
        | Type::F16x2
        | Type::BF16x2
        | Type::TF32
        | Type::E4M3x2
        | Type::E5M2x2 => Kind::Int { bits: ty.bits(), signed: ty.is_signed() },
    }
}

/// The direction of a rounding, to floats or integers.
fn mode(round: CvtRound) -> Mode {
    match round {
        CvtRound::Exact | CvtRound::Nearest | CvtRound::NearestInt => Mode::Nearest,
        CvtRound::Zero | CvtRound::ZeroInt => Mode::Zero,
        CvtRound::Down | CvtRound::DownInt => Mode::Down,
        CvtRound::Up | CvtRound::UpInt => Mode::Up,
    }
}

/// A value as another type. A result with a sign fills the register with it.
pub(in super::super) fn cvt(round: CvtRound, saturate: Saturate, to: Number, from: Number, a: u64) -> u64 {
    let saturate = saturate == Saturate::Sat;
    match (kind(to), kind(from)) {
        (Kind::Int { bits, signed }, from) => {
            let value = match from {
                Kind::Int { bits: 64, signed: false } => i128::from(a),
                Kind::Int { bits, signed } => i128::from(integer(a, bits, signed)),
                Kind::Float(format) => return from_float(format, a, mode(round), bits, signed),
            };
            int_result(if saturate { clamped(value, bits, signed) } else { value }, bits, signed)
        }
        (Kind::Float(format), Kind::Int { bits, signed }) => {
            let value = if signed { integer(a, bits, true).into() } else { i128::from(low(a, bits)) };
            let bits = format.round(Exact::integer(value), mode(round), Excess::Infinite);
            if saturate { limited(format, format.decode(bits), Mode::Nearest) } else { bits }
        }
        (Kind::Float(to), Kind::Float(from)) => {
            let value = from.decode(a);
            let whole = matches!(
                round,
                CvtRound::NearestInt | CvtRound::ZeroInt | CvtRound::DownInt | CvtRound::UpInt
            );
            let value = if whole { rounded(value, mode(round)) } else { value };
            if saturate {
                limited(to, value, mode(round))
            } else {
                to.encode(value, mode(round), Excess::Infinite)
            }
        }
    }
}

fn integer(bits: u64, width: u32, with_sign: bool) -> i64 {
    if with_sign { signed(bits, width) } else { low(bits, width).cast_signed() }
}

fn clamped(value: i128, bits: u32, signed: bool) -> i128 {
    let (least, most) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    value.clamp(least, most)
}

/// The bits of an integer of a width, extended to 64.
fn int_result(value: i128, bits: u32, with_sign: bool) -> u64 {
    let kept = low(value as u64, bits);
    if with_sign { signed(kept, bits).cast_unsigned() } else { kept }
}

/// A float as an integer, limited to its range. NaN is 0, but for 64 bits, where it is the least number.
fn from_float(format: Format, a: u64, mode: Mode, bits: u32, signed: bool) -> u64 {
    let value = format.decode(a);
    if value.is_nan() {
        let wide = bits == 64 || format == format::F64;
        return if wide { int_result(1 << (bits - 1), bits, signed) } else { 0 };
    }
    // A cast to `i128` limits what is larger still.
    int_result(clamped(rounded(value, mode) as i128, bits, signed), bits, signed)
}

/// A float without its fraction.
fn rounded(value: f64, mode: Mode) -> f64 {
    match mode {
        Mode::Nearest => value.round_ties_even(),
        Mode::Away => value.round(),
        Mode::Zero => value.trunc(),
        Mode::Down => value.floor(),
        Mode::Up => value.ceil(),
    }
}

/// A float limited to 0 … 1; NaN is 0.
fn limited(format: Format, value: f64, mode: Mode) -> u64 {
    let value = if value > 0.0 { value.min(1.0) } else { 0.0 };
    format.encode(value, mode, Excess::Infinite)
}

/// Two f32 packed into one register, to the nearest.
pub(in super::super) fn pair(relu: Relu, to: Pair, high: u64, low: u64) -> u64 {
    let (format, bits, excess) = match to {
        Pair::F16x2 => (format::F16, 16, Excess::Infinite),
        Pair::BF16x2 => (format::BF16, 16, Excess::Infinite),
        Pair::E4M3x2 => (format::E4M3, 8, Excess::Largest),
        Pair::E5M2x2 => (format::E5M2, 8, Excess::Largest),
    };
    let one = |value: u64| {
        let value = from_single(value);
        if relu == Relu::Relu && value <= 0.0 {
            0
        } else if to == Pair::BF16x2 && value.is_finite() {
            // The rounding of the hottest conversion: half a unit more, and a tie to even.
            let bits = u64::from(value.to_bits());
            (bits + 0x7fff + (bits >> 16 & 1)) >> 16
        } else {
            format.encode(value.into(), Mode::Nearest, excess)
        }
    };
    one(low) | one(high) << bits
}

/// Two floats of 8 bits widened to f16.
pub(in super::super) fn unpair(relu: Relu, from: Pair8, a: u64) -> u64 {
    let format = match from {
        Pair8::E4M3x2 => format::E4M3,
        Pair8::E5M2x2 => format::E5M2,
    };
    let one = |bits: u64| {
        let value = format.decode(bits & 0xff);
        if relu == Relu::Relu && value <= 0.0 {
            return 0;
        }
        format::F16.encode(value, Mode::Nearest, Excess::Infinite)
    };
    one(a) | one(a >> 8) << 16
}

/// An f32 rounded to tf32, ties away from 0; the digits that tf32 lacks are 0.
pub(in super::super) fn tf32(a: u64) -> u64 {
    let value = from_single(a);
    if value.is_nan() {
        return format::F32.nan();
    }
    format::TF32.encode(value.into(), Mode::Away, Excess::Infinite) << 13
}
