//! Global memory: named buffers, each with bounds and a record of what was written.
//!
//! Buffers lie far apart, so an address outside of one is outside of all. They are aligned to 256 bytes,
//! as those of a driver are, and to no more.

use super::fault::{Done, Problem};

/// The first address: as all that follow, a multiple of 256 and of no larger power of two.
const START: u64 = 0x7f00_0000_0100;
/// What lies between buffers, at least.
const GAP: u64 = 1 << 16;

/// The memory of a device. What a kernel reads has to be uploaded, or written by a kernel before.
#[derive(Debug, Clone, Default)]
pub struct DeviceMemory {
    /// By address, which only grows: none is given twice.
    allocations: Vec<Allocation>,
    next: u64,
}

/// A buffer of a [`DeviceMemory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    address: u64,
    bytes: u64,
}

impl Buffer {
    /// Where it starts, as kernels take it.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Its bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

#[derive(Debug, Clone)]
struct Allocation {
    name: String,
    address: u64,
    data: Vec<u8>,
    written: Vec<bool>,
}

impl DeviceMemory {
    /// No buffers.
    pub fn new() -> DeviceMemory {
        DeviceMemory::default()
    }

    /// A buffer with these bytes.
    pub fn upload(&mut self, name: &str, data: &[u8]) -> Buffer {
        self.add(name, data.to_vec(), vec![true; data.len()])
    }

    /// A buffer that a kernel has to write before it is read.
    pub fn alloc(&mut self, name: &str, bytes: usize) -> Buffer {
        self.add(name, vec![0; bytes], vec![false; bytes])
    }

    fn add(&mut self, name: &str, data: Vec<u8>, written: Vec<bool>) -> Buffer {
        let address = START + self.next;
        let bytes = data.len() as u64;
        self.next = (self.next + bytes + GAP).next_multiple_of(512);
        self.allocations.push(Allocation { name: name.to_owned(), address, data, written });
        Buffer { address, bytes }
    }

    /// How many buffers there are.
    pub(crate) fn len(&self) -> usize {
        self.allocations.len()
    }

    /// How many bytes all buffers have.
    pub(crate) fn taken(&self) -> u64 {
        self.allocations.iter().map(|it| it.data.len() as u64).sum()
    }

    /// Gives the buffer that begins at an address back; what reaches for it from now on is outside of memory.
    ///
    /// # Panics
    ///
    /// Where none begins.
    pub(crate) fn free(&mut self, address: u64) {
        let at = self.at(address);
        self.allocations.remove(at);
    }

    /// The place of the buffer that begins at an address.
    fn at(&self, address: u64) -> usize {
        let found = self.allocations.binary_search_by_key(&address, |it| it.address);
        found.unwrap_or_else(|_| panic!("no buffer begins at {address:#x}"))
    }

    /// Whether bytes lie in a buffer; if not, where they lie.
    pub(crate) fn holds(&self, address: u64, bytes: u64) -> Result<(), Problem> {
        self.find(address, bytes).map(|_| ()).map_err(|it| it.problem)
    }

    /// Writes bytes from the host.
    pub(crate) fn copy_in(&mut self, address: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.store_slice(address, 1, bytes).map_err(|it| it.problem)
    }

    /// Reads bytes for the host, written or not.
    pub(crate) fn copy_out(&self, address: u64, into: &mut [u8]) -> Result<(), Problem> {
        let (index, offset) = self.find(address, into.len() as u64).map_err(|it| it.problem)?;
        into.copy_from_slice(&self.allocations[index].data[offset..][..into.len()]);
        Ok(())
    }

    /// Replaces the bytes of a buffer.
    ///
    /// # Panics
    ///
    /// Where `data` has another length.
    pub fn write(&mut self, buffer: Buffer, data: &[u8]) {
        let at = self.at(buffer.address);
        let allocation = &mut self.allocations[at];
        allocation.data.copy_from_slice(data);
        allocation.written.fill(true);
    }

    /// The bytes of a buffer; those that nothing wrote are 0.
    pub fn bytes(&self, buffer: Buffer) -> &[u8] {
        &self.allocations[self.at(buffer.address)].data
    }

    /// The first byte of a buffer that nothing wrote.
    pub fn first_unwritten(&self, buffer: Buffer) -> Option<usize> {
        self.allocations[self.at(buffer.address)].written.iter().position(|written| !written)
    }

    /// The buffer that holds these bytes.
    fn find(&self, address: u64, bytes: u64) -> Done<(usize, usize)> {
        let after = self.allocations.partition_point(|it| it.address <= address);
        if let Some(index) = after.checked_sub(1) {
            let offset = address - self.allocations[index].address;
            if offset.checked_add(bytes).is_some_and(|end| end <= self.allocations[index].data.len() as u64) {
                return Ok((index, offset as usize));
            }
        }
        Err(Problem::Bounds { space: "global", address, bytes, nearest: self.nearest(address, after) }.into())
    }

    /// Words about the buffer next to an address.
    fn nearest(&self, address: u64, after: usize) -> String {
        let below = after.checked_sub(1).map(|index| &self.allocations[index]);
        match below {
            Some(it) => {
                let (offset, bytes) = (address - it.address, it.data.len());
                format!("it is {offset} bytes into `{}`, which has {bytes}", it.name)
            }
            None => self.allocations.first().map_or_else(
                || "there are no buffers".to_owned(),
                |it| format!("the first buffer, `{}`, is at {:#x}", it.name, it.address),
            ),
        }
    }

    /// At most 8 bytes that were written, at an address that is a multiple of `align`.
    pub(super) fn load(&self, address: u64, bytes: u64, align: u64) -> Done<u64> {
        let data = self.slice(address, bytes, align)?;
        let mut value = [0; 8];
        value[..data.len()].copy_from_slice(data);
        Ok(u64::from_le_bytes(value))
    }

    /// Bytes that were written.
    pub(super) fn slice(&self, address: u64, bytes: u64, align: u64) -> Done<&[u8]> {
        let (index, offset) = self.find(address, bytes)?;
        aligned("global", address, align)?;
        let allocation = &self.allocations[index];
        let range = offset..offset + bytes as usize;
        if let Some(lack) = allocation.written[range.clone()].iter().position(|written| !written) {
            let inside = format!("byte {} of `{}`", offset + lack, allocation.name);
            let address = address + lack as u64;
            return Err(Problem::Uninitialised { space: "global", address, inside }.into());
        }
        Ok(&allocation.data[range])
    }

    /// Writes the lowest bytes of a value.
    pub(super) fn store(&mut self, address: u64, bytes: u64, align: u64, value: u64) -> Done {
        self.store_slice(address, align, &value.to_le_bytes()[..bytes as usize])
    }

    /// Writes bytes.
    pub(super) fn store_slice(&mut self, address: u64, align: u64, data: &[u8]) -> Done {
        let (index, offset) = self.find(address, data.len() as u64)?;
        aligned("global", address, align)?;
        let allocation = &mut self.allocations[index];
        allocation.data[offset..offset + data.len()].copy_from_slice(data);
        allocation.written[offset..offset + data.len()].fill(true);
        Ok(())
    }
}

/// Refuses an address that is no multiple of `align`.
pub(super) fn aligned(space: &'static str, address: u64, align: u64) -> Done {
    if address.is_multiple_of(align) {
        Ok(())
    } else {
        Err(Problem::Misaligned { space, address, align }.into())
    }
}
