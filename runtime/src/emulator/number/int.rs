//! Integers and bits.

use attnc_ptx::modifier::*;
use attnc_ptx::types::*;

use super::{low, signed};

/// Width and sign of a type of integers.
#[derive(Debug, Clone, Copy)]
struct Shape {
    bits: u32,
    signed: bool,
}

fn shape(ty: impl Into<Type>) -> Shape {
    let ty = ty.into();
    Shape { bits: ty.bits(), signed: ty.is_signed() }
}

impl Shape {
    /// The number that the bits are.
    fn value(self, bits: u64) -> i128 {
        if self.signed { signed(bits, self.bits).into() } else { low(bits, self.bits).into() }
    }

    /// The bits of a number, modulo the width.
    fn bits_of(self, value: i128) -> u64 {
        low(value as u64, self.bits)
    }
}

/// `a op b`. A division by 0 gives what the hardware gives: all bits, and `a` as its remainder.
pub(in super::super) fn binary(op: IntOp, ty: Int, a: u64, b: u64) -> u64 {
    let shape = shape(ty);
    let (x, y) = (shape.value(a), shape.value(b));
    match op {
        IntOp::Add => low(a.wrapping_add(b), shape.bits),
        IntOp::Sub => low(a.wrapping_sub(b), shape.bits),
        IntOp::MulLo => low(a.wrapping_mul(b), shape.bits),
        IntOp::MulHi => shape.bits_of(high(shape, x, y)),
        IntOp::Div if y == 0 => low(u64::MAX, shape.bits),
        IntOp::Div => shape.bits_of(x / y),
        IntOp::Rem if y == 0 => low(a, shape.bits),
        IntOp::Rem => shape.bits_of(x % y),
        IntOp::Min => shape.bits_of(x.min(y)),
        IntOp::Max => shape.bits_of(x.max(y)),
    }
}

/// The upper half of a product. That of two numbers of 64 bits without a sign overflows `i128`.
fn high(shape: Shape, x: i128, y: i128) -> i128 {
    if shape.signed {
        (x * y) >> shape.bits
    } else {
        ((x.cast_unsigned() * y.cast_unsigned()) >> shape.bits).cast_signed()
    }
}

/// `half of (a · b) + c`.
pub(in super::super) fn mad(half: Half, ty: Int, a: u64, b: u64, c: u64) -> u64 {
    let op = match half {
        Half::Lo => IntOp::MulLo,
        Half::Hi => IntOp::MulHi,
    };
    binary(IntOp::Add, ty, binary(op, ty, a, b), c)
}

/// `a · b` in twice the width.
pub(in super::super) fn wide(ty: Narrow, a: u64, b: u64) -> u64 {
    let shape = shape(ty);
    low((shape.value(a) * shape.value(b)) as u64, 2 * shape.bits)
}

/// `|a|` or `-a`; the least number has no negative.
pub(in super::super) fn sign(op: SignOp, ty: Signed, a: u64) -> u64 {
    let shape = shape(ty);
    let value = shape.value(a);
    match op {
        SignOp::Abs => shape.bits_of(value.abs()),
        SignOp::Neg => shape.bits_of(-value),
    }
}

/// `a op b`, bit by bit.
pub(in super::super) fn logic(op: LogicOp, a: u64, b: u64) -> u64 {
    match op {
        LogicOp::And => a & b,
        LogicOp::Or => a | b,
        LogicOp::Xor => a ^ b,
    }
}

/// `a << b`; nothing is left where `b` is the width or more.
pub(in super::super) fn shl(ty: Bits, a: u64, b: u64) -> u64 {
    let bits = Type::from(ty).bits();
    if b >= bits.into() { 0 } else { low(a << b, bits) }
}

/// `a >> b`; only the sign is left where `b` is the width or more.
pub(in super::super) fn shr(ty: Int, a: u64, b: u64) -> u64 {
    let shape = shape(ty);
    let by = b.min(u64::from(shape.bits)) as u32;
    shape.bits_of(shape.value(a) >> by)
}

