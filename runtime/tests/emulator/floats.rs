//! Floats: exact arithmetic against the host, functions near it.

use attnc_ptx::Op;
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use half::{bf16, f16};

use crate::one::{In, check1, check2, check3, compute, random};

/// Numbers of f32: corners, and some of many magnitudes.
fn singles() -> Vec<u64> {
    let corners = [0.0, -0.0, 1.0, -1.0, 1.5, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NAN];
    let random = random(9, 30).into_iter().map(|it| it & 0xffff_ffff);
    corners.iter().map(|it| u64::from(it.to_bits())).chain(random).collect()
}

/// The bits of an f32, all NaN alike.
fn bits(value: f32) -> u64 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits().into() }
}

fn value(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn binary(op: FloatOp, ty: Float) -> Op {
    Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty }
}

#[test]
fn arithmetic_to_the_nearest_is_that_of_the_host() {
    let values = singles();
    check2(binary(FloatOp::Add, Float::F32), &values, &values, |a, b| bits(value(a) + value(b)));
    check2(binary(FloatOp::Sub, Float::F32), &values, &values, |a, b| bits(value(a) - value(b)));
    check2(binary(FloatOp::Mul, Float::F32), &values, &values, |a, b| bits(value(a) * value(b)));
    let div = Op::Div { how: Division::Nearest, flush: Flush::Keep, ty: Real::F32 };
    check2(div, &values, &values, |a, b| bits(value(a) / value(b)));
    let turned: Vec<u64> = values.iter().rev().copied().collect();
    let fma = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
    check3(fma, [&values, &turned, &values], |a, b, c| bits(value(a).mul_add(value(b), value(c))));
    let doubles: Vec<u64> = random(4, 40).into_iter().filter(|it| f64::from_bits(*it).is_finite()).collect();
    check2(binary(FloatOp::Add, Float::F64), &doubles, &doubles, |a, b| {
        (f64::from_bits(a) + f64::from_bits(b)).to_bits()
    });
}

/// An f64 that is exact rounded to f32 in a direction.
fn directed(exact: f64, round: Round) -> u64 {
    let nearest = exact as f32;
    let above = f64::from(nearest) > exact;
    let below = f64::from(nearest) < exact;
    let result = match round {
        Round::Any | Round::Nearest => nearest,
        Round::Down if above => nearest.next_down(),
        Round::Up if below => nearest.next_up(),
        Round::Zero if above && exact > 0.0 => nearest.next_down(),
        Round::Zero if below && exact < 0.0 => nearest.next_up(),
        Round::Down | Round::Up | Round::Zero => nearest,
    };
    bits(result)
}

#[test]
fn directed_rounding_is_to_the_neighbour_on_that_side() {
    // So few digits that sums and products of them are exact in f64.
    let few = |seed| -> Vec<u64> {
        random(seed, 60)
            .iter()
            .map(|it| bits((*it as i16) as f32 * 2f32.powi((it >> 20 & 15) as i32 - 8)))
            .collect()
    };
    let (a, b, c) = (few(1), few(2), few(3));
    for round in [Round::Nearest, Round::Zero, Round::Down, Round::Up] {
        let sum = Op::FloatBinary { op: FloatOp::Add, round, flush: Flush::Keep, ty: Float::F32 };
        check2(sum, &a, &b, |a, b| {
            let exact = f64::from(value(a)) + f64::from(value(b));
            if exact == 0.0 {
                if round == Round::Down { bits(-0.0) } else { 0 }
            } else {
                directed(exact, round)
            }
        });
        let fma = Op::Fma { round, flush: Flush::Keep, ty: Float::F32 };
        check3(fma, [&a, &b, &c], |a, b, c| {
            directed(f64::from(value(a)) * f64::from(value(b)) + f64::from(value(c)), round)
        });
        let how = match round {
            Round::Any | Round::Nearest => Division::Nearest,
            Round::Zero => Division::Zero,
            Round::Down => Division::Down,
            Round::Up => Division::Up,
        };
        // Quotients of numbers of 16 bits that are not exact are further from any f32 than f64 errs.
        let nonzero: Vec<u64> = b.iter().copied().filter(|it| *it != 0).collect();
        check2(Op::Div { how, flush: Flush::Keep, ty: Real::F32 }, &a, &nonzero, |a, b| {
            directed(f64::from(value(a)) / f64::from(value(b)), round)
        });
    }
}

