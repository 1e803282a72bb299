//! Integers and bits, against the arithmetic of the host.

use attnc_ptx::Op;
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;

use crate::one::{In, check1, check2, check3, compute, integers, random};

/// Checks all arithmetic on one type of the host.
macro_rules! check_type {
    ($ty:ty, $int:expr, $wide:ty) => {{
        let values = integers(<$ty>::BITS);
        let bits = |value: $ty| (value as u64) & (u64::MAX >> (64 - <$ty>::BITS));
        let check = |op, f: fn($ty, $ty) -> $ty| {
            check2(Op::IntBinary { op, ty: $int }, &values, &values, |a, b| bits(f(a as $ty, b as $ty)));
        };
        check(IntOp::Add, |a, b| a.wrapping_add(b));
        check(IntOp::Sub, |a, b| a.wrapping_sub(b));
        check(IntOp::MulLo, |a, b| a.wrapping_mul(b));
        check(IntOp::MulHi, |a, b| ((a as $wide * b as $wide) >> <$ty>::BITS) as $ty);
        check(IntOp::Min, |a, b| a.min(b));
        check(IntOp::Max, |a, b| a.max(b));
        check(IntOp::Div, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) });
        check(IntOp::Rem, |a, b| if b == 0 { a } else { a.wrapping_rem(b) });
        let shifts = [0, 1, 5, 15, 16, 31, 32, 40, 63, 64, 65, 0xffff_ffff];
        check2(Op::Shr { ty: $int }, &values, &shifts, |a, by| {
            let fill = if (a as $ty) < (0 as $ty) { !0 } else { 0 as $ty };
            bits((a as $ty).checked_shr(by as u32).unwrap_or(fill))
        });
        let third = random(5, values.len());
        let turned: Vec<u64> = values.iter().rev().copied().collect();
        for half in [Half::Lo, Half::Hi] {
            check3(Op::Mad { half, ty: $int }, [&values, &turned, &third], |a, b, c| {
                let product = a as $ty as $wide * b as $ty as $wide;
                let product = if half == Half::Lo { product } else { product >> <$ty>::BITS };
                bits((product as $ty).wrapping_add(c as $ty))
            });
        }
        let compare = |cmp, f: fn(&$ty, &$ty) -> bool| {
            let op = Op::IntSetp { cmp, combine: Combine::None, ty: $int };
            check2(op, &values, &values, |a, b| f(&(a as $ty), &(b as $ty)).into());
        };
        compare(Compare::Eq, |a, b| a == b);
        compare(Compare::Ne, |a, b| a != b);
        compare(Compare::Lt, |a, b| a < b);
        compare(Compare::Le, |a, b| a <= b);
        compare(Compare::Gt, |a, b| a > b);
        compare(Compare::Ge, |a, b| a >= b);
    }};
}

#[test]
fn arithmetic_is_that_of_the_host() {
    check_type!(u16, Int::U16, u32);
    check_type!(i16, Int::S16, i32);
    check_type!(u32, Int::U32, u64);
    check_type!(i32, Int::S32, i64);
    check_type!(u64, Int::U64, u128);
    check_type!(i64, Int::S64, i128);
}

#[test]
fn signs_and_wide_products_are_those_of_the_host() {
    let (narrow, wide) = (integers(32), integers(64));
    check1(Op::IntSign { op: SignOp::Abs, ty: Signed::S32 }, &narrow, |a| {
        (a as i32).wrapping_abs().cast_unsigned().into()
    });
    check1(Op::IntSign { op: SignOp::Neg, ty: Signed::S64 }, &wide, u64::wrapping_neg);
    check2(Op::MulWide { ty: Narrow::U32 }, &narrow, &narrow, |a, b| a * b);
    check2(Op::MulWide { ty: Narrow::S32 }, &narrow, &narrow, |a, b| {
        (i64::from(a as i32) * i64::from(b as i32)).cast_unsigned()
    });
    let other = random(1, narrow.len());
    check3(Op::MadWide { ty: Narrow::S32 }, [&narrow, &narrow, &other], |a, b, c| {
        (i64::from(a as i32) * i64::from(b as i32)).cast_unsigned().wrapping_add(c)
    });
}

