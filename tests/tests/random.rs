//! Random cascades: whatever can be written is checked, lowered, rewritten and compiled to what it means.
//!
//! `PROPTEST_CASES` asks for more cases and `PROPTEST_RNG_SEED` for others; a failure prints a spec to paste.

use std::rc::Rc;

use attnc::Backend;
use attnc::analyze::passes::passes;
use attnc::choose::choose;
use attnc::driver::{emulate, jit, jit_by, plan};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::nest::Manner;
use attnc::ir::interp::{self, Call, Layout};
use attnc::ir::{print, verify as well_formed};
use attnc::rewrite::{Walker, carried, saturate};
use attnc::schedule::{Mapping, Plan};
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc::verify::{self, Case, Several, Tiling, Trial};
use attnc_dsl::diag::SourceId;
use attnc_tests::cascades::{Drawn, cascades};
use attnc_tests::fixture;
use attnc_tests::jit::{Placement, backends, call_kernel, call_kernel_on};
use attnc_tests::spec::cascade;
use indexmap::IndexMap;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

type Outputs = IndexMap<String, Array>;

fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases },
        rng_seed: if asked.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { asked.rng_seed },
        failure_persistence: None,
        // Each try compiles and interprets for a second or so.
        max_shrink_iters: 60,
        ..asked
    }
}

proptest! {
    #![proptest_config(config(40))]

    /// What the laws make of a cascade gives the same over the reals, in passes between the bound and those written.
    #[test]
    fn what_is_chosen_is_equal(drawn in cascades()) {
        equal(&lowered(&drawn)?, drawn.seed)?;
    }
}

proptest! {
    #![proptest_config(config(12))]

    /// Nests in every manner and machine code agree with the interpreter, wherever tensors lie.
    #[test]
    fn what_is_compiled_agrees(drawn in cascades()) {
        let cascade = lowered(&drawn)?;
        if let Some(case) = case(&drawn, &cascade)? {
            compiled(&cascade, drawn.seed, [case])?;
        }
    }

    /// Neither threads nor the rest of a batch change a bit.
    #[test]
    fn nothing_around_a_result_changes_it(drawn in cascades()) {
        let cascade = lowered(&drawn)?;
        if let Some(case) = case(&drawn, &cascade)? {
            backends().try_for_each(|it| alone(it, &cascade, &case.call))?;
        }
    }
}

proptest! {
    #![proptest_config(config(8))]

    /// Machine code agrees with the interpreter, and on any number of threads with itself, where there are several tiles of
    /// what a mapping cuts: the usual one, and one that is drawn.
    #[test]
    fn several_tiles_agree(drawn in cascades()) {
        several(&lowered(&drawn)?, drawn.seed)?;
    }
}

/// Cascades that were wrong once, as small as they could be made.
#[test]
fn what_failed_once_holds() {
    let folder = fixture::repository("tests/cases/random");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("there are cases")
        .map(|it| it.expect("it can be read").path())
        .collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("the case can be read");
        let cascade = cascade(&text).unwrap_or_else(|it| panic!("{}: {it}", path.display()));
        for seed in 1..4 {
            let cases =
                verify::cases(&cascade, Walker::Block, seed).map(|it| it.expect("the call is in order"));
            let result = equal(&cascade, seed).and_then(|()| compiled(&cascade, seed, cases));
            result.unwrap_or_else(|it| panic!("{}, seed {seed}: {it}", path.display()));
        }
    }
}

/// Holds what is chosen against what is written, on calls of every character.
fn equal(written: &Cascade, seed: u64) -> Result<(), TestCaseError> {
    let variants = saturate(&carried(written));
    let choice = choose(&variants, &Mapping::default());
    let chosen = &choice.cascade;
    prop_assert!(well_formed::cascade(chosen).is_ok(), "{}", print::cascade(chosen));
    for rank in written.ranks.ids() {
        let counts = (variants.bound(rank).0, choice.passes(rank), passes(written, rank).passes);
        let name = &written.ranks[rank].name;
        prop_assert!(counts.0 <= counts.1 && counts.1 <= counts.2, "passes over {name}: {counts:?}");
    }
    for character in Trial::CHARACTERS {
        let Some(trial) = Trial::new(written, character, seed).map_err(fault)? else { continue };
        if let Some(what) = trial.compare(chosen).map_err(fault)? {
            let chosen = print::cascade(chosen);
            prop_assert!(false, "{what}, {character:?} {:?}\n{chosen}", trial.extents);
        }
    }
    Ok(())
}

