//! Tiles that a block of threads shares: which of their elements a thread has.
//!
//! Rows are spread over warps as products of matrices have it: lane `l` of warp `w` has rows `16 w + l / 4` and eight
//! further on, and of every eight neighbours those at `2 (l % 4)` and behind it. So the nest of a stage becomes one whose
//! tiles have a thread's elements only, and all operations on elements stay as they are. What is known of whole tiles is
//! here (coordinates, sums along rows, who stores) and in `products.rs`.
//!
//! ```text
//! S~[m in 64, n in 32]   ->   2 × 8 registers: rows 16 w + g, + 8; columns 2 t, 2 t + 1, 8 + 2 t, 8 + 2 t + 1, …
//! ```

use std::collections::HashMap;
use std::f64::consts::LOG2_E;

use attnc_ptx::modifier::special::Special;
use attnc_ptx::modifier::{Compare, CvtRound, FloatCompare, IntOp, LogicOp, Shuffle};
use attnc_ptx::types::{Float, Int, Logical, Number, RegType, Scalar as Type};
use attnc_ptx::{Inst, Op, Reg, args};

use super::ahead::Rooms;
use super::arith::{and, convert, float_compare, int, int_compare, select};
use super::block::Emitter;
use super::layout::Staged;
use super::op::Tile;
use super::scalar;
use super::value::Value;
use super::writer::Writer;
use crate::codegen::points::combination;
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::factors::Factors;
use crate::ir::nest::{Nest, Op as TileOp, Scalar, Stage, TileDim, TileType, ValueId};
use crate::target::Gpu;

/// How many threads share a row, and of how many neighbours one has one.
const ACROSS: u32 = 4;
/// How many rows a thread has.
const DOWN: u32 = 2;

/// How a block works together.
pub(super) struct Team<'a> {
    /// The rows.
    pub(super) rows: TileDim,
    /// The number of the thread.
    pub(super) thread: Reg,
    /// Its first row, and its first column.
    row: Value,
    column: Value,
    /// What products of matrices take.
    pub(super) factors: Factors<'a>,
    /// Those that lie in shared memory.
    pub(super) staged: HashMap<ValueId, Staged>,
    /// The room that they have there.
    pub(super) rooms: Rooms,
    /// Words for those that threads look at as they have copied them, and whether what they saw last is not finite.
    pub(super) words: HashMap<ValueId, Value>,
    pub(super) broken: HashMap<ValueId, Reg>,
    /// Each four of its warps take products of short floats together.
    pub(super) groups: bool,
    /// Products of groups are waited for when they have begun.
    pub(super) waits: bool,
    /// The left factor of a product as it takes it, if that is kept.
    pub(super) packed: Option<(ValueId, Vec<[Reg; 4]>)>,
    /// Some of its products are of f32, which keep nearly all digits.
    pub(super) splits: bool,
    /// Its sums leave few registers for others.
    pub(super) is_full: bool,
}

/// How many threads a block of so many rows has: each warp has sixteen.
pub(crate) fn threads(rows: TileDim) -> u32 {
    2 * rows.extent
}

/// The nest with those elements of the tiles of a stage that a thread has.
pub(super) fn own(nest: &Nest, rows: TileDim) -> Nest {
    let mut own = nest.clone();
    for dim in own.values.iter_mut().flat_map(|it| &mut it.shape) {
        dim.extent = if *dim == rows { DOWN } else { dim.extent / ACROSS };
    }
    own
}

