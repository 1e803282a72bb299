//! The forms of `wgmma`: how many columns, and what the factors and sums are.

use crate::piece::{Piece, pieces};
use crate::types::Type;

pieces! {
    /// The types of D, A and B. Sums are f32 or s32.
    WgmmaTypes {
        BF16 = "f32.bf16.bf16", F16 = "f32.f16.f16", TF32 = "f32.tf32.tf32", E4M3 = "f32.e4m3.e4m3",
        S8 = "s32.s8.s8",
    }
}

impl WgmmaTypes {
    /// What the product sums over: 32 bytes of each row.
    pub fn depth(self) -> u32 {
        match self {
            WgmmaTypes::BF16 | WgmmaTypes::F16 => 16,
            WgmmaTypes::TF32 => 8,
            WgmmaTypes::E4M3 | WgmmaTypes::S8 => 32,
        }
    }

    /// Whether the factors may lie the other way round in shared memory.
    pub fn transposes(self) -> bool {
        matches!(self, WgmmaTypes::BF16 | WgmmaTypes::F16)
    }

    /// What registers of the sum are.
    pub fn sum(self) -> Type {
        if self == WgmmaTypes::S8 { Type::S32 } else { Type::F32 }
    }
}

/// A form of `wgmma`: 64 rows, so many columns, and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wgmma {
    /// The columns of B and D: a multiple of 8 up to 256.
    pub columns: u16,
    /// The types.
    pub types: WgmmaTypes,
}

impl Wgmma {
    /// The registers of the sum in one thread.
    pub fn sums(self) -> u8 {
        u8::try_from(self.columns / 2).expect("at most 256 columns")
    }
}

impl Piece for Wgmma {
    fn print(&self, out: &mut String) {
        out.push_str(&format!(".m64n{}k{}.{}", self.columns, self.types.depth(), self.types.text()));
    }

    fn parse(rest: &mut &str) -> Option<Wgmma> {
        let shape = rest.strip_prefix(".m64n")?;
        let (columns, shape) = shape.split_at(shape.find('k')?);
        let (depth, _) = shape[1..].split_once('.')?;
        let mut after_shape = &shape[1 + depth.len()..];
        let types = WgmmaTypes::parse(&mut after_shape)?;
        let columns = columns.parse().ok().filter(|columns| (8..=256).contains(columns))?;
        let form = Wgmma { columns, types };
        // Only what is printed so reads back so.
        let mut text = String::new();
        form.print(&mut text);
        *rest = rest.strip_prefix(text.as_str())?;
        Some(form)
    }

    fn all() -> Vec<Wgmma> {
        let columns = (8..=256).step_by(8);
        let form = |columns| WgmmaTypes::ALL.iter().map(move |types| Wgmma { columns, types: *types });
        columns.flat_map(form).collect()
    }
}
