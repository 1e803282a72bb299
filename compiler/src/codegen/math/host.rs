//! The host's own floats as a back end: for conversions at compile time, and for tests.

use super::arith::{Arith, Format};

/// The host's f32.
pub struct Host32;

/// The host's f32, with products that are added by one instruction.
pub struct Fused32;

/// The host's f64.
pub struct Host64;

macro_rules! host {
    ($host:ident, $float:ident, $int:ident, $format:ident, $fuses:literal) => {
        impl Arith for $host {
            type F = $float;
            type I = $int;
            type B = bool;
            type Wide = Host64;

            fn format(&self) -> Format {
                Format::$format
            }
            fn float(&self, x: f64) -> $float {
                x as $float
            }
            fn int(&self, x: i64) -> $int {
                x as $int
            }
            fn add(&self, a: $float, b: $float) -> $float {
                a + b
            }
            fn sub(&self, a: $float, b: $float) -> $float {
                a - b
            }
            fn mul(&self, a: $float, b: $float) -> $float {
                a * b
            }
            fn div(&self, a: $float, b: $float) -> $float {
                a / b
            }
            fn neg(&self, a: $float) -> $float {
                -a
            }
            fn abs(&self, a: $float) -> $float {
                a.abs()
            }
            fn sqrt(&self, a: $float) -> $float {
                a.sqrt()
            }
            fn fuses(&self) -> bool {
                $fuses
            }
            fn mul_add(&self, a: $float, b: $float, c: $float) -> $float {
                if $fuses { a.mul_add(b, c) } else { a * b + c }
            }
            fn lt(&self, a: $float, b: $float) -> bool {
                a < b
            }
            fn eq(&self, a: $float, b: $float) -> bool {
                a == b
            }
            fn both(&self, a: bool, b: bool) -> bool {
                a && b
            }
            fn either(&self, a: bool, b: bool) -> bool {
                a || b
            }
            fn not(&self, a: bool) -> bool {
                !a
            }
            fn select(&self, mask: bool, a: $float, b: $float) -> $float {
                if mask { a } else { b }
            }
            fn to_bits(&self, a: $float) -> $int {
                a.to_bits().cast_signed()
            }
            fn from_bits(&self, a: $int) -> $float {
                $float::from_bits(a.cast_unsigned())
            }
            fn iadd(&self, a: $int, b: $int) -> $int {
                a.wrapping_add(b)
            }
            fn isub(&self, a: $int, b: $int) -> $int {
                a.wrapping_sub(b)
            }
            fn iand(&self, a: $int, b: $int) -> $int {
                a & b
            }
            fn ior(&self, a: $int, b: $int) -> $int {
                a | b
            }
            fn ixor(&self, a: $int, b: $int) -> $int {
                a ^ b
            }
            fn shl(&self, a: $int, by: u32) -> $int {
                a << by
            }
            fn sshr(&self, a: $int, by: u32) -> $int {
                a >> by
            }
            fn in_double<const N: usize>(
                &self,
                x: [$float; N],
                f: impl Fn(&Host64, [f64; N]) -> f64,
            ) -> $float {
                f(&Host64, x.map(f64::from)) as $float
            }
        }
    };
}

host!(Host32, f32, i32, Single, false);
host!(Fused32, f32, i32, Single, true);
host!(Host64, f64, i64, Double, false);
