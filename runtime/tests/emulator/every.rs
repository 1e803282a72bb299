//! Every form whose operands are registers and numbers runs on any bits.

use attnc_ptx::signature::{Access, Kind, Slot};
use attnc_ptx::{Op, Target};

use crate::one::{In, compute, random};

/// An operand of any bits for a slot; none for what is no register or number.
fn operand(slot: &Slot, seed: u64) -> Option<In> {
    let count = 40;
    match slot.kind {
        Kind::Reg(_) | Kind::Value(_) | Kind::Source(_) | Kind::Count(_) if slot.access == Access::Read => {
            let mut values = random(seed, count);
            // Corners of every width among them.
            for (place, value) in
                values.iter_mut().zip([0, 1, u64::MAX, 1 << 63, 0x8000_0000, 0x7f80_0000, 0xff, 0x7fff])
            {
                *place = value;
            }
            values.rotate_left(seed as usize % count);
            Some(In::Each(values))
        }
        Kind::Int(from, _) if slot.access == Access::Read => Some(In::Number(from)),
        Kind::Reg(_)
        | Kind::Value(_)
        | Kind::Source(_)
        | Kind::Count(_)
        | Kind::Int(..)
        | Kind::Wanted(_)
        | Kind::Vector(..)
        | Kind::Address(_)
        | Kind::Label
        | Kind::Box(_) => None,
    }
}

/// Whether lanes look at each other, with a mask that has to be right.
fn has_mask(op: &Op) -> bool {
    let name = op.mnemonic();
    ["shfl", "vote", "match", "redux", "elect", "movmatrix", "mma"].iter().any(|it| name.starts_with(it))
}

#[test]
fn every_form_on_registers_runs_on_any_bits() {
    let mut ran = 0;
    for op in Op::all().into_iter().filter(|op| op.least_target() <= Target::Sm90a && !has_mask(op)) {
        let slots = op.signature().expect("an instruction that there is");
        let Some((Slot { access: Access::Write, kind: Kind::Reg(_) }, rest)) = slots.split_first() else {
            continue;
        };
        let inputs: Option<Vec<In>> = (1..).zip(rest).map(|(seed, slot)| operand(slot, seed)).collect();
        let Some(inputs) = inputs.filter(|it| it.iter().any(|it| matches!(it, In::Each(_)))) else {
            continue;
        };
        assert_eq!(compute(op, &inputs).len(), 40, "{}", op.mnemonic());
        ran += 1;
    }
    assert!(ran > 500, "{ran} forms");
}
