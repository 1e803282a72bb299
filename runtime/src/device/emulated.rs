//! The emulator of PTX as a device.

use super::{Device, Launch, Session};
use crate::emulator::{self, Args, Buffer, DeviceMemory, Program, Schedule};
use crate::error::{Error, Result};

/// The threads that an emulated machine runs at the same time: more would only take more memory.
const THREADS: u32 = 1024;

/// What memory to work in holds: NaN for floats, so that what comes of it is seen. A stage may read what nobody wrote, as
/// long as it comes to nothing.
const POISON: u8 = 0xff;

/// A kernel of PTX that is emulated.
#[derive(Debug)]
pub struct Emulated {
    kernel: String,
    program: Program,
    /// The entries of the stages, in order.
    entries: Vec<String>,
    schedule: Schedule,
}

impl Emulated {
    /// The stages of a kernel of that symbol, in the text of a module.
    ///
    /// # Errors
    /// Where the text is no PTX that the emulator knows, or lacks a stage.
    pub fn new(symbol: &str, stages: u32, text: &str) -> Result<Emulated> {
        let kernel = super::title(symbol);
        let broken = |why: String| Error::Device { kernel: kernel.clone(), why };
        let program = Program::parse(text).map_err(|it| broken(it.to_string()))?;
        let entries: Vec<String> = (0..stages).map(|it| format!("{symbol}_stage_{it}")).collect();
        if let Some(lacking) = entries.iter().find(|it| !program.kernels().any(|known| known == it.as_str()))
        {
            return Err(broken(format!("its module has no entry `{lacking}`")));
        }
        Ok(Emulated { kernel, program, entries, schedule: Schedule::RoundRobin })
    }

    /// The same with warps in another order.
    #[must_use]
    pub fn under(self, schedule: Schedule) -> Emulated {
        Emulated { schedule, ..self }
    }
}

impl Device for Emulated {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Running { device: self, memory: DeviceMemory::new(), buffers: Vec::new() }))
    }

    fn threads(&self) -> u32 {
        THREADS
    }
}

/// A call.
struct Running<'a> {
    device: &'a Emulated,
    memory: DeviceMemory,
    buffers: Vec<Buffer>,
}

impl Running<'_> {
    fn fault(&self, why: impl ToString) -> Error {
        Error::Device { kernel: self.device.kernel.clone(), why: why.to_string() }
    }
}

impl Session for Running<'_> {
    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<u64> {
        let buffer = self.memory.upload(name, bytes);
        self.buffers.push(buffer);
        Ok(buffer.address())
    }

    fn alloc(&mut self, bytes: u64) -> Result<u64> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::OutOfMemory { bytes })?;
        self.upload("the workspace", &vec![POISON; bytes])
    }

    fn launch(&mut self, stage: &Launch<'_>) -> Result<()> {
        let words: Vec<u8> = stage.words.iter().flat_map(|it| it.to_le_bytes()).collect();
        let args = Args::new().bytes(&words).u64(stage.workspace).u64(stage.tasks);
        let launch = emulator::Launch::new([stage.blocks, 1, 1], [stage.threads, 1, 1], args);
        let launch = launch.schedule(self.device.schedule);
        let entry = &self.device.entries[stage.stage as usize];
        let ran = self.device.program.launch(entry, &launch, &mut self.memory);
        ran.map(|_| ()).map_err(|it| self.fault(it))
    }

    fn download(&mut self, address: u64, into: &mut [u8]) -> Result<()> {
        let found = self.buffers.iter().find(|it| it.address() == address);
        let buffer = found.ok_or_else(|| self.fault(format!("nothing lies at {address:#x}")))?;
        into.copy_from_slice(self.memory.bytes(*buffer));
        Ok(())
    }
}
