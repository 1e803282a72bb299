//! What a stage takes of a block of threads, and the sizes of tiles with which it fits.
//!
//! A thread has two elements of each row tile and a quarter of those along other ranks. Held are what loops carry, what
//! products of matrices give, and what does not go by element (`phases.rs`). Loads that are nothing but factors lie in
//! shared memory.
//!
//! ```text
//! S [m in 128, n in 64], P packed, O [m in 128, e in 128]   ->   32 + 16 + 64 registers of a thread
//! ```

use std::collections::{HashMap, HashSet};

use attnc_dsl::ast::DType;

use super::GRAIN;
use super::phases::passing;
use crate::ir::cascade::{Cascade, RankId};
use crate::ir::expr::BinaryOp;
use crate::ir::factors::{Factors, slice};
use crate::ir::late::late;
use crate::ir::lives::{Life, most_at_once};
use crate::ir::nest::{Block, Nest, Op, Scalar, Stage, Stmt, TileDim, ValueId, bytes_of};
use crate::schedule::{Blocks, Stream, loops};
use crate::target;
use crate::tile::builder::Builder;

/// The rows of a group of four warps: what a block has is a multiple of that.
const ROWS: u32 = 64;
/// The most coordinates of what is streamed over that one product of matrices has.
const STREAM: u32 = 256;
/// The registers of all threads of a block, and the most of one.
const REGISTERS: u32 = 1 << 16;
const OF_THREAD: u32 = 255;
/// The most columns of a factor of f32 in registers: with more, ptxas keeps some in memory, whatever else is held.
const PARTED: u32 = 64;

/// The bytes between rows.
const PAD: u32 = 16;
/// The most bytes of words that say whether a tile is finite.
const WORDS: u32 = 64;

/// The registers that scale weights into the range of f16.
const TO_SCALE: u32 = 8;

/// The sizes of the tiles of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// How many rows a block has.
    pub(super) rows: u32,
    /// How many coordinates of what it streams over it has at hand.
    pub(super) stream: u32,
}

/// What sizes a mapping says, of which ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) rows: (RankId, Option<u32>),
    pub(super) stream: (RankId, Option<u32>),
    /// The most points that are streamed over at a time.
    most: u32,
}

impl Said {
    /// What a plan says of a stream; nothing if it streams over no rank.
    pub(super) fn of(cascade: &Cascade, plan: &Blocks, stream: &Stream, row: RankId) -> Option<Said> {
        let whole: Vec<_> = loops(&stream.acts).into_iter().filter(|it| it.parts.is_none()).collect();
        let ranks: Vec<RankId> = whole.iter().flat_map(|it| &it.axes).map(|it| it.rank).collect();
        let said = ranks.iter().find(|it| plan.stream.contains_key(it)).or(ranks.first())?;
        let around = whole.iter().find(|it| it.axes.iter().any(|axis| axis.rank == *said))?;
        let extents = around.axes.iter().map(|it| cascade.most_coordinates(it.rank));
        Some(Said {
            rows: (row, plan.rows.get(&row).copied()),
            stream: (*said, plan.stream.get(said).copied()),
            most: extents.fold(1, u32::saturating_mul),
        })
    }

    /// The same ranks, of which nothing is said.
    pub(super) fn nothing(self) -> Said {
        Said { rows: (self.rows.0, None), stream: (self.stream.0, None), ..self }
    }

    /// Why it cannot be, and what can.
    pub(super) fn refusal(self, cascade: &Cascade, why: &str, nearest: Option<Sizes>) -> String {
        let named =
            |what, rank: RankId, size: u32| format!("`ranks.{}.{what}` of {size}", cascade.ranks[rank].name);
        let named = |rows: Option<u32>, stream: Option<u32>| {
            let both = [("rows", self.rows.0, rows), ("stream", self.stream.0, stream)];
            let both = both.into_iter().filter_map(|(what, rank, size)| Some(named(what, rank, size?)));
            both.collect::<Vec<_>>().join(" with ")
        };
        let fits = nearest.map_or("no other sizes fit".to_owned(), |it| {
            format!("the nearest that fits is {}", named(Some(it.rows), Some(it.stream)))
        });
        let takes = if why.is_empty() {
            format!(
                "suits no products of matrices: rows are a multiple of {ROWS}, and tiles one of {GRAIN}, at most {STREAM}"
            )
        } else {
            format!("takes {why}")
        };
        format!("{} {takes}; {fits}", named(self.rows.1, self.stream.1))
    }

