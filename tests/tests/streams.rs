//! Cascades that stream: the same results as the interpreter's, in memory that does not grow with the keys.

use std::path::Path;

use attnc::Backend;
use attnc::driver::{Request, front, jit as compile};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp::nest::Manner;
use attnc::ir::interp::{self, Call, Layout};
use attnc::ir::verify;
use attnc::schedule::{Plan, Stage, schedule};
use attnc::tile::tile;
use attnc_dsl::ast::Kind;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_runtime::{TensorView, TensorViewMut, Workspace};
use attnc_tests::jit::{self, Placement};
use indexmap::IndexMap;

type Outputs = IndexMap<String, Array>;

/// A case: its file, and for each rank that inputs carry an extent.
type Sizes<'a> = &'a [(&'a str, usize)];

const CASES: [(&str, Sizes<'_>); 11] = [
    ("one_pass", &[("b", 2), ("m", 37), ("n", 75), ("d", 9), ("e", 11), ("hk", 2), ("h", 5)]),
    ("three_pass", &[("b", 1), ("h", 2), ("m", 70), ("n", 70), ("d", 8), ("e", 17)]),
    ("two_pass", &[("b", 1), ("h", 2), ("m", 33), ("n", 66), ("d", 5), ("e", 8)]),
    ("sinks", &[("b", 2), ("h", 3), ("m", 9), ("n", 130), ("p", 65), ("d", 7), ("e", 8)]),
    ("differential", &[("h", 2), ("m", 34), ("n", 67), ("d", 8), ("e", 9)]),
    ("gradients", &[("h", 2), ("m", 68), ("n", 66), ("d", 8), ("e", 9)]),
    (
        "neighbours",
        &[("h", 2), ("q", 35), ("k", 48), ("qy", 5), ("qx", 7), ("ky", 6), ("kx", 8), ("d", 4), ("e", 9)],
    ),
    ("triples", &[("m", 35), ("n", 6), ("p", 70), ("d", 5), ("e", 8)]),
    ("plain", &[("h", 2), ("m", 40), ("n", 90), ("d", 6), ("e", 9)]),
    ("columns", &[("h", 2), ("m", 70), ("n", 69), ("d", 5)]),
    ("ragged", &[("b", 2), ("t", 131), ("n", 130), ("d", 5)]),
];

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("cases/streams/{name}.attn"));
    std::fs::read_to_string(&path).expect("the case is there")
}

fn cascade(name: &str) -> Cascade {
    compiled(name, text(name))
}

fn compiled(name: &str, text: String) -> Cascade {
    let mut fetch = |_: &str| Err("there are no imports".to_owned());
    let source = Source { name: name.to_owned(), text };
    let mut front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() })
        .unwrap_or_else(|_| panic!("{name} is refused"));
    front.cascades.remove(0)
}

/// Numbers between −1 and 1, the same each time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }
}

/// Inputs of these sizes; queries are multiplied by a factor. Integers ascend slowly: lengths, documents.
fn call(cascade: &Cascade, sizes: &dyn Fn(&str) -> usize, factor: f64) -> Call {
    let mut draw = Draw(7);
    let mut inputs = IndexMap::new();
    for id in cascade.inputs() {
        let it = &cascade.tensors[id];
        let shape: Vec<usize> = it
            .dims
            .iter()
            .map(|dim| match cascade.ranks[dim.rank].extent {
                Extent::Fixed(extent) => usize::try_from(extent).expect("extents are not negative"),
                Extent::Carried | Extent::Derived(_) => sizes(&cascade.ranks[dim.rank].name),
            })
            .collect();
        let len = shape.iter().product();
        let data = match it.kind {
            Kind::Real => {
                let size = if it.name.starts_with('Q') { factor } else { 1.0 };
                Data::Real((0..len).map(|_| f64::from((size * draw.next()) as f32)).collect())
            }
            Kind::Int => {
                Data::Int((0..len).map(|at| (at as i64 * 3) / (len as i64) + 37 * at as i64 % 40).collect())
            }
            Kind::Bool => Data::Bool((0..len).map(|_| draw.next() > 0.0).collect()),
        };
        inputs.insert(it.name.clone(), Array { shape, data });
    }
    Call { inputs, params: IndexMap::new() }
}

fn expected(cascade: &Cascade, call: &Call) -> Outputs {
    interp::cascade::run(cascade, call).unwrap_or_else(|it| panic!("{}: {it}", cascade.name))
}

fn on_nest(cascade: &Cascade, call: &Call, backwards: bool) -> Outputs {
    let nest = tile(&schedule(cascade));
    verify::nest(&nest).unwrap_or_else(|it| panic!("{}: {it}", cascade.name));
    let layout = if backwards { Layout::Reversed } else { Layout::Contiguous };
    let outputs = interp::nest::run(&nest, cascade, call, Manner { layout, backwards });
    outputs.unwrap_or_else(|it| panic!("{}: {it}", cascade.name))
}

