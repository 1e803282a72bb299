//! Which sums are taken in f64, for their difference is small where they are large.
//!
//! ```text
//! Σ w·(c − x)²   =  c²·Σ w − 2c·Σ w·x + Σ w·x²          a variance from moments
//! Σ w·(x − log Σ exp x)  =  Σ w·x − (log Σ exp x)·Σ w    an entropy, where w = exp x
//! ```

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::DType;

use super::{atoms, is_free_of, is_linear, is_statistic};
use crate::ir::cascade::{RankId, ReduceOp};
use crate::ir::expr::UnaryOp;
use crate::rewrite::build::Build;
use crate::rewrite::facts::Graph;
use crate::rewrite::term::{Class, Term};

/// The products of each of the terms of a sum with `rest`, to be summed over the ranks one by one.
pub(super) fn products(
    graph: &mut Graph,
    rest: &[Class],
    sum: Class,
    terms: Vec<Vec<Class>>,
    over: &[RankId],
) -> Vec<Class> {
    let precise = is_square(graph, sum) || cancels(graph, rest, &terms, over);
    let exponents = exponents(graph, &terms, over);
    let mut products = Vec::new();
    for term in kept_whole(graph, &exponents, terms) {
        let factors = [rest, &term].concat();
        products.push(if exponents.is_empty() {
            let product = graph.product(factors);
            if precise { in_f64(graph, product, over) } else { product }
        } else {
            let factors = factors.into_iter().map(|it| precisely(graph, it, over)).collect();
            graph.product(factors)
        });
    }
    products
}

/// Of a square whose terms are taken apart all sums are much larger than what they come to: `Σ w·(c - x)²` is right for
/// any `c` that is nearly the mean, if it is the same one, and the same weights, in all of them.
fn is_square(graph: &Graph, class: Class) -> bool {
    matches!(graph.id_to_node(class), Term::Power(..))
}

/// Along the ranks, sums of these terms are likely to be much larger than their difference, as in `Σ (x − mean x)·w`.
/// Where exponentials weigh the terms that is so for exponents alone, see [`exponents`].
fn cancels(graph: &Graph, rest: &[Class], terms: &[Vec<Class>], over: &[RankId]) -> bool {
    let fixed =
        |term: &Vec<Class>| term.iter().any(|it| is_statistic(graph, *it) && is_free_of(graph, *it, over));
    rest.iter().all(|it| is_linear(graph, *it)) && terms.iter().any(fixed)
}

/// A product whose factors along the ranks, and whose sums over them, are taken in f64.
fn in_f64(graph: &mut Graph, product: Class, over: &[RankId]) -> Class {
    let factors = graph.products(product).into_iter().next().unwrap_or_else(|| vec![product]);
    let precise = factors.into_iter().map(|it| precisely(graph, it, over)).collect();
    graph.product(precise)
}

/// A value in f64, if it changes along the ranks; else with its sums over them, and those that it is the logarithm of,
/// taken in f64.
fn precisely(graph: &mut Graph, value: Class, over: &[RankId]) -> Class {
    let sums = graph.terms_like(value, |it| matches!(it, Term::Reduce(ReduceOp::Sum, ..)));
    let sum = sums.into_iter().find_map(|it| match it {
        Term::Reduce(ReduceOp::Sum, ranks, [body]) if atoms(graph, &ranks) == over => Some((ranks, body)),
        _ => None,
    });
    if let Some((ranks, body)) = sum {
        let body = widened(graph, body);
        return graph.reduce(ReduceOp::Sum, ranks.to_vec(), body);
    }
    if !is_free_of(graph, value, over) {
        return widened(graph, value);
    }
    logs_in_f64(graph, value, over, (DEPTH, false), &mut BTreeMap::new()).unwrap_or(value)
}

/// How deep in a term a logarithm of a sum or a maximum is looked for.
const DEPTH: usize = 5;

/// The exponents of which terms without the ranks are the maximum, or the logarithm of a sum of powers. Sums over the
/// ranks of the one and the other are as large as the exponents, however small their difference.
fn exponents(graph: &Graph, terms: &[Vec<Class>], over: &[RankId]) -> Vec<Class> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for &it in terms.iter().flatten() {
        if is_free_of(graph, it, over) {
            gauged(graph, over, (it, DEPTH, false), &mut seen, &mut found);
        }
    }
    found
}

