//! Copies of plain bytes between global and shared memory, and waits for all copies out.

use super::Cx;
use super::access::in_lane;
use crate::emulator::bulk::Load;
use crate::emulator::fault::{Done, Problem};
use crate::emulator::number::float;
use crate::emulator::race::{Access, Agent};
use crate::emulator::warp::lanes_of;

/// What addresses and sizes are multiples of.
const ALIGN: u64 = 16;

impl Cx<'_, '_> {
    pub(super) fn bulk_load(&mut self) -> Done {
        let (to, from, bytes, barrier) = (self.read(0)?, self.read(1)?, self.read(2)?, self.read(3)?);
        for lane in lanes_of(self.lanes) {
            self.bulk_load_in(to[lane], from[lane], bytes[lane], barrier[lane]).map_err(in_lane(lane))?;
        }
        Ok(())
    }

    fn bulk_load_in(&mut self, to: u64, from: u64, bytes: u64, barrier: u64) -> Done {
        whole(bytes)?;
        self.touch(barrier)?;
        let (agent, period) = self.block.mbarriers.agent(barrier)?;
        let access = Access { agent, period, proxy: true, ..self.access(false) };
        self.block.shared.begin_copy(to, bytes, ALIGN, access)?;
        let pieces = vec![(to, self.block.memory.slice(from, bytes, ALIGN)?.to_vec())];
        self.block.loads.push(Load { pieces, barrier, arrives: false, access });
        Ok(())
    }

    /// Copies out, or adds numbers to those that are there.
    pub(super) fn bulk_store(&mut self, adds: bool) -> Done {
        let (to, from, bytes) = (self.read(0)?, self.read(1)?, self.read(2)?);
        for lane in lanes_of(self.lanes) {
            self.bulk_store_in(to[lane], from[lane], bytes[lane], adds).map_err(in_lane(lane))?;
        }
        Ok(())
    }

    fn bulk_store_in(&mut self, to: u64, from: u64, bytes: u64, adds: bool) -> Done {
        whole(bytes)?;
        self.warp.stores.open = true;
        let (agent, period) = (Agent::bulk(self.warp.id), self.warp.stores.closed + 1);
        let access = Access { agent, period, proxy: true, ..self.access(false) };
        let mut data = self.block.shared.load(from, bytes, ALIGN, access)?.to_vec();
        if adds {
            let before = self.block.memory.slice(to, bytes, ALIGN)?;
            for (sum, term) in data.chunks_exact_mut(4).zip(before.chunks_exact(4)) {
                let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let bits = float::single(number(sum) + number(term)) as u32;
                sum.copy_from_slice(&bits.to_le_bytes());
            }
        }
        self.block.memory.store_slice(to, ALIGN, &data)
    }

    /// Has a barrier told when all copies of a lane so far have ended.
    pub(super) fn cp_async_arrive(&mut self) -> Done {
        let at = self.read(0)?;
        for lane in lanes_of(self.lanes) {
            self.cp_async_arrive_in(lane, at[lane]).map_err(in_lane(lane))?;
        }
        Ok(())
    }

    fn cp_async_arrive_in(&mut self, lane: usize, barrier: u64) -> Done {
        self.touch(barrier)?;
        let (agent, period) = self.block.mbarriers.agent_of_instructions(barrier)?;
        let access = Access { agent, period, ..self.access(false) };
        let mut pieces = Vec::new();
        for copy in self.warp.copies.take(lane) {
            let mut data = vec![0; copy.bytes as usize];
            if copy.read > 0 {
                let found = self.block.memory.slice(copy.from, copy.read, 1)?;
                data[..found.len()].copy_from_slice(found);
            }
            pieces.push((copy.to, data));
        }
        self.block.loads.push(Load { pieces, barrier, arrives: true, access });
        Ok(())
    }

    pub(super) fn bulk_commit(&mut self) {
        self.warp.stores.closed += 1;
        self.warp.stores.open = false;
    }

    /// Waits until at most so many groups have not read their source.
    pub(super) fn bulk_wait(&mut self) {
        let left = self.constant(0) as u32;
        let stores = &mut self.warp.stores;
        stores.waited = stores.waited.max(stores.closed.saturating_sub(left));
        let clock = &mut self.block.shared.races.clocks[self.warp.id];
        clock[Agent::bulk(self.warp.id).index()] = stores.waited;
    }
}

/// Refuses sizes that are no multiple of 16.
fn whole(bytes: u64) -> Done {
    if bytes > 0 && bytes.is_multiple_of(ALIGN) {
        return Ok(());
    }
    Err(Problem::Operand(format!("a copy has a positive multiple of {ALIGN} bytes, not {bytes}")).into())
}
