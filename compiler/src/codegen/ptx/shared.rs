//! What all rows of a block share, in shared memory: every thread copies chunks of 16 bytes.
//!
//! Where they lie is in `layout.rs`. What a guard leaves out is 0. Where rows lie in memory as they have to for it, a chunk is copied without a way
//! through registers; else its elements are read one by one.

use attnc_dsl::ast::CompareOp;
use attnc_ptx::modifier::{
    Compare, CopyCache, CvtRound, IntOp, Lanes, LogicOp, Prefetch, ProxySpace, Space, StoreCache, StoreOrder,
};
use attnc_ptx::types::{Bits, Data, Int, Logical, Number, RegType, Scalar as Type};
use attnc_ptx::{Address, Inst, Op, Reg, args};

use super::arith::{and, bits, convert, int, int_compare, select};
use super::block::Emitter;
use super::layout::{CHUNK, Layout, Staged};
use super::scalar;
use super::value::{Value, register};
use super::writer::Writer;
use crate::codegen::formula::Formula;
use crate::ir::cascade::RankId;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{BufferId, Op as TileOp, Scalar, TileDim, ValueId, bytes_of};

/// The barrier of the threads that compute, where others copy.
const COMPUTING: u32 = 1;

/// A load of elements that all rows share.
struct Source<'a> {
    buffer: BufferId,
    index: &'a [ValueId],
    guard: Option<ValueId>,
    turn: Option<Turn>,
}

/// When and whether a tile is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// The number of the loop at hand, if what the copy depends on in the loop is to be computed for that one.
    pub(super) number: Value,
    /// Whether there is such a turn.
    pub(super) is_there: Value,
}

/// A chunk that a thread copies.
pub(super) struct Chunk {
    /// Its place in shared memory.
    pub(super) to: Address,
    /// Whether the thread has one.
    pub(super) is_there: Value,
    /// Its first element.
    point: [(RankId, Value); 2],
}

impl<'a> Emitter<'a> {
    /// Copies a tile that is loaded to shared memory, if nobody else does.
    pub(super) fn lay_out(&mut self, value: ValueId) {
        if self.is_ahead(value) || self.take_box(value) {
            return;
        }
        let staged = self.room(value);
        self.gather();
        self.fill(value, staged, None);
        self.meet_at(value, staged);
        self.together_mut().staged.insert(value, staged);
    }

    /// An element that the thread has of a tile in shared memory, by its position among those.
    pub(super) fn shared_element(&self, value: ValueId, position: usize) -> Value {
        let (staged, team) = (self.together().staged[&value], self.together());
        let &[first, second] = self.nest.values[value].shape.as_slice() else {
            unreachable!("it has two ranks")
        };
        let position = u32::try_from(position).expect("tiles are small");
        let [row, column] = [(first, position / second.extent), (second, position % second.extent)];
        let (row, column) = if staged.rows == first.rank { (row, column) } else { (column, row) };
        let place = |(dim, own): (TileDim, u32)| self.place_of(dim.rank == team.rows.rank, own);
        let from = staged.element(&self.writer, place(row), place(column));
        self.read(staged.dtype, from).0
    }

    /// The coordinate of one of the rows or columns that a thread has, as a 32-bit number and one that is added to it.
    fn place_of(&self, is_row: bool, own: u32) -> (Value, u32) {
        let by = |op, a, by: u32| {
            let op = Op::IntBinary { op, ty: Int::U32 };
            self.writer.pure(RegType::B32, op, &[a, Value::Int(by.into())])
        };
        if !is_row {
            return (by(IntOp::MulLo, self.thread_by(IntOp::Rem, 4), 2), own / 2 * 8 + own % 2);
        }
        let warp = by(IntOp::MulLo, self.thread_by(IntOp::Div, 32), 16);
        let quad = by(IntOp::Div, self.thread_by(IntOp::Rem, 32), 4);
        let op = Op::IntBinary { op: IntOp::Add, ty: Int::U32 };
        (self.writer.pure(RegType::B32, op, &[warp, quad]), 8 * own)
    }