    /// The sizes to try for so many rows, the best first.
    pub(super) fn sizes(self, rows: u32, limits: &target::Block) -> Vec<Sizes> {
        let said =
            |size: u32, grain: u32, bound: u32| Some(size).filter(|it| it % grain == 0 && *it <= bound);
        let rows = match self.rows.1 {
            Some(size) => said(size, ROWS, OF_THREAD * ROWS).into_iter().collect(),
            None => halves(limits.rows, ROWS, rows),
        };
        let streams = match self.stream.1 {
            Some(size) => said(size, GRAIN, STREAM).into_iter().collect(),
            None => grains(limits.stream, GRAIN, self.most),
        };
        let of = |rows: u32| streams.iter().map(move |&stream| Sizes { rows, stream });
        rows.into_iter().flat_map(of).collect()
    }
}

/// A number of columns and all multiples of a grain below, without those that are a grain more than what there is.
fn grains(most: u32, grain: u32, extent: u32) -> Vec<u32> {
    let all = (1..=most / grain).rev().map(|it| it * grain);
    all.filter(|it| *it == grain || it - grain < extent).collect()
}

/// A number of rows and its halves, without those that are twice what there is.
fn halves(most: u32, least: u32, extent: u32) -> Vec<u32> {
    let all = std::iter::successors(Some(most), |it| Some(it / 2)).take_while(|it| *it >= least);
    all.filter(|it| it % least == 0 && (*it == least || it / 2 < extent)).collect()
}

/// What a stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// Registers of a thread.
    registers: u32,
    /// Some of its products take factors in parts.
    splits: bool,
    /// The most columns of a factor in registers that is taken so.
    parted: u32,
    /// Bytes of shared memory of a block.
    shared: u32,
}

impl Need {
    /// That of a stage of the nest that is being written.
    pub(super) fn of(builder: &Builder, stage: &Stage, rows: TileDim) -> Need {
        let prologue = builder.prologue();
        let factors = Factors::of(&prologue, &stage.body);
        let mut count = Count::new(&builder.nest, rows, factors);
        let shared = count.block(&stage.body);
        let splits = count.factors.products().any(|it| count.factors.is_split(&builder.nest, it.1));
        let parts = count.factors.products().filter(|it| count.factors.is_split(&builder.nest, it.1));
        let held = parts.map(|it| it.0).filter(|it| !count.factors.is_loaded(*it));
        let columns = held.flat_map(|it| builder.nest.values[it].shape.iter().filter(|it| **it != rows));
        let parted = columns.map(|it| it.extent).max().unwrap_or(0);
        let mut rights = count.factors.products().filter_map(|it| count.factors.definition(it.1));
        let is_f16 = |it: &Op| matches!(it, Op::Load { buffer, .. } if builder.nest.buffers[*buffer].dtype == DType::F16);
        let scales = if rights.any(is_f16) { TO_SCALE } else { 0 };
        Need { registers: count.registers() + scales, splits, parted, shared }
    }

    /// What of a block it has too little of, in words.
    pub(super) fn lacks(self, limits: &target::Block, rows: u32) -> Option<String> {
        // Of fewer registers, as of all, tiles have a part.
        if self.parted > PARTED {
            return Some(format!("{} columns of a factor of f32, of which there are {PARTED}", self.parted));
        }
        let most = if self.splits { limits.split_registers } else { limits.registers };
        let registers = (REGISTERS / (2 * rows)).min(OF_THREAD) * most.min(OF_THREAD) / OF_THREAD;
        let Need { registers: held, shared, .. } = self;
        if held > registers {
            return Some(format!("{held} registers of a thread for tiles, of which there are {registers}"));
        }
        let limit = limits.shared;
        (shared > limit).then(|| format!("{shared} bytes of shared memory, of which there are {limit}"))
    }
}

