//! Instructions one by one: operands, machine and version, labels, barriers.

use super::{Findings, Rule};
use crate::module::{Inst, Kernel, Module, Operand, Stmt};
use crate::op::Op;

/// Checks every instruction; whether the other rules may go on.
pub(super) fn check(module: &Module, found: &mut Findings<'_>) -> bool {
    let kernel = found.kernel;
    let before = found.broken.len();
    let placed = labels(kernel, found);
    for (at, inst) in kernel.insts() {
        if let Err(why) = inst.check() {
            found.inst(Rule::Operand, at, inst, why);
            continue;
        }
        names(kernel, at, inst, found);
        for operand in &inst.operands {
            if let Operand::Label(label) = operand
                && placed.get(label.0 as usize).is_none_or(|places| *places == 0)
            {
                found.inst(Rule::Label, at, inst, "the label is not placed");
            }
        }
    }
    let sound = found.broken.len() == before;
    for (at, inst) in kernel.insts() {
        features(module, at, inst, found);
        barrier(at, inst, found);
    }
    sound
}

/// How often each label is placed.
fn labels(kernel: &Kernel, found: &mut Findings<'_>) -> Vec<u32> {
    let mut placed = vec![0; kernel.labels.len()];
    for (at, stmt) in kernel.body.iter().enumerate() {
        match stmt {
            Stmt::NoUnroll if at == 0 || !matches!(kernel.body[at - 1], Stmt::Label(_)) => {
                found.kernel(Rule::Label, "`nounroll` does not follow the label of a loop".to_owned());
            }
            Stmt::Label(label) => match placed.get_mut(label.0 as usize) {
                Some(places) => *places += 1,
                None => found.kernel(Rule::Label, format!("label {} has no name", label.0)),
            },
            Stmt::NoUnroll | Stmt::Comment(_) | Stmt::Inst(_) => {}
        }
    }
    for (name, _) in kernel.labels.iter().zip(&placed).filter(|(_, places)| **places > 1) {
        found.kernel(Rule::Label, format!("label `${name}` is placed more than once"));
    }
    placed
}

/// Registers are declared, with the type that they have where they are used.
fn names(kernel: &Kernel, at: usize, inst: &Inst, found: &mut Findings<'_>) {
    for reg in inst.reads().into_iter().chain(inst.writes()) {
        match kernel.regs.get(reg.id as usize) {
            Some(declared) if declared.ty == reg.ty => {}
            Some(declared) => {
                let (name, is, used) = (&declared.name, declared.ty.text(), reg.ty.text());
                found.inst(Rule::Operand, at, inst, format!("register `%{name}` is {is}, used as {used}"));
            }
            None => found.inst(Rule::Operand, at, inst, format!("register {} is not declared", reg.id)),
        }
    }
}

fn features(module: &Module, at: usize, inst: &Inst, found: &mut Findings<'_>) {
    let (target, version) = (inst.op.least_target(), inst.op.least_version());
    if target > module.target {
        let why = format!("it needs {}, the module is for {}", target.text(), module.target.text());
        found.inst(Rule::Feature, at, inst, why);
    }
    if version > module.version {
        let ((needed, minor), (has, has_minor)) = (version, module.version);
        let why = format!("it needs version {needed}.{minor}, the module has {has}.{has_minor}");
        found.inst(Rule::Feature, at, inst, why);
    }
}

fn barrier(at: usize, inst: &Inst, found: &mut Findings<'_>) {
    if let (Op::BarSync | Op::BarArrive, Some(Operand::Int(threads))) = (inst.op, inst.operands.get(1))
        && (*threads <= 0 || threads % 32 != 0)
    {
        found.inst(Rule::Barrier, at, inst, format!("{threads} threads are no whole number of warps"));
    }
}
