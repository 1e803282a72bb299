//! A bound call on a device: tensors there and back, and the stages between.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;

use super::maps::maps_of;
use super::{Device, DeviceBuffer, Entry, Launch, Stream, THREADS};
use crate::abi::WORKSPACE_ALIGN;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::{MappedStage, Role};
use crate::run::{expect_done, workspace_bytes};
use crate::workspace::Frame;

/// A call whose tensors were copied to the device of its kernel, where it can be run again and again; all on the default
/// stream. [`crate::Call::resident`] makes one.
///
/// Tensors lie dense there, whatever strides they have here; those that are broadcast stay so.
#[derive(Debug)]
#[must_use = "nothing is computed until it is launched, and nothing comes back until it is finished"]
pub struct Resident<'a> {
    kernel: &'a Kernel,
    device: &'a Arc<dyn Device>,
    work: Work,
    words: Vec<u64>,
    tensors: Vec<(Tensor<'a>, DeviceBuffer)>,
    workspace: DeviceBuffer,
    lent: PhantomData<&'a mut [u8]>,
}

impl<'a> Resident<'a> {
    /// Checks a call whose extents and parameters are bound, and copies its tensors.
    pub(crate) fn new(
        kernel: &'a Kernel,
        frame: &Frame,
        device: &'a Arc<dyn Device>,
    ) -> Result<Resident<'a>> {
        let work = Work::of(kernel, frame, device.as_ref())?;
        work.check(kernel, frame, NOWHERE)?;
        let (mut words, mut tensors) = (frame.args.clone(), Vec::new());
        for tensor in (0..kernel.info().tensors.len()).map(|it| Tensor::of(kernel, frame, it)) {
            // Points that do not exist keep what is there, so outputs are copied, too.
            let dense = tensor.gather(tensor.bytes()?);
            let buffer =
                DeviceBuffer::upload(device, &format!("`{}`", tensor.name), &dense, Stream::DEFAULT)?;
            words[tensor.word] = buffer.address();
            for (word, stride) in words[tensor.word + 1..].iter_mut().zip(tensor.dense()) {
                *word = stride as u64;
            }
            tensors.push((tensor, buffer));
        }
        let workspace = work.room(device, Stream::DEFAULT)?;
        Ok(Resident { kernel, device, work, words, tensors, workspace, lent: PhantomData })
    }

    /// What people call the device.
    pub fn device_name(&self) -> String {
        self.device.name()
    }

    /// The bytes of workspace that the call has there.
    pub fn workspace_bytes(&self) -> u64 {
        self.work.bytes
    }

    /// The stages that have an entry for maps of tensors, and are launched without because a tensor does not lie as it has
    /// to; each with why. They give the same.
    pub fn unmapped(&self) -> Vec<(u32, String)> {
        self.work.unmapped(self.kernel, self.device.as_ref(), &self.words)
    }

    /// Has the device compute the outputs, and does not wait for it.
    ///
    /// # Errors
    /// When a stage cannot be launched.
    pub fn launch(&mut self) -> Result<()> {
        let Resident { kernel, device, work, words, workspace, .. } = self;
        // SAFETY: the arguments were checked, and dense copies reach no further than what they are copies of. Only this
        // call knows the buffers, which are given back in the order of the stream.
        unsafe { work.launch(kernel, device.as_ref(), words, workspace.address(), Stream::DEFAULT) }
    }

    /// The seconds that the device takes for one launch, of so many in a row.
    ///
    /// # Errors
    /// When a stage fails, or the device has no clock.
    pub fn seconds(&mut self, launches: u32) -> Result<f64> {
        let device = self.device;
        let all = device.seconds(Stream::DEFAULT, &mut || (0..launches).try_for_each(|_| self.launch()))?;
        Ok(all / f64::from(launches.max(1)))
    }

    /// Waits for the device and copies the outputs back to where the caller gave them.
    ///
    /// # Errors
    /// When a stage has failed; then nothing was copied.
    pub fn finish(self) -> Result<()> {
        self.device.wait(Stream::DEFAULT)?;
        for (tensor, buffer) in self.tensors.iter().filter(|it| it.0.role == Role::Output) {
            let mut bytes = vec![0; tensor.bytes()?];
            buffer.read(&mut bytes)?;
            tensor.scatter(&bytes);
        }
        Ok(())
    }
}

