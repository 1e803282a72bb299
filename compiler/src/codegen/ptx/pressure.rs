//! How many registers a kernel needs, as far as its text tells.

use std::collections::HashMap;

use attnc_ptx::types::RegType;
use attnc_ptx::{Kernel, Op, Operand, Reg, Stmt};

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
            Stmt::Comment(_) => continue,
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
    let mut change = vec![0i64; kernel.body.len() + 1];
    for (reg, (first, mut last)) in sorted(lives) {
        // Loops end in the order in which they are found, so those inside come first.
        for &(start, end) in &loops {
            if first < start && (start..=end).contains(&last) {
                last = end;
            }
        }
        let words = match reg.ty {
            RegType::Pred => 0,
            RegType::B16 | RegType::B32 | RegType::F32 => 1,
            RegType::B64 | RegType::F64 => 2,
        };
        change[first] += words;
        change[last] -= words;
    }
    let mut live = 0;
    let most = change.iter().map(|it| {
        live += it;
        live
    });
    u32::try_from(most.max().unwrap_or(0)).unwrap_or(u32::MAX)
}

fn sorted(lives: HashMap<Reg, (usize, usize)>) -> Vec<(Reg, (usize, usize))> {
    let mut sorted: Vec<_> = lives.into_iter().collect();
    sorted.sort_unstable();
    sorted
}
