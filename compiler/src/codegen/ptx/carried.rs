//! Sums of products that a loop carries, in the registers in which it does: `wgmma` adds to registers, and a thread has no
//! room for them twice, whoever adds.
//!
//! ```text
//! carry %O -> %3:  %1 = %O * %f;  %2 = contract %p, %v into 0;  %3 = %1 + %2     ->   mul %o, %o, %f;  wgmma {%o ..}
//! ```

use attnc_ptx::modifier::{FloatOp, Flush, Round};
use attnc_ptx::types::{Float, RegType};
use attnc_ptx::{Inst, Op, Reg, args};

use super::block::Emitter;
use super::op::Tile;
use super::value::Value;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Block, Carried, Loop, Op as TileOp, Stmt, TileType, ValueId};

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
    /// is made of it on the way.
    fn in_registers(&self, carried: &Carried, body: &Block) -> Vec<ValueId> {
        let factors = &self.together().factors;
        let mut sums = body.stmts.iter().filter_map(|stmt| match stmt {
            Stmt::Let(product, TileOp::Contract { .. }) => factors.sum(*product),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        let Some((sum, before)) = sums.find(|it| it.0 == carried.next) else { return Vec::new() };
        if !factors.is_used_once(carried.current) || !factors.is_used_once(before) {
            return Vec::new();
        }
        let is_here = |it: &Stmt| matches!(it, Stmt::Let(value, _) if *value == before);
        match factors.definition(before) {
            None if before == carried.current => vec![sum],
            Some(&TileOp::Binary(BinaryOp::Mul, a, _))
                if a == carried.current && body.stmts.iter().any(is_here) =>
            {
                vec![before, sum]
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// What a loop carries times something, in the same registers.
    pub(super) fn multiplied(&self, ty: &'a TileType, (carried, by): (ValueId, ValueId)) -> Tile<'a> {
        let w = &self.writer;
        let [elements, by] = [carried, by].map(|it| self.tile(it).spread(ty));
        for (&element, by) in elements.iter().zip(by) {
            let [register, by] = [element, by].map(|it| w.reg(RegType::F32, it));
            let op = Op::FloatBinary {
                op: FloatOp::Mul,
                round: Round::Nearest,
                flush: Flush::Keep,
                ty: Float::F32,
            };
            w.add(Inst::new(op, args![register, register, by]));
        }
        Tile { ty, elements }
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
