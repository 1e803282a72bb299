//! The compiler of attnc.

pub mod analyze;
pub mod build_script;
pub mod choose;
pub mod codegen;
pub mod driver;
pub mod explore;
pub mod files;
mod fit;
pub mod ir;
pub mod lower;
pub mod machine;
pub mod package;
pub mod rewrite;
pub mod schedule;
pub mod target;
pub mod tile;
pub mod verify;

pub use build_script::Build;
pub use codegen::Backend;
