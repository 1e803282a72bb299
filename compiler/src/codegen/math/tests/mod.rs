//! The functions on the host's floats: errors over all exponents, the edges, and the narrow layouts.

mod accuracy;
mod edges;
mod narrow;
mod reference;

/// An endless sequence of well-mixed words.
fn words(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |i: u64| {
        let mut z = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A number evenly from `-span` to `span`.
fn even(word: u64, span: f64) -> f64 {
    span * (2.0 * (word >> 11) as f64 / (1u64 << 53) as f64 - 1.0)
}
