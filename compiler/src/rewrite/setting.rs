//! What the e-graph knows of the cascade that its terms speak of.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::CompareOp;

use super::empty;
use super::facts::Graph;
use super::term::{Class, Term};
use crate::analyze::passes::states;
use crate::analyze::stage::{Source, State};
use crate::ir::cascade::{Cascade, Extent, Op, RankId, ReduceOp, Role, Step, TensorId};
use crate::ir::expr::BinaryOp;

/// A cascade as written, and what the facts of terms need of it.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The cascade.
    pub(crate) cascade: Cascade,
    /// The part-less ranks of each rank that something reduces over, and each of them by itself where no input has them
    /// all: passes are counted by the elements of inputs.
    pub(crate) families: Vec<Vec<RankId>>,
    /// For each family, whether passes along it are worth work: fibers of features lie near once a point is there, where
    /// what is traversed is long.
    pub(crate) is_far: Vec<bool>,
    /// For each family, what every tensor as written needs of its sources.
    pub(crate) written: Vec<BTreeMap<TensorId, State>>,
    /// Part-less ranks of which it is seen that they have no coordinates.
    guarded: BTreeSet<RankId>,
    /// A likely extent for every rank.
    pub(crate) sizes: Vec<f64>,
    /// The round of the search.
    round: usize,
    /// The last round in which each class changed.
    changed: Vec<usize>,
}

impl Setting {
    /// Of a cascade as written.
    pub(crate) fn new(cascade: &Cascade) -> Setting {
        let reduced: BTreeSet<RankId> = cascade.einsums().flat_map(|it| it.op.reduced().to_vec()).collect();
        let mut families: Vec<Vec<RankId>> = Vec::new();
        let mut written = Vec::new();
        let mut count = |rank: RankId| {
            let states = states(cascade, rank);
            let is_traversed = states.values().flat_map(State::iter).any(|(it, _)| match it {
                Source::Tensor(tensor) => cascade.tensors[tensor].role == Role::Input,
                Source::Any => false,
            });
            families.push(cascade.exprs.atoms(rank).to_vec());
            written.push(states);
            is_traversed
        };
        let untraversed: BTreeSet<RankId> = reduced.iter().copied().filter(|it| !count(*it)).collect();
        let parts: BTreeSet<RankId> =
            untraversed.iter().flat_map(|it| cascade.exprs.atoms(*it)).copied().collect();
        for part in parts.difference(&reduced) {
            count(*part);
        }
        let (sizes, guarded) = (sizes(cascade), empty::guarded(cascade));
        let is_far = are_far(cascade, &families);
        let cascade = cascade.clone();
        Setting { cascade, families, is_far, written, guarded, sizes, round: 0, changed: Vec::new() }
    }

    /// Passes along all families that are worth work.
    pub(crate) fn counted(&self, passes: impl IntoIterator<Item = u32>) -> u32 {
        passes.into_iter().zip(&self.is_far).filter(|(_, is_far)| **is_far).map(|(it, _)| it).sum()
    }

    /// Another round of the search begins.
    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// A class got another term, or more is known of it.
    pub(crate) fn changed(&mut self, class: Class) {
        let at = usize::from(class);
        self.changed.resize(self.changed.len().max(at + 1), 0);
        self.changed[at] = self.round;
    }

    /// The class has changed since the last round began.
    pub(crate) fn is_fresh(&self, class: Class) -> bool {
        self.changed[usize::from(class)] + 1 >= self.round
    }

    /// The part-less ranks that a rank stands for.
    pub(crate) fn atoms(&self, rank: RankId) -> &[RankId] {
        self.cascade.exprs.atoms(rank)
    }

    /// The part-less ranks of a tensor.
    pub(crate) fn ranks_of(&self, tensor: TensorId) -> Vec<RankId> {
        self.cascade.tensors[tensor].dims.iter().flat_map(|dim| self.atoms(dim.rank).to_vec()).collect()
    }

    /// The rank may have no coordinates, and it would be seen. Any other is taken to have some: a reduction over it gives
    /// its identity otherwise, which the laws keep.
    pub(crate) fn may_be_empty(&self, rank: RankId) -> bool {
        self.guarded.contains(&rank)
            && !matches!(self.cascade.ranks[rank].extent, Extent::Fixed(extent) if extent > 0)
    }

    /// A step as written defines every point of the tensor.
    pub(crate) fn is_total(&self, tensor: TensorId) -> bool {
        self.cascade.steps.iter().any(|step| match step {
            Step::Einsum(it) => it.tensor == tensor && matches!(it.op, Op::Scan(..)),
            Step::Recurrence(_) => false,
        })
    }

    /// A coordinate is the index of a rank as long as this one.
    pub(crate) fn is_inside(&self, graph: &Graph, rank: RankId, coordinate: Class) -> bool {
        let within = |it: &Term| matches!(it, Term::Index(own) if self.cascade.have_same_extent(*own, rank));
        graph[coordinate].nodes.iter().any(within)
    }

