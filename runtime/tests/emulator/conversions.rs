//! Conversions, against the casts of the host, and small formats against all of their numbers.

use attnc_ptx::Op;
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use half::{bf16, f16};

use crate::one::{check1, check2, integers, random};

fn cvt(round: CvtRound, saturate: Saturate, to: Number, from: Number) -> Op {
    Op::Cvt { round, saturate, to, from }
}

#[test]
fn integers_are_extended_cut_and_limited() {
    let (narrow, wide) = (integers(32), integers(64));
    let exact = |to, from| cvt(CvtRound::Exact, Saturate::No, to, from);
    check1(exact(Number::U64, Number::U32), &narrow, |a| a);
    check1(exact(Number::S64, Number::S32), &narrow, |a| i64::from(a as i32).cast_unsigned());
    check1(exact(Number::U32, Number::U64), &wide, |a| a & 0xffff_ffff);
    check1(exact(Number::S32, Number::S8), &narrow, |a| i32::from(a as i8).cast_unsigned().into());
    check1(exact(Number::U16, Number::S32), &narrow, |a| a & 0xffff);
    let limited = |to, from| cvt(CvtRound::Exact, Saturate::Sat, to, from);
    check1(limited(Number::U8, Number::S32), &narrow, |a| (a as i32).clamp(0, 255) as u64);
    check1(limited(Number::S16, Number::S64), &wide, |a| {
        (a.cast_signed().clamp(-32768, 32767) as u16).into()
    });
    check1(limited(Number::S32, Number::U64), &wide, |a| a.min(0x7fff_ffff));
}

#[test]
fn integers_and_floats_are_cast_as_by_the_host() {
    let (narrow, wide) = (integers(32), integers(64));
    let near = |to, from| cvt(CvtRound::Nearest, Saturate::No, to, from);
    check1(near(Number::F32, Number::S32), &narrow, |a| (a as i32 as f32).to_bits().into());
    check1(near(Number::F32, Number::U64), &wide, |a| (a as f32).to_bits().into());
    check1(near(Number::F64, Number::S64), &wide, |a| (a.cast_signed() as f64).to_bits());
    check1(near(Number::F16, Number::U32), &narrow, |a| f16::from_f64(a as f64).to_bits().into());
    let floats: Vec<u64> = random(3, 400).into_iter().map(|it| it & 0xffff_ffff).collect();
    let to_int = |round, to| cvt(round, Saturate::No, to, Number::F32);
    let value = |bits: u64| f32::from_bits(bits as u32);
    check1(to_int(CvtRound::ZeroInt, Number::S32), &floats, |a| (value(a) as i32).cast_unsigned().into());
    check1(to_int(CvtRound::NearestInt, Number::U32), &floats, |a| {
        (value(a).round_ties_even() as u32).into()
    });
    check1(to_int(CvtRound::UpInt, Number::S8), &floats, |a| {
        (i32::from(value(a).ceil() as i8)).cast_unsigned().into()
    });
    let near_ones: Vec<u64> = (-40..40).map(|it| u64::from((it as f32 * 0.25).to_bits())).collect();
    check1(to_int(CvtRound::DownInt, Number::F32), &near_ones, |a| value(a).floor().to_bits().into());
    check1(cvt(CvtRound::Nearest, Saturate::Sat, Number::F16, Number::F32), &near_ones, |a| {
        f16::from_f32(value(a).clamp(0.0, 1.0)).to_bits().into()
    });
}

