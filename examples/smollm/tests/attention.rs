//! Each attention against the definition, over views of a cache that is larger than what they may see.

use anyhow::Result;
use candle_core::{Device, Tensor};
use smollm::{Attention, attention};

const QUERY_HEADS: usize = 9;
const KV_HEADS: usize = 3;
const DIM: usize = 64;
const CAPACITY: usize = 80;

/// Queries of `m` tokens and the first `n` tokens of two caches; what follows in the caches is NaN.
fn operands(m: usize, n: usize) -> Result<[Tensor; 3]> {
    let random = |heads: usize, tokens: usize| Tensor::randn(0f32, 1., (heads, tokens, DIM), &Device::Cpu);
    let cache = || -> Result<Tensor> {
        let unseen = Tensor::full(f32::NAN, (KV_HEADS, CAPACITY - n, DIM), &Device::Cpu)?;
        Ok(Tensor::cat(&[random(KV_HEADS, n)?, unseen], 1)?.narrow(1, 0, n)?)
    };
    Ok([random(QUERY_HEADS, m)?, cache()?, cache()?])
}

/// The definition, in f64.
fn reference([queries, keys, values]: &[Tensor; 3]) -> Result<Vec<Vec<f64>>> {
    let [queries, keys, values] =
        [queries.to_vec3::<f32>()?, keys.to_vec3::<f32>()?, values.to_vec3::<f32>()?];
    let (m, n) = (queries[0].len(), keys[0].len());
    let row = |h: usize, i: usize| {
        let (keys, values) = (&keys[h / 3], &values[h / 3]);
        let dot = |key: &[f32]| -> f64 {
            queries[h][i].iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum()
        };
        let weights: Vec<f64> = keys[..=i + n - m].iter().map(|key| (dot(key) / 8.).exp()).collect();
        let total: f64 = weights.iter().sum();
        (0..DIM)
            .map(move |e| {
                weights.iter().zip(values).map(|(w, value)| w * f64::from(value[e])).sum::<f64>() / total
            })
            .collect::<Vec<_>>()
    };
    Ok((0..m).map(|i| (0..QUERY_HEADS).flat_map(|h| row(h, i)).collect()).collect())
}

fn check(attention: &mut dyn Attention) -> Result<()> {
    // A whole prompt, a part of one after others, and single tokens; lengths that no vector or tile divides.
    for (m, n) in [(1, 1), (7, 7), (33, 33), (5, 40), (1, 2), (1, 79)] {
        let operands = operands(m, n)?;
        let [queries, keys, values] = &operands;
        let found = attention.attend(queries, keys, values)?.to_vec2::<f32>()?;
        let expected = reference(&operands)?;
        assert_eq!(found.len(), m);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            for (&found, &expected) in found.iter().zip(expected) {
                let difference = (f64::from(found) - expected).abs();
                assert!(difference < 1e-5, "m = {m}, n = {n}: {found} instead of {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn candle_computes_the_definition() -> Result<()> {
    check(&mut attention::Candle)
}

#[test]
fn attnc_computes_the_definition() -> Result<()> {
    check(&mut attention::Attnc::default())
}
