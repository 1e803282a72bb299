//! The pipeline: calls in order, no logic.

use std::sync::Arc;

use attnc_dsl::check::{Fixed, check};
use attnc_dsl::diag::{Failure, Source};
use attnc_dsl::load::load;
use attnc_dsl::model::Checked;
use attnc_ptx::Module;
use attnc_runtime::Kernel;
use attnc_runtime::device::{Device, Emulated};
use attnc_runtime::emulator::Schedule;
use attnc_runtime::manifest::KernelInfo;

use crate::choose::choose;
use crate::codegen::{self, Backend, CodegenError};
use crate::fit::{Tiled, emit_fitting};
use crate::ir::cascade::Cascade;
use crate::lower::lower;
use crate::package::{Object, describe, describe_module};
use crate::rewrite::{carried, saturate};
use crate::schedule::{Mapping, Plan, Refusal, Stage, loops};
use crate::target::{Block, Gpu, Target, Tiles};
use crate::tile::{refused, tile};

/// Reads an imported file, given its path relative to the root folder of the spec.
pub type Fetch<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// A spec and what is fixed when it is compiled.
pub struct Request<'a> {
    /// The spec.
    pub source: Source,
    /// Reads what it imports.
    pub fetch: Fetch<'a>,
    /// Extents and parameters that are known.
    pub fixed: Fixed,
}

/// A spec, checked, and its kernels as cascades.
pub struct Front {
    /// The spec.
    pub checked: Checked,
    /// Its kernels, in the order written.
    pub cascades: Vec<Cascade>,
}

/// Text to cascades.
///
/// # Errors
/// Everything that is wrong with the spec, and what must be fixed before it is compiled and is not.
pub fn front(request: Request<'_>) -> Result<Front, Box<Failure>> {
    let program = load(request.source, request.fetch)?;
    let checked = check(program, &request.fixed)?.fixed()?;
    let cascades = lower(&checked, &request.fixed);
    Ok(Front { checked, cascades })
}

/// Text to cascades that may be looked at, but not run: extents and parameters may be open.
///
/// # Errors
/// Everything that is wrong with the spec.
pub fn outline(request: Request<'_>) -> Result<Front, Box<Failure>> {
    let program = load(request.source, request.fetch)?;
    let checked = check(program, &request.fixed)?;
    let cascades = lower(&checked, &request.fixed);
    Ok(Front { checked, cascades })
}

/// A cascade to the plan of the equal one that is compiled.
///
/// Where blocks of threads take rows together, fibers have the parts that suit blocks, or if that leaves nothing to blocks,
/// one part: sums of parts are as many registers again. What a walk of blocks would need much memory for, or what they have no
/// room for, threads walk.
pub fn plan(cascade: &Cascade, mapping: &Mapping) -> Plan {
    let variants = saturate(&carried(cascade));
    let Some(block) = mapping.defaults.block else { return choose(&variants, mapping).plan };
    for walks in [true, false] {
        let mut has_walks = false;
        for parts in [block.parts, 1] {
            let block = Block { walks, ..block };
            let defaults = Tiles { chunk: block.chunk, parts, block: Some(block), ..mapping.defaults };
            let plan = choose(&variants, &Mapping { defaults, ..mapping.clone() }).plan;
            has_walks |= plan.stages.iter().any(|it| matches!(it, Stage::Walk(_)));
            if suits_blocks(&plan) {
                return plan;
            }
        }
        if !has_walks {
            break;
        }
    }
    let defaults = Tiles { block: None, ..mapping.defaults };
    choose(&variants, &Mapping { defaults, ..mapping.clone() }).plan
}

/// Whether blocks take what a plan was made for: a stream that is more than what a walk reads for pairs of tokens, or a walk.
fn suits_blocks(plan: &Plan) -> bool {
    if plan.stores_much() {
        return false;
    }
    let nest = tile(plan);
    let (mut any, mut all) = (false, true);
    for (stage, tiled) in plan.stages.iter().zip(&nest.stages) {
        let is_taken = tiled.team.is_some();
        let is_apart = matches!(stage, Stage::Stream(it) if loops(&it.acts).is_empty());
        any |= is_taken && !is_apart;
        all &= is_taken || !matches!(stage, Stage::Walk(it) if plan.takes_short(it));
    }
    all && (any || !refused(plan).is_empty())
}

