//! Statements to instructions.

use std::collections::{HashMap, HashSet};

use attnc_ptx::modifier::{Compare, IntOp, LoadCache, LoadOrder, Space};
use attnc_ptx::types::{Data, RegType};
use attnc_ptx::{Inst, Op, ParamId, Reg, args, at};

use super::ahead::Ahead;
use super::arith::{int, int_compare};
use super::op::Tile;
use super::ring::Rings;
use super::team::Team;
use super::turns::Turns;
use super::value::{Value, register};
use super::writer::{Closed, Writer};
use crate::codegen::uses::Uses;
use crate::ir::nest::{Block, Loop, Nest, Op as TileOp, Scalar, Stmt, ValueId};

/// The kernel of a stage in the making.
pub(super) struct Emitter<'a> {
    pub(super) nest: &'a Nest,
    pub(super) writer: Writer,
    /// The words of the arguments.
    words: ParamId,
    /// The address of the workspace.
    pub(super) workspace: Value,
    /// The address of the running thread's scratch.
    pub(super) scratch: Value,
    /// How the block works together on a task, if it does.
    pub(super) team: Option<Team<'a>>,
    /// What a group of warps copies for the others, if one does.
    pub(super) rings: Option<Rings<'a>>,
    /// How groups take turns with products, where others copy for them.
    pub(super) turns: Option<Turns>,
    /// What the loop at hand copies ahead of its use.
    pub(super) ahead: Option<Ahead>,
    /// Sums, and what they are added to, that are in the registers of what a loop carries.
    pub(super) in_place: HashSet<ValueId>,
    /// In the block at hand: maxima of all that some threads have, each with what this one has.
    pub(super) peaks: Vec<(Vec<Value>, Value)>,
    /// Factors of which it is known whether any of a warp is not 1.
    pub(super) asked: Option<(Vec<Reg>, Reg)>,
    /// What is computed element by element as it is stored.
    pub(super) late: HashMap<ValueId, &'a TileOp>,
    values: Vec<Option<Tile<'a>>>,
}

/// A loop over numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) index: Reg,
    pub(super) from: Value,
    /// What all numbers that are run are below.
    pub(super) end: Value,
    pub(super) step: Value,
    /// Whether any is.
    pub(super) starts: Value,
}

impl Range {
    /// The number after the one at hand.
    pub(super) fn after(&self, writer: &Writer) -> Value {
        int(writer, IntOp::Add, Value::Reg(self.index), self.step)
    }
}

