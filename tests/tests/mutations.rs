//! The kernels that blocks of threads run, without each instruction that orders something, and with it on the other side of
//! what comes before or after: the emulator has to find fault with them.
//!
//! The compiler orders more than it has to: two barriers may each do what the other is there for. So first all are left out
//! that are not needed beside the others, and that must be right; of what is left each has to be where it is.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use attnc::Backend;
use attnc::codegen::{self, Jit};
use attnc::driver;
use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::package::{describe, describe_module};
use attnc::schedule::Mapping;
use attnc::target::{Gpu, Target};
use attnc::tile::tile;
use attnc::verify::on_all_cores;
use attnc_ptx::{Module, Op, Stmt};
use attnc_runtime::Kernel;
use attnc_runtime::device::Emulated;
use attnc_runtime::emulator::Schedule;
use attnc_runtime::manifest::KernelInfo;
use attnc_tests::attention::{self, Attention};
use attnc_tests::case::{Outputs, call, sized};
use attnc_tests::jit;

const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(3), Schedule::Adversarial(1)];

/// A kernel that a block runs, and calls of it.
struct Subject {
    cascade: Cascade,
    calls: Vec<Call>,
    module: Module,
    info: KernelInfo,
    host: Arc<Jit>,
}

impl Subject {
    fn new(variant: &Attention) -> Subject {
        let cascade = variant.cascade();
        let target = Target::of_gpu(Gpu::Sm80);
        let mapping = Mapping::of(&target, Backend::default());
        let plan = driver::plan(&cascade, &mapping);
        let nest = tile(&plan);
        assert!(nest.stages.iter().any(|it| it.team.is_some()), "{} is not taken by blocks", variant.name);
        let module = codegen::ptx::emit(std::slice::from_ref(&nest), &target).unwrap();
        let info = describe_module(describe(&plan, &nest, &target, &mapping), &module);
        let host = Arc::new(codegen::jit_host(&nest).unwrap());
        let plain = call(&cascade, &sized(&[("b", 3), ("h", 3), ("m", 70), ("n", 75)]), 4.0);
        // What sums are taken again for, and by other code.
        let mut poisoned = plain.clone();
        let Data::Real(values) = &mut poisoned.inputs.get_mut("V").unwrap().data else {
            panic!("it is real")
        };
        let middle = values.len() / 2;
        values[middle] = f64::INFINITY;
        Subject { cascade, calls: vec![plain, poisoned], module, info, host }
    }

    /// What a module makes of each call, or what is wrong with it.
    fn run(&self, module: &Module, schedule: Schedule) -> Result<Vec<Outputs>, String> {
        let device = Emulated::new(&self.info.symbol, self.info.stages, &module.to_string());
        let device = Arc::new(device.map_err(|it| it.to_string())?.under(schedule));
        // SAFETY: the functions are those of the nest that `info` describes, and live as long as `host`. The stages reach
        // no further than those of the kernel, or the emulator stops them.
        let kernel =
            unsafe { Kernel::on_device(self.info.clone(), self.host.entry(), self.host.clone(), device) };
        let kernel = kernel.map_err(|it| it.to_string())?;
        let placement = jit::Placement::Dense;
        self.calls.iter().map(|call| jit::call_kernel(&kernel, &self.cascade, call, placement)).collect()
    }
}

/// Whether an instruction orders what others do.
fn orders(op: &Op) -> bool {
    matches!(op, Op::BarSyncAll | Op::CpAsyncWaitAll | Op::CpAsyncWait | Op::CpAsyncCommit)
}

/// Whether an instruction waits for copies.
fn waits(op: &Op) -> bool {
    matches!(op, Op::CpAsyncWaitAll | Op::CpAsyncWait)
}

/// Whether a statement begins a copy, or is the last of some.
fn is_copy(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Inst(inst) if inst.op.mnemonic().starts_with("cp.async") && !waits(&inst.op))
}

/// Whether an instruction touches shared memory, or orders what does.
fn matters(op: &Op) -> bool {
    orders(op) || op.mnemonic().contains("shared")
}

