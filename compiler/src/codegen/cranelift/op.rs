//! Operations on tiles to operations on their registers.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::arith::{choose, float_const};
use super::block::Emitter;
use super::tile::{Form, Tile};
use crate::codegen::formula::Formula;
use crate::ir::expr::UnaryOp;
use crate::ir::nest::{BufferId, Op, Place, Scalar, TileType, ValueId};

impl<'a> Emitter<'a, '_, '_> {
    /// The tile that an operation computes.
    pub(super) fn op(&mut self, ty: &'a TileType, op: &'a Op) -> Tile<'a> {
        let tile = match op {
            Op::Int(_)
            | Op::Real(_)
            | Op::Bool(_)
            | Op::Word(_)
            | Op::Address(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Threads => self.nullary(ty, op),
            Op::Iota => {
                let registers = (0..ty.points() as i64).map(|i| self.builder.ins().iconst(I64, i)).collect();
                Tile { ty, form: Form::Elements, registers }
            }
            Op::Unary(UnaryOp::ToReal, a) | Op::Convert(a) => self.convert(ty, *a),
            Op::Unary(op, a) => {
                let scalar = self.nest.values[*a].scalar;
                let form = self.form(ty, &[*a]);
                self.map(ty, form, [*a], |it, [x]| it.unary(*op, form.register(scalar), x))
            }
            Op::Power(a) => {
                let form = self.form(ty, &[*a]);
                self.map(ty, form, [*a], |it, [x]| it.formula(Formula::Power, form.register(ty.scalar), &[x]))
            }
            Op::Binary(op, a, b) => {
                let form = self.form(ty, &[*a, *b]);
                self.map(ty, form, [*a, *b], |it, [x, y]| it.binary(*op, form.register(ty.scalar), x, y))
            }
            Op::Compare(op, a, b) => {
                let scalar = self.nest.values[*a].scalar;
                let form = if scalar == Scalar::F32 { self.form(ty, &[*a, *b]) } else { Form::Elements };
                self.map(ty, form, [*a, *b], |it, [x, y]| it.compare(*op, scalar, x, y))
            }
            Op::Select(c, a, b) => {
                let form = self.form(ty, &[*c, *a, *b]);
                self.map(ty, form, [*c, *a, *b], |it, [c, x, y]| choose(&mut it.builder, c, x, y))
            }
            Op::Round(dtype, a) => {
                let form = self.form(ty, &[*a]);
                self.map(ty, form, [*a], |it, [x]| it.round_to(*dtype, form.register(ty.scalar), x))
            }
            Op::Load { buffer, index, guard, contiguous } => {
                self.load(ty, *buffer, index, *guard, *contiguous)
            }
            Op::Contract { a, b, there, into } => {
                assert!(there.is_none(), "only blocks of threads leave products out");
                self.contract(ty, *a, *b, *into)
            }
            Op::Pack(_) | Op::Dot { .. } => unreachable!("words of bytes are for targets of LLVM"),
            Op::Reduce(op, a) => self.reduce(ty, *op, *a),
        };
        self.packed(tile)
    }

    fn nullary(&mut self, ty: &'a TileType, op: &Op) -> Tile<'a> {
        let form = Form::of(ty);
        let register = form.register(ty.scalar);
        let value = match op {
            Op::Int(x) => self.builder.ins().iconst(register, *x),
            Op::Real(x) => float_const(&mut self.builder, register, *x),
            Op::Bool(x) => self.builder.ins().iconst(register, i64::from(*x)),
            Op::Word(word) => self.word(*word, register),
            Op::Address(buffer) => self.address(*buffer),
            Op::WorkspaceAddress => self.args.workspace.expect("`check` has the workspace"),
            Op::WorkspaceBytes => self.args.workspace_bytes.expect("`check` has the size of the workspace"),
            Op::Threads => self.args.threads.expect("what needs the size of the workspace has the threads"),
            Op::Iota
            | Op::Unary(..)
            | Op::Power(_)
            | Op::Binary(..)
            | Op::Compare(..)
            | Op::Select(..)
            | Op::Convert(_)
            | Op::Round(..)
            | Op::Load { .. }
            | Op::Contract { .. }
            | Op::Pack(_)
            | Op::Dot { .. }
            | Op::Reduce(..) => unreachable!("{op:?} is not the same everywhere"),
        };
        Tile { ty, form, registers: vec![value; ty.points() / form.lanes()] }
    }

    /// The address of a buffer's first element.
    pub(super) fn address(&mut self, buffer: BufferId) -> Value {
        match self.nest.buffers[buffer].place {
            Place::Input(word) | Place::Output(word) => self.word(word, I64),
            Place::Workspace(offset) => {
                let workspace = self.args.workspace.expect("only stages use what lies in the workspace");
                let offset = self.scalar(offset);
                self.builder.ins().iadd(workspace, offset)
            }
            Place::Scratch(offset) => {
                let scratch = self.args.scratch.expect("only stages use scratch");
                let offset = self.scalar(offset);
                self.builder.ins().iadd(scratch, offset)
            }
        }
    }

    /// The form in which an operation that works element by element computes its result.
    fn form(&self, ty: &TileType, operands: &[ValueId]) -> Form {
        let small = |scalar| matches!(scalar, Scalar::F32 | Scalar::Bool);
        let all_small = operands.iter().all(|it| small(self.nest.values[*it].scalar));
        let any_vector = operands.iter().any(|it| self.tile(*it).form == Form::Vectors);
        match ty.scalar {
            Scalar::F32 if all_small => Form::fitting(&ty.shape),
            Scalar::Bool if all_small && any_vector => Form::fitting(&ty.shape),
            Scalar::F32 | Scalar::Bool | Scalar::F64 | Scalar::I64 | Scalar::I32 => Form::Elements,
        }
    }

    /// Applies a function to the registers of operands that are broadcast to the result.
    pub(super) fn map<const N: usize>(
        &mut self,
        ty: &'a TileType,
        form: Form,
        operands: [ValueId; N],
        f: impl Fn(&mut Self, [Value; N]) -> Value,
    ) -> Tile<'a> {
        let operands = operands.map(|it| self.spread(it, ty, form));
        let count = ty.points() / form.lanes();
        let registers = (0..count).map(|at| f(self, operands.each_ref().map(|it| it[at]))).collect();
        Tile { ty, form, registers }
    }

    /// The registers of a value broadcast to a type.
    pub(super) fn spread(&mut self, value: ValueId, ty: &TileType, form: Form) -> Vec<Value> {
        self.tile(value).spread(&mut self.builder, &ty.shape, form)
    }

    /// The tile with its floats in vectors where they fit.
    fn packed(&mut self, tile: Tile<'a>) -> Tile<'a> {
        let form = Form::of(tile.ty);
        if tile.ty.scalar != Scalar::F32 || tile.form == form {
            return tile;
        }
        Tile { ty: tile.ty, form, registers: tile.spread(&mut self.builder, &tile.ty.shape, form) }
    }

    fn convert(&mut self, ty: &'a TileType, a: ValueId) -> Tile<'a> {
        let from = self.nest.values[a].scalar;
        let form = self.form(ty, &[a]);
        self.map(ty, form, [a], |it, [x]| it.convert_register(form, from, ty.scalar, x))
    }
}
