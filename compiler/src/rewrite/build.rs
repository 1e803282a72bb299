//! Terms made in the graph: n-ary operations in order, constants folded. What is made is named as it was made, not by
//! its class, so that a proof speaks of the very terms that a law is about.

use std::cmp::Reverse;

use egg::Language;

use super::facts::{Facts, Graph};
use super::term::{Class, Term};
use crate::analyze::stage::passes;
use crate::ir::cascade::{RankId, ReduceOp};
use crate::ir::expr::UnaryOp;

/// Shorthands for rules.
pub(crate) trait Build {
    /// What is known of a class.
    fn facts(&self, class: Class) -> &Facts;
    /// The terms of a class, in a fixed order.
    fn terms(&self, class: Class) -> Vec<Term>;
    /// Those of the terms of a class that have some form, whatever their operands are, in the same order.
    fn terms_like(&self, class: Class, has_form: impl Fn(&Term) -> bool) -> Vec<Term>;
    /// Exactly that term.
    fn exactly(&mut self, term: &Term) -> Class;
    /// A real.
    fn real(&mut self, value: f64) -> Class;
    /// The sum of reals; that of none is 0.
    fn sum(&mut self, terms: Vec<Class>) -> Class;
    /// The product of reals; that of none is 1.
    fn product(&mut self, factors: Vec<Class>) -> Class;
    /// A real to a constant power.
    fn power(&mut self, base: Class, exponent: f64) -> Class;
    /// A function of one value.
    fn unary(&mut self, op: UnaryOp, a: Class) -> Class;
    /// A reduction over ranks; over none it is the value itself.
    fn reduce(&mut self, op: ReduceOp, ranks: Vec<RankId>, body: Class) -> Class;
    /// The present ones, combined.
    fn union_of(&mut self, op: ReduceOp, terms: Vec<Class>) -> Class;
    /// The value of a constant real.
    fn constant_real(&self, class: Class) -> Option<f64>;
    /// The lists of factors that a class is known to be the product of.
    fn products(&self, class: Class) -> Vec<Vec<Class>>;
    /// The lists of terms that a class is known to be the sum of.
    fn sums(&self, class: Class) -> Vec<Vec<Class>>;
    /// The few of some ways to put a class together that are worth following: those of the fewest passes, and
    /// of these the ones in the most parts. The others equal them, and following all of them is what makes
    /// e-graphs explode.
    fn fewest(&self, ways: Vec<Vec<Class>>) -> Vec<Vec<Class>>;
}

/// How many ways to put a class together are followed.
const WAYS: usize = 2;

impl Build for Graph {
    fn facts(&self, class: Class) -> &Facts {
        &self[self.find(class)].data
    }

    fn terms(&self, class: Class) -> Vec<Term> {
        self.terms_like(class, |_| true)
    }

    fn terms_like(&self, class: Class, has_form: impl Fn(&Term) -> bool) -> Vec<Term> {
        let nodes = self[self.find(class)].nodes.iter().filter(|it| has_form(it));
        let mut terms: Vec<Term> = nodes.map(|it| it.clone().map_children(|it| self.find(it))).collect();
        terms.sort();
        terms.dedup();
        terms
    }

    fn exactly(&mut self, term: &Term) -> Class {
        self.add_uncanonical(term.clone())
    }

    fn real(&mut self, value: f64) -> Class {
        self.exactly(&Term::Real(value.to_bits()))
    }

    fn sum(&mut self, terms: Vec<Class>) -> Class {
        folded(self, terms, 0.0, |a, b| a + b, Term::Sum)
    }

    fn product(&mut self, factors: Vec<Class>) -> Class {
        folded(self, factors, 1.0, |a, b| a * b, Term::Product)
    }

    fn power(&mut self, base: Class, exponent: f64) -> Class {
        match self.constant_real(base) {
            _ if exponent == 1.0 => base,
            Some(value) => self.real(value.powf(exponent)),
            None => self.exactly(&Term::Power(exponent.to_bits(), [base])),
        }
    }