/// A module with one change, in words.
fn mutants(module: &Module) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    for (which, kernel) in module.kernels.iter().enumerate() {
        let changed = |change: &dyn Fn(&mut Vec<Stmt>)| {
            let mut module = module.clone();
            change(&mut module.kernels[which].body);
            module
        };
        for (count, (at, inst)) in kernel.insts().filter(|it| orders(&it.1.op)).enumerate() {
            let name = format!("#{count} {} at {at}", inst.op.mnemonic());
            found.push((
                format!("{name}, left out"),
                changed(&|body| {
                    body.remove(at);
                }),
            ));
            let before = neighbour(&mut kernel.body[..at].iter().enumerate().rev());
            // What waits earlier for copies that are under way only waits longer.
            let before = before.filter(|to| !waits(&inst.op) || is_copy(&kernel.body[*to]));
            if let Some(to) = before {
                found.push((format!("{name}, before {to}"), changed(&|body| body[to..=at].rotate_right(1))));
            }
            if let Some(to) = neighbour(&mut (at + 1..).zip(&kernel.body[at + 1..])) {
                found.push((format!("{name}, after {to}"), changed(&|body| body[at..=to].rotate_left(1))));
            }
        }
    }
    found
}

/// The next statement that matters, unless control may come or go before it.
fn neighbour(rest: &mut dyn Iterator<Item = (usize, &Stmt)>) -> Option<usize> {
    for (at, stmt) in rest {
        match stmt {
            Stmt::Label(_) => return None,
            Stmt::Comment(_) => {}
            Stmt::Inst(inst) if matters(&inst.op) => return Some(at),
            Stmt::Inst(inst) if matches!(inst.op, Op::Bra { .. } | Op::Ret | Op::Exit) => return None,
            Stmt::Inst(_) => {}
        }
    }
    None
}

impl Subject {
    /// Whether a module gives these results in whatever order.
    fn is_right(&self, module: &Module, right: &[Outputs]) -> bool {
        SCHEDULES.iter().all(|it| self.run(module, *it).is_ok_and(|it| it == right))
    }

    /// The module with as little that orders as will do; how much there was, and how much there is.
    fn lean(&self, right: &[Outputs]) -> (Module, [usize; 2]) {
        let mut lean = self.module.clone();
        let mut counts = [0; 2];
        for which in 0..lean.kernels.len() {
            let ordering = lean.kernels[which].insts().filter(|it| orders(&it.1.op)).map(|it| it.0);
            // From the end, so that places stay what they are.
            for at in ordering.collect::<Vec<_>>().into_iter().rev() {
                counts[0] += 1;
                let mut without = lean.clone();
                without.kernels[which].body.remove(at);
                if self.is_right(&without, right) {
                    lean = without;
                } else {
                    counts[1] += 1;
                }
            }
        }
        (lean, counts)
    }
}

#[test]
fn nothing_that_orders_can_be_left_out_or_moved() {
    // With copies that are waited for, and element by element; the sink is read by rows alone.
    let (mut n_mutants, mut survivors) = (0, Vec::new());
    for (name, waits) in [("causal", 2), ("sink", 2), ("5 and 7 features", 0)] {
        let variant = attention::VARIANTS.iter().find(|it| it.name == name).unwrap();
        let subject = Subject::new(variant);
        let right = subject.run(&subject.module, SCHEDULES[0]).unwrap_or_else(|it| panic!("{it}"));
        assert!(subject.is_right(&subject.module, &right), "{name}");
        let (lean, [before, after]) = subject.lean(&right);
        // Keys and values are stored by all threads and read by all: each at least takes a barrier, and a wait if they are
        // copied.
        assert!(after >= 2 + waits, "{name}: {after} of {before} are needed");
        let mutants = mutants(&lean);
        n_mutants += mutants.len();
        let survived = on_all_cores(&mutants, |(change, module)| {
            subject.is_right(module, &right).then(|| format!("{name}: {change}"))
        });
        survivors.extend(survived.into_iter().flatten());
    }
    assert!(n_mutants >= 20, "{n_mutants} mutants");
    assert!(
        survivors.len() * 20 <= n_mutants,
        "{} of {n_mutants}:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
}
