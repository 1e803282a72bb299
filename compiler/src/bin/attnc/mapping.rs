//! Mappings named on the command line, or beside the spec.

use std::path::{Path, PathBuf};

use attnc::codegen::Backend;
use attnc::ir::cascade::Cascade;
use attnc::schedule::{Mapping, Refusal};
use attnc::target::Target;
use attnc::{driver, files};

use crate::exit::{Outcome, Status, Stop};

/// How the work is cut.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MappingArg {
    /// A file that says how the work is cut into boxes, tiles and parts; by default NAME.map.toml beside the spec, else what
    /// suits the machine, which `none` takes in any case
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
}

impl MappingArg {
    /// The mapping that these kernels of a spec follow, compiled by that back end.
    pub(crate) fn of(
        &self,
        spec: &Path,
        cascades: &[Cascade],
        target: &Target,
        backend: Backend,
    ) -> Outcome<Mapping> {
        match &self.mapping {
            Some(path) if path.as_os_str() == "none" => Ok(Mapping::of(target, backend)),
            Some(path) => {
                driver::mapping(&read(path)?, cascades, target, backend).map_err(|it| refused(path, &it))
            }
            None => {
                let Some(path) = files::mapping_beside(spec) else { return Ok(Mapping::of(target, backend)) };
                let (mapping, unsuited) = driver::mapping_beside(&read(&path)?, cascades, target, backend)
                    .map_err(|it| refused(&path, &it))?;
                if let Some(why) = unsuited {
                    eprintln!("note: {} is not followed: {why}", path.display());
                }
                Ok(mapping)
            }
        }
    }
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|it| Stop::usage(format!("cannot read `{}`: {it}", path.display())))
}

fn refused(path: &Path, refusals: &[Refusal]) -> Stop {
    for refusal in refusals {
        eprintln!("error: {}: {refusal}", path.display());
    }
    Stop::said(Status::Refused)
}
