//! Formulas to instructions: the lanes of a register as a back end of `codegen::math`.

use inkwell::FloatPredicate;

use super::assembler::{Assembler, Element, Lanes, Opcode, Value};
use crate::codegen::math::{Arith, Format};

/// The lanes of registers of one floating-point type.
pub(super) struct Reals<'a, 'c> {
    pub(super) asm: &'a Assembler<'c>,
    pub(super) format: Format,
    pub(super) lanes: Lanes,
}

impl Reals<'_, '_> {
    fn element(&self) -> Element {
        match self.format {
            Format::Single => Element::F32,
            Format::Double => Element::F64,
        }
    }

    fn bits(&self) -> Element {
        match self.format {
            Format::Single => Element::I32,
            Format::Double => Element::I64,
        }
    }
}

macro_rules! instructions {
    ($($method:ident = $opcode:ident;)*) => {$(
        fn $method(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
            self.asm.binary(Opcode::$opcode, a, b)
        }
    )*};
}

impl<'c> Arith for Reals<'_, 'c> {
    type F = Value<'c>;
    type I = Value<'c>;
    type B = Value<'c>;
    type Wide = Self;

    instructions! {
        add = FAdd;
        sub = FSub;
        mul = FMul;
        div = FDiv;
        both = And;
        either = Or;
        iadd = Add;
        isub = Sub;
        iand = And;
        ior = Or;
        ixor = Xor;
    }

    fn format(&self) -> Format {
        self.format
    }

    fn float(&self, x: f64) -> Value<'c> {
        self.asm.float(self.element(), self.lanes, x)
    }

    fn int(&self, x: i64) -> Value<'c> {
        self.asm.int(self.bits(), self.lanes, x)
    }

    fn neg(&self, a: Value<'c>) -> Value<'c> {
        self.asm.fneg(a)
    }

    fn abs(&self, a: Value<'c>) -> Value<'c> {
        self.asm.function("llvm.fabs", &[a])
    }

    fn sqrt(&self, a: Value<'c>) -> Value<'c> {
        self.asm.function("llvm.sqrt", &[a])
    }

    fn lt(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.asm.fcmp(FloatPredicate::OLT, a, b)
    }

    fn eq(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.asm.fcmp(FloatPredicate::OEQ, a, b)
    }

    fn not(&self, a: Value<'c>) -> Value<'c> {
        self.asm.not(a)
    }

    fn select(&self, mask: Value<'c>, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.asm.select(mask, a, b)
    }

    fn select_bits(&self, mask: Value<'c>, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.asm.select(mask, a, b)
    }

    fn to_bits(&self, a: Value<'c>) -> Value<'c> {
        self.asm.cast(Opcode::BitCast, a, self.bits())
    }

    fn from_bits(&self, a: Value<'c>) -> Value<'c> {
        self.asm.cast(Opcode::BitCast, a, self.element())
    }

    fn shl(&self, a: Value<'c>, by: u32) -> Value<'c> {
        self.asm.binary(Opcode::Shl, a, self.int(by.into()))
    }

    fn sshr(&self, a: Value<'c>, by: u32) -> Value<'c> {
        self.asm.binary(Opcode::AShr, a, self.int(by.into()))
    }

    fn in_double<const N: usize>(
        &self,
        x: [Value<'c>; N],
        f: impl Fn(&Self, [Value<'c>; N]) -> Value<'c>,
    ) -> Value<'c> {
        if self.format == Format::Double {
            return f(self, x);
        }
        let wide = x.map(|it| self.asm.cast(Opcode::FPExt, it, Element::F64));
        let result = f(&Reals { asm: self.asm, format: Format::Double, lanes: self.lanes }, wide);
        self.asm.cast(Opcode::FPTrunc, result, Element::F32)
    }
}