impl<'a> Emitter<'a> {
    /// A kernel without statements.
    pub(super) fn new(nest: &'a Nest, writer: Writer, words: ParamId, workspace: Value) -> Emitter<'a> {
        let values = vec![None; nest.values.len()];
        let scratch = workspace;
        let (team, rings, turns, ahead) = (None, None, None, None);
        let (in_place, peaks, late) = (HashSet::new(), Vec::new(), HashMap::new());
        Emitter {
            nest,
            writer,
            words,
            workspace,
            scratch,
            team,
            rings,
            turns,
            ahead,
            in_place,
            peaks,
            asked: None,
            late,
            values,
        }
    }

    /// The values of the prologue that are needed.
    pub(super) fn prologue(&mut self, uses: &Uses<'a>) {
        uses.prologue().for_each(|it| self.stmt(it));
    }

    /// The statements of a block, in order.
    pub(super) fn block(&mut self, block: &'a Block) {
        let outside = std::mem::take(&mut self.peaks);
        self.put_off(block);
        for (at_stmt, stmt) in block.stmts.iter().enumerate() {
            self.stmt(stmt);
            self.let_go(block, at_stmt);
        }
        self.peaks = outside;
    }

    pub(super) fn stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Let(value, TileOp::Load { .. }) if self.late.contains_key(value) => self.lay_out(*value),
            Stmt::Let(value, _) if self.late.contains_key(value) => {}
            Stmt::Let(value, op) => {
                let tile = self.op(*value, op);
                self.define(*value, tile);
            }
            Stmt::Store { buffer, index, value, guard, .. } => self.store(*buffer, index, *value, *guard),
            Stmt::Loop(it) => self.tiles(it),
            Stmt::If { condition, then, otherwise } => self.branch(*condition, then, otherwise),
        }
    }

    /// A value.
    pub(super) fn tile(&self, value: ValueId) -> &Tile<'a> {
        self.values[value.idx()].as_ref().expect("values are defined before they are used")
    }

    /// A scalar.
    pub(super) fn scalar(&self, value: ValueId) -> Value {
        self.tile(value).elements[0]
    }

    pub(super) fn define(&mut self, value: ValueId, tile: Tile<'a>) {
        self.values[value.idx()] = Some(tile);
    }

    /// Defines a scalar.
    pub(super) fn define_scalar(&mut self, value: ValueId, element: Value) {
        self.define(value, Tile { ty: &self.nest.values[value], elements: vec![element] });
    }

    /// A word of the arguments.
    pub(super) fn word(&self, word: u32, scalar: Scalar) -> Value {
        let (ty, data) =
            if scalar == Scalar::F64 { (RegType::F64, Data::F64) } else { (RegType::B64, Data::S64) };
        let (order, cache) = (LoadOrder::Weak, LoadCache::Default);
        let op =
            Op::Ld { order, space: Space::Param, cache, lanes: attnc_ptx::modifier::Lanes::One, ty: data };
        let offset = i32::try_from(8 * word).expect("arguments are fewer than 2^28");
        let load = |into| Inst::new(op, args![into, at(self.words).plus(offset)]);
        Value::Reg(self.writer.constant(op, offset.into(), ty, load))
    }

    /// Runs a body for tasks from the first on, below the end, so many apart.
    pub(super) fn tasks(
        &mut self,
        task: ValueId,
        body: &'a Block,
        (first, end, apart): (Value, Value, Value),
    ) {
        let tasks = self.begin(task, first, end, apart);
        let counts = self.count_in(body);
        let carried: Vec<(Reg, Value)> = counts.iter().map(|it| (it.1, it.2)).collect();
        self.block(body);
        let next = self.counted(&counts);
        self.repeat(&tasks, &carried, &next, None);
    }

    fn tiles(&mut self, it: &'a Loop) {
        self.note_sums(it);
        if let Some(cut) = self.overlap(it) {
            return self.overlapped(it, &cut);
        }
        let step = Value::Int(it.step.into());
        let end = self.end_of(it);
        let from = self.scalar(it.from);
        let (outside, first) = self.look_ahead(it, from);
        let in_turns = self.open_turns(it);
        let range = self.begin(it.index, from, end, step);
        self.take_turn(&range);
        let mut carried = self.carry(it);
        let counts = self.count_in(&it.body);
        carried.extend(counts.iter().map(|it| (it.1, it.2)));
        self.block(&it.body);
        let next = it.carried.iter().flat_map(|it| self.tile(it.next).spread(&self.nest.values[it.current]));
        let mut next: Vec<Value> = next.collect();
        next.extend(self.counted(&counts));
        self.look_back(outside);
        self.repeat(&range, &carried, &next, first);
        if in_turns {
            self.close_turns();
        }
    }

    /// Registers for what a loop carries, each with what it begins with.
    pub(super) fn carry(&mut self, it: &'a Loop) -> Vec<(Reg, Value)> {
        let mut carried: Vec<(Reg, Value)> = Vec::new();
        for one in &it.carried {
            let ty = &self.nest.values[one.current];
            let init = self.tile(one.init).spread(ty);
            let registers: Vec<Reg> = init.iter().map(|_| self.writer.fresh(register(ty.scalar))).collect();
            let elements: Vec<Value> = registers.iter().map(|&it| Value::Reg(it)).collect();
            carried.extend(registers.into_iter().zip(init));
            self.define(one.current, Tile { ty, elements: elements.clone() });
            self.define(one.result, Tile { ty, elements });
        }
        carried
    }

    /// What the numbers of a loop are below: of a step of 1 that is there anyway.
    pub(super) fn end_of(&self, it: &Loop) -> Value {
        int(&self.writer, IntOp::Sub, self.scalar(it.to), Value::Int(i64::from(it.step) - 1))
    }

    /// Opens a block that is run for numbers from one on, below another.
    pub(super) fn begin(&mut self, index: ValueId, from: Value, end: Value, step: Value) -> Range {
        let starts = int_compare(&self.writer, Compare::Lt, from, end);
        self.writer.open(false);
        let register = self.writer.fresh(RegType::B64);
        self.define_scalar(index, Value::Reg(register));
        Range { index: register, from, end, step, starts }
    }

    /// Closes the innermost block as the body of a loop that begins with the values of `carried` and goes on with `next`;
    /// `first` is run before it if any turn is.
    pub(super) fn repeat(
        &self,
        range: &Range,
        carried: &[(Reg, Value)],
        next: &[Value],
        first: Option<Closed>,
    ) {
        let w = &self.writer;
        let Range { index, from, end: bound, starts, .. } = *range;
        let living: Vec<Reg> = carried.iter().map(|it| it.0).collect();
        let start: Vec<(Reg, Value)> = carried.iter().copied().chain([(index, from)]).collect();
        if starts == Value::Bool(false) {
            w.close(&living);
            return w.assign(&start);
        }
        let after = range.after(w);
        let again = w.reg(RegType::Pred, int_compare(w, Compare::Lt, after, bound));
        let mut moves: Vec<(Reg, Value)> = carried.iter().zip(next).map(|(it, &next)| (it.0, next)).collect();
        moves.push((index, after));
        w.assign(&moves);
        let [body, end] = ["loop", "done"].map(|it| w.label(it));
        w.bra(body, Some((again, true)));
        let closed = w.close(&living);
        w.assign(&start);
        if starts != Value::Bool(true) {
            w.bra(end, Some((w.reg(RegType::Pred, starts), false)));
        }
        first.into_iter().for_each(|it| w.append(it));
        w.place(body);
        w.append(closed);
        w.place(end);
    }

    fn branch(&mut self, condition: ValueId, then: &'a Block, otherwise: &'a Block) {
        let condition = self.scalar(condition);
        if let Some(holds) = condition.bool() {
            return self.with_prologue(if holds { then } else { otherwise });
        }
        let condition = self.writer.reg(RegType::Pred, condition);
        let [not, end] = ["else", "end"].map(|it| self.writer.label(it));
        self.writer.bra(not, Some((condition, false)));
        self.conditional(then);
        if otherwise.stmts.is_empty() {
            return self.writer.place(not);
        }
        self.writer.bra(end, None);
        self.writer.place(not);
        self.conditional(otherwise);
        self.writer.place(end);
    }

    /// Statements that may not be run.
    fn conditional(&mut self, block: &'a Block) {
        self.writer.open(true);
        self.with_prologue(block);
        let closed = self.writer.close(&[]);
        self.writer.append(closed);
    }

    /// Statements, and what of the prologue nothing else needs: registers are not kept for that.
    fn with_prologue(&mut self, block: &'a Block) {
        let mut own = Vec::new();
        for stmt in Uses::by_block(self.nest, block).prologue() {
            let Stmt::Let(value, _) = stmt else { unreachable!("a prologue only defines") };
            if self.values[value.idx()].is_none() {
                own.push(*value);
                self.stmt(stmt);
            }
        }
        self.block(block);
        own.into_iter().for_each(|it| self.values[it.idx()] = None);
    }
}