/// A class, how deep it is looked into, and whether it is what a logarithm is of: once is enough, for a class has many terms
/// that come to the same ones.
type Look = (Class, usize, bool);

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn gauged(
    graph: &Graph,
    over: &[RankId],
    (value, depth, in_log): Look,
    seen: &mut BTreeSet<Look>,
    found: &mut Vec<Class>,
) {
    if !seen.insert((graph.find(value), depth, in_log)) {
        return;
    }
    for term in graph.terms(value).into_iter().filter(|_| depth > 0) {
        let within = match &term {
            Term::Unary(UnaryOp::Log, [of]) if !in_log => {
                gauged(graph, over, (*of, depth - 1, true), seen, found);
                continue;
            }
            Term::Reduce(ReduceOp::Max, ranks, [x]) if !in_log && atoms(graph, ranks) == over => {
                found.push(*x);
                continue;
            }
            Term::Reduce(ReduceOp::Sum, ranks, [body]) if in_log && atoms(graph, ranks) == over => {
                let factors = graph.products(*body).into_iter().flatten().chain([*body]);
                found.extend(factors.flat_map(|it| graph.terms(it)).filter_map(|it| match it {
                    Term::Unary(UnaryOp::Exp, [x]) => Some(x),
                    _ => None,
                }));
                continue;
            }
            Term::Power(_, [base]) if in_log => std::slice::from_ref(base),
            Term::Else([value, _]) => std::slice::from_ref(value),
            Term::Sum(operands) | Term::Product(operands) => operands,
            _ => continue,
        };
        within.iter().for_each(|it| gauged(graph, over, (*it, depth - 1, in_log), seen, found));
    }
}

/// The value with the sums over the ranks of which it is the logarithm taken in f64, or those sums themselves; `None` if
/// there are none.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn logs_in_f64(
    graph: &mut Graph,
    value: Class,
    over: &[RankId],
    (depth, in_log): (usize, bool),
    known: &mut BTreeMap<Look, Option<Class>>,
) -> Option<Class> {
    let look = (graph.find(value), depth, in_log);
    if let Some(it) = known.get(&look) {
        return *it;
    }
    let found = graph.terms(value).into_iter().filter(|_| depth > 0).find_map(|term| match &term {
        Term::Reduce(ReduceOp::Sum, ranks, [body]) if in_log && atoms(graph, ranks) == over => {
            let body = widened(graph, *body);
            Some(graph.reduce(ReduceOp::Sum, ranks.to_vec(), body))
        }
        Term::Unary(UnaryOp::Log, [of]) if !in_log => {
            let of = logs_in_f64(graph, *of, over, (depth - 1, true), known)?;
            Some(graph.unary(UnaryOp::Log, of))
        }
        Term::Power(exponent, [base]) if in_log => {
            let base = logs_in_f64(graph, *base, over, (depth - 1, true), known)?;
            Some(graph.power(base, f64::from_bits(*exponent)))
        }
        Term::Else([value, other]) => {
            let value = logs_in_f64(graph, *value, over, (depth - 1, in_log), known)?;
            Some(graph.exactly(&Term::Else([value, *other])))
        }
        Term::Sum(operands) | Term::Product(operands) => {
            let below = (depth - 1, in_log);
            let wide: Vec<Option<Class>> =
                operands.iter().map(|it| logs_in_f64(graph, *it, over, below, known)).collect();
            wide.iter().any(Option::is_some).then(|| {
                let all = wide.into_iter().zip(operands.iter()).map(|(it, old)| it.unwrap_or(*old)).collect();
                if matches!(term, Term::Sum(_)) { graph.sum(all) } else { graph.product(all) }
            })
        }
        _ => None,
    });
    known.insert(look, found);
    found
}

/// The terms with those that make up an exponent put together again: it is to be the very number that others are made
/// of, or its rounding would be multiplied by the difference of large numbers.
fn kept_whole(graph: &Graph, exponents: &[Class], mut terms: Vec<Vec<Class>>) -> Vec<Vec<Class>> {
    for &exponent in exponents {
        for parts in graph.sums(exponent) {
            let is_part =
                |term: &[Class], part: Class| matches!(term, [it] if graph.find(*it) == graph.find(part));
            let places: Option<Vec<usize>> =
                parts.iter().map(|&part| terms.iter().position(|it| is_part(it, part))).collect();
            if let Some(places) = places {
                let mut at = 0..;
                terms.retain(|_| at.next().is_none_or(|at| !places.contains(&at)));
                terms.push(vec![exponent]);
                break;
            }
        }
    }
    terms
}

/// The value in f64.
pub(super) fn widened(graph: &mut Graph, value: Class) -> Class {
    let is_wide = !graph.terms_like(value, |it| matches!(it, Term::Cast(DType::F64, _))).is_empty();
    if is_wide { value } else { graph.exactly(&Term::Cast(DType::F64, [value])) }
}

/// `(c + x)² = x² + 2·c·x + c²`, as the factors of each term. What moves is taken in f64: the terms are large where
/// their sum is small, and a variance from moments in f32 would be worth nothing.
pub(super) fn squared(graph: &mut Graph, terms: &[Class], over: &[RankId]) -> Vec<Vec<Class>> {
    let (fixed, moves): (Vec<Class>, Vec<Class>) = terms.iter().partition(|it| is_free_of(graph, **it, over));
    let mut precise = Vec::new();
    for it in fixed {
        let sum = in_f64(graph, it, over);
        precise.push(if sum == it { widened(graph, it) } else { sum });
    }
    let (fixed, moving, two) = (graph.sum(precise), graph.sum(moves), graph.real(2.0));
    let moving = widened(graph, moving);
    vec![vec![moving, moving], vec![two, fixed, moving], vec![fixed, fixed]]
}