    /// Waits until all threads have copied what they have to, and products may take it.
    pub(super) fn meet(&self) {
        self.writer.add(Inst::new(Op::CpAsyncWaitAll, args![]));
        if self.together().groups {
            // Products of groups see memory on a way of their own.
            self.writer.add(Inst::new(Op::FenceProxy { space: ProxySpace::Shared }, args![]));
        }
        self.gather();
    }

    /// The same for a tile, which they look at if it has to be known whether it is finite.
    pub(super) fn meet_at(&mut self, load: ValueId, staged: Staged) {
        match self.together().looks_at(self.nest, load) {
            true => self.meet_looking(load, staged),
            false => self.meet(),
        }
    }

    /// Waits for all threads that compute.
    pub(super) fn gather(&self) {
        self.writer.add(match self.rings {
            Some(_) => Inst::new(Op::BarSync, args![COMPUTING, self.together().threads()]),
            None => Inst::new(Op::BarSyncAll, args![0]),
        });
    }

    /// Room in shared memory for a tile that is loaded.
    pub(super) fn room(&mut self, value: ValueId) -> Staged {
        let source = self.source(value, None);
        let (rows, columns) = self.sides(value, &source);
        let size = self.size(&source);
        let team = self.team.as_mut().expect("a block works together");
        let [height, width] = [rows, columns].map(|it| team.whole(it));
        let (layout, bytes) = if team.groups && size == 2 {
            Layout::swizzled(height, width)
        } else {
            Layout::padded(height, width, size)
        };
        let start = team.rooms.next(&self.writer, bytes, layout.align());
        self.staged(value, start, layout)
    }

    /// A tile that is loaded as it lies from there on.
    pub(super) fn staged(&self, value: ValueId, start: Value, layout: Layout) -> Staged {
        let source = self.source(value, None);
        let rows = self.sides(value, &source).0.rank;
        Staged { start, layout, rows, dtype: self.nest.buffers[source.buffer].dtype }
    }

    /// The first of the coordinates of a load along a dimension.
    pub(super) fn first_of(&mut self, coordinate: ValueId) -> Value {
        let corner: Vec<(RankId, Value)> =
            self.nest.values[coordinate].shape.iter().map(|it| (it.rank, Value::Int(0))).collect();
        self.point(coordinate, &corner, None)
    }

