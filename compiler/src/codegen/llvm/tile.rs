//! Tiles as registers, and how one is broadcast along the ranks of another.

use std::collections::HashMap;

use inkwell::values::IntValue;

use super::assembler::{Assembler, Element, Lanes, Opcode, Value};
use crate::codegen::points::positions;
use crate::ir::nest::{Scalar, TileDim, TileType};

/// A value in registers.
#[derive(Debug, Clone)]
pub(super) struct Tile<'a, 'c> {
    pub(super) ty: &'a TileType,
    /// A vector along the last rank for every point of the ranks before it; of a scalar, itself.
    pub(super) rows: Vec<Value<'c>>,
    /// The first of integers that go up by one along the only rank, where they are known to.
    pub(super) run: Option<IntValue<'c>>,
}

/// The columns of a square as rows: pairs of rows exchange blocks of 1, 2, 4, … lanes.
fn turned<'c>(asm: &Assembler<'c>, mut rows: Vec<Value<'c>>) -> Vec<Value<'c>> {
    let size = rows.len();
    let mut block = 1;
    while block < size {
        for first in (0..size).filter(|it| it & block == 0) {
            let (a, b) = (rows[first], rows[first + block]);
            let [low, high]: [Vec<usize>; 2] = [0, block].map(|from| {
                (0..size)
                    .map(|lane| if lane & block == 0 { lane + from } else { size + lane - block + from })
                    .collect()
            });
            (rows[first], rows[first + block]) = (asm.shuffle(a, b, &low), asm.shuffle(a, b, &high));
        }
        block *= 2;
    }
    rows
}

/// The lanes of the rows of a tile of that shape.
pub(super) fn lanes(shape: &[TileDim]) -> Lanes {
    shape.last().map(|dim| dim.extent)
}

/// How many elements a row of that shape has.
pub(super) fn width(shape: &[TileDim]) -> usize {
    lanes(shape).unwrap_or(1) as usize
}

/// What the elements of a scalar's registers are.
pub(super) fn element(scalar: Scalar) -> Element {
    match scalar {
        Scalar::F64 => Element::F64,
        Scalar::F32 => Element::F32,
        Scalar::I64 => Element::I64,
        Scalar::I32 => Element::I32,
        Scalar::Bool => Element::Bool,
    }
}

impl<'a, 'c> Tile<'a, 'c> {
    /// Of registers.
    pub(super) fn new(ty: &'a TileType, rows: Vec<Value<'c>>) -> Tile<'a, 'c> {
        Tile { ty, rows, run: None }
    }

    /// How many rows a tile of that type has.
    pub(super) fn rows_of(ty: &TileType) -> usize {
        ty.points() / width(&ty.shape)
    }

    /// The element at a position in row-major order.
    pub(super) fn element(&self, asm: &Assembler<'c>, position: usize) -> Value<'c> {
        if let Some(first) = self.run {
            return asm.binary(Opcode::Add, first.into(), asm.index(position as i64).into());
        }
        let width = width(&self.ty.shape);
        asm.lane(self.rows[position / width], position % width)
    }

    /// The rows of this tile broadcast to a shape that has all its ranks.
    pub(super) fn spread(&self, asm: &Assembler<'c>, shape: &[TileDim]) -> Vec<Value<'c>> {
        if self.ty.shape == shape {
            return self.rows.clone();
        }
        if let (&[a, b], &[c, d]) = (&self.ty.shape[..], shape)
            && (a, b) == (d, c)
            && a.extent == b.extent
            && a.extent.is_power_of_two()
        {
            return turned(asm, self.rows.clone());
        }
        let positions = positions(&self.ty.shape, shape);
        let mut known: HashMap<&[usize], Value<'c>> = HashMap::new();
        let mut row = |at| *known.entry(at).or_insert_with(|| self.row(asm, at, lanes(shape)));
        positions.chunks(width(shape)).map(&mut row).collect()
    }

    /// One row of this tile broadcast to a shape.
    pub(super) fn spread_row(&self, asm: &Assembler<'c>, shape: &[TileDim], row: usize) -> Value<'c> {
        let (positions, width) = (positions(&self.ty.shape, shape), width(shape));
        self.row(asm, &positions[row * width..][..width], lanes(shape))
    }

    /// The elements at these positions.
    fn row(&self, asm: &Assembler<'c>, at: &[usize], lanes: Lanes) -> Value<'c> {
        let width = width(&self.ty.shape);
        let row = at[0] / width;
        if at.iter().all(|it| *it == at[0]) {
            return asm.splat(self.element(asm, at[0]), lanes);
        }
        if at.iter().enumerate().all(|(lane, it)| *it == row * width + lane) && at.len() == width {
            return self.rows[row];
        }
        if at.iter().all(|it| it / width == row) {
            let lanes: Vec<usize> = at.iter().map(|it| it % width).collect();
            return asm.shuffle(self.rows[row], self.rows[row], &lanes);
        }
        let elements: Vec<Value<'c>> = at.iter().map(|&it| self.element(asm, it)).collect();
        asm.gather(&elements)
    }
}
