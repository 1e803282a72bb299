//! Mappings: however the work is cut, results agree with the interpreter's; and where parts of a fiber run is not
//! seen in them.

use std::path::Path;

use attnc::driver::jit_by;
use attnc::driver::{Request, front};
use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp::nest::Manner;
use attnc::ir::interp::{self, Call, Layout};
use attnc::ir::verify;
use attnc::schedule::{Mapping, schedule};
use attnc::tile::tile;
use attnc_dsl::ast::Kind;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_runtime::Kernel;
use attnc_tests::jit::{self, Placement, backends};
use indexmap::IndexMap;

type Outputs = IndexMap<String, Array>;

fn cascade(name: &str, replaced: &[(&str, &str)]) -> Cascade {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("cases/streams/{name}.attn"));
    let mut text = std::fs::read_to_string(&path).expect("the case is there");
    for (from, to) in replaced {
        assert!(text.contains(from), "{name} has {from}");
        text = text.replace(from, to);
    }
    let mut fetch = |_: &str| Err("there are no imports".to_owned());
    let source = Source { name: name.to_owned(), text };
    let mut front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() })
        .unwrap_or_else(|_| panic!("{name} is refused"));
    front.cascades.remove(0)
}

/// Inputs of these sizes, the same for the same batch entry; reals are small multiples of a power of 2 so that large
/// scores are exact.
fn call(cascade: &Cascade, sizes: &[(&str, usize)], scale: f64) -> Call {
    let mut inputs = IndexMap::new();
    for id in cascade.inputs() {
        let it = &cascade.tensors[id];
        let shape: Vec<usize> = it
            .dims
            .iter()
            .map(|dim| match cascade.ranks[dim.rank].extent {
                Extent::Fixed(extent) => usize::try_from(extent).expect("extents are not negative"),
                Extent::Carried | Extent::Derived(_) => {
                    let name = &cascade.ranks[dim.rank].name;
                    sizes.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("no size for {name}")).1
                }
            })
            .collect();
        let len: usize = shape.iter().product();
        let n = sizes.iter().find(|it| it.0 == "n").map_or(0, |it| it.1 as i64);
        let size = if it.name.starts_with('Q') { scale } else { 1.0 };
        let noise = |at: usize| ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as f64 / 32.0 - 1.0;
        let data = match it.kind {
            Kind::Real => Data::Real((0..len).map(|at| size * noise(at + it.name.len())).collect()),
            Kind::Int => Data::Int((0..len as i64).map(|at| n - 7 * at).collect()),
            Kind::Bool => Data::Bool((0..len).map(|at| noise(at) > 0.0).collect()),
        };
        inputs.insert(it.name.clone(), Array { shape, data });
    }
    Call { inputs, params: IndexMap::new() }
}

fn agree(label: &str, found: &Outputs, expected: &Outputs, tolerance: f64) {
    for (tensor, expected) in expected {
        let (Data::Real(found), Data::Real(expected)) = (&found[tensor].data, &expected.data) else {
            assert_eq!(&found[tensor], expected, "{label}: {tensor}");
            continue;
        };
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().filter(|it| it.is_finite()).fold(1e-2f64, |a, b| a.max(b.abs()));
        for (at, (x, y)) in found.iter().zip(expected).enumerate() {
            let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * largest;
            assert!(same, "{label}: {tensor} at {at}: {x} instead of {y}");
        }
    }
}

fn on_nest(cascade: &Cascade, mapping: &Mapping, call: &Call, backwards: bool) -> Outputs {
    let nest = tile(&schedule(cascade, mapping));
    verify::nest(&nest).unwrap_or_else(|it| panic!("{mapping:?}: {it}"));
    let layout = if backwards { Layout::Reversed } else { Layout::Contiguous };
    let outputs = interp::nest::run(&nest, cascade, call, Manner { layout, backwards });
    outputs.unwrap_or_else(|it| panic!("{mapping:?}: {it}"))
}

fn kernels(cascade: &Cascade, mapping: &Mapping) -> Vec<Kernel> {
    backends().map(|it| jit_by(cascade, mapping, it).expect("it compiles")).collect()
}

fn on(threads: usize, kernel: &Kernel, cascade: &Cascade, call: &Call) -> Outputs {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    pool.install(|| jit::call_kernel(kernel, cascade, call, Placement::Dense)).expect("it runs")
}

fn by(text: &str) -> Mapping {
    Mapping::read(text, Mapping::default().defaults).expect("it is a mapping")
}

/// The parts of a fiber run apart, one after the other in one task, or there is one part.
fn ways() -> [Mapping; 3] {
    [by(""), by("defaults = { tasks = 1 }"), by("defaults = { parts = 1 }")]
}

