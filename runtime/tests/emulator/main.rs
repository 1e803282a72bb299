//! The emulator on whole kernels: what right ones give, and what is said of wrong ones.

mod attention;
mod flash;
mod mma_sync;
