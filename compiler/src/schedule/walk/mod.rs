//! Which steps of a cascade are one walk along a rank: recurrences, scans, what they read and what reads them.
//!
//! A walk holds, for each row, what is still read of the coordinates that it has been at. It begins with one
//! recurrence or scan and takes in the steps around it as long as no step has to run both before and after it.
//!
//! ```text
//! G[t] = exp(A)                                 walk b, e along t
//! H[0] = 0;  H[t+1, d, e] = G * H[t] + K * V  ->   G, H and O for one t after the other;
//! O[t, e] = sum[d](Q * H[t+1])                     of H one coordinate is held
//! ```
//!
//! A thread does all of a row. A block of threads has many rows of what lies next to each other, so where blocks may take
//! a walk, no row is given up for what does not depend on its state: that is stored before it, in parallel.

mod carry;
mod fit;
mod short;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use short::shorten;

use super::flow::{self, Ranks};
use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, RankId, ReduceOp, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::rewrite::Walker;

/// Steps that are evaluated together for each coordinate of a rank.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// What is walked along.
    pub(super) rank: RankId,
    /// Dimensions along which no point of the group needs another, in the order of what began it.
    pub(super) rows: Vec<RankId>,
    /// Positions of its steps in the cascade.
    pub(super) steps: BTreeSet<usize>,
}

/// The walks of a cascade.
#[derive(Debug, Default)]
pub(super) struct Walks {
    pub(super) groups: Vec<Group>,
    /// The tensors that they define.
    pub(super) tensors: BTreeSet<TensorId>,
}

impl Walks {
    /// The walk that has the step of that position.
    pub(super) fn of_step(&self, step: usize) -> Option<usize> {
        self.groups.iter().position(|it| it.steps.contains(&step))
    }
}

/// The cascade with the steps of each walk next to each other, and the walks.
pub(super) fn gathered(cascade: &Cascade, walker: Walker) -> (Cascade, Walks) {
    let mut finder = Finder::of(cascade, walker);
    finder.find();
    let order = finder.order(&finder.cluster).expect("walks make no cycle");
    let mut groups = std::mem::take(&mut finder.groups);
    for group in &mut groups {
        let places = group.steps.iter().filter_map(|step| order.iter().position(|it| it == step));
        group.steps = places.collect();
    }
    let mut cascade = cascade.clone();
    cascade.steps = order.iter().map(|&it| cascade.steps[it].clone()).collect();
    let steps = groups.iter().flat_map(|it| &it.steps);
    let tensors = steps.flat_map(|&it| cascade.steps[it].einsums()).map(|it| it.tensor).collect();
    (cascade, Walks { groups, tensors })
}

/// A cascade with what its steps need of each other, and the walks found so far.
struct Finder<'a> {
    cascade: &'a Cascade,
    walker: Walker,
    features: Ranks,
    live: BTreeSet<TensorId>,
    /// For each step, those that it reads.
    reads: Vec<BTreeSet<usize>>,
    /// For each tensor, the steps that read it.
    readers: BTreeMap<TensorId, BTreeSet<usize>>,
    /// Tensors that a stream holds scaled.
    scaled: BTreeSet<TensorId>,
    /// For each step, the first step of its walk, or itself.
    cluster: Vec<usize>,
    groups: Vec<Group>,
}

