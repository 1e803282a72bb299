//! Two groups of warps that take turns with products of matrices: while one takes its products the other computes weights
//! from its scores, instead of both waiting for the same units.
//!
//! Who has its turn adds the values of the last keys and begins the scores of the next ones. Each group has a barrier in shared
//! memory that the warps of the other arrive at when their turn is over; the first group has its first turn at once.
//! Both run the same loops equally often, so turns are over in pairs. A turn waits for tiles that are copied, and must not wait
//! for one whose place the other group empties in its own turn only.
//!
//! ```text
//! wait turn; for n: S = Q · K; the other's turn; P = exp(S - c); wait turn; O += P · V;  the other's turn
//! ```

use attnc_ptx::modifier::{Compare, LogicOp};
use attnc_ptx::types::{Logical, RegType};
use attnc_ptx::{Inst, Op, Operand, Reg, args, at};

use super::block::Emitter;
use super::group::GROUP;
use super::ring::{BARRIER, Room, compare, word_logic};
use super::value::Value;
use super::writer::Writer;
use crate::ir::nest::{Loop, Op as TileOp, Stmt, ValueId};

/// How a group takes its turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// The barriers of the first group and the second.
    barriers: Value,
    /// For one that computes: its own barrier, the other's, and the parity of its next turn.
    pub(super) own: Option<[Reg; 3]>,
    /// In the loop at hand: the products at the start of which a turn is over, and those with which one begins.
    pub(super) products: Option<(ValueId, ValueId)>,
    /// Whether it is over as soon as the products at hand have begun.
    ends: bool,
}

impl Turns {
    /// Groups that take turns, where there are two.
    pub(super) fn new(writer: &Writer, threads: u32) -> Option<Turns> {
        let barriers = || writer.shared(2 * BARRIER, BARRIER);
        (threads == 2 * GROUP).then(|| Turns { barriers: barriers(), own: None, products: None, ends: false })
    }

    /// The barriers, each of which the warps of one group arrive at.
    pub(super) fn each(&self, w: &Writer, make: impl Fn(Value, u32)) {
        (0..2).for_each(|it| make(Room::at(w, self.barriers, Value::Int(it), BARRIER), GROUP / 32));
    }
}

impl Emitter<'_> {
    /// From now on code is for a group that computes.
    pub(super) fn enter_turns(&mut self) {
        let Some(turns) = &mut self.turns else { return };
        let w = &self.writer;
        let group = w.group();
        let other = word_logic(w, LogicOp::Xor, group, 1);
        let own = [
            Room::at(w, turns.barriers, group, BARRIER),
            Room::at(w, turns.barriers, other, BARRIER),
            // The phase before the first counts as over.
            other,
        ];
        turns.own = Some(own.map(|it| {
            let register = w.fresh(RegType::B32);
            w.copy(register, it);
            register
        }));
    }

    /// Begins a loop: where both groups have all that it multiplies without waiting for each other, they take turns.
    pub(super) fn open_turns(&mut self, it: &Loop) -> bool {
        let products = self.turns.filter(|it| it.own.is_some()).and_then(|_| self.products_of(it));
        let Some(turns) = &mut self.turns else { return false };
        turns.products = products;
        if products.is_some() {
            self.begin_turn();
        }
        products.is_some()
    }

    /// Ends such a loop.
    pub(super) fn close_turns(&mut self) {
        self.end_turn();
        self.turns.iter_mut().for_each(|it| it.products = None);
    }

    /// Waits for the group's turn if these are the last products of a round.
    pub(super) fn meet_turn(&mut self, product: ValueId) {
        let Some(turns) = &mut self.turns else { return };
        turns.ends = turns.products.is_some_and(|it| it.0 == product);
        if turns.products.is_some_and(|it| it.1 == product) {
            self.begin_turn();
        }
    }

    /// Gives the other group its turn if that is over now that the products at hand have begun.
    pub(super) fn leave_turn(&self) {
        if self.turns.is_some_and(|it| it.ends) {
            self.end_turn();
        }
    }

    /// The first and the last products of a loop that has no other waits.
    pub(super) fn products_of(&self, it: &Loop) -> Option<(ValueId, ValueId)> {
        if !self.late_of(&it.body).is_empty() {
            return None;
        }
        let (mut products, mut loads) = (Vec::new(), Vec::new());
        for stmt in &it.body.stmts {
            match stmt {
                Stmt::Let(value, TileOp::Contract { b, there, .. }) => {
                    // Groups wait for those of short floats only.
                    (!self.together().factors.is_split(self.nest, *b)).then_some(())?;
                    products.push((*value, *there));
                }
                Stmt::Let(value, TileOp::Load { .. }) if self.together().factors.is_loaded(*value) => {
                    self.is_boxed(*value).then_some(())?;
                    loads.push(*value);
                }
                Stmt::Let(..) | Stmt::Store { .. } => {}
                Stmt::Loop(_) | Stmt::If { .. } => return None,
            }
        }
        let (&(first, there), &(last, _)) = (products.first()?, products.last()?);
        // Both may need the same tile: its place is then empty when either group has had its turn.
        let are_apart = loads.len() >= products.len() || !loads.iter().any(|it| self.has_one_place(*it));
        // Products that leave elements out may be taken again.
        (first != last && there.is_none() && are_apart).then_some((first, last))
    }

    pub(super) fn begin_turn(&self) {
        let [own, _, parity] = self.turns.and_then(|it| it.own).expect("it computes");
        self.wait(Value::Reg(own), Value::Reg(parity));
        let xor = Op::Logic { op: LogicOp::Xor, ty: Logical::B32 };
        self.writer.add(Inst::new(xor, args![parity, parity, 1]));
    }

    /// Gives the other group its turn.
    pub(super) fn end_turn(&self) {
        let (w, [_, other, _]) = (&self.writer, self.turns.and_then(|it| it.own).expect("it computes"));
        let lane = word_logic(w, LogicOp::And, Value::Reg(self.together().thread), 31);
        let one = compare(w, Compare::Eq, lane, 0);
        w.add(Inst::new(Op::MbarrierArrive, args![Operand::Sink, at(other)]).when(one));
    }
}
