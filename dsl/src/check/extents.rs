//! Declarations and settings to the extents that are known before a call, and to what cannot be known.
//!
//! Each declaration ties some ranks and parameters together. It is looked at when all it ties together
//! is known, or all but one that then follows; so every declaration is looked at twice at most.

use crate::ast::{Expr, Kernel, Kind};
use crate::check::atoms::RankId;
use crate::check::constant::{Env, Failing, Value, cast, evaluate, product, whole};
use crate::check::graph::components;
use crate::check::names::{Typed, What};
use crate::check::ranks::Def;
use crate::check::settings::read_value;
use crate::check::walk::{bound_ranks, read_name, walk};
use crate::check::{Cx, Fixed, Param};
use crate::diag::{Code, Diagnostic, Span};

/// What ties ranks and parameters together.
#[derive(Clone)]
enum Tie<'a> {
    /// A rank has the extent that an expression gives.
    Extent(RankId, &'a Expr),
    /// A parameter has a default.
    Default(usize, &'a Expr),
    /// Two ranks have one extent.
    Alias(RankId, RankId),
    /// A rank is composed of others.
    Composite(RankId, Vec<RankId>),
}

/// How much is known of a rank or a parameter.
#[derive(Clone, PartialEq)]
pub(super) enum Known {
    /// Nothing so far.
    No,
    /// It is bound when the kernel is called.
    AtCall,
    /// Its value, and what says so.
    Value(Value, Why),
}

/// What says so.
#[derive(Clone, PartialEq)]
pub(super) struct Why {
    pub(super) words: String,
    pub(super) span: Option<Span>,
}

/// Ranks, then parameters, in one numbering.
pub(super) struct Extents<'a> {
    pub(super) known: Vec<Known>,
    ties: Vec<Tie<'a>>,
    /// How many of a tie's ranks and parameters are not known.
    missing: Vec<usize>,
    /// Which ties a rank or parameter is part of.
    ties_of: Vec<Vec<usize>>,
    ready: Vec<usize>,
    pub(super) n_ranks: usize,
}

impl<'a> Extents<'a> {
    /// The extent of a rank, where it is known.
    pub(super) fn get(&self, rank: RankId) -> Option<i64> {
        if let Known::Value(value, _) = &self.known[rank.idx()] { whole(*value) } else { None }
    }

    fn add(&mut self, tie: Tie<'a>, mut of: Vec<usize>) {
        of.sort_unstable();
        of.dedup();
        let at = self.ties.len();
        of.iter().for_each(|it| self.ties_of[*it].push(at));
        self.missing.push(of.len());
        self.ties.push(tie);
        self.check_ready(at);
    }

    fn check_ready(&mut self, tie: usize) {
        if self.missing[tie] <= 1 {
            self.ready.push(tie);
        }
    }

    fn learn(&mut self, at: usize, known: Known) {
        let new = self.known[at] == Known::No;
        self.known[at] = known;
        if new {
            for tie in self.ties_of[at].clone() {
                self.missing[tie] -= 1;
                self.check_ready(tie);
            }
        }
    }
}