    fn unary(&mut self, op: UnaryOp, a: Class) -> Class {
        let known = self.constant_real(a).and_then(|it| value_of(op, it));
        match known {
            Some(value) => self.real(value),
            None => self.exactly(&Term::Unary(op, [a])),
        }
    }

    fn reduce(&mut self, op: ReduceOp, mut ranks: Vec<RankId>, body: Class) -> Class {
        ranks.sort_unstable();
        if ranks.is_empty() { body } else { self.exactly(&Term::Reduce(op, ranks.into(), [body])) }
    }

    fn union_of(&mut self, op: ReduceOp, terms: Vec<Class>) -> Class {
        let terms = in_order(self, terms);
        match terms.as_slice() {
            [one] => *one,
            _ => self.exactly(&Term::Union(op, terms.into())),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn constant_real(&self, class: Class) -> Option<f64> {
        // Most classes are no constants, and their facts tell.
        self.facts(class).constant.as_ref()?;
        self.terms_like(class, |it| matches!(it, Term::Real(_))).into_iter().find_map(|it| match it {
            Term::Real(bits) => Some(f64::from_bits(bits)),
            _ => None,
        })
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn products(&self, class: Class) -> Vec<Vec<Class>> {
        let factors = |it| match it {
            Term::Product(factors) => Some(factors.to_vec()),
            _ => None,
        };
        self.terms_like(class, |it| matches!(it, Term::Product(_))).into_iter().filter_map(factors).collect()
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn sums(&self, class: Class) -> Vec<Vec<Class>> {
        let terms = |it| match it {
            Term::Sum(terms) => Some(terms.to_vec()),
            _ => None,
        };
        self.terms_like(class, |it| matches!(it, Term::Sum(_))).into_iter().filter_map(terms).collect()
    }

    fn fewest(&self, mut ways: Vec<Vec<Class>>) -> Vec<Vec<Class>> {
        let late = |way: &Vec<Class>| -> u32 {
            let mut most = vec![0; self.analysis.families.len()];
            for it in way {
                let own = self.facts(*it).passes.iter().map(passes);
                most.iter_mut().zip(own).for_each(|(most, own)| *most = own.max(*most));
            }
            most.into_iter().sum()
        };
        if ways.len() > 1 {
            ways.sort_by_cached_key(|it| (late(it), Reverse(it.len())));
        }
        ways.truncate(WAYS);
        ways
    }
}

/// Operands by the present names of their classes, ascending. They keep the names that they have, so that a proof
/// speaks of the very terms that a law was applied to.
pub(crate) fn in_order(graph: &Graph, mut operands: Vec<Class>) -> Vec<Class> {
    operands.sort_by_key(|it| graph.find(*it));
    operands
}

/// An n-ary operation whose constant operands become one, which is left out where it changes nothing.
fn folded(
    graph: &mut Graph,
    operands: Vec<Class>,
    neutral: f64,
    combine: fn(f64, f64) -> f64,
    make: fn(Box<[Class]>) -> Term,
) -> Class {
    let mut constant = neutral;
    let mut rest = Vec::new();
    for operand in operands {
        match graph.constant_real(operand) {
            Some(value) => constant = combine(constant, value),
            None => rest.push(operand),
        }
    }
    if constant != neutral || rest.is_empty() {
        rest.push(graph.real(constant));
    }
    let rest = in_order(graph, rest);
    match rest.as_slice() {
        [one] => *one,
        _ => graph.exactly(&make(rest.into())),
    }
}

/// Functions of constants whose values are the same everywhere.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn value_of(op: UnaryOp, x: f64) -> Option<f64> {
    match op {
        UnaryOp::Exp if x == 0.0 || x.is_infinite() => Some(x.exp()),
        UnaryOp::Log if x == 0.0 || x == 1.0 || x == f64::INFINITY => Some(x.ln()),
        UnaryOp::Neg => Some(-x),
        _ => None,
    }
}
