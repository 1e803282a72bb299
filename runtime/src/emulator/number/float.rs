//! Arithmetic on floats.
//!
//! Halves are computed in f64 and rounded once; f32 and f64 are the host's where rounding is to the
//! nearest. Results that are NaN are the one NaN of the hardware.

use attnc_ptx::modifier::*;
use attnc_ptx::types::{Float, Real};

use super::format::{self, Excess, Format, Mode, odd, odd_sum};
use super::low;

/// How floats of a type are told apart: what a lane holds of it.
enum Lane {
    Half(Format),
    Halves(Format),
    Single,
    Double,
}

fn lane(ty: Float) -> Lane {
    match ty {
        Float::F16 => Lane::Half(format::F16),
        Float::F16x2 => Lane::Halves(format::F16),
        Float::BF16 => Lane::Half(format::BF16),
        Float::BF16x2 => Lane::Halves(format::BF16),
        Float::F32 => Lane::Single,
        Float::F64 => Lane::Double,
    }
}

/// A direction of rounding of arithmetic.
pub(super) fn mode(round: Round) -> Mode {
    match round {
        Round::Any | Round::Nearest => Mode::Nearest,
        Round::Zero => Mode::Zero,
        Round::Down => Mode::Down,
        Round::Up => Mode::Up,
    }
}

/// Applies a function of halves to both of a pair, or to one.
fn halves<const N: usize>(both: bool, operands: [u64; N], f: impl Fn([u64; N]) -> u64) -> u64 {
    let first = f(operands.map(|bits| bits & 0xffff));
    if both { first | f(operands.map(|bits| bits >> 16 & 0xffff)) << 16 } else { first }
}

/// The bits of an f32 result.
pub(in super::super) fn single(value: f32) -> u64 {
    if value.is_nan() { format::F32.nan() } else { value.to_bits().into() }
}

/// The bits of an f64 result.
fn double(value: f64) -> u64 {
    if value.is_nan() { 0xfff8_0000_0000_0000 } else { value.to_bits() }
}

/// The f32 of some bits.
pub(in super::super) fn from_single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// A subnormal number made 0 where asked for.
pub(in super::super) fn flushed(flush: Flush, value: f32) -> f32 {
    if flush == Flush::Ftz && value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// `a op b`.
pub(in super::super) fn binary(op: FloatOp, round: Round, flush: Flush, ty: Float, a: u64, b: u64) -> u64 {
    match lane(ty) {
        Lane::Single => {
            let (x, y) = (flushed(flush, from_single(a)), flushed(flush, from_single(b)));
            let result = match op {
                FloatOp::Add => x + y,
                FloatOp::Sub => x - y,
                FloatOp::Mul => x * y,
            };
            if mode(round) == Mode::Nearest {
                return single(flushed(flush, result));
            }
            let exact: [f64; 2] = match op {
                FloatOp::Add => [x.into(), y.into()],
                FloatOp::Sub => [x.into(), (-y).into()],
                FloatOp::Mul => product(x, y),
            };
            single(flushed(flush, narrowed(exact, mode(round))))
        }
        Lane::Double => {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            let (result, terms) = match op {
                FloatOp::Add => (x + y, [x, y]),
                FloatOp::Sub => (x - y, [x, -y]),
                FloatOp::Mul => (x * y, [x * y, x.mul_add(y, -(x * y))]),
            };
            double(turned(result, lack(result, &terms), mode(round)))
        }
        Lane::Half(format) | Lane::Halves(format) => {
            halves(matches!(lane(ty), Lane::Halves(_)), [a, b], |[a, b]| {
                let (x, y) = (format.decode(a), format.decode(b));
                let result = match op {
                    FloatOp::Add => odd_sum(x, y),
                    FloatOp::Sub => odd_sum(x, -y),
                    FloatOp::Mul => x * y,
                };
                half(format, flush, result)
            })
        }
    }
}

/// A half from an f64 that is exact or rounded to odd.
fn half(format: Format, flush: Flush, value: f64) -> u64 {
    let bits = format.encode(value, Mode::Nearest, Excess::Infinite);
    let magnitude = bits & 0x7fff;
    let subnormal = format == format::F16 && magnitude < 0x400;
    if flush == Flush::Ftz && subnormal { bits & 0x8000 } else { bits }
}

/// A product as a sum for [`narrowed`].
fn product(x: f32, y: f32) -> [f64; 2] {
    let product = f64::from(x) * f64::from(y);
    [product, 0f64.copysign(product)]
}

/// A sum of two numbers as f32, rounded once. Terms that cancel give −0 where rounding is down.
fn narrowed(terms: [f64; 2], mode: Mode) -> f32 {
    let sum = odd_sum(terms[0], terms[1]);
    let cancels = terms[0].is_sign_negative() != terms[1].is_sign_negative();
    if sum == 0.0 && cancels && mode == Mode::Down {
        return -0.0;
    }
    f32::from_bits(format::F32.encode(sum, mode, Excess::Infinite) as u32)
}

/// The nearest f64, turned to the one that a direction asks for; `lack` has the sign of what it lacks.
fn turned(nearest: f64, lack: f64, mode: Mode) -> f64 {
    let (up, down) = match mode {
        Mode::Nearest | Mode::Away => (false, false),
        Mode::Zero => (nearest < 0.0, nearest > 0.0),
        Mode::Down => (false, true),
        Mode::Up => (true, false),
    };
    if nearest.is_finite() && lack > 0.0 && up {
        nearest.next_up()
    } else if nearest.is_finite() && lack < 0.0 && down {
        nearest.next_down()
    } else {
        nearest
    }
}

/// The sign of what a number lacks to be the sum of some.
fn lack(nearest: f64, terms: &[f64]) -> f64 {
    sign_of_sum(terms.iter().copied().chain([-nearest]))
}

/// The sign of a sum of a few numbers, exactly: they are kept as parts that do not overlap.
fn sign_of_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut parts: Vec<f64> = Vec::new();
    for term in terms {
        let mut carry = term;
        for part in &mut parts {
            let sum = carry + *part;
            let virtual_part = sum - carry;
            let error = (carry - (sum - virtual_part)) + (*part - virtual_part);
            *part = error;
            carry = sum;
        }
        parts.push(carry);
    }
    parts.into_iter().rev().find(|part| *part != 0.0).unwrap_or(0.0)
}

