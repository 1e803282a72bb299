//! Streams that a block of threads takes together, by products of matrices: the nest agrees with the cascade, and the
//! kernel for GPUs agrees with both, but for what rounding of weights may cost.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::Backend;
use attnc::driver;
use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::nest::{self, Manner};
use attnc::ir::interp::{Call, Layout};
use attnc::ir::nest::{Nest, Op, Scalar, Stmt, ValueId};
use attnc::ir::verify;
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc::verify::{Case, Character, Distance, Short, on_all_cores};
use attnc_runtime::emulator::Schedule;
use attnc_tests::case::{Outputs, call, expected, is_close, round_to_short, sized};
use attnc_tests::{attention, jit, spec};

/// What weights that are rounded to eight bits may change, relative to all of a result.
const TOLERANCE: f64 = 3e-3;

const SIZES: &[(&str, usize)] = &[("b", 1), ("h", 2), ("g", 2), ("m", 70), ("n", 75)];

fn of(text: &str) -> Cascade {
    spec::cascade(text).unwrap_or_else(|it| panic!("{it}"))
}

fn nest_of(cascade: &Cascade) -> Nest {
    let mapping = Mapping::of(&Target::of_gpu(Gpu::Sm80), Backend::default());
    let nest = tile(&driver::plan(cascade, &mapping));
    verify::nest(&nest).unwrap_or_else(|it| panic!("{it}"));
    nest
}

/// A call whose inputs are what short floats hold.
fn call_of(cascade: &Cascade) -> Call {
    let mut call = call(cascade, &sized(SIZES), 4.0);
    round_to_short(&mut call);
    call
}

fn emulated(name: &str, (cascade, gpu): (&Cascade, Gpu), call: &Call, schedule: Schedule) -> Outputs {
    let kernel = driver::emulate_under(cascade, gpu, schedule).unwrap_or_else(|it| panic!("{name}: {it}"));
    let found = jit::call_kernel(&kernel, cascade, call, jit::Placement::Dense);
    found.unwrap_or_else(|it| panic!("{name} on {} under {schedule:?}: {it}", gpu.name()))
}

/// A call of a kernel with several tiles of rows and keys and so many heads, and what it must give; none if it is too large.
fn case_of_heads(cascade: &Cascade, heads: i64) -> Option<Case> {
    let size = |rank: &str| SIZES.iter().find(|it| it.0 == rank).map(|it| it.1 as i64);
    let sizes = |rank: &str| if rank == "h" { Some(heads) } else { size(rank) };
    Case::of(cascade, &sizes, Character::Plain, 1).unwrap()
}

/// The same, with fewer heads if there are many features.
fn case_of(cascade: &Cascade) -> Case {
    [2, 1].into_iter().find_map(|it| case_of_heads(cascade, it)).expect("it is not too large")
}

/// How the nest and the kernels that are made of one cascade compare with what another one must give.
fn distances(name: &str, made_of: &Cascade, case: &Case) -> Vec<Distance> {
    let nest = nest_of(made_of);
    assert!(nest.stages.iter().any(|it| it.team.is_some()), "{name} does not fit");
    let short = Short::of(&nest, made_of, &case.call).unwrap_or_else(|it| panic!("{name}: {it}"));
    let manner = Manner { layout: Layout::Contiguous, backwards: false };
    let by_nest = nest::run(&nest, made_of, &case.call, manner).unwrap_or_else(|it| panic!("{name}: {it}"));
    let by_kernels = Gpu::ALL.map(|gpu| emulated(name, (made_of, gpu), &case.call, Schedule::RoundRobin));
    let all = std::iter::once(&by_nest).chain(&by_kernels);
    all.map(|it| case.reference.compare_short(it, &short)).collect()
}

/// It fits, and all agree.
fn check(name: &str, cascade: &Cascade) {
    check_case(name, cascade, &case_of(cascade));
}

fn check_case(name: &str, cascade: &Cascade, case: &Case) {
    for distance in distances(name, cascade, case) {
        assert!(distance.of_allowed <= 1.0, "{name}: {}", distance.worst);
    }
}

#[test]
fn every_variant_agrees_with_the_interpreter() {
    on_all_cores(attention::VARIANTS, |it| check(it.name, &it.cascade()));
}

