//! Sums of products of 8-bit integers: exact where f32 holds them, and as integers where it might not.

use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::rewrite::carried;
use attnc_dsl::ast::Kind;
use attnc_tests::jit::{Placement, backends, run};
use attnc_tests::spec;

/// Scores of integers, with so many features at most.
fn scores(most: usize) -> Cascade {
    let text = format!(
        "kernel scores {{
          rank m, n
          rank d <= {most}
          input q[m, d]: i8
          input k[n, d]: u8
          S[m, n] = sum[d](q * k)
          output o[m, n] = S * 0.5
        }}"
    );
    spec::cascade(&text).expect("the spec is right")
}

fn kind_of_sum(most: usize) -> Kind {
    let cascade = carried(&scores(most));
    let (_, sum) = cascade.tensors.iter().find(|(_, it)| it.name.starts_with('S')).expect("there is a sum");
    sum.kind
}

#[test]
fn sums_are_reals_as_far_as_f32_holds_them() {
    // 514 products of 128 and 255 are below 2^24, 515 are not.
    assert_eq!(kind_of_sum(514), Kind::Real);
    assert_eq!(kind_of_sum(515), Kind::Int);
}

#[test]
fn sums_are_exact() {
    let (rows, keys) = (19, 70);
    for most in [514, 515] {
        let number = |at: usize| (at * 7919 + at / 13) as i64;
        // The first row and the first key are as large as can be.
        let q = |m: usize, d: usize| if m == 0 { -128 } else { number(m * most + d) % 256 - 128 };
        let k = |n: usize, d: usize| if n == 0 { 255 } else { number(n * most + d + 5) % 256 };
        let array = |len: usize, of: &dyn Fn(usize, usize) -> i64| {
            let all = (0..len * most).map(|at| of(at / most, at % most));
            Array { shape: vec![len, most], data: Data::Int(all.collect()) }
        };
        let mut call = Call::default();
        call.inputs.insert("q".to_owned(), array(rows, &q));
        call.inputs.insert("k".to_owned(), array(keys, &k));
        let sum = |m, n| (0..most).map(|d| q(m, d) * k(n, d)).sum::<i64>();
        let expected: Vec<f64> = (0..rows * keys).map(|at| sum(at / keys, at % keys) as f64 * 0.5).collect();
        for backend in backends() {
            let found = run(backend, &scores(most), &call, Placement::Padded(3)).expect("it runs");
            // What has no dtype is f64, or f32 where a sum of f32 made it.
            assert_eq!(found["o"].data, Data::Real(expected.clone()), "{} at {most}", backend.name());
        }
    }
}
