//! Scales of sums of powers: scores for which one that is left as it is would not do.

use attnc::driver;
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::schedule::{Mapping, schedule};
use attnc_tests::jit::{self, Placement};
use attnc_tests::{case, spec};
use indexmap::IndexMap;

/// Softmax attention of scores that are handed in, so that tests say what they are.
const SPEC: &str = "
kernel given {
  rank m, n, e
  input S[m, n]: f32
  input V[n, e]: f32
  P[m, n] = softmax[n](S)
  output O[m, e] = sum[n](P * V)
  output L[m] = logsumexp[n](S)
}";
/// The same with scores that are contractions.
const PRODUCTS: &str = "
kernel products {
  rank m, n, d, e
  input Q[m, d]: f32
  input K[n, d]: f32
  input V[n, e]: f32
  S[m, n] = sum[d](Q * K) / sqrt(|d|)
  P[m, n] = softmax[n](S)
  output O[m, e] = sum[n](P * V)
  output L[m] = logsumexp[n](S)
}";

/// Powers of which the largest and the smallest are asked for, too, of all and of some keys, of which the first rows have none.
const EXTREMES: &str = "
kernel extremes {
  rank m, n
  input S[m, n]: f32
  P[m, n] = softmax[n](S)
  output most[m] = max[n](P)
  output least[m] = min[n](P)
  output earlier[m] = max[n](P where n < 20 * m)
  output raw[m] = log(max[n](exp(S)))
  output low[m] = log(min[n](3 * exp(S) where n < 20 * m))
}";

/// And with a mask that nothing but data decides.
const MASKED: &str = "
kernel masked {
  rank m, n, d, e
  input Q[m, d]: f32
  input K[n, d]: f32
  input V[n, e]: f32
  input keep[m, n]: bool
  S[m, n] = sum[d](Q * K) / sqrt(|d|)   where keep
  P[m, n] = softmax[n](S)
  output O[m, e] = sum[n](P * V)
  output L[m] = logsumexp[n](S)
}";

/// The score of a row and a key.
type Course<'a> = &'a dyn Fn(usize, usize) -> f64;

const ROWS: usize = 13;
const KEYS: usize = 700;
const FEATURES: usize = 4;

fn array(shape: [usize; 2], of: impl Fn(usize, usize) -> f64) -> Array {
    let points = (0..shape[0]).flat_map(|i| (0..shape[1]).map(move |j| (i, j)));
    // As f32 holds them, for the interpreter reads the same.
    let data = points.map(|(i, j)| f64::from(of(i, j) as f32)).collect();
    Array { shape: shape.to_vec(), data: Data::Real(data) }
}

fn call(inputs: Vec<(&str, Array)>) -> Call {
    let inputs = inputs.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
    Call { inputs, params: IndexMap::new() }
}

fn values() -> Array {
    array([KEYS, FEATURES], |n, e| ((n * 7 + e * 3) as f64 * 0.37).sin())
}

/// Every back end agrees with the interpreter.
fn check(name: &str, cascade: &Cascade, call: &Call, tolerance: f64) {
    let expected = case::expected(cascade, call);
    case::all_agree(name, &case::on_machine(cascade, call), &expected, tolerance);
}

