//! The C ABI of a kernel: its functions, the words of its arguments, its status.
//!
//! A kernel `NAME` exports six functions; [`Entry`] holds all but the last, which is `check` and then
//! every task of every stage on one thread. All take `args`, an array of 8-byte words whose places the
//! manifest names, in this order:
//!
//! 1. one `i64` per run-time extent: the ranks that inputs carry and that are not fixed at compile time;
//! 2. one word per run-time parameter: `f64` for a real, `i64` for an integer or a bool (0 or 1);
//! 3. per tensor, inputs in the order declared and then outputs, a data pointer followed by one `i64`
//!    per dimension: the stride in elements, of any sign, 0 to broadcast.
//!
//! ```text
//! int32_t  attnc_NAME_bind(args *, const uint8_t *given, int64_t *extents);
//! uint64_t attnc_NAME_workspace(const args *, uint32_t threads);
//! int32_t  attnc_NAME_check(const args *, const void *workspace, uint64_t bytes, uint32_t threads);
//! uint64_t attnc_NAME_tasks(const args *, uint32_t stage);
//! int32_t  attnc_NAME_run(const args *, void *workspace, uint32_t thread, uint32_t stage, uint64_t first,
//!                         uint64_t last);
//! int32_t  attnc_NAME(const args *, void *workspace, uint64_t bytes);
//! ```
//!
//! A kernel allocates nothing, starts no thread and keeps no state. Any extent may be 0; a tensor
//! without elements may have a null pointer. `docs/abi.md` shows a call from C.

use std::ffi::c_void;

/// The version of this ABI and of the manifest; a runtime loads no other.
pub const VERSION: u32 = 2;

/// What the workspace must be aligned to, in bytes.
pub const WORKSPACE_ALIGN: usize = 64;

/// Checks that the extents fit each other, stores the default of each parameter `p` of the manifest
/// with `given[p] == 0` (null: all are given), and writes the extent of each rank of the manifest to
/// `extents` (unless null).
pub type Bind = unsafe extern "C" fn(args: *mut u64, given: *const u8, extents: *mut i64) -> i32;
/// The bytes of workspace that a call on so many threads needs, `u64::MAX` if that overflows.
pub type WorkspaceSize = unsafe extern "C" fn(args: *const u64, threads: u32) -> u64;
/// Checks extents, null pointers, alignment, overlaps and the workspace.
pub type Check =
    unsafe extern "C" fn(args: *const u64, workspace: *const c_void, bytes: u64, threads: u32) -> i32;
/// The number of tasks of a stage.
pub type Tasks = unsafe extern "C" fn(args: *const u64, stage: u32) -> u64;
/// Runs the tasks `first .. last` of a stage.
///
/// Stages run one after the other; the tasks of one in any order and at the same time, but at most one call at a
/// time with the same `thread`, which is below the number of threads that the workspace is for.
pub type Run = unsafe extern "C" fn(
    args: *const u64,
    workspace: *mut c_void,
    thread: u32,
    stage: u32,
    first: u64,
    last: u64,
) -> i32;

/// The functions of one kernel.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "each has the name of its type")]
pub struct Entry {
    pub bind: Bind,
    pub workspace: WorkspaceSize,
    pub check: Check,
    pub tasks: Tasks,
    pub run: Run,
}

/// What a kernel found: the low byte of a status; the other bytes are an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// All is well.
    Done = 0,
    /// A null pointer. Index: the tensor; the number of tensors for the workspace.
    NullPointer = 1,
    /// An extent that is negative or over its declared bound. Index: the rank.
    BadExtent = 2,
    /// Extents that do not fit each other. Index: the rank.
    ExtentsDisagree = 3,
    /// An output that overlaps another tensor or itself. Index: the tensor.
    Overlap = 4,
    /// A workspace that is too small or not 64-byte aligned.
    BadWorkspace = 5,
    /// No such stage or task.
    NoSuchTask = 6,
    /// A size beyond 2^63. Index: the tensor; the number of tensors for the workspace.
    TooLarge = 7,
    /// Data that is not aligned to its element. Index: the tensor.
    Misaligned = 8,
}

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: [Code; 9] = [
        Code::Done,
        Code::NullPointer,
        Code::BadExtent,
        Code::ExtentsDisagree,
        Code::Overlap,
        Code::BadWorkspace,
        Code::NoSuchTask,
        Code::TooLarge,
        Code::Misaligned,
    ];

    /// The status of that code at that tensor or rank.
    pub fn at(self, index: u32) -> i32 {
        (self as u8 as i32) | (index as i32) << 8
    }

    /// The code and the index of a status; `None` for a number that no kernel returns.
    pub fn of(status: i32) -> Option<(Code, usize)> {
        let code = *Code::ALL.get((status & 0xff) as usize)?;
        Some((code, (status as u32 >> 8) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_code_and_an_index() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(Code::of(code.at(70_000)), Some((code, 70_000)));
        }
        assert_eq!(Code::of(9), None);
    }
}