/// The bytes of shared memory that a stage of a block takes, with room for each tile once.
pub(crate) fn staged_bytes(nest: &Nest, stage: &Stage, rows: TileDim) -> u32 {
    let factors = Factors::of(&nest.prologue, &stage.body);
    Count::new(nest, rows, factors).block(&stage.body)
}

/// What is done with a value at a position.
enum Entry<'a> {
    /// It is defined, in that block.
    Define(ValueId, Option<&'a Op>, usize),
    /// It is used by what is no operation.
    Use(ValueId),
}

struct Count<'a> {
    nest: &'a Nest,
    rows: TileDim,
    factors: Factors<'a>,
    /// What is computed as products take it, or as it is stored.
    late: HashSet<ValueId>,
    entries: Vec<Entry<'a>>,
    loops: Vec<(usize, usize)>,
    blocks: usize,
}

impl<'a> Count<'a> {
    fn new(nest: &'a Nest, rows: TileDim, factors: Factors<'a>) -> Count<'a> {
        let (late, entries, loops) = (HashSet::new(), Vec::new(), Vec::new());
        Count { nest, rows, factors, late, entries, loops, blocks: 0 }
    }

    /// Notes the statements of a block in their order; the bytes of shared memory that it takes.
    fn block(&mut self, block: &'a Block) -> u32 {
        self.blocks += 1;
        self.late.extend(late(self.nest, self.rows.rank, block, &self.factors));
        let (here, mut own, mut inner) = (self.blocks, 0, 0);
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(value, op) => {
                    own += self.shared(*value, op);
                    self.entries.push(Entry::Define(*value, Some(op), here));
                }
                Stmt::Store { index, value, guard, .. } => {
                    let used = index.iter().chain([value]).chain(guard);
                    self.entries.extend(used.map(|it| Entry::Use(*it)));
                }
                Stmt::Loop(it) => {
                    self.entries.extend(it.carried.iter().map(|it| Entry::Use(it.init)));
                    let start = self.entries.len();
                    self.entries.extend(it.carried.iter().map(|it| Entry::Define(it.current, None, 0)));
                    // Loops that follow each other have the same room.
                    inner = inner.max(self.block(&it.body));
                    self.entries.extend(it.carried.iter().map(|it| Entry::Use(it.next)));
                    self.loops.push((start, self.entries.len() - 1));
                    self.entries.extend(it.carried.iter().map(|it| Entry::Define(it.result, None, 0)));
                }
                Stmt::If { then, otherwise, .. } => {
                    inner = [then, otherwise].into_iter().fold(inner, |most, it| most.max(self.block(it)));
                }
            }
        }
        own + inner
    }

    /// The bytes of shared memory that an operation takes, in whichever layout takes more.
    fn shared(&self, value: ValueId, op: &Op) -> u32 {
        if let Op::Contract { a, b, there, .. } = op {
            // What products are taken of one by one is written down for each warp, if it does not lie there.
            let points = self.nest.values[*a].shape.iter().map(|it| it.extent).product::<u32>();
            let words = if self.factors.is_looked_at(self.nest, *b, self.rows.rank, 1) { WORDS } else { 0 };
            return match self.factors.is_split(self.nest, *b) {
                true if !self.factors.is_loaded(*a) => 4 * points + PAD * self.rows.extent,
                false if there.is_some() => 2 * points + words,
                true | false => 0,
            };
        }
        let &[first, second] = self.nest.values[value].shape.as_slice() else { return 0 };
        let Op::Load { buffer, .. } = op else { return 0 };
        if !(self.lies_there(value) || first != self.rows && second != self.rows) {
            return 0;
        }
        let size = bytes_of(self.nest.buffers[*buffer].dtype);
        let of = |rows: u32, columns: u32| rows * (size * columns + PAD).max(128 * columns.div_ceil(64));
        of(first.extent, second.extent).max(of(second.extent, first.extent))
    }

    /// Whether a value is a load that lies in shared memory.
    fn lies_there(&self, value: ValueId) -> bool {
        let is_load = || matches!(self.factors.definition(value), Some(Op::Load { .. }));
        self.factors.is_loaded(value) || self.late.contains(&value) && is_load()
    }

    fn registers(&self) -> u32 {
        let (mut defined, mut elsewhere) = (Vec::new(), HashSet::new());
        for entry in &self.entries {
            match entry {
                Entry::Define(value, Some(op), block) => defined.push((*value, *op, *block)),
                Entry::Define(_, None, _) => {}
                Entry::Use(value) => _ = elsewhere.insert(*value),
            }
        }
        let passing = passing(&defined, &elsewhere, &self.factors);
        // Backwards, so that uses are known before what is used.
        let (mut last, mut lives): (HashMap<ValueId, usize>, Vec<Life>) = (HashMap::new(), Vec::new());
        for (at, entry) in self.entries.iter().enumerate().rev() {
            match entry {
                Entry::Use(value) => _ = last.entry(*value).or_insert(at),
                Entry::Define(value, op, _) => {
                    let end = last.get(value).copied().unwrap_or(at);
                    let passes = passing.contains(value);
                    let at = if passes { end } else { at };
                    for it in op.map_or(Vec::new(), |it| self.operands(*value, it)) {
                        let end = last.entry(it).or_insert(at);
                        *end = (*end).max(at);
                    }
                    if !passes {
                        lives.push(Life { first: at, last: end, words: self.words(*value, *op) });
                    }
                }
            }
        }
        most_at_once(lives, &self.loops)
    }

    /// What has to be there for an operation: what a factor leaves out is told by itself, if it has no sign, and where the
    /// rows of a tile lie is looked up as they are copied.
    fn operands(&self, value: ValueId, op: &Op) -> Vec<ValueId> {
        if self.late.contains(&value) && matches!(op, Op::Load { .. }) {
            return Vec::new();
        }
        let mut all = op.operands();
        if let Op::Load { index, .. } = op
            && self.factors.is_loaded(value)
        {
            let is_shared = |it: ValueId| !self.nest.values[it].shape.contains(&self.rows);
            let many = |it: ValueId| self.words(it, self.factors.definition(it)) > 2;
            all.retain(|it| !(index.contains(it) && is_shared(*it) && many(*it)));
        }
        if let Op::Contract { a, there: Some(there), .. } = op
            && self.factors.has_no_sign(*a)
        {
            all.retain(|it| it != there);
        }
        all
    }

    /// The registers of a thread that hold a value.
    fn words(&self, value: ValueId, op: Option<&Op>) -> u32 {
        let ty = &self.nest.values[value];
        let own = |it: &TileDim| if it.rank == self.rows.rank { 2 } else { it.extent / 4 };
        let elements: u32 = ty.shape.iter().map(own).product();
        let is_iota = |it| matches!(self.factors.definition(it), Some(Op::Iota));
        match (op, ty.scalar) {
            _ if self.lies_there(value) => 0,
            // Coordinates are sums of one with numbers; truth values are bits, often alone in a register.
            (Some(Op::Int(_) | Op::Real(_) | Op::Bool(_) | Op::Iota), _) => 0,
            (Some(Op::Contract { b, there, .. }), _) if self.factors.sum(value).is_some() => {
                let is_split = self.factors.is_split(self.nest, *b);
                let looked_at = slice(2 * elements, is_split, false) / 2;
                if is_split || there.is_some() { elements.min(looked_at) } else { 0 }
            }
            (_, Scalar::Bool) => elements.div_ceil(2),
            (Some(&Op::Binary(BinaryOp::Add, a, b)), Scalar::I64) if is_iota(a) || is_iota(b) => 2,
            (Some(Op::Round(..)), _) if self.factors.is_factor(value) => elements.div_ceil(2),
            (_, Scalar::F32 | Scalar::I32) => elements,
            (_, Scalar::F64 | Scalar::I64) => 2 * elements,
        }
    }
}
