//! Syntax tree to text, in the one form that `attnc fmt` writes.
//!
//! Two spaces a level, an item a line, parentheses only where they are needed. Blank lines between items are kept,
//! one at most. Comments keep their place: on a line of their own, behind what they follow, or, from the middle of an
//! item, before it. Parsing the text gives the tree, and printing that gives the text again.
//!
//! ```text
//! kernel k{rank n,m  =4            =>   kernel k {
//!   A[n]=(B*(C)) } # done                 rank n, m = 4
//!                                         A[n] = B * C
//!                                       }                               # done
//! ```

mod flat;
mod page;

use crate::ast::{FnDef, FnStmt, Item, Kernel, Spec};
use crate::diag::Span;
use crate::syntax::Level;
use page::{Edge, Line, MAX_WIDTH, Page};

/// The text of a spec that was read from `source`.
///
/// The source only says where blank lines were, which functions took several lines, and how numbers were spelled; a
/// tree that was not read from text is printed with an empty one.
pub fn print(spec: &Spec, source: &str) -> String {
    let mut page = Page::new(&spec.docs, &spec.comments, source);
    for item in &spec.items {
        match item {
            Item::Import(import) => {
                let mut line = Line::new(source, import.span, 0);
                line.flat.put("import \"").put(&import.path).put("\"");
                page.line(line);
            }
            Item::Fn(function) => print_fn(&mut page, function, source),
            Item::Kernel(kernel) => print_kernel(&mut page, kernel, source),
        }
    }
    page.finish()
}

fn print_kernel<'a>(page: &mut Page<'a>, kernel: &'a Kernel, source: &'a str) {
    let head = Span { end: kernel.name.span.end, ..kernel.span };
    let mut line = Line { docs: &kernel.docs, edge: Edge::KernelOpen, ..Line::new(source, head, 0) };
    line.flat.put("kernel ").put(&kernel.name.text).put(" {");
    page.line(line);
    for item in &kernel.items {
        let mut line = Line { docs: &item.docs, ..Line::new(source, item.span, 1) };
        line.flat.kernel_item(&item.kind);
        page.line(line);
    }
    page.line(closing_brace(source, kernel.span, Edge::KernelClose));
}

/// A function takes one line if it did so and there is room.
fn print_fn<'a>(page: &mut Page<'a>, function: &'a FnDef, source: &'a str) {
    let mut line = Line { docs: &function.docs, ..Line::new(source, function.span, 0) };
    line.flat.fn_head(function);
    line.flat.put(" { ");
    for stmt in &function.body {
        line.flat.fn_stmt(stmt);
        line.flat.put(" ");
    }
    line.flat.expr(&function.result, Level::Loose);
    line.flat.put(" }");
    if line.flat.text.len() <= MAX_WIDTH && !page::text_at(source, function.span).contains('\n') {
        return page.line(line);
    }
    let params = function.ranks.iter().chain(&function.values);
    let head = params.fold(function.name.span, |head, it| head.to(it.span));
    let head = Span { start: function.span.start, ..head };
    let mut line = Line { docs: &function.docs, edge: Edge::FnOpen, ..Line::new(source, head, 0) };
    line.flat.fn_head(function);
    line.flat.put(" {");
    page.line(line);
    for stmt in &function.body {
        let span = match stmt {
            FnStmt::Rank(decl) => decl.span,
            FnStmt::Let(name, value) => name.span.to(value.span),
        };
        let mut line = Line::new(source, span, 1);
        line.flat.fn_stmt(stmt);
        page.line(line);
    }
    let mut line = Line::new(source, function.result.span, 1);
    line.flat.expr(&function.result, Level::Loose);
    page.line(line);
    page.line(closing_brace(source, function.span, Edge::FnClose));
}

fn closing_brace(source: &str, block: Span, edge: Edge) -> Line<'_> {
    let brace = Span { start: block.end.saturating_sub(1), ..block };
    let mut line = Line { edge, ..Line::new(source, brace, 0) };
    line.flat.put("}");
    line
}
