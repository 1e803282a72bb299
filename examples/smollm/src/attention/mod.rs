//! Causal grouped-query attention over a cache: with candle's own operations, or with kernels compiled by attnc.

mod attnc;
mod candle;

use anyhow::Result;
use candle_core::Tensor;

pub use attnc::Attnc;
pub use candle::Candle;

/// What the model delegates.
pub trait Attention {
    /// `queries[h, m, d]` are the last m of the n tokens of `keys[hk, n, d]` and `values[hk, n, d]`, which are views
    /// of a cache; each sees the tokens up to its own. Query head h reads cache head `h // (|h| / |hk|)`.
    /// The result is `[m, h * d]`.
    fn attend(&mut self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor>;
}
