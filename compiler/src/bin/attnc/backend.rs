//! Back ends by name, and what they make of a call.

use attnc::codegen;
use attnc::driver;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::{self, Call};
use attnc::ir::nest::Nest;
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc::verify::{Short, Tiles};
use attnc_runtime::Kernel;
use clap::ValueEnum;

use crate::elements::widest;
use crate::exit::{Outcome, Stop};
use crate::prepared::Prepared;
use crate::tensors::Output;

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The reference interpreter, in f64
    Interp,
    /// Machine code by Cranelift
    Cranelift,
    /// Machine code by LLVM
    Llvm,
    /// PTX for `sm_80`, emulated
    PtxEmu,
    /// PTX for `sm_90a`, emulated
    #[value(name = "ptx-emu-sm_90a")]
    PtxEmuSm90a,
    /// PTX on a GPU
    Cuda,
}

/// Who generates code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generator {
    /// Cranelift
    Cranelift,
    /// LLVM
    Llvm,
    /// PTX for NVIDIA GPUs
    Ptx,
}

/// Whose kernels are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timed {
    /// Machine code by Cranelift
    Cranelift,
    /// Machine code by LLVM
    Llvm,
    /// PTX on a GPU of NVIDIA
    Cuda,
}

impl Timed {
    /// The one whose kernels are fastest on a machine, of those that are built in.
    pub(crate) fn fastest_on(target: Option<&Target>) -> Timed {
        match target.and_then(Target::gpu) {
            Some(_) => Timed::Cuda,
            None if codegen::Backend::Llvm.is_built_in() => Timed::Llvm,
            None => Timed::Cranelift,
        }
    }

    /// What makes its code for CPUs; none for GPUs.
    pub(crate) fn on_cpus(self) -> Option<codegen::Backend> {
        match self {
            Timed::Cranelift => Some(codegen::Backend::Cranelift),
            Timed::Llvm => Some(codegen::Backend::Llvm),
            Timed::Cuda => None,
        }
    }
}

impl Generator {
    /// The one whose kernels are fastest, of those that are built in.
    pub(crate) fn fastest() -> Generator {
        if codegen::Backend::Llvm.is_built_in() { Generator::Llvm } else { Generator::Cranelift }
    }

    /// What makes machine code for CPUs; for GPUs, what makes that of their hosts.
    pub(crate) fn for_cpus(self) -> codegen::Backend {
        match self {
            Generator::Cranelift | Generator::Ptx => codegen::Backend::Cranelift,
            Generator::Llvm => codegen::Backend::Llvm,
        }
    }

    /// What makes machine code for CPUs, where nothing else will do.
    pub(crate) fn on_cpus(self, doing: &str) -> Outcome<codegen::Backend> {
        match self {
            Generator::Cranelift | Generator::Llvm => Ok(self.for_cpus()),
            Generator::Ptx => Err(Stop::refused(format!(
                "kernels by `ptx` cannot be {doing}; `cranelift` compiles any spec for CPUs"
            ))),
        }
    }

    /// The same, for a target that it can generate code for.
    pub(crate) fn of(asked: Option<Generator>, target: &Target) -> Outcome<codegen::Backend> {
        let gpu = target.gpu().is_some();
        match asked {
            Some(Generator::Cranelift | Generator::Llvm) if gpu => {
                Err(Stop::usage("a GPU takes `--backend ptx`, which is its default"))
            }
            Some(Generator::Ptx) if !gpu => {
                let gpus = Gpu::ALL.map(|it| format!("`{}`", it.name())).join(" or ");
                Err(Stop::usage(format!("`--backend ptx` takes a GPU, `--target` {gpus}")))
            }
            asked => Ok(asked.unwrap_or(Generator::Cranelift).for_cpus()),
        }
    }

    /// The machine that it generates code for, unless another is named.
    pub(crate) fn target(self) -> Target {
        match self {
            Generator::Cranelift | Generator::Llvm => Target::default(),
            Generator::Ptx => Target::of_gpu(Gpu::Sm80),
        }
    }
}

impl Backend {
    /// Those that compile and are built in.
    pub(crate) fn compiling() -> Vec<Backend> {
        let all =
            [(Backend::Cranelift, codegen::Backend::Cranelift), (Backend::Llvm, codegen::Backend::Llvm)];
        all.into_iter().filter(|(_, it)| it.is_built_in()).map(|(it, _)| it).collect()
    }

    /// Whether its kernels run on CPUs.
    pub(crate) fn is_on_cpus(self) -> bool {
        match self {
            Backend::Cranelift | Backend::Llvm => true,
            Backend::Interp | Backend::PtxEmu | Backend::PtxEmuSm90a | Backend::Cuda => false,
        }
    }

    /// Who generates its code; of those that generate none, who would by default.
    pub(crate) fn generator(self) -> codegen::Backend {
        match self {
            Backend::Llvm => codegen::Backend::Llvm,
            Backend::Cranelift | Backend::Interp | Backend::PtxEmu | Backend::PtxEmuSm90a | Backend::Cuda => {
                codegen::Backend::Cranelift
            }
        }
    }

    /// The machine that its kernels are for.
    pub(crate) fn target(self) -> Target {
        match self {
            Backend::PtxEmu => Target::of_gpu(Gpu::Sm80),
            Backend::PtxEmuSm90a => Target::of_gpu(Gpu::Sm90a),
            Backend::Cuda => Target::of_gpu(driver::gpu_here()),
            Backend::Interp | Backend::Cranelift | Backend::Llvm => Target::native(),
        }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
    }
}

