//! The pipeline: calls in order, no logic.

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::{Failure, Source};
use attnc_dsl::load::load;
use attnc_dsl::model::Checked;

use crate::ir::cascade::Cascade;
use crate::lower::lower;

/// Reads an imported file, given its path relative to the root folder of the spec.
pub type Fetch<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// A spec and what is fixed when it is compiled.
pub struct Request<'a> {
    /// The spec.
    pub source: Source,
    /// Reads what it imports.
    pub fetch: Fetch<'a>,
    /// Extents and parameters that are known.
    pub fixed: Fixed,
}

/// A spec, checked, and its kernels as cascades.
pub struct Front {
    /// The spec.
    pub checked: Checked,
    /// Its kernels, in the order written.
    pub cascades: Vec<Cascade>,
}

/// Text to cascades.
///
/// # Errors
/// Everything that is wrong with the spec, and what must be fixed before it is compiled and is not.
pub fn front(request: Request<'_>) -> Result<Front, Box<Failure>> {
    let program = load(request.source, request.fetch)?;
    let checked = check(program, &request.fixed)?.fixed()?;
    let cascades = lower(&checked, &request.fixed);
    Ok(Front { checked, cascades })
}