#[test]
fn halves_widen_exactly_and_f32_rounds_to_them() {
    let all: Vec<u64> = (0..=0xffff).collect();
    let wide = |from| cvt(CvtRound::Exact, Saturate::No, Number::F32, from);
    let bits = |value: f32| u64::from(if value.is_nan() { 0x7fff_ffff } else { value.to_bits() });
    check1(wide(Number::F16), &all, |a| bits(f16::from_bits(a as u16).to_f32()));
    check1(wide(Number::BF16), &all, |a| bits(bf16::from_bits(a as u16).to_f32()));
    // Numbers between two halves, at ties and beside them.
    let between: Vec<u64> = all
        .iter()
        .step_by(37)
        .flat_map(|half| {
            let value = f16::from_bits(*half as u16).to_f32();
            let ulp = f16::from_bits((*half ^ 1) as u16).to_f32() - value;
            [0.0, 0.25, 0.5, 0.500_001].map(|part| u64::from((value + ulp * part).to_bits()))
        })
        .chain(random(8, 500).into_iter().map(|it| it & 0xffff_ffff))
        .collect();
    let near = |to| cvt(CvtRound::Nearest, Saturate::No, to, Number::F32);
    let value = |bits: u64| f32::from_bits(bits as u32);
    let f16_of = |it: f32| u64::from(if it.is_nan() { 0x7fff } else { f16::from_f32(it).to_bits() });
    let bf16_of = |it: f32| u64::from(if it.is_nan() { 0x7fff } else { bf16::from_f32(it).to_bits() });
    check1(near(Number::F16), &between, |a| f16_of(value(a)));
    check1(near(Number::BF16), &between, |a| bf16_of(value(a)));
    let some = &between[..60];
    let pair = |to, relu| Op::CvtPair { relu, to };
    check2(pair(Pair::F16x2, Relu::No), some, some, |a, b| f16_of(value(a)) << 16 | f16_of(value(b)));
    check2(pair(Pair::BF16x2, Relu::No), some, some, |a, b| bf16_of(value(a)) << 16 | bf16_of(value(b)));
    let positive = |it: f32| if it.is_nan() { it } else { it.max(0.0) };
    check2(pair(Pair::BF16x2, Relu::Relu), some, some, |a, b| {
        bf16_of(positive(value(a))) << 16 | bf16_of(positive(value(b)))
    });
    for (round, up) in [(CvtRound::Down, false), (CvtRound::Up, true)] {
        check1(cvt(round, Saturate::No, Number::F16, Number::F32), &between, |a| {
            let (exact, near) = (value(a), f16::from_f32(value(a)));
            let result = match near.to_f32().partial_cmp(&exact) {
                Some(std::cmp::Ordering::Greater) if !up => next(near, false),
                Some(std::cmp::Ordering::Less) if up => next(near, true),
                Some(_) | None => near,
            };
            u64::from(if result.is_nan() { 0x7fff } else { result.to_bits() })
        });
    }
}

/// The next f16 up or down.
fn next(value: f16, up: bool) -> f16 {
    let bits = value.to_bits();
    if bits & 0x7fff == 0 {
        return f16::from_bits(if up { 1 } else { 0x8001 });
    }
    let outward = (bits & 0x8000 == 0) == up;
    f16::from_bits(if outward { bits + 1 } else { bits - 1 })
}

/// The numbers of a format of 8 bits, by its definition.
fn small(bits: u64, exponent_bits: u32) -> f32 {
    let fraction_bits = 7 - exponent_bits;
    let exponent = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i32;
    let fraction = (bits & ((1 << fraction_bits) - 1)) as f32 / (1 << fraction_bits) as f32;
    let bias = (1 << (exponent_bits - 1)) - 1;
    let magnitude = if exponent_bits == 4 && bits & 0x7f == 0x7f {
        f32::NAN
    } else if exponent_bits == 5 && exponent == 31 {
        if fraction == 0.0 { f32::INFINITY } else { f32::NAN }
    } else if exponent == 0 {
        fraction * 2f32.powi(1 - bias)
    } else {
        (1.0 + fraction) * 2f32.powi(exponent - bias)
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

#[test]
fn floats_of_8_bits_are_the_nearest_of_all() {
    for (pair, exponent_bits) in [(Pair8::E4M3x2, 4), (Pair8::E5M2x2, 5)] {
        let finite: Vec<(u64, f32)> = (0..128)
            .map(|bits| (bits, small(bits, exponent_bits)))
            .filter(|(_, value)| value.is_finite())
            .collect();
        let numbers: Vec<u64> = random(2, 300)
            .iter()
            .map(|it| (*it as i32 as f32 * 2f32.powi((it >> 40 & 63) as i32 - 56)).to_bits().into())
            .chain(finite.windows(2).map(|two| u64::from(((two[0].1 + two[1].1) / 2.0).to_bits())))
            .collect();
        let nearest = |bits: u64| {
            let value = f64::from(f32::from_bits(bits as u32));
            let distance = |it: &(u64, f32)| ((f64::from(it.1) - value.abs()).abs(), it.0 & 1);
            let best = finite.iter().min_by(|a, b| distance(a).partial_cmp(&distance(b)).expect("numbers"));
            best.expect("a number").0 | if value < 0.0 { 0x80 } else { 0 }
        };
        let op = Op::CvtPair8 { relu: Relu::No, to: pair };
        check2(op, &numbers[..80], &numbers, |a, b| nearest(a) << 8 | nearest(b));
        let all: Vec<u64> = (0..=0xffff).step_by(13).collect();
        let wide = |bits: u64| {
            let value = small(bits & 0xff, exponent_bits);
            u64::from(if value.is_nan() { 0x7fff } else { f16::from_f32(value).to_bits() })
        };
        check1(Op::CvtUnpair8 { relu: Relu::No, from: pair }, &all, |a| wide(a) | wide(a >> 8) << 16);
    }
}

#[test]
fn tf32_ties_go_away_from_zero() {
    let values: Vec<u64> = random(5, 200).into_iter().map(|it| it & 0x7f7f_ffff).collect();
    check1(Op::CvtTf32, &values, |a| (a + 0x1000) & !0x1fff);
}
