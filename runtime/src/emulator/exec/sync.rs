//! Barriers and fences.

use super::{Cx, Next};
use crate::emulator::barrier::Arrival;
use crate::emulator::fault::Done;
use crate::emulator::warp::Wait;

impl Cx<'_, '_> {
    /// Comes to the barrier that the first operand names, for so many threads or all.
    pub(super) fn bar(&mut self, threads: Option<u64>, waits: bool) -> Done<Next> {
        self.aligned()?;
        let id = self.constant(0) as usize;
        let generation = self.block.barriers.generation(id);
        let expected = threads.map(|threads| u32::try_from(threads).unwrap_or(u32::MAX));
        let call = Arrival { id, warp: self.warp.id, expected, waits };
        self.block.barriers.arrive(call, self.block.live, &mut self.block.shared.races)?;
        Ok(if waits { Next::Wait(Wait::Barrier { id, generation }) } else { Next::Step })
    }

    /// Orders what came before with what follows.
    pub(super) fn fence(&mut self) {
        self.block.order.fence(self.warp.id, &mut self.block.shared.races);
    }
}
