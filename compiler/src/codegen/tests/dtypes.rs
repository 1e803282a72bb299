//! Loads and stores of every dtype.

use attnc_dsl::ast::DType;

use super::build::{apply, elementwise};
use crate::codegen::math::narrow::{Narrow, round_to};
use crate::ir::nest::Scalar;

const WIDTHS: [Option<u32>; 3] = [None, Some(8), Some(2)];
const FLOATS: [DType; 4] = [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2];

/// What a kernel that stores its input in another dtype makes of these.
fn copied<I, O: Copy + Default>(from: DType, to: DType, width: Option<u32>, x: &[I]) -> Vec<O> {
    let nest = elementwise(&[(from, Scalar::of(from))], to, width, |_, _, x| x[0]);
    apply(&nest, x.len(), &[x.as_ptr().cast()])
}

fn is_byte(dtype: DType) -> bool {
    matches!(dtype, DType::F8E4M3 | DType::F8E5M2)
}

#[test]
fn narrow_floats_are_widened() {
    for dtype in FLOATS {
        let narrow = Narrow::of(dtype).unwrap();
        for width in WIDTHS {
            let (bits, found): (Vec<u16>, Vec<f32>) = if is_byte(dtype) {
                let bytes: Vec<u8> = (0..=255).collect();
                (bytes.iter().map(|&it| it.into()).collect(), copied(dtype, DType::F32, width, &bytes))
            } else {
                let halves: Vec<u16> = (0..=u16::MAX).collect();
                let found = copied(dtype, DType::F32, width, &halves);
                (halves, found)
            };
            for (bits, found) in bits.into_iter().zip(found) {
                let expected = narrow.value_of(bits) as f32;
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{dtype:?} {bits:x} {width:?}");
            }
        }
    }
}

#[test]
fn reals_are_narrowed() {
    let x: Vec<f32> = (0..4096u32).map(|it| f32::from_bits(it << 20 | it)).collect();
    for dtype in FLOATS {
        for width in WIDTHS {
            let found: Vec<u16> = if is_byte(dtype) {
                let bytes: Vec<u8> = copied(DType::F32, dtype, width, &x);
                bytes.into_iter().map(u16::from).collect()
            } else {
                copied(DType::F32, dtype, width, &x)
            };
            let narrow = Narrow::of(dtype).unwrap();
            for (x, found) in x.iter().zip(found) {
                let expected = round_to(dtype, f64::from(*x));
                let found = narrow.value_of(found);
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{dtype:?} {x} {width:?}");
            }
        }
    }
}

#[test]
fn integers_keep_their_values() {
    let wide: Vec<i64> =
        vec![0, 1, -1, 7, -8, 8, 127, -129, 255, 256, 40_000, -40_000, 1 << 40, -(1 << 40), 5, 6];
    macro_rules! check {
        ($dtype:ident, $type:ty, $least:expr, $greatest:expr) => {
            for width in WIDTHS {
                let narrow: Vec<$type> = copied(DType::I64, DType::$dtype, width, &wide);
                let clamped = wide.iter().map(|&it| it.clamp($least, $greatest));
                assert!(narrow.iter().map(|&it| it as i64).eq(clamped), "{narrow:?} {width:?}");
                let back: Vec<i64> = copied(DType::$dtype, DType::I64, width, &narrow);
                assert!(back.iter().copied().eq(narrow.iter().map(|&it| it as i64)), "{back:?} {width:?}");
            }
        };
    }
    check!(I64, i64, i64::MIN, i64::MAX);
    check!(I32, i32, i64::from(i32::MIN), i64::from(i32::MAX));
    check!(I16, i16, -32768, 32767);
    check!(I8, i8, -128, 127);
    check!(U8, u8, 0, 255);
    check!(I4, i8, -8, 7);
}

#[test]
fn bools_are_bytes() {
    for width in WIDTHS {
        let found: Vec<u8> = copied(DType::Bool, DType::Bool, width, &[0u8, 1, 1, 0, 1, 0, 0, 1]);
        assert_eq!(found, [0, 1, 1, 0, 1, 0, 0, 1]);
    }
}

#[test]
fn doubles_are_doubles() {
    let x = [1.0 / 3.0, f64::INFINITY, -0.0, 1e-310];
    let found: Vec<f64> = copied(DType::F64, DType::F64, Some(4), &x);
    assert_eq!(found, x);
}
