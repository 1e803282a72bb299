//! Writes blocks of a nest: each operation goes into the outermost open loop that has its operands, so
//! what does not change along a loop is computed before it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use attnc_dsl::ast::{CompareOp, DType};
use rustc_hash::FxHashMap;

use crate::ir::cascade::{ExprId, RankId};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{
    Block, BufferId, Carried, Loop, Nest, Op, Place, Scalar, Stmt, TileDim, TileType, ValueId,
};

/// A value and where it is present; `None` is everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub(super) value: ValueId,
    pub(super) present: Option<ValueId>,
}

/// One open block: the prologue, a stage's body, or that of a loop.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    pub(super) stmts: Vec<Stmt>,
    /// Expressions computed here.
    memo: HashMap<ExprId, Known>,
    /// What is defined here of other values alone.
    pub(super) pure: FxHashMap<Pure, ValueId>,
    /// What indices meant before this block.
    shadowed: Vec<(RankId, Option<ValueId>)>,
    /// And offsets.
    shadowed_offsets: Vec<(RankId, Option<ValueId>)>,
    /// The loop whose body this is, without it.
    head: Option<Loop>,
}

/// An operation that comes to the same whenever it is done, and the type of what it comes to.
#[derive(Debug, Clone)]
pub(super) struct Pure(Op, TileType);

impl PartialEq for Pure {
    fn eq(&self, other: &Pure) -> bool {
        self.0.is(&other.0) && self.1 == other.1
    }
}

impl Eq for Pure {}

impl Hash for Pure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.0).hash(state);
        #[allow(clippy::wildcard_enum_match_arm, reason = "what else there is, operands tell apart")]
        match self.0 {
            Op::Int(it) => it.hash(state),
            Op::Real(it) => it.to_bits().hash(state),
            Op::Word(it) => it.hash(state),
            Op::Binary(op, ..) => op.hash(state),
            _ => {}
        }
        self.0.operands().hash(state);
        self.1.hash(state);
    }
}

/// A nest being written.
#[derive(Debug, Clone)]
pub(super) struct Builder {
    pub(super) nest: Nest,
    pub(super) levels: Vec<Level>,
    /// The level of every value, by id.
    level_of: Vec<usize>,
    constants: HashMap<ValueId, f64>,
    ints: HashMap<i64, ValueId>,
    /// What a value was converted from.
    converted: HashMap<ValueId, ValueId>,
    /// Integers of few bits that reals were rounded to.
    whole: HashMap<ValueId, (DType, ValueId)>,
    /// The coordinate along each rank that is iterated over.
    pub(super) indices: HashMap<RankId, ValueId>,
    /// The same, counted from where the box begins.
    pub(super) offsets: HashMap<RankId, ValueId>,
    /// The rank that comes last in the shape of every tile that has it.
    pub(super) minor: Option<RankId>,
    /// Registers are few: an operation is done again where its value is wanted again.
    pub(super) repeats: bool,
    /// Loads from scratch, whose contents change, stay at this level or further in.
    pub(super) floor: usize,
}

impl Builder {
    /// Starts in the prologue.
    pub(super) fn new(nest: Nest) -> Builder {
        Builder {
            nest,
            levels: vec![Level::default()],
            level_of: Vec::new(),
            constants: HashMap::new(),
            ints: HashMap::new(),
            converted: HashMap::new(),
            whole: HashMap::new(),
            indices: HashMap::new(),
            offsets: HashMap::new(),
            minor: None,
            repeats: false,
            floor: 0,
        }
    }

    /// Opens a block outside all loops: what follows goes there, not into the prologue.
    pub(super) fn open_body(&mut self) {
        assert_eq!(self.levels.len(), 1, "bodies do not nest");
        self.levels.push(Level::default());
    }

    /// The block that was opened last.
    pub(super) fn close_body(&mut self) -> Block {
        assert_eq!(self.levels.len(), 2, "every loop is closed");
        Block { stmts: self.levels.pop().expect("a body is open").stmts }
    }