impl<'a> Team<'a> {
    pub(super) fn new(
        nest: &'a Nest,
        stage: &'a Stage,
        rows: TileDim,
        (writer, gpu): (&Writer, Gpu),
    ) -> Team<'a> {
        let thread = writer.special(Special::TidX);
        let part = |op, by: i64| {
            writer.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[thread, Value::Int(by)])
        };
        // Made wide at the end, so that half of a register pair is known to be 0 and is not kept.
        let wide = |it| convert(writer, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, it);
        let word = |op, a, b| writer.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        // Rows 16 w + g: thread 32 w + 4 g + t.
        let warp = word(IntOp::MulLo, part(IntOp::Div, 32), Value::Int(16));
        let quad = writer.pure(
            RegType::B32,
            Op::Logic { op: LogicOp::And, ty: Logical::B32 },
            &[part(IntOp::Div, 4), Value::Int(7)],
        );
        let row = wide(word(IntOp::Add, warp, quad));
        let column = wide(word(IntOp::MulLo, part(IntOp::Rem, 4), Value::Int(2)));
        let factors = Factors::of(&nest.prologue, &stage.body);
        let Value::Reg(thread) = thread else { unreachable!("a special register is read into one") };
        let (staged, rooms) = (HashMap::new(), Rooms::default());
        let (words, broken) = (HashMap::new(), HashMap::new());
        let splits = factors.products().any(|it| factors.is_split(nest, it.1));
        let is_full = factors.leave_few(nest, rows.rank, ACROSS);
        let groups = gpu == Gpu::Sm90a;
        Team {
            rows,
            thread,
            row,
            column,
            factors,
            staged,
            rooms,
            words,
            broken,
            groups,
            waits: true,
            packed: None,
            splits,
            is_full,
        }
    }

    /// How many threads a block has.
    pub(super) fn threads(&self) -> u32 {
        threads(self.rows)
    }

    /// How many coordinates a tile has along a rank of which a thread has some.
    pub(super) fn whole(&self, dim: TileDim) -> u32 {
        if dim.rank == self.rows.rank { self.rows.extent } else { dim.extent * ACROSS }
    }

    /// What defines a value of which no thread has elements.
    pub(super) fn definition(&self, value: ValueId) -> &'a TileOp {
        self.factors.definition(value).expect("an operation defines it")
    }

    /// A factor as it is before it is rounded, if products round it as they take it.
    pub(super) fn unrounded(&self, factor: ValueId) -> ValueId {
        match self.factors.definition(factor) {
            Some(TileOp::Round(_, of)) if self.factors.is_factor(factor) => *of,
            Some(_) | None => factor,
        }
    }

    /// Whether threads look at a tile that they have copied before products take it.
    pub(super) fn looks_at(&self, nest: &Nest, load: ValueId) -> bool {
        !self.groups && self.factors.is_looked_at(nest, load, self.rows.rank, ACROSS)
    }

    /// A tile that all rows share: its elements lie in shared memory when they are needed.
    fn is_shared(&self, ty: &TileType) -> bool {
        ty.shape.len() == 2 && ty.shape.iter().all(|it| it.rank != self.rows.rank)
    }
}

