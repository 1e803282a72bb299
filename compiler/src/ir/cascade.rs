//! The cascade: einsums in order of evaluation, each defining one tensor over named ranks.
//!
//! Functions are inlined, every reduction, scan and selection is an einsum of its own, and integers
//! that meet reals are converted explicitly. A point of a tensor is present or absent; absence is
//! part of every expression's meaning (design section 3.5) and is made explicit only by `tile`.
//!
//! Invariants, checked by `verify`: a tensor is defined before it is read, within a recurrence at
//! coordinates already written, or at all that a condition says are earlier; the ranks of one tensor
//! share no part; an expression mentions only ranks that its einsum iterates over; operands have the
//! kinds that the operation takes; what has to hold between extents for a call to make sense is listed
//! in `checks`.

use std::cmp::Reverse;

use attnc_dsl::ast::{CompareOp, DType, Kind};

use super::arena::{Arena, Id};
use super::expr::{Expr, Exprs};

/// The id of a [`Rank`].
pub type RankId = Id<Rank>;
/// The id of a [`Tensor`].
pub type TensorId = Id<Tensor>;
/// The id of a [`Param`].
pub type ParamId = Id<Param>;
/// The id of an [`Expr`].
pub type ExprId = Id<Expr>;

/// One kernel as a cascade of einsums.
#[derive(Debug, Clone)]
pub struct Cascade {
    /// The kernel's name.
    pub name: String,
    /// What its author says of it, line by line.
    pub docs: Vec<String>,
    /// Declared ranks in order of declaration, then those of function calls.
    pub ranks: Arena<Rank>,
    /// Scalars given at the call or fixed at compile time.
    pub params: Arena<Param>,
    /// Inputs in order of declaration, then what equations define, then temporaries.
    pub tensors: Arena<Tensor>,
    /// All expressions, each once.
    pub exprs: Exprs,
    /// What to evaluate, in order.
    pub steps: Vec<Step>,
    /// What must hold between the extents of a call.
    pub checks: Vec<Check>,
    /// Ranges that the author promises.
    pub assumes: Vec<Assume>,
}

/// A named axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Rank {
    /// Unique within the cascade.
    pub name: String,
    /// The parts of a composite rank, major to minor; none for others.
    pub parts: Vec<RankId>,
    /// Where its extent comes from.
    pub extent: Extent,
    /// It belongs to a function call, so no caller knows it.
    pub local: bool,
}

/// Where the extent of a rank comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Known when the kernel is compiled.
    Fixed(i64),
    /// Known from the inputs that have this rank.
    Carried,
    /// An integer expression over other extents and fixed parameters.
    Derived(ExprId),
}

/// A condition on extents that every call must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The rank that is blamed.
    pub rank: RankId,
    /// What must hold.
    pub condition: ExprId,
    /// What it means when it does not.
    pub fault: ExtentFault,
}

/// What is wrong with an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentFault {
    /// It is negative or over its declared bound.
    Range,
    /// It contradicts others.
    Disagree,
}

/// A scalar.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type; its value is of that precision.
    pub dtype: DType,
    /// Where its value comes from.
    pub value: ParamValue,
}

/// Where the value of a parameter comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParamValue {
    /// Fixed when the kernel is compiled: an expression without extents, parameters and indices.
    Fixed(ExprId),
    /// Given at the call, or else this expression over extents and other parameters.
    Launch(Option<ExprId>),
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Unique within the cascade; temporaries are called after what they serve, such as `P.max`.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<Dim>,
    /// The kind of its values.
    pub kind: Kind,
    /// What is stored; `None` leaves it to the back end.
    pub dtype: Option<DType>,
    /// Who sees it.
    pub role: Role,
}

/// One dimension: the coordinates 0 … |rank| + lag − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dim {
    /// Its rank.
    pub rank: RankId,
    /// How many coordinates a recurrence adds in front.
    pub lag: i64,
}

