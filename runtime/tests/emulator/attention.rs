//! Inputs of attention, and what it should give.

use half::bf16;

/// Numbers that look random, of about unit size.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    // The sum of a few is close to a normal distribution.
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>()).collect()
}

/// The same rounded to bf16.
pub(crate) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|it| bf16::from_f32(*it).to_f32()).collect()
}

/// As bytes of bf16.
pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|it| bf16::from_f32(*it).to_le_bytes()).collect()
}

/// From bytes of bf16.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|it| bf16::from_le_bytes([it[0], it[1]]).to_f32()).collect()
}

/// Attention in f64.
pub(crate) fn reference(q: &[f32], k: &[f32], v: &[f32], features: usize) -> Vec<f64> {
    let scale = 1.0 / (features as f64).sqrt();
    let mut result = Vec::new();
    for query in q.chunks(features) {
        let scores: Vec<f64> = k
            .chunks(features)
            .map(|key| query.iter().zip(key).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>() * scale)
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let norm: f64 = weights.iter().sum();
        for feature in 0..features {
            let column = v.iter().skip(feature).step_by(features);
            let sum: f64 = weights.iter().zip(column).map(|(weight, value)| weight * f64::from(*value)).sum();
            result.push(sum / norm);
        }
    }
    result
}

/// The norm of the difference over that of the expected.
pub(crate) fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let difference: f64 = found.iter().zip(expected).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum();
    let size: f64 = expected.iter().map(|y| y * y).sum();
    (difference / size).sqrt()
}
