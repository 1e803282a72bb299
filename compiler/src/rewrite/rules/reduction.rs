//! Reductions over ranks: what may leave them, enter them, merge with them.

use super::precise::{self, squared, widened};
use super::{
    Equation, Exactness, Phase, Rule, atoms, is_free_of, is_late, is_linear, is_statistic, product_with,
    with, without,
};
use attnc_dsl::ast::{CompareOp, DType, Kind};

use crate::ir::cascade::{Extent, RankId, ReduceOp};
use crate::ir::expr::UnaryOp;
use crate::rewrite::build::Build;
use crate::rewrite::domain::{implies, is_extent};
use crate::rewrite::facts::Graph;
use crate::rewrite::term::{Class, Term, identity, is_strict_reduction};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "factor-out",
        law: "Σᵣ c·x = c·Σᵣ x, if c is constant along r",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: factor_out,
    },
    Rule {
        name: "push-in",
        law: "c·Σᵣ x = Σᵣ c·x, if c is constant along r",
        phase: Phase::Algebra,
        exactness: Exactness::Reassociates,
        find: push_in,
    },
    Rule {
        name: "merge-ranks",
        law: "Σᵣ Σₛ x = Σᵣₛ x, and so for max, min and products",
        phase: Phase::Normalise,
        exactness: Exactness::Reassociates,
        find: merge_ranks,
    },
    Rule {
        name: "compose",
        law: "Σᵢⱼ x where n < |n| = Σₙ x for n = (i, j), and so for other reductions",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: compose,
    },
    Rule {
        name: "sum-of-sum",
        law: "Σᵣ c·(x + y) = Σᵣ c·x + Σᵣ c·y, where both are present",
        phase: Phase::Algebra,
        exactness: Exactness::Reassociates,
        find: sum_of_sum,
    },
    Rule {
        name: "narrow",
        law: "f64(c·x) = c·f64(x), if c is constant along a rank of x",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: narrow,
    },
    Rule {
        name: "shift-out",
        law: "maxᵣ (c + x) = c + maxᵣ x, if c is constant along r",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: shift_out,
    },
    Rule {
        name: "scale-out",
        law: "maxᵣ (c·x) = c·maxᵣ x, if c ≥ 0 is constant along r",
        phase: Phase::Algebra,
        exactness: Exactness::Rounds,
        find: scale_out,
    },
    Rule {
        name: "count",
        law: "Σᵣ 1 = |r|, where there is a point",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: count,
    },
    Rule {
        name: "skip-identity",
        law: "Σᵣ (x else 0) = Σᵣ x, and so for other reductions and their identities",
        phase: Phase::Normalise,
        exactness: Exactness::Exact,
        find: skip_identity,
    },
];

fn is_reduction(term: &Term) -> bool {
    matches!(term, Term::Reduce(..))
}

/// One rank at a time: which of several is summed over first is what order of contraction means.
fn factor_out(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(ReduceOp::Sum, ranks, [body]) = term else { return Vec::new() };
    if graph.facts(*body).kind != Kind::Real {
        return Vec::new();
    }
    let mut found = Vec::new();
    let bodies: Vec<(Option<Vec<Class>>, Vec<Class>)> = graph
        .fewest(graph.products(*body))
        .into_iter()
        .map(|it| (Some(it.clone()), it))
        .chain([(None, vec![*body])])
        .collect();
    for (product, factors) in bodies {
        for &rank in ranks {
            let family = graph.analysis.atoms(rank).to_vec();
            let (fixed, moves): (Vec<Class>, Vec<Class>) =
                factors.iter().partition(|it| is_free_of(graph, **it, &family));
            let trivial = fixed.is_empty() || (product.is_none() && graph.constant_real(*body).is_some());
            if trivial {
                continue;
            }
            let inner = match &product {
                Some(factors) => graph.exactly(&Term::Product(factors.clone().into())),
                None => *body,
            };
            let before = graph.exactly(&term.with(&[inner]));
            let moving = graph.product(moves);
            let summed = graph.reduce(ReduceOp::Sum, vec![rank], moving);
            let product = graph.product([fixed, vec![summed]].concat());
            let others = ranks.iter().copied().filter(|it| *it != rank).collect();
            found.push((before, graph.reduce(ReduceOp::Sum, others, product)));
        }
    }
    found
}