/// Who sees a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Given at the call.
    Input,
    /// Handed back.
    Output,
    /// Named in the spec, but not handed back.
    Intermediate,
    /// Made by lowering.
    Temporary,
    /// Made by a law so that each of its points is computed once: it is stored, whatever reads it.
    Once,
}

impl Role {
    /// It is neither given nor handed back.
    pub(crate) fn is_own(self) -> bool {
        match self {
            Role::Input | Role::Output => false,
            Role::Intermediate | Role::Temporary | Role::Once => true,
        }
    }
}

/// One step of the evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// All points of one tensor.
    Einsum(Einsum),
    /// Tensors that need each other's earlier coordinates.
    Recurrence(Recurrence),
}

/// Tensors defined along one rank, coordinate by coordinate.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    /// The rank; it may be composite.
    pub rank: RankId,
    /// The first coordinates, evaluated once.
    pub bases: Vec<Einsum>,
    /// Evaluated in this order for each coordinate of the rank; each writes the coordinate that its
    /// left-hand side names.
    pub body: Vec<Einsum>,
}

/// One equation: `tensor[at] = op(value)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Einsum {
    /// What it defines.
    pub tensor: TensorId,
    /// The coordinates it defines, one for each dimension.
    pub at: Vec<At>,
    /// What is done with the value.
    pub op: Op,
    /// A map expression: no reductions inside.
    pub value: ExprId,
    /// Not even reassociation is allowed.
    pub exact: bool,
}

/// A coordinate on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// `rank + shift`, for every coordinate of the rank.
    Rank(RankId, i64),
    /// One constant coordinate: the base of a recurrence.
    Const(i64),
}

/// What an einsum does with its value along ranks that are not those of the left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Nothing: the value itself.
    Map,
    /// Combines the present points over these ranks.
    Reduce(ReduceOp, Vec<RankId>),
    /// Inclusive prefix reduction along this rank, which the left also has.
    Scan(ScanOp, RankId),
    /// The index along the first rank of the j-th point in order, j being the second rank, which the left has.
    Select(SelectOp, RankId, RankId),
    /// How many present points along this rank come before the one at the left's coordinate in
    /// descending order.
    Place(RankId),
    /// The index along this rank of the extreme point.
    Arg(ArgOp, RankId),
}

/// Reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
    Mean,
    Any,
    All,
    Count,
}

/// Prefix reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ScanOp {
    Sum,
    Prod,
    Max,
}

/// Orders that select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SelectOp {
    /// `topk`: descending.
    TopK,
    /// `argsort`: ascending.
    ArgSort,
}

/// Extremes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArgOp {
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// A range that the author promises, for every point at which the condition is present.
#[derive(Debug, Clone, PartialEq)]
pub struct Assume {
    /// What holds.
    pub condition: ExprId,
    /// The ranks that it speaks of.
    pub ranks: Vec<RankId>,
    /// As written.
    pub text: String,
}

impl Cascade {
    /// The ranks without parts that a rank stands for, major to minor.
    pub fn atoms(&self, rank: RankId) -> Vec<RankId> {
        let parts = &self.ranks[rank].parts;
        if parts.is_empty() { vec![rank] } else { parts.iter().flat_map(|&part| self.atoms(part)).collect() }
    }

    /// A composite rank that may have fewer coordinates than its parts have combinations.
    pub fn is_ragged(&self, rank: RankId) -> bool {
        let fixed = |rank: RankId| match self.ranks[rank].extent {
            Extent::Fixed(extent) => Some(extent),
            Extent::Carried | Extent::Derived(_) => None,
        };
        let parts = &self.ranks[rank].parts;
        let product = parts.iter().try_fold(1_i64, |all, &it| fixed(it)?.checked_mul(all));
        !parts.is_empty() && (product.is_none() || product != fixed(rank))
    }

