//! How many registers a kernel needs, as far as its text tells.

use std::collections::HashMap;

use attnc_ptx::types::RegType;
use attnc_ptx::{Kernel, Op, Operand, Reg, Stmt};

use crate::ir::lives::{Life, most_at_once};

/// The most registers of 32 bits that hold values at the same time. What a loop reads lives until its last round.
pub(super) fn pressure(kernel: &Kernel) -> u32 {
    let mut lives: HashMap<Reg, (usize, usize)> = HashMap::new();
    let mut loops = Vec::new();
    let mut labels = HashMap::new();
    for (at, stmt) in kernel.body.iter().enumerate() {
        let inst = match stmt {
            Stmt::Label(label) => {
                labels.insert(*label, at);
                continue;
            }
            Stmt::NoUnroll | Stmt::Comment(_) => continue,
            Stmt::Inst(inst) => inst,
        };
        for reg in inst.writes().into_iter().chain(inst.reads()) {
            lives.entry(reg).or_insert((at, at)).1 = at;
        }
        if let (Op::Bra { .. }, [Operand::Label(to)]) = (inst.op, inst.operands.as_slice())
            && let Some(&start) = labels.get(to)
        {
            loops.push((start, at));
        }
    }
    // Loops end in the order in which they are found, so those inside come first.
    let lives = lives.into_iter().map(|(reg, (first, last))| {
        let words = match reg.ty {
            RegType::Pred => 0,
            RegType::B16 | RegType::B32 | RegType::F32 => 1,
            RegType::B64 | RegType::F64 => 2,
        };
        Life { first, last, words }
    });
    most_at_once(lives.collect::<Vec<_>>(), &loops)
}
