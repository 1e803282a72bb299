//! Scores so large that their powers leave the range of f64: kernels give the numbers that the formula has over the reals.

use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp;
use attnc::rewrite::explain;
use attnc::verify::{Case, Character};
use attnc_tests::jit::{Placement, backends, run};
use attnc_tests::spec;

const SPEC: &str = "
kernel powers {
  rank m, n, d, e
  input Q[m, d]: f32
  input K[n, d]: f32
  input V[n, e]: f32
  S[m, n] = sum[d](Q * K)
  Z[m] = sum[n](exp(S))
  output O[m, e] = sum[n](exp(S) * V) / Z
  output L[m] = log(Z)
}";

const ROWS: usize = 9;
const CHANNELS: usize = 5;

fn drawn() -> (Cascade, Case) {
    let cascade = spec::cascade(SPEC).expect("the spec is right");
    let sizes = |rank: &str| match rank {
        "m" => Some(ROWS as i64),
        "n" => Some(70),
        "d" => Some(8),
        _ => Some(CHANNELS as i64),
    };
    let case = Case::of(&cascade, &sizes, Character::Vast, 3).expect("the call is in order");
    (cascade, case.expect("nothing is assumed"))
}

fn reals(data: &Data) -> &[f64] {
    match data {
        Data::Real(it) => it,
        other @ (Data::Int(_) | Data::Bool(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_softmax_without_maximum_is_right_where_f64_overflows() {
    let (cascade, case) = drawn();
    let naive = interp::cascade::run(&cascade, &case.call).expect("it runs");
    let n_lost = reals(&naive["O"].data).iter().filter(|it| it.is_nan()).count();
    assert!(n_lost > ROWS * CHANNELS / 2, "f64 holds {} of the points", ROWS * CHANNELS - n_lost);
    for backend in backends() {
        let found = run(backend, &cascade, &case.call, Placement::Dense).expect("it runs");
        let largest = reals(&found["L"].data).iter().fold(0.0, |most: f64, it| most.max(it.abs()));
        assert!(largest > 1e4, "the scores reach {largest}");
        let distance = case.reference.compare(&found);
        assert!(distance.of_allowed <= 1.0, "{}: {}", backend.name(), distance.worst);
        assert_eq!((distance.compared, distance.lost), (ROWS * (CHANNELS + 1), 0), "{}", backend.name());
    }
}

#[test]
fn what_is_wrong_or_lost_there_is_seen() {
    let (cascade, case) = drawn();
    let right = interp::cascade::run_extended(&cascade, &case.call).expect("it runs");
    assert!(case.reference.compare(&right).of_allowed < 1e-3);
    let with = |change: &dyn Fn(f64) -> f64| {
        let mut outputs = right.clone();
        let data = Data::Real(reals(&right["O"].data).iter().map(|it| change(*it)).collect());
        outputs["O"].data = data;
        case.reference.compare(&outputs)
    };
    assert!(with(&|it| 2.0 * it).of_allowed > 1.0);
    let lost = with(&|_| f64::NAN);
    assert!(lost.of_allowed > 1.0 || lost.lost > ROWS * CHANNELS / 2, "{lost:?}");
}

#[test]
fn every_step_of_the_derivation_holds_there() {
    let (cascade, _) = drawn();
    let replay =
        explain(&cascade, attnc::choose::chosen).replay(&cascade, 1).expect("the calls are in order");
    assert!(replay.disagreement.is_none(), "{:?}", replay.disagreement);
    assert!(replay.comparisons > 0);
}
