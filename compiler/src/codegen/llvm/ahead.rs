//! Loops that do little with what they read: it is fetched ahead, for the processor would wait for memory.
//!
//! A loop that uses each element of an input often, as one over keys for many rows does, has time enough until the next
//! elements are there, and no room for more instructions; one of few rows, as in decoding, has it the other way round.
//! Rows whose elements are read one by one, as those of queries in chunks of tokens are, are fetched before the loop that
//! reads them. What the loop around the one at hand reads again each time is near already.

use inkwell::IntPredicate;
use inkwell::values::{IntValue, PointerValue};

use super::assembler::{Element, Opcode, Value};
use super::block::Emitter;
use crate::codegen::points::lacking;
use crate::ir::nest::{Block, BufferId, Loop, Op, Place, Stmt, TileDim, ValueId, bytes_of};

/// So many products for each element that is read are few.
const FEW: usize = 4;
/// What is fetched is so many bytes of what is read away, and how many come at a time.
const DISTANCE: i64 = 8192;
const LINE: i64 = 64;

/// A loop that has begun.
#[derive(Debug, Clone)]
pub(super) struct AtHand<'a> {
    it: &'a Loop,
    /// How many values were defined before it, and before the loop around it.
    began: usize,
    around: usize,
    /// Whether it does little with what it reads.
    reads_much: bool,
    /// The inputs of which rows were fetched, and their coordinates.
    fetched: Vec<(BufferId, ValueId)>,
}