/// `a · b + c`, rounded once.
pub(in super::super) fn fma(round: Round, flush: Flush, ty: Float, a: u64, b: u64, c: u64) -> u64 {
    match lane(ty) {
        Lane::Single => {
            let [x, y, z] = [a, b, c].map(|bits| flushed(flush, from_single(bits)));
            if mode(round) == Mode::Nearest {
                return single(flushed(flush, x.mul_add(y, z)));
            }
            single(flushed(flush, narrowed([product(x, y)[0], z.into()], mode(round))))
        }
        Lane::Double => {
            let [x, y, z] = [a, b, c].map(f64::from_bits);
            let product = x * y;
            let result = x.mul_add(y, z);
            let terms = [product, x.mul_add(y, -product), z];
            double(turned(result, lack(result, &terms), mode(round)))
        }
        Lane::Half(format) | Lane::Halves(format) => {
            halves(matches!(lane(ty), Lane::Halves(_)), [a, b, c], |operands| {
                let [x, y, z] = operands.map(|bits| format.decode(bits));
                half(format, flush, odd_sum(x * y, z))
            })
        }
    }
}

/// The smaller or larger; −0 is smaller than 0.
pub(in super::super) fn extreme(op: Extreme, flush: Flush, nan: Nan, ty: Float, a: u64, b: u64) -> u64 {
    let pick = |x: f64, y: f64| match (x.is_nan(), y.is_nan()) {
        (true, true) => f64::NAN,
        (true, false) | (false, true) if nan == Nan::NaN => f64::NAN,
        (true, false) => y,
        (false, true) => x,
        (false, false) => match op {
            Extreme::Min => {
                if x.total_cmp(&y).is_lt() {
                    x
                } else {
                    y
                }
            }
            Extreme::Max => {
                if x.total_cmp(&y).is_gt() {
                    x
                } else {
                    y
                }
            }
        },
    };
    match lane(ty) {
        Lane::Single => {
            let (x, y) = (flushed(flush, from_single(a)), flushed(flush, from_single(b)));
            single(pick(x.into(), y.into()) as f32)
        }
        Lane::Double => double(pick(f64::from_bits(a), f64::from_bits(b))),
        Lane::Half(format) | Lane::Halves(format) => {
            halves(matches!(lane(ty), Lane::Halves(_)), [a, b], |[a, b]| {
                half(format, flush, pick(format.decode(a), format.decode(b)))
            })
        }
    }
}

/// `|a|` or `-a`: the sign alone.
pub(in super::super) fn sign(op: SignOp, flush: Flush, ty: Float, a: u64) -> u64 {
    let (signs, a) = match lane(ty) {
        Lane::Single => (1 << 31, u64::from(flushed(flush, from_single(a)).to_bits())),
        Lane::Double => (1 << 63, a),
        Lane::Half(_) => (0x8000, a),
        Lane::Halves(_) => (0x8000_8000, a),
    };
    match op {
        SignOp::Abs => a & !signs,
        SignOp::Neg => a ^ signs,
    }
}

/// `b` with the sign of `a`.
pub(in super::super) fn copysign(ty: Real, a: u64, b: u64) -> u64 {
    let sign = match ty {
        Real::F32 => 1 << 31,
        Real::F64 => 1 << 63,
    };
    (a & sign) | (b & !sign)
}

