//! Formulas to instructions: the lanes of a Cranelift value as a back end of `codegen::math`.

use std::cell::RefCell;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, F64X2, I8X16};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;

use crate::codegen::math::{Arith, Format};

/// The lanes of one floating-point type, scalar or vector.
pub(super) struct Lanes<'c, 'm, 'f> {
    builder: &'c RefCell<&'m mut FunctionBuilder<'f>>,
    ty: Type,
    fuses: bool,
}

/// Computes with lanes of that type; products are added by one instruction, or not.
pub(super) fn with_lanes(
    builder: &mut FunctionBuilder<'_>,
    (ty, fuses): (Type, bool),
    compute: impl FnOnce(&Lanes<'_, '_, '_>) -> Value,
) -> Value {
    compute(&Lanes { builder: &RefCell::new(builder), ty, fuses })
}

/// The integers that hold the bits of a floating-point type.
pub(super) fn bits_type(ty: Type) -> Type {
    ty.as_int()
}

/// `a` where the mask holds, `b` elsewhere; the mask is what comparing values of such a type gives.
pub(super) fn choose(builder: &mut FunctionBuilder<'_>, mask: Value, a: Value, b: Value) -> Value {
    let ty = builder.func.dfg.value_type(a);
    if !ty.is_vector() {
        return builder.ins().select(mask, a, b);
    }
    let mask = builder.ins().bitcast(ty, MemFlagsData::new(), mask);
    builder.ins().bitselect(mask, a, b)
}

/// A constant in every lane of a floating-point type.
pub(super) fn float_const(builder: &mut FunctionBuilder<'_>, ty: Type, x: f64) -> Value {
    let lane = ty.lane_type();
    let value = if lane == F32 { builder.ins().f32const(x as f32) } else { builder.ins().f64const(x) };
    if ty.is_vector() { builder.ins().splat(ty, value) } else { value }
}

impl Lanes<'_, '_, '_> {
    fn emit(&self, emit: impl FnOnce(&mut FunctionBuilder<'_>) -> Value) -> Value {
        emit(&mut self.builder.borrow_mut())
    }
}

macro_rules! instructions {
    ($($method:ident($($arg:ident),*) = $instruction:ident;)*) => {$(
        fn $method(&self, $($arg: Value),*) -> Value {
            self.emit(|builder| builder.ins().$instruction($($arg),*))
        }
    )*};
}

impl Arith for Lanes<'_, '_, '_> {
    type F = Value;
    type I = Value;
    type B = Value;
    type Wide = Self;

    fn fuses(&self) -> bool {
        self.fuses
    }

    fn mul_add(&self, a: Value, b: Value, c: Value) -> Value {
        if self.fuses {
            return self.emit(|builder| builder.ins().fma(a, b, c));
        }
        self.add(self.mul(a, b), c)
    }

    instructions! {
        add(a, b) = fadd;
        sub(a, b) = fsub;
        mul(a, b) = fmul;
        div(a, b) = fdiv;
        neg(a) = fneg;
        abs(a) = fabs;
        sqrt(a) = sqrt;
        both(a, b) = band;
        either(a, b) = bor;
        iadd(a, b) = iadd;
        isub(a, b) = isub;
        iand(a, b) = band;
        ior(a, b) = bor;
        ixor(a, b) = bxor;
    }

    fn format(&self) -> Format {
        if self.ty.lane_type() == F32 { Format::Single } else { Format::Double }
    }

    fn float(&self, x: f64) -> Value {
        self.emit(|builder| float_const(builder, self.ty, x))
    }

    fn int(&self, x: i64) -> Value {
        self.emit(|builder| {
            let ty = bits_type(self.ty);
            let value = builder.ins().iconst(ty.lane_type(), x);
            if ty.is_vector() { builder.ins().splat(ty, value) } else { value }
        })
    }

    fn lt(&self, a: Value, b: Value) -> Value {
        self.emit(|builder| builder.ins().fcmp(FloatCC::LessThan, a, b))
    }

    fn eq(&self, a: Value, b: Value) -> Value {
        self.emit(|builder| builder.ins().fcmp(FloatCC::Equal, a, b))
    }

    fn not(&self, a: Value) -> Value {
        self.emit(|builder| not(builder, a))
    }

    fn select(&self, mask: Value, a: Value, b: Value) -> Value {
        self.emit(|builder| choose(builder, mask, a, b))
    }

    fn select_bits(&self, mask: Value, a: Value, b: Value) -> Value {
        self.emit(|builder| choose(builder, mask, a, b))
    }

    fn to_bits(&self, a: Value) -> Value {
        self.emit(|builder| builder.ins().bitcast(bits_type(self.ty), MemFlagsData::new(), a))
    }

    fn from_bits(&self, a: Value) -> Value {
        self.emit(|builder| builder.ins().bitcast(self.ty, MemFlagsData::new(), a))
    }

    fn shl(&self, a: Value, by: u32) -> Value {
        self.emit(|builder| builder.ins().ishl_imm_u(a, i64::from(by)))
    }

    fn sshr(&self, a: Value, by: u32) -> Value {
        self.emit(|builder| builder.ins().sshr_imm_u(a, i64::from(by)))
    }

    fn in_double<const N: usize>(&self, x: [Value; N], f: impl Fn(&Self, [Value; N]) -> Value) -> Value {
        let lanes = |ty| Lanes { builder: self.builder, ty, fuses: self.fuses };
        if self.format() == Format::Double {
            return f(self, x);
        }
        if !self.ty.is_vector() {
            let wide = x.map(|it| self.emit(|builder| builder.ins().fpromote(F64, it)));
            let result = f(&lanes(F64), wide);
            return self.emit(|builder| builder.ins().fdemote(F32, result));
        }
        let half = |x: [Value; N]| {
            let wide = x.map(|it| self.emit(|builder| builder.ins().fvpromote_low(it)));
            let result = f(&lanes(F64X2), wide);
            self.emit(|builder| builder.ins().fvdemote(result))
        };
        let (low, high) = (half(x), half(x.map(|it| self.shuffled(it, it, [2, 3, 2, 3]))));
        self.shuffled(low, high, [0, 1, 4, 5])
    }
}

impl Lanes<'_, '_, '_> {
    fn shuffled(&self, a: Value, b: Value, lanes: [u8; 4]) -> Value {
        self.emit(|builder| shuffle(builder, a, b, lanes))
    }
}

/// The opposite of a bool or of a mask.
pub(super) fn not(builder: &mut FunctionBuilder<'_>, a: Value) -> Value {
    if builder.func.dfg.value_type(a).is_vector() {
        builder.ins().bnot(a)
    } else {
        builder.ins().icmp_imm_u(IntCC::Equal, a, 0)
    }
}

/// Four 32-bit lanes of two vectors: those of `a` are 0 … 3, those of `b` are 4 … 7.
pub(super) fn shuffle(builder: &mut FunctionBuilder<'_>, a: Value, b: Value, lanes: [u8; 4]) -> Value {
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    let ty = builder.func.dfg.value_type(a);
    let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (0..4).map(move |byte| 4 * lane + byte)).collect();
    let bytes = builder.func.dfg.immediates.push(ConstantData::from(&bytes[..]));
    let [a, b] = [a, b].map(|it| builder.ins().bitcast(I8X16, flags, it));
    let shuffled = builder.ins().shuffle(a, b, bytes);
    builder.ins().bitcast(ty, flags, shuffled)
}
