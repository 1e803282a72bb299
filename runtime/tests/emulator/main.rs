//! The emulator: each group of instructions against the host, what right kernels give, and what is said of
//! wrong ones.

mod attention;
mod boxes;
mod checks;
mod conversions;
mod every;
mod flash;
mod floats;
mod hopper;
mod integers;
mod mma_sync;
mod one;
mod products;
mod rows;
mod text;
mod warps;
mod wgmma;
