//! Which tasks a block runs, and in which order: there are as many blocks as run at the same time, so that the first copies
//! for a task are under way while the last one is finished, and nobody but they themselves can even out their work.
//!
//! Where loops of a task are the longer the further on its rows are, as under a causal mask, the last rows are taken first, in
//! rounds, one task each, and in every second round in reverse: then what a round adds to the first block more than to the
//! last one the next round takes back, and short tasks come last. Elsewhere blocks take tasks in order.
//!
//! ```text
//! blocks 0, 1, 2:   0 1 2 | 5 4 3 | 6 7 8        heads a, b of rows 0, 1:   a1 b1 a0 b0
//! ```

use std::collections::HashSet;

use attnc_ptx::Reg;
use attnc_ptx::modifier::{Compare, IntOp};
use attnc_ptx::types::RegType;

use super::arith::{int, int_compare};
use super::block::{Emitter, Range};
use super::value::Value;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Block, Op as TileOp, Stage, Stmt, ValueId};

/// For how many rounds all blocks have tasks of the same heads, so that keys are read again while they are in the cache, and
/// how many blocks read the keys of one head at the same time if there are as many tiles of rows.
const ROUNDS: i64 = 4;
const SHARING: i64 = 4;

impl<'a> Emitter<'a> {
    /// Runs a body for the tasks of a block.
    pub(super) fn rounds(
        &mut self,
        stage: &'a Stage,
        body: &'a Block,
        (block, tasks, blocks): (Value, Value, Value),
    ) {
        let Some(tiles) = self.tiles_of_rows(stage) else {
            return self.tasks(stage.task, body, (block, tasks, blocks));
        };
        let w = &self.writer;
        let twice = |it| int(w, IntOp::MulLo, it, Value::Int(2));
        let first = int(w, IntOp::Sub, int(w, IntOp::Sub, twice(blocks), twice(block)), Value::Int(1));
        let starts = int_compare(w, Compare::Lt, block, tasks);
        w.open(false);
        let [index, step] = [(); 2].map(|()| w.fresh(RegType::B64));
        let order = || self.longest_first(Value::Reg(index), tiles, (tasks, blocks));
        let task = w.in_place(RegType::B64, order);
        self.define_scalar(stage.task, task);
        let range = Range { index, from: block, end: tasks, step: Value::Reg(step), starts };
        let counts = self.count_in(body);
        let mut carried: Vec<(Reg, Value)> = counts.iter().map(|it| (it.1, it.2)).collect();
        carried.push((step, first));
        self.block(body);
        let mut next = self.counted(&counts);
        let w = &self.writer;
        let all = || int(w, IntOp::MulLo, blocks, Value::Int(2));
        next.push(w.in_place(RegType::B64, || int(w, IntOp::Sub, all(), Value::Reg(step))));
        self.repeat(&range, &carried, &next, None);
    }

    /// How many tiles of rows there are of each head, if how long a task takes depends on which of them it has: if one end of
    /// a loop does. Where both do, it is a window that moves.
    fn tiles_of_rows(&self, stage: &Stage) -> Option<Value> {
        let definition = |it| self.together().factors.definition(it);
        let &TileOp::Binary(BinaryOp::Mul, a, b) = definition(stage.tasks)? else { return None };
        let tile = |it: &Stmt| match *it {
            Stmt::Let(tile, TileOp::Binary(BinaryOp::Mod, task, by))
                if task == stage.task && [a, b].contains(&by) =>
            {
                Some((tile, by))
            }
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        };
        let (tile, tiles) = stage.body.stmts.iter().find_map(tile)?;
        let depends = |it: &Stmt| match it {
            Stmt::Loop(it) => self.depends(it.from, tile) != self.depends(it.to, tile),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::If { .. } => false,
        };
        stage.body.stmts.iter().any(depends).then(|| self.scalar(tiles))
    }

    /// Whether a value is made of another.
    fn depends(&self, value: ValueId, of: ValueId) -> bool {
        let (mut open, mut seen) = (vec![value], HashSet::new());
        while let Some(it) = open.pop() {
            if it == of {
                return true;
            }
            if seen.insert(it) {
                let made = self.together().factors.definition(it);
                open.extend(made.into_iter().flat_map(TileOp::operands));
            }
        }
        false
    }

    /// The task that is taken in that place, where each head has so many tiles of rows, which follow each other: of some heads
    /// at a time the last tile of each, then those before.
    fn longest_first(&self, place: Value, tiles: Value, (tasks, blocks): (Value, Value)) -> Value {
        let w = &self.writer;
        let op = |op, a, b| int(w, op, a, b);
        // Rounded up.
        let part = |a, b| {
            let more = op(IntOp::Add, a, op(IntOp::Sub, b, Value::Int(1)));
            op(IntOp::Div, more, b)
        };
        let heads = op(IntOp::Div, tasks, tiles);
        let enough = part(op(IntOp::MulLo, blocks, Value::Int(ROUNDS)), tiles);
        let together = op(IntOp::Max, enough, part(blocks, Value::Int(SHARING)));
        let first = op(IntOp::Div, place, op(IntOp::MulLo, together, tiles));
        let first = op(IntOp::MulLo, first, together);
        let inside = op(IntOp::Sub, place, op(IntOp::MulLo, first, tiles));
        let together = op(IntOp::Min, together, op(IntOp::Sub, heads, first));
        let before = op(IntOp::Div, inside, together);
        let head = op(IntOp::Sub, inside, op(IntOp::MulLo, before, together));
        let head = op(IntOp::Add, first, head);
        let tile = op(IntOp::Sub, op(IntOp::Sub, tiles, Value::Int(1)), before);
        op(IntOp::Add, op(IntOp::MulLo, head, tiles), tile)
    }
}
