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

/// The address of an element as a sum.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What many elements have in common.
    pub(super) base: Value,
    /// Distances that are not constant, each so many times.
    pub(super) strides: Vec<(Value, i64)>,
    /// A constant distance in bytes.
    pub(super) offset: i64,
}

/// An integer as a sum: values that are none, each so many times, and a constant.
type Sum = (Vec<(Value, i64)>, i64);

impl Emitter<'_, '_, '_> {
    /// Where every `every`-th element of a shape lies.
    pub(super) fn places(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        shape: &[TileDim],
        every: usize,
    ) -> Vec<Place> {
        let scales = self.scales(buffer);
        let lines = self.lines(buffer, index, &scales, shape, every);
        lines.into_iter().map(|it| self.place(it)).collect()
    }

    /// The bytes between neighbours along each dimension of a buffer.
    pub(super) fn scales(&mut self, buffer: BufferId) -> Vec<Value> {
        (0..self.nest.buffers[buffer].strides.len()).map(|dim| self.scale(buffer, dim)).collect()
    }

    /// The addresses of every `every`-th element of a shape, in a buffer with these scales. Equal parts of them are equal
    /// values.
    pub(super) fn lines(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        scales: &[Value],
        shape: &[TileDim],
        every: usize,
    ) -> Vec<Line> {
        let start = self.address(buffer);
        let count = shape.iter().map(|dim| dim.extent as usize).product::<usize>() / every;
        let mut bases: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut lines = vec![Line { base: start, strides: Vec::new(), offset: 0 }; count];
        let mut terms: Vec<(usize, Vec<(Value, i64)>)> = Vec::new();
        for (dim, (&coordinate, &scale)) in index.iter().zip(scales).enumerate() {
            let tile = self.tile(coordinate);
            let sums: Vec<Sum> = tile.registers.iter().map(|&it| self.sum(it)).collect();
            let along = positions(&tile.ty.shape, shape);
            for (at, element) in along.into_iter().step_by(every).enumerate() {
                let (values, constant) = &sums[element];
                let term = (dim, values.clone());
                let known = terms.iter().position(|it| *it == term).unwrap_or_else(|| {
                    terms.push(term);
                    terms.len() - 1
                });
                bases[at].push(known);
                match self.constant(scale) {
                    Some(scale) => {
                        lines[at].offset = lines[at].offset.wrapping_add(constant.wrapping_mul(scale))
                    }
                    None if *constant == 0 => {}
                    None => lines[at].strides.push((scale, *constant)),
                }
            }
        }
        let products: Vec<Option<Value>> =
            terms.into_iter().map(|(dim, values)| self.product(&values, scales[dim])).collect();
        let mut known: Vec<(Vec<usize>, Value)> = Vec::new();
        for (line, terms) in lines.iter_mut().zip(bases) {
            line.base = match known.iter().find(|it| it.0 == terms) {
                Some((_, base)) => *base,
                None => {
                    let parts = terms.iter().filter_map(|&it| products[it]);
                    let base = parts.fold(start, |sum, it| self.builder.ins().iadd(sum, it));
                    known.push((terms, base));
                    base
                }
            };
        }
        lines
    }

    fn place(&mut self, line: Line) -> Place {
        let mut address = line.base;
        for (stride, times) in line.strides {
            let distance = self.builder.ins().imul_imm_s(stride, times);
            address = self.builder.ins().iadd(address, distance);
        }
        match i32::try_from(line.offset) {
            Ok(offset) => Place { address, offset },
            Err(_) => Place { address: self.builder.ins().iadd_imm_s(address, line.offset), offset: 0 },
        }
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

    /// A sum of values times a scale; `None` for 0.
    fn product(&mut self, values: &[(Value, i64)], scale: Value) -> Option<Value> {
        let mut sum: Option<Value> = None;
        for &(value, times) in values {
            sum = Some(match (sum, times) {
                (None, 1) => value,
                (Some(sum), 1) => self.builder.ins().iadd(sum, value),
                (Some(sum), -1) => self.builder.ins().isub(sum, value),
                (sum, times) => {
                    let product = self.builder.ins().imul_imm_s(value, times);
                    sum.map_or(product, |sum| self.builder.ins().iadd(sum, product))
                }
            });
        }
        sum.map(|sum| self.builder.ins().imul(sum, scale))
    }

    /// An integer as a sum: `(m + 3) - first` is `m - first`, and 3.
    fn sum(&self, value: Value) -> Sum {
        let mut sum = (Vec::new(), 0);
        self.add_to(&mut sum, value, 1);
        sum.0.retain(|it| it.1 != 0);
        // What was there first is added first, so that loops find sums of what they do not change.
        sum.0.sort();
        sum
    }

    fn add_to(&self, sum: &mut Sum, value: Value, times: i64) {
        if let Some(constant) = self.constant(value) {
            sum.1 = sum.1.wrapping_add(constant.wrapping_mul(times));
            return;
        }
        if let Some([a, b]) = self.operands(value, Opcode::Iadd) {
            self.add_to(sum, a, times);
            return self.add_to(sum, b, times);
        }
        if let Some([a, b]) = self.operands(value, Opcode::Isub) {
            self.add_to(sum, a, times);
            return self.add_to(sum, b, -times);
        }
        match sum.0.iter_mut().find(|it| it.0 == value) {
            Some(known) => known.1 += times,
            None => sum.0.push((value, times)),
        }
    }

    /// The integer that a value is known to be.
    pub(super) fn constant(&self, value: Value) -> Option<i64> {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return None };
        #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
        match dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            InstructionData::Binary { opcode: Opcode::Imul, args: [a, b] } => {
                Some(self.constant(a)?.wrapping_mul(self.constant(b)?))
            }
            _ => None,
        }
    }

    fn operands(&self, value: Value, wanted: Opcode) -> Option<[Value; 2]> {
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return None };
        let InstructionData::Binary { opcode, args } = dfg.insts[inst] else { return None };
        (opcode == wanted).then_some(args)
    }
}
