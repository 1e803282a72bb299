//! Attention with `mma.sync` is right under every schedule, and wrong without any of its barriers.

use attnc_ptx::{Kernel, Module, Op, Target};
use attnc_runtime::emulator::{
    Args, Buffer, DeviceMemory, Fault, Launch, Problem, Program, Report, Schedule,
};

use crate::attention::{bytes, floats, noise, reference, relative_error, rounded};
use crate::flash::{Shape, kernel};

const SHAPE: Shape = Shape { warps: 4, keys: 32, features: 64 };
const TILES: u32 = 3;

const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(3), Schedule::Adversarial(1)];

/// A kernel with random tensors.
struct Prepared {
    program: Program,
    memory: DeviceMemory,
    launch: Launch,
    output: Buffer,
    expected: Vec<f64>,
}

fn prepare(kernel: Kernel) -> Prepared {
    let features = SHAPE.features as usize;
    let (queries, keys) = (SHAPE.queries() as usize, (TILES * SHAPE.keys) as usize);
    let [q, k, v] =
        [(1, queries), (2, keys), (3, keys)].map(|(seed, rows)| rounded(&noise(seed, rows * features)));
    let module = Module { version: (8, 0), target: Target::Sm80, comments: vec![], kernels: vec![kernel] };
    let program = Program::new(&module).expect("a module that prints and parses");
    let mut memory = DeviceMemory::new();
    let mut args = Args::new();
    for (name, data) in [("Q", &q), ("K", &k), ("V", &v)] {
        args = args.buffer(memory.upload(name, &bytes(data)));
    }
    let output = memory.alloc("O", queries * features * 2);
    let scale = std::f32::consts::LOG2_E / (features as f32).sqrt();
    let args = args.buffer(output).u32(TILES).f32(scale);
    let launch = Launch::new([1, 1, 1], [SHAPE.warps * 32, 1, 1], args).budget(1_000_000);
    Prepared { program, memory, launch, output, expected: reference(&q, &k, &v, features) }
}

/// Runs a kernel; the relative error of its result.
fn run(kernel: Kernel, schedule: Schedule) -> Result<(f64, Report), Box<Fault>> {
    let Prepared { program, mut memory, launch, output, expected } = prepare(kernel);
    let report = program.launch("flash", &launch.schedule(schedule), &mut memory)?;
    assert_eq!(memory.first_unwritten(output), None);
    Ok((relative_error(&floats(memory.bytes(output)), &expected), report))
}

#[test]
fn attention_is_right_under_every_schedule() {
    for schedule in SCHEDULES {
        let (error, report) = run(kernel(SHAPE), schedule).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(error < 3e-3, "{schedule:?}: {error}");
        assert_eq!(report.bank_conflicts, 0);
    }
}

/// The kernel without one of its statements, or with it moved by some statements.
fn mutated(at: usize, by: Option<isize>) -> Kernel {
    let mut kernel = kernel(SHAPE);
    let stmt = kernel.body.remove(at);
    if let Some(by) = by {
        kernel.body.insert(at.checked_add_signed(by).expect("a place in the kernel"), stmt);
    }
    kernel
}

/// The places of the instructions that order something.
fn places(wanted: impl Fn(&Op) -> bool) -> Vec<usize> {
    kernel(SHAPE).insts().filter(|(_, inst)| wanted(&inst.op)).map(|(at, _)| at).collect()
}

/// What is said of a mutation; it has to be the same kind of error under every schedule.
#[track_caller]
fn check_mutation(at: usize, by: Option<isize>, expected: fn(&Problem) -> bool) {
    for schedule in SCHEDULES {
        match run(mutated(at, by), schedule) {
            Ok((error, _)) => panic!("{at} by {by:?} under {schedule:?} is not found; error {error}"),
            Err(fault) => assert!(expected(&fault.problem), "{at} by {by:?} under {schedule:?}: {fault}"),
        }
    }
}

fn in_flight(problem: &Problem) -> bool {
    matches!(problem, Problem::InFlight { .. })
}

fn unordered(problem: &Problem) -> bool {
    matches!(problem, Problem::InFlight { .. } | Problem::Race { .. } | Problem::Uninitialised { .. })
}

#[test]
fn every_wait_is_needed_where_it_is() {
    for at in places(|op| *op == Op::CpAsyncWait) {
        check_mutation(at, None, in_flight);
        // After the barrier, it no longer holds for the copies of other warps.
        check_mutation(at, Some(1), unordered);
    }
}

#[test]
fn every_barrier_is_needed_where_it_is() {
    for at in places(|op| *op == Op::BarSyncAll) {
        check_mutation(at, None, unordered);
        check_mutation(at, Some(-1), unordered);
    }
}

#[test]
fn every_commit_is_needed_but_the_first() {
    let commits = places(|op| *op == Op::CpAsyncCommit);
    let [first, others @ ..] = commits.as_slice() else { panic!("no commits") };
    assert_eq!(others.len(), 3);
    for at in others {
        check_mutation(*at, None, in_flight);
    }
    // Without the first, Q is in one group with the first K, and both are waited for at once: nothing changes.
    for schedule in SCHEDULES {
        let (error, _) = run(mutated(*first, None), schedule).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(error < 3e-3);
    }
}

#[test]
fn the_verifier_finds_nothing_wrong() {
    let kernels = vec![kernel(SHAPE)];
    let module = Module { version: (8, 0), target: Target::Sm80, comments: vec![], kernels };
    assert_eq!(attnc_ptx::verify(&module), vec![]);
}
