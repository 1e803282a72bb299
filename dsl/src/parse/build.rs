//! Structure to syntax tree: files and their items.

use pest::iterators::{Pair, Pairs};

use super::remarks::{Remarks, span};
use super::{Rule, complain};
use crate::ast::{
    Equation, FnDef, FnStmt, Import, Input, Item, Kernel, KernelItem, KernelItemKind, Name, Param, Part,
    RankDecl, RankDef, Spec,
};
use crate::diag::{Diagnostic, SourceId, Span};

/// The tree of a file that follows the grammar, and what is wrong with it all the same.
pub(super) fn spec(id: SourceId, text: &str, file: Pairs<'_, Rule>) -> (Spec, Vec<Diagnostic>) {
    let mut builder = Builder { id, remarks: Remarks::of(id, text), errors: Vec::new() };
    let items = file.flat_map(children).map(|it| builder.item(it)).collect();
    let Builder { mut remarks, errors, .. } = builder;
    let docs = std::mem::take(&mut remarks.file_docs);
    (Spec { docs, items, comments: remarks.into_comments() }, errors)
}

/// What building needs and finds.
pub(super) struct Builder {
    id: SourceId,
    remarks: Remarks,
    pub(super) errors: Vec<Diagnostic>,
}

impl Builder {
    fn item(&mut self, pair: Pair<'_, Rule>) -> Item {
        match pair.as_rule() {
            Rule::import => Item::Import(self.import(pair)),
            Rule::function => Item::Fn(self.function(pair)),
            _ => Item::Kernel(self.kernel(pair)),
        }
    }

    fn import(&self, pair: Pair<'_, Rule>) -> Import {
        let span = self.span(&pair);
        let quoted = only_child(pair);
        Import { path: quoted.as_str().trim_matches('"').to_owned(), span }
    }

    fn function(&mut self, pair: Pair<'_, Rule>) -> FnDef {
        let span = self.span(&pair);
        let docs = self.remarks.take_docs(span.start as usize);
        let mut parts = children(pair).peekable();
        let name = self.name(&next(&mut parts));
        let ranks = parts.next_if(|it| it.as_rule() == Rule::rank_params);
        let ranks = ranks.map(|it| self.names(it)).unwrap_or_default();
        let values = self.names(next(&mut parts));
        let mut body = Vec::new();
        while let Some(local) = parts.next_if(|it| it.as_rule() != Rule::expr) {
            if local.as_rule() == Rule::ranks {
                body.extend(self.ranks(local).into_iter().map(FnStmt::Rank));
            } else {
                let (name, value) = self.binding(local);
                body.push(FnStmt::Let(name, value));
            }
        }
        let result = self.expr(next(&mut parts));
        FnDef { docs, name, ranks, values, body, result, span }
    }

    fn kernel(&mut self, pair: Pair<'_, Rule>) -> Kernel {
        let span = self.span(&pair);
        let docs = self.remarks.take_docs(span.start as usize);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let items = parts.map(|it| self.kernel_item(it)).collect();
        Kernel { docs, name, items, span }
    }

    fn kernel_item(&mut self, pair: Pair<'_, Rule>) -> KernelItem {
        let span = self.span(&pair);
        let docs = self.remarks.take_docs(span.start as usize);
        let item = only_child(pair);
        let kind = match item.as_rule() {
            Rule::ranks => KernelItemKind::Ranks(self.ranks(item)),
            Rule::input => KernelItemKind::Input(self.input(item)),
            Rule::param => KernelItemKind::Param(self.param(item)),
            Rule::assume => KernelItemKind::Assume(self.expr(only_child(item))),
            _ => KernelItemKind::Equation(self.equation(item)),
        };
        KernelItem { docs, kind, span }
    }

    fn ranks(&mut self, pair: Pair<'_, Rule>) -> Vec<RankDecl> {
        children(pair).map(|it| self.rank_decl(it)).collect()
    }

    fn rank_decl(&mut self, pair: Pair<'_, Rule>) -> RankDecl {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let Some(def) = parts.next() else { return RankDecl { name, def: RankDef::Symbolic, span } };
        let def = match def.as_rule() {
            Rule::alias => RankDef::Alias(self.name(&only_child(def))),
            Rule::bound => {
                let bound = only_child(def);
                self.integer(&bound).map_or(RankDef::Symbolic, |it| RankDef::Bounded(it, self.span(&bound)))
            }
            Rule::composite => RankDef::Composite(children(def).map(|it| self.part(it)).collect()),
            _ => RankDef::Fixed(self.expr(only_child(def))),
        };
        RankDecl { name, def, span }
    }

