//! Scores that may be sums of nothing, to warnings.
//!
//! `S[m, j] = sum[d](Q * K[m + j - 1, d])` is a present 0 where `m + j - 1` lies outside of K, and takes
//! part in a softmax over j. A sum over j itself is a convolution, for which 0 is right, and is not meant;
//! nor is one that a `where` or an `if` guards on the way to the exponential or the comparison.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ast::{BinaryOp, Expr, ExprKind, Name, UnaryOp};
use crate::builtins::{Family, Form, builtin};
use crate::check::Cx;
use crate::check::atoms::{Atoms, RankId};
use crate::check::extents::Extents;
use crate::check::functions::callees;
use crate::check::graph::components;
use crate::check::names::What;
use crate::check::ranks::Def;
use crate::check::recurrences::Group;
use crate::check::walk::{children, read_name, walk};
use crate::diag::{Code, Diagnostic, Span};
use crate::model::Program;

/// A sum that is over nothing where a coordinate lies outside.
#[derive(Clone, Copy)]
struct Hollow {
    coordinate: Span,
    sum: Span,
}

/// The functions that exponentiate something, directly or through others.
pub(super) fn exponentials(program: &Program) -> HashSet<usize> {
    let calls: Vec<Vec<usize>> = program.functions.iter().map(|f| callees(program, f)).collect();
    let mut found = HashSet::new();
    for at in components(&calls).into_iter().flatten() {
        let f = &program.functions[at];
        let mut direct = false;
        super::functions::walk_body(f, &mut |e| direct |= is_exponential(e));
        if direct || calls[at].iter().any(|it| found.contains(it)) {
            found.insert(at);
        }
    }
    found
}

fn is_exponential(e: &Expr) -> bool {
    matches!(&e.kind, ExprKind::Call { name, ranks, .. }
        if ranks.is_empty() && ["exp", "exp2", "expm1", "sigmoid"].contains(&name.text.as_str()))
}

impl Cx<'_, '_> {
    /// Warns of sums of nothing that are exponentiated or compared.
    pub(super) fn lint(&mut self, groups: &[Group], extents: &Extents<'_>, exponentials: &HashSet<usize>) {
        let mut hollow = HashMap::new();
        let mut found = Vec::new();
        for &place in groups.iter().flat_map(|it| &it.members) {
            for &at in &self.tensors[place].equations {
                let value = &self.equations[at].ast.value;
                let exponential =
                    |it: &Name| self.program.functions.place(it).is_some_and(|it| exponentials.contains(&it));
                let seek = Seek { cx: self, extents, hollow: &hollow };
                walk(value, &mut |e| {
                    for arg in judged(e, exponential) {
                        found.extend(seek.hollow_in(arg).map(|it| (it, e.span)));
                    }
                });
                if let Some(it) = seek.hollow_in(value) {
                    hollow.insert(place, it);
                }
            }
        }
        for (it, judge) in found {
            self.report.push(
                Diagnostic::warning(
                    Code::AbsentUnderSum,
                    "a sum is over nothing, and 0, where this coordinate is outside",
                )
                .label(it.coordinate, "may lie outside of the tensor")
                .label(it.sum, "then 0, not absent")
                .label(judge, "exponentiated or compared")
                .help("exclude these points: `… where present(…)` of the read, or a range".to_owned()),
            );
        }
    }
}

/// What an expression exponentiates or compares.
fn judged(e: &Expr, is_exponential_function: impl Fn(&Name) -> bool) -> Vec<&Expr> {
    let ordering = |family| matches!(family, Family::Arg | Family::Place | Family::Select);
    let judges = if let ExprKind::Call { name, ranks, .. } = &e.kind {
        let form = if ranks.is_empty() { Form::Values } else { Form::Ranks };
        is_exponential(e)
            || is_exponential_function(name)
            || builtin(&name.text, form).is_some_and(|it| ordering(it.family))
            || !ranks.is_empty() && ["max", "min", "cummax"].contains(&name.text.as_str())
    } else {
        matches!(e.kind, ExprKind::Compare(..) | ExprKind::Select { .. })
    };
    if judges { children(e) } else { Vec::new() }
}

/// Looks for sums of nothing, given the tensors that are such.
struct Seek<'s, 'a, 'r> {
    cx: &'s Cx<'a, 'r>,
    extents: &'s Extents<'a>,
    hollow: &'s HashMap<usize, Hollow>,
}

