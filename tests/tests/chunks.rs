//! Sums over earlier tokens in chunks: each kernel says in how many tokens, and what is compiled agrees with what was written.

use attnc::analyze::analyze;
use attnc::choose::{choose, chosen};
use attnc::driver::{Request, front};
use attnc::files::{fetch, read_spec, root_of};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::{Cascade, Extent, Step};
use attnc::ir::interp::{self, Call};
use attnc::ir::verify;
use attnc::rewrite::{carried, explain, saturate};
use attnc::schedule::Mapping;
use attnc_dsl::ast::Kind;
use attnc_dsl::check::Fixed;
use attnc_tests::fixture::repository;
use attnc_tests::jit::{self, Placement};
use indexmap::IndexMap;

/// Less than a chunk, a whole one, a little more, several and a ragged end.
const TOKENS: [usize; 6] = [0, 1, 31, 32, 33, 200];

/// The rank that is split, into chunks of how many tokens, and how many states go from one to the next.
type Chunks = (String, i64, usize);

/// Kernels, each with what is stated of it.
fn kernels() -> Vec<(Cascade, Option<Chunks>)> {
    let mut kernels = Vec::new();
    for name in ["pairs", "states"] {
        let path = repository(&format!("tests/cases/chunks/{name}.attn"));
        let source = read_spec(&path).expect("the case can be read");
        let text = source.text.clone();
        let mut fetch = |it: &str| fetch(&root_of(&path), it);
        let front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
        let front = front.unwrap_or_else(|it| panic!("{name}: {:?}", it.diagnostics));
        for cascade in front.cascades {
            let kernel = text.split("kernel ").find(|it| it.starts_with(&format!("{} {{", cascade.name)));
            let stated =
                kernel.and_then(|it| it.split("# chunks ").nth(1)).expect("a kernel states its chunks");
            let words: Vec<&str> = stated.lines().next().unwrap_or_default().split([' ', ':', ',']).collect();
            let stated = match words.as_slice() {
                ["none"] => None,
                [rank, "", size, "", "states", states] => {
                    let size = size.parse().expect("a size is a number");
                    Some(((*rank).to_owned(), size, states.parse().expect("a count is a number")))
                }
                _ => panic!("`{stated}` states no chunks"),
            };
            kernels.push((cascade, stated));
        }
    }
    kernels
}

/// The chunks of a cascade.
fn chunks(cascade: &Cascade) -> Option<Chunks> {
    let mut split = cascade
        .ranks
        .iter()
        .filter(|(_, it)| !it.local && it.parts.iter().any(|&it| cascade.ranks[it].local));
    let (_, rank) = split.next_back()?;
    let Extent::Fixed(size) = cascade.ranks[rank.parts[1]].extent else { panic!("chunks have a size") };
    let along = |step: &&Step| matches!(step, Step::Recurrence(it) if it.rank == rank.parts[0]);
    Some((rank.name.clone(), size, cascade.steps.iter().filter(along).count()))
}

#[test]
fn the_compiled_form_has_the_stated_chunks_and_takes_no_more_passes() {
    for (cascade, stated) in kernels() {
        let chosen = choose(&saturate(&carried(&cascade)), &Mapping::default()).cascade;
        verify::cascade(&chosen).unwrap_or_else(|it| panic!("`{}`: {it}", cascade.name));
        assert_eq!(chunks(&chosen), stated, "`{}`", cascade.name);
        for (rank, it) in analyze(&cascade).ranks {
            assert!(
                it.passes.chosen <= it.passes.written,
                "`{}` over `{rank}`: {:?}",
                cascade.name,
                it.passes
            );
        }
    }
}

#[test]
fn every_step_of_every_derivation_holds() {
    for (cascade, stated) in kernels() {
        let derivation = explain(&cascade, chosen);
        let chunked = |rule: &str| ["chunked-state", "solved-state"].contains(&rule);
        let n_chunked = derivation.steps.iter().filter(|it| chunked(it.rule)).count();
        assert_eq!(n_chunked, stated.map_or(0, |it| it.2), "`{}`", cascade.name);
        let replay = derivation.replay(&cascade, 1).expect("the calls are in order");
        assert!(replay.disagreement.is_none(), "`{}`: {:?}", cascade.name, replay.disagreement);
    }
}

