//! Specs that stand in a test.

use attnc::driver::{Front, Request, front};
use attnc::ir::cascade::Cascade;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_dsl::render;

/// The first kernel of a text.
///
/// # Errors
/// Everything that is wrong with it, as users see it.
pub fn cascade(text: &str) -> Result<Cascade, String> {
    Ok(front_of(text)?.cascades.remove(0))
}

/// The kernels of a text, which imports nothing.
///
/// # Errors
/// Everything that is wrong with it, as users see it.
pub fn front_of(text: &str) -> Result<Front, String> {
    let source = Source { name: "test.attn".to_owned(), text: text.to_owned() };
    let mut none = |path: &str| Err(format!("nothing imports `{path}`"));
    front(Request { source, fetch: &mut none, fixed: Fixed::default() })
        .map_err(|failure| render::text(&failure.sources, &failure.diagnostics))
}