impl Seek<'_, '_, '_> {
    /// The first sum of nothing whose value an expression passes on, unguarded.
    fn hollow_in(&self, e: &Expr) -> Option<Hollow> {
        if let Some(What::Defined(place)) = self.read(e) {
            return self.hollow.get(&place).copied();
        }
        if let ExprKind::Call { name, ranks, args } = &e.kind {
            if ranks.is_empty() {
                return args.iter().find_map(|it| self.hollow_in(it));
            }
            if !["sum", "prod", "count"].contains(&name.text.as_str()) {
                return None;
            }
            let ids: Vec<RankId> = ranks.iter().filter_map(|it| self.rank(&it.text)).collect();
            let bound = self.cx.ranks.atoms(&ids);
            return self.outside(args.first()?, &bound).map(|coordinate| Hollow { coordinate, sum: e.span });
        }
        let passes = matches!(e.kind, ExprKind::Unary(..) | ExprKind::Binary(..) | ExprKind::Else(..));
        let parts = if passes { children(e) } else { Vec::new() };
        let guarded = parts.iter().any(|it| is_guard(it));
        parts.into_iter().filter(|_| !guarded).find_map(|it| self.hollow_in(it))
    }

    /// A coordinate under a sum that may lie outside, the same for all that the sum is over.
    fn outside(&self, e: &Expr, bound: &Atoms) -> Option<Span> {
        if is_guard(e) || matches!(e.kind, ExprKind::Else(..)) {
            return None;
        }
        let parts = children(e);
        if let Some(What::Input(place) | What::Defined(place)) = self.read(e) {
            let dims = self.cx.tensors[place].dims.as_deref().unwrap_or_default();
            let named = if let ExprKind::Reindex { coords, .. } = &e.kind { Some(coords) } else { None };
            let dim = |i: usize| match named {
                Some(coords) => self.rank(&coords[i].0.text).map(|it| (it, 0)),
                None => dims.get(i).map(|it| (it.rank, it.lag)),
            };
            let outside = parts.iter().enumerate().find(|(i, coordinate)| {
                dim(*i).is_some_and(|(rank, lag)| self.may_leave(coordinate, rank, lag, bound))
            });
            return outside.map(|(_, it)| it.span);
        }
        parts.into_iter().find_map(|it| self.outside(it, bound))
    }

    /// Whether a coordinate is a sum of indices, extents and constants that is not proved inside.
    fn may_leave(&self, coordinate: &Expr, rank: RankId, lag: i64, bound: &Atoms) -> bool {
        let mut sum = Affine { expands: true, ..Affine::default() };
        if self.affine(coordinate, 1, &mut sum).is_none() || sum.n_indices == 0 || lag > 0 {
            return false;
        }
        if matches!(coordinate.kind, ExprKind::Name(_)) || sum.free.common(bound).is_some() {
            return false;
        }
        let mut room = Bound::default();
        self.extent(rank, 1, &mut room, true);
        room.constant = room.constant.saturating_sub(1);
        room.add(&sum.most, -1);
        !(sum.least.is_not_negative() && room.is_not_negative())
    }

    /// Adds an affine expression to a sum; none if it is not affine.
    fn affine(&self, e: &Expr, sign: i64, sum: &mut Affine) -> Option<()> {
        if let ExprKind::Int(c) = e.kind {
            sum.least.constant = sum.least.constant.checked_add(sign * c)?;
            sum.most.constant = sum.most.constant.checked_add(sign * c)?;
        } else if let ExprKind::Name(name) = &e.kind {
            let rank = self.rank(name)?;
            sum.n_indices += 1;
            sum.free = sum.free.or(&self.cx.ranks.get(rank).atoms);
            let end = if sign > 0 { &mut sum.most } else { &mut sum.least };
            self.extent(rank, sign, end, sum.expands);
            end.constant = end.constant.saturating_sub(sign);
        } else if let ExprKind::Bars(name) = &e.kind {
            let rank = self.rank(&name.text)?;
            self.extent(rank, sign, &mut sum.least, sum.expands);
            self.extent(rank, sign, &mut sum.most, sum.expands);
        } else if let ExprKind::Unary(UnaryOp::Neg, a) = &e.kind {
            self.affine(a, -sign, sum)?;
        } else if let ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) = &e.kind {
            self.affine(a, sign, sum)?;
            self.affine(b, if *op == BinaryOp::Add { sign } else { -sign }, sum)?;
        } else {
            return None;
        }
        Some(())
    }

    /// Adds the extent of a rank: its value, or what it is declared to be, or a symbol.
    fn extent(&self, mut rank: RankId, sign: i64, bound: &mut Bound, expands: bool) {
        while let Def::Alias(of) = self.cx.ranks.get(rank).def {
            rank = of;
        }
        if let Some(extent) = self.extents.get(rank) {
            bound.constant = bound.constant.saturating_add(sign.saturating_mul(extent));
            return;
        }
        if let Def::Fixed(e) = self.cx.ranks.get(rank).def {
            let mut sum = Affine::default();
            if expands && self.affine(e, 1, &mut sum).is_some() && sum.n_indices == 0 {
                return bound.add(&sum.least, sign);
            }
        }
        *bound.extents.entry(rank).or_default() += sign;
    }

    fn read(&self, e: &Expr) -> Option<What> {
        Some(self.cx.names.get(read_name(e)?)?.what)
    }

    fn rank(&self, name: &str) -> Option<RankId> {
        match self.cx.names.get(name)?.what {
            What::Rank(id) => Some(id),
            What::Input(_) | What::Defined(_) | What::Param(_) => None,
        }
    }
}

fn is_guard(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Where(..) | ExprKind::If(..))
}

/// The least and the greatest value of a sum of indices, extents and constants.
#[derive(Default)]
struct Affine {
    /// Whether extents are replaced by what they are declared to be.
    expands: bool,
    n_indices: usize,
    free: Atoms,
    least: Bound,
    most: Bound,
}

/// A constant and multiples of extents that are not known.
#[derive(Default)]
struct Bound {
    constant: i64,
    extents: BTreeMap<RankId, i64>,
}

impl Bound {
    fn add(&mut self, other: &Bound, sign: i64) {
        self.constant = self.constant.saturating_add(sign.saturating_mul(other.constant));
        for (rank, n) in &other.extents {
            *self.extents.entry(*rank).or_default() += sign * n;
        }
    }

    fn is_not_negative(&self) -> bool {
        self.constant >= 0 && self.extents.values().all(|it| *it >= 0)
    }
}
