//! Loops of which a processor is the only limit: to find out how fast it computes and how fast it reads.
//!
//! They use the widest vectors that it has, whatever this crate is compiled for; who calls them takes the time.

use std::hint::black_box;

/// The bytes of a line of a cache, or more.
const LINE: usize = 64;

/// Multiplies and adds in registers; how many operations on f32 that were.
pub fn multiply_add(rounds: u64) -> u64 {
    let per_round = widest().multiply_add(rounds);
    2 * rounds * per_round
}

/// Reads elements in so many streams side by side, each a part of them; how many bytes that were.
pub fn read(data: &[f32], streams: usize) -> u64 {
    // A vector that lies in two lines of a cache takes two reads.
    let first = data.as_ptr().align_offset(LINE).min(data.len());
    widest().read(&data[first..], streams.max(1)) * size_of::<f32>() as u64
}

/// How many elements of f32 a vector has.
pub fn lanes() -> usize {
    match widest() {
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => 16,
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2 => 8,
        Vectors::Base => base::LANES,
    }
}

/// The vectors that loops are written for.
enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the architecture takes for granted.
    Base,
}

fn widest() -> Vectors {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Vectors::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Vectors::Avx2;
        }
    }
    Vectors::Base
}

impl Vectors {
    /// How many elements are multiplied and added in each round.
    fn multiply_add(&self, rounds: u64) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor was asked whether it has what the loop needs.
            Vectors::Avx512 => unsafe { avx512::multiply_add(rounds) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Vectors::Avx2 => unsafe { avx2::multiply_add(rounds) },
            // SAFETY: every processor of the architecture has what the loop needs.
            Vectors::Base => unsafe { base::multiply_add(rounds) },
        }
    }

    /// How many elements were read.
    fn read(&self, data: &[f32], streams: usize) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Vectors::Avx512 => unsafe { avx512::read(data, streams) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Vectors::Avx2 => unsafe { avx2::read(data, streams) },
            // SAFETY: as above.
            Vectors::Base => unsafe { base::read(data, streams) },
        }
    }
}

/// Both loops, on vectors of so many elements: with more sums than a multiplication takes cycles, times what starts in
/// one cycle.
macro_rules! loops {
    ($lanes:literal, $sums:literal, $features:literal, $set:path, $load:path, $add:path, $multiply_add:expr) => {
        pub(super) const LANES: usize = $lanes;

        #[target_feature(enable = $features)]
        pub(super) fn multiply_add(rounds: u64) -> u64 {
            let (factor, term) = (black_box($set(0.999)), black_box($set(0.001)));
            let mut sums = [$set(1.0); $sums];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = $multiply_add(*sum, factor, term);
                }
            }
            black_box(sums);
            $sums * $lanes
        }

        #[target_feature(enable = $features)]
        pub(super) fn read(data: &[f32], streams: usize) -> u64 {
            const STEP: usize = 8 * LANES;
            let length = data.len() / streams / STEP * STEP;
            let mut sums = [$set(0.0); 8];
            for at in (0..length).step_by(STEP) {
                for stream in 0..streams {
                    let block = &data[stream * length + at..][..STEP];
                    for (number, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: a block has as many elements as eight vectors.
                        let part = unsafe { $load(block.as_ptr().add(number * LANES)) };
                        *sum = $add(*sum, part);
                    }
                }
            }
            black_box(sums);
            (length * streams) as u64
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::black_box;
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps};

    loops!(16, 12, "avx512f", _mm512_set1_ps, _mm512_loadu_ps, _mm512_add_ps, _mm512_fmadd_ps);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::black_box;
    use std::arch::x86_64::{_mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps};

    loops!(8, 12, "avx2,fma", _mm256_set1_ps, _mm256_loadu_ps, _mm256_add_ps, _mm256_fmadd_ps);
}

#[cfg(target_arch = "x86_64")]
mod base {
    use super::black_box;
    use std::arch::x86_64::{_mm_add_ps, _mm_loadu_ps, _mm_mul_ps, _mm_set1_ps};

    loops!(4, 12, "sse2", _mm_set1_ps, _mm_loadu_ps, _mm_add_ps, |sum, factor, term| _mm_add_ps(
        _mm_mul_ps(sum, factor),
        term
    ));
}

#[cfg(target_arch = "aarch64")]
mod base {
    use super::black_box;
    use std::arch::aarch64::{vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};

    loops!(4, 20, "neon", vdupq_n_f32, vld1q_f32, vaddq_f32, |sum, factor, term| vfmaq_f32(
        term, sum, factor
    ));
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod base {
    use super::black_box;

    pub(super) const LANES: usize = 1;

    pub(super) unsafe fn multiply_add(rounds: u64) -> u64 {
        let (factor, term) = (black_box(0.999_f32), black_box(0.001));
        let mut sums = [1.0_f32; 8];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = *sum * factor + term);
        }
        black_box(sums);
        8
    }

    pub(super) unsafe fn read(data: &[f32], streams: usize) -> u64 {
        let length = data.len() / streams;
        let mut sum = 0.0;
        for at in 0..length {
            (0..streams).for_each(|stream| sum += data[stream * length + at]);
        }
        black_box(sum);
        (length * streams) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_counted() {
        let (once, twice) = (multiply_add(1), multiply_add(2));
        assert!(once >= 2 * lanes() as u64 && twice == 2 * once, "{once} {twice}");
        for streams in [1, 4] {
            let bytes = read(&[1.0; 8192], streams);
            assert!((4 * 4096..=4 * 8192).contains(&bytes), "{bytes} in {streams} streams");
        }
        assert_eq!(read(&[], 4), 0);
    }
}
