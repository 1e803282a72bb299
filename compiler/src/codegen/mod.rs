//! Nest to object: the back ends, and what they share.

pub mod cranelift;
pub(crate) mod formula;
#[cfg(feature = "llvm")]
pub mod llvm;
pub mod math;
mod parallel;
mod points;
pub mod ptx;
#[cfg(test)]
mod tests;
mod uses;

use std::error::Error;
use std::fmt;

use attnc_dsl::ast::DType;
use attnc_runtime::abi::{Bind, Check, Entry, Run, Tasks, WorkspaceSize};

use crate::ir::nest::Nest;
use crate::target::{Gpu, Target};

/// Who makes instructions of nests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// Cranelift: in every attnc, quick to compile, with vectors of 128 bits.
    #[default]
    Cranelift,
    /// LLVM: behind the feature `llvm`, with all vectors that a target has.
    Llvm,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 2] = [Backend::Cranelift, Backend::Llvm];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cranelift => "cranelift",
            Backend::Llvm => "llvm",
        }
    }

    /// Whether this attnc is built with it.
    pub fn is_built_in(self) -> bool {
        match self {
            Backend::Cranelift => true,
            Backend::Llvm => cfg!(feature = "llvm"),
        }
    }
}

/// Which functions of a kernel are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of them.
    All,
    /// Those that a host needs to call a kernel whose stages run elsewhere: how much workspace it takes, how many tasks,
    /// whether the arguments fit. There is no task to run.
    Host,
}

/// Why there is no code.
#[derive(Debug)]
#[non_exhaustive]
pub enum CodegenError {
    /// This attnc is built without that back end.
    NotBuiltIn(Backend),
    /// The target cannot run a kernel.
    Refused {
        /// The target.
        target: String,
        /// The limit, and what fits.
        why: String,
    },
    /// A fault of ours, since nests are verified before they come here.
    Fault {
        /// Where it showed.
        function: String,
        /// What the back end said.
        message: String,
    },
}

/// The kernels as an object file: position independent, the same bytes for the same kernels and target.
///
/// # Errors
///
/// When the back end is not built in or refuses what we gave it.
pub fn emit_object(nests: &[Nest], target: &Target, backend: Backend) -> Result<Vec<u8>, CodegenError> {
    match backend {
        Backend::Cranelift => cranelift::emit_object(nests, target, Part::All),
        #[cfg(feature = "llvm")]
        Backend::Llvm => llvm::emit_object(nests, target),
        #[cfg(not(feature = "llvm"))]
        Backend::Llvm => Err(CodegenError::NotBuiltIn(backend)),
    }
}

/// The inner loop of a register tile in machine code, and what it does in an iteration.
#[cfg(feature = "llvm")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotLoop {
    /// The symbol of the function that it is in.
    pub function: String,
    /// Fused products.
    pub fused: usize,
    /// Instructions, with those.
    pub instructions: usize,
    /// Vectors that it reads from the stack or writes there.
    pub stack: usize,
    /// Vectors that it writes there: sums for which there were too few registers.
    pub kept: usize,
}

#[cfg(feature = "llvm")]
impl HotLoop {
    /// Whether it keeps few sums in memory: with one for twelve products, a tile of 6 × 4 vectors still has no more than
    /// one load for two products, which every core keeps up with.
    pub fn fits(&self) -> bool {
        12 * self.kept <= self.fused
    }
}

/// The inner loops of register tiles in an object that LLVM made for a target.
///
/// # Errors
///
/// When it is no object of the target, which is a fault of ours.
#[cfg(feature = "llvm")]
pub fn hot_loops(object: &[u8], target: &Target) -> Result<Vec<HotLoop>, CodegenError> {
    llvm::hot_loops(object, target)
}

/// The machine code of a kernel, as its back end writes it for people.
///
/// # Errors
///
/// As for [`emit_object`].
pub fn listing(nest: &Nest, target: &Target, backend: Backend) -> Result<String, CodegenError> {
    if target.gpu().is_some() {
        return Ok(ptx::emit(std::slice::from_ref(nest), target)?.to_string());
    }
    match backend {
        Backend::Cranelift => cranelift::listing(nest, target),
        #[cfg(feature = "llvm")]
        Backend::Llvm => llvm::listing(nest, target),
        #[cfg(not(feature = "llvm"))]
        Backend::Llvm => Err(CodegenError::NotBuiltIn(backend)),
    }
}

