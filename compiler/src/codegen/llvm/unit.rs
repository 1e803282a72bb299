//! Function bodies to a module: what all functions of one module share.

use inkwell::GlobalVisibility;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::module::Linkage;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum};
use inkwell::values::{BasicValueEnum, FunctionValue, GlobalValue, PointerValue};

use super::assembler::{Assembler, Element, Lanes, Value};
use super::in_module;
use super::join::{OF_CONSTANT, OF_FUNCTION};
use super::lanes::Reals;
use super::machine::Machine;
use crate::codegen::CodegenError;
use crate::codegen::formula::{self, Formula};
use crate::codegen::math::Format;

/// Functions that LLVM passes arguments to as it likes.
const FAST: u32 = 8;

/// A module under construction.
pub(super) struct Unit<'c> {
    pub(super) asm: Assembler<'c>,
    pub(super) machine: &'c Machine,
}

impl<'c> Unit<'c> {
    pub(super) fn new(context: &'c Context, machine: &'c Machine) -> Unit<'c> {
        let module = context.create_module("attnc");
        module.set_triple(&machine.llvm.get_triple());
        module.set_data_layout(&machine.llvm.get_target_data().get_data_layout());
        Unit { asm: Assembler { context, module, builder: context.create_builder() }, machine }
    }

    /// A function that the world calls.
    pub(super) fn export(
        &self,
        name: &str,
        from: &[Element],
        to: Option<Element>,
    ) -> Result<FunctionValue<'c>, CodegenError> {
        self.declare(name, Linkage::External, from, to)
    }

    /// A function without a result that only modules of the same object call.
    pub(super) fn hidden(&self, name: &str, from: &[Element]) -> Result<FunctionValue<'c>, CodegenError> {
        let function = self.declare(name, Linkage::External, from, None)?;
        hide(function.as_global_value());
        self.mark(function, AttributeLoc::Function, "noinline");
        Ok(function)
    }

    fn declare(
        &self,
        name: &str,
        linkage: Linkage,
        from: &[Element],
        to: Option<Element>,
    ) -> Result<FunctionValue<'c>, CodegenError> {
        if self.asm.module.get_function(name).is_some() {
            return Err(in_module(format!("there are two functions `{name}`")));
        }
        let from: Vec<_> = from.iter().map(|&it| self.asm.ty(it, None)).collect();
        Ok(self.add(name, linkage, &from, to.map(|it| self.asm.ty(it, None))))
    }

    fn add(
        &self,
        name: &str,
        linkage: Linkage,
        from: &[BasicTypeEnum<'c>],
        to: Option<BasicTypeEnum<'c>>,
    ) -> FunctionValue<'c> {
        let from: Vec<BasicMetadataTypeEnum<'c>> = from.iter().map(|&it| it.into()).collect();
        let ty = match to {
            Some(to) => to.fn_type(&from, false),
            None => self.asm.context.void_type().fn_type(&from, false),
        };
        let function = self.asm.module.add_function(name, ty, Some(linkage));
        self.mark(function, AttributeLoc::Function, "nounwind");
        for (key, value) in &self.machine.attributes {
            let attribute = self.asm.context.create_string_attribute(key, value);
            function.add_attribute(AttributeLoc::Function, attribute);
        }
        function
    }

    /// Promises LLVM something of a function or of one of its parameters.
    pub(super) fn mark(&self, function: FunctionValue<'c>, what: AttributeLoc, attribute: &str) {
        let kind = Attribute::get_named_enum_kind_id(attribute);
        function.add_attribute(what, self.asm.context.create_enum_attribute(kind, 0));
    }

    /// The value of a formula on lanes of that format.
    pub(super) fn formula(&self, formula: Formula, format: Format, args: &[Value<'c>]) -> Value<'c> {
        let lanes = super::assembler::lanes_of(args[0]);
        if formula.is_short() {
            return formula::emit(
                &Reals { asm: &self.asm, format, lanes, machine: self.machine },
                formula,
                args,
            );
        }
        let function = self.function_of(formula, format, lanes, args);
        self.asm.call(function, args).expect("a formula has a value")
    }

    /// The function that computes a long formula.
    fn function_of(
        &self,
        formula: Formula,
        format: Format,
        lanes: Lanes,
        args: &[Value<'c>],
    ) -> FunctionValue<'c> {
        let element = match format {
            Format::Single => Element::F32,
            Format::Double => Element::F64,
        };
        let of = format!("{element:?}x{}", lanes.unwrap_or(1));
        let name = formula.name(of);
        if let Some(known) = self.asm.module.get_function(&name) {
            return known;
        }
        let from: Vec<_> = args.iter().map(|it| it.get_type()).collect();
        let function = self.add(&name, Linkage::Internal, &from, Some(self.asm.ty(element, lanes)));
        if self.machine.joins {
            // Every module has its own, in a section by itself; one of them is kept.
            hide(function.as_global_value());
            function.set_section(Some(&format!("{OF_FUNCTION}{name}")));
        }
        function.set_call_conventions(FAST);
        let caller = self.asm.here();
        self.asm.builder.position_at_end(self.asm.context.append_basic_block(function, ""));
        let result = formula::emit(
            &Reals { asm: &self.asm, format, lanes, machine: self.machine },
            formula,
            &function.get_params(),
        );
        self.asm.ret(Some(result));
        self.asm.builder.position_at_end(caller);
        function
    }

    /// Where to read zeros, instead of what a guard forbids to read.
    pub(super) fn zeros(&self, bytes: u32) -> PointerValue<'c> {
        let name = format!("attnc.zeros.{bytes}");
        if let Some(known) = self.asm.module.get_global(&name) {
            return known.as_pointer_value();
        }
        let ty = self.asm.context.i8_type().array_type(bytes);
        let global = self.asm.module.add_global(ty, None, &name);
        if self.machine.joins {
            hide(global);
            global.set_section(Some(&format!("{OF_CONSTANT}{name}")));
        } else {
            global.set_linkage(Linkage::Private);
        }
        global.set_constant(true);
        global.set_initializer(&BasicValueEnum::from(ty.const_zero()));
        global.set_alignment(64);
        global.as_pointer_value()
    }
}

/// Other modules of the object see it, whoever links does not.
fn hide(global: GlobalValue<'_>) {
    global.set_linkage(Linkage::External);
    global.set_visibility(GlobalVisibility::Hidden);
}
