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
use crate::codegen::parallel::longest_first;

/// A module under construction.
pub(super) struct Unit<'m> {
    linker: Linker<'m>,
    /// What has been defined, in that order.
    bodies: Vec<Body>,
    /// Somebody wants to read the machine code.
    listed: bool,
    scratch: FunctionBuilderContext,
}

/// A function that is still to be compiled.
struct Body {
    id: FuncId,
    name: String,
    function: Function,
    /// Cranelift may change its instructions.
    optimized: bool,
}

/// A function that has been compiled.
struct Machine {
    id: FuncId,
    name: String,
    alignment: u64,
    code: Vec<u8>,
    relocs: Vec<ModuleReloc>,
    text: Option<String>,
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
        let (rounds, fuses) = (has_rounding(module.isa()), has_fused(module.isa()));
        let linker = Linker { module, rounds, fuses, formulas: IndexMap::new(), products: IndexMap::new() };
        Unit { linker, bodies: Vec::new(), listed: false, scratch: FunctionBuilderContext::new() }
    }

    /// The same, with a listing of the machine code.
    pub(super) fn listed(module: &'m mut dyn Module) -> Unit<'m> {
        Unit { listed: true, ..Unit::new(module) }
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
    ) {
        self.build(function, true, body);
    }

    fn build(
        &mut self,
        declared: &Declared,
        optimized: bool,
        body: impl FnOnce(FunctionBuilder<'_>, &[Value], &mut Linker<'m>),
    ) {
        let mut function = Function::new();
        function.signature = declared.signature.clone();
        let mut builder = FunctionBuilder::new(&mut function, &mut self.scratch);
        let start = builder.create_block();
        builder.append_block_params_for_function_params(start);
        builder.switch_to_block(start);
        let params = builder.block_params(start).to_vec();
        body(builder, &params, &mut self.linker);
        self.bodies.push(Body { id: declared.id, name: declared.name.clone(), function, optimized });
    }

    /// Adds the scalar functions that have been called, and compiles all; gives the listing, empty if none was asked for.
    pub(super) fn finish(mut self) -> Result<String, CodegenError> {
        for ((formula, ty), id) in std::mem::take(&mut self.linker.formulas) {
            let (from, to) = library::types(formula, ty);
            let declared =
                Declared { id, name: formula.name(ty), signature: signature(CallConv::Fast, &from, &[to]) };
            self.define(&declared, |mut builder, params, linker| {
                let result = library::emit(&mut builder, formula, ty, params, linker.fuses);
                builder.ins().return_(&[result]);
                linker.close(builder);
            });
        }
        for (at, (products, id)) in std::mem::take(&mut self.linker.products).into_iter().enumerate() {
            let (name, types) = (format!("attnc.products.{at}"), products.types());
            let declared = Declared { id, name, signature: signature(CallConv::Fast, &types, &[]) };
            // These instructions are meant as they stand.
            self.build(&declared, false, |builder, params, linker| {
                linker.close(products::emit(builder, &products, params, linker.fuses));
            });
        }
        let (module, listed) = (self.linker.module, self.listed);
        let size = |it: &Body| it.function.dfg.num_insts();
        let isa = module.isa();
        let compiled = longest_first(self.bodies, size, |it| it.compile(isa, listed))?;
        let mut listing = String::new();
        for Machine { id, name, alignment, code, relocs, text } in compiled {
            let defined = module.define_function_bytes(id, alignment, &code, &relocs);
            defined.map_err(|it| CodegenError::new(&name, &it))?;
            listing.extend(text.iter().flat_map(|text| [&name, ":\n", text, "\n"]));
        }
        Ok(listing)
    }
}

impl Body {
    /// The machine code, and the text of it if somebody wants to read that.
    fn compile(self, isa: &dyn TargetIsa, listed: bool) -> Result<Machine, CodegenError> {
        let Body { id, name, function, optimized } = self;
        let mut context = Context::for_function(function);
        let plane = &mut ControlPlane::default();
        if optimized {
            context.optimize(isa, plane).map_err(|it| CodegenError::new(&name, &it))?;
        } else {
            context.compute_cfg();
            context.compute_domtree();
        }
        let (function, domtree) = (&context.func, &context.domtree);
        let compiled = isa.compile_function(function, domtree, &mut Default::default(), listed, plane);
        let compiled = compiled.map_err(|it| CodegenError::new(&name, &it))?;
        let compiled = compiled.apply_params(&function.params);
        let code = &compiled.buffer;
        let relocs = code.relocs().iter().map(|it| ModuleReloc::from_mach_reloc(it, function, id)).collect();
        let alignment = code.alignment.into();
        Ok(Machine { id, alignment, code: code.data().to_vec(), relocs, text: compiled.vcode, name })
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
