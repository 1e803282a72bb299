//! The gallery with what each of its kernels must compute, made from independent references.
//!
//! A fixture NAME/CASE holds `in/TENSOR.npy`, `out/TENSOR.npy`, `params.json` and, for extents that no
//! input carries, `set.json`.

use std::path::{Path, PathBuf};

use attnc::driver::{Request, front};
use attnc::files::{fetch, read_spec, root_of};
use attnc::ir::array::{Array, Value};
use attnc::ir::cascade::{Cascade, ParamValue};
use attnc::ir::interp::Call;
use attnc::ir::print;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Failure;
use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::npy;

/// One case of one system of the gallery.
pub struct Fixture {
    /// `NAME/CASE`
    pub name: String,
    /// The kernel, with everything fixed that a call cannot give.
    pub cascade: Cascade,
    /// Inputs and parameters.
    pub call: Call,
    /// What must come out.
    pub expected: IndexMap<String, Array>,
}

impl Fixture {
    /// Whether the case is one of the very same kernel, with the same fixed when it is compiled.
    pub fn shares_code(&self, other: &Fixture) -> bool {
        print::cascade(&self.cascade) == print::cascade(&other.cascade)
    }
}

/// All fixtures in order of their names, or those of the systems that start with `ATTNC_FIXTURE`.
pub fn all() -> impl Iterator<Item = Fixture> {
    let wanted = std::env::var("ATTNC_FIXTURE").unwrap_or_default();
    let systems = sorted(&repository("tests/fixtures")).into_iter();
    systems.filter(move |it| stem(it).starts_with(&wanted)).flat_map(|it| sorted(&it)).map(|it| read(&it))
}

/// The kernels of the systems of the gallery that have no fixtures, in order of their names.
pub fn without() -> impl Iterator<Item = (String, Vec<Cascade>)> {
    let wanted = std::env::var("ATTNC_FIXTURE").unwrap_or_default();
    let specs = sorted(&repository("examples/gallery")).into_iter();
    let specs = specs.filter(|it| it.extension().is_some_and(|it| it == "attn"));
    let lacks = |it: &PathBuf| !repository("tests/fixtures").join(stem(it)).exists();
    specs.filter(lacks).filter(move |it| stem(it).starts_with(&wanted)).map(|it| {
        let cascades = lowered(&it, Fixed::default()).unwrap_or_else(|failure| {
            panic!("{}", attnc_dsl::render::text(&failure.sources, &failure.diagnostics));
        });
        (stem(&it), cascades)
    })
}

/// A path of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(folder: &Path) -> Fixture {
    let system = stem(folder.parent().expect("a case is a folder of its system"));
    let sets = json(&folder.join("set.json")).into_iter();
    let sets = sets.map(|(rank, extent)| (rank, extent.as_i64().expect("an extent is an integer"))).collect();
    let params = json(&folder.join("params.json"));
    let cascade = compile(&repository(&format!("examples/gallery/{system}.attn")), sets, &params);
    let launch = cascade.params.iter().filter(|(_, it)| matches!(it.value, ParamValue::Launch(_)));
    let given = launch.filter_map(|(_, it)| Some((it.name.clone(), scalar(params.get(&it.name)?))));
    Fixture {
        name: format!("{system}/{}", stem(folder)),
        call: Call { inputs: arrays(&folder.join("in")), params: given.collect() },
        cascade,
        expected: arrays(&folder.join("out")),
    }
}

/// The first kernel of a spec, with the parameters fixed that must be when it is compiled; panics with the diagnostics.
pub fn compile(path: &Path, sets: IndexMap<String, i64>, params: &serde_json::Map<String, Json>) -> Cascade {
    let texts = params.iter().map(|(name, value)| (name.clone(), value.to_string()));
    let first = |fixed| lowered(path, fixed).map(|it| it.into_iter().next().expect("a spec has a kernel"));
    let Ok(cascade) = first(Fixed { sets: sets.clone(), params: IndexMap::new() }) else {
        let all = Fixed { sets, params: texts.collect() };
        return first(all).unwrap_or_else(|failure| {
            panic!("{}", attnc_dsl::render::text(&failure.sources, &failure.diagnostics));
        });
    };
    let is_fixed = |name: &String| {
        cascade.params.iter().any(|(_, it)| it.name == *name && matches!(it.value, ParamValue::Fixed(_)))
    };
    let fixed = Fixed { sets, params: texts.filter(|(name, _)| is_fixed(name)).collect() };
    first(fixed).expect("a spec that compiles with defaults compiles with values")
}

fn lowered(path: &Path, fixed: Fixed) -> Result<Vec<Cascade>, Box<Failure>> {
    let source = read_spec(path).expect("the spec can be read");
    let mut fetch = |it: &str| fetch(&root_of(path), it);
    Ok(front(Request { source, fetch: &mut fetch, fixed })?.cascades)
}

fn arrays(folder: &Path) -> IndexMap<String, Array> {
    sorted(folder).iter().map(|path| (stem(path), npy::read(path))).collect()
}

fn json(path: &Path) -> serde_json::Map<String, Json> {
    let Ok(text) = std::fs::read_to_string(path) else { return serde_json::Map::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of a parameter.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub fn scalar(value: &Json) -> Value {
    match value {
        Json::Bool(it) => Value::Bool(*it),
        other => match other.as_i64() {
            Some(it) => Value::Int(it),
            None => Value::Real(other.as_f64().expect("a parameter is a number or a bool")),
        },
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|it| it.expect("an entry can be read").path()).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a path of the fixtures has a name").to_string_lossy().into_owned()
}
