//! Shared pieces of the tests of attnc.

pub mod fixture;
pub mod jit;
pub mod npy;
pub mod page;
pub mod picture;
