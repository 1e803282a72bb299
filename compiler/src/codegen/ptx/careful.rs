//! Products of matrices that leave elements out: what they are multiplied by may be infinite or NaN, and 0 times that is
//! not 0. Sums tell: if one of a warp's is not finite, its sums are taken again, product by product.
//!
//! What is left out is -0 where nothing else in the factor can be, as it cannot among powers: that adds nothing to a sum, and
//! tells what was left out without a predicate for each element that would have to be kept.
//!
//! ```text
//! O[m, e] = Σ (P where there) · V          if any lane's sum is not finite:
//!                                            for n: O[m, e] = there[m, n] ? O[m, e] + P[m, n] · V[n, e] : O[m, e]
//! ```

use attnc_ptx::modifier::{
    Combine, Compare, CvtRound, FloatCompare, FloatOp, Flush, IntOp, Lanes, LoadCache, LoadOrder, LogicOp,
    Round, SignOp, Space, StoreCache, StoreOrder, Vote,
};
use attnc_ptx::types::{Data, Float, Int, Logical, Number, RegType, Scalar as Type};
use attnc_ptx::{Address, Inst, Op, Reg, args, at};

use super::arith::{convert, float_compare, select};
use super::block::Emitter;
use super::layout::Staged;
use super::scalar;
use super::value::Value;
use super::writer::Writer;

/// Rows of a warp.
const ROWS: u32 = 16;
/// Bytes of an element.
const HALF: u32 = 2;
/// The bits of -0.
const MARK: u32 = 0x8000;
/// What stands for an element that does not count: a NaN that no conversion gives.
const ABSENT: u32 = 0xffff;

/// A left factor of which some elements are left out.
pub(super) struct Factor<'f> {
    /// As products take it: two elements in a register.
    pub(super) fragments: &'f [[Reg; 4]],
    /// Whether an element counts, rows first; nothing if those that do not are -0, and no others.
    pub(super) there: Option<Vec<Value>>,
    /// How many columns it has.
    pub(super) columns: u32,
    /// Room for it in shared memory.
    pub(super) room: Value,
}

impl Factor<'_> {
    /// Whether the first or second element counts of a pair whose first has that place.
    fn has(&self, w: &Writer, pair: Reg, (row, column): (usize, usize), one: usize) -> Value {
        if let Some(there) = &self.there {
            return there[row * (there.len() / 2) + column + one];
        }
        let (half, mark) = (0xffff_u32 << (16 * one), MARK << (16 * one));
        let and = Op::Logic { op: LogicOp::And, ty: Logical::B32 };
        let bits = w.pure(RegType::B32, and, &[Value::Reg(pair), Value::Int(half.into())]);
        let op = Op::IntSetp { cmp: Compare::Ne, combine: Combine::None, ty: Int::U32 };
        w.pure(RegType::Pred, op, &[bits, Value::Int(mark.into())])
    }

    /// How many bytes of room a factor needs.
    pub(super) fn bytes(rows: u32, columns: u32) -> u32 {
        rows * columns * HALF
    }
}

