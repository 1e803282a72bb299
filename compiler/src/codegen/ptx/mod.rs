//! Nest to PTX: a kernel for each stage, in one module.
//!
//! A thread runs a task, then the one as many further on as there are threads; where a stage says so, a block does
//! (`team.rs`). A tile is a register for each of its
//! elements, so a mapping for this back end keeps tiles small; what is larger lies in the thread's scratch, which is a
//! part of the workspace. Scalar functions are the formulas of `codegen::math`, in place.
//!
//! What a kernel of PTX needs beside its stages (how many tasks, how much workspace, whether the arguments fit) is code
//! for the host, made of the same nest by another back end: [`super::emit_host`].
//!
//! ```text
//! .entry attnc_NAME_stage_I(words of the arguments, workspace, number of tasks)
//! .entry attnc_NAME_stage_I_maps(the same, maps of tensors)     for what copies of boxes can stage
//! ```

mod ahead;
mod arith;
mod block;
mod bulk;
mod careful;
mod carried;
mod copies;
mod entry;
mod finite;
mod group;
mod layout;
mod memory;
mod op;
mod overlap;
mod power;
mod pressure;
mod products;
mod ring;
mod roles;
mod scalar;
mod shared;
mod split;
mod tasks;
mod team;
mod turns;
mod usual;
mod value;
mod writer;

use attnc_ptx::{Module, verify};

use super::CodegenError;
use crate::ir::nest::{Nest, Stage};
use crate::target::{Gpu, Target};
pub(crate) use roles::with_copying;
pub(crate) use team::threads;

use bulk::Bulk;

/// The most threads of a block whose threads run tasks by themselves.
const THREADS: u32 = attnc_runtime::device::THREADS;

/// The most bytes of arguments of a kernel.
const ARGUMENTS: usize = 4096;

/// What copies of boxes stage of a stage, where the GPU has them.
pub(crate) fn bulk(nest: &Nest, stage: &Stage, gpu: Gpu) -> Option<Bulk> {
    if gpu == Gpu::Sm90a { Bulk::of(nest, stage) } else { None }
}

/// What the entry of a stage is called; `maps` if it takes maps of tensors.
pub(crate) fn entry_name(symbol: &str, stage: usize, maps: bool) -> String {
    format!("{symbol}_stage_{stage}{}", if maps { "_maps" } else { "" })
}

/// The kernels of nests as a module.
///
/// # Errors
///
/// When the target is no GPU, or a kernel needs more than it has.
pub fn emit(nests: &[Nest], target: &Target) -> Result<Module, CodegenError> {
    let gpu = target.gpu().ok_or_else(|| CodegenError::refused(target, "it is no NVIDIA GPU"))?;
    let mut module = Module {
        version: (8, 0),
        target: match gpu {
            Gpu::Sm80 => attnc_ptx::Target::Sm80,
            Gpu::Sm90a => attnc_ptx::Target::Sm90a,
        },
        comments: vec![format!("attnc {}", env!("CARGO_PKG_VERSION"))],
        kernels: Vec::new(),
    };
    for nest in nests {
        let bytes = 8 * (nest.words.len() + 2);
        if bytes > ARGUMENTS {
            let name = &nest.name;
            let why = format!(
                "kernel `{name}` takes {bytes} bytes of arguments, more than {ARGUMENTS}: give it fewer tensors"
            );
            return Err(CodegenError::refused(target, &why));
        }
        let stages = nest.stages.iter().enumerate();
        module.kernels.extend(stages.flat_map(|(at, it)| entry::emit(nest, at, it, gpu)));
    }
    match verify(&module).first() {
        None => Ok(module),
        Some(broken) => {
            Err(CodegenError::Fault { function: "the module".to_owned(), message: broken.to_string() })
        }
    }
}
