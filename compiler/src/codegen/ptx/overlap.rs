//! Loops of which the products of two turns are under way at the same time: the values of a tile are added while weights are
//! computed from the scores of the next one.
//!
//! A loop is cut in two behind the factor of its last product, where nothing before waits for that: what comes first of
//! a turn needs nothing of the products of the turn before but their sum, which it multiplies. So that may be done when all
//! else is. Between turns registers hold the factor as products take it.
//! Products that leave elements out are taken so where it is known that all is finite; elsewhere, and after the last turn,
//! nothing else is under way.
//!
//! ```text
//! first:  S = Q · K[n]; P = exp(S - c); O *= f
//! next:   if n was the last, or V[n] is not finite, go to alone
//!         begin S = Q · K[n + 1]; begin O += P · V[n]; wait for S; p = exp(S - c); wait for O; P = p; O *= f; n += 1; go to next
//! alone:  O += P · V[n];  if n was not the last: n += 1; go to first
//! ```

use attnc_ptx::modifier::{Compare, IntOp};
use attnc_ptx::types::RegType;
use attnc_ptx::{Inst, Label, Op, Reg, args};

use super::arith::{int, int_compare};
use super::block::Emitter;
use super::group::Left;
use super::op::Tile;
use super::products::SQUARE;
use super::roles::Role;
use super::value::{Value, register};
use super::writer::Closed;
use crate::ir::nest::{Carried, Loop, Op as TileOp, Stmt, TileDim, TileType, ValueId};

/// The most registers of a thread for what two turns hold together: with more, ptxas keeps some in memory.
const REGISTERS: usize = 144;

/// How a loop is cut.
pub(super) struct Overlap<'a> {
    /// Up to the first product.
    scores: Vec<&'a Stmt>,
    /// From there to the factor of the last product.
    weights: Vec<&'a Stmt>,
    /// What waits for the last product of the turn before.
    scaled: Option<&'a Stmt>,
    /// The load for the last product, which is there between turns.
    values: &'a Stmt,
    /// The last product, and the sum.
    sums: Vec<&'a Stmt>,
    /// The products, and their right factors.
    products: [(ValueId, ValueId); 2],
    /// The sum.
    sum: ValueId,
}

/// What the parts of a loop hand on.
struct Handed {
    /// The number of the turn whose last product has not been taken.
    index: Reg,
    /// What the loop carries, but for the sum, with what it begins with.
    carried: Vec<(Reg, Value)>,
    /// The left factor of that product.
    packed: Vec<[Reg; 4]>,
    /// The counts of tiles.
    counts: Vec<(usize, Reg, Value)>,
    /// Whether groups take turns with products.
    in_turns: bool,
}

