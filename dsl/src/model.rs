//! What the checker finds out about a spec and later stages rely on.
//!
//! A [`Program`] is a spec with the functions it sees; a [`Checked`] program is one without errors,
//! with the shape, kind and equations of each tensor of each kernel.

use indexmap::IndexMap;

use crate::ast::{DType, Kind, Spec};
use crate::diag::{Diagnostic, Failure, SourceMap, Span};
use crate::functions::Functions;

/// A spec and all that it refers to.
#[derive(Debug, Clone)]
pub struct Program {
    /// Every file read, the spec first.
    pub sources: SourceMap,
    /// The spec itself.
    pub spec: Spec,
    /// The functions of all files.
    pub functions: Functions,
    /// What is wrong with the files already. A program with faults may be checked, for what is wrong besides.
    pub faults: Vec<Diagnostic>,
    /// A file that was imported could not be read: which functions there are is not known.
    pub incomplete: bool,
}

/// A program that may be lowered.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The program.
    pub program: Program,
    /// Its kernels, in the order written.
    pub kernels: Vec<KernelModel>,
    /// What to look at, though the program is accepted.
    pub warnings: Vec<Diagnostic>,
    /// The errors of compiling it now: ranks that nothing binds, parameters that extents depend on and
    /// nothing fixes. The program is right; `--set` and `--param` are missing.
    pub unfixed: Vec<Diagnostic>,
    /// The ranks that nothing binds, the reason of some of these errors.
    pub unbound: Vec<String>,
}

impl Checked {
    /// The program, if all that must be fixed before compiling is.
    pub fn fixed(self) -> Result<Checked, Box<Failure>> {
        if self.unfixed.is_empty() {
            return Ok(self);
        }
        Err(Box::new(Failure { sources: self.program.sources, diagnostics: self.unfixed }))
    }
}

/// What is known of one kernel.
#[derive(Debug, Clone)]
pub struct KernelModel {
    /// Its position among the items of the spec.
    pub item: usize,
    /// Its name.
    pub name: String,
    /// Inputs and defined tensors, in the order of their first appearance.
    pub tensors: IndexMap<String, TensorModel>,
    /// The defined tensors in an order of computation, each after what it needs.
    pub groups: Vec<GroupModel>,
}

/// Tensors that are computed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupModel {
    /// The rank along which they are computed step by step, if they need each other.
    pub rank: Option<String>,
    /// Their names, in the order of one step.
    pub tensors: Vec<String>,
}

/// What is known of one tensor.
#[derive(Debug, Clone)]
pub struct TensorModel {
    /// Its dimensions.
    pub dims: Vec<DimModel>,
    /// The kind of its values.
    pub kind: Kind,
    /// Declared, or the default of an output; `None` for other intermediates.
    pub dtype: Option<DType>,
    /// Where its values come from and whether they leave the kernel.
    pub role: Role,
    /// Where it is first named.
    pub span: Span,
}

/// One dimension: `|rank| + lag` coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimModel {
    /// The rank.
    pub rank: String,
    /// `c` of a recurrence that defines coordinate `t + c`, else 0.
    pub lag: i64,
}

/// Where the values of a tensor come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Given at the call.
    Input,
    /// Defined by equations. All are positions among the items of the kernel.
    Defined {
        /// The equation of all coordinates but the bases.
        step: usize,
        /// The equations of coordinates 0, 1, … of the recurrence.
        bases: Vec<usize>,
        /// It is an output.
        output: bool,
    },
}