impl<'a> Emitter<'a> {
    /// An operation that threads do together, or that none does yet.
    #[allow(clippy::wildcard_enum_match_arm, reason = "others work on elements")]
    pub(super) fn shared_op(&mut self, value: ValueId, op: &'a TileOp) -> Option<Tile<'a>> {
        if matches!(op, TileOp::Contract { .. }) {
            self.meet_turn(value);
        }
        let (team, ty) = (self.team.as_ref()?, &self.nest.values[value]);
        if team.factors.is_factor(value) {
            if matches!(op, TileOp::Load { .. }) {
                self.lay_out(value);
            }
            return Some(Tile { ty, elements: Vec::new() });
        }
        if team.is_shared(ty) {
            return Some(Tile { ty, elements: Vec::new() });
        }
        if team.factors.is_sum(value) {
            return Some(self.tile(value).clone());
        }
        let fast = ty.scalar == Scalar::F32 && !team.splits;
        match *op {
            TileOp::Contract { a, b, there, into } => {
                let Some((sum, before)) = team.factors.sum(value) else {
                    return Some(self.product((value, ty), (a, b), there, into));
                };
                let products = self.product((sum, &self.nest.values[sum]), (a, b), there, before);
                self.define(sum, products);
                Some(Tile { ty, elements: Vec::new() })
            }
            TileOp::Binary(BinaryOp::Mul, a, b) if self.in_place.contains(&value) => {
                Some(self.multiplied(ty, (a, b)))
            }
            TileOp::Unary(UnaryOp::Exp, a) if fast => Some(self.powers(ty, LOG2_E, a)),
            TileOp::Unary(UnaryOp::Exp2, a) if fast => Some(self.powers(ty, 1.0, a)),
            TileOp::Reduce(op, a) => Some(self.reduction(ty, op, a)),
            _ => None,
        }
    }

    /// The coordinates along the only rank of a tile that a thread has.
    pub(super) fn coordinates(&self, ty: &TileType) -> Vec<Value> {
        let count = i64::try_from(ty.points()).expect("tiles are small");
        let Some(team) = &self.team else { return (0..count).map(Value::Int).collect() };
        let (first, place): (Value, fn(i64) -> i64) = match ty.shape[0].rank == team.rows.rank {
            true => (team.row, |it| 8 * it),
            false => (team.column, |it| it / 2 * 8 + it % 2),
        };
        (0..count).map(|it| int(&self.writer, IntOp::Add, first, Value::Int(place(it)))).collect()
    }

    /// Whether the thread stores elements of that shape: where several have the same, one of them does.
    pub(super) fn writes(&self, ty: &TileType) -> Value {
        let Some(team) = &self.team else { return Value::Bool(true) };
        let is_zero = |it| int_compare(&self.writer, Compare::Eq, it, Value::Int(0));
        let (mut along, mut down) = (is_zero(team.column), is_zero(team.row));
        for dim in &ty.shape {
            *(if dim.rank == team.rows.rank { &mut down } else { &mut along }) = Value::Bool(true);
        }
        and(&self.writer, along, down)
    }

    /// The value combined along rows. Whether any of a row differs from -inf is known of the largest.
    fn reduction(&mut self, ty: &'a TileType, op: ReduceOp, a: ValueId) -> Tile<'a> {
        if self.late.contains_key(&a) {
            self.arrive(a);
        }
        let all = self.by_row(ty, a);
        if op == ReduceOp::Any
            && let Some(elements) = all.iter().map(|it| self.any_by_peak(it)).collect()
        {
            return Tile { ty, elements };
        }
        let own = self.combined(ty, op, all.clone());
        let elements: Vec<Value> =
            own.elements.into_iter().map(|it| self.across(op, ty.scalar, it)).collect();
        if op == ReduceOp::Max && ty.scalar == Scalar::F32 {
            self.peaks.extend(all.into_iter().zip(elements.iter().copied()));
        }
        Tile { ty, elements }
    }

    /// Whether any of some elements differs from -inf, if that is what they say of elements of which the largest is known.
    fn any_by_peak(&self, elements: &[Value]) -> Option<Value> {
        let least = Value::F32(f32::NEG_INFINITY.to_bits());
        let of = |it: &Value| self.writer.difference(*it).filter(|it| it.1 == least).map(|it| it.0);
        let of: Vec<Value> = elements.iter().map(of).collect::<Option<_>>()?;
        let &(_, peak) = self.peaks.iter().find(|it| it.0 == of)?;
        // NaN is the largest of all, and differs.
        Some(float_compare(&self.writer, Float::F32, FloatCompare::Neu, peak, least))
    }

    /// An element combined with those of the threads that share its row.
    pub(super) fn across(&self, op: ReduceOp, scalar: Scalar, mut element: Value) -> Value {
        let w = &self.writer;
        for bit in [1u32, 2] {
            let bits = match scalar {
                Scalar::Bool => select(w, RegType::B32, element, Value::Int(1), Value::Int(0)),
                Scalar::F32 => w.pure(
                    RegType::B32,
                    Op::Mov { ty: Type::B32 },
                    &[Value::Reg(w.reg(RegType::F32, element))],
                ),
                Scalar::F64 | Scalar::I64 | Scalar::I32 => {
                    unreachable!("`tile` combines {} by threads", scalar.name())
                }
            };
            let (bits, other) = (w.reg(RegType::B32, bits), w.fresh(RegType::B32));
            w.add(Inst::new(Op::Shfl { mode: Shuffle::Bfly }, args![other, bits, bit, 31, -1]));
            let other = Value::Reg(other);
            let other = match scalar {
                Scalar::Bool => {
                    let cmp = attnc_ptx::modifier::Combine::None;
                    let op = Op::IntSetp { cmp: Compare::Ne, combine: cmp, ty: Int::S32 };
                    w.pure(RegType::Pred, op, &[other, Value::Int(0)])
                }
                Scalar::F32 | Scalar::F64 | Scalar::I64 | Scalar::I32 => {
                    w.pure(RegType::F32, Op::Mov { ty: Type::B32 }, &[other])
                }
            };
            element = scalar::binary(w, combination(op), scalar, element, other);
        }
        element
    }
}