    /// How many coordinates a rank has at most, and at least 1: as many as can be where its extent is not known.
    pub fn most_coordinates(&self, rank: RankId) -> u32 {
        match self.ranks[rank].extent {
            Extent::Fixed(it) => u32::try_from(it).unwrap_or(u32::MAX).max(1),
            Extent::Carried | Extent::Derived(_) => u32::MAX,
        }
    }

    /// The extent of a rank, as a constant where it is one.
    pub fn extent_of(&mut self, rank: RankId) -> ExprId {
        match self.ranks[rank].extent {
            Extent::Fixed(value) if value >= 0 => self.exprs.int(value),
            Extent::Fixed(_) | Extent::Carried | Extent::Derived(_) => self.exprs.add(Expr::Extent(rank)),
        }
    }

    /// In every call that passes the checks, both ranks have as many coordinates.
    pub fn have_same_extent(&self, a: RankId, b: RankId) -> bool {
        let mut same = vec![a];
        let mut at = 0;
        while let Some(&rank) = same.get(at) {
            let checked = self.checks.iter().filter_map(|it| self.equated(it.condition));
            let known =
                checked.filter_map(|(x, y)| if x == rank { Some(y) } else { (y == rank).then_some(x) });
            let linked: Vec<RankId> =
                known.chain(self.ranks.ids().filter(|&it| self.is_given_alike(it, rank))).collect();
            for it in linked {
                if !same.contains(&it) {
                    same.push(it);
                }
            }
            at += 1;
        }
        same.contains(&b)
    }

    /// The two ranks whose extents a condition says are equal, if that is what it says.
    fn equated(&self, condition: ExprId) -> Option<(RankId, RankId)> {
        let Expr::Compare(CompareOp::Eq, a, b) = *self.exprs.get(condition) else { return None };
        let (Expr::Extent(a), Expr::Extent(b)) = (self.exprs.get(a), self.exprs.get(b)) else { return None };
        Some((*a, *b))
    }

    /// The extents of both are the same number, or one is that of the other.
    fn is_given_alike(&self, a: RankId, b: RankId) -> bool {
        let is_that_of = |a: RankId, b: RankId| match self.ranks[a].extent {
            Extent::Derived(it) => *self.exprs.get(it) == Expr::Extent(b),
            Extent::Fixed(_) | Extent::Carried => false,
        };
        let both = (self.ranks[a].extent, self.ranks[b].extent);
        is_that_of(a, b) || is_that_of(b, a) || matches!(both, (Extent::Fixed(a), Extent::Fixed(b)) if a == b)
    }

    /// The tensors that are handed in, in order of declaration.
    pub fn inputs(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.with_role(Role::Input)
    }

    /// The tensors that are handed back, in order of appearance.
    pub fn outputs(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.with_role(Role::Output)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = TensorId> + '_ {
        self.tensors.iter().filter(move |(_, it)| it.role == role).map(|(id, _)| id)
    }

    /// All einsums, in order of evaluation.
    pub fn einsums(&self) -> impl Iterator<Item = &Einsum> {
        self.steps.iter().flat_map(Step::einsums)
    }

    /// Part-less ranks, put together to the composite ones whose index an expression mentions: beyond their extents
    /// there are no points, and nothing may be read. Each comes where its first part does.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn composed(&self, atoms: &[RankId], value: ExprId) -> Vec<RankId> {
        let exprs = &self.exprs;
        let index = |id: &ExprId| match exprs.get(*id) {
            Expr::Index(rank) if !self.ranks[*rank].parts.is_empty() => Some(*rank),
            _ => None,
        };
        let mut composites: Vec<RankId> = exprs.postorder(value).iter().filter_map(index).collect();
        composites.sort_by_key(|&it| (Reverse(exprs.atoms(it).len()), it));
        composites.dedup();
        let mut left = atoms.to_vec();
        let mut ranks = Vec::new();
        for composite in composites {
            let parts = exprs.atoms(composite);
            if parts.iter().all(|it| left.contains(it)) {
                left.retain(|it| !parts.contains(it));
                ranks.push(composite);
            }
        }
        ranks.extend(left);
        ranks.sort_by_key(|it| atoms.iter().position(|atom| exprs.atoms(*it).first() == Some(atom)));
        ranks
    }
}

