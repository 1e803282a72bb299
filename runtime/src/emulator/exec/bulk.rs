//! Barriers in memory, and copies of boxes of tensors.

use attnc_ptx::modifier::{PhaseWait, Space};

use super::access::{in_lane, resolve};
use super::{Arg, Cx, Next};
use crate::emulator::bulk::{self, Load};
use crate::emulator::fault::{Done, Problem};
use crate::emulator::launch::Schedule;
use crate::emulator::mbarrier::Arrive;
use crate::emulator::memory::aligned;
use crate::emulator::race::{Access, Agent};
use crate::emulator::warp::{LANES, Wait, lanes_of};
use crate::tensor_map::{TENSOR_MAP_BYTES, TensorMap};

/// What destinations and sources of copies are aligned to in shared memory.
const ALIGN: u64 = 128;

impl Cx<'_, '_> {
    pub(super) fn mbarrier_init(&mut self) -> Done {
        let (at, count) = (self.read(0)?, self.read(1)?);
        let access = self.access(false);
        for lane in lanes_of(self.lanes) {
            let written = self.block.shared.store(at[lane], 8, &[0; 8], access);
            written
                .and_then(|()| self.block.mbarriers.init(at[lane], count[lane], self.warp.id))
                .map_err(in_lane(lane))?;
        }
        Ok(())
    }

    pub(super) fn mbarrier_inval(&mut self) -> Done {
        let at = self.read(0)?;
        for lane in lanes_of(self.lanes) {
            self.touch(at[lane])
                .and_then(|()| self.block.mbarriers.inval(at[lane]))
                .map_err(in_lane(lane))?;
        }
        Ok(())
    }

    /// A barrier has to be made before it is used, in an order that all know.
    pub(super) fn touch(&mut self, address: u64) -> Done {
        let access = self.access(true);
        self.block.shared.load_value(address, 8, 8, access).map(|_| ())
    }

    /// Arrives, with a count or bytes in the third operand if it has one.
    pub(super) fn mbarrier_arrive(&mut self, many: bool, expects: bool) -> Done {
        let at = self.read(1)?;
        let extra = if many || expects { self.read(2)? } else { [1; LANES] };
        let mut states = [0; LANES];
        for lane in lanes_of(self.lanes) {
            self.touch(at[lane]).map_err(in_lane(lane))?;
            let extra = extra[lane].cast_signed();
            let (count, bytes) = if expects { (1, extra) } else { (extra, 0) };
            let call = Arrive { warp: self.warp.id, count, bytes };
            let races = &mut self.block.shared.races;
            states[lane] = self.block.mbarriers.arrive(at[lane], call, races).map_err(in_lane(lane))?.into();
        }
        self.write(0, &states)
    }

    /// Asks whether a phase is over, or waits until it is.
    pub(super) fn mbarrier_wait(&mut self, how: PhaseWait) -> Done<Next> {
        let (address, parity) = (self.uniform(1)?, self.uniform(2)?);
        self.touch(address)?;
        let clock = &mut self.block.shared.races.clocks[self.warp.id];
        let over = self.block.mbarriers.observe(address, parity, clock)?;
        // The hardware may give up waiting at any time, so now and then it does here.
        let hash = self.block.report.instructions.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
        let gives_up = self.block.launch.schedule != Schedule::RoundRobin && hash == 0;
        if over || gives_up || how == PhaseWait::Test {
            self.set(0, over.into())?;
            return Ok(Next::Step);
        }
        Ok(Next::Retry(Wait::Phase { address, parity }))
    }

    pub(super) fn fence_mbarrier_init(&mut self) {
        self.block.mbarriers.fence(self.warp.id);
    }

    pub(super) fn fence_proxy(&mut self) {
        self.block.mbarriers.fence(self.warp.id);
        self.block.shared.races.fence_proxy(self.warp.id);
    }

