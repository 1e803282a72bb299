//! Compiles the two kernels that `src/attention/attnc.rs` calls.

fn main() {
    attnc::Build::new("kernels/prefill.attn").emit();
    attnc::Build::new("kernels/decode.attn").emit();
}
