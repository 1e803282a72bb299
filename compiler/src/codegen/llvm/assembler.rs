//! Instructions on registers, which are scalars or vectors alike.

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicTypeEnum, VectorType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FastMathFlags, FunctionValue,
    IntValue, PointerValue,
};
use inkwell::{AddressSpace, FloatPredicate, IntPredicate};

pub(super) use inkwell::values::InstructionOpcode as Opcode;

/// A register.
pub(super) type Value<'c> = BasicValueEnum<'c>;
/// How many elements a register has; none for a scalar.
pub(super) type Lanes = Option<u32>;

/// What LLVM would refuse is refused when the module is verified, or is a register of a type that no tile has.
const FITS: &str = "operands fit their instruction";

/// What an element of a register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    I64,
    I32,
    I16,
    I8,
    Bool,
    Pointer,
}

/// A module and the place in it where instructions go.
pub(super) struct Assembler<'c> {
    pub(super) context: &'c Context,
    pub(super) module: Module<'c>,
    pub(super) builder: Builder<'c>,
}

/// The elements of a register.
pub(super) fn lanes_of(x: Value<'_>) -> Lanes {
    if x.is_vector_value() { Some(x.into_vector_value().get_type().get_size()) } else { None }
}

impl<'c> Assembler<'c> {
    /// A type of registers.
    pub(super) fn ty(&self, element: Element, lanes: Lanes) -> BasicTypeEnum<'c> {
        let it = self.context;
        let scalar: BasicTypeEnum<'c> = match element {
            Element::F64 => it.f64_type().into(),
            Element::F32 => it.f32_type().into(),
            Element::F16 => it.f16_type().into(),
            Element::I64 => it.i64_type().into(),
            Element::I32 => it.i32_type().into(),
            Element::I16 => it.i16_type().into(),
            Element::I8 => it.i8_type().into(),
            Element::Bool => it.bool_type().into(),
            Element::Pointer => it.ptr_type(AddressSpace::default()).into(),
        };
        match lanes {
            None => scalar,
            Some(lanes) => vector_type(scalar, lanes).into(),
        }
    }

    /// An integer or a bool, the same in all lanes.
    pub(super) fn int(&self, element: Element, lanes: Lanes, x: i64) -> Value<'c> {
        let scalar = self.ty(element, None).into_int_type().const_int(x.cast_unsigned(), true);
        self.splat(scalar.into(), lanes)
    }

    /// An index.
    pub(super) fn index(&self, x: i64) -> IntValue<'c> {
        self.context.i64_type().const_int(x.cast_unsigned(), true)
    }

    /// A real, the same in all lanes.
    pub(super) fn float(&self, element: Element, lanes: Lanes, x: f64) -> Value<'c> {
        let scalar = self.ty(element, None).into_float_type().const_float(x);
        self.splat(scalar.into(), lanes)
    }

    /// 0, 1, 2, …
    pub(super) fn iota(&self, lanes: u32) -> Value<'c> {
        let elements: Vec<IntValue<'c>> = (0..lanes).map(|it| self.index(it.into())).collect();
        VectorType::const_vector(&elements).into()
    }

    /// `a op b`
    pub(super) fn binary(&self, op: Opcode, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.builder.build_binop(op, a, b, "").expect(FITS)
    }

    /// The same lanes of other elements.
    pub(super) fn cast(&self, op: Opcode, x: Value<'c>, to: Element) -> Value<'c> {
        let ty = self.ty(to, lanes_of(x));
        if x.get_type() == ty { x } else { self.builder.build_cast(op, x, ty, "").expect(FITS) }
    }

    /// What an integer of 64 bits was widened from, with 32 bits, if it was just widened from no more.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn not_widened(&self, x: Value<'c>) -> Option<Value<'c>> {
        let instruction = x.as_instruction_value()?;
        let op = instruction.get_opcode();
        // What others take need not be integers: a gather takes pointers.
        if !matches!(op, Opcode::SExt | Opcode::ZExt) {
            return None;
        }
        let from = instruction.get_operand(0)?.value()?;
        let element = match from.get_type() {
            BasicTypeEnum::IntType(it) => it,
            BasicTypeEnum::VectorType(it) => it.get_element_type().into_int_type(),
            _ => return None,
        };
        match (op, element.get_bit_width()) {
            (Opcode::SExt, 32) => Some(from),
            (Opcode::SExt | Opcode::ZExt, ..32) => Some(self.cast(op, from, Element::I32)),
            _ => None,
        }
    }

    /// A comparison of integers, bools or pointers.
    pub(super) fn icmp(&self, op: IntPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        if a.is_vector_value() {
            let (a, b) = (a.into_vector_value(), b.into_vector_value());
            self.builder.build_int_compare(op, a, b, "").expect(FITS).into()
        } else {
            let (a, b) = (a.into_int_value(), b.into_int_value());
            self.builder.build_int_compare(op, a, b, "").expect(FITS).into()
        }
    }

    /// A comparison of reals.
    pub(super) fn fcmp(&self, op: FloatPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        if a.is_vector_value() {
            let (a, b) = (a.into_vector_value(), b.into_vector_value());
            self.builder.build_float_compare(op, a, b, "").expect(FITS).into()
        } else {
            let (a, b) = (a.into_float_value(), b.into_float_value());
            self.builder.build_float_compare(op, a, b, "").expect(FITS).into()
        }
    }

    /// `a` where the mask holds, `b` elsewhere.
    pub(super) fn select(&self, mask: Value<'c>, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        if mask.is_vector_value() {
            self.builder.build_select(mask.into_vector_value(), a, b, "").expect(FITS)
        } else {
            self.builder.build_select(mask.into_int_value(), a, b, "").expect(FITS)
        }
    }

    /// The opposite of a bool.
    pub(super) fn not(&self, a: Value<'c>) -> Value<'c> {
        self.binary(Opcode::Xor, a, self.int(Element::Bool, lanes_of(a), 1))
    }

    /// `-a`, of reals.
    pub(super) fn fneg(&self, a: Value<'c>) -> Value<'c> {
        if a.is_vector_value() {
            self.builder.build_float_neg(a.into_vector_value(), "").expect(FITS).into()
        } else {
            self.builder.build_float_neg(a.into_float_value(), "").expect(FITS).into()
        }
    }

    /// What a function gives.
    pub(super) fn call(&self, function: FunctionValue<'c>, args: &[Value<'c>]) -> Option<Value<'c>> {
        self.call_site(function, args).try_as_basic_value().basic()
    }

    fn call_site(&self, function: FunctionValue<'c>, args: &[Value<'c>]) -> CallSiteValue<'c> {
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|&it| it.into()).collect();
        let call = self.builder.build_call(function, &args, "").expect(FITS);
        call.set_call_convention(function.get_call_conventions());
        call
    }

    /// What an intrinsic for operands of these types gives; its name is without the types.
    pub(super) fn intrinsic(&self, name: &str, types: &[BasicTypeEnum<'c>], args: &[Value<'c>]) -> Value<'c> {
        self.call_intrinsic(name, types, args).try_as_basic_value().expect_basic("a function has a value")
    }

    fn call_intrinsic(
        &self,
        name: &str,
        types: &[BasicTypeEnum<'c>],
        args: &[Value<'c>],
    ) -> CallSiteValue<'c> {
        let intrinsic = Intrinsic::find(name).expect("LLVM has the intrinsics that we name");
        let function = intrinsic.get_declaration(&self.module, types);
        self.call_site(function.expect("intrinsics are given their types"), args)
    }

    /// Runs an intrinsic that works on what lies at an address and gives nothing.
    pub(super) fn effect(&self, name: &str, at: PointerValue<'c>) {
        self.call_intrinsic(name, &[], &[at.into()]);
    }

    /// Runs an intrinsic that gives nothing.
    pub(super) fn hint(&self, name: &str, types: &[BasicTypeEnum<'c>], args: &[Value<'c>]) {
        self.call_intrinsic(name, types, args);
    }

    /// The same of an intrinsic whose `at`th argument is an address that is aligned to so many bytes.
    pub(super) fn guarded(
        &self,
        name: &str,
        types: [BasicTypeEnum<'c>; 2],
        (at, align): (u32, u32),
        args: &[Value<'c>],
    ) -> Option<Value<'c>> {
        let call = self.call_intrinsic(name, &types, args);
        let kind = Attribute::get_named_enum_kind_id("align");
        let aligned = self.context.create_enum_attribute(kind, align.into());
        call.add_attribute(AttributeLoc::Param(at), aligned);
        call.try_as_basic_value().basic()
    }

    /// What an intrinsic on registers of one type gives.
    pub(super) fn function(&self, name: &str, args: &[Value<'c>]) -> Value<'c> {
        self.intrinsic(name, &[args[0].get_type()], args)
    }

    /// The larger or smaller of reals, NaN if one of them is. Which it is of 0 and −0 is left open: nobody is promised
    /// it, and x86 takes twice as long to tell.
    pub(super) fn extreme(&self, name: &str, x: Value<'c>, y: Value<'c>) -> Value<'c> {
        let value = self.function(name, &[x, y]);
        let call = value.as_instruction_value().expect("a call is an instruction");
        call.set_fast_math_flags(FastMathFlags::NoSignedZeros).expect("it is one of reals");
        value
    }

    /// The same element in all lanes.
    pub(super) fn splat(&self, x: Value<'c>, lanes: Lanes) -> Value<'c> {
        let Some(lanes) = lanes else { return x };
        let poison = vector_type(x.get_type(), lanes).get_poison();
        let first = self.builder.build_insert_element(poison, x, self.index(0), "").expect(FITS);
        self.shuffle(first.into(), first.into(), &vec![0; lanes as usize])
    }

    /// One element of a vector; of a scalar, itself.
    pub(super) fn lane(&self, x: Value<'c>, lane: usize) -> Value<'c> {
        if !x.is_vector_value() {
            return x;
        }
        let at = self.index(lane as i64);
        self.builder.build_extract_element(x.into_vector_value(), at, "").expect(FITS)
    }

    /// A vector of these elements.
    pub(super) fn gather(&self, elements: &[Value<'c>]) -> Value<'c> {
        let mut vector = vector_type(elements[0].get_type(), elements.len() as u32).get_poison();
        for (at, &element) in elements.iter().enumerate() {
            let at = self.index(at as i64);
            vector = self.builder.build_insert_element(vector, element, at, "").expect(FITS);
        }
        vector.into()
    }

    /// Lanes of two vectors of one type: those of `a`, then those of `b`.
    pub(super) fn shuffle(&self, a: Value<'c>, b: Value<'c>, lanes: &[usize]) -> Value<'c> {
        let i32_type = self.context.i32_type();
        let mask: Vec<IntValue<'c>> = lanes.iter().map(|&it| i32_type.const_int(it as u64, false)).collect();
        let (a, b) = (a.into_vector_value(), b.into_vector_value());
        self.builder.build_shuffle_vector(a, b, VectorType::const_vector(&mask), "").expect(FITS).into()
    }

    /// Vectors of one length, one after the other in one; what is beyond the last is anything.
    pub(super) fn concatenated(&self, mut rows: Vec<Value<'c>>) -> Value<'c> {
        while rows.len() > 1 {
            let all: Vec<usize> = (0..2 * lanes_of(rows[0]).unwrap_or(1) as usize).collect();
            let both = |pair: &[Value<'c>]| self.shuffle(pair[0], pair[pair.len() - 1], &all);
            rows = rows.chunks(2).map(both).collect();
        }
        rows[0]
    }

    /// `a * 2^n` for sixteen f32 and whole `n`, on x86-64 with AVX-512.
    pub(super) fn scalef(&self, a: Value<'c>, n: Value<'c>) -> Value<'c> {
        let all = self.context.i16_type().const_all_ones().into();
        let by_mode = self.context.i32_type().const_int(4, false).into();
        self.intrinsic("llvm.x86.avx512.mask.scalef.ps.512", &[], &[a, n, a, all, by_mode])
    }

    /// `1 / a` to 14 binary digits for sixteen f32, on x86-64 with AVX-512.
    pub(super) fn estimate(&self, a: Value<'c>) -> Value<'c> {
        let all = self.context.i16_type().const_all_ones().into();
        self.intrinsic("llvm.x86.avx512.rcp14.ps.512", &[], &[a, a, all])
    }

    /// The address so many bytes on.
    pub(super) fn offset(&self, from: PointerValue<'c>, bytes: IntValue<'c>) -> PointerValue<'c> {
        // SAFETY: an address of bytes takes one index.
        unsafe { self.builder.build_gep(self.context.i8_type(), from, &[bytes], "").expect(FITS) }
    }

    /// What lies at an address that is aligned to so many bytes.
    pub(super) fn load(&self, ty: BasicTypeEnum<'c>, from: PointerValue<'c>, align: u32) -> Value<'c> {
        let value = self.builder.build_load(ty, from, "").expect(FITS);
        let instruction = value.as_instruction_value().expect("a load is an instruction");
        instruction.set_alignment(align).expect("elements are aligned to powers of two");
        value
    }

    /// Writes to an address that is aligned to so many bytes.
    pub(super) fn store(&self, to: PointerValue<'c>, x: Value<'c>, align: u32) {
        let store = self.builder.build_store(to, x).expect(FITS);
        store.set_alignment(align).expect("elements are aligned to powers of two");
    }

    /// Ends the block with a jump.
    pub(super) fn jump(&self, to: BasicBlock<'c>) {
        self.builder.build_unconditional_branch(to).expect(FITS);
    }

    /// Ends the block with a branch.
    pub(super) fn branch(&self, condition: Value<'c>, yes: BasicBlock<'c>, no: BasicBlock<'c>) {
        self.builder.build_conditional_branch(condition.into_int_value(), yes, no).expect(FITS);
    }

    /// The same where the condition hardly ever holds.
    pub(super) fn seldom(&self, condition: Value<'c>, yes: BasicBlock<'c>, no: BasicBlock<'c>) {
        let branch = self.builder.build_conditional_branch(condition.into_int_value(), yes, no).expect(FITS);
        let name = self.context.metadata_string("branch_weights");
        let weight = |it| self.context.i32_type().const_int(it, false);
        let weights = self.context.metadata_node(&[name.into(), weight(1).into(), weight(1 << 20).into()]);
        let kind = self.context.get_kind_id("prof");
        branch.set_metadata(weights, kind).expect("a node is metadata of a branch");
    }

    /// Ends the function.
    pub(super) fn ret(&self, value: Option<Value<'c>>) {
        let value = value.as_ref().map(|it| it as &dyn BasicValue<'c>);
        self.builder.build_return(value).expect(FITS);
    }

    /// The block that instructions go to.
    pub(super) fn here(&self) -> BasicBlock<'c> {
        self.builder.get_insert_block().expect("instructions go to a block")
    }
}

fn vector_type(of: BasicTypeEnum<'_>, lanes: u32) -> VectorType<'_> {
    match of {
        BasicTypeEnum::FloatType(it) => it.vec_type(lanes),
        BasicTypeEnum::IntType(it) => it.vec_type(lanes),
        BasicTypeEnum::PointerType(it) => it.vec_type(lanes),
        BasicTypeEnum::ArrayType(_)
        | BasicTypeEnum::StructType(_)
        | BasicTypeEnum::VectorType(_)
        | BasicTypeEnum::ScalableVectorType(_) => unreachable!("elements of vectors are scalars"),
    }
}
