//! The intermediate forms as text, for people and for tests.

mod cascade;
mod expr;
mod nest;

pub use cascade::cascade;
pub use nest::nest;

use crate::ir::cascade::{Cascade, ExprId};

/// An expression as one line.
pub fn formula(cascade: &Cascade, root: ExprId) -> String {
    let (mut lines, text) = expr::expr(cascade, root);
    lines.push(text);
    lines.join("; ")
}
