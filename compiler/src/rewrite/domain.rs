//! Where a term is present: a set of conditions, all of which hold exactly at its present points.
//!
//! ```text
//! exp(s where n <= m)            { n <= m }
//! Reduce(Sum, n, that)           { there is an n with { n <= m } }
//! ```

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, Kind};

use super::facts::{Graph, free_of};
use super::term::{Class, Term};
use crate::ir::cascade::RankId;
use crate::ir::cover::{Affine, Bound, DEPTH, Piece, covers};

/// Conditions, all of which hold; none for what is present everywhere.
pub(crate) type Domain = BTreeSet<Atom>;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Atom {
    /// A bool is true.
    Holds(Class),
    /// A term is present, of which no more is known.
    Defined(Class),
    /// There is a point along these part-less ranks at which all of these hold.
    Exists(Vec<RankId>, Domain),
    /// One of these domains has the point.
    OneOf(Vec<Domain>),
}

/// The domain with every class by its present name.
pub(crate) fn canonical(graph: &Graph, domain: &Domain) -> Domain {
    let known_true = |class: Class| graph[graph.find(class)].data.constant == Some(super::facts::TRUE);
    domain
        .iter()
        .filter(|atom| !matches!(atom, Atom::Holds(class) if known_true(*class)))
        .map(|atom| match atom {
            Atom::Holds(class) => Atom::Holds(graph.find(*class)),
            Atom::Defined(class) => Atom::Defined(graph.find(*class)),
            Atom::Exists(ranks, inner) => Atom::Exists(ranks.clone(), canonical(graph, inner)),
            Atom::OneOf(some) => Atom::OneOf(some.iter().map(|it| canonical(graph, it)).collect()),
        })
        .collect()
}

/// Where a reduction over these part-less ranks has a point: conditions that do not depend on them stay as they are.
pub(crate) fn exists(graph: &Graph, ranks: &[RankId], domain: &Domain) -> Domain {
    let depends = |atom: &Atom| ranks_of(graph, atom).iter().any(|it| ranks.contains(it));
    let (mut inner, mut outer): (Domain, Domain) = domain.iter().cloned().partition(depends);
    for extent in extents(graph, ranks, &inner) {
        inner.remove(&extent);
    }
    let used: Vec<RankId> = inner.iter().flat_map(|it| ranks_of(graph, it)).collect();
    let (bound, alone): (Vec<RankId>, Vec<RankId>) = ranks.iter().partition(|it| used.contains(it));
    for rank in alone {
        if graph.analysis.may_be_empty(rank) {
            outer.insert(Atom::Exists(vec![rank], Domain::new()));
        }
    }
    if !inner.is_empty() {
        outer.insert(Atom::Exists(bound, inner));
    }
    outer
}

/// Conditions that a composite rank has a point, over all of its parts and beside no other condition on them: they hold
/// somewhere if there are any points.
fn extents(graph: &Graph, ranks: &[RankId], inner: &Domain) -> Vec<Atom> {
    let mut found = Vec::new();
    for (whole, _) in graph.analysis.cascade.ranks.iter().filter(|(_, it)| !it.parts.is_empty()) {
        let atoms = graph.analysis.atoms(whole);
        let mut speak = inner.iter().filter(|it| ranks_of(graph, it).iter().any(|it| atoms.contains(it)));
        let (first, second) = (speak.next(), speak.next());
        if let (Some(Atom::Holds(condition)), None) = (first, second)
            && atoms.iter().all(|it| ranks.contains(it))
            && is_extent(graph, *condition, whole)
        {
            found.extend(first.cloned());
        }
    }
    found
}

/// The condition says that a composite rank has a point.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn is_extent(graph: &Graph, condition: Class, rank: RankId) -> bool {
    let has = |class: Class, term: &Term| graph[graph.find(class)].nodes.contains(term);
    graph[graph.find(condition)].nodes.iter().any(|it| match it {
        Term::Compare(CompareOp::Lt, [a, b]) => has(*a, &Term::Index(rank)) && has(*b, &Term::Extent(rank)),
        _ => false,
    })
}

/// Where one of these terms is present.
pub(crate) fn one_of(graph: &Graph, domains: impl Iterator<Item = Domain>) -> Domain {
    let mut some: Vec<Domain> = domains.collect();
    some.sort();
    some.dedup();
    match some.as_slice() {
        [only] => only.clone(),
        all if all.iter().any(Domain::is_empty) => Domain::new(),
        all if covers(&graph.analysis.cascade, &pieces(graph, all)) => Domain::new(),
        _ => Domain::from([Atom::OneOf(some)]),
    }
}

