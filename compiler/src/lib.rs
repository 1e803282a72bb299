//! The compiler of attnc.

pub mod codegen;
pub mod ir;