/// The mapping that a file has for kernels, on a machine.
///
/// # Errors
/// Everything that is wrong with it, what the kernels cannot follow, and if it is for other vectors.
pub fn mapping(
    text: &str,
    cascades: &[Cascade],
    target: &Target,
    backend: Backend,
) -> Result<Mapping, Vec<Refusal>> {
    match mapping_beside(text, cascades, target, backend)? {
        (mapping, None) => Ok(mapping),
        (_, Some(unsuited)) => Err(vec![unsuited]),
    }
}

/// The mapping that the file beside a spec has for kernels, on a machine: the machine's own, and why, where the file is for
/// other vectors.
///
/// # Errors
/// Everything else that is wrong with it, and what the kernels cannot follow.
pub fn mapping_beside(
    text: &str,
    cascades: &[Cascade],
    target: &Target,
    backend: Backend,
) -> Result<(Mapping, Option<Refusal>), Vec<Refusal>> {
    let mapping = Mapping::read(text, target.tiles(backend))?;
    if let Err(unsuited) = mapping.suits(target, backend) {
        return Ok((Mapping::of(target, backend), Some(unsuited)));
    }
    let plans: Vec<_> = cascades.iter().map(|it| plan(it, &mapping)).collect();
    let mut refusals = mapping.refusals(&plans);
    refusals.extend(plans.iter().flat_map(refused).map(Refusal::of));
    if refusals.is_empty() { Ok((mapping, None)) } else { Err(refusals) }
}

/// Cascades to machine code, by the mapping of the machine.
///
/// # Errors
/// When the back end is not built in; else a fault of ours: what was accepted can be compiled.
pub fn compile(front: &Front, target: &Target, backend: Backend) -> Result<Object, CodegenError> {
    compile_by(front, &Mapping::of(target, backend), target, backend)
}

/// Cascades to machine code, by that mapping; to PTX, and code for a usual host, where the target is a GPU.
///
/// # Errors
/// As for [`compile`], and when the target cannot run a kernel.
pub fn compile_by(
    front: &Front,
    mapping: &Mapping,
    target: &Target,
    backend: Backend,
) -> Result<Object, CodegenError> {
    let mut tiled: Vec<Tiled> = front.cascades.iter().map(|it| Tiled::by(it, mapping)).collect();
    let described = |tiled: &[Tiled]| -> Vec<KernelInfo> {
        tiled.iter().map(|it| describe(&it.plan, &it.nest, target, &it.mapping)).collect()
    };
    if target.gpu().is_none() {
        let bytes = emit_fitting(&mut tiled, &front.cascades, target, backend)?;
        let kernels = described(&tiled);
        return Ok(Object { bytes, target: target.triple().clone(), ptx: None, kernels });
    }
    let kernels = described(&tiled);
    let nests: Vec<_> = tiled.into_iter().map(|it| it.nest).collect();
    let module = codegen::ptx::emit(&nests, target)?;
    let kernels = kernels.into_iter().map(|it| describe_module(it, &module)).collect();
    let host = Target::default();
    let bytes = codegen::emit_host(&nests, &host)?;
    Ok(Object { bytes, target: host.triple().clone(), ptx: Some(module.to_string()), kernels })
}

/// The mapping that [`compile_by`] follows for a kernel: the one given, or fewer rows in registers than those of the
/// machine, where its code would keep sums in memory.
///
/// # Errors
/// As for [`compile`].
pub fn fitted(
    cascade: &Cascade,
    mapping: &Mapping,
    target: &Target,
    backend: Backend,
) -> Result<Mapping, CodegenError> {
    if target.gpu().is_some() || backend == Backend::Cranelift {
        return Ok(mapping.clone());
    }
    let mut tiled = [Tiled::by(cascade, mapping)];
    emit_fitting(&mut tiled, std::slice::from_ref(cascade), target, backend)?;
    let [tiled] = tiled;
    Ok(tiled.mapping)
}

/// A cascade to a kernel in memory, for this machine and by its mapping.
///
/// # Errors
/// As for [`compile`].
pub fn jit(cascade: &Cascade, backend: Backend) -> Result<Kernel, CodegenError> {
    jit_by(cascade, &Mapping::of(&Target::native(), backend), backend)
}

/// A cascade to a kernel in memory, for this machine and by that mapping.
///
/// # Errors
/// As for [`compile`].
pub fn jit_by(cascade: &Cascade, mapping: &Mapping, backend: Backend) -> Result<Kernel, CodegenError> {
    jit_on(&plan(cascade, mapping), mapping, &Target::native(), backend)
}

