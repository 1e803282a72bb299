//! Nest to object: the back ends, and what they share.

pub mod cranelift;
pub mod math;