    /// The prologue so far, outside of bodies.
    pub(super) fn prologue(&self) -> Block {
        Block { stmts: self.levels[0].stmts.clone() }
    }

    /// Ends the prologue.
    pub(super) fn finish(mut self) -> Nest {
        self.nest.prologue = Block { stmts: self.levels.pop().expect("the prologue is open").stmts };
        self.nest
    }

    /// A value that no operation defines, at the innermost level.
    pub(super) fn fresh(&mut self, ty: TileType) -> ValueId {
        self.fresh_at(self.levels.len() - 1, ty)
    }

    fn fresh_at(&mut self, level: usize, ty: TileType) -> ValueId {
        self.level_of.push(level);
        self.nest.values.push(ty)
    }

    /// The value of an operation, which is done once at its level.
    pub(super) fn emit(&mut self, op: Op, ty: TileType, operands: &[ValueId]) -> ValueId {
        let level = operands.iter().map(|it| self.level_of[it.idx()]).max().unwrap_or(0);
        if self.repeats && !matches!(op, Op::Int(_)) {
            return self.emit_at(level, op, ty);
        }
        let pure = Pure(op, ty);
        if let Some(&known) = self.levels[level].pure.get(&pure) {
            return known;
        }
        let value = self.emit_at(level, pure.0.clone(), pure.1.clone());
        self.levels[level].pure.insert(pure, value);
        value
    }

    fn emit_at(&mut self, level: usize, op: Op, ty: TileType) -> ValueId {
        let value = self.fresh_at(level, ty);
        self.levels[level].stmts.push(Stmt::Let(value, op));
        value
    }

    /// The shape of an operation on these operands: the ranks of all.
    pub(super) fn joined_shape(&self, operands: &[ValueId]) -> Vec<TileDim> {
        let mut shape: Vec<TileDim> = Vec::new();
        for dim in operands.iter().flat_map(|&it| &self.nest.values[it].shape) {
            if !shape.contains(dim) {
                shape.push(*dim);
            }
        }
        shape.sort_by_key(|dim| Some(dim.rank) == self.minor);
        shape
    }

    pub(super) fn scalar(&self, value: ValueId) -> Scalar {
        self.nest.values[value].scalar
    }

    pub(super) fn map(&mut self, op: Op, scalar: Scalar, operands: &[ValueId]) -> ValueId {
        let shape = self.joined_shape(operands);
        self.emit(op, TileType { scalar, shape }, operands)
    }

    pub(super) fn int(&mut self, value: i64) -> ValueId {
        let id = self.emit(Op::Int(value), TileType::scalar(Scalar::I64), &[]);
        self.ints.insert(value, id);
        id
    }

    pub(super) fn bool(&mut self, value: bool) -> ValueId {
        self.emit(Op::Bool(value), TileType::scalar(Scalar::Bool), &[])
    }

    /// A real; its scalar may be changed for free.
    pub(super) fn real(&mut self, value: f64, scalar: Scalar) -> ValueId {
        let id = self.emit(Op::Real(value), TileType::scalar(scalar), &[]);
        self.constants.insert(id, value);
        id
    }

    /// A constant in every element of a tile.
    pub(super) fn filled(&mut self, op: Op, scalar: Scalar, shape: &[TileDim]) -> ValueId {
        self.emit(op, TileType { scalar, shape: shape.to_vec() }, &[])
    }

    /// A word of the arguments.
    pub(super) fn word(&mut self, word: u32, scalar: Scalar) -> ValueId {
        self.emit(Op::Word(word), TileType::scalar(scalar), &[])
    }

    /// A word of the arguments, read where the innermost block is now.
    pub(super) fn word_here(&mut self, word: u32, scalar: Scalar) -> ValueId {
        self.emit_at(self.levels.len() - 1, Op::Word(word), TileType::scalar(scalar))
    }

