//! Loads, stores, and copies to shared memory.

use attnc_ptx::modifier::*;
use attnc_ptx::types::{Data, Type};

use super::Cx;
use super::bank;
use crate::emulator::copies::Copy;
use crate::emulator::fault::{Done, Problem, Trouble};
use crate::emulator::number::signed;
use crate::emulator::warp::{LANES, Wide, lanes_of};

/// Where generic addresses of shared memory, local memory and parameters start. Global ones are themselves.
const SHARED_WINDOW: u64 = 0x0100_0000_0000;
const LOCAL_WINDOW: u64 = 0x0200_0000_0000;
const PARAM_WINDOW: u64 = 0x0300_0000_0000;
const WINDOW: u64 = 0x0100_0000_0000;

/// An address made generic, or back.
pub(super) fn cvta(toward: Toward, space: CvtaSpace, a: u64) -> u64 {
    let start = match space {
        CvtaSpace::Global => 0,
        CvtaSpace::Shared => SHARED_WINDOW,
        CvtaSpace::Local => LOCAL_WINDOW,
        CvtaSpace::Param => PARAM_WINDOW,
    };
    match toward {
        Toward::Generic => a.wrapping_add(start),
        Toward::Space => a.wrapping_sub(start),
    }
}

/// The space of an address, and the address in it.
pub(super) fn resolve(space: Space, address: u64) -> (Space, u64) {
    match (space, address / WINDOW) {
        (Space::Generic, 1) => (Space::Shared, address - SHARED_WINDOW),
        (Space::Generic, 2) => (Space::Local, address - LOCAL_WINDOW),
        (Space::Generic, 3) => (Space::Param, address - PARAM_WINDOW),
        (Space::Generic, _) => (Space::Global, address),
        (Space::Param | Space::Global | Space::Shared | Space::Local, _) => (space, address),
    }
}

/// Says in which lane something went wrong.
pub(super) fn in_lane(lane: usize) -> impl Fn(Box<Trouble>) -> Box<Trouble> {
    move |mut trouble| {
        trouble.lane = Some(lane as u32);
        trouble
    }
}

impl Cx<'_, '_> {
    pub(super) fn load(&mut self, order: LoadOrder, space: Space, lanes: Lanes, ty: Data) -> Done {
        let ty = Type::from(ty);
        let (bytes, at, code) = (u64::from(ty.bits() / 8), self.read(1)?, self.code);
        let whole = bytes * u64::from(lanes.count());
        self.count_conflicts(space, &at, whole);
        let acquires = matches!(order, LoadOrder::AcquireCta | LoadOrder::AcquireGpu | LoadOrder::AcquireSys);
        let mut values = [[0; LANES]; 4];
        for lane in lanes_of(self.lanes) {
            let (space, first) = resolve(space, at[lane]);
            let mut address = first;
            for value in &mut values[..lanes.count().into()] {
                // Only the whole has to be aligned to itself, and so every part is.
                let align = if address == first { whole } else { bytes };
                let strong = order != LoadOrder::Weak;
                let bits = self.peek(lane, space, address, bytes, align, strong).map_err(in_lane(lane))?;
                value[lane] = if ty.is_signed() { signed(bits, ty.bits()).cast_unsigned() } else { bits };
                address += bytes;
            }
            if order != LoadOrder::Weak {
                let races = &mut self.block.shared.races;
                self.block.order.load(self.warp.id, at[lane], acquires, races);
            }
        }
        let into = code.args[0].each();
        into.iter().zip(&values).try_for_each(|(into, value)| self.write_arg(into, value))
    }

    pub(super) fn store(&mut self, order: StoreOrder, space: Space, lanes: Lanes, ty: Data) -> Done {
        let bytes = u64::from(Type::from(ty).bits() / 8);
        let at = self.read(0)?;
        let whole = bytes * u64::from(lanes.count());
        self.count_conflicts(space, &at, whole);
        let mut values = [[0; LANES]; 4];
        for (value, arg) in values.iter_mut().zip(self.many(1)) {
            *value = self.read_arg(arg)?;
        }
        let releases =
            matches!(order, StoreOrder::ReleaseCta | StoreOrder::ReleaseGpu | StoreOrder::ReleaseSys);
        let strong = order != StoreOrder::Weak;
        for lane in lanes_of(self.lanes) {
            let (space, first) = resolve(space, at[lane]);
            let mut address = first;
            for value in &values[..lanes.count().into()] {
                let align = if address == first { whole } else { bytes };
                self.poke(lane, space, address, bytes, align, strong, value[lane]).map_err(in_lane(lane))?;
                address += bytes;
            }
        }
        if strong {
            for lane in lanes_of(self.lanes) {
                let races = &mut self.block.shared.races;
                self.block.order.store(self.warp.id, at[lane], releases, races);
            }
        }
        Ok(())
    }

