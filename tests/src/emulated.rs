//! Kernels for GPUs on the emulator, whose text may be changed before.

use std::sync::Arc;

use attnc::Backend;
use attnc::codegen::{self, Jit};
use attnc::driver;
use attnc::ir::cascade::Cascade;
use attnc::ir::nest::Nest;
use attnc::package::{describe, describe_module};
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc_ptx::{Inst, Module, Op, Stmt};
use attnc_runtime::Kernel;
use attnc_runtime::device::Emulated;
use attnc_runtime::emulator::Schedule;
use attnc_runtime::manifest::KernelInfo;

/// A kernel in its parts.
pub struct Parts {
    /// The nest.
    pub nest: Nest,
    /// The stages.
    pub module: Module,
    /// What the manifest says of it.
    pub info: KernelInfo,
    host: Arc<Jit>,
}

impl Parts {
    /// Those of a cascade for a GPU, by its mapping.
    ///
    /// # Panics
    /// Where it cannot be compiled.
    pub fn of(cascade: &Cascade, gpu: Gpu) -> Parts {
        Parts::by(cascade, &Mapping::of(&Target::of_gpu(gpu), Backend::default()), gpu)
    }

    /// The same by another mapping.
    ///
    /// # Panics
    /// Where it cannot be compiled.
    pub fn by(cascade: &Cascade, mapping: &Mapping, gpu: Gpu) -> Parts {
        let target = Target::of_gpu(gpu);
        let plan = driver::plan(cascade, mapping);
        let nest = tile(&plan);
        let module = codegen::ptx::emit(std::slice::from_ref(&nest), &target).expect("a module");
        let info = describe_module(describe(&plan, &nest, &target, mapping), &module);
        let host = Arc::new(codegen::jit_host(&nest).expect("code for the host"));
        Parts { nest, module, info, host }
    }

    /// The module with nothing but a trap in the entries of stages that have another one: those whose name ends so.
    ///
    /// # Panics
    /// Where there is no such entry.
    pub fn trapped(&self, last: &str) -> Module {
        let mut module = self.module.clone();
        for it in &self.info.mapped {
            let name = format!("{}_stage_{}{last}", self.info.symbol, it.stage);
            let kernel = module.kernels.iter_mut().find(|it| it.name == name).expect("an entry");
            kernel.body = vec![Stmt::Inst(Inst::new(Op::Trap, vec![]))];
        }
        module
    }

    /// The kernel with that module.
    ///
    /// # Errors
    /// Where the emulator does not know its text, or it lacks a stage.
    pub fn kernel(&self, module: &Module, schedule: Schedule) -> Result<Kernel, String> {
        let device = Emulated::new(&self.info.symbol, self.info.stages, &module.to_string());
        let device = Arc::new(device.map_err(|it| it.to_string())?.under(schedule));
        // SAFETY: the functions are those of the nest that `info` describes, and live as long as `host`. The stages reach
        // no further than those of the kernel, or the emulator stops them.
        let kernel =
            unsafe { Kernel::on_device(self.info.clone(), self.host.entry(), self.host.clone(), device) };
        kernel.map_err(|it| it.to_string())
    }
}
