//! Text to syntax tree. This folder is the only place that names pest.
//!
//! [`parse`] bounds size and nesting, lets the grammar find the structure, and builds the tree from it. After an
//! error it goes on at the next item, so that one run reports every broken item.
//!
//! ```text
//! rank n: m       =>   Ranks([RankDecl { name: n, def: Alias(m) }])
//! ```

#![allow(clippy::wildcard_enum_match_arm, reason = "the grammar bounds which of its rules a place can hold")]

mod build;
mod complain;
mod expr;
mod lex;
mod outline;
mod remarks;

use pest::Parser;
use pest::error::Error;
use pest::iterators::Pairs;

use crate::ast::Spec;
use crate::diag::{Code, Diagnostic, SourceId};
use outline::{Resume, Spot};
use remarks::span;

#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// The greatest size of a file, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// How many syntax errors of one file are reported.
const MAX_ERRORS: usize = 20;

/// Reads a file of the language: its tree, or all that is wrong with its text.
///
/// Never panics and never exhausts the stack, whatever the text; takes time linear in its size but for the
/// first errors, each of which may read the text again.
pub fn parse(id: SourceId, text: &str) -> Result<Spec, Vec<Diagnostic>> {
    match read(id, text) {
        Ok((spec, errors)) if errors.is_empty() => Ok(spec),
        Ok((_, errors)) | Err(errors) => Err(errors),
    }
}

/// As [`parse`], but text that follows the grammar has a tree, whatever else is wrong with it.
pub(crate) fn read(id: SourceId, text: &str) -> Result<(Spec, Vec<Diagnostic>), Vec<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than the limit of {MAX_BYTES}", text.len());
        return Err(vec![Diagnostic::error(Code::TooLarge, message).label(span(id, 0, 0), "in this file")]);
    }
    if let Some(found) = outline::too_deep(text) {
        return Err(vec![complain::too_deep(span(id, found.start, found.end()), found.text)]);
    }
    match Grammar::parse(Rule::file, text) {
        Ok(pairs) => Ok(build::spec(id, text, pairs)),
        Err(error) => Err(syntax_errors(id, text, &error)),
    }
}

/// The first syntax error and those of later items.
fn syntax_errors(id: SourceId, text: &str, first: &Error<Rule>) -> Vec<Diagnostic> {
    let mut start = 0;
    let mut at = complain::place(first);
    let mut errors = vec![complain::syntax(id, text, at, first)];
    while errors.len() < MAX_ERRORS
        && let Some(resume) = outline::next_item(text, at, start)
    {
        let parsed = parse_rest(text, resume);
        let Err(error) = parsed else { break };
        start = match resume {
            Resume::File(start) | Resume::Kernel(start) => start,
        };
        at = start + complain::place(&error);
        // The closing brace of what was left is no mistake of its own.
        let spot = Spot::at(&text[start..], at - start);
        if spot.open.is_some() || spot.found.is_none_or(|it| it.text != "}") {
            errors.push(complain::syntax(id, text, at, &error));
        }
    }
    errors
}

/// Parses on after an error.
fn parse_rest(text: &str, resume: Resume) -> Result<Pairs<'_, Rule>, Box<Error<Rule>>> {
    match resume {
        Resume::File(start) => Grammar::parse(Rule::file, &text[start..]),
        Resume::Kernel(start) => Grammar::parse(Rule::rest_of_kernel, &text[start..]),
    }
    .map_err(Box::new)
}
