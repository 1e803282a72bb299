//! Specs that stand in a test.

use attnc::driver::{Request, front};
use attnc::ir::cascade::Cascade;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_dsl::render;

/// The first kernel of a text.
///
/// # Errors
/// Everything that is wrong with it, as users see it.
pub fn cascade(text: &str) -> Result<Cascade, String> {
    let source = Source { name: "test.attn".to_owned(), text: text.to_owned() };
    let mut none = |path: &str| Err(format!("nothing imports `{path}`"));
    match front(Request { source, fetch: &mut none, fixed: Fixed::default() }) {
        Ok(mut front) => Ok(front.cascades.remove(0)),
        Err(failure) => Err(render::text(&failure.sources, &failure.diagnostics)),
    }
}