/// Compiles a kernel into memory, for a target that this machine can stand in for.
///
/// # Errors
///
/// As for [`emit_object`].
pub fn jit(nest: &Nest, target: &Target, backend: Backend) -> Result<Jit, CodegenError> {
    match backend {
        Backend::Cranelift => cranelift::jit(nest, target, Part::All),
        #[cfg(feature = "llvm")]
        Backend::Llvm => llvm::jit(nest, target),
        #[cfg(not(feature = "llvm"))]
        Backend::Llvm => Err(CodegenError::NotBuiltIn(backend)),
    }
}

/// What a host needs to call kernels whose stages run elsewhere, as an object file for that host.
///
/// # Errors
///
/// As for [`emit_object`].
pub fn emit_host(nests: &[Nest], host: &Target) -> Result<Vec<u8>, CodegenError> {
    cranelift::emit_object(nests, host, Part::Host)
}

/// The same for a kernel, in memory.
///
/// # Errors
///
/// As for [`emit_object`].
pub fn jit_host(nest: &Nest) -> Result<Jit, CodegenError> {
    cranelift::jit(nest, &Target::native(), Part::Host)
}

/// A kernel in memory that can be called as long as this lives.
pub struct Jit {
    entry: Entry,
    /// Kept and finally freed.
    _code: Box<dyn Send + Sync>,
}

impl Jit {
    /// A kernel whose functions have these addresses, given their names, as long as `code` lives.
    ///
    /// # Safety
    ///
    /// The functions follow the ABI.
    unsafe fn new<C: Send + Sync + 'static>(
        nest: &Nest,
        code: C,
        address: impl Fn(&C, &str) -> Result<*const u8, CodegenError>,
    ) -> Result<Jit, CodegenError> {
        let address = |suffix| address(&code, &symbol(nest, suffix));
        // SAFETY: the ABI gives the functions of these names these types.
        let entry = unsafe {
            Entry {
                bind: std::mem::transmute::<*const u8, Bind>(address("_bind")?),
                workspace: std::mem::transmute::<*const u8, WorkspaceSize>(address("_workspace")?),
                check: std::mem::transmute::<*const u8, Check>(address("_check")?),
                tasks: std::mem::transmute::<*const u8, Tasks>(address("_tasks")?),
                run: std::mem::transmute::<*const u8, Run>(address("_run")?),
            }
        };
        Ok(Jit { entry, _code: Box::new(code) })
    }

    /// The functions of the kernel; they must not be called once this is dropped.
    pub fn entry(&self) -> Entry {
        self.entry
    }
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// The name of a function of a kernel.
pub(crate) fn symbol(nest: &Nest, suffix: &str) -> String {
    format!("attnc_{}{suffix}", nest.name)
}

/// The least and the greatest integer of a dtype, where it is narrower than 64 bits.
fn integer_range(dtype: DType) -> Option<(i64, i64)> {
    let signed = |bits: u32| Some((-1 << (bits - 1), (1 << (bits - 1)) - 1));
    match dtype {
        DType::I32 => signed(32),
        DType::I16 => signed(16),
        DType::I8 => signed(8),
        DType::I4 => signed(4),
        DType::U8 => Some((0, 255)),
        DType::F64
        | DType::F32
        | DType::F16
        | DType::BF16
        | DType::F8E4M3
        | DType::F8E5M2
        | DType::I64
        | DType::Bool => None,
    }
}

impl CodegenError {
    /// A device that does not take a module.
    pub(crate) fn of_device(gpu: Gpu, error: &attnc_runtime::Error) -> CodegenError {
        CodegenError::refused(&Target::of_gpu(gpu), &error.to_string())
    }

    fn refused(target: &Target, why: &str) -> CodegenError {
        let name = target.gpu().map_or_else(|| target.to_string(), |it| it.name().to_owned());
        CodegenError::Refused { target: name, why: why.to_owned() }
    }

    fn new(function: &str, error: &dyn Error) -> CodegenError {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        CodegenError::Fault { function: function.to_owned(), message }
    }
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::NotBuiltIn(backend) => {
                let name = backend.name();
                write!(
                    f,
                    "this attnc is built without the back end `{name}`: build it with `--features {name}`"
                )
            }
            CodegenError::Refused { target, why } => write!(f, "{target} cannot run this: {why}"),
            CodegenError::Fault { function, message } => write!(f, "cannot emit {function}: {message}"),
        }
    }
}

impl Error for CodegenError {}