/// On demand: into a contraction, by what shares a rank with its result, so that another order may be taken.
fn push_in(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Product(factors) = term else { return Vec::new() };
    let mut found = Vec::new();
    for (position, &factor) in factors.iter().enumerate() {
        let rest = without(factors, position);
        for inner in graph.terms_like(factor, is_reduction) {
            let Term::Reduce(ReduceOp::Sum, ranks, [body]) = &inner else { continue };
            let over = atoms(graph, ranks);
            let outside = rest.iter().all(|it| is_free_of(graph, *it, &over));
            let shared = graph.analysis.families.iter().any(|family| {
                !is_free_of(graph, factor, family) && rest.iter().any(|it| !is_free_of(graph, *it, family))
            });
            let linear = rest.iter().all(|it| is_linear(graph, *it));
            if !outside || !shared || !linear || graph.products(*body).is_empty() {
                continue;
            }
            let reduced = graph.exactly(&inner);
            let before = graph.exactly(&term.with(&with(factors, position, reduced)));
            let product = graph.product([rest.clone(), vec![*body]].concat());
            found.push((before, graph.reduce(ReduceOp::Sum, ranks.to_vec(), product)));
        }
    }
    found
}

/// Composite ranks that something reduces over, too.
fn compose(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(op, ranks, [body]) = term else { return Vec::new() };
    let cascade = &graph.analysis.cascade;
    let is_reduced = |rank: RankId| cascade.einsums().any(|it| it.op.reduced().contains(&rank));
    let wholes: Vec<(RankId, Vec<RankId>, bool)> = (cascade.ranks.iter())
        .filter(|(_, it)| !it.parts.is_empty() && it.parts.iter().all(|part| ranks.contains(part)))
        .filter(|(rank, _)| is_reduced(*rank))
        .map(|(rank, it)| (rank, it.parts.clone(), cascade.is_ragged(rank)))
        .collect();
    let mut found = Vec::new();
    for (whole, parts, is_ragged) in wholes {
        let others = ranks.iter().copied().filter(|it| !parts.contains(it));
        let ranks: Vec<RankId> = others.chain([whole]).collect();
        if !is_ragged {
            let before = graph.exactly(term);
            found.push((before, graph.reduce(*op, ranks.clone(), *body)));
        }
        for inner in graph.terms_like(*body, |it| matches!(it, Term::Where(_))) {
            let Term::Where([value, condition]) = inner else { continue };
            if is_extent(graph, condition, whole) {
                let inner = graph.exactly(&inner);
                let before = graph.exactly(&term.with(&[inner]));
                found.push((before, graph.reduce(*op, ranks.clone(), value)));
            }
        }
    }
    found
}

fn merge_ranks(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(op, outer, [body]) = term else { return Vec::new() };
    if !is_strict_reduction(*op) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for inner in graph.terms_like(*body, is_reduction) {
        match &inner {
            Term::Reduce(same, ranks, [x]) if same == op && !ranks.iter().any(|it| outer.contains(it)) => {
                let reduced = graph.exactly(&inner);
                let before = graph.exactly(&term.with(&[reduced]));
                found.push((before, graph.reduce(*op, [outer.to_vec(), ranks.to_vec()].concat(), *x)));
            }
            _ => {}
        }
    }
    found
}

/// On demand: where, along the ranks of the reduction, some terms move and others do not, or a second pass would
/// have to wait for the sum.
fn sum_of_sum(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(ReduceOp::Sum, ranks, [body]) = term else { return Vec::new() };
    let over = atoms(graph, ranks);
    let mut found = Vec::new();
    for factors in graph.fewest(graph.products(*body)).into_iter().chain([vec![*body]]) {
        for (position, &factor) in factors.iter().enumerate() {
            // A square is taken apart as a square.
            if without(&factors, position).contains(&factor) {
                continue;
            }
            for (exactly, terms) in spread(graph, factor, &over) {
                let rest = without(&factors, position);
                let product = product_with(graph, &factors, position, exactly);
                let before = graph.exactly(&term.with(&[product]));
                let products = precise::products(graph, &rest, exactly, terms, &over);
                let sums = together(graph, &products).into_iter();
                let sums = sums.map(|it| graph.reduce(ReduceOp::Sum, ranks.to_vec(), it)).collect();
                found.push((before, graph.sum(sums)));
            }
        }
    }
    found
}