impl<'a> Finder<'a> {
    fn of(cascade: &'a Cascade, walker: Walker) -> Finder<'a> {
        let mut defined: BTreeMap<TensorId, usize> = BTreeMap::new();
        for (at, step) in cascade.steps.iter().enumerate() {
            defined.extend(step.einsums().map(|it| (it.tensor, at)));
        }
        let live = flow::live(cascade);
        let mut readers: BTreeMap<TensorId, BTreeSet<usize>> = BTreeMap::new();
        let mut reads = Vec::new();
        for (at, step) in cascade.steps.iter().enumerate() {
            let mut read = BTreeSet::new();
            for einsum in step.einsums().filter(|it| live.contains(&it.tensor)) {
                for (tensor, _) in cascade.exprs.reads(einsum.value) {
                    readers.entry(tensor).or_default().insert(at);
                    read.extend(defined.get(&tensor).filter(|it| **it != at));
                }
            }
            reads.push(read);
        }
        let mut finder = Finder {
            cascade,
            walker,
            features: flow::features(cascade),
            live,
            reads,
            readers,
            scaled: BTreeSet::new(),
            cluster: (0..cascade.steps.len()).collect(),
            groups: Vec::new(),
        };
        for einsum in cascade.einsums() {
            let of_scaled = |it: &Self| {
                let mut reads = cascade.exprs.reads(einsum.value);
                reads.any(|(tensor, _)| it.scaled.contains(&tensor))
            };
            if finder.sums_powers(einsum) || of_scaled(&finder) {
                finder.scaled.insert(einsum.tensor);
            }
        }
        finder
    }

    /// Recurrences first, for they have more rows than the scans that they read.
    fn find(&mut self) {
        let is_recurrence = |it: &Step| matches!(it, Step::Recurrence(_));
        let steps = self.cascade.steps.iter().enumerate();
        let (first, second): (Vec<_>, Vec<_>) = steps.partition(|(_, it)| is_recurrence(it));
        for (at, step) in first.into_iter().chain(second) {
            if self.is_free(at)
                && let Some(group) = self.begun_with(at, step).map(|it| self.without_functions(&it))
                && (group.steps.len() > 1 || is_recurrence(step))
            {
                let first = *group.steps.first().expect("a walk has steps");
                group.steps.iter().for_each(|&it| self.cluster[it] = first);
                self.groups.push(group);
            }
        }
        self.groups.sort_by_key(|it| it.steps.first().copied());
    }

    /// A walk of one recurrence or scan.
    fn begun_with(&self, at: usize, step: &Step) -> Option<Group> {
        let (rank, einsums) = match step {
            Step::Recurrence(it) => (it.rank, it.body.iter().collect::<Vec<_>>()),
            Step::Einsum(it) => match it.op {
                Op::Scan(_, rank) => (rank, vec![it]),
                Op::Map | Op::Reduce(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => return None,
            },
        };
        if !einsums.iter().any(|it| self.live.contains(&it.tensor)) {
            return None;
        }
        let mut rows = einsums.first()?.iterated();
        rows.retain(|&it| !self.overlap(it, rank));
        let mut group = Group { rank, rows, steps: [at].into() };
        loop {
            let conflicts = self.conflicts(&group)?;
            if conflicts.is_empty() {
                return Some(group);
            }
            group.rows.retain(|it| !conflicts.contains(it));
        }
    }

    /// The walk with all steps around it that it can take in, other than some.
    fn grown(&self, mut group: Group, barred: &BTreeSet<usize>) -> Group {
        loop {
            let before = group.steps.len();
            for step in 0..self.cascade.steps.len() {
                if !group.steps.contains(&step)
                    && self.is_free(step)
                    && let Some(larger) = self.with(&group, step)
                    && larger.steps.is_disjoint(barred)
                {
                    group = larger;
                }
            }
            if group.steps.len() == before {
                return group;
            }
        }
    }

    /// The walk with one more step, if it is still one. Rows are given up for what would else be stored for every
    /// coordinate; the last one, which is taken in boxes, for anything.
    fn with(&self, group: &Group, step: usize) -> Option<Group> {
        if !self.is_welcome(group, step) {
            return None;
        }
        let boxed = match self.walker {
            Walker::Thread => group.rows.last().filter(|it| self.features.contains(it)),
            Walker::Block => None,
        };
        let reads_state = self.reads_state(group, step);
        let mut larger = group.clone();
        larger.steps.insert(step);
        let between = self.between(&larger.steps);
        larger.steps.extend(&between);
        if !between.iter().all(|&it| self.is_free(it) && self.is_welcome(&larger, it)) {
            return None;
        }
        loop {
            let conflicts = self.conflicts(&larger)?;
            if conflicts.is_empty() {
                break;
            }
            if !reads_state && conflicts.iter().any(|it| Some(it) != boxed) {
                return None;
            }
            larger.rows.retain(|it| !conflicts.contains(it));
            if self.walker == Walker::Block && self.may_be_stored(group) {
                return None;
            }
        }
        let first = larger.steps.first().copied()?;
        let mut cluster = self.cluster.clone();
        larger.steps.iter().for_each(|&it| cluster[it] = first);
        self.order(&cluster).is_some().then_some(larger)
    }

    /// No walk has the step so far.
    fn is_free(&self, step: usize) -> bool {
        self.groups.iter().all(|it| !it.steps.contains(&step))
    }

    /// The steps that need some of these and that others of these need.
    fn between(&self, steps: &BTreeSet<usize>) -> BTreeSet<usize> {
        let (mut above, mut below) = (steps.clone(), steps.clone());
        loop {
            let before = above.len() + below.len();
            for (step, reads) in self.reads.iter().enumerate() {
                if above.contains(&step) {
                    above.extend(reads);
                }
                if !below.is_disjoint(reads) {
                    below.insert(step);
                }
            }
            if above.len() + below.len() == before {
                return above.intersection(&below).filter(|it| !steps.contains(it)).copied().collect();
            }
        }
    }

    /// All steps, each after what it reads and those of a cluster next to each other; none if there is a cycle.
    fn order(&self, cluster: &[usize]) -> Option<Vec<usize>> {
        let mut needs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (step, reads) in self.reads.iter().enumerate() {
            let needs = needs.entry(cluster[step]).or_default();
            needs.extend(reads.iter().map(|&it| cluster[it]).filter(|it| *it != cluster[step]));
        }
        let mut order = Vec::new();
        while !needs.is_empty() {
            let (&next, _) = needs.iter().find(|(_, needs)| needs.is_empty())?;
            needs.remove(&next);
            needs.values_mut().for_each(|it| {
                it.remove(&next);
            });
            order.extend((0..cluster.len()).filter(|&it| cluster[it] == next));
        }
        Some(order)
    }

    /// Whether a step next to a walk is better off inside.
    fn is_welcome(&self, group: &Group, step: usize) -> bool {
        let all: Vec<&Einsum> = self.cascade.steps[step].einsums().collect();
        if !all.iter().any(|it| self.live.contains(&it.tensor)) {
            return false;
        }
        let is_read = |it: &&Einsum| {
            self.readers.get(&it.tensor).is_some_and(|readers| !readers.is_disjoint(&group.steps))
        };
        let moving = self.moving(group);
        let follows = |it: &&Einsum| self.cascade.exprs.reads(it.value).any(|(it, _)| moving.contains(&it));
        if !all.iter().any(|it| is_read(it) || follows(it)) {
            return false;
        }
        match &self.cascade.steps[step] {
            Step::Recurrence(it) => it.rank == group.rank || self.is_nested(group, it),
            Step::Einsum(it) => {
                let by_points = match it.op {
                    Op::Map | Op::Reduce(..) | Op::Scan(..) => true,
                    Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
                };
                by_points
                    && !self.sums_powers(it)
                    && (self.reads_state(group, step) || !self.is_better_outside(group, it))
            }
        }
    }

    /// The walk with all steps around it that are not better spread over its coordinates: those before it that read nothing
    /// of it, and those after it.
    fn without_functions(&self, begun: &Group) -> Group {
        let mut barred = BTreeSet::new();
        loop {
            let group = self.grown(begun.clone(), &barred);
            let is_end = |step: &usize| match &self.cascade.steps[*step] {
                Step::Einsum(it) => {
                    let readers = self.readers.get(&it.tensor);
                    let is_read = readers.is_some_and(|it| !it.is_disjoint(&group.steps));
                    (self.reads[*step].is_disjoint(&group.steps) || !is_read)
                        && self.is_better_spread(&group, it)
                }
                Step::Recurrence(_) => false,
            };
            let ends: Vec<usize> = group.steps.iter().copied().filter(is_end).collect();
            if ends.is_empty() {
                return group;
            }
            barred.extend(ends);
        }
    }

    /// Functions of one element at a time, which lanes along what is walked take many of at a time. Memory for the results,
    /// and for what they are made of, is no more than that of an input each.
    fn is_better_spread(&self, group: &Group, einsum: &Einsum) -> bool {
        let exprs = &self.cascade.exprs;
        let boxed = group.rows.last().filter(|it| self.features.contains(it));
        let rows = group.rows.iter().filter(|it| Some(*it) != boxed).chain([&group.rank]);
        let single = self.atoms(rows.copied());
        let inside = self.inside(group);
        let takes = |id: &ExprId| matches!(exprs.get(*id), Expr::Unary(op, _) if op.is_real_function());
        let is_small = |it: TensorId| !inside.contains(&it) || self.ranks_of(it).is_subset(&single);
        self.walker == Walker::Thread
            && einsum.op == Op::Map
            && self.atoms(einsum.iterated()) == single
            && self.is_as_small_as_an_input(&single)
            && exprs.reads(einsum.value).all(|(it, _)| is_small(it))
            && !self.reads_states(group, einsum)
            && exprs.postorder(einsum.value).iter().any(takes)
    }

    /// A contraction of one value with what is the same at all coordinates gains from many of them at a time; and what a
    /// stream holds scaled stays in range only as long as it is not stored.
    fn is_better_outside(&self, group: &Group, einsum: &Einsum) -> bool {
        let exprs = &self.cascade.exprs;
        let reduced: Ranks = einsum.op.reduced().iter().flat_map(|&it| exprs.atoms(it).to_vec()).collect();
        let inside = self.inside(group);
        let walked = exprs.atoms(group.rank);
        let (mut weights, mut values) = (0, 0);
        for (tensor, coords) in exprs.reads(einsum.value) {
            if self.scaled.contains(&tensor) && !inside.contains(&tensor) {
                return true;
            }
            let free: Ranks = coords.iter().flat_map(|&it| exprs.free(it).to_vec()).collect();
            if !free.is_disjoint(&reduced) {
                match walked.iter().any(|it| free.contains(it)) {
                    true => values += 1,
                    false => weights += usize::from(!inside.contains(&tensor)),
                }
            }
        }
        weights > 0 && values < 2
    }

    /// A sum of powers that a stream would keep in range.
    fn sums_powers(&self, einsum: &Einsum) -> bool {
        let exprs = &self.cascade.exprs;
        let Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, over) = &einsum.op else { return false };
        let reduced: Ranks = over.iter().flat_map(|&it| exprs.atoms(it).to_vec()).collect();
        super::scaled::exponents(exprs, einsum.value)
            .into_iter()
            .any(|it| exprs.free(it).iter().any(|rank| reduced.contains(rank)) && !self.is_below_peak(it))
    }

    /// A difference to the largest of what it is a difference of.
    fn is_below_peak(&self, exponent: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        let &Expr::Binary(BinaryOp::Sub, x, peak) = exprs.get(exponent) else { return false };
        let Expr::Read(tensor, ..) = exprs.get(peak) else { return false };
        self.cascade
            .einsums()
            .any(|it| it.tensor == *tensor && it.value == x && matches!(it.op, Op::Reduce(ReduceOp::Max, _)))
    }
}