    /// The conditions that coordinates of a tensor are inside; none where the graph does not know them.
    pub(crate) fn bounds(
        &self,
        graph: &Graph,
        tensor: TensorId,
        coordinates: &[Class],
    ) -> Option<Vec<Class>> {
        let mut bounds = Vec::new();
        for (dim, &at) in self.cascade.tensors[tensor].dims.iter().zip(coordinates) {
            if !self.is_inside(graph, dim.rank, at) {
                let zero = graph.lookup(Term::Int(0))?;
                let extent = graph.lookup(self.extent(dim.rank))?;
                bounds.push(graph.lookup(Term::Compare(CompareOp::Ge, [at, zero]))?);
                bounds.push(graph.lookup(Term::Compare(CompareOp::Lt, [at, extent]))?);
            }
        }
        Some(bounds)
    }

    /// The extent of a rank.
    pub(crate) fn extent(&self, rank: RankId) -> Term {
        match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => Term::Int(extent),
            Extent::Carried | Extent::Derived(_) => Term::Extent(rank),
        }
    }

    /// Along these ranks, the coordinates are the indices themselves or a constant number of steps away.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn is_near(
        &self,
        graph: &Graph,
        tensor: TensorId,
        coordinates: &[Class],
        ranks: &[RankId],
    ) -> bool {
        let dims = &self.cascade.tensors[tensor].dims;
        dims.iter().zip(coordinates).all(|(dim, &at)| {
            let along = self.atoms(dim.rank).iter().any(|it| ranks.contains(it));
            let index = |class: Class| graph[class].nodes.contains(&Term::Index(dim.rank));
            let number = |class: Class| matches!(graph[class].data.constant, Some(Term::Int(_)));
            !along
                || index(at)
                || graph[at].nodes.iter().any(|it| match it {
                    Term::Binary(BinaryOp::Add, [a, b]) => {
                        (index(*a) && number(*b)) || (number(*a) && index(*b))
                    }
                    Term::Binary(BinaryOp::Sub, [a, b]) => index(*a) && number(*b),
                    _ => false,
                })
        })
    }
}

/// Which families are more than features that every sum is free of; all, if none is.
fn are_far(cascade: &Cascade, families: &[Vec<RankId>]) -> Vec<bool> {
    let (features, made) = (crate::schedule::features(cascade), made(cascade));
    let is_far = |family: &Vec<RankId>| family.iter().any(|it| !features.contains(it) || made.contains(it));
    let any = families.iter().any(is_far);
    families.iter().map(|it| !any || is_far(it)).collect()
}

/// A long extent, and a short one.
const LONG: f64 = 4096.0;
const SHORT: f64 = 64.0;

/// Extents that are not known are guessed: long for what inputs have before their features, and for the ranks of
/// intermediate tensors that are reduced again, such as queries and keys, short for features and all others.
pub(crate) fn sizes(cascade: &Cascade) -> Vec<f64> {
    if let Some(known) = crate::ir::interp::extents(cascade) {
        return known.into_iter().map(|it| it as f64).collect();
    }
    let long = made(cascade);
    let (features, outer) = (crate::schedule::features(cascade), outer(cascade));
    let is_long = |rank: &RankId| !features.contains(rank) && (long.contains(rank) || outer.contains(rank));
    cascade
        .ranks
        .iter()
        .map(|(rank, it)| match it.extent {
            Extent::Fixed(extent) => extent as f64,
            Extent::Carried | Extent::Derived(_) if is_long(&rank) => LONG,
            Extent::Carried | Extent::Derived(_) => SHORT,
        })
        .collect()
}

/// The part-less ranks that are the last of no input, but come before others in one.
fn outer(cascade: &Cascade) -> BTreeSet<RankId> {
    let (mut last, mut outer) = (BTreeSet::<RankId>::new(), BTreeSet::<RankId>::new());
    for input in cascade.inputs() {
        let Some((end, others)) = cascade.tensors[input].dims.split_last() else { continue };
        last.extend(cascade.exprs.atoms(end.rank));
        outer.extend(others.iter().flat_map(|it| cascade.exprs.atoms(it.rank)).copied());
    }
    outer.retain(|it| !last.contains(it));
    outer
}

/// The ranks of sums that are no outputs, such as those of scores.
fn made(cascade: &Cascade) -> BTreeSet<RankId> {
    let sums = cascade.einsums().filter(|it| matches!(it.op, Op::Reduce(ReduceOp::Sum, _)));
    let made = sums.map(|it| &cascade.tensors[it.tensor]).filter(|it| it.role != Role::Output);
    made.flat_map(|it| it.dims.iter().map(|dim| dim.rank)).collect()
}

/// The same where sums that are written out may have features: those are short.
pub(crate) fn sizes_of_plan(cascade: &Cascade) -> Vec<f64> {
    let mut sizes = sizes(cascade);
    for rank in crate::schedule::features(cascade) {
        if !matches!(cascade.ranks[rank].extent, Extent::Fixed(_)) {
            sizes[rank.idx()] = sizes[rank.idx()].min(SHORT);
        }
    }
    sizes
}
