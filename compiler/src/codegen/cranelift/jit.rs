//! A kernel in memory.

use std::sync::{Mutex, PoisonError};

use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncOrDataId, Module, default_libcall_names};

use super::unit::Unit;
use super::{entry, isa};
use crate::codegen::{CodegenError, Jit, Part};
use crate::ir::nest::Nest;
use crate::target::Target;

/// The memory of a kernel. The mutex lets threads share what is only kept and finally freed.
struct Code(Mutex<Option<JITModule>>);

/// Compiles that part of a kernel into memory.
pub(in crate::codegen) fn jit(nest: &Nest, target: &Target, part: Part) -> Result<Jit, CodegenError> {
    let isa = isa(target, false).map_err(|it| CodegenError::new("the module", &*it))?;
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut unit = Unit::new(&mut module);
    entry::emit(nest, &mut unit, part)?;
    unit.finish()?;
    module.finalize_definitions().map_err(|it| CodegenError::new("the module", &it))?;
    // SAFETY: `entry::emit` makes the functions of the ABI.
    unsafe { Jit::new(nest, Code(Mutex::new(Some(module))), |code, name| Ok(code.address(name))) }
}

impl Code {
    fn address(&self, name: &str) -> *const u8 {
        let module = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let module = module.as_ref().expect("the module lives as long as this");
        match module.declarations().get_name(name) {
            Some(FuncOrDataId::Func(id)) => module.get_finalized_function(id),
            Some(FuncOrDataId::Data(_)) | None => unreachable!("a kernel has the function `{name}`"),
        }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let module = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = module.take() {
            // SAFETY: who calls the functions holds on to this value, which is going away.
            unsafe { module.free_memory() };
        }
    }
}
