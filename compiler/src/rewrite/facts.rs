//! What is known of a class of terms. Facts only ever get stronger as classes merge.

use attnc_dsl::ast::{CompareOp, DType, Kind};
use egg::{Analysis, DidMerge, EGraph, Language};

use super::domain::{Atom, Domain, exists, one_of, ranks_of};
use super::range::Range;
use super::setting::Setting;
use super::term::{Class, Term};
use crate::analyze::stage::{State, join};
use crate::ir::cascade::{RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, UnaryOp};

/// Equal terms.
pub(crate) type Graph = EGraph<Term, Setting>;

/// What is known of every term of a class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    /// The kind of its value.
    pub(crate) kind: Kind,
    /// The part-less ranks that it may depend on, ascending.
    pub(crate) free: Vec<RankId>,
    /// Where it is present.
    pub(crate) domain: Domain,
    /// Where its values lie, for reals.
    pub(crate) range: Range,
    /// Its value wherever it is present: an `Int`, `Real` or `Bool`.
    pub(crate) constant: Option<Term>,
    /// What it needs at least of the sources along each rank of [`Setting::families`].
    pub(crate) passes: Vec<State>,
}

/// The constant truth.
pub(crate) const TRUE: Term = Term::Bool(true);

/// The part-less ranks that a class depends on.
pub(crate) fn free_of(graph: &Graph, class: Class) -> &[RankId] {
    &graph[graph.find(class)].data.free
}

impl Analysis<Term> for Setting {
    type Data = Facts;

