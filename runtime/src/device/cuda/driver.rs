//! What the driver is asked that has no safe form elsewhere: is it there, modules, events, whose a pointer is.

use std::ffi::{CString, c_int, c_void};
use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

use super::super::EncodedMap;
use super::fit;
use crate::tensor_map::{Swizzle, TENSOR_MAP_BYTES, TensorMap};

type Asked<T> = std::result::Result<T, DriverError>;

/// Refuses a machine without a driver, or with one that is too old for what attnc writes.
pub(super) fn expect_driver() -> Result<(), String> {
    // SAFETY: it only looks for a library.
    if !unsafe { sys::is_culib_present() } {
        return Err("there is no driver of NVIDIA (libcuda) on this machine".to_owned());
    }
    let mut version: c_int = 0;
    // SAFETY: there is room for the number, and the driver need not be initialised.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(|it| format!("the driver does not tell its version: {it}"))?;
    fit::driver(version)
}

/// The compute capability of the GPU which the driver counts as `gpu`, from 0: (9, 0) is `sm_90`.
pub(super) fn capability(gpu: u32) -> Asked<(c_int, c_int)> {
    result::init()?;
    let device = device(gpu)?;
    // SAFETY: the driver gave the device.
    let attribute = |of| unsafe { result::device::get_attribute(device, of) };
    let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok((major, minor))
}

fn device(gpu: u32) -> Asked<sys::CUdevice> {
    result::device::get(c_int::try_from(gpu).unwrap_or(c_int::MAX))
}

/// The primary context of a GPU, which lives as long as somebody has it.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: the driver lets any thread use its handles.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// That of the GPU which the driver counts as `gpu`, from 0.
    pub(super) fn open(gpu: u32) -> Asked<Arc<Context>> {
        result::init()?;
        let device = device(gpu)?;
        // SAFETY: the driver gave the device.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        Ok(Arc::new(Context { device, context }))
    }

    /// What people call the GPU.
    pub(super) fn name(&self) -> Asked<String> {
        result::device::get_name(self.device)
    }

    /// A number that describes the GPU.
    pub(super) fn attribute(&self, of: sys::CUdevice_attribute) -> Asked<c_int> {
        // SAFETY: the driver gave the device.
        unsafe { result::device::get_attribute(self.device, of) }
    }

    /// Its handle.
    pub(super) fn handle(&self) -> sys::CUcontext {
        self.context
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once. What cannot be released goes with the process.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// A context that is the thread's current one until this is dropped, and then the one before is again.
pub(super) struct Current;

impl Current {
    pub(super) fn make(context: &Context) -> Asked<Current> {
        // SAFETY: the context lives.
        unsafe { sys::cuCtxPushCurrent_v2(context.handle()) }.result().map(|()| Current)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: there is room for the context. It fails only if somebody else popped it, and then nothing is left to do.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) }.result();
    }
}

/// A module that the driver has made machine code of.
#[derive(Debug)]
pub(super) struct Module {
    module: sys::CUmodule,
    context: Arc<Context>,
}

// SAFETY: the driver lets any thread use its handles, and nothing is changed through them.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// What the driver makes of the text, in a context that is current; else what it says of it.
    pub(super) fn load(context: &Arc<Context>, text: &str) -> Result<Module, String> {
        const LOG: usize = 4096;
        let source = CString::new(text).map_err(|it| it.to_string())?;
        let (mut module, mut log) = (std::ptr::null_mut(), vec![0u8; LOG]);
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // A number is passed where others pass an address.
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(LOG)];
        // SAFETY: the source ends in 0, each option has its value, and the log has room for as many bytes as it says.
        let loaded = unsafe {
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            sys::cuModuleLoadDataEx(&raw mut module, source.as_ptr().cast(), 2, options, values)
        };
        loaded.result().map_err(|error| {
            let said =
                String::from_utf8_lossy(log.split(|it| *it == 0).next().unwrap_or_default()).into_owned();
            let said = if said.trim().is_empty() { said } else { format!("\n{}", said.trim()) };
            format!("the driver cannot load the module: {error}{said}")
        })?;
        Ok(Module { module, context: context.clone() })
    }

    /// An entry.
    pub(super) fn function(&self, name: &str) -> Asked<sys::CUfunction> {
        let name = CString::new(name).map_err(|_| DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND))?;
        // SAFETY: the module is loaded.
        unsafe { result::module::get_function(self.module, name) }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: no call outlives the device, and nobody else has the module. It goes with the process if it cannot now.
        let _ =
            Current::make(&self.context).and_then(|_current| unsafe { result::module::unload(self.module) });
    }
}

