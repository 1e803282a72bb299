//! Registers of products of warp groups are not touched from the issue to the wait that covers it.
//!
//! The state is the groups of products under way, the open one first, each with the registers of its
//! sums and of its factors. Where paths meet, groups are as old as the younger of the two.

use super::bits::Bits;
use super::flow::Flow;
use super::{Findings, Rule};
use crate::module::{Inst, Operand, Reg};
use crate::op::Op;

/// The most groups that a wait can leave under way, and the open one.
const MOST: usize = 9;

/// A group of products.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    sums: Bits,
    factors: Bits,
}

/// The groups under way, the youngest first.
type State = Vec<Group>;

pub(super) fn check(flow: &Flow<'_>, found: &mut Findings<'_>) {
    let count = flow.kernel.regs.len();
    let none = Group { sums: Bits::none(count), factors: Bits::none(count) };
    let start = vec![none.clone()];
    let step = |block: usize, state: &mut State| {
        flow.of(block).for_each(|(_, inst)| advance(inst, state, &none));
    };
    let states = flow.solve(start, step, |into, from| join(into, from, &none));
    for (block, state) in states.into_iter().enumerate() {
        let Some(mut state) = state else { continue };
        for (at, inst) in flow.of(block) {
            if let Some(reg) = touched(inst, &state) {
                let why = format!("register {} belongs to a product that is under way", found.name(reg.id));
                found.inst(Rule::InFlight, at, inst, why);
            }
            advance(inst, &mut state, &none);
        }
    }
}

fn join(into: &mut State, from: &State, none: &Group) -> bool {
    let mut changed = into.len() < from.len();
    into.resize(into.len().max(from.len()), none.clone());
    for (mine, theirs) in into.iter_mut().zip(from) {
        changed |= mine.sums.join(&theirs.sums) | mine.factors.join(&theirs.factors);
    }
    changed
}

/// What an instruction does to the groups.
fn advance(inst: &Inst, state: &mut State, none: &Group) {
    #[allow(clippy::wildcard_enum_match_arm, reason = "other instructions do nothing to groups")]
    match inst.op {
        Op::WgmmaShared { .. } | Op::WgmmaMixed { .. } => {
            let (sums, factors) = parts(inst);
            sums.iter().for_each(|reg| state[0].sums.add(reg.id as usize));
            factors.iter().for_each(|reg| state[0].factors.add(reg.id as usize));
        }
        Op::WgmmaCommit => {
            state.insert(0, none.clone());
            if let Some(oldest) = (state.len() > MOST).then(|| state.pop()).flatten()
                && let Some(last) = state.last_mut()
            {
                last.sums.join(&oldest.sums);
                last.factors.join(&oldest.factors);
            }
        }
        Op::WgmmaWait => {
            if let Some(Operand::Int(left)) = inst.operands.first() {
                state.truncate(1 + *left as usize);
            }
        }
        _ => {}
    }
}

/// A register that an instruction must not touch.
fn touched(inst: &Inst, state: &State) -> Option<Reg> {
    let held = |reg: &Reg, factors: bool| {
        let id = reg.id as usize;
        state.iter().any(|group| group.sums.has(id) || (factors && group.factors.has(id)))
    };
    if matches!(inst.op, Op::WgmmaShared { .. } | Op::WgmmaMixed { .. }) {
        // Products add to the same sums in order, and may share factors.
        return parts(inst).1.into_iter().find(|reg| held(reg, false));
    }
    inst.reads().into_iter().chain(inst.writes()).find(|reg| held(reg, true))
}

/// The registers of the sums, and of the left factor if it is in registers.
fn parts(inst: &Inst) -> (Vec<Reg>, Vec<Reg>) {
    let regs = |at: usize| {
        let mut regs = Vec::new();
        if let Some(Operand::Vector(elements)) = inst.operands.get(at) {
            elements.iter().for_each(|element| element.regs(&mut regs));
        }
        regs
    };
    (regs(0), regs(1))
}