#[test]
fn the_quadratic_form_is_listed_with_its_operations() {
    let (cascade, _) = kernels().into_iter().find(|it| it.0.name == "plain").expect("it is there");
    let mut fixed = cascade;
    for rank in fixed.ranks.ids() {
        let extent = match fixed.ranks[rank].name.as_str() {
            "m" | "n" => 4096,
            "d" | "e" => 64,
            _ => 1,
        };
        fixed.ranks[rank].extent = Extent::Fixed(extent);
    }
    let alternatives = analyze(&fixed).alternatives;
    let flops: Vec<f64> = alternatives.iter().map(|it| it.flops).collect();
    // Both contractions of every pair: 2 · 4096² · (64 + 64).
    let pairs = flops.iter().any(|it| (4.2e9..4.6e9).contains(it));
    assert!(flops[0] < 3e8 && pairs, "{flops:?}");
}

#[test]
fn machine_code_agrees_with_the_cascade_as_written() {
    for (cascade, _) in kernels() {
        let calls = TOKENS.map(|tokens| {
            let call = call(&cascade, tokens);
            let expected = interp::cascade::run(&cascade, &call).unwrap_or_else(|it| panic!("{it}"));
            (tokens, call, expected)
        });
        for backend in jit::backends() {
            let kernel = attnc::driver::jit(&cascade, backend).unwrap_or_else(|it| panic!("{it}"));
            for (tokens, call, expected) in &calls {
                let label = format!("`{}` of {tokens} tokens by {}", cascade.name, backend.name());
                let found = jit::call_kernel(&kernel, &cascade, call, Placement::Dense);
                agree(&label, &found.unwrap_or_else(|it| panic!("{label}: {it}")), expected, *tokens);
            }
        }
    }
}

/// Roundings of the longest sum, over tokens and features, relative to the largest value.
fn agree(label: &str, found: &IndexMap<String, Array>, expected: &IndexMap<String, Array>, tokens: usize) {
    let tolerance = (5 * tokens + 64) as f64 * f64::from(f32::EPSILON);
    for (name, expected) in expected {
        let (Data::Real(found), Data::Real(expected)) = (&found[name].data, &expected.data) else {
            panic!("{label}: outputs are real")
        };
        let largest = expected.iter().fold(1e-6f64, |a, b| a.max(b.abs()));
        for (at, (x, y)) in found.iter().zip(expected).enumerate() {
            let same = x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= tolerance * largest;
            assert!(same, "{label}: {name} at {at} is {x} instead of {y}");
        }
    }
}

/// Inputs for so many tokens.
fn call(cascade: &Cascade, tokens: usize) -> Call {
    let mut state = 7u64;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let has = |name: &str| cascade.ranks.iter().any(|(_, it)| it.name == name);
    let size = |name: &str| match name {
        "n" if has("t") => 3,
        "t" | "m" | "n" => tokens,
        "h" if has("g") => 4,
        "d" => 5,
        "e" | "p" | "c" => 3,
        _ => 2,
    };
    let mut inputs = IndexMap::new();
    for id in cascade.inputs() {
        let it = &cascade.tensors[id];
        let extent = |rank| match cascade.ranks[rank].extent {
            Extent::Fixed(extent) => usize::try_from(extent).expect("extents are not negative"),
            Extent::Carried | Extent::Derived(_) => size(&cascade.ranks[rank].name),
        };
        let shape: Vec<usize> = it.dims.iter().map(|dim| extent(dim.rank)).collect();
        let mut value = || match (it.name.as_str(), draw()) {
            ("gate", x) => {
                if x < 0.1 {
                    0.0
                } else {
                    x.sqrt()
                }
            }
            ("log", x) => {
                if x < 0.1 {
                    -50.0
                } else {
                    -0.2 * x
                }
            }
            (_, x) => 2.0 * x - 1.0,
        };
        let len = shape.iter().product();
        let data = match it.kind {
            Kind::Real => Data::Real((0..len).map(|_| f64::from(value() as f32)).collect()),
            Kind::Int => Data::Int((0..len).map(|at| (at / 3) as i64).collect()),
            Kind::Bool => panic!("no input is bool"),
        };
        inputs.insert(it.name.clone(), Array { shape, data });
    }
    Call { inputs, params: IndexMap::new() }
}
