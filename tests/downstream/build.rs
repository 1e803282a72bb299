//! Compiles the kernels of `kernels/` for this crate.

fn main() {
    attnc::Build::new("kernels/attention.attn").emit();
    attnc::Build::new("kernels/moving-mean.attn").param("reach", 1).set("d", 3).emit();
}
