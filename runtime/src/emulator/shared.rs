//! The shared memory of a block, with every check of an access.

use super::fault::{Done, Problem};
use super::memory::aligned;
use super::program::SHARED_START;
use super::race::{Access, Races};

/// Bytes, which of them were written, and who touched them when.
#[derive(Debug)]
pub(super) struct Shared {
    data: Vec<u8>,
    written: Vec<bool>,
    pub(super) races: Races,
}

impl Shared {
    /// Memory up to address `end`, for so many warps; no access has less than `grain` bytes.
    pub(super) fn new(end: u64, warps: usize, grain: u64) -> Shared {
        let bytes = (end - SHARED_START) as usize;
        let races = Races::new(bytes, warps, grain);
        Shared { data: vec![0; bytes], written: vec![false; bytes], races }
    }

    /// The position of bytes that lie inside.
    fn position(&self, address: u64, bytes: u64, align: u64) -> Done<usize> {
        let inside = address
            .checked_sub(SHARED_START)
            .filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= self.data.len() as u64));
        let Some(offset) = inside else {
            let end = SHARED_START + self.data.len() as u64;
            let nearest = format!("the block has {SHARED_START:#x} to {end:#x}");
            return Err(Problem::Bounds { space: "shared", address, bytes, nearest }.into());
        };
        aligned("shared", address, align)?;
        Ok(offset as usize)
    }

    /// Bytes that were written.
    pub(super) fn load(&mut self, address: u64, bytes: u64, align: u64, access: Access) -> Done<&[u8]> {
        let at = self.position(address, bytes, align)?;
        let range = at..at + bytes as usize;
        self.races.read(range.clone(), access)?;
        if let Some(lack) = self.written[range.clone()].iter().position(|written| !written) {
            let inside = format!("byte {} of shared memory", at + lack);
            let address = address + lack as u64;
            return Err(Problem::Uninitialised { space: "shared", address, inside }.into());
        }
        Ok(&self.data[range])
    }

    /// At most 8 bytes as a number.
    pub(super) fn load_value(&mut self, address: u64, bytes: u64, align: u64, access: Access) -> Done<u64> {
        let mut value = [0; 8];
        value[..bytes as usize].copy_from_slice(self.load(address, bytes, align, access)?);
        Ok(u64::from_le_bytes(value))
    }

    /// Writes bytes.
    pub(super) fn store(&mut self, address: u64, align: u64, data: &[u8], access: Access) -> Done {
        let at = self.position(address, data.len() as u64, align)?;
        self.races.write(at..at + data.len(), access)?;
        self.put(at, data);
        Ok(())
    }

    /// Lets a copy begin that fills these bytes later.
    pub(super) fn begin_copy(&mut self, address: u64, bytes: u64, align: u64, access: Access) -> Done {
        let at = self.position(address, bytes, align)?;
        self.races.begin_copy(at..at + bytes as usize, access)
    }

    /// Lets the bytes of a copy that has begun arrive.
    pub(super) fn end_copy(&mut self, address: u64, data: &[u8], access: Access) {
        let at = (address - SHARED_START) as usize;
        self.races.end_copy(at..at + data.len(), access);
        self.put(at, data);
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        self.data[at..at + data.len()].copy_from_slice(data);
        self.written[at..at + data.len()].fill(true);
    }
}
