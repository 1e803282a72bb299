//! The dtypes of tensors in memory, and the Rust types that hold their elements.

use serde::{Deserialize, Serialize};

/// What one element of a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U8,
    I4,
    Bool,
}

impl DType {
    /// Every dtype, in the order of the language guide.
    pub const ALL: [DType; 13] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F8E4M3,
        DType::F8E5M2,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::I4,
        DType::Bool,
    ];

    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F8E4M3 => "f8e4m3",
            DType::F8E5M2 => "f8e5m2",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I4 => "i4",
            DType::Bool => "bool",
        }
    }

    /// Bytes of one element, which is also its alignment.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::F8E4M3 | DType::F8E5M2 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => 1,
        }
    }

    /// The kind of its values: real, integer or bool.
    pub fn kind(self) -> Kind {
        match self {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => Kind::Real,
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 => Kind::Int,
            DType::Bool => Kind::Bool,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The three kinds of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An integer.
    Int,
    /// A real number.
    Real,
    /// True or false.
    Bool,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Int => "an integer",
            Kind::Real => "a real",
            Kind::Bool => "a bool",
        })
    }
}

/// A Rust type that a tensor may be a slice of.
///
/// # Safety
/// The type has the size and alignment of `DTYPE`; a tensor of that dtype written by a kernel holds
/// only valid values of it.
pub unsafe trait Element: Copy + Default + Send + Sync + 'static {
    /// The dtype that it is in memory.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($type:ty = $dtype:ident),* $(,)?) => {
        $(
            // SAFETY: the layouts are equal, and kernels write 0 and 1 only to bools.
            unsafe impl Element for $type { const DTYPE: DType = DType::$dtype; }
            const _: () = assert!(size_of::<$type>() == align_of::<$type>());
        )*
        #[cfg(test)]
        const SIZES: &[(DType, usize)] = &[$((DType::$dtype, size_of::<$type>())),*];
    };
}

elements! {
    f64 = F64,
    f32 = F32,
    half::f16 = F16,
    half::bf16 = BF16,
    F8E4M3 = F8E4M3,
    F8E5M2 = F8E5M2,
    i64 = I64,
    i32 = I32,
    i16 = I16,
    i8 = I8,
    u8 = U8,
    I4 = I4,
    bool = Bool,
}

/// The bits of a float with four exponent bits and no infinities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F8E4M3(pub u8);

/// The bits of a float with five exponent bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F8E5M2(pub u8);

/// An integer from -8 to 7 in a byte of its own, sign-extended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct I4(pub i8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_has_an_element_of_its_size() {
        assert_eq!(SIZES, DType::ALL.map(|it| (it, it.size())));
    }

    #[test]
    fn names_in_the_manifest_are_those_of_the_language() {
        for dtype in DType::ALL {
            assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
        }
    }
}