/// `a / b`. The approximate quotients are rounded to the nearest.
pub(in super::super) fn div(how: Division, flush: Flush, ty: Real, a: u64, b: u64) -> u64 {
    let mode = match how {
        Division::Approx | Division::Full | Division::Nearest => Mode::Nearest,
        Division::Zero => Mode::Zero,
        Division::Down => Mode::Down,
        Division::Up => Mode::Up,
    };
    // What the quotient lacks has the sign of `x − quotient · y` over `y`.
    let lack = |x: f64, y: f64| (-(x / y)).mul_add(y, x) * y.signum();
    match ty {
        Real::F32 => {
            let (x, y) = (flushed(flush, from_single(a)), flushed(flush, from_single(b)));
            let finite = x.is_finite() && y.is_finite() && y != 0.0;
            if mode == Mode::Nearest || !finite {
                return single(flushed(flush, x / y));
            }
            let (x, y) = (f64::from(x), f64::from(y));
            let bits = format::F32.encode(odd(x / y, lack(x, y)), mode, Excess::Infinite);
            single(flushed(flush, from_single(bits)))
        }
        Real::F64 => {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            double(turned(x / y, lack(x, y), mode))
        }
    }
}

/// `f(a)`.
pub(in super::super) fn function(f: Function, flush: Flush, ty: Float, a: u64) -> u64 {
    match lane(ty) {
        Lane::Single => single(flushed(flush, function_single(f, flushed(flush, from_single(a))))),
        Lane::Double => double(function_double(f, f64::from_bits(a))),
        Lane::Half(format) | Lane::Halves(format) => {
            halves(matches!(lane(ty), Lane::Halves(_)), [a], |[a]| {
                half(format, flush, function_single(f, format.decode(a) as f32).into())
            })
        }
    }
}

/// A power of two, nearly as far off as `ex2.approx` may be: by up to 2^-22 of itself, up or down as the exponent's bits have it.
/// Powers with whole exponents are exact.
fn about_power(x: f32) -> f32 {
    if !x.is_finite() || x == x.trunc() {
        return x.exp2();
    }
    let up = x.to_bits().wrapping_mul(0x9e37_79b9) >> 31 == 1;
    // With the rounding of the result that is all of it.
    let off = 0.75 / f64::from(1 << 22) * if up { 1.0 } else { -1.0 };
    (f64::from(x).exp2() * (1.0 + off)) as f32
}

fn function_single(f: Function, x: f32) -> f32 {
    match f {
        Function::Ex2 => about_power(x),
        Function::Lg2 => x.log2(),
        Function::Rcp | Function::RcpExact => 1.0 / x,
        Function::Rsqrt => (1.0 / f64::from(x).sqrt()) as f32,
        Function::Sqrt | Function::SqrtExact => x.sqrt(),
        Function::Tanh => x.tanh(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
    }
}

fn function_double(f: Function, x: f64) -> f64 {
    match f {
        Function::Ex2 => x.exp2(),
        Function::Lg2 => x.log2(),
        Function::Rcp | Function::RcpExact => 1.0 / x,
        Function::Rsqrt => 1.0 / x.sqrt(),
        Function::Sqrt | Function::SqrtExact => x.sqrt(),
        Function::Tanh => x.tanh(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
    }
}

/// Whether `a cmp b`.
pub(in super::super) fn compare(cmp: FloatCompare, flush: Flush, ty: Float, a: u64, b: u64) -> bool {
    let value = |bits: u64| match lane(ty) {
        Lane::Single => flushed(flush, from_single(bits)).into(),
        Lane::Double => f64::from_bits(bits),
        Lane::Half(format) | Lane::Halves(format) => {
            let value = format.decode(low(bits, 16));
            let subnormal = format == format::F16 && bits & 0x7c00 == 0;
            if flush == Flush::Ftz && subnormal { 0.0 } else { value }
        }
    };
    let (x, y) = (value(a), value(b));
    let unordered = x.is_nan() || y.is_nan();
    match cmp {
        FloatCompare::Eq => x == y,
        FloatCompare::Ne => x != y && !unordered,
        FloatCompare::Lt => x < y,
        FloatCompare::Le => x <= y,
        FloatCompare::Gt => x > y,
        FloatCompare::Ge => x >= y,
        FloatCompare::Equ => x == y || unordered,
        FloatCompare::Neu => x != y,
        FloatCompare::Ltu => x < y || unordered,
        FloatCompare::Leu => x <= y || unordered,
        FloatCompare::Gtu => x > y || unordered,
        FloatCompare::Geu => x >= y || unordered,
        FloatCompare::Ordered => !unordered,
        FloatCompare::Unordered => unordered,
    }
}
