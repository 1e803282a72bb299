//! Whether this machine has what a kernel was compiled for.

use crate::error::{Error, Result};
use crate::kernel::title;
use crate::manifest::KernelInfo;

/// Refuses a kernel for another architecture, or one that needs what this processor lacks.
pub(crate) fn check(info: &KernelInfo) -> Result<()> {
    let refuse = |why: String| Err(Error::Machine { kernel: title(info), why });
    let found = std::env::consts::ARCH;
    let wanted = info.target.split('-').next().unwrap_or_default();
    if architecture(wanted) != found {
        return refuse(format!("it is for {}, this machine is {found}", info.target));
    }
    let lacking: Vec<_> =
        info.cpu_features.iter().filter(|it| !has(it)).map(|it| format!("`{it}`")).collect();
    if lacking.is_empty() { Ok(()) } else { refuse(format!("this processor lacks {}", lacking.join(", "))) }
}

/// The name that Rust has for the architecture of a triple.
fn architecture(of_triple: &str) -> &str {
    match of_triple {
        "arm64" => "aarch64",
        "riscv64gc" => "riscv64",
        "i386" | "i586" | "i686" => "x86",
        other => other,
    }
}

/// Asks for features that the detecting macros know; one they do not know counts as lacking.
macro_rules! detect {
    ($detected:ident: $name:expr; $($feature:tt)*) => {
        match $name { $($feature => std::arch::$detected!($feature),)* _ => false }
    };
}

#[cfg(target_arch = "x86_64")]
fn has(feature: &str) -> bool {
    detect!(is_x86_feature_detected: feature;
        "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "lzcnt" "bmi1" "bmi2" "avx" "avx2" "fma" "f16c"
        "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512ifma" "avx512vbmi" "avx512vbmi2"
        "avx512vnni" "avx512bitalg" "avx512vpopcntdq" "avx512bf16" "avx512fp16" "avxvnni" "cmpxchg16b")
}

#[cfg(target_arch = "aarch64")]
fn has(feature: &str) -> bool {
    detect!(is_aarch64_feature_detected: feature;
        "neon" "fp16" "bf16" "dotprod" "i8mm" "fhm" "lse" "sve" "sve2" "sme")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has(_: &str) -> bool {
    false
}
