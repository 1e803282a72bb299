//! Diagnostics to text for people and JSON for tools.
//!
//! ```text
//! error[A0101]: rank `M` is not declared
//!   ┌─ mha.attn:1:24
//!   │
//! 1 │ QK[m,p] = Q[e,p] * K[e,M]
//!   │                        ^ used here
//!   │
//!   = help: did you mean `m`?
//! ```

use std::ops::Range;

use codespan_reporting::diagnostic as report;
use codespan_reporting::files::{Files, SimpleFiles};
use codespan_reporting::term;
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};
use serde_json::{Value, json};

use crate::diag::{Diagnostic, Label, Severity, SourceMap, Span};

/// How many bytes of a line may lie on either side of a label for the line to be shown.
const MAX_LINE: usize = 1000;

/// The diagnostics as text, a blank line after each; lines that are too long are not shown.
pub fn text(sources: &SourceMap, diagnostics: &[Diagnostic]) -> String {
    let mut out = NoColor::new(Vec::new());
    emit(&mut out, sources, diagnostics);
    String::from_utf8_lossy(&out.into_inner()).into_owned()
}

/// The same for a terminal, with ANSI colours.
pub fn colored_text(sources: &SourceMap, diagnostics: &[Diagnostic]) -> String {
    let mut out = Ansi::new(Vec::new());
    emit(&mut out, sources, diagnostics);
    String::from_utf8_lossy(&out.into_inner()).into_owned()
}

/// The diagnostics as a JSON array.
///
/// Each has `severity`, `code`, `message`, `file`, `labels` and `help`. A label has `file`, `text`, the byte offsets
/// `start` and `end`, and the `line`, `column`, `end_line` and `end_column` of these, counted in characters from 1.
pub fn json(sources: &SourceMap, diagnostics: &[Diagnostic]) -> Value {
    let files = files(sources);
    diagnostics.iter().map(|it| diagnostic_json(sources, &files, it)).collect()
}

fn diagnostic_json(sources: &SourceMap, files: &AllFiles<'_>, diagnostic: &Diagnostic) -> Value {
    let name = |label: &Label| sources.get(label.span.source).name.clone();
    let labels = diagnostic.labels.iter().map(|label| {
        let Range { start, end } = range(sources, label.span);
        let place = |at| files.location(file_of(label.span), at).expect("the place lies in the file");
        let (from, to) = (place(start), place(end));
        json!({
            "file": name(label), "text": label.text, "start": start, "end": end,
            "line": from.line_number, "column": from.column_number,
            "end_line": to.line_number, "end_column": to.column_number,
        })
    });
    json!({
        "severity": severity_name(diagnostic.severity),
        "code": diagnostic.code.as_str(),
        "message": diagnostic.message,
        "file": diagnostic.labels.first().map(name),
        "labels": labels.collect::<Value>(),
        "help": diagnostic.help,
    })
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

type AllFiles<'a> = SimpleFiles<&'a str, &'a str>;

fn files(sources: &SourceMap) -> AllFiles<'_> {
    let mut files = SimpleFiles::new();
    for (_, source) in sources.iter() {
        files.add(source.name.as_str(), source.text.as_str());
    }
    files
}

fn emit(out: &mut impl WriteColor, sources: &SourceMap, diagnostics: &[Diagnostic]) {
    let files = files(sources);
    let full = term::Config::default();
    let brief = term::Config { display_style: term::DisplayStyle::Medium, ..term::Config::default() };
    for diagnostic in diagnostics {
        let report = report(sources, diagnostic);
        let long = diagnostic.labels.iter().any(|it| on_long_line(sources, it.span));
        let config = if long { &brief } else { &full };
        term::emit_to_write_style(out, config, &files, &report)
            .expect("memory can be written, and all places lie in their files");
    }
}

/// Whether a span begins or ends on a line that is too long to be shown.
fn on_long_line(sources: &SourceMap, span: Span) -> bool {
    let Range { start, end } = range(sources, span);
    let bytes = sources.get(span.source).text.as_bytes();
    let ends_within = |rest: &mut dyn Iterator<Item = &u8>| rest.take(MAX_LINE).any(|it| *it == b'\n');
    let whole = |at: usize| {
        let (before, after) = bytes.split_at(at);
        (before.len() < MAX_LINE || ends_within(&mut before.iter().rev()))
            && (after.len() < MAX_LINE || ends_within(&mut after.iter()))
    };
    !(whole(start) && whole(end))
}

