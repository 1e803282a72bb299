//! The golden cascades: passes and depth as written and the fewest passes of all equal cascades, stated in each spec as
//! `# passes n: 3`, `# depth n: 2` and `# bound n: 1` inside its kernel.

use std::path::{Path, PathBuf};

use attnc::analyze::passes::passes;
use attnc::choose::{choose, chosen};
use attnc::driver::{Request, jit, outline};
use attnc::files::{fetch, read_spec, root_of};
use attnc::ir::cascade::Cascade;
use attnc::ir::print;
use attnc::rewrite::{Walker, carried, explain, saturate};
use attnc::schedule::Mapping;
use attnc::verify;
use attnc_dsl::check::Fixed;
use attnc_tests::fixture::repository;
use attnc_tests::jit::{Placement, backends, call_kernel};

/// What a line of a kernel states.
struct Stated {
    kernel: String,
    rank: String,
    what: What,
    count: u32,
}

#[derive(Debug, PartialEq)]
enum What {
    Passes,
    Depth,
    Bound,
}

/// The cases, in order: those of the design, and what laws make of single systems.
fn cases() -> Vec<PathBuf> {
    ["passes", "derive"].into_iter().flat_map(cases_in).collect()
}

fn cases_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(&format!("tests/cases/{folder}"))).expect("there are cases");
    let mut cases: Vec<PathBuf> = entries.map(|it| it.expect("an entry can be read").path()).collect();
    cases.sort();
    cases
}

/// The cascades of a case; ranks that nothing binds get an extent.
fn cascades(path: &Path) -> Vec<Cascade> {
    const EXTENT: i64 = 3;
    let front = |fixed: Fixed| {
        let source = read_spec(path).expect("the case can be read");
        let mut fetch = |it: &str| fetch(&root_of(path), it);
        let front = outline(Request { source, fetch: &mut fetch, fixed });
        front.unwrap_or_else(|it| panic!("{}: {:?}", path.display(), it.diagnostics))
    };
    let unbound = front(Fixed::default()).checked.unbound;
    front(Fixed { sets: unbound.into_iter().map(|it| (it, EXTENT)).collect(), ..Fixed::default() }).cascades
}

#[test]
fn golden_cascades_have_their_counts() {
    let mut n_stated = 0;
    for path in cases() {
        let source = read_spec(&path).expect("the case can be read");
        let stated = statements(&source.text);
        assert!(stated.iter().any(|it| it.what == What::Passes), "{} states no passes", path.display());
        let cascades = cascades(&path);
        for it in stated {
            let cascade =
                cascades.iter().find(|cascade| cascade.name == it.kernel).expect("the kernel is there");
            assert_eq!(
                counted(cascade, &it),
                it.count,
                "{:?} of `{}` over `{}`",
                it.what,
                it.kernel,
                it.rank
            );
            n_stated += 1;
        }
    }
    assert!(n_stated > 30, "each case states something");
}

fn counted(cascade: &Cascade, stated: &Stated) -> u32 {
    let rank = cascade.ranks.iter().find(|(_, it)| it.name == stated.rank).expect("the rank is there").0;
    match stated.what {
        What::Passes => passes(cascade, rank).passes,
        What::Depth => passes(cascade, rank).depth,
        What::Bound => saturate(&carried(cascade)).bound(rank).0,
    }
}

#[test]
fn the_best_reaches_the_bound_and_is_chosen_unless_it_parts_powers() {
    let mut parted = Vec::new();
    for cascade in cases().iter().flat_map(|it| cascades(it)) {
        let variants = saturate(&carried(&cascade));
        let (best, chosen) = (variants.best(), choose(&variants, &Mapping::default()));
        for rank in cascade.ranks.ids().filter(|it| passes(&cascade, *it).passes > 1) {
            let (bound, found) = (variants.bound(rank).0, passes(&best, rank).passes);
            let compiled = passes(&chosen.cascade, rank).passes;
            let what = format!("`{}` over `{}`", cascade.name, cascade.ranks[rank].name);
            assert_eq!(found, bound, "{what}");
            assert!(compiled == bound || !chosen.passed.is_empty(), "{what}");
        }
        parted.extend((!chosen.passed.is_empty()).then(|| cascade.name.clone()));
    }
    // Maxima and sums of blocks, and those of all: two stages, each with scales of its own.
    assert_eq!(parted, ["g08", "g09"]);
}

