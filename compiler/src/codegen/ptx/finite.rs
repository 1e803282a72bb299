//! Whether tiles are finite, which two warps of the group that copies look at while others still compute.
//!
//! Products that leave elements out are right as they are where what these would be multiplied by is finite, for 0 times
//! that is 0. So such a tile has a barrier more, which those that look arrive at when they know, and a word for each of
//! their warps. Where all is finite, products are added as they are taken; elsewhere they are looked at first
//! (`careful.rs`).
//!
//! Where nobody copies for others, each thread looks at what it has copied of a tile itself before all threads meet; a word
//! for each warp says what was found. That is done for products of so many columns that there are no registers to hold some of
//! them beside the sums.
//!
//! ```text
//! wait full; read it; fence; word = any exponent is the largest; arrive at known      |   wait known; words 0: O += P · V
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{
    Combine, Compare, IntOp, Lanes, LoadCache, LoadOrder, LogicOp, Space, StoreCache, StoreOrder, Vote,
};
use attnc_ptx::types::{Data, Int, Logical, RegType, Scalar as Type};
use attnc_ptx::{Address, Inst, Op, Operand, Reg, args, at};

use super::block::Emitter;
use super::layout::Staged;
use super::ring::{BARRIER, Room, compare, word_logic};
use super::shared::Chunk;
use super::value::Value;
use super::writer::Writer;
use crate::ir::nest::ValueId;

/// Where those that look at the tiles of a ring leave what they find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finite {
    barriers: Value,
    words: Value,
}

/// The bytes of the words of a tile.
const WORDS: u32 = 4 * Finite::WARPS;

impl Finite {
    /// The warps that look, and their threads.
    pub(super) const WARPS: u32 = 2;
    pub(super) const THREADS: u32 = 32 * Finite::WARPS;

    pub(super) fn new(writer: &Writer, stages: u32) -> Finite {
        let barriers = writer.shared(stages * BARRIER, BARRIER);
        Finite { barriers, words: writer.shared(stages * WORDS, WORDS) }
    }

    /// The barrier of a place.
    pub(super) fn known(&self, w: &Writer, place: Value) -> Value {
        Room::at(w, self.barriers, place, BARRIER)
    }

    /// Whether one of the words of a place, which are known, is not 0.
    pub(super) fn broken(&self, w: &Writer, place: Value) -> Reg {
        let words = at(w.reg(RegType::B32, Room::at(w, self.words, place, WORDS)));
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::Two);
        let found = [(); Finite::WARPS as usize].map(|()| w.fresh(RegType::B32));
        let load = Op::Ld { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        w.add(Inst::new(load, args![found, words]));
        let or = Op::Logic { op: LogicOp::Or, ty: Logical::B32 };
        let either = w.pure(RegType::B32, or, &found.map(Value::Reg));
        compare(w, Compare::Ne, either, 0)
    }
}