#[test]
fn what_rounding_may_cost_hides_no_fault() {
    let right = attention::CAUSAL;
    let case = case_of(&right.cascade());
    let bare = emulated("causal", (&right.cascade(), Gpu::Sm80), &case.call, Schedule::RoundRobin);
    assert!(case.reference.compare(&bare).of_allowed > 1.0, "weights are not rounded");
    for scores in [
        "0.125 * sum[d](Q * K) where n < m",
        "0.125 * sum[d](Q * K) where n <= m + 1",
        "0.125 * sum[d](Q * K) where n <= m and n != 40",
        "0.127 * sum[d](Q * K) where n <= m",
    ] {
        let wrong = attention::Attention { scores, ..right }.cascade();
        for distance in distances(scores, &wrong, &case) {
            assert!(distance.of_allowed > 2.0, "`{scores}` is taken for right: {}", distance.of_allowed);
        }
    }
}

#[test]
fn a_block_runs_one_task_after_the_other() {
    let cascade = attention::Attention { features: (4, 4), ..attention::CAUSAL }.cascade();
    // The emulator runs eight blocks, which take two tasks of each of sixteen heads, then those of others.
    for heads in [10, 20] {
        let case = case_of_heads(&cascade, heads).expect("it is not too large");
        check_case("many heads", &cascade, &case);
    }
}

/// The loops over tiles of a stage that a block takes, and whether tiles at hand are compared with integers in them.
fn loops_of(cascade: &Cascade) -> Vec<bool> {
    let nest = nest_of(cascade);
    let body = &nest.stages.iter().find(|it| it.team.is_some()).unwrap().body;
    let compares = |stmt: &Stmt| {
        let Stmt::Let(value, Op::Compare(_, a, _)) = stmt else { return false };
        !nest.values[*value].shape.is_empty() && nest.values[*a].scalar == Scalar::I64
    };
    let multiplies = |stmt: &Stmt| matches!(stmt, Stmt::Let(_, Op::Contract { .. }));
    let loops = body.stmts.iter().filter_map(|it| match it {
        Stmt::Loop(it) if it.body.stmts.iter().any(multiplies) => Some(it),
        Stmt::Loop(_) | Stmt::Let(..) | Stmt::Store { .. } | Stmt::If { .. } => None,
    });
    loops.map(|it| it.body.stmts.iter().any(compares)).collect()
}

#[test]
fn tiles_that_nothing_cuts_are_not_masked() {
    let of = |scores| loops_of(&attention::Attention { scores, ..attention::CAUSAL }.cascade());
    assert_eq!(of("0.125 * sum[d](Q * K)"), [false, true]);
    assert_eq!(of("0.125 * sum[d](Q * K) where n <= m"), [false, true]);
    assert_eq!(of("0.125 * sum[d](Q * K) where n < m + |n| - |m|"), [false, true]);
    assert_eq!(of("0.125 * sum[d](Q * K) where abs(m - n) < 9"), [true]);
}

