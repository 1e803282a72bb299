//! The machines that kernels are compiled for: a triple, the processor features that may be used, and what sizes of
//! tiles suit it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use target_lexicon::{Architecture, BinaryFormat, Triple};

use crate::codegen::Backend;

/// An NVIDIA GPU, by what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpu {
    /// Ampere and later.
    Sm80,
    /// Hopper, with what later machines do not have.
    Sm90a,
}

impl Gpu {
    /// All of them.
    pub const ALL: [Gpu; 2] = [Gpu::Sm80, Gpu::Sm90a];

    /// Its name, as NVIDIA's tools have it.
    pub fn name(self) -> &'static str {
        match self {
            Gpu::Sm80 => "sm_80",
            Gpu::Sm90a => "sm_90a",
        }
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    triple: Triple,
    cpu_features: Vec<&'static str>,
}

/// How work is cut for a machine, as long as a mapping says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Tiles {
    /// How many rows a box has.
    pub rows: u32,
    /// How many coordinates of the last rank of a box with several.
    pub inner_rows: u32,
    /// How many coordinates of the last streamed rank a tile has.
    pub stream: u32,
    /// How many coordinates of other streamed ranks.
    pub outer: u32,
    /// How many points of a streamed fiber a part has at least.
    pub chunk: u32,
    /// How many parts a streamed fiber has at most; 1 leaves it whole.
    pub parts: u32,
    /// Parts are tasks of their own where there are at most so many boxes.
    pub tasks: u32,
    /// How many rows are worked on together, in registers.
    pub strip: u32,
    /// And how many neighbours along the rank that lies next to each other in memory: a power of two.
    pub lanes: u32,
    /// What remains of a rank is taken so many at a time, the last under a mask; 1 leaves it to plain loops.
    pub vector: u32,
    /// Where neighbours lie along another rank than they are wanted along, squares of so many rows and columns are turned
    /// in registers: a power of two; 1 leaves it to plain loops.
    pub square: u32,
    /// Four products of bytes are added in one instruction: what a machine has, of which a mapping says nothing.
    #[serde(skip)]
    pub words: bool,
    /// What a block of threads has that takes the rows of a box together where products of matrices can be taken of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<Block>,
}

/// What a block of threads has, and the largest tiles that it takes if they fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Block {
    /// How many rows it takes at most: a multiple of 64.
    pub rows: u32,
    /// How many coordinates of what it streams over it takes at a time at most: a multiple of 16.
    pub stream: u32,
    /// How many points of a streamed fiber a part has at least, where one block is known to have all rows that share it.
    pub chunk: u32,
    /// How many parts such a fiber has at most, each a task; 1 leaves it whole.
    pub parts: u32,
    /// How many registers of 32 bits a thread has for its elements of tiles, as far as a count of them tells: with more,
    /// the assembler keeps some in memory.
    pub registers: u32,
    /// The same where each warp takes products of f32, whose parts take others.
    #[serde(default = "split_registers")]
    pub split_registers: u32,
    /// How many bytes of shared memory it has.
    pub shared: u32,
    /// Whether it takes chunks of tokens one after the other, too; a mapping says nothing of that.
    #[serde(skip, default = "walks")]
    pub walks: bool,
}

const fn walks() -> bool {
    true
}

/// What ptxas keeps nothing in memory with.
const fn split_registers() -> u32 {
    155
}

/// How many points a box of rows times a tile of what it streams over may have: in f64, half a MiB of scratch.
pub const MOST_POINTS: u32 = 1 << 16;

