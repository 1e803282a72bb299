//! What a module has to keep to that its types do not say.
//!
//! [`verify`] goes through every rule and lists all that is broken. What passes may still be wrong: the
//! emulator finds what depends on values. What is rejected is wrong, or hides from this analysis that
//! it is right; a kernel that ptxas would only take with a warning is rejected, too.
//!
//! ```
//! use attnc_ptx::{parse, verify};
//!
//! let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry f() {
//!     .reg .b32 %a, %b;
//!     add.u32 %a, %b, 1; ret; }";
//! let broken = verify(&parse(text).expect("a module"));
//! assert_eq!(broken[0].to_string(), "kernel `f`, `add.u32 %a, %b, 1`: register `%b` is read, but nothing before it writes it");
//! ```

mod bits;
mod boxes;
mod defined;
mod flight;
mod flow;
mod limits;
mod place;
mod post;
mod shape;
mod uniform;

use std::fmt::{self, Display, Formatter};

use crate::module::{Inst, Kernel, Module};
pub use boxes::boxes;
use flow::Flow;
pub use limits::DECLARED;

/// A rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// The kernel.
    pub kernel: String,
    /// The statement of its body, if it is one.
    pub at: Option<usize>,
    /// The instruction as PTX.
    pub text: Option<String>,
    /// The rule.
    pub rule: Rule,
    /// What was found.
    pub why: String,
}

/// What a module has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Operands fit their instruction, and name what the kernel has.
    Operand,
    /// The machine and the version of PTX have the instruction.
    Feature,
    /// A label that is used is placed once.
    Label,
    /// A register is written before it is read, on some path.
    Defined,
    /// Instructions that a warp has to run as a whole are not where its lanes part.
    Uniform,
    /// Registers that a product of a warp group uses are not touched before the wait that covers it.
    InFlight,
    /// The registers that warp groups take fit those that others give back.
    Pool,
    /// Shared memory is no more than a block can have.
    SharedMemory,
    /// What is known of an address fits its access: alignment, and the bounds of its variable.
    Address,
    /// A barrier is for a whole number of warps.
    Barrier,
    /// A barrier awaits as many bytes as are copied to it.
    Transaction,
}

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`", self.kernel)?;
        if let Some(text) = &self.text {
            write!(f, ", `{text}`")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// All rules that a module breaks, kernel by kernel; none if it keeps to them.
pub fn verify(module: &Module) -> Vec<Broken> {
    let mut broken = Vec::new();
    for kernel in &module.kernels {
        let mut found = Findings { kernel, broken: &mut broken };
        // Later rules take for granted that instructions are such and labels are placed.
        if !shape::check(module, &mut found) {
            continue;
        }
        let flow = Flow::new(kernel);
        defined::check(&flow, &mut found);
        uniform::check(&flow, &mut found);
        flight::check(&flow, &mut found);
        boxes::check(&flow, &mut found);
        limits::check(module, &mut found);
        place::check(&mut found);
    }
    broken
}

/// The list that rules add to.
pub(super) struct Findings<'a> {
    pub(super) kernel: &'a Kernel,
    broken: &'a mut Vec<Broken>,
}

impl Findings<'_> {
    /// Adds what is wrong with an instruction.
    pub(super) fn inst(&mut self, rule: Rule, at: usize, inst: &Inst, why: impl Into<String>) {
        let text = Some(self.kernel.text(inst));
        let kernel = self.kernel.name.clone();
        self.broken.push(Broken { kernel, at: Some(at), text, rule, why: why.into() });
    }

    /// Adds what is wrong with the kernel.
    pub(super) fn kernel(&mut self, rule: Rule, why: impl Into<String>) {
        let kernel = self.kernel.name.clone();
        self.broken.push(Broken { kernel, at: None, text: None, rule, why: why.into() });
    }

    /// The name of a register, for people.
    pub(super) fn name(&self, reg: u32) -> String {
        format!("`%{}`", self.kernel.regs[reg as usize].name)
    }
}
