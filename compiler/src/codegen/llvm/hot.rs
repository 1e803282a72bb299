//! The inner loops of register tiles in machine code: how many instructions they take, and whether they keep sums in
//! memory because there were too few registers for them.
//!
//! They are found in the object that is shipped, by LLVM's disassembler: loops of one block that fuse many products.

use std::ffi::{CStr, CString, c_char};
use std::ops::Range;

use inkwell::llvm_sys::disassembler::{
    LLVMCreateDisasmCPUFeatures, LLVMDisasmContextRef, LLVMDisasmDispose, LLVMDisasmInstruction,
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use super::in_module;
use super::machine::Machine;
use crate::codegen::{CodegenError, HotLoop};
use crate::target::Target;

/// A loop of so many products that are added to sums, and not many other instructions, is one of a register tile.
const MANY: usize = 12;

/// The inner loops of register tiles in an object, in the order of its functions.
pub(in crate::codegen) fn hot_loops(object: &[u8], target: &Target) -> Result<Vec<HotLoop>, CodegenError> {
    let disassembler = Disassembler::of(target)?;
    let file = object::File::parse(object).map_err(in_module)?;
    let mut found = Vec::new();
    for section in file.sections().filter(|it| it.kind() == SectionKind::Text) {
        let code = section.data().map_err(in_module)?;
        let here = file.symbols().filter(|it| it.section_index() == Some(section.index()));
        let mut functions: Vec<(usize, usize, &str)> = here
            .filter(|it| it.kind() == SymbolKind::Text)
            .map(|it| Ok((it.address() as usize, it.size() as usize, it.name().map_err(in_module)?)))
            .collect::<Result<_, CodegenError>>()?;
        functions.sort_unstable();
        for (from, size, name) in functions {
            let body = code.get(from..from + size).unwrap_or_default();
            found.extend(loops_of(&disassembler.instructions(body), name));
        }
    }
    Ok(found)
}

/// An instruction: where it is, what it says, and where it jumps to.
struct Instruction {
    at: usize,
    text: String,
    /// It ends a block.
    leaves: bool,
    jumps_to: Option<usize>,
}

fn loops_of(code: &[Instruction], function: &str) -> Vec<HotLoop> {
    let bodies = code.iter().enumerate().filter_map(|(last, it)| {
        let first = code[..=last].binary_search_by_key(&it.jumps_to?, |it| it.at).ok()?;
        let body = &code[first..=last];
        (!body[..body.len() - 1].iter().any(|it| it.leaves)).then_some(body)
    });
    let counted = bodies.map(|body| {
        let number = |test: fn(&str) -> bool| body.iter().filter(|it| test(&it.text)).count();
        HotLoop {
            function: function.to_owned(),
            fused: number(is_fused),
            instructions: body.len(),
            stack: number(is_on_stack),
            kept: number(is_stored_on_stack),
        }
    });
    counted.filter(|it| it.fused >= MANY && 3 * it.fused >= it.instructions).collect()
}

fn is_fused(text: &str) -> bool {
    // One of the encodings of a product of bytes is named before it.
    let text = text.strip_prefix("{vex}").map_or(text, str::trim_start);
    // Polynomials are fused, too, but into a factor.
    ["vfmadd231", "vpdpbusd", "fmla"].iter().any(|it| text.starts_with(it))
}

/// A vector is read from, or written to, the stack; an address may well lie there.
fn is_on_stack(text: &str) -> bool {
    text.contains("(%rsp)") && text.contains("mm") || text.contains("[sp") && text.contains("\tq")
}

fn is_stored_on_stack(text: &str) -> bool {
    let x86 = text.ends_with("(%rsp)") && text.contains("mm");
    x86 || (text.starts_with("str\tq") || text.starts_with("stp\tq")) && text.contains("[sp")
}

/// LLVM's disassembler for a target.
struct Disassembler {
    context: LLVMDisasmContextRef,
    is_x86: bool,
}

impl Disassembler {
    fn of(target: &Target) -> Result<Disassembler, CodegenError> {
        let machine = Machine::of(target)?;
        let text = |it: &CStr| CString::from(it);
        let triple = text(machine.llvm.get_triple().as_str());
        let cpu = text(&machine.llvm.get_cpu());
        let features = text(machine.llvm.get_feature_string());
        // SAFETY: the strings end, and are read before this returns; nothing is called back.
        let context = unsafe {
            LLVMCreateDisasmCPUFeatures(
                triple.as_ptr(),
                cpu.as_ptr(),
                features.as_ptr(),
                std::ptr::null_mut(),
                0,
                None,
                None,
            )
        };
        if context.is_null() {
            return Err(in_module(format!("there is no disassembler for {target}")));
        }
        let is_x86 = target.triple().architecture == target_lexicon::Architecture::X86_64;
        Ok(Disassembler { context, is_x86 })
    }

    /// The instructions of a function, as far as they are any.
    fn instructions(&self, code: &[u8]) -> Vec<Instruction> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < code.len() {
            let Some((length, text)) = self.instruction(&code[at..]) else { break };
            let name: &str = text.split_whitespace().next().unwrap_or_default();
            let branches = if self.is_x86 { name.starts_with('j') } else { is_branch(name) };
            let calls = name.starts_with("call") || name.starts_with("ret") || name == "bl" || name == "blr";
            let jumps_to = branches.then(|| self.destination(&text, at..at + length)).flatten();
            found.push(Instruction { at, text, leaves: branches || calls, jumps_to });
            at += length;
        }
        found
    }

    fn instruction(&self, code: &[u8]) -> Option<(usize, String)> {
        let mut text = [0 as c_char; 256];
        // SAFETY: the context is alive; the code is only read, and no more is written than there is room for.
        let length = unsafe {
            LLVMDisasmInstruction(
                self.context,
                code.as_ptr().cast_mut(),
                code.len() as u64,
                0,
                text.as_mut_ptr(),
                text.len(),
            )
        };
        // SAFETY: LLVM ends what it writes, and the last byte is 0 if it writes nothing.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        (length > 0).then(|| (length, text.to_string_lossy().trim().to_owned()))
    }

    /// Where a jump leads: its last operand is the distance from where it ends, or on other machines, begins.
    fn destination(&self, text: &str, own: Range<usize>) -> Option<usize> {
        let operand = text.split(['\t', ' ', ',']).next_back()?.trim_start_matches('#');
        let distance: isize = operand.parse().ok()?;
        let from = if self.is_x86 { own.end } else { own.start };
        from.checked_add_signed(distance)
    }
}

/// A branch of AArch64.
fn is_branch(name: &str) -> bool {
    name == "b" || name.starts_with("b.") || matches!(name, "cbz" | "cbnz" | "tbz" | "tbnz" | "br")
}

impl Drop for Disassembler {
    fn drop(&mut self) {
        // SAFETY: the context was made by LLVM and is given back once.
        unsafe { LLVMDisasmDispose(self.context) }
    }
}
