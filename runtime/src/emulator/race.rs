//! Who touched shared memory when, and what orders it: vector clocks of warps.
//!
//! Each warp counts its periods between synchronisations, and knows of every other warp up to which
//! period it has been ordered after it. An access is ordered after an earlier one of another warp if the
//! period of that one is known; of two that touch the same bytes, one a write, one has to be ordered
//! after the other. A barrier gives what those know that come to it to those that wait for it.
//!
//! Copies and products of warp groups see memory on a way of their own. Between what an instruction did and what they do
//! there has to be a fence besides, also between a read and the copy that overwrites it; what they did is seen by whoever
//! has waited for it.
//!
//! Lanes of one warp run in lockstep here, so an order that `bar.warp.sync` would have to make within a
//! warp is not checked.

use std::ops::Range;

use super::fault::{Done, Problem};

/// The most warps of a block.
pub(super) const MAX_WARPS: usize = 32;
/// The most barriers in memory of a block.
pub(super) const MAX_MBARRIERS: usize = 88;
/// Whoever has periods of its own.
const AGENTS: usize = GROUPS + 8 + MAX_WARPS + MAX_MBARRIERS;
const GROUPS: usize = MAX_WARPS;
const BULK: usize = GROUPS + 8;
const MBARRIERS: usize = BULK + MAX_WARPS;

/// The periods of others that a warp is ordered after.
pub(super) type Clock = [u32; AGENTS];

/// A clock that knows of nothing.
pub(super) const NOTHING: Clock = [0; AGENTS];

