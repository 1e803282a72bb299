//! Presence: where a value is present, what stands in for it where it is not, and when neither has to be asked.

use attnc_dsl::ast::{CompareOp, Kind};
use egg::Language;

use super::{Equation, Exactness, Phase, Rule, with, without};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::rewrite::build::Build;
use crate::rewrite::domain::{Atom, Domain, canonical, implies, is_total};
use crate::rewrite::facts::{Graph, TRUE};
use crate::rewrite::term::{Class, Term, identity};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "where-known",
        law: "x where p = x, if p holds wherever x is present",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: where_known,
    },
    Rule {
        name: "where-as-factor",
        law: "x where p = x·(1 where p)",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: where_as_factor,
    },
    Rule {
        name: "else-known",
        law: "x else y = x, if x is present everywhere",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: else_known,
    },
    Rule {
        name: "else-unneeded",
        law: "f(x, y else z) = f(x, y) and f(x, y where p) = f(x, y), if y is present or p holds wherever x is present",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: else_unneeded,
    },
    Rule {
        name: "else-outward",
        law: "f(x else z) = f(x) else f(z);  f(x else z, y else w) = f(x, y) else f(z, w), if x and y are present together",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: else_outward,
    },
    Rule {
        name: "zero-absorbs",
        law: "(x else 0)·y = x·y else 0, if y is present everywhere and no quotient by (z else 0)",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: zero_absorbs,
    },
    Rule {
        name: "present-known",
        law: "present(x where p) = p, if x is present everywhere",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: present_known,
    },
    Rule {
        name: "if-known",
        law: "if c then a else b = a, if c is true wherever it is present",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: if_known,
    },
    Rule {
        name: "if-zero",
        law: "if c then 0 else x = (x where not c) else 0, where c is present",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: if_zero,
    },
    Rule {
        name: "join",
        law: "a + b = the sum of the present ones of a, b, if both are present everywhere; and so for max and min",
        phase: Phase::Algebra,
        exactness: Exactness::Exact,
        find: join,
    },
    Rule {
        name: "join-identity",
        law: "the sum of the present ones of (x else 0), y = the sum of the present ones of x, y, else 0",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: join_identity,
    },
];

fn domain(graph: &Graph, class: Class) -> Domain {
    graph.facts(class).domain.clone()
}

/// Wherever the first is present, at a point with the coordinates of that class, the second is.
fn covers(graph: &Graph, given: &Domain, at: Class, wanted: Class) -> bool {
    implies(graph, given, &graph.facts(at).free, &graph.facts(wanted).domain)
}

fn where_known(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Where([value, _]) = term else { return Vec::new() };
    let class = graph.exactly(term);
    if covers(graph, &domain(graph, *value), class, class) { vec![(class, *value)] } else { Vec::new() }
}

/// On demand: where the condition depends on a rank that the value does not depend on, or that a factor of it does
/// not; and for a contraction, which might be taken in another order.
fn where_as_factor(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Where([value, condition]) = term else { return Vec::new() };
    let facts = graph.facts(*value);
    if facts.kind != Kind::Real || graph.constant_real(*value).is_some() {
        return Vec::new();
    }
    let asked = graph.facts(*condition).free.clone();
    let lacks = |class: Class| !asked.iter().all(|it| graph.facts(class).free.contains(it));
    let contracts = !graph.terms_like(*value, |it| matches!(it, Term::Reduce(ReduceOp::Sum, ..))).is_empty();
    let splits = contracts || lacks(*value) || graph.products(*value).iter().flatten().any(|it| lacks(*it));
    if !splits {
        return Vec::new();
    }
    let before = graph.exactly(term);
    let one = graph.real(1.0);
    let condition = graph.exactly(&Term::Where([one, *condition]));
    vec![(before, graph.product(vec![*value, condition]))]
}

fn else_known(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Else([value, _]) = term else { return Vec::new() };
    if is_total(graph, *value) { vec![(graph.exactly(term), *value)] } else { Vec::new() }
}

/// The pair `x else y` that a class is known to be; one with a constant, if there is one.
fn elses(graph: &Graph, class: Class) -> Option<[Class; 2]> {
    let pair = |it| match it {
        Term::Else(pair) => Some(pair),
        _ => None,
    };
    let pairs = graph.terms_like(class, |it| matches!(it, Term::Else(_))).into_iter().filter_map(pair);
    pairs.min_by_key(|[_, other]| graph.constant_real(*other).is_none())
}

