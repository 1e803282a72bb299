//! Shared pieces of the tests of attnc.
