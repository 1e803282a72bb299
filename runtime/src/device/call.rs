//! A call with tensors that lie on the device: nothing is copied, nothing is waited for.

use std::sync::Arc;

use super::run::{NOWHERE, Work};
use super::{Device, Stream};
use crate::abi::WORKSPACE_ALIGN;
use crate::call::{Call, Shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::{Role, Scalar};
use crate::run::expect_outputs;
use crate::tensor::Raw;
use crate::workspace::Frame;

/// A tensor on a device, as a kernel is told of it: an address, a dtype, extents, strides. It owns nothing.
#[derive(Debug, Clone, Copy)]
pub struct DeviceTensor<'a>(Raw<'a>);

impl<'a> DeviceTensor<'a> {
    /// What lies in C order from that address on.
    ///
    /// # Errors
    /// When an extent or the address is larger than an address can be.
    pub fn new(address: u64, dtype: DType, shape: &'a [usize]) -> Result<DeviceTensor<'a>> {
        Raw::elsewhere(address, dtype, shape, None).map(DeviceTensor)
    }

    /// What has coordinate 0 of all dimensions at that address, and a step along dimension `i` of `strides[i]` elements,
    /// of either sign; 0 repeats one.
    ///
    /// # Errors
    /// As for [`DeviceTensor::new`], and when there is another number of strides than of extents.
    pub fn strided(
        address: u64,
        dtype: DType,
        shape: &'a [usize],
        strides: &'a [isize],
    ) -> Result<DeviceTensor<'a>> {
        Raw::elsewhere(address, dtype, shape, Some(strides)).map(DeviceTensor)
    }
}

/// A call in the making, of a kernel whose tensors lie on its device. What is wrong with it is told by
/// [`DeviceCall::launch`], before anything is put on a stream.
///
/// ```no_run
/// use attnc_runtime::device::{DeviceTensor, Stream};
/// use attnc_runtime::{DType, Kernel, Result};
///
/// /// `y = f(x)` for 128 rows of 64, whose addresses another library gave, on its stream.
/// fn forward(kernel: &Kernel, x: u64, y: u64, stream: usize) -> Result<()> {
///     let shape = [128, 64];
///     let call = kernel
///         .device_call()?
///         .input("x", DeviceTensor::new(x, DType::BF16, &shape)?)
///         .output("y", DeviceTensor::new(y, DType::BF16, &shape)?);
///     // SAFETY: the other library keeps both tensors until its stream has come past this.
///     unsafe { call.launch(Stream::from_raw(stream)) }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a call does nothing until it is launched"]
pub struct DeviceCall<'a> {
    call: Call<'a>,
    device: &'a Arc<dyn Device>,
    /// Where the caller's workspace is, and how many bytes it has.
    workspace: Option<(u64, u64)>,
}

