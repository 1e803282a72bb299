//! Blocks that run only under some condition, and what must not leave them.

use std::collections::HashMap;

use super::builder::{Builder, Level};
use crate::ir::nest::{Block, Loop, Op, Scalar, Stmt, TileDim, TileType, ValueId};

impl Builder {
    /// Opens a block that runs only under some condition.
    pub(super) fn open_branch(&mut self) {
        self.levels.push(Level::default());
    }

    /// The block of the branch that was opened last.
    pub(super) fn close_branch(&mut self) -> Block {
        Block { stmts: self.close_level().stmts }
    }

    /// How many statements the innermost block has so far.
    pub(super) fn written(&mut self) -> usize {
        self.here().stmts.len()
    }

    /// Takes the statements back that the innermost block has beyond so many.
    pub(super) fn take_back(&mut self, written: usize) -> Vec<Stmt> {
        let here = self.here();
        // They may have been what later ones are the same as.
        here.pure.clear();
        here.stmts.split_off(written)
    }

    /// The operation that defines a value, if one does in a block that is open.
    pub(super) fn definition(&self, value: ValueId) -> Option<&Op> {
        let mut latest = self.levels.iter().rev().flat_map(|it| it.stmts.iter().rev());
        latest.find_map(|stmt| match stmt {
            Stmt::Let(it, op) if *it == value => Some(op),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        })
    }

    /// The same elements for every point of a shape that has the ranks of the value and others.
    pub(super) fn spread(&mut self, value: ValueId, shape: &[TileDim]) -> ValueId {
        let TileType { scalar, shape: own } = self.nest.values[value].clone();
        if shape.iter().all(|it| own.contains(it)) {
            return self.in_order(value, shape);
        }
        let yes = self.filled(Op::Bool(true), Scalar::Bool, shape);
        self.emit(Op::Select(yes, value, value), TileType { scalar, shape: shape.to_vec() }, &[yes, value])
    }

    /// Runs one of two blocks.
    pub(super) fn branch(&mut self, condition: ValueId, then: Block, otherwise: Block) {
        self.here().stmts.push(Stmt::If { condition, then, otherwise });
    }

    /// The same, but what both blocks do is written once: between branches, where only loops and stores tell one block
    /// from the other.
    ///
    /// ```text
    /// if full            if full
    ///   a~ = …             a~ = …
    ///   b~ = …           else
    /// else        ->       a~ = … where …
    ///   a~ = … where …   b~ = …
    ///   b~ = …
    /// ```
    pub(super) fn branch_apart(&mut self, condition: ValueId, then: Block, otherwise: Block) {
        if ![&then, &otherwise].into_iter().flat_map(|it| &it.stmts).all(stands_alone) {
            return self.branch(condition, then, otherwise);
        }
        let (mut own, mut others) = (Vec::new(), otherwise.stmts);
        for stmt in then.stmts {
            match others.iter().position(|it| self.same(&stmt, it, &mut HashMap::new())) {
                Some(at) => {
                    let after = others.split_off(at + 1);
                    others.pop();
                    self.branch_unless_empty(condition, std::mem::take(&mut own), others);
                    self.here().stmts.push(stmt);
                    others = after;
                }
                None => own.push(stmt),
            }
        }
        self.branch_unless_empty(condition, own, others);
    }

    fn branch_unless_empty(&mut self, condition: ValueId, then: Vec<Stmt>, otherwise: Vec<Stmt>) {
        if !(then.is_empty() && otherwise.is_empty()) {
            self.branch(condition, Block { stmts: then }, Block { stmts: otherwise });
        }
    }

    /// Whether two statements do the same, given the names that values of the second have in the first.
    fn same(&self, one: &Stmt, other: &Stmt, names: &mut HashMap<ValueId, ValueId>) -> bool {
        let named = |names: &HashMap<ValueId, ValueId>, it: &ValueId| names.get(it).copied().unwrap_or(*it);
        match (one, other) {
            (Stmt::Let(a, op), Stmt::Let(b, like)) => {
                let equal =
                    self.nest.values[*a] == self.nest.values[*b] && like.on(|it| named(names, &it)).is(op);
                names.insert(*b, *a);
                equal
            }
            (
                Stmt::Store { buffer, index, value, guard, contiguous },
                Stmt::Store { buffer: to, index: at, value: what, guard: when, contiguous: run },
            ) => {
                let operands = index.iter().chain([value]).chain(guard);
                let others = at.iter().chain([what]).chain(when);
                (buffer, contiguous, index.len(), guard.is_some()) == (to, run, at.len(), when.is_some())
                    && operands.eq(others.map(|it| named(names, it)).collect::<Vec<_>>().iter())
            }
            (Stmt::Loop(a), Stmt::Loop(b)) => self.same_loop(a, b, names),
            (
                Stmt::If { condition, then, otherwise },
                Stmt::If { condition: other, then: yes, otherwise: no },
            ) => {
                *condition == named(names, other)
                    && self.same_block(then, yes, names)
                    && self.same_block(otherwise, no, names)
            }
            (Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. }, _) => false,
        }
    }

    fn same_loop(&self, a: &Loop, b: &Loop, names: &mut HashMap<ValueId, ValueId>) -> bool {
        let named = |names: &HashMap<ValueId, ValueId>, it: ValueId| names.get(&it).copied().unwrap_or(it);
        let range = (a.rank, a.from, a.to, a.step, a.rare, a.carried.len());
        if range != (b.rank, named(names, b.from), named(names, b.to), b.step, b.rare, b.carried.len()) {
            return false;
        }
        names.insert(b.index, a.index);
        for (a, b) in a.carried.iter().zip(&b.carried) {
            if a.init != named(names, b.init) {
                return false;
            }
            names.extend([(b.current, a.current), (b.result, a.result)]);
        }
        self.same_block(&a.body, &b.body, names)
            && a.carried.iter().zip(&b.carried).all(|(a, b)| a.next == named(names, b.next))
    }

    fn same_block(&self, a: &Block, b: &Block, names: &mut HashMap<ValueId, ValueId>) -> bool {
        a.stmts.len() == b.stmts.len() && a.stmts.iter().zip(&b.stmts).all(|(a, b)| self.same(a, b, names))
    }

    /// From now on scratch may hold something else than before; gives what to hand to [`Builder::unpin`].
    pub(super) fn pin(&mut self) -> usize {
        std::mem::replace(&mut self.floor, self.levels.len() - 1)
    }

    /// Undoes [`Builder::pin`].
    pub(super) fn unpin(&mut self, floor: usize) {
        self.floor = floor;
    }
}

/// Whether it defines no value for statements after it.
fn stands_alone(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Let(..) => false,
        Stmt::Loop(it) => it.carried.is_empty(),
        Stmt::Store { .. } | Stmt::If { .. } => true,
    }
}