fn else_unneeded(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let holding = matches!(term, Term::Where(_));
    if !(term.is_strict() || holding) {
        return Vec::new();
    }
    let operands = term.children().to_vec();
    let class = graph.exactly(term);
    let mut found = Vec::new();
    for (position, &operand) in operands.iter().enumerate() {
        if holding && position == 1 {
            continue;
        }
        let stands_in = elses(graph, operand).map(|[value, other]| (value, Term::Else([value, other])));
        for (value, inner) in stands_in.into_iter().chain(restricted(graph, operand)) {
            let mut given: Domain =
                without(&operands, position).iter().flat_map(|it| domain(graph, *it)).collect();
            if holding {
                given.insert(Atom::Holds(graph.find(operands[1])));
            }
            let needless = match inner {
                Term::Where(_) => covers(graph, &given, class, operand),
                _ => covers(graph, &given, class, value),
            };
            if needless {
                let inner = graph.exactly(&inner);
                let before = graph.exactly(&term.with(&with(&operands, position, inner)));
                found.push((before, remade(graph, term, &with(&operands, position, value))));
            }
        }
    }
    found
}

/// The value that a class is a restriction of, and the restriction.
fn restricted(graph: &Graph, class: Class) -> Option<(Class, Term)> {
    graph.terms_like(class, |it| matches!(it, Term::Where(_))).into_iter().find_map(|it| match it {
        Term::Where([value, _]) => Some((value, it)),
        _ => None,
    })
}

/// The operation on other operands, in order and folded.
fn remade(graph: &mut Graph, term: &Term, operands: &[Class]) -> Class {
    match term {
        Term::Sum(_) => graph.sum(operands.to_vec()),
        Term::Product(_) => graph.product(operands.to_vec()),
        Term::Power(bits, _) => graph.power(operands[0], f64::from_bits(*bits)),
        Term::Unary(op, _) => graph.unary(*op, operands[0]),
        _ => graph.exactly(&term.with(operands)),
    }
}

