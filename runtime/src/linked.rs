//! Kernels that are linked into the program: the macros that the bindings of `attnc::Build` go through.

use std::sync::Arc;

use crate::abi::Entry;
use crate::kernel::Kernel;
use crate::library;

/// Includes the kernels that `attnc::Build` compiled from `NAME.attn`, as a module `NAME` with a
/// function for each kernel that returns it.
///
/// ```text
/// attnc_runtime::kernel!(mha);
///
/// mha::causal().call().input("Q", q).input("K", k).input("V", v).output("O", o).run()?;
/// ```
#[macro_export]
macro_rules! kernel {
    ($(#[$attribute:meta])* $visibility:vis $name:ident) => {
        $(#[$attribute])*
        #[doc = concat!("The kernels of `", stringify!($name), ".attn`.")]
        #[allow(dead_code, non_snake_case, reason = "a spec has its own names, and kernels that are not called")]
        $visibility mod $name {
            include!(concat!(env!("OUT_DIR"), "/attnc/", stringify!($name), "/", stringify!($name), ".rs"));
        }
    };
}

/// The kernel of these C functions: what the bindings of one kernel consist of.
#[doc(hidden)]
#[macro_export]
macro_rules! linked {
    ($bind:ident, $workspace:ident, $check:ident, $tasks:ident, $run:ident, $manifest:literal $(,)?) => {{
        unsafe extern "C" {
            fn $bind(args: *mut u64, given: *const u8, extents: *mut i64) -> i32;
            fn $workspace(args: *const u64, threads: u32) -> u64;
            fn $check(
                args: *const u64,
                workspace: *const ::core::ffi::c_void,
                bytes: u64,
                threads: u32,
            ) -> i32;
            fn $tasks(args: *const u64, stage: u32) -> u64;
            fn $run(
                args: *const u64,
                workspace: *mut ::core::ffi::c_void,
                thread: u32,
                stage: u32,
                first: u64,
                last: u64,
            ) -> i32;
        }
        static KERNEL: ::std::sync::LazyLock<$crate::Kernel> = ::std::sync::LazyLock::new(|| {
            let (bind, workspace, check, tasks, run) = ($bind, $workspace, $check, $tasks, $run);
            let entry = $crate::abi::Entry { bind, workspace, check, tasks, run };
            // SAFETY: attnc wrote the manifest along with the functions.
            unsafe { $crate::linked_kernel($manifest, entry) }
        });
        &KERNEL
    }};
}

/// The kernel of a manifest that has no other.
///
/// # Panics
/// If the manifest is of another version of the ABI: the compiler in the build dependencies and the
/// runtime are then of versions that do not go together.
///
/// # Safety
/// As for [`Kernel::from_raw`]; the functions stay for good.
#[doc(hidden)]
pub unsafe fn linked_kernel(manifest: &str, entry: Entry) -> Kernel {
    let read = || {
        let info = library::parse(manifest.as_bytes())?.kernels.pop().ok_or("it has no kernel")?;
        // SAFETY: as the caller promises.
        unsafe { Kernel::from_raw(info, entry, Arc::new(())) }.map_err(|it| it.to_string())
    };
    read().unwrap_or_else(|why| panic!("the bindings of a kernel do not fit this runtime: {why}"))
}
