//! Copies of boxes of tensors: a barrier is told of as many bytes as are copied to it.
//!
//! What a box has is in its map, which a launch hands in; a remark of the kernel says it, as [`boxes`] writes it. Copies, and
//! what announces them, are counted in runs of instructions that control comes to at the start and leaves at the end. Where no
//! remark says what boxes of a map have, the emulator finds out.
//!
//! ```text
//! // Boxes of `map_0` have 8192 bytes.
//! mbarrier.arrive.expect_tx [%bar], 16384;  cp.async.bulk.tensor [%a], [map_0 ..], [%bar];  cp.async.bulk.tensor [%b], ..
//! ```

use std::collections::BTreeMap;

use super::flow::Flow;
use super::{Findings, Rule};
use crate::module::{Address, Base, Inst, Kernel, Operand, Reg};
use crate::op::Op;

/// What a box in the pattern of 128 bytes begins at a multiple of.
pub(super) const ALIGN: i64 = 1024;

/// The remark that says how many bytes the boxes of a map have, which is a parameter.
pub fn boxes(map: &str, bytes: u32) -> String {
    format!("Boxes of `{map}` have {bytes} bytes.")
}

/// What is known of the boxes of a kernel.
pub(super) struct Boxes {
    /// By register that holds the address of a map.
    bytes: BTreeMap<u32, i64>,
}

impl Boxes {
    pub(super) fn of(kernel: &Kernel) -> Boxes {
        let said = |name: &str| {
            let start = format!("Boxes of `{name}` have ");
            let mut all = kernel.comments.iter().filter_map(|it| it.strip_prefix(&start));
            all.find_map(|it| it.strip_suffix(" bytes.")?.parse::<i64>().ok())
        };
        let sizes: Vec<Option<i64>> = kernel.params.iter().map(|it| said(&it.name)).collect();
        let mut boxes = Boxes { bytes: BTreeMap::new() };
        if sizes.iter().all(Option::is_none) {
            return boxes;
        }
        for (_, inst) in kernel.insts().filter(|it| matches!(it.1.op, Op::Mov { .. } | Op::Cvta { .. })) {
            let [Operand::Reg(into), from] = inst.operands.as_slice() else { continue };
            let bytes = match from {
                Operand::Param(param) => sizes[param.0 as usize],
                Operand::Reg(Reg { id, .. }) => boxes.bytes.get(id).copied(),
                Operand::Int(_)
                | Operand::F32(_)
                | Operand::F64(_)
                | Operand::Special(_)
                | Operand::Var(_)
                | Operand::Sink
                | Operand::Label(_)
                | Operand::Vector(_)
                | Operand::Address(_)
                | Operand::Tensor(..) => None,
            };
            boxes.bytes.extend(bytes.map(|it| (into.id, it)));
        }
        boxes
    }

    /// The bytes that a copy of a box moves.
    pub(super) fn bytes(&self, inst: &Inst) -> Option<i64> {
        match inst.operands.get(1) {
            Some(Operand::Tensor(Address { base: Base::Reg(map), .. }, _)) => {
                self.bytes.get(&map.id).copied()
            }
            Some(_) | None => None,
        }
    }
}

/// What a run of instructions tells a barrier, and copies to it; nothing where that is not known.
struct Told<'a> {
    barrier: Address,
    at: (usize, &'a Inst),
    announced: Option<i64>,
    copied: Option<i64>,
}

pub(super) fn check(flow: &Flow<'_>, found: &mut Findings<'_>) {
    let boxes = Boxes::of(flow.kernel);
    if boxes.bytes.is_empty() {
        return;
    }
    for block in 0..flow.blocks.len() {
        let mut all: Vec<Told<'_>> = Vec::new();
        for (at, inst) in flow.of(block) {
            let is_copy = matches!(inst.op, Op::TensorLoad { .. });
            if !is_copy && inst.op != Op::MbarrierArriveExpect {
                continue;
            }
            let mut addresses = inst.operands.iter().rev();
            let barrier =
                addresses.find_map(|it| if let Operand::Address(it) = it { Some(*it) } else { None });
            let Some(barrier) = barrier else { continue };
            let known = all.iter().position(|it| it.barrier == barrier).unwrap_or_else(|| {
                all.push(Told { barrier, at: (at, inst), announced: Some(0), copied: Some(0) });
                all.len() - 1
            });
            let told = &mut all[known];
            if is_copy {
                told.copied = told.copied.zip(boxes.bytes(inst)).map(|(all, one)| all + one);
            } else {
                let bytes = inst
                    .operands
                    .last()
                    .and_then(|it| if let Operand::Int(it) = it { Some(*it) } else { None });
                told.announced = told.announced.zip(bytes).map(|(all, one)| all + one);
            }
        }
        for Told { at: (at, inst), announced, copied, .. } in all {
            if let (Some(announced), Some(copied)) = (announced, copied)
                && announced != copied
            {
                let why = format!("a barrier awaits {announced} bytes here, and {copied} are copied to it");
                found.inst(Rule::Transaction, at, inst, why);
            }
        }
    }
}
