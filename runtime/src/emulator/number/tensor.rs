//! Sums of products as tensor cores take them: terms are not rounded one by one, but cut off together.
//!
//! A few products and the sum before are brought to the exponent of the largest of them, and what of a term then lies a bit
//! or two behind the digits of an f32 is cut off. What is left is added exactly, and cut off to an f32. So a sum of many is
//! too small rather than too large, and by more than if each had been rounded. How many products go together, and how many
//! bits, is what Khattak and Mikaitis found on GPUs, bit by bit ("Accurate Models of NVIDIA Tensor Cores", 2025).
//!
//! ```text
//! 2^24 + 1.75 + 1.75   ->   2^24 + 2 (exact: 2^24 + 3.5; one by one: 2^24 + 4)
//! ```

use attnc_ptx::Target;

/// The digits of an f32 behind the first.
const DIGITS: i32 = 23;
/// The exponent of 0, and of what is infinite or NaN: beyond all sums of two others.
const OF_ZERO: i32 = -100_000;
const OF_INFINITE: i32 = 1_000_000;
/// What exponents are below if everything is a number.
const LIMIT: i32 = 1024;

/// How a tensor core adds products of some format.
#[derive(Debug, Clone, Copy)]
pub(in crate::emulator) struct Adder {
    /// The products that go together.
    terms: usize,
    /// The bits behind those of an f32 that are kept.
    extra: i32,
    /// The exponents of the least normal number of the format, and that to which terms are brought at least.
    least: i32,
    floor: i32,
}

/// Numbers of a factor, with their exponents.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Factor {
    values: Vec<f32>,
    exponents: Vec<i32>,
}

impl Factor {
    /// The sum of products with another, which are integers that f32 has.
    pub(in crate::emulator) fn product(&self, from: usize, by: &Factor, other: usize, count: usize) -> f32 {
        let rows = self.values[from..from + count].iter().zip(&by.values[other..other + count]);
        rows.map(|(x, y)| x * y).sum()
    }
}

impl Adder {
    /// That of a machine for factors of so many bits, of which the least normal number is a power of two.
    pub(in crate::emulator) fn new(target: Target, bits: u32, least: i32) -> Adder {
        let (terms, extra, floor) = match target {
            Target::Sm80 => (8, 1, -132),
            Target::Sm90a => (16, 2, -133),
        };
        let extra = if bits == 8 { -10 } else { extra };
        Adder { terms: terms * 16 / bits as usize, extra, least, floor }
    }

    /// A factor.
    pub(in crate::emulator) fn factor(self, values: Vec<f32>) -> Factor {
        let exponents = values.iter().map(|it| exponent(*it, self.least)).collect();
        Factor { values, exponents }
    }

    /// A sum with the products of `count` numbers of two factors, from some positions on.
    pub(in crate::emulator) fn add(
        self,
        start: f32,
        (a, from): (&Factor, usize),
        (b, other): (&Factor, usize),
        count: usize,
    ) -> f32 {
        let rows = |it: usize| {
            let end = (it + self.terms).min(count);
            [(a, from), (b, other)].map(|(of, first)| {
                (&of.values[first + it..first + end], &of.exponents[first + it..first + end])
            })
        };
        (0..count).step_by(self.terms).fold(start, |sum, it| self.add_few(sum, rows(it)))
    }

    fn add_few(self, start: f32, [(a, of_a), (b, of_b)]: [(&[f32], &[i32]); 2]) -> f32 {
        let pairs = of_a.iter().zip(of_b);
        let largest = pairs.map(|(a, b)| a + b).fold(exponent(start, -126), i32::max);
        let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
        let products = a.iter().zip(b).map(product);
        if largest >= LIMIT {
            return (products.sum::<f64>() + f64::from(start)) as f32;
        }
        let unit = DIGITS + self.extra - largest.max(self.floor);
        let scale = power(unit);
        let terms: i64 = products.map(|it| (it * scale) as i64).sum();
        cut((terms + (f64::from(start) * scale) as i64) as f64 * power(-unit))
    }
}

/// The exponent of a number of a format with that least one.
fn exponent(value: f32, least: i32) -> i32 {
    match (value.to_bits() >> DIGITS & 0xff) as i32 {
        255 => OF_INFINITE,
        _ if value == 0.0 => OF_ZERO,
        it => (it - 127).max(least),
    }
}

/// A power of two that f64 has.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// A number cut off to an f32.
fn cut(value: f64) -> f32 {
    let near = value as f32;
    if value.abs() < 2f64.powi(128) && f64::from(near).abs() > value.abs() {
        f32::from_bits(near.to_bits() - 1)
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(target: Target, start: f32, a: &[f32], b: &[f32]) -> f32 {
        let adder = Adder::new(target, 16, -126);
        let [a, b] = [a, b].map(|it| adder.factor(it.to_vec()));
        adder.add(start, (&a, 0), (&b, 0), a.values.len())
    }

    #[test]
    fn terms_are_cut_off_at_the_largest() {
        let large = 2f32.powi(24);
        for target in [Target::Sm80, Target::Sm90a] {
            assert_eq!(sum(target, large, &[1.75, 1.75], &[1.0, 1.0]), large + 2.0);
            assert_eq!(sum(target, -large, &[1.75, 1.75], &[-1.0, -1.0]), -large - 2.0);
            assert_eq!(sum(target, 0.5, &[3.0, -3.0], &[7.0, 7.0]), 0.5);
            assert_eq!(sum(target, -0.0, &[0.0], &[-5.0]).to_bits(), 0);
        }
        // A bit or two behind those of an f32 are kept, of so many products at a time.
        let halves = vec![0.5; 16];
        let ones = vec![1.0; 16];
        assert_eq!(sum(Target::Sm80, large, &halves, &ones), large);
        assert_eq!(sum(Target::Sm90a, large, &halves, &ones), large + 8.0);
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let infinite = f32::INFINITY;
        for target in [Target::Sm80, Target::Sm90a] {
            assert!(sum(target, 0.0, &[infinite, 1.0], &[0.0, 1.0]).is_nan());
            assert!(sum(target, f32::NAN, &[1.0], &[1.0]).is_nan());
            assert_eq!(sum(target, 1.0, &[infinite, 1.0], &[-2.0, 1.0]), -infinite);
            assert_eq!(sum(target, 0.0, &[f32::MAX], &[f32::MAX]), infinite);
            assert_eq!(sum(target, f32::MAX, &[f32::MAX], &[-1.0]), 0.0);
            assert_eq!(sum(target, 0.0, &[2f32.powi(-120)], &[2f32.powi(-29)]), 2f32.powi(-149));
        }
    }
}
