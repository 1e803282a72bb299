//! Few rows with many keys on GPUs: blocks take parts of the keys, which a stage puts together.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::ir::interp::nest::{self, Manner};
use attnc::ir::verify;
use attnc::target::Gpu;
use attnc::verify::on_all_cores;
use attnc_runtime::emulator::Schedule;
use attnc_tests::case::{Outputs, expected, is_close};
use attnc_tests::decoding::{CUT, CUT_PAGES, GROUPS, PAGES, call_of, call_of_pages, mapping, of};
use attnc_tests::emulated::Parts;
use attnc_tests::jit;

/// What weights that are rounded to eight bits may change, relative to all of a result.
const TOLERANCE: f64 = 3e-3;

/// By the entry that copies boxes, if there is one and there are keys.
fn run(parts: &Parts, cascade: &Cascade, call: &Call) -> Outputs {
    let unused = if call.inputs["K"].shape.contains(&0) { "_maps" } else { "" };
    let kernel = parts.kernel(&parts.trapped(unused), Schedule::Random(5)).unwrap();
    jit::call_kernel(&kernel, cascade, call, jit::Placement::Dense).unwrap_or_else(|it| panic!("{it}"))
}

/// The nest and both entries of the kernels give what the cascade does.
fn check(name: &str, cascade: &Cascade, cut_by: &str, calls: &[Call]) {
    for gpu in Gpu::ALL {
        let mut parts = Parts::by(cascade, &mapping(cascade, cut_by, gpu), gpu);
        verify::nest(&parts.nest).unwrap_or_else(|it| panic!("{name}: {it}"));
        assert!(parts.nest.stages[0].team.is_some(), "{name} does not fit");
        assert!(parts.nest.stages.len() > 1, "{name} has no parts");
        let all = on_all_cores(calls, |call| {
            let by_nest = nest::run(&parts.nest, cascade, call, Manner::default()).unwrap();
            [by_nest, run(&parts, cascade, call)]
        });
        parts.info.mapped.clear();
        let unmapped = on_all_cores(calls, |call| run(&parts, cascade, call));
        for ((call, found), unmapped) in calls.iter().zip(all).zip(unmapped) {
            let right = expected(cascade, call);
            for it in found.iter().chain([&unmapped]) {
                is_close(
                    &format!("{name} on {}: {:?}", gpu.name(), call.inputs["K"].shape),
                    it,
                    &right,
                    TOLERANCE,
                );
            }
        }
    }
}

#[test]
fn parts_of_keys_are_tasks_of_blocks() {
    for (queries, all) in [
        (
            1,
            &[
                (0, &[0, 0][..]),
                (1, &[1, 0]),
                (40, &[40, 9]),
                (64, &[64, 63]),
                (65, &[65, 64]),
                (330, &[330, 17, 0]),
            ][..],
        ),
        (30, &[(500, &[3, 497])]),
    ] {
        let cascade = of(&GROUPS.replace("m = 2", &format!("m = {queries}")));
        let calls = all.iter().map(|&(keys, lengths)| {
            call_of(&cascade, &[("k", 2), ("h", 5), ("m", queries), ("n", keys)], lengths)
        });
        check(&format!("{queries} queries"), &cascade, CUT, &calls.collect::<Vec<_>>());
    }
}

#[test]
fn one_query_of_heads_that_share_keys_has_parts() {
    let text = GROUPS.replace(", m, d]", ", d]").replace(", m, e]", ", e]").replace(", m, n]", ", n]");
    let text = text.replace(", m]", "]").replace("  rank m = 2\n", "").replace(" + m", "");
    let cascade = of(&text);
    let call = |heads: usize, keys, lengths: &[i64]| {
        call_of(&cascade, &[("k", heads.div_ceil(3)), ("h", heads), ("n", keys)], lengths)
    };
    check("one query", &cascade, CUT, &[call(7, 330, &[330, 200]), call(24, 100, &[99]), call(1, 0, &[5])]);
}

#[test]
fn any_number_of_queries_takes_keys_in_one_part() {
    let any = of(&GROUPS.replace("  rank m = 2\n", "  rank m\n"));
    for cascade in [any, of(&GROUPS.replace("m = 2", "m = 43"))] {
        let parts = Parts::by(&cascade, &mapping(&cascade, CUT, Gpu::Sm80), Gpu::Sm80);
        let [stage] = parts.nest.stages.as_slice() else { panic!("nothing is merged") };
        assert!(stage.team.is_some());
    }
}

#[test]
fn what_else_is_in_a_batch_changes_no_bit() {
    let cascade = of(GROUPS);
    let sizes = [("k", 1), ("h", 3), ("m", 2), ("n", 300)];
    let one = call_of(&cascade, &sizes, &[290]);
    let mut many = call_of(&cascade, &sizes, &[290, 3, 77, 298, 1, 120]);
    for name in ["Q", "K", "V"] {
        let own = one.inputs[name].data.clone();
        let (Data::Real(all), Data::Real(own)) = (&mut many.inputs.get_mut(name).unwrap().data, own) else {
            panic!("they are real")
        };
        all[..own.len()].copy_from_slice(&own);
    }
    for gpu in Gpu::ALL {
        let parts = Parts::by(&cascade, &mapping(&cascade, CUT, gpu), gpu);
        let [alone, among] = [&one, &many].map(|it| run(&parts, &cascade, it));
        for (name, own) in &alone {
            let (Data::Real(own), Data::Real(all)) = (&own.data, &among[name].data) else {
                panic!("they are real")
            };
            assert_eq!(own[..], all[..own.len()], "{name} on {}", gpu.name());
        }
    }
}

#[test]
fn pages_of_keys_are_looked_up() {
    let cascade = of(PAGES);
    let call = |heads, keys, lengths: &[i64], all| call_of_pages(&cascade, (heads, keys), lengths, all);
    let calls = [
        call(3, 64, &[50, 0], true),
        call(5, 330, &[330, 16, 17], true),
        call(3, 200, &[200, 7], false),
        call(3, 1, &[1], true),
    ];
    check("pages", &cascade, CUT_PAGES, &calls);
    let known = of(&PAGES.replace("(i, s = page)", "(i = 13, s = page)"));
    check("so many pages", &known, CUT_PAGES, &[call_of_pages(&known, (3, 208), &[200, 7], true)]);
    for size in [5, 48] {
        let of_size = of(&PAGES.replace("page: i64 = 16", &format!("page: i64 = {size}")));
        let mut call =
            call_of(&of_size, &[("k", 1), ("h", 3), ("p", 9), ("s", size), ("i", 4)], &[4 * 5 - 1, 3]);
        call.inputs.get_mut("T").unwrap().data = Data::Int(vec![8, 3, 0, 1, 7, 7, 2, 4]);
        check(&format!("pages of {size}"), &of_size, CUT_PAGES, &[call]);
    }
}