/// An address for a workspace that is not there yet: any that is aligned passes for it.
pub(super) const NOWHERE: u64 = WORKSPACE_ALIGN as u64;

/// What a bound call takes.
#[derive(Debug)]
pub(super) struct Work {
    /// The tasks of each stage.
    tasks: Vec<u64>,
    /// The extents of all dimensions of all tensors.
    shapes: Vec<i64>,
    /// The threads that a stage is launched with at most, each of which has scratch of its own.
    threads: u32,
    /// The bytes of workspace.
    pub(super) bytes: u64,
}

impl Work {
    /// That of a call whose extents and parameters are bound.
    pub(super) fn of(kernel: &Kernel, frame: &Frame, device: &dyn Device) -> Result<Work> {
        // SAFETY: the arguments have the words of the manifest, and `bind` accepted them.
        let tasks = |stage| unsafe { (kernel.entry().tasks)(frame.args.as_ptr(), stage) };
        let tasks: Vec<u64> = (0..kernel.info().stages).map(tasks).collect();
        let most = tasks.iter().copied().max().unwrap_or(0);
        let threads = u32::try_from(most).unwrap_or(u32::MAX).min(device.threads()).max(1);
        let threads = threads.next_multiple_of(32);
        let bytes = workspace_bytes(kernel, frame, threads)?;
        Ok(Work { tasks, shapes: frame.shapes.clone(), threads, bytes })
    }

    /// The kernel's own checks of arguments and workspace, which look at both as addresses only.
    pub(super) fn check(&self, kernel: &Kernel, frame: &Frame, workspace: u64) -> Result<()> {
        let workspace = std::ptr::without_provenance::<c_void>(workspace as usize);
        // SAFETY: as above; nothing is read at an address.
        let status =
            unsafe { (kernel.entry().check)(frame.args.as_ptr(), workspace, self.bytes, self.threads) };
        expect_done(kernel, frame, status)
    }

    /// A workspace for what is put on the stream from now on.
    pub(super) fn room(&self, device: &Arc<dyn Device>, stream: Stream) -> Result<DeviceBuffer> {
        // There is no memory of no bytes.
        DeviceBuffer::new(device, "the workspace", self.bytes.max(1), stream)
    }

    /// The stages that have an entry for maps of tensors but cannot take it, and why.
    pub(super) fn unmapped(&self, kernel: &Kernel, device: &dyn Device, words: &[u64]) -> Vec<(u32, String)> {
        let stages = kernel.info().mapped.iter();
        let why = |it: &MappedStage| maps_of(kernel, device, it, (&self.shapes, words)).err();
        stages.filter_map(|it| Some((it.stage, why(it)?))).collect()
    }

    /// Puts the stages on the stream, one after the other.
    ///
    /// # Safety
    /// The words passed [`Work::check`], but for where dense tensors lie; what they lead to is there until the stages have
    /// ended, and so is the workspace.
    pub(super) unsafe fn launch(
        &self,
        kernel: &Kernel,
        device: &dyn Device,
        words: &[u64],
        workspace: u64,
        stream: Stream,
    ) -> Result<()> {
        let info = kernel.info();
        for (stage, &tasks) in (0..).zip(&self.tasks).filter(|it| *it.1 > 0) {
            let most = u32::try_from(tasks).unwrap_or(u32::MAX);
            let mapped = info.mapped.iter().find(|it| it.stage == stage);
            let mapped =
                mapped.and_then(|it| Some((it, maps_of(kernel, device, it, (&self.shapes, words)).ok()?)));
            let (blocks, threads) = match (&mapped, info.teams.get(stage as usize)) {
                (Some((it, _)), _) => (most.min(device.blocks(stage, Entry::Mapped, it.threads)), it.threads),
                (None, Some(&team)) if team > 0 => (most.min(device.blocks(stage, Entry::Plain, team)), team),
                (None, _) => {
                    let threads = self.threads.min(most.checked_next_multiple_of(32).unwrap_or(u32::MAX));
                    let block = threads.min(THREADS);
                    (threads / block, block)
                }
            };
            let shared = match &mapped {
                Some((it, _)) => it.shared,
                None => info.shared.get(stage as usize).copied().unwrap_or(0),
            };
            let maps = mapped.as_ref().map_or(&[][..], |it| &it.1);
            let launch = Launch { stage, blocks, threads, shared, words, workspace, tasks, maps };
            // SAFETY: as the caller promises.
            unsafe { device.launch(&launch, stream) }?;
        }
        Ok(())
    }
}

