//! Rows without a visible key, and keys that must not be seen.

use attnc::driver::{Request, front};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::{self, Call};
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_tests::jit::{self, Placement};
use indexmap::IndexMap;

/// Row m sees its first m keys; what lies behind must not matter, whatever it holds.
const SPEC: &str = "
kernel seen {
  rank m, n, d
  input Q[m, d]: f32
  input K[n, d]: f32
  input V[n, d]: f32
  S[m, n] = sum[d](Q * K) where n < m
  output O[m, d] = sum[n](softmax[n](S) * V)
  output L[m] = logsumexp[n](S)
}";

fn cascade() -> Cascade {
    let source = Source { name: "seen.attn".to_owned(), text: SPEC.to_owned() };
    let mut none = |path: &str| Err(format!("nothing imports `{path}`"));
    let front = front(Request { source, fetch: &mut none, fixed: Fixed::default() });
    front.expect("the spec is right").cascades.remove(0)
}

fn call(hidden: f64) -> Call {
    let array = |rows: usize, last: f64| {
        let mut data: Vec<f64> = (0..rows * 8).map(|at| (at as f64 * 0.7).sin()).collect();
        data[(rows - 1) * 8..].fill(last);
        Array { shape: vec![rows, 8], data: Data::Real(data) }
    };
    // Two rows see none and one of three keys; nobody sees the third.
    let inputs = [("Q", array(3, 0.5)), ("K", array(3, hidden)), ("V", array(3, hidden))];
    Call {
        inputs: inputs.into_iter().map(|(name, it)| (name.to_owned(), it)).collect(),
        params: IndexMap::new(),
    }
}

fn reals(outputs: &IndexMap<String, Array>, name: &str) -> Vec<f64> {
    match &outputs[name].data {
        Data::Real(it) => it.clone(),
        other @ (Data::Int(_) | Data::Bool(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_row_that_sees_nothing_is_zero_and_its_logsumexp_minus_infinity() {
    let cascade = cascade();
    let interpreted = interp::cascade::run(&cascade, &call(1.0)).expect("it runs");
    let compiled = jit::backends()
        .map(|backend| jit::run(backend, &cascade, &call(1.0), Placement::Dense).expect("it runs"));
    for outputs in compiled.chain([interpreted]) {
        assert_eq!(reals(&outputs, "O")[..8], [0.0; 8]);
        assert_eq!(reals(&outputs, "L")[0], f64::NEG_INFINITY);
        assert!(reals(&outputs, "O")[8..].iter().all(|it| it.is_finite()));
    }
}

#[test]
fn what_no_row_sees_influences_nothing() {
    let cascade = cascade();
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38] {
        let (clean, poisoned) = (call(1.0), call(poison));
        let interpreted = |call| interp::cascade::run(&cascade, call).expect("it runs");
        assert_eq!(interpreted(&clean), interpreted(&poisoned), "{poison} in the interpreter");
        for backend in jit::backends() {
            let compiled = |call| jit::run(backend, &cascade, call, Placement::Dense).expect("it runs");
            assert_eq!(compiled(&clean), compiled(&poisoned), "{poison} in machine code of {backend:?}");
        }
    }
}
