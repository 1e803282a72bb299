//! The runtime of attnc: loads the kernels that attnc compiles, checks their arguments and runs them.

pub mod abi;
mod call;
mod cpu;
mod dtype;
mod error;
mod kernel;
mod library;
mod linked;
pub mod manifest;
mod run;
mod tensor;
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
pub use workspace::Workspace;