/// Any CPU, with sixteen registers of four f32: a box and a tile stay in the first level of cache, a part is worth a
/// task. The sums of a contraction are twelve registers, its factors three.
const CPU: Tiles = Tiles {
    rows: 48,
    inner_rows: 12,
    stream: 64,
    outer: 4,
    chunk: 1024,
    parts: 32,
    tasks: 32,
    strip: 6,
    lanes: 8,
    vector: 1,
    square: 4,
    words: false,
    block: None,
};
/// The same by Cranelift, whose products overwrite a factor and not the sum: with more than eight sums it runs out of
/// registers.
const SSE: Tiles = Tiles { strip: 4, ..CPU };
/// Thirty-two registers of four f32: twenty-four sums.
const NEON: Tiles = Tiles { lanes: 16, ..CPU };
/// Sixteen registers of eight f32; loads and stores can be masked.
const AVX2: Tiles = Tiles { rows: 96, stream: 128, lanes: 16, vector: 8, square: 8, ..CPU };
/// Thirty-two registers of sixteen f32, of which one is loaded in the time of two products: a tile of 6 × 64 takes 10
/// loads for 24 products. A box and a tile stay in the second level of cache, what a strip of them is at in the first.
const AVX512: Tiles =
    Tiles { rows: 192, inner_rows: 24, stream: 256, lanes: 64, vector: 16, square: 16, ..CPU };

/// A GPU: a thread has one row, and what it holds of it lies in its scratch. There are no vectors, but four products that
/// do not wait for each other, and enough threads without parts. Where a block has rows together, its tiles take 139 of the
/// 255 registers of a thread at most: addresses, coordinates and what is on its way to products take the others.
const SM80: Tiles = Tiles {
    rows: 1,
    inner_rows: 1,
    stream: 32,
    outer: 4,
    chunk: 1024,
    parts: 32,
    tasks: 4096,
    strip: 1,
    lanes: 4,
    vector: 1,
    square: 1,
    words: false,
    block: Some(Block { registers: 139, shared: 163 * 1024, ..BLOCK }),
};
/// A group of four warps takes the products of its 64 rows from shared memory, and two such groups share keys. Where a third
/// one copies for them, they have 232 registers each, of which addresses, descriptors and numbers of rings take up to 60.
const SM90A: Tiles = Tiles { block: Some(Block { registers: 172, shared: 227 * 1024, ..BLOCK }), ..SM80 };
/// Where few rows read many keys, as in decoding, 512 keys of a head keep a multiprocessor busy for some 10 µs, and a head
/// alone keeps 128 of them busy.
const BLOCK: Block = Block {
    rows: 128,
    stream: 128,
    chunk: 512,
    parts: 128,
    registers: 0,
    split_registers: split_registers(),
    shared: 0,
    walks: walks(),
};

/// A name that stands for no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTarget {
    name: String,
}