#[test]
fn scores_of_any_course_agree_with_the_interpreter() {
    let cascade = spec::cascade(SPEC).unwrap_or_else(|why| panic!("{why}"));
    let lowest = f64::from(f32::MIN);
    let courses: [(&str, Course<'_>); 11] = [
        ("grow", &|m, n| n as f64 * (0.01 + m as f64 * 0.4)),
        ("fall", &|m, n| -(n as f64) * (0.01 + m as f64 * 0.4)),
        ("alternate", &|m, n| if (m + n) % 2 == 0 { 1e4 } else { -1e4 }),
        ("leap", &|m, n| if n < 64 * (m + 1) { -1e4 } else { 1e4 + (n as f64).sin() }),
        ("peak", &|m, n| if n == (97 * m + 300) % KEYS { 6e4 } else { (n as f64).cos() }),
        ("hole", &|m, n| {
            if (n / 64 + m) % 3 == 0 { f64::NEG_INFINITY } else { (n as f64 * 0.1).sin() * 20.0 }
        }),
        ("late", &|m, n| if n < 600 { f64::NEG_INFINITY } else { (n + m) as f64 * 0.5 }),
        ("none", &|m, n| if m % 2 == 0 { f64::NEG_INFINITY } else { n as f64 * 0.1 }),
        ("huge", &|m, n| if n % 50 == m { 5e37 } else { -5e37 }),
        // Which masks of other programs are made of: rows of nothing else have equal weights.
        ("lowest", &|m, n| if n < 50 * m || m % 3 == 0 { lowest } else { (n as f64 * 0.1).sin() }),
        ("highest", &|m, n| if n == 50 * m { -lowest } else { lowest * 0.5 }),
    ];
    for (name, course) in courses {
        let scores = array([ROWS, KEYS], course);
        check(name, &cascade, &call(vec![("S", scores), ("V", values())]), 2e-5);
    }
}

#[test]
fn extremes_of_powers_are_those_of_exponents() {
    let cascade = spec::cascade(EXTREMES).unwrap_or_else(|why| panic!("{why}"));
    for (name, size) in [("small", 1.0), ("large", 100.0), ("larger", 600.0)] {
        let scores = array([ROWS, KEYS], |m, n| ((n * 7 + m * 3) as f64 * 0.37).sin() * size);
        check(name, &cascade, &call(vec![("S", scores)]), 2e-5);
    }
}

#[test]
fn products_of_any_size_agree_with_the_interpreter() {
    let cascade = spec::cascade(PRODUCTS).unwrap_or_else(|why| panic!("{why}"));
    for (name, growth) in [("even", 0.0), ("slow", 0.01), ("fast", 0.3), ("leaping", 30.0)] {
        let queries = array([ROWS, 16], |m, d| if d == 0 { 1.0 } else { ((m * 5 + d) as f64).sin() });
        let keys =
            array([KEYS, 16], |n, d| if d == 0 { n as f64 * growth } else { ((n * 3 + d) as f64).cos() });
        // The more there is to add up, the fewer digits are left of what is exponentiated.
        check(
            name,
            &cascade,
            &call(vec![("Q", queries), ("K", keys), ("V", values())]),
            1e-5 + 2e-4 * growth,
        );
    }
}

/// Sums of powers say nothing of what is masked: such scores are numbers like others.
#[test]
fn keys_that_data_mask_count_for_nothing() {
    let cascade = spec::cascade(MASKED).unwrap_or_else(|why| panic!("{why}"));
    let queries = array([ROWS, 16], |m, d| ((m * 5 + d) as f64).sin());
    let keys = array([KEYS, 16], |n, d| ((n * 3 + d) as f64).cos());
    let points = (0..ROWS).flat_map(|m| (0..KEYS).map(move |n| (m, n)));
    let keep = points.map(|(m, n)| (n * 7 + m) % 5 < 2).collect();
    let keep = Array { shape: vec![ROWS, KEYS], data: Data::Bool(keep) };
    let inputs = vec![("Q", queries), ("K", keys), ("V", values()), ("keep", keep)];
    check("masked", &cascade, &call(inputs), 2e-5);
}

#[test]
fn one_score_far_above_the_others_takes_its_value_as_it_is() {
    let cascade = spec::cascade(SPEC).unwrap_or_else(|why| panic!("{why}"));
    for at in [0, 63, 64, 300, KEYS - 1] {
        let scores = array([ROWS, KEYS], |_, n| if n == at { 6e4 } else { 0.0 });
        let call = call(vec![("S", scores), ("V", values())]);
        let Data::Real(wanted) = values().data else { unreachable!("values are real") };
        for backend in jit::backends() {
            let outputs = jit::run(backend, &cascade, &call, Placement::Dense).expect("it runs");
            let Data::Real(found) = &outputs["O"].data else { unreachable!("values are real") };
            for row in found.chunks(FEATURES) {
                assert_eq!(row, &wanted[at * FEATURES..][..FEATURES], "{backend:?} at {at}");
            }
        }
    }
}

#[test]
fn a_row_comes_to_the_same_whatever_its_neighbours_need() {
    let cascade = spec::cascade(SPEC).unwrap_or_else(|why| panic!("{why}"));
    let own = |n: usize| (n as f64 * 0.3).sin() * 4.0;
    let with = |others: &dyn Fn(usize) -> f64| {
        let scores = array([ROWS, KEYS], |m, n| if m == 4 { own(n) } else { others(n) });
        call(vec![("S", scores), ("V", values())])
    };
    let calls =
        [with(&own), with(&|n| n as f64), with(&|n| if n % 90 == 89 { f64::NEG_INFINITY } else { 0.0 })];
    for backend in jit::backends() {
        let rows = calls.each_ref().map(|call| {
            let outputs = jit::run(backend, &cascade, call, Placement::Dense).expect("it runs");
            let Data::Real(found) = &outputs["O"].data else { unreachable!("values are real") };
            found[4 * FEATURES..][..FEATURES].to_vec()
        });
        // How many keys are taken at a time may differ, so sums may be in another order, but no scale is.
        for other in &rows[1..] {
            for (a, b) in rows[0].iter().zip(other) {
                assert!((a - b).abs() <= 1e-6, "{backend:?}: {a} and {b}");
            }
        }
    }
}

/// What is said of the powers of the first stage of a softmax of some score.
fn reasons(score: &str, written: bool) -> (usize, Vec<String>) {
    let text = format!(
        "kernel one {{
  rank m, n, e
  input S[m, n]: f32
  input V[n, e]: f32
  T[m, n] = {score}
  P[m, n] = softmax[n](T)
  output O[m, e] = sum[n](P * V)
}}"
    );
    let cascade = spec::cascade(&text).expect("the spec is right");
    let plan = match written {
        true => schedule(&cascade, &Mapping::default()),
        false => driver::plan(&cascade, &Mapping::default()),
    };
    let account = plan.account().remove(0);
    (account.scales.len(), account.unscaled)
}

#[test]
fn powers_are_scaled_where_nothing_bounds_them_and_the_account_says_why_not() {
    assert_eq!(reasons("S", false), (1, vec![]));
    assert_eq!(reasons("30 * tanh(S / 30)", false), (0, vec!["exponents between -30 and 30".to_owned()]));
    // As written, the maximum is known before the first power.
    assert_eq!(reasons("S", true), (0, vec!["exponents below their maximum `P.max`".to_owned()]));
}