/// A kernel that is ready to be called.
pub(crate) enum Engine<'a> {
    Interp(&'a Cascade),
    Compiled(&'a Cascade, Box<Kernel>),
    /// With the nest that it was made of.
    OnGpu(&'a Cascade, Box<Kernel>, Box<OnGpu>),
}

/// What a kernel of a GPU was made of.
pub(crate) struct OnGpu {
    nest: Nest,
    /// What its blocks of threads go along.
    tiles: Vec<Tiles>,
}

impl Engine<'_> {
    pub(crate) fn new<'a>(backend: Backend, cascade: &'a Cascade, mapping: &Mapping) -> Outcome<Engine<'a>> {
        match backend {
            Backend::Interp => Ok(Engine::Interp(cascade)),
            Backend::Cranelift => Engine::compiled(codegen::Backend::Cranelift, cascade, mapping),
            Backend::Llvm => Engine::compiled(codegen::Backend::Llvm, cascade, mapping),
            Backend::PtxEmu => Engine::emulated(Gpu::Sm80, cascade, mapping),
            Backend::PtxEmuSm90a => Engine::emulated(Gpu::Sm90a, cascade, mapping),
            Backend::Cuda => {
                let kernel = on_gpu(cascade, mapping, driver::gpu_here())?;
                Ok(Engine::with_nest(kernel, cascade, mapping))
            }
        }
    }

    fn compiled<'a>(
        backend: codegen::Backend,
        cascade: &'a Cascade,
        mapping: &Mapping,
    ) -> Outcome<Engine<'a>> {
        let kernel = driver::jit_by(cascade, mapping, backend).map_err(Stop::codegen)?;
        Ok(Engine::Compiled(cascade, Box::new(kernel)))
    }

    fn emulated<'a>(gpu: Gpu, cascade: &'a Cascade, mapping: &Mapping) -> Outcome<Engine<'a>> {
        let kernel = driver::emulate_by(cascade, mapping, gpu).map_err(Stop::codegen)?;
        Ok(Engine::with_nest(kernel, cascade, mapping))
    }

    fn with_nest<'a>(kernel: Kernel, cascade: &'a Cascade, mapping: &Mapping) -> Engine<'a> {
        let plan = driver::plan(cascade, mapping);
        let nest = tile(&plan);
        let tiles = Tiles::of(cascade, &plan, &nest);
        Engine::OnGpu(cascade, Box::new(kernel), Box::new(OnGpu { nest, tiles }))
    }

    /// What blocks of threads go along.
    pub(crate) fn tiles(&self) -> &[Tiles] {
        match self {
            Engine::Interp(_) | Engine::Compiled(..) => &[],
            Engine::OnGpu(.., made_of) => &made_of.tiles,
        }
    }

    /// What rounding of factors of products may cost in a call.
    pub(crate) fn short(&self, call: &Call) -> Result<Short, String> {
        match self {
            Engine::Interp(_) | Engine::Compiled(..) => Ok(Short::default()),
            Engine::OnGpu(cascade, _, made_of) => {
                Short::of(&made_of.nest, cascade, call).map_err(|it| it.to_string())
            }
        }
    }

    /// Computes the outputs, on at most that many threads, or says what is wrong with the call.
    pub(crate) fn run(&self, call: &Call, threads: Option<usize>) -> Result<Vec<Output>, String> {
        match self {
            Engine::Interp(cascade) => interpret(cascade, call),
            Engine::Compiled(cascade, kernel) | Engine::OnGpu(cascade, kernel, _) => {
                execute(cascade, kernel, call, threads)
            }
        }
    }
}

/// A kernel on the GPU of this machine.
#[cfg(feature = "cuda")]
pub(crate) fn on_gpu(cascade: &Cascade, mapping: &Mapping, gpu: Gpu) -> Outcome<Kernel> {
    driver::on_gpu_by(cascade, mapping, gpu).map_err(Stop::codegen)
}

/// A kernel on the GPU of this machine: there is none without the feature.
#[cfg(not(feature = "cuda"))]
pub(crate) fn on_gpu(_: &Cascade, _: &Mapping, _: Gpu) -> Outcome<Kernel> {
    let compiling = Backend::compiling().into_iter().map(|it| format!(" and `{}`", it.name()));
    Err(Stop::refused(format!(
        "this attnc is built without the back end `cuda`, only with `interp`, `ptx-emu`{}; build it with `--features cuda`",
        compiling.collect::<String>()
    )))
}

/// The interpreter writes the widest dtype of each kind; it needs one thread.
fn interpret(cascade: &Cascade, call: &Call) -> Result<Vec<Output>, String> {
    let arrays = interp::cascade::run(cascade, call).map_err(|it| it.to_string())?;
    let outputs =
        arrays.into_iter().map(|(name, array)| Output { name, dtype: widest(array.data.kind()), array });
    Ok(outputs.collect())
}

/// A compiled kernel writes what its outputs are declared as.
fn execute(
    cascade: &Cascade,
    kernel: &Kernel,
    call: &Call,
    threads: Option<usize>,
) -> Result<Vec<Output>, String> {
    let mut prepared = Prepared::new(cascade, kernel, call)?;
    prepared.run(kernel, threads)?;
    Ok(prepared.into_outputs())
}
