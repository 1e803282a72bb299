//! `cp.async`: copies from global to shared memory that end when their lane has waited for them.

use std::collections::VecDeque;

use super::warp::{LANES, lanes_of};

/// A copy of one lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy {
    /// The address in shared memory.
    pub(super) to: u64,
    /// The address in global memory.
    pub(super) from: u64,
    /// The bytes that are written, and those of them that are read; the others are 0.
    pub(super) bytes: u64,
    pub(super) read: u64,
    /// The instruction.
    pub(super) pc: u32,
}

/// The copies of a warp, lane by lane: those of the open group, and closed groups in order.
#[derive(Debug, Default)]
pub(super) struct Copies {
    open: [Vec<Copy>; LANES],
    closed: [VecDeque<Vec<Copy>>; LANES],
}

impl Copies {
    /// Notes a copy.
    pub(super) fn start(&mut self, lane: usize, copy: Copy) {
        self.open[lane].push(copy);
    }

    /// Closes the group of each of these lanes.
    pub(super) fn commit(&mut self, lanes: u32) {
        for lane in lanes_of(lanes) {
            let group = std::mem::take(&mut self.open[lane]);
            self.closed[lane].push_back(group);
        }
    }

    /// Takes all copies of a lane out, to be waited for in another way.
    pub(super) fn take(&mut self, lane: usize) -> Vec<Copy> {
        let closed = std::mem::take(&mut self.closed[lane]).into_iter().flatten();
        closed.chain(std::mem::take(&mut self.open[lane])).collect()
    }

    /// The copies that have ended when at most `left` groups of these lanes are under way.
    pub(super) fn wait(&mut self, lanes: u32, left: usize) -> Vec<Copy> {
        let mut ended = Vec::new();
        for lane in lanes_of(lanes) {
            while self.closed[lane].len() > left {
                ended.extend(self.closed[lane].pop_front().unwrap_or_default());
            }
        }
        ended
    }
}