    fn part(&mut self, pair: Pair<'_, Rule>) -> Part {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let extent = parts.next().map(|it| self.expr(it));
        Part { name, extent }
    }

    fn input(&mut self, pair: Pair<'_, Rule>) -> Input {
        let mut parts = children(pair).peekable();
        let name = self.name(&next(&mut parts));
        let ranks = parts.next_if(|it| it.as_rule() == Rule::rank_params);
        let ranks = ranks.map(|it| self.names(it)).unwrap_or_default();
        Input { name, ranks, dtype: self.name(&next(&mut parts)) }
    }

    fn param(&mut self, pair: Pair<'_, Rule>) -> Param {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let dtype = self.name(&next(&mut parts));
        let default = parts.next().map(|it| self.expr(it));
        Param { name, dtype, default }
    }

    fn equation(&mut self, pair: Pair<'_, Rule>) -> Equation {
        let mut parts = children(pair).peekable();
        let mut optional = |rule| parts.next_if(|it: &Pair<'_, Rule>| it.as_rule() == rule);
        let exact = optional(Rule::kw_exact).is_some();
        let output = optional(Rule::kw_output).is_some();
        let name = self.name(&next(&mut parts));
        let mut optional = |rule| parts.next_if(|it: &Pair<'_, Rule>| it.as_rule() == rule);
        let coords = optional(Rule::coords);
        let dtype = optional(Rule::dtype).map(|it| self.name(&it));
        let coords = coords.map(|it| self.exprs(it)).unwrap_or_default();
        Equation { exact, output, name, coords, dtype, value: self.expr(next(&mut parts)) }
    }

    pub(super) fn binding(&mut self, pair: Pair<'_, Rule>) -> (Name, crate::ast::Expr) {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        (name, self.expr(next(&mut parts)))
    }

    fn names(&self, pair: Pair<'_, Rule>) -> Vec<Name> {
        children(pair).map(|it| self.name(&it)).collect()
    }

    pub(super) fn name(&self, pair: &Pair<'_, Rule>) -> Name {
        Name { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    /// An integer, unless it is too large.
    pub(super) fn integer(&mut self, pair: &Pair<'_, Rule>) -> Option<i64> {
        let read = pair.as_str().parse();
        read.map_err(|_| self.errors.push(complain::int_too_large(self.span(pair)))).ok()
    }

    /// From the first to the last token; the span of pest goes on over space and comments.
    pub(super) fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let last = pair.clone().into_inner().flatten().next_back();
        let end = last.map_or(pair.as_span().end(), |it| it.as_span().end());
        span(self.id, pair.as_span().start(), end)
    }
}

/// The parts of a pair that carry meaning: no punctuation and no keyword that only leads.
pub(super) fn children(pair: Pair<'_, Rule>) -> impl Iterator<Item = Pair<'_, Rule>> {
    pair.into_inner().filter(|it| !is_mark(it.as_rule()))
}

/// The next part, where the grammar demands one.
pub(super) fn next<'a>(parts: &mut impl Iterator<Item = Pair<'a, Rule>>) -> Pair<'a, Rule> {
    parts.next().expect("the grammar demands this part")
}

fn only_child(pair: Pair<'_, Rule>) -> Pair<'_, Rule> {
    next(&mut children(pair))
}

fn is_mark(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::EOI
            | Rule::kw_kernel
            | Rule::kw_rank
            | Rule::kw_input
            | Rule::kw_param
            | Rule::kw_fn
            | Rule::kw_import
            | Rule::kw_assume
            | Rule::kw_if
            | Rule::kw_then
            | Rule::open_brace
            | Rule::close_brace
            | Rule::open_bracket
            | Rule::close_bracket
            | Rule::open_paren
            | Rule::close_paren
            | Rule::comma
            | Rule::colon
            | Rule::semicolon
            | Rule::local_end
            | Rule::bar
            | Rule::arrow
            | Rule::assign
            | Rule::at_most
    )
}