/// A plan by that mapping to a kernel in memory, for a target that this machine can stand in for.
///
/// # Errors
/// As for [`compile`].
pub fn jit_on(
    plan: &Plan,
    mapping: &Mapping,
    target: &Target,
    backend: Backend,
) -> Result<Kernel, CodegenError> {
    let nest = tile(plan);
    let info = describe(plan, &nest, target, mapping);
    let code = Arc::new(codegen::jit(&nest, target, backend)?);
    // SAFETY: the functions are those of the nest that `info` describes, and live as long as `code`.
    let kernel = unsafe { Kernel::from_raw(info, code.entry(), code) };
    Ok(kernel.expect("a kernel follows the ABI as its manifest does"))
}

/// A cascade to the module of its stages for that GPU.
///
/// # Errors
/// When the GPU cannot run it; else a fault of ours.
pub fn ptx(cascade: &Cascade, gpu: Gpu) -> Result<Module, CodegenError> {
    let target = Target::of_gpu(gpu);
    let nest = tile(&plan(cascade, &Mapping::of(&target, Backend::default())));
    codegen::ptx::emit(&[nest], &target)
}

/// A cascade to a kernel for that GPU, emulated on this machine, by the mapping of the GPU.
///
/// # Errors
/// As for [`emulate_by`].
pub fn emulate(cascade: &Cascade, gpu: Gpu) -> Result<Kernel, CodegenError> {
    emulate_by(cascade, &Mapping::of(&Target::of_gpu(gpu), Backend::default()), gpu)
}

/// A cascade to a kernel for that GPU, emulated on this machine, by that mapping.
///
/// # Errors
/// When the GPU cannot run it; else a fault of ours.
pub fn emulate_by(cascade: &Cascade, mapping: &Mapping, gpu: Gpu) -> Result<Kernel, CodegenError> {
    on_device(cascade, mapping, gpu, |info, text| {
        Ok(Arc::new(Emulated::new(&info.symbol, info.stages, text)?))
    })
}

/// The same with the warps of a block in another order.
///
/// # Errors
/// As for [`emulate_by`].
pub fn emulate_under(cascade: &Cascade, gpu: Gpu, schedule: Schedule) -> Result<Kernel, CodegenError> {
    on_device(cascade, &Mapping::of(&Target::of_gpu(gpu), Backend::default()), gpu, |info, text| {
        Ok(Arc::new(Emulated::new(&info.symbol, info.stages, text)?.under(schedule)))
    })
}

/// What the first GPU of this machine is compiled for: the latest that it runs, and `sm_80` where there is none.
#[must_use]
pub fn gpu_here() -> Gpu {
    #[cfg(feature = "cuda")]
    if attnc_runtime::device::Cuda::capability(0) == Some((9, 0)) {
        return Gpu::Sm90a;
    }
    Gpu::Sm80
}

/// A cascade to a kernel on the GPU of this machine, by that mapping.
///
/// # Errors
/// When the machine has no driver or no GPU, or it cannot run the kernel; else a fault of ours.
#[cfg(feature = "cuda")]
pub fn on_gpu_by(cascade: &Cascade, mapping: &Mapping, gpu: Gpu) -> Result<Kernel, CodegenError> {
    use attnc_runtime::device::Cuda;
    on_device(cascade, mapping, gpu, |info, text| Ok(Arc::new(Cuda::new(info, text, 0)?)))
}

/// A cascade to a kernel whose stages a device runs, which is made of their text.
fn on_device(
    cascade: &Cascade,
    mapping: &Mapping,
    gpu: Gpu,
    make: impl FnOnce(&KernelInfo, &str) -> attnc_runtime::Result<Arc<dyn Device>>,
) -> Result<Kernel, CodegenError> {
    let (plan, target) = (plan(cascade, mapping), Target::of_gpu(gpu));
    let nest = tile(&plan);
    let module = codegen::ptx::emit(std::slice::from_ref(&nest), &target)?;
    let info = describe_module(describe(&plan, &nest, &target, mapping), &module);
    let device = make(&info, &module.to_string()).map_err(|it| CodegenError::of_device(gpu, &it))?;
    let code = Arc::new(codegen::jit_host(&nest)?);
    // SAFETY: the functions are those of the nest that `info` describes, but for its stages, which the module has.
    let kernel = unsafe { Kernel::on_device(info, code.entry(), code, device) };
    Ok(kernel.expect("a kernel follows the ABI as its manifest does"))
}