/// An input whose rows are read element by element.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// The loop along the elements.
    along: &'a Loop,
    buffer: BufferId,
    index: &'a [ValueId],
    /// The coordinates of the rows, and of which dimension.
    coordinates: ValueId,
    dim: usize,
}

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// Begins a loop; gives the one around it.
    pub(super) fn enter(&mut self, it: &'a Loop) -> Option<AtHand<'a>> {
        let around = self.at_hand.as_ref().map_or(self.resumed, |it| it.began);
        let reads_much = self.reads_much(&it.body);
        self.at_hand.replace(AtHand { it, began: self.defined, around, reads_much, fetched: Vec::new() })
    }

    /// Whether a loop with that body multiplies what it reads from inputs by little else.
    fn reads_much(&self, body: &Block) -> bool {
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
        elements > 0 && products <= FEW * elements
    }

    fn is_input(&self, buffer: BufferId) -> bool {
        matches!(self.nest.buffers[buffer].place, Place::Input(_))
    }

    fn has_rows(&self, coordinate: ValueId) -> bool {
        !self.nest.values[coordinate].shape.is_empty()
    }

    /// Whether the loop around the one at hand reads other elements each time: what decides of coordinates changes in between,
    /// or where the one at hand begins or ends.
    fn reads_others(&self, at_hand: &AtHand<'_>, index: &[ValueId]) -> bool {
        index.iter().chain([&at_hand.it.from, &at_hand.it.to]).any(|it| self.changes_around(at_hand, *it))
    }

    /// Whether a value changes from one turn of the loop around to the next, where the one at hand is as far.
    fn changes_around(&self, at_hand: &AtHand<'_>, value: ValueId) -> bool {
        let before = self.before[value.idx()];
        if before < at_hand.began {
            return before >= at_hand.around;
        }
        at_hand.it.body.stmts.iter().any(|stmt| match stmt {
            Stmt::Let(it, op) if *it == value => {
                op.operands().iter().any(|it| self.changes_around(at_hand, *it))
            }
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => false,
        })
    }

    /// Fetches what will be read of an input later than a row of so many elements, if the loop at hand reads much.
    pub(super) fn fetch_ahead(
        &self,
        buffer: BufferId,
        index: &[ValueId],
        from: PointerValue<'c>,
        elements: u32,
    ) {
        let at_hand = self.at_hand.as_ref().filter(|it| it.reads_much && self.is_input(buffer));
        let Some(at_hand) = at_hand.filter(|it| self.reads_others(it, index)) else { return };
        let it = &self.nest.buffers[buffer];
        let size = i64::from(bytes_of(it.dtype));
        let bytes = i64::from(elements) * size;
        // Rows may lie apart: so many rows ahead, not so many bytes.
        let before = &index[..index.len().saturating_sub(1)];
        let ahead = if let Some(dim) = before.iter().position(|it| *it == at_hand.it.index) {
            let rows = self.asm.index(DISTANCE / bytes.max(1) * size);
            self.int_op(Opcode::Mul, self.int(it.strides[dim]), rows)
        } else {
            match before.iter().position(|it| self.has_rows(*it) || self.changes_around(at_hand, *it)) {
                Some(dim) => self.rows_ahead(at_hand.it, buffer, dim),
                None => self.asm.index(DISTANCE),
            }
        };
        for line in (0..bytes).step_by(LINE as usize) {
            let line = self.int_op(Opcode::Add, ahead, self.asm.index(line));
            self.fetch(self.asm.offset(from, line));
        }
    }

    /// How far away the rows are that come so much later, if a loop goes along each of them.
    fn rows_ahead(&self, along: &Loop, buffer: BufferId, dim: usize) -> IntValue<'c> {
        let asm = self.asm;
        let it = &self.nest.buffers[buffer];
        let size = i64::from(bytes_of(it.dtype));
        let [from, to] = [along.from, along.to].map(|it| self.int(it));
        let length = self.int_op(Opcode::Sub, to, from);
        let length = asm.function("llvm.smax", &[length.into(), asm.index(1).into()]).into_int_value();
        let rows = self.int_op(Opcode::SDiv, asm.index(DISTANCE / size), length);
        let stride = self.int_op(Opcode::Mul, self.int(it.strides[dim]), asm.index(size));
        self.int_op(Opcode::Mul, rows, stride)
    }

    /// Has the line of an address brought near.
    fn fetch(&self, at: PointerValue<'c>) {
        let [read, often, data] = [0, 3, 1].map(|it| self.asm.int(Element::I32, None, it));
        let args: [Value<'c>; 4] = [at.into(), read, often, data];
        self.asm.hint("llvm.prefetch", &[at.get_type().into()], &args);
    }

    /// Fetches rows that come later than those that a loop is about to read element by element, if the one at hand has
    /// chosen them.
    pub(super) fn fetch_rows(&mut self, it: &'a Loop) {
        let mut all = Vec::new();
        self.rows_read(it, &mut all);
        for rows in all {
            self.fetch_once(rows);
        }
    }

    /// The rows of inputs that a loop, or one within it, reads element by element.
    fn rows_read(&self, along: &'a Loop, all: &mut Vec<Rows<'a>>) {
        let Some(at_hand) = &self.at_hand else { return };
        for stmt in &along.body.stmts {
            match stmt {
                Stmt::Let(_, Op::Load { buffer, index, guard: None, .. }) if self.is_input(*buffer) => {
                    let Some((last, others)) = index.split_last() else { continue };
                    let is_known = |it: &ValueId| self.is_defined(*it);
                    let dim = others.iter().position(|it| self.has_rows(*it));
                    let Some(dim) = dim.filter(|_| *last == along.index && others.iter().all(is_known))
                    else {
                        continue;
                    };
                    let coordinates = others[dim];
                    let is_chosen = self.before[coordinates.idx()] >= at_hand.began;
                    let is_known = [along.from, along.to].iter().all(is_known);
                    if is_chosen && is_known && self.reads_others(at_hand, others) {
                        all.push(Rows { along, buffer: *buffer, index, coordinates, dim });
                    }
                }
                Stmt::Loop(it) => self.rows_read(it, all),
                Stmt::Let(..) | Stmt::Store { .. } | Stmt::If { .. } => {}
            }
        }
    }

    /// Fetches them where the loop at hand has not.
    fn fetch_once(&mut self, rows: Rows<'a>) {
        let Rows { along, buffer, index, coordinates, dim } = rows;
        let fetched = &mut self.at_hand.as_mut().expect("a loop has begun").fetched;
        if fetched.contains(&(buffer, coordinates)) {
            return;
        }
        fetched.push((buffer, coordinates));
        let asm = self.asm;
        let ahead = self.rows_ahead(along, buffer, dim);
        let size = i64::from(bytes_of(self.nest.buffers[buffer].dtype));
        let [from, to] = [along.from, along.to].map(|it| self.int(it));
        let before = asm.here();
        let [body, exit] = std::array::from_fn(|_| self.new_block());
        asm.branch(asm.icmp(IntPredicate::SLT, from.into(), to.into()), body, exit);
        self.switch_to(body);
        let at = self.phi(from.into(), before);
        self.define_scalar(along.index, at.as_basic_value());
        let shape = &self.nest.values[coordinates].shape;
        let places = self.places(buffer, index, shape, false);
        for place in self.each_at(&places, 0) {
            self.fetch(asm.offset(place, ahead));
        }
        let at_line: IntValue<'c> = at.as_basic_value().into_int_value();
        let next = self.int_op(Opcode::Add, at_line, asm.index(LINE / size));
        at.add_incoming(&[(&next, body)]);
        asm.branch(asm.icmp(IntPredicate::SLT, next.into(), to.into()), body, exit);
        // From here on nothing may use it until the loop itself defines it.
        self.undefine(along.index);
        self.switch_to(exit);
    }
}