/// As every back end computes them that is built in.
fn on_machine(cascade: &Cascade, call: &Call) -> Vec<Outputs> {
    let run = |backend| jit::run(backend, cascade, call, Placement::Dense);
    jit::backends().map(|it| run(it).unwrap_or_else(|it| panic!("{}: {it}", cascade.name))).collect()
}

fn all_agree(name: &str, found: &[Outputs], expected: &Outputs, tolerance: f64) {
    found.iter().for_each(|it| agree(name, it, expected, tolerance));
}

/// Agreement to within `tolerance` of the largest value of each tensor.
fn agree(name: &str, found: &Outputs, expected: &Outputs, tolerance: f64) {
    for (tensor, expected) in expected {
        let found = &found[tensor];
        assert_eq!(found.shape, expected.shape, "{name}: {tensor}");
        match (&found.data, &expected.data) {
            (Data::Real(found), Data::Real(expected)) => {
                let largest =
                    expected.iter().filter(|it| it.is_finite()).fold(1e-2f64, |a, b| a.max(b.abs()));
                for (at, (x, y)) in found.iter().zip(expected).enumerate() {
                    let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * largest;
                    assert!(same, "{name}: {tensor} at {at} of {:?}: {x} instead of {y}", found.len());
                }
            }
            (found, expected) => assert_eq!(found, expected, "{name}: {tensor}"),
        }
    }
}

fn sized<'a>(sizes: Sizes<'a>) -> impl Fn(&str) -> usize + 'a {
    |rank| sizes.iter().find(|it| it.0 == rank).unwrap_or_else(|| panic!("no size for {rank}")).1
}

fn streams(plan: &Plan) -> usize {
    plan.stages.iter().filter(|it| matches!(it, Stage::Stream(_))).count()
}

