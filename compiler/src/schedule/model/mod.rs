//! A nest and a machine to what a call takes: its time, what it holds and what moves between levels of memory. An
//! estimate, good for saying which of several mappings is faster.
//!
//! The nest is walked with the extents of a call: loops whose bounds follow from these go round as often as they will,
//! so masks skip what they will skip. Straight-line code takes as long as the busiest of what it needs: units that
//! compute, loads, stores. A loop moves what it touches once if what one round of it touches stays in a cache, else what
//! its rounds move (`cost.rs`).
//!
//! ```text
//! for n in 0 .. 4 step 1 { load K[n, d] }   with |d| = 64   ->   1 KiB touched, 1 KiB moved into the first cache
//! ```

mod cost;
mod price;
mod program;
mod walk;

use serde::Serialize;

use crate::codegen::Backend;
use crate::ir::cascade::Cascade;
use crate::ir::nest::Nest;
use crate::machine::Machine;
use walk::Walk;

/// What is estimated.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The kernel.
    pub nest: &'a Nest,
    /// What it was made of.
    pub cascade: &'a Cascade,
    /// The extents of the ranks of the cascade.
    pub extents: &'a [i64],
    /// Where it runs.
    pub machine: &'a Machine,
    /// Who generates its code.
    pub backend: Backend,
    /// Elements of f32 that its vectors have.
    pub lanes: u32,
    /// How many threads it has.
    pub threads: u32,
}

/// What a call takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// How long it takes.
    pub seconds: f64,
    /// How long it would take if nothing had to be moved.
    pub computing: f64,
    /// Operations that tiles do, those on masked points of theirs included.
    pub flops: f64,
    /// Bytes that are held at a time.
    pub footprint: Footprint,
    /// Bytes that each cache gets from the next level, nearest first.
    pub traffic: Vec<Traffic>,
}

/// Bytes that are touched at a time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Footprint {
    /// By a task: a box of rows, over all that it streams.
    pub task: f64,
    /// By a round of the outermost loop of a task: a box of rows and a tile of what is streamed.
    pub tile: f64,
    /// By a round of the loop within: a strip of rows.
    pub strip: f64,
    /// Of these, what a thread has for itself.
    pub scratch: f64,
}

/// Bytes that a cache gets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traffic {
    /// The cache.
    pub level: String,
    /// How many.
    pub bytes: f64,
    /// How long it takes to move them.
    pub seconds: f64,
}

/// What is moved while something else is on the way, or is computed, takes this share of its time.
const HIDDEN: f64 = 0.5;

/// Estimates.
pub fn estimate(scene: &Scene<'_>) -> Estimate {
    let mut walk = Walk::new(scene);
    let total = walk.call();
    let machine = scene.machine;
    let slot = price::slot(scene);
    let computing = total.slots * slot;
    let threads = f64::from(scene.threads.max(1));
    let caches = machine.levels.iter().zip(&machine.levels[1..]).zip(&total.traffic);
    let traffic: Vec<Traffic> = caches
        .map(|((cache, beyond), &bytes)| Traffic {
            level: cache.name.clone(),
            bytes,
            seconds: bytes / beyond.read().on(scene.threads, machine.cores) * total.imbalance(threads),
        })
        .collect();
    let computing = computing / threads * total.imbalance(threads);
    let all: f64 = computing + traffic.iter().map(|it| it.seconds).sum::<f64>();
    let longest = traffic.iter().map(|it| it.seconds).fold(computing, f64::max);
    let seconds = longest + HIDDEN * (all - longest);
    Estimate { seconds, computing, flops: total.flops, footprint: walk.footprint(), traffic }
}

#[cfg(test)]
mod tests {
    use attnc_dsl::check::Fixed;
    use attnc_dsl::diag::Source;

    use super::*;
    use crate::driver::{Request, front, plan};
    use crate::ir::interp::extents;
    use crate::schedule::Mapping;
    use crate::target::Target;
    use crate::tile::tile;

    /// What attention takes, of that many queries and keys, where a mask admits some of them.
    fn attention(size: i64, mask: &str, change: impl Fn(&mut Mapping)) -> Estimate {
        let text = format!(
            "kernel k {{ rank m = {size}  rank n = {size}  rank d = 64  rank e = 64
                input Q[m, d]: f32  input K[n, d]: f32  input V[n, e]: f32
                S[m, n] = sum[d](Q * K) where {mask}
                output O[m, e] = sum[n](softmax[n](S) * V) }}"
        );
        let source = Source { name: "k".to_owned(), text };
        let mut fetch = |_: &str| Err(String::new());
        let front = front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
        let cascade = front.unwrap_or_else(|_| panic!("the spec is right")).cascades.remove(0);
        let (target, backend) = (Target::named("x86-64-v4").unwrap(), Backend::Llvm);
        let mut mapping = Mapping::of(&target, backend);
        change(&mut mapping);
        let plan = plan(&cascade, &mapping);
        let (nest, machine) = (tile(&plan), Machine::typical(&target));
        let extents = extents(&plan.cascade).unwrap();
        let lanes = target.lanes(backend);
        let scene = Scene {
            nest: &nest,
            cascade: &plan.cascade,
            extents: &extents,
            machine: &machine,
            backend,
            lanes,
            threads: 1,
        };
        estimate(&scene)
    }

    #[test]
    fn operations_are_those_of_the_algorithm_and_little_more() {
        let plain = attention(768, "true", |_| {});
        let products = 4.0 * 64.0 * 768.0 * 768.0;
        assert!(plain.flops > products && plain.flops < 1.1 * products, "{plain:?}");
        let peak = products / Machine::typical(&Target::named("x86-64-v4").unwrap()).flops.one;
        assert!(plain.seconds > peak && plain.seconds < 4.0 * peak, "{peak} {plain:?}");
    }

    #[test]
    fn masks_skip_half() {
        let (plain, causal) = (attention(1536, "true", |_| {}), attention(1536, "n <= m", |_| {}));
        let share = causal.flops / plain.flops;
        assert!(share > 0.5 && share < 0.65, "{share}");
        assert!(causal.seconds < 0.75 * plain.seconds);
    }

    #[test]
    fn registers_that_hold_less_take_longer() {
        let wide = attention(768, "true", |_| {});
        let narrow = attention(768, "true", |it| (it.defaults.strip, it.defaults.lanes) = (2, 16));
        let spilled = attention(768, "true", |it| it.defaults.strip = 12);
        assert!(narrow.seconds > 1.2 * wide.seconds && spilled.seconds > 1.2 * wide.seconds);
    }

    #[test]
    fn larger_boxes_hold_more_and_move_less() {
        let few = attention(3072, "true", |it| it.defaults.rows = 12);
        let many = attention(3072, "true", |it| it.defaults.rows = 192);
        assert!(few.footprint.scratch < many.footprint.scratch, "{few:?} {many:?}");
        assert!(few.traffic[1].bytes > many.traffic[1].bytes, "{few:?} {many:?}");
    }
}