    /// An address or size that the call gives.
    pub(super) fn given(&mut self, op: Op) -> ValueId {
        self.emit_at(self.levels.len() - 1, op, TileType::scalar(Scalar::I64))
    }

    /// An integer constant above 0.
    pub(super) fn is_positive(&self, value: ValueId) -> bool {
        self.ints.iter().any(|(&constant, &it)| it == value && constant > 0)
    }

    /// The number of threads.
    pub(super) fn threads(&mut self) -> ValueId {
        self.emit(Op::Threads, TileType::scalar(Scalar::I64), &[])
    }

    pub(super) fn iota(&mut self, dim: TileDim) -> ValueId {
        self.emit(Op::Iota, TileType { scalar: Scalar::I64, shape: vec![dim] }, &[])
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn unary(&mut self, op: UnaryOp, a: ValueId) -> ValueId {
        let scalar = match op {
            UnaryOp::IsNan | UnaryOp::IsInf => Scalar::Bool,
            _ => self.scalar(a),
        };
        self.map(Op::Unary(op, a), scalar, &[a])
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.map(Op::Binary(op, a, b), self.scalar(a), &[a, b])
    }

    pub(super) fn compare(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> ValueId {
        self.map(Op::Compare(op, a, b), Scalar::Bool, &[a, b])
    }

    pub(super) fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> ValueId {
        if a == b { a } else { self.map(Op::Select(c, a, b), self.scalar(a), &[c, a, b]) }
    }

    pub(super) fn not(&mut self, a: ValueId) -> ValueId {
        self.unary(UnaryOp::Not, a)
    }

    pub(super) fn and(&mut self, a: ValueId, b: ValueId) -> ValueId {
        if a == b { a } else { self.binary(BinaryOp::And, a, b) }
    }

    pub(super) fn or(&mut self, a: ValueId, b: ValueId) -> ValueId {
        if a == b { a } else { self.binary(BinaryOp::Or, a, b) }
    }

    /// Both hold, where `None` always holds.
    pub(super) fn both(&mut self, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.and(a, b)),
            (one, None) | (None, one) => one,
        }
    }

    pub(super) fn round(&mut self, dtype: DType, a: ValueId) -> ValueId {
        self.map(Op::Round(dtype, a), self.scalar(a), &[a])
    }

    /// The value in another scalar. Constants are made anew, and a real made of an integer is made of it directly.
    pub(super) fn convert(&mut self, a: ValueId, to: Scalar) -> ValueId {
        if self.scalar(a) == to {
            return a;
        }
        if let (Some(&value), Scalar::F32 | Scalar::F64) = (self.constants.get(&a), to) {
            return self.real(value, to);
        }
        if let (Some(&(dtype, real)), Scalar::F32 | Scalar::F64) = (self.whole.get(&a), to) {
            let near = self.nearest(dtype, real);
            return self.convert(near, to);
        }
        let from = match self.converted.get(&a) {
            Some(&from) if to == Scalar::F32 && self.scalar(from) == Scalar::I64 => from,
            _ => a,
        };
        if to == Scalar::F32
            && self.scalar(from) == Scalar::I64
            && let Some(real) = self.along_lanes(from)
        {
            return real;
        }
        let id = self.map(Op::Convert(from), to, &[from]);
        self.converted.insert(id, from);
        id
    }

    /// The integer of that dtype that is nearest to a value.
    pub(super) fn whole(&mut self, dtype: DType, value: ValueId) -> ValueId {
        let range = |it: DType| it.int_range().expect("it holds integers");
        if let Some(&(known, _)) = self.whole.get(&value)
            && range(dtype).0 <= range(known).0
            && range(known).1 <= range(dtype).1
        {
            return value;
        }
        let integer = self.convert(value, Scalar::I64);
        let id = self.round(dtype, integer);
        let is_real = matches!(self.scalar(value), Scalar::F32 | Scalar::F64);
        if is_real && dtype != DType::I32 {
            self.whole.insert(id, (dtype, value));
        }
        id
    }