/// A tensor of the caller.
#[derive(Debug)]
struct Tensor<'a> {
    name: &'a str,
    role: Role,
    word: usize,
    /// The bytes of an element.
    size: usize,
    data: *mut u8,
    /// Extents and strides in elements; a dimension that is broadcast has one element.
    dims: Vec<(usize, isize)>,
}

impl<'a> Tensor<'a> {
    fn of(kernel: &'a Kernel, frame: &Frame, at: usize) -> Tensor<'a> {
        let info = &kernel.info().tensors[at];
        let word = info.word as usize;
        let shape = &frame.shapes[kernel.dims_of(at)];
        let dims = shape.iter().zip(&frame.args[word + 1..]).map(|(&extent, &stride)| {
            let extent = usize::try_from(extent).expect("`bind` refuses negative extents");
            (if stride == 0 { extent.min(1) } else { extent }, stride as isize)
        });
        Tensor {
            name: &info.name,
            role: info.role,
            word,
            size: info.dtype.size(),
            data: std::ptr::with_exposed_provenance_mut(frame.args[word] as usize),
            dims: dims.collect(),
        }
    }

    /// How many elements it has in memory.
    fn count(&self) -> Option<usize> {
        self.dims.iter().try_fold(1usize, |product, it| product.checked_mul(it.0))
    }

    /// How many bytes its dense copy has.
    fn bytes(&self) -> Result<usize> {
        let bytes = self.count().and_then(|it| it.checked_mul(self.size));
        bytes.ok_or_else(|| Error::TooLarge { what: format!("`{}`", self.name) })
    }

    /// The strides of its dense copy.
    fn dense(&self) -> Vec<isize> {
        let mut strides = vec![0; self.dims.len()];
        let mut next = 1isize;
        for (stride, dim) in strides.iter_mut().zip(&self.dims).rev() {
            *stride = if dim.1 == 0 { 0 } else { next };
            next = next.wrapping_mul(dim.0 as isize);
        }
        strides
    }

    /// Does something with the address of each element and its place in the dense copy, in C order.
    fn each(&self, mut act: impl FnMut(*mut u8, usize)) {
        let count = self.count().unwrap_or(0);
        let mut at = vec![0usize; self.dims.len()];
        let mut element = self.data;
        for place in 0..count {
            act(element, place * self.size);
            for (at, (extent, stride)) in at.iter_mut().zip(&self.dims).rev() {
                let step = stride.wrapping_mul(self.size as isize);
                *at += 1;
                element = element.wrapping_offset(step);
                if *at < *extent {
                    break;
                }
                element = element.wrapping_offset(step.wrapping_mul(-(*extent as isize)));
                *at = 0;
            }
        }
    }

    fn gather(&self, bytes: usize) -> Vec<u8> {
        let mut dense = vec![0u8; bytes];
        self.each(|element, place| {
            // SAFETY: a view reaches all elements of its shape, and the caller lends it for the call.
            unsafe { std::ptr::copy_nonoverlapping(element, dense[place..].as_mut_ptr(), self.size) };
        });
        dense
    }

    fn scatter(&self, dense: &[u8]) {
        self.each(|element, place| {
            // SAFETY: as for `gather`; an output is lent to be written, and overlaps no other tensor.
            unsafe { std::ptr::copy_nonoverlapping(dense[place..].as_ptr(), element, self.size) };
        });
    }
}