/// The names of machines beside full triples.
pub const NAMES: [&str; 8] =
    ["native", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64", "sm_80", "sm_90a"];

const V1: &[&str] = &[];
const V2: &[&str] = &["cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"];
const V3: &[&str] = &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt"];
const V4: &[&str] = &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"];
/// Features that no level of x86-64 has and that may be added to one.
const MORE: [&str; 4] = ["avx512bitalg", "avx512vbmi", "avx512vnni", "avxvnni"];

impl Target {
    /// The machine of that name, or of that triple with what its architecture takes for granted; what follows a `+` are
    /// features that a level of x86-64 has beside: `x86-64-v4+avx512vnni`.
    ///
    /// # Errors
    ///
    /// When the name is not in [`NAMES`] and no triple of an x86-64 or AArch64 machine either, or has no such feature.
    pub fn named(name: &str) -> Result<Target, UnknownTarget> {
        if let Some((level, feature)) = name.rsplit_once('+') {
            let unknown = || UnknownTarget { name: name.to_owned() };
            let feature = MORE.into_iter().find(|it| *it == feature).ok_or_else(unknown)?;
            let mut target = Target::named(level).map_err(|_| unknown())?;
            if target.triple.architecture != Architecture::X86_64 {
                return Err(unknown());
            }
            if !target.cpu_features.contains(&feature) {
                target.cpu_features.push(feature);
            }
            return Ok(target);
        }
        if let Some(gpu) = Gpu::ALL.into_iter().find(|it| it.name() == name) {
            return Ok(Target::of_gpu(gpu));
        }
        let levels: &[&[&'static str]] = match name {
            "native" => return Ok(Target::native()),
            "aarch64" => return Ok(Target::baseline(on_architecture("aarch64"))),
            "x86-64" => &[V1],
            "x86-64-v2" => &[V2],
            "x86-64-v3" => &[V2, V3],
            "x86-64-v4" => &[V2, V3, V4],
            triple => return from_triple(triple).ok_or_else(|| UnknownTarget { name: name.to_owned() }),
        };
        Ok(Target { triple: on_architecture("x86_64"), cpu_features: levels.concat() })
    }

    /// This machine with all that its processor has.
    pub fn native() -> Target {
        Target { triple: Triple::host(), cpu_features: detected() }
    }

    /// That GPU.
    pub fn of_gpu(gpu: Gpu) -> Target {
        let triple = Triple::from_str("nvptx64-nvidia-cuda").expect("the triple of GPUs");
        Target { triple, cpu_features: vec![gpu.name()] }
    }

    /// The GPU that it is.
    pub fn gpu(&self) -> Option<Gpu> {
        let is_gpu = self.triple.architecture == Architecture::Nvptx64;
        Gpu::ALL.into_iter().find(|it| is_gpu && self.cpu_features.contains(&it.name()))
    }

    /// Its triple.
    pub fn triple(&self) -> &Triple {
        &self.triple
    }

    /// The features that code for it may need, as `std::arch::is_x86_feature_detected` and its likes name them.
    pub fn cpu_features(&self) -> &[&'static str] {
        &self.cpu_features
    }

    /// How work is cut for it, by what vectors a back end uses.
    pub fn tiles(&self, backend: Backend) -> Tiles {
        let has = |feature| self.cpu_features.contains(&feature);
        match (backend, self.triple.architecture) {
            (_, Architecture::Nvptx64) if has(Gpu::Sm90a.name()) => SM90A,
            (_, Architecture::Nvptx64) => SM80,
            (Backend::Llvm, Architecture::Aarch64(_)) => NEON,
            (Backend::Llvm, _) if has("avx512bw") && has("avx512vl") => {
                Tiles { words: has("avx512vnni"), ..AVX512 }
            }
            (Backend::Llvm, _) if has("avx2") && has("fma") => Tiles { words: has("avxvnni"), ..AVX2 },
            (Backend::Cranelift, Architecture::X86_64) => SSE,
            (Backend::Llvm | Backend::Cranelift, _) => CPU,
        }
    }

    /// The same, whatever else it has.
    fn sizes(&self, backend: Backend) -> Tiles {
        Tiles { words: false, ..self.tiles(backend) }
    }

    /// What its vectors are called, as a back end uses them: `avx512`, `avx2`, `neon`, `gpu`, or `any`, which all have.
    pub fn vectors(&self, backend: Backend) -> &'static str {
        match self.sizes(backend) {
            AVX512 => "avx512",
            AVX2 => "avx2",
            NEON => "neon",
            SM80 | SM90A => "gpu",
            _ => "any",
        }
    }

    /// How many elements of f32 the vectors have that a back end uses.
    pub fn lanes(&self, backend: Backend) -> u32 {
        match self.sizes(backend) {
            AVX512 => 16,
            AVX2 => 8,
            SM80 | SM90A => 1,
            _ => 4,
        }
    }

    /// Code for it runs on this machine.
    pub fn runs_here(&self) -> bool {
        let here = Target::native();
        let same = |a: &Triple, b: &Triple| {
            (a.architecture, a.operating_system) == (b.architecture, b.operating_system)
        };
        same(&self.triple, &here.triple) && self.cpu_features.iter().all(|it| here.cpu_features.contains(it))
    }

    fn baseline(triple: Triple) -> Target {
        let cpu_features = if triple.architecture == Architecture::X86_64 { V2 } else { V1 };
        Target { triple, cpu_features: cpu_features.to_vec() }
    }
}

impl Default for Target {
    /// This machine's triple with what its architecture takes for granted.
    fn default() -> Target {
        Target::baseline(Triple::host())
    }
}

impl Default for Tiles {
    /// Those of any CPU.
    fn default() -> Tiles {
        CPU
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.triple.fmt(f)
    }
}

impl fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.map(|it| format!("`{it}`")).join(", ");
        let host = Triple::host();
        write!(f, "unknown target `{}`, expected {known} or a triple such as `{host}`", self.name)?;
        let more = MORE.map(|it| format!("`+{it}`")).join(", ");
        if self.name.contains('+') { write!(f, "; an x86-64 may have {more} beside") } else { Ok(()) }
    }
}

