//! An expression to its kind and its free atoms, with all that is wrong inside of it.
//!
//! `S[b, h, m, n]` is a real that is a function of b, h, m and n; `max[n](S)` one of b, h and m.

use crate::ast::{BinaryOp, CompareOp, Expr, ExprKind, Kind, Name, UnaryOp};
use crate::check::atoms::{Atoms, RankId};
use crate::check::kinds::Wanted;
use crate::check::names::{Meaning, Scope, Typed, several_ranks};
use crate::check::{Cx, Dim};
use crate::diag::{Code, Diagnostic, Span};

/// How high an expression may be with all calls inlined.
pub(super) const MAX_HEIGHT: usize = 1000;

/// How many calls may be inlined in one equation.
const MAX_CALLS: usize = 20_000;

/// How many ranks of a tensor an error lists.
const MAX_LISTED: usize = 16;

impl<'a> Cx<'a, '_> {
    /// What an expression of the kernel is, with the limits of one equation.
    pub(super) fn infer_root(&mut self, e: &'a Expr) -> Typed {
        (self.height, self.highest, self.n_calls) = (0, 0, 0);
        let found = self.infer(e, &Scope::Kernel);
        let advice = "give a part of it an equation of its own";
        if self.n_calls > MAX_CALLS {
            let message = format!("more than {MAX_CALLS} calls are inlined in one equation");
            let error = Diagnostic::error(Code::TooManyCalls, message).label(e.span, "inlined here");
            self.report.push(error.help(advice.to_owned()));
        }
        if self.highest > MAX_HEIGHT {
            let message =
                format!("the expression is more than {MAX_HEIGHT} levels high with its calls inlined");
            let error = Diagnostic::error(Code::TooDeep, message).label(e.span, "beyond the limit");
            self.report.push(error.help(advice.to_owned()));
        }
        found
    }

    /// What an expression is.
    pub(super) fn infer(&mut self, e: &'a Expr, scope: &Scope<'a>) -> Typed {
        self.height += 1;
        self.highest = self.highest.max(self.height);
        let found = if self.height > MAX_HEIGHT { Typed::unknown() } else { self.infer_kind(e, scope) };
        self.height -= 1;
        found
    }

    fn infer_kind(&mut self, e: &'a Expr, scope: &Scope<'a>) -> Typed {
        match &e.kind {
            ExprKind::Int(_) => Typed::constant(Kind::Int),
            ExprKind::Real(_) | ExprKind::Inf | ExprKind::Pi => Typed::constant(Kind::Real),
            ExprKind::Bool(_) => Typed::constant(Kind::Bool),
            ExprKind::Refused => Typed::unknown(),
            ExprKind::Name(name) => self.infer_name(name, e.span, scope),
            ExprKind::Bars(name) => self.infer_bars(name, scope),
            ExprKind::Read { name, coords } => self.infer_read(name, coords, scope),
            ExprKind::Reindex { name, coords } => self.infer_reindex(name, coords, scope),
            ExprKind::Call { name, ranks, args } => self.infer_call(e, name, ranks, args, scope),
            ExprKind::Select { name, from, to, arg } => self.infer_select(name, (from, to), arg, scope),
            ExprKind::Unary(op, a) => self.infer_unary(*op, a, scope),
            ExprKind::Binary(op, a, b) => self.infer_binary(e.span, *op, (a, b), scope),
            ExprKind::Compare(first, rest) => self.infer_compare(first, rest, scope),
            ExprKind::If(c, a, b) => {
                let condition = self.infer(c, scope);
                self.want(Wanted::Bool, &condition, c.span, "the condition of `if`");
                let (x, y) = (self.infer(a, scope), self.infer(b, scope));
                let kind = self.join((x.kind, a.span), (y.kind, b.span), e.span);
                together(kind, &[condition, x, y])
            }
            ExprKind::Where(a, c) => {
                let (x, condition) = (self.infer(a, scope), self.infer(c, scope));
                self.want(Wanted::Bool, &condition, c.span, "the predicate of `where`");
                together(x.kind, &[x, condition])
            }
            ExprKind::Else(a, b) => {
                let (x, y) = (self.infer(a, scope), self.infer(b, scope));
                let kind = self.join((x.kind, a.span), (y.kind, b.span), e.span);
                together(kind, &[x, y])
            }
        }
    }

    fn infer_unary(&mut self, op: UnaryOp, a: &'a Expr, scope: &Scope<'a>) -> Typed {
        let x = self.infer(a, scope);
        let (wanted, what) = match op {
            UnaryOp::Neg => (Wanted::Number, "the operand of `-`"),
            UnaryOp::Not => (Wanted::Bool, "the operand of `not`"),
        };
        self.want(wanted, &x, a.span, what);
        match op {
            UnaryOp::Neg => Typed { kind: x.kind.filter(|it| *it != Kind::Bool), ..x },
            UnaryOp::Not => Typed { kind: Some(Kind::Bool), ..x },
        }
    }

    fn infer_binary(
        &mut self,
        at: Span,
        op: BinaryOp,
        (a, b): (&'a Expr, &'a Expr),
        scope: &Scope<'a>,
    ) -> Typed {
        let (x, y) = (self.infer(a, scope), self.infer(b, scope));
        let (wanted, what) = match op {
            BinaryOp::Or => (Wanted::Bool, "an operand of `or`"),
            BinaryOp::And => (Wanted::Bool, "an operand of `and`"),
            BinaryOp::FloorDiv => (Wanted::Int, "an operand of `//`"),
            BinaryOp::Mod => (Wanted::Int, "an operand of `%`"),
            BinaryOp::Add => (Wanted::Number, "an operand of `+`"),
            BinaryOp::Sub => (Wanted::Number, "an operand of `-`"),
            BinaryOp::Mul => (Wanted::Number, "an operand of `*`"),
            BinaryOp::Div => (Wanted::Number, "an operand of `/`"),
            BinaryOp::Pow => (Wanted::Number, "an operand of `^`"),
        };
        self.want(wanted, &x, a.span, what);
        self.want(wanted, &y, b.span, what);
        let number = |it: &Typed| it.kind.filter(|it| *it != Kind::Bool);
        let kind = match op {
            BinaryOp::Or | BinaryOp::And => Some(Kind::Bool),
            BinaryOp::FloorDiv | BinaryOp::Mod => Some(Kind::Int),
            BinaryOp::Div | BinaryOp::Pow => Some(Kind::Real),
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul => {
                self.join((number(&x), a.span), (number(&y), b.span), at)
            }
        };
        together(kind, &[x, y])
    }

    fn infer_compare(&mut self, first: &'a Expr, rest: &'a [(CompareOp, Expr)], scope: &Scope<'a>) -> Typed {
        let mut parts = vec![self.infer(first, scope)];
        let mut left = (parts[0].kind, first.span);
        for (op, e) in rest {
            let x = self.infer(e, scope);
            let right = (x.kind, e.span);
            let common = self.join(left, right, left.1.to(right.1));
            let ordered = !matches!(op, CompareOp::Eq | CompareOp::Ne);
            if ordered && common == Some(Kind::Bool) {
                let error = Diagnostic::error(Code::WrongKind, "bools have no order")
                    .label(left.1.to(right.1), "compared here")
                    .help("`==` and `!=` compare bools".to_owned());
                self.report.push(error);
            }
            left = right;
            parts.push(x);
        }
        together(Some(Kind::Bool), &parts)
    }

    fn infer_name(&mut self, text: &str, span: Span, scope: &Scope<'a>) -> Typed {
        match self.meaning(text, span, scope) {
            Meaning::Ranks(ranks) => {
                let [one] = ranks[..] else {
                    self.report.push(several_ranks(text, span));
                    return Typed::unknown();
                };
                Typed { kind: Some(Kind::Int), free: self.ranks.get(one).atoms.clone(), constant: false }
            }
            Meaning::Tensor(place) => self.infer_tensor(place, span, &[]),
            Meaning::Param(kind) => Typed { kind, ..Typed::unknown() },
            Meaning::Local(value) => value,
            Meaning::Unknown => Typed::unknown(),
        }
    }

    /// A tensor with its ranks as declared, but for those that are re-indexed.
    fn infer_tensor(&mut self, place: usize, span: Span, reindexed: &[RankId]) -> Typed {
        let tensor = &self.tensors[place];
        let long = tensor.dims.iter().flatten().find(|it| it.lag > 0 && !reindexed.contains(&it.rank));
        if let Some(dim) = long {
            let (name, rank, lag) = (tensor.name, self.ranks.name(dim.rank), dim.lag);
            let found = Diagnostic::error(
                Code::WholeRecurrence,
                format!("`{name}` has |{rank}| + {lag} coordinates"),
            )
            .label(span, format!("which of them belongs to `{rank}`?"))
            .label(tensor.span, "defined here")
            .help(format!("write the coordinates out, with `{rank}` or `{rank} + {lag}`"));
            self.report.push(found);
        }
        let tensor = &self.tensors[place];
        Typed { kind: tensor.kind, free: tensor.atoms.clone(), constant: false }
    }

    fn infer_bars(&mut self, name: &Name, scope: &Scope<'a>) -> Typed {
        let x = match self.meaning(&name.text, name.span, scope) {
            Meaning::Ranks(_) => return Typed::constant(Kind::Int),
            Meaning::Tensor(place) => self.infer_tensor(place, name.span, &[]),
            Meaning::Param(kind) => Typed { kind, ..Typed::unknown() },
            Meaning::Local(value) => value,
            Meaning::Unknown => return Typed::unknown(),
        };
        self.want(Wanted::Number, &x, name.span, &format!("what stands in `|{}|`", name.text));
        Typed { kind: x.kind.filter(|it| *it != Kind::Bool), ..x }
    }

    fn infer_read(&mut self, name: &Name, coords: &'a [Expr], scope: &Scope<'a>) -> Typed {
        let text = &name.text;
        let found: Vec<Typed> = coords.iter().map(|it| self.infer(it, scope)).collect();
        for (x, e) in found.iter().zip(coords) {
            self.want(Wanted::Int, x, e.span, &format!("a coordinate of `{text}`"));
        }
        let (what, advice) = match self.meaning(text, name.span, scope) {
            Meaning::Tensor(place) => {
                self.check_n_coords(place, name, coords.len());
                let kind = self.tensors[place].kind;
                return Typed { constant: false, ..together(kind, &found) };
            }
            Meaning::Ranks(_) => ("a rank", None),
            Meaning::Param(_) => ("a parameter", Some(format!("it is a scalar: write `{text}`"))),
            Meaning::Local(_) => {
                ("a function's value", Some(format!("re-index it by rank: `{text}[n = …]`")))
            }
            Meaning::Unknown => return Typed::unknown(),
        };
        self.not_a_tensor(name, what, advice);
        Typed::unknown()
    }

    fn not_a_tensor(&mut self, name: &Name, what: &str, advice: Option<String>) {
        let text = &name.text;
        self.report.push(
            Diagnostic::error(Code::KindOfName, format!("`{text}` is {what} and takes no coordinates"))
                .label(name.span, "a tensor must stand here")
                .help(advice),
        );
    }

    fn check_n_coords(&mut self, place: usize, name: &Name, n_found: usize) {
        let tensor = &self.tensors[place];
        let Some(dims) = tensor.dims.as_ref().filter(|it| it.len() != n_found) else { return };
        let listed = self.listed(dims);
        let (n, text) = (dims.len(), tensor.name);
        let ranks = if n == 1 { "rank" } else { "ranks" };
        let coordinates = if n_found == 1 { "coordinate" } else { "coordinates" };
        self.report.push(
            Diagnostic::error(
                Code::CoordinateCount,
                format!("`{text}` has {n} {ranks}, found {n_found} {coordinates}"),
            )
            .label(name.span, format!("{n} wanted, {n_found} found"))
            .label(tensor.span, format!("its ranks are [{listed}]")),
        );
    }

    fn infer_reindex(&mut self, name: &'a Name, coords: &'a [(Name, Expr)], scope: &Scope<'a>) -> Typed {
        let text = &name.text;
        let found: Vec<Typed> = coords.iter().map(|(_, e)| self.infer(e, scope)).collect();
        for (x, (_, e)) in found.iter().zip(coords) {
            self.want(Wanted::Int, x, e.span, &format!("a coordinate of `{text}`"));
        }
        let ranks: Vec<_> = coords.iter().map(|(rank, _)| (rank, self.one_rank(rank, scope))).collect();
        let gone = self.listed_atoms(ranks.iter().filter_map(|(name, id)| Some((*name, (*id)?))));
        let ids: Vec<RankId> = ranks.iter().filter_map(|(_, id)| *id).collect();
        let x = match self.meaning(text, name.span, scope) {
            Meaning::Tensor(place) => {
                let known =
                    ranks.iter().all(|(rank, id)| id.is_some_and(|id| self.check_rank_of(place, rank, id)));
                let x = self.infer_tensor(place, name.span, &ids);
                if known { x } else { Typed { free: Atoms::none(), ..x } }
            }
            Meaning::Local(value) => value,
            Meaning::Param(_) => {
                self.not_a_tensor(name, "a parameter", Some(format!("it is a scalar: write `{text}`")));
                Typed::unknown()
            }
            Meaning::Ranks(_) => {
                self.not_a_tensor(name, "a rank", None);
                Typed::unknown()
            }
            Meaning::Unknown => Typed::unknown(),
        };
        let rest = Typed { free: x.free.minus(&gone), ..x };
        let mut parts = found;
        let kind = rest.kind;
        parts.push(rest);
        together(kind, &parts)
    }

    fn check_rank_of(&mut self, place: usize, rank: &Name, id: RankId) -> bool {
        let tensor = &self.tensors[place];
        let Some(dims) = &tensor.dims else { return false };
        if dims.iter().any(|it| self.ranks.has_part(it.rank, id)) {
            return true;
        }
        let (text, names) = (tensor.name, dims.iter().map(|it| self.ranks.name(it.rank)).collect::<Vec<_>>());
        let listed = self.listed(dims);
        let alias = dims.iter().find(|it| self.ranks.is_alias_of_composite(it.rank));
        let alias = alias.map(|it| {
            let name = self.ranks.name(it.rank);
            format!("`{name}` is an alias, which has no parts; declare it as a composite of its own")
        });
        let suggestion = self.report.suggest(&rank.text, names.into_iter());
        self.report.push(
            Diagnostic::error(Code::NotARankOf, format!("`{text}` has no rank `{}`", rank.text))
                .label(rank.span, "re-indexed here")
                .label(self.tensors[place].span, format!("its ranks are [{listed}]"))
                .help(alias.or(suggestion)),
        );
        false
    }

    /// The ranks of a tensor, as an error shows them.
    fn listed(&self, dims: &[Dim]) -> String {
        let names: Vec<&str> = dims.iter().take(MAX_LISTED).map(|it| self.ranks.name(it.rank)).collect();
        let more = if dims.len() > MAX_LISTED { ", …" } else { "" };
        format!("{}{more}", names.join(", "))
    }

    /// The atoms of ranks that are listed together; reports one that is listed twice.
    pub(super) fn listed_atoms<'n>(&mut self, listed: impl Iterator<Item = (&'n Name, RankId)>) -> Atoms {
        let mut atoms = Atoms::none();
        for (name, id) in listed {
            let more = self.ranks.get(id).atoms.clone();
            if let Some(both) = atoms.common(&more) {
                let message = format!("rank `{}` is listed twice", self.ranks.name(both));
                self.report.push(Diagnostic::error(Code::RankTwice, message).label(name.span, "again here"));
            }
            atoms = atoms.or(&more);
        }
        atoms
    }
}

/// A value of that kind that is a function of all these.
pub(super) fn together(kind: Option<Kind>, parts: &[Typed]) -> Typed {
    let free = parts.iter().fold(Atoms::none(), |free, it| free.or(&it.free));
    Typed { kind, free, constant: parts.iter().all(|it| it.constant) }
}
