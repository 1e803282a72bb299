//! Tiles as registers, and how one is broadcast along the ranks of another.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use cranelift_frontend::FunctionBuilder;

use super::arith::shuffle;
use crate::codegen::points::positions;
use crate::ir::nest::{Scalar, TileDim, TileType};

/// How many elements a vector register holds.
pub(super) const LANES: usize = 4;

/// A value in registers.
#[derive(Debug, Clone)]
pub(super) struct Tile<'a> {
    pub(super) ty: &'a TileType,
    pub(super) form: Form,
    /// The elements in row-major order.
    pub(super) registers: Vec<Value>,
}

/// What a register of a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One element; of a bool 0 or 1.
    Elements,
    /// Four neighbours along the last rank: f32, or masks of 32 bits for bools.
    Vectors,
}

impl Form {
    /// The form of a tile, where nothing but its type decides.
    pub(super) fn of(ty: &TileType) -> Form {
        match ty.scalar {
            Scalar::F32 => Form::fitting(&ty.shape),
            Scalar::F64 | Scalar::I64 | Scalar::I32 | Scalar::Bool => Form::Elements,
        }
    }

    /// Vectors where the last rank can be cut into them.
    pub(super) fn fitting(shape: &[TileDim]) -> Form {
        match shape.last() {
            Some(dim) if (dim.extent as usize).is_multiple_of(LANES) => Form::Vectors,
            Some(_) | None => Form::Elements,
        }
    }

    /// How many elements a register holds.
    pub(super) fn lanes(self) -> usize {
        match self {
            Form::Elements => 1,
            Form::Vectors => LANES,
        }
    }

    /// The type of a register.
    pub(super) fn register(self, scalar: Scalar) -> Type {
        match (self, scalar) {
            (Form::Elements, Scalar::F64) => F64,
            (Form::Elements, Scalar::F32) => F32,
            (Form::Elements, Scalar::I64) => I64,
            (Form::Elements, Scalar::I32) => I32,
            (Form::Elements, Scalar::Bool) => I8,
            (Form::Vectors, Scalar::F32) => F32X4,
            (Form::Vectors, Scalar::Bool) => I32X4,
            (Form::Vectors, Scalar::F64 | Scalar::I64 | Scalar::I32) => {
                unreachable!("no vectors of integers or f64")
            }
        }
    }
}

impl Tile<'_> {
    /// The element at a position.
    pub(super) fn element(&self, builder: &mut FunctionBuilder<'_>, position: usize) -> Value {
        let register = self.registers[position / self.form.lanes()];
        match self.form {
            Form::Elements => register,
            Form::Vectors => lane(builder, self.ty.scalar, register, position % LANES),
        }
    }

    /// The registers of this tile broadcast to a shape that has all its ranks.
    pub(super) fn spread(
        &self,
        builder: &mut FunctionBuilder<'_>,
        shape: &[TileDim],
        form: Form,
    ) -> Vec<Value> {
        if self.form == form && self.ty.shape == shape {
            return self.registers.clone();
        }
        if let Some(turned) = self.turned(builder, shape, form) {
            return turned;
        }
        let positions = positions(&self.ty.shape, shape);
        let mut known: HashMap<&[usize], Value> = HashMap::new();
        let mut register = |at| *known.entry(at).or_insert_with(|| self.register(builder, at));
        positions.chunks(form.lanes()).map(&mut register).collect()
    }

    /// The registers of a tile of two ranks in the other order: squares are turned.
    fn turned(&self, builder: &mut FunctionBuilder<'_>, shape: &[TileDim], form: Form) -> Option<Vec<Value>> {
        let (&[a, b], &[c, d]) = (&self.ty.shape[..], shape) else { return None };
        let whole = self.form == Form::Vectors && form == Form::Vectors;
        if (a, b) != (d, c) || !whole || self.ty.scalar != Scalar::F32 {
            return None;
        }
        let [rows, columns] = [a, b].map(|it| it.extent as usize / LANES);
        let mut turned = Vec::new();
        for column in 0..columns {
            let squares: Vec<[Value; LANES]> = (0..rows)
                .map(|row| {
                    let first = row * LANES * columns + column;
                    square(builder, std::array::from_fn(|it| self.registers[first + it * columns]))
                })
                .collect();
            turned.extend((0..LANES).flat_map(|lane| squares.iter().map(move |it| it[lane])));
        }
        Some(turned)
    }

    /// The elements at these positions, which are one or four.
    fn register(&self, builder: &mut FunctionBuilder<'_>, at: &[usize]) -> Value {
        let &[first, second, ..] = at else { return self.element(builder, at[0]) };
        if second == first + 1 && self.form == Form::Vectors && first.is_multiple_of(LANES) {
            return self.registers[first / LANES];
        }
        if second == first {
            let element = self.element(builder, first);
            return splat(builder, self.ty.scalar, element);
        }
        let in_lanes = at.iter().map(|&at| {
            let element = self.element(builder, at);
            in_lane(builder, self.ty.scalar, element)
        });
        let in_lanes: Vec<Value> = in_lanes.collect();
        gather(builder, Form::Vectors.register(self.ty.scalar), &in_lanes)
    }
}

/// The columns of a square of four rows.
fn square(builder: &mut FunctionBuilder<'_>, [a, b, c, d]: [Value; LANES]) -> [Value; LANES] {
    let (low, high) = ([0, 4, 1, 5], [2, 6, 3, 7]);
    let [ab, cd] = [(a, b), (c, d)].map(|(x, y)| [low, high].map(|it| shuffle(builder, x, y, it)));
    let (left, right) = ([0, 1, 4, 5], [2, 3, 6, 7]);
    let [first, second] = [0, 1].map(|it| [left, right].map(|of| shuffle(builder, ab[it], cd[it], of)));
    [first[0], first[1], second[0], second[1]]
}

/// One element of a vector.
pub(super) fn lane(builder: &mut FunctionBuilder<'_>, scalar: Scalar, vector: Value, lane: usize) -> Value {
    let element = builder.ins().extractlane(vector, lane as u8);
    if scalar == Scalar::Bool { builder.ins().icmp_imm_u(IntCC::NotEqual, element, 0) } else { element }
}

/// A vector of four lanes.
pub(super) fn gather(builder: &mut FunctionBuilder<'_>, ty: Type, lanes: &[Value]) -> Value {
    let mut vector = builder.ins().scalar_to_vector(ty, lanes[0]);
    for (at, &lane) in lanes.iter().enumerate().skip(1) {
        vector = builder.ins().insertlane(vector, lane, at as u8);
    }
    vector
}

/// A vector of the same element four times.
fn splat(builder: &mut FunctionBuilder<'_>, scalar: Scalar, element: Value) -> Value {
    let element = in_lane(builder, scalar, element);
    builder.ins().splat(Form::Vectors.register(scalar), element)
}

fn in_lane(builder: &mut FunctionBuilder<'_>, scalar: Scalar, element: Value) -> Value {
    if scalar == Scalar::Bool { builder.ins().bmask(I32, element) } else { element }
}
