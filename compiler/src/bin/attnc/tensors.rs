//! Tensors named on the command line: files to the inputs of a call, outputs to files.

use std::path::{Path, PathBuf};

use attnc::ir::array::Array;
use attnc::ir::cascade::{Cascade, TensorId};
use attnc_dsl::ast::DType;
use indexmap::IndexMap;

use crate::exit::{Outcome, Stop};
use crate::npy;
use crate::output::{self, Pending};
use crate::spec::{once_each, pair};

/// Where inputs come from.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// The file of an input; may be given for several
    #[arg(long = "in", value_name = "NAME=FILE.npy", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// A folder with a NAME.npy for each input that has no --in
    #[arg(long, value_name = "DIR")]
    in_dir: Option<PathBuf>,
}

/// Where outputs go.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct OutputArgs {
    /// The file for an output; may be given for several
    #[arg(long = "out", value_name = "NAME=FILE.npy", value_parser = pair)]
    outputs: Vec<(String, String)>,
    /// A folder that gets a NAME.npy for every output
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

/// An output as computed.
pub(crate) struct Output {
    pub(crate) name: String,
    /// What its elements are stored as.
    pub(crate) dtype: DType,
    pub(crate) array: Array,
}

impl InputArgs {
    /// Reads the inputs of a kernel.
    pub(crate) fn read(&self, cascade: &Cascade) -> Outcome<IndexMap<String, Array>> {
        let files = self.files(cascade)?;
        let mut arrays = IndexMap::new();
        for id in cascade.inputs() {
            let tensor = &cascade.tensors[id];
            let Some(path) = files.get(&tensor.name) else {
                return Err(Stop::refused(format!(
                    "input `{}` is missing: give it with --in {0}=FILE.npy",
                    tensor.name
                )));
            };
            let npy = npy::read(path)
                .map_err(|it| Stop::usage(format!("cannot read `{}`: {it}", path.display())))?;
            if let Some(declared) = tensor.dtype.filter(|&it| !npy::fits(&npy.array.data, it)) {
                return Err(Stop::refused(format!(
                    "input `{}` is {} in `{}`, but {} is declared",
                    tensor.name,
                    npy.dtype,
                    path.display(),
                    declared.name()
                )));
            }
            arrays.insert(tensor.name.clone(), npy.array);
        }
        Ok(arrays)
    }

    /// The file of each input that has one.
    fn files(&self, cascade: &Cascade) -> Outcome<IndexMap<String, PathBuf>> {
        let mut files = IndexMap::new();
        for path in self.in_dir.iter().map(|it| npy_files(it)).collect::<Outcome<Vec<_>>>()?.concat() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            expect_one_of(cascade, "input", cascade.inputs(), &name)
                .map_err(|it| Stop::refused(format!("`{}` is surplus: {it}", path.display())))?;
            files.insert(name, path);
        }
        for (name, file) in once_each("--in", &self.inputs)? {
            expect_one_of(cascade, "input", cascade.inputs(), &name).map_err(Stop::refused)?;
            files.insert(name, PathBuf::from(file));
        }
        Ok(files)
    }
}

impl OutputArgs {
    /// The files to write, by output.
    pub(crate) fn files(&self, cascade: &Cascade) -> Outcome<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        if let Some(folder) = &self.out_dir {
            let names = cascade.outputs().map(|it| cascade.tensors[it].name.clone());
            files.extend(names.map(|name| (name.clone(), folder.join(format!("{name}.npy")))));
        }
        for (name, file) in once_each("--out", &self.outputs)? {
            expect_one_of(cascade, "output", cascade.outputs(), &name).map_err(Stop::refused)?;
            files.push((name, PathBuf::from(file)));
        }
        Ok(files)
    }

    /// Writes all outputs or none.
    pub(crate) fn write(&self, files: &[(String, PathBuf)], outputs: &[Output]) -> Outcome {
        self.out_dir.as_deref().map_or(Ok(()), output::folder)?;
        let mut pending = Pending::default();
        for (name, path) in files {
            let found = outputs.iter().find(|it| it.name == *name);
            let found = found.ok_or_else(|| Stop::internal(format!("output `{name}` was not computed")))?;
            pending.add(path, &npy::bytes(&found.array, found.dtype).map_err(Stop::internal)?)?;
            let (dtype, written) = (found.dtype.name(), npy::written_as(found.dtype).name());
            if dtype != written {
                eprintln!(
                    "note: `{name}` is {dtype}, which .npy lacks: written as {written} to `{}`",
                    path.display()
                );
            }
        }
        pending.place()
    }
}

/// The .npy files of a folder, in alphabetical order.
fn npy_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |it: std::io::Error| Stop::usage(format!("cannot read `{}`: {it}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == "npy") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn expect_one_of(
    cascade: &Cascade,
    what: &str,
    known: impl Iterator<Item = TensorId>,
    name: &str,
) -> Result<(), String> {
    let known: Vec<&str> = known.map(|it| cascade.tensors[it].name.as_str()).collect();
    if known.contains(&name) {
        return Ok(());
    }
    let list = known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "none".to_owned() } else { list };
    Err(format!("kernel `{}` has no {what} `{name}`, only {list}", cascade.name))
}
