//! Tiles that are copied while what was copied before them is used.
//!
//! The loads of a loop's body that products take from shared memory are copied in the order in which they are used, each one
//! when the one before it has arrived, the first of the next turn when the last has. So there is always one copy under way
//! and one barrier for each: who passes it has copied its part of the tile that is used next, and is done with what
//! lies where the next copy goes.
//!
//! ```text
//! barrier; copy K of the first turn
//! for n:  wait, barrier; copy V;               S = Q · K
//!         wait, barrier; copy K of the next;   O += P · V
//! ```

use std::collections::{HashMap, HashSet};

use super::arith::{int_compare, select};
use super::block::{Emitter, Range};
use super::shared::Turn;
use super::value::Value;
use super::writer::{Closed, Writer};
use crate::ir::factors::uses;
use crate::ir::late::elements;
use crate::ir::nest::{Loop, Op as TileOp, Stmt, ValueId};
use attnc_ptx::modifier::Compare;
use attnc_ptx::types::RegType;

/// The loads of a loop that are copied ahead of their use.
pub(super) struct Ahead {
    /// The number of the loop's turn.
    pub(super) number: ValueId,
    /// What the body computes.
    pub(super) changes: HashSet<ValueId>,
    /// In the order in which they are used.
    loads: Vec<ValueId>,
    /// How many of them have been used in the turn at hand.
    used: usize,
    /// The numbers of the turns, once they are known.
    range: Option<Range>,
}

/// Room for tiles in shared memory: loops that follow each other have theirs at the same place.
#[derive(Default)]
pub(super) struct Rooms {
    /// By depth of the loop: all that there are, and how many are taken.
    levels: Vec<(Vec<(Value, u32)>, usize)>,
    depth: usize,
    /// By size: room that each warp has for itself from one use to the next.
    own: HashMap<u32, Value>,
}

impl Rooms {
    /// Room for so many bytes.
    pub(super) fn next(&mut self, writer: &Writer, bytes: u32, align: u32) -> Value {
        if self.levels.len() <= self.depth {
            self.levels.resize_with(self.depth + 1, Default::default);
        }
        let (rooms, taken) = &mut self.levels[self.depth];
        let free = rooms[*taken..].iter().position(|it| it.1 == bytes);
        *taken = match free {
            Some(at) => *taken + at + 1,
            None => {
                rooms.push((writer.shared(bytes, align), bytes));
                rooms.len()
            }
        };
        rooms[*taken - 1].0
    }

    /// Room for so many bytes of which a warp uses its part at once.
    pub(super) fn at_once(&mut self, writer: &Writer, bytes: u32) -> Value {
        *self.own.entry(bytes).or_insert_with(|| writer.shared(bytes, 16))
    }

    fn open(&mut self) {
        self.depth += 1;
        if let Some(level) = self.levels.get_mut(self.depth) {
            level.1 = 0;
        }
    }

    fn close(&mut self) {
        self.depth -= 1;
    }
}

impl<'a> Emitter<'a> {
    /// Begins a loop: copies the first of what is copied ahead, for the turn of its first number, if there is one.
    pub(super) fn look_ahead(&mut self, it: &'a Loop, from: Value) -> (Option<Ahead>, Option<Closed>) {
        let Some(team) = self.team.as_mut() else { return (self.ahead.take(), None) };
        team.rooms.open();
        let outside = self.ahead.take();
        let Some((loads, changes)) = self.used_in_turn(it) else { return (outside, None) };
        for &load in &loads {
            let staged = self.room(load);
            self.together_mut().staged.insert(load, staged);
        }
        let first = Turn { number: from, is_there: Value::Bool(true) };
        self.ahead = Some(Ahead { number: it.index, changes, loads, used: 0, range: None });
        self.writer.open(true);
        self.gather();
        self.copy_ahead(0, first);
        (outside, Some(self.writer.close(&[])))
    }

    /// Begins a turn.
    pub(super) fn take_turn(&mut self, range: &Range) {
        self.ahead.iter_mut().for_each(|it| it.range = Some(*range));
    }

    /// Ends a loop.
    pub(super) fn look_back(&mut self, outside: Option<Ahead>) {
        self.ahead = outside;
        if let Some(team) = &mut self.team {
            team.rooms.close();
        }
    }

    /// Whether a load is copied ahead of its use.
    pub(super) fn is_ahead(&self, load: ValueId) -> bool {
        self.ahead.as_ref().is_some_and(|it| it.loads.contains(&load))
    }

    /// Waits for the tiles that something is made of that is about to be used, and begins to copy the next ones.
    pub(super) fn arrive(&mut self, value: ValueId) {
        if self.ahead.is_none() {
            return;
        }
        let late = self.late.keys().copied().collect();
        self.tiles_of(value, &late).into_iter().for_each(|it| self.arrive_at(it));
    }

