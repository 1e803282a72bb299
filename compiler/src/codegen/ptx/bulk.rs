//! Which loads of a stage are boxes of a tensor, so that a copy of boxes can stage them, and what is left of the stage for
//! the warps that start the copies.
//!
//! A load is a box where coordinates of two dimensions follow each other from a first one on, the others are scalars, and
//! nothing but the ends of the tensor cuts it off: beyond them a copy gives 0, as a guard does. The first coordinates,
//! and how often loops around it run, have to follow from arguments, the task, and what lies in memory, for the warps that
//! copy know nothing of what others compute.
//!
//! ```text
//! %8 = load K[%b, %h, %n0 + iota n, iota d] if %n < |N|    ->   map 1: K, boxes of 1 × 1 × n × 64;  copied at (%b, %h, %n0, 0)
//! ```

use std::collections::{BTreeSet, HashSet};

use attnc_dsl::ast::CompareOp;
use attnc_runtime::TENSOR_MAP_BYTES;

use super::ARGUMENTS;
use super::copies::{copies, late, wanted};
use super::layout::{COLUMNS, Layout};
use super::roles::with_copying;
use super::team::threads;
use crate::ir::expr::BinaryOp;
use crate::ir::factors::Factors;
use crate::ir::nest::{Block, BufferId, Nest, Op, Place, Stage, Stmt, TileDim, ValueId, bytes_of};
use crate::tile::staged_bytes;

/// The most ranks of a tensor of which boxes are copied, and the most coordinates of a box along one.
const RANKS: usize = 5;
const EXTENT: u32 = 256;
/// The shared memory of a block, and the most tiles that a ring has room for.
const SHARED: u32 = 227 * 1024;
const STAGES: u32 = 4;
/// The most threads of a block.
const THREADS: u32 = 1024;
/// What maps are aligned to among the arguments.
const MAP_ALIGN: usize = 64;
/// The bytes of an element.
const HALF: u32 = 2;

/// What copies of boxes stage of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    /// The tensors and their boxes, each once.
    pub(crate) maps: Vec<Map>,
    /// The loads, with the position of their map.
    pub(super) loads: Vec<(ValueId, usize)>,
    /// The rings that they take turns in.
    pub(super) rings: Vec<Ring>,
    /// For how many tiles a ring has room, outside of loops and in them.
    stages: [u32; 2],
    /// The body with these loads where they are first used.
    pub(super) body: Block,
    /// What of it says where and how often they are copied.
    pub(super) copies: Block,
}

/// Boxes of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// The tensor.
    pub(crate) buffer: BufferId,
    /// The coordinates of a box along each dimension.
    pub(crate) extents: Vec<u32>,
}

/// Room that loads of equal size take turns in: at most one of them in a block.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    /// The loads.
    pub(super) loads: Vec<ValueId>,
    /// The rows and columns of a tile.
    pub(super) sides: [u32; 2],
    /// How many loops are around it.
    pub(super) depth: usize,
    /// Whether products leave elements out that are multiplied by one of its tiles.
    pub(super) leaves_out: bool,
}

impl Bulk {
    /// That of a stage, if there is anything that copies of boxes can stage.
    pub(crate) fn of(nest: &Nest, stage: &Stage) -> Option<Bulk> {
        let rows = stage.team.filter(|it| with_copying(threads(*it)) <= THREADS)?;
        let mut search = Search::new(nest, stage);
        search.block(&stage.body, 0);
        let Search { maps, loads, mut rings, factors, .. } = search;
        let mut partial = HashSet::new();
        partial_factors(nest, &stage.body, &mut partial);
        rings.iter_mut().for_each(|it| it.leaves_out = it.loads.iter().any(|it| partial.contains(it)));
        let arguments = 8 * (nest.words.len() + 2) + maps.len() * TENSOR_MAP_BYTES + MAP_ALIGN;
        if loads.is_empty() || arguments > ARGUMENTS {
            return None;
        }
        let is_box = |it: ValueId| loads.iter().any(|load| load.0 == it);
        let stages = stages(&rings, staged_bytes(nest, stage, rows))?;
        let body = late(&stage.body, &is_box);
        let mut needed = HashSet::new();
        wanted(&body, &is_box, &factors, &mut needed);
        let copies = copies(nest, &body, &is_box, &needed).expect("there are loads");
        Some(Bulk { maps, loads, rings, stages, body, copies })
    }

    /// For how many tiles a ring has room: they are copied ahead.
    pub(super) fn stages_of(&self, ring: &Ring) -> u32 {
        self.stages[usize::from(ring.depth > 0)]
    }

    /// The ring that a load takes its turn in.
    pub(super) fn ring(&self, load: ValueId) -> Option<usize> {
        self.rings.iter().position(|it| it.loads.contains(&load))
    }

    /// The rings that loads in a block, or within it, take turns in.
    pub(super) fn rings_of(&self, block: &Block) -> BTreeSet<usize> {
        let of = |stmt: &Stmt| match stmt {
            Stmt::Let(value, _) => self.ring(*value).into_iter().collect(),
            Stmt::Loop(it) => self.rings_of(&it.body),
            Stmt::Store { .. } | Stmt::If { .. } => BTreeSet::new(),
        };
        block.stmts.iter().flat_map(of).collect()
    }
}

