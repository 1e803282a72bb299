//! The language of attnc: text to syntax tree, checked, and back to text.

pub mod ast;
pub mod diag;
pub mod model;