const DECODE: [(&str, usize); 7] = [("b", 3), ("m", 1), ("n", 5000), ("d", 4), ("e", 5), ("hk", 2), ("h", 6)];

fn with(sizes: &[(&'static str, usize)], rank: &str, extent: usize) -> Vec<(&'static str, usize)> {
    sizes.iter().map(|&(name, size)| (name, if name == rank { extent } else { size })).collect()
}

#[test]
fn a_cache_of_any_length_is_read_in_parts() {
    let cascade = cascade("decode", &[]);
    let compiled: Vec<_> = ways().iter().map(|it| kernels(&cascade, it)).collect();
    for n in [0, 1, 2047, 2048, 2049, 5000] {
        let call = call(&cascade, &with(&DECODE, "n", n), 1.0);
        let expected = interp::cascade::run(&cascade, &call).expect("it runs");
        for kernel in compiled.iter().flatten() {
            agree(&format!("{n} keys"), &on(2, kernel, &cascade, &call), &expected, 2e-5);
        }
    }
    let call = call(&cascade, &with(&DECODE, "n", 2100), 1.0);
    let expected = interp::cascade::run(&cascade, &call).expect("it runs");
    for backwards in [false, true] {
        agree("nest", &on_nest(&cascade, &ways()[0], &call, backwards), &expected, 2e-5);
    }
}

#[test]
fn threads_the_batch_and_where_parts_run_are_not_seen() {
    let cascade = cascade("decode", &[]);
    let (whole, one) = (call(&cascade, &DECODE, 3.0), call(&cascade, &with(&DECODE, "b", 1), 3.0));
    let [apart, together, _] = ways();
    for (apart, together) in kernels(&cascade, &apart).iter().zip(&kernels(&cascade, &together)) {
        let expected = on(1, apart, &cascade, &whole);
        for found in [on(2, apart, &cascade, &whole), on(1, together, &cascade, &whole)] {
            assert_eq!(found, expected);
        }
        for (tensor, found) in on(2, apart, &cascade, &one) {
            let (Data::Real(found), Data::Real(all)) = (&found.data, &expected[&tensor].data) else {
                panic!()
            };
            assert_eq!(found[..], all[..found.len()], "{tensor}");
        }
    }
}

#[test]
fn parts_stay_in_range() {
    let replaced = [("+ exp(sink)", ""), ("input sink[hk]: f32", "")];
    let bare = cascade("decode", &replaced);
    let stable =
        [&replaced[..], &[("exp(S)", "exp(S - max[n](S))"), ("log(Z)", "log(Z) + max[n](S)")]].concat();
    let stable = cascade("decode", &stable);
    // Scores between −10⁴ and 10⁴.
    let call = call(&bare, &DECODE, 4096.0);
    let expected = interp::cascade::run(&stable, &call).expect("it runs");
    for form in [&bare, &stable] {
        for kernel in ways().iter().flat_map(|it| kernels(form, it)) {
            agree("large scores", &on(2, &kernel, form, &call), &expected, 2e-4);
        }
    }
}

#[test]
fn every_legal_mapping_keeps_the_result() {
    let cases: [(&str, &[(&str, usize)]); 3] = [
        ("one_pass", &[("b", 2), ("m", 7), ("n", 70), ("d", 3), ("e", 4), ("hk", 2), ("h", 5)]),
        ("differential", &[("h", 2), ("m", 5), ("n", 67), ("d", 4), ("e", 9)]),
        ("sinks", &[("b", 2), ("h", 3), ("m", 5), ("n", 40), ("p", 65), ("d", 3), ("e", 4)]),
    ];
    for (name, sizes) in cases {
        let cascade = cascade(name, &[]);
        let call = call(&cascade, sizes, 1.0);
        let expected = interp::cascade::run(&cascade, &call).expect("it runs");
        for seed in 0..8 {
            let mapping = Mapping::draw(seed, &|it| schedule(&cascade, it));
            assert_eq!(mapping, Mapping::draw(seed, &|it| schedule(&cascade, it)));
            assert_eq!(mapping, by(&mapping.to_toml()));
            agree(
                &format!("{name} {mapping:?}"),
                &on_nest(&cascade, &mapping, &call, seed % 2 == 1),
                &expected,
                2e-5,
            );
        }
        let mapping = Mapping::draw(3, &|it| schedule(&cascade, it));
        for kernel in kernels(&cascade, &mapping) {
            agree(name, &on(2, &kernel, &cascade, &call), &expected, 2e-5);
        }
    }
}

#[test]
fn parts_take_room_for_few_rows_only_and_many_rows_take_none() {
    let cascade = cascade("decode", &[("rank b, m,", "rank m = 4096\n  rank b,")]);
    let prefill = schedule(&cascade, &Mapping::default());
    assert!(prefill.room_where.is_empty() && prefill.stages.len() == 1);
}