impl std::error::Error for UnknownTarget {}

/// The host's system on that architecture; Linux where the host does not run on it.
fn on_architecture(name: &str) -> Triple {
    let host = Triple::host();
    if host.architecture.to_string() == name {
        return host;
    }
    let triple = format!("{name}-unknown-linux-gnu");
    Triple::from_str(&triple).expect("an architecture and a system make a triple")
}

fn from_triple(name: &str) -> Option<Target> {
    let triple = Triple::from_str(name).ok()?;
    let known = matches!(triple.architecture, Architecture::X86_64 | Architecture::Aarch64(_));
    let native = matches!(triple.binary_format, BinaryFormat::Elf | BinaryFormat::Coff | BinaryFormat::Macho);
    (known && native).then(|| Target::baseline(triple))
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<&'static str> {
    macro_rules! present {
        ($($feature:tt)*) => {
            [$(($feature, std::is_x86_feature_detected!($feature))),*]
        };
    }
    let features = present!(
        "cmpxchg16b" "popcnt" "sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt"
        "avx512bw" "avx512cd" "avx512dq" "avx512f" "avx512vl" "avx512bitalg" "avx512vbmi" "avx512vnni" "avxvnni"
    );
    features.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_machine() {
        for name in NAMES {
            Target::named(name).unwrap();
        }
        let target = Target::named("aarch64-apple-darwin").unwrap();
        assert_eq!((target.to_string(), target.cpu_features()), ("aarch64-apple-darwin".to_owned(), &[][..]));
    }

    #[test]
    fn levels_include_those_below() {
        let features = |name| Target::named(name).unwrap().cpu_features().to_vec();
        assert_eq!(features("x86-64"), [""; 0]);
        assert!(features("x86-64-v4").starts_with(&features("x86-64-v3")));
        assert!(features("x86-64-v3").starts_with(&features("x86-64-v2")));
    }

    #[test]
    fn a_level_may_have_more() {
        let more = Target::named("x86-64-v4+avx512vnni").unwrap();
        let level = Target::named("x86-64-v4").unwrap();
        assert_eq!(more.cpu_features(), [level.cpu_features(), &["avx512vnni"]].concat());
        assert!(more.tiles(Backend::Llvm).words && !level.tiles(Backend::Llvm).words);
        assert_eq!(more.vectors(Backend::Llvm), level.vectors(Backend::Llvm));
        for name in ["aarch64+avxvnni", "x86-64-v4+vnni", "sm_80+avxvnni", "x86-64-v5+avxvnni", "+avxvnni"] {
            let message = Target::named(name).unwrap_err().to_string();
            assert!(message.contains("`+avx512vnni`"), "{message}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for name in ["x86-64-v5", "wasm32-unknown-unknown", "riscv64gc-unknown-linux-gnu", ""] {
            let message = Target::named(name).unwrap_err().to_string();
            assert!(message.contains("`x86-64-v4`, `aarch64`, `sm_80`"), "{message}");
        }
    }
}