/// Takes over what another clock knows.
pub(super) fn join(into: &mut Clock, other: &Clock) {
    into.iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// Who touches memory: warps, and what works for them while they go on. Each has periods of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agent(u8);

impl Agent {
    pub(super) fn warp(warp: usize) -> Agent {
        Agent(warp as u8)
    }

    /// The tensor core of four warps; its periods are groups of products.
    pub(super) fn group(group: usize) -> Agent {
        Agent((GROUPS + group) as u8)
    }

    /// What copies from shared memory for a warp; its periods are groups of copies.
    pub(super) fn bulk(warp: usize) -> Agent {
        Agent((BULK + warp) as u8)
    }

    /// What copies to shared memory and tells a barrier in memory; its periods are the phases of that.
    pub(super) fn mbarrier(number: usize) -> Agent {
        Agent((MBARRIERS + number) as u8)
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// An access to memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// The warp whose order counts.
    pub(super) warp: usize,
    /// Who makes it, and in which of its periods.
    pub(super) agent: Agent,
    pub(super) period: u32,
    /// The instruction.
    pub(super) pc: u32,
    /// Whether it is atomic, volatile or ordered: such accesses do not race with each other.
    pub(super) strong: bool,
    /// Whether an asynchronous unit makes it, which needs a fence between what instructions did and what it does.
    pub(super) proxy: bool,
}

/// The record of a few bytes.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The last write: who made it, for which warp, when and by which instruction. A period of 0 is none.
    writer: Agent,
    warp: u8,
    strong: bool,
    proxy: bool,
    period: u32,
    pc: u32,
    /// Those that have read since, by slot, and those of them that have read plainly.
    readers: u128,
    plain: u128,
    /// The warp and instruction of the copy that fills the bytes.
    flight: Option<(u8, u32)>,
}

/// The records of shared memory.
#[derive(Debug)]
pub(super) struct Races {
    /// A cell is of this many bytes, as a power of two.
    shift: u32,
    warps: usize,
    cells: Vec<Cell>,
    /// The last read of each cell in each slot: its period above its instruction.
    reads: Vec<u64>,
    /// What each warp is ordered after.
    pub(super) clocks: Vec<Clock>,
    /// The periods that each warp ended with a fence for asynchronous units.
    fences: Vec<Vec<u32>>,
    /// What asynchronous units that a warp starts come after: accesses of all up to these periods.
    seen: Vec<Clock>,
}

impl Races {
    pub(super) fn new(bytes: usize, warps: usize, grain: u64) -> Races {
        let shift = grain.trailing_zeros();
        let cells = bytes.div_ceil(1 << shift);
        let mut clocks = vec![NOTHING; warps];
        for (warp, clock) in clocks.iter_mut().enumerate() {
            clock[warp] = 1;
        }
        let free = Cell {
            writer: Agent::warp(0),
            warp: 0,
            strong: false,
            proxy: false,
            period: 0,
            pc: 0,
            readers: 0,
            plain: 0,
            flight: None,
        };
        Races {
            shift,
            warps,
            cells: vec![free; cells],
            reads: vec![0; cells * slots(warps)],
            clocks,
            fences: vec![Vec::new(); warps],
            seen: vec![NOTHING; warps],
        }
    }

    /// The position of a reader among those of a cell.
    fn slot(&self, agent: Agent) -> usize {
        match agent.index() {
            warp if warp < GROUPS => warp,
            group if group < BULK => self.warps + group - GROUPS,
            bulk => self.warps + self.warps.div_ceil(4) + bulk - BULK,
        }
    }

    /// The reader at a position, and a warp that it reads for.
    fn reader(&self, slot: usize) -> (Agent, usize) {
        let groups = self.warps.div_ceil(4);
        match slot.checked_sub(self.warps) {
            None => (Agent::warp(slot), slot),
            Some(group) if group < groups => (Agent::group(group), 4 * group),
            Some(bulk) => (Agent::bulk(bulk - groups), bulk - groups),
        }
    }

    /// Starts a new period of a warp: what it does from now on is not known to those that know it.
    pub(super) fn tick(&mut self, warp: usize) {
        self.clocks[warp][warp] += 1;
    }

    /// Lets asynchronous units come after what a warp did, or knows of.
    pub(super) fn fence_proxy(&mut self, warp: usize) {
        self.fences[warp].push(self.clocks[warp][warp]);
        self.seen[warp] = self.clocks[warp];
        self.tick(warp);
    }

    fn cells_of(&self, bytes: Range<usize>) -> Range<usize> {
        bytes.start >> self.shift..((bytes.end - 1) >> self.shift) + 1
    }

    fn address(&self, cell: usize) -> u64 {
        super::program::SHARED_START + ((cell as u64) << self.shift)
    }

    /// Notes a read, if it is ordered after what was written.
    pub(super) fn read(&mut self, bytes: Range<usize>, access: Access) -> Done {
        let (slot, slots) = (self.slot(access.agent), slots(self.warps));
        for cell in self.cells_of(bytes) {
            let state = self.cells[cell];
            if let Some(flight) = state.flight {
                return Err(self.in_flight(cell, flight).into());
            }
            self.ordered_after_write(cell, &state, access)?;
            self.fenced_after_write(cell, &state, access)?;
            let state = &mut self.cells[cell];
            state.readers |= 1 << slot;
            state.plain |= u128::from(!access.strong) << slot;
            self.reads[cell * slots + slot] = u64::from(access.period) << 32 | u64::from(access.pc);
        }
        Ok(())
    }

    /// Notes a write, if it is ordered after what was written and read.
    pub(super) fn write(&mut self, bytes: Range<usize>, access: Access) -> Done {
        for cell in self.cells_of(bytes) {
            self.check_write(cell, access)?;
            self.note_write(cell, access);
        }
        Ok(())
    }

    /// Lets a copy begin: a write that is under way until it has ended.
    pub(super) fn begin_copy(&mut self, bytes: Range<usize>, access: Access) -> Done {
        for cell in self.cells_of(bytes) {
            self.check_write(cell, access)?;
            self.cells[cell].flight = Some((access.warp as u8, access.pc));
        }
        Ok(())
    }

    /// Lets a copy end, as a write of the period in which it ends.
    pub(super) fn end_copy(&mut self, bytes: Range<usize>, access: Access) {
        for cell in self.cells_of(bytes) {
            self.cells[cell].flight = None;
            self.note_write(cell, access);
        }
    }

    fn check_write(&self, cell: usize, access: Access) -> Done {
        let state = &self.cells[cell];
        if let Some(flight) = state.flight {
            return Err(self.in_flight(cell, flight).into());
        }
        self.ordered_after_write(cell, state, access)?;
        self.fenced_after_write(cell, state, access)?;
        let mut others = if access.strong { state.plain } else { state.readers };
        while others != 0 {
            let slot = others.trailing_zeros() as usize;
            others &= others - 1;
            let (reader, warp) = self.reader(slot);
            let read = self.reads[cell * slots(self.warps) + slot];
            let (period, pc) = ((read >> 32) as u32, read as u32);
            let known = self.clocks[access.warp][reader.index()];
            if reader != access.agent && period > known {
                return Err(self.race(cell, warp, pc).into());
            }
            if access.proxy && slot < self.warps && !self.is_seen(reader, period, access.warp) {
                return Err(self.unfenced(cell, warp, pc).into());
            }
        }
        Ok(())
    }

    fn note_write(&mut self, cell: usize, access: Access) {
        let state = &mut self.cells[cell];
        state.writer = access.agent;
        state.warp = access.warp as u8;
        state.strong = access.strong;
        state.proxy = access.proxy;
        state.period = access.period;
        state.pc = access.pc;
        state.readers = 0;
        state.plain = 0;
    }

    fn ordered_after_write(&self, cell: usize, state: &Cell, access: Access) -> Done {
        let known = self.clocks[access.warp][state.writer.index()];
        if state.period <= known || (state.strong && access.strong) {
            return Ok(());
        }
        Err(self.race(cell, state.warp.into(), state.pc).into())
    }

    /// Refuses an access of an asynchronous unit to what instructions wrote without a fence since.
    fn fenced_after_write(&self, cell: usize, state: &Cell, access: Access) -> Done {
        if !access.proxy || state.proxy || self.is_seen(state.writer, state.period, access.warp) {
            return Ok(());
        }
        Err(self.unfenced(cell, state.warp.into(), state.pc).into())
    }

    /// Whether asynchronous units that a warp starts come after what somebody did in a period: there is a fence, of whoever
    /// did it and known to the warp, or of the warp itself.
    fn is_seen(&self, by: Agent, period: u32, warp: usize) -> bool {
        let fences = self.fences.get(by.index()).map_or(&[][..], Vec::as_slice);
        let next = fences.get(fences.partition_point(|it| *it < period));
        let known = self.clocks[warp][by.index()];
        next.is_some_and(|it| *it <= known) || period <= self.seen[warp][by.index()]
    }

    /// An instruction is given by its position; [`super::block`] puts its text in.
    fn race(&self, cell: usize, warp: usize, pc: u32) -> Problem {
        Problem::Race { address: self.address(cell), other: pc.to_string(), warp: warp as u32 }
    }

    fn unfenced(&self, cell: usize, warp: usize, pc: u32) -> Problem {
        Problem::Proxy { address: self.address(cell), by: pc.to_string(), warp: warp as u32 }
    }

    fn in_flight(&self, cell: usize, (warp, pc): (u8, u32)) -> Problem {
        Problem::InFlight { address: self.address(cell), by: pc.to_string(), warp: warp.into() }
    }
}

/// The readers that a cell tells apart: warps, tensor cores, and what copies for warps.
fn slots(warps: usize) -> usize {
    2 * warps + warps.div_ceil(4)
}
