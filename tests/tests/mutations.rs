//! The kernels that blocks of threads run, without each instruction that orders something, and with it on the other side of
//! what comes before or after: the emulator has to find fault with them.
//!
//! The compiler orders more than it has to: two barriers may each do what the other is there for. So first all are left out
//! that are not needed beside the others, and that must be right; of what is left each has to be where it is.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::ir::array::Data;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc::target::Gpu;
use attnc::verify::on_all_cores;
use attnc_ptx::{Kernel, Module, Op, Stmt};
use attnc_runtime::emulator::Schedule;
use attnc_tests::attention::{self, Attention};
use attnc_tests::case::{Outputs, call, sized};
use attnc_tests::emulated::Parts;
use attnc_tests::{decoding, jit};

const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(3), Schedule::Adversarial(1)];

/// A kernel that a block runs, and calls of it.
struct Subject {
    cascade: Cascade,
    calls: Vec<Call>,
    parts: Parts,
    /// What the name of the entry ends in that runs.
    entry: &'static str,
}

impl Subject {
    fn new(variant: &Attention, gpu: Gpu, entry: &'static str) -> Subject {
        let sizes = match gpu {
            Gpu::Sm80 => [("b", 3), ("h", 3), ("m", 70), ("n", 75)],
            // Blocks that have more than one task, and in all more tiles than they have room for at a time.
            Gpu::Sm90a => [("b", 1), ("h", 3), ("m", 420), ("n", 420)],
        };
        let cascade = variant.cascade();
        let parts = Parts::of(&cascade, gpu);
        let plain = call(&cascade, &sized(&sizes), 4.0);
        Subject::of((cascade, plain), parts, entry)
    }

    /// Keys of pages in several parts, some of which a table names.
    fn of_pages(gpu: Gpu, entry: &'static str) -> Subject {
        let cascade = decoding::of(decoding::PAGES);
        let parts = Parts::by(&cascade, &decoding::mapping(&cascade, decoding::CUT_PAGES, gpu), gpu);
        let plain = decoding::call_of_pages(&cascade, (5, 330), &[330, 60], true);
        Subject::of((cascade, plain), parts, entry)
    }

    fn of((cascade, plain): (Cascade, Call), parts: Parts, entry: &'static str) -> Subject {
        assert!(
            parts.nest.stages.iter().any(|it| it.team.is_some()),
            "{} is not taken by blocks",
            cascade.name
        );
        // What sums are taken again for, and by other code.
        let mut poisoned = plain.clone();
        let Data::Real(values) = &mut poisoned.inputs.get_mut("V").unwrap().data else {
            panic!("it is real")
        };
        let middle = values.len() / 2;
        values[middle] = f64::INFINITY;
        Subject { cascade, calls: vec![plain, poisoned], parts, entry }
    }

    /// What a module makes of each call, or what is wrong with it.
    fn run(&self, module: &Module, schedule: Schedule) -> Result<Vec<Outputs>, String> {
        let kernel = self.parts.kernel(module, schedule)?;
        let placement = jit::Placement::Dense;
        self.calls.iter().map(|call| jit::call_kernel(&kernel, &self.cascade, call, placement)).collect()
    }

    /// The kernels that run, by their positions.
    fn kernels<'m>(&self, module: &'m Module) -> impl Iterator<Item = (usize, &'m Kernel)> {
        let entry = self.entry;
        module.kernels.iter().enumerate().filter(move |it| it.1.name.ends_with(entry))
    }
}

/// Whether an instruction orders what others do.
fn orders(op: &Op) -> bool {
    matches!(
        op,
        Op::BarSyncAll
            | Op::BarSync
            | Op::CpAsyncWaitAll
            | Op::CpAsyncWait
            | Op::CpAsyncCommit
            | Op::MbarrierWait { .. }
            | Op::MbarrierArrive
            | Op::MbarrierArriveExpect
            | Op::FenceMbarrierInit
            | Op::WgmmaFence
            | Op::WgmmaCommit
            | Op::WgmmaWait
    )
}

/// Whether an instruction waits for copies.
fn waits(op: &Op) -> bool {
    matches!(op, Op::CpAsyncWaitAll | Op::CpAsyncWait)
}

/// Whether a statement begins a copy, or is the last of some.
fn is_copy(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Inst(inst) if inst.op.mnemonic().starts_with("cp.async") && !waits(&inst.op))
}