/// The mapping of a GPU but for tiles of these sizes.
fn cut(gpu: Gpu, cascade: &Cascade, rows: u32, stream: u32) -> Result<Mapping, String> {
    let text = format!("[ranks.m]\nrows = {rows}\n[ranks.n]\nstream = {stream}");
    let mapping =
        driver::mapping(&text, std::slice::from_ref(cascade), &Target::of_gpu(gpu), Backend::default());
    mapping.map_err(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn tiles_have_the_sizes_that_a_mapping_says() {
    let cascade = attention::Attention { features: (40, 24), ..attention::CAUSAL }.cascade();
    let call = call_of(&cascade);
    let right = expected(&cascade, &call);
    for (gpu, rows, stream) in
        [(Gpu::Sm80, 64, 48), (Gpu::Sm80, 192, 16), (Gpu::Sm90a, 64, 16), (Gpu::Sm90a, 128, 80)]
    {
        let mapping = cut(gpu, &cascade, rows, stream).unwrap();
        let nest = tile(&driver::plan(&cascade, &mapping));
        assert_eq!(nest.stages[0].team.unwrap().extent, rows);
        let kernel = driver::emulate_by(&cascade, &mapping, gpu).unwrap();
        assert_eq!(kernel.info().teams[0], 2 * rows);
        let found = jit::call_kernel(&kernel, &cascade, &call, jit::Placement::Dense);
        let name = format!("{rows} × {stream} on {}", gpu.name());
        is_close(&name, &found.unwrap_or_else(|it| panic!("{name}: {it}")), &right, TOLERANCE);
    }
}

#[test]
fn tiles_that_do_not_fit_are_refused_with_the_nearest_that_do() {
    let cascade = attention::Attention { features: (128, 128), ..attention::CAUSAL }.cascade();
    let refused = |gpu, rows, stream| cut(gpu, &cascade, rows, stream).unwrap_err();
    let told = refused(Gpu::Sm80, 128, 256);
    assert!(told.starts_with("`ranks.m.rows` of 128 with `ranks.n.stream` of 256 takes "), "{told}");
    assert!(told.contains(" registers of a thread for tiles, of which there are "), "{told}");
    assert!(
        told.ends_with("the nearest that fits is `ranks.m.rows` of 128 with `ranks.n.stream` of 48"),
        "{told}"
    );
    let told = refused(Gpu::Sm90a, 100, 64);
    assert!(told.contains("rows are a multiple of 64, and tiles one of 16, at most 256"), "{told}");
    // Sizes of what threads take are of no consequence.
    let singles = attention::Attention { dtype: "f64", ..attention::CAUSAL }.cascade();
    cut(Gpu::Sm80, &singles, 8, 24).unwrap();
}

/// What a product takes together is copied to shared memory together: none of it may be where the next tile goes while the
/// product has yet to read it.
#[test]
fn both_factors_of_a_product_may_be_copied() {
    let scores = "s[m, n] = sum[d](q * k)";
    let kernels = [
        ("input w[m, n]: bf16", "", "w"),
        ("input w[m, n]: bf16\n  input u[m, n]: bf16", "", "w * u"),
        ("input q[m, d]: bf16\n  input k[n, d]: bf16\n  input w[m, n]: bf16", scores, "abs(s) * w"),
    ];
    for (inputs, equation, weights) in kernels {
        let cascade = of(&format!(
            "kernel t {{
  rank m, n
  rank d = 64
  rank e = 64
  {inputs}
  input v[n, e]: bf16
  {equation}
  output o[m, e]: f32 = sum[n]({weights} * v)
}}"
        ));
        let mut call = call(&cascade, &sized(&[("m", 70), ("n", 390)]), 1.0);
        round_to_short(&mut call);
        let right = expected(&cascade, &call);
        for gpu in Gpu::ALL {
            for schedule in [Schedule::RoundRobin, Schedule::Random(3)] {
                let found = emulated(weights, (&cascade, gpu), &call, schedule);
                is_close(&format!("{weights} on {}", gpu.name()), &found, &right, TOLERANCE);
            }
        }
    }
}

#[test]
fn features_may_be_many() {
    let many = |it: &&attention::Attention| ["causal", "slopes"].contains(&it.name);
    let all: Vec<_> = attention::VARIANTS.iter().filter(many).collect();
    on_all_cores(&all, |it| {
        let cascade = attention::Attention { features: (256, 256), ..**it }.cascade();
        let mut call = call(&cascade, &sized(&[("b", 1), ("h", 1), ("m", 70), ("n", 75)]), 4.0);
        round_to_short(&mut call);
        let right = expected(&cascade, &call);
        for gpu in Gpu::ALL {
            let found = emulated(it.name, (&cascade, gpu), &call, Schedule::RoundRobin);
            assert!(driver::emulate(&cascade, gpu).unwrap().info().teams[0] > 0, "{} by threads", it.name);
            is_close(&format!("{} on {}", it.name, gpu.name()), &found, &right, TOLERANCE);
        }
    });
}

#[test]
fn a_block_may_take_more_shared_memory_than_a_text_declares() {
    let cascade = attention::Attention { features: (128, 128), ..attention::CAUSAL }.cascade();
    for gpu in Gpu::ALL {
        let kernel = driver::emulate(&cascade, gpu).unwrap();
        let bytes = kernel.info().shared[0];
        assert!(bytes > 48 << 10, "{bytes} bytes on {}", gpu.name());
    }
}

#[test]
fn heads_share_keys() {
    let text = "kernel t {
  rank b, h, g, m, n
  rank d = 64
  input Q[b, h, g, m, d]: bf16
  input K[b, h, n, d]: bf16
  input V[b, h, n, d]: bf16
  S[b, h, g, m, n] = 0.125 * sum[d](Q * K) where n <= m
  output O[b, h, g, m, d]: f32 = sum[n](softmax[n](S) * V)
  output L[b, h, g, m]: f32 = logsumexp[n](S)
}";
    check("heads", &of(text));
}

