//! What one lane computes: pure functions on the bits of registers.
//!
//! Values are the low bits of a `u64`, zero above their width. Integers, conversions and arithmetic are
//! exact as PTX has them; `ex2.approx` is about as far off as it may be, the other `.approx` functions are the host's, which
//! are nearer than the hardware's. Tensor cores add as those of the machine do that a module is for.

pub(super) mod convert;
pub(super) mod float;
pub(super) mod format;
pub(super) mod int;
pub(super) mod tensor;

/// The lowest bits of a value.
pub(super) fn low(value: u64, bits: u32) -> u64 {
    if bits >= 64 { value } else { value & ((1 << bits) - 1) }
}

/// The lowest bits of a value, taken for a number with a sign.
pub(super) fn signed(value: u64, bits: u32) -> i64 {
    let unused = 64 - bits.min(64);
    (value << unused).cast_signed() >> unused
}
