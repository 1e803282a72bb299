//! Loops that do little with what they read: it is fetched ahead, for the processor would wait for memory.
//!
//! A loop that uses each element of an input often, as one over keys for many rows does, has time enough until the next
//! elements are there, and no room for more instructions; one of few rows, as in decoding, has it the other way round.
//! What the loop around it reads again each time is near already.

use inkwell::values::PointerValue;

use super::assembler::{Element, Opcode, Value};
use super::block::Emitter;
use crate::codegen::points::lacking;
use crate::ir::nest::{Block, BufferId, Loop, Op, Place, Stmt, TileDim, ValueId, bytes_of};

/// So many products for each element that is read are few.
const FEW: usize = 4;
/// What is fetched is so many bytes of what is read away, and how many come at a time.
const DISTANCE: i64 = 8192;
const LINE: usize = 64;

/// A loop that does little with what it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) at_hand: &'a Loop,
    /// How many values were defined before the loop around it.
    pub(super) around: usize,
}

impl<'c> Emitter<'_, '_, 'c> {
    /// Whether a loop with that body multiplies what it reads from inputs by little else.
    pub(super) fn reads_much(&self, body: &Block) -> bool {
        let (mut products, mut elements) = (0, 0);
        for stmt in &body.stmts {
            let Stmt::Let(value, op) = stmt else { continue };
            let shape = &self.nest.values[*value].shape;
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "asks for some forms, whatever others there are"
            )]
            match op {
                Op::Contract { a, b, .. } => {
                    let factors = [a, b].into_iter().flat_map(|it| &self.nest.values[*it].shape);
                    let all = |dims: &[TileDim]| dims.iter().map(|it| it.extent as usize).product::<usize>();
                    products += all(&lacking(shape, factors)) * all(shape);
                }
                Op::Load { buffer, contiguous: true, .. } if self.is_input(*buffer) => {
                    elements += self.nest.values[*value].points();
                }
                _ => {}
            }
        }
        elements > 0 && products > 0 && products <= FEW * elements
    }

    fn is_input(&self, buffer: BufferId) -> bool {
        matches!(self.nest.buffers[buffer].place, Place::Input(_))
    }

    /// The dimension of a buffer along which a loop goes on, or the rows of its tiles follow one another.
    fn goes_along(&self, index: &[ValueId], loop_index: ValueId) -> Option<usize> {
        let has_rows = |it: &ValueId| !self.nest.values[*it].shape.is_empty();
        let (_, before) = index.split_last()?;
        before.iter().position(|it| *it == loop_index).or_else(|| before.iter().position(has_rows))
    }

    /// Whether the loop around one reads the same elements each time: neither what decides of coordinates nor where the loop
    /// at hand begins and ends changes in between.
    fn reads_again(&self, reading: &Reading<'_>, index: &[ValueId]) -> bool {
        let Reading { at_hand, around } = reading;
        let changes = |it: &ValueId| (*around..self.began).contains(&self.before(*it));
        !index.iter().chain([&at_hand.from, &at_hand.to]).any(changes)
    }

    /// Fetches what will be read of an input later than a row of so many elements, if the loop at hand reads much.
    pub(super) fn fetch_ahead(
        &self,
        buffer: BufferId,
        index: &[ValueId],
        from: PointerValue<'c>,
        elements: u32,
    ) {
        let reading = self.reads_much.filter(|it| self.is_input(buffer) && !self.reads_again(it, index));
        let Some(Reading { at_hand, .. }) = reading else { return };
        let it = &self.nest.buffers[buffer];
        let size = i64::from(bytes_of(it.dtype));
        let bytes = i64::from(elements) * size;
        // Rows may lie apart: so many rows ahead, not so many bytes.
        let ahead = match self.goes_along(index, at_hand.index) {
            Some(dim) => {
                let rows = self.asm.index(DISTANCE / bytes.max(1) * size);
                self.int_op(Opcode::Mul, self.int(it.strides[dim]), rows)
            }
            None => self.asm.index(DISTANCE),
        };
        for line in (0..bytes).step_by(LINE) {
            let at = self.asm.offset(self.asm.offset(from, ahead), self.asm.index(line));
            let [read, often, data] = [0, 3, 1].map(|it| self.asm.int(Element::I32, None, it));
            let args: [Value<'c>; 4] = [at.into(), read, often, data];
            self.asm.hint("llvm.prefetch", &[at.get_type().into()], &args);
        }
    }
}
