//! Shared pieces of the tests of attnc.

pub mod artifact;
pub mod attention;
pub mod carrying;
pub mod cascades;
pub mod case;
pub mod decoding;
pub mod emulated;
pub mod fixture;
pub mod jit;
pub mod npy;
pub mod page;
pub mod picture;
pub mod spec;