/// Whether a statement orders what is written one way before what is read another way.
fn is_proxy_fence(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Inst(inst) if matches!(inst.op, Op::FenceProxy { .. }))
}

/// Whether a statement begins products, or is the last of some.
fn is_product(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Inst(inst) if inst.op == Op::WgmmaCommit || inst.op.mnemonic().starts_with("wgmma.mma"))
}

/// Whether what lets others go on may come before an instruction that does so, too; or is tried on the other side of a wait for
/// products when that is moved.
fn commute(op: &Op, with: &Stmt) -> bool {
    let is_known = |op: &Op| matches!(op, Op::MbarrierArrive | Op::WgmmaWait);
    *op == Op::MbarrierArrive && matches!(with, Stmt::Inst(inst) if is_known(&inst.op))
}

/// Whether an instruction touches shared memory, or orders what does.
fn matters(op: &Op) -> bool {
    orders(op) || op.mnemonic().contains("shared") || op.mnemonic().starts_with("wgmma")
}

/// How many statements go with one that orders: a wait at a barrier in memory is asked for again until it is over.
fn length(op: &Op) -> usize {
    if matches!(op, Op::MbarrierWait { .. }) { 2 } else { 1 }
}

/// Whether it may do as well before what comes before it, or after what comes after it.
#[allow(clippy::wildcard_enum_match_arm, reason = "others order on both sides")]
fn moves(op: &Op) -> [bool; 2] {
    match op {
        // It stays with what asks again.
        Op::MbarrierWait { .. } => [false, false],
        // Bytes may come before they are announced, and who arrives later only has others wait.
        Op::MbarrierArriveExpect => [false, false],
        Op::MbarrierArrive | Op::FenceMbarrierInit | Op::WgmmaCommit => [true, false],
        // What is ordered before the products may be ordered before what comes before.
        Op::WgmmaFence => [false, true],
        _ => [true, true],
    }
}

