//! The state of a warp: registers of 32 lanes, and where each lane stands.
//!
//! Lanes at one place form a strand. The strand with the lowest place runs, and strands that come to one
//! place merge, so that lanes that part meet again where their ways do.

use super::bulk::Stores;
use super::copies::Copies;
use super::fault::{Done, Problem};
use super::products::Products;
use super::program::Decoded;
use std::cell::Cell;

/// The lanes of a warp.
pub(super) const LANES: usize = 32;
/// A register in all lanes.
pub(super) type Wide = [u64; LANES];

/// The positions of the bits that are set.
pub(super) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

/// A warp of a block.
#[derive(Debug)]
pub(super) struct Warp {
    pub(super) id: usize,
    regs: Vec<Wide>,
    /// The lanes in which each register was written.
    written: Vec<u32>,
    /// The instruction that holds each register, by position from 1; 0 where it is free.
    locks: Vec<Lock>,
    pub(super) strands: Vec<Strand>,
    /// The lanes that have not ended.
    pub(super) live: u32,
    /// Copies to shared memory that lanes have started.
    pub(super) copies: Copies,
    /// Copies from shared memory that it has started.
    pub(super) stores: Stores,
    /// What it has given to the tensor core of its group.
    pub(super) products: Products,
    /// The fences before each register was last read or written, but by products.
    fences: Vec<Cell<u32>>,
    pub(super) local: Local,
}

/// Who holds a register: how often, the last instruction that does, and whether for sums.
#[derive(Debug, Clone, Copy, Default)]
struct Lock {
    holders: u32,
    pc: u32,
    sum: bool,
}

/// What a product wants of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A part of a factor.
    Factor,
    /// A sum that it adds to.
    Sum,
    /// A sum that it starts, whatever was there.
    Start,
}

/// Lanes that stand at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strand {
    pub(super) pc: u32,
    pub(super) lanes: u32,
    pub(super) wait: Option<Wait>,
}

/// For what a strand waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the end of this use of a barrier; then it goes on.
    Barrier { id: usize, generation: u64 },
    /// For other lanes to come; then the instruction is tried again.
    Lanes { here: u32, live: u32, wanted: u32 },
    /// For the end of a phase of a barrier in memory; then the instruction is tried again.
    Phase { address: u64, parity: u64 },
    /// For the other warps of the group to issue as many products; then the instruction is tried again.
    Products { count: usize },
}

/// The local memory of the lanes.
#[derive(Debug)]
pub(super) struct Local {
    bytes: usize,
    data: Vec<u8>,
    written: Vec<bool>,
}

impl Warp {
    pub(super) fn new(id: usize, live: u32, decoded: &Decoded) -> Warp {
        let (regs, bytes) = (decoded.masks.len(), decoded.local as usize);
        Warp {
            id,
            regs: vec![[0; LANES]; regs],
            written: vec![0; regs],
            locks: vec![Lock::default(); regs],
            strands: vec![Strand { pc: 0, lanes: live, wait: None }],
            live,
            copies: Copies::default(),
            stores: Stores::default(),
            products: Products::new(),
            fences: vec![Cell::new(0); regs],
            local: Local { bytes, data: vec![0; bytes * LANES], written: vec![false; bytes * LANES] },
        }
    }

    /// A register, which has to be written in these lanes and held by nobody.
    pub(super) fn read(&self, reg: u32, lanes: u32, decoded: &Decoded) -> Done<&Wide> {
        self.check_free(reg, decoded)?;
        self.fences[reg as usize].set(self.products.fences);
        let lacking = lanes & !self.written[reg as usize];
        if lacking == 0 {
            return Ok(&self.regs[reg as usize]);
        }
        let name = decoded.kernel.regs[reg as usize].name.clone();
        Err(Problem::Register { name }.at(lacking.trailing_zeros() as usize))
    }

    /// Writes a register in some lanes.
    pub(super) fn write(&mut self, reg: u32, lanes: u32, value: &Wide, decoded: &Decoded) -> Done {
        self.check_free(reg, decoded)?;
        let mask = decoded.masks[reg as usize];
        let into = &mut self.regs[reg as usize];
        if lanes == u32::MAX {
            into.iter_mut().zip(value).for_each(|(into, value)| *into = value & mask);
        } else {
            lanes_of(lanes).for_each(|lane| into[lane] = value[lane] & mask);
        }
        self.written[reg as usize] |= lanes;
        self.fences[reg as usize].set(self.products.fences);
        Ok(())
    }