impl<'a> DeviceCall<'a> {
    pub(crate) fn new(kernel: &'a Kernel, device: &'a Arc<dyn Device>) -> DeviceCall<'a> {
        DeviceCall { call: kernel.call(), device, workspace: None }
    }

    /// Gives an input.
    pub fn input(self, name: &str, tensor: DeviceTensor<'a>) -> DeviceCall<'a> {
        DeviceCall { call: self.call.give(name, Role::Input, tensor.0), ..self }
    }

    /// Gives an output to write to; it must not overlap any other tensor.
    pub fn output(self, name: &str, tensor: DeviceTensor<'a>) -> DeviceCall<'a> {
        DeviceCall { call: self.call.give(name, Role::Output, tensor.0), ..self }
    }

    /// Gives a parameter; one that is not given has its default.
    pub fn param(self, name: &str, value: impl Into<Scalar>) -> DeviceCall<'a> {
        DeviceCall { call: self.call.param(name, value), ..self }
    }

    /// Gives memory on the device to work in: so many bytes, at least [`DeviceCall::workspace_bytes`], at an address that is
    /// a multiple of 64. Without it, the library asks the device for some, which is given back in the order of the stream.
    pub fn workspace(self, address: u64, bytes: u64) -> DeviceCall<'a> {
        DeviceCall { workspace: Some((address, bytes)), ..self }
    }

    /// The shapes of the outputs, once all inputs and parameters are given.
    ///
    /// # Errors
    /// When the inputs or parameters do not fit the kernel.
    pub fn shapes(&mut self) -> Result<Shapes> {
        self.call.shapes()
    }

    /// The bytes of workspace that the call needs, once all inputs and parameters are given.
    ///
    /// # Errors
    /// When the inputs or parameters do not fit the kernel.
    pub fn workspace_bytes(&mut self) -> Result<u64> {
        let (kernel, frame) = self.call.bound()?;
        Ok(Work::of(kernel, frame, self.device.as_ref())?.bytes)
    }

    /// The stages that have an entry for maps of tensors, and are launched without because a tensor does not lie as it has
    /// to, once all tensors and parameters are given; each with why. They give the same.
    ///
    /// # Errors
    /// When the tensors or parameters do not fit the kernel.
    pub fn unmapped(&mut self) -> Result<Vec<(u32, String)>> {
        let (kernel, frame) = self.call.bound()?;
        let work = Work::of(kernel, frame, self.device.as_ref())?;
        Ok(work.unmapped(kernel, self.device.as_ref(), &frame.args))
    }

    /// Checks everything and puts the stages on a stream. When this returns they may not have begun; a fault of theirs is
    /// told by [`Device::wait`], or by whatever waits for the stream next.
    ///
    /// # Errors
    /// When shapes, dtypes or parameters do not fit the kernel; when a pointer is null, not aligned to its element, or leads
    /// to what is not memory of the device; when an output overlaps another tensor; when the stream is of another context,
    /// the workspace too small, or the device has no memory for one. Then nothing runs, unless it is a later stage that
    /// could not be launched.
    ///
    /// # Safety
    /// Until the stream has come past this call, all elements of the tensors, and the caller's workspace, stay allocated;
    /// nobody writes to inputs meanwhile, or touches outputs and workspace at all; inputs hold values of their dtypes.
    pub unsafe fn launch(mut self, stream: Stream) -> Result<()> {
        let device = self.device;
        let (kernel, frame) = self.call.bound()?;
        expect_outputs(kernel, frame)?;
        device.takes(stream)?;
        let work = Work::of(kernel, frame, device.as_ref())?;
        if let Some((address, bytes)) = self.workspace {
            check_workspace(kernel, device.as_ref(), (address, bytes), work.bytes)?;
        }
        work.check(kernel, frame, self.workspace.map_or(NOWHERE, |it| it.0))?;
        for tensor in 0..kernel.info().tensors.len() {
            if let Some((address, bytes)) = reach(kernel, frame, tensor)? {
                device.holds(&format!("`{}`", kernel.info().tensors[tensor].name), address, bytes)?;
            }
        }
        // It is given back when this returns, in the order of the stream: after the stages.
        let room = if self.workspace.is_none() { Some(work.room(device, stream)?) } else { None };
        let workspace =
            self.workspace.map(|it| it.0).or(room.as_ref().map(|it| it.address())).unwrap_or(NOWHERE);
        // SAFETY: the arguments were checked, and the caller keeps what they lead to.
        unsafe { work.launch(kernel, device.as_ref(), &frame.args, workspace, stream) }
    }
}

/// Refuses a workspace of the caller that will not do.
fn check_workspace(
    kernel: &Kernel,
    device: &dyn Device,
    (address, bytes): (u64, u64),
    needed: u64,
) -> Result<()> {
    let refuse = |why: String| Err(Error::Device { kernel: kernel.title(), why });
    if bytes < needed {
        return refuse(format!("its workspace has {bytes} bytes, expected at least {needed}"));
    }
    if !address.is_multiple_of(WORKSPACE_ALIGN as u64) || address == 0 {
        return refuse(format!(
            "its workspace is at {address:#x}, expected a multiple of {WORKSPACE_ALIGN} that is not 0"
        ));
    }
    if needed == 0 { Ok(()) } else { device.holds("its workspace", address, needed) }
}

/// The first byte of a tensor, wherever its strides lead, and how many there are to the last; none without elements.
fn reach(kernel: &Kernel, frame: &Frame, tensor: usize) -> Result<Option<(u64, u64)>> {
    let info = &kernel.info().tensors[tensor];
    let (word, size) = (info.word as usize, info.dtype.size() as i128);
    let shape = &frame.shapes[kernel.dims_of(tensor)];
    if shape.contains(&0) {
        return Ok(None);
    }
    let (mut low, mut high) = (i128::from(frame.args[word]), i128::from(frame.args[word]) + size);
    for (&extent, &stride) in shape.iter().zip(&frame.args[word + 1..]) {
        // Below 2^126, and the checks of the kernel have refused what sums up to more than 2^63.
        let step = (i128::from(extent) - 1) * i128::from(stride as i64) * size;
        (low, high) = (low.saturating_add(step.min(0)), high.saturating_add(step.max(0)));
    }
    let too_large = |_| Error::TooLarge { what: format!("`{}`", info.name) };
    let last = u64::try_from(high - 1).map_err(too_large)?;
    let first = u64::try_from(low).map_err(too_large)?;
    Ok(Some((first, (last - first).saturating_add(1))))
}