#[test]
fn what_is_derived_computes_the_same() {
    for cascade in cases_in("derive").iter().flat_map(|it| cascades(it)) {
        let kernels: Vec<_> = backends().map(|it| (it, jit(&cascade, it).expect("it compiles"))).collect();
        for case in verify::cases(&cascade, Walker::Thread, 1).map(|it| it.expect("the call is in order")) {
            for (backend, kernel) in &kernels {
                let found = call_kernel(kernel, &cascade, &case.call, Placement::Dense).expect("it runs");
                let distance = case.reference.compare(&found);
                let what = format!("{} by {}: {}", case.describe(&cascade), backend.name(), distance.worst);
                assert!(distance.of_allowed <= 1.0, "`{}`: {what}", cascade.name);
                assert_eq!(distance.lost, 0, "`{}` loses points: {what}", cascade.name);
            }
        }
    }
}

#[test]
fn every_step_of_every_derivation_holds() {
    let mut n_steps = 0;
    for cascade in cases().iter().flat_map(|it| cascades(it)) {
        let derivation = explain(&cascade, chosen);
        let replay = derivation.replay(&cascade, 1).expect("the calls are in order");
        assert!(replay.disagreement.is_none(), "`{}`: {:?}", cascade.name, replay.disagreement);
        assert_eq!(
            print::cascade(&derivation.chosen),
            print::cascade(&choose(&saturate(&carried(&cascade)), &Mapping::default()).cascade)
        );
        n_steps += derivation.steps.len();
    }
    assert!(n_steps > 20, "the cases are rewritten");
}

#[test]
fn a_derivation_names_the_laws_that_it_rests_on() {
    let cascade = cascades(&repository("tests/cases/passes/g04.attn")).remove(0);
    let keys = cascade.ranks.iter().find(|(_, it)| it.name == "n").expect("the rank is there").0;
    let derivation = explain(&cascade, chosen);
    let of = |rule: &str| derivation.steps.iter().filter(|it| it.rule == rule).count();
    assert!(of("exp-of-sum") > 0 && of("factor-out") > 1, "{:?}", derivation.steps);
    let counts = derivation.steps.iter().flat_map(|it| &it.passes).filter(|it| it.0 == keys);
    let counts: Vec<(u32, u32)> = counts.map(|it| (it.1, it.2)).collect();
    assert_eq!((counts.first().map(|it| it.0), counts.last().map(|it| it.1)), (Some(3), Some(1)));
}

#[test]
fn what_takes_another_pass_is_named() {
    for (case, through) in [("clipped_softmax", "max"), ("threshold", ">")] {
        let cascade = cascades(&repository(&format!("tests/cases/passes/{case}.attn"))).remove(0);
        let derivation = explain(&cascade, chosen);
        let block = derivation.blocks.iter().find(|it| cascade.ranks[it.rank].name == "n");
        let block = block.unwrap_or_else(|| panic!("`{case}` takes one pass"));
        assert_eq!((block.passes, block.again.as_slice()), (2, ["K".to_owned()].as_slice()));
        let found = block.through.as_deref().unwrap_or_default();
        assert!(found.contains(through), "`{case}` is blocked by `{found}`");
    }
}

fn statements(text: &str) -> Vec<Stated> {
    let mut kernel = String::new();
    let mut stated = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["kernel", name, ..] => kernel = (*name).to_owned(),
            ["#", what @ ("passes" | "depth" | "bound"), rank, count] => stated.push(Stated {
                kernel: kernel.clone(),
                rank: rank.trim_end_matches(':').to_owned(),
                what: match *what {
                    "passes" => What::Passes,
                    "depth" => What::Depth,
                    _ => What::Bound,
                },
                count: count.parse().expect("a count is a number"),
            }),
            _ => {}
        }
    }
    stated
}
