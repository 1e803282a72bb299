//! Walks over chunks of tokens on GPUs: a block carries the state for many features of values.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::Backend;
use attnc::driver;
use attnc::ir::array::Data;
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp::Call;
use attnc::ir::interp::nest::{self, Manner};
use attnc::ir::verify;
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::verify::{Character, cases, on_all_cores};
use attnc_runtime::emulator::Schedule;
use attnc_tests::carrying::{all, call_of, normalised, rounded};
use attnc_tests::case::{Outputs, expected, is_close};
use attnc_tests::emulated::Parts;
use attnc_tests::jit;

/// What a state and scores that are rounded to eight bits may change, relative to all of a result.
const TOLERANCE: f64 = 3e-3;
/// The same where what a token adds depends on the state, which is rounded for that, too.
const OF_SOLVED: f64 = 6e-3;
/// The same of f16, which has three bits more.
const OF_F16: f64 = 5e-4;
/// The same of factors in two parts.
const OF_F32: f64 = 1e-5;

fn parts(cascade: &Cascade, gpu: Gpu) -> Parts {
    Parts::by(cascade, &Mapping::of(&Target::of_gpu(gpu), Backend::default()), gpu)
}

fn run(parts: &Parts, cascade: &Cascade, call: &Call) -> Outputs {
    let unused = if call.inputs["k"].shape.contains(&0) { "_maps" } else { "" };
    let kernel = parts.kernel(&parts.trapped(unused), Schedule::Random(5)).unwrap();
    jit::call_kernel(&kernel, cascade, call, jit::Placement::Dense).unwrap_or_else(|it| panic!("{it}"))
}

/// The nest and both entries of the kernels give what the cascade does.
fn check(name: &str, cascade: &Cascade, lengths: &[usize], tolerance: f64) {
    let calls: Vec<Call> = lengths.iter().map(|it| call_of(cascade, *it)).collect();
    let right = on_all_cores(&calls, |it| expected(cascade, it));
    for gpu in Gpu::ALL {
        let mut parts = parts(cascade, gpu);
        verify::nest(&parts.nest).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert!(parts.nest.stages.last().unwrap().team.is_some(), "{name} does not fit");
        let text = driver::ptx(cascade, gpu).unwrap().to_string();
        assert!(text.contains("mma.sync") || text.contains("wgmma.mma_async"), "{name} has no products");
        let found = on_all_cores(&calls, |call| {
            let by_nest = nest::run(&parts.nest, cascade, call, Manner::default()).unwrap();
            [by_nest, run(&parts, cascade, call)]
        });
        parts.info.mapped.clear();
        let unmapped = on_all_cores(&calls, |call| run(&parts, cascade, call));
        for (((call, found), unmapped), right) in calls.iter().zip(found).zip(unmapped).zip(&right) {
            for it in found.iter().chain([&unmapped]) {
                let what = format!("{name} on {}: {:?}", gpu.name(), call.inputs["k"].shape);
                is_close(&what, it, right, tolerance);
            }
        }
    }
}

#[test]
fn states_are_carried_from_chunk_to_chunk() {
    for (name, cascade) in all((64, 64), "bf16") {
        let tolerance = if name.contains("delta") { OF_SOLVED } else { TOLERANCE };
        check(&name, &cascade, &[0, 1, 63, 64, 130], tolerance);
    }
}

#[test]
fn what_is_added_may_be_rounded() {
    check("rounded", &rounded(), &[1, 64, 130], TOLERANCE);
}

#[test]
fn calls_that_verify_have_more_tokens_than_a_chunk() {
    let kernels =
        all((16, 16), "bf16").into_iter().filter(|it| ["unnormalised", "delta"].contains(&it.0.as_str()));
    for (name, cascade) in kernels {
        let tokens = cascade.ranks.iter().find(|it| it.1.name == "t").unwrap().0;
        let compiled = |target: &Target| {
            let mapping = Mapping::of(target, Backend::default());
            (driver::plan(&cascade, &mapping).cascade, mapping.walker())
        };
        for target in Gpu::ALL.map(Target::of_gpu).into_iter().chain([Target::default()]) {
            let (compiled, walker) = compiled(&target);
            let place = *compiled.ranks[tokens].parts.last().unwrap();
            let Extent::Fixed(chunk) = compiled.ranks[place].extent else { panic!("chunks have a size") };
            let mut cases = cases(&cascade, walker, 1).map(Result::unwrap);
            let long = cases.find(|it| it.character == Character::Long).unwrap();
            assert!(long.extents[tokens.idx()] > chunk, "{name}: chunks of {chunk} are not crossed");
        }
    }
}

#[test]
fn features_need_not_be_multiples_of_anything() {
    for (name, cascade) in all((40, 72), "bf16").into_iter().take(2) {
        check(&name, &cascade, &[70], TOLERANCE);
    }
    for (name, cascade) in all((128, 64), "bf16").into_iter().take(1) {
        check(&name, &cascade, &[70], TOLERANCE);
    }
}

#[test]
fn other_floats_keep_their_digits() {
    for (dtype, tolerance) in [("f16", OF_F16), ("f32", OF_F32)] {
        for (name, cascade) in all((64, 64), dtype).into_iter().take(2) {
            check(&format!("{name} of {dtype}"), &cascade, &[70], tolerance);
        }
    }
}

#[test]
fn a_normaliser_is_computed_before() {
    check("normalised", &normalised(), &[1, 70], TOLERANCE);
}

#[test]
fn what_comes_later_does_not_influence_a_token() {
    let (_, cascade) = all((64, 64), "bf16").swap_remove(0);
    let mut call = call_of(&cascade, 70);
    for name in ["k", "v"] {
        let Data::Real(all) = &mut call.inputs[name].data else { panic!("it is real") };
        // Token 20 of the first head.
        all[20 * 64] = f64::INFINITY;
    }
    let right = expected(&cascade, &call);
    for gpu in Gpu::ALL {
        let found = run(&parts(&cascade, gpu), &cascade, &call);
        let (Data::Real(found), Data::Real(right)) = (&found["o"].data, &right["o"].data) else {
            panic!("they are real")
        };
        let before = found.iter().zip(right).take(20 * 64);
        let (error, size) = before.fold((0.0, 0.0), |(error, size), (found, right)| {
            (error + (found - right).powi(2), size + right.powi(2))
        });
        assert!(error.sqrt() <= TOLERANCE * f64::sqrt(size), "off by {error} on {}", gpu.name());
    }
}

#[test]
fn more_features_than_a_block_holds_are_left_to_threads() {
    let (_, cascade) = all((256, 64), "bf16").swap_remove(0);
    for gpu in Gpu::ALL {
        assert!(parts(&cascade, gpu).nest.stages.iter().all(|it| it.team.is_none()), "{}", gpu.name());
    }
}
