//! Devices: machines with memory of their own that run the stages of kernels.
//!
//! The host checks a call with the kernel's own code. A [`crate::Call`] takes tensors of the host: inputs are copied to the
//! device, stages are launched one after the other, and outputs are copied back. A [`DeviceCall`] takes tensors that lie
//! there already, and a stream to launch the stages on.
//!
//! What holds everywhere: memory that is asked for here has an owner, [`DeviceBuffer`], so it is given back whatever fails.

mod call;
#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
mod maps;
mod memory;
mod run;

use std::fmt::Debug;

use crate::error::Result;
use crate::tensor_map::TensorMap;

pub use call::{DeviceCall, DeviceTensor};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use emulated::{Emulated, EmulatedGpu};
pub use maps::EncodedMap;
pub use memory::DeviceBuffer;
pub use run::Resident;

/// The most threads of a block whose threads run tasks by themselves.
pub const THREADS: u32 = 128;

/// What messages call the kernel of a symbol.
fn title(symbol: &str) -> String {
    format!("kernel `{}`", symbol.strip_prefix("attnc_").unwrap_or(symbol))
}

/// A queue of a device: what is put on it runs in that order, and the host does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(usize);

impl Stream {
    /// The one that every device has; the null stream of CUDA.
    pub const DEFAULT: Stream = Stream(0);

    /// The stream of a handle: with CUDA a `CUstream`, which is the same as a `cudaStream_t`.
    ///
    /// # Safety
    /// The handle is one that the driver gave, for the device of the kernels that are called with it, and is not destroyed
    /// before what was put on it has ended.
    pub unsafe fn from_raw(handle: usize) -> Stream {
        Stream(handle)
    }

    /// Its handle.
    pub fn raw(self) -> usize {
        self.0
    }
}

/// A machine that runs the stages of one kernel.
///
/// Its memory is reached by addresses; [`DeviceBuffer`] is the safe way to it.
pub trait Device: Debug + Send + Sync {
    /// What people call the machine.
    fn name(&self) -> String;

    /// How many threads may run at the same time; more would only need more scratch.
    fn threads(&self) -> u32;

    /// How many blocks of a stage run at the same time, of so many threads each: of its entry for maps of tensors or the other.
    /// As many are launched; they take all tasks between them.
    fn blocks(&self, stage: u32, entry: Entry, threads: u32) -> u32;

    /// Whether a stream is one of this device.
    ///
    /// # Errors
    /// When it is not, as far as the device can tell.
    fn takes(&self, stream: Stream) -> Result<()>;

    /// So many bytes of memory, with whatever lies there, for what is put on the stream from now on; the address, a multiple
    /// of 256. `what` is what messages call it.
    ///
    /// # Errors
    /// When there is no room.
    fn alloc(&self, what: &str, bytes: u64, stream: Stream) -> Result<u64>;

    /// Gives memory back once the stream has come so far.
    ///
    /// # Safety
    /// [`Device::alloc`] gave the address, and nothing uses it but what was put on that stream before.
    unsafe fn free(&self, address: u64, stream: Stream);

    /// Copies bytes to the device, and waits until they are there.
    ///
    /// # Errors
    /// When they cannot be copied, or something before them on the stream failed.
    ///
    /// # Safety
    /// So many bytes at the address belong to the caller.
    unsafe fn write(&self, address: u64, bytes: &[u8], stream: Stream) -> Result<()>;

    /// Copies bytes from the device, once the stream has come so far, and waits for them.
    ///
    /// # Errors
    /// When they cannot be copied, or something before them on the stream failed.
    ///
    /// # Safety
    /// So many bytes at the address belong to the caller.
    unsafe fn read(&self, address: u64, into: &mut [u8], stream: Stream) -> Result<()>;

    /// Whether these bytes, of which there is at least one, are memory that kernels here can use.
    ///
    /// # Errors
    /// When they are not, as far as the device can tell.
    fn holds(&self, what: &str, address: u64, bytes: u64) -> Result<()>;

    /// A map of a tensor as kernels here take it.
    ///
    /// # Errors
    /// When the device has no such map.
    fn encode(&self, map: &TensorMap) -> Result<EncodedMap>;

    /// Puts a stage on a stream.
    ///
    /// # Errors
    /// When it cannot be launched, or something before it on the stream failed.
    ///
    /// # Safety
    /// The words are arguments that the kernel's own checks have accepted; what they lead to on the device is there, and is
    /// nobody else's to change, until the stage has ended.
    unsafe fn launch(&self, stage: &Launch<'_>, stream: Stream) -> Result<()>;

    /// Waits for all that was put on a stream.
    ///
    /// # Errors
    /// When some of it failed.
    fn wait(&self, stream: Stream) -> Result<()>;

    /// The seconds that the device takes for what `work` puts on a stream.
    ///
    /// # Errors
    /// When it fails, or the device has no clock.
    fn seconds(&self, stream: Stream, work: &mut dyn FnMut() -> Result<()>) -> Result<f64>;
}

/// Which entry of a stage is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The one that any tensors will do for.
    Plain,
    /// The one that takes maps of tensors.
    Mapped,
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
    /// The bytes of dynamic shared memory of a block.
    pub shared: u32,
    /// The words of the C ABI, with addresses on the device.
    pub words: &'a [u64],
    /// The address of the workspace.
    pub workspace: u64,
    /// The number of tasks.
    pub tasks: u64,
    /// The maps of tensors that the second entry of the stage takes; without any it is the first that is launched.
    pub maps: &'a [EncodedMap],
}