    /// Gives a register to a product: its value, and nobody else may touch it until the product is done.
    /// Products add to the same sums in order, and may share factors.
    pub(super) fn take(&mut self, reg: u32, what: Use, pc: u32, decoded: &Decoded) -> Done<Wide> {
        let index = reg as usize;
        let lacking = !self.written[index];
        let name = || decoded.kernel.regs[index].name.clone();
        let lock = self.locks[index];
        if what == Use::Factor && lock.holders > 0 && lock.sum {
            return Err(Problem::Locked { name: name(), by: lock.pc.to_string() }.into());
        }
        if what != Use::Start && lacking != 0 {
            return Err(Problem::Register { name: name() }.at(lacking.trailing_zeros() as usize));
        }
        if self.fences[index].get() == self.products.fences {
            let why = format!("no wgmma.fence comes after the last access to register `%{}`", name());
            return Err(Problem::Operand(why).into());
        }
        self.locks[index] = Lock { holders: lock.holders + 1, pc, sum: what != Use::Factor };
        self.products.open.push(reg);
        Ok(self.regs[index])
    }

    /// What a product gives to a register that it holds.
    pub(super) fn put(&mut self, reg: u32, value: &Wide) {
        self.regs[reg as usize] = *value;
        self.written[reg as usize] = u32::MAX;
    }

    /// Ends all groups of products but so many, and lets their registers go; the last group that ended.
    pub(super) fn retire(&mut self, left: usize) -> u32 {
        let (held, last) = self.products.retire(left);
        held.into_iter().for_each(|reg| self.locks[reg as usize].holders -= 1);
        last
    }

    fn check_free(&self, reg: u32, decoded: &Decoded) -> Done {
        let lock = self.locks[reg as usize];
        if lock.holders == 0 {
            return Ok(());
        }
        let name = decoded.kernel.regs[reg as usize].name.clone();
        Err(Problem::Locked { name, by: lock.pc.to_string() }.into())
    }

    /// Puts the strand that runs next first: that with the lowest place of those that do not wait. None may.
    pub(super) fn choose(&mut self, ready: impl Fn(&Strand) -> bool) -> bool {
        if let [only] = self.strands.as_mut_slice() {
            return ready(only);
        }
        self.strands.sort_by_key(|strand| strand.pc);
        self.strands.dedup_by(|strand, last| {
            // Lanes that wait for a barrier have come to it; others at its place have not.
            let meet = last.pc == strand.pc && !past(last) && !past(strand);
            last.lanes |= if meet { strand.lanes } else { 0 };
            meet
        });
        match self.strands.iter().position(ready) {
            Some(next) => {
                self.strands.swap(0, next);
                true
            }
            None => false,
        }
    }
}

/// Whether a strand is done with the instruction where it waits.
fn past(strand: &Strand) -> bool {
    matches!(strand.wait, Some(Wait::Barrier { .. }))
}

impl Local {
    /// The positions of bytes of a lane.
    fn range(&self, lane: usize, address: u64, bytes: u64) -> Done<std::ops::Range<usize>> {
        let end = address.checked_add(bytes).filter(|end| *end <= self.bytes as u64);
        if end.is_none() {
            let nearest = format!("a thread has {} bytes", self.bytes);
            return Err(Problem::Bounds { space: "local", address, bytes, nearest }.at(lane));
        }
        let start = lane * self.bytes + address as usize;
        Ok(start..start + bytes as usize)
    }

    pub(super) fn load(&self, lane: usize, address: u64, bytes: u64, align: u64) -> Done<u64> {
        let range = self.range(lane, address, bytes)?;
        super::memory::aligned("local", address, align)?;
        if !self.written[range.clone()].iter().all(|written| *written) {
            let inside = "a variable of the thread".to_owned();
            return Err(Problem::Uninitialised { space: "local", address, inside }.at(lane));
        }
        let mut value = [0; 8];
        value[..bytes as usize].copy_from_slice(&self.data[range]);
        Ok(u64::from_le_bytes(value))
    }

    pub(super) fn store(&mut self, lane: usize, address: u64, bytes: u64, align: u64, value: u64) -> Done {
        let range = self.range(lane, address, bytes)?;
        super::memory::aligned("local", address, align)?;
        self.written[range.clone()].fill(true);
        self.data[range].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        Ok(())
    }
}
