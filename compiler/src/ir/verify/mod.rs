//! Verifiers: whether an intermediate form keeps its invariants. What they find is a bug of ours.

mod cascade;
mod nest;
mod operands;
#[cfg(test)]
mod tests;

use std::fmt;

pub use cascade::cascade;
pub use nest::nest;

/// Invariants that do not hold, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broken {
    /// One sentence each, beginning with what is at fault.
    pub faults: Vec<String>,
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("\n"))
    }
}

impl Broken {
    /// Notes that something at fault does not keep an invariant.
    fn expect(&mut self, holds: bool, at: &str, invariant: &str) {
        if !holds {
            self.faults.push(format!("{at}: {invariant}"));
        }
    }

    fn verdict(self) -> Result<(), Broken> {
        if self.faults.is_empty() { Ok(()) } else { Err(self) }
    }
}
