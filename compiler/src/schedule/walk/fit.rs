//! Whether steps are one walk: where each of their einsums belongs, and how far back they read each other.

use std::collections::BTreeSet;

use attnc_dsl::ast::Kind;

use super::{Finder, Group, Ranks};
use crate::ir::cascade::{
    At, Cascade, Einsum, ExprId, Extent, Op, RankId, Recurrence, ReduceOp, Role, ScanOp, Step, TensorId,
};
use crate::ir::expr::{BinaryOp, Expr};
use crate::rewrite::Walker;

/// How many coordinates of one tensor are held at most.
const MOST_HELD: i64 = 8;

/// When an einsum of a walk is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// It is one of the first coordinates.
    Before,
    /// At each coordinate.
    At,
    /// It reads what is left at the end.
    After,
}

/// The einsums of a walk in order, each with when it is evaluated; the first coordinates only where they are read.
pub(super) fn timed<'a>(cascade: &'a Cascade, group: &Group) -> Vec<(Time, &'a Einsum)> {
    let mut all = Vec::new();
    for &step in &group.steps {
        match &cascade.steps[step] {
            Step::Recurrence(it) => {
                all.extend(it.bases.iter().map(|it| (Time::Before, it)));
                all.extend(it.body.iter().map(|it| (Time::At, it)));
            }
            Step::Einsum(it) => {
                let varies = cascade.tensors[it.tensor].dims.iter().any(|dim| {
                    let atoms = cascade.exprs.atoms(dim.rank);
                    cascade.exprs.atoms(group.rank).iter().any(|it| atoms.contains(it))
                });
                all.push((if varies { Time::At } else { Time::After }, it));
            }
        }
    }
    all
}

/// By how much the coordinate that a step writes of a tensor is ahead of the step's own.
pub(super) fn shift(einsum: &Einsum, rank: RankId) -> i64 {
    let along = einsum.at.iter().find_map(|at| match *at {
        At::Rank(it, shift) if it == rank => Some(shift),
        At::Rank(..) | At::Const(_) => None,
    });
    along.unwrap_or(0)
}

/// How many coordinates ago a tensor was written when it is read, at the end counted from the one that would come
/// next; none if that is not known, or ahead.
pub(super) fn distance(
    cascade: &Cascade,
    rank: RankId,
    time: Time,
    written: &Einsum,
    coords: &[ExprId],
) -> Option<i64> {
    let exprs = &cascade.exprs;
    let base = match time {
        Time::Before => return None,
        Time::At => Expr::Index(rank),
        Time::After => Expr::Extent(rank),
    };
    let mut found = None;
    for (&coord, dim) in coords.iter().zip(&cascade.tensors[written.tensor].dims) {
        let is_index = *exprs.get(coord) == Expr::Index(dim.rank);
        if dim.rank == rank {
            let extent = match cascade.ranks[rank].extent {
                Extent::Fixed(it) if time == Time::After => Some(it),
                Extent::Fixed(_) | Extent::Carried | Extent::Derived(_) => None,
            };
            found = Some(shift(written, rank) - offset(cascade, coord, &base, extent)?);
        } else if exprs.atoms(dim.rank).iter().any(|it| exprs.atoms(rank).contains(it)) {
            if !is_index || time != Time::At {
                return None;
            }
            found = Some(0);
        } else if !cascade.ranks[dim.rank].parts.is_empty() && !is_index {
            return None;
        }
    }
    let least = if time == Time::After { 1 } else { 0 };
    found.filter(|it| (least..=MOST_HELD).contains(it))
}

/// The constant of `base + constant`, where the base may be known.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn offset(cascade: &Cascade, coord: ExprId, base: &Expr, known: Option<i64>) -> Option<i64> {
    let exprs = &cascade.exprs;
    match exprs.get(coord) {
        it if it == base => Some(0),
        Expr::Int(value) => Some(value - known?),
        Expr::Binary(op, a, b) => match (op, exprs.get(*a), exprs.get(*b)) {
            (BinaryOp::Add, it, Expr::Int(by)) | (BinaryOp::Add, Expr::Int(by), it) if it == base => {
                Some(*by)
            }
            (BinaryOp::Sub, it, Expr::Int(by)) if it == base => Some(-by),
            _ => None,
        },
        _ => None,
    }
}