    /// The same as a real, without an integer in between: vectors of those are wider.
    fn nearest(&mut self, dtype: DType, real: ValueId) -> ValueId {
        let scalar = self.scalar(real);
        let (least, most) = dtype.int_range().expect("it holds integers");
        let [least, most, zero] = [least as f64, most as f64, 0.0].map(|it| self.real(it, scalar));
        let above = self.compare(CompareOp::Gt, real, least);
        let near = self.select(above, real, least);
        let below = self.compare(CompareOp::Lt, near, most);
        let near = self.select(below, near, most);
        let near = self.unary(UnaryOp::Round, near);
        let is_nan = self.unary(UnaryOp::IsNan, real);
        self.select(is_nan, zero, near)
    }

    /// The same elements, their ranks in that order.
    pub(super) fn in_order(&mut self, a: ValueId, shape: &[TileDim]) -> ValueId {
        let TileType { scalar, shape: before } = &self.nest.values[a];
        if before == shape {
            return a;
        }
        self.emit(Op::Convert(a), TileType { scalar: *scalar, shape: shape.to_vec() }, &[a])
    }

    pub(super) fn load(
        &mut self,
        buffer: BufferId,
        index: Vec<ValueId>,
        guard: Option<ValueId>,
        contiguous: bool,
    ) -> ValueId {
        self.load_as(Scalar::of(self.nest.buffers[buffer].dtype), buffer, index, guard, contiguous)
    }

    pub(super) fn load_as(
        &mut self,
        scalar: Scalar,
        buffer: BufferId,
        index: Vec<ValueId>,
        guard: Option<ValueId>,
        contiguous: bool,
    ) -> ValueId {
        let operands: Vec<ValueId> = index.iter().copied().chain(guard).collect();
        // A load stays out of the prologue, which runs before anything is checked.
        let floor = match self.nest.buffers[buffer].place {
            Place::Scratch(_) => self.floor,
            Place::Input(_) | Place::Output(_) | Place::Workspace(_) => 1,
        };
        let level = operands.iter().map(|it| self.level_of[it.idx()]).max().unwrap_or(0).max(floor);
        let shape = self.joined_shape(&operands);
        self.emit_at(level, Op::Load { buffer, index, guard, contiguous }, TileType { scalar, shape })
    }

    pub(super) fn store(
        &mut self,
        buffer: BufferId,
        index: Vec<ValueId>,
        value: ValueId,
        guard: Option<ValueId>,
        contiguous: bool,
    ) {
        self.here().stmts.push(Stmt::Store { buffer, index, value, guard, contiguous });
    }

    pub(super) fn here(&mut self) -> &mut Level {
        self.levels.last_mut().expect("a block is open")
    }

    /// Opens a loop over tiles of `step` coordinates; gives what its body sees of the carried values.
    pub(super) fn open_loop(
        &mut self,
        rank: RankId,
        (from, to, step): (ValueId, ValueId, u32),
        inits: &[ValueId],
    ) -> (ValueId, Vec<ValueId>) {
        self.levels.push(Level::default());
        let index = self.fresh(TileType::scalar(Scalar::I64));
        let mut carried = Vec::new();
        for &init in inits {
            let current = self.fresh(self.nest.values[init].clone());
            carried.push(Carried { init, current, next: current, result: current });
        }
        let currents = carried.iter().map(|it| it.current).collect();
        self.here().head =
            Some(Loop { rank, index, from, to, step, carried, body: Block::default(), rare: false });
        (index, currents)
    }

    /// Opens a loop that is run so many times where a condition holds, and so many where it does not; gives what its body
    /// sees of the carried values.
    pub(super) fn open_times(
        &mut self,
        condition: ValueId,
        times: [i64; 2],
        rank: RankId,
        inits: &[ValueId],
    ) -> Vec<ValueId> {
        let [holds, fails] = times.map(|it| self.int(it));
        let (zero, times) = (self.int(0), self.select(condition, holds, fails));
        self.open_loop(rank, (zero, times, 1), inits).1
    }

