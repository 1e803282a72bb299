//! Every kernel of the gallery, on every back end, against references that know nothing of attnc.

use attnc::ir::array::{Array, Data};
use attnc::ir::cascade::{Cascade, Role};
use attnc::ir::interp::nest::Manner;
use attnc::ir::interp::{self, Call, Layout};
use attnc::ir::verify;
use attnc::schedule::{Mapping, Plan, schedule};
use attnc::target::{Gpu, Tiles};
use attnc::tile::tile;
use attnc::verify::on_all_cores;
use attnc_dsl::ast::{DType, Kind};
use attnc_tests::fixture::{self, Fixture};
use attnc_tests::jit::{self, Placement};
use indexmap::IndexMap;

type Outputs = IndexMap<String, Array>;

/// A kernel that is ready to be called, and runs once or several times for it.
type Kernel<'a> = Box<dyn Fn(&Call) -> Result<Vec<Outputs>, String> + 'a>;

/// A way to run kernels.
struct Backend {
    kernel: fn(&Cascade) -> Result<Kernel<'_>, String>,
    /// How far a real may be off, relative to the largest of its tensor, or to a thousandth of the
    /// largest of all: a tensor below that is what cancelled terms leave.
    tolerance: f64,
}

fn interpreter(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    Ok(Box::new(move |call| Ok(vec![interp::cascade::run(cascade, call).map_err(|it| it.to_string())?])))
}

/// Tasks in order, on dense tensors.
fn nest(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    nest_in(cascade, Manner { layout: Layout::Contiguous, backwards: false })
}

/// Tasks in reverse, on tensors that lie in reverse.
fn reversed_nest(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    nest_in(cascade, Manner { layout: Layout::Reversed, backwards: true })
}

fn nest_in(cascade: &Cascade, manner: Manner) -> Result<Kernel<'_>, String> {
    nest_of(cascade, &schedule(cascade, &Mapping::default()), manner)
}

/// What is compiled, in boxes, tiles and parts so small that every fiber of the references has several.
fn in_small_tiles(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    let defaults = Tiles {
        rows: 3,
        inner_rows: 2,
        stream: 3,
        outer: 2,
        chunk: 4,
        parts: 3,
        tasks: 32,
        strip: 2,
        lanes: 4,
        vector: 1,
        square: 2,
        words: false,
        block: None,
    };
    let plan = attnc::driver::plan(cascade, &Mapping { defaults, ..Mapping::default() });
    nest_of(cascade, &plan, Manner { layout: Layout::Contiguous, backwards: false })
}

fn nest_of<'a>(cascade: &'a Cascade, plan: &Plan, manner: Manner) -> Result<Kernel<'a>, String> {
    let nest = tile(plan);
    verify::nest(&nest).map_err(|it| it.to_string())?;
    let run = move |call: &Call| interp::nest::run(&nest, cascade, call, manner).map_err(|it| it.to_string());
    Ok(Box::new(move |call| Ok(vec![run(call)?])))
}

fn cranelift(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    machine_code(cascade, attnc::Backend::Cranelift)
}

#[cfg(feature = "llvm")]
fn llvm(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    machine_code(cascade, attnc::Backend::Llvm)
}

/// Dense, with gaps between rows, and with gaps between elements, too.
fn machine_code(cascade: &Cascade, by: attnc::Backend) -> Result<Kernel<'_>, String> {
    let kernel = attnc::driver::jit(cascade, by).map_err(|it| it.to_string())?;
    Ok(placed(kernel, cascade, &[Placement::Dense, Placement::Padded(1), Placement::Padded(2)]))
}

/// PTX on the emulator. Tensors lie dense on a device, so one placement shows all that gaps could do.
fn emulated(cascade: &Cascade) -> Result<Kernel<'_>, String> {
    let kernel = attnc::driver::emulate(cascade, Gpu::Sm80).map_err(|it| it.to_string())?;
    Ok(placed(kernel, cascade, &[Placement::Padded(2)]))
}

/// A kernel that is called with tensors that lie in several ways.
fn placed<'a>(
    kernel: attnc_runtime::Kernel,
    cascade: &'a Cascade,
    placements: &'static [Placement],
) -> Kernel<'a> {
    let call_in = move |call: &Call, it: Placement| jit::call_kernel(&kernel, cascade, call, it);
    Box::new(move |call| placements.iter().map(|&it| call_in(call, it)).collect())
}

#[test]
fn every_cascade_is_well_formed() {
    for case in fixture::all() {
        verify::cascade(&case.cascade).unwrap_or_else(|broken| panic!("{}:\n{broken}", case.name));
    }
}

#[test]
fn the_interpreter_agrees_with_the_references() {
    check(&Backend { kernel: interpreter, tolerance: 1e-9 });
}

#[test]
fn nests_agree_with_the_references() {
    check(&Backend { kernel: nest, tolerance: 5e-5 });
}

#[test]
fn the_order_of_tasks_and_the_strides_do_not_matter() {
    check(&Backend { kernel: reversed_nest, tolerance: 5e-5 });
}

