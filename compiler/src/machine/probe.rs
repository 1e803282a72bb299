//! This machine to its numbers, in a few seconds: the best of several short runs, for other work only slows them down.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_runtime::{TensorView, TensorViewMut, Workspace, probe};

use super::{Exp, Level, Machine, Rate, caches, cpu};
use crate::codegen::Backend;
use crate::driver::{self, Request};

/// What every run takes at least, in seconds.
const LEAST: f64 = 0.002;
/// How many runs there are of each loop: short ones, some of which nobody interrupts.
const RUNS: usize = 40;
/// What memory is probed with, at least and at most: more than the last cache holds.
const FAR: [u64; 2] = [256 << 20, 1 << 30];
/// How many exponentials the kernel takes that they are counted with.
const EXPS: usize = 1 << 16;

/// Measures.
pub fn measure() -> Machine {
    let cores = thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(1));
    let flops = rates(cores, &|_, rounds| probe::multiply_add(rounds));
    let exp = Exp { cranelift: exps(Backend::Cranelift), llvm: exps(Backend::Llvm) };
    let lanes = u32::try_from(probe::lanes()).unwrap_or(1);
    Machine { cpu: cpu(), cores, lanes, flops, exp, levels: levels(cores) }
}

fn levels(cores: u32) -> Vec<Level> {
    let caches = caches();
    let far = caches.last().map_or(0, |it| 2 * it.bytes).clamp(FAR[0], FAR[1]);
    let mut levels = Vec::new();
    let mut nearer = 0;
    for it in &caches {
        // Beyond what is nearer, and within it even if others use it, too.
        let bytes = if it.shared { (8 * nearer).clamp(it.bytes / 16, it.bytes / 2) } else { it.bytes / 2 };
        levels.push(level(format!("L{}", it.level), Some(it.bytes), it.shared, bytes, cores));
        nearer = it.bytes;
    }
    levels.push(level("memory".to_owned(), None, true, far, cores));
    levels
}

/// Reads so many bytes, of a level that is shared on all cores together.
fn level(name: String, size: Option<u64>, shared: bool, bytes: u64, cores: u32) -> Level {
    let each = if shared { bytes / u64::from(cores) } else { bytes };
    let len = usize::try_from(each / 4).unwrap_or(0);
    let data: Vec<Vec<f32>> = (0..cores).map(|_| vec![1.0; len]).collect();
    let read = |streams| {
        rates(cores, &|core, rounds| (0..rounds).map(|_| probe::read(&data[core as usize], streams)).sum())
    };
    Level { name, bytes: size, shared, one_stream: read(1), four_streams: read(4) }
}

/// How much a loop does in a second on one core and on all; given a core and a number of rounds, it says what it did.
fn rates(cores: u32, work: &(dyn Fn(u32, u64) -> u64 + Sync)) -> Rate {
    let time = |rounds| {
        let start = Instant::now();
        let done = work(0, rounds);
        (done as f64, start.elapsed().as_secs_f64())
    };
    let mut rounds = 1;
    while time(rounds).1 < LEAST {
        rounds *= 2;
    }
    let one = (0..RUNS).map(|_| time(rounds)).map(|(done, seconds)| done / seconds).fold(0.0, f64::max);
    if cores == 1 {
        return Rate { one, all: one };
    }
    // Cores that others keep busy do not make one of them slower.
    let all = (0..RUNS).map(|_| together(cores, rounds, work)).fold(one, f64::max);
    Rate { one, all }
}

/// What all cores do in a second, from when the first begins until the last is done.
fn together(cores: u32, rounds: u64, work: &(dyn Fn(u32, u64) -> u64 + Sync)) -> f64 {
    let barrier = Barrier::new(cores as usize);
    let run = |core| {
        barrier.wait();
        let start = Instant::now();
        (work(core, rounds), start, Instant::now())
    };
    let runs: Vec<(u64, Instant, Instant)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || run(core))).collect();
        threads.into_iter().filter_map(|it| it.join().ok()).collect()
    });
    let done: u64 = runs.iter().map(|it| it.0).sum();
    let (Some(start), Some(end)) = (runs.iter().map(|it| it.1).min(), runs.iter().map(|it| it.2).max())
    else {
        return 0.0;
    };
    done as f64 / (end - start).as_secs_f64()
}

/// Exponentials in a second by the code of a back end; 0 if it is not built in.
fn exps(backend: Backend) -> f64 {
    if !backend.is_built_in() {
        return 0.0;
    }
    let text = "kernel exps { rank i  input A[i]: f32  output O[i] = exp(A) }".to_owned();
    let source = Source { name: "exps".to_owned(), text };
    let mut fetch = |_: &str| Err("there are no imports".to_owned());
    let front = driver::front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
    let front = front.unwrap_or_else(|_| unreachable!("the spec is ours"));
    let Ok(kernel) = driver::jit(&front.cascades[0], backend) else { return 0.0 };
    let arguments: Vec<f32> = (0..EXPS).map(|it| (it as f32) * (-20.0 / EXPS as f32)).collect();
    let mut results = vec![0.0_f32; EXPS];
    let (shape, mut workspace) = ([EXPS], Workspace::new());
    let mut run = || {
        let input = TensorView::new(&arguments, &shape)?;
        let output = TensorViewMut::new(&mut results, &shape)?;
        kernel.call_in(&mut workspace).input("A", input).output("O", output).threads(1).run()
    };
    let mut best = 0.0_f64;
    for _ in 0..RUNS {
        let (start, mut calls) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < LEAST {
            if run().is_err() {
                return 0.0;
            }
            calls += 1;
        }
        best = best.max((calls * EXPS) as f64 / start.elapsed().as_secs_f64());
    }
    best
}
