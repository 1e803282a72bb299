//! A GPU of NVIDIA as a device, through its driver, which is looked for when a kernel is loaded.
//!
//! Kernels use the primary context of the GPU, as the runtime library of CUDA and what is built on it do, so tensors and
//! streams of theirs can be handed in. A thread's current context is left as it was.

mod driver;
mod fit;

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

use self::driver::{Context, Current, Event, Module};
use super::{Device, EncodedMap, Entry, Launch, Stream};
use crate::error::{Error, Result};
use crate::kernel::title;
use crate::manifest::KernelInfo;
use crate::tensor_map::TensorMap;

/// Threads of a multiprocessor that a kernel with many registers leaves room for.
const THREADS: u32 = 1024;

/// Dynamic shared memory up to this is given without being asked for.
const SHARED: u32 = 48 << 10;

/// A kernel on a GPU of this machine.
#[derive(Debug)]
pub struct Cuda {
    kernel: String,
    name: String,
    gpu: u32,
    context: Arc<Context>,
    /// Whether memory comes and goes in the order of streams; else the driver waits for all of them before it goes.
    in_order: bool,
    _module: Module,
    /// The entries of the stages, in order, without maps of tensors and with them.
    entries: Vec<(Function, Option<Function>)>,
    threads: u32,
}

/// A function of a module, and how many of its blocks run at the same time on the GPU if they share tasks.
#[derive(Debug, Clone, Copy)]
struct Function(sys::CUfunction, u32);

// SAFETY: the driver lets any thread use its handles, and nothing is changed through them.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// That of a module, of whose blocks each has so many threads, 0 where these take tasks by themselves, and so many bytes of
    /// shared memory. The context is current.
    fn of(
        module: &Module,
        name: &str,
        (threads, shared): (u32, u32),
        processors: u32,
    ) -> std::result::Result<Function, DriverError> {
        let found = module.function(name)?;
        if shared > SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
            // SAFETY: the module is loaded, and its context is current.
            unsafe { result::function::set_function_attribute(found, most, bytes) }?;
        }
        if threads == 0 {
            return Ok(Function(found, 0));
        }
        let threads = i32::try_from(threads).unwrap_or(i32::MAX);
        // SAFETY: as above.
        let each = unsafe {
            result::occupancy::max_active_block_per_multiprocessor(found, threads, shared as usize)
        }?;
        Ok(Function(found, u32::try_from(each).unwrap_or(0).max(1).saturating_mul(processors)))
    }
}

impl Cuda {
    /// The stages of a kernel, in the text of a module, on the GPU that the driver counts as `gpu`, from 0.
    ///
    /// # Errors
    /// Where there is no driver or an old one, no such GPU, or one that lacks what the kernel takes; where the driver does
    /// not take the text.
    pub fn new(info: &KernelInfo, text: &str, gpu: u32) -> Result<Cuda> {
        let kernel = title(info);
        let refused = |why: String| Error::Device { kernel: kernel.clone(), why };
        let failed = |doing: &str, error: DriverError| refused(said(doing, error));
        driver::expect_driver().map_err(refused)?;
        let context = Context::open(gpu);
        let context = context.map_err(|it| failed(&format!("open GPU {gpu} of this machine"), it))?;
        let _current = Current::make(&context).map_err(|it| failed("use the GPU", it))?;
        let attribute = |of| context.attribute(of).map_err(|it| failed("describe the GPU", it));
        let name = context.name().map_err(|it| failed("describe the GPU", it))?;
        let capability = driver::capability(gpu).map_err(|it| failed("describe the GPU", it))?;
        let shared =
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let pools = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)?;
        let processors = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        fit::check(info, &name, capability, u32::try_from(shared).unwrap_or(0)).map_err(refused)?;
        let module = Module::load(&context, text).map_err(refused)?;
        let processors = u32::try_from(processors).unwrap_or(1);
        let function = |stage: u32, last: &str, needs: (u32, u32)| {
            let name = format!("{}_stage_{stage}{last}", info.symbol);
            let found = Function::of(&module, &name, needs, processors);
            found.map_err(|it| failed(&format!("prepare stage {stage}{last}"), it))
        };
        let both = |stage: u32| {
            let of = |all: &[u32]| all.get(stage as usize).copied().unwrap_or(0);
            let mapped = info.mapped.iter().find(|it| it.stage == stage);
            let mapped = mapped.map(|it| function(stage, "_maps", (it.threads, it.shared))).transpose()?;
            Ok((function(stage, "", (of(&info.teams), of(&info.shared)))?, mapped))
        };
        let entries = (0..info.stages).map(both).collect::<Result<_>>()?;
        let threads = processors.saturating_mul(THREADS);
        let in_order = pools > 0;
        Ok(Cuda { kernel, name, gpu, context: context.clone(), in_order, _module: module, entries, threads })
    }

    /// The compute capability of the GPU that the driver counts as `gpu`, from 0: (9, 0) is `sm_90`. None where there is no
    /// driver that attnc can use, or no such GPU.
    pub fn capability(gpu: u32) -> Option<(i32, i32)> {
        driver::expect_driver().ok()?;
        driver::capability(gpu).ok()
    }

    fn refused(&self, why: String) -> Error {
        Error::Device { kernel: self.kernel.clone(), why }
    }

    /// Does something with the driver, for what a message says.
    fn with<T>(&self, doing: &str, act: impl FnOnce() -> std::result::Result<T, DriverError>) -> Result<T> {
        let done = Current::make(&self.context).and_then(|_current| act());
        done.map_err(|it| self.refused(said(doing, it)))
    }
}

