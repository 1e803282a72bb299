//! Nest to machine code with LLVM: an object file, or code in memory.
//!
//! A kernel becomes the functions of `attnc_runtime::abi` and, local to the module, one function for each stage and one
//! for each scalar function that is too long to repeat. A tile is a vector along its last rank for every point of the
//! ranks before it, whatever their extents; LLVM cuts the vectors into those that the target has. Tiles that a loop
//! carries are phis, so they stay in registers as far as there are any.
//!
//! No instruction may be reassociated or contracted by LLVM: sums that may be taken in any order are written in the
//! order that suits vectors, and products are added by `fma` where the target has it. So code computes the same
//! wherever its arguments lie.
//!
//! ```text
//! %27 = contract %25[m: 6], %26[n: 64] over [] into %24
//!   becomes six of
//! %s = shufflevector <6 x float> %25, poison, splat (i32 0)
//! %r = call <64 x float> @llvm.fma(<64 x float> %s, <64 x float> %26, <64 x float> %24)
//! ```

mod address;
mod ahead;
mod alias;
mod assembler;
mod block;
mod dtype;
mod entry;
mod hot;
mod jit;
mod join;
mod lanes;
mod machine;
mod memory;
mod mode;
mod op;
mod reduce;
mod rest;
mod scalar;
mod share;
mod tile;
mod unit;
mod words;

use inkwell::context::Context;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::FileType;

pub(super) use hot::hot_loops;
pub(super) use jit::jit;
use machine::Machine;
use share::Share;
use unit::Unit;

use super::CodegenError;
use super::parallel::longest_first;
use crate::ir::nest::Nest;
use crate::target::Target;

/// What nests leave to LLVM: equal values are computed once, and what does not change in a loop before it. They are
/// written as vectors and in the order that suits the machine, so all that `default<O2>` does beyond made hot loops no
/// faster (within 2 %) and took ten times as long.
const PASSES: &str = "function(early-cse<memssa>,simplifycfg,loop-mssa(licm),early-cse,simplifycfg,adce)";

/// The kernels as an object file.
pub(super) fn emit_object(nests: &[Nest], target: &Target) -> Result<Vec<u8>, CodegenError> {
    if nests.is_empty() || !Machine::of(target)?.joins {
        return emit(nests, &Share::whole(nests), target, FileType::Object);
    }
    let compile = |it: Share| emit(nests, &it, target, FileType::Object);
    let objects = longest_first(Share::all(nests), Share::cost, compile)?;
    join::join(&objects)
}

/// The machine code of a kernel as assembly.
pub(super) fn listing(nest: &Nest, target: &Target) -> Result<String, CodegenError> {
    let nests = std::slice::from_ref(nest);
    let text = emit(nests, &Share::whole(nests), target, FileType::Assembly)?;
    String::from_utf8(text).map_err(in_module)
}

fn emit(nests: &[Nest], share: &Share, target: &Target, form: FileType) -> Result<Vec<u8>, CodegenError> {
    let context = Context::create();
    let machine = Machine::of(target)?;
    let unit = Unit::new(&context, &machine);
    for (nest, pieces) in share.of(nests) {
        entry::emit(nest, &unit, &pieces)?;
    }
    let module = &unit.asm.module;
    module.verify().map_err(in_module)?;
    module.run_passes(PASSES, &machine.llvm, PassBuilderOptions::create()).map_err(in_module)?;
    // In assembly, comments say which registers are kept in memory.
    machine.llvm.set_asm_verbosity(true);
    let code = machine.llvm.write_to_memory_buffer(module, form).map_err(in_module)?;
    Ok(code.as_slice().to_vec())
}

fn in_module(error: impl ToString) -> CodegenError {
    CodegenError::Fault { function: "the module".to_owned(), message: error.to_string() }
}