/// Heads of a composite rank, of which three share the keys of one; the last of them have fewer heads.
const GROUPS: &str = "kernel t {
  param group: i64 = 3
  rank b, k, m, n
  rank d = 64
  rank h = (k, g = group)
  input Q[b, h, m, d]: bf16
  input K[b, k, n, d]: bf16
  input V[b, k, n, d]: bf16
  input A[h]: f32
  S[b, h, m, n] = 0.125 * sum[d](Q * K) - A where n < m + 1 + |n| - |m|
  output O[b, h, m, d]: f32 = sum[n](softmax[n](S) * V)
  output L[b, h, m]: f32 = logsumexp[n](S)
}";

#[test]
fn heads_of_a_group_are_rows_of_one_block() {
    let cascade = of(GROUPS);
    for (queries, keys) in [(70, 75), (1, 150)] {
        let sizes = [("b", 1), ("k", 2), ("h", 5), ("m", queries), ("n", keys)];
        let mut call = call(&cascade, &sized(&sizes), 4.0);
        round_to_short(&mut call);
        let right = expected(&cascade, &call);
        let nest = nest::run(&nest_of(&cascade), &cascade, &call, Manner::default()).unwrap();
        is_close("the nest", &nest, &right, TOLERANCE);
        for gpu in Gpu::ALL {
            let found = emulated("groups", (&cascade, gpu), &call, Schedule::Random(6));
            is_close(&format!("{queries} queries on {}", gpu.name()), &found, &right, TOLERANCE);
        }
    }
}

#[test]
fn heads_beyond_a_ragged_rank_are_not_read() {
    let own = GROUPS.replace("K[b, k, n, d]", "K[b, h, n, d]").replace("V[b, k, n, d]", "V[b, h, n, d]");
    let cascade = of(&own.replace("input A[h]", "input A[k]"));
    let mut call = call(&cascade, &sized(&[("b", 1), ("k", 2), ("h", 5), ("m", 20), ("n", 40)]), 4.0);
    round_to_short(&mut call);
    let right = expected(&cascade, &call);
    let nest = nest::run(&nest_of(&cascade), &cascade, &call, Manner::default()).unwrap();
    is_close("the nest", &nest, &right, TOLERANCE);
    let found = emulated("own keys", (&cascade, Gpu::Sm80), &call, Schedule::RoundRobin);
    is_close("the kernel", &found, &right, TOLERANCE);
}

#[test]
fn finite_numbers_may_mask_whole_tiles() {
    for scores in [
        "0.125 * sum[d](Q * K) - (if n < 150 then 1e10 else 0)",
        "0.125 * sum[d](Q * K) - (if n < 150 then 1e12 else 0)",
        "0.125 * sum[d](Q * K) - (if n < 150 then 1e30 else 0)",
    ] {
        let cascade = attention::Attention { scores, ..attention::CAUSAL }.cascade();
        let mut call = call(&cascade, &sized(&[("b", 1), ("h", 1), ("m", 20), ("n", 200)]), 4.0);
        round_to_short(&mut call);
        let right = expected(&cascade, &call);
        for gpu in Gpu::ALL {
            let found = emulated(scores, (&cascade, gpu), &call, Schedule::RoundRobin);
            is_close(&format!("{scores} on {}", gpu.name()), &found, &right, TOLERANCE);
        }
    }
}

/// Along how many dimensions of an input the rows of a block differ.
fn dimensions_of_rows(cascade: &Cascade, input: &str) -> usize {
    let nest = nest_of(cascade);
    let stage = nest.stages.iter().find(|it| it.team.is_some()).unwrap();
    let rows = stage.team.unwrap();
    let differs = |it: &ValueId| nest.values[*it].shape.contains(&rows);
    let loads = stage.body.stmts.iter().filter_map(|it| match it {
        Stmt::Let(_, Op::Load { buffer, index, .. }) if nest.buffers[*buffer].name == input => Some(index),
        Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
    });
    loads.map(|index| index.iter().filter(|it| differs(it)).count()).max().unwrap()
}

