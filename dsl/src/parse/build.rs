//! Structure to syntax tree: files and their items.

use pest::iterators::{Pair, Pairs};

use super::remarks::{Remarks, span};
use super::{Rule, complain};
use crate::ast::{
    DType, Equation, FnDef, FnStmt, Import, Input, Item, Kernel, KernelItem, KernelItemKind, Name, Param,
    Part, RankDecl, RankDef, Spec,
};
use crate::diag::{Diagnostic, SourceId, Span};

/// What a thing is built into, or the first that is wrong with it.
pub(super) type Built<T> = Result<T, Diagnostic>;

/// The tree of a file that follows the grammar, or what is wrong with its items.
pub(super) fn spec(id: SourceId, text: &str, file: Pairs<'_, Rule>) -> Result<Spec, Vec<Diagnostic>> {
    let mut builder = Builder { id, remarks: Remarks::of(id, text), errors: Vec::new() };
    let items = file.flat_map(children).filter_map(|it| builder.item(it)).collect();
    let Builder { mut remarks, errors, .. } = builder;
    if !errors.is_empty() {
        return Err(errors);
    }
    let docs = std::mem::take(&mut remarks.file_docs);
    Ok(Spec { docs, items, comments: remarks.into_comments() })
}

/// What building needs and finds.
pub(super) struct Builder {
    id: SourceId,
    remarks: Remarks,
    errors: Vec<Diagnostic>,
}

impl Builder {
    fn item(&mut self, pair: Pair<'_, Rule>) -> Option<Item> {
        let built = match pair.as_rule() {
            Rule::import => Ok(Item::Import(self.import(pair))),
            Rule::function => self.function(pair).map(Item::Fn),
            _ => Ok(Item::Kernel(self.kernel(pair))),
        };
        built.map_err(|error| self.errors.push(error)).ok()
    }

    fn import(&self, pair: Pair<'_, Rule>) -> Import {
        let span = self.span(&pair);
        let quoted = only_child(pair);
        Import { path: quoted.as_str().trim_matches('"').to_owned(), span }
    }

    fn function(&mut self, pair: Pair<'_, Rule>) -> Built<FnDef> {
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
                body.extend(self.ranks(local)?.into_iter().map(FnStmt::Rank));
            } else {
                let (name, value) = self.binding(local)?;
                body.push(FnStmt::Let(name, value));
            }
        }
        let result = self.expr(next(&mut parts))?;
        Ok(FnDef { docs, name, ranks, values, body, result, span })
    }

    fn kernel(&mut self, pair: Pair<'_, Rule>) -> Kernel {
        let span = self.span(&pair);
        let docs = self.remarks.take_docs(span.start as usize);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let mut items = Vec::new();
        for part in parts {
            match self.kernel_item(part) {
                Ok(item) => items.push(item),
                Err(error) => self.errors.push(error),
            }
        }
        Kernel { docs, name, items, span }
    }

    fn kernel_item(&mut self, pair: Pair<'_, Rule>) -> Built<KernelItem> {
        let span = self.span(&pair);
        let docs = self.remarks.take_docs(span.start as usize);
        let item = only_child(pair);
        let kind = match item.as_rule() {
            Rule::ranks => KernelItemKind::Ranks(self.ranks(item)?),
            Rule::input => KernelItemKind::Input(self.input(item)?),
            Rule::param => KernelItemKind::Param(self.param(item)?),
            Rule::assume => KernelItemKind::Assume(self.expr(only_child(item))?),
            _ => KernelItemKind::Equation(self.equation(item)?),
        };
        Ok(KernelItem { docs, kind, span })
    }

    fn ranks(&self, pair: Pair<'_, Rule>) -> Built<Vec<RankDecl>> {
        children(pair).map(|it| self.rank_decl(it)).collect()
    }

    fn rank_decl(&self, pair: Pair<'_, Rule>) -> Built<RankDecl> {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let Some(def) = parts.next() else { return Ok(RankDecl { name, def: RankDef::Symbolic, span }) };
        let def = match def.as_rule() {
            Rule::alias => RankDef::Alias(self.name(&only_child(def))),
            Rule::bound => {
                let bound = only_child(def);
                RankDef::Bounded(self.integer(&bound)?, self.span(&bound))
            }
            Rule::composite => {
                RankDef::Composite(children(def).map(|it| self.part(it)).collect::<Built<_>>()?)
            }
            _ => RankDef::Fixed(self.expr(only_child(def))?),
        };
        Ok(RankDecl { name, def, span })
    }

    fn part(&self, pair: Pair<'_, Rule>) -> Built<Part> {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let extent = parts.next().map(|it| self.expr(it)).transpose()?;
        Ok(Part { name, extent })
    }

    fn input(&self, pair: Pair<'_, Rule>) -> Built<Input> {
        let mut parts = children(pair).peekable();
        let name = self.name(&next(&mut parts));
        let ranks = parts.next_if(|it| it.as_rule() == Rule::rank_params);
        let ranks = ranks.map(|it| self.names(it)).unwrap_or_default();
        Ok(Input { name, ranks, dtype: self.dtype(&next(&mut parts))? })
    }

    fn param(&self, pair: Pair<'_, Rule>) -> Built<Param> {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let dtype = self.dtype(&next(&mut parts))?;
        let default = parts.next().map(|it| self.expr(it)).transpose()?;
        Ok(Param { name, dtype, default })
    }

    fn equation(&self, pair: Pair<'_, Rule>) -> Built<Equation> {
        let mut parts = children(pair).peekable();
        let mut optional = |rule| parts.next_if(|it: &Pair<'_, Rule>| it.as_rule() == rule);
        let exact = optional(Rule::kw_exact).is_some();
        let output = optional(Rule::kw_output).is_some();
        let name = self.name(&next(&mut parts));
        let mut optional = |rule| parts.next_if(|it: &Pair<'_, Rule>| it.as_rule() == rule);
        let coords = optional(Rule::coords);
        let dtype = optional(Rule::dtype).map(|it| self.dtype(&it)).transpose()?;
        let coords = coords.map(|it| self.exprs(it)).transpose()?.unwrap_or_default();
        Ok(Equation { exact, output, name, coords, dtype, value: self.expr(next(&mut parts))? })
    }

    pub(super) fn binding(&self, pair: Pair<'_, Rule>) -> Built<(Name, crate::ast::Expr)> {
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        Ok((name, self.expr(next(&mut parts))?))
    }

    fn names(&self, pair: Pair<'_, Rule>) -> Vec<Name> {
        children(pair).map(|it| self.name(&it)).collect()
    }

    pub(super) fn name(&self, pair: &Pair<'_, Rule>) -> Name {
        Name { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    fn dtype(&self, pair: &Pair<'_, Rule>) -> Built<DType> {
        DType::from_name(pair.as_str()).ok_or_else(|| complain::unknown_dtype(&self.name(pair)))
    }

    pub(super) fn integer(&self, pair: &Pair<'_, Rule>) -> Built<i64> {
        pair.as_str().parse().map_err(|_| complain::int_too_large(self.span(pair)))
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
