//! Operations on tiles to operations on their elements.

use std::collections::HashSet;

use attnc_ptx::Op as Inst;
use attnc_ptx::types::Int;

use super::block::Emitter;
use super::scalar;
use super::team::Team;
use super::value::{Value, register};
use crate::codegen::formula::Formula;
use crate::codegen::points::{combination, lacking, positions};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::late::late;
use crate::ir::nest::{Block, Op, Scalar, Stmt, TileType, ValueId};

/// A value of a nest: its elements in row-major order.
#[derive(Debug, Clone)]
pub(super) struct Tile<'a> {
    pub(super) ty: &'a TileType,
    pub(super) elements: Vec<Value>,
}

impl Tile<'_> {
    /// The elements broadcast to a shape that has all ranks of this tile.
    pub(super) fn spread(&self, ty: &TileType) -> Vec<Value> {
        positions(&self.ty.shape, &ty.shape).into_iter().map(|at| self.elements[at]).collect()
    }
}

impl<'a> Emitter<'a> {
    /// The tile that an operation computes.
    pub(super) fn op(&mut self, value: ValueId, op: &'a Op) -> Tile<'a> {
        let ty = &self.nest.values[value];
        if let Some(tile) = self.shared_op(value, op) {
            return tile;
        }
        let same = |value| Tile { ty, elements: vec![value; ty.points()] };
        let of = |it: &Emitter<'a>, value: ValueId| it.nest.values[value].scalar;
        let w = &self.writer;
        match op {
            Op::Int(x) => same(Value::Int(*x)),
            Op::Real(x) => same(Value::real(ty.scalar, *x)),
            Op::Bool(x) => same(Value::Bool(*x)),
            Op::Word(word) => same(self.word(*word, ty.scalar)),
            Op::Address(_) | Op::WorkspaceAddress | Op::WorkspaceBytes | Op::Threads => {
                unreachable!("{op:?} is for the host")
            }
            Op::Iota => Tile { ty, elements: self.coordinates(ty) },
            Op::Unary(UnaryOp::ToReal, a) | Op::Convert(a) => {
                self.map(ty, [*a], |[x]| scalar::converted(w, of(self, *a), ty.scalar, x))
            }
            Op::Unary(op, a) => self.map(ty, [*a], |[x]| scalar::unary(w, *op, of(self, *a), x)),
            Op::Power(a) => self.map(ty, [*a], |[x]| scalar::formula(w, Formula::Power, ty.scalar, &[x])),
            Op::Binary(op, a, b) => {
                self.map(ty, [*a, *b], |[x, y]| scalar::binary(w, *op, of(self, *a), x, y))
            }
            Op::Compare(op, a, b) => {
                self.map(ty, [*a, *b], |[x, y]| scalar::compare(w, *op, of(self, *a), x, y))
            }
            Op::Select(c, a, b) => {
                let register = register(ty.scalar);
                self.map(ty, [*c, *a, *b], |[c, x, y]| super::arith::select(w, register, c, x, y))
            }
            Op::Round(dtype, a) => self.map(ty, [*a], |[x]| scalar::rounded(w, *dtype, ty.scalar, x)),
            Op::Load { buffer, index, guard, .. } => self.load(ty, *buffer, index, *guard),
            Op::Contract { a, b, there, into } => {
                assert!(there.is_none(), "only blocks of threads leave products out");
                self.contract(ty, *a, *b, *into)
            }
            Op::Pack(_) | Op::Dot { .. } => unreachable!("words of bytes are for CPUs"),
            Op::Reduce(op, a) => self.reduce(ty, *op, *a),
        }
    }

    /// Finds what of a block is only stored, right after it was computed, and what comes late (`ir/late.rs`): with many
    /// elements, a thread has no registers for what they are made of beside them all.
    pub(super) fn put_off(&mut self, block: &'a Block) {
        let late = self.late_of(block);
        let ops = block.stmts.iter().filter_map(|it| match it {
            Stmt::Let(value, op) if late.contains(value) => Some((*value, op)),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        self.late.extend(ops);
        let Some(team) = &self.team else { return };
        let mut stored = HashSet::new();
        for stmt in block.stmts.iter().rev() {
            match stmt {
                Stmt::Store { value, .. } if team.factors.is_used_once(*value) => _ = stored.insert(*value),
                // Sums are added to as products are taken, whatever is stored of them.
                Stmt::Let(value, op @ (Op::Binary(..) | Op::Select(..)))
                    if stored.contains(value)
                        && !team.factors.is_sum(*value)
                        && !self.in_place.contains(value) =>
                {
                    _ = self.late.insert(*value, op);
                    stored.extend(op.operands().into_iter().filter(|it| team.factors.is_used_once(*it)));
                }
                Stmt::Store { .. } | Stmt::Let(..) => {}
                // Registers of what loops carry change there.
                Stmt::Loop(_) | Stmt::If { .. } => stored.clear(),
            }
        }
    }

    /// What comes late of a block.
    pub(super) fn late_of(&self, block: &Block) -> HashSet<ValueId> {
        let of = |it: &Team<'a>| late(self.nest, it.rows.rank, block, &it.factors);
        self.team.as_ref().map(of).unwrap_or_default()
    }

    /// The elements of a value that is broadcast to a shape.
    pub(super) fn elements(&self, value: ValueId, ty: &TileType) -> Vec<Value> {
        if self.late.contains_key(&value) {
            return (0..ty.points()).map(|at| self.element_of(value, ty, at)).collect();
        }
        self.tile(value).spread(ty)
    }

    /// One of them.
    pub(super) fn element_of(&self, value: ValueId, ty: &TileType, at: usize) -> Value {
        let w = &self.writer;
        let scalar = |it: ValueId| self.nest.values[it].scalar;
        match self.late.get(&value) {
            Some(&&Op::Binary(op, a, b)) => {
                let [x, y] = [a, b].map(|it| self.element_of(it, ty, at));
                scalar::binary(w, op, scalar(a), x, y)
            }
            Some(&&Op::Select(c, a, b)) => {
                let [c, x, y] = [c, a, b].map(|it| self.element_of(it, ty, at));
                super::arith::select(w, register(scalar(value)), c, x, y)
            }
            Some(&&Op::Convert(a)) => {
                scalar::converted(w, scalar(a), scalar(value), self.element_of(a, ty, at))
            }
            Some(&&Op::Unary(op, a)) => scalar::unary(w, op, scalar(a), self.element_of(a, ty, at)),
            Some(&&Op::Round(dtype, a)) => {
                scalar::rounded(w, dtype, scalar(value), self.element_of(a, ty, at))
            }
            Some(Op::Load { .. }) => {
                let shape = &self.nest.values[value].shape;
                self.shared_element(value, positions(shape, &ty.shape)[at])
            }
            Some(op) => unreachable!("`late` takes no {op:?}"),
            None => self.tile(value).spread(ty)[at],
        }
    }

    /// Applies a function to the elements of operands that are broadcast to the result.
    fn map<const N: usize>(
        &self,
        ty: &'a TileType,
        operands: [ValueId; N],
        f: impl Fn([Value; N]) -> Value,
    ) -> Tile<'a> {
        let operands = operands.map(|it| self.tile(it).spread(ty));
        let elements = (0..ty.points()).map(|at| f(operands.each_ref().map(|it| it[at])));
        Tile { ty, elements: elements.collect() }
    }

    /// `into + Σ a · b`
    fn contract(&self, ty: &'a TileType, a: ValueId, b: ValueId, into: ValueId) -> Tile<'a> {
        let [a_ty, b_ty] = [a, b].map(|it| &self.nest.values[it].shape);
        let mut shape = lacking(&ty.shape, a_ty.iter().chain(b_ty));
        shape.extend(&ty.shape);
        let all = TileType { scalar: ty.scalar, shape };
        let [a, b] = [a, b].map(|it| self.tile(it).spread(&all));
        let mut sums = self.tile(into).spread(ty);
        for at in 0..a.len() {
            let sum = at % sums.len();
            sums[sum] = self.multiply_add(ty.scalar, a[at], b[at], sums[sum]);
        }
        Tile { ty, elements: sums }
    }

    fn multiply_add(&self, scalar: Scalar, a: Value, b: Value, sum: Value) -> Value {
        use crate::codegen::math::{Arith, Format};
        let w = &self.writer;
        match scalar {
            Scalar::F32 => super::arith::Lane::new(w, Format::Single).mul_add(a, b, sum),
            Scalar::F64 => super::arith::Lane::new(w, Format::Double).mul_add(a, b, sum),
            Scalar::I64 => {
                let mad = Inst::Mad { half: attnc_ptx::modifier::Half::Lo, ty: Int::S64 };
                w.pure(register(scalar), mad, &[a, b, sum])
            }
            Scalar::I32 => unreachable!("words of bytes are for CPUs"),
            Scalar::Bool => {
                let both = scalar::binary(w, BinaryOp::And, scalar, a, b);
                scalar::binary(w, BinaryOp::Or, scalar, both, sum)
            }
        }
    }

    /// The value combined over the ranks that the result lacks.
    pub(super) fn reduce(&self, ty: &'a TileType, op: ReduceOp, a: ValueId) -> Tile<'a> {
        self.combined(ty, op, self.by_row(ty, a))
    }

    /// The elements of each combined.
    pub(super) fn combined(&self, ty: &'a TileType, op: ReduceOp, all: Vec<Vec<Value>>) -> Tile<'a> {
        let combined = |all: Vec<Value>| {
            let one = |a, b| scalar::binary(&self.writer, combination(op), ty.scalar, a, b);
            all.into_iter().reduce(one).expect("tiles have elements")
        };
        Tile { ty, elements: all.into_iter().map(combined).collect() }
    }

    /// By element of a result: the elements that it is combined of, over the ranks that it lacks.
    pub(super) fn by_row(&self, ty: &TileType, a: ValueId) -> Vec<Vec<Value>> {
        let mut shape = lacking(&ty.shape, &self.nest.values[a].shape);
        shape.extend(&ty.shape);
        let all = self.elements(a, &TileType { scalar: ty.scalar, shape });
        let points = ty.points();
        (0..points).map(|at| all.chunks(points).map(|it| it[at]).collect()).collect()
    }
}