#[test]
fn rows_are_points_of_all_ranks_that_keys_lack() {
    assert_eq!(dimensions_of_rows(&attention::CAUSAL.cascade(), "Q"), 1);
    assert_eq!(dimensions_of_rows(&of(GROUPS), "Q"), 2);
    // Keys of all batches and heads.
    let shared = GROUPS.replace("K[b, k, n, d]", "K[n, d]").replace("V[b, k, n, d]", "V[n, d]");
    let shared = shared.replace("rank b, k, m", "rank b, m").replace("h = (k, g = group)", "h");
    let shared = of(&shared.replace("  param group: i64 = 3\n", ""));
    assert_eq!(dimensions_of_rows(&shared, "Q"), 3);
    check("keys of all heads", &shared);
}

#[test]
fn keys_and_values_may_lie_in_any_order() {
    let text = "kernel t {
  rank b, h, m, n
  rank d = 48
  input Q[b, m, h, d]: bf16
  input K[b, h, d, n]: bf16
  input V[n, d, b, h]: bf16
  S[b, h, m, n] = 0.125 * sum[d](Q * K) where n <= m
  output O[b, m, h, d]: f32 = sum[n](softmax[n](S) * V)
}";
    check("orders", &of(text));
    let beside = text.replace("Q[b, m, h, d]", "Q[b, h, d, m]");
    check("rows beside each other", &of(&beside));
    check("f32", &of(&text.replace("bf16", "f32")));
    let values = beside.replace("V[n, d, b, h]", "V[b, h, d, n]").replace("K[b, h, d, n]", "K[b, h, n, d]");
    check("f32, values beside each other", &of(&values.replace("bf16", "f32")));
}

#[test]
fn queries_of_f32_may_be_computed_and_values_alone_be_f32() {
    let text = "kernel t {
  rank b, h, m, n
  rank d = 24
  input Q[b, h, m, d]: f32
  input K[b, h, n, d]: f32
  input V[b, h, n, d]: f32
  input A[d]: f32
  S[b, h, m, n] = sum[d](exp(Q * A) * K) where n <= m
  output O[b, h, m, d]: f32 = sum[n](softmax[n](S) * V)
}";
    check("computed queries", &of(text));
    let mixed = text.replace("Q[b, h, m, d]: f32", "Q[b, h, m, d]: bf16");
    let mixed = mixed.replace("K[b, h, n, d]: f32", "K[b, h, n, d]: bf16").replace("exp(Q * A)", "Q");
    check("values alone", &of(&mixed.replace("  input A[d]: f32\n", "")));
}

#[test]
fn products_of_f32_keep_nearly_all_digits() {
    let cascade = attention::Attention { dtype: "f32", ..attention::CAUSAL }.cascade();
    let case = case_of(&cascade);
    for gpu in Gpu::ALL {
        let found = emulated("f32", (&cascade, gpu), &case.call, Schedule::RoundRobin);
        // As if nothing were taken in parts.
        let distance = case.reference.compare(&found);
        assert!(distance.of_allowed <= 1.0, "{}: {}", gpu.name(), distance.worst);
    }
}

#[test]
fn what_does_not_fit_is_left_to_threads() {
    let singles = "kernel t {
  rank b, h, m, n
  rank d = 64
  input Q[b, h, m, d]: f64
  input K[b, h, n, d]: f64
  input V[b, h, n, d]: f64
  output O[b, h, m, d] = sum[n](softmax[n](sum[d](Q * K)) * V)
}";
    let open = singles.replace("d = 64", "d").replace("f64", "bf16");
    let mixed = singles.replace("Q[b, h, m, d]: f64", "Q[b, h, m, d]: f32").replace("f64", "bf16");
    let exact = singles.replace("f64", "f32").replace("output O", "exact output O");
    let absent =
        singles.replace("f64\n  output", "f64\n  input W[m, d]: i64\n  output").replace("f64", "f32");
    let absent = absent.replace("Q * K", "(Q where W > 0) * K");
    for text in [singles, &open, &mixed, &exact, &absent] {
        let cascade = of(text);
        assert!(nest_of(&cascade).stages.iter().all(|it| it.team.is_none()), "{text}");
    }
}

