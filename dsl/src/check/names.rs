//! Names to what they mean: the declarations of a kernel, and the scope of a function body.

use std::collections::HashMap;

use crate::ast::{DType, FnDef, Kernel, KernelItemKind, Kind, Name, Part, RankDecl, RankDef};
use crate::check::atoms::{Atoms, RankId};
use crate::check::ranks::{Def, fixed_parts};
use crate::check::report::duplicate;
use crate::check::{Cx, Param};
use crate::diag::{Code, Diagnostic, Span};

/// What a kernel declares under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A rank.
    Rank(RankId),
    /// An input, by its place among the tensors.
    Input(usize),
    /// A tensor that equations define, by its place among the tensors.
    Defined(usize),
    /// A parameter, by its place among the parameters.
    Param(usize),
}

impl What {
    /// What it is, with its article.
    pub(super) fn words(self) -> &'static str {
        match self {
            What::Rank(_) => "a rank",
            What::Input(_) => "an input",
            What::Defined(_) => "a tensor",
            What::Param(_) => "a parameter",
        }
    }
}

/// A declaration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decl {
    /// What is declared.
    pub(super) what: What,
    /// Where.
    pub(super) span: Span,
}

/// What an expression is, as far as it is known: `None` spares an error of an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Typed {
    /// The kind of its value.
    pub(super) kind: Option<Kind>,
    /// The atoms that it is a function of.
    pub(super) free: Atoms,
    /// It follows from literals, parameters and extents.
    pub(super) constant: bool,
}

impl Typed {
    /// Something that an error was found in.
    pub(super) fn unknown() -> Typed {
        Typed { kind: None, free: Atoms::none(), constant: true }
    }

    /// A constant of that kind.
    pub(super) fn constant(kind: Kind) -> Typed {
        Typed { kind: Some(kind), ..Typed::unknown() }
    }
}

/// Where an expression stands, hence which names it sees.
pub(super) enum Scope<'a> {
    /// At kernel level: all that the kernel declares.
    Kernel,
    /// In a function body: its parameters, ranks and locals.
    Fn(FnScope<'a>),
}

/// What a function body sees.
pub(super) struct FnScope<'a> {
    /// The function.
    pub(super) def: &'a FnDef,
    /// Its ranks; a lone rank parameter may stand for several.
    pub(super) ranks: HashMap<&'a str, Vec<RankId>>,
    /// Its values and locals.
    pub(super) locals: HashMap<&'a str, Typed>,
}

/// What a name means in a scope.
pub(super) enum Meaning {
    /// A rank, or a parameter that stands for several.
    Ranks(Vec<RankId>),
    /// A tensor, by its place.
    Tensor(usize),
    /// A parameter of the kernel, of that kind.
    Param(Option<Kind>),
    /// A value or local of a function.
    Local(Typed),
    /// Nothing; reported.
    Unknown,
}

