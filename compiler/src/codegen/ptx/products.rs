//! Contractions to products of matrices: `mma.sync` on fragments.
//!
//! A fragment of results has the elements that a thread has of a tile, and so has the left factor, two in a register.
//! What is loaded lies in shared memory (`shared.rs`), from where `ldmatrix` takes it, turned where neighbours in memory
//! are those of the result.
//!
//! ```text
//! contract P [m in 64, n in 32], V [n in 32, e in 64] into O   ->   2 × 8 mma.sync of 16 × 8 × 16 by each warp
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{IntOp, LogicOp, Matrices, Mma, Relu, Transpose};
use attnc_ptx::types::{Int, Logical, Pair, RegType};
use attnc_ptx::{Inst, Op, Reg, args, at};

use super::arith::select;
use super::block::Emitter;
use super::careful::Factor;
use super::op::Tile;
use super::shared::Staged;
use super::team::Team;
use super::value::Value;
use crate::codegen::points::{lacking, positions};
use crate::ir::nest::{TileDim, TileType, ValueId};

/// Rows and columns of which `ldmatrix` takes four matrices.
const SQUARE: u32 = 16;

/// Which of four matrices the eight lanes from each multiple of eight on have rows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those below the first come next, then those beside them.
    Down,
    /// Those beside the first come next, then those below them.
    Along,
}

impl<'a> Emitter<'a> {
    pub(super) fn together(&self) -> &Team<'a> {
        self.team.as_ref().expect("a block works together")
    }

    /// `into + Σ a · b`, without what is not there: where a sum is not finite, products are taken one by one.
    pub(super) fn product(
        &mut self,
        ty: &'a TileType,
        (a, b): (ValueId, ValueId),
        there: Option<ValueId>,
        into: ValueId,
    ) -> Tile<'a> {
        let a = self.together().unrounded(a);
        let left = &self.nest.values[a].shape;
        let over = lacking(&ty.shape, left)[0];
        let is_out = |it: &&TileDim| !left.contains(it);
        let out = *ty.shape.iter().find(is_out).expect("the right factor has a rank of its own");
        let rows = *left.iter().find(|it| **it != over).expect("the left factor has rows");
        let shape = |a, b| TileType { scalar: ty.scalar, shape: vec![a, b] };
        let right = self.together().staged[&b];
        let is_turned = right.rows == over.rank;
        let is_f16 = right.dtype == DType::F16;
        let (form, pair) =
            if is_f16 { (Mma::F32F16K16, Pair::F16x2) } else { (Mma::F32Bf16K16, Pair::BF16x2) };
        let (order, transpose) =
            if is_turned { (Order::Down, Transpose::Trans) } else { (Order::Along, Transpose::No) };
        let corner = self.corner(right, order, Value::Int(0));
        let mut sums = self.tile(into).spread(&shape(rows, out));
        let before = sums.clone();
        let width = sums.len() / 2;
        for depth in 0..self.together().whole(over) / SQUARE {
            let fragment = self.left(a, there, &shape(rows, over), (depth, pair));
            for square in 0..self.together().whole(out) / SQUARE {
                let (row, column) = if is_turned { (depth, square) } else { (square, depth) };
                let halves = self.matrices(corner, right, (row, column), transpose);
                for (half, factor) in halves.chunks(2).enumerate() {
                    let first = square as usize * 4 + half * 2;
                    let places = [first, first + 1, width + first, width + first + 1];
                    let before = places.map(|it| self.writer.reg(RegType::F32, sums[it]));
                    let after = places.map(|_| self.writer.fresh(RegType::F32));
                    let op = Op::Mma { form };
                    self.writer.add(Inst::new(op, args![after, fragment, factor, before]));
                    places.iter().zip(after).for_each(|(&it, reg)| sums[it] = Value::Reg(reg));
                }
            }
        }
        if let Some(there) = there {
            let factor =
                Factor { value: a, there, ty: shape(rows, over), columns: self.together().whole(over) };
            self.carefully(&factor, right, is_turned, (&before, &sums));
        }
        let places = positions(&[rows, out], &ty.shape);
        Tile { ty, elements: places.into_iter().map(|it| sums[it]).collect() }
    }

    /// The fragment of a left factor at so many times sixteen of what is summed over.
    fn left(&self, a: ValueId, there: Option<ValueId>, ty: &TileType, (depth, to): (u32, Pair)) -> [Reg; 4] {
        if let Some(&staged) = self.together().staged.get(&a) {
            let word = |op, a, b: u32| {
                let op = Op::IntBinary { op, ty: Int::U32 };
                self.writer.pure(RegType::B32, op, &[a, Value::Int(b.into())])
            };
            let warp = word(IntOp::Div, Value::Reg(self.together().thread), 32);
            let corner = self.corner(staged, Order::Down, word(IntOp::MulLo, warp, SQUARE));
            return self.matrices(corner, staged, (0, depth), Transpose::No);
        }
        let mut elements = self.tile(a).spread(ty);
        if let Some(there) = there {
            let there = self.tile(there).spread(ty);
            for (element, there) in elements.iter_mut().zip(there) {
                *element = select(&self.writer, RegType::F32, there, *element, Value::F32(0));
            }
        }
        let width = elements.len() / 2;
        let packed = |low: usize| {
            let pair = [low + 1, low].map(|it| Value::Reg(self.writer.reg(RegType::F32, elements[it])));
            let op = Op::CvtPair { relu: Relu::No, to };
            self.writer.reg(RegType::B32, self.writer.pure(RegType::B32, op, &pair))
        };
        let first = depth as usize * 4;
        [first, width + first, first + 2, width + first + 2].map(packed)
    }

    /// Four matrices at so many squares down and along.
    fn matrices(&self, corner: Reg, of: Staged, (row, column): (u32, u32), transpose: Transpose) -> [Reg; 4] {
        let offset = row * SQUARE * of.pitch + column * SQUARE * 2;
        let into = [(); 4].map(|()| self.writer.fresh(RegType::B32));
        let op = Op::Ldmatrix { matrices: Matrices::X4, transpose };
        self.writer.add(Inst::new(op, args![into, at(corner).plus(offset.cast_signed())]));
        into
    }

    /// The address of a lane's row in the first four matrices of what is staged from a row on.
    fn corner(&self, staged: Staged, order: Order, first: Value) -> Reg {
        let w = &self.writer;
        let own = Value::Reg(self.together().thread);
        let word = |op, a, b: Value| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let by = |op, a, b: u32| word(op, a, Value::Int(b.into()));
        let and = |a, b| {
            w.pure(RegType::B32, Op::Logic { op: LogicOp::And, ty: Logical::B32 }, &[a, Value::Int(b)])
        };
        let lane = and(own, 31);
        let (row, chunk) = match order {
            Order::Down => (and(lane, 15), by(IntOp::Div, lane, 16)),
            Order::Along => {
                let below = by(IntOp::MulLo, by(IntOp::Div, lane, 16), 8);
                (word(IntOp::Add, below, and(lane, 7)), and(by(IntOp::Div, lane, 8), 1))
            }
        };
        let row = word(IntOp::Add, row, first);
        let (down, along) = (by(IntOp::MulLo, row, staged.pitch), by(IntOp::MulLo, chunk, 16));
        w.reg(RegType::B32, word(IntOp::Add, staged.start, word(IntOp::Add, down, along)))
    }
}
