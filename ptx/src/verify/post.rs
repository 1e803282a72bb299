//! Where paths that part have all met again: the nearest block that every path to the end goes through.

use super::bits::Bits;
use super::flow::Flow;

/// For every block, the blocks on the ways from it to where they all meet, and that place, if there is one.
#[derive(Debug)]
pub(super) struct Meeting {
    /// The blocks between.
    pub(super) region: Bits,
    /// The block where all have met.
    pub(super) at: Option<usize>,
}

/// The meeting places of all blocks.
pub(super) fn meetings(flow: &Flow<'_>) -> Vec<Meeting> {
    let after = postdominators(flow);
    (0..flow.blocks.len())
        .map(|block| {
            let at = nearest(&after, block);
            let mut region = Bits::none(flow.blocks.len());
            let mut waiting = flow.blocks[block].next.clone();
            while let Some(next) = waiting.pop() {
                if Some(next) != at && !region.has(next) {
                    region.add(next);
                    waiting.extend(&flow.blocks[next].next);
                }
            }
            Meeting { region, at }
        })
        .collect()
}

/// The blocks that every path from a block to the end goes through, itself among them.
fn postdominators(flow: &Flow<'_>) -> Vec<Bits> {
    let count = flow.blocks.len();
    let mut after = vec![Bits::all(count); count];
    let mut changed = true;
    while changed {
        changed = false;
        for block in (0..count).rev() {
            // The end itself is no block, so nothing comes after one that may end.
            let (_, last) = flow.insts[flow.blocks[block].insts.end - 1];
            let ends = flow.blocks[block].next.is_empty() || super::uniform::ends(last);
            let mut common = if ends { Bits::none(count) } else { Bits::all(count) };
            if !ends {
                flow.blocks[block].next.iter().for_each(|next| common.meet(&after[*next]));
            }
            common.add(block);
            if common != after[block] {
                after[block] = common;
                changed = true;
            }
        }
    }
    after
}

/// Of the blocks that come after one in any case, the one that all others come after.
fn nearest(after: &[Bits], block: usize) -> Option<usize> {
    let others: Vec<usize> = (0..after.len()).filter(|it| *it != block && after[block].has(*it)).collect();
    others.iter().copied().find(|candidate| others.iter().all(|other| after[*candidate].has(*other)))
}
