//! Sums of products that a loop carries, in the registers in which it does: `wgmma` adds to registers, and a thread has no
//! room for them twice, whoever adds.
//!
//! ```text
//! carry %O -> %3:  %1 = %O * %f;  %2 = contract %p, %v into 0;  %3 = %1 + %2     ->   mul %o, %o, %f;  wgmma {%o ..}
//! ```

use attnc_ptx::modifier::{FloatCompare, FloatOp, Flush, Round, Vote};
use attnc_ptx::types::{Float, RegType};
use attnc_ptx::{Inst, Label, Op, Reg, args};

use super::arith::{float_compare, or};
use super::block::Emitter;
use super::op::Tile;
use super::value::Value;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Block, Carried, Loop, Op as TileOp, Stmt, TileType, ValueId};

/// The most rows of a thread of which it is asked whether their sums change.
const ROWS: usize = 4;

impl<'a> Emitter<'a> {
    /// Finds the sums of a loop that are computed in the registers of what it carries.
    pub(super) fn note_sums(&mut self, it: &'a Loop) {
        if self.team.is_none() {
            return;
        }
        let found: Vec<ValueId> =
            it.carried.iter().flat_map(|one| self.in_registers(one, &it.body)).collect();
        self.in_place.extend(found);
    }

    /// What a carried value becomes in its registers: products are added to it, or to a multiple of it, and nothing else
    /// is made of it on the way but factors of earlier products.
    fn in_registers(&self, carried: &Carried, body: &Block) -> Vec<ValueId> {
        let factors = &self.together().factors;
        let mut sums = body.stmts.iter().filter_map(|stmt| match stmt {
            Stmt::Let(product, TileOp::Contract { .. }) => Some((*product, factors.sum(*product)?)),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        let Some((product, (sum, before))) = sums.find(|it| it.1.0 == carried.next) else {
            return Vec::new();
        };
        let (first, all) = match factors.definition(before) {
            None if before == carried.current => (product, vec![sum]),
            Some(&TileOp::Binary(BinaryOp::Mul, a, b))
                if self.of_carried((a, b)).0 == carried.current && factors.is_used_once(before) =>
            {
                (before, vec![before, sum])
            }
            Some(_) | None => return Vec::new(),
        };
        if self.changes_last(carried, first, body) { all } else { Vec::new() }
    }

    /// Whether a carried value is used by one statement, and before by nothing but what products take that come before, too.
    fn changes_last(&self, carried: &Carried, first: ValueId, body: &Block) -> bool {
        let factors = &self.together().factors;
        let is_first = |it: &Stmt| matches!(it, Stmt::Let(value, _) if *value == first);
        let Some(place) = body.stmts.iter().position(is_first) else { return false };
        let (before, after) = body.stmts.split_at(place);
        let is_taken = |it: &Stmt| match it {
            Stmt::Let(value, _) => factors.is_factor(*value) && after.iter().all(|it| !it.uses(*value)),
            Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => false,
        };
        // What was made of registers is not to stand for the same of what is in them later.
        let is_alone = factors.is_used_once(carried.current) || factors.is_used_once(carried.next);
        let mut others = before.iter().filter(|it| it.uses(carried.current));
        let mut later = after.iter().filter(|it| !is_first(it) && it.uses(carried.current));
        let adds = |it: &Stmt| matches!(it, Stmt::Let(value, _) if *value == carried.next);
        is_alone && others.all(is_taken) && later.all(adds)
    }

    /// Two factors, first the one that no operation defines.
    fn of_carried(&self, (a, b): (ValueId, ValueId)) -> (ValueId, ValueId) {
        if self.together().factors.definition(a).is_none() { (a, b) } else { (b, a) }
    }

    /// What a loop carries times something, in the same registers.
    pub(super) fn multiplied(&self, ty: &'a TileType, factors: (ValueId, ValueId)) -> Tile<'a> {
        let (w, (carried, by)) = (&self.writer, self.of_carried(factors));
        let [elements, by] = [carried, by].map(|it| self.tile(it).spread(ty));
        let by: Vec<Reg> = by.into_iter().map(|it| w.reg(RegType::F32, it)).collect();
        let kept = self.rings.as_ref().and_then(|_| self.skip_ones(&by));
        for (&element, by) in elements.iter().zip(by) {
            let register = w.reg(RegType::F32, element);
            let op = Op::FloatBinary {
                op: FloatOp::Mul,
                round: Round::Nearest,
                flush: Flush::Keep,
                ty: Float::F32,
            };
            w.add(Inst::new(op, args![register, register, by]));
        }
        kept.into_iter().for_each(|it| w.place(it));
        Tile { ty, elements }
    }

    /// Goes to a label where all factors of a warp are 1, as they are in most turns: scales are raised seldom.
    fn skip_ones(&self, factors: &[Reg]) -> Option<Label> {
        let different = different(factors);
        if different.len() > ROWS || different.len() == factors.len() {
            return None;
        }
        let asked = self.asked.as_ref().filter(|it| it.0 == different).map(|it| it.1);
        let any = asked.unwrap_or_else(|| self.any_but_one(&different));
        let kept = self.writer.label("kept");
        self.writer.bra(kept, Some((any, false)));
        Some(kept)
    }

    /// Whether any factor of a warp is not 1.
    fn any_but_one(&self, factors: &[Reg]) -> Reg {
        let (w, one) = (&self.writer, Value::F32(1f32.to_bits()));
        let changes = |it: &Reg| float_compare(w, Float::F32, FloatCompare::Neu, Value::Reg(*it), one);
        let some = factors.iter().map(changes).reduce(|a, b| or(w, a, b)).expect("there are factors");
        let (some, any) = (w.reg(RegType::Pred, some), w.fresh(RegType::Pred));
        w.add(Inst::new(Op::Vote { mode: Vote::Any }, args![any, some, -1]));
        any
    }

    /// Asks whether what a statement multiplies changes while products are added to it: ptxas would take the factors only
    /// behind them.
    pub(super) fn ask_of_factors(&mut self, scaled: &Stmt) {
        let &Stmt::Let(_, TileOp::Binary(BinaryOp::Mul, a, b)) = scaled else { return };
        let elements = &self.tile(self.of_carried((a, b)).1).elements;
        let reg = |it: &Value| if let Value::Reg(it) = it { Some(*it) } else { None };
        let Some(factors) = elements.iter().map(reg).collect::<Option<Vec<Reg>>>() else { return };
        let factors = different(&factors);
        if !factors.is_empty() && factors.len() <= ROWS {
            let any = self.any_but_one(&factors);
            self.asked = Some((factors, any));
        }
    }

    /// Registers for sums that begin with these values: their own if nothing else needs them.
    pub(super) fn registers_of(&self, sum: ValueId, before: &[Value]) -> Vec<Reg> {
        if self.in_place.contains(&sum) {
            return before.iter().map(|it| self.writer.reg(RegType::F32, *it)).collect();
        }
        let sums: Vec<Reg> = before.iter().map(|_| self.writer.fresh(RegType::F32)).collect();
        sums.iter().zip(before).for_each(|(&sum, &it)| self.writer.copy(sum, it));
        sums
    }
}

/// Each once.
fn different(registers: &[Reg]) -> Vec<Reg> {
    let mut all = registers.to_vec();
    all.sort_unstable_by_key(|it| it.id);
    all.dedup();
    all
}
