//! Lines, comments and blank lines to text.

use std::cmp::Reverse;
use std::iter::Peekable;
use std::slice;

use super::flat::{Break, Flat};
use crate::ast::Comment;
use crate::diag::Span;

/// Where lines are broken, if they can be.
pub(super) const MAX_WIDTH: usize = 120;

/// Where comments behind short lines begin.
const COMMENT_COLUMN: usize = 34;

/// What the printer wants on a line, and where it was written.
pub(super) struct Line<'a> {
    pub(super) span: Span,
    pub(super) indent: usize,
    pub(super) docs: &'a [String],
    pub(super) flat: Flat<'a>,
    pub(super) edge: Edge,
}

impl<'a> Line<'a> {
    pub(super) fn new(source: &'a str, span: Span, indent: usize) -> Line<'a> {
        Line { span, indent, docs: &[], flat: Flat::new(source), edge: Edge::Inside }
    }
}

/// Whether a line opens or closes a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Inside,
    KernelOpen,
    KernelClose,
    FnOpen,
    FnClose,
}

/// The text so far.
pub(super) struct Page<'a> {
    source: &'a str,
    rows: Vec<Row<'a>>,
    comments: Peekable<slice::Iter<'a, Comment>>,
    /// The place in the source up to which all is printed.
    done: usize,
    /// The last row is code, so that a comment may stand behind it.
    after_code: bool,
    gap: Gap,
}

/// Whether a blank line comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    AsWritten,
    Always,
    Never,
}

/// A line of the text.
struct Row<'a> {
    blank_before: bool,
    text: String,
    /// A comment behind the text.
    comment: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// A page that begins with the documentation of the file.
    pub(super) fn new(docs: &[String], comments: &'a [Comment], source: &'a str) -> Page<'a> {
        let comments = comments.iter().peekable();
        let mut page =
            Page { source, rows: Vec::new(), comments, done: 0, after_code: false, gap: Gap::Never };
        for doc in docs {
            page.row(with_marker("#!", doc), 0);
        }
        page.gap = Gap::Always;
        page
    }

    /// Adds a line, after the comments that stood before or inside it.
    pub(super) fn line(&mut self, line: Line<'a>) {
        if line.edge == Edge::KernelOpen && !self.rows.is_empty() {
            self.gap = Gap::Always;
        }
        let (start, end) = (line.span.start as usize, line.span.end as usize);
        let closes = matches!(line.edge, Edge::KernelClose | Edge::FnClose);
        while let Some(comment) = self.comments.next_if(|it| (it.span.start as usize) < end) {
            self.comment(comment, start, line.indent + usize::from(closes));
        }
        if closes {
            self.gap = Gap::Never;
        }
        let indent = "  ".repeat(line.indent);
        for doc in line.docs {
            self.row(indent.clone() + &with_marker("##", doc), start);
        }
        for text in broken(&line.flat, &indent) {
            self.row(text, start);
        }
        self.after_code = true;
        self.done = end;
        self.gap = match line.edge {
            Edge::Inside | Edge::FnClose => Gap::AsWritten,
            Edge::KernelOpen | Edge::FnOpen => Gap::Never,
            Edge::KernelClose => Gap::Always,
        };
    }

    /// The whole text, after the comments that are left.
    pub(super) fn finish(mut self) -> String {
        while let Some(comment) = self.comments.next() {
            self.comment(comment, usize::MAX, 0);
        }
        let mut text = String::new();
        for group in self.rows.chunk_by(Row::shares_column) {
            let column = group.iter().map(|it| it.text.len() + 2).fold(COMMENT_COLUMN, usize::max);
            for row in group {
                text.push_str(if row.blank_before { "\n" } else { "" });
                match row.comment {
                    Some(comment) => text.push_str(&format!("{:column$}{comment}", row.text)),
                    None => text.push_str(&row.text),
                }
                text.push('\n');
            }
        }
        text
    }

    /// Adds a comment that stood before `next`, or inside what begins there.
    fn comment(&mut self, comment: &'a Comment, next: usize, indent: usize) {
        let start = comment.span.start as usize;
        let same_line = self.source.get(self.done..start).is_none_or(|it| !it.contains('\n'));
        if self.after_code && !comment.own_line && start < next && same_line {
            self.after_code = false;
            self.rows.last_mut().expect("a row of code").comment = Some(&comment.text);
        } else {
            // Before an item, a comment with the marker of documentation would become documentation.
            let text = match comment.text.strip_prefix("##").or_else(|| comment.text.strip_prefix("#!")) {
                Some(rest) if !rest.starts_with('#') => format!("#{rest}"),
                _ => comment.text.clone(),
            };
            self.row("  ".repeat(indent) + &text, start.min(next));
        }
        if start < next {
            self.done = comment.span.end as usize;
        }
    }

    fn row(&mut self, text: String, start: usize) {
        let blank_before = match self.gap {
            Gap::Always => !self.rows.is_empty(),
            Gap::Never => false,
            Gap::AsWritten => has_blank_line(self.source.get(self.done..start).unwrap_or_default()),
        };
        self.rows.push(Row { blank_before, text, comment: None });
        self.gap = Gap::AsWritten;
        self.after_code = false;
        self.done = start;
    }
}

impl Row<'_> {
    /// Comments behind long rows that follow each other stand in one column; those behind short rows always do.
    fn shares_column(&self, next: &Row<'_>) -> bool {
        let is_long = |it: &Row<'_>| it.comment.is_some() && it.text.len() + 2 > COMMENT_COLUMN;
        is_long(self) && is_long(next) && !next.blank_before
    }
}

/// The text under a span; nothing if the tree was not read from this text.
pub(super) fn text_at(source: &str, span: Span) -> &str {
    source.get(span.start as usize..span.end as usize).unwrap_or_default()
}

fn with_marker(marker: &str, doc: &str) -> String {
    format!("{marker} {doc}").trim_end().to_owned()
}

fn has_blank_line(between: &str) -> bool {
    let mut lines = between.split('\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_some() && line.trim().is_empty() {
            return true;
        }
    }
    false
}

/// A line in pieces that fit. It is broken where it holds together least, but not in its first third; what follows is
/// indented further.
fn broken(flat: &Flat<'_>, indent: &str) -> Vec<String> {
    let (mut rows, mut start, mut lead) = (Vec::new(), 0, indent.to_owned());
    while lead.len() + flat.text.len() - start > MAX_WIDTH {
        let room = start + MAX_WIDTH - lead.len();
        let count_to = |at| flat.breaks.partition_point(|it| it.at <= at);
        let fits = flat.breaks[count_to(start)..count_to(room)].iter();
        let best = |it: &&Break| (it.at < start + MAX_WIDTH / 3, it.tightness, Reverse(it.at));
        let Some(Break { at, .. }) = fits.min_by_key(best) else { break };
        rows.push(lead + &flat.text[start..*at]);
        start = *at + 1;
        lead = format!("{indent}    ");
    }
    rows.push(lead + flat.text[start..].trim_start());
    rows
}
