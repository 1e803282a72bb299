//! Coordinates to addresses.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value, ValueDef};

use super::block::Emitter;
use crate::codegen::points::positions;
use crate::ir::nest::{BufferId, TileDim, ValueId, bytes_of};

/// An address and a distance from it in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) address: Value,
    pub(super) offset: i32,
}

/// What one coordinate adds to an address.
#[derive(Debug, Clone, Copy)]
struct Term {
    /// Of a part that many coordinates have in common.
    base: Value,
    /// Of a constant part, where the stride is not constant.
    constant: Option<Value>,
    /// Of a constant part, where the stride is constant too.
    offset: i64,
}

impl Emitter<'_, '_, '_> {
    /// Where every `every`-th element of a shape lies.
    pub(super) fn places(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        shape: &[TileDim],
        every: usize,
    ) -> Vec<Place> {
        let base = self.address(buffer);
        let count = shape.iter().map(|dim| dim.extent as usize).product::<usize>() / every;
        let mut terms: Vec<Vec<Term>> = vec![Vec::new(); count];
        for (dim, &coordinate) in index.iter().enumerate() {
            let tile = self.tile(coordinate);
            let scale = self.scale(buffer, dim);
            let known: Vec<Term> = tile.registers.iter().map(|&it| self.term(it, scale)).collect();
            let along = positions(&tile.ty.shape, shape);
            for (terms, at) in terms.iter_mut().zip(along.into_iter().step_by(every)) {
                terms.push(known[at]);
            }
        }
        terms.iter().map(|it| self.place(base, it)).collect()
    }

    /// The bytes between neighbours along a dimension.
    fn scale(&mut self, buffer: BufferId, dim: usize) -> Value {
        let buffer = &self.nest.buffers[buffer];
        let bytes = i64::from(bytes_of(buffer.dtype));
        let stride = self.scalar(buffer.strides[dim]);
        match self.constant(stride) {
            Some(stride) => self.builder.ins().iconst(I64, stride.wrapping_mul(bytes)),
            None => self.builder.ins().imul_imm_s(stride, bytes),
        }
    }

    fn term(&mut self, coordinate: Value, scale: Value) -> Term {
        let (common, constant) = self.split(coordinate);
        let base = self.builder.ins().imul(common, scale);
        match (constant, self.constant(scale)) {
            (0, _) => Term { base, constant: None, offset: 0 },
            (constant, Some(scale)) => Term { base, constant: None, offset: constant.wrapping_mul(scale) },
            (constant, None) => {
                let constant = self.builder.ins().imul_imm_s(scale, constant);
                Term { base, constant: Some(constant), offset: 0 }
            }
        }
    }

    fn place(&mut self, base: Value, terms: &[Term]) -> Place {
        let sum = |sum, term| self.builder.ins().iadd(sum, term);
        let parts = terms.iter().map(|it| it.base).chain(terms.iter().filter_map(|it| it.constant));
        let address = parts.fold(base, sum);
        let offset = terms.iter().fold(0i64, |sum, it| sum.wrapping_add(it.offset));
        match i32::try_from(offset) {
            Ok(offset) => Place { address, offset },
            Err(_) => Place { address: self.builder.ins().iadd_imm_s(address, offset), offset: 0 },
        }
    }

    /// A coordinate as a sum with a constant: `(m + 3) - first` is `(m - first) + 3`.
    fn split(&mut self, value: Value) -> (Value, i64) {
        if let Some(constant) = self.constant(value) {
            return (self.builder.ins().iconst(I64, 0), constant);
        }
        let (sum, difference) = (self.operands(value, Opcode::Iadd), self.operands(value, Opcode::Isub));
        let Some([a, b]) = sum.or(difference) else { return (value, 0) };
        let [(a, x), (b, y)] = [a, b].map(|it| self.split(it));
        let constant = if sum.is_some() { x.wrapping_add(y) } else { x.wrapping_sub(y) };
        let common = match (self.constant(a), self.constant(b)) {
            _ if constant == 0 => value,
            (_, Some(0)) => a,
            (Some(0), None) if sum.is_some() => b,
            _ if sum.is_some() => self.builder.ins().iadd(a, b),
            _ => self.builder.ins().isub(a, b),
        };
        (common, constant)
    }

    /// The integer that a value is known to be.
    fn constant(&self, value: Value) -> Option<i64> {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return None };
        let InstructionData::UnaryImm { opcode, imm } = dfg.insts[inst] else { return None };
        (opcode == Opcode::Iconst).then(|| imm.bits())
    }

    fn operands(&self, value: Value, wanted: Opcode) -> Option<[Value; 2]> {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return None };
        let InstructionData::Binary { opcode, args } = dfg.insts[inst] else { return None };
        (opcode == wanted).then_some(args)
    }
}
