//! Types of registers and types of operations.
//!
//! A register has one of six types. Integers of both signs, packed halves and other bits share the
//! `B` types, as PTX lets them; what the bits mean is said by each operation, whose type is a [`Type`].
//! Operations take subsets of these, each an enum of its own, so that `shl.f32` cannot be written.

use crate::piece::pieces;

pieces! {
    /// The type of a register.
    RegType { Pred = "pred", B16 = "b16", B32 = "b32", B64 = "b64", F32 = "f32", F64 = "f64" }

    /// What an operation takes a register's bits for.
    Type {
        Pred = "pred",
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64",
        U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64",
        F16 = "f16", F16x2 = "f16x2", BF16 = "bf16", BF16x2 = "bf16x2", TF32 = "tf32",
        E4M3x2 = "e4m3x2", E5M2x2 = "e5m2x2",
        F32 = "f32", F64 = "f64",
    }
}

/// Declares subsets of [`Type`].
macro_rules! subsets {
    ($( $(#[$doc:meta])* $name:ident { $( $variant:ident = $text:literal ),+ $(,)? } )+) => {
        pieces! { $( $(#[$doc])* $name { $( $variant = $text ),+ } )+ }
        $( impl From<$name> for Type {
            fn from(ty: $name) -> Type {
                match ty { $( $name::$variant => Type::$variant ),+ }
            }
        } )+
    };
}

subsets! {
    /// Integers to compute with.
    Int { U16 = "u16", U32 = "u32", U64 = "u64", S16 = "s16", S32 = "s32", S64 = "s64" }
    /// Integers with a sign.
    Signed { S16 = "s16", S32 = "s32", S64 = "s64" }
    /// Integers whose products may have twice their width.
    Narrow { U16 = "u16", U32 = "u32", S16 = "s16", S32 = "s32" }
    /// Integers of 32 and 64 bits.
    WideInt { U32 = "u32", U64 = "u64", S32 = "s32", S64 = "s64" }
    /// Bits.
    Bits { B16 = "b16", B32 = "b32", B64 = "b64" }
    /// Bits, 32 and 64 of them.
    WideBits { B32 = "b32", B64 = "b64" }
    /// Bits and truth values.
    Logical { Pred = "pred", B16 = "b16", B32 = "b32", B64 = "b64" }
    /// Floats to compute with, the `x2` ones two at a time.
    Float { F16 = "f16", F16x2 = "f16x2", BF16 = "bf16", BF16x2 = "bf16x2", F32 = "f32", F64 = "f64" }
    /// Floats that have registers of their own.
    Real { F32 = "f32", F64 = "f64" }
    /// What a register other than a predicate holds.
    Scalar {
        B16 = "b16", B32 = "b32", B64 = "b64", U16 = "u16", U32 = "u32", U64 = "u64",
        S16 = "s16", S32 = "s32", S64 = "s64", F32 = "f32", F64 = "f64",
    }
    /// What loads and stores move.
    Data {
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64", F32 = "f32", F64 = "f64",
    }
    /// What conversions go between.
    Number {
        U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64", S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64",
        F16 = "f16", BF16 = "bf16", F32 = "f32", F64 = "f64",
    }
    /// Pairs that two floats are packed into.
    Pair { F16x2 = "f16x2", BF16x2 = "bf16x2", E4M3x2 = "e4m3x2", E5M2x2 = "e5m2x2" }
    /// Pairs of 8-bit floats.
    Pair8 { E4M3x2 = "e4m3x2", E5M2x2 = "e5m2x2" }
    /// What atomic operations work on.
    Atomic {
        U32 = "u32", U64 = "u64", S32 = "s32", S64 = "s64", B32 = "b32", B64 = "b64",
        F32 = "f32", F64 = "f64", F16x2 = "noftz.f16x2", BF16x2 = "noftz.bf16x2",
    }
}

impl Type {
    /// The bits of a value.
    pub fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B8 | Type::U8 | Type::S8 => 8,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::BF16 | Type::E4M3x2 | Type::E5M2x2 => 16,
            Type::B32 | Type::U32 | Type::S32 | Type::F16x2 | Type::BF16x2 | Type::TF32 | Type::F32 => 32,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 64,
        }
    }

    /// The type of a fresh register for a value of this type. One of 8 bits goes into 32.
    pub fn register(self) -> RegType {
        match self {
            Type::F32 => RegType::F32,
            Type::F64 => RegType::F64,
            Type::Pred
            | Type::B8
            | Type::B16
            | Type::B32
            | Type::B64
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::S8
            | Type::S16
            | Type::S32
            | Type::S64
            | Type::F16
            | Type::F16x2
            | Type::BF16
            | Type::BF16x2
            | Type::TF32
            | Type::E4M3x2
            | Type::E5M2x2 => match self.bits() {
                1 => RegType::Pred,
                16 => RegType::B16,
                64 => RegType::B64,
                _ => RegType::B32,
            },
        }
    }

    /// Whether a register may hold a value of this type: plain bits also go into float registers of
    /// their width, and 8 bits into registers of 16 or 32.
    pub fn fits(self, register: RegType) -> bool {
        register == self.register()
            || (self == Type::B32 && register == RegType::F32)
            || (self == Type::B64 && register == RegType::F64)
            || (self.bits() == 8 && register == RegType::B16)
    }

    /// Whether it is an integer with or without a sign.
    pub fn is_int(self) -> bool {
        self.is_signed() || matches!(self, Type::U8 | Type::U16 | Type::U32 | Type::U64)
    }

    /// Whether an integer may stand for a value of this type: packed and half floats are not written so.
    pub fn takes_integers(self) -> bool {
        self.is_int() || matches!(self, Type::B8 | Type::B16 | Type::B32 | Type::B64)
    }

    /// Whether it is an integer with a sign.
    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }
}

impl Narrow {
    /// The integer of twice the width.
    pub fn wide(self) -> Type {
        match self {
            Narrow::U16 => Type::U32,
            Narrow::U32 => Type::U64,
            Narrow::S16 => Type::S32,
            Narrow::S32 => Type::S64,
        }
    }
}

impl RegType {
    /// The bits that it holds.
    pub fn bits(self) -> u32 {
        match self {
            RegType::Pred => 1,
            RegType::B16 => 16,
            RegType::B32 | RegType::F32 => 32,
            RegType::B64 | RegType::F64 => 64,
        }
    }
}
