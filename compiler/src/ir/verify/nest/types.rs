//! The types of operations: what they take and what they give.

use attnc_dsl::ast::Kind;

use super::Scope;
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Op, Scalar, TileDim, ValueId};

impl Scope<'_> {
    /// Operands are seen and fit each other, and the result is declared as what comes out.
    pub(super) fn check_op(&mut self, id: ValueId, op: &Op) {
        let ids = op.operands();
        self.sees(&ids);
        if let Op::Load { buffer, index, guard, .. } = op {
            self.check_access(*buffer, index, *guard);
        }
        if let Op::Word(word) = op {
            self.expect_of((*word as usize) < self.nest.words.len(), id, "a word is one of the arguments");
        }
        let fits = self.scalars_fit(id, op);
        self.expect_of(fits, id, "operands and result have the scalars that the operation takes and gives");
        let fits = self.shapes_fit(id, op, &ids);
        self.expect_of(fits, id, "the result has the ranks of its operands, with their extents");
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn scalars_fit(&self, id: ValueId, op: &Op) -> bool {
        let result = self.scalar(id);
        let of = |id: &ValueId| self.scalar(*id);
        match op {
            Op::Int(_) => matches!(result, Scalar::I64 | Scalar::I32),
            Op::Address(_) | Op::WorkspaceAddress | Op::WorkspaceBytes | Op::Threads | Op::Iota => {
                result == Scalar::I64
            }
            Op::Real(_) => kind(result) == Kind::Real,
            Op::Bool(_) => result == Scalar::Bool,
            Op::Word(_) => matches!(result, Scalar::I64 | Scalar::F64),
            Op::Unary(op, a) => match op {
                UnaryOp::IsNan | UnaryOp::IsInf => result == Scalar::Bool,
                UnaryOp::ToReal => false,
                op => result == of(a) && (*op == UnaryOp::Not) == (result == Scalar::Bool),
            },
            Op::Power(a) => kind(result) == Kind::Real && result == of(a),
            Op::Binary(op, a, b) => {
                let logical = matches!(op, BinaryOp::And | BinaryOp::Or);
                of(a) == of(b) && result == of(a) && logical == (result == Scalar::Bool)
            }
            Op::Compare(_, a, b) => of(a) == of(b) && result == Scalar::Bool,
            Op::Select(c, a, b) => of(c) == Scalar::Bool && of(a) == of(b) && result == of(a),
            Op::Convert(_) => true,
            Op::Round(dtype, a) => result == of(a) && kind(result) == dtype.kind(),
            Op::Load { buffer, .. } => self.nest.buffers[*buffer].dtype.kind() == kind(result),
            Op::Contract { a, b, there, into } => {
                let is_bool = there.is_none_or(|it| self.scalar(it) == Scalar::Bool);
                is_bool && of(a) == of(b) && of(a) == of(into) && result == of(into)
            }
            Op::Pack(a) => of(a) == Scalar::F32 && result == Scalar::I32,
            Op::Dot { a, b, into } => {
                [a, b, into].iter().all(|it| of(it) == Scalar::I32) && result == Scalar::I32
            }
            Op::Reduce(op, a) => result == of(a) && reduces(*op, result),
        }
    }

    fn shapes_fit(&self, id: ValueId, op: &Op, ids: &[ValueId]) -> bool {
        let result = self.shape(id);
        let has_all = |of: &[TileDim], parts: &[TileDim]| parts.iter().all(|dim| of.contains(dim));
        match op {
            Op::Int(_) | Op::Real(_) | Op::Bool(_) => true,
            Op::Word(_) | Op::Address(_) | Op::WorkspaceAddress | Op::WorkspaceBytes | Op::Threads => {
                result.is_empty()
            }
            Op::Iota => result.len() == 1,
            Op::Contract { a, b, there, into } => {
                let clash = |x: &TileDim, y: &TileDim| x.rank == y.rank && x.extent != y.extent;
                let [a, b] = [a, b].map(|it| self.shape(*it));
                let agree = |x: &[TileDim], y: &[TileDim]| !x.iter().any(|x| y.iter().any(|y| clash(x, y)));
                let of_one = there.is_none_or(|it| [a, b].iter().any(|all| has_all(all, self.shape(it))));
                of_one && result == self.shape(*into) && agree(a, b) && agree(a, result) && agree(b, result)
            }
            Op::Pack(a) => match (self.shape(*a).split_last(), result.split_last()) {
                (Some((from, outer)), Some((to, others))) => {
                    outer == others && from.rank == to.rank && from.extent == 4 * to.extent
                }
                _ => false,
            },
            Op::Dot { a, b, into } => {
                result == self.shape(*into) && [a, b].iter().all(|it| has_all(result, self.shape(**it)))
            }
            Op::Reduce(_, a) => has_all(self.shape(*a), result),
            Op::Unary(..)
            | Op::Power(_)
            | Op::Binary(..)
            | Op::Compare(..)
            | Op::Select(..)
            | Op::Convert(_)
            | Op::Round(..)
            | Op::Load { .. } => {
                let from_operands = |dim: &TileDim| ids.iter().any(|&it| self.shape(it).contains(dim));
                ids.iter().all(|&it| has_all(result, self.shape(it))) && result.iter().all(from_operands)
            }
        }
    }
}

/// The kind of values that a scalar holds.
pub(super) fn kind(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::F64 | Scalar::F32 => Kind::Real,
        Scalar::I64 | Scalar::I32 => Kind::Int,
        Scalar::Bool => Kind::Bool,
    }
}

fn reduces(op: ReduceOp, scalar: Scalar) -> bool {
    match op {
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => scalar != Scalar::Bool,
        ReduceOp::Any | ReduceOp::All => scalar == Scalar::Bool,
        ReduceOp::Mean | ReduceOp::Count => false,
    }
}
