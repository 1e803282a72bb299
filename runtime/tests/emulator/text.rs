//! Kernels as text, with one buffer of words and one tile of shared memory.

use attnc_runtime::emulator::{Args, DeviceMemory, Fault, Launch, Program, Schedule};

/// Registers that bodies may use.
const HEAD: &str = ".version 8.1
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 tile[]; // bytes 4096
.visible .entry f(.param .u64 x)
{
    .reg .b64 %x, %d<8>; .reg .b32 %r<16>, %tx, %lane, %s; .reg .b16 %h<4>; .reg .f32 %f<16>; .reg .pred %p<8>;
    .local .align 8 .b8 stack[16];
    ld.param.u64 %x, [x];
    mov.u32 %tx, %tid.x;
    mov.u32 %lane, %laneid;
    shl.b32 %s, %tx, 2;
    cvt.u64.u32 %d0, %s;
    add.u64 %d0, %d0, %x;
";

/// Runs a body in a block; the words of the buffer, whose first are 0, 1, 2, … before.
pub(crate) fn run_under(body: &str, threads: u32, schedule: Schedule) -> Result<Vec<u32>, Box<Fault>> {
    let program = Program::parse(&format!("{HEAD}{body}\n ret;\n}}\n")).unwrap_or_else(|why| panic!("{why}"));
    let mut memory = DeviceMemory::new();
    let words: Vec<u8> = (0..threads.max(64)).flat_map(|it| it.to_le_bytes()).collect();
    let x = memory.upload("x", &words);
    memory.alloc("fresh", 64);
    let launch = Launch::new([1, 1, 1], [threads, 1, 1], Args::new().buffer(x));
    program.launch("f", &launch.schedule(schedule).budget(100_000), &mut memory)?;
    let words = memory.bytes(x).chunks_exact(4);
    Ok(words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

/// The words after a body that is right.
#[track_caller]
pub(crate) fn run(body: &str, threads: u32) -> Vec<u32> {
    run_under(body, threads, Schedule::RoundRobin).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Checks what is said of a body that is wrong, under every schedule.
#[track_caller]
pub(crate) fn check_fault(body: &str, threads: u32, expected: &str) {
    for schedule in [Schedule::RoundRobin, Schedule::Random(5), Schedule::Adversarial(2)] {
        let fault = run_under(body, threads, schedule).expect_err("a wrong kernel").to_string();
        assert!(fault.contains(expected), "{schedule:?}: {fault}");
    }
}