/// What the driver said when it was to do something.
fn said(doing: &str, error: DriverError) -> String {
    format!("the driver cannot {doing}: {error}")
}

fn handle(of: Stream) -> sys::CUstream {
    std::ptr::with_exposed_provenance_mut(of.raw())
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn threads(&self) -> u32 {
        self.threads
    }

    fn blocks(&self, stage: u32, entry: Entry, _: u32) -> u32 {
        let (plain, mapped) = self.entries[stage as usize];
        match entry {
            Entry::Plain => plain.1,
            Entry::Mapped => mapped.unwrap_or(plain).1,
        }
    }

    fn takes(&self, stream: Stream) -> Result<()> {
        // SAFETY: the stream lives, as whoever made it promised.
        let found =
            self.with("find the context of the stream", || unsafe { driver::context_of(handle(stream)) })?;
        if found == self.context.handle() {
            return Ok(());
        }
        let (gpu, name) = (self.gpu, &self.name);
        Err(self.refused(format!(
            "the stream is of another context, expected one of the primary context of GPU {gpu}, {name}"
        )))
    }

    fn alloc(&self, what: &str, bytes: u64, stream: Stream) -> Result<u64> {
        let size = usize::try_from(bytes).map_err(|_| Error::OutOfMemory { bytes })?.max(1);
        self.with(&format!("give {bytes} bytes of memory for {what}"), || match self.in_order {
            // SAFETY: the context is current, and the stream lives.
            true => unsafe { result::malloc_async(handle(stream), size) },
            // SAFETY: the context is current.
            false => unsafe { result::malloc_sync(size) },
        })
    }

    unsafe fn free(&self, address: u64, stream: Stream) {
        // After a fault of a kernel the driver gives nothing back but with the context; there is nobody to tell it to.
        let _ = self.with("give memory back", || match self.in_order {
            // SAFETY: as the caller promises.
            true => unsafe { result::free_async(address, handle(stream)) },
            // SAFETY: as the caller promises; it waits for all that was launched.
            false => unsafe { result::free_sync(address) },
        });
    }

    unsafe fn write(&self, address: u64, bytes: &[u8], stream: Stream) -> Result<()> {
        self.with("copy a tensor to the GPU", || {
            if bytes.is_empty() {
                return Ok(());
            }
            // SAFETY: as the caller promises, and the bytes are lent until the copy has ended.
            unsafe { result::memcpy_htod_async(address, bytes, handle(stream)) }?;
            // SAFETY: the stream lives.
            unsafe { result::stream::synchronize(handle(stream)) }
        })
    }

    unsafe fn read(&self, address: u64, into: &mut [u8], stream: Stream) -> Result<()> {
        self.with("copy a tensor from the GPU", || {
            if into.is_empty() {
                return Ok(());
            }
            // SAFETY: as the caller promises, and the bytes are lent until the copy has ended.
            unsafe { result::memcpy_dtoh_async(into, address, handle(stream)) }?;
            // SAFETY: the stream lives.
            unsafe { result::stream::synchronize(handle(stream)) }
        })
    }

    fn holds(&self, what: &str, address: u64, bytes: u64) -> Result<()> {
        for at in [address, address + (bytes - 1)] {
            let found =
                self.with(&format!("find {what} at {at:#x} in the memory of a GPU"), || driver::gpu_of(at))?;
            if u32::try_from(found) != Ok(self.gpu) {
                let (gpu, name) = (self.gpu, &self.name);
                return Err(self
                    .refused(format!("{what} is in the memory of GPU {found}, expected GPU {gpu}, {name}")));
            }
        }
        Ok(())
    }

    fn encode(&self, map: &TensorMap) -> Result<EncodedMap> {
        self.with("make a map of a tensor", || driver::encode(map))
    }

    unsafe fn launch(&self, stage: &Launch<'_>, stream: Stream) -> Result<()> {
        let Launch { blocks, threads, shared, words, workspace, tasks, maps, .. } = *stage;
        let mut params: Vec<*mut c_void> = vec![
            words.as_ptr().cast_mut().cast(),
            std::ptr::from_ref(&workspace).cast_mut().cast(),
            std::ptr::from_ref(&tasks).cast_mut().cast(),
        ];
        params.extend(maps.iter().map(|it| std::ptr::from_ref(it).cast_mut().cast::<c_void>()));
        let (plain, mapped) = self.entries[stage.stage as usize];
        let entry = mapped.filter(|_| !maps.is_empty()).unwrap_or(plain).0;
        let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
        // SAFETY: the parameters are those of the entry, which the driver copies now; what they point to is there until the
        // stage has ended, as the caller promises.
        self.with(&format!("launch stage {}", stage.stage), || unsafe {
            result::launch_kernel(entry, grid, block, shared, handle(stream), &mut params)
        })
    }

    fn wait(&self, stream: Stream) -> Result<()> {
        // SAFETY: the stream lives.
        self.with("run the kernel", || unsafe { result::stream::synchronize(handle(stream)) })
    }

    fn seconds(&self, stream: Stream, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let event = || self.with("make an event", Event::new);
        let (start, end) = (event()?, event()?);
        self.with("record an event", || start.record(handle(stream)))?;
        work()?;
        self.with("record an event", || end.record(handle(stream)))?;
        self.with("time the kernel", || end.seconds_since(&start))
    }
}