    /// At most 8 bytes of a space.
    pub(super) fn peek(
        &mut self,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u64,
        align: u64,
        strong: bool,
    ) -> Done<u64> {
        let access = self.access(strong);
        match space {
            Space::Generic | Space::Global => self.block.memory.load(address, bytes, align),
            Space::Shared => self.block.shared.load_value(address, bytes, align, access),
            Space::Local => self.warp.local.load(lane, address, bytes, align),
            Space::Param => self.param(address, bytes, align),
        }
    }

    /// Writes at most 8 bytes of a space.
    #[allow(clippy::too_many_arguments, reason = "an access has as many parts")]
    pub(super) fn poke(
        &mut self,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u64,
        align: u64,
        strong: bool,
        value: u64,
    ) -> Done {
        let access = self.access(strong);
        match space {
            Space::Generic | Space::Global => self.block.memory.store(address, bytes, align, value),
            Space::Shared => {
                let data = value.to_le_bytes();
                self.block.shared.store(address, align, &data[..bytes as usize], access)
            }
            Space::Local => self.warp.local.store(lane, address, bytes, align, value),
            Space::Param => Err(Problem::Operand("parameters cannot be written".to_owned()).into()),
        }
    }

    fn param(&self, address: u64, bytes: u64, align: u64) -> Done<u64> {
        crate::emulator::memory::aligned("param", address, align)?;
        let params = self.block.params;
        let end = address.checked_add(bytes).filter(|end| *end <= params.len() as u64);
        let Some(end) = end else {
            let nearest = format!("the arguments have {} bytes", params.len());
            return Err(Problem::Bounds { space: "param", address, bytes, nearest }.into());
        };
        let mut value = [0; 8];
        value[..bytes as usize].copy_from_slice(&params[address as usize..end as usize]);
        Ok(u64::from_le_bytes(value))
    }

    fn count_conflicts(&mut self, space: Space, at: &Wide, bytes: u64) {
        if space == Space::Shared {
            let addresses: Vec<u64> = lanes_of(self.lanes).map(|lane| at[lane]).collect();
            self.block.report.bank_conflicts += bank::conflicts(&addresses, bytes);
        }
    }

    /// Starts copies; operand `read` has how many of the bytes are read.
    pub(super) fn cp_async(&mut self, read: Option<usize>) -> Done {
        let (to, from, bytes) = (self.read(0)?, self.read(1)?, self.constant(2));
        if !matches!(bytes, 4 | 8 | 16) {
            return Err(Problem::Operand(format!("a copy has 4, 8 or 16 bytes, not {bytes}")).into());
        }
        let read = read.map_or(Ok([bytes; LANES]), |at| self.read(at))?;
        let access = self.access(false);
        for lane in lanes_of(self.lanes) {
            let copy = Copy {
                to: to[lane],
                from: from[lane],
                bytes,
                read: read[lane].min(bytes),
                pc: self.strand.pc,
            };
            self.block.shared.begin_copy(copy.to, bytes, bytes, access).map_err(in_lane(lane))?;
            crate::emulator::memory::aligned("global", copy.from, bytes).map_err(in_lane(lane))?;
            if copy.read > 0 {
                self.block.memory.slice(copy.from, copy.read, 1).map_err(in_lane(lane))?;
            }
            self.warp.copies.start(lane, copy);
        }
        Ok(())
    }

    /// Lets the copies end that are waited for. What they read was checked when they started.
    pub(super) fn cp_wait(&mut self, left: usize) {
        for copy in self.warp.copies.wait(self.lanes, left) {
            let access = super::Access { pc: copy.pc, ..self.access(false) };
            let mut data = [0; 16];
            if let Ok(found) = self.block.memory.slice(copy.from, copy.read, 1) {
                data[..found.len()].copy_from_slice(found);
            }
            self.block.shared.end_copy(copy.to, &data[..copy.bytes as usize], access);
        }
    }
}