#[test]
fn what_a_row_does_not_see_influences_nothing_though_its_neighbour_does() {
    let both: &[&str] = &["K", "V"];
    for (dtype, poison, names) in [
        ("bf16", f64::NAN, both),
        ("bf16", f64::INFINITY, &["V"]),
        ("bf16", f64::NEG_INFINITY, both),
        ("f16", f64::NAN, both),
        ("f16", f64::INFINITY, &["V"]),
        ("f32", f64::NAN, both),
        ("f32", f64::INFINITY, &["V"]),
        ("f32", f64::NEG_INFINITY, both),
    ] {
        let cascade = attention::Attention { dtype, ..attention::CAUSAL }.cascade();
        let mut call = call_of(&cascade);
        for &name in names {
            let Data::Real(it) = &mut call.inputs.get_mut(name).unwrap().data else { panic!("it is real") };
            // Of the last head, keys in the middle of a tile.
            let start = it.len() - 30 * 64;
            it[start..start + 2 * 64].fill(poison);
        }
        let right = expected(&cascade, &call);
        let Data::Real(o) = &right["O"].data else { panic!("it is real") };
        let finite = o.iter().filter(|it| it.is_finite()).count();
        assert!(finite < o.len() && finite > o.len() / 2);
        for gpu in Gpu::ALL {
            let found = emulated("poison", (&cascade, gpu), &call, Schedule::Random(5));
            let tolerance = if dtype == "f32" { 1e-6 } else { TOLERANCE };
            is_close(&format!("{poison} of {dtype} on {}", gpu.name()), &found, &right, tolerance);
        }
    }
}

/// Where sums take half of the registers, products are added to them one by one if a tile is not finite. Of f32 weights lie in
/// shared memory then, where those that are left out are told by their sign. A weight that is 0 counts: it makes NaN of infinity.
#[test]
fn what_a_row_does_not_see_influences_nothing_of_many_features() {
    let cases = [
        ("bf16", f64::NAN, 192),
        ("bf16", f64::NEG_INFINITY, 192),
        ("f16", f64::INFINITY, 192),
        ("f32", f64::NAN, 144),
        ("f32", f64::INFINITY, 80),
    ];
    on_all_cores(&cases, |&(dtype, poison, features)| {
        let scores = "0.125 * sum[d](Q * K) - (if n == 46 then 1e6 else 0) where n <= m";
        let cascade =
            attention::Attention { dtype, features: (16, features), scores, ..attention::CAUSAL }.cascade();
        let mut call = call(&cascade, &sized(&[("b", 1), ("h", 1), ("m", 70), ("n", 75)]), 4.0);
        round_to_short(&mut call);
        let Data::Real(it) = &mut call.inputs.get_mut("V").unwrap().data else { panic!("it is real") };
        let features = features as usize;
        let start = it.len() - 30 * features;
        it[start..start + 2 * features].fill(poison);
        let right = expected(&cascade, &call);
        for gpu in Gpu::ALL {
            let found = emulated("poison", (&cascade, gpu), &call, Schedule::Random(5));
            let tolerance = if dtype == "f32" { 1e-6 } else { TOLERANCE };
            is_close(&format!("{poison} of {dtype} on {}", gpu.name()), &found, &right, tolerance);
        }
    });
}

#[test]
fn values_of_f32_may_be_so_large_that_a_part_of_them_is_infinite() {
    let cascade = attention::Attention { dtype: "f32", ..attention::CAUSAL }.cascade();
    let mut call = call(&cascade, &sized(SIZES), 4.0);
    let Data::Real(it) = &mut call.inputs.get_mut("V").unwrap().data else { panic!("it is real") };
    let start = it.len() - 30 * 64;
    it[start..start + 64].fill(f64::from(f32::MAX));
    let right = expected(&cascade, &call);
    for gpu in Gpu::ALL {
        let found = emulated("large values", (&cascade, gpu), &call, Schedule::RoundRobin);
        is_close(gpu.name(), &found, &right, 1e-6);
    }
}

#[test]
fn the_order_of_warps_does_not_matter() {
    let cascade = attention::CAUSAL.cascade();
    let call = call_of(&cascade);
    for gpu in Gpu::ALL {
        let first = emulated("in turn", (&cascade, gpu), &call, Schedule::RoundRobin);
        for schedule in [Schedule::Random(3), Schedule::Random(4), Schedule::Adversarial(1)] {
            let found = emulated("another order", (&cascade, gpu), &call, schedule);
            assert_eq!(found, first, "{schedule:?} on {}", gpu.name());
        }
    }
}
