//! Coordinates to addresses.

use inkwell::values::{IntValue, PointerValue};

use super::assembler::{Element, Opcode, Value};
use super::block::Emitter;
use super::tile::{Tile, lanes, width};
use crate::codegen::points::positions;
use crate::ir::nest::{BufferId, TileDim, ValueId, bytes_of};

/// Where the elements of a tile lie in a buffer.
pub(super) struct Places<'a, 'c> {
    base: PointerValue<'c>,
    shape: Vec<TileDim>,
    dims: Vec<Dim<'a, 'c>>,
}

/// One dimension of a buffer.
struct Dim<'a, 'c> {
    /// The coordinates.
    tile: Tile<'a, 'c>,
    /// The bytes between neighbours.
    scale: IntValue<'c>,
    /// What the first of a run of coordinates adds to addresses.
    first: Option<IntValue<'c>>,
    /// Which coordinate belongs to each point of the tile.
    along: Vec<usize>,
}

impl Places<'_, '_> {
    /// How many elements a row has.
    pub(super) fn width(&self) -> usize {
        width(&self.shape)
    }
}

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// Where the elements of a tile of that shape lie.
    pub(super) fn places(
        &self,
        buffer: BufferId,
        index: &[ValueId],
        shape: &[TileDim],
        contiguous: bool,
    ) -> Places<'a, 'c> {
        let bytes = self.asm.index(bytes_of(self.nest.buffers[buffer].dtype).into());
        let strides = &self.nest.buffers[buffer].strides;
        // Where one run of coordinates alone goes along the elements that follow one another, its stride is 1.
        let along = |it: &ValueId| self.nest.values[*it].shape.last() == shape.last();
        let dense = contiguous && shape.last().is_some_and(|it| it.extent > 1);
        let dense = dense && index.iter().filter(|it| along(it)).count() == 1;
        let dims = index.iter().zip(strides).map(|(&coordinate, &stride)| {
            let tile = self.tile(coordinate);
            let dense = dense && along(&coordinate) && tile.run.is_some();
            let scale = if dense { bytes } else { self.int_op(Opcode::Mul, self.int(stride), bytes) };
            let first = tile.run.map(|run| self.int_op(Opcode::Mul, run, scale));
            Dim { first, along: positions(&tile.ty.shape, shape), tile, scale }
        });
        Places { base: self.address(buffer), shape: shape.to_vec(), dims: dims.collect() }
    }

    /// Where a row begins.
    pub(super) fn row_at(&self, places: &Places<'a, 'c>, row: usize) -> PointerValue<'c> {
        self.point_at(places, row * places.width())
    }

    /// Where each element of a row lies.
    pub(super) fn each_at(&self, places: &Places<'a, 'c>, row: usize) -> Vec<PointerValue<'c>> {
        let first = row * places.width();
        (first..first + places.width()).map(|point| self.point_at(places, point)).collect()
    }

    fn point_at(&self, places: &Places<'a, 'c>, point: usize) -> PointerValue<'c> {
        places.dims.iter().fold(places.base, |address, dim| {
            let at = dim.along[point];
            let bytes = match dim.first {
                Some(first) => {
                    let further = self.int_op(Opcode::Mul, self.asm.index(at as i64), dim.scale);
                    self.int_op(Opcode::Add, first, further)
                }
                None => {
                    let coordinate = dim.tile.element(self.asm, at).into_int_value();
                    self.int_op(Opcode::Mul, coordinate, dim.scale)
                }
            };
            self.asm.offset(address, bytes)
        })
    }

    /// Where the elements of a row lie, each by itself.
    pub(super) fn elements_at(&self, places: &Places<'a, 'c>, row: usize) -> Value<'c> {
        let asm = self.asm;
        let lanes = lanes(&places.shape);
        let base = asm.cast(Opcode::PtrToInt, places.base.into(), Element::I64);
        let address = places.dims.iter().fold(asm.splat(base, lanes), |address, dim| {
            let coordinates = dim.tile.spread_row(asm, &places.shape, row);
            let bytes = asm.binary(Opcode::Mul, coordinates, asm.splat(dim.scale.into(), lanes));
            asm.binary(Opcode::Add, address, bytes)
        });
        asm.cast(Opcode::IntToPtr, address, Element::Pointer)
    }
}