    /// Opens a loop that is run once where a condition does not hold, which is hardly ever; gives what its body sees of the
    /// carried values.
    pub(super) fn open_unless(&mut self, holds: ValueId, rank: RankId, inits: &[ValueId]) -> Vec<ValueId> {
        let currents = self.open_times(holds, [0, 1], rank, inits);
        self.here().head.as_mut().expect("a loop is open").rare = true;
        currents
    }

    pub(super) fn close_level(&mut self) -> Level {
        let mut level = self.levels.pop().expect("a block is open");
        restore(&mut self.indices, std::mem::take(&mut level.shadowed));
        restore(&mut self.offsets, std::mem::take(&mut level.shadowed_offsets));
        level
    }

    /// Closes the innermost loop; gives what the carried values are after it.
    pub(super) fn close_loop(&mut self, nexts: &[ValueId]) -> Vec<ValueId> {
        let mut level = self.close_level();
        let mut head = level.head.take().expect("the innermost block is a loop");
        let mut results = Vec::new();
        for (carried, &next) in head.carried.iter_mut().zip(nexts) {
            let result = self.fresh(self.nest.values[carried.init].clone());
            (carried.next, carried.result) = (next, result);
            results.push(result);
        }
        head.body = Block { stmts: level.stmts };
        self.here().stmts.push(Stmt::Loop(head));
        results
    }

    /// From now to the end of the innermost block, that is the coordinate along a rank.
    pub(super) fn bind(&mut self, rank: RankId, index: ValueId) {
        let before = self.indices.insert(rank, index);
        self.here().shadowed.push((rank, before));
    }

    /// From now to the end of the innermost block, that is the distance along a rank from where the box begins.
    pub(super) fn bind_offset(&mut self, rank: RankId, offset: ValueId) {
        let before = self.offsets.insert(rank, offset);
        self.here().shadowed_offsets.push((rank, before));
    }

    /// An expression that is computed already.
    pub(super) fn recall(&self, expr: ExprId) -> Option<Known> {
        self.levels.iter().rev().find_map(|it| it.memo.get(&expr).copied())
    }

    /// Remembers an expression for as long as its value lives.
    pub(super) fn remember(&mut self, expr: ExprId, known: Known) {
        let level = |it: ValueId| self.level_of[it.idx()];
        let at = level(known.value).max(known.present.map_or(0, level));
        self.levels[at].memo.insert(expr, known);
    }

    /// Forgets those expressions.
    pub(super) fn forget_those(&mut self, these: impl Fn(ExprId) -> bool) {
        self.levels.iter_mut().for_each(|it| it.memo.retain(|id, _| !these(*id)));
    }

    /// Forgets all expressions: indices are about to mean something else.
    pub(super) fn forget(&mut self) -> Vec<HashMap<ExprId, Known>> {
        self.levels.iter_mut().map(|it| std::mem::take(&mut it.memo)).collect()
    }

    /// Undoes [`Builder::forget`].
    pub(super) fn recollect(&mut self, memos: Vec<HashMap<ExprId, Known>>) {
        for (level, memo) in self.levels.iter_mut().zip(memos) {
            level.memo = memo;
        }
    }

    /// Ends what indices of tasks mean, after a stage's body is closed.
    pub(super) fn unbind_all(&mut self) {
        self.indices.clear();
        self.offsets.clear();
    }
}

fn restore(to: &mut HashMap<RankId, ValueId>, shadowed: Vec<(RankId, Option<ValueId>)>) {
    for (rank, before) in shadowed.into_iter().rev() {
        match before {
            Some(value) => to.insert(rank, value),
            None => to.remove(&rank),
        };
    }
}
