//! Attention with what its variants differ in, in the precision in which products of matrices take it.

use attnc::ir::cascade::Cascade;

use crate::spec;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// What messages call it.
    pub name: &'static str,
    /// The features of queries and keys, and those of values.
    pub features: (u32, u32),
    /// The dtype of queries, keys and values.
    pub dtype: &'static str,
    /// Inputs that others do not have.
    pub inputs: &'static str,
    /// A score and where there is one.
    pub scores: &'static str,
    /// Weights from scores.
    pub weights: &'static str,
}

/// The usual one.
const PLAIN: Attention = Attention {
    name: "softmax",
    features: (64, 64),
    dtype: "bf16",
    inputs: "",
    scores: "0.125 * sum[d](Q * K)",
    weights: "softmax[n](S)",
};

/// A query sees the keys up to its own.
pub const CAUSAL: Attention =
    Attention { name: "causal", scores: "0.125 * sum[d](Q * K) where n <= m", ..PLAIN };

/// All of them.
pub const VARIANTS: &[Attention] = &[
    PLAIN,
    CAUSAL,
    Attention {
        name: "slopes",
        scores: "0.125 * sum[d](Q * K) - (m - n) * exp2(-(h + 1)) where n <= m",
        ..PLAIN
    },
    Attention { name: "soft cap", scores: "8 * tanh(sum[d](Q * K) / 64)", ..PLAIN },
    Attention { name: "window", scores: "0.125 * sum[d](Q * K) where abs(m - n) < 9", ..PLAIN },
    Attention { name: "sigmoid", weights: "sigmoid(S - log(|n|))", ..PLAIN },
    Attention {
        name: "sink",
        inputs: "input A[h]: f32",
        weights: "exp(S) / (exp(A) + sum[n](exp(S)))",
        ..PLAIN
    },
    Attention {
        name: "documents",
        inputs: "input D[b, m]: i32\n  input E[b, n]: i32",
        scores: "0.125 * sum[d](Q * K) where D == E",
        ..PLAIN
    },
    Attention { name: "bias", inputs: "input B[h, m, n]: f32", scores: "0.125 * sum[d](Q * K) + B", ..PLAIN },
    Attention { name: "40 features", features: (40, 40), ..CAUSAL },
    Attention { name: "80 and 72 features", features: (80, 72), ..CAUSAL },
    Attention { name: "128 features", features: (128, 128), ..CAUSAL },
    Attention { name: "192 and 128 features", features: (192, 128), ..CAUSAL },
    Attention { name: "64 and 24 features", features: (64, 24), ..CAUSAL },
    Attention { name: "5 and 7 features", features: (5, 7), ..CAUSAL },
    Attention { name: "f16", dtype: "f16", ..CAUSAL },
    Attention { name: "f16, weights beyond its range", weights: "1e6 * sigmoid(S)", dtype: "f16", ..CAUSAL },
    Attention { name: "f16, weights below its range", weights: "1e-9 * sigmoid(S)", dtype: "f16", ..CAUSAL },
    Attention { name: "f16, 80 and 72 features", dtype: "f16", features: (80, 72), ..PLAIN },
    Attention { name: "f32", dtype: "f32", ..PLAIN },
    Attention { name: "f32, causal", dtype: "f32", ..CAUSAL },
    Attention { name: "f32, sigmoid", dtype: "f32", weights: "sigmoid(S - log(|n|))", ..PLAIN },
    Attention { name: "f32, 5 and 7 features", dtype: "f32", features: (5, 7), ..CAUSAL },
    Attention { name: "f32, 128 and 80 features", dtype: "f32", features: (128, 80), ..CAUSAL },
];

impl Attention {
    /// Whether tensors are of floats that products of matrices take as they are.
    pub fn is_short(&self) -> bool {
        self.dtype != "f32"
    }

    /// Its kernel.
    pub fn cascade(&self) -> Cascade {
        let Attention { features: (d, e), dtype, inputs, scores, weights, .. } = self;
        let text = format!(
            "kernel t {{
  rank b, h, m, n
  rank d = {d}
  rank e = {e}
  input Q[b, h, m, d]: {dtype}
  input K[b, h, n, d]: {dtype}
  input V[b, h, n, e]: {dtype}
  {inputs}
  S[b, h, m, n] = {scores}
  P[b, h, m, n] = {weights}
  output O[b, h, m, e]: f32 = sum[n](P * V)
}}"
        );
        spec::cascade(&text).unwrap_or_else(|it| panic!("{it}"))
    }
}
