//! Products of f32 by tensor cores, which take factors with the eleven digits of tf32: a factor is taken in two parts, the
//! first rounded, the second what that leaves, cut off. Of the four products of parts the smallest is left out.
//!
//! So a product is off by at most `5 · 2^-22` of itself: `2^-21` for the digits that either second part lacks, `2^-22` for
//! their product (`verify` counts with it). What is infinite or NaN has no second part, and what is rounded to an infinity, too:
//! sums of such products are not finite, and are taken again, product by product (`careful.rs`).
//!
//! A lane has elements `t` and `t + 4` of eight of what is summed over. Where the left factor is a tile of registers, which
//! has `2 t` and `2 t + 1`, these stand for them, in both factors.
//!
//! ```text
//! a · b   ->   a = A + a', b = B + b':   a' · B + A · b' + A · B
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{
    FloatOp, Flush, IntOp, Lanes, LoadCache, LoadOrder, LogicOp, Round, Space, StoreCache, StoreOrder,
};
use attnc_ptx::types::{Data, Float, Int, Logical, RegType, Scalar as Type};
use attnc_ptx::{Inst, Op, Reg, args, at};

use super::block::Emitter;
use super::group::Left;
use super::layout::{CHUNK, Layout, Staged};
use super::products::SQUARE;
use super::shared::word_of;
use super::value::Value;
use crate::ir::cascade::RankId;

/// The bits that tf32 has of an f32, and half of the last one.
const DIGITS: i64 = 0xffff_e000;
const HALF_DIGIT: i64 = 0x1000;
/// Bytes of an f32, and how many of what is summed over go into one product.
const SINGLE: u32 = 4;
const EIGHT: u32 = 8;

impl Emitter<'_> {
    /// The parts in which products take words of a factor: of short floats there is one.
    pub(super) fn parts<const N: usize>(&self, words: [Reg; N], is_split: bool) -> Vec<[Reg; N]> {
        if !is_split {
            return vec![words];
        }
        let w = &self.writer;
        let and = |bits| {
            w.pure(
                RegType::B32,
                Op::Logic { op: LogicOp::And, ty: Logical::B32 },
                &[bits, Value::Int(DIGITS)],
            )
        };
        let single = |bits| w.pure(RegType::F32, Op::Mov { ty: Type::B32 }, &[bits]);
        let add = Op::IntBinary { op: IntOp::Add, ty: Int::U32 };
        let first = words.map(|it| and(w.pure(RegType::B32, add, &[Value::Reg(it), Value::Int(HALF_DIGIT)])));
        let mut second = first;
        for (second, word) in second.iter_mut().zip(words) {
            let op = Op::FloatBinary {
                op: FloatOp::Sub,
                round: Round::Nearest,
                flush: Flush::Keep,
                ty: Float::F32,
            };
            let rest = w.pure(RegType::F32, op, &[single(Value::Reg(word)), single(*second)]);
            *second = and(Value::Reg(word_of(w, rest)));
        }
        [first, second].map(|it| it.map(|it| w.reg(RegType::B32, it))).to_vec()
    }

    /// A left factor of so many columns in shared memory, from where products take it bit by bit: beside many sums there are no
    /// registers for two parts of all that a thread has of it.
    pub(super) fn put_down(&mut self, words: &[[Reg; 4]], rows: RankId, columns: u32) -> Left {
        let pitch = SINGLE * columns + CHUNK;
        let team = self.team.as_mut().expect("a block works together");
        let start = team.rooms.at_once(&self.writer, team.rows.extent * pitch);
        let place = self.of_lane(start, (2 * SINGLE, pitch), SQUARE * pitch);
        let w = &self.writer;
        // Lanes read what others of their warp wrote, and may still do so.
        let meet = || w.add(Inst::new(Op::BarWarp, args![-1]));
        meet();
        for (depth, words) in (0..).zip(words) {
            for (at_place, &word) in (0..).zip(words) {
                // Upper and lower rows alternate; then comes the neighbour.
                let (row, column) = (at_place % 2, EIGHT * depth + at_place / 2);
                let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
                let op = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
                let to = at(place).plus((row * EIGHT * pitch + SINGLE * column).cast_signed());
                w.add(Inst::new(op, args![to, word]));
            }
        }
        meet();
        Left::Memory(Staged { start, layout: Layout::Padded { pitch }, rows, dtype: DType::F32 }, false)
    }

    /// Two pairs of registers of a right factor in shared memory, each of eight columns: so many sixteens of columns and eights of
    /// what is summed over further on.
    pub(super) fn singles(
        &self,
        right: Staged,
        (is_turned, in_pairs): (bool, bool),
        (square, depth): (u32, u32),
    ) -> [Reg; 4] {
        let (across, along) = if is_turned { (right.pitch(), SINGLE) } else { (SINGLE, right.pitch()) };
        let (step, apart) = if in_pairs { (2, 1) } else { (1, 4) };
        let base = self.of_lane(right.start, (step * across, along), 0);
        let of = |half: u32, one: u32| {
            (depth * EIGHT + one * apart) * across + (square * SQUARE + half * EIGHT) * along
        };
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(half, one)| self.word_at(base, of(half, one)))
    }

    /// The registers of a left factor in shared memory of which what is summed over is the rows.
    pub(super) fn turned_singles(&self, left: Staged, depth: u32) -> [Reg; 4] {
        let base = self.of_lane(left.start, (left.pitch(), SINGLE), SQUARE * SINGLE);
        let of = |row: u32, one: u32| (depth * EIGHT + 4 * one) * left.pitch() + 8 * row * SINGLE;
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(row, one)| self.word_at(base, of(row, one)))
    }

    /// An address, and for lane `4 g + t` of a warp so many bytes further on: `t` and `g` times something, and something for
    /// each warp.
    fn of_lane(&self, start: Value, (by_t, by_g): (u32, u32), by_warp: u32) -> Reg {
        let (w, thread) = (&self.writer, Value::Reg(self.together().thread));
        let word = |op, a, b: Value| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let by = |op, a, b: u32| word(op, a, Value::Int(b.into()));
        let (t, g) = (by(IntOp::Rem, thread, 4), by(IntOp::Rem, by(IntOp::Div, thread, 4), 8));
        let own = word(IntOp::Add, by(IntOp::MulLo, t, by_t), by(IntOp::MulLo, g, by_g));
        let own = match by_warp {
            0 => own,
            _ => word(IntOp::Add, own, by(IntOp::MulLo, by(IntOp::Div, thread, 32), by_warp)),
        };
        w.reg(RegType::B32, word(IntOp::Add, start, own))
    }

    fn word_at(&self, base: Reg, offset: u32) -> Reg {
        let into = self.writer.fresh(RegType::B32);
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::One);
        let op = Op::Ld { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        self.writer.add(Inst::new(op, args![into, at(base).plus(offset.cast_signed())]));
        into
    }
}