/// How many bits are set, or come before the first that is.
pub(in super::super) fn count(op: CountOp, ty: WideBits, a: u64) -> u64 {
    let bits = Type::from(ty).bits();
    match op {
        CountOp::Popc => low(a, bits).count_ones().into(),
        CountOp::Clz => (low(a, bits).leading_zeros() - (64 - bits)).into(),
    }
}

/// The bits in reverse.
pub(in super::super) fn brev(ty: WideBits, a: u64) -> u64 {
    a.reverse_bits() >> (64 - Type::from(ty).bits())
}

/// The highest bit that is not the sign.
pub(in super::super) fn bfind(mode: Bfind, ty: WideInt, a: u64) -> u64 {
    let shape = shape(ty);
    let value = shape.value(a);
    let digits = shape.bits_of(if value < 0 { !value } else { value });
    if digits == 0 {
        return u32::MAX.into();
    }
    let position = 63 - digits.leading_zeros();
    match mode {
        Bfind::Position => position.into(),
        Bfind::Shift => (shape.bits - 1 - position).into(),
    }
}

/// `length` bits of `a` from bit `from` on, filled with the last of them where they have a sign.
pub(in super::super) fn bfe(ty: WideInt, a: u64, from: u64, length: u64) -> u64 {
    let shape = shape(ty);
    let (from, length) = ((from & 0xff) as u32, (length & 0xff) as u32);
    if length == 0 {
        return 0;
    }
    let last = (from + length - 1).min(shape.bits - 1);
    let field = if from < shape.bits { low(a, last + 1) >> from } else { 0 };
    let negative = shape.signed && a >> last & 1 == 1;
    let kept = (last + 1).saturating_sub(from);
    let fill = if negative && kept < 64 { u64::MAX << kept } else { 0 };
    low(field | fill, shape.bits)
}

/// `into` with `length` bits from bit `from` on replaced by the lowest of `a`.
pub(in super::super) fn bfi(ty: WideBits, a: u64, into: u64, from: u64, length: u64) -> u64 {
    let bits = Type::from(ty).bits();
    let (from, length) = ((from & 0xff) as u32, (length & 0xff) as u32);
    if from >= bits || length == 0 {
        return into;
    }
    let mask = low(low(u64::MAX, length) << from, bits);
    (into & !mask) | ((a << from) & mask)
}

/// The function of three bits whose table is `table`.
pub(in super::super) fn lop3(a: u64, b: u64, c: u64, table: u64) -> u64 {
    let mut result = 0;
    for row in 0..8u32 {
        if table >> row & 1 == 1 {
            let pick = |bits: u64, place: u32| if row >> place & 1 == 1 { bits } else { !bits };
            result |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    low(result, 32)
}

/// Four of the eight bytes of `a` and `b`; a picked byte may be its sign eight times.
pub(in super::super) fn prmt(a: u64, b: u64, selector: u64) -> u64 {
    let bytes = a | b << 32;
    (0..4).fold(0, |result, place| {
        let pick = selector >> (4 * place) & 0xf;
        let byte = bytes >> (8 * (pick & 7)) & 0xff;
        let byte = if pick & 8 == 0 { byte } else { 0xff * (byte >> 7) };
        result | byte << (8 * place)
    })
}

/// Shifts the 64 bits `b:a` and gives 32 of them.
pub(in super::super) fn funnel(direction: Direction, excess: Excess, a: u64, b: u64, by: u64) -> u64 {
    let by = match excess {
        Excess::Wrap => by & 31,
        Excess::Clamp => by.min(32),
    };
    let whole = a | b << 32;
    match direction {
        Direction::Left => low((whole << by) >> 32, 32),
        Direction::Right => low(whole >> by, 32),
    }
}

/// Whether `a cmp b`.
pub(in super::super) fn compare(cmp: Compare, ty: Int, a: u64, b: u64) -> bool {
    let shape = shape(ty);
    let (x, y) = (shape.value(a), shape.value(b));
    match cmp {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
    }
}
