//! What a block has: shared memory, and registers to give and take.

use super::{Findings, Rule};
use crate::modifier::RegisterChange;
use crate::module::{Module, Operand, Target, VarPlace};
use crate::op::Op;

/// The registers of a multiprocessor.
const REGISTERS: u32 = 64 * 1024;

pub(super) fn check(module: &Module, found: &mut Findings<'_>) {
    shared(module, found);
    pool(found);
}

/// The most shared memory that a text may declare with its size; more is asked for at a launch.
pub const DECLARED: u32 = 48 * 1024;

/// The most shared memory of a block.
fn shared_limit(target: Target) -> u64 {
    match target {
        Target::Sm80 => 163 * 1024,
        Target::Sm90a => 227 * 1024,
    }
}

/// Variables, one after the other as they are aligned; the dynamic ones share one place at the end.
fn shared(module: &Module, found: &mut Findings<'_>) {
    let (mut end, mut dynamic, mut align) = (0u64, 0u64, 1u64);
    for var in &found.kernel.vars {
        if !var.align.is_power_of_two() {
            let why = format!("`{}` is aligned to {}, which is no power of two", var.name, var.align);
            found.kernel(Rule::SharedMemory, why);
            return;
        }
        let (at, bytes) = (u64::from(var.align), u64::from(var.bytes));
        match var.place {
            VarPlace::Shared => end = end.next_multiple_of(at) + bytes,
            VarPlace::Dynamic => (dynamic, align) = (dynamic.max(bytes), align.max(at)),
            VarPlace::Local => {}
        }
    }
    if end > u64::from(DECLARED) {
        let why = format!("{end} bytes of shared memory are declared, more than {DECLARED}");
        found.kernel(Rule::SharedMemory, why);
    }
    let bytes = end.next_multiple_of(align) + dynamic;
    let limit = shared_limit(module.target);
    if bytes > limit {
        let why =
            format!("{bytes} bytes of shared memory are more than the {limit} of {}", module.target.text());
        found.kernel(Rule::SharedMemory, why);
    }
}

/// Registers that warp groups take were given back by others.
///
/// Each `dec` is taken to be run by one warp group, and every other group to run the largest `inc`. The
/// registers at the start are what ptxas divides: the same for all threads, in steps of 8.
fn pool(found: &mut Findings<'_>) {
    let (mut given, mut most, mut first) = (Vec::new(), None, None);
    for (at, inst) in found.kernel.insts() {
        let Op::SetMaxRegisters { change } = inst.op else { continue };
        let Some(Operand::Int(registers)) = inst.operands.first() else { continue };
        first = first.or(Some((at, inst)));
        if registers % 8 != 0 {
            found.inst(Rule::Pool, at, inst, format!("{registers} registers are no multiple of 8"));
        }
        let registers = u32::try_from(*registers).unwrap_or(u32::MAX);
        match change {
            RegisterChange::Dec => given.push(registers),
            RegisterChange::Inc => most = most.max(Some(registers)),
        }
    }
    let Some((at, inst)) = first else { return };
    let (Some(threads), Some(blocks)) = (found.kernel.max_threads, found.kernel.min_blocks) else {
        let why = "registers at the start are not known without `.maxntid` and `.minnctapersm`";
        found.inst(Rule::Pool, at, inst, why);
        return;
    };
    let threads: u32 = threads.iter().product();
    if threads == 0 || !threads.is_multiple_of(128) || blocks == 0 {
        let why = format!("{threads} threads are no whole number of warp groups");
        found.inst(Rule::Pool, at, inst, why);
        return;
    }
    let start = (REGISTERS / (threads * blocks) / 8 * 8).min(255);
    let groups = threads / 128;
    let taking = groups.saturating_sub(given.len() as u32);
    let wanted: u32 = given.iter().sum::<u32>() + taking * most.unwrap_or(start);
    if wanted > groups * start {
        let why = format!(
            "{} warp groups with {given:?} and {taking} with {} registers need {wanted}, but {groups} start with {start} each",
            given.len(),
            most.unwrap_or(start)
        );
        found.inst(Rule::Pool, at, inst, why);
    }
}
