//! The runtime of attnc: loads the kernels that attnc compiles, checks their arguments and runs them.
//!
//! ```no_run
//! use attnc_runtime::{Library, TensorView, TensorViewMut};
//!
//! # fn main() -> attnc_runtime::Result<()> {
//! // SAFETY: `attnc compile attention.attn -o out` made the folder.
//! let library = unsafe { Library::open("out") }?;
//! let (q, k, v) = (vec![0.5f32; 8 * 64], vec![0.5f32; 100 * 64], vec![0.5f32; 100 * 64]);
//!
//! let mut call = library
//!     .kernel("attention")?
//!     .call()
//!     .input("Q", TensorView::new(&q, &[8, 64])?)
//!     .input("K", TensorView::new(&k, &[100, 64])?)
//!     .input("V", TensorView::new(&v, &[100, 64])?);
//! let shapes = call.shapes()?;
//! let mut o = vec![0f32; shapes["O"].iter().product()];
//! call.output("O", TensorViewMut::new(&mut o, &shapes["O"])?).run()?;
//! # Ok(())
//! # }
//! ```
//!
//! Kernels come from an artifact ([`Library`]), from a static library that a build script made
//! ([`kernel!`]), or from functions in memory ([`Kernel::from_raw`]). All are called the same way:
//! [`Call`] takes tensors and parameters by name, and computes nothing unless everything fits.
//!
//! What holds everywhere: a view never reaches outside its data; a kernel is run only after its own
//! checks and ours; a call that repeats an earlier one in the same [`Workspace`] allocates nothing, but
//! for what rayon does to wake its threads.

pub mod abi;
mod call;
mod cpu;
pub mod device;
mod dtype;
pub mod emulator;
mod error;
mod kernel;
mod library;
mod linked;
pub mod manifest;
pub mod probe;
mod run;
mod tensor;
mod tensor_map;
mod workspace;

pub use call::{Call, Shapes};
pub use dtype::{DType, Element, F8E4M3, F8E5M2, I4, Kind};
pub use error::{Error, Result, What};
pub use kernel::Kernel;
pub use library::Library;
#[doc(hidden)]
pub use linked::linked_kernel;
pub use manifest::Scalar;
pub use tensor::{TensorView, TensorViewMut};
pub use tensor_map::{Swizzle, TENSOR_MAP_BYTES, TensorMap, TensorMapError};
pub use workspace::Workspace;