/// Holds nests and machine code against the interpreter, by the usual mapping and by one that is drawn.
fn compiled(
    cascade: &Cascade,
    seed: u64,
    cases: impl IntoIterator<Item = Case>,
) -> Result<(), TestCaseError> {
    let drawn = Mapping::draw(seed, &|it| plan(cascade, it));
    let mut runs: Vec<(String, Run<'_>)> = Vec::new();
    for (which, mapping) in [("usual", Mapping::default()), ("drawn", drawn)] {
        let plan = plan(cascade, &mapping);
        let backwards = Manner { layout: Layout::Reversed, backwards: true };
        for (what, manner) in [("nest", Manner::default()), ("nest backwards", backwards)] {
            let plan = plan.clone();
            runs.push((
                format!("{what}, {which} mapping"),
                Box::new(move |call| on_nest(&plan, cascade, call, manner)),
            ));
        }
        for backend in backends() {
            let kernel = Rc::new(jit_by(cascade, &mapping, backend).map_err(fault)?);
            for placement in [Placement::Dense, Placement::Padded(1), Placement::Padded(2)] {
                let kernel = kernel.clone();
                runs.push((
                    format!("{} {placement:?}, {which} mapping", backend.name()),
                    Box::new(move |call| call_kernel(&kernel, cascade, call, placement)),
                ));
            }
        }
    }
    let kernel = emulate(cascade, Gpu::Sm90a).map_err(fault)?;
    runs.push((
        "PTX".to_owned(),
        Box::new(move |call| call_kernel(&kernel, cascade, call, Placement::Dense)),
    ));
    for case in cases {
        for (what, run) in &runs {
            let what = format!("{what}, {}", case.describe(cascade));
            let outputs = run(&case.call).map_err(|it| fault(format!("{what}: {it}")))?;
            let distance = case.reference.compare(&outputs);
            prop_assert!(distance.of_allowed <= 1.0, "{what}: {}", distance.worst);
        }
    }
    Ok(())
}

/// Holds machine code against the interpreter on calls of several tiles, by the usual mapping and by one that is drawn.
fn several(cascade: &Cascade, seed: u64) -> Result<(), TestCaseError> {
    let drawn = Mapping::draw(seed, &|it| plan(cascade, it));
    for backend in backends() {
        let usual = Mapping::of(&Target::native(), backend);
        for (which, mapping) in [("usual", &usual), ("drawn", &drawn)] {
            let tilings = Tiling::of(cascade, &plan(cascade, mapping));
            let kernel = jit_by(cascade, mapping, backend).map_err(fault)?;
            for call in Several::of(cascade, &tilings, seed).calls.iter().take(CALLS) {
                let Some(case) = Several::case(cascade, call, seed).map_err(fault)? else { continue };
                let what = format!("{}, {which} mapping, {}", backend.name(), case.describe(cascade));
                let run = |threads| {
                    call_kernel_on(threads, &kernel, cascade, &case.call, Placement::Dense).map_err(fault)
                };
                let outputs = run(2)?;
                let distance = case.reference.compare(&outputs);
                prop_assert!(distance.of_allowed <= 1.0, "{what}: {}", distance.worst);
                prop_assert!(same(&outputs, &run(1)?), "{what}: another number of threads");
            }
        }
    }
    Ok(())
}

/// How many calls of several tiles there are for a kernel: one coordinate more than multiples, and one less.
const CALLS: usize = 2;

/// A way to run a call.
type Run<'a> = Box<dyn Fn(&Call) -> Result<Outputs, String> + 'a>;

/// The cascade of a spec that also survives being formatted.
fn lowered(drawn: &Drawn) -> Result<Cascade, TestCaseError> {
    let parsed = attnc_dsl::parse(SourceId(0), &drawn.text).map_err(|it| fault(format!("{it:?}")))?;
    let formatted = attnc_dsl::print(&parsed, &drawn.text);
    let again =
        attnc_dsl::parse(SourceId(0), &formatted).map_err(|it| fault(format!("{it:?}\n{formatted}")))?;
    prop_assert_eq!(&again, &parsed, "{}", formatted);
    prop_assert_eq!(&attnc_dsl::print(&again, &formatted), &formatted);
    let cascade = cascade(&drawn.text).map_err(fault)?;
    prop_assert!(well_formed::cascade(&cascade).is_ok(), "{}", print::cascade(&cascade));
    Ok(cascade)
}

/// The call that was drawn, and what must come out; none where there are too many points to interpret.
fn case(drawn: &Drawn, cascade: &Cascade) -> Result<Option<Case>, TestCaseError> {
    Case::of(cascade, &|rank| drawn.sizes.get(rank).copied(), drawn.character, drawn.seed).map_err(fault)
}

fn on_nest(plan: &Plan, cascade: &Cascade, call: &Call, manner: Manner) -> Result<Outputs, String> {
    let nest = tile(plan);
    well_formed::nest(&nest).map_err(|it| it.to_string())?;
    interp::nest::run(&nest, cascade, call, manner).map_err(|it| it.to_string())
}

/// Compares a call with the same on one thread, and with its requests one by one.
fn alone(backend: Backend, cascade: &Cascade, call: &Call) -> Result<(), TestCaseError> {
    let kernel = jit(cascade, backend).map_err(fault)?;
    let run = |call: &Call, threads| {
        call_kernel_on(threads, &kernel, cascade, call, Placement::Dense).map_err(fault)
    };
    let all = run(call, 2)?;
    let what = backend.name();
    prop_assert!(same(&all, &run(call, 1)?), "{what}: another number of threads");
    let batch = call.inputs.keys().find_map(|it| {
        let at = batch_of(cascade, it)?;
        Some(call.inputs[it].shape[at])
    });
    for request in 0..batch.unwrap_or(0) {
        let take = |(name, it): (&String, &Array)| {
            let at = batch_of(cascade, name);
            (name.clone(), at.map_or_else(|| it.clone(), |at| slice(it, at, request)))
        };
        let inputs = call.inputs.iter().map(take).collect();
        let one = run(&Call { inputs, params: call.params.clone() }, 2)?;
        let expected = all.iter().map(take).collect();
        prop_assert!(same(&one, &expected), "{what}: request {request} of a batch");
    }
    Ok(())
}

/// Which dimension of a tensor is the batch.
fn batch_of(cascade: &Cascade, name: &str) -> Option<usize> {
    let tensor = cascade.tensors.iter().find(|(_, it)| it.name == name)?.1;
    tensor.dims.iter().position(|it| cascade.ranks[it.rank].name == "b")
}

/// One coordinate of a dimension.
fn slice(of: &Array, dim: usize, coord: usize) -> Array {
    let inner: usize = of.shape[dim + 1..].iter().product();
    let (extent, len) = (of.shape[dim], of.data.len());
    let mut shape = of.shape.clone();
    shape[dim] = 1;
    let places: Vec<usize> = (0..len).filter(|at| at / inner.max(1) % extent == coord).collect();
    let data = match &of.data {
        Data::Real(it) => Data::Real(places.iter().map(|&at| it[at]).collect()),
        Data::Int(it) => Data::Int(places.iter().map(|&at| it[at]).collect()),
        Data::Bool(it) => Data::Bool(places.iter().map(|&at| it[at]).collect()),
    };
    Array { shape, data }
}

/// Whether all bits are the same; a NaN is a NaN.
fn same(a: &Outputs, b: &Outputs) -> bool {
    let bits = |x: &f64| if x.is_nan() { u64::MAX } else { x.to_bits() };
    a.iter().all(|(name, a)| match (&a.data, &b[name].data) {
        (Data::Real(a), Data::Real(b)) => a.iter().map(bits).eq(b.iter().map(bits)),
        (a, b) => a == b,
    })
}

fn fault(it: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(it.to_string())
}
