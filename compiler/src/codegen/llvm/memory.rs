//! Loads and stores.
//!
//! A row whose elements follow one another is one access. Where a guard forbids an element, the access is masked if the
//! target can do that, else it goes to a place that is nobody's: zeros to read, waste to write.

use attnc_dsl::ast::DType;
use inkwell::values::PointerValue;

use super::address::Places;
use super::assembler::{Element, Lanes, Opcode, Value, lanes_of};
use super::block::Emitter;
use super::dtype::stored;
use super::tile::{Tile, lanes};
use crate::codegen::points;
use crate::ir::nest::{BufferId, Scalar, TileDim, TileType, ValueId, bytes_of};

/// Up to so many elements that lie apart are read and written one by one rather than gathered and scattered.
const MOST_SINGLE: usize = 8;
const READS: &str = "what reads has a value";

/// How the elements of a row are reached, as far as they may be.
enum Access<'c> {
    /// They follow one another.
    Whole(PointerValue<'c>),
    /// The same, for those where the mask holds.
    Masked(PointerValue<'c>, Value<'c>),
    /// Each lies by itself.
    Scattered(Value<'c>),
}

/// A buffer's elements at the points of a shape.
struct Accesses<'a, 'c> {
    places: Places<'a, 'c>,
    /// Rows of bools that say what may be reached, and whether each row has but one.
    guard: Option<(Vec<Value<'c>>, bool)>,
    /// Where to reach what a guard forbids.
    instead: Option<PointerValue<'c>>,
    together: bool,
}

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// The elements of a buffer.
    pub(super) fn load(
        &mut self,
        ty: &'a TileType,
        buffer: BufferId,
        index: &[ValueId],
        guard: Option<ValueId>,
        contiguous: bool,
    ) -> Tile<'a, 'c> {
        let dtype = self.nest.buffers[buffer].dtype;
        let zeros = guard.map(|_| self.unit.zeros(self.widest()));
        let accesses = self.accesses(&ty.shape, (buffer, index, contiguous), guard, zeros);
        let rows = (0..Tile::rows_of(ty)).map(|row| {
            let raw = match self.few_at(&accesses, row) {
                Some(places) => self.load_each(dtype, buffer, &places),
                None => {
                    let access = self.access(&accesses, row);
                    if let Access::Whole(place) = access {
                        self.fetch_ahead(buffer, index, place, lanes(&ty.shape).unwrap_or(0));
                    }
                    let raw = self.load_raw(dtype, access, lanes(&ty.shape));
                    self.tag(buffer);
                    raw
                }
            };
            self.convert(Scalar::of(dtype), ty.scalar, self.widened(dtype, raw))
        });
        Tile::new(ty, rows.collect())
    }

    /// Writes elements of a buffer.
    pub(super) fn store(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        value: ValueId,
        guard: Option<ValueId>,
        contiguous: bool,
    ) {
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = points::stored(self.nest, index, value, guard);
        let waste = guard.map(|_| self.waste());
        let accesses = self.accesses(&ty.shape, (buffer, index, contiguous), guard, waste);
        for (row, value) in self.spread(value, &ty).into_iter().enumerate() {
            let raw = self.narrowed(dtype, ty.scalar, value);
            if let Some(places) = self.few_at(&accesses, row) {
                self.store_each(dtype, buffer, &places, raw);
                continue;
            }
            let access = self.access(&accesses, row);
            self.store_raw(dtype, access, raw);
            self.tag(buffer);
        }
    }

    fn accesses(
        &self,
        shape: &[TileDim],
        (buffer, index, contiguous): (BufferId, &[ValueId], bool),
        guard: Option<ValueId>,
        instead: Option<PointerValue<'c>>,
    ) -> Accesses<'a, 'c> {
        let bytes = bytes_of(self.nest.buffers[buffer].dtype);
        let is_uniform = points::is_uniform(self.nest, guard, shape);
        let guard = guard.map(|it| (self.tile(it).spread(self.asm, shape), is_uniform));
        let masks = is_uniform || self.unit.machine.has_masks(bytes);
        let together = shape.is_empty() || contiguous && masks;
        Accesses { places: self.places(buffer, index, shape, contiguous), guard, instead, together }
    }

    /// Where the elements of a row lie if each is best reached by itself: a few, which are wanted one by one.
    fn few_at(&self, accesses: &Accesses<'a, 'c>, row: usize) -> Option<Vec<PointerValue<'c>>> {
        let few = accesses.guard.is_none() && !accesses.together && accesses.places.width() <= MOST_SINGLE;
        few.then(|| self.each_at(&accesses.places, row))
    }

    /// Elements that are read one by one.
    fn load_each(&self, dtype: DType, buffer: BufferId, places: &[PointerValue<'c>]) -> Value<'c> {
        let ty = self.asm.ty(stored(dtype), None);
        let each = |place: &PointerValue<'c>| {
            let element = self.asm.load(ty, *place, bytes_of(dtype));
            self.tag(buffer);
            element
        };
        self.asm.gather(&places.iter().map(each).collect::<Vec<_>>())
    }

    /// Elements that are written one by one.
    fn store_each(&self, dtype: DType, buffer: BufferId, places: &[PointerValue<'c>], row: Value<'c>) {
        for (at, place) in places.iter().enumerate() {
            self.asm.store(*place, self.asm.lane(row, at), bytes_of(dtype));
            self.tag(buffer);
        }
    }

    fn access(&self, accesses: &Accesses<'a, 'c>, row: usize) -> Access<'c> {
        let asm = self.asm;
        let guard = accesses.guard.as_ref().map(|(rows, is_uniform)| (rows[row], *is_uniform));
        let instead = || Value::from(accesses.instead.expect("there is a place for what a guard forbids"));
        if !accesses.together {
            let places = self.elements_at(&accesses.places, row);
            return Access::Scattered(match guard {
                Some((guard, _)) => asm.select(guard, places, asm.splat(instead(), lanes_of(guard))),
                None => places,
            });
        }
        let place = self.row_at(&accesses.places, row);
        match guard {
            None => Access::Whole(place),
            Some((guard, true)) => {
                let place = asm.select(asm.lane(guard, 0), place.into(), instead());
                Access::Whole(place.into_pointer_value())
            }
            Some((guard, false)) => Access::Masked(place, guard),
        }
    }

    /// A row as it lies in memory.
    fn load_raw(&self, dtype: DType, access: Access<'c>, lanes: Lanes) -> Value<'c> {
        let asm = self.asm;
        let (ty, bytes) = (asm.ty(stored(dtype), lanes), bytes_of(dtype));
        let zeros = ty.const_zero();
        match access {
            Access::Whole(place) => asm.load(ty, place, bytes),
            Access::Masked(place, mask) => {
                let args = [place.into(), mask, zeros];
                asm.guarded("llvm.masked.load", [ty, place.get_type().into()], (0, bytes), &args)
                    .expect(READS)
            }
            Access::Scattered(places) if bytes < 4 && self.unit.machine.gathers => {
                self.load_from_words(stored(dtype), places)
            }
            Access::Scattered(places) => {
                let all = asm.int(Element::Bool, lanes_of(places), 1);
                let types = [ty, places.get_type()];
                asm.guarded("llvm.masked.gather", types, (0, bytes), &[places, all, zeros]).expect(READS)
            }
        }
    }

    /// Elements of one or two bytes, of which machines gather none: the aligned words of four that they are part of, which
    /// lie in the same pages of memory.
    fn load_from_words(&self, element: Element, places: Value<'c>) -> Value<'c> {
        let asm = self.asm;
        let lanes = lanes_of(places);
        let address = asm.cast(Opcode::PtrToInt, places, Element::I64);
        let words = asm.binary(Opcode::And, address, asm.int(Element::I64, lanes, -4));
        let words = asm.cast(Opcode::IntToPtr, words, Element::Pointer);
        let (ty, all) = (asm.ty(Element::I32, lanes), asm.int(Element::Bool, lanes, 1));
        let types = [ty, words.get_type()];
        let args = [words, all, ty.const_zero()];
        let word = asm.guarded("llvm.masked.gather", types, (0, 4), &args).expect(READS);
        let within = asm.binary(Opcode::And, address, asm.int(Element::I64, lanes, 3));
        let bits = asm.binary(Opcode::Shl, within, asm.int(Element::I64, lanes, 3));
        let shifted = asm.binary(Opcode::LShr, word, asm.cast(Opcode::Trunc, bits, Element::I32));
        asm.cast(Opcode::Trunc, shifted, element)
    }

    /// Writes what `narrowed` made.
    fn store_raw(&self, dtype: DType, access: Access<'c>, row: Value<'c>) {
        let asm = self.asm;
        let (ty, bytes) = (row.get_type(), bytes_of(dtype));
        match access {
            Access::Whole(place) => asm.store(place, row, bytes),
            Access::Masked(place, mask) => {
                let types = [ty, place.get_type().into()];
                asm.guarded("llvm.masked.store", types, (1, bytes), &[row, place.into(), mask]);
            }
            Access::Scattered(places) => {
                let all = asm.int(Element::Bool, lanes_of(places), 1);
                asm.guarded("llvm.masked.scatter", [ty, places.get_type()], (1, bytes), &[row, places, all]);
            }
        }
    }
}