/// The operands that are not constant are all `x else z`, present together.
fn else_outward(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let real = matches!(term, Term::Sum(_) | Term::Product(_) | Term::Power(..) | Term::Unary(..));
    if !real || graph.facts(term.children()[0]).kind != Kind::Real {
        return Vec::new();
    }
    let operands = term.children().to_vec();
    let (mut matched, mut values, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut together: Option<Class> = None;
    for &operand in &operands {
        if graph.constant_real(operand).is_some() {
            [&mut matched, &mut values, &mut others].into_iter().for_each(|it| it.push(operand));
            continue;
        }
        let Some([value, other]) = elses(graph, operand) else { return Vec::new() };
        let first = *together.get_or_insert(value);
        let both = covers(graph, &domain(graph, first), first, value)
            && covers(graph, &domain(graph, value), value, first);
        if !both {
            return Vec::new();
        }
        matched.push(graph.exactly(&Term::Else([value, other])));
        values.push(value);
        others.push(other);
    }
    if together.is_none() {
        return Vec::new();
    }
    let before = graph.exactly(&term.with(&matched));
    let (value, other) = (remade(graph, term, &values), remade(graph, term, &others));
    vec![(before, graph.exactly(&Term::Else([value, other])))]
}

fn zero_absorbs(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Product(factors) = term else { return Vec::new() };
    let mut found = Vec::new();
    for (position, &factor) in factors.iter().enumerate() {
        let rest = without(factors, position);
        if let Some([value, other]) = elses(graph, factor)
            && graph.constant_real(other) == Some(0.0)
            && rest.iter().all(|it| is_total(graph, *it) && !may_divide_by_nothing(graph, *it))
        {
            let inner = graph.exactly(&Term::Else([value, other]));
            let before = graph.exactly(&term.with(&with(factors, position, inner)));
            let product = graph.product([rest.clone(), vec![value]].concat());
            found.push((before, graph.exactly(&Term::Else([product, other]))));
        }
    }
    found
}

/// A quotient by what is 0 where nothing is there: 0 times that is no number.
fn may_divide_by_nothing(graph: &Graph, class: Class) -> bool {
    let is_zero = |it: Class| graph.constant_real(it) == Some(0.0);
    graph.terms(class).into_iter().any(|it| match it {
        Term::Power(exponent, [base]) if f64::from_bits(exponent) < 0.0 => {
            elses(graph, base).is_some_and(|[_, other]| is_zero(other))
        }
        _ => false,
    })
}

/// A case that gives 0 is a term that is left out.
fn if_zero(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::If([condition, zero, value]) = term else { return Vec::new() };
    let class = graph.exactly(term);
    let is_zero = graph.constant_real(*zero) == Some(0.0);
    if !is_zero || !covers(graph, &domain(graph, *condition), class, *value) {
        return Vec::new();
    }
    let otherwise = graph.terms(*condition).into_iter().find_map(|it| match it {
        Term::Compare(CompareOp::Eq, both) => Some(Term::Compare(CompareOp::Ne, both)),
        Term::Compare(CompareOp::Ne, both) => Some(Term::Compare(CompareOp::Eq, both)),
        _ => None,
    });
    let otherwise = graph.exactly(&otherwise.unwrap_or(Term::Unary(UnaryOp::Not, [*condition])));
    let kept = graph.exactly(&Term::Where([*value, otherwise]));
    let mut after = graph.exactly(&Term::Else([kept, *zero]));
    if !covers(graph, &domain(graph, after), after, *condition) {
        let present = graph.exactly(&Term::Present([*condition]));
        after = graph.exactly(&Term::Where([after, present]));
    }
    vec![(class, after)]
}

fn present_known(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Present([value]) = term else { return Vec::new() };
    let at = graph.facts(*value).free.clone();
    let mut conditions = Vec::new();
    for atom in canonical(graph, &domain(graph, *value)) {
        match atom {
            Atom::Holds(condition) => conditions.push(condition),
            atom if implies(graph, &Domain::new(), &at, &Domain::from([atom.clone()])) => {}
            Atom::Defined(_) | Atom::Exists(..) | Atom::OneOf(_) => return Vec::new(),
        }
    }
    let both = |graph: &mut Graph, a, b| graph.exactly(&Term::Binary(BinaryOp::And, [a, b]));
    let before = graph.exactly(term);
    let after = conditions.into_iter().reduce(|a, b| both(graph, a, b));
    vec![(before, after.unwrap_or_else(|| graph.exactly(&TRUE)))]
}

fn if_known(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::If([condition, a, b]) = term else { return Vec::new() };
    let chosen = match graph.facts(*condition).constant {
        Some(Term::Bool(true)) => *a,
        Some(Term::Bool(false)) => *b,
        _ => return Vec::new(),
    };
    let before = graph.exactly(term);
    let class = graph.find(before);
    let value = if covers(graph, &domain(graph, chosen), class, *condition) {
        chosen
    } else {
        let present = graph.exactly(&Term::Present([*condition]));
        graph.exactly(&Term::Where([chosen, present]))
    };
    vec![(before, value)]
}

/// The operands of an operation that also exists as a reduction of what is present.
fn joinable(graph: &Graph, term: &Term) -> Option<(ReduceOp, Vec<Class>)> {
    let found = match term {
        Term::Sum(it) => (ReduceOp::Sum, it.to_vec()),
        Term::Binary(BinaryOp::Max, it) => (ReduceOp::Max, it.to_vec()),
        Term::Binary(BinaryOp::Min, it) => (ReduceOp::Min, it.to_vec()),
        _ => return None,
    };
    (graph.facts(found.1[0]).kind == Kind::Real).then_some(found)
}

/// On demand: where something stands in for an absent operand.
fn join(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Some((op, operands)) = joinable(graph, term) else { return Vec::new() };
    let total = operands.iter().all(|it| is_total(graph, *it));
    let stands_in =
        |it: &Class| elses(graph, *it).is_some_and(|[_, other]| graph.constant_real(other) == identity(op));
    if !total || !operands.iter().any(stands_in) {
        return Vec::new();
    }
    let before = graph.exactly(term);
    vec![(before, graph.union_of(op, operands))]
}

fn join_identity(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Union(op, operands) = term else { return Vec::new() };
    let mut found = Vec::new();
    for (position, &operand) in operands.iter().enumerate() {
        if let Some([value, other]) = elses(graph, operand) {
            if identity(*op).is_none() || graph.constant_real(other) != identity(*op) {
                continue;
            }
            let inner = graph.exactly(&Term::Else([value, other]));
            let before = graph.exactly(&term.with(&with(operands, position, inner)));
            let joined = graph.union_of(*op, with(operands, position, value));
            let total = is_total(graph, joined);
            let after = if total { joined } else { graph.exactly(&Term::Else([joined, other])) };
            found.push((before, after));
        }
    }
    found
}
