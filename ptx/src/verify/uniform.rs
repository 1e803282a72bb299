//! Instructions that a whole warp has to run are not where its lanes part.
//!
//! A register is uniform if all lanes of a warp have the same value. A branch on one that is not parts the
//! lanes; until all its paths have met, what needs a whole warp is rejected, and there the registers that
//! were written on the way are uniform no more.

use super::bits::Bits;
use super::flow::Flow;
use super::post::{Meeting, meetings};
use super::{Findings, Rule};
use crate::modifier::special::Special;
use crate::modifier::{Compare, IntOp, LogicOp, Shuffle, Space};
use crate::module::{Base, Inst, Operand};
use crate::op::Op;

/// What is known of a register across the lanes of a warp. Larger is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spread {
    /// All lanes have the same.
    Uniform,
    /// It is the number of the thread along x: 32 in a row, from a multiple of 32 on.
    Thread,
    /// Anything.
    Varying,
}

/// Whether an instruction may end threads.
pub(super) fn ends(inst: &Inst) -> bool {
    matches!(inst.op, Op::Ret | Op::Exit | Op::Trap)
}

pub(super) fn check(flow: &Flow<'_>, found: &mut Findings<'_>) {
    let meetings = meetings(flow);
    let mut parting = Bits::none(flow.blocks.len());
    // Each round may find more branches that part lanes, as what they merge is less uniform.
    let states = loop {
        let states = solve(flow, &meetings, &parting);
        let mut more = false;
        for (block, state) in states.iter().enumerate() {
            let (Some(state), Some(branch)) = (state, flow.branch(block)) else { continue };
            let mut state = state.clone();
            flow.of(block).for_each(|(_, inst)| step(flow, inst, &mut state));
            let varies = branch.guard.is_some_and(|guard| state[guard.reg.id as usize] != Spread::Uniform);
            if varies && !parting.has(block) {
                parting.add(block);
                more = true;
            }
        }
        if !more {
            break states;
        }
    };
    let mut apart = Bits::none(flow.blocks.len());
    for (block, meeting) in meetings.iter().enumerate() {
        if parting.has(block) {
            apart.join(&meeting.region);
        }
    }
    for (block, state) in states.into_iter().enumerate() {
        let Some(mut state) = state else { continue };
        for (at, inst) in flow.of(block) {
            let guarded = inst.guard.is_some_and(|guard| state[guard.reg.id as usize] != Spread::Uniform);
            let needs_warp = needs_warp(inst);
            if needs_warp && apart.has(block) {
                found.inst(Rule::Uniform, at, inst, "it needs a whole warp, but lanes have parted here");
            } else if needs_warp && guarded {
                found.inst(
                    Rule::Uniform,
                    at,
                    inst,
                    "it needs a whole warp, but its guard may differ by lane",
                );
            }
            step(flow, inst, &mut state);
        }
    }
}

/// The spread of all registers at the start of each block, if these branches part lanes.
fn solve(flow: &Flow<'_>, meetings: &[Meeting], parting: &Bits) -> Vec<Option<Vec<Spread>>> {
    // What is written between a branch that parts lanes and its meeting place varies there.
    let mut merged: Vec<Vec<usize>> = vec![Vec::new(); flow.blocks.len()];
    for (_, meeting) in meetings.iter().enumerate().filter(|(block, _)| parting.has(*block)) {
        let Some(place) = meeting.at else { continue };
        for inside in (0..flow.blocks.len()).filter(|it| meeting.region.has(*it)) {
            for (_, inst) in flow.of(inside) {
                merged[place].extend(inst.writes().iter().map(|reg| reg.id as usize));
            }
        }
    }
    let spoil = |block: usize, state: &mut Vec<Spread>| {
        merged[block].iter().for_each(|reg| state[*reg] = Spread::Varying);
    };
    let through = |block: usize, state: &mut Vec<Spread>| {
        spoil(block, state);
        flow.of(block).for_each(|(_, inst)| step(flow, inst, state));
    };
    let join = |into: &mut Vec<Spread>, from: &Vec<Spread>| {
        let mut changed = false;
        for (mine, theirs) in into.iter_mut().zip(from) {
            changed |= *theirs > *mine;
            *mine = (*mine).max(*theirs);
        }
        changed
    };
    let mut states = flow.solve(vec![Spread::Uniform; flow.kernel.regs.len()], through, join);
    for (block, state) in states.iter_mut().enumerate() {
        if let Some(state) = state {
            spoil(block, state);
        }
    }
    states
}

/// What an instruction does to the spread of registers.
fn step(flow: &Flow<'_>, inst: &Inst, state: &mut [Spread]) {
    let mut result = result(flow, inst, state);
    if inst.guard.is_some_and(|guard| state[guard.reg.id as usize] != Spread::Uniform) {
        result = Spread::Varying;
    }
    for reg in inst.writes() {
        let before = state[reg.id as usize];
        // Under a guard the value of before may stay.
        state[reg.id as usize] = if inst.guard.is_some() { before.max(result) } else { result };
    }
}

