//! A kernel in memory, for this machine.

use std::fmt;
use std::sync::Mutex;

use attnc_runtime::abi::{Bind, Check, Entry, Run, Tasks, WorkspaceSize};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;

use super::unit::{Declared, Unit};
use super::{CodegenError, entry, isa};
use crate::ir::nest::Nest;
use crate::target::Target;

/// A kernel that can be called as long as this lives.
pub struct Jit {
    entry: Entry,
    /// Locked by nobody; a mutex lets threads share what is only kept and finally freed.
    code: Mutex<Option<JITModule>>,
}

/// Compiles a kernel for this machine.
///
/// # Errors
///
/// When Cranelift refuses what we gave it.
pub fn jit(nest: &Nest) -> Result<Jit, CodegenError> {
    jit_for(nest, &Target::native())
}

/// Compiles a kernel for a target that this machine can stand in for.
pub(super) fn jit_for(nest: &Nest, target: &Target) -> Result<Jit, CodegenError> {
    let isa = isa(target, false).map_err(|it| CodegenError::new("the module", &*it))?;
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut unit = Unit::new(&mut module);
    let functions = entry::emit(nest, &mut unit)?;
    unit.finish()?;
    module.finalize_definitions().map_err(|it| CodegenError::new("the module", &it))?;
    let address = |function: &Declared| module.get_finalized_function(function.id);
    // SAFETY: `entry::emit` gives each function the signature of its type in the ABI.
    let entry = unsafe {
        Entry {
            bind: std::mem::transmute::<*const u8, Bind>(address(&functions.bind)),
            workspace: std::mem::transmute::<*const u8, WorkspaceSize>(address(&functions.workspace)),
            check: std::mem::transmute::<*const u8, Check>(address(&functions.check)),
            tasks: std::mem::transmute::<*const u8, Tasks>(address(&functions.tasks)),
            run: std::mem::transmute::<*const u8, Run>(address(&functions.run)),
        }
    };
    Ok(Jit { entry, code: Mutex::new(Some(module)) })
}

impl Jit {
    /// The functions of the kernel; they must not be called once this is dropped.
    pub fn entry(&self) -> Entry {
        self.entry
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        let code = self.code.get_mut().unwrap_or_else(|it| it.into_inner());
        if let Some(module) = code.take() {
            // SAFETY: who calls the functions holds on to this value, which is going away.
            unsafe { module.free_memory() };
        }
    }
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit").field("entry", &self.entry).finish_non_exhaustive()
    }
}
