//! Machines as LLVM names them, and which instructions they have.

use std::sync::Once;

use inkwell::OptimizationLevel;
use inkwell::llvm_sys::support::LLVMParseCommandLineOptions;
use inkwell::targets::{
    CodeModel, InitializationConfig, RelocMode, Target as Registered, TargetMachine, TargetTriple,
};
use target_lexicon::{Architecture, BinaryFormat};

use super::in_module;
use crate::codegen::CodegenError;
use crate::target::Target;

/// A machine to emit code for.
pub(super) struct Machine {
    pub(super) llvm: TargetMachine,
    /// What functions are told, by the names of their attributes.
    pub(super) attributes: Vec<(&'static str, String)>,
    /// Whether a product is added by one instruction.
    pub(super) fuses: bool,
    /// Whether reals are rounded to whole numbers by one instruction.
    pub(super) rounds: bool,
    /// Whether an f32 is multiplied by a power of two by one instruction.
    pub(super) scales: bool,
    /// Whether one instruction tells an inverse of f32 to 14 binary digits.
    pub(super) estimates: bool,
    /// Whether vectors of i64 are multiplied, and made f64 and back, by one instruction each.
    pub(super) converts_long: bool,
    /// Whether words that lie apart are loaded into wide vectors by one instruction.
    pub(super) gathers: bool,
    /// Whether operations on subnormal numbers are slow, so that results are flushed to 0.
    pub(super) flushes: bool,
    /// Whether f16 is converted by one instruction.
    pub(super) halves: bool,
    /// In how many words of four bytes an instruction multiplies all and adds them up, where one does.
    pub(super) words: Option<u32>,
    /// Whether objects of several modules are joined to one.
    pub(super) joins: bool,
    /// The bytes of the elements of which some can be loaded and stored and the others left alone.
    masked: &'static [u32],
}

impl Machine {
    /// LLVM for a target.
    pub(super) fn of(target: &Target) -> Result<Machine, CodegenError> {
        prepare();
        let is_x86 = target.triple().architecture == Architecture::X86_64;
        let has = |feature| target.cpu_features().contains(&feature);
        let cpu = if is_x86 { "x86-64" } else { "generic" };
        let features: Vec<String> =
            target.cpu_features().iter().map(|it| format!("+{}", llvm_name(it))).collect();
        let features = features.join(",");
        let triple = TargetTriple::create(&target.to_string());
        let registered = Registered::from_triple(&triple).map_err(in_module)?;
        let (level, reloc, code) = (OptimizationLevel::Default, RelocMode::PIC, CodeModel::Default);
        let llvm = registered.create_target_machine(&triple, cpu, &features, level, reloc, code);
        let llvm = llvm.ok_or_else(|| in_module(format!("no machine for {target}")))?;
        let mut attributes = vec![
            ("target-cpu", cpu.to_owned()),
            ("target-features", features),
            // Nothing may become a call of a library.
            ("no-builtins", String::new()),
            ("no-stack-arg-probe", String::new()),
        ];
        if is_x86 {
            attributes.push(("tune-cpu", level_of(target).to_owned()));
        }
        if has("avx512vl") {
            attributes.push(("prefer-vector-width", "512".to_owned()));
        }
        let masked: &[u32] = match () {
            () if has("avx512bw") && has("avx512vl") => &[1, 2, 4, 8],
            () if has("avx") => &[4, 8],
            () => &[],
        };
        Ok(Machine {
            llvm,
            attributes,
            fuses: !is_x86 || has("fma"),
            rounds: !is_x86 || has("sse4.1"),
            scales: has("avx512f"),
            estimates: has("avx512f"),
            converts_long: has("avx512dq"),
            gathers: has("avx512f"),
            flushes: is_x86,
            halves: !is_x86 || has("f16c"),
            words: if has("avx512vnni") { Some(16) } else { has("avxvnni").then_some(8) },
            joins: target.triple().binary_format == BinaryFormat::Elf,
            masked,
        })
    }

    /// Whether vectors of elements of so many bytes are loaded and stored under a mask.
    pub(super) fn has_masks(&self, bytes: u32) -> bool {
        self.masked.contains(&bytes)
    }
}

/// Does what LLVM wants done once in a process.
fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        Registered::initialize_x86(&InitializationConfig::default());
        Registered::initialize_aarch64(&InitializationConfig::default());
        let options = [
            c"attnc",
            // Addresses are sums of many strides; the search for the best way to step them takes most of the time and
            // finds little, as what does not change in a loop is computed before it anyway.
            c"-disable-lsr",
            // Where what lives long is best kept in memory is sought far less: a fifth of the time, and nothing that a
            // hot loop needs.
            c"-grow-region-complexity-budget=100",
        ];
        let options = options.map(std::ffi::CStr::as_ptr);
        // SAFETY: the options are so many strings, which LLVM reads before it returns.
        unsafe { LLVMParseCommandLineOptions(options.len() as i32, options.as_ptr(), std::ptr::null()) };
    });
}

/// LLVM's name of a processor feature.
fn llvm_name(feature: &'static str) -> &'static str {
    match feature {
        "cmpxchg16b" => "cx16",
        "bmi1" => "bmi",
        same => same,
    }
}

/// The highest level of x86-64 all of whose features a target has: what its costs are like.
fn level_of(target: &Target) -> &'static str {
    let reached = |level: &&str| {
        let level = Target::named(level);
        level.is_ok_and(|it| it.cpu_features().iter().all(|it| target.cpu_features().contains(it)))
    };
    ["x86-64-v4", "x86-64-v3", "x86-64-v2"].into_iter().find(reached).unwrap_or("x86-64")
}
