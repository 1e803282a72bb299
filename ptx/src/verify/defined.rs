//! Registers are written before they are read, on some path.
//!
//! A write under a guard counts. The sums of a product of a warp group need not be written before: a
//! predicate says whether they count.

use super::bits::Bits;
use super::flow::Flow;
use super::{Findings, Rule};
use crate::module::{Inst, Reg};
use crate::op::Op;
use crate::signature::Access;

pub(super) fn check(flow: &Flow<'_>, found: &mut Findings<'_>) {
    let count = flow.kernel.regs.len();
    let step = |block: usize, written: &mut Bits| {
        for (_, inst) in flow.of(block) {
            inst.writes().iter().for_each(|reg| written.add(reg.id as usize));
        }
    };
    let states = flow.solve(Bits::none(count), step, |into, from| into.join(from));
    for (block, state) in states.into_iter().enumerate() {
        let Some(mut written) = state else { continue };
        for (at, inst) in flow.of(block) {
            for reg in needed(inst) {
                if !written.has(reg.id as usize) {
                    let why =
                        format!("register {} is read, but nothing before it writes it", found.name(reg.id));
                    found.inst(Rule::Defined, at, inst, why);
                    // Once is enough for what follows.
                    written.add(reg.id as usize);
                }
            }
            inst.writes().iter().for_each(|reg| written.add(reg.id as usize));
        }
    }
}

/// The registers whose values an instruction needs.
fn needed(inst: &Inst) -> Vec<Reg> {
    if !matches!(inst.op, Op::WgmmaShared { .. } | Op::WgmmaMixed { .. }) {
        return inst.reads();
    }
    let mut regs = Vec::new();
    for (_, operand) in inst.slots().filter(|(slot, _)| slot.access == Access::Read) {
        operand.regs(&mut regs);
    }
    regs
}