    fn make(graph: &mut Graph, term: &Term, id: Class) -> Facts {
        let mut free = free(graph, term);
        free.sort_unstable();
        free.dedup();
        let passes = (0..graph.analysis.families.len()).map(|it| state(graph, term, &free, it)).collect();
        Facts {
            kind: kind(graph, term),
            domain: domain(graph, term, id),
            range: Range::of(graph, term),
            constant: constant(graph, term),
            free,
            passes,
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        let mut merged = a.clone();
        merged.free.retain(|it| b.free.contains(it));
        merged.range = a.range.both(b.range);
        merged.constant = a.constant.clone().or(b.constant.clone());
        if size(&b.domain) < size(&a.domain) {
            merged.domain.clone_from(&b.domain);
        }
        for (a, b) in merged.passes.iter_mut().zip(&b.passes) {
            a.least(b);
        }
        let did = DidMerge(merged != *a, merged != b);
        *a = merged;
        did
    }

    fn modify(graph: &mut Graph, id: Class) {
        graph.analysis.changed(id);
    }
}

/// How much there is to a domain; of two ways to say the same the shorter is kept.
fn size(domain: &Domain) -> usize {
    let atom = |it: &Atom| match it {
        Atom::Holds(_) | Atom::Defined(_) => 1,
        Atom::Exists(_, inner) => 1 + size(inner),
        Atom::OneOf(some) => 1 + some.iter().map(size).sum::<usize>(),
    };
    domain.iter().map(atom).sum()
}

fn kind(graph: &Graph, term: &Term) -> Kind {
    let of = |id: &Class| graph[*id].data.kind;
    match term {
        Term::Int(_) | Term::Extent(_) | Term::Index(_) => Kind::Int,
        Term::Real(_) | Term::Sum(_) | Term::Product(_) | Term::Power(..) => Kind::Real,
        Term::Bool(_) | Term::Compare(..) | Term::Present(_) => Kind::Bool,
        Term::Param(_, kind) | Term::Read(_, kind, _) | Term::Input(_, kind, _) => *kind,
        Term::Written(tensor) => graph.analysis.cascade.tensors[*tensor].kind,
        Term::Unary(op, [a]) => op.kind(of(a)),
        Term::Binary(_, [a, _]) | Term::Where([a, _]) | Term::Else([a, _]) | Term::If([_, a, _]) => of(a),
        Term::Cast(dtype, _) => dtype.kind(),
        Term::Pick(all) => of(&all[1]),
        Term::Reduce(ReduceOp::Count, ..) => Kind::Int,
        Term::Reduce(_, _, [a]) => of(a),
        Term::Union(_, all) => of(&all[0]),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn free(graph: &Graph, term: &Term) -> Vec<RankId> {
    let setting = &graph.analysis;
    let of = |ids: &[Class]| ids.iter().flat_map(|it| free_of(graph, *it).to_vec()).collect::<Vec<_>>();
    match term {
        Term::Index(rank) => setting.atoms(*rank).to_vec(),
        Term::Written(tensor) => setting.ranks_of(*tensor),
        Term::Read(_, _, ids) => of(&ids[1..]),
        Term::Reduce(_, ranks, body) => {
            let gone: Vec<RankId> = ranks.iter().flat_map(|it| setting.atoms(*it).to_vec()).collect();
            of(body).into_iter().filter(|it| !gone.contains(it)).collect()
        }
        other => of(other.children()),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn constant(graph: &Graph, term: &Term) -> Option<Term> {
    let of = |id: &Class| graph[*id].data.constant.clone();
    match term {
        Term::Int(_) | Term::Real(_) | Term::Bool(_) => Some(term.clone()),
        Term::Where([value, _]) => of(value),
        Term::Unary(UnaryOp::ToReal, [a]) => match of(a) {
            Some(Term::Int(value)) => Some(Term::Real((value as f64).to_bits())),
            _ => None,
        },
        Term::Unary(UnaryOp::Not, [a]) => match of(a) {
            Some(Term::Bool(value)) => Some(Term::Bool(!value)),
            _ => None,
        },
        Term::Compare(op, [a, b]) => super::range::decided(graph, *op, *a, *b).map(Term::Bool),
        _ => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn domain(graph: &Graph, term: &Term, id: Class) -> Domain {
    let of = |id: &Class| &graph[*id].data.domain;
    let all = |ids: &[Class]| -> Domain { ids.iter().flat_map(|it| of(it).clone()).collect() };
    let opaque = || Domain::from([Atom::Defined(id)]);
    let operands = term.children();
    match term {
        Term::Present(_) => Domain::new(),
        Term::Where([value, condition]) => {
            let mut domain = all(&[*value, *condition]);
            holding(graph, *condition, &mut domain);
            domain
        }
        Term::Else([_, other]) if of(other).is_empty() => Domain::new(),
        Term::Else([value, other]) => one_of(graph, [of(value).clone(), of(other).clone()].into_iter()),
        Term::If([condition, a, b]) if of(a).is_empty() && of(b).is_empty() => of(condition).clone(),
        Term::If(_) | Term::Pick(_) => opaque(),
        Term::Input(tensor, _, coordinates) => match graph.analysis.bounds(graph, *tensor, coordinates) {
            Some(bounds) => {
                let mut domain = all(coordinates);
                bounds.into_iter().for_each(|it| holding(graph, it, &mut domain));
                domain
            }
            None => opaque(),
        },
        Term::Read(..) => opaque(),
        Term::Written(tensor) if graph.analysis.is_total(*tensor) => Domain::new(),
        Term::Written(_) => opaque(),
        Term::Reduce(op, ranks, [body]) if super::term::is_strict_reduction(*op) => {
            let atoms: Vec<RankId> = ranks.iter().flat_map(|it| graph.analysis.atoms(*it).to_vec()).collect();
            exists(graph, &atoms, of(body))
        }
        Term::Reduce(..) => Domain::new(),
        Term::Union(_, ids) => one_of(graph, ids.iter().map(|it| of(it).clone())),
        Term::Binary(BinaryOp::FloorDiv | BinaryOp::Mod, [_, b]) => match graph[*b].data.constant {
            Some(Term::Int(value)) if value != 0 => all(operands),
            _ => opaque(),
        },
        Term::Binary(BinaryOp::Shl | BinaryOp::Shr, [_, count])
            if graph[*count].data.range.is_within(0.0, 63.0) =>
        {
            all(operands)
        }
        other if other.is_strict() => all(operands),
        _ if all(operands).is_empty() && !is_partial(term) => Domain::new(),
        _ => opaque(),
    }
}

/// Adds what it means that a bool holds.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn holding(graph: &Graph, condition: Class, domain: &mut Domain) {
    let both = graph[condition].nodes.iter().find_map(|it| match it {
        Term::Binary(BinaryOp::And, both) => Some(*both),
        _ => None,
    });
    let counted = graph[condition].nodes.iter().find_map(|it| match it {
        Term::Compare(CompareOp::Gt, [a, b]) if graph[*b].data.constant == Some(Term::Int(0)) => {
            graph[*a].nodes.iter().find_map(|it| match it {
                Term::Extent(rank) if graph.analysis.atoms(*rank) == [*rank] => Some(*rank),
                _ => None,
            })
        }
        _ => None,
    });
    match both {
        Some(both) => both.iter().for_each(|&it| holding(graph, it, domain)),
        None if let Some(rank) = counted => {
            // The author asks, so it is not for us to say that there is one.
            domain.insert(Atom::Exists(vec![rank], Domain::new()));
        }
        None if graph[condition].data.constant == Some(TRUE) => {}
        None => {
            domain.insert(Atom::Holds(graph.find(condition)));
        }
    }
}

/// Absent for some present operands.
fn is_partial(term: &Term) -> bool {
    matches!(
        term,
        Term::Unary(UnaryOp::Ilog2, _)
            | Term::Binary(BinaryOp::Shl | BinaryOp::Shr | BinaryOp::FloorDiv | BinaryOp::Mod, _)
    )
}

/// What a term needs of the sources along a family of ranks, at least.
fn state(graph: &Graph, term: &Term, free: &[RankId], family: usize) -> State {
    state_from(graph, term, free, family, &|id| &graph[id].data.passes[family])
}

/// What a term needs of the sources along a family of ranks, from what its operands need.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn state_from<'s>(
    graph: &Graph,
    term: &Term,
    free: &[RankId],
    family: usize,
    of: &dyn Fn(Class) -> &'s State,
) -> State {
    let setting = &graph.analysis;
    let of = |id: &Class| of(*id);
    let ranks = &setting.families[family];
    let spans = ranks.iter().all(|it| free.contains(it));
    let touches = ranks.iter().any(|it| free.contains(it));
    match term {
        Term::Written(tensor) => setting.written[family].get(tensor).cloned().unwrap_or_default(),
        Term::Input(tensor, _, coordinates) => {
            let point = if spans { first(*tensor) } else { State::default() };
            join(spans, touches, coordinates.iter().map(of).chain([&point]))
        }
        Term::Read(tensor, _, operands) => {
            let mut point = of(&operands[0]).clone();
            if !setting.is_near(graph, *tensor, &operands[1..], ranks) {
                point.close();
            }
            if spans && point.is_empty() {
                point = first(*tensor);
            }
            join(spans, touches, operands[1..].iter().map(of).chain([&point]))
        }
        // It is computed from what decides it, not from the value.
        Term::Present([a]) => state_of(graph, &graph[*a].data.domain, family),
        other => join(spans, touches, other.children().iter().map(of)),
    }
}

/// What conditions need of the sources along a family of ranks, at least.
fn state_of(graph: &Graph, domain: &Domain, family: usize) -> State {
    let ranks = &graph.analysis.families[family];
    let of = |atom: &Atom| {
        let inner = match atom {
            Atom::Holds(class) | Atom::Defined(class) => vec![graph[*class].data.passes[family].clone()],
            Atom::Exists(_, inner) => vec![state_of(graph, inner, family)],
            Atom::OneOf(some) => some.iter().map(|it| state_of(graph, it, family)).collect(),
        };
        let free = ranks_of(graph, atom);
        joined(ranks, &free, &inner)
    };
    let states: Vec<State> = domain.iter().map(of).collect();
    let free: Vec<RankId> = domain.iter().flat_map(|it| ranks_of(graph, it)).collect();
    joined(ranks, &free, &states)
}

fn joined(family: &[RankId], free: &[RankId], operands: &[State]) -> State {
    let (spans, touches) =
        (family.iter().all(|it| free.contains(it)), family.iter().any(|it| free.contains(it)));
    join(spans, touches, operands.iter())
}

/// A tensor whose elements are read one after the other.
fn first(tensor: TensorId) -> State {
    let mut state = State::default();
    state.read(tensor);
    state
}

/// Whether storing as that dtype rounds reals.
pub(crate) fn rounds(dtype: DType) -> bool {
    match dtype {
        DType::F64 | DType::F32 | DType::I64 | DType::Bool => false,
        DType::F16
        | DType::BF16
        | DType::F8E4M3
        | DType::F8E5M2
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::I4 => true,
    }
}
