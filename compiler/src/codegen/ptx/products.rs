//! Contractions to products of matrices: `mma.sync` on fragments; `group.rs` has those of groups of warps.
//!
//! A fragment of results has the elements that a thread has of a tile, and so has the left factor, two in a register.
//! What is loaded lies in shared memory (`shared.rs`), from where `ldmatrix` takes it, turned where neighbours in memory
//! are those of the result. Factors of f32 are taken in parts (`split.rs`).
//!
//! ```text
//! contract P [m in 64, n in 32], V [n in 32, e in 64] into O   ->   2 × 8 mma.sync of 16 × 8 × 16 by each warp
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{Combine, Compare, IntOp, LogicOp, Matrices, Mma, Relu, Transpose};
use attnc_ptx::types::{Int, Logical, Pair, RegType};
use attnc_ptx::{Inst, Op, Reg, args, at};

use super::arith::select;
use super::block::Emitter;
use super::careful::{Factor, There};
use super::group::Left;
use super::layout::{CHUNK, HALF, Staged};
use super::op::Tile;
use super::ring::Room;
use super::shared::word_of;
use super::team::Team;
use super::value::Value;
use crate::codegen::points::{lacking, positions};
use crate::ir::factors::slice;
use crate::ir::nest::{TileDim, TileType, ValueId};

/// Rows and columns of which `ldmatrix` takes four matrices, if they have two bytes.
pub(super) const SQUARE: u32 = 16;
/// Bytes of what is summed over that go into one product.
const DEPTH: u32 = 32;

/// How many products deep a turn of a loop over what is summed over is.
const AT_ONCE: u32 = 4;

/// How many columns of sums products are added to one by one at a time.
const APART: u32 = 64;

/// Which of four matrices the eight lanes from each multiple of eight on have rows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those below the first come next, then those beside them.
    Down,
    /// Those beside the first come next, then those below them.
    Along,
}

