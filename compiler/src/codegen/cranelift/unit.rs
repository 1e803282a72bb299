//! Function bodies to a module: what all functions of one module share.

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, FuncRef, Function, InstBuilder, Signature, Type, Value};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc};
use indexmap::IndexMap;
use target_lexicon::Architecture;

use super::library;
use super::products::{self, Products};
use crate::codegen::CodegenError;
use crate::codegen::formula::Formula;

/// A module under construction.
pub(super) struct Unit<'m> {
    linker: Linker<'m>,
    context: Context,
    /// The machine code as text, if somebody wants to read it.
    listing: Option<String>,
    scratch: FunctionBuilderContext,
}

/// What function bodies need of the module: the functions that they may call.
pub(super) struct Linker<'m> {
    module: &'m mut dyn Module,
    rounds: bool,
    fuses: bool,
    formulas: IndexMap<(Formula, Type), FuncId>,
    products: IndexMap<Products, FuncId>,
}

/// A function under its name.
pub(super) struct Declared {
    pub(super) id: FuncId,
    name: String,
    signature: Signature,
}

impl<'m> Unit<'m> {
    pub(super) fn new(module: &'m mut dyn Module) -> Unit<'m> {
        let context = module.make_context();
        let (rounds, fuses) = (has_rounding(module.isa()), has_fused(module.isa()));
        let linker = Linker { module, rounds, fuses, formulas: IndexMap::new(), products: IndexMap::new() };
        Unit { linker, context, listing: None, scratch: FunctionBuilderContext::new() }
    }

    /// The same, with a listing of the machine code.
    pub(super) fn listed(module: &'m mut dyn Module) -> Unit<'m> {
        Unit { listing: Some(String::new()), ..Unit::new(module) }
    }

    /// A function that the world calls.
    pub(super) fn export(
        &mut self,
        name: String,
        from: &[Type],
        to: &[Type],
    ) -> Result<Declared, CodegenError> {
        let call_conv = self.linker.module.isa().default_call_conv();
        self.linker.declare(name, Linkage::Export, signature(call_conv, from, to))
    }

    /// A function that only this module calls.
    pub(super) fn local(
        &mut self,
        name: String,
        from: &[Type],
        to: &[Type],
    ) -> Result<Declared, CodegenError> {
        self.linker.declare(name, Linkage::Local, signature(CallConv::Fast, from, to))
    }

    /// Gives a function its body, which gets the parameters.
    pub(super) fn define(
        &mut self,
        function: &Declared,
        body: impl FnOnce(FunctionBuilder<'_>, &[Value], &mut Linker<'m>),
    ) -> Result<(), CodegenError> {
        self.build(function, body);
        let defined = self.linker.module.define_function(function.id, &mut self.context);
        defined.map_err(|it| CodegenError::new(&function.name, &it))?;
        let code = self.context.compiled_code().and_then(|it| it.vcode.clone());
        self.list(function, code.as_deref());
        Ok(())
    }

    /// The same, with the instructions of the body as they stand.
    fn define_plain(
        &mut self,
        function: &Declared,
        body: impl FnOnce(FunctionBuilder<'_>, &[Value], &mut Linker<'m>),
    ) -> Result<(), CodegenError> {
        self.build(function, body);
        self.context.compute_cfg();
        self.context.compute_domtree();
        let (func, domtree) = (&self.context.func, &self.context.domtree);
        let (isa, listed) = (self.linker.module.isa(), self.listing.is_some());
        let compiled = isa.compile_function(
            func,
            domtree,
            &mut Default::default(),
            listed,
            &mut ControlPlane::default(),
        );
        let compiled = compiled.map_err(|it| CodegenError::new(&function.name, &it))?;
        let compiled = compiled.apply_params(&func.params);
        let code = &compiled.buffer;
        let relocs = code.relocs().iter().map(|it| ModuleReloc::from_mach_reloc(it, func, function.id));
        let relocs: Vec<ModuleReloc> = relocs.collect();
        let alignment = code.alignment.into();
        let defined = self.linker.module.define_function_bytes(function.id, alignment, code.data(), &relocs);
        defined.map_err(|it| CodegenError::new(&function.name, &it))?;
        self.list(function, compiled.vcode.as_deref());
        Ok(())
    }

    fn build(
        &mut self,
        function: &Declared,
        body: impl FnOnce(FunctionBuilder<'_>, &[Value], &mut Linker<'m>),
    ) {
        self.linker.module.clear_context(&mut self.context);
        self.context.set_disasm(self.listing.is_some());
        self.context.func.signature = function.signature.clone();
        let mut builder = FunctionBuilder::new(&mut self.context.func, &mut self.scratch);
        let start = builder.create_block();
        builder.append_block_params_for_function_params(start);
        builder.switch_to_block(start);
        let params = builder.block_params(start).to_vec();
        body(builder, &params, &mut self.linker);
    }

    /// Adds a function to the listing, if there is one.
    fn list(&mut self, function: &Declared, code: Option<&str>) {
        if let (Some(listing), Some(code)) = (&mut self.listing, code) {
            listing.extend([&function.name, ":\n", code, "\n"]);
        }
    }

    /// Adds the scalar functions that have been called; gives the listing, empty if none was asked for.
    pub(super) fn finish(mut self) -> Result<String, CodegenError> {
        for ((formula, ty), id) in std::mem::take(&mut self.linker.formulas) {
            let (from, to) = library::types(formula, ty);
            let declared =
                Declared { id, name: formula.name(ty), signature: signature(CallConv::Fast, &from, &[to]) };
            self.define(&declared, |mut builder, params, linker| {
                let result = library::emit(&mut builder, formula, ty, params, linker.fuses);
                builder.ins().return_(&[result]);
                linker.close(builder);
            })?;
        }
        for (at, (products, id)) in std::mem::take(&mut self.linker.products).into_iter().enumerate() {
            let (name, types) = (format!("attnc.products.{at}"), products.types());
            let declared = Declared { id, name, signature: signature(CallConv::Fast, &types, &[]) };
            self.define_plain(&declared, |builder, params, linker| {
                linker.close(products::emit(builder, &products, params, linker.fuses));
            })?;
        }
        Ok(self.listing.unwrap_or_default())
    }
}

impl Linker<'_> {
    fn declare(
        &mut self,
        name: String,
        linkage: Linkage,
        signature: Signature,
    ) -> Result<Declared, CodegenError> {
        let declared = self.module.declare_function(&name, linkage, &signature);
        let id = declared.map_err(|it| CodegenError::new(&name, &it))?;
        Ok(Declared { id, name, signature })
    }

    /// A function of the module, to be called from another.
    pub(super) fn reference(&mut self, id: FuncId, from: &mut Function) -> FuncRef {
        self.module.declare_func_in_func(id, from)
    }

    /// The function that computes a formula.
    pub(super) fn formula(&mut self, formula: Formula, ty: Type) -> FuncId {
        if let Some(&id) = self.formulas.get(&(formula, ty)) {
            return id;
        }
        let (from, to) = library::types(formula, ty);
        let declared =
            self.declare(formula.name(ty), Linkage::Local, signature(CallConv::Fast, &from, &[to]));
        let id = declared.expect("no kernel has a dot in its name").id;
        self.formulas.insert((formula, ty), id);
        id
    }

    /// The function that adds these products.
    pub(super) fn products(&mut self, products: Products) -> FuncId {
        if let Some(&id) = self.products.get(&products) {
            return id;
        }
        let name = format!("attnc.products.{}", self.products.len());
        let declared = self.declare(name, Linkage::Local, signature(CallConv::Fast, &products.types(), &[]));
        let id = declared.expect("no kernel has a dot in its name").id;
        self.products.insert(products, id);
        id
    }

    /// Whether the processor rounds to whole numbers without calling a library.
    pub(super) fn rounds(&self) -> bool {
        self.rounds
    }

    /// Whether a product is added by one instruction.
    pub(super) fn fuses(&self) -> bool {
        self.fuses
    }

    /// Ends the body of a function.
    pub(super) fn close(&self, mut builder: FunctionBuilder<'_>) {
        builder.seal_all_blocks();
        builder.finalize(self.module.isa().frontend_config());
    }
}

/// Only the oldest x86-64 processors lack it.
fn has_rounding(isa: &dyn TargetIsa) -> bool {
    isa.isa_flags().iter().all(|flag| flag.name != "has_sse41" || flag.as_bool() == Some(true))
}

fn has_fused(isa: &dyn TargetIsa) -> bool {
    let flag = |name| isa.isa_flags().iter().any(|it| it.name == name && it.as_bool() == Some(true));
    matches!(isa.triple().architecture, Architecture::Aarch64(_)) || flag("has_fma")
}

fn signature(call_conv: CallConv, from: &[Type], to: &[Type]) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.extend(from.iter().map(|&it| AbiParam::new(it)));
    signature.returns.extend(to.iter().map(|&it| AbiParam::new(it)));
    signature
}
