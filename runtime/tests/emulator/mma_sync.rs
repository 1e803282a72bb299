//! Attention with `mma.sync` is right under every schedule, and wrong without any of its barriers.

use attnc_ptx::{Kernel, Module, Target};
use attnc_runtime::emulator::{Args, DeviceMemory, Fault, Launch, Program, Report, Schedule};

use crate::attention::{bytes, floats, noise, reference, relative_error, rounded};
use crate::flash::{Shape, kernel};

const SHAPE: Shape = Shape { warps: 4, keys: 32, features: 64 };
const TILES: u32 = 3;

const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random(3), Schedule::Adversarial(1)];

/// Runs a kernel on random tensors; the relative error of its result.
fn run(kernel: Kernel, schedule: Schedule) -> Result<(f64, Report), Box<Fault>> {
    let features = SHAPE.features as usize;
    let (queries, keys) = (SHAPE.queries() as usize, (TILES * SHAPE.keys) as usize);
    let [q, k, v] =
        [(1, queries), (2, keys), (3, keys)].map(|(seed, rows)| rounded(&noise(seed, rows * features)));
    let module = Module { version: (8, 0), target: Target::Sm80, comments: vec![], kernels: vec![kernel] };
    let program = Program::new(&module).expect("a module that prints and parses");
    let mut memory = DeviceMemory::new();
    let [q_buffer, k_buffer, v_buffer] =
        [("Q", &q), ("K", &k), ("V", &v)].map(|(name, data)| memory.upload(name, &bytes(data)));
    let o_buffer = memory.alloc("O", queries * features * 2);
    let scale = std::f32::consts::LOG2_E / (features as f32).sqrt();
    let args =
        Args::new().buffer(q_buffer).buffer(k_buffer).buffer(v_buffer).buffer(o_buffer).u32(TILES).f32(scale);
    let launch = Launch::new([1, 1, 1], [SHAPE.warps * 32, 1, 1], args).schedule(schedule).budget(1_000_000);
    let report = program.launch("flash", &launch, &mut memory)?;
    assert_eq!(memory.first_unwritten(o_buffer), None);
    let found = floats(memory.bytes(o_buffer));
    Ok((relative_error(&found, &reference(&q, &k, &v, features)), report))
}

#[test]
fn attention_is_right_under_every_schedule() {
    for schedule in SCHEDULES {
        let (error, report) = run(kernel(SHAPE), schedule).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(error < 3e-3, "{schedule:?}: {error}");
        assert_eq!(report.bank_conflicts, 0);
    }
}
