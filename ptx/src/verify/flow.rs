//! The flow of control of a kernel: runs of instructions, and which may follow which.

use std::ops::Range;

use crate::module::{Inst, Kernel, Operand, Stmt};
use crate::op::Op;

/// A kernel as a graph of blocks of instructions.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    pub(super) kernel: &'a Kernel,
    /// The instructions, with their places in the body.
    pub(super) insts: Vec<(usize, &'a Inst)>,
    pub(super) blocks: Vec<Block>,
}

/// Instructions that run one after the other.
#[derive(Debug)]
pub(super) struct Block {
    /// Positions in [`Flow::insts`].
    pub(super) insts: Range<usize>,
    /// The blocks that may follow.
    pub(super) next: Vec<usize>,
}

impl<'a> Flow<'a> {
    /// The graph of a kernel whose labels are placed.
    pub(super) fn new(kernel: &'a Kernel) -> Flow<'a> {
        let insts: Vec<(usize, &Inst)> = kernel.insts().collect();
        let targets = targets(kernel);
        let mut starts = vec![0];
        starts.extend(targets.iter().copied());
        starts.extend(insts.iter().enumerate().filter(|(_, (_, inst))| leaves(inst)).map(|(at, _)| at + 1));
        starts.retain(|start| *start < insts.len());
        starts.sort_unstable();
        starts.dedup();
        let block_at = |at: usize| starts.binary_search(&at).ok();
        let blocks = starts
            .iter()
            .enumerate()
            .map(|(position, start)| {
                let end = starts.get(position + 1).copied().unwrap_or(insts.len());
                let last = insts[end - 1].1;
                let mut next: Vec<usize> =
                    target(last).and_then(|label| block_at(targets[label])).into_iter().collect();
                if !leaves(last) || last.guard.is_some() {
                    next.extend(block_at(end));
                }
                next.dedup();
                Block { insts: *start..end, next }
            })
            .collect();
        Flow { kernel, insts, blocks }
    }

    /// The instructions of a block.
    pub(super) fn of(&self, block: usize) -> impl Iterator<Item = (usize, &'a Inst)> + '_ {
        self.insts[self.blocks[block].insts.clone()].iter().copied()
    }

    /// The branch that a block ends with, if it may go two ways.
    pub(super) fn branch(&self, block: usize) -> Option<&'a Inst> {
        let (_, last) = self.insts[self.blocks[block].insts.end - 1];
        (self.blocks[block].next.len() > 1 || (leaves(last) && last.guard.is_some())).then_some(last)
    }

    /// Carries a state through the kernel until nothing changes: `step` is what a block does to it, `join`
    /// adds one state to another and says whether that changed it. Blocks that nothing reaches have none.
    pub(super) fn solve<S: Clone>(
        &self,
        start: S,
        mut step: impl FnMut(usize, &mut S),
        join: impl Fn(&mut S, &S) -> bool,
    ) -> Vec<Option<S>> {
        let mut states: Vec<Option<S>> = vec![None; self.blocks.len()];
        if self.blocks.is_empty() {
            return states;
        }
        states[0] = Some(start);
        let mut waiting = vec![0];
        while let Some(block) = waiting.pop() {
            let Some(mut state) = states[block].clone() else { continue };
            step(block, &mut state);
            for next in &self.blocks[block].next {
                let changed = match &mut states[*next] {
                    Some(before) => join(before, &state),
                    none => {
                        *none = Some(state.clone());
                        true
                    }
                };
                if changed && !waiting.contains(next) {
                    waiting.push(*next);
                }
            }
        }
        states
    }
}

/// The position of the instruction that each label stands before.
fn targets(kernel: &Kernel) -> Vec<usize> {
    let mut targets = vec![usize::MAX; kernel.labels.len()];
    let mut position = 0;
    for stmt in &kernel.body {
        match stmt {
            Stmt::Label(label) => targets[label.0 as usize] = position,
            Stmt::Inst(_) => position += 1,
            Stmt::NoUnroll | Stmt::Comment(_) => {}
        }
    }
    targets
}

/// The label that an instruction goes to.
fn target(inst: &Inst) -> Option<usize> {
    match inst.operands.first() {
        Some(Operand::Label(label)) => Some(label.0 as usize),
        Some(_) | None => None,
    }
}

/// Whether what follows an instruction is not, or not always, the next.
fn leaves(inst: &Inst) -> bool {
    matches!(inst.op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap)
}
