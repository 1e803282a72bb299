//! Comments and documentation, which the grammar skips.

use std::collections::BTreeMap;

use super::lex::{Kind, lexemes};
use crate::ast::Comment;
use crate::diag::{SourceId, Span};

/// What the comments of a file say, and about what.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// The `#!` lines, without their marker.
    pub(super) file_docs: Vec<String>,
    /// The `##` lines by the place of the word after them.
    item_docs: BTreeMap<usize, Vec<Comment>>,
    comments: Vec<Comment>,
}

impl Remarks {
    /// Collects them. A `#!` or `##` that does not begin its line is a plain comment, and so is `###`.
    pub(super) fn of(id: SourceId, text: &str) -> Remarks {
        let mut remarks = Remarks::default();
        let mut docs = Vec::new();
        for it in lexemes(text) {
            if it.kind != Kind::Comment {
                if !docs.is_empty() {
                    remarks.item_docs.insert(it.start, std::mem::take(&mut docs));
                }
                continue;
            }
            let span = span(id, it.start, it.end());
            let comment = Comment { span, text: it.text.to_owned(), own_line: it.first_on_line };
            if it.first_on_line && it.text.starts_with("#!") {
                remarks.file_docs.push(without_marker(it.text));
            } else if it.first_on_line && it.text.starts_with("##") && !it.text.starts_with("###") {
                docs.push(comment);
            } else {
                remarks.comments.push(comment);
            }
        }
        remarks.comments.append(&mut docs);
        remarks
    }

    /// Takes the documentation of the item that begins at `start`.
    pub(super) fn take_docs(&mut self, start: usize) -> Vec<String> {
        let docs = self.item_docs.remove(&start).unwrap_or_default();
        docs.iter().map(|it| without_marker(&it.text)).collect()
    }

    /// The plain comments, in order, with the `##` lines that document nothing.
    pub(super) fn into_comments(self) -> Vec<Comment> {
        let mut comments = self.comments;
        comments.extend(self.item_docs.into_values().flatten());
        comments.sort_by_key(|it| it.span.start);
        comments
    }
}

/// A span of a file. Sizes are limited, so that places fit 32 bits.
pub(super) fn span(source: SourceId, start: usize, end: usize) -> Span {
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Span { source, start: place(start), end: place(end) }
}

fn without_marker(comment: &str) -> String {
    let text = &comment[2..];
    text.strip_prefix(' ').unwrap_or(text).to_owned()
}
