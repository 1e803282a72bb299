//! The manifest: what an artifact holds and how its kernels are called.
//!
//! The compiler writes it, the runtime reads it. Order means something everywhere: tensors are inputs
//! as declared and then outputs, ranks and parameters are in the order of their first appearance, and
//! the indices in a status are positions in these lists.

use serde::{Deserialize, Serialize};

use crate::abi;
use crate::dtype::{DType, Kind};

/// What an artifact holds: `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the compiler.
    pub attnc: String,
    /// The version of the C ABI: [`abi::VERSION`].
    pub abi: u32,
    /// The kernels, in the order written.
    pub kernels: Vec<KernelInfo>,
    /// The other files of the artifact.
    pub files: Vec<FileInfo>,
}

impl Manifest {
    /// A manifest of this ABI.
    pub fn new(attnc: impl Into<String>, kernels: Vec<KernelInfo>, files: Vec<FileInfo>) -> Manifest {
        Manifest { attnc: attnc.into(), abi: abi::VERSION, kernels, files }
    }
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name, relative to the manifest.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// The triple it is for.
    pub target: String,
    /// The digest of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What a file of an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// A relocatable object.
    Object,
    /// A static library.
    Static,
    /// A shared library.
    Shared,
    /// A C header.
    Header,
    /// Rust bindings.
    Rust,
    /// The stages of kernels that run on a GPU.
    Ptx,
}

/// One kernel and how it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Its name in the spec.
    pub name: String,
    /// What the names of its C functions begin with: `attnc_NAME`.
    pub symbol: String,
    /// What the spec says of it.
    pub docs: String,
    /// Its ranks.
    pub ranks: Vec<RankInfo>,
    /// Its parameters, those fixed at compile time too.
    pub params: Vec<ParamInfo>,
    /// Its tensors: inputs, then outputs.
    pub tensors: Vec<TensorInfo>,
    /// The number of words of its arguments.
    pub words: u32,
    /// The number of its stages.
    pub stages: u32,
    /// The threads of a block that runs a task of each stage together; 0 where a thread does, none where there are no blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<u32>,
    /// The bytes of dynamic shared memory that a block of each stage is launched with; none where there are none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<u32>,
    /// The stages that have a second entry, which takes maps of tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapped: Vec<MappedStage>,
    /// The formula of the workspace, for people.
    pub workspace: String,
    /// The triple of the machine it runs on.
    pub target: String,
    /// What that machine must have, each as `std::is_x86_feature_detected!` and its kin name it.
    pub cpu_features: Vec<String>,
    /// The mapping it was compiled with.
    pub mapping: String,
    /// The digest of the cascade it was compiled from.
    pub derivation: String,
}

/// A stage with a second entry, `attnc_NAME_stage_I_maps`, which does the same. It takes maps of tensors behind its other
/// parameters, 128 bytes each, and can be launched where there are maps of them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedStage {
    /// The position of the stage.
    pub stage: u32,
    /// The threads of a block, which runs a task.
    pub threads: u32,
    /// The bytes of dynamic shared memory that a block is launched with.
    pub shared: u32,
    /// What the maps are of, in the order of the parameters.
    pub maps: Vec<BoxInfo>,
}

/// A tensor of which boxes are copied, by a map with the pattern of 128 bytes in shared memory and 0 beyond the tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxInfo {
    /// The position of the tensor.
    pub tensor: u32,
    /// The coordinates of a box along each dimension of the tensor.
    #[serde(rename = "box")]
    pub extents: Vec<u32>,
}

/// A rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankInfo {
    /// Its name.
    pub name: String,
    /// The parts of a composite rank, major to minor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Where its extent comes from.
    pub extent: Extent,
    /// The largest extent that the spec allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<i64>,
}

/// Where the extent of a rank comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// That word of the arguments.
    Word(u32),
    /// It was fixed at compile time.
    Fixed(i64),
    /// It follows from other extents by a formula, which is for people; `bind` tells its value.
    Derived(String),
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: DType,
    /// Its word of the arguments, unless it was fixed at compile time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<u32>,
    /// The value it was fixed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Scalar>,
    /// The formula of its default, for people; `bind` stores its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Whether the kernel reads or writes it.
    pub role: Role,
    /// What it holds.
    pub dtype: DType,
    /// Its dimensions.
    pub dims: Vec<DimInfo>,
    /// The word of its data pointer; the strides follow.
    pub word: u32,
}

/// Whether a kernel reads or writes a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It reads it.
    Input,
    /// It writes it.
    Output,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Input => "input",
            Role::Output => "output",
        })
    }
}

/// One dimension of a tensor: `|rank| + plus` coordinates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimInfo {
    /// The name of the rank.
    pub rank: String,
    /// The number of base coordinates of a recurrence, else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub plus: i64,
}

fn is_zero(it: &i64) -> bool {
    *it == 0
}

impl std::fmt::Display for DimInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.plus == 0 { write!(f, "{}", self.rank) } else { write!(f, "{} + {}", self.rank, self.plus) }
    }
}

/// The value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scalar {
    /// An integer.
    Int(i64),
    /// A real; as text in JSON, which has no infinities.
    Real(#[serde(with = "real_text")] f64),
    /// A bool.
    Bool(bool),
}

impl Scalar {
    /// The kind of the value.
    pub fn kind(self) -> Kind {
        match self {
            Scalar::Int(_) => Kind::Int,
            Scalar::Real(_) => Kind::Real,
            Scalar::Bool(_) => Kind::Bool,
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Int(it) => write!(f, "{it}"),
            Scalar::Real(it) => write!(f, "{it:?}"),
            Scalar::Bool(it) => write!(f, "{it}"),
        }
    }
}

macro_rules! scalars {
    ($($type:ty => $kind:ident),* $(,)?) => {
        $(impl From<$type> for Scalar {
            fn from(it: $type) -> Scalar { Scalar::$kind(it.into()) }
        })*
    };
}

scalars! { f64 => Real, f32 => Real, i64 => Int, i32 => Int, i16 => Int, i8 => Int, u32 => Int, u8 => Int, bool => Bool }

mod real_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(it: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{it:?}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_survive_json() {
        for it in
            [Scalar::Real(0.1), Scalar::Real(f64::NEG_INFINITY), Scalar::Int(i64::MIN), Scalar::Bool(true)]
        {
            let text = serde_json::to_string(&it).unwrap();
            assert_eq!(serde_json::from_str::<Scalar>(&text).unwrap(), it, "{text}");
        }
    }
}
