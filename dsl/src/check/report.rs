//! Findings to a list: each place is blamed once for one thing, in the order of the text.

use std::collections::HashSet;

use crate::ast::Name;
use crate::diag::{Code, Diagnostic, Label, Severity, Span};
use crate::functions::PRELUDE_ID;

/// Misspelt names that get a suggestion; a file with more has other troubles.
const MAX_SUGGESTIONS: usize = 64;

/// How many findings are told; nobody reads more, and a file may hold a hundred thousand.
const MAX_FOUND: usize = 1000;

/// What is found, so far.
#[derive(Default)]
pub(super) struct Report {
    found: Vec<Diagnostic>,
    seen: HashSet<(Code, u32, u32, u32)>,
    calls: Vec<Span>,
    n_suggestions: usize,
}

impl Report {
    /// A report that begins with what was found before.
    pub(super) fn of(findings: &[Diagnostic]) -> Report {
        Report { found: findings.to_vec(), ..Report::default() }
    }

    /// Adds a finding, unless its place was blamed for the same before.
    ///
    /// Inside of an inlined function it says which call of the kernel leads there; for one of the
    /// prelude that call is to blame.
    pub(super) fn push(&mut self, mut finding: Diagnostic) {
        if let Some(&call) = self.calls.first() {
            if finding.labels.first().is_some_and(|it| it.span.source == PRELUDE_ID) {
                finding.labels.insert(0, Label { span: call, text: "by this call".to_owned() });
            } else {
                finding = finding.label(call, "by this call");
            }
        }
        let place = finding.labels.first().map_or((u32::MAX, 0, 0), |it| key(it.span));
        if !self.seen.insert((finding.code, place.0, place.1, place.2)) {
            return;
        }
        self.found.push(finding);
    }

    /// Adds a finding about what stands outside of the text.
    pub(super) fn push_setting(&mut self, finding: Diagnostic) {
        self.found.push(finding);
    }

    /// From here on findings lie in a function that this expression calls.
    pub(super) fn enter(&mut self, call: Span) {
        self.calls.push(call);
    }

    /// The call that was entered last is over.
    pub(super) fn leave(&mut self) {
        self.calls.pop();
    }

    /// "did you mean", if one of the names is close.
    pub(super) fn suggest<'n>(&mut self, used: &str, among: impl Iterator<Item = &'n str>) -> Option<String> {
        if self.n_suggestions >= MAX_SUGGESTIONS {
            return None;
        }
        self.n_suggestions += 1;
        nearest(used, among).map(|it| format!("did you mean `{it}`?"))
    }

    /// All findings, by place.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|it| it.labels.first().map_or((0, 0, 0), |label| key(label.span)));
        if self.found.len() > MAX_FOUND && self.found.iter().any(is_error) {
            self.found.retain(is_error);
        }
        let more = self.found.len().saturating_sub(MAX_FOUND);
        self.found.truncate(MAX_FOUND);
        if let Some(last) = self.found.last_mut().filter(|_| more > 0) {
            last.help.push(format!("{more} further findings are not told"));
        }
        self.found
    }
}

fn is_error(finding: &Diagnostic) -> bool {
    finding.severity == Severity::Error
}

fn key(span: Span) -> (u32, u32, u32) {
    (span.source.0, span.start, span.end)
}

/// The error of a name that is declared before.
pub(super) fn duplicate(name: &Name, message: String, first: Span) -> Diagnostic {
    Diagnostic::error(Code::Duplicate, message)
        .label(name.span, "declared again here")
        .label(first, "first declared here")
}

/// The closest name within a third of the letters, the first of equals.
pub fn nearest<'n>(used: &str, among: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (used.len() / 3).max(1);
    let close = among.filter(|it| *it != used && it.len().abs_diff(used.len()) <= limit);
    let rated = close.map(|it| (distance(used.as_bytes(), it.as_bytes()), it));
    rated
        .filter(|(d, it)| *d <= limit && *d < it.len().max(used.len()))
        .min_by_key(|(d, _)| *d)
        .map(|(_, it)| it)
}

/// The edit distance, in insertions, deletions and replacements; case does not count.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["softmax", "causal", "n", "query"];
        assert_eq!(nearest("sofmax", names.into_iter()), Some("softmax"));
        assert_eq!(nearest("casual", names.into_iter()), Some("causal"));
        assert_eq!(nearest("quarry", names.into_iter()), Some("query"));
        assert_eq!(nearest("value", names.into_iter()), None);
        assert_eq!(nearest("k", names.into_iter()), None);
    }
}