impl<'a> Cx<'a, '_> {
    /// Checks that extents and defaults are constants of the right kind; gives those that are.
    pub(super) fn check_constants(&mut self) -> Vec<&'a Expr> {
        let mut good = Vec::new();
        let extents: Vec<_> = self.ranks.of_kernel().map(|(_, it)| (it.name, it.def.clone())).collect();
        for (name, def) in extents {
            if let Def::Fixed(e) = def {
                let found = self.infer_root(e);
                let what = format!("the extent of `{name}`");
                good.extend(self.is_constant(&found, e, Kind::Int, &what).then_some(e));
            }
        }
        for param in self.params.clone() {
            if let Some(e) = &param.ast.default {
                let found = self.infer_root(e);
                let what = format!("the default of `{}`", param.ast.name.text);
                let fits = param.dtype.is_some_and(|it| self.is_constant(&found, e, it.kind(), &what));
                good.extend(fits.then_some(e));
            }
        }
        good
    }

    /// Reports parameters whose defaults need each other.
    fn check_defaults(&mut self, n_ranks: usize) {
        let param = |at: usize| at.checked_sub(n_ranks);
        let needs = |it: &Param<'a>| {
            it.ast.default.iter().flat_map(|e| self.needed(e, n_ranks)).filter_map(param).collect()
        };
        let needs: Vec<Vec<usize>> = self.params.iter().map(needs).collect();
        for circle in components(&needs) {
            if circle.len() > 1 || needs[circle[0]].contains(&circle[0]) {
                let name = &self.params[circle[0]].ast.name;
                let message = format!("the default of parameter `{}` depends on itself", name.text);
                self.report.push(Diagnostic::error(Code::Cycle, message).label(name.span, "declared here"));
            }
        }
    }

    fn is_constant(&mut self, found: &Typed, e: &Expr, kind: Kind, what: &str) -> bool {
        self.check_constant(found, e.span, what)
            && self.check_holds(found, e.span, kind, what)
            && found.kind.is_some()
    }

    /// Finds the extents known before a call; reports what contradicts itself.
    pub(super) fn check_extents(&mut self, kernel: &Kernel, fixed: &Fixed, good: &[&'a Expr]) -> Extents<'a> {
        let mut all = self.ties(good);
        self.check_defaults(all.n_ranks);
        self.apply_settings(kernel, fixed, &mut all);
        while let Some(tie) = all.ready.pop() {
            self.follow(tie, &mut all);
        }
        self.check_sizes(&all);
        self.bind_at_call(&mut all);
        all
    }

    fn ties(&self, good: &[&'a Expr]) -> Extents<'a> {
        let n_ranks = self.ranks.of_kernel().count();
        let n = n_ranks + self.params.len();
        let (known, ties_of) = (vec![Known::No; n], vec![Vec::new(); n]);
        let mut all = Extents { known, ties: vec![], missing: vec![], ties_of, ready: vec![], n_ranks };
        let is_good = |e: &Expr| good.iter().any(|it| std::ptr::eq(*it, e));
        for (id, rank) in self.ranks.of_kernel() {
            match &rank.def {
                Def::Symbolic | Def::Bounded(..) => {}
                Def::Fixed(e) if is_good(e) => {
                    let mut of = self.needed(e, n_ranks);
                    of.push(id.idx());
                    all.add(Tie::Extent(id, e), of);
                }
                Def::Fixed(_) => all.learn(id.idx(), Known::AtCall),
                Def::Alias(of) => all.add(Tie::Alias(id, *of), vec![id.idx(), of.idx()]),
                Def::Composite(parts) => {
                    let of = parts.iter().chain([&id]).map(|it| it.idx()).collect();
                    all.add(Tie::Composite(id, parts.clone()), of);
                }
            }
        }
        for (at, param) in self.params.iter().enumerate() {
            if let Some(e) = param.ast.default.as_ref().filter(|it| is_good(it)) {
                let mut of = self.needed(e, n_ranks);
                of.push(n_ranks + at);
                all.add(Tie::Default(at, e), of);
            }
        }
        all
    }

    /// The ranks and parameters that a constant depends on.
    pub(super) fn needed(&self, e: &Expr, n_ranks: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut note = |name: &str| match self.names.get(name).map(|it| it.what) {
            Some(What::Rank(id)) => found.push(id.idx()),
            Some(What::Param(at)) => found.push(n_ranks + at),
            Some(What::Input(_) | What::Defined(_)) | None => {}
        };
        walk(e, &mut |it| {
            read_name(it).into_iter().for_each(&mut note);
            bound_ranks(it).iter().for_each(|it| note(&it.text));
        });
        found
    }

    fn apply_settings(&mut self, kernel: &Kernel, fixed: &Fixed, all: &mut Extents<'a>) {
        for (name, value) in &fixed.sets {
            if let Some(What::Rank(id)) = self.names.get(name.as_str()).map(|it| it.what) {
                self.put(id, *value, Why { words: "`--set`".to_owned(), span: None }, all);
            }
        }
        for (name, text) in &fixed.params {
            let Some(What::Param(at)) = self.names.get(name.as_str()).map(|it| it.what) else { continue };
            let param = self.params[at];
            let Some(dtype) = param.dtype else { continue };
            let known = match read_value(text, dtype) {
                Some(value) => Known::Value(value, Why { words: "`--param`".to_owned(), span: None }),
                None => {
                    let message = format!("`--param {name}={text}` is no {}", dtype.name());
                    let error = Diagnostic::error(Code::BadSetting, message)
                        .label(param.ast.name.span, "declared here");
                    self.report.push(error.label(kernel.name.span, "in this kernel"));
                    Known::AtCall
                }
            };
            all.learn(all.n_ranks + at, known);
        }
    }

    /// Looks at a tie of which at most one rank or parameter is not known.
    fn follow(&mut self, tie: usize, all: &mut Extents<'a>) {
        match all.ties[tie].clone() {
            Tie::Extent(rank, e) => {
                let why = Why { words: "its declaration".to_owned(), span: Some(self.ranks.get(rank).span) };
                match self.value(e, all) {
                    Some(Ok(value)) => {
                        whole(value).into_iter().for_each(|it| self.put(rank, it, why.clone(), all))
                    }
                    Some(Err(failing)) => {
                        self.report.push(no_value(
                            failing,
                            e,
                            &format!("the extent of `{}`", self.ranks.name(rank)),
                        ));
                        all.learn(rank.idx(), Known::AtCall);
                    }
                    None => {}
                }
            }
            Tie::Default(at, e) => {
                let open = all.known[all.n_ranks + at] == Known::No;
                let Some(value) = self.value(e, all).filter(|_| open) else { return };
                let Some(dtype) = self.params[at].dtype else { return };
                let why = Why { words: "its default".to_owned(), span: Some(e.span) };
                let value = value.and_then(|it| cast(it, dtype));
                all.learn(all.n_ranks + at, value.map_or(Known::AtCall, |it| Known::Value(it, why)));
            }
            Tie::Alias(a, b) => match (all.get(a), all.get(b)) {
                (Some(extent), _) => self.put(b, extent, self.why(a, "its alias", a), all),
                (None, Some(extent)) => {
                    self.put(a, extent, self.why(b, "the rank it is an alias of,", a), all)
                }
                (None, None) => {}
            },
            Tie::Composite(rank, parts) => self.follow_composite(rank, &parts, all),
        }
    }

    fn why(&self, of: RankId, role: &str, at: RankId) -> Why {
        Why { words: format!("{role} `{}`", self.ranks.name(of)), span: Some(self.ranks.get(at).span) }
    }

    /// The value of a constant, if all it depends on is known.
    fn value(&self, e: &Expr, all: &Extents<'a>) -> Option<Result<Value, Failing>> {
        let place = |name: &str| match self.names.get(name)?.what {
            What::Rank(id) => Some((true, id.idx())),
            What::Param(at) => Some((false, all.n_ranks + at)),
            What::Input(_) | What::Defined(_) => None,
        };
        let value = |at: usize| if let Known::Value(value, _) = &all.known[at] { Some(*value) } else { None };
        if self.needed(e, all.n_ranks).iter().any(|it| value(*it).is_none()) {
            return None;
        }
        let extent = |name: &str| place(name).filter(|it| it.0).and_then(|it| whole(value(it.1)?));
        let param = |name: &str| place(name).filter(|it| !it.0).and_then(|it| value(it.1)).map(Ok);
        Some(evaluate(self.program, e, &Env { extent: &extent, value: &param }))
    }

    fn follow_composite(&mut self, rank: RankId, parts: &[RankId], all: &mut Extents<'a>) {
        let span = self.ranks.get(rank).span;
        let known: Vec<i64> = parts.iter().filter_map(|it| all.get(*it)).collect();
        let name = self.ranks.name(rank);
        let Ok(of_known) = product(&known) else {
            let message = format!("the parts of `{name}` have more than 2^63 - 1 points");
            self.report.push(Diagnostic::error(Code::ExtentTooLarge, message).label(span, "declared here"));
            return;
        };
        let unknown = parts.iter().find(|it| all.get(**it).is_none()).copied();
        match (all.get(rank), unknown) {
            (None, None) => {
                let why = Why { words: "its parts".to_owned(), span: Some(span) };
                self.put(rank, of_known, why, all);
            }
            (Some(extent), Some(part)) if known.len() + 1 == parts.len() && of_known > 0 => {
                if part == parts[0] || extent % of_known == 0 {
                    let follows = extent / of_known + i64::from(extent % of_known > 0);
                    self.put(part, follows, Why { words: format!("`{name}`"), span: Some(span) }, all);
                } else {
                    let message =
                        format!("the extent of `{}` does not follow from `{name}`", self.ranks.name(part));
                    self.report.push(
                        Diagnostic::error(Code::ExtentConflict, message)
                            .label(span, format!("|{name}| = {extent} is no multiple of {of_known}"))
                            .help("only the major part, the first, may be partial".to_owned()),
                    );
                    all.learn(part.idx(), Known::AtCall);
                }
            }
            (Some(extent), None) => {
                let rest = product(&known[1..]).unwrap_or(i64::MAX);
                let fits = if rest == 0 {
                    extent == 0
                } else {
                    known[0] == extent / rest + i64::from(extent % rest > 0)
                };
                if !fits {
                    let message = format!("rank `{name}` is {extent}, which its parts do not cover exactly");
                    let listed: Vec<String> = known.iter().map(ToString::to_string).collect();
                    let mut error = Diagnostic::error(Code::ExtentConflict, message)
                        .label(span, format!("its parts are {}", listed.join(" × ")));
                    if let Known::Value(_, why) = &all.known[rank.idx()] {
                        let text = format!("{extent} by {}", why.words);
                        error = match why.span {
                            Some(span) => error.label(span, text),
                            None => error.help(text),
                        };
                    }
                    self.report.push(error);
                }
            }
            (Some(_) | None, Some(_)) => {}
        }
    }

    fn put(&mut self, rank: RankId, extent: i64, why: Why, all: &mut Extents<'a>) {
        let (name, span) = (self.ranks.name(rank), self.ranks.get(rank).span);
        let place = why.span.unwrap_or(span);
        if extent < 0 {
            let message = format!("rank `{name}` has the negative extent {extent}");
            self.report.push(
                Diagnostic::error(Code::NegativeExtent, message)
                    .label(place, format!("{extent} by {}", why.words)),
            );
            all.learn(rank.idx(), Known::AtCall);
            return;
        }
        if let Known::Value(old, first) = &all.known[rank.idx()] {
            let old = whole(*old).unwrap_or(0);
            if old != extent {
                let message =
                    format!("rank `{name}` is {old} by {} but {extent} by {}", first.words, why.words);
                let mut error = Diagnostic::error(Code::ExtentConflict, message)
                    .label(place, format!("{extent} by {}", why.words));
                if let Some(span) = first.span {
                    error = error.label(span, format!("{old} by {}", first.words));
                }
                self.report.push(error);
            }
            return;
        }
        if let Def::Bounded(bound, at) = self.ranks.get(rank).def
            && extent > bound
        {
            let message = format!("rank `{name}` is {extent}, over its bound {bound}");
            self.report.push(
                Diagnostic::error(Code::OverBound, message).label(at, format!("{extent} by {}", why.words)),
            );
        }
        all.learn(rank.idx(), Known::Value(Value::Int(extent), why));
    }

    /// Reports tensors with more points than 64 bits can count.
    fn check_sizes(&mut self, all: &Extents<'a>) {
        for tensor in &self.tensors {
            let extents = tensor
                .dims
                .iter()
                .flatten()
                .map(|it| Some(i128::from(all.get(it.rank)?) + i128::from(it.lag)));
            let Some(extents) = extents.collect::<Option<Vec<i128>>>() else { continue };
            let extents: Option<Vec<i64>> = extents.into_iter().map(|it| i64::try_from(it).ok()).collect();
            let bytes = extents.and_then(|it| product(&it).ok()).and_then(|it| it.checked_mul(8));
            if bytes.is_none() {
                let message = format!("`{}` is larger than 2^63 - 1 bytes", tensor.name);
                self.report.push(
                    Diagnostic::error(Code::ExtentTooLarge, message).label(tensor.span, "too many points"),
                );
            }
        }
    }

    /// What inputs bind, parameters give, and what follows from these.
    fn bind_at_call(&mut self, all: &mut Extents<'a>) {
        let inputs = self.tensors.iter().filter(|it| it.input);
        let bound: Vec<usize> =
            inputs.flat_map(|it| it.dims.iter().flatten().map(|it| it.rank.idx())).collect();
        let given = self.params.iter().enumerate().filter(|(_, it)| it.ast.default.is_none());
        let given: Vec<usize> = given.map(|(at, _)| all.n_ranks + at).collect();
        all.ready = (0..all.ties.len()).filter(|it| all.missing[*it] == 1).collect();
        for at in bound.into_iter().chain(given) {
            if all.known[at] == Known::No {
                all.learn(at, Known::AtCall);
            }
        }
        while let Some(tie) = all.ready.pop() {
            let (follows, of) = match &all.ties[tie] {
                Tie::Extent(rank, _) => (vec![rank.idx()], None),
                Tie::Default(at, _) => (vec![all.n_ranks + at], None),
                Tie::Alias(a, b) => (vec![a.idx(), b.idx()], None),
                Tie::Composite(rank, parts) => (parts.iter().map(|it| it.idx()).collect(), Some(rank.idx())),
            };
            let open = follows.into_iter().chain(of).find(|it| all.known[*it] == Known::No);
            if let Some(open) = open.filter(|_| all.missing[tie] == 1) {
                all.learn(open, Known::AtCall);
            }
        }
    }
}

fn no_value(failing: Failing, e: &Expr, what: &str) -> Diagnostic {
    match failing {
        Failing::Absent => Diagnostic::error(Code::NoValue, format!("{what} is absent"))
            .label(e.span, "divides by zero, or is excluded by `where`"),
        Failing::Overflow => Diagnostic::error(Code::ExtentTooLarge, format!("{what} exceeds 2^63 - 1"))
            .label(e.span, "too large on the way or in the end"),
        Failing::Beyond => Diagnostic::error(Code::NoValue, format!("{what} cannot be computed"))
            .label(e.span, "takes too long, or uses a function that constants do not offer"),
    }
}