impl Emitter<'_> {
    /// Looks at a tile of so many bytes, and says what was found.
    pub(super) fn look(&self, finite: Finite, (start, bytes): (Value, u32), place: Value, dtype: DType) {
        let (w, team) = (&self.writer, self.together());
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let number = |it: u32| Value::Int(it.into());
        let own = word(IntOp::Sub, Value::Reg(team.thread), number(team.threads() + 32));
        let from = word(IntOp::Add, start, word(IntOp::MulLo, own, number(16)));
        let from = at(w.reg(RegType::B32, from));
        let found = w.fresh(RegType::B32);
        w.copy(found, Value::Int(0));
        for at_chunk in (0..bytes).step_by(16 * Finite::THREADS as usize) {
            self.look_at(found, from.plus(at_chunk.cast_signed()), None, dtype);
        }
        // What all lanes have read is over when the first one says what was found.
        self.end_reads();
        w.add(Inst::new(Op::BarWarp, args![-1]));
        let told = self.told(found);
        let words = Room::at(w, finite.words, place, WORDS);
        let warp = word(IntOp::MulLo, word(IntOp::Div, own, number(32)), number(4));
        let words = at(w.reg(RegType::B32, word(IntOp::Add, words, warp)));
        let first = compare(w, Compare::Eq, word_logic(w, LogicOp::And, own, 31), 0);
        let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
        let store = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        w.add(Inst::new(store, args![words, told]).when(first));
        let known = at(w.reg(RegType::B32, finite.known(w, place)));
        w.add(Inst::new(Op::MbarrierArrive, args![Operand::Sink, known]).when(first));
    }

    /// Adds to what was found what is found in a chunk, if it is there: the sign of a half where the exponent of a number is the
    /// largest.
    fn look_at(&self, found: Reg, from: Address, is_there: Option<Reg>, dtype: DType) {
        let w = &self.writer;
        // The largest exponent, to which one is added, carries into the place of the sign.
        let (exponent, one): (u32, u32) =
            if dtype == DType::F16 { (0x7c00, 0x0400) } else { (0x7f80, 0x0080) };
        let [exponents, ones] = [exponent, one].map(|it| i64::from(it << 16 | it));
        let logic = |op| Op::Logic { op, ty: Logical::B32 };
        let four = [(); 4].map(|()| w.fresh(RegType::B32));
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::Four);
        let load = Op::Ld { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        let load = Inst::new(load, args![four, from]);
        match is_there {
            Some(is_there) => {
                four.iter().for_each(|it| w.copy(*it, Value::Int(0)));
                w.add(load.when(is_there));
            }
            None => w.add(load),
        }
        for pair in four {
            w.add(Inst::new(logic(LogicOp::And), args![pair, pair, exponents]));
            let add = Op::IntBinary { op: IntOp::Add, ty: Int::U32 };
            w.add(Inst::new(add, args![pair, pair, ones]));
            w.add(Inst::new(logic(LogicOp::Or), args![found, found, pair]));
        }
    }

    /// 1 if a lane of the warp has found anything, else 0.
    fn told(&self, found: Reg) -> Reg {
        let w = &self.writer;
        let (carried, some, any) = (w.fresh(RegType::B32), w.fresh(RegType::Pred), w.fresh(RegType::Pred));
        let and = Op::Logic { op: LogicOp::And, ty: Logical::B32 };
        w.add(Inst::new(and, args![carried, found, i64::from(0x8000_8000_u32)]));
        let differs = Op::IntSetp { cmp: Compare::Ne, combine: Combine::None, ty: Int::U32 };
        w.add(Inst::new(differs, args![some, carried, 0]));
        w.add(Inst::new(Op::Vote { mode: Vote::Any }, args![any, some, -1]));
        let told = w.fresh(RegType::B32);
        w.add(Inst::new(Op::Selp { ty: Type::B32 }, args![told, 1, 0, any]));
        told
    }

    /// Waits until all threads have copied what they have to of a tile, and notes whether some of it is not finite.
    pub(super) fn meet_looking(&mut self, load: ValueId, staged: Staged) {
        self.writer.add(Inst::new(Op::CpAsyncWaitAll, args![]));
        let warps = self.together().threads() / 32;
        let words = match self.together().words.get(&load) {
            Some(&words) => words,
            None => self.writer.shared(4 * warps, 16),
        };
        self.together_mut().words.insert(load, words);
        self.writer.open(false);
        let found = self.writer.fresh(RegType::B32);
        self.writer.copy(found, Value::Int(0));
        for chunk in self.chunks(load) {
            let Chunk { to, is_there, .. } = self.chunk(load, staged, (chunk, None));
            let is_there = (is_there != Value::Bool(true)).then(|| self.writer.reg(RegType::Pred, is_there));
            self.look_at(found, to, is_there, staged.dtype);
        }
        let told = self.told(found);
        let w = &self.writer;
        let thread = Value::Reg(self.together().thread);
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, Value::Int(b)]);
        let own = at(w.reg(RegType::B32, Room::at(w, words, word(IntOp::Div, thread, 32), 4)));
        let first = compare(w, Compare::Eq, word_logic(w, LogicOp::And, thread, 31), 0);
        let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
        let store = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        w.add(Inst::new(store, args![own, told]).when(first));
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
        self.gather();
        let broken = self.any_of(words, warps);
        self.together_mut().broken.insert(load, broken);
    }

    /// Whether one of some words, of which there is a multiple of four, is not 0.
    fn any_of(&self, words: Value, count: u32) -> Reg {
        let w = &self.writer;
        let from = at(w.reg(RegType::B32, words));
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::Four);
        let load = Op::Ld { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        let any = w.fresh(RegType::B32);
        w.copy(any, Value::Int(0));
        for first in (0..count).step_by(4) {
            let four = [(); 4].map(|()| w.fresh(RegType::B32));
            w.add(Inst::new(load, args![four, from.plus((4 * first).cast_signed())]));
            for word in four {
                let or = Op::Logic { op: LogicOp::Or, ty: Logical::B32 };
                w.add(Inst::new(or, args![any, any, word]));
            }
        }
        compare(w, Compare::Ne, Value::Reg(any), 0)
    }
}
