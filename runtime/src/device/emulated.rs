//! The emulator of PTX as a device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Device, EncodedMap, Entry, Launch, Stream};
use crate::emulator::{self, Args, DeviceMemory, Program, Schedule};
use crate::error::{Error, Result};
use crate::tensor_map::TensorMap;

/// The threads that an emulated machine runs at the same time: more would only take more memory.
const THREADS: u32 = 1024;

/// What new memory holds: NaN for floats, so that what comes of it is seen. A stage may read what nobody wrote, as long as it
/// comes to nothing.
const POISON: u8 = 0xff;

/// A GPU that is emulated: the memory that all kernels on it share. It does what is put on it at once, one thing at a time,
/// and has no stream but [`Stream::DEFAULT`].
#[derive(Debug, Clone)]
pub struct EmulatedGpu {
    memory: Arc<Mutex<DeviceMemory>>,
    /// The bytes of memory that it has.
    bytes: u64,
}

impl Default for EmulatedGpu {
    fn default() -> EmulatedGpu {
        EmulatedGpu::with_bytes(u64::MAX)
    }
}

impl EmulatedGpu {
    /// One without anything in its memory, of which there is as much as the host has.
    pub fn new() -> EmulatedGpu {
        EmulatedGpu::default()
    }

    /// One with so many bytes of memory.
    pub fn with_bytes(bytes: u64) -> EmulatedGpu {
        EmulatedGpu { memory: Arc::default(), bytes }
    }

    /// How many allocations were not yet given back.
    pub fn allocations(&self) -> usize {
        self.memory().len()
    }

    /// Memory is good at any time: a fault leaves what was written before.
    fn memory(&self) -> MutexGuard<'_, DeviceMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kernel of PTX that is emulated.
#[derive(Debug)]
pub struct Emulated {
    kernel: String,
    gpu: EmulatedGpu,
    program: Program,
    /// The entries of the stages, in order, without maps of tensors and with them.
    entries: Vec<[String; 2]>,
    schedule: Schedule,
}

impl Emulated {
    /// The stages of a kernel of that symbol, in the text of a module, on an emulated GPU of their own.
    ///
    /// # Errors
    /// Where the text is no PTX that the emulator knows, or lacks a stage.
    pub fn new(symbol: &str, stages: u32, text: &str) -> Result<Emulated> {
        let kernel = super::title(symbol);
        let broken = |why: String| Error::Device { kernel: kernel.clone(), why };
        let program = Program::parse(text).map_err(|it| broken(it.to_string()))?;
        let entries: Vec<[String; 2]> =
            (0..stages).map(|it| ["", "_maps"].map(|last| format!("{symbol}_stage_{it}{last}"))).collect();
        let lacks = |it: &&String| !program.kernels().any(|known| known == it.as_str());
        if let Some(lacking) = entries.iter().map(|it| &it[0]).find(lacks) {
            return Err(broken(format!("its module has no entry `{lacking}`")));
        }
        Ok(Emulated { kernel, gpu: EmulatedGpu::new(), program, entries, schedule: Schedule::RoundRobin })
    }

    /// The same on that GPU.
    #[must_use]
    pub fn on(self, gpu: &EmulatedGpu) -> Emulated {
        Emulated { gpu: gpu.clone(), ..self }
    }

    /// The same with warps in another order.
    #[must_use]
    pub fn under(self, schedule: Schedule) -> Emulated {
        Emulated { schedule, ..self }
    }

    fn fault(&self, why: impl ToString) -> Error {
        Error::Device { kernel: self.kernel.clone(), why: why.to_string() }
    }

    /// The memory, for what is put on a stream.
    fn memory_on(&self, stream: Stream) -> Result<MutexGuard<'_, DeviceMemory>> {
        self.takes(stream)?;
        Ok(self.gpu.memory())
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "the emulator".to_owned()
    }

    fn threads(&self) -> u32 {
        THREADS
    }

    fn blocks(&self, _: u32, _: Entry, threads: u32) -> u32 {
        THREADS.div_ceil(threads)
    }

    fn takes(&self, stream: Stream) -> Result<()> {
        if stream == Stream::DEFAULT {
            return Ok(());
        }
        let found = stream.raw();
        Err(self
            .fault(format!("{found:#x} is no stream of the emulator, which has none but the default one, 0")))
    }

    fn alloc(&self, what: &str, bytes: u64, stream: Stream) -> Result<u64> {
        let mut memory = self.memory_on(stream)?;
        let (taken, all) = (memory.taken(), self.gpu.bytes);
        let none = || {
            let of = if all == u64::MAX { String::new() } else { format!(" of {all}") };
            self.fault(format!("the emulator has no {bytes} bytes for {what}: {taken}{of} bytes are taken"))
        };
        let mut data = Vec::new();
        let size = usize::try_from(bytes).map_err(|_| none())?;
        if taken.checked_add(bytes).is_none_or(|it| it > all) || data.try_reserve_exact(size).is_err() {
            return Err(none());
        }
        data.resize(size, POISON);
        Ok(memory.upload(what, &data).address())
    }

    unsafe fn free(&self, address: u64, _stream: Stream) {
        self.gpu.memory().free(address);
    }

    unsafe fn write(&self, address: u64, bytes: &[u8], stream: Stream) -> Result<()> {
        self.memory_on(stream)?.copy_in(address, bytes).map_err(|it| self.fault(it))
    }

    unsafe fn read(&self, address: u64, into: &mut [u8], stream: Stream) -> Result<()> {
        self.memory_on(stream)?.copy_out(address, into).map_err(|it| self.fault(it))
    }

    fn holds(&self, what: &str, address: u64, bytes: u64) -> Result<()> {
        let held = self.gpu.memory().holds(address, bytes);
        held.map_err(|it| self.fault(format!("{what} is not in the memory of the emulator: {it}")))
    }

    fn encode(&self, map: &TensorMap) -> Result<EncodedMap> {
        Ok(EncodedMap(map.to_bytes()))
    }

    unsafe fn launch(&self, stage: &Launch<'_>, stream: Stream) -> Result<()> {
        let words: Vec<u8> = stage.words.iter().flat_map(|it| it.to_le_bytes()).collect();
        let args = Args::new().bytes(&words).u64(stage.workspace).u64(stage.tasks);
        let args = stage.maps.iter().fold(args, |args, it| args.bytes(&it.0));
        let launch = emulator::Launch::new([stage.blocks, 1, 1], [stage.threads, 1, 1], args);
        let launch = launch.shared(stage.shared).schedule(self.schedule);
        let entry = &self.entries[stage.stage as usize][usize::from(!stage.maps.is_empty())];
        let ran = self.program.launch(entry, &launch, &mut *self.memory_on(stream)?);
        ran.map(|_| ()).map_err(|it| self.fault(it))
    }

    fn wait(&self, stream: Stream) -> Result<()> {
        self.takes(stream)
    }

    fn seconds(&self, _stream: Stream, _work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        Err(self.fault("the emulator has no clock: times are told by a GPU"))
    }
}
