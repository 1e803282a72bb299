//! Running a bound call: workspace, checks, and the tasks of each stage on threads.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::abi::Code;
use crate::device::Resident;
use crate::error::{Error, Result, What};
use crate::kernel::Kernel;
use crate::manifest::{Extent, Role};
use crate::workspace::{Frame, Workspace};

/// Tasks are handed out in pieces, so many to a thread, so that a slow one holds up little.
const PIECES_PER_THREAD: u64 = 8;

/// Checks a call whose extents and parameters are bound, and runs it.
pub(crate) fn run(kernel: &Kernel, workspace: &mut Workspace, threads: Option<usize>) -> Result<()> {
    expect_outputs(kernel, &workspace.frame)?;
    if let Some(device) = kernel.device() {
        let mut resident = Resident::new(kernel, &workspace.frame, device)?;
        resident.launch()?;
        return resident.finish();
    }
    let threads = match threads {
        Some(1) => 1,
        at_most => rayon::current_num_threads().min(at_most.unwrap_or(usize::MAX)).max(1),
    };
    let threads = u32::try_from(threads).unwrap_or(u32::MAX);
    let bytes = workspace_bytes(kernel, &workspace.frame, threads)?;
    let scratch = workspace.scratch(bytes)?;
    let frame = &workspace.frame;
    // SAFETY: the arguments have the words of the manifest, and `bind` accepted them; the workspace has that many bytes.
    let status = unsafe { (kernel.entry().check)(frame.args.as_ptr(), scratch, bytes, threads) };
    expect_done(kernel, frame, status)?;
    let job = Job { kernel, args: frame.args.as_ptr(), scratch };
    for stage in 0..kernel.info().stages {
        expect_done(kernel, frame, job.run_stage(stage, threads))?;
    }
    Ok(())
}

/// Refuses a call that lacks an output.
pub(crate) fn expect_outputs(kernel: &Kernel, frame: &Frame) -> Result<()> {
    for (tensor, given) in kernel.info().tensors.iter().zip(&frame.tensors) {
        if tensor.role == Role::Output && !given {
            let (kernel, name) = (kernel.title(), tensor.name.clone());
            return Err(Error::Missing { kernel, what: What::Output, name });
        }
    }
    Ok(())
}

/// The bytes of workspace that a bound call on so many threads needs.
pub(crate) fn workspace_bytes(kernel: &Kernel, frame: &Frame, threads: u32) -> Result<u64> {
    // SAFETY: the arguments have the words of the manifest, and `bind` accepted them.
    let bytes = unsafe { (kernel.entry().workspace)(frame.args.as_ptr(), threads) };
    if bytes > i64::MAX as u64 { Err(Error::TooLarge { what: "the workspace".into() }) } else { Ok(bytes) }
}

/// A call that was checked.
struct Job<'a> {
    kernel: &'a Kernel,
    args: *const u64,
    scratch: *mut c_void,
}

// SAFETY: the tasks of one stage may run at the same time; the caller keeps all memory alive meanwhile.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// Runs all tasks of a stage; the status is that of the first to fail.
    fn run_stage(&self, stage: u32, threads: u32) -> i32 {
        // SAFETY: the call was checked.
        let tasks = unsafe { (self.kernel.entry().tasks)(self.args, stage) };
        let threads = threads.min(u32::try_from(tasks).unwrap_or(u32::MAX));
        if threads <= 1 {
            return self.run_tasks(0, stage, 0, tasks);
        }
        let piece = (tasks / (u64::from(threads) * PIECES_PER_THREAD)).max(1);
        let (next, failed) = (AtomicU64::new(0), AtomicI32::new(0));
        in_parallel(0, threads, &|thread| {
            while failed.load(Ordering::Relaxed) == 0 {
                let first = next.fetch_add(piece, Ordering::Relaxed);
                if first >= tasks {
                    break;
                }
                let status = self.run_tasks(thread, stage, first, first.saturating_add(piece).min(tasks));
                if status != 0 {
                    failed.store(status, Ordering::Relaxed);
                }
            }
        });
        failed.into_inner()
    }

    fn run_tasks(&self, thread: u32, stage: u32, first: u64, last: u64) -> i32 {
        if first == last {
            return 0;
        }
        // SAFETY: the call was checked, stages run in order, each task runs once, and nobody else has `thread`.
        unsafe { (self.kernel.entry().run)(self.args, self.scratch, thread, stage, first, last) }
    }
}

/// Calls `work` with the numbers from `from` to `to - 1`, on as many threads as are idle. Allocates nothing.
fn in_parallel(from: u32, to: u32, work: &(impl Fn(u32) + Sync)) {
    if to - from <= 1 {
        work(from);
    } else {
        let middle = from + (to - from) / 2;
        rayon::join(|| in_parallel(from, middle, work), || in_parallel(middle, to, work));
    }
}

/// Turns a status into what it says about the call.
pub(crate) fn expect_done(kernel: &Kernel, frame: &Frame, status: i32) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    let info = kernel.info();
    let bug = Error::Status { kernel: kernel.title(), status };
    let Some((code, idx)) = Code::of(status) else { return Err(bug) };
    let (tensor, rank) = (info.tensors.get(idx), info.ranks.get(idx));
    Err(match (code, tensor, rank) {
        (Code::NullPointer, Some(tensor), _) => Error::Null { tensor: tensor.name.clone() },
        (Code::BadExtent, _, Some(rank)) => {
            Error::Bound { rank: rank.name.clone(), found: word_of(frame, &rank.extent), bound: rank.bound }
        }
        (Code::ExtentsDisagree, _, Some(rank)) => {
            Error::Unfit { rank: rank.name.clone(), extents: given_extents(kernel, frame) }
        }
        (Code::Overlap, Some(tensor), _) => Error::Overlap { tensor: tensor.name.clone() },
        (Code::TooLarge, tensor, _) => {
            Error::TooLarge { what: tensor.map_or("the workspace".into(), |it| format!("`{}`", it.name)) }
        }
        (Code::Misaligned, Some(tensor), _) => {
            Error::Misaligned { what: format!("`{}`", tensor.name), dtype: tensor.dtype }
        }
        (Code::Done | Code::BadWorkspace | Code::NoSuchTask, _, _)
        | (Code::NullPointer | Code::Overlap | Code::Misaligned, None, _)
        | (Code::BadExtent | Code::ExtentsDisagree, _, None) => bug,
    })
}

/// An extent that a call or the manifest gives.
fn word_of(frame: &Frame, extent: &Extent) -> Option<i64> {
    match extent {
        Extent::Word(word) => Some(frame.args[*word as usize] as i64),
        Extent::Fixed(it) => Some(*it),
        Extent::Derived(_) => None,
    }
}

fn given_extents(kernel: &Kernel, frame: &Frame) -> Vec<(String, i64)> {
    let ranks = kernel.info().ranks.iter();
    ranks.filter_map(|it| Some((it.name.clone(), word_of(frame, &it.extent)?))).collect()
}