    /// The loads that a factor, or what is stored, is made of as it is used.
    fn tiles_of(&self, value: ValueId, late: &HashSet<ValueId>) -> Vec<ValueId> {
        let factors = &self.together().factors;
        match factors.definition(value) {
            Some(TileOp::Load { .. }) if factors.is_factor(value) || late.contains(&value) => vec![value],
            Some(op) if factors.is_factor(value) || late.contains(&value) => {
                elements(op).into_iter().flat_map(|it| self.tiles_of(it, late)).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn arrive_at(&mut self, load: ValueId) {
        let Some(ahead) = &mut self.ahead else { return };
        let Some(at) = ahead.loads.iter().position(|it| *it == load).filter(|at| *at == ahead.used) else {
            return;
        };
        ahead.used += 1;
        let (is_last, range) = (ahead.used == ahead.loads.len(), ahead.range.expect("a turn is under way"));
        self.meet_at(load, self.together().staged[&load]);
        let now = Value::Reg(range.index);
        if !is_last {
            return self.copy_ahead(at + 1, Turn { number: now, is_there: Value::Bool(true) });
        }
        let after = range.after(&self.writer);
        let is_there = int_compare(&self.writer, Compare::Lt, after, range.end);
        // What is not copied has an address all the same.
        let number = select(&self.writer, RegType::B64, is_there, after, now);
        self.copy_ahead(0, Turn { number, is_there });
    }

    fn copy_ahead(&mut self, at: usize, turn: Turn) {
        let load = self.ahead.as_ref().expect("the loop copies ahead").loads[at];
        let staged = self.together().staged[&load];
        self.fill(load, staged, Some(turn));
    }

    /// The loads of a body that may be copied ahead, in the order of their first use, and what the body computes: two or
    /// more, the first of which is used no more by the statement that first uses the last, for then its place is taken.
    fn used_in_turn(&self, it: &'a Loop) -> Option<(Vec<ValueId>, HashSet<ValueId>)> {
        let foreign = it.carried.iter().map(|it| it.current).collect();
        let mut body = Body { number: it.index, changes: HashSet::new(), foreign };
        let (mut loads, mut used): (Vec<ValueId>, Vec<(usize, ValueId)>) = (Vec::new(), Vec::new());
        let late = self.late_of(&it.body);
        let (mut elsewhere, mut others) = (HashSet::new(), HashSet::new());
        for (at, stmt) in it.body.stmts.iter().enumerate() {
            let mut note =
                |it: &ValueId| used.extend(self.tiles_of(*it, &late).into_iter().map(|it| (at, it)));
            match stmt {
                Stmt::Let(value, op) => {
                    body.changes.insert(*value);
                    if let TileOp::Contract { a, b, .. } = op {
                        [a, b].into_iter().for_each(note);
                    } else if let TileOp::Reduce(_, a) = op {
                        note(a);
                    }
                }
                Stmt::Loop(it) => {
                    body.foreign.extend(it.carried.iter().map(|it| it.result));
                    uses(&it.body, &mut elsewhere, &mut others);
                }
                Stmt::If { then, otherwise, .. } => {
                    [then, otherwise].iter().for_each(|it| uses(it, &mut elsewhere, &mut others));
                }
                Stmt::Store { value, .. } => note(value),
            }
        }
        used.retain(|(_, it)| body.changes.contains(it) && !self.is_boxed(*it));
        for &(_, it) in &used {
            match loads.iter().position(|load| *load == it) {
                None => loads.push(it),
                Some(0) if loads.len() > 1 => return None,
                Some(_) => {}
            }
        }
        let uses = |load: Option<&ValueId>| -> Vec<usize> {
            used.iter().filter(|it| Some(&it.1) == load).map(|it| it.0).collect()
        };
        if uses(loads.first()).last() >= uses(loads.last()).first() {
            return None;
        }
        let fits = |it: &ValueId| !elsewhere.contains(it) && self.follows(*it, &body);
        (loads.len() > 1 && loads.iter().all(fits)).then_some((loads, body.changes))
    }

    /// Whether a value follows from the number of the turn and what is there before the loop.
    fn follows(&self, value: ValueId, body: &Body) -> bool {
        if value == body.number || !(body.changes.contains(&value) || body.foreign.contains(&value)) {
            return true;
        }
        if body.foreign.contains(&value) {
            return false;
        }
        let op = self.together().definition(value);
        op.is_by_element() && op.operands().into_iter().all(|it| self.follows(it, body))
    }
}

/// What the body of a loop computes.
struct Body {
    number: ValueId,
    changes: HashSet<ValueId>,
    /// What it is handed by turns before, or by loops within it.
    foreign: HashSet<ValueId>,
}
