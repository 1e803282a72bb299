//! What a kernel is launched with, and what a run tells.

use super::memory::Buffer;
use crate::tensor_map::TensorMap;

/// The arguments of a kernel, in the order of its parameters.
///
/// ```
/// use attnc_runtime::emulator::{Args, DeviceMemory};
///
/// let mut memory = DeviceMemory::new();
/// let x = memory.upload("x", &[0; 64]);
/// let args = Args::new().buffer(x).u32(16).f32(0.5);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Args {
    pub(super) values: Vec<Vec<u8>>,
}

impl Args {
    /// None yet.
    pub fn new() -> Args {
        Args::default()
    }

    /// The address of a buffer.
    pub fn buffer(self, buffer: Buffer) -> Args {
        self.u64(buffer.address())
    }

    /// A u32.
    pub fn u32(self, value: u32) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// An i32.
    pub fn s32(self, value: i32) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// A u64.
    pub fn u64(self, value: u64) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// An i64.
    pub fn s64(self, value: i64) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// An f32.
    pub fn f32(self, value: f32) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// An f64.
    pub fn f64(self, value: f64) -> Args {
        self.bytes(&value.to_le_bytes())
    }

    /// A map of a tensor.
    pub fn tensor_map(self, map: &TensorMap) -> Args {
        self.bytes(&map.to_bytes())
    }

    /// Any parameter by its bytes.
    pub fn bytes(mut self, value: &[u8]) -> Args {
        self.values.push(value.to_vec());
        self
    }
}

/// How a kernel is launched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Launch {
    /// The blocks along x, y and z.
    pub grid: [u32; 3],
    /// The threads of a block along x, y and z.
    pub block: [u32; 3],
    /// The arguments.
    pub args: Args,
    /// The bytes of dynamic shared memory; without it, those that the kernel's text names.
    pub shared: Option<u32>,
    /// Who runs when.
    pub schedule: Schedule,
    /// The most instructions of warps before the kernel is taken to be in an endless loop.
    pub budget: u64,
}

impl Launch {
    /// A launch in turns, with plenty of instructions.
    pub fn new(grid: [u32; 3], block: [u32; 3], args: Args) -> Launch {
        Launch { grid, block, args, shared: None, schedule: Schedule::RoundRobin, budget: 1 << 30 }
    }

    /// With so many bytes of dynamic shared memory.
    pub fn shared(self, bytes: u32) -> Launch {
        Launch { shared: Some(bytes), ..self }
    }

    /// With another schedule.
    pub fn schedule(self, schedule: Schedule) -> Launch {
        Launch { schedule, ..self }
    }

    /// With at most so many instructions of warps.
    pub fn budget(self, instructions: u64) -> Launch {
        Launch { budget: instructions, ..self }
    }
}

/// Who runs when. A right kernel gives the same under each; a wrong one may get away with some.
///
/// Blocks run one after the other. What is checked of the order of accesses does not depend on luck: two
/// accesses that no barrier orders are found in whatever order they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Warps and blocks in turns; what is asynchronous ends soon.
    RoundRobin,
    /// Warps and blocks in an order that the seed gives, and asynchronous ends at any time.
    Random(u64),
    /// One warp runs only when no other can, and what is asynchronous ends only when all wait for it. The
    /// seed picks the warp.
    Adversarial(u64),
}

/// What a run tells about the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Instructions of warps.
    pub instructions: u64,
    /// Instructions of threads: those of warps times the lanes that ran them.
    pub thread_instructions: u64,
    /// Blocks.
    pub blocks: u64,
    /// Passes over shared memory that `ld`, `st`, `ldmatrix` and `stmatrix` took beyond the least, as
    /// several of their lanes needed one bank.
    pub bank_conflicts: u64,
}