/// A point on a stream.
pub(super) struct Event(sys::CUevent);

impl Event {
    /// One in the current context.
    pub(super) fn new() -> Asked<Event> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map(Event)
    }

    /// Puts it on a stream that lives.
    pub(super) fn record(&self, stream: sys::CUstream) -> Asked<()> {
        // SAFETY: the event lives, and so does the stream.
        unsafe { result::event::record(self.0, stream) }
    }

    /// Waits for it; the seconds from another, which comes before it.
    pub(super) fn seconds_since(&self, start: &Event) -> Asked<f64> {
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
        let mut milliseconds = 0f32;
        // SAFETY: the event lives.
        unsafe { result::event::synchronize(self.0) }?;
        // Drivers before CUDA 12.8 have it by this name only, and later ones have it, too.
        // SAFETY: the driver's function of that name has that type.
        let elapsed = unsafe { sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") };
        let elapsed = elapsed.map_err(|_| DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND))?;
        // SAFETY: both events live and were recorded, and there is room for the number.
        unsafe { elapsed(&raw mut milliseconds, start.0, self.0) }.result()?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: nobody else has it. What cannot be destroyed goes with the context.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// The context of a stream.
///
/// # Safety
/// The stream lives.
pub(super) unsafe fn context_of(stream: sys::CUstream) -> Asked<sys::CUcontext> {
    let mut context = std::ptr::null_mut();
    // SAFETY: as the caller promises, and there is room for the context.
    unsafe { sys::cuStreamGetCtx(stream, &raw mut context) }.result()?;
    Ok(context)
}

/// A map of a tensor as the driver encodes it.
pub(super) fn encode(map: &TensorMap) -> Asked<EncodedMap> {
    const _: () = assert!(size_of::<sys::CUtensorMap>() == TENSOR_MAP_BYTES);
    let refused = DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    if map.check().is_err() {
        return Err(refused);
    }
    // Only bytes are moved, so a type of that width will do.
    let element = match map.element {
        1 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        2 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        4 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT64,
    };
    let swizzle = match map.swizzle {
        Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::B32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        Swizzle::B64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        Swizzle::B128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let steps = vec![1u32; map.shape.len()];
    let ranks = u32::try_from(map.shape.len()).map_err(|_| refused)?;
    let mut encoded = EncodedMap([0; TENSOR_MAP_BYTES]);
    // SAFETY: the map has the size and the alignment that the driver wants, each list has an element for each rank, strides
    // one less, and the address is only written down.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            (&raw mut encoded).cast(),
            element,
            ranks,
            std::ptr::with_exposed_provenance_mut(map.address as usize),
            map.shape.as_ptr(),
            map.strides.as_ptr(),
            map.extents.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()?;
    Ok(encoded)
}

/// The GPU in whose memory an address lies, or from which memory of the host is reached by it, as the driver counts.
pub(super) fn gpu_of(address: u64) -> Asked<c_int> {
    let mut found: c_int = -1;
    let ordinal = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL;
    // SAFETY: there is room for the number, and any address may be asked about.
    unsafe { sys::cuPointerGetAttribute((&raw mut found).cast(), ordinal, address) }.result()?;
    Ok(found)
}