/// The first of each few columns, and the places of the sums of a thread that are theirs.
fn slices_of(sums: usize, columns: u32, few: u32) -> impl Iterator<Item = (u32, Vec<usize>)> {
    (0..columns).step_by(few as usize).map(move |first| {
        let count = few.min(columns - first);
        let own = (0..2).flat_map(|row| {
            let start = row * sums / 2 + first as usize / 4;
            start..start + count as usize / 4
        });
        (first, own.collect())
    })
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
        self.arrive(a);
        self.arrive(b);
        let a = self.together().unrounded(a);
        let left = &self.nest.values[a].shape;
        let over = lacking(&ty.shape, left)[0];
        let is_out = |it: &&TileDim| !left.contains(it);
        let out = *ty.shape.iter().find(is_out).expect("the right factor has a rank of its own");
        let rows = *left.iter().find(|it| **it != over).expect("the left factor has rows");
        let shape = |a, b| TileType { scalar: ty.scalar, shape: vec![a, b] };
        let right = self.together().staged[&b];
        let is_split = self.together().factors.is_split(self.nest, b);
        let is_turned = right.rows == over.rank;
        let before = self.tile(into).spread(&shape(rows, out));
        let [depth, columns] = [over, out].map(|it| self.together().whole(it));
        let beside = |it: &ValueId| !self.nest.values[*it].shape.contains(&rows);
        let (beside, there) = (there.filter(beside), there.filter(|it| !beside(it)));
        let left = self.left(a, &shape(rows, over), there, right.dtype);
        let is_told = there.is_none() || self.together().factors.has_no_sign(a);
        let left = match left {
            Left::Registers(words) if is_split && self.together().is_full && is_told => {
                self.put_down(&words, rows.rank, depth)
            }
            Left::Registers(_) | Left::Memory(..) => left,
        };
        let sums = if there.or(beside).is_some() || is_split {
            let room = self.room_of(&left, depth * right.size());
            let there = match there {
                None if let Some(it) = beside => There::Beside(it, [out.rank, over.rank]),
                None => There::All,
                Some(_) if self.together().factors.has_no_sign(a) => There::Marked,
                Some(there) => There::Each(self.tile(there).spread(&shape(rows, over))),
            };
            let factor = Factor { left: &left, there, columns: depth, room };
            let sums = self.registers_of(sum, &before);
            // What is beside is 0 where something on the left may be infinite.
            match self.broken(b).filter(|_| beside.is_none()) {
                // Where something else is under way it is known that all is finite.
                Some(_) if !self.together().waits => {
                    self.by_group(&left, (right, is_turned), (depth / SQUARE, columns), (&sums, false));
                }
                Some(broken) => self.whole_or_apart(broken, &factor, (right, is_turned), columns, &sums),
                None => self.slices(&factor, (right, is_turned), columns, &sums),
            }
            sums.into_iter().map(Value::Reg).collect()
        } else if self.together().groups && self.in_place.contains(&sum) {
            let sums = self.registers_of(sum, &before);
            self.by_group(&left, (right, is_turned), (depth / SQUARE, columns), (&sums, false));
            sums.into_iter().map(Value::Reg).collect()
        } else {
            self.products(&left, (right, is_turned), (depth, columns), &before)
        };
        let places = positions(&[rows, out], &ty.shape);
        Tile { ty, elements: places.into_iter().map(|it| sums[it]).collect() }
    }

    /// A left factor of that shape, rows first, for products with a dtype; what is not there adds nothing.
    pub(super) fn left(&self, a: ValueId, shape: &TileType, there: Option<ValueId>, dtype: DType) -> Left {
        let [_, over] = shape.shape[..] else { unreachable!("it has rows and what is summed over") };
        let team = self.together();
        if let Some((_, packed)) = team.packed.as_ref().filter(|it| it.0 == a) {
            return Left::Registers(packed.clone());
        }
        match team.staged.get(&a) {
            Some(&staged) => Left::Memory(staged, staged.rows == over.rank),
            None => {
                let nothing = if team.factors.has_no_sign(a) { -0.0_f32 } else { 0.0 };
                let nothing = Value::F32(nothing.to_bits());
                let there = there.map(|it| self.tile(it).spread(shape));
                let elements = self.those_there(self.elements(a, shape), there.as_deref(), nothing);
                Left::Registers(self.fragments(&elements, dtype))
            }
        }
    }

    /// Room for a left factor of which a row has so many bytes, if it is in registers.
    fn room_of(&mut self, left: &Left, bytes: u32) -> Option<Value> {
        let team = self.team.as_mut().expect("a block works together");
        let bytes = team.rows.extent * bytes;
        matches!(left, Left::Registers(_)).then(|| team.rooms.at_once(&self.writer, bytes))
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
            self.by_warps(left, right, (depth * HALF / DEPTH, columns / SQUARE), before)
        }
    }

    /// The same where it is known whether what is multiplied by what a factor leaves out is finite.
    fn whole_or_apart(
        &mut self,
        broken: Reg,
        factor: &Factor<'_>,
        right: (Staged, bool),
        columns: u32,
        sums: &[Reg],
    ) {
        let [apart, end] = ["broken", "multiplied"].map(|it| self.writer.label(it));
        let finish = |it: &Self| {
            let closed = it.writer.close(&[]);
            it.writer.append(closed);
        };
        let groups = self.together().groups;
        self.writer.bra(apart, Some((broken, true)));
        self.writer.open(true);
        if groups {
            self.by_group(factor.left, right, (factor.columns / SQUARE, columns), (sums, false));
        } else {
            let before: Vec<Value> = sums.iter().copied().map(Value::Reg).collect();
            let size = (factor.columns / SQUARE, columns / SQUARE);
            let after = self.by_warps(factor.left, right, size, &before);
            sums.iter().zip(after).for_each(|(sum, it)| self.writer.copy(*sum, it));
        }
        finish(self);
        self.writer.bra(end, None);
        self.writer.place(apart);
        self.writer.open(true);
        if groups {
            self.slices(factor, right, columns, sums);
        } else {
            self.apart(factor, right, columns, sums);
        }
        finish(self);
        self.writer.place(end);
    }

    /// Adds products to sums one by one, some columns at a time: nothing is held beside the sums.
    fn apart(&mut self, factor: &Factor<'_>, (right, is_turned): (Staged, bool), columns: u32, sums: &[Reg]) {
        for (first, own) in slices_of(sums.len(), columns, APART) {
            let right = right.from(&self.writer, is_turned, Value::Int(first.into()));
            let own: Vec<Reg> = own.into_iter().map(|it| sums[it]).collect();
            self.writer.open(true);
            self.add_carefully(factor, (right, is_turned), first, &own);
            let closed = self.writer.close(&[]);
            self.writer.append(closed);
        }
    }

    /// Adds products to sums without what a factor leaves out. Products are looked at before they are added to what is there, some
    /// columns at a time, so that few of them are held beside it.
    fn slices(
        &mut self,
        factor: &Factor<'_>,
        (right, is_turned): (Staged, bool),
        columns: u32,
        sums: &[Reg],
    ) {
        let in_groups = self.together().groups && right.size() == HALF;
        // The same registers for all slices of a size, since they have to follow each other.
        let room = |it: &Self, count: u32| {
            (0..count / 2).map(|_| it.writer.fresh(RegType::F32)).collect::<Vec<Reg>>()
        };
        let slice = slice(columns, right.size() != HALF, in_groups);
        let whole = room(self, slice.min(columns));
        for (first, own) in slices_of(sums.len(), columns, slice) {
            let count = slice.min(columns - first);
            let right = right.from(&self.writer, is_turned, Value::Int(first.into()));
            let products = if in_groups {
                let room = if own.len() == whole.len() { whole.clone() } else { room(self, count) };
                let size = (factor.columns / SQUARE, count);
                self.by_group(factor.left, (right, is_turned), size, (&room, true));
                room.into_iter().map(Value::Reg).collect()
            } else {
                let size = (factor.columns * right.size() / DEPTH, count / SQUARE);
                self.by_warps(factor.left, (right, is_turned), size, &vec![Value::F32(0); own.len()])
            };
            let own: Vec<Reg> = own.into_iter().map(|it| sums[it]).collect();
            self.carefully(factor, (right, is_turned), first, (&products, &own));
        }
    }

    /// Sums with products added, rows first, each warp those of its rows.
    ///
    /// In code without branches ptxas loads factors as far ahead as it finds registers, and then has too few for what lives longer,
    /// which it keeps in memory. So where sums leave few, factors that lie in shared memory are taken in a loop.
    fn by_warps(
        &self,
        left: &Left,
        right: (Staged, bool),
        (depths, squares): (u32, u32),
        before: &[Value],
    ) -> Vec<Value> {
        match *left {
            Left::Memory(staged, is_turned) if self.together().is_full && depths > AT_ONCE => {
                self.in_turns_of_few((staged, is_turned), right, (depths, squares), before)
            }
            Left::Memory(..) | Left::Registers(_) => self.at_once(left, right, (depths, squares), before),
        }
    }

    /// The same in a loop.
    fn in_turns_of_few(
        &self,
        left: (Staged, bool),
        right: (Staged, bool),
        (depths, squares): (u32, u32),
        before: &[Value],
    ) -> Vec<Value> {
        let w = &self.writer;
        let at_once = (1..=AT_ONCE).rev().find(|it| depths.is_multiple_of(*it)).unwrap_or(1);
        let sums: Vec<Reg> = before.iter().map(|_| w.fresh(RegType::F32)).collect();
        sums.iter().zip(before).for_each(|(&sum, &it)| w.copy(sum, it));
        let depth = w.fresh(RegType::B32);
        w.copy(depth, Value::Int(0));
        w.open(false);
        let [left, right] = [left, right].map(|(it, is_turned)| {
            let step = if is_turned { DEPTH / it.size() * it.pitch() } else { DEPTH };
            (Staged { start: Room::at(w, it.start, Value::Reg(depth), step), ..it }, is_turned)
        });
        let own: Vec<Value> = sums.iter().copied().map(Value::Reg).collect();
        let after = self.at_once(&Left::Memory(left.0, left.1), right, (at_once, squares), &own);
        sums.iter().zip(after).for_each(|(&sum, it)| w.copy(sum, it));
        w.add(Inst::new(Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![depth, depth, at_once]));
        let more = w.fresh(RegType::Pred);
        let op = Op::IntSetp { cmp: Compare::Lt, combine: Combine::None, ty: Int::U32 };
        w.add(Inst::new(op, args![more, depth, depths]));
        let top = w.label("deeper");
        w.bra(top, Some((more, true)));
        let closed = w.close(&[]);
        w.place(top);
        w.no_unroll();
        w.append(closed);
        own
    }

    /// The same all at once.
    fn at_once(
        &self,
        left: &Left,
        (right, is_turned): (Staged, bool),
        (depths, squares): (u32, u32),
        before: &[Value],
    ) -> Vec<Value> {
        let (order, transpose) =
            if is_turned { (Order::Down, Transpose::Trans) } else { (Order::Along, Transpose::No) };
        let is_split = right.size() != HALF;
        let form = match (is_split, right.dtype == DType::F16) {
            (true, _) => Mma::F32Tf32K8,
            (false, true) => Mma::F32F16K16,
            (false, false) => Mma::F32Bf16K16,
        };
        let in_pairs = matches!(left, Left::Registers(_));
        let by_words = is_split && (is_turned || in_pairs);
        let corner = (!by_words).then(|| self.corner(right, order, [0, 0].map(Value::Int)));
        let mut sums = before.to_vec();
        let width = sums.len() / 2;
        for depth in 0..depths {
            let fragment = match left {
                Left::Registers(fragments) => fragments[depth as usize],
                Left::Memory(staged, is_turned) => self.loaded(*staged, *is_turned, depth),
            };
            let lefts = self.parts(fragment, is_split);
            for square in 0..squares {
                let at_square = if is_turned { (depth, square) } else { (square, depth) };
                let halves = match corner {
                    Some(corner) => self.matrices(corner, right, at_square, transpose),
                    None => self.singles(right, (is_turned, in_pairs), (square, depth)),
                };
                for (half, matrix) in [[halves[0], halves[1]], [halves[2], halves[3]]].into_iter().enumerate()
                {
                    let first = square as usize * 4 + half * 2;
                    let places = [first, first + 1, width + first, width + first + 1];
                    let mut after = places.map(|it| self.writer.reg(RegType::F32, sums[it]));
                    let rights = self.parts(matrix, is_split);
                    // The largest product comes last, the smallest not at all.
                    let pairs: &[_] = if is_split { &[(1, 0), (0, 1), (0, 0)] } else { &[(0, 0)] };
                    for &(a, b) in pairs {
                        let before = after;
                        after = places.map(|_| self.writer.fresh(RegType::F32));
                        let op = Op::Mma { form };
                        self.writer.add(Inst::new(op, args![after, lefts[a], rights[b], before]));
                    }
                    places.iter().zip(after).for_each(|(&it, reg)| sums[it] = Value::Reg(reg));
                }
            }
        }
        sums
    }

    /// The fragment of a left factor in shared memory, at so many times 32 bytes of what is summed over.
    fn loaded(&self, staged: Staged, is_turned: bool, depth: u32) -> [Reg; 4] {
        if is_turned && staged.size() != HALF {
            return self.turned_singles(staged, depth);
        }
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

    /// The fragments of a left factor, rows first: two elements in a register, or one.
    fn fragments(&self, elements: &[Value], dtype: DType) -> Vec<[Reg; 4]> {
        let width = elements.len() / 2;
        if dtype == DType::F32 {
            let word = |it: usize| word_of(&self.writer, elements[it]);
            let fragment = |first| [first, width + first, first + 1, width + first + 1].map(word);
            return (0..width).step_by(2).map(fragment).collect();
        }
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
        let offset = row * SQUARE * of.pitch() + column * DEPTH;
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
        let along = word(IntOp::Add, by(IntOp::MulLo, chunk, CHUNK), by(IntOp::MulLo, column, HALF));
        let inside = word(IntOp::Add, by(IntOp::MulLo, row, staged.pitch()), along);
        w.reg(RegType::B32, word(IntOp::Add, staged.start, inside))
    }
}
