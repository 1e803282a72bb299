//! Exponentials and logarithms: what turns sums into products and back.

use attnc_dsl::ast::CompareOp;

use super::{Equation, Exactness, Phase, Rule, is_statistic, product_with, without};
use crate::ir::expr::UnaryOp;
use crate::rewrite::build::Build;
use crate::rewrite::facts::Graph;
use crate::rewrite::term::{Class, Term};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "exp-of-sum",
        law: "exp(c·(a + b)) = exp(c·a)·exp(c·b)",
        phase: Phase::Algebra,
        exactness: Exactness::Ranges,
        find: exp_of_sum,
    },
    Rule {
        name: "exp-of-multiple",
        law: "exp(k·x) = exp(x)ᵏ for a constant k",
        phase: Phase::Algebra,
        exactness: Exactness::Ranges,
        find: exp_of_multiple,
    },
    Rule {
        name: "exp-base",
        law: "exp2(x) = exp(x·ln 2),  log2(x) = log(x) / ln 2",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: exp_base,
    },
    Rule {
        name: "exp-of-log",
        law: "exp(log x) = x, if x > 0",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: exp_of_log,
    },
    Rule {
        name: "log-of-exp",
        law: "log(exp x) = x",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: log_of_exp,
    },
    Rule {
        name: "log-of-product",
        law: "log(x·y) = log x + log y, if x > 0 and y > 0",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: log_of_product,
    },
    Rule {
        name: "log-of-power",
        law: "log(xᵏ) = k·log x, if x > 0",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: log_of_power,
    },
    Rule {
        name: "zero-of-exp",
        law: "exp x = 0 exactly if x = −∞",
        phase: Phase::Normalise,
        exactness: Exactness::Ranges,
        find: zero_of_exp,
    },
];

/// On demand: what is a statistic of the rank that the rest depends on, away from the rest.
fn exp_of_sum(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Exp, [argument]) = term else { return Vec::new() };
    let mut found = Vec::new();
    for factors in graph.fewest(graph.products(*argument)).into_iter().chain([vec![*argument]]) {
        for (position, &factor) in factors.iter().enumerate() {
            for terms in graph.fewest(graph.sums(factor)) {
                let (fixed, moves): (Vec<Class>, Vec<Class>) =
                    terms.iter().partition(|it| is_statistic(graph, **it));
                if fixed.is_empty() {
                    continue;
                }
                let rest = without(&factors, position);
                let inner = graph.exactly(&Term::Sum(terms.clone().into()));
                let argument = product_with(graph, &factors, position, inner);
                let before = graph.exactly(&term.with(&[argument]));
                let mut parts: Vec<Class> = fixed;
                if !moves.is_empty() {
                    parts.push(graph.sum(moves));
                }
                let exps = parts.into_iter().map(|it| {
                    let scaled = graph.product([rest.clone(), vec![it]].concat());
                    graph.unary(UnaryOp::Exp, scaled)
                });
                let exps = exps.collect();
                found.push((before, graph.product(exps)));
            }
        }
    }
    found
}

/// On demand: of a statistic, so that its exponential cancels whatever sign it comes with.
fn exp_of_multiple(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Exp, [argument]) = term else { return Vec::new() };
    if !is_statistic(graph, *argument) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for factors in graph.products(*argument) {
        let (constant, rest): (Vec<Class>, Vec<Class>) =
            factors.iter().partition(|it| graph.constant_real(**it).is_some());
        let [constant] = constant[..] else { continue };
        let exponent = graph.constant_real(constant).expect("it is a constant");
        let inner = graph.exactly(&Term::Product(factors.clone().into()));
        let before = graph.exactly(&term.with(&[inner]));
        let rest = graph.product(rest);
        let base = graph.unary(UnaryOp::Exp, rest);
        found.push((before, graph.power(base, exponent)));
    }
    found
}

fn exp_base(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let after = match term {
        Term::Unary(UnaryOp::Exp2, [a]) => {
            let ln2 = graph.real(std::f64::consts::LN_2);
            let argument = graph.product(vec![ln2, *a]);
            graph.unary(UnaryOp::Exp, argument)
        }
        Term::Unary(UnaryOp::Log2, [a]) => {
            let factor = graph.real(std::f64::consts::LN_2.recip());
            let log = graph.unary(UnaryOp::Log, *a);
            graph.product(vec![factor, log])
        }
        _ => return Vec::new(),
    };
    vec![(graph.exactly(term), after)]
}

/// The operands of that function among the terms of a class.
fn arguments(graph: &Graph, class: Class, function: UnaryOp) -> Vec<Class> {
    let argument = |it| match it {
        Term::Unary(op, [a]) if op == function => Some(a),
        _ => None,
    };
    let has_form = |it: &Term| matches!(it, Term::Unary(op, _) if *op == function);
    graph.terms_like(class, has_form).into_iter().filter_map(argument).collect()
}

fn exp_of_log(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Exp, [argument]) = term else { return Vec::new() };
    inverse(graph, term, *argument, UnaryOp::Log, |graph, x| graph.facts(x).range.positive)
}

fn log_of_exp(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Log, [argument]) = term else { return Vec::new() };
    inverse(graph, term, *argument, UnaryOp::Exp, |_, _| true)
}

/// A function of its inverse is what the inverse is applied to.
fn inverse(
    graph: &mut Graph,
    term: &Term,
    argument: Class,
    function: UnaryOp,
    holds: fn(&Graph, Class) -> bool,
) -> Vec<Equation> {
    let mut found = Vec::new();
    for x in arguments(graph, argument, function) {
        if holds(graph, x) {
            let inner = graph.exactly(&Term::Unary(function, [x]));
            found.push((graph.exactly(&term.with(&[inner])), x));
        }
    }
    found
}

fn log_of_product(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Log, [argument]) = term else { return Vec::new() };
    let mut found = Vec::new();
    for factors in graph.fewest(graph.products(*argument)) {
        if factors.iter().all(|it| graph.facts(*it).range.positive) {
            let inner = graph.exactly(&Term::Product(factors.clone().into()));
            let before = graph.exactly(&term.with(&[inner]));
            let logs = factors.iter().map(|&it| graph.unary(UnaryOp::Log, it)).collect();
            found.push((before, graph.sum(logs)));
        }
    }
    found
}

fn log_of_power(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Unary(UnaryOp::Log, [argument]) = term else { return Vec::new() };
    let mut found = Vec::new();
    for inner in graph.terms_like(*argument, |it| matches!(it, Term::Power(..))) {
        let Term::Power(bits, [base]) = inner else { continue };
        if graph.facts(base).range.positive {
            let inner = graph.exactly(&inner);
            let before = graph.exactly(&term.with(&[inner]));
            let log = graph.unary(UnaryOp::Log, base);
            let factor = graph.real(f64::from_bits(bits));
            found.push((before, graph.product(vec![factor, log])));
        }
    }
    found
}

fn zero_of_exp(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Compare(CompareOp::Eq | CompareOp::Ne, [a, zero]) = term else { return Vec::new() };
    if graph.constant_real(*zero) != Some(0.0) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for x in arguments(graph, *a, UnaryOp::Exp) {
        let power = graph.exactly(&Term::Unary(UnaryOp::Exp, [x]));
        let before = graph.exactly(&term.with(&[power, *zero]));
        let sunken = graph.real(f64::NEG_INFINITY);
        found.push((before, graph.exactly(&term.with(&[x, sunken]))));
    }
    found
}
