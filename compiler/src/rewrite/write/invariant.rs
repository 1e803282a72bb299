//! What a reduction needs at fewer points than it reduces is computed once for each of those: it becomes a tensor.
//!
//! ```text
//! sum[a](W * (A / Z where some))   ->   f[a, e] = A / Z where some;  sum[a](W * f)      W[m, a], A[a, e], Z[a]
//! ```
//!
//! Only what is made of reductions: it could be stored, and then as the quotient that it is, not as its parts. A power
//! stays with the sum that it is a term of, which keeps it in range.

use std::collections::BTreeSet;

use attnc_dsl::ast::Kind;
use egg::Language;

use super::{Value, Writer};
use crate::ir::cascade::{ExprId, Op, RankId};
use crate::ir::expr::UnaryOp;
use crate::rewrite::build::Build;
use crate::rewrite::domain::Domain;
use crate::rewrite::term::{Class, Term};

impl Writer<'_> {
    /// What is combined by a reduction.
    pub(super) fn reduced(&mut self, body: Class) -> ExprId {
        let around = std::mem::replace(&mut self.around, self.graph.facts(body).free.clone());
        let value = self.exact(body);
        self.around = around;
        value
    }

    /// An expression for a class that is no tensor yet.
    pub(super) fn computed(&mut self, class: Class) -> Value {
        let term = self.choice.term(self.graph, class).clone();
        if !self.is_invariant(&self.graph.facts(class).free) {
            return self.term(class, &term);
        }
        let around = std::mem::take(&mut self.around);
        let value = self.term(class, &term);
        let is_kept = self.graph.facts(class).kind == Kind::Real
            && !self.made.contains_key(&class)
            && self.is_quotient(class, &mut BTreeSet::new())
            && !self.has_power(class, &mut BTreeSet::new());
        let value = if is_kept {
            let exact = self.restricted(value.expr, &value.unsaid);
            let tensor = self.tensor_for(class, "factor", exact);
            self.push(tensor, Op::Map, exact);
            self.made.insert(class, tensor);
            Value { expr: self.read(tensor), unsaid: Domain::new() }
        } else {
            value
        };
        self.around = around;
        value
    }

    /// The factors of a product that are computed once for many points, as one, and the others.
    pub(super) fn invariant_factors(&mut self, factors: &[Class]) -> (Option<ExprId>, Vec<Class>) {
        let is_fixed = |it: &Class| {
            self.is_invariant(&self.graph.facts(*it).free)
                && self.is_reduced(*it, &mut BTreeSet::new())
                && !self.has_power(*it, &mut BTreeSet::new())
        };
        let (fixed, rest): (Vec<Class>, Vec<Class>) = factors.iter().partition(|it| is_fixed(it));
        let free: BTreeSet<RankId> =
            fixed.iter().flat_map(|it| self.graph.facts(*it).free.iter().copied()).collect();
        let free: Vec<RankId> = free.into_iter().collect();
        let divides = |it: &Class| matches!(self.choice.term(self.graph, *it), Term::Power(..));
        if fixed.len() < 2 || !self.is_invariant(&free) || !fixed.iter().any(divides) {
            return (None, factors.to_vec());
        }
        let around = std::mem::take(&mut self.around);
        let Value { expr, unsaid } = self.product(&fixed);
        let value = self.restricted(expr, &unsaid);
        let ranks = self.cascade.composed(&free, value);
        let tensor = self.temporary("factor", ranks, Kind::Real);
        self.push(tensor, Op::Map, value);
        self.around = around;
        (Some(self.read(tensor)), rest)
    }

    /// It has fewer points than what is being reduced.
    fn is_invariant(&self, free: &[RankId]) -> bool {
        free.len() < self.around.len() && free.iter().all(|it| self.around.contains(it))
    }

    /// It is made of reductions.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_reduced(&self, class: Class, seen: &mut BTreeSet<Class>) -> bool {
        let class = self.graph.find(class);
        if !seen.insert(class) {
            return false;
        }
        match self.choice.term(self.graph, class) {
            Term::Reduce(..) | Term::Written(_) => true,
            term => term.children().to_vec().into_iter().any(|it| self.is_reduced(it, seen)),
        }
    }

    /// It divides by something that is made of reductions, before it is reduced itself.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_quotient(&self, class: Class, seen: &mut BTreeSet<Class>) -> bool {
        let class = self.graph.find(class);
        if !seen.insert(class) {
            return false;
        }
        match self.choice.term(self.graph, class) {
            Term::Reduce(..) | Term::Written(_) => false,
            Term::Power(bits, [base]) if f64::from_bits(*bits) < 0.0 => {
                self.is_reduced(*base, &mut BTreeSet::new())
            }
            term => term.children().to_vec().into_iter().any(|it| self.is_quotient(it, seen)),
        }
    }

    /// An exponential is part of it, before it is reduced itself.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn has_power(&self, class: Class, seen: &mut BTreeSet<Class>) -> bool {
        let class = self.graph.find(class);
        if !seen.insert(class) {
            return false;
        }
        match self.choice.term(self.graph, class) {
            Term::Reduce(..) | Term::Written(_) => false,
            Term::Unary(UnaryOp::Exp | UnaryOp::Exp2, _) => true,
            term => term.children().to_vec().into_iter().any(|it| self.has_power(it, seen)),
        }
    }
}
