//! What is known of addresses: a variable and a number of bytes, and perhaps a multiple of a power of two.
//!
//! A register that one instruction writes, from what is known, is known, and any number times one that is known is a multiple
//! of it. The rest is for the emulator.

use std::collections::BTreeMap;

use super::boxes::{self, Boxes};
use super::{Findings, Rule};
use crate::modifier::{IntOp, Space};
use crate::module::{Address, Base, Inst, Kernel, Operand, VarId, VarPlace};
use crate::op::Op;
use crate::signature::{Access, Kind};
use crate::types::Type;

/// Bytes from the start of a variable, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    var: Option<VarId>,
    bytes: i64,
    /// A power of two of which any multiple may be added; 0 where nothing is.
    step: i64,
}

impl Known {
    fn number(bytes: i64) -> Known {
        Known { var: None, bytes, step: 0 }
    }
}

pub(super) fn check(found: &mut Findings<'_>) {
    let kernel = found.kernel;
    let (known, boxes) = (values(kernel), Boxes::of(kernel));
    for (at, inst) in kernel.insts() {
        for (position, (slot, operand)) in inst.slots().enumerate() {
            let (Kind::Address(Space::Shared), Operand::Address(address)) = (slot.kind, operand) else {
                continue;
            };
            let Some(place) = resolve(&known, *address) else { continue };
            if let Some(why) = misplaced(kernel, access(inst, position, &boxes), place) {
                found.inst(Rule::Address, at, inst, why);
            }
        }
    }
}

/// What is wrong with an access at a known place.
fn misplaced(kernel: &Kernel, access: Option<(i64, i64)>, place: Known) -> Option<String> {
    let (bytes, align) = access?;
    let is_off = place.bytes % if place.step == 0 { align } else { align.min(place.step) } != 0;
    let Some(VarId(var)) = place.var else {
        return is_off.then(|| format!("address {} is no multiple of {align}", place.bytes));
    };
    let var = &kernel.vars[var as usize];
    if var.place == VarPlace::Local {
        return None;
    }
    if place.step == 0 && (place.bytes < 0 || place.bytes + bytes > var.bytes.into()) {
        let (name, size, from) = (&var.name, var.bytes, place.bytes);
        return Some(format!("{bytes} bytes at {from} are outside of `{name}`, which has {size}"));
    }
    let aligned = i64::from(var.align).min(align);
    if aligned < align {
        return Some(format!("`{}` is aligned to {}, the access needs {align}", var.name, var.align));
    }
    is_off.then(|| format!("byte {} of `{}` is no multiple of {align}", place.bytes, var.name))
}

/// The bytes of an access to shared memory, at least, and what its address is a multiple of.
fn access(inst: &Inst, position: usize, boxes: &Boxes) -> Option<(i64, i64)> {
    let plain = |bytes: u32| Some((bytes.into(), bytes.into()));
    #[allow(clippy::wildcard_enum_match_arm, reason = "other instructions are checked when they run")]
    match inst.op {
        Op::Ld { ty, lanes, .. } | Op::St { ty, lanes, .. } => {
            plain(Type::from(ty).bits() / 8 * u32::from(lanes.count()))
        }
        Op::Ldmatrix { .. } | Op::Stmatrix { .. } => plain(16),
        Op::TensorLoad { .. } if position == 0 => {
            Some(boxes.bytes(inst).map_or((16, 128), |bytes| (bytes, boxes::ALIGN)))
        }
        Op::TensorStore { .. } => Some((16, 128)),
        Op::BulkLoad if position == 0 => plain(16),
        Op::BulkStore | Op::BulkAdd => plain(16),
        Op::TensorLoad { .. }
        | Op::BulkLoad
        | Op::CpAsyncArrive
        | Op::MbarrierInit
        | Op::MbarrierInval
        | Op::MbarrierArrive
        | Op::MbarrierArriveMany
        | Op::MbarrierArriveExpect
        | Op::MbarrierWait { .. } => plain(8),
        Op::CpAsync { .. } | Op::CpAsyncFill { .. } => match inst.operands.get(2) {
            Some(Operand::Int(bytes)) => Some((*bytes, *bytes)),
            Some(_) | None => None,
        },
        _ => None,
    }
}

fn resolve(known: &BTreeMap<u32, Known>, address: Address) -> Option<Known> {
    let base = match address.base {
        Base::Reg(reg) => *known.get(&reg.id)?,
        Base::Var(var) => Known { var: Some(var), bytes: 0, step: 0 },
        Base::Param(_) => return None,
    };
    Some(Known { bytes: base.bytes + i64::from(address.offset), ..base })
}

/// The registers whose values are known.
fn values(kernel: &Kernel) -> BTreeMap<u32, Known> {
    let mut writes: BTreeMap<u32, u32> = BTreeMap::new();
    for (_, inst) in kernel.insts() {
        inst.writes().iter().for_each(|reg| *writes.entry(reg.id).or_default() += 1);
    }
    let mut known = BTreeMap::new();
    for (_, inst) in kernel.insts().filter(|(_, inst)| inst.guard.is_none()) {
        let Some(Operand::Reg(into)) = inst.operands.first() else { continue };
        if writes.get(&into.id) == Some(&1)
            && let Some(value) = value(inst, &known)
        {
            known.insert(into.id, value);
        }
    }
    known
}

/// The value that an instruction gives, from what is known.
fn value(inst: &Inst, known: &BTreeMap<u32, Known>) -> Option<Known> {
    let operand = |at: usize| match inst.operands.get(at)? {
        Operand::Reg(reg) => known.get(&reg.id).copied(),
        Operand::Int(int) => Some(Known::number(*int)),
        Operand::Var(var) => Some(Known { var: Some(*var), bytes: 0, step: 0 }),
        Operand::F32(_)
        | Operand::F64(_)
        | Operand::Special(_)
        | Operand::Param(_)
        | Operand::Sink
        | Operand::Label(_)
        | Operand::Vector(_)
        | Operand::Address(_)
        | Operand::Tensor(..) => None,
    };
    if inst.slots().next().is_none_or(|(slot, _)| slot.access != Access::Write) {
        return None;
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "what other instructions give is not known")]
    match inst.op {
        Op::Mov { .. } => operand(1),
        Op::IntBinary { op: IntOp::Add, .. } => {
            let (a, b) = (operand(1)?, operand(2)?);
            let var = if a.var.is_some() && b.var.is_some() { return None } else { a.var.or(b.var) };
            // Of two powers of two the smaller one is one of both.
            let step = if a.step.min(b.step) == 0 { a.step.max(b.step) } else { a.step.min(b.step) };
            Some(Known { var, bytes: a.bytes.checked_add(b.bytes)?, step })
        }
        Op::IntBinary { op: IntOp::MulLo, .. } => {
            let is_number = |it: &Known| it.var.is_none() && it.step == 0;
            match (operand(1).filter(is_number), operand(2).filter(is_number)?) {
                (Some(a), b) => a.bytes.checked_mul(b.bytes).map(Known::number),
                (None, b) if b.bytes > 0 => {
                    Some(Known { step: 1 << b.bytes.trailing_zeros(), ..Known::number(0) })
                }
                (None, _) => None,
            }
        }
        _ => None,
    }
}
