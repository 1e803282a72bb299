//! Findings about specs: text on standard error for people, JSON on standard output for tools.

use std::io::IsTerminal;

use attnc_dsl::diag::{Diagnostic, SourceMap};
use attnc_dsl::render;
use serde_json::Value;

use crate::exit::Outcome;
use crate::output;

/// Shows findings to people.
pub(crate) fn text(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    let colored = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let render = if colored { render::colored_text } else { render::text };
    eprint!("{}", render(sources, diagnostics));
}

/// Gives a value to tools.
pub(crate) fn json(value: &Value) -> Outcome {
    output::stdout(&format!("{value:#}\n"))
}

/// `1 error`, `2 errors`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
