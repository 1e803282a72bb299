//! Kernels that compute weights in another way where a tile is as most are: those that have it, and tiles that are not so.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::driver;
use attnc::ir::array::Data;
use attnc::ir::interp::Call;
use attnc::target::Gpu;
use attnc::verify::on_all_cores;
use attnc_runtime::emulator::Schedule;
use attnc_tests::attention::{self, Attention};
use attnc_tests::case::{call, expected, is_close, round_to_short, sized};
use attnc_tests::jit;

/// What weights that are rounded to eight bits may change, relative to all of a result.
const TOLERANCE: f64 = 3e-3;

/// Several tiles of keys that no other loop takes, and tasks of more than one block.
const SIZES: &[(&str, usize)] = &[("b", 1), ("h", 1), ("m", 150), ("n", 420)];
const FEATURES: usize = 64;

/// What is said of each key.
type Course = fn(usize) -> f64;

fn variant(name: &str) -> Attention {
    *attention::VARIANTS.iter().find(|it| it.name == name).unwrap()
}

/// A call in which the first feature is 8 in queries, so that scores grow by what `key` says of each key.
fn call_with(of: &Attention, key: impl Fn(usize) -> f64) -> Call {
    let mut call = call(&of.cascade(), &sized(SIZES), 4.0);
    round_to_short(&mut call);
    let mut set = |name: &str, first: &dyn Fn(usize) -> f64| {
        let Data::Real(all) = &mut call.inputs.get_mut(name).unwrap().data else { panic!("it is real") };
        all.chunks_mut(FEATURES).enumerate().for_each(|(at, it)| it[0] = first(at));
    };
    set("Q", &|_| 8.0);
    set("K", &key);
    round_to_short(&mut call);
    call
}

fn check(name: &str, of: &Attention, call: &Call) {
    let cascade = of.cascade();
    let right = expected(&cascade, call);
    for schedule in [Schedule::RoundRobin, Schedule::Adversarial(3)] {
        let kernel = driver::emulate_under(&cascade, Gpu::Sm90a, schedule).unwrap();
        let found = jit::call_kernel(&kernel, &cascade, call, jit::Placement::Dense);
        let found = found.unwrap_or_else(|it| panic!("{name}: {it}"));
        is_close(&format!("{}, {name}", of.name), &found, &right, TOLERANCE);
    }
}

#[test]
fn softmax_is_taken_so() {
    for name in ["softmax", "causal", "slopes", "sink", "128 features"] {
        let text = driver::ptx(&variant(name).cascade(), Gpu::Sm90a).unwrap().to_string();
        assert!(text.contains("$rare:"), "{name}");
    }
}

#[test]
fn tiles_may_be_usual_or_not() {
    let cases: [(&str, Course); 8] = [
        ("usual", |_| 0.0),
        ("scores that grow", |key| key as f64 / 2.0),
        ("scores that fall", |key| -(key as f64) / 2.0),
        ("a key that none sees", |key| if key == 200 { f64::NEG_INFINITY } else { 0.0 }),
        ("a tile that none sees", |key| if (100..300).contains(&key) { f64::NEG_INFINITY } else { 0.0 }),
        ("large scores", |key| 4096.0 + (key % 3) as f64),
        ("small scores", |key| -4096.0 - (key % 3) as f64),
        ("scores that become large", |key| (key as f64 * 16.0).min(4096.0)),
    ];
    on_all_cores(&cases, |(name, key)| {
        for of in [variant("softmax"), variant("causal")] {
            check(name, &of, &call_with(&of, key));
        }
        // Powers of large scores are infinite where the interpreter takes them as they are written.
        if key(400) < 512.0 {
            let of = variant("sink");
            check(name, &of, &call_with(&of, key));
        }
    });
}

#[test]
fn what_is_not_a_number_is_seen() {
    for key in [f64::INFINITY, f64::NAN] {
        let of = variant("softmax");
        check("not a number", &of, &call_with(&of, |at| if at == 200 { key } else { 0.0 }));
    }
}

#[test]
fn values_that_none_sees_may_be_infinite() {
    let of = variant("softmax");
    let mut call = call_with(&of, |key| if key == 200 { f64::NEG_INFINITY } else { 0.0 });
    let Data::Real(values) = &mut call.inputs.get_mut("V").unwrap().data else { panic!("it is real") };
    values[200 * FEATURES..201 * FEATURES].fill(f64::INFINITY);
    check("hidden", &of, &call);
}
