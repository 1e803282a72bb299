//! States that are carried from chunk to chunk, as blocks of GPUs take them.

use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::target::Gpu;

use crate::case::{call, round_to_short, sized};
use crate::spec;

/// Kernels by name: what they read beside `q`, `k` and `v`, their equations, and what is added to the output.
const KERNELS: [(&str, &str, &str, &str); 6] = [
    ("unnormalised", "", "H[b, h, t+1, d, e] = H[b, h, t, d, e] + k * v", ""),
    ("retention", "input gamma[h]: f32", "H[b, h, t+1, d, e] = gamma * H[b, h, t, d, e] + k * v", ""),
    ("gated", "input g[b, h, t]: f32", "H[b, h, t+1, d, e] = exp(-abs(g)) * H[b, h, t, d, e] + k * v", ""),
    (
        "delta",
        "input beta[b, h, t]: f32",
        "u[b, h, t, e] = 0.1 * beta * (v - sum[d](k * H[b, h, t, d, e]))
  H[b, h, t+1, d, e] = H[b, h, t, d, e] + k * u",
        "",
    ),
    (
        "gated delta",
        "input beta[b, h, t]: f32
  input g[b, h, t]: f32",
        "G[b, h, t, d, e] = exp(-abs(g)) * H[b, h, t, d, e]
  u[b, h, t, e] = 0.1 * beta * (v - sum[d](k * G))
  H[b, h, t+1, d, e] = G + k * u",
        "",
    ),
    (
        "steps",
        "input g[b, h, t]: f32
  input D[h]: f32",
        "s[b, h, t] = softplus(g)
  H[b, h, t+1, d, e] = exp(-s) * H[b, h, t, d, e] + s * k * v",
        " + D * v",
    ),
];

/// The text of a kernel with so many features of keys and of values, of a dtype.
fn text((inputs, equations, added): (&str, &str, &str), (d, e): (u32, u32), dtype: &str) -> String {
    format!(
        "kernel t {{
  rank b, h, t
  rank d = {d}
  rank e = {e}
  input q[b, h, t, d]: {dtype}
  input k[b, h, t, d]: {dtype}
  input v[b, h, t, e]: {dtype}
  input S0[b, h, d, e]: f32
  {inputs}
  H[b, h, 0, d, e] = S0
  {equations}
  output o[b, h, t, e]: f32 = 0.125 * sum[d](q * H[b, h, t+1, d, e]){added}
  output S[b, h, d, e]: f32 = H[b, h, |t|, d, e]
}}"
    )
}

/// The kernels, with so many features of keys and of values, of a dtype.
///
/// # Panics
/// Where a text is wrong.
pub fn all(features: (u32, u32), dtype: &str) -> Vec<(String, Cascade)> {
    let kernel = |(name, inputs, equations, added): (&str, &str, &str, &str)| {
        let text = text((inputs, equations, added), features, dtype);
        (name.to_owned(), spec::cascade(&text).unwrap_or_else(|it| panic!("{name}: {it}")))
    };
    KERNELS.map(kernel).into()
}

/// What a token adds is rounded before products take it, and is added to what comes out, too.
///
/// # Panics
/// Where the text is wrong.
pub fn rounded() -> Cascade {
    let u = "bf16(abs(g) * v)";
    let equation = format!("H[b, h, t+1, d, e] = H[b, h, t, d, e] + k * {u}");
    let text = text(("input g[b, h, t]: f32", &equation, &format!(" + {u}")), (64, 64), "bf16");
    spec::cascade(&text).unwrap_or_else(|it| panic!("{it}"))
}

/// Linear attention that divides by the sum of its weights, from no state.
///
/// # Panics
/// Where the text is wrong.
pub fn normalised() -> Cascade {
    let text = "kernel t {
  rank b, h, t
  rank d = 64
  rank e = 64
  input q[b, h, t, d]: bf16
  input k[b, h, t, d]: bf16
  input v[b, h, t, e]: bf16
  A[b, h, t, d] = exp(q)
  B[b, h, t, d] = exp(k)
  H[b, h, t, d, e] = cumsum[t](B * v)
  Z[b, h, t, d] = cumsum[t](B)
  output o[b, h, t, e]: f32 = sum[d](A * H) / sum[d](A * Z)
}";
    spec::cascade(text).unwrap_or_else(|it| panic!("{it}"))
}

/// A state for each head, whose keys and queries its group has: Mamba-2, with so many features of keys.
///
/// # Panics
/// Where the text is wrong.
pub fn grouped(features: u32) -> Cascade {
    let text = format!(
        "kernel t {{
  rank b, t
  rank n = {features}
  rank p = 64
  rank h = (g = 2, r)
  input x[b, t, h, p]: bf16
  input dt[b, t, h]: f32
  input A[h]: f32
  input B[b, t, g, n]: bf16
  input C[b, t, g, n]: bf16
  input D[h]: f32
  step[b, t, h] = softplus(dt)
  H[b, 0, h, n, p] = 0
  H[b, t+1, h, n, p] = exp(step * A) * H[b, t, h, n, p] + step * B * x
  output y[b, t, h, p]: f32 = sum[n](C * H[b, t+1, h, n, p]) + D * x
  output S[b, h, n, p]: f32 = H[b, |t|, h, n, p]
}}"
    );
    spec::cascade(&text).unwrap_or_else(|it| panic!("{it}"))
}

/// A call with so many tokens, what is handed in in the precision in which products take it.
pub fn call_of(cascade: &Cascade, tokens: usize) -> Call {
    let mut call = call(cascade, &sized(&[("b", 1), ("h", 2), ("t", tokens)]), 1.0);
    round_to_short(&mut call);
    call
}

/// Those of which the assembler keeps nothing in memory, each on some machines.
pub fn held_in_registers() -> Vec<(String, Cascade, Vec<Gpu>)> {
    let of = |features: (u32, u32), dtype: &str| {
        let gpus = |name: &str| match (name, dtype) {
            ("steps", "f32") => vec![Gpu::Sm90a],
            ("retention", "f32") => vec![Gpu::Sm80],
            ("steps", "f16") => vec![Gpu::Sm90a],
            _ => Gpu::ALL.to_vec(),
        };
        let named = all(features, dtype).into_iter().map(|(name, cascade)| {
            let gpus = gpus(&name);
            (format!("{name} of {dtype}, {features:?} features"), cascade, gpus)
        });
        named.collect::<Vec<_>>()
    };
    let mut kernels = of((64, 64), "bf16");
    kernels.extend(of((128, 64), "bf16"));
    kernels.extend(of((64, 64), "f32"));
    kernels.extend(of((64, 64), "f16"));
    kernels.push(("normalised".to_owned(), normalised(), Gpu::ALL.to_vec()));
    let grouped =
        [64, 128].map(|it| (format!("grouped, {it} features of keys"), grouped(it), Gpu::ALL.to_vec()));
    kernels.extend(grouped);
    kernels
}
