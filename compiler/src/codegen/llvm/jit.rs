//! An object in memory, linked where it lies.

use std::ffi::{CStr, CString};

use inkwell::llvm_sys::core::LLVMCreateMemoryBufferWithMemoryRangeCopy;
use inkwell::llvm_sys::error::{LLVMDisposeErrorMessage, LLVMErrorRef, LLVMGetErrorMessage};
use inkwell::llvm_sys::orc2::lljit::{
    LLVMOrcCreateLLJIT, LLVMOrcDisposeLLJIT, LLVMOrcLLJITAddObjectFile, LLVMOrcLLJITGetMainJITDylib,
    LLVMOrcLLJITLookup, LLVMOrcLLJITRef,
};

use super::{emit_object, in_module};
use crate::codegen::{CodegenError, Jit};
use crate::ir::nest::Nest;
use crate::target::Target;

/// A linker with one object in it.
struct Linked(LLVMOrcLLJITRef);

// SAFETY: LLVM's linker locks what it shares, and nothing is added to it any more.
unsafe impl Send for Linked {}
// SAFETY: as above.
unsafe impl Sync for Linked {}

/// Compiles a kernel into memory: the very object that would be written to a file.
pub(in crate::codegen) fn jit(nest: &Nest, target: &Target) -> Result<Jit, CodegenError> {
    let object = emit_object(std::slice::from_ref(nest), target)?;
    let linked = Linked::new(&object)?;
    // SAFETY: `entry::emit` makes the functions of the ABI.
    unsafe { Jit::new(nest, linked, Linked::address) }
}

impl Linked {
    fn new(object: &[u8]) -> Result<Linked, CodegenError> {
        let mut jit = std::ptr::null_mut();
        // SAFETY: without a builder LLVM takes the defaults for this machine, whose target is registered.
        done(unsafe { LLVMOrcCreateLLJIT(&raw mut jit, std::ptr::null_mut()) })?;
        let linked = Linked(jit);
        // SAFETY: the buffer copies the bytes, and the linker takes the buffer.
        done(unsafe {
            let bytes = object.as_ptr().cast();
            let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes, object.len(), c"attnc".as_ptr());
            LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), buffer)
        })?;
        Ok(linked)
    }

    /// The address of a function.
    fn address(&self, name: &str) -> Result<*const u8, CodegenError> {
        let symbol = CString::new(name).map_err(in_module)?;
        let mut address = 0;
        // SAFETY: the linker lives, and the name ends with a zero.
        done(unsafe { LLVMOrcLLJITLookup(self.0, &raw mut address, symbol.as_ptr()) })?;
        Ok(std::ptr::with_exposed_provenance(usize::try_from(address).map_err(in_module)?))
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // SAFETY: who calls the functions holds on to this value, which is going away.
        let failed = unsafe { LLVMOrcDisposeLLJIT(self.0) };
        // Nothing can be done about memory that cannot be freed.
        let _ = done(failed);
    }
}

fn done(error: LLVMErrorRef) -> Result<(), CodegenError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: an error is asked once for its message, which ends with a zero and is given back.
    Err(in_module(unsafe {
        let message = LLVMGetErrorMessage(error);
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeErrorMessage(message);
        text
    }))
}
