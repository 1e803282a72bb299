//! What can be wrong with an artifact, a machine or a call.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use crate::dtype::DType;
use crate::manifest::Scalar;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a kernel was not loaded or a call not made; nothing was computed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message names")]
pub enum Error {
    /// A name that the kernel does not have.
    Unknown { kernel: String, what: What, name: String, known: Vec<String> },
    /// Something the call lacks.
    Missing { kernel: String, what: What, name: String },
    /// Something the call gives twice.
    Twice { what: What, name: String },
    /// A tensor of another dtype.
    DType { tensor: String, found: DType, expected: DType },
    /// A tensor with another number of dimensions.
    DimCount { tensor: String, found: Vec<usize>, expected: Vec<String> },
    /// One rank with two extents.
    Disagree { rank: String, tensor: String, found: i64, other: String, expected: i64 },
    /// A dimension that does not have the extent that follows from the others.
    Extent { tensor: String, dim: String, found: i64, expected: i64 },
    /// An extent over the bound that the spec declares.
    Bound { rank: String, found: Option<i64>, bound: Option<i64> },
    /// An extent that does not fit those of other ranks.
    Unfit { rank: String, extents: Vec<(String, i64)> },
    /// A value that the parameter cannot have.
    Param { name: String, found: Scalar, expected: String },
    /// A view that reaches beyond its data.
    View { shape: Vec<usize>, strides: Option<Vec<isize>>, len: usize },
    /// Data that is not aligned to its element.
    Misaligned { what: String, dtype: DType },
    /// A null pointer for a tensor that has elements.
    Null { tensor: String },
    /// An output that shares memory with another tensor or with itself.
    Overlap { tensor: String },
    /// A size beyond 2^63 bytes.
    TooLarge { what: String },
    /// The workspace cannot be allocated.
    OutOfMemory { bytes: u64 },
    /// The machine cannot run the kernel.
    Machine { kernel: String, why: String },
    /// An artifact that cannot be read.
    Load { path: PathBuf, why: String },
    /// A manifest that contradicts itself.
    Manifest { kernel: String, why: String },
    /// A device that could not run a kernel: nothing it wrote counts.
    Device { kernel: String, why: String },
    /// A status that the call did not deserve: a bug in the kernel.
    Status { kernel: String, status: i32 },
}

/// What a call gives by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum What {
    Input,
    Output,
    Param,
    Kernel,
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            What::Input => "input",
            What::Output => "output",
            What::Param => "parameter",
            What::Kernel => "kernel",
        })
    }
}

impl std::error::Error for Error {}

impl Display for Error {
    #[allow(clippy::too_many_lines, reason = "a table of messages")]
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Unknown { kernel, what, name, known } => {
                write!(f, "{kernel} has no {what} `{name}`; {}", Known(*what, known))
            }
            Error::Missing { kernel, what, name } => write!(f, "{kernel} needs {what} `{name}`"),
            Error::Twice { what, name } => write!(f, "{what} `{name}` is given twice"),
            Error::DType { tensor, found, expected } => {
                write!(f, "`{tensor}` is {found}, expected {expected}")
            }
            Error::DimCount { tensor, found, expected } => write!(
                f,
                "`{tensor}` has shape {found:?} of {} dimensions, expected {}: [{}]",
                found.len(),
                expected.len(),
                expected.join(", ")
            ),
            Error::Disagree { rank, tensor, found, other, expected } => {
                write!(f, "rank `{rank}` is {found} in `{tensor}` but {expected} in `{other}`")
            }
            Error::Extent { tensor, dim, found, expected } => {
                write!(f, "dimension `{dim}` of `{tensor}` is {found}, expected {expected}")
            }
            Error::Bound { rank, found, bound } => {
                write!(f, "rank `{rank}` is ")?;
                match found {
                    Some(found) => write!(f, "{found}")?,
                    None => write!(f, "too large")?,
                }
                match bound {
                    Some(bound) => write!(f, ", at most {bound} is declared"),
                    None => Ok(()),
                }
            }
            Error::Unfit { rank, extents } => {
                write!(f, "the extent of rank `{rank}` does not fit:")?;
                let mut separator = "";
                extents.iter().try_for_each(|(name, extent)| {
                    write!(f, "{separator} `{name}` is {extent}")?;
                    separator = ",";
                    Ok(())
                })
            }
            Error::Param { name, found, expected } => {
                write!(f, "parameter `{name}` is {found}, expected {expected}")
            }
            Error::View { shape, strides: None, len } => {
                write!(f, "a view of shape {shape:?} does not fit data of {len} elements")
            }
            Error::View { shape, strides: Some(strides), len } => write!(
                f,
                "a view of shape {shape:?} and strides {strides:?} reaches outside data of {len} elements"
            ),
            Error::Misaligned { what, dtype } => {
                write!(f, "the data of {what} is not aligned to {} bytes, as {dtype} must be", dtype.size())
            }
            Error::Null { tensor } => write!(f, "the data of `{tensor}` is null"),
            Error::Overlap { tensor } => write!(f, "output `{tensor}` overlaps another tensor or itself"),
            Error::TooLarge { what } => write!(f, "the size of {what} is beyond 2^63 bytes"),
            Error::OutOfMemory { bytes } => write!(f, "no memory for a workspace of {bytes} bytes"),
            Error::Machine { kernel, why } => write!(f, "{kernel} cannot run here: {why}"),
            Error::Load { path, why } => write!(f, "cannot load `{}`: {why}", path.display()),
            Error::Manifest { kernel, why } => write!(f, "the manifest of {kernel} is broken: {why}"),
            Error::Device { kernel, why } => write!(f, "{kernel} could not be run: {why}"),
            Error::Status { kernel, status } => {
                write!(f, "{kernel} returned status {status:#x}; please report this bug")
            }
        }
    }
}

/// The end of a message about an unknown name.
struct Known<'a>(What, &'a [String]);

impl Display for Known<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Known(what, names) = self;
        let quoted: Vec<_> = names.iter().map(|it| format!("`{it}`")).collect();
        match quoted.as_slice() {
            [] => write!(f, "it has no {what}s"),
            [one] => write!(f, "its only {what} is {one}"),
            many => write!(f, "its {what}s are {}", many.join(", ")),
        }
    }
}
