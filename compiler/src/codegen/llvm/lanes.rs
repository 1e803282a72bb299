//! Formulas to instructions: the lanes of a register as a back end of `codegen::math`.

use inkwell::FloatPredicate;

use super::assembler::{Assembler, Element, Lanes, Opcode, Value};
use super::machine::Machine;
use crate::codegen::math::{Arith, Format};

/// The lanes of registers of one floating-point type.
pub(super) struct Reals<'a, 'c> {
    pub(super) asm: &'a Assembler<'c>,
    pub(super) format: Format,
    pub(super) lanes: Lanes,
    pub(super) machine: &'a Machine,
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

impl<'c> Reals<'_, 'c> {
    /// `1 / a` to 14 binary digits, where one instruction tells.
    fn estimate(&self, a: Value<'c>) -> Option<Value<'c>> {
        if !self.machine.estimates || self.format != Format::Single {
            return None;
        }
        let Some(lanes) = self.lanes else {
            let all = self.by_sixteens([self.asm.splat(a, Some(1))], 1, |[it]| self.asm.estimate(it));
            return Some(self.asm.lane(all, 0));
        };
        Some(self.by_sixteens([a], lanes, |[it]| self.asm.estimate(it)))
    }

    /// Vectors of so many lanes, sixteen at a time; what is left is filled up with the last.
    fn by_sixteens<const N: usize>(
        &self,
        of: [Value<'c>; N],
        lanes: u32,
        f: impl Fn([Value<'c>; N]) -> Value<'c>,
    ) -> Value<'c> {
        let lanes = lanes as usize;
        let part = |from: usize| {
            let these: Vec<usize> = (from..from + 16).map(|it| it.min(lanes - 1)).collect();
            f(of.map(|it| self.asm.shuffle(it, it, &these)))
        };
        let all = self.asm.concatenated((0..lanes).step_by(16).map(part).collect());
        let these: Vec<usize> = (0..lanes).collect();
        self.asm.shuffle(all, all, &these)
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

    fn fuses(&self) -> bool {
        self.machine.fuses
    }

    fn mul_add(&self, a: Value<'c>, b: Value<'c>, c: Value<'c>) -> Value<'c> {
        if self.machine.fuses {
            return self.asm.function("llvm.fma", &[a, b, c]);
        }
        self.add(self.mul(a, b), c)
    }

    fn scaled(&self, a: Value<'c>, n: Value<'c>) -> Option<Value<'c>> {
        let lanes = self.lanes.filter(|it| it.is_multiple_of(16))?;
        if !self.machine.scales || self.format != Format::Single {
            return None;
        }
        Some(self.by_sixteens([a, n], lanes, |[a, n]| self.asm.scalef(a, n)))
    }

    fn quotient(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let Some(estimate) = self.estimate(b) else { return self.div(a, b) };
        // What the estimate leaves, and then what the quotient does, is known but for one rounding.
        let minus_b = self.neg(b);
        let left = self.mul_add(minus_b, estimate, self.float(1.0));
        let inverse = self.mul_add(left, estimate, estimate);
        let near = self.mul(a, inverse);
        self.mul_add(self.mul_add(minus_b, near, a), inverse, near)
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
        let result = f(&Reals { format: Format::Double, ..*self }, wide);
        self.asm.cast(Opcode::FPTrunc, result, Element::F32)
    }
}