impl Emitter<'_> {
    /// Takes sums of products again where one of them is not finite.
    pub(super) fn carefully(&self, factor: &Factor<'_>, right: Staged, is_turned: bool, sums: &[Value]) {
        let w = &self.writer;
        let total = w.fresh(RegType::F32);
        w.copy(total, sums[0]);
        for &sum in &sums[1..] {
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
        let end = w.label("finite");
        w.bra(end, Some((all, true)));
        w.open(true);
        self.one_by_one(factor, right, is_turned, sums);
        let closed = w.close(&[]);
        w.append(closed);
        w.place(end);
    }

    fn one_by_one(&self, factor: &Factor<'_>, right: Staged, is_turned: bool, sums: &[Value]) {
        let w = &self.writer;
        let thread = Value::Reg(self.together().thread);
        let by = |op, a, b: u32| {
            w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, Value::Int(b.into())])
        };
        let sum = |a, b| w.pure(RegType::B32, Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, &[a, b]);
        let (quad, pair) = (by(IntOp::Div, by(IntOp::Rem, thread, 32), 4), by(IntOp::Rem, thread, 4));
        let pitch = factor.columns * HALF;
        let row = sum(by(IntOp::MulLo, by(IntOp::Div, thread, 32), ROWS), quad);
        let row = w.reg(RegType::B32, sum(factor.room, by(IntOp::MulLo, row, pitch)));
        self.spread_out(factor, sum(Value::Reg(row), by(IntOp::MulLo, pair, 2 * HALF)), pitch);
        let registers: Vec<Reg> = sums.iter().map(|it| w.reg(RegType::F32, *it)).collect();
        registers.iter().for_each(|&sum| w.copy(sum, Value::F32(0)));

        // Where the left factor of the sum at hand lies, and its number.
        let (left, number) = (w.fresh(RegType::B32), w.fresh(RegType::B32));
        w.copy(left, Value::Reg(row));
        w.copy(number, Value::Int(0));
        let top = w.label("product");
        w.place(top);
        w.open(true);
        let weights = [0, 8].map(|it| {
            let half = self.read(Data::B16, at(left).plus((it * pitch).cast_signed()));
            let bits = convert(w, CvtRound::Exact, (RegType::B32, Number::U32), Number::U16, half);
            let op = Op::IntSetp { cmp: Compare::Ne, combine: Combine::None, ty: Int::S32 };
            let there = w.pure(RegType::Pred, op, &[bits, Value::Int(ABSENT.into())]);
            (scalar::decoded(w, right.dtype, half), there)
        });
        let columns = registers.len() / 2;
        let places = right.elements(w, is_turned, (Value::Reg(number), pair), columns);
        for (column, place) in places.into_iter().enumerate() {
            let half = self.read(Data::B16, place);
            let value = scalar::decoded(w, right.dtype, half);
            for (row, (weight, there)) in weights.into_iter().enumerate() {
                let register = registers[row * columns + column];
                let fma = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
                let more = w.fresh(RegType::F32);
                w.add(Inst::new(
                    fma,
                    args![more, w.reg(RegType::F32, weight), w.reg(RegType::F32, value), register],
                ));
                let there = w.reg(RegType::Pred, there);
                w.add(Inst::new(Op::Selp { ty: Type::F32 }, args![register, more, register, there]));
            }
        }
        for (reg, step) in [(left, HALF), (number, 1)] {
            w.add(Inst::new(Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![reg, reg, step]));
        }
        let more = w.fresh(RegType::Pred);
        let op = Op::IntSetp { cmp: Compare::Lt, combine: Combine::None, ty: Int::U32 };
        w.add(Inst::new(op, args![more, number, factor.columns]));
        w.bra(top, Some((more, true)));
        let closed = w.close(&[]);
        w.append(closed);
    }

    /// Writes the elements of a left factor to shared memory.
    fn spread_out(&self, factor: &Factor<'_>, place: Value, pitch: u32) {
        let w = &self.writer;
        let place = w.reg(RegType::B32, place);
        let logic = |op, a, b: u32| {
            w.pure(RegType::B32, Op::Logic { op, ty: Logical::B32 }, &[a, Value::Int(b.into())])
        };
        // Lanes read what others of their warp wrote, and may still do so.
        let meet = || w.add(Inst::new(Op::BarWarp, args![-1]));
        meet();
        for (depth, fragment) in factor.fragments.iter().enumerate() {
            // Upper and lower rows alternate, and then eight columns further on.
            for (at_place, &pair) in fragment.iter().enumerate() {
                let (row, eighth) = (at_place % 2, 2 * depth + at_place / 2);
                let word = [0, 1].into_iter().fold(Value::Reg(pair), |word, one| {
                    let half = ABSENT << (16 * one);
                    let without = logic(LogicOp::Or, word, half);
                    let there = factor.has(w, pair, (row, 2 * eighth), one);
                    select(w, RegType::B32, there, word, without)
                });
                let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
                let op = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
                let offset = row * 8 * pitch as usize + eighth * 8 * HALF as usize;
                let offset = i32::try_from(offset).expect("tiles are small");
                w.add(Inst::new(op, args![at(place).plus(offset), w.reg(RegType::B32, word)]));
            }
        }
        meet();
    }

    /// A word of shared memory.
    fn read(&self, ty: Data, from: Address) -> Value {
        let into = self.writer.fresh(attnc_ptx::types::Type::from(ty).register());
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::One);
        let op = Op::Ld { order, space: Space::Shared, cache, lanes, ty };
        self.writer.add(Inst::new(op, args![into, from]));
        Value::Reg(into)
    }
}
