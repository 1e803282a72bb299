//! A bound call on a device: tensors there and back, and the stages between.

use std::ffi::c_void;

use super::{Device, Launch, THREADS};
use crate::abi::WORKSPACE_ALIGN;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::manifest::Role;
use crate::run::{expect_done, workspace_bytes};
use crate::workspace::Frame;

/// Checks a call whose extents and parameters are bound, and runs it.
pub(crate) fn run(kernel: &Kernel, frame: &Frame, device: &dyn Device) -> Result<()> {
    let (entry, words) = (kernel.entry(), frame.args.as_ptr());
    // SAFETY: the arguments have the words of the manifest, and `bind` accepted them.
    let tasks = |stage| unsafe { (entry.tasks)(words, stage) };
    let tasks: Vec<u64> = (0..kernel.info().stages).map(tasks).collect();
    let most = tasks.iter().copied().max().unwrap_or(0);
    let threads = u32::try_from(most).unwrap_or(u32::MAX).min(device.threads()).max(1).next_multiple_of(32);
    let bytes = workspace_bytes(kernel, frame, threads)?;
    // Stages run elsewhere: any address that is aligned passes for that of the workspace.
    let nowhere = std::ptr::without_provenance::<c_void>(WORKSPACE_ALIGN);
    // SAFETY: as above; the workspace is only looked at as an address.
    let status = unsafe { (entry.check)(words, nowhere, bytes, threads) };
    expect_done(kernel, frame, status)?;

    let mut session = device.session()?;
    let mut there = frame.args.clone();
    let tensors: Vec<Tensor<'_>> =
        (0..kernel.info().tensors.len()).map(|it| Tensor::of(kernel, frame, it)).collect();
    let mut addresses = Vec::new();
    for tensor in &tensors {
        let bytes = to_bytes(tensor.count(), tensor.size, tensor.name)?;
        // Points that do not exist keep what is there, so outputs are copied, too.
        let address = session.upload(tensor.name, &tensor.gather(bytes))?;
        addresses.push(address);
        there[tensor.word] = address;
        for (word, stride) in there[tensor.word + 1..].iter_mut().zip(tensor.dense()) {
            *word = stride as u64;
        }
    }
    let workspace = session.alloc(bytes.max(1))?;
    for (stage, &tasks) in (0..).zip(&tasks).filter(|it| *it.1 > 0) {
        let tasks_u32 = u32::try_from(tasks).unwrap_or(u32::MAX);
        let (blocks, block) = if kernel.info().teams.contains(&stage) {
            (tasks_u32.min(device.threads().div_ceil(THREADS)), THREADS)
        } else {
            let threads = threads.min(tasks_u32.checked_next_multiple_of(32).unwrap_or(u32::MAX));
            let block = threads.min(THREADS);
            (threads / block, block)
        };
        session.launch(&Launch { stage, blocks, threads: block, words: &there, workspace, tasks })?;
    }
    for (tensor, address) in tensors.iter().zip(addresses).filter(|it| it.0.role == Role::Output) {
        let mut bytes = vec![0; to_bytes(tensor.count(), tensor.size, tensor.name)?];
        session.download(address, &mut bytes)?;
        tensor.scatter(&bytes);
    }
    Ok(())
}

fn to_bytes(count: Option<usize>, size: usize, name: &str) -> Result<usize> {
    count.and_then(|it| it.checked_mul(size)).ok_or_else(|| Error::TooLarge { what: format!("`{name}`") })
}

/// A tensor of the caller.
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
