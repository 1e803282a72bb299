//! A GPU of NVIDIA as a device, through its driver, which is looked for when a kernel is loaded.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, result, sys};

use super::{Device, Launch, Session};
use crate::error::{Error, Result};

/// Threads of a multiprocessor that a kernel with many registers leaves room for.
const THREADS: u32 = 1024;

/// A kernel on the first GPU of this machine.
#[derive(Debug)]
pub struct Cuda {
    kernel: String,
    context: Arc<CudaContext>,
    module: Module,
    /// The entries of the stages, in order.
    entries: Vec<Entry>,
    threads: u32,
}

/// A module that the driver has made machine code of.
#[derive(Debug)]
struct Module(sys::CUmodule);

/// A function of a module.
#[derive(Debug, Clone, Copy)]
struct Entry(sys::CUfunction);

// SAFETY: the driver lets any thread use its handles, and nothing is changed through them.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}
// SAFETY: as above.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Cuda {
    /// The stages of a kernel of that symbol, in the text of a module.
    ///
    /// # Errors
    /// Where there is no driver or no GPU, or the driver does not take the text.
    pub fn new(symbol: &str, stages: u32, text: &str) -> Result<Cuda> {
        let kernel = super::title(symbol);
        let refused = |why: String| Error::Device { kernel: kernel.clone(), why };
        let failed = |doing: &str, error: DriverError| refused(format!("the driver cannot {doing}: {error}"));
        // SAFETY: it only looks for a library.
        if !unsafe { sys::is_culib_present() } {
            return Err(refused("there is no driver of NVIDIA (libcuda) on this machine".to_owned()));
        }
        let context = CudaContext::new(0).map_err(|it| failed("open a GPU", it))?;
        let source = CString::new(text).map_err(|it| refused(it.to_string()))?;
        // SAFETY: a context is bound to this thread; the source is a string that ends in 0.
        let module = unsafe { result::module::load_data(source.as_ptr().cast()) };
        let module = Module(module.map_err(|it| failed("load the module", it))?);
        let entry = |at| {
            let name = CString::new(format!("{symbol}_stage_{at}")).map_err(|it| refused(it.to_string()))?;
            // SAFETY: the module is loaded.
            let entry = unsafe { result::module::get_function(module.0, name) };
            entry.map(Entry).map_err(|it| failed(&format!("find stage {at}"), it))
        };
        let entries = (0..stages).map(entry).collect::<Result<_>>()?;
        let processors = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        let processors = processors.map_err(|it| failed("describe the GPU", it))?;
        let threads = u32::try_from(processors).unwrap_or(1).saturating_mul(THREADS);
        Ok(Cuda { kernel, context, module, entries, threads })
    }

    fn failed(&self, doing: &str, error: DriverError) -> Error {
        Error::Device { kernel: self.kernel.clone(), why: format!("the driver cannot {doing}: {error}") }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // SAFETY: no call outlives the device, and nobody else has the module. It goes with the process if it cannot now.
        let _ = self.context.bind_to_thread().and_then(|()| unsafe { result::module::unload(self.module.0) });
    }
}

impl Device for Cuda {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        self.context.bind_to_thread().map_err(|it| self.failed("use the GPU", it))?;
        Ok(Box::new(Running { device: self, stream: self.context.default_stream(), memory: Vec::new() }))
    }

    fn threads(&self) -> u32 {
        self.threads
    }
}

/// A call.
struct Running<'a> {
    device: &'a Cuda,
    stream: Arc<CudaStream>,
    memory: Vec<CudaSlice<u8>>,
}

impl Running<'_> {
    fn address(&self, of: &CudaSlice<u8>) -> u64 {
        of.device_ptr(&self.stream).0
    }

    fn keep(&mut self, memory: CudaSlice<u8>) -> u64 {
        let address = self.address(&memory);
        self.memory.push(memory);
        address
    }
}

impl Session for Running<'_> {
    fn upload(&mut self, _name: &str, bytes: &[u8]) -> Result<u64> {
        // The driver gives no memory of no bytes.
        let copied =
            if bytes.is_empty() { self.stream.alloc_zeros(1) } else { self.stream.clone_htod(bytes) };
        let memory = copied.map_err(|it| self.device.failed("copy a tensor to the GPU", it))?;
        Ok(self.keep(memory))
    }

    fn alloc(&mut self, bytes: u64) -> Result<u64> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::OutOfMemory { bytes })?;
        // SAFETY: the memory is only written and read by kernels, which take it as it is.
        let memory = unsafe { self.stream.alloc::<u8>(bytes.max(1)) };
        let memory = memory.map_err(|it| self.device.failed("give memory to work in", it))?;
        Ok(self.keep(memory))
    }

    fn launch(&mut self, stage: &Launch<'_>) -> Result<()> {
        let Launch { blocks, threads, words, workspace, tasks, .. } = *stage;
        let mut params: [*mut c_void; 3] = [
            words.as_ptr().cast_mut().cast(),
            std::ptr::from_ref(&workspace).cast_mut().cast(),
            std::ptr::from_ref(&tasks).cast_mut().cast(),
        ];
        let entry = self.device.entries[stage.stage as usize].0;
        // SAFETY: the parameters are those of the entry, which the driver copies now; they point to memory that is kept
        // until the call ends.
        let launched = unsafe {
            let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
            result::launch_kernel(entry, grid, block, 0, self.stream.cu_stream(), &mut params)
        };
        launched.map_err(|it| self.device.failed(&format!("launch stage {}", stage.stage), it))
    }

    fn download(&mut self, address: u64, into: &mut [u8]) -> Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let found = self.memory.iter().find(|it| self.address(it) == address);
        let found = found.expect("only what was uploaded is asked for");
        let copied = self.stream.memcpy_dtoh(found, into).and_then(|()| self.stream.synchronize());
        copied.map_err(|it| self.device.failed("run the kernel", it))
    }
}
