//! Products of matrices that leave elements out: what they are multiplied by may be infinite or NaN, and 0 times that is
//! not 0. Or that take factors in parts (`split.rs`), which what is not finite does not have.
//! Sums tell: if one of a warp's is not finite, its sums are taken again, product by product.
//!
//! What is left out is -0 where nothing else in the factor can be, as it cannot among powers: that adds nothing to a sum, and
//! tells what was left out without a predicate for each element that would have to be kept.
//!
//! ```text
//! O[m, e] = Σ (P where there) · V          if any lane's sum is not finite:
//!                                            for n: O[m, e] = there[m, n] ? O[m, e] + P[m, n] · V[n, e] : O[m, e]
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{
    Combine, Compare, CvtRound, FloatCompare, FloatOp, Flush, IntOp, Lanes, LoadCache, LoadOrder, LogicOp,
    Round, SignOp, Space, StoreCache, StoreOrder, Vote,
};
use attnc_ptx::types::{Data, Float, Int, Logical, Number, RegType};
use attnc_ptx::{Address, Inst, Op, Reg, args, at};

use super::arith::{Lane, convert, float_compare, int, select};
use super::block::Emitter;
use super::group::Left;
use super::layout::{HALF, Staged};
use super::scalar;
use super::value::Value;
use super::writer::Writer;
use crate::codegen::math::{Arith, Format};
use crate::ir::cascade::RankId;
use crate::ir::nest::ValueId;

/// Rows of a warp.
const ROWS: u32 = 16;
/// What stands for an element that does not count: a NaN that no conversion gives, and one of f32, in whose place another
/// stands for an element with just these bits.
const ABSENT: [u32; 2] = [0xffff, 0xffa5_c35a];
const OTHER: u32 = 0x7fff_ffff;

/// Which elements of a factor count.
pub(super) enum There {
    All,
    /// Those that are not -0.
    Marked,
    /// Those for which this holds, rows first.
    Each(Vec<Value>),
    /// All, but of the other factor, which is 0 elsewhere, those for which this holds. It has that rank for columns, and that
    /// for what is summed over.
    Beside(ValueId, [RankId; 2]),
}

/// A left factor of which some elements are left out.
pub(super) struct Factor<'f> {
    /// As products take it.
    pub(super) left: &'f Left,
    /// Which elements count.
    pub(super) there: There,
    /// How many columns it has.
    pub(super) columns: u32,
    /// Room for it in shared memory, if it is in registers.
    pub(super) room: Option<Value>,
}

/// How a left factor lies in shared memory.
struct Lies {
    /// Where the first element of the thread's upper row is, and how much further on that of the lower one is.
    first: Value,
    lower: u32,
    /// From one to the next of what is summed over.
    step: u32,
    /// What stands for an element that does not count, if some do not.
    absent: Option<u32>,
}

impl Factor<'_> {
    /// Whether an element counts that a word has from a bit on, the only or the first one of which has that place.
    fn has(&self, w: &Writer, word: Reg, (row, column): (usize, usize), (one, bits): (u32, u32)) -> Value {
        match &self.there {
            There::All | There::Beside(..) => return Value::Bool(true),
            There::Marked => {}
            There::Each(there) => return there[row * (there.len() / 2) + column + one as usize],
        }
        let all = u32::MAX >> (32 - bits) << (bits * one);
        let mark = 1 << (bits * (one + 1) - 1);
        let and = Op::Logic { op: LogicOp::And, ty: Logical::B32 };
        let own = w.pure(RegType::B32, and, &[Value::Reg(word), Value::Int(all.into())]);
        let op = Op::IntSetp { cmp: Compare::Ne, combine: Combine::None, ty: Int::U32 };
        w.pure(RegType::Pred, op, &[own, Value::Int(mark)])
    }
}