impl Ring {
    /// How its tiles lie, and their bytes.
    pub(super) fn layout(&self) -> (Layout, u32) {
        Layout::swizzled(self.sides[0], self.sides[1])
    }
}

/// For how many tiles rings have room, outside of loops and in them, where a stage has so much in shared memory with each
/// tile once: nothing if there is no room for that.
fn stages(rings: &[Ring], once: u32) -> Option<[u32; 2]> {
    let bytes = |is_outside: bool| -> u32 {
        rings.iter().filter(|it| (it.depth == 0) == is_outside).map(|it| it.layout().1).sum()
    };
    let (outside, inside) = (bytes(true), bytes(false));
    // Barriers, and what tiles are aligned to.
    let mut left = SHARED.checked_sub(once + 2 * Layout::swizzled(8, 8).1)?;
    let mut take = |bytes: u32| {
        let fits = u32::from(left >= bytes);
        left -= fits * bytes;
        fits
    };
    // With room for one keys are copied while values are used.
    let more = take(inside);
    // The first tiles of the next task are copied while the last ones of this are used.
    let next = take(outside);
    Some([1 + next, STAGES.min(1 + more + left / inside.max(1))])
}

/// A look through a stage for boxes.
struct Search<'a> {
    nest: &'a Nest,
    factors: Factors<'a>,
    /// What is there before the first statement, and the numbers of loops that run as often for all warps.
    given: HashSet<ValueId>,
    maps: Vec<Map>,
    loads: Vec<(ValueId, usize)>,
    rings: Vec<Ring>,
}

