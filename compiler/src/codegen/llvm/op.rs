//! Operations on tiles to operations on their rows.

use inkwell::values::PointerValue;

use super::assembler::{Element, Opcode, Value};
use super::block::Emitter;
use super::tile::{Tile, element, lanes};
use crate::codegen::formula::Formula;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{BufferId, Op, Place, Scalar, TileType, ValueId};

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// The tile that an operation computes.
    pub(super) fn op(&mut self, ty: &'a TileType, op: &'a Op) -> Tile<'a, 'c> {
        let asm = self.asm;
        let scalar = element(ty.scalar);
        match op {
            Op::Int(x) => self.constant(ty, asm.int(scalar, None, *x)),
            Op::Real(x) => self.constant(ty, asm.float(scalar, None, *x)),
            Op::Bool(x) => self.constant(ty, asm.int(scalar, None, i64::from(*x))),
            Op::Word(word) => self.constant(ty, self.word(*word, scalar)),
            Op::Address(buffer) => self.constant(ty, self.number(self.address(*buffer))),
            Op::WorkspaceAddress => {
                let workspace = self.args.workspace.expect("`check` has the workspace");
                self.constant(ty, self.number(workspace))
            }
            Op::WorkspaceBytes => {
                let bytes = self.args.workspace_bytes.expect("`check` has the size of the workspace");
                self.constant(ty, bytes)
            }
            Op::Threads => {
                let threads =
                    self.args.threads.expect("what needs the size of the workspace has the threads");
                self.constant(ty, threads)
            }
            Op::Iota => {
                let row = lanes(&ty.shape).map_or_else(|| asm.index(0).into(), |it| asm.iota(it));
                Tile { run: Some(asm.index(0)), ..Tile::new(ty, vec![row]) }
            }
            Op::Unary(UnaryOp::ToReal, a) | Op::Convert(a) => {
                let from = self.nest.values[*a].scalar;
                self.map(ty, [*a], |it, [x]| it.convert(from, ty.scalar, x))
            }
            Op::Unary(op, a) => {
                let of = self.nest.values[*a].scalar;
                self.map(ty, [*a], |it, [x]| it.unary(*op, of, x))
            }
            Op::Power(a) => self.map(ty, [*a], |it, [x]| it.formula(Formula::Power, ty.scalar, &[x])),
            Op::Binary(op, a, b) => {
                let tile = self.map(ty, [*a, *b], |it, [x, y]| it.binary(*op, ty.scalar, x, y));
                Tile { run: self.run(*op, *a, *b), ..tile }
            }
            Op::Compare(op, a, b) => {
                let of = self.nest.values[*a].scalar;
                self.map(ty, [*a, *b], |it, [x, y]| it.compare(*op, of, x, y))
            }
            Op::Select(c, a, b) => self.select(ty, *c, *a, *b),
            Op::Round(dtype, a) => self.map(ty, [*a], |it, [x]| it.round_to(*dtype, ty.scalar, x)),
            Op::Load { buffer, index, guard, contiguous } => {
                self.load(ty, *buffer, index, *guard, *contiguous)
            }
            Op::Contract { a, b, there, into } => {
                assert!(there.is_none(), "only blocks of threads leave products out");
                self.contract(ty, *a, *b, *into)
            }
            Op::Pack(a) => self.pack(ty, *a),
            Op::Dot { a, b, into } => self.dot(ty, [*a, *b, *into]),
            Op::Reduce(op, a) => self.reduce(ty, *op, *a),
        }
    }

    /// Where a buffer begins, from the words or the workspace.
    pub(super) fn first_element(&self, buffer: BufferId) -> PointerValue<'c> {
        match self.nest.buffers[buffer].place {
            Place::Input(word) | Place::Output(word) => {
                self.word(word, Element::Pointer).into_pointer_value()
            }
            Place::Workspace(offset) => {
                let workspace = self.args.workspace.expect("only stages use what lies in the workspace");
                self.asm.offset(workspace, self.int(offset))
            }
            Place::Scratch(offset) => {
                let scratch = self.args.scratch.expect("only stages use scratch");
                self.asm.offset(scratch, self.int(offset))
            }
        }
    }

    fn number(&self, address: PointerValue<'c>) -> Value<'c> {
        self.asm.cast(Opcode::PtrToInt, address.into(), Element::I64)
    }

    /// Applies a function to the rows of operands that are broadcast to the result.
    fn map<const N: usize>(
        &self,
        ty: &'a TileType,
        operands: [ValueId; N],
        f: impl Fn(&Self, [Value<'c>; N]) -> Value<'c>,
    ) -> Tile<'a, 'c> {
        let operands = operands.map(|it| self.spread(it, ty));
        let rows = (0..Tile::rows_of(ty)).map(|at| f(self, operands.each_ref().map(|it| it[at])));
        Tile::new(ty, rows.collect())
    }

    fn select(&self, ty: &'a TileType, mask: ValueId, a: ValueId, b: ValueId) -> Tile<'a, 'c> {
        self.map(ty, [mask, a, b], |it, [mask, x, y]| it.asm.select(mask, x, y))
    }

    /// The first of the integers that an operation on a run and a scalar gives.
    fn run(&self, op: BinaryOp, a: ValueId, b: ValueId) -> Option<inkwell::values::IntValue<'c>> {
        let scalar = |value: ValueId| {
            let ty = &self.nest.values[value];
            (ty.shape.is_empty() && ty.scalar == Scalar::I64).then(|| self.int(value))
        };
        let run = |value: ValueId| {
            let is_tile = !self.nest.values[value].shape.is_empty();
            if is_tile { self.tile(value).run } else { None }
        };
        #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
        match op {
            BinaryOp::Add => match (run(a), scalar(b), scalar(a), run(b)) {
                (Some(run), Some(by), ..) | (.., Some(by), Some(run)) => {
                    Some(self.int_op(Opcode::Add, run, by))
                }
                _ => None,
            },
            BinaryOp::Sub => Some(self.int_op(Opcode::Sub, run(a)?, scalar(b)?)),
            _ => None,
        }
    }
}
