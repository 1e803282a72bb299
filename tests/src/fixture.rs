//! What the kernels of the gallery must compute: `tests/fixtures`, made from independent references.
//!
//! ```text
//! NAME/CASE/in/TENSOR.npy, out/TENSOR.npy, params.json, set.json   >   Fixture
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use attnc::ir::array::{Array, Data};
use attnc_dsl::check::Fixed;

/// One call of a kernel of the gallery, with what it must give.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The system.
    pub name: String,
    /// Which of its cases.
    pub case: String,
    /// Inputs by name.
    pub inputs: Vec<(String, Array)>,
    /// Expected outputs by name.
    pub outputs: Vec<(String, Array)>,
    /// Parameters and extents, as on the command line.
    pub fixed: Fixed,
}

/// A path of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All fixtures, by name and case.
pub fn fixtures() -> Vec<Fixture> {
    let cases = entries(&repository("tests/fixtures")).into_iter().flat_map(|system| entries(&system));
    cases.map(|folder| read(&folder)).collect()
}

fn read(folder: &Path) -> Fixture {
    let settings = |file: &str| match fs::read(folder.join(file)) {
        Ok(text) => serde_json::from_slice(&text).expect("a fixture is written as JSON objects"),
        Err(_) => serde_json::Map::new(),
    };
    let sets = settings("set.json").into_iter().filter_map(|(rank, extent)| Some((rank, extent.as_i64()?)));
    let params = settings("params.json").into_iter().map(|(name, value)| (name, value.to_string()));
    Fixture {
        name: stem(folder.parent().expect("a case lies in the folder of its system")),
        case: stem(folder),
        inputs: tensors(&folder.join("in")),
        outputs: tensors(&folder.join("out")),
        fixed: Fixed { sets: sets.collect(), params: params.collect() },
    }
}

fn tensors(folder: &Path) -> Vec<(String, Array)> {
    entries(folder).iter().map(|path| (stem(path), read_npy(path))).collect()
}

/// Reads an array of one of the element types that fixtures have.
fn read_npy(path: &Path) -> Array {
    let bytes = fs::read(path).expect("a fixture can be read");
    let file = npyz::NpyFile::new(&bytes[..]).expect("a fixture is an .npy file");
    let shape = file.shape().iter().map(|&it| usize::try_from(it).expect("an extent fits")).collect();
    let npyz::DType::Plain(element) = file.dtype() else { panic!("{}: no plain dtype", path.display()) };
    let data = match element.to_string().trim_start_matches(['<', '|']) {
        "f8" => Data::Real(elements(file)),
        "i8" => Data::Int(elements(file)),
        "i1" => Data::Int(elements::<i8>(file).into_iter().map(i64::from).collect()),
        "u1" => Data::Int(elements::<u8>(file).into_iter().map(i64::from).collect()),
        "b1" => Data::Bool(elements(file)),
        other => panic!("{}: unexpected element type {other}", path.display()),
    };
    Array { shape, data }
}

fn elements<T: npyz::Deserialize>(file: npyz::NpyFile<&[u8]>) -> Vec<T> {
    file.into_vec().expect("a fixture is whole")
}

/// What lies in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(folder).expect("the folder of fixtures exists");
    let mut paths: Vec<_> = listing.map(|it| it.expect("a folder can be listed").path()).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a path has a name").to_string_lossy().into_owned()
}
