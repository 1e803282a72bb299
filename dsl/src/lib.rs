//! The language of attnc: text to syntax tree, checked, and back to text.

pub mod ast;
pub mod builtins;
pub mod check;
pub mod diag;
pub mod functions;
pub mod load;
pub mod model;
mod parse;
mod print;
pub mod render;
mod syntax;

pub use load::load;
pub use parse::parse;
pub use print::print;