#[test]
fn bits_are_counted_turned_and_shifted_as_on_the_host() {
    let (narrow, wide) = (integers(32), integers(64));
    let count = |op, ty| Op::Count { op, ty };
    check1(count(CountOp::Popc, WideBits::B32), &narrow, |a| a.count_ones().into());
    check1(count(CountOp::Clz, WideBits::B32), &narrow, |a| (a as u32).leading_zeros().into());
    check1(count(CountOp::Clz, WideBits::B64), &wide, |a| a.leading_zeros().into());
    check1(Op::Brev { ty: WideBits::B32 }, &narrow, |a| (a as u32).reverse_bits().into());
    check1(Op::Brev { ty: WideBits::B64 }, &wide, u64::reverse_bits);
    check1(Op::Not { ty: Logical::B32 }, &narrow, |a| u64::from(!(a as u32)));
    let shifts = [0, 1, 31, 32, 63, 64, 1000];
    check2(Op::Shl { ty: Bits::B32 }, &narrow, &shifts, |a, by| {
        (a as u32).checked_shl(by as u32).unwrap_or(0).into()
    });
    check2(Op::Shl { ty: Bits::B64 }, &wide, &shifts, |a, by| a.checked_shl(by as u32).unwrap_or(0));
    let position = |mode, ty| Op::Bfind { mode, ty };
    check1(position(Bfind::Position, WideInt::U32), &narrow, |a| {
        a.checked_ilog2().map_or(0xffff_ffff, Into::into)
    });
    check1(position(Bfind::Shift, WideInt::S64), &wide, |a| {
        let digits = if a >> 63 == 1 { !a } else { a };
        digits.checked_ilog2().map_or(0xffff_ffff, |at| (63 - at).into())
    });
    for (direction, right) in [(Direction::Left, false), (Direction::Right, true)] {
        let turned: Vec<u64> = narrow.iter().rev().copied().collect();
        let by = integers(32);
        let op = Op::FunnelShift { direction, excess: Excess::Wrap };
        check3(op, [&narrow, &turned, &by], |a, b, by| {
            let (whole, by) = (a | b << 32, by & 31);
            if right { whole >> by & 0xffff_ffff } else { whole << by >> 32 }
        });
    }
}

#[test]
fn fields_are_taken_and_put_bit_by_bit() {
    let count = 200;
    let (a, into) = (random(1, count), random(2, count));
    let (from, length): (Vec<u64>, Vec<u64>) =
        random(3, count).iter().map(|it| (it % 70, it >> 32 & 0x3f)).unzip();
    for (ty, bits, signed) in [
        (WideInt::U32, 32, false),
        (WideInt::S32, 32, true),
        (WideInt::U64, 64, false),
        (WideInt::S64, 64, true),
    ] {
        check3(Op::Bfe { ty }, [&a, &from, &length], |a, from, length| {
            let last = (from + length).saturating_sub(1).min(bits - 1);
            let fill = if signed && length > 0 { a >> last & 1 } else { 0 };
            (0..bits).fold(0, |field, bit| {
                let inside = bit < length && from + bit < bits;
                field | (if inside { a >> (from + bit) & 1 } else { fill }) << bit
            })
        });
    }
    let operands = [&a, &into, &from, &length].map(|it| In::Each(it.clone()));
    for (at, found) in compute(Op::Bfi { ty: WideBits::B64 }, &operands).into_iter().enumerate() {
        let expected = (0..64).fold(0, |field, bit| {
            let replaced = bit >= from[at] && bit < from[at] + length[at];
            let bits = if replaced { a[at] >> (bit - from[at]) } else { into[at] >> bit };
            field | (bits & 1) << bit
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn tables_and_permutations_are_looked_up() {
    let count = 64;
    let values: Vec<Vec<u64>> = (1..4).map(|seed| random(seed, count)).collect();
    for table in [0x00, 0xe8, 0x96, 0xca, 0xff, 0x01] {
        let mut operands: Vec<In> = values.iter().cloned().map(In::Each).collect();
        operands.push(In::Number(table));
        for (at, found) in compute(Op::Lop3, &operands).into_iter().enumerate() {
            let expected = (0..32).fold(0, |result, bit| {
                let row = (0..3).fold(0, |row, it: usize| row << 1 | (values[it][at] >> bit & 1));
                result | (table as u64 >> row & 1) << bit
            });
            assert_eq!(found, expected, "table {table:#x}");
        }
    }
    check3(Op::Prmt, [&values[0], &values[1], &values[2]], |a, b, selector| {
        let mut bytes = (a as u32).to_le_bytes().to_vec();
        bytes.extend((b as u32).to_le_bytes());
        let picked: [u8; 4] = std::array::from_fn(|place| {
            let pick = selector >> (4 * place) & 0xf;
            let byte = bytes[(pick & 7) as usize];
            if pick < 8 {
                byte
            } else if byte < 0x80 {
                0
            } else {
                0xff
            }
        });
        u32::from_le_bytes(picked).into()
    });
}
