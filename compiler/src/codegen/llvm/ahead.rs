//! Loops that do little with what they read: it is fetched ahead, for the processor would wait for memory.
//!
//! A loop that uses each element of an input often, as one over keys for many rows does, has time enough until the next
//! elements are there, and no room for more instructions; one of few rows, as in decoding, has it the other way round.

use inkwell::values::PointerValue;

use super::assembler::{Element, Value};
use super::block::Emitter;
use crate::codegen::points::lacking;
use crate::ir::nest::{Block, BufferId, Op, Place, Stmt, TileDim, bytes_of};

/// So many products for each element that is read are few.
const FEW: usize = 4;
/// How many bytes ahead, and how many come at a time.
const DISTANCE: i64 = 4096;
const LINE: u32 = 64;

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

    /// Fetches what lies behind so many elements of an input, if the loop at hand reads much.
    pub(super) fn fetch_ahead(&self, buffer: BufferId, from: PointerValue<'c>, elements: u32) {
        if !self.reads_much || !self.is_input(buffer) {
            return;
        }
        let bytes = elements * bytes_of(self.nest.buffers[buffer].dtype);
        for line in (0..bytes).step_by(LINE as usize) {
            let at = self.asm.offset(from, self.asm.index(DISTANCE + i64::from(line)));
            let [read, often, data] = [0, 3, 1].map(|it| self.asm.int(Element::I32, None, it));
            let args: [Value<'c>; 4] = [at.into(), read, often, data];
            self.asm.hint("llvm.prefetch", &[at.get_type().into()], &args);
        }
    }
}