/// A module with one change, in words.
fn mutants<'m>(module: &Module, kernels: impl Iterator<Item = (usize, &'m Kernel)>) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    for (which, kernel) in kernels {
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
                    body.drain(at..at + length(&inst.op));
                }),
            ));
            let [earlier, later] = moves(&inst.op);
            let before = neighbour(&mut kernel.body[..at].iter().enumerate().rev()).filter(|_| earlier);
            // What waits earlier for copies or products that are under way only waits longer.
            let before = before.filter(|to| !waits(&inst.op) || is_copy(&kernel.body[*to]));
            // Those that read may as well fence off what others wrote, once it is there.
            let is_met = matches!(inst.op, Op::BarSync | Op::BarSyncAll);
            let before = before.filter(|to| !is_met || !is_proxy_fence(&kernel.body[*to]));
            let before = before.filter(|to| inst.op != Op::WgmmaWait || is_product(&kernel.body[*to]));
            let before = before.filter(|to| !commute(&inst.op, &kernel.body[*to]));
            if let Some(to) = before {
                found.push((format!("{name}, before {to}"), changed(&|body| body[to..=at].rotate_right(1))));
            }
            if let Some(to) = neighbour(&mut (at + 1..).zip(&kernel.body[at + 1..])).filter(|_| later) {
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
            Stmt::NoUnroll | Stmt::Comment(_) => {}
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
        let (mut lean, [before, mut after]) = self.leaner(&self.parts.module, right);
        // What was there for something that was left out later is needed no more.
        loop {
            let (next, [_, left]) = self.leaner(&lean, right);
            if left == after {
                return (lean, [before, after]);
            }
            (lean, after) = (next, left);
        }
    }

    /// The module without what may be left out, from the end on.
    fn leaner(&self, module: &Module, right: &[Outputs]) -> (Module, [usize; 2]) {
        let mut lean = module.clone();
        let mut counts = [0; 2];
        for which in self.kernels(&self.parts.module).map(|it| it.0) {
            let ordering = lean.kernels[which].insts().filter(|it| orders(&it.1.op)).map(|it| it.0);
            // From the end, so that places stay what they are.
            for at in ordering.collect::<Vec<_>>().into_iter().rev() {
                counts[0] += 1;
                let mut without = lean.clone();
                let body = &mut without.kernels[which].body;
                let Stmt::Inst(inst) = &body[at] else { unreachable!("it is an instruction") };
                let length = length(&inst.op);
                body.drain(at..at + length);
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

/// Checks a kernel for a GPU by the entry whose name ends so; at least so much of what orders has to be needed.
fn check(name: &str, (gpu, entry): (Gpu, &'static str), least: usize) -> (usize, Vec<String>) {
    let variant = attention::VARIANTS.iter().find(|it| it.name == name).unwrap();
    check_subject((name, gpu), &Subject::new(variant, gpu, entry), least)
}

fn check_subject((name, gpu): (&str, Gpu), subject: &Subject, least: usize) -> (usize, Vec<String>) {
    let right = subject.run(&subject.parts.module, SCHEDULES[0]).unwrap_or_else(|it| panic!("{it}"));
    assert!(subject.is_right(&subject.parts.module, &right), "{name}");
    let (lean, [before, after]) = subject.lean(&right);
    assert!(after >= least, "{name}: {after} of {before} are needed");
    let mutants = mutants(&lean, subject.kernels(&lean));
    let survived = on_all_cores(&mutants, |(change, module)| {
        subject.is_right(module, &right).then(|| format!("{name}: {change}"))
    });
    let survived: Vec<String> = survived.into_iter().flatten().collect();
    let (count, left) = (mutants.len(), survived.len());
    eprintln!(
        "{name} on {}: {after} of {before} are needed, {left} of {count} mutants survive: {survived:?}",
        gpu.name()
    );
    (count, survived)
}

/// Of twenty mutants one may survive.
fn few_survive(n_mutants: usize, survivors: &[String]) {
    assert!(
        survivors.len() * 20 <= n_mutants,
        "{} of {n_mutants}:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
}

#[test]
fn nothing_that_orders_can_be_left_out_or_moved() {
    // With copies that are waited for, and element by element; the sink is read by rows alone.
    let (mut n_mutants, mut survivors) = (0, Vec::new());
    for (name, waits) in [
        ("causal", 2),
        ("sink", 2),
        ("5 and 7 features", 0),
        ("f32, causal", 2),
        ("f32, 5 and 7 features", 0),
    ] {
        // Keys and values are stored by all threads and read by all: each at least takes a barrier, and a wait if they are
        // copied.
        let (count, survived) = check(name, (Gpu::Sm80, ""), 2 + waits);
        n_mutants += count;
        survivors.extend(survived);
    }
    assert!(n_mutants >= 20, "{n_mutants} mutants");
    few_survive(n_mutants, &survivors);
}

#[test]
fn neither_can_it_where_pages_are_looked_up() {
    for gpu in Gpu::ALL {
        // Keys and values are copied by all threads and read by all: a barrier and a wait for each.
        let (n_mutants, survivors) = check_subject(("pages", gpu), &Subject::of_pages(gpu, "_stage_0"), 4);
        assert!(n_mutants >= 8, "{n_mutants} mutants");
        few_survive(n_mutants, &survivors);
    }
}

#[test]
fn neither_can_it_where_a_group_of_warps_copies_for_others() {
    // In each of two loops both sides wait for each of two tiles, bytes are announced and tiles let go of; products take
    // a fence, a commit and a wait.
    let (n_mutants, survivors) = check("causal", (Gpu::Sm90a, "_maps"), 20);
    assert!(n_mutants >= 40, "{n_mutants} mutants");
    few_survive(n_mutants, &survivors);
}

#[test]
fn reads_of_tiles_that_others_copy_end_with_fences() {
    let variant = attention::VARIANTS.iter().find(|it| it.name == "causal").unwrap();
    let subject = Subject::new(variant, Gpu::Sm90a, "_maps");
    let module = &subject.parts.module;
    let mut without = Vec::new();
    for (which, kernel) in subject.kernels(module) {
        for (at, _) in kernel.insts().filter(|it| matches!(it.1.op, Op::FenceProxy { .. })) {
            let mut module = module.clone();
            module.kernels[which].body.remove(at);
            without.push((at, module));
        }
    }
    let faults = on_all_cores(&without, |(at, module)| {
        let found = SCHEDULES.iter().find_map(|it| subject.run(module, *it).err())?;
        assert!(found.contains("and no fence.proxy.async follows"), "{at}: {found}");
        Some(*at)
    });
    // Those that look do so in two loops; where something is not finite, each of two slices of columns is read in both.
    let n_needed = faults.iter().flatten().count();
    assert!(n_needed >= 4, "{n_needed} of {} fences are needed: {faults:?}", without.len());
}
