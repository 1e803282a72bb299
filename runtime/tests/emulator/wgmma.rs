//! Attention with `wgmma` and copies of tensors is right under every schedule, and wrong without any of
//! what orders it.

use attnc_ptx::{Kernel, Module, Op, Target};
use attnc_runtime::emulator::{Args, DeviceMemory, Fault, Launch, Problem, Program, Report, Schedule};
use attnc_runtime::{Swizzle, TensorMap};

use crate::attention::{bytes, floats, noise, reference, relative_error, rounded};
use crate::hopper::{FEATURES, Shape, kernel};

const SHAPE: Shape = Shape { groups: 2, keys: 48 };
/// Queries that do not fill the last tile.
const QUERIES: usize = 200;
const TILES: u32 = 3;
const HEADS: usize = 2;

const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(3), Schedule::Adversarial(1)];

/// The map of a tensor of heads, rows and features.
fn map(address: u64, rows: usize, tile: u32) -> TensorMap {
    let row = u64::from(FEATURES) * 2;
    TensorMap {
        address,
        element: 2,
        shape: vec![FEATURES.into(), rows as u64, HEADS as u64],
        strides: vec![row, row * rows as u64],
        extents: vec![FEATURES, tile, 1],
        swizzle: Swizzle::B128,
    }
}

/// Runs a kernel on random tensors; the relative error of its result.
fn run(kernel: Kernel, schedule: Schedule) -> Result<(f64, Report), Box<Fault>> {
    let features = FEATURES as usize;
    let keys = (TILES * SHAPE.keys) as usize;
    let tensor = |seed, rows: usize| rounded(&noise(seed, HEADS * rows * features));
    let (q, k, v) = (tensor(1, QUERIES), tensor(2, keys), tensor(3, keys));
    let module = Module { version: (8, 0), target: Target::Sm90a, comments: vec![], kernels: vec![kernel] };
    let program = Program::new(&module).expect("a module that prints and parses");
    let mut memory = DeviceMemory::new();
    let mut args = Args::new();
    for (name, data, rows, tile) in
        [("Q", &q, QUERIES, SHAPE.queries()), ("K", &k, keys, SHAPE.keys), ("V", &v, keys, SHAPE.keys)]
    {
        let buffer = memory.upload(name, &bytes(data));
        args = args.tensor_map(&map(buffer.address(), rows, tile));
    }
    let o = memory.alloc("O", HEADS * QUERIES * features * 2);
    let scale = std::f32::consts::LOG2_E / (features as f32).sqrt();
    let args = args.tensor_map(&map(o.address(), QUERIES, SHAPE.queries())).u32(TILES).f32(scale);
    let blocks = QUERIES.div_ceil(SHAPE.queries() as usize) as u32;
    let launch = Launch::new([blocks, HEADS as u32, 1], [SHAPE.threads(), 1, 1], args);
    let report = program.launch("hopper", &launch.schedule(schedule).budget(2_000_000), &mut memory)?;
    assert_eq!(memory.first_unwritten(o), None);
    let heads =
        |data: &[f32], rows: usize, head: usize| data[head * rows * features..][..rows * features].to_vec();
    let expected: Vec<f64> = (0..HEADS)
        .flat_map(|head| {
            reference(&heads(&q, QUERIES, head), &heads(&k, keys, head), &heads(&v, keys, head), features)
        })
        .collect();
    Ok((relative_error(&floats(memory.bytes(o)), &expected), report))
}

#[test]
fn attention_is_right_under_every_schedule() {
    for schedule in SCHEDULES {
        let (error, _) = run(kernel(SHAPE), schedule).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(error < 3e-3, "{schedule:?}: {error}");
    }
}

/// The kernel without some of its statements.
fn without(places: &[usize]) -> Kernel {
    let mut kernel = kernel(SHAPE);
    let mut at = 0;
    kernel.body.retain(|_| {
        at += 1;
        !places.contains(&(at - 1))
    });
    kernel
}