fn report(sources: &SourceMap, diagnostic: &Diagnostic) -> report::Diagnostic<usize> {
    let severity = match diagnostic.severity {
        Severity::Warning => report::Severity::Warning,
        Severity::Error => report::Severity::Error,
    };
    let labels = diagnostic.labels.iter().enumerate().map(|(position, label)| {
        let style = if position == 0 { report::LabelStyle::Primary } else { report::LabelStyle::Secondary };
        report::Label::new(style, file_of(label.span), range(sources, label.span)).with_message(&label.text)
    });
    report::Diagnostic::new(severity)
        .with_code(diagnostic.code.as_str())
        .with_message(&diagnostic.message)
        .with_labels_iter(labels)
        .with_notes_iter(diagnostic.help.iter().map(|it| format!("help: {it}")))
}

fn file_of(span: Span) -> usize {
    span.source.0 as usize
}

/// The bytes of a span, moved to whole characters inside the file.
fn range(sources: &SourceMap, span: Span) -> Range<usize> {
    let text = &sources.get(span.source).text;
    let start = text.floor_char_boundary(span.start as usize);
    start..text.ceil_char_boundary(span.end as usize).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Code, Source, SourceId};

    fn sample() -> (SourceMap, Vec<Diagnostic>) {
        let mut sources = SourceMap::default();
        let id = sources.add(Source {
            name: "mha.attn".to_owned(),
            text: "# Wärme →\tω\nQK[m, p] = Q[e, p]\t* K[e, M]\n".to_owned(),
        });
        let span = |part: &str| {
            let start = u32::try_from(sources.get(id).text.find(part).unwrap()).unwrap();
            Span { source: id, start, end: start + u32::try_from(part.len()).unwrap() }
        };
        let unknown = Diagnostic::error(Code::UnknownRank, "rank `M` is not declared")
            .label(span("M"), "used here")
            .label(span("m, p"), "a tensor with two ranks")
            .help("did you mean `m`?".to_owned());
        let remark = Diagnostic::warning(Code::Syntax, "a remark").label(span("ω"), "about this character");
        (sources, vec![unknown, remark, Diagnostic::error(Code::NoKernel, "nothing")])
    }

    #[test]
    fn text_shows_the_places() {
        let (sources, diagnostics) = sample();
        insta::assert_snapshot!(text(&sources, &diagnostics));
    }

    #[test]
    fn long_lines_are_left_out() {
        let mut sources = SourceMap::default();
        let id = sources.add(Source { name: "long.attn".to_owned(), text: "x".repeat(1_000_000) });
        let found = Diagnostic::error(Code::UnknownName, "`x` is not declared")
            .label(Span { source: id, start: 500_000, end: 500_001 }, "used here")
            .help("declare it".to_owned());
        assert_eq!(
            text(&sources, &[found]),
            "long.attn:1:500001: error[A0100]: `x` is not declared\n = help: declare it\n"
        );
    }

    #[test]
    fn color_only_adds_escapes() {
        let (sources, diagnostics) = sample();
        let colored = colored_text(&sources, &diagnostics);
        let plain: String =
            colored.split("\u{1b}[").map(|it| it.split_once('m').map_or(it, |(_, rest)| rest)).collect();
        assert!(colored.contains("\u{1b}[") && plain.ends_with(text(&sources, &diagnostics).trim_start()));
    }

    #[test]
    fn json_counts_characters() {
        let (sources, diagnostics) = sample();
        insta::assert_json_snapshot!(json(&sources, &diagnostics));
    }

    #[test]
    fn any_span_is_shown() {
        let (sources, _) = sample();
        let size = u32::try_from(sources.get(SourceId(0)).text.len()).unwrap();
        for start in 0..size + 3 {
            for end in [0, start, start + 1, size, size + 9] {
                let span = Span { source: SourceId(0), start, end };
                let diagnostic = [Diagnostic::error(Code::Syntax, "x").label(span, "here")];
                assert!(text(&sources, &diagnostic).contains("mha.attn:"));
                assert!(json(&sources, &diagnostic)[0]["labels"][0]["line"].is_u64());
            }
        }
    }
}