/// Those domains, and those that they are one of, that are a range of coordinates.
fn pieces(graph: &Graph, domains: &[Domain]) -> Vec<Piece> {
    let one = |domain: &Domain| -> Vec<Piece> {
        let alone = domain.first().filter(|_| domain.len() == 1);
        match alone {
            Some(Atom::OneOf(some)) => pieces(graph, some),
            _ => {
                let bounds: Option<Vec<_>> = domain.iter().map(|it| bound(graph, it)).collect();
                bounds.and_then(Piece::of).into_iter().collect()
            }
        }
    };
    domains.iter().flat_map(one).collect()
}

/// The comparison of numbers that a condition is.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn bound(graph: &Graph, atom: &Atom) -> Option<Bound> {
    let Atom::Holds(class) = atom else { return None };
    graph[graph.find(*class)].nodes.iter().find_map(|it| match it {
        Term::Compare(op, [a, b]) => Some((*op, affine(graph, *a, DEPTH)?, affine(graph, *b, DEPTH)?)),
        _ => None,
    })
}

/// An integer as a sum of multiples.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn affine(graph: &Graph, class: Class, depth: u32) -> Option<Affine> {
    let cascade = &graph.analysis.cascade;
    let below = depth.checked_sub(1)?;
    graph[graph.find(class)].nodes.iter().find_map(|it| match it {
        Term::Int(value) => Affine::number(*value),
        Term::Index(rank) => Affine::index(cascade, *rank),
        Term::Extent(rank) => Some(Affine::extent(cascade, *rank)),
        Term::Param(param, Kind::Int) => Affine::param(cascade, *param),
        Term::Binary(op, [a, b]) => {
            Affine::combined(*op, &affine(graph, *a, below)?, &affine(graph, *b, below)?)
        }
        _ => None,
    })
}

/// The part-less ranks that a condition depends on.
pub(crate) fn ranks_of(graph: &Graph, atom: &Atom) -> Vec<RankId> {
    match atom {
        Atom::Holds(class) | Atom::Defined(class) => free_of(graph, *class).to_vec(),
        Atom::Exists(ranks, inner) => {
            inner.iter().flat_map(|it| ranks_of(graph, it)).filter(|it| !ranks.contains(it)).collect()
        }
        Atom::OneOf(some) => some.iter().flatten().flat_map(|it| ranks_of(graph, it)).collect(),
    }
}

/// Wherever all of `given` hold, at a point that has a coordinate along each of `at`, all of `wanted` hold.
/// An answer of `false` means that it is not known.
pub(crate) fn implies(graph: &Graph, given: &Domain, at: &[RankId], wanted: &Domain) -> bool {
    let wanted = canonical(graph, wanted);
    if wanted.is_empty() {
        return true;
    }
    let given = canonical(graph, given);
    wanted.iter().all(|it| holds(&given, at, it))
}

/// Present at every point that has the coordinates it depends on.
pub(crate) fn is_total(graph: &Graph, class: Class) -> bool {
    implies(graph, &Domain::new(), free_of(graph, class), &graph[graph.find(class)].data.domain)
}

fn holds(given: &Domain, at: &[RankId], wanted: &Atom) -> bool {
    if given.contains(wanted) || has_case(given, at, wanted) {
        return true;
    }
    let all = |given: &Domain, wanted: &Domain| wanted.iter().all(|it| holds(given, at, it));
    match wanted {
        Atom::Holds(_) | Atom::Defined(_) => false,
        // A point of the fiber shows that there is one.
        Atom::Exists(ranks, inner) => {
            (ranks.iter().all(|it| at.contains(it)) && all(given, inner))
                || given.iter().any(
                    |it| matches!(it, Atom::Exists(over, known) if ranks.iter().all(|it| over.contains(it)) && all(known, inner)),
                )
        }
        Atom::OneOf(some) => some.iter().any(|it| all(given, it)),
    }
}

/// One of several domains has the point, and each of them implies what is wanted.
fn has_case(given: &Domain, at: &[RankId], wanted: &Atom) -> bool {
    given.iter().any(|it| match it {
        Atom::OneOf(some) => some.iter().all(|one| holds(one, at, wanted)),
        Atom::Holds(_) | Atom::Defined(_) | Atom::Exists(..) => false,
    })
}
