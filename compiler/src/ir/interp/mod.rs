//! The interpreters: what a cascade means, and what a nest does.
//!
//! [`cascade`] is the semantics of the language; everything else is measured against it.

mod admitted;
mod bind;
pub mod cascade;
mod extended;
mod fold;
mod machine;
mod memory;
pub mod nest;
mod number;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;
mod walk;

pub use admitted::admitted;
pub use bind::{extents, extents_at, fixed};
pub use memory::Layout;

use std::fmt;

use indexmap::IndexMap;

use super::array::{Array, Value};
use super::nest::Status;

/// What a kernel is called with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Call {
    /// Inputs by name.
    pub inputs: IndexMap<String, Array>,
    /// Parameters by name.
    pub params: IndexMap<String, Value>,
}

/// Why a call cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// An input is not given.
    MissingInput(String),
    /// The kernel has no such input.
    UnknownInput(String),
    /// An input has another number of dimensions than declared: its name, found, declared.
    Dimensions(String, usize, usize),
    /// Inputs give a rank two extents: the rank, an extent, the first input that has it, the input that contradicts it,
    /// its extent.
    Disagree(String, i64, Option<String>, String, i64),
    /// The values of an input or parameter have a kind that does not convert to the declared one.
    Kind(String),
    /// A launch parameter without a default is not given.
    MissingParam(String),
    /// The kernel has no such parameter.
    UnknownParam(String),
    /// The parameter is fixed when the kernel is compiled.
    FixedParam(String),
    /// The extent of a rank, or the value of a parameter, is absent.
    Absent(String),
    /// An extent is negative or over its declared bound.
    Range(String, i64),
    /// The extent of a rank contradicts others.
    Unfit(String, i64),
    /// A tensor has more points than memory.
    TooLarge(String),
    /// An assumption of the author, as written, does not hold.
    Assume(String),
}

impl std::error::Error for CallError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::MissingInput(name) => write!(f, "input `{name}` is missing"),
            CallError::UnknownInput(name) => write!(f, "the kernel has no input `{name}`"),
            CallError::Dimensions(name, found, declared) => {
                write!(f, "input `{name}` has {found} dimensions, but {declared} are declared")
            }
            CallError::Disagree(rank, extent, first, name, found) => {
                let first = first.iter().map(|it| format!(" in `{it}`")).collect::<String>();
                write!(f, "rank `{rank}` has extent {extent}{first}, but input `{name}` has {found} there")
            }
            CallError::Kind(name) => write!(f, "the values of `{name}` are not of the declared kind"),
            CallError::MissingParam(name) => write!(f, "parameter `{name}` has no value"),
            CallError::UnknownParam(name) => write!(f, "the kernel has no parameter `{name}`"),
            CallError::FixedParam(name) => {
                write!(f, "parameter `{name}` was fixed when the kernel was compiled")
            }
            CallError::Absent(name) => write!(f, "`{name}` has no value for these extents"),
            CallError::Range(rank, extent) => write!(f, "rank `{rank}` may not have extent {extent}"),
            CallError::Unfit(rank, extent) => {
                write!(f, "rank `{rank}` has extent {extent}, which contradicts other extents")
            }
            CallError::TooLarge(name) => write!(f, "tensor `{name}` is too large"),
            CallError::Assume(text) => write!(f, "this assumption does not hold: {text}"),
        }
    }
}

/// Why a nest gives no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NestError {
    /// The call makes no sense for the cascade either.
    Call(CallError),
    /// The nest's own checks refuse the call.
    Refused(Status),
    /// The nest is wrong: it leaves a buffer, or reads what nobody wrote.
    Fault(String),
}

impl std::error::Error for NestError {}

impl fmt::Display for NestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NestError::Call(error) => error.fmt(f),
            NestError::Refused(Status { code, index }) => write!(f, "the nest refuses: {code:?} at {index}"),
            NestError::Fault(text) => write!(f, "the nest is wrong: {text}"),
        }
    }
}
