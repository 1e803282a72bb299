//! Devices: machines with memory of their own that run the stages of kernels.
//!
//! The host checks a call with the kernel's own code; then inputs are copied to the device, stages are launched one
//! after the other, and outputs are copied back. Tensors lie dense on the device, whatever strides they have here; those
//! that are broadcast stay so.

#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
mod run;

use std::fmt::Debug;

use crate::error::Result;

#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use emulated::Emulated;
pub(crate) use run::run;

/// The most threads of a block.
pub const THREADS: u32 = 128;

/// What messages call the kernel of a symbol.
fn title(symbol: &str) -> String {
    format!("kernel `{}`", symbol.strip_prefix("attnc_").unwrap_or(symbol))
}

/// A machine that runs the stages of one kernel.
pub trait Device: Debug + Send + Sync {
    /// Begins a call, which has memory of its own.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    fn session(&self) -> Result<Box<dyn Session + '_>>;

    /// How many threads may run at the same time; more would only need more scratch.
    fn threads(&self) -> u32;
}

/// A call on a device.
pub trait Session {
    /// Memory with these bytes; its address, a multiple of 256.
    ///
    /// # Errors
    /// When there is no room.
    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<u64>;

    /// Memory to work in, with whatever lies there.
    ///
    /// # Errors
    /// When there is no room.
    fn alloc(&mut self, bytes: u64) -> Result<u64>;

    /// Runs a stage to its end.
    ///
    /// # Errors
    /// When it cannot be run.
    fn launch(&mut self, stage: &Launch<'_>) -> Result<()>;

    /// Copies memory that [`Session::upload`] gave back.
    ///
    /// # Errors
    /// When a stage has failed.
    fn download(&mut self, address: u64, into: &mut [u8]) -> Result<()>;
}

/// A stage with its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The position of the stage.
    pub stage: u32,
    /// The blocks.
    pub blocks: u32,
    /// The threads of a block.
    pub threads: u32,
    /// The words of the C ABI, with addresses on the device.
    pub words: &'a [u64],
    /// The address of the workspace.
    pub workspace: u64,
    /// The number of tasks.
    pub tasks: u64,
}