/// The places of some instructions.
fn places(wanted: impl Fn(&Op) -> bool) -> Vec<usize> {
    kernel(SHAPE).insts().filter(|(_, inst)| wanted(&inst.op)).map(|(at, _)| at).collect()
}

/// Checks that a kernel without one of some instructions is found to be wrong under every schedule; `with` is
/// how many statements go with each.
#[track_caller]
fn check_all(wanted: impl Fn(&Op) -> bool, with: usize, expected: fn(&Problem) -> bool) {
    let places = places(wanted);
    assert!(!places.is_empty());
    for at in places {
        let missing: Vec<usize> = (at..=at + with).collect();
        for schedule in SCHEDULES {
            match run(without(&missing), schedule) {
                Ok((error, _)) => panic!("without {at} under {schedule:?}: no fault, error {error}"),
                Err(fault) => assert!(expected(&fault.problem), "without {at} under {schedule:?}: {fault}"),
            }
        }
    }
}

/// Accesses that nothing orders, seen early or late.
fn unordered(problem: &Problem) -> bool {
    matches!(problem, Problem::Race { .. } | Problem::InFlight { .. } | Problem::Uninitialised { .. })
}

#[test]
fn every_wait_for_a_phase_is_needed() {
    // The wait and the branch that repeats it.
    let waits = places(|op| matches!(op, Op::MbarrierWait { .. }));
    assert_eq!(waits.len(), 5);
    check_all(
        |op| matches!(op, Op::MbarrierWait { .. }),
        1,
        |problem| unordered(problem) || matches!(problem, Problem::Barrier(_)),
    );
}

#[test]
fn every_arrival_is_needed() {
    check_all(|op| *op == Op::MbarrierArrive, 0, |problem| matches!(problem, Problem::Deadlock { .. }));
    check_all(|op| *op == Op::MbarrierArriveExpect, 0, |problem| matches!(problem, Problem::Deadlock { .. }));
    check_all(
        |op| matches!(op, Op::TensorLoad { .. }),
        0,
        |problem| matches!(problem, Problem::Deadlock { .. }),
    );
}

#[test]
fn every_barrier_and_fence_is_needed() {
    check_all(
        |op| *op == Op::BarSyncAll,
        0,
        |problem| unordered(problem) || matches!(problem, Problem::Barrier(_)),
    );
    check_all(|op| *op == Op::BarSync, 0, unordered);
    check_all(|op| *op == Op::FenceMbarrierInit, 0, |problem| matches!(problem, Problem::Barrier(_)));
    check_all(
        |op| matches!(op, Op::FenceProxy { .. }),
        0,
        |problem| matches!(problem, Problem::Proxy { .. }),
    );
    check_all(
        |op| matches!(op, Op::MbarrierInit),
        0,
        |problem| {
            matches!(problem, Problem::Uninitialised { .. } | Problem::Barrier(_) | Problem::Race { .. })
        },
    );
}

#[test]
fn products_are_fenced_committed_and_waited_for() {
    check_all(|op| *op == Op::WgmmaFence, 0, |problem| matches!(problem, Problem::Operand(_)));
    // What waits for nothing gives its tile back too early, or its registers.
    let early = |problem: &Problem| matches!(problem, Problem::Locked { .. } | Problem::Race { .. });
    check_all(|op| *op == Op::WgmmaCommit, 0, early);
    check_all(|op| *op == Op::WgmmaWait, 0, early);
}

#[test]
fn copies_out_are_committed_and_waited_for() {
    check_all(|op| *op == Op::BulkCommit, 0, |problem| matches!(problem, Problem::Barrier(_)));
    check_all(|op| matches!(op, Op::BulkWait { .. }), 0, |problem| matches!(problem, Problem::Barrier(_)));
}

#[test]
fn the_verifier_finds_nothing_wrong() {
    let kernels = vec![kernel(SHAPE)];
    let module = Module { version: (8, 0), target: Target::Sm90a, comments: vec![], kernels };
    assert_eq!(attnc_ptx::verify(&module), vec![]);
}