    fn source(&self, value: ValueId, turn: Option<Turn>) -> Source<'a> {
        let team = self.team.as_ref().expect("a block works together");
        let TileOp::Load { buffer, index, guard, .. } = team.definition(value) else {
            unreachable!("`tile` multiplies rows by what is loaded")
        };
        Source { buffer: *buffer, index, guard: *guard, turn }
    }

    /// The bytes of an element.
    fn size(&self, source: &Source<'a>) -> u32 {
        bytes_of(self.nest.buffers[source.buffer].dtype)
    }

    /// The ranks of a tile as it lies in shared memory: that of its rows, and that along which neighbours lie.
    fn sides(&self, value: ValueId, source: &Source<'a>) -> (TileDim, TileDim) {
        let last = source.index.last().map_or(&[][..], |it| &self.nest.values[*it].shape);
        let &[first, second] = self.nest.values[value].shape.as_slice() else {
            unreachable!("it has two ranks")
        };
        if last.contains(&first) { (second, first) } else { (first, second) }
    }

    /// Begins to copy a tile to its room. What is computed for that is not kept for the next copy.
    pub(super) fn fill(&mut self, value: ValueId, staged: Staged, turn: Option<Turn>) {
        self.writer.open(false);
        self.copy_chunks(value, staged, turn);
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
    }

    fn copy_chunks(&mut self, value: ValueId, staged: Staged, turn: Option<Turn>) {
        let source = self.source(value, turn);
        for first in self.chunks(value) {
            let Chunk { to, is_there, point } = self.chunk(value, staged, (first, turn));
            self.copy(&source, point, to, is_there);
        }
    }

    /// The numbers of the first thread's chunks of a tile.
    pub(super) fn chunks(&self, value: ValueId) -> impl Iterator<Item = u32> + use<> {
        let (height, per_row) = self.height(value);
        (0..height * per_row).step_by(self.together().threads() as usize)
    }

    /// The rows of a tile, and how many chunks each has.
    fn height(&self, value: ValueId) -> (u32, u32) {
        let source = self.source(value, None);
        let (rows, columns) = self.sides(value, &source);
        let [height, width] = [rows, columns].map(|it| self.together().whole(it));
        (height, width * self.size(&source) / CHUNK)
    }

    /// The chunk of a tile that a thread copies when the first one copies that of a number.
    pub(super) fn chunk(&self, value: ValueId, staged: Staged, (first, turn): (u32, Option<Turn>)) -> Chunk {
        let source = self.source(value, turn);
        let ((rows, columns), (height, per_row)) = (self.sides(value, &source), self.height(value));
        let (w, each, threads) = (&self.writer, CHUNK / self.size(&source), self.together().threads());
        let thread = Value::Reg(self.together().thread);
        let word = |op, a, b: u32| {
            w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, Value::Int(b.into())])
        };
        let chunk = word(IntOp::Add, thread, first);
        // Where a turn of all threads has whole rows, chunks of a thread lie below each other.
        let (start, down) =
            if threads.is_multiple_of(per_row) { (thread, first / per_row) } else { (chunk, 0) };
        let (row, column) = (word(IntOp::Div, start, per_row), word(IntOp::Rem, start, per_row));
        let wide = |it| convert(w, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, it);
        let is_there = if first + threads <= height * per_row {
            Value::Bool(true)
        } else {
            int_compare(w, Compare::Lt, wide(chunk), Value::Int((height * per_row).into()))
        };
        let is_there = turn.map_or(is_there, |it| and(w, it.is_there, is_there));
        let to = staged.chunk(w, (row, down), column);
        let column = int(w, IntOp::MulLo, wide(column), Value::Int(each.into()));
        let row = int(w, IntOp::Add, wide(row), Value::Int(down.into()));
        Chunk { to, is_there, point: [(rows.rank, row), (columns.rank, column)] }
    }

    /// Copies a chunk: at once where it lies in memory as it has to, else element by element.
    fn copy(&mut self, source: &Source<'a>, at_point: [(RankId, Value); 2], to: Address, is_there: Value) {
        if !self.is_in_chunks(source, at_point[1].0) {
            return self.copy_elements(source, at_point, to, is_there);
        }
        let aligned = self.lies_in_chunks(source);
        let aligned = self.writer.reg(RegType::Pred, aligned);
        let [apart, end] = ["apart", "copied"].map(|it| self.writer.label(it));
        self.writer.bra(apart, Some((aligned, false)));
        self.writer.open(true);
        let (from, guard) = self.element(source, &at_point);
        let bytes = select(&self.writer, RegType::B32, guard, Value::Int(16), Value::Int(0));
        let op = Op::CpAsyncFill { cache: CopyCache::Global, prefetch: Prefetch::None };
        let copy = Inst::new(op, args![to, from, 16, self.writer.reg(RegType::B32, bytes)]);
        self.writer.add(match is_there {
            Value::Reg(guard) => copy.when(guard),
            Value::F32(_) | Value::F64(_) | Value::Int(_) | Value::Bool(_) => copy,
        });
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
        self.writer.bra(end, None);
        self.writer.place(apart);
        self.writer.open(true);
        self.copy_elements(source, at_point, to, is_there);
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
        self.writer.place(end);
    }

    /// Whether neighbours along the columns have coordinates that follow each other in memory, and chunks of them are there as
    /// a whole or not at all.
    fn is_in_chunks(&self, source: &Source<'a>, columns: RankId) -> bool {
        let varies = |it: ValueId| self.nest.values[it].shape.iter().any(|dim| dim.rank == columns);
        let (last, others) = source.index.split_last().expect("a tile has two ranks");
        let definition = |it: ValueId| self.together().factors.definition(it);
        let is_iota = |it: ValueId| matches!(definition(it), Some(TileOp::Iota));
        let each = i64::from(CHUNK / self.size(source));
        let counts = match definition(*last) {
            Some(&TileOp::Binary(BinaryOp::Add, a, b)) => {
                is_iota(a) && self.is_multiple(b, each) || is_iota(b) && self.is_multiple(a, each)
            }
            Some(_) | None => is_iota(*last),
        };
        let mut conditions: Vec<ValueId> = source.guard.into_iter().collect();
        let mut whole = true;
        while let Some(it) = conditions.pop().filter(|_| whole) {
            match definition(it) {
                _ if !varies(it) => {}
                Some(&TileOp::Binary(BinaryOp::And, a, b)) => conditions.extend([a, b]),
                Some(&TileOp::Compare(CompareOp::Lt, a, b)) => {
                    whole = a == *last && self.is_multiple(b, each)
                }
                Some(_) | None => whole = false,
            }
        }
        counts && whole && !others.iter().any(|it| varies(*it))
    }

    /// Whether a number is known to be a multiple of another.
    fn is_multiple(&self, value: ValueId, of: i64) -> bool {
        let is = |it: ValueId| self.is_multiple(it, of);
        match self.together().factors.definition(value) {
            Some(TileOp::Int(it)) => it % of == 0,
            Some(&TileOp::Binary(BinaryOp::Mul, a, b)) => is(a) || is(b),
            Some(&TileOp::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b)) => {
                is(a) && is(b)
            }
            Some(_) | None => false,
        }
    }

    /// Whether chunks are whole in memory and begin at multiples of their size.
    fn lies_in_chunks(&mut self, source: &Source<'a>) -> Value {
        let strides: Vec<Value> =
            self.nest.buffers[source.buffer].strides.iter().map(|it| self.scalar(*it)).collect();
        let (mut places, size) = (self.address(source.buffer), self.size(source));
        let w = &self.writer;
        let (last, others) = strides.split_last().expect("a tile has two ranks");
        for &stride in others {
            places = bits(w, LogicOp::Or, places, int(w, IntOp::MulLo, stride, Value::Int(size.into())));
        }
        let low = bits(w, LogicOp::And, places, Value::Int(15));
        let is_unit = int_compare(w, Compare::Eq, *last, Value::Int(1));
        and(w, is_unit, int_compare(w, Compare::Eq, low, Value::Int(0)))
    }

    fn copy_elements(
        &mut self,
        source: &Source<'a>,
        at_point: [(RankId, Value); 2],
        to: Address,
        is_there: Value,
    ) {
        let dtype = self.nest.buffers[source.buffer].dtype;
        let size = self.size(source);
        let elements: Vec<Value> = (0..i64::from(CHUNK / size))
            .map(|it| {
                let [row, (rank, column)] = at_point;
                let column = int(&self.writer, IntOp::Add, column, Value::Int(it));
                let (from, guard) = self.element(source, &[row, (rank, column)]);
                let guard = and(&self.writer, is_there, guard);
                self.load_raw(dtype, from, guard)
            })
            .collect();
        let w = &self.writer;
        let both = |pair: &[Value]| {
            let halves = [0, 1]
                .map(|it| convert(w, CvtRound::Exact, (RegType::B32, Number::U32), Number::U16, pair[it]));
            let high = w.pure(RegType::B32, Op::Shl { ty: Bits::B32 }, &[halves[1], Value::Int(16)]);
            let or = Op::Logic { op: LogicOp::Or, ty: Logical::B32 };
            w.reg(RegType::B32, w.pure(RegType::B32, or, &[halves[0], high]))
        };
        let words: Vec<Reg> = match size {
            2 => elements.chunks(2).map(both).collect(),
            _ => elements.iter().map(|it| word_of(w, *it)).collect(),
        };
        let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::Four);
        let op = Op::St { order, space: Space::Shared, cache, lanes, ty: Data::B32 };
        let store = Inst::new(op, args![to, &words]);
        w.add(match is_there {
            Value::Reg(guard) => store.when(guard),
            Value::F32(_) | Value::F64(_) | Value::Int(_) | Value::Bool(_) => store,
        });
    }

    /// Where an element of a load lies, and whether it is read.
    fn element(&mut self, source: &Source<'a>, at_point: &[(RankId, Value)]) -> (Address, Value) {
        let guard = source.guard.map_or(Value::Bool(true), |it| self.point(it, at_point, source.turn));
        let (mut terms, mut apart) = (vec![self.address(source.buffer)], Value::Int(0));
        let bytes = Value::Int(bytes_of(self.nest.buffers[source.buffer].dtype).into());
        for (dim, &coordinate) in source.index.iter().enumerate() {
            let coordinate = self.point(coordinate, at_point, source.turn);
            let stride = self.scalar(self.nest.buffers[source.buffer].strides[dim]);
            let w = &self.writer;
            let stride = int(w, IntOp::MulLo, stride, bytes);
            let (coordinate, number) = w.split(coordinate);
            terms.push(int(w, IntOp::MulLo, coordinate, stride));
            apart = int(w, IntOp::Add, apart, int(w, IntOp::MulLo, stride, Value::Int(number)));
        }
        (self.place(int(&self.writer, IntOp::Add, self.sum(terms), apart)), guard)
    }

    /// The element of a value at some coordinates, computed anew.
    pub(super) fn point(
        &mut self,
        value: ValueId,
        at_point: &[(RankId, Value)],
        turn: Option<Turn>,
    ) -> Value {
        let ty = &self.nest.values[value];
        match turn.zip(self.ahead.as_ref()) {
            Some((turn, ahead)) if ahead.number == value => return turn.number,
            Some((_, ahead)) if ahead.changes.contains(&value) => {}
            Some(_) | None if ty.shape.is_empty() => return self.scalar(value),
            Some(_) | None => {}
        }
        let of = |it: &Self, value: ValueId| it.nest.values[value].scalar;
        let along = |rank| at_point.iter().find(|it| it.0 == rank).expect("a shared tile has no rows").1;
        let op = self.team.as_ref().expect("a block works together").definition(value);
        match *op {
            TileOp::Int(x) => Value::Int(x),
            TileOp::Real(x) => Value::real(ty.scalar, x),
            TileOp::Bool(x) => Value::Bool(x),
            TileOp::Iota => along(ty.shape[0].rank),
            TileOp::Unary(crate::ir::expr::UnaryOp::ToReal, a) | TileOp::Convert(a) => {
                let x = self.point(a, at_point, turn);
                scalar::converted(&self.writer, of(self, a), ty.scalar, x)
            }
            TileOp::Unary(op, a) => {
                let x = self.point(a, at_point, turn);
                scalar::unary(&self.writer, op, of(self, a), x)
            }
            TileOp::Power(a) => {
                let x = [self.point(a, at_point, turn)];
                scalar::formula(&self.writer, Formula::Power, ty.scalar, &x)
            }
            TileOp::Binary(op, a, b) => {
                let [x, y] = [a, b].map(|it| self.point(it, at_point, turn));
                scalar::binary(&self.writer, op, of(self, a), x, y)
            }
            TileOp::Compare(op, a, b) => {
                let [x, y] = [a, b].map(|it| self.point(it, at_point, turn));
                scalar::compare(&self.writer, op, of(self, a), x, y)
            }
            TileOp::Select(c, a, b) => {
                let [c, x, y] = [c, a, b].map(|it| self.point(it, at_point, turn));
                select(&self.writer, register(ty.scalar), c, x, y)
            }
            TileOp::Round(dtype, a) => {
                let x = self.point(a, at_point, turn);
                scalar::rounded(&self.writer, dtype, ty.scalar, x)
            }
            TileOp::Load { buffer, ref index, guard, .. } => {
                let (from, guard) = self.element(&Source { buffer, index, guard, turn }, at_point);
                let dtype = self.nest.buffers[buffer].dtype;
                let raw = self.load_raw(dtype, from, guard);
                scalar::converted(&self.writer, Scalar::of(dtype), ty.scalar, self.widened(dtype, raw))
            }
            TileOp::Word(_)
            | TileOp::Address(_)
            | TileOp::WorkspaceAddress
            | TileOp::WorkspaceBytes
            | TileOp::Threads
            | TileOp::Contract { .. }
            | TileOp::Pack(_)
            | TileOp::Dot { .. }
            | TileOp::Reduce(..) => unreachable!("{op:?} is no operation on elements that all rows share"),
        }
    }
}

/// The bits of an f32.
pub(super) fn word_of(w: &Writer, single: Value) -> Reg {
    let single = Value::Reg(w.reg(RegType::F32, single));
    w.reg(RegType::B32, w.pure(RegType::B32, Op::Mov { ty: Type::B32 }, &[single]))
}