#[test]
fn small_tiles_agree_with_the_references() {
    check(&Backend { kernel: in_small_tiles, tolerance: 5e-5 });
}

#[test]
fn machine_code_agrees_and_what_lies_around_influences_nothing() {
    check(&Backend { kernel: cranelift, tolerance: 5e-5 });
}

#[test]
fn kernels_of_ptx_agree_on_the_emulator() {
    check(&Backend { kernel: emulated, tolerance: 5e-5 });
}

#[cfg(feature = "llvm")]
#[test]
fn machine_code_of_llvm_agrees_and_what_lies_around_influences_nothing() {
    check(&Backend { kernel: llvm, tolerance: 5e-5 });
}

fn check(backend: &Backend) {
    let fixtures: Vec<Fixture> = fixture::all().collect();
    // Cases of one kernel share its code.
    let kernels: Vec<&[Fixture]> = fixtures.chunk_by(Fixture::shares_code).collect();
    let faults = on_all_cores(&kernels, |cases| faults(backend, cases)).concat();
    let n_cases = fixtures.len();
    assert!(n_cases > 0, "there are no fixtures");
    assert!(faults.is_empty(), "{} of {n_cases} cases:\n{}", faults.len(), faults.join("\n"));
}

/// What a back end gets wrong of the cases of one kernel.
fn faults(backend: &Backend, cases: &[Fixture]) -> Vec<String> {
    let kernel = (backend.kernel)(&cases[0].cascade);
    let fault = |case: &Fixture| {
        let found = kernel.as_ref().map_err(Clone::clone).and_then(|kernel| kernel(&case.call));
        match found {
            Ok(found) => first_difference(&found, &case.expected, backend.tolerance)
                .map(|it| format!("{it}; {}", first_wrong(backend, &case.cascade, &case.call))),
            Err(error) => Some(error),
        }
    };
    cases.iter().filter_map(|case| Some(format!("{}: {}", case.name, fault(case)?))).collect()
}

/// The first tensor that a back end and the interpreter do not agree on when all are handed back.
fn first_wrong(backend: &Backend, cascade: &Cascade, call: &Call) -> String {
    let mut telling = cascade.clone();
    for id in cascade.tensors.ids() {
        let tensor = &mut telling.tensors[id];
        if tensor.role != Role::Input {
            tensor.role = Role::Output;
            tensor.dtype.get_or_insert(match tensor.kind {
                Kind::Real => DType::F32,
                Kind::Int => DType::I64,
                Kind::Bool => DType::Bool,
            });
        }
    }
    let expected = interp::cascade::run(&telling, call);
    let found = (backend.kernel)(&telling).and_then(|kernel| kernel(call));
    let (Ok(mut expected), Ok(found)) = (expected, found) else {
        return "it cannot be told which tensor is the first".to_owned();
    };
    let place = |name: &String| telling.einsums().position(|it| telling.tensors[it.tensor].name == *name);
    expected.sort_by(|a, _, b, _| place(a).cmp(&place(b)));
    match first_difference(&found, &expected, backend.tolerance) {
        Some(difference) => format!("first {difference}"),
        None => "no tensor is wrong when all are handed back".to_owned(),
    }
}

/// The first output of any run that is not as expected.
fn first_difference(runs: &[Outputs], expected: &Outputs, tolerance: f64) -> Option<String> {
    runs.iter().find_map(|found| difference(found, expected, tolerance))
}

/// The first output that is not as expected.
fn difference(found: &Outputs, expected: &Outputs, tolerance: f64) -> Option<String> {
    let least = expected.values().map(|it| largest(&reals(&it.data))).fold(0.0, f64::max) * 1e-3;
    expected.iter().find_map(|(name, expected)| {
        let fault = match found.get(name) {
            None => "the kernel does not give it".to_owned(),
            Some(found) if found.shape != expected.shape => {
                format!("its shape is {:?}, not {:?}", found.shape, expected.shape)
            }
            Some(found) => difference_of(found, expected, least, tolerance)?,
        };
        Some(format!("`{name}`: {fault}"))
    })
}

fn difference_of(found: &Array, expected: &Array, least: f64, tolerance: f64) -> Option<String> {
    let (found, expected) = (reals(&found.data), reals(&expected.data));
    let bound = tolerance * largest(&expected).max(least);
    let is_close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= bound;
    let at = (0..found.len()).find(|&at| !is_close(found[at], expected[at]))?;
    let n_wrong = (0..found.len()).filter(|&at| !is_close(found[at], expected[at])).count();
    let (found, expected, len) = (found[at], expected[at], found.len());
    Some(format!("{found} instead of {expected} at {at}, and {n_wrong} of {len} are wrong"))
}

fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|it| it.is_finite()).fold(0.0, |most, it| most.max(it.abs()))
}

fn reals(data: &Data) -> Vec<f64> {
    match data {
        Data::Real(it) => it.clone(),
        Data::Int(it) => it.iter().map(|&it| it as f64).collect(),
        Data::Bool(it) => it.iter().map(|&it| f64::from(u8::from(it))).collect(),
    }
}
