//! Attention as candle's operations: matrix product, mask, softmax, matrix product.

use anyhow::Result;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::Attention;

/// Candle's own operations.
#[derive(Debug, Default)]
pub struct Candle;

impl Attention for Candle {
    fn attend(&mut self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
        let (h, m, d) = queries.dims3()?;
        let (hk, n, _) = keys.dims3()?;
        // The heads of a group share their keys, so they are multiplied as one tall matrix.
        let grouped = queries.reshape((hk, (h / hk) * m, d))?;
        let scores = (grouped.matmul(&keys.t()?)? / (d as f64).sqrt())?.reshape((h, m, n))?;
        let weights = softmax_last_dim(&scores.broadcast_add(&causal_mask(m, n)?)?)?;
        let heads = weights.reshape((hk, (h / hk) * m, n))?.matmul(values)?.reshape((h, m, d))?;
        Ok(heads.transpose(0, 1)?.flatten_from(D::Minus2)?)
    }
}

/// 0 where query m may see key n, minus infinity elsewhere.
fn causal_mask(m: usize, n: usize) -> Result<Tensor> {
    let seen = |i: usize, j: usize| j <= i + n - m;
    let mask = (0..m * n).map(|at| if seen(at / n, at % n) { 0f32 } else { f32::NEG_INFINITY });
    Ok(Tensor::from_iter(mask, &Device::Cpu)?.reshape((m, n))?)
}
