//! Who touched shared memory when, and what orders it: vector clocks of warps.
//!
//! Each warp counts its periods between synchronisations, and knows of every other warp up to which
//! period it has been ordered after it. An access is ordered after an earlier one of another warp if the
//! period of that one is known; of two that touch the same bytes, one a write, one has to be ordered
//! after the other. A barrier gives what those know that come to it to those that wait for it.
//!
//! Lanes of one warp run in lockstep here, so an order that `bar.warp.sync` would have to make within a
//! warp is not checked.

use std::ops::Range;

use super::fault::{Done, Problem};

/// The most warps of a block.
pub(super) const MAX_WARPS: usize = 32;

/// The periods of other warps that a warp is ordered after.
pub(super) type Clock = [u32; MAX_WARPS];

/// Takes over what another clock knows.
pub(super) fn join(into: &mut Clock, other: &Clock) {
    into.iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// Who touches memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// The warp.
    pub(super) warp: usize,
    /// The instruction.
    pub(super) pc: u32,
    /// Whether it is atomic, volatile or ordered: such accesses do not race with each other.
    pub(super) strong: bool,
    /// Whether an asynchronous unit makes it, which sees what was written only after a fence.
    pub(super) proxy: bool,
}

/// The record of a few bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// The last write: its warp, period and instruction. A period of 0 is none.
    writer: u8,
    strong: bool,
    proxy: bool,
    period: u32,
    pc: u32,
    /// The warps that have read since, and those of them that have read plainly.
    readers: u32,
    plain: u32,
    /// The copy that fills the bytes, or reads them.
    flight: Option<Flight>,
}

/// A copy under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    warp: u8,
    /// Whether it reads the bytes, so that they may be read, too.
    reads: bool,
    pc: u32,
}

/// The records of shared memory.
#[derive(Debug)]
pub(super) struct Races {
    /// A cell is of this many bytes, as a power of two.
    shift: u32,
    warps: usize,
    cells: Vec<Cell>,
    /// The last read of each cell by each warp: its period and instruction.
    reads: Vec<(u32, u32)>,
    /// What each warp is ordered after.
    pub(super) clocks: Vec<Clock>,
    /// The writes of each warp up to this period are seen by asynchronous units.
    fenced: Vec<u32>,
    /// What asynchronous units see that a warp starts: writes of all warps up to these periods.
    seen: Vec<Clock>,
}

impl Races {
    pub(super) fn new(bytes: usize, warps: usize, grain: u64) -> Races {
        let shift = grain.trailing_zeros();
        let cells = bytes.div_ceil(1 << shift);
        let mut clocks = vec![[0; MAX_WARPS]; warps];
        for (warp, clock) in clocks.iter_mut().enumerate() {
            clock[warp] = 1;
        }
        Races {
            shift,
            warps,
            cells: vec![Cell::default(); cells],
            reads: vec![(0, 0); cells * warps],
            clocks,
            fenced: vec![0; warps],
            seen: vec![[0; MAX_WARPS]; warps],
        }
    }

    /// Starts a new period of a warp: what it does from now on is not known to those that know it.
    pub(super) fn tick(&mut self, warp: usize) {
        self.clocks[warp][warp] += 1;
    }

    /// Makes what a warp wrote, or knows of, visible to asynchronous units.
    #[expect(dead_code, reason = "no instruction of sm_80 does so")]
    pub(super) fn fence_proxy(&mut self, warp: usize) {
        self.fenced[warp] = self.clocks[warp][warp];
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
        let period = self.clocks[access.warp][access.warp];
        for cell in self.cells_of(bytes) {
            let state = self.cells[cell];
            if state.flight.is_some_and(|flight| !flight.reads) {
                return Err(self.in_flight(cell).into());
            }
            self.ordered_after_write(cell, &state, access)?;
            if access.proxy && !state.proxy && !self.is_seen(&state, access.warp) {
                return Err(self.unseen(cell, &state).into());
            }
            let state = &mut self.cells[cell];
            state.readers |= 1 << access.warp;
            state.plain |= u32::from(!access.strong) << access.warp;
            self.reads[cell * self.warps + access.warp] = (period, access.pc);
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
            let flight = Flight { warp: access.warp as u8, reads: false, pc: access.pc };
            self.cells[cell].flight = Some(flight);
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
        if state.flight.is_some() {
            return Err(self.in_flight(cell).into());
        }
        self.ordered_after_write(cell, state, access)?;
        let mut others = if access.strong { state.plain } else { state.readers } & !(1 << access.warp);
        while others != 0 {
            let other = others.trailing_zeros() as usize;
            others &= others - 1;
            let (period, pc) = self.reads[cell * self.warps + other];
            if period > self.clocks[access.warp][other] {
                return Err(self.race(cell, other, pc).into());
            }
        }
        Ok(())
    }

    fn note_write(&mut self, cell: usize, access: Access) {
        let state = &mut self.cells[cell];
        state.writer = access.warp as u8;
        state.strong = access.strong;
        state.proxy = access.proxy;
        state.period = self.clocks[access.warp][access.warp];
        state.pc = access.pc;
        state.readers = 0;
        state.plain = 0;
    }

    fn ordered_after_write(&self, cell: usize, state: &Cell, access: Access) -> Done {
        let writer = usize::from(state.writer);
        let known = writer == access.warp || state.period <= self.clocks[access.warp][writer];
        if known || (state.strong && access.strong) {
            return Ok(());
        }
        Err(self.race(cell, writer, state.pc).into())
    }

    /// Whether asynchronous units that a warp starts see what was written.
    fn is_seen(&self, state: &Cell, warp: usize) -> bool {
        let writer = usize::from(state.writer);
        state.period <= self.fenced[writer] || state.period <= self.seen[warp][writer]
    }

    /// An instruction is given by its position; [`super::block`] puts its text in.
    fn race(&self, cell: usize, warp: usize, pc: u32) -> Problem {
        Problem::Race { address: self.address(cell), other: pc.to_string(), warp: warp as u32 }
    }

    fn unseen(&self, cell: usize, state: &Cell) -> Problem {
        let (by, warp) = (state.pc.to_string(), state.writer.into());
        Problem::Proxy { address: self.address(cell), by, warp }
    }

    fn in_flight(&self, cell: usize) -> Problem {
        let flight = self.cells[cell].flight.unwrap_or(Flight { warp: 0, reads: false, pc: 0 });
        let (by, warp) = (flight.pc.to_string(), flight.warp.into());
        Problem::InFlight { address: self.address(cell), by, warp }
    }
}
