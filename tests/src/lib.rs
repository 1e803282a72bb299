//! Shared pieces of the tests of attnc.

pub mod fixture;