/// On demand: a statistic, so that it may leave a sum whose terms are taken in f64.
fn narrow(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Cast(DType::F64, [value]) = term else { return Vec::new() };
    let mut found = Vec::new();
    for factors in graph.fewest(graph.products(*value)) {
        let is_fixed =
            |it: &Class| is_statistic(graph, *it) && graph.facts(*it).free != graph.facts(*value).free;
        let (fixed, rest): (Vec<Class>, Vec<Class>) = factors.iter().partition(|it| is_fixed(it));
        let moves = rest.iter().any(|it| graph.constant_real(*it).is_none());
        if fixed.is_empty() || !moves {
            continue;
        }
        let inner = graph.exactly(&Term::Product(factors.clone().into()));
        let before = graph.exactly(&term.with(&[inner]));
        let rest = graph.product(rest);
        let rest = widened(graph, rest);
        found.push((before, graph.product([fixed, vec![rest]].concat())));
    }
    found
}

/// How many terms a sum may have that is taken apart.
const TERMS: usize = 8;

/// The ways to see a factor as a sum that is worth taking apart: the factor, and the factors of each of its terms.
fn spread(graph: &mut Graph, factor: Class, over: &[RankId]) -> Vec<(Class, Vec<Vec<Class>>)> {
    let wanted = |graph: &Graph, sum: Class, terms: &[Class]| {
        let fixed = terms.iter().filter(|it| is_free_of(graph, **it, over)).count();
        let mixed = fixed > 0 && fixed < terms.len();
        terms.len() <= TERMS && (mixed || is_late(graph, sum, over))
    };
    let mut found = Vec::new();
    let sums = graph.fewest(graph.sums(factor)).into_iter().map(|it| Term::Sum(it.into()));
    let powers = graph.terms_like(factor, |it| matches!(it, Term::Power(..)));
    for term in sums.chain(powers).collect::<Vec<_>>() {
        match &term {
            Term::Sum(terms) if wanted(graph, factor, terms) => {
                let parts = terms.iter().map(|&it| vec![it]).collect();
                found.push((graph.exactly(&term), parts));
            }
            Term::Power(bits, [base]) if f64::from_bits(*bits) == 2.0 => {
                let sums = graph.fewest(graph.sums(*base));
                if let Some(terms) = sums.into_iter().find(|it| wanted(graph, *base, it)) {
                    found.push((graph.exactly(&term), squared(graph, &terms, over)));
                }
            }
            _ => {}
        }
    }
    found
}

/// The values where all of them are present.
fn together(graph: &mut Graph, values: &[Class]) -> Vec<Class> {
    let at: Vec<RankId> = values.iter().flat_map(|it| graph.facts(*it).free.clone()).collect();
    let mut restricted = Vec::new();
    for &value in values {
        // What the others say together is said once.
        let mut said: Vec<Class> = values.to_vec();
        for &other in values.iter().filter(|it| **it != value) {
            let domains = said.iter().filter(|it| **it != other).map(|it| &graph.facts(*it).domain);
            let known = domains.flatten().cloned().collect();
            if implies(graph, &known, &at, &graph.facts(other).domain) {
                said.retain(|it| *it != other);
            }
        }
        let mut restricting = value;
        for other in said.into_iter().filter(|it| *it != value) {
            let present = graph.exactly(&Term::Present([other]));
            restricting = graph.exactly(&Term::Where([restricting, present]));
        }
        restricted.push(restricting);
    }
    restricted
}

fn shift_out(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(op @ (ReduceOp::Max | ReduceOp::Min), ranks, [body]) = term else { return Vec::new() };
    let over = atoms(graph, ranks);
    let mut found = Vec::new();
    for terms in graph.sums(*body) {
        let (fixed, moves): (Vec<Class>, Vec<Class>) =
            terms.iter().partition(|it| is_free_of(graph, **it, &over));
        if fixed.is_empty() || moves.is_empty() {
            continue;
        }
        let inner = graph.exactly(&Term::Sum(terms.clone().into()));
        let before = graph.exactly(&term.with(&[inner]));
        let moving = graph.sum(moves);
        let extreme = graph.reduce(*op, ranks.to_vec(), moving);
        found.push((before, graph.sum([fixed, vec![extreme]].concat())));
    }
    found
}