impl<'a> Emitter<'a> {
    /// How to cut a loop, if it is one of which products of two turns may be under way.
    pub(super) fn overlap(&self, it: &'a Loop) -> Option<Overlap<'a>> {
        self.rings.as_ref().filter(|it| it.role == Role::Computes)?;
        if !self.late_of(&it.body).is_empty() {
            return None;
        }
        let stmts = &it.body.stmts;
        let mut lets = Vec::new();
        for stmt in stmts {
            let Stmt::Let(value, op) = stmt else { return None };
            lets.push((*value, op));
        }
        let factors = &self.together().factors;
        let products: Vec<usize> =
            (0..lets.len()).filter(|&it| matches!(lets[it].1, TileOp::Contract { .. })).collect();
        let &[first, last] = products.as_slice() else { return None };
        let TileOp::Contract { a: query, b: key, there: hidden, .. } = *lets[first].1 else { return None };
        let TileOp::Contract { a: weight, b: value, there, .. } = *lets[last].1 else { return None };
        let (sum, before) = factors.sum(lets[last].0)?;
        let adds_only = |it: &Carried| it.next != sum || factors.is_used_once(it.current);
        let here = |value: ValueId| lets.iter().position(|it| it.0 == value);
        // Both right factors are copied by others for each turn, and nothing else is copied.
        let loads = lets.iter().filter(|it| factors.is_loaded(it.0)).count();
        let are_boxed = [key, value].iter().all(|it| self.is_boxed(*it) && here(*it).is_some());
        let is_given = here(query).is_none() && hidden.is_none() && factors.sum(lets[first].0).is_none();
        let is_packed = factors.is_factor(weight) && here(weight).is_some();
        let is_marked = there.is_none() || factors.has_no_sign(self.together().unrounded(weight));
        let is_last = lets[last + 1..].iter().all(|it| it.0 == sum);
        if loads != 2
            || !are_boxed
            || !is_given
            || !is_packed
            || !is_marked
            || !is_last
            || !it.carried.iter().all(adds_only)
        {
            return None;
        }
        // Scores, the factor that is packed, and sums are held together.
        let [scores, weights, sums] = [lets[first].0, weight, sum].map(|it| self.nest.values[it].points());
        if scores + weights / 2 + sums > REGISTERS {
            return None;
        }
        let scaled = here(before).map(|at| &stmts[at]);
        if !self.in_place.contains(&sum) || scaled.is_some() && !self.in_place.contains(&before) {
            return None;
        }
        let apart = [Some(before), Some(value), Some(sum), Some(lets[last].0)];
        let others = |from: usize, to: usize| {
            let both = stmts[from..to].iter().zip(&lets[from..to]);
            both.filter(|it| !apart.contains(&Some(it.1.0))).map(|it| it.0).collect()
        };
        Some(Overlap {
            scores: others(0, first + 1),
            weights: others(first + 1, stmts.len()),
            scaled,
            values: &stmts[here(value)?],
            sums: stmts[last..].iter().collect(),
            products: [(lets[first].0, key), (lets[last].0, value)],
            sum,
        })
    }

    /// A loop that is cut.
    pub(super) fn overlapped(&mut self, it: &'a Loop, cut: &Overlap<'a>) {
        let outside = (self.ahead.take(), std::mem::take(&mut self.peaks));
        let step = Value::Int(it.step.into());
        let bound = self.end_of(it);
        let from = self.scalar(it.from);
        let starts = int_compare(&self.writer, Compare::Lt, from, bound);

        // Parts are written one after the other, so that what they have in common is before all of them.
        self.writer.open(false);
        let handed = self.hand_on(it, cut);
        self.first_turn(it, cut, &handed);
        let first_turn = self.writer.close(&[]);

        let [first, next, alone, end] = ["first", "next", "alone", "done"].map(|it| self.writer.label(it));
        self.writer.open(false);
        let now = Value::Reg(handed.index);
        let after = int(&self.writer, IntOp::Add, now, step);
        let goes_on = int_compare(&self.writer, Compare::Lt, after, bound);
        let goes_on = self.writer.reg(RegType::Pred, goes_on);
        self.stmt(cut.values);
        self.count_on(&handed);
        self.writer.bra(alone, Some((goes_on, false)));
        if let Some(broken) = self.broken(cut.products[1].1) {
            self.writer.bra(alone, Some((broken, true)));
        }
        let head = self.writer.close(&[]);

        // Either of two parts uses it, and lets go of it.
        let values = cut.products[1].1;
        let held = self.at_hand(values);
        self.writer.open(false);
        self.both(it, cut, (&handed, after));
        self.writer.bra(next, None);
        let both = self.writer.close(&[]);

        self.hold(values, held);
        self.writer.open(false);
        self.alone(cut, &handed);
        self.writer.bra(end, Some((goes_on, false)));
        self.writer.copy(handed.index, after);
        self.writer.bra(first, None);
        let mut living: Vec<Reg> = handed.carried.iter().map(|it| it.0).collect();
        living.extend(handed.counts.iter().map(|it| it.1));
        living.push(handed.index);
        let last_turn = self.writer.close(&living);

        let parts = [(first, vec![first_turn]), (next, vec![head, both]), (alone, vec![last_turn])];
        self.string(&handed, (from, starts), parts, end);
        (self.ahead, self.peaks) = outside;
    }

    /// Strings parts together behind what they begin with, if any turn is run.
    fn string(
        &self,
        handed: &Handed,
        (from, starts): (Value, Value),
        parts: [(Label, Vec<Closed>); 3],
        end: Label,
    ) {
        let w = &self.writer;
        let counts = handed.counts.iter().map(|it| (it.1, it.2));
        let start: Vec<(Reg, Value)> =
            handed.carried.iter().copied().chain(counts).chain([(handed.index, from)]).collect();
        w.assign(&start);
        if starts != Value::Bool(true) {
            w.bra(end, Some((w.reg(RegType::Pred, starts), false)));
        }
        for (label, closed) in parts {
            w.place(label);
            closed.into_iter().for_each(|it| w.append(it));
        }
        w.place(end);
    }

    /// Registers for what parts hand on.
    fn hand_on(&mut self, it: &'a Loop, cut: &Overlap<'a>) -> Handed {
        let index = self.writer.fresh(RegType::B64);
        let carried = self.carry(it);
        let counts = self.count_in(&it.body);
        let rows = self.together().rows.rank;
        let shape = &self.nest.values[self.weight(cut)].shape;
        let over = shape.iter().find(|it| it.rank != rows).expect("it is summed over something");
        let depths = self.together().whole(*over) / SQUARE;
        let packed = (0..depths).map(|_| [(); 4].map(|()| self.writer.fresh(RegType::B32))).collect();
        let in_turns = self.turns.is_some_and(|it| it.own.is_some()) && self.products_of(it).is_some();
        Handed { index, carried, packed, counts, in_turns }
    }

    /// The left factor of the last product before it is rounded.
    fn weight(&self, cut: &Overlap<'a>) -> ValueId {
        let TileOp::Contract { a, .. } = self.together().definition(cut.products[1].0) else {
            unreachable!("it is a product")
        };
        self.together().unrounded(*a)
    }

    /// That factor as the product takes it.
    fn packed(&self, cut: &Overlap<'a>) -> Vec<[Reg; 4]> {
        let (product, right) = cut.products[1];
        let TileOp::Contract { there, .. } = self.together().definition(product) else {
            unreachable!("it is a product")
        };
        let TileOp::Load { buffer, .. } = self.together().definition(right) else {
            unreachable!("it is loaded")
        };
        let dtype = self.nest.buffers[*buffer].dtype;
        let weight = self.weight(cut);
        let ty = &self.nest.values[weight];
        let rows = |it: &TileDim| it.rank == self.together().rows.rank;
        let (mut shape, over): (Vec<TileDim>, Vec<TileDim>) = ty.shape.iter().copied().partition(rows);
        shape.extend(over);
        let shape = TileType { scalar: ty.scalar, shape };
        let Left::Registers(packed) = self.left(weight, &shape, *there, dtype) else {
            unreachable!("weights are in registers")
        };
        packed
    }

    /// A turn up to its last product, with nothing else under way.
    fn first_turn(&mut self, it: &'a Loop, cut: &Overlap<'a>, handed: &Handed) {
        self.peaks.clear();
        self.define_scalar(it.index, Value::Reg(handed.index));
        if let Some(turns) = &mut self.turns {
            // The group has its turn for that product alone.
            turns.products = handed.in_turns.then_some((cut.products[0].0, cut.products[0].0));
        }
        cut.scores.iter().for_each(|it| self.stmt(it));
        if let Some(turns) = &mut self.turns {
            turns.products = None;
        }
        self.release(cut.products[0].1);
        cut.weights.iter().for_each(|it| self.stmt(it));
        self.finish_turn(it, cut, handed);
    }

    /// The last product of a turn while the next one is run up to its own.
    fn both(&mut self, it: &'a Loop, cut: &Overlap<'a>, (handed, after): (&Handed, Value)) {
        self.peaks.clear();
        self.define_scalar(it.index, after);
        if handed.in_turns {
            self.begin_turn();
        }
        self.together_mut().packed = Some((self.weight(cut), handed.packed.clone()));
        self.together_mut().waits = false;
        cut.scores.iter().chain(&cut.sums).for_each(|it| self.stmt(it));
        self.together_mut().waits = true;
        self.together_mut().packed = None;
        if handed.in_turns {
            self.end_turn();
        }
        self.writer.add(Inst::new(Op::WgmmaWait, args![1]));
        self.release(cut.products[0].1);
        self.weights(it, cut);
        cut.scaled.iter().for_each(|it| self.ask_of_factors(it));
        // ptxas waits for products as early in code without branches as it can: here is one.
        self.ask_again(cut.products[1].1);
        self.writer.add(Inst::new(Op::WgmmaWait, args![0]));
        self.release(cut.products[1].1);
        self.finish_turn(it, cut, handed);
        self.asked = None;
        self.writer.copy(handed.index, after);
    }

    /// Weights, and what else later ones need.
    fn weights(&mut self, it: &'a Loop, cut: &Overlap<'a>) {
        let TileOp::Contract { there, .. } = *self.together().definition(cut.products[1].0) else {
            unreachable!("it is a product")
        };
        let weight = self.weight(cut);
        let Some(usual) = self.usual(&cut.weights, (weight, there)) else {
            return cut.weights.iter().for_each(|it| self.stmt(it));
        };
        let mut others: Vec<ValueId> = it.carried.iter().map(|it| it.next).collect();
        if let Some(Stmt::Let(_, op)) = cut.scaled {
            others.extend(op.operands());
        }
        let mut needed = vec![weight];
        for stmt in &cut.weights {
            if let Stmt::Let(value, _) = stmt
                && others.contains(value)
                && *value != weight
            {
                needed.push(*value);
            }
        }
        self.usual_or_not(&usual, (&cut.weights, needed), there);
    }

    /// The last product of a turn with nothing else under way.
    fn alone(&mut self, cut: &Overlap<'a>, handed: &Handed) {
        if handed.in_turns {
            self.begin_turn();
        }
        self.together_mut().packed = Some((self.weight(cut), handed.packed.clone()));
        cut.sums.iter().for_each(|it| self.stmt(it));
        self.together_mut().packed = None;
        if handed.in_turns {
            self.end_turn();
        }
        self.release(cut.products[1].1);
    }

    /// Hands on what a turn has computed up to its last product.
    fn finish_turn(&mut self, it: &'a Loop, cut: &Overlap<'a>, handed: &Handed) {
        // Before the factor is packed: registers of both would be held over a branch.
        cut.scaled.iter().for_each(|it| self.stmt(it));
        let packed = self.packed(cut);
        let packed = handed.packed.iter().zip(packed);
        let mut moves: Vec<(Reg, Value)> =
            packed.flat_map(|(to, it)| to.iter().copied().zip(it.map(Value::Reg))).collect();
        let others = it.carried.iter().filter(|it| it.next != cut.sum);
        for one in others {
            let Tile { elements, .. } = self.tile(one.current).clone();
            let next = self.tile(one.next).spread(&self.nest.values[one.current]);
            let registers = elements
                .iter()
                .map(|it| self.writer.reg(register(self.nest.values[one.current].scalar), *it));
            moves.extend(registers.zip(next));
        }
        self.writer.assign(&moves);
        self.count_on(handed);
    }

    /// Notes how many tiles have come.
    fn count_on(&mut self, handed: &Handed) {
        let counted = self.counted(&handed.counts);
        let moves: Vec<(Reg, Value)> = handed.counts.iter().map(|it| it.1).zip(counted).collect();
        self.writer.assign(&moves);
    }
}
