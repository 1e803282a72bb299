//! Runs PTX on the host, instruction by instruction, and checks what a GPU would not.
//!
//! The text of a module is read, each kernel runs as warps of 32 lanes in lockstep, and the first thing
//! that is wrong ends the run with a [`Fault`]: which instruction, which thread, which address. It finds
//! reads of registers and memory that nothing wrote, accesses out of bounds or not aligned, accesses to
//! shared memory that no barrier orders, copies that nobody waited for, lanes that part where they must
//! not, barriers that nobody comes to, and loops without end.
//!
//! ```
//! use attnc_runtime::emulator::{Args, DeviceMemory, Launch, Program, Schedule};
//!
//! let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry three(.param .u64 x) {
//!     .reg .b64 %x; .reg .b32 %three;
//!     ld.param.u64 %x, [x]; mov.u32 %three, 3; st.global.u32 [%x], %three; ret; }";
//! let program = Program::parse(text).expect("a module");
//! let mut memory = DeviceMemory::new();
//! let x = memory.alloc("x", 4);
//! let launch = Launch::new([1, 1, 1], [1, 1, 1], Args::new().buffer(x)).schedule(Schedule::Random(7));
//! let report = program.launch("three", &launch, &mut memory).expect("a kernel without faults");
//! assert_eq!((memory.bytes(x), report.instructions), (&[3, 0, 0, 0][..], 4));
//! ```
//!
//! What is exact: integers, conversions, f32 and f64 arithmetic, halves. What is near: functions such as
//! `ex2.approx`, and the order of the sums in tensor cores, which are f32 here; compare with a tolerance.
//! What is not there: time, other blocks at the same time, the order of lanes within a warp, races on
//! global memory.

mod barrier;
mod block;
mod bulk;
mod copies;
mod exec;
mod fault;
mod launch;
mod mbarrier;
mod memory;
mod number;
mod order;
mod products;
mod program;
mod race;
mod schedule;
mod shared;
mod warp;
mod warpgroup;

pub use fault::{Fault, Problem, Result, Site, Waiter};
pub use launch::{Args, Launch, Report, Schedule};
pub use memory::{Buffer, DeviceMemory};
pub use program::Program;

use block::{Block, Setting};
use program::{Decoded, SHARED_LIMIT, SHARED_START};
use schedule::Scheduler;

/// The most threads of a block.
const MAX_THREADS: u32 = 1024;

impl Program {
    /// Runs a kernel. Memory keeps what was written up to a fault.
    ///
    /// # Errors
    ///
    /// A launch that does not fit the kernel, or the first thing that goes wrong in it.
    pub fn launch(&self, kernel: &str, launch: &Launch, memory: &mut DeviceMemory) -> Result<Report> {
        let found = self.kernels.iter().find(|it| it.kernel.name == kernel);
        let decoded = found.ok_or_else(|| {
            let names: Vec<&str> = self.kernels().collect();
            Fault::launch(kernel, format!("the module has no such kernel; it has {}", names.join(", ")))
        })?;
        let params = check(decoded, launch).map_err(|why| Fault::launch(kernel, why))?;
        let dynamic_shared = dynamic_bytes(decoded, launch);
        let grain = block::grain(decoded);
        let setting = Setting { decoded, launch, params: &params, dynamic_shared, grain };
        let mut scheduler = Scheduler::new(launch.schedule);
        let mut report = Report::default();
        let [x, y, _] = launch.grid;
        for linear in scheduler.order(launch.grid.iter().product::<u32>() as usize) {
            let linear = linear as u32;
            let index = [linear % x, linear / x % y, linear / (x * y)];
            Block::run(&setting, index, memory, &mut report, &mut scheduler)?;
        }
        Ok(report)
    }
}

/// The bytes of dynamic shared memory.
fn dynamic_bytes(decoded: &Decoded, launch: &Launch) -> u64 {
    let dynamic = decoded.kernel.vars.iter().filter(|var| var.place == attnc_ptx::VarPlace::Dynamic);
    launch.shared.unwrap_or_else(|| dynamic.map(|var| var.bytes).max().unwrap_or(0)).into()
}

/// Whether a launch fits a kernel; the arguments as the kernel has them in memory.
fn check(decoded: &Decoded, launch: &Launch) -> std::result::Result<Vec<u8>, String> {
    let kernel = &decoded.kernel;
    let threads = launch.block.iter().try_fold(1u32, |product, it| product.checked_mul(*it));
    if !threads.is_some_and(|threads| (1..=MAX_THREADS).contains(&threads)) {
        return Err(format!("a block of {:?} threads has none or more than {MAX_THREADS}", launch.block));
    }
    if launch.grid.iter().try_fold(1u32, |product, it| product.checked_mul(*it)).is_none_or(|it| it == 0) {
        return Err(format!("a grid of {:?} blocks has none or too many", launch.grid));
    }
    if let Some(most) = kernel.max_threads
        && launch.block.iter().product::<u32>() > most.iter().product()
    {
        return Err(format!("a block of {:?} threads has more than `.maxntid` {most:?}", launch.block));
    }
    let shared = decoded.dynamic_start - SHARED_START + dynamic_bytes(decoded, launch);
    if shared > SHARED_LIMIT {
        return Err(format!("a block has {shared} bytes of shared memory, more than {SHARED_LIMIT}"));
    }
    let values = &launch.args.values;
    if values.len() != kernel.params.len() {
        return Err(format!("it takes {} arguments, found {}", kernel.params.len(), values.len()));
    }
    let mut bytes = vec![0; decoded.param_bytes as usize];
    for ((param, start), value) in kernel.params.iter().zip(&decoded.params).zip(values) {
        let wanted = param.ty.bytes() as usize;
        if value.len() != wanted {
            return Err(format!("parameter `{}` has {wanted} bytes, found {}", param.name, value.len()));
        }
        bytes[*start as usize..*start as usize + wanted].copy_from_slice(value);
    }
    Ok(bytes)
}