impl<'a> Cx<'a, '_> {
    /// Enters all that a kernel declares: ranks, inputs, parameters, and the tensors it defines.
    pub(super) fn declare_all(&mut self, kernel: &'a Kernel) {
        let mut implicit = Vec::new();
        let mut pending = Vec::new();
        for item in &kernel.items {
            match &item.kind {
                KernelItemKind::Ranks(decls) => {
                    for decl in decls {
                        self.declare_rank(decl, &mut pending, &mut implicit);
                    }
                }
                KernelItemKind::Input(input) => {
                    let place = self.tensors.len();
                    if self.declare(&input.name, What::Input(place)) {
                        let dtype = self.dtype(&input.dtype);
                        self.tensors.push(super::Tensor::input(&input.name, dtype));
                    }
                }
                KernelItemKind::Param(param) => {
                    let place = self.params.len();
                    if self.declare(&param.name, What::Param(place)) {
                        let dtype = self.dtype(&param.dtype);
                        self.params.push(Param { ast: param, dtype });
                    }
                }
                KernelItemKind::Equation(equation) => self.declare_tensor(&equation.name),
                KernelItemKind::Assume(_) => {}
            }
        }
        for part in implicit {
            if !self.names.contains_key(part.text.as_str()) {
                let id = self.ranks.add(&part.text, part.span, Def::Symbolic);
                self.declare(part, What::Rank(id));
            }
        }
        for (id, decl) in pending {
            let def = self.rank_def(decl, &Scope::Kernel);
            self.ranks.define(id, def);
        }
    }

    fn declare_rank(
        &mut self,
        decl: &'a RankDecl,
        pending: &mut Vec<(RankId, &'a RankDecl)>,
        implicit: &mut Vec<&'a Name>,
    ) {
        let id = self.ranks.add(&decl.name.text, decl.name.span, Def::Symbolic);
        if self.declare(&decl.name, What::Rank(id)) {
            pending.push((id, decl));
        }
        let RankDef::Composite(parts) = &decl.def else { return };
        for (part, extent) in fixed_parts(parts) {
            let id = self.ranks.add(&part.name.text, part.name.span, Def::Fixed(extent));
            self.declare(&part.name, What::Rank(id));
        }
        implicit.extend(parts.iter().filter(|it| it.extent.is_none()).map(|it| &it.name));
    }

    fn declare_tensor(&mut self, name: &'a Name) {
        let again = self.names.get(name.text.as_str()).is_some_and(|it| matches!(it.what, What::Defined(_)));
        let place = self.tensors.len();
        if !again && self.declare(name, What::Defined(place)) {
            self.tensors.push(super::Tensor::defined(name));
        }
    }

    fn declare(&mut self, name: &'a Name, what: What) -> bool {
        let Some(first) = self.names.get(name.text.as_str()) else {
            self.names.insert(&name.text, Decl { what, span: name.span });
            return true;
        };
        let text = &name.text;
        let (old, new) = (first.what.words(), what.words());
        if old != new {
            self.clashing.insert(&name.text);
        }
        let message = if old == new {
            format!("{} `{text}` is declared twice", old.trim_start_matches("an ").trim_start_matches("a "))
        } else {
            format!("`{text}` is both {old} and {new}")
        };
        let found = duplicate(name, message, first.span);
        let advice = "ranks, tensors and parameters of a kernel share one name space; rename one of them";
        self.report.push(found.help((old != new).then(|| advice.to_owned())));
        false
    }

    /// The dtype of that name; reports if there is none.
    pub(super) fn dtype(&mut self, name: &Name) -> Option<DType> {
        let found = DType::from_name(&name.text);
        if found.is_none() {
            let known = DType::ALL.map(DType::name).join(", ");
            self.report.push(
                Diagnostic::error(Code::UnknownDType, format!("`{}` is not a dtype", name.text))
                    .label(name.span, "used as a dtype here")
                    .help(format!("the dtypes are {known}")),
            );
        }
        found
    }

    /// Resolves what a rank declaration refers to.
    pub(super) fn rank_def(&mut self, decl: &'a RankDecl, scope: &Scope<'a>) -> Def<'a> {
        match &decl.def {
            RankDef::Symbolic => Def::Symbolic,
            RankDef::Fixed(extent) => Def::Fixed(extent),
            RankDef::Bounded(bound, span) => Def::Bounded(*bound, *span),
            RankDef::Alias(of) => self.one_rank(of, scope).map_or(Def::Symbolic, Def::Alias),
            RankDef::Composite(parts) => {
                let names: Vec<&Part> = parts.iter().collect();
                let found: Vec<_> = names.iter().map(|it| self.one_rank(&it.name, scope)).collect();
                found.into_iter().collect::<Option<_>>().map_or(Def::Symbolic, Def::Composite)
            }
        }
    }

    /// The ranks that a name stands for where a rank must stand; reports if it is none.
    pub(super) fn rank(&mut self, name: &Name, scope: &Scope<'a>) -> Option<Vec<RankId>> {
        let text = name.text.as_str();
        let (found, other) = match scope {
            Scope::Kernel => match self.names.get(text) {
                Some(Decl { what: What::Rank(id), .. }) => (Some(vec![*id]), None),
                other => (None, other.map(|it| (it.what.words(), Some(it.span)))),
            },
            Scope::Fn(f) => (f.ranks.get(text).cloned(), f.locals.get(text).map(|_| ("a value", None))),
        };
        if let Some(ranks) = &found {
            ranks.iter().for_each(|it| self.ranks.mark_used(*it));
        } else if let Some((words, place)) = other {
            let mut error = Diagnostic::error(Code::KindOfName, format!("`{text}` is {words}, not a rank"))
                .label(name.span, "a rank must stand here");
            if let Some(place) = place {
                error = error.label(place, "declared here");
            }
            self.report.push(error);
        } else {
            self.unknown_rank(name, scope);
        }
        found
    }

    /// As [`Cx::rank`], where a parameter that stands for several ranks will not do.
    pub(super) fn one_rank(&mut self, name: &Name, scope: &Scope<'a>) -> Option<RankId> {
        match self.rank(name, scope)?[..] {
            [one] => Some(one),
            _ => {
                self.report.push(several_ranks(&name.text, name.span));
                None
            }
        }
    }

    fn unknown_rank(&mut self, name: &Name, scope: &Scope<'a>) {
        let text = &name.text;
        let suggestion = match scope {
            Scope::Kernel => {
                let ranks = self.names.iter().filter(|(_, it)| matches!(it.what, What::Rank(_)));
                self.report.suggest(text, ranks.map(|(name, _)| *name))
            }
            Scope::Fn(f) => self.report.suggest(text, own_names(f).0.into_iter()),
        };
        let advice = match scope {
            Scope::Kernel => format!("declare it: `rank {text}`"),
            Scope::Fn(f) => {
                format!("a function sees only its own ranks: `fn {}[…, {text}](…)`", f.def.name.text)
            }
        };
        self.report.push(
            Diagnostic::error(Code::UnknownRank, format!("rank `{text}` is not declared"))
                .label(name.span, "used here")
                .help(suggestion.or(Some(advice))),
        );
    }

    /// What a name means where a value must stand; reports if it means nothing.
    pub(super) fn meaning(&mut self, text: &str, span: Span, scope: &Scope<'a>) -> Meaning {
        let meaning = match scope {
            Scope::Kernel if self.clashing.contains(text) => Some(Meaning::Unknown),
            Scope::Kernel => self.names.get(text).map(|it| match it.what {
                What::Rank(id) => Meaning::Ranks(vec![id]),
                What::Input(place) | What::Defined(place) => Meaning::Tensor(place),
                What::Param(place) => Meaning::Param(self.params[place].dtype.map(DType::kind)),
            }),
            Scope::Fn(f) => {
                let local = f.locals.get(text).cloned().map(Meaning::Local);
                local.or_else(|| f.ranks.get(text).cloned().map(Meaning::Ranks))
            }
        };
        if let Some(Meaning::Ranks(ranks)) = &meaning {
            ranks.iter().for_each(|it| self.ranks.mark_used(*it));
        }
        meaning.unwrap_or_else(|| {
            self.unknown_name(text, span, scope);
            Meaning::Unknown
        })
    }

    fn unknown_name(&mut self, text: &str, span: Span, scope: &Scope<'a>) {
        if let Some(form) = self.call_form(text, span.source) {
            self.report.push(
                Diagnostic::error(Code::KindOfName, format!("`{text}` is a function"))
                    .label(span, "a value must stand here")
                    .help(format!("call it: `{form}`")),
            );
            return;
        }
        let (suggestion, advice) = match scope {
            Scope::Kernel => (self.report.suggest(text, self.names.keys().copied()), None),
            Scope::Fn(f) => {
                let (ranks, locals) = own_names(f);
                let advice = format!(
                    "a function sees only its parameters and locals; pass it: `fn {}(…, {text})`",
                    f.def.name.text
                );
                (self.report.suggest(text, ranks.into_iter().chain(locals)), Some(advice))
            }
        };
        self.report.push(
            Diagnostic::error(Code::UnknownName, format!("`{text}` is not declared"))
                .label(span, "used here")
                .help(suggestion.or(advice)),
        );
    }
}

/// The error of a rank parameter that stands for several ranks where one is wanted.
pub(super) fn several_ranks(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(Code::OneRank, format!("`{name}` stands for several ranks here"))
        .label(span, "one rank must stand here")
        .help("give the function one rank, perhaps a composite of them".to_owned())
}

fn own_names<'f>(f: &'f FnScope<'_>) -> (Vec<&'f str>, Vec<&'f str>) {
    let mut ranks: Vec<&str> = f.def.ranks.iter().map(|it| it.text.as_str()).collect();
    let mut locals: Vec<&str> = f.def.values.iter().map(|it| it.text.as_str()).collect();
    for statement in &f.def.body {
        match statement {
            crate::ast::FnStmt::Rank(decl) => ranks.push(&decl.name.text),
            crate::ast::FnStmt::Let(name, _) => locals.push(&name.text),
        }
    }
    (ranks, locals)
}
