//! What can be wrong with a kernel or its launch, and where.

use std::fmt::{self, Display, Formatter};

/// The result of running a kernel.
pub type Result<T> = std::result::Result<T, Box<Fault>>;

/// Why a kernel was stopped.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// The kernel.
    pub kernel: String,
    /// The instruction at fault; none where the launch itself is wrong or all warps wait.
    pub site: Option<Site>,
    /// What is wrong.
    pub problem: Problem,
}

/// An instruction and who ran it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Site {
    /// Its position among the instructions of the kernel.
    pub pc: usize,
    /// The instruction as PTX.
    pub text: String,
    /// The block of the grid.
    pub block: [u32; 3],
    /// The warp of the block.
    pub warp: u32,
    /// The lanes that ran it, one bit each.
    pub lanes: u32,
    /// The lane at fault, where it is one.
    pub lane: Option<u32>,
    /// The thread of that lane.
    pub thread: Option<[u32; 3]>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message names")]
pub enum Problem {
    /// The launch does not fit the kernel.
    Launch(String),
    /// A register is read that nothing was written to.
    Register { name: String },
    /// A register is touched that an asynchronous operation still reads or writes.
    Locked { name: String, by: String },
    /// An access outside of all memory.
    Bounds { space: &'static str, address: u64, bytes: u64, nearest: String },
    /// An address that is no multiple of what the access needs.
    Misaligned { space: &'static str, address: u64, align: u64 },
    /// Memory is read that nothing was written to.
    Uninitialised { space: &'static str, address: u64, inside: String },
    /// Two accesses to shared memory, one of them a write, that no barrier orders.
    Race { address: u64, other: String, warp: u32 },
    /// Shared memory is touched that an asynchronous copy still fills or reads.
    InFlight { address: u64, by: String, warp: u32 },
    /// Shared memory that instructions wrote or read is read or written by an asynchronous unit without a fence.
    Proxy { address: u64, by: String, warp: u32 },
    /// Lanes that have to come together do not.
    Divergence { missing: u32 },
    /// A lane reads another that takes no part, or names a mask that it is not in.
    Lane { lane: u32, why: String },
    /// A barrier is used in a way that it cannot be.
    Barrier(String),
    /// A number that the instruction cannot take.
    Operand(String),
    /// Every warp waits.
    Deadlock { waiting: Vec<Waiter> },
    /// More instructions than the launch allows.
    Budget { instructions: u64 },
    /// The kernel stopped itself.
    Trap,
}

/// A part of a warp that waits for ever.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Waiter {
    /// The warp.
    pub warp: u32,
    /// Its lanes that wait here, one bit each.
    pub lanes: u32,
    /// The position of the instruction.
    pub pc: usize,
    /// The instruction.
    pub text: String,
    /// For what it waits.
    pub why: String,
}

/// What is wrong, and in which lane, before it is known where.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) problem: Problem,
    pub(super) lane: Option<u32>,
}

/// What an instruction gives.
pub(super) type Done<T = ()> = std::result::Result<T, Box<Trouble>>;

impl From<Problem> for Box<Trouble> {
    fn from(problem: Problem) -> Box<Trouble> {
        Box::new(Trouble { problem, lane: None })
    }
}

impl Problem {
    /// The same, in a lane.
    pub(super) fn at(self, lane: usize) -> Box<Trouble> {
        Box::new(Trouble { problem: self, lane: Some(lane as u32) })
    }
}

impl Fault {
    /// A launch that cannot be.
    pub(super) fn launch(kernel: &str, why: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { kernel: kernel.to_owned(), site: None, problem: Problem::Launch(why.into()) })
    }
}

impl std::error::Error for Fault {}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`", self.kernel)?;
        if let Some(site) = &self.site {
            write!(f, ", {site}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Site { pc, text, block: [x, y, z], warp, lanes, .. } = self;
        write!(f, "`{text}` at pc {pc}, block ({x}, {y}, {z}), warp {warp}")?;
        match (self.lane, self.thread) {
            (Some(lane), Some([x, y, z])) => write!(f, ", lane {lane}, thread ({x}, {y}, {z})"),
            (Some(_), None) | (None, _) => write!(f, ", lanes {lanes:#010x}"),
        }
    }
}

impl Display for Problem {
    #[allow(clippy::too_many_lines, reason = "a table of messages")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Launch(why) | Problem::Barrier(why) | Problem::Operand(why) => f.write_str(why),
            Problem::Register { name } => write!(f, "register `%{name}` is read before it is written"),
            Problem::Locked { name, by } => {
                write!(f, "register `%{name}` is touched while `{by}` is under way")
            }
            Problem::Bounds { space, address, bytes, nearest } => {
                write!(f, "{bytes} bytes at {space} address {address:#x} are outside of memory; {nearest}")
            }
            Problem::Misaligned { space, address, align } => {
                write!(f, "{space} address {address:#x} is no multiple of {align}")
            }
            Problem::Uninitialised { space, address, inside } => {
                write!(f, "{space} address {address:#x} ({inside}) is read before it is written")
            }
            Problem::Race { address, other, warp } => write!(
                f,
                "shared address {address:#x}: nothing orders this access and `{other}` of warp {warp}"
            ),
            Problem::InFlight { address, by, warp } => {
                write!(f, "shared address {address:#x} is touched while `{by}` of warp {warp} is under way")
            }
            Problem::Proxy { address, by, warp } => write!(
                f,
                "shared address {address:#x} was touched by `{by}` of warp {warp}, and no fence.proxy.async follows"
            ),
            Problem::Divergence { missing } => {
                write!(f, "lanes {missing:#010x} of the warp do not run this instruction with the others")
            }
            Problem::Lane { lane, why } => write!(f, "lane {lane} {why}"),
            Problem::Deadlock { waiting } => {
                write!(f, "all warps wait:")?;
                waiting.iter().try_for_each(|waiter| {
                    let Waiter { warp, lanes, pc, text, why } = waiter;
                    write!(f, "\n  warp {warp}, lanes {lanes:#010x}, pc {pc} `{text}`: {why}")
                })
            }
            Problem::Budget { instructions } => {
                write!(f, "not at an end after {instructions} instructions of warps")
            }
            Problem::Trap => f.write_str("the kernel trapped"),
        }
    }
}