    /// The map and coordinates of a box, in one lane.
    fn tensor(&mut self, at: usize, lane: usize) -> Done<(TensorMap, Vec<i64>)> {
        let code = self.code;
        let Arg::Tensor(place, coordinates) = &code.args[at] else {
            return Err(Problem::Operand("no box of a tensor".to_owned()).into());
        };
        let (space, address) = resolve(Space::Generic, self.place(*place)?[lane]);
        aligned("tensor map", address, 64)?;
        let mut bytes = Vec::with_capacity(TENSOR_MAP_BYTES);
        for word in 0..TENSOR_MAP_BYTES as u64 / 8 {
            bytes.extend(self.peek(lane, space, address + 8 * word, 8, 8, false)?.to_le_bytes());
        }
        let map = bulk::decode(&bytes)?;
        if map.shape.len() != coordinates.len() {
            let (found, wanted) = (coordinates.len(), map.shape.len());
            return Err(Problem::Operand(format!("{found} coordinates in a tensor of {wanted} ranks")).into());
        }
        let coordinates = coordinates
            .iter()
            .map(|it| Ok(i64::from(self.read_arg(it)?[lane] as i32)))
            .collect::<Done<_>>()?;
        Ok((map, coordinates))
    }

    pub(super) fn tensor_load(&mut self) -> Done {
        let (to, barrier) = (self.read(0)?, self.read(2)?);
        for lane in lanes_of(self.lanes) {
            self.tensor_load_in(lane, to[lane], barrier[lane]).map_err(in_lane(lane))?;
        }
        Ok(())
    }

    fn tensor_load_in(&mut self, lane: usize, to: u64, barrier: u64) -> Done {
        let (map, at) = self.tensor(1, lane)?;
        self.touch(barrier)?;
        let (agent, period) = self.block.mbarriers.agent(barrier)?;
        let access = Access { agent, period, proxy: true, ..self.access(false) };
        self.block.shared.begin_copy(to, map.box_bytes(), ALIGN, access)?;
        let (element, row) = (u64::from(map.element), map.extents[0] * map.element);
        let mut pieces = Vec::new();
        for run in bulk::runs(&map, &at) {
            let mut data = vec![0; row as usize];
            if run.inside > 0 {
                let found = self.block.memory.slice(run.address, run.inside * element, element)?;
                let start = (run.before * element) as usize;
                data[start..start + found.len()].copy_from_slice(found);
            }
            for (chunk, bytes) in (0u64..).zip(data.chunks(16)) {
                pieces.push((map.swizzle.place(to + run.offset + 16 * chunk), bytes.to_vec()));
            }
        }
        self.block.loads.push(Load { pieces, barrier, arrives: false, access });
        Ok(())
    }

    pub(super) fn tensor_store(&mut self) -> Done {
        let from = self.read(1)?;
        for lane in lanes_of(self.lanes) {
            self.tensor_store_in(lane, from[lane]).map_err(in_lane(lane))?;
        }
        Ok(())
    }

    fn tensor_store_in(&mut self, lane: usize, from: u64) -> Done {
        let (map, at) = self.tensor(0, lane)?;
        aligned("shared", from, ALIGN)?;
        let stores = &mut self.warp.stores;
        stores.open = true;
        let (agent, period) = (Agent::bulk(self.warp.id), stores.closed + 1);
        let access = Access { agent, period, proxy: true, ..self.access(false) };
        let (element, row) = (u64::from(map.element), map.extents[0] * map.element);
        for run in bulk::runs(&map, &at) {
            let mut data = Vec::with_capacity(row as usize);
            for chunk in 0..u64::from(row) / 16 {
                let place = map.swizzle.place(from + run.offset + 16 * chunk);
                data.extend(self.block.shared.load(place, 16, 16, access)?);
            }
            if run.inside > 0 {
                let start = (run.before * element) as usize;
                let kept = &data[start..start + (run.inside * element) as usize];
                self.block.memory.store_slice(run.address, element, kept)?;
            }
        }
        Ok(())
    }
}