impl Step {
    /// Its einsums, in order of evaluation.
    pub(crate) fn einsums(&self) -> impl Iterator<Item = &Einsum> {
        let (one, bases, body) = match self {
            Step::Einsum(it) => (Some(it), None, None),
            Step::Recurrence(it) => (None, Some(&it.bases), Some(&it.body)),
        };
        one.into_iter().chain(bases.into_iter().flatten()).chain(body.into_iter().flatten())
    }

    /// What a recurrence goes along.
    pub(crate) fn walked(&self) -> Option<RankId> {
        match self {
            Step::Einsum(_) => None,
            Step::Recurrence(it) => Some(it.rank),
        }
    }

    /// Its einsums, in order of evaluation, to be changed.
    pub(crate) fn einsums_mut(&mut self) -> impl Iterator<Item = &mut Einsum> {
        let (one, bases, body) = match self {
            Step::Einsum(it) => (Some(it), None, None),
            Step::Recurrence(it) => (None, Some(&mut it.bases), Some(&mut it.body)),
        };
        one.into_iter().chain(bases.into_iter().flatten()).chain(body.into_iter().flatten())
    }
}

impl Einsum {
    /// The ranks of the left-hand side.
    pub fn iterated(&self) -> Vec<RankId> {
        self.at.iter().filter_map(|it| if let At::Rank(rank, _) = it { Some(*rank) } else { None }).collect()
    }
}

impl ReduceOp {
    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Mean => "mean",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
            ReduceOp::Count => "count",
        }
    }
}

impl ScanOp {
    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            ScanOp::Sum => "cumsum",
            ScanOp::Prod => "cumprod",
            ScanOp::Max => "cummax",
        }
    }
}

impl SelectOp {
    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            SelectOp::TopK => "topk",
            SelectOp::ArgSort => "argsort",
        }
    }
}

impl ArgOp {
    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            ArgOp::Max => "argmax",
            ArgOp::Min => "argmin",
        }
    }
}

impl Op {
    /// Its name in the language; none for a map.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Op::Map => None,
            Op::Reduce(op, _) => Some(op.name()),
            Op::Scan(op, _) => Some(op.name()),
            Op::Select(op, _, _) => Some(op.name()),
            Op::Place(_) => Some("place"),
            Op::Arg(op, _) => Some(op.name()),
        }
    }

    /// The kind of its result for values of that kind.
    pub fn kind(&self, value: Kind) -> Kind {
        match self {
            Op::Map | Op::Scan(..) => value,
            Op::Reduce(op, _) => match op {
                ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => value,
                ReduceOp::Mean => Kind::Real,
                ReduceOp::Any | ReduceOp::All => Kind::Bool,
                ReduceOp::Count => Kind::Int,
            },
            Op::Select(..) | Op::Place(_) | Op::Arg(..) => Kind::Int,
        }
    }

    /// The rank of the left that is walked along in order: each point needs those before it.
    pub fn along(&self) -> Option<RankId> {
        match self {
            Op::Map | Op::Reduce(..) | Op::Place(_) | Op::Arg(..) => None,
            Op::Scan(_, rank) | Op::Select(_, _, rank) => Some(*rank),
        }
    }

    /// The ranks that its value is traversed along and that are not iterated on the left.
    pub fn reduced(&self) -> &[RankId] {
        match self {
            Op::Map | Op::Scan(..) | Op::Place(_) => &[],
            Op::Reduce(_, ranks) => ranks,
            Op::Select(_, from, _) => std::slice::from_ref(from),
            Op::Arg(_, rank) => std::slice::from_ref(rank),
        }
    }
}
