//! Calls: of built-in functions by their table, of other functions by inlining.
//!
//! What a call comes to depends on its ranks and on what its arguments are, not on their text; so each
//! function is looked into once for each such combination, and a call of it then costs a look-up.

use std::collections::HashMap;

use crate::ast::{Expr, FnDef, FnStmt, Kind, Name};
use crate::builtins::{Builtin, Family, Form, builtin, builtins};
use crate::check::Cx;
use crate::check::atoms::RankId;
use crate::check::infer::together;
use crate::check::kinds::Wanted;
use crate::check::names::{FnScope, Scope, Typed, What};
use crate::diag::{Code, Diagnostic, SourceId, Span};

/// A function with what it is applied to.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    /// Its place.
    function: usize,
    ranks: Vec<Vec<RankId>>,
    values: Vec<Typed>,
}

/// What a call comes to.
#[derive(Clone)]
pub(super) struct Inlined {
    result: Typed,
    n_calls: usize,
    height: usize,
}

impl<'a> Cx<'a, '_> {
    pub(super) fn infer_call(
        &mut self,
        call: &'a Expr,
        name: &'a Name,
        ranks: &'a [Name],
        args: &'a [Expr],
        scope: &Scope<'a>,
    ) -> Typed {
        let form = if ranks.is_empty() { Form::Values } else { Form::Ranks };
        if let Some(it) = builtin(&name.text, form) {
            return self.infer_builtin(it, call.span, ranks, args, scope);
        }
        let values: Vec<Typed> = args.iter().map(|it| self.infer(it, scope)).collect();
        let resolved: Option<Vec<_>> = ranks.iter().map(|it| self.rank(it, scope)).collect();
        let program = self.program;
        let Some(place) = program.functions.place(name) else {
            self.unknown_function(name, form, scope);
            return Typed::unknown();
        };
        let Some(resolved) = resolved else { return Typed::unknown() };
        self.listed_atoms(
            ranks.iter().zip(&resolved).flat_map(|(name, ids)| ids.iter().map(move |id| (name, *id))),
        );
        if self.check_counts(&program.functions[place], call, name, ranks.len(), args.len()) {
            self.inline(place, call.span, resolved, values)
        } else {
            Typed::unknown()
        }
    }

    fn unknown_function(&mut self, name: &Name, form: Form, scope: &Scope<'a>) {
        let text = name.text.as_str();
        if let Some(other) = builtins(text).next() {
            let (message, found) = match (other.form, form) {
                (Form::Values, _) => (format!("`{text}` takes no ranks"), "called with ranks here"),
                (_, Form::Values) => (format!("`{text}` needs ranks"), "called without ranks here"),
                (_, _) => (format!("`{text}` takes other ranks"), "called with these ranks here"),
            };
            let error = Diagnostic::error(Code::RankCount, message).label(name.span, found);
            self.report.push(error.help(format!("write `{}`", written(other))));
            return;
        }
        let declared = match scope {
            Scope::Kernel => self.names.get(text).map(|it| (it.what.words(), Some(it.what))),
            Scope::Fn(f) => f.locals.get(text).map(|_| ("a value", None)),
        };
        if let Some((words, what)) = declared {
            let advice = match what {
                Some(What::Input(_) | What::Defined(_)) => {
                    Some(format!("a tensor takes coordinates in brackets: `{text}[…]`"))
                }
                Some(What::Rank(_) | What::Param(_)) | None => None,
            };
            let error = Diagnostic::error(Code::KindOfName, format!("`{text}` is {words}, not a function"));
            self.report.push(error.label(name.span, "called here").help(advice));
            return;
        }
        let program = self.program;
        if program.incomplete {
            return;
        }
        let functions = program.functions.iter().map(|it| it.name.text.as_str());
        let known = functions.chain(crate::builtins::all().map(|it| it.name));
        let suggestion = self.report.suggest(text, known);
        self.report.push(
            Diagnostic::error(Code::UnknownFunction, format!("function `{text}` is not declared"))
                .label(name.span, "called here")
                .help(suggestion),
        );
    }

    fn check_counts(&mut self, f: &FnDef, call: &Expr, name: &Name, n_ranks: usize, n_values: usize) -> bool {
        let text = &f.name.text;
        let many = f.ranks.len() == 1 && n_ranks > 0;
        let mut fits = true;
        let mut wrong = |code, wanted: usize, found: usize, what: &str| {
            let plural = if wanted == 1 { "" } else { "s" };
            fits = false;
            Diagnostic::error(code, format!("`{text}` takes {wanted} {what}{plural}, found {found}"))
                .label(if code == Code::RankCount { name.span } else { call.span }, format!("{found} found"))
                .label(f.name.span, format!("{wanted} wanted"))
        };
        if !many && f.ranks.len() != n_ranks {
            let error = wrong(Code::RankCount, f.ranks.len(), n_ranks, "rank");
            self.report.push(error);
        }
        if f.values.len() != n_values {
            let error = wrong(Code::ValueCount, f.values.len(), n_values, "value");
            self.report.push(error);
        }
        fits
    }

    /// Inlines a function. One rank parameter may be given several ranks and stands for all of them.
    fn inline(&mut self, place: usize, call: Span, ranks: Vec<Vec<RankId>>, values: Vec<Typed>) -> Typed {
        let f = &self.program.functions[place];
        if self.recursive.contains(&place) {
            return Typed::unknown();
        }
        let ranks = if f.ranks.len() == 1 { vec![ranks.concat()] } else { ranks };
        let key = CallKey { function: place, ranks, values };
        let known = self.inlined.get(&key).cloned();
        let found = known.unwrap_or_else(|| self.look_into(f, call, key));
        self.n_calls = self.n_calls.saturating_add(found.n_calls);
        self.highest = self.highest.max(self.height + found.height);
        found.result
    }

    fn look_into(&mut self, f: &'a FnDef, call: Span, key: CallKey) -> Inlined {
        let outer = (self.n_calls, self.highest);
        (self.n_calls, self.highest) = (1, self.height);
        let names = f.ranks.iter().map(|it| it.text.as_str());
        let values = f.values.iter().map(|it| it.text.as_str());
        let ranks: HashMap<_, _> = names.zip(key.ranks.iter().cloned()).collect();
        let locals = values.zip(key.values.iter().cloned()).collect();
        self.report.enter(call);
        let result = self.infer_body(f, FnScope { def: f, ranks, locals });
        self.report.leave();
        let found = Inlined { result, n_calls: self.n_calls, height: self.highest - self.height };
        (self.n_calls, self.highest) = outer;
        self.inlined.insert(key, found.clone());
        found
    }

    /// The value of a function body; its own ranks must not escape.
    pub(super) fn infer_body(&mut self, f: &'a FnDef, scope: FnScope<'a>) -> Typed {
        let mut scope = Scope::Fn(scope);
        let mut own = Vec::new();
        for statement in &f.body {
            match statement {
                FnStmt::Rank(decl) => {
                    own.extend(self.body_rank(decl, &mut scope));
                }
                FnStmt::Let(name, value) => {
                    let value = self.infer(value, &scope);
                    let Scope::Fn(f) = &mut scope else { continue };
                    f.locals.insert(&name.text, value);
                }
            }
        }
        let result = self.infer(&f.result, &scope);
        if let Some(rank) = result.free.iter().find(|it| own.contains(it)) {
            let name = self.ranks.name(rank);
            self.report.push(
                Diagnostic::error(
                    Code::FreeRank,
                    format!("rank `{name}` is not reduced in `{}`", f.name.text),
                )
                .label(f.result.span, format!("depends on `{name}`"))
                .label(self.ranks.get(rank).span, "declared in the function")
                .help(format!("reduce it, or make it a parameter: `fn {}[…, {name}](…)`", f.name.text)),
            );
        }
        let own = self.ranks.atoms(&own);
        Typed { free: result.free.minus(&own), ..result }
    }

    fn infer_builtin(
        &mut self,
        it: Builtin,
        call: Span,
        ranks: &'a [Name],
        args: &'a [Expr],
        scope: &Scope<'a>,
    ) -> Typed {
        let values: Vec<Typed> = args.iter().map(|it| self.infer(it, scope)).collect();
        let listed: Vec<_> = ranks.iter().map(|name| (name, self.rank(name, scope))).collect();
        let ids = listed.iter().flat_map(|(name, ids)| ids.iter().flatten().map(move |id| (*name, *id)));
        let ids: Vec<(&Name, RankId)> = ids.collect();
        let (least, most) = it.arity;
        if args.len() < least || args.len() > most {
            let more = if most == usize::MAX { " or more" } else { "" };
            let plural = if least == 1 && more.is_empty() { "" } else { "s" };
            let message = format!("`{}` takes {least}{more} value{plural}, found {}", it.name, args.len());
            self.report.push(
                Diagnostic::error(Code::ValueCount, message)
                    .label(call, format!("{} found", args.len()))
                    .help(format!("write `{}`", written(it))),
            );
            return Typed::unknown();
        }
        let bound = self.listed_atoms(ids.iter().copied());
        if it.form == Form::OneRank && ids.len() > 1 {
            let error = Diagnostic::error(Code::OneRank, format!("`{}` runs along one rank", it.name));
            let error = error.label(ids[1].0.span, format!("{} ranks found", ids.len()));
            self.report.push(error.help("a composite of them is one: `rank mn = (m, n)`".to_owned()));
        }
        let kind = self.builtin_kind(it, &values, args);
        let all = together(kind, &values);
        match it.family {
            Family::Reduce | Family::Mean | Family::Quantify | Family::Count | Family::Arg => {
                Typed { free: all.free.minus(&bound), constant: false, ..all }
            }
            Family::Prefix | Family::Place => Typed { free: all.free.or(&bound), constant: false, ..all },
            Family::Select => Typed { constant: false, ..all },
            Family::ToReal
            | Family::Same
            | Family::Int
            | Family::Test
            | Family::Present
            | Family::Pick
            | Family::Cast(_) => all,
        }
    }

    fn builtin_kind(&mut self, it: Builtin, values: &[Typed], args: &[Expr]) -> Option<Kind> {
        let wanted = match it.family {
            Family::Quantify | Family::Count => Wanted::Bool,
            Family::Int => Wanted::Int,
            Family::Present | Family::Pick | Family::Cast(_) => Wanted::Any,
            Family::Reduce
            | Family::Mean
            | Family::Arg
            | Family::Prefix
            | Family::Place
            | Family::Select
            | Family::ToReal
            | Family::Same
            | Family::Test => Wanted::Number,
        };
        for (x, e) in values.iter().zip(args) {
            self.want(wanted, x, e.span, &format!("a value of `{}`", it.name));
        }
        match it.family {
            Family::Quantify | Family::Test | Family::Present => Some(Kind::Bool),
            Family::Count | Family::Arg | Family::Place | Family::Select | Family::Int => Some(Kind::Int),
            Family::Mean | Family::ToReal => Some(Kind::Real),
            Family::Cast(dtype) => Some(dtype.kind()),
            Family::Reduce | Family::Prefix | Family::Same => {
                let number =
                    |it: &Typed| Typed { kind: it.kind.filter(|it| *it != Kind::Bool), ..it.clone() };
                self.common_kind(&values.iter().map(number).collect::<Vec<_>>(), args)
            }
            Family::Pick => {
                self.want(Wanted::Int, &values[0], args[0].span, "the first value of `pick`");
                self.common_kind(&values[1..], &args[1..])
            }
        }
    }

    fn common_kind(&mut self, values: &[Typed], args: &[Expr]) -> Option<Kind> {
        let mut common = (values[0].kind, args[0].span);
        for (x, e) in values.iter().zip(args).skip(1) {
            common = (self.join(common, (x.kind, e.span), e.span), common.1);
        }
        common.0
    }

    pub(super) fn infer_select(
        &mut self,
        name: &'a Name,
        (from, to): (&'a Name, &'a Name),
        arg: &'a Expr,
        scope: &Scope<'a>,
    ) -> Typed {
        let x = self.infer(arg, scope);
        let (source, result) = (self.one_rank(from, scope), self.one_rank(to, scope));
        let Some(it) = builtin(&name.text, Form::Select) else {
            self.unknown_function(name, Form::Select, scope);
            return Typed::unknown();
        };
        self.builtin_kind(it, std::slice::from_ref(&x), std::slice::from_ref(arg));
        let (Some(source), Some(result)) = (source, result) else { return Typed::unknown() };
        let (gone, new) = (self.ranks.get(source).atoms.clone(), self.ranks.get(result).atoms.clone());
        let rest = x.free.minus(&gone);
        let place = if gone.common(&new).is_some() { Some(from.span) } else { None };
        if let Some(place) = place.or(rest.common(&new).map(|_| arg.span)) {
            let (text, to_name) = (&name.text, &to.text);
            let message = format!("rank `{to_name}` of the result occurs in what `{text}` selects from");
            self.report.push(
                Diagnostic::error(Code::SelectedRank, message)
                    .label(to.span, "the rank of the result")
                    .label(place, format!("depends on `{to_name}`"))
                    .help(format!("take another rank of that extent: `rank {to_name}2: {to_name}`")),
            );
        }
        Typed { kind: Some(Kind::Int), free: rest.or(&new), constant: false }
    }

    /// How a function is called, if a file sees one of that name.
    pub(super) fn call_form(&self, name: &str, from: SourceId) -> Option<String> {
        if let Some(it) = builtins(name).next() {
            return Some(written(it));
        }
        let f = &self.program.functions[self.program.functions.seen(name, from)?];
        let list = |names: &[Name]| names.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(", ");
        let ranks = if f.ranks.is_empty() { String::new() } else { format!("[{}]", list(&f.ranks)) };
        Some(format!("{name}{ranks}({})", list(&f.values)))
    }
}

/// How a built-in function is called.
fn written(it: Builtin) -> String {
    let name = it.name;
    let values = match it.arity {
        (1, _) => "x",
        (_, usize::MAX) if it.family == Family::Pick => "i, a, b, …",
        (_, usize::MAX) => "a, b, …",
        (3, _) => "x, low, high",
        (_, _) => "a, b",
    };
    match it.form {
        Form::Values => format!("{name}({values})"),
        Form::Ranks | Form::OneRank => format!("{name}[n]({values})"),
        Form::Select => format!("{name}[n -> j]({values})"),
    }
}
