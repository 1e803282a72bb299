//! Sums, products and powers of reals.

use std::collections::BTreeSet;

use attnc_dsl::ast::CompareOp;

use super::{Equation, Exactness, Phase, Rule, is_statistic, with, without};
use crate::ir::cascade::{RankId, ReduceOp};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::rewrite::build::{Build, in_order};
use crate::rewrite::domain::{Domain, implies};
use crate::rewrite::facts::Graph;
use crate::rewrite::term::{Class, Term};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "commute",
        law: "a + b = b + a,  a·b = b·a",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: commute,
    },
    Rule {
        name: "associate",
        law: "(a + b) + c = a + b + c,  (a·b)·c = a·b·c",
        phase: Phase::Normalise,
        exactness: Exactness::Reassociates,
        find: associate,
    },
    Rule {
        name: "distribute",
        law: "k·(a + b) = k·a + k·b for a constant k",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: distribute,
    },
    Rule {
        name: "factor",
        law: "c·a + c·b = c·(a + b)",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: factor,
    },
    Rule {
        name: "add-powers",
        law: "xᵃ·xᵇ = xᵃ⁺ᵇ, if x ≠ 0 or a and b have one sign",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: add_powers,
    },
    Rule {
        name: "add-multiples",
        law: "a·x + b·x = (a + b)·x for constants a, b",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: add_multiples,
    },
    Rule {
        name: "power-of-product",
        law: "(x·y)ᵏ = xᵏ·yᵏ, if k is an integer or no factor is negative",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: power_of_product,
    },
    Rule {
        name: "power-of-power",
        law: "(xᵃ)ᵇ = xᵃᵇ, if b is an integer or x > 0",
        phase: Phase::Normalise,
        exactness: Exactness::Rounds,
        find: power_of_power,
    },
    Rule {
        name: "homogeneous",
        law: "f(c·x) = c·f(x) for f = |·|, relu and c ≥ 0;  max(c·a, c·b) = c·max(a, b)",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: homogeneous,
    },
    Rule {
        name: "zero-of-product",
        law: "c·x = 0 exactly if x = 0, for c > 0",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: zero_of_product,
    },
];

/// Operands in the order of their classes, after classes have merged.
fn commute(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let operands = match term {
        Term::Sum(it) | Term::Product(it) | Term::Union(_, it) => it,
        _ => return Vec::new(),
    };
    let sorted = in_order(graph, operands.to_vec());
    if sorted[..] == operands[..] {
        return Vec::new();
    }
    let before = graph.exactly(term);
    vec![(before, graph.exactly(&term.with(&sorted)))]
}

