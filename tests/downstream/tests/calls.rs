//! Calls of the linked kernels, checked against loops.

#![forbid(unsafe_code)]

use attnc_downstream::{attention, moving_mean};
use attnc_runtime::{Result, TensorView, TensorViewMut, Workspace};

const H: usize = 2;
const D: usize = 4;

/// Some numbers between -1 and 1.
fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|it| (((it + seed) * 7919 % 257) as f32) / 128.5 - 1.0).collect()
}

/// The scores of one query row; `None` where it may not look.
fn scores(q: &[f32], k: &[f32], (h, i): (usize, usize), (m, n): (usize, usize)) -> Vec<Option<f64>> {
    let dot = |j: usize| -> f64 {
        let (q, k) = (&q[(h * m + i) * D..][..D], &k[(h * n + j) * D..][..D]);
        q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum()
    };
    (0..n).map(|j| (j + m <= i + n).then(|| dot(j) / (D as f64).sqrt())).collect()
}

#[test]
fn causal_attention() -> Result<()> {
    let mut workspace = Workspace::new();
    for (m, n) in [(5, 5), (1, 7), (3, 8), (4, 2)] {
        let (q, k, v) = (noise(H * m * D, 1), noise(H * n * D, 2), noise(H * n * D, 3));
        let (mut o, mut l) = (vec![0f32; H * m * D], vec![0f32; H * m]);
        attention::causal()
            .call_in(&mut workspace)
            .input("Q", TensorView::new(&q, &[H, m, D])?)
            .input("K", TensorView::new(&k, &[H, n, D])?)
            .input("V", TensorView::new(&v, &[H, n, D])?)
            .output("O", TensorViewMut::new(&mut o, &[H, m, D])?)
            .output("L", TensorViewMut::new(&mut l, &[H, m])?)
            .run()?;
        for (h, i) in (0..H).flat_map(|h| (0..m).map(move |i| (h, i))) {
            let weights: Vec<_> =
                scores(&q, &k, (h, i), (m, n)).iter().map(|it| it.map_or(0.0, f64::exp)).collect();
            let total: f64 = weights.iter().sum();
            let found = f64::from(l[h * m + i]);
            assert!(found == total.ln() || (found - total.ln()).abs() < 1e-5, "{found} {}", total.ln());
            for e in 0..D {
                let sum: f64 = (0..n).map(|j| weights[j] * f64::from(v[(h * n + j) * D + e])).sum();
                let expected = if total == 0.0 { 0.0 } else { sum / total };
                let found = f64::from(o[(h * m + i) * D + e]);
                assert!((found - expected).abs() < 1e-5, "O[{h}, {i}, {e}] is {found}, expected {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn two_kernels_of_one_spec() -> Result<()> {
    let (q, k) = ([1f32, 0.0, 0.0, 1.0], [0f32, 0.5, 0.2, 0.1, 0.9, 0.3]);
    let mut best = [0i32; 2];
    attention::strongest()
        .call()
        .threads(1)
        .input("Q", TensorView::new(&q, &[1, 2, 2])?)
        .input("K", TensorView::new(&k, &[1, 3, 2])?)
        .output("I", TensorViewMut::new(&mut best, &[1, 2])?)
        .run()?;
    assert_eq!(best, [2, 0]);
    Ok(())
}

#[test]
fn what_the_build_script_fixed() -> Result<()> {
    let x = [1f32, 10.0, 100.0, 2.0, 20.0, 200.0, 6.0, 60.0, 600.0];
    let mut y = [0f32; 9];
    let call = || moving_mean::moving_mean().call().input("X", TensorView::new(&x, &[3, 3]).expect("fits"));
    call().output("Y", TensorViewMut::new(&mut y, &[3, 3])?).run()?;
    assert_eq!(y, [1.5, 15.0, 150.0, 3.0, 30.0, 300.0, 4.0, 40.0, 400.0]);
    let error = call().param("reach", 2).run().unwrap_err();
    assert_eq!(error.to_string(), "parameter `reach` is 2, expected 1, which was fixed at compile time");
    let wide = moving_mean::moving_mean().call().input("X", TensorView::new(&x, &[1, 9])?).shapes();
    assert_eq!(wide.unwrap_err().to_string(), "dimension `d` of `X` is 9, expected 3");
    Ok(())
}