impl Finder<'_> {
    /// The rows that keep the steps from being one walk; none at all if nothing could make them one.
    pub(super) fn conflicts(&self, group: &Group) -> Option<BTreeSet<RankId>> {
        let all = timed(self.cascade, group);
        let mut conflicts = BTreeSet::new();
        for &(time, einsum) in &all {
            if !self.has_form(group, time, einsum) {
                return None;
            }
            let same = all.iter().filter(|(time, it)| *time == Time::At && it.tensor == einsum.tensor);
            if time != Time::Before && same.count() > 1 {
                return None;
            }
            conflicts.extend(group.rows.iter().filter(|&&row| !self.keeps(group, einsum, row)));
            let lacks = |row: &&RankId| !einsum.at.contains(&At::Rank(**row, 0));
            let light = self.walker == Walker::Thread
                && all.iter().any(|(time, it)| {
                    *time == Time::At && it.tensor == einsum.tensor && self.is_light(group, &all, it)
                });
            if !light {
                conflicts.extend(group.rows.iter().filter(lacks));
            }
            self.local_reads(&all, einsum, |written, coords| {
                distance(self.cascade, group.rank, time, written?, coords)?;
                let dims = &self.cascade.tensors[written?.tensor].dims;
                for (&coord, dim) in coords.iter().zip(dims) {
                    let is_index = *self.cascade.exprs.get(coord) == Expr::Index(dim.rank);
                    if group.rows.contains(&dim.rank) && !is_index {
                        conflicts.insert(dim.rank);
                    }
                }
                Some(())
            })?;
        }
        Some(conflicts)
    }

    /// Hands each read of a tensor of the walk to `check`, with the einsum that writes it at each coordinate.
    fn local_reads(
        &self,
        all: &[(Time, &Einsum)],
        einsum: &Einsum,
        mut check: impl FnMut(Option<&Einsum>, &[ExprId]) -> Option<()>,
    ) -> Option<()> {
        for (tensor, coords) in self.cascade.exprs.reads(einsum.value) {
            let mut writers = all.iter().filter(|(_, it)| it.tensor == tensor).peekable();
            if writers.peek().is_some() {
                check(writers.find(|(time, _)| *time == Time::At).map(|it| it.1), coords)?;
            }
        }
        Some(())
    }

    /// Whether the left-hand side and the operation are those that a walk evaluates.
    fn has_form(&self, group: &Group, time: Time, einsum: &Einsum) -> bool {
        let rank = group.rank;
        let dims = &self.cascade.tensors[einsum.tensor].dims;
        let plain = einsum.at.iter().zip(dims).all(|(at, dim)| match *at {
            _ if dim.rank == rank => match *at {
                At::Rank(it, shift) => time == Time::At && it == rank && shift >= 0,
                At::Const(_) => time == Time::Before,
            },
            At::Rank(it, 0) => it == dim.rank && dim.lag == 0 && self.ends_known(it, rank),
            At::Rank(..) | At::Const(_) => false,
        });
        let walks = match einsum.op {
            Op::Scan(op, along) if along == rank => {
                let is_int = self.cascade.exprs.kind(einsum.value) == Kind::Int;
                time == Time::At && !(op == ScanOp::Max && is_int)
            }
            Op::Map | Op::Reduce(..) | Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => {
                let mut walked = einsum.op.reduced().iter().copied().chain(einsum.op.along());
                walked.all(|it| !self.overlap(it, rank))
            }
        };
        plain && walks
    }

    /// A composite dimension with the walked rank as a part: the others run to where it ends.
    fn ends_known(&self, dim: RankId, rank: RankId) -> bool {
        let atoms = self.cascade.exprs.atoms(dim);
        if !self.overlap(dim, rank) {
            return true;
        }
        let parts = &self.cascade.ranks[dim].parts;
        let flat = parts.iter().all(|it| self.cascade.ranks[*it].parts.is_empty());
        let is_part = self.cascade.ranks[rank].parts.is_empty() && flat;
        is_part && (!self.cascade.is_ragged(dim) || atoms.last() != Some(&rank))
    }

    /// Nothing but the row itself stands for it in an einsum, and no point needs another along it.
    fn keeps(&self, group: &Group, einsum: &Einsum, row: RankId) -> bool {
        let walked = einsum.op.reduced().iter().copied().chain(einsum.op.along());
        let mut others = einsum.iterated().into_iter().filter(|it| *it != row).chain(walked);
        others.all(|it| it == group.rank || !self.overlap(it, row))
    }

    /// What lacks rows is computed again for each of them: nobody else needs it, and it costs no more than
    /// something that has to be computed anyway.
    fn is_light(&self, group: &Group, all: &[(Time, &Einsum)], einsum: &Einsum) -> bool {
        let (exprs, tensor) = (&self.cascade.exprs, einsum.tensor);
        let is_output = self.cascade.tensors[tensor].role == Role::Output;
        let readers = self.readers.get(&tensor);
        if is_output || readers.is_some_and(|it| !it.is_subset(&group.steps)) {
            return false;
        }
        let space = |it: &Einsum| -> BTreeSet<RankId> {
            let ranks = it.iterated().into_iter().chain(it.op.reduced().iter().copied());
            ranks.flat_map(|it| exprs.atoms(it).to_vec()).collect()
        };
        let rows = group.rows.iter().flat_map(|&it| exprs.atoms(it).to_vec());
        let again: BTreeSet<RankId> = space(einsum).into_iter().chain(rows).collect();
        all.iter().any(|(time, it)| {
            let has_rows = group.rows.iter().all(|&row| it.at.contains(&At::Rank(row, 0)));
            *time == Time::At && has_rows && again.is_subset(&space(it))
        })
    }

    /// Two ranks share a part.
    pub(super) fn overlap(&self, a: RankId, b: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        exprs.atoms(a).iter().any(|it| exprs.atoms(b).contains(it))
    }

    /// A recurrence along another rank, all of which is run at each coordinate of the walk.
    pub(super) fn is_nested(&self, group: &Group, it: &Recurrence) -> bool {
        let own = |einsum: &Einsum| einsum.at.contains(&At::Rank(group.rank, 0));
        it.bases.is_empty() && !self.overlap(it.rank, group.rank) && it.body.iter().all(own)
    }

    /// The tensors that a walk defines.
    pub(super) fn inside(&self, group: &Group) -> BTreeSet<TensorId> {
        let steps = group.steps.iter().flat_map(|&it| self.cascade.steps[it].einsums());
        steps.map(|it| it.tensor).collect()
    }

    /// The tensors of a walk that need its earlier coordinates.
    fn states(&self, group: &Group) -> BTreeSet<TensorId> {
        let mut states = BTreeSet::new();
        for &step in &group.steps {
            match &self.cascade.steps[step] {
                Step::Recurrence(it) => states.extend(it.body.iter().map(|it| it.tensor)),
                Step::Einsum(it) => {
                    states.extend((it.op.along() == Some(group.rank)).then_some(it.tensor));
                }
            }
        }
        states
    }

    /// What a walk carries takes, for all coordinates, no more than an input: it is stored rather than a row given up.
    pub(super) fn may_be_stored(&self, group: &Group) -> bool {
        self.states(group).into_iter().all(|it| self.is_as_small_as_an_input(&self.ranks_of(it)))
    }

    /// An input has all of these part-less ranks.
    pub(super) fn is_as_small_as_an_input(&self, ranks: &Ranks) -> bool {
        self.cascade.inputs().any(|it| ranks.is_subset(&self.ranks_of(it)))
    }

    /// The part-less ranks of a tensor.
    pub(super) fn ranks_of(&self, tensor: TensorId) -> Ranks {
        self.atoms(self.cascade.tensors[tensor].dims.iter().map(|it| it.rank))
    }

    /// The part-less ranks that some stand for.
    pub(super) fn atoms(&self, ranks: impl IntoIterator<Item = RankId>) -> Ranks {
        ranks.into_iter().flat_map(|it| self.cascade.exprs.atoms(it)).copied().collect()
    }

    /// A step that reads what the walk carries.
    pub(super) fn reads_state(&self, group: &Group, step: usize) -> bool {
        self.cascade.steps[step].einsums().any(|it| self.reads_states(group, it))
    }

    /// The same of one einsum.
    pub(super) fn reads_states(&self, group: &Group, einsum: &Einsum) -> bool {
        let states = self.states(group);
        self.cascade.exprs.reads(einsum.value).any(|(tensor, _)| states.contains(&tensor))
    }

    /// The tensors of a walk that depend on what it carries.
    pub(super) fn moving(&self, group: &Group) -> BTreeSet<TensorId> {
        let mut moving = self.states(group);
        for (_, einsum) in timed(self.cascade, group) {
            if self.cascade.exprs.reads(einsum.value).any(|(it, _)| moving.contains(&it)) {
                moving.insert(einsum.tensor);
            }
        }
        moving
    }
}

/// What an accumulator of a scan does.
pub(super) fn fold_of(op: ScanOp) -> ReduceOp {
    match op {
        ScanOp::Sum => ReduceOp::Sum,
        ScanOp::Prod => ReduceOp::Prod,
        ScanOp::Max => ReduceOp::Max,
    }
}