fn scale_out(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(op @ (ReduceOp::Max | ReduceOp::Min), ranks, [body]) = term else { return Vec::new() };
    let over = atoms(graph, ranks);
    let mut found = Vec::new();
    for factors in graph.products(*body) {
        let (fixed, moves): (Vec<Class>, Vec<Class>) = factors
            .iter()
            .partition(|it| is_free_of(graph, **it, &over) && graph.facts(**it).range.is_nonnegative());
        if fixed.is_empty() || moves.is_empty() {
            continue;
        }
        let inner = graph.exactly(&Term::Product(factors.clone().into()));
        let before = graph.exactly(&term.with(&[inner]));
        let moving = graph.product(moves);
        let extreme = graph.reduce(*op, ranks.to_vec(), moving);
        found.push((before, graph.product([fixed, vec![extreme]].concat())));
    }
    found
}

fn count(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Reduce(ReduceOp::Sum, ranks, [body]) = term else { return Vec::new() };
    if graph.constant_real(*body) != Some(1.0) {
        return Vec::new();
    }
    let before = graph.exactly(term);
    let mut extents = Vec::new();
    let mut conditions = Vec::new();
    for &rank in ranks {
        let extent = match graph.analysis.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => graph.real(extent as f64),
            Extent::Carried | Extent::Derived(_) => {
                let extent = graph.exactly(&Term::Extent(rank));
                graph.exactly(&Term::Unary(UnaryOp::ToReal, [extent]))
            }
        };
        extents.push(extent);
        for atom in graph.analysis.atoms(rank).to_vec() {
            if graph.analysis.may_be_empty(atom) {
                let (extent, zero) = (graph.exactly(&Term::Extent(atom)), graph.exactly(&Term::Int(0)));
                conditions.push(graph.exactly(&Term::Compare(CompareOp::Gt, [extent, zero])));
            }
        }
    }
    let mut number = graph.product(extents);
    for condition in conditions {
        number = graph.exactly(&Term::Where([number, condition]));
    }
    vec![(before, number)]
}

fn skip_identity(graph: &mut Graph, term: &Term) -> Vec<Equation> {
    let Term::Else([value, other]) = term else { return Vec::new() };
    let mut found = Vec::new();
    for inner in graph.terms_like(*value, is_reduction) {
        let Term::Reduce(op, ranks, [body]) = &inner else { continue };
        let none = identity(*op);
        if none.is_none() || graph.constant_real(*other) != none {
            continue;
        }
        for (innermost, value) in standing_in(graph, *body, none) {
            let reduced = graph.exactly(&inner.with(&[innermost]));
            let before = graph.exactly(&term.with(&[reduced, *other]));
            let after = graph.reduce(*op, ranks.to_vec(), value);
            found.push((before, graph.exactly(&Term::Else([after, *other]))));
        }
    }
    found
}

/// The ways to see a class as `x else y` for that constant y, or as `(x else y) where p`, each with `x`, or `x where p`.
fn standing_in(graph: &mut Graph, class: Class, constant: Option<f64>) -> Vec<(Class, Class)> {
    let mut found = Vec::new();
    for term in graph.terms_like(class, |it| matches!(it, Term::Else(_) | Term::Where(_))) {
        match &term {
            Term::Else([x, y]) if graph.constant_real(*y) == constant => {
                found.push((graph.exactly(&term), *x));
            }
            Term::Where([inner, condition]) => {
                for it in graph.terms_like(*inner, |it| matches!(it, Term::Else(_))) {
                    if let Term::Else([x, y]) = it
                        && graph.constant_real(y) == constant
                    {
                        let inner = graph.exactly(&it);
                        let seen = graph.exactly(&Term::Where([inner, *condition]));
                        found.push((seen, graph.exactly(&Term::Where([x, *condition]))));
                    }
                }
            }
            _ => {}
        }
    }
    found
}