/// The spread of what an instruction gives.
fn result(flow: &Flow<'_>, inst: &Inst, state: &[Spread]) -> Spread {
    let all = inst.slots().filter(|(slot, _)| slot.access != crate::signature::Access::Write);
    let worst = all.map(|(_, operand)| spread(operand, state)).max().unwrap_or(Spread::Uniform);
    let flat = flow.kernel.max_threads.is_some_and(|[_, y, z]| y == 1 && z == 1);
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "most instructions give the same for the same operands"
    )]
    match inst.op {
        Op::Mov { .. } if worst == Spread::Thread => {
            if flat {
                Spread::Thread
            } else {
                Spread::Varying
            }
        }
        Op::IntBinary { op, .. } if worst == Spread::Thread => by_warp(inst, state, |number| match op {
            IntOp::Div => number % 32 == 0,
            _ => false,
        }),
        Op::Shr { .. } if worst == Spread::Thread => by_warp(inst, state, |number| number >= 5),
        Op::Logic { op: LogicOp::And, .. } if worst == Spread::Thread => {
            by_warp(inst, state, |number| number & 31 == 0)
        }
        Op::IntSetp { cmp: Compare::Lt | Compare::Ge, .. } if worst == Spread::Thread => {
            by_warp(inst, state, |number| number % 32 == 0)
        }
        // All lanes get the value of one, if all of them take part.
        Op::Shfl { mode: Shuffle::Idx } => {
            let whole = matches!(inst.operands.get(3..5), Some([Operand::Int(31), Operand::Int(-1)]));
            let lane = inst.operands.get(2).map_or(Spread::Varying, |lane| spread(lane, state));
            if whole && lane == Spread::Uniform { Spread::Uniform } else { Spread::Varying }
        }
        Op::Vote { .. } | Op::Ballot | Op::Redux { .. } | Op::MatchAll { .. } => Spread::Uniform,
        Op::MbarrierWait { .. } => {
            if worst == Spread::Uniform {
                Spread::Uniform
            } else {
                Spread::Varying
            }
        }
        Op::Ld { space: Space::Local, .. } => Spread::Varying,
        Op::Shfl { .. }
        | Op::ShflIn { .. }
        | Op::MatchAny { .. }
        | Op::Elect
        | Op::Atom { .. }
        | Op::AtomCas { .. }
        | Op::Ldmatrix { .. }
        | Op::Movmatrix
        | Op::Mma { .. }
        | Op::WgmmaShared { .. }
        | Op::WgmmaMixed { .. } => Spread::Varying,
        _ => {
            if worst == Spread::Uniform {
                Spread::Uniform
            } else {
                Spread::Varying
            }
        }
    }
}

/// Whether an operation of the number of the thread and such a number is the same for a whole warp.
fn by_warp(inst: &Inst, state: &[Spread], fits: impl Fn(i64) -> bool) -> Spread {
    match (inst.operands.get(1), inst.operands.get(2)) {
        (Some(first), Some(Operand::Int(number)))
            if spread(first, state) == Spread::Thread && fits(*number) =>
        {
            Spread::Uniform
        }
        _ => Spread::Varying,
    }
}

/// The spread of an operand.
fn spread(operand: &Operand, state: &[Spread]) -> Spread {
    let of = |operands: &[Operand]| operands.iter().map(|it| spread(it, state)).max();
    let base = |base: Base| match base {
        Base::Reg(reg) => state[reg.id as usize],
        Base::Var(_) | Base::Param(_) => Spread::Uniform,
    };
    match operand {
        Operand::Reg(reg) => state[reg.id as usize],
        Operand::Special(special) => match special {
            Special::TidX => Spread::Thread,
            Special::TidY
            | Special::TidZ
            | Special::LaneId
            | Special::LanemaskLt
            | Special::LanemaskLe
            | Special::LanemaskEq
            | Special::LanemaskGe
            | Special::LanemaskGt
            | Special::Clock
            | Special::Clock64
            | Special::GlobalTimer => Spread::Varying,
            Special::NtidX
            | Special::NtidY
            | Special::NtidZ
            | Special::CtaidX
            | Special::CtaidY
            | Special::CtaidZ
            | Special::NctaidX
            | Special::NctaidY
            | Special::NctaidZ
            | Special::WarpId
            | Special::SmId
            | Special::NsmId
            | Special::ClusterCtaRank
            | Special::ClusterNctaRank
            | Special::ClusterIdX
            | Special::ClusterCtaidX
            | Special::DynamicSmemSize
            | Special::TotalSmemSize => Spread::Uniform,
        },
        Operand::Vector(elements) => of(elements).unwrap_or(Spread::Uniform),
        Operand::Address(address) => base(address.base),
        Operand::Tensor(map, coordinates) => base(map.base).max(of(coordinates).unwrap_or(Spread::Uniform)),
        Operand::Int(_)
        | Operand::F32(_)
        | Operand::F64(_)
        | Operand::Var(_)
        | Operand::Param(_)
        | Operand::Sink
        | Operand::Label(_) => Spread::Uniform,
    }
}

/// Whether all lanes of a warp have to run it together.
fn needs_warp(inst: &Inst) -> bool {
    // One of all lanes is elected by all of them.
    if inst.op == Op::Elect {
        return matches!(inst.operands.get(2), Some(Operand::Int(-1)));
    }
    matches!(
        inst.op,
        Op::BarSyncAll
            | Op::BarSync
            | Op::BarArrive
            | Op::Ldmatrix { .. }
            | Op::Stmatrix { .. }
            | Op::Movmatrix
            | Op::Mma { .. }
            | Op::WgmmaFence
            | Op::WgmmaShared { .. }
            | Op::WgmmaMixed { .. }
            | Op::WgmmaCommit
            | Op::WgmmaWait
            | Op::SetMaxRegisters { .. }
    )
}
