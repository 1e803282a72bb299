//! Kernels that `build.rs` compiled.

#![forbid(unsafe_code)]

attnc_runtime::kernel!(pub attention);
attnc_runtime::kernel!(pub moving_mean);