#[test]
fn halves_are_computed_and_rounded_once() {
    let halves: Vec<u64> = random(6, 80).into_iter().map(|it| it & 0xffff).collect();
    let h = |bits: u64| f16::from_bits(bits as u16);
    let b = |bits: u64| bf16::from_bits(bits as u16);
    let f16_bits = |value: f16| if value.is_nan() { 0x7fff } else { u64::from(value.to_bits()) };
    let bf16_bits = |value: bf16| if value.is_nan() { 0x7fff } else { u64::from(value.to_bits()) };
    check2(binary(FloatOp::Add, Float::F16), &halves, &halves, |x, y| f16_bits(h(x) + h(y)));
    check2(binary(FloatOp::Mul, Float::F16), &halves, &halves, |x, y| f16_bits(h(x) * h(y)));
    check2(binary(FloatOp::Add, Float::BF16), &halves, &halves, |x, y| bf16_bits(b(x) + b(y)));
    check2(binary(FloatOp::Mul, Float::BF16), &halves, &halves, |x, y| bf16_bits(b(x) * b(y)));
    let pairs: Vec<u64> = random(7, 60).into_iter().map(|it| it & 0xffff_ffff).collect();
    check2(binary(FloatOp::Sub, Float::BF16x2), &pairs, &pairs, |x, y| {
        bf16_bits(b(x) - b(y)) | bf16_bits(b(x >> 16) - b(y >> 16)) << 16
    });
    let fma = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: Float::F16 };
    let turned: Vec<u64> = halves.iter().rev().copied().collect();
    check3(fma, [&halves, &turned, &halves], |x, y, z| {
        f16_bits(f16::from_f64(h(x).to_f64().mul_add(h(y).to_f64(), h(z).to_f64())))
    });
}

#[test]
fn extremes_and_comparisons_know_nan_and_zero() {
    let values = singles();
    let max = |nan| Op::Extreme { op: Extreme::Max, flush: Flush::Keep, nan, ty: Float::F32 };
    let larger = |a: f32, b: f32| {
        if a == b { if a.is_sign_positive() { a } else { b } } else { a.max(b) }
    };
    check2(max(Nan::Number), &values, &values, |a, b| bits(larger(value(a), value(b))));
    check2(max(Nan::NaN), &values, &values, |a, b| {
        let (a, b) = (value(a), value(b));
        bits(if a.is_nan() || b.is_nan() { f32::NAN } else { larger(a, b) })
    });
    let setp = |cmp| Op::FloatSetp { cmp, combine: Combine::None, flush: Flush::Keep, ty: Float::F32 };
    check2(setp(FloatCompare::Lt), &values, &values, |a, b| (value(a) < value(b)).into());
    check2(setp(FloatCompare::Geu), &values, &values, |a, b| {
        u64::from(value(a).partial_cmp(&value(b)).is_none_or(std::cmp::Ordering::is_ge))
    });
    check2(setp(FloatCompare::Ne), &values, &values, |a, b| {
        (value(a) < value(b) || value(a) > value(b)).into()
    });
    check2(setp(FloatCompare::Unordered), &values, &values, |a, b| {
        (value(a).is_nan() || value(b).is_nan()).into()
    });
    let flushed = |it: f32| if it.is_subnormal() { 0f32.copysign(it) } else { it };
    let ftz = Op::FloatBinary { op: FloatOp::Mul, round: Round::Nearest, flush: Flush::Ftz, ty: Float::F32 };
    check2(ftz, &values, &values, |a, b| bits(flushed(flushed(value(a)) * flushed(value(b)))));
}

#[test]
fn functions_are_those_of_the_host() {
    let values = singles();
    let function = |f| Op::Function { f, flush: Flush::Keep, ty: Float::F32 };
    check1(function(Function::Lg2), &values, |a| bits(value(a).log2()));
    check1(function(Function::Rcp), &values, |a| bits(1.0 / value(a)));
    check1(function(Function::Tanh), &values, |a| bits(value(a).tanh()));
    check1(function(Function::SqrtExact), &values, |a| bits(value(a).sqrt()));
    let near: Vec<u64> = (1..50).map(|it| bits(it as f32 * 0.37)).collect();
    check1(function(Function::Sin), &near, |a| bits(value(a).sin()));
    check1(function(Function::Rsqrt), &near, |a| bits((1.0 / f64::from(value(a)).sqrt()) as f32));
}

#[test]
fn powers_are_as_far_off_as_they_may_be() {
    let ex2 = Op::Function { f: Function::Ex2, flush: Flush::Keep, ty: Float::F32 };
    let exact = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0, 1.0, -7.0, -126.0, -149.0, 200.0];
    check1(ex2, &exact.map(bits), |a| bits(value(a).exp2()));
    let exponents: Vec<u64> = (0..500).map(|it| bits(it as f32 * 0.37 - 90.0)).collect();
    let found = compute(ex2, &[In::Each(exponents.clone())]);
    let off = exponents.iter().zip(found).map(|(exponent, found)| {
        let exact = f64::from(value(*exponent)).exp2();
        (f64::from(value(found)) / exact - 1.0) * 2f64.powi(22)
    });
    let (least, most) = off.fold((0.0, 0.0), |(a, b): (f64, f64), it| (a.min(it), b.max(it)));
    assert!((-1.0..-0.8).contains(&least) && (0.8..=1.0).contains(&most), "{least} to {most}");
}
