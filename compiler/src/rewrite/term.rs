//! The language of the e-graph: values as functions of named ranks.
//!
//! A term has no binder. Ranks are named and unique within a cascade, a reduction is over a set of
//! them, and a term depends on a rank exactly if the rank is among its free ones. Sums and products of
//! reals are n-ary with operands in order of their class, so that neither commutes nor associates.
//! Subtraction is a sum with a product by −1, division a product with a power of −1.
//!
//! Presence is part of a term's meaning, and it is *strict*: `Reduce` by sum, product, max or min is
//! absent where no point is present, and so is `Union` (the same reduction, over a list). What the
//! language calls `sum[n](x)` is therefore `Else(Reduce(Sum, [n], x), 0)`. Strict reductions are what
//! makes the laws of arithmetic hold without conditions on empty fibers: `Σ c·x = c·Σ x` even where
//! there is nothing to sum, for both sides are absent there.

use std::mem::{Discriminant, discriminant};

use attnc_dsl::ast::{CompareOp, DType, Kind};
pub(crate) use egg::Id as Class;

use crate::ir::cascade::{ParamId, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, UnaryOp};

/// One operation on classes of terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Term {
    /// An integer.
    Int(i64),
    /// A real, by its bits.
    Real(u64),
    /// A truth value.
    Bool(bool),
    /// The extent of a rank.
    Extent(RankId),
    /// The coordinate along a rank.
    Index(RankId),
    /// The value of a parameter.
    Param(ParamId, Kind),
    /// What a step that is kept as written gives for a tensor, at the tensor's own coordinates.
    Written(TensorId),
    /// A point of a tensor that is not an input: what defines it, then the coordinates.
    Read(TensorId, Kind, Box<[Class]>),
    /// A point of an input.
    Input(TensorId, Kind, Box<[Class]>),
    /// One operand; never `Neg`, `Sqrt` or `Rsqrt` of reals.
    Unary(UnaryOp, [Class; 1]),
    /// Two operands; never arithmetic of reals other than `Min`, `Max` and a `Pow` with a variable exponent.
    Binary(BinaryOp, [Class; 2]),
    /// Two operands of one kind; bool.
    Compare(CompareOp, [Class; 2]),
    /// The value as that dtype stores it.
    Cast(DType, [Class; 1]),
    /// Only the condition and the chosen branch count for presence.
    If([Class; 3]),
    /// The first, where the second is present and true.
    Where([Class; 2]),
    /// The first where it is present, else the second.
    Else([Class; 2]),
    /// Whether the operand is present.
    Present([Class; 1]),
    /// The i-th of the others.
    Pick(Box<[Class]>),
    /// A sum of reals, present where all of them are.
    Sum(Box<[Class]>),
    /// A product of reals, present where all of them are.
    Product(Box<[Class]>),
    /// A real to a constant power, by its bits.
    Power(u64, [Class; 1]),
    /// The present points over these ranks, combined; absent where there are none (`Any`, `All` and
    /// `Count` are present everywhere).
    Reduce(ReduceOp, Box<[RankId]>, [Class; 1]),
    /// The present ones of these, combined; absent where there are none.
    Union(ReduceOp, Box<[Class]>),
}

impl Term {
    /// The same operation on other operands.
    pub(crate) fn with(&self, operands: &[Class]) -> Term {
        let mut term = self.clone();
        egg::Language::children_mut(&mut term).copy_from_slice(operands);
        term
    }

    /// Needs no name: it is one itself, or a number.
    pub(crate) fn is_plain(&self) -> bool {
        egg::Language::children(self).is_empty() || matches!(self, Term::Input(..))
    }

    /// Absent exactly where an operand is.
    pub(crate) fn is_strict(&self) -> bool {
        match self {
            Term::Unary(op, _) => *op != UnaryOp::Ilog2,
            Term::Binary(op, _) => !matches!(
                op,
                BinaryOp::And
                    | BinaryOp::Or
                    | BinaryOp::FloorDiv
                    | BinaryOp::Mod
                    | BinaryOp::Shl
                    | BinaryOp::Shr
            ),
            Term::Compare(..) | Term::Cast(..) | Term::Sum(_) | Term::Product(_) | Term::Power(..) => true,
            Term::Int(_)
            | Term::Real(_)
            | Term::Bool(_)
            | Term::Extent(_)
            | Term::Index(_)
            | Term::Param(..)
            | Term::Written(_)
            | Term::Read(..)
            | Term::Input(..)
            | Term::If(_)
            | Term::Where(_)
            | Term::Else(_)
            | Term::Present(_)
            | Term::Pick(_)
            | Term::Reduce(..)
            | Term::Union(..) => false,
        }
    }
}

/// A reduction that is absent where nothing is present.
pub(crate) fn is_strict_reduction(op: ReduceOp) -> bool {
    match op {
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Mean => true,
        ReduceOp::Any | ReduceOp::All | ReduceOp::Count => false,
    }
}

/// What the language gives for a reduction of reals over nothing.
pub(crate) fn identity(op: ReduceOp) -> Option<f64> {
    match op {
        ReduceOp::Sum => Some(0.0),
        ReduceOp::Prod => Some(1.0),
        ReduceOp::Max => Some(f64::NEG_INFINITY),
        ReduceOp::Min => Some(f64::INFINITY),
        ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => None,
    }
}

impl egg::Language for Term {
    type Discriminant = Discriminant<Term>;

    fn discriminant(&self) -> Self::Discriminant {
        discriminant(self)
    }

    fn matches(&self, other: &Self) -> bool {
        let bare = |it: &Term| {
            let mut it = it.clone();
            it.children_mut().fill(Class::from(0));
            it
        };
        discriminant(self) == discriminant(other) && bare(self) == bare(other)
    }

    fn children(&self) -> &[Class] {
        match self {
            Term::Int(_)
            | Term::Real(_)
            | Term::Bool(_)
            | Term::Extent(_)
            | Term::Index(_)
            | Term::Param(..)
            | Term::Written(_) => &[],
            Term::Read(_, _, it) | Term::Input(_, _, it) => it,
            Term::Pick(it) | Term::Sum(it) | Term::Product(it) | Term::Union(_, it) => it,
            Term::Unary(_, it) | Term::Cast(_, it) | Term::Present(it) => it,
            Term::Power(_, it) | Term::Reduce(_, _, it) => it,
            Term::Binary(_, it) | Term::Compare(_, it) | Term::Where(it) | Term::Else(it) => it,
            Term::If(it) => it,
        }
    }

    fn children_mut(&mut self) -> &mut [Class] {
        match self {
            Term::Int(_)
            | Term::Real(_)
            | Term::Bool(_)
            | Term::Extent(_)
            | Term::Index(_)
            | Term::Param(..)
            | Term::Written(_) => &mut [],
            Term::Read(_, _, it) | Term::Input(_, _, it) => it,
            Term::Pick(it) | Term::Sum(it) | Term::Product(it) | Term::Union(_, it) => it,
            Term::Unary(_, it) | Term::Cast(_, it) | Term::Present(it) => it,
            Term::Power(_, it) | Term::Reduce(_, _, it) => it,
            Term::Binary(_, it) | Term::Compare(_, it) | Term::Where(it) | Term::Else(it) => it,
            Term::If(it) => it,
        }
    }
}