impl<'a> Search<'a> {
    fn new(nest: &'a Nest, stage: &'a Stage) -> Search<'a> {
        let prologue = nest.prologue.stmts.iter();
        let given = prologue.filter_map(|it| if let Stmt::Let(value, _) = it { Some(*value) } else { None });
        let given = given.chain([stage.task]).collect();
        let factors = Factors::of(&nest.prologue, &stage.body);
        Search { nest, factors, given, maps: Vec::new(), loads: Vec::new(), rings: Vec::new() }
    }

    fn block(&mut self, block: &'a Block, depth: usize) {
        let mut here: Vec<usize> = Vec::new();
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(value, Op::Load { .. }) if self.factors.is_loaded(*value) => {
                    let Some((map, sides)) = self.map(*value) else { continue };
                    let at = self.maps.iter().position(|it| *it == map).unwrap_or_else(|| {
                        self.maps.push(map);
                        self.maps.len() - 1
                    });
                    self.loads.push((*value, at));
                    here.push(self.turn(*value, sides, depth, &here));
                }
                Stmt::Loop(it) if self.follows(it.from) && self.follows(it.to) => {
                    self.given.insert(it.index);
                    self.block(&it.body, depth + 1);
                }
                // What one of two blocks copies the other would have to skip.
                Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => {}
            }
        }
    }

    /// The ring that a load takes its turn in, none of those that others of its block have.
    fn turn(&mut self, load: ValueId, sides: [u32; 2], depth: usize, taken: &[usize]) -> usize {
        let fits = |(at, it): &(usize, &Ring)| it.depth == depth && it.sides == sides && !taken.contains(at);
        let at = self.rings.iter().enumerate().find(fits).map(|it| it.0);
        let at = at.unwrap_or_else(|| {
            self.rings.push(Ring { loads: Vec::new(), sides, depth, leaves_out: false });
            self.rings.len() - 1
        });
        self.rings[at].loads.push(load);
        at
    }

    /// The boxes that a load is one of, and the rows and columns of its tile.
    fn map(&self, load: ValueId) -> Option<(Map, [u32; 2])> {
        let Some(Op::Load { buffer, index, guard, .. }) = self.factors.definition(load) else { return None };
        let of = &self.nest.buffers[*buffer];
        if !matches!(of.place, Place::Input(_)) || bytes_of(of.dtype) != HALF || index.len() > RANKS {
            return None;
        }
        let mut sides: Vec<TileDim> = Vec::new();
        let mut extents = Vec::new();
        for &coordinate in index {
            match self.nest.values[coordinate].shape.as_slice() {
                [] if self.follows(coordinate) => extents.push(1),
                &[dim] if self.counts(coordinate) && !sides.contains(&dim) => {
                    sides.push(dim);
                    extents.push(dim.extent);
                }
                _ => return None,
            }
        }
        let &[rows, columns] = sides.as_slice() else { return None };
        let last = extents.last_mut().filter(|it| **it == columns.extent && **it > 1)?;
        *last = COLUMNS;
        let is_last = index.last().is_some_and(|it| self.nest.values[*it].shape == [columns]);
        let cut = guard.is_none_or(|it| self.cuts(it, *buffer, index));
        let is_box = is_last && cut && rows.extent <= EXTENT && self.nest.values[load].shape.len() == 2;
        is_box.then_some((Map { buffer: *buffer, extents }, [rows.extent, columns.extent]))
    }

    /// Whether a scalar follows from what is given and what lies in memory.
    fn follows(&self, value: ValueId) -> bool {
        if !self.nest.values[value].shape.is_empty() {
            return false;
        }
        if self.given.contains(&value) {
            return true;
        }
        let Some(op) = self.factors.definition(value) else { return false };
        match op {
            Op::Int(_)
            | Op::Real(_)
            | Op::Bool(_)
            | Op::Word(_)
            | Op::Unary(..)
            | Op::Power(_)
            | Op::Binary(..)
            | Op::Compare(..)
            | Op::Select(..)
            | Op::Convert(_)
            | Op::Round(..) => op.operands().into_iter().all(|it| self.follows(it)),
            // What lies in scratch is of the warps that put it there.
            Op::Load { buffer, .. } => {
                let is_own = matches!(self.nest.buffers[*buffer].place, Place::Scratch(_));
                !is_own && op.operands().into_iter().all(|it| self.follows(it))
            }
            Op::Address(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Threads
            | Op::Iota
            | Op::Contract { .. }
            | Op::Pack(_)
            | Op::Dot { .. }
            | Op::Reduce(..) => false,
        }
    }

    /// Whether coordinates follow each other, from a first one on that follows.
    fn counts(&self, value: ValueId) -> bool {
        self.first(value).is_some()
    }

    /// What coordinates that follow each other are counted from: none from 0.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn first(&self, value: ValueId) -> Option<Option<ValueId>> {
        match *self.factors.definition(value)? {
            Op::Iota => Some(None),
            Op::Binary(BinaryOp::Add, a, b) => [(a, b), (b, a)].into_iter().find_map(|(first, iota)| {
                let is_iota = matches!(self.factors.definition(iota), Some(Op::Iota));
                (is_iota && self.follows(first)).then_some(Some(first))
            }),
            _ => None,
        }
    }

    /// Whether a guard leaves out nothing but what lies beyond the tensor.
    fn cuts(&self, guard: ValueId, buffer: BufferId, index: &[ValueId]) -> bool {
        match self.factors.definition(guard) {
            Some(Op::Bool(true)) => true,
            Some(&Op::Binary(BinaryOp::And, a, b)) => [a, b].iter().all(|it| self.cuts(*it, buffer, index)),
            Some(&Op::Compare(CompareOp::Le, zero, x)) => {
                matches!(self.factors.definition(zero), Some(Op::Int(0))) && index.contains(&x)
            }
            Some(&Op::Compare(CompareOp::Lt, x, end)) => {
                let dim = index.iter().position(|it| *it == x);
                dim.is_some_and(|dim| self.ends(end, x, self.nest.buffers[buffer].extents[dim]))
            }
            _ => false,
        }
    }

    /// Whether coordinates below `end` are those below the extent, of a tile with these coordinates.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn ends(&self, end: ValueId, coordinates: ValueId, extent: ValueId) -> bool {
        let same = |a: ValueId, b: ValueId| {
            let number = |it| self.factors.definition(it).filter(|it| matches!(it, Op::Int(_) | Op::Word(_)));
            a == b || number(a).is_some_and(|a| Some(a) == number(b))
        };
        match *self.factors.definition(end).unwrap_or(&Op::Bool(false)) {
            _ if same(end, extent) => true,
            Op::Binary(BinaryOp::Min, a, b) => {
                let either = [(a, b), (b, a)];
                either.into_iter().any(|(it, all)| same(it, extent) && self.is_beyond(all, coordinates))
            }
            _ => false,
        }
    }

    /// Whether a number is larger than all coordinates of a tile: the first, and as many as it has.
    fn is_beyond(&self, number: ValueId, coordinates: ValueId) -> bool {
        let Some(first) = self.first(coordinates).flatten() else { return false };
        let count = i64::from(self.nest.values[coordinates].shape[0].extent);
        let Some(&Op::Binary(BinaryOp::Add, a, b)) = self.factors.definition(number) else { return false };
        let many = |it| matches!(self.factors.definition(it), Some(Op::Int(it)) if *it >= count);
        a == first && many(b) || b == first && many(a)
    }
}

/// What is multiplied by something of which elements are left out.
fn partial_factors(nest: &Nest, block: &Block, found: &mut HashSet<ValueId>) {
    for stmt in &block.stmts {
        match stmt {
            // Of the factor itself they are where it lies.
            Stmt::Let(_, Op::Contract { a, b, there: Some(there), .. }) => {
                let of_left = nest.values[*there].shape.iter().all(|it| nest.values[*a].shape.contains(it));
                found.extend(of_left.then_some(*b));
            }
            Stmt::Loop(it) => partial_factors(nest, &it.body, found),
            Stmt::If { then, otherwise, .. } => {
                [then, otherwise].into_iter().for_each(|it| partial_factors(nest, it, found));
            }
            Stmt::Let(..) | Stmt::Store { .. } => {}
        }
    }
}
