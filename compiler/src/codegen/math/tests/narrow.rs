//! Every pattern of every layout, and the neighbourhood of every tie, against the `half` crate and a table by search.

use attnc_dsl::ast::DType;
use half::{bf16, f16};

use super::super::host::{Host32, Host64};
use super::super::narrow::{Narrow, round_to};

fn layout(dtype: DType) -> Narrow {
    Narrow::of(dtype).expect("a narrow float")
}

/// What the bits mean, by the definition of the layout.
fn defined(dtype: DType, bits: u16) -> f64 {
    let eight = |significand_bits: i32, bias: i32| {
        let exponent = i32::from(bits & 0x7f) >> significand_bits;
        let significand =
            f64::from((bits & ((1 << significand_bits) - 1)) as u8) / 2f64.powi(significand_bits);
        let magnitude = match exponent {
            0 => significand * 2f64.powi(1 - bias),
            _ => (1.0 + significand) * 2f64.powi(exponent - bias),
        };
        if bits & 0x80 == 0 { magnitude } else { -magnitude }
    };
    match (dtype, bits & 0x7f) {
        (DType::F16, _) => f16::from_bits(bits).to_f64(),
        (DType::BF16, _) => bf16::from_bits(bits).to_f64(),
        (DType::F8E4M3, 0x7f) | (DType::F8E5M2, 0x7d..) => f64::NAN,
        (DType::F8E5M2, 0x7c) => f64::INFINITY.copysign(eight(2, 15)),
        (DType::F8E4M3, _) => eight(3, 7),
        (DType::F8E5M2, _) => eight(2, 15),
        (other, _) => panic!("{other:?} is not narrow"),
    }
}

const ALL: [(DType, u32); 4] = [(DType::F16, 16), (DType::BF16, 16), (DType::F8E4M3, 8), (DType::F8E5M2, 8)];

fn patterns(bits: u32) -> impl Iterator<Item = u16> {
    (0..1u32 << bits).map(|it| it as u16)
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn every_pattern_decodes_and_comes_back() {
    for (dtype, bits) in ALL {
        for pattern in patterns(bits) {
            let want = defined(dtype, pattern);
            let (double, single) =
                (layout(dtype).value_of(pattern), layout(dtype).decode(&Host32, pattern.into()));
            assert!(same(double, want), "{dtype:?} {pattern:#x} is {double:e}, expected {want:e}");
            assert!(
                same(single.into(), want),
                "{dtype:?} {pattern:#x} in f32 is {single:e}, expected {want:e}"
            );
            if !want.is_nan() {
                assert_eq!(layout(dtype).bits_of(want), pattern, "{dtype:?} {want:e}");
                assert_eq!(
                    layout(dtype).encode(&Host32, want as f32),
                    i32::from(pattern),
                    "{dtype:?} {want:e}"
                );
            }
        }
    }
}

/// The finite number nearest to `x`, the one with the even pattern of two, before overflow.
fn nearest(dtype: DType, finite: &[(f64, u16)], x: f64) -> f64 {
    let magnitude = x.abs();
    let above = finite.partition_point(|it| it.0 < magnitude);
    let rounded = match (above.checked_sub(1).map(|it| finite[it]), finite.get(above).copied()) {
        (Some(low), Some(high)) => {
            let (down, up) = (magnitude - low.0, high.0 - magnitude);
            if down < up || (down == up && low.1 % 2 == 0) { low.0 } else { high.0 }
        }
        (None, Some(high)) => high.0,
        (Some(largest), None) => {
            let half_unit = (largest.0 - finite[finite.len() - 2].0) / 2.0;
            let overflows = dtype != DType::F8E4M3 && magnitude - largest.0 >= half_unit;
            if overflows { f64::INFINITY } else { largest.0 }
        }
        (None, None) => panic!("a layout has numbers"),
    };
    rounded.copysign(x)
}

#[test]
fn rounding_is_to_nearest_even_in_one_step() {
    for (dtype, bits) in ALL {
        let magnitudes = patterns(bits - 1).map(|it| (defined(dtype, it), it));
        let finite: Vec<_> = magnitudes.filter(|it| it.0.is_finite()).collect();
        let middles = finite.windows(2).map(|it| (it[0].0 + it[1].0) / 2.0);
        let largest = finite[finite.len() - 1].0;
        let around = middles
            .chain([largest, largest * 1.1, largest * 2.0])
            .flat_map(|x| [x.next_down(), x, x.next_up()]);
        let random = super::words(7).map(|w| f64::from(f32::from_bits(w as u32))).take(1 << 16);
        for x in around.chain(random).filter(|x| x.is_finite()).flat_map(|x| [x, -x]) {
            let (got, want) = (round_to(dtype, x), nearest(dtype, &finite, x));
            assert!(same(got, want), "{dtype:?}({x:e}) is {got:e}, expected {want:e}");
            let single = x as f32;
            let got = layout(dtype).decode(&Host64, layout(dtype).encode(&Host32, single).into());
            let want = nearest(dtype, &finite, single.into());
            assert!(same(got, want), "{dtype:?}({single:e}) from f32 is {got:e}, expected {want:e}");
        }
    }
}

#[test]
fn what_is_not_finite_keeps_its_kind_and_sign() {
    for (dtype, _) in ALL {
        let infinite = if dtype == DType::F8E4M3 { 448.0 } else { f64::INFINITY };
        assert_eq!(round_to(dtype, f64::INFINITY), infinite);
        assert_eq!(round_to(dtype, f64::NEG_INFINITY), -infinite);
        assert!(round_to(dtype, f64::NAN).is_nan());
        assert!(layout(dtype).decode(&Host32, layout(dtype).encode(&Host32, -f32::NAN)).is_nan());
    }
    assert_eq!(round_to(DType::F32, 0.1), 0.1);
}

#[test]
fn roundoff_and_the_least_normal_number_are_those_of_the_layout() {
    for dtype in [DType::F16, DType::BF16, DType::F8E5M2] {
        let (half, least) = (layout(dtype).unit_roundoff(), layout(dtype).least_normal());
        assert_eq!(round_to(dtype, least), least, "{dtype:?}");
        // Half the distance of neighbours: exactly between two numbers the even one is taken, 1; and a little above the other.
        assert_eq!(round_to(dtype, 1.0 + half), 1.0, "{dtype:?}");
        assert_eq!(round_to(dtype, 1.0 + half * 1.01), 1.0 + 2.0 * half, "{dtype:?}");
        // Below the least normal number neighbours lie as far apart as above it.
        assert_eq!(round_to(dtype, least * (1.0 - 2.0 * half)), least * (1.0 - 2.0 * half), "{dtype:?}");
        assert_ne!(round_to(dtype, least * (1.0 - half)), least * (1.0 - half), "{dtype:?}");
    }
}
