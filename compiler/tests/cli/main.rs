//! The command line as a user meets it: what each command gives, says and exits with.

#![allow(clippy::unwrap_used, reason = "what helpers of tests cannot do fails the test")]

mod bad_input;
mod bench;
mod commands;
mod compile;
mod explore;
mod folder;
mod help;
mod run;
mod verify;
