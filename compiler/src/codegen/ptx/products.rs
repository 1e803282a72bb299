//! Contractions to products of matrices: `mma.sync` on fragments; `group.rs` has those of groups of warps.
//!
//! A fragment of results has the elements that a thread has of a tile, and so has the left factor, two in a register.
//! What is loaded lies in shared memory (`shared.rs`), from where `ldmatrix` takes it, turned where neighbours in memory
//! are those of the result.
//!
//! ```text
//! contract P [m in 64, n in 32], V [n in 32, e in 64] into O   ->   2 × 8 mma.sync of 16 × 8 × 16 by each warp
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{FloatOp, Flush, IntOp, LogicOp, Matrices, Mma, Relu, Round, Transpose};
use attnc_ptx::types::{Float, Int, Logical, Pair, RegType};
use attnc_ptx::{Inst, Op, Reg, args, at};

use super::arith::select;
use super::block::Emitter;
use super::careful::Factor;
use super::group::Left;
use super::layout::{CHUNK, Layout, Staged};
use super::op::Tile;
use super::team::Team;
use super::value::Value;
use crate::codegen::points::{lacking, positions};
use crate::ir::factors::SLICE;
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

    pub(super) fn together_mut(&mut self) -> &mut Team<'a> {
        self.team.as_mut().expect("a block works together")
    }

    /// `into + Σ a · b`, without what is not there: where a sum is not finite, products are taken one by one.
    pub(super) fn product(
        &mut self,
        (sum, ty): (ValueId, &'a TileType),
        (a, b): (ValueId, ValueId),
        there: Option<ValueId>,
        into: ValueId,
    ) -> Tile<'a> {
        self.arrive(b);
        let a = self.together().unrounded(a);
        let left = &self.nest.values[a].shape;
        let over = lacking(&ty.shape, left)[0];
        let is_out = |it: &&TileDim| !left.contains(it);
        let out = *ty.shape.iter().find(is_out).expect("the right factor has a rank of its own");
        let rows = *left.iter().find(|it| **it != over).expect("the left factor has rows");
        let shape = |a, b| TileType { scalar: ty.scalar, shape: vec![a, b] };
        let right = self.together().staged[&b];
        let is_turned = right.rows == over.rank;
        let before = self.tile(into).spread(&shape(rows, out));
        let [depth, columns] = [over, out].map(|it| self.together().whole(it));
        let there = there.map(|it| self.tile(it).spread(&shape(rows, over)));
        let is_marked = self.together().factors.has_no_sign(a);
        let left = match self.together().staged.get(&a) {
            Some(&staged) => Left::Memory(staged, staged.rows == over.rank),
            None => {
                let elements = self.tile(a).spread(&shape(rows, over));
                // What is not there adds nothing.
                let nothing = Value::F32(if is_marked { -0.0_f32 } else { 0.0 }.to_bits());
                let elements = self.those_there(elements, there.as_deref(), nothing);
                Left::Registers(self.fragments(&elements, right.dtype))
            }
        };
        let sums = match (there, &left) {
            (Some(there), Left::Registers(fragments)) => {
                let team = self.team.as_mut().expect("a block works together");
                let room = team.rooms.at_once(&self.writer, Factor::bytes(team.rows.extent, depth));
                let there = Some(there).filter(|_| !is_marked);
                let factor = Factor { fragments, there, columns: depth, room };
                let sums = self.registers_of(sum, &before);
                match self.broken(b) {
                    Some(broken) => {
                        self.whole_or_slices(broken, &left, &factor, (right, is_turned), columns, &sums);
                    }
                    None => self.slices(&left, &factor, (right, is_turned), columns, &sums),
                }
                sums.into_iter().map(Value::Reg).collect()
            }
            _ if self.in_place.contains(&sum) => {
                let sums = self.registers_of(sum, &before);
                self.by_group(&left, (right, is_turned), (depth / SQUARE, columns), (&sums, false));
                sums.into_iter().map(Value::Reg).collect()
            }
            _ => self.products(&left, (right, is_turned), (depth, columns), &before),
        };
        let places = positions(&[rows, out], &ty.shape);
        Tile { ty, elements: places.into_iter().map(|it| sums[it]).collect() }
    }

    /// Sums with products added, rows first: so deep, of so many columns.
    fn products(
        &self,
        left: &Left,
        right: (Staged, bool),
        (depth, columns): (u32, u32),
        before: &[Value],
    ) -> Vec<Value> {
        if self.together().groups {
            let from_zero = before.iter().all(|it| *it == Value::F32(0));
            let sums: Vec<Reg> = before.iter().map(|_| self.writer.fresh(RegType::F32)).collect();
            if !from_zero {
                sums.iter().zip(before).for_each(|(&sum, &it)| self.writer.copy(sum, it));
            }
            self.by_group(left, right, (depth / SQUARE, columns), (&sums, from_zero));
            sums.into_iter().map(Value::Reg).collect()
        } else {
            self.by_warps(left, right, (depth / SQUARE, columns / SQUARE), before)
        }
    }

    /// The same where it is known whether what is multiplied by what a factor leaves out is finite.
    fn whole_or_slices(
        &self,
        broken: Reg,
        left: &Left,
        factor: &Factor<'_>,
        right: (Staged, bool),
        columns: u32,
        sums: &[Reg],
    ) {
        let w = &self.writer;
        let [apart, end] = ["broken", "multiplied"].map(|it| w.label(it));
        let finish = || {
            let closed = w.close(&[]);
            w.append(closed);
        };
        w.bra(apart, Some((broken, true)));
        w.open(true);
        self.by_group(left, right, (factor.columns / SQUARE, columns), (sums, false));
        finish();
        w.bra(end, None);
        w.place(apart);
        w.open(true);
        self.slices(left, factor, right, columns, sums);
        finish();
        w.place(end);
    }

    /// Adds products to sums without what a factor leaves out. Products are looked at before they are added to what is there, some
    /// columns at a time, so that few of them are held beside it.
    fn slices(
        &self,
        left: &Left,
        factor: &Factor<'_>,
        (right, is_turned): (Staged, bool),
        columns: u32,
        sums: &[Reg],
    ) {
        let (w, width) = (&self.writer, sums.len() / 2);
        // The same registers for all slices of a size, since they have to follow each other.
        let room = |count: u32| (0..count / 2).map(|_| w.fresh(RegType::F32)).collect::<Vec<Reg>>();
        let whole = room(SLICE.min(columns));
        for first in (0..columns).step_by(SLICE as usize) {
            let count = SLICE.min(columns - first);
            let own = (0..2).flat_map(|row| {
                let start = row * width + first as usize / 4;
                start..start + count as usize / 4
            });
            let own: Vec<usize> = own.collect();
            let right = right.from(w, is_turned, Value::Int((first / SLICE).into()));
            let products = if self.together().groups {
                let room = if own.len() == whole.len() { whole.clone() } else { room(count) };
                self.by_group(left, (right, is_turned), (factor.columns / SQUARE, count), (&room, true));
                room.into_iter().map(Value::Reg).collect()
            } else {
                let size = (factor.columns / SQUARE, count / SQUARE);
                self.by_warps(left, (right, is_turned), size, &vec![Value::F32(0); own.len()])
            };
            self.carefully(factor, right, is_turned, &products);
            for (at, product) in own.into_iter().zip(products) {
                let op = FloatOp::Add;
                let add = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
                w.add(Inst::new(add, args![sums[at], sums[at], w.reg(RegType::F32, product)]));
            }
        }
    }

    /// Sums with products added, rows first, each warp those of its rows.
    fn by_warps(
        &self,
        left: &Left,
        (right, is_turned): (Staged, bool),
        (depths, squares): (u32, u32),
        before: &[Value],
    ) -> Vec<Value> {
        let (order, transpose) =
            if is_turned { (Order::Down, Transpose::Trans) } else { (Order::Along, Transpose::No) };
        let corner = self.corner(right, order, [0, 0].map(Value::Int));
        let form = if right.dtype == DType::F16 { Mma::F32F16K16 } else { Mma::F32Bf16K16 };
        let mut sums = before.to_vec();
        let width = sums.len() / 2;
        for depth in 0..depths {
            let fragment = match left {
                Left::Registers(fragments) => fragments[depth as usize],
                Left::Memory(staged, is_turned) => self.loaded(*staged, *is_turned, depth),
            };
            for square in 0..squares {
                let at_square = if is_turned { (depth, square) } else { (square, depth) };
                let halves = self.matrices(corner, right, at_square, transpose);
                for (half, matrix) in halves.chunks(2).enumerate() {
                    let first = square as usize * 4 + half * 2;
                    let places = [first, first + 1, width + first, width + first + 1];
                    let before = places.map(|it| self.writer.reg(RegType::F32, sums[it]));
                    let after = places.map(|_| self.writer.fresh(RegType::F32));
                    let op = Op::Mma { form };
                    self.writer.add(Inst::new(op, args![after, fragment, matrix, before]));
                    places.iter().zip(after).for_each(|(&it, reg)| sums[it] = Value::Reg(reg));
                }
            }
        }
        sums
    }

    /// The fragment of a left factor in shared memory, at so many times sixteen of what is summed over.
    fn loaded(&self, staged: Staged, is_turned: bool, depth: u32) -> [Reg; 4] {
        let word = |op, a, b: u32| {
            let op = Op::IntBinary { op, ty: Int::U32 };
            self.writer.pure(RegType::B32, op, &[a, Value::Int(b.into())])
        };
        let warp = word(IntOp::Div, Value::Reg(self.together().thread), 32);
        let first = word(IntOp::MulLo, warp, SQUARE);
        if is_turned {
            let corner = self.corner(staged, Order::Along, [Value::Int(0), first]);
            return self.matrices(corner, staged, (depth, 0), Transpose::Trans);
        }
        let corner = self.corner(staged, Order::Down, [first, Value::Int(0)]);
        self.matrices(corner, staged, (0, depth), Transpose::No)
    }

    /// Elements, or something else in place of those that are not there.
    fn those_there(&self, elements: Vec<Value>, there: Option<&[Value]>, other: Value) -> Vec<Value> {
        let Some(there) = there else { return elements };
        let both = elements.into_iter().zip(there);
        both.map(|(it, &there)| select(&self.writer, RegType::F32, there, it, other)).collect()
    }

    /// The fragments of a left factor, rows first.
    fn fragments(&self, elements: &[Value], dtype: DType) -> Vec<[Reg; 4]> {
        let width = elements.len() / 2;
        let to = if dtype == DType::F16 { Pair::F16x2 } else { Pair::BF16x2 };
        let packed = |low: usize| {
            let pair = [low + 1, low].map(|it| Value::Reg(self.writer.reg(RegType::F32, elements[it])));
            let op = Op::CvtPair { relu: Relu::No, to };
            self.writer.reg(RegType::B32, self.writer.pure(RegType::B32, op, &pair))
        };
        let fragment = |first| [first, width + first, first + 2, width + first + 2].map(packed);
        (0..width).step_by(4).map(fragment).collect()
    }

    /// Four matrices at so many squares down and along.
    fn matrices(&self, corner: Reg, of: Staged, (row, column): (u32, u32), transpose: Transpose) -> [Reg; 4] {
        let offset = row * SQUARE * pitch(of) + column * SQUARE * 2;
        let into = [(); 4].map(|()| self.writer.fresh(RegType::B32));
        let op = Op::Ldmatrix { matrices: Matrices::X4, transpose };
        self.writer.add(Inst::new(op, args![into, at(corner).plus(offset.cast_signed())]));
        into
    }

    /// The address of a lane's row in the first four matrices of what is staged from a row and a column on.
    fn corner(&self, staged: Staged, order: Order, [first, column]: [Value; 2]) -> Reg {
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
        let along = word(IntOp::Add, by(IntOp::MulLo, chunk, CHUNK), column);
        let inside = word(IntOp::Add, by(IntOp::MulLo, row, pitch(staged)), by(IntOp::MulLo, along, 2));
        w.reg(RegType::B32, word(IntOp::Add, staged.start, inside))
    }
}

/// The bytes from one row of what products of warps take to the next.
fn pitch(staged: Staged) -> u32 {
    match staged.layout {
        Layout::Padded { pitch } => pitch,
        Layout::Swizzled { .. } => unreachable!("products of warps take rows that are padded"),
    }
}
