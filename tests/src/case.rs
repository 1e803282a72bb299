//! Cases of one kernel each: their calls, what is expected of them, and what each way of running them gives.

use std::path::Path;

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
use indexmap::IndexMap;

use crate::jit::{self, Placement};

/// The outputs of a call, by name.
pub type Outputs = IndexMap<String, Array>;

/// An extent for each rank that inputs carry.
pub type Sizes<'a> = &'a [(&'a str, usize)];

/// The text of a case, given its folder and name.
pub fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("cases/{name}.attn"));
    std::fs::read_to_string(&path).expect("the case is there")
}

/// The first kernel of a text.
pub fn compiled(name: &str, text: String) -> Cascade {
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
pub fn call(cascade: &Cascade, sizes: &dyn Fn(&str) -> usize, factor: f64) -> Call {
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

/// What the interpreter of cascades computes.
pub fn expected(cascade: &Cascade, call: &Call) -> Outputs {
    interp::cascade::run(cascade, call).unwrap_or_else(|it| panic!("{}: {it}", cascade.name))
}

/// What the interpreter of nests computes; backwards it runs tasks in reverse, on reversed strides.
pub fn on_nest(cascade: &Cascade, call: &Call, backwards: bool) -> Outputs {
    let nest = tile(&schedule(cascade, &Mapping::default()));
    verify::nest(&nest).unwrap_or_else(|it| panic!("{}: {it}", cascade.name));
    let layout = if backwards { Layout::Reversed } else { Layout::Contiguous };
    let outputs = interp::nest::run(&nest, cascade, call, Manner { layout, backwards });
    outputs.unwrap_or_else(|it| panic!("{}: {it}", cascade.name))
}

/// As every back end computes them that is built in.
pub fn on_machine(cascade: &Cascade, call: &Call) -> Vec<Outputs> {
    let run = |backend| jit::run(backend, cascade, call, Placement::Dense);
    jit::backends().map(|it| run(it).unwrap_or_else(|it| panic!("{}: {it}", cascade.name))).collect()
}

/// Makes the reals of a call what short floats hold.
pub fn round_to_short(call: &mut Call) {
    for Array { data, .. } in call.inputs.values_mut() {
        if let Data::Real(it) = data {
            it.iter_mut()
                .for_each(|it| *it = f64::from(f32::from_bits((*it as f32).to_bits() & 0xffff_0000)));
        }
    }
}

/// The norm of the difference is at most that of what is expected times a tolerance, for each output.
pub fn is_close(name: &str, found: &Outputs, expected: &Outputs, tolerance: f64) {
    for (tensor, expected) in expected {
        let (Data::Real(found), Data::Real(expected)) = (&found[tensor].data, &expected.data) else {
            assert_eq!(found[tensor], *expected, "{name}: {tensor}");
            continue;
        };
        let norm = |it: &mut dyn Iterator<Item = f64>| it.map(|it| it * it).sum::<f64>().sqrt();
        let error = norm(
            &mut found
                .iter()
                .zip(expected)
                .map(|(x, y)| if x == y || (x.is_nan() && y.is_nan()) { 0.0 } else { x - y }),
        );
        let size = norm(&mut expected.iter().copied().filter(|it| it.is_finite()));
        assert!(error <= tolerance * size, "{name}: {tensor} is off by {}", error / size);
    }
}

/// Agreement of all of them.
pub fn all_agree(name: &str, found: &[Outputs], expected: &Outputs, tolerance: f64) {
    found.iter().for_each(|it| agree(name, it, expected, tolerance));
}

/// Agreement to within `tolerance` of the largest value of each tensor.
pub fn agree(name: &str, found: &Outputs, expected: &Outputs, tolerance: f64) {
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

/// The extent of each rank.
pub fn sized<'a>(sizes: Sizes<'a>) -> impl Fn(&str) -> usize + 'a {
    |rank| sizes.iter().find(|it| it.0 == rank).unwrap_or_else(|| panic!("no size for {rank}")).1
}
