//! The memory of a call: the arguments as the kernel reads them and its scratch space.

use std::ffi::c_void;

use crate::abi;
use crate::error::{Error, Result};
use crate::kernel::Kernel;

/// Memory that calls may use one after the other; it grows to the largest of them.
#[derive(Debug, Default)]
pub struct Workspace {
    lines: Vec<Line>,
    pub(crate) frame: Frame,
}

/// 64 bytes at a multiple of 64.
#[derive(Debug)]
#[repr(align(64))]
#[allow(dead_code, reason = "only its size and alignment matter: the memory belongs to the kernel")]
struct Line([u8; abi::WORKSPACE_ALIGN]);

/// The arguments of one call.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The words of the C ABI.
    pub(crate) args: Vec<u64>,
    /// The extents of all dimensions of all tensors.
    pub(crate) shapes: Vec<i64>,
    /// The extents of all ranks.
    pub(crate) extents: Vec<i64>,
    /// Which tensors were given.
    pub(crate) tensors: Vec<bool>,
    /// Which parameters were given: what `bind` is told.
    pub(crate) params: Vec<u8>,
}

impl Frame {
    /// Empties it for a call of that kernel.
    pub(crate) fn reset(&mut self, kernel: &Kernel) {
        let info = kernel.info();
        refill(&mut self.args, info.words as usize, 0);
        refill(&mut self.shapes, kernel.dims().len(), 0);
        refill(&mut self.extents, info.ranks.len(), 0);
        refill(&mut self.tensors, info.tensors.len(), false);
        refill(&mut self.params, info.params.len(), 0);
    }
}

fn refill<T: Copy>(of: &mut Vec<T>, len: usize, with: T) {
    of.clear();
    of.resize(len, with);
}

impl Workspace {
    /// An empty one.
    pub fn new() -> Workspace {
        Workspace::default()
    }

    /// The bytes that it has taken from the system for kernels to work in.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * abi::WORKSPACE_ALIGN
    }

    /// At least that many bytes of scratch space, aligned as the ABI demands.
    pub(crate) fn scratch(&mut self, bytes: u64) -> Result<*mut c_void> {
        let lines = usize::try_from(bytes.div_ceil(abi::WORKSPACE_ALIGN as u64));
        let lines = lines.map_err(|_| Error::OutOfMemory { bytes })?;
        if lines > self.lines.capacity() {
            self.lines = Vec::new();
            self.lines.try_reserve_exact(lines).map_err(|_| Error::OutOfMemory { bytes })?;
        }
        Ok(self.lines.as_mut_ptr().cast())
    }
}
