//! PTX as data: what a code generator writes, an emulator runs and ptxas assembles.
//!
//! A [`Module`] holds kernels, a [`Kernel`] its tables (parameters, variables, registers, labels) and
//! statements. An [`Inst`] is an [`Op`], which is all that its mnemonic says, and operands. The set of
//! instructions is closed: [`op`] is a table with a line for each form, and [`signature`] says what
//! operands each takes. Printing, parsing, checking, and walking over registers follow from these two.
//!
//! ```text
//! Builder ── finish ──▶ Kernel ◀── parse ── text
//!                         └────── to_string ──▶ text
//! ```
//!
//! [`verify()`] lists what is wrong with a module beyond that: lanes that part before a barrier, registers of
//! a product under way, and the like.
//!
//! What always holds: `parse(&module.to_string()) == Ok(module)` for what [`Builder`] and [`parse`] give;
//! an instruction that either lets through has the operands of its signature; no text makes [`parse`] panic.
//!
//! A register has one of six types ([`types::RegType`]); integers of either sign and packed halves share
//! the `b` types. The operation says what the bits mean.

mod build;
mod inst;
mod legal;
pub mod modifier;
mod module;
mod need;
pub mod op;
mod operand;
mod parse;
mod piece;
mod print;
pub mod signature;
pub mod types;
pub mod verify;

pub use build::Builder;
pub use modifier::special::Special;
pub use module::*;
pub use op::Op;
pub use operand::at;
pub use parse::{ParseError, parse};
pub use verify::verify;