fn associate(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let operands = match term {
        Term::Sum(it) | Term::Product(it) | Term::Union(_, it) => it.clone(),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    for (position, &operand) in operands.iter().enumerate() {
        let ways = match term {
            Term::Sum(_) => graph.sums(operand),
            Term::Product(_) => graph.products(operand),
            _ => unions(graph, operand, term),
        };
        for inner in graph.fewest(ways) {
            let all = [without(&operands, position), inner.clone()].concat();
            let flat = match term {
                Term::Sum(_) => collected_sum(graph, &all),
                Term::Product(_) => collected_product(graph, &all),
                Term::Union(op, _) if all.len() <= OPERANDS => Some((all.clone(), graph.union_of(*op, all))),
                _ => continue,
            };
            let Some((mut outer, flat)) = flat else { continue };
            let inner = outer.split_off(operands.len() - 1);
            let inner = match term {
                Term::Sum(_) => Term::Sum(inner.into()),
                Term::Product(_) => Term::Product(inner.into()),
                Term::Union(op, _) => Term::Union(*op, inner.into()),
                _ => continue,
            };
            let inner = graph.exactly(&inner);
            outer.insert(position, inner);
            found.push((graph.exactly(&term.with(&outer)), flat));
        }
    }
    found
}

/// The lists of terms that a class is known to be the same union of.
fn unions(graph: &Graph, class: Class, term: &Term) -> Vec<Vec<Class>> {
    let Term::Union(wanted, _) = term else { return Vec::new() };
    let terms = |it| match it {
        Term::Union(op, terms) if op == *wanted => Some(terms.to_vec()),
        _ => None,
    };
    let has_form = |it: &Term| matches!(it, Term::Union(op, _) if op == wanted);
    graph.terms_like(class, has_form).into_iter().filter_map(terms).collect()
}

/// Of constants; what else is distributed is so under a reduction or an exponential.
fn distribute(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Product(factors) = term else { return Vec::new() };
    let (constant, rest): (Vec<Class>, Vec<Class>) =
        factors.iter().partition(|it| graph.constant_real(**it).is_some());
    let [sum] = rest[..] else { return Vec::new() };
    let position = factors.iter().position(|it| *it == sum).expect("it is a factor");
    let mut found = Vec::new();
    for terms in graph.sums(sum) {
        let inner = graph.exactly(&Term::Sum(terms.clone().into()));
        let before = graph.exactly(&term.with(&with(factors, position, inner)));
        let products = terms.iter().map(|&it| graph.product([constant.clone(), vec![it]].concat())).collect();
        found.push((before, graph.sum(products)));
    }
    found
}

/// A factor that depends on whole fibers, out of all terms.
fn factor(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let (terms, union) = match term {
        Term::Sum(terms) => (terms.clone(), None),
        Term::Union(ReduceOp::Sum, terms) => (terms.clone(), Some(ReduceOp::Sum)),
        _ => return Vec::new(),
    };
    let factors_of = |graph: &Graph, class: Class| -> BTreeSet<Class> {
        graph.products(class).into_iter().flatten().chain([class]).map(|it| graph.find(it)).collect()
    };
    let mut common = factors_of(graph, terms[0]);
    for &it in &terms[1..] {
        let other = factors_of(graph, it);
        common.retain(|it| other.contains(it));
    }
    common.retain(|it| is_statistic(graph, *it));
    let mut found = Vec::new();
    for factor in common {
        let mut inner = Vec::new();
        let mut matched = Vec::new();
        for &it in &terms {
            let (product, rest) = split(graph, it, factor);
            matched.push(product);
            inner.push(rest);
        }
        let before = graph.exactly(&term.with(&matched));
        let inner = match union {
            Some(op) => graph.union_of(op, inner),
            None => graph.sum(inner),
        };
        found.push((before, graph.product(vec![factor, inner])));
    }
    found
}

/// A term as a product with that factor: the term, and what is left of it.
fn split(graph: &mut Graph, class: Class, factor: Class) -> (Class, Class) {
    for factors in graph.products(class) {
        if let Some(position) = factors.iter().position(|it| graph.find(*it) == factor) {
            let product = graph.exactly(&Term::Product(factors.clone().into()));
            return (product, graph.product(without(&factors, position)));
        }
    }
    (class, graph.real(1.0))
}

/// A class as a power of another: the power, its base, its exponent. The first power of itself is included.
fn powers(graph: &mut Graph, class: Class) -> Vec<(Class, Class, f64)> {
    let mut found = Vec::new();
    for term in graph.terms_like(class, |it| matches!(it, Term::Power(..))) {
        if let Term::Power(bits, [base]) = term {
            found.push((graph.exactly(&term), base, f64::from_bits(bits)));
        }
    }
    found.push((class, class, 1.0));
    found
}

/// How many operands a sum or product may have.
const OPERANDS: usize = 16;

fn add_powers(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Product(factors) = term else { return Vec::new() };
    let Some((factors, after)) = collected_product(graph, factors) else { return Vec::new() };
    let before = graph.exactly(&term.with(&factors));
    if graph.find(after) == graph.find(before) { Vec::new() } else { vec![(before, after)] }
}

/// The product with one power of each base, as far as that may be said, and the factors as they were seen; `None` for one
/// that is too long.
fn collected_product(graph: &mut Graph, factors: &[Class]) -> Option<(Vec<Class>, Class)> {
    let mut bases: Vec<(Class, f64)> = Vec::new();
    let (mut seen, plain) = in_context(graph, factors);
    for (position, factor) in plain.into_iter().enumerate() {
        let all = powers(graph, factor);
        let is_same = |known: &(Class, f64), new: &(Class, Class, f64)| {
            let nonzero = graph.facts(known.0).range.is_nonzero();
            graph.find(known.0) == graph.find(new.1) && (nonzero || known.1 * new.2 > 0.0)
        };
        let place = bases.iter().position(|known| all.iter().any(|new| is_same(known, new)));
        let new = match place {
            Some(place) => *all.iter().find(|new| is_same(&bases[place], new)).expect("it was found"),
            None => all[0],
        };
        match place {
            Some(place) => bases[place].1 += new.2,
            None => bases.push((new.1, new.2)),
        }
        if factor == factors[position] {
            seen[position] = new.0;
        }
    }
    let gone: Vec<Class> = bases.iter().filter(|it| it.1 == 0.0).map(|it| it.0).collect();
    let rest: Vec<Class> = bases
        .into_iter()
        .filter(|it| it.1 != 0.0)
        .map(|(base, exponent)| graph.power(base, exponent))
        .collect();
    if rest.len() > OPERANDS {
        return None;
    }
    let mut product = graph.product(rest);
    for base in gone {
        product = present_with(graph, product, base);
    }
    Some((seen, product))
}

/// The operands as they were seen, and without what stands in for absent ones, where the other operands are present only
/// with them.
fn in_context(graph: &mut Graph, operands: &[Class]) -> (Vec<Class>, Vec<Class>) {
    let (mut seen, mut plain) = (operands.to_vec(), operands.to_vec());
    for position in 0..plain.len() {
        let conditional =
            graph.terms_like(plain[position], |it| matches!(it, Term::Else(_) | Term::Where(_)));
        if conditional.is_empty() {
            continue;
        }
        let at: Vec<RankId> = operands.iter().flat_map(|it| graph.facts(*it).free.iter().copied()).collect();
        let others = without(&plain, position);
        let given: Domain = others.iter().flat_map(|it| graph.facts(*it).domain.iter().cloned()).collect();
        let own = &graph.facts(plain[position]).domain;
        let needless = conditional.into_iter().find_map(|it| match it {
            Term::Else([value, _]) if implies(graph, &given, &at, &graph.facts(value).domain) => {
                Some((it, value))
            }
            Term::Where([value, _]) if implies(graph, &given, &at, own) => Some((it, value)),
            _ => None,
        });
        if let Some((term, value)) = needless {
            (seen[position], plain[position]) = (graph.exactly(&term), value);
        }
    }
    (seen, plain)
}

/// The value where another one is present, too.
fn present_with(graph: &mut Graph, value: Class, other: Class) -> Class {
    let given = graph.facts(value);
    if implies(graph, &given.domain, &given.free, &graph.facts(other).domain) {
        return value;
    }
    let present = graph.exactly(&Term::Present([other]));
    graph.exactly(&Term::Where([value, present]))
}

/// A class as a multiple of another: the product, its factor, and what is multiplied.
fn multiples(graph: &mut Graph, class: Class) -> Vec<(Class, f64, Class)> {
    let mut found = vec![(class, 1.0, class)];
    if graph.constant_real(class).is_some() {
        return found;
    }
    for factors in graph.products(class) {
        for (position, &it) in factors.iter().enumerate() {
            if let Some(value) = graph.constant_real(it) {
                let product = graph.exactly(&Term::Product(factors.clone().into()));
                found.push((product, value, graph.product(without(&factors, position))));
            }
        }
    }
    found
}

fn add_multiples(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Sum(terms) = term else { return Vec::new() };
    let Some((terms, after)) = collected_sum(graph, terms) else { return Vec::new() };
    let before = graph.exactly(&term.with(&terms));
    if graph.find(after) == graph.find(before) { Vec::new() } else { vec![(before, after)] }
}

/// The sum with one multiple of each base, and the terms as they were seen; `None` for one that is too long.
fn collected_sum(graph: &mut Graph, terms: &[Class]) -> Option<(Vec<Class>, Class)> {
    let mut bases: Vec<(f64, Class)> = Vec::new();
    let (mut seen, plain) = in_context(graph, terms);
    for (position, term) in plain.into_iter().enumerate() {
        let all = multiples(graph, term);
        let is_same =
            |known: &(f64, Class), new: &(Class, f64, Class)| graph.find(known.1) == graph.find(new.2);
        let place = bases.iter().position(|known| all.iter().any(|new| is_same(known, new)));
        let new = match place {
            Some(place) => *all.iter().find(|new| is_same(&bases[place], new)).expect("it was found"),
            None => *all.last().expect("a class is once itself"),
        };
        match place {
            Some(place) => bases[place].0 += new.1,
            None => bases.push((new.1, new.2)),
        }
        if term == terms[position] {
            seen[position] = new.0;
        }
    }
    let gone: Vec<Class> = bases.iter().filter(|it| it.0 == 0.0).map(|it| it.1).collect();
    let mut rest = Vec::new();
    for (factor, base) in bases.into_iter().filter(|it| it.0 != 0.0) {
        let factor = graph.real(factor);
        rest.push(graph.product(vec![factor, base]));
    }
    if rest.len() > OPERANDS {
        return None;
    }
    let mut sum = graph.sum(rest);
    for base in gone {
        sum = present_with(graph, sum, base);
    }
    Some((seen, sum))
}

fn power_of_product(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Power(bits, [base]) = term else { return Vec::new() };
    let exponent = f64::from_bits(*bits);
    let mut found = Vec::new();
    for factors in graph.fewest(graph.products(*base)) {
        let nonnegative = factors.iter().all(|&it| graph.facts(it).range.is_nonnegative());
        if exponent.fract() != 0.0 && !nonnegative {
            continue;
        }
        let inner = graph.exactly(&Term::Product(factors.clone().into()));
        let before = graph.exactly(&term.with(&[inner]));
        let powers = factors.iter().map(|&it| graph.power(it, exponent)).collect();
        found.push((before, graph.product(powers)));
    }
    found
}

fn power_of_power(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Power(outer, [base]) = term else { return Vec::new() };
    let outer = f64::from_bits(*outer);
    let mut found = Vec::new();
    for inner in graph.terms_like(*base, |it| matches!(it, Term::Power(..))) {
        let Term::Power(bits, [innermost]) = inner else { continue };
        if outer.fract() == 0.0 || graph.facts(innermost).range.positive {
            let inner = graph.exactly(&inner);
            let before = graph.exactly(&term.with(&[inner]));
            found.push((before, graph.power(innermost, f64::from_bits(bits) * outer)));
        }
    }
    found
}

/// A statistic that is a factor of the argument, out of a function that scales with it.
fn homogeneous(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let mut found = Vec::new();
    match term {
        Term::Unary(UnaryOp::Abs | UnaryOp::Relu, [a]) => {
            for factors in graph.products(*a) {
                for (position, &factor) in factors.iter().enumerate() {
                    if is_statistic(graph, factor) && graph.facts(factor).range.is_nonnegative() {
                        let inner = graph.exactly(&Term::Product(factors.clone().into()));
                        let before = graph.exactly(&term.with(&[inner]));
                        let rest = graph.product(without(&factors, position));
                        let applied = graph.exactly(&term.with(&[rest]));
                        found.push((before, graph.product(vec![factor, applied])));
                    }
                }
            }
        }
        Term::Binary(BinaryOp::Max | BinaryOp::Min, [a, b]) => {
            let candidates: BTreeSet<Class> = graph.products(*a).into_iter().flatten().collect();
            for factor in candidates {
                let scales = is_statistic(graph, factor) && graph.facts(factor).range.is_nonnegative();
                let shared = graph.products(*b).iter().any(|it| it.contains(&factor));
                if scales && shared {
                    let ((a, rest_a), (b, rest_b)) = (split(graph, *a, factor), split(graph, *b, factor));
                    let before = graph.exactly(&term.with(&[a, b]));
                    let inner = graph.exactly(&term.with(&[rest_a, rest_b]));
                    found.push((before, graph.product(vec![factor, inner])));
                }
            }
        }
        _ => {}
    }
    found
}

/// On demand: without the statistics that lack a rank of the product, so that none of them has to be there before.
fn zero_of_product(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Compare(CompareOp::Eq | CompareOp::Ne, [a, zero]) = term else { return Vec::new() };
    if graph.constant_real(*zero) != Some(0.0) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for factors in graph.products(*a) {
        let is_fixed = |it: &Class| {
            let facts = graph.facts(*it);
            is_statistic(graph, *it) && facts.range.positive && facts.free != graph.facts(*a).free
        };
        let (fixed, rest): (Vec<Class>, Vec<Class>) = factors.iter().partition(|it| is_fixed(it));
        if fixed.is_empty() || rest.is_empty() {
            continue;
        }
        let inner = graph.exactly(&Term::Product(factors.clone().into()));
        let before = graph.exactly(&term.with(&[inner, *zero]));
        let rest = graph.product(rest);
        let mut after = graph.exactly(&term.with(&[rest, *zero]));
        for factor in fixed {
            after = present_with(graph, after, factor);
        }
        found.push((before, after));
    }
    found
}
