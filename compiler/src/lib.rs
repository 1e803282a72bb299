//! The compiler of attnc.

pub mod codegen;
