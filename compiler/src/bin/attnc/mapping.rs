//! Mappings named on the command line.

use std::path::PathBuf;

use attnc::codegen::Backend;
use attnc::driver;
use attnc::ir::cascade::Cascade;
use attnc::schedule::Mapping;
use attnc::target::Target;

use crate::exit::{Outcome, Status, Stop};

/// How the work is cut.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MappingArg {
    /// A file that says how the work is cut into boxes, tiles and parts; by default, what suits the machine
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
}

impl MappingArg {
    /// The mapping that these kernels follow, compiled by that back end.
    pub(crate) fn of(&self, cascades: &[Cascade], target: &Target, backend: Backend) -> Outcome<Mapping> {
        let Some(path) = &self.mapping else { return Ok(Mapping::of(target, backend)) };
        let text = std::fs::read_to_string(path)
            .map_err(|it| Stop::usage(format!("cannot read `{}`: {it}", path.display())))?;
        driver::mapping(&text, cascades, target, backend).map_err(|refusals| {
            for refusal in refusals {
                eprintln!("error: {}: {refusal}", path.display());
            }
            Stop::said(Status::Refused)
        })
    }
}
