//! Nest to machine code with Cranelift: an object file, or code in memory.
//!
//! A kernel becomes the functions of `attnc_runtime::abi` and, local to the module, one function for each stage and one
//! for each scalar function that is too long to repeat. A tile is a list of registers: vectors of four f32 along its
//! last rank where that fits, else a scalar for each element.

mod address;
mod arith;
mod block;
mod entry;
mod jit;
mod library;
mod memory;
mod op;
mod outline;
mod pin;
mod products;
mod reduce;
mod scalar;
mod tile;
mod unit;

use std::error::Error;

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};

pub(super) use jit::jit;
use unit::Unit;

use super::{CodegenError, Part};
use crate::ir::nest::Nest;
use crate::target::Target;

/// That part of the kernels as an object file.
pub(super) fn emit_object(nests: &[Nest], target: &Target, part: Part) -> Result<Vec<u8>, CodegenError> {
    let mut module = object_module(target)?;
    let mut unit = Unit::new(&mut module);
    for nest in nests {
        entry::emit(nest, &mut unit, part)?;
    }
    unit.finish()?;
    module.finish().emit().map_err(|it| CodegenError::new("the module", &it))
}

/// The machine code of a kernel, as Cranelift writes it for people.
pub(super) fn listing(nest: &Nest, target: &Target) -> Result<String, CodegenError> {
    let mut module = object_module(target)?;
    let mut unit = Unit::listed(&mut module);
    entry::emit(nest, &mut unit, Part::All)?;
    unit.finish()
}

fn object_module(target: &Target) -> Result<ObjectModule, CodegenError> {
    let in_module = |error: &dyn Error| CodegenError::new("the module", error);
    let isa = isa(target, true).map_err(|it| in_module(&*it))?;
    let builder = ObjectBuilder::new(isa, "attnc", default_libcall_names()).map_err(|it| in_module(&it))?;
    Ok(ObjectModule::new(builder))
}

/// Cranelift for a target.
fn isa(target: &Target, position_independent: bool) -> Result<OwnedTargetIsa, Box<dyn Error>> {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed")?;
    // It takes a sixth of the time, and finds faults of ours only: builds that are tested have it.
    flags.set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    flags.set("is_pic", if position_independent { "true" } else { "false" })?;
    // Frames of more than a page would otherwise call a function that nobody has.
    flags.set("probestack_strategy", "inline")?;
    let mut builder = isa::lookup(target.triple().clone())?;
    for flag in target.cpu_features().iter().filter_map(|it| flag_of(it)) {
        builder.enable(flag)?;
    }
    Ok(builder.finish(settings::Flags::new(flags))?)
}

/// Cranelift's name of a processor feature, if it can make use of it.
fn flag_of(feature: &str) -> Option<&'static str> {
    Some(match feature {
        "cmpxchg16b" => "has_cmpxchg16b",
        "popcnt" => "has_popcnt",
        "sse3" => "has_sse3",
        "ssse3" => "has_ssse3",
        "sse4.1" => "has_sse41",
        "sse4.2" => "has_sse42",
        "avx" => "has_avx",
        "avx2" => "has_avx2",
        "bmi1" => "has_bmi1",
        "bmi2" => "has_bmi2",
        "fma" => "has_fma",
        "lzcnt" => "has_lzcnt",
        "avx512dq" => "has_avx512dq",
        "avx512f" => "has_avx512f",
        "avx512vl" => "has_avx512vl",
        _ => return None,
    })
}
