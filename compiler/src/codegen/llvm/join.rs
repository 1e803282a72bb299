//! Objects of one kernel to one object: LLVM compiles functions on several threads, each in a module of its own, and
//! who links gets a single file all the same.
//!
//! Code goes behind code and constants behind constants, with their symbols and relocations. What the modules have for
//! each other alone is hidden in theirs and local in the whole.

use std::collections::HashMap;

use object::write::{self, Relocation, SectionId, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind, SymbolFlags,
    SymbolIndex, SymbolKind, SymbolScope,
};

use super::in_module;
use crate::codegen::CodegenError;

/// So begins the name of a section with one symbol, which ends it. If several modules have that, one of them is kept.
pub(super) const OF_FUNCTION: &str = ".text.";
/// The same for what is read.
pub(super) const OF_CONSTANT: &str = ".rodata.";

/// One ELF object with all that is in some.
pub(super) fn join(objects: &[Vec<u8>]) -> Result<Vec<u8>, CodegenError> {
    let files = objects.iter().map(|it| File::parse(it.as_slice())).collect::<Result<Vec<_>, _>>();
    let files = files.map_err(in_module)?;
    let first = files.first().ok_or_else(|| in_module("there is no object"))?;
    let whole = write::Object::new(first.format(), first.architecture(), first.endianness());
    let mut joined = Joined { whole, shared: HashMap::new() };
    // Without this section linkers take it that the stack is executed.
    joined.whole.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    let parts = files.iter().map(|it| joined.define(it)).collect::<Result<Vec<_>, _>>()?;
    for (file, part) in files.iter().zip(&parts) {
        joined.relocate(file, part)?;
    }
    joined.whole.write().map_err(in_module)
}

/// The object that others are put into.
struct Joined<'a> {
    whole: write::Object<'a>,
    /// What more than one module may name.
    shared: HashMap<Vec<u8>, SymbolId>,
}

/// Where in the whole is what a file has.
struct Part {
    sections: HashMap<SectionIndex, (SectionId, u64)>,
    symbols: HashMap<SymbolIndex, SymbolId>,
}

impl Joined<'_> {
    /// Takes the sections and symbols of a file, but for functions that are already there.
    fn define(&mut self, file: &File<'_>) -> Result<Part, CodegenError> {
        let mut part = Part { sections: HashMap::new(), symbols: HashMap::new() };
        for section in file.sections() {
            let name = section.name().map_err(in_module)?;
            let kind = section.kind();
            if section.size() == 0
                || matches!(kind, SectionKind::Metadata | SectionKind::Other | SectionKind::Note)
            {
                continue;
            }
            let is_code = kind == SectionKind::Text;
            if !is_code && !matches!(kind, SectionKind::ReadOnlyData | SectionKind::ReadOnlyString) {
                return Err(in_module(format!("nobody expects a section `{name}` of kind {kind:?}")));
            }
            // Sections whose equal constants a linker would join are small, and two of a kernel share few.
            let standard = if is_code { StandardSection::Text } else { StandardSection::ReadOnlyData };
            let alone = name.strip_prefix(OF_FUNCTION).or_else(|| name.strip_prefix(OF_CONSTANT));
            if alone.is_some_and(|it| self.shared.contains_key(it.as_bytes())) {
                continue;
            }
            let id = self.whole.section_id(standard);
            let data = section.data().map_err(in_module)?;
            let offset = self.whole.append_section_data(id, data, section.align());
            part.sections.insert(section.index(), (id, offset));
        }
        for symbol in file.symbols().filter(|it| it.is_definition() && !is_label(it)) {
            let place = symbol.section_index().and_then(|it| part.sections.get(&it));
            if let Some(&place) = place {
                let id = self.whole.add_symbol(moved(&symbol, place)?);
                part.symbols.insert(symbol.index(), id);
                if symbol.is_global() {
                    self.share(&symbol, id)?;
                }
            }
        }
        Ok(part)
    }

    /// Other modules may name that symbol.
    fn share<'f>(&mut self, symbol: &impl ObjectSymbol<'f>, id: SymbolId) -> Result<(), CodegenError> {
        let name = symbol.name_bytes().map_err(in_module)?;
        match self.shared.insert(name.to_vec(), id) {
            None => Ok(()),
            Some(_) => Err(in_module(format!("there are two functions `{}`", String::from_utf8_lossy(name)))),
        }
    }

    /// Takes the relocations of a file, when all have been defined.
    fn relocate(&mut self, file: &File<'_>, part: &Part) -> Result<(), CodegenError> {
        for section in file.sections() {
            let Some(&(id, base)) = part.sections.get(&section.index()) else { continue };
            for (offset, it) in section.relocations() {
                let RelocationTarget::Symbol(target) = it.target() else {
                    return Err(in_module("a relocation has no symbol"));
                };
                let (symbol, within) = self.target(file, part, target)?;
                let addend = it.addend() + within;
                let it = Relocation { offset: base + offset, symbol, addend, flags: it.flags() };
                self.whole.add_relocation(id, it).map_err(in_module)?;
            }
        }
        Ok(())
    }

    /// What a symbol of a file is in the whole, and how far into that.
    fn target(
        &mut self,
        file: &File<'_>,
        part: &Part,
        at: SymbolIndex,
    ) -> Result<(SymbolId, i64), CodegenError> {
        if let Some(&own) = part.symbols.get(&at) {
            return Ok((own, 0));
        }
        let symbol = file.symbol_by_index(at).map_err(in_module)?;
        let place = symbol.section_index().and_then(|it| part.sections.get(&it));
        if let Some(&(section, offset)) = place {
            return Ok((self.whole.section_symbol(section), (offset + symbol.address()) as i64));
        }
        let name = symbol.name_bytes().map_err(in_module)?;
        let known = self.shared.get(name).map(|&it| (it, 0));
        known.ok_or_else(|| in_module(format!("nothing defines `{}`", String::from_utf8_lossy(name))))
    }
}

/// Whether it has no name that anybody asks for, as those of constants and of sections: where it lies is enough.
fn is_label<'f>(symbol: &impl ObjectSymbol<'f>) -> bool {
    matches!(symbol.kind(), SymbolKind::Unknown | SymbolKind::Section | SymbolKind::Label)
}

/// A symbol of a section that begins there in the whole.
fn moved<'f>(
    symbol: &impl ObjectSymbol<'f>,
    (section, offset): (SectionId, u64),
) -> Result<Symbol, CodegenError> {
    let is_public = symbol.scope() == SymbolScope::Dynamic;
    Ok(Symbol {
        name: symbol.name_bytes().map_err(in_module)?.to_vec(),
        value: symbol.address() + offset,
        size: symbol.size(),
        kind: symbol.kind(),
        scope: if is_public { SymbolScope::Dynamic } else { SymbolScope::Compilation },
        weak: symbol.is_weak(),
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    })
}