#[test]
fn every_case_streams_as_often_as_it_has_passes() {
    let found: Vec<(&str, usize, usize)> = CASES
        .iter()
        .map(|(name, _)| {
            let plan = schedule(&cascade(name));
            (*name, streams(&plan), plan.traversals())
        })
        .collect();
    let wanted = [
        ("one_pass", 1, 1),
        ("three_pass", 1, 3),
        ("two_pass", 1, 2),
        ("sinks", 1, 2),
        ("differential", 1, 1),
        ("gradients", 5, 1),
        ("neighbours", 1, 1),
        ("triples", 1, 1),
        ("plain", 1, 1),
        ("columns", 2, 1),
        ("ragged", 1, 1),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn nests_agree_with_the_cascade() {
    for (name, sizes) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        let expected = expected(&cascade, &call);
        for backwards in [false, true] {
            agree(name, &on_nest(&cascade, &call, backwards), &expected, 2e-5);
        }
    }
}

#[test]
fn machine_code_agrees_with_the_cascade() {
    for (name, sizes) in CASES {
        let cascade = cascade(name);
        let call = call(&cascade, &sized(sizes), 1.0);
        all_agree(name, &on_machine(&cascade, &call), &expected(&cascade, &call), 2e-5);
    }
}

#[test]
fn any_extent_may_be_small() {
    for (name, sizes) in CASES {
        let cascade = cascade(name);
        for (rank, _) in
            sizes.iter().filter(|it| !["q", "k", "h", "hk", "qy", "qx", "ky", "kx"].contains(&it.0))
        {
            for small in [0, 1, 2] {
                let of = |it: &str| if it == *rank { small } else { sized(sizes)(it).min(9) };
                let of = |it: &str| match it {
                    "q" => of("qy") * of("qx"),
                    "k" => of("ky") * of("kx"),
                    it => of(it),
                };
                let call = call(&cascade, &of, 1.0);
                let label = format!("{name} with {rank} = {small}");
                agree(&label, &on_nest(&cascade, &call, false), &expected(&cascade, &call), 2e-5);
            }
        }
    }
}

/// What is replaced in a text, and by what.
type Replaced<'a> = &'a [(&'a str, &'a str)];

/// The same attention with a maximum, for a reference that stays in the range of f64: what is replaced in the text.
const WITH_MAXIMUM: [(&str, &str, Replaced<'_>); 4] = [
    ("one_pass", "O", &[("exp(S)", "exp(S - max[n](S))")]),
    ("neighbours", "O", &[("exp(S)", "exp(S - max[k](S))")]),
    ("triples", "O", &[("exp(S)", "exp(S - max[n, p](S))")]),
    ("differential", "O", &[("exp(S1)", "exp(S1 - max[n](S1))"), ("exp(S2)", "exp(S2 - max[n](S2))")]),
];

#[test]
fn large_logits_stay_in_range() {
    for (name, output, replaced) in WITH_MAXIMUM {
        let spec = cascade(name);
        let sizes = CASES.iter().find(|it| it.0 == name).unwrap().1;
        let mut call = call(&spec, &sized(sizes), 1.0);
        // Scores of some 10⁴, sums of few products of small integers, so that they are exact.
        for (tensor, array) in &mut call.inputs {
            if let Data::Real(values) = &mut array.data
                && (tensor.starts_with('Q') || tensor.starts_with('K') || tensor.starts_with('J'))
            {
                values.iter_mut().for_each(|it| *it = (*it * 3.0).round() * 16.0);
            }
        }
        let mut stable = text(name);
        for (from, to) in replaced {
            stable = stable.replace(from, to);
        }
        let reference = expected(&compiled(name, stable), &call);
        let only = |it: &Outputs| IndexMap::from([(output.to_owned(), it[output].clone())]);
        let is_nan = |it: &Array| matches!(&it.data, Data::Real(it) if it.iter().any(|it| it.is_nan()));
        for found in on_machine(&spec, &call) {
            agree(name, &only(&found), &only(&reference), 2e-4);
            assert!(!found.values().any(is_nan));
        }
    }
}

#[test]
fn visible_infinities_and_nan_stay_in_their_rows() {
    let cascade = cascade("one_pass");
    let sizes = CASES[0].1;
    let mut call = call(&cascade, &sized(sizes), 1.0);
    let Data::Real(q) = &mut call.inputs["Q"].data else { panic!("queries are real") };
    let (m, d) = (37, 9);
    q[3 * d] = f64::NAN;
    q[(m + 5) * d] = f64::INFINITY;
    let Data::Real(v) = &mut call.inputs["V"].data else { panic!("values are real") };
    // The last key is seen by the last row only.
    v[74 * 11] = f64::NAN;
    let expected = expected(&cascade, &call);
    agree("one_pass", &on_nest(&cascade, &call, false), &expected, 2e-5);
    all_agree("one_pass", &on_machine(&cascade, &call), &expected, 2e-5);
}

#[test]
fn many_keys_need_no_more_workspace() {
    let cascade = cascade("one_pass");
    let bytes = |n: usize| {
        let kernel = compile(&cascade, Backend::default()).unwrap();
        let (keys, values) = (vec![0.25f32; n * 4], vec![0.5f32; n * 4]);
        let queries = vec![1.0f32; 2 * 3 * 4];
        let (mut out, mut lse) = (vec![0.0f32; 2 * 3 * 4], vec![0.0f32; 2 * 3]);
        let mut workspace = Workspace::new();
        kernel
            .call_in(&mut workspace)
            .input("Q", TensorView::new(&queries, &[1, 3, 2, 4]).unwrap())
            .input("K", TensorView::new(&keys, &[1, 1, n, 4]).unwrap())
            .input("V", TensorView::new(&values, &[1, 1, n, 4]).unwrap())
            .output("O", TensorViewMut::new(&mut out, &[1, 3, 2, 4]).unwrap())
            .output("L", TensorViewMut::new(&mut lse, &[1, 3, 2]).unwrap())
            .run()
            .unwrap();
        assert!(out.iter().all(|it| (it - 0.5).abs() < 1e-6));
        workspace.bytes()
    };
    assert_eq!(bytes(1 << 17), bytes(1 << 10));
}

#[test]
fn rows_do_not_depend_on_threads_or_on_the_batch() {
    for (name, sizes) in [CASES[0], CASES[3]] {
        let cascade = cascade(name);
        let whole = call(&cascade, &sized(sizes), 3.0);
        let all = on_machine(&cascade, &whole);
        let mut part = whole.clone();
        for id in cascade.inputs() {
            let it = &cascade.tensors[id];
            let batched = it.dims.first().is_some_and(|dim| cascade.ranks[dim.rank].name == "b");
            if batched {
                let array = &mut part.inputs[&it.name];
                let kept = array.data.len() / array.shape[0];
                array.shape[0] = 1;
                match &mut array.data {
                    Data::Real(it) => it.truncate(kept),
                    Data::Int(it) => it.truncate(kept),
                    Data::Bool(it) => it.truncate(kept),
                }
            }
        }
        let alone = on_machine(&cascade, &part);
        for (tensor, array, all) in alone
            .iter()
            .zip(&all)
            .flat_map(|(alone, all)| alone.iter().map(move |(tensor, array)| (tensor, array, all)))
        {
            let (Data::Real(found), Data::Real(all)) = (&array.data, &all[tensor].data) else { continue };
            let bits = |it: &[f64]| it.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(found), bits(&all[..found.len()]), "{name}: {tensor}");
        }
    }
}
