//! What a machine can do: how much it computes and reads in a second, and what its caches hold.
//!
//! The numbers are those of a probe that ran on it ([`probe`]), or typical ones of a target ([`Machine::typical`]).
//! Models of kernels compute with them; shares of a peak are taken of them.

mod caches;
pub mod probe;

use serde::{Deserialize, Serialize};

use crate::codegen::Backend;
use crate::target::Target;
pub use caches::{Cache, caches, cpu};

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The model of its processors, as they name it.
    pub cpu: String,
    /// How many of them there are.
    pub cores: u32,
    /// Elements of f32 in the vectors that it computes with.
    pub lanes: u32,
    /// Multiplications and additions of f32 in a second.
    pub flops: Rate,
    /// Exponentials of f32 in a second on one core, by the code of each back end; 0 if it was not there.
    pub exp: Exp,
    /// Where data may lie, nearest first; the last is memory.
    pub levels: Vec<Level>,
}

/// A number of things in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// On one core, while the others do nothing.
    pub one: f64,
    /// On all cores together.
    pub all: f64,
}

/// Exponentials in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exp {
    /// By the code of Cranelift.
    pub cranelift: f64,
    /// By that of LLVM.
    pub llvm: f64,
}

/// A cache, or memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// `L1`, `L2`, `L3` or `memory`.
    pub name: String,
    /// How many bytes it holds; none for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// All cores share it.
    pub shared: bool,
    /// Bytes that are read from it in a second, in one stream.
    pub one_stream: Rate,
    /// The same in four streams side by side.
    pub four_streams: Rate,
}

impl Rate {
    /// On so many of the cores.
    pub fn on(self, threads: u32, cores: u32) -> f64 {
        if threads <= 1 || cores <= 1 {
            return self.one;
        }
        let share = f64::from(threads.min(cores) - 1) / f64::from(cores - 1);
        self.one + share * (self.all - self.one).max(0.0)
    }
}

impl Level {
    /// Bytes in a second, in as many streams as are best.
    pub fn read(&self) -> Rate {
        let (a, b) = (self.one_stream, self.four_streams);
        Rate { one: a.one.max(b.one), all: a.all.max(b.all) }
    }
}

impl Machine {
    /// A usual machine of a target: three thousand million cycles a second, eight cores.
    pub fn typical(target: &Target) -> Machine {
        let has = |feature| target.cpu_features().contains(&feature);
        let x86 = target.triple().architecture == target_lexicon::Architecture::X86_64;
        // Elements of f32 that are multiplied and added in a cycle, and bytes that are read from the nearest cache.
        let (lanes, products, bytes) = match () {
            () if x86 && has("avx512f") => (16, 32.0, 64.0),
            () if x86 && has("avx2") && has("fma") => (8, 16.0, 64.0),
            () if x86 => (4, 4.0, 32.0),
            () => (4, 16.0, 48.0),
        };
        let (hertz, cores) = (3.0e9, 8);
        let level = |name: &str, bytes, shared, one: f64, all: f64| Level {
            name: name.to_owned(),
            bytes,
            shared,
            one_stream: Rate { one, all },
            four_streams: Rate { one, all },
        };
        let all = f64::from(cores);
        let near = bytes * hertz;
        Machine {
            cpu: format!("a usual {}", target.triple().architecture),
            cores,
            lanes,
            flops: Rate { one: 2.0 * products * hertz, all: 2.0 * products * hertz * all },
            exp: Exp { cranelift: hertz / 6.0, llvm: products * hertz / 24.0 },
            levels: vec![
                level("L1", Some(32 << 10), false, near, near * all),
                level("L2", Some(1 << 20), false, near / 2.0, near / 2.0 * all),
                level("L3", Some(32 << 20), true, 25.0e9, 150.0e9),
                level("memory", None, true, 12.0e9, 50.0e9),
            ],
        }
    }

    /// Exponentials in a second by the code of a back end, on one core.
    pub fn exp_by(&self, backend: Backend) -> f64 {
        let known = match backend {
            Backend::Cranelift => self.exp.cranelift,
            Backend::Llvm => self.exp.llvm,
        };
        // Some thirty operations on vectors.
        if known > 0.0 { known } else { self.flops.one / 60.0 }
    }

    /// The nearest level that holds so many bytes, of which each core has its own; memory, if none does.
    pub fn level_of(&self, bytes: f64, threads: u32) -> &Level {
        let holds = |it: &&Level| {
            let copies = if it.shared { 1 } else { threads.max(1) };
            it.bytes.is_none_or(|size| bytes <= size as f64 * f64::from(copies))
        };
        self.levels.iter().find(holds).or(self.levels.last()).expect("a machine has memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_usual_machine() {
        for name in crate::target::NAMES {
            let machine = Machine::typical(&Target::named(name).unwrap());
            assert!(machine.flops.one > 1e9 && machine.levels.last().unwrap().bytes.is_none(), "{name}");
            let text = toml::to_string(&machine).unwrap();
            assert_eq!(toml::from_str::<Machine>(&text).unwrap(), machine);
        }
    }

    #[test]
    fn what_is_larger_lies_further_away() {
        let machine = Machine::typical(&Target::named("x86-64-v3").unwrap());
        let level = |bytes, threads| machine.level_of(bytes, threads).name.clone();
        assert_eq!(level(1e3, 1), "L1");
        assert_eq!(level(50e3, 1), "L2");
        assert_eq!(level(50e3, 2), "L1");
        assert_eq!(level(1e10, 2), "memory");
    }

    #[test]
    fn threads_share_what_all_cores_have() {
        let rate = Rate { one: 10.0, all: 40.0 };
        assert_eq!([rate.on(1, 4), rate.on(2, 4), rate.on(4, 4), rate.on(9, 4)], [10.0, 20.0, 40.0, 40.0]);
    }
}