impl Emitter<'_> {
    /// Adds products to sums, taken again where one of them is not finite.
    ///
    /// What is added behind a branch ptxas puts off until the sum is needed, and holds both terms until then. So where sums leave
    /// few registers, what is finite is added before the branch.
    pub(super) fn carefully(
        &mut self,
        factor: &Factor<'_>,
        right: (Staged, bool),
        first: u32,
        (products, sums): (&[Value], &[Reg]),
    ) {
        let all = self.are_finite(products);
        let is_full = self.together().is_full;
        let add = |it: &Self, guard: Option<Reg>| {
            let w = &it.writer;
            for (&sum, &product) in sums.iter().zip(products) {
                let op = FloatOp::Add;
                let op = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
                let add = Inst::new(op, args![sum, sum, w.reg(RegType::F32, product)]);
                w.add(guard.map_or(add.clone(), |it| add.when(it)));
            }
        };
        if is_full {
            add(self, Some(all));
        }
        let end = self.writer.label("finite");
        self.writer.bra(end, Some((all, true)));
        self.writer.open(true);
        self.one_by_one(factor, right, first, products);
        if is_full {
            add(self, None);
        }
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
        self.writer.place(end);
        if !is_full {
            add(self, None);
        }
    }

    /// Whether all products that a warp has are finite.
    fn are_finite(&self, products: &[Value]) -> Reg {
        let w = &self.writer;
        let total = w.fresh(RegType::F32);
        w.copy(total, products[0]);
        for &sum in &products[1..] {
            let op = FloatOp::Add;
            let op = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
            w.add(Inst::new(op, args![total, total, w.reg(RegType::F32, sum)]));
        }
        let size = w.fresh(RegType::F32);
        let abs = Op::FloatSign { op: SignOp::Abs, flush: Flush::Keep, ty: Float::F32 };
        w.add(Inst::new(abs, args![size, total]));
        let infinity = Value::F32(f32::INFINITY.to_bits());
        // Neither infinite nor NaN is less.
        let finite = float_compare(w, Float::F32, FloatCompare::Lt, Value::Reg(size), infinity);
        let all = w.fresh(RegType::Pred);
        w.add(Inst::new(Op::Vote { mode: Vote::All }, args![all, w.reg(RegType::Pred, finite), -1]));
        all
    }

    /// Adds products to sums one by one.
    pub(super) fn add_carefully(
        &mut self,
        factor: &Factor<'_>,
        right: (Staged, bool),
        first: u32,
        sums: &[Reg],
    ) {
        let lies = self.in_memory(factor, right.0.size());
        self.add_one_by_one((factor, lies), right, first, sums);
    }

    fn one_by_one(
        &mut self,
        factor: &Factor<'_>,
        (right, is_turned): (Staged, bool),
        first: u32,
        sums: &[Value],
    ) {
        let lies = self.in_memory(factor, right.size());
        let registers: Vec<Reg> = sums.iter().map(|it| self.writer.reg(RegType::F32, *it)).collect();
        registers.iter().for_each(|&sum| self.writer.copy(sum, Value::F32(0)));
        self.add_one_by_one((factor, lies), (right, is_turned), first, &registers);
    }

    /// Adds the products of those elements that count to sums.
    fn add_one_by_one(
        &mut self,
        (factor, lies): (&Factor<'_>, Lies),
        (right, is_turned): (Staged, bool),
        first: u32,
        registers: &[Reg],
    ) {
        let w = &self.writer;
        // Where the left factor of the sum at hand lies, and its number.
        let (left, number) = (w.fresh(RegType::B32), w.fresh(RegType::B32));
        w.copy(left, lies.first);
        w.copy(number, Value::Int(0));
        let top = w.label("product");
        w.place(top);
        if self.together().is_full {
            w.no_unroll();
        }
        w.open(true);
        let weights = [0, lies.lower].map(|it| {
            let (weight, bits) = self.read(right.dtype, at(left).plus(it.cast_signed()));
            let there = lies.absent.map(|absent| {
                let op = Op::IntSetp { cmp: Compare::Ne, combine: Combine::None, ty: Int::U32 };
                w.reg(RegType::Pred, w.pure(RegType::Pred, op, &[bits, Value::Int(absent.into())]))
            });
            (w.reg(RegType::F32, weight), there)
        });
        let columns = registers.len() / 2;
        let pair = self.thread_by(IntOp::Rem, 4);
        let places = right.elements(w, is_turned, (Value::Reg(number), pair), columns);
        for (column, place) in places.into_iter().enumerate() {
            let beside =
                self.beside(&factor.there, (Value::Reg(number), pair), first + columns_before(column));
            let w = &self.writer;
            let value = w.reg(RegType::F32, self.read(right.dtype, place).0);
            for (row, (weight, there)) in weights.into_iter().enumerate() {
                let register = registers[row * columns + column];
                let fma = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
                let fma = Inst::new(fma, args![register, weight, value, register]);
                w.add(there.or(beside).map_or(fma.clone(), |there| fma.when(there)));
            }
        }
        let w = &self.writer;
        for (reg, step) in [(left, lies.step), (number, 1)] {
            w.add(Inst::new(Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![reg, reg, step]));
        }
        let more = w.fresh(RegType::Pred);
        let op = Op::IntSetp { cmp: Compare::Lt, combine: Combine::None, ty: Int::U32 };
        w.add(Inst::new(op, args![more, number, factor.columns]));
        w.bra(top, Some((more, true)));
        let closed = w.close(&[]);
        w.append(closed);
        self.end_reads();
    }

    /// Whether an element of the right factor counts, at a number along what is summed over and so many columns behind those
    /// of a pair of lanes.
    fn beside(&mut self, there: &There, (number, pair): (Value, Value), column: u32) -> Option<Reg> {
        let &There::Beside(there, [columns, over]) = there else { return None };
        let wide = |it| convert(&self.writer, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, it);
        let [number, pair] = [number, pair].map(wide);
        let pair = int(&self.writer, IntOp::MulLo, pair, Value::Int(2));
        let column = int(&self.writer, IntOp::Add, pair, Value::Int(column.into()));
        let holds = self.point(there, &[(columns, column), (over, number)], None);
        Some(self.writer.reg(RegType::Pred, holds))
    }

    /// The left factor in shared memory, where it is written if it is in registers.
    fn in_memory(&self, factor: &Factor<'_>, size: u32) -> Lies {
        let w = &self.writer;
        let by = |op, a, b: u32| {
            w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, Value::Int(b.into())])
        };
        let sum = |a, b| w.pure(RegType::B32, Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, &[a, b]);
        let quad = by(IntOp::Div, self.thread_by(IntOp::Rem, 32), 4);
        let row = sum(by(IntOp::MulLo, self.thread_by(IntOp::Div, 32), ROWS), quad);
        match factor.left {
            Left::Memory(staged, is_turned) => {
                let (down, step) = if *is_turned { (size, staged.pitch()) } else { (staged.pitch(), size) };
                let first = sum(staged.start, by(IntOp::MulLo, row, down));
                let is_marked = matches!(factor.there, There::Marked);
                let absent = is_marked.then_some(1 << (8 * size - 1));
                Lies { first, lower: 8 * down, step, absent }
            }
            Left::Registers(fragments) => {
                let pitch = factor.columns * size;
                let room = factor.room.expect("what is in registers has room");
                let row = Value::Reg(w.reg(RegType::B32, sum(room, by(IntOp::MulLo, row, pitch))));
                let place = sum(row, by(IntOp::MulLo, self.thread_by(IntOp::Rem, 4), 2 * size));
                let absent = ABSENT[size as usize / 4];
                self.spread_out(factor, fragments, place, (pitch, size, absent));
                Lies {
                    first: row,
                    lower: 8 * pitch,
                    step: size,
                    absent: Some(absent).filter(|_| !matches!(factor.there, There::All | There::Beside(..))),
                }
            }
        }
    }

    pub(super) fn thread_by(&self, op: IntOp, by: u32) -> Value {
        let thread = Value::Reg(self.together().thread);
        self.writer.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[thread, Value::Int(by.into())])
    }

    /// Writes the elements of a left factor to shared memory.
    fn spread_out(
        &self,
        factor: &Factor<'_>,
        fragments: &[[Reg; 4]],
        place: Value,
        (pitch, size, absent): (u32, u32, u32),
    ) {
        let w = &self.writer;
        let place = w.reg(RegType::B32, place);
        // Lanes read what others of their warp wrote, and may still do so.
        let meet = || w.add(Inst::new(Op::BarWarp, args![-1]));
        meet();
        for (depth, fragment) in fragments.iter().enumerate() {
            // Upper and lower rows alternate; then come other columns.
            for (at_place, &word) in fragment.iter().enumerate() {
                let (row, further) = (at_place % 2, at_place / 2);
                // A word has two short floats, and the next those eight columns further on; or one f32, and its neighbour.
                let (column, bytes) = match size {
                    HALF => (4 * depth + 2 * further, 8 * HALF * (2 * depth + further) as u32),
                    _ => (2 * depth + further, size * (8 * depth + further) as u32),
                };
                let bits = 8 * size;
                let word = (0..32 / bits).fold(Value::Reg(word), |word_now, one| {
                    let or = Op::Logic { op: LogicOp::Or, ty: Logical::B32 };
                    let mark = Value::Int((absent << (bits * one)).into());
                    let (with, without) = match size {
                        HALF => (word_now, w.pure(RegType::B32, or, &[word_now, mark])),
                        _ => (told_apart(w, word_now, mark), mark),
                    };
                    let there = factor.has(w, word, (row, column), (one, bits));
                    select(w, RegType::B32, there, with, without)
                });
                let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
                let op = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
                let offset = row as u32 * 8 * pitch + bytes;
                let to = at(place).plus(offset.cast_signed());
                w.add(Inst::new(op, args![to, w.reg(RegType::B32, word)]));
            }
        }
        meet();
    }

    /// A number in shared memory, and its bits.
    pub(super) fn read(&self, dtype: DType, from: Address) -> (Value, Value) {
        let w = &self.writer;
        let ty = if dtype == DType::F32 { Data::B32 } else { Data::B16 };
        let into = w.fresh(attnc_ptx::types::Type::from(ty).register());
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::One);
        let op = Op::Ld { order, space: Space::Shared, cache, lanes, ty };
        w.add(Inst::new(op, args![into, from]));
        let raw = Value::Reg(into);
        if dtype == DType::F32 {
            return (Lane::new(w, Format::Single).from_bits(raw), raw);
        }
        let bits = convert(w, CvtRound::Exact, (RegType::B32, Number::U32), Number::U16, raw);
        (scalar::decoded(w, dtype, raw), bits)
    }
}

/// A word, or another NaN if it has the bits of a mark.
fn told_apart(w: &Writer, word: Value, mark: Value) -> Value {
    let op = Op::IntSetp { cmp: Compare::Eq, combine: Combine::None, ty: Int::U32 };
    let is_mark = w.pure(RegType::Pred, op, &[word, mark]);
    select(w, RegType::B32, is_mark, Value::Int(OTHER.into()), word)
}

/// How far the columns of a pair of lanes are from their first one.
fn columns_before(column: usize) -> u32 {
    (column / 2 * 8 + column % 2) as u32
}
