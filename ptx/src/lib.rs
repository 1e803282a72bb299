//! PTX as data.
mod build;
pub mod inst;
mod legal;
pub mod modifier;
pub mod module;
pub mod op;
pub mod operand;
mod parse;
mod piece;
mod print;
pub mod signature;
pub mod types;
pub use build::Builder;
pub use module::*;
pub use op::Op;
pub use operand::at;
pub use parse::{ParseError, parse};
