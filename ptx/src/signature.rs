//! What operands each instruction takes, and which combinations of modifiers exist.
//!
//! [`Op::signature`] is the second half of the table in [`crate::op`]; checks, walks over registers,
//! the parser's choice between forms and the tests' random instructions all follow from it.

use crate::legal;
use crate::modifier::wgmma::{Wgmma, WgmmaTypes};
use crate::modifier::*;
use crate::op::Op;
use crate::types::*;

/// The place of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What the instruction does with the registers of the operand.
    pub access: Access,
    /// What may stand here.
    pub kind: Kind,
}

/// What an instruction does with a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Access {
    Read,
    Write,
    Update,
}

/// What may stand as an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A register for this type.
    Reg(Type),
    /// A register for this type, or `_`.
    Wanted(Type),
    /// A register for this type, or a number.
    Value(Type),
    /// A register for a u32, or an integer from 0 to this.
    Count(i64),
    /// As `Value`, or a special register or an address of a variable or parameter.
    Source(Type),
    /// So many registers in braces.
    Vector(Type, u8),
    /// A place in this space.
    Address(Space),
    /// An integer from the first to the second.
    Int(i64, i64),
    /// A label.
    Label,
    /// A box of a tensor with so many ranks: a generic address of its map, and coordinates.
    Box(u8),
}

/// A result.
fn put(ty: impl Into<Type>) -> Slot {
    Slot { access: Access::Write, kind: Kind::Reg(ty.into()) }
}

/// A number or register that is read.
fn get(ty: impl Into<Type>) -> Slot {
    Slot { access: Access::Read, kind: Kind::Value(ty.into()) }
}

/// Something that is read.
fn read(kind: Kind) -> Slot {
    Slot { access: Access::Read, kind }
}

/// A register that is read.
fn reg(ty: impl Into<Type>) -> Slot {
    read(Kind::Reg(ty.into()))
}

/// A small number.
fn count(most: i64) -> Slot {
    read(Kind::Count(most))
}

/// A place in memory.
fn place(space: Space) -> Slot {
    read(Kind::Address(space))
}

/// A result of some registers: one stands alone, more in braces.
fn put_many(ty: Type, count: u8) -> Slot {
    let kind = if count == 1 { Kind::Reg(ty) } else { Kind::Vector(ty, count) };
    Slot { access: Access::Write, kind }
}

/// So many numbers or registers that are read.
fn get_many(ty: Type, count: u8) -> Slot {
    read(if count == 1 { Kind::Value(ty) } else { Kind::Vector(ty, count) })
}

/// Some registers that are read, always in braces.
fn vector(ty: Type, count: u8) -> Slot {
    read(Kind::Vector(ty, count))
}

/// A mask of lanes.
fn mask() -> Slot {
    get(Type::B32)
}

impl Op {
    /// The operands in order, or why this combination of modifiers does not exist.
    #[allow(clippy::too_many_lines, reason = "it is a table")]
    pub fn signature(&self) -> Result<Vec<Slot>, String> {
        use Type::{B32, B64, F32, Pred, U32};
        legal::check(self)?;
        Ok(match *self {
            Op::IntBinary { ty, .. } => vec![put(ty), get(ty), get(ty)],
            Op::IntSign { ty, .. } => vec![put(ty), get(ty)],
            Op::MulWide { ty } => vec![put(ty.wide()), get(ty), get(ty)],
            Op::Mad { ty, .. } => vec![put(ty), get(ty), get(ty), get(ty)],
            Op::MadWide { ty } => vec![put(ty.wide()), get(ty), get(ty), get(ty.wide())],
            Op::Logic { ty: Logical::Pred, .. } => vec![put(Pred), reg(Pred), reg(Pred)],
            Op::Logic { ty, .. } => vec![put(ty), get(ty), get(ty)],
            Op::Not { ty: Logical::Pred } => vec![put(Pred), reg(Pred)],
            Op::Not { ty } => vec![put(ty), get(ty)],
            Op::Shl { ty } => vec![put(ty), get(ty), get(U32)],
            Op::Shr { ty } => vec![put(ty), get(ty), get(U32)],
            Op::Count { ty, .. } => vec![put(U32), get(ty)],
            Op::Brev { ty } => vec![put(ty), get(ty)],
            Op::Bfind { ty, .. } => vec![put(U32), get(ty)],
            Op::Bfe { ty } => vec![put(ty), get(ty), count(255), count(255)],
            Op::Bfi { ty } => vec![put(ty), get(ty), get(ty), count(255), count(255)],
            Op::Lop3 => vec![put(B32), get(B32), get(B32), get(B32), read(Kind::Int(0, 255))],
            Op::Prmt | Op::FunnelShift { .. } => vec![put(B32), get(B32), get(B32), get(B32)],
            Op::FloatBinary { ty, .. } | Op::Extreme { ty, .. } => vec![put(ty), get(ty), get(ty)],
            Op::FloatSign { ty, .. } | Op::Function { ty, .. } => vec![put(ty), get(ty)],
            Op::Fma { ty, .. } => vec![put(ty), get(ty), get(ty), get(ty)],
            Op::Div { ty, .. } => vec![put(ty), get(ty), get(ty)],
            Op::Copysign { ty } => vec![put(ty), get(ty), get(ty)],
            Op::IntSetp { combine, ty, .. } => setp(ty.into(), combine),
            Op::FloatSetp { combine, ty, .. } => setp(ty.into(), combine),
            Op::Selp { ty } => vec![put(ty), get(ty), get(ty), reg(Pred)],
            Op::Mov { ty } => vec![put(ty), read(Kind::Source(ty.into()))],
            Op::MovPred => vec![put(Pred), reg(Pred)],
            Op::Pack { ty } => vec![put(ty), vector(half(ty), 2)],
            Op::Unpack { ty } => vec![put_many(half(ty), 2), reg(ty)],
            Op::Cvt { to, from, .. } => vec![put(to), reg(from)],
            Op::CvtPair { to, .. } => vec![put(to), reg(F32), reg(F32)],
            Op::CvtPair8 { to, .. } => vec![put(to), reg(F32), reg(F32)],
            Op::CvtUnpair8 { from, .. } => vec![put(Type::F16x2), reg(from)],
            Op::CvtTf32 => vec![put(Type::TF32), reg(F32)],
            Op::Cvta { .. } => vec![put(B64), reg(B64)],
            Op::Ld { space, lanes, ty, .. } => vec![put_many(ty.into(), lanes.count()), place(space)],
            Op::St { space, lanes, ty, .. } => vec![place(space), get_many(ty.into(), lanes.count())],
            Op::Atom { space, ty, .. } => vec![put(ty), place(space.into()), get(ty)],
            Op::AtomCas { space, ty, .. } => vec![put(ty), place(space.into()), get(ty), get(ty)],
            Op::Red { space, ty, .. } => vec![place(space.into()), get(ty)],
            Op::RedVector { lanes } => vec![place(Space::Global), get_many(F32, lanes.count())],
            Op::PrefetchLine { .. } => vec![place(Space::Global)],
            Op::Membar { .. } | Op::Fence { .. } | Op::Ret | Op::Exit | Op::Trap => vec![],
            Op::Bra { .. } => vec![read(Kind::Label)],
            Op::Nanosleep => vec![get(U32)],
            Op::BarSyncAll => vec![barrier()],
            Op::BarSync | Op::BarArrive => vec![barrier(), get(U32)],
            Op::BarWarp => vec![mask()],
            Op::Shfl { .. } => vec![put(B32), reg(B32), get(U32), get(U32), mask()],
            Op::ShflIn { .. } => vec![put(B32), put(Pred), reg(B32), get(U32), get(U32), mask()],
            Op::Vote { .. } => vec![put(Pred), reg(Pred), mask()],
            Op::Ballot => vec![put(B32), reg(Pred), mask()],
            Op::ActiveMask => vec![put(B32)],
            Op::MatchAny { ty } => vec![put(B32), reg(ty), mask()],
            Op::MatchAll { ty } => vec![put(B32), put(Pred), reg(ty), mask()],
            Op::Redux { .. } => vec![put(B32), reg(B32), mask()],
            Op::Elect => vec![Slot { access: Access::Write, kind: Kind::Wanted(B32) }, put(Pred), mask()],
            Op::Ldmatrix { matrices, .. } => vec![
                Slot { access: Access::Write, kind: Kind::Vector(B32, matrices.count()) },
                place(Space::Shared),
            ],
            Op::Stmatrix { matrices, .. } => vec![place(Space::Shared), vector(B32, matrices.count())],
            Op::Movmatrix => vec![put(B32), reg(B32)],
            Op::Mma { form } => {
                let fragments = form.fragments();
                let (sums, counts) = (fragments.sum_type, fragments.registers);
                let factors = fragments.factor_type;
                vec![
                    put_many(sums, counts[2]),
                    read(many(factors, counts[0])),
                    read(many(factors, counts[1])),
                    vector(sums, counts[2]),
                ]
            }
            Op::CpAsync { cache, .. } => vec![place(Space::Shared), place(Space::Global), copied(cache)],
            Op::CpAsyncFill { cache, .. } => {
                vec![place(Space::Shared), place(Space::Global), copied(cache), count(16)]
            }
            Op::CpAsyncWait => vec![read(Kind::Int(0, 64))],
            Op::CpAsyncCommit | Op::CpAsyncWaitAll => vec![],
            Op::MbarrierInit => vec![place(Space::Shared), get(U32)],
            Op::MbarrierInval => vec![place(Space::Shared)],
            Op::MbarrierArrive => vec![state(), place(Space::Shared)],
            Op::MbarrierArriveMany | Op::MbarrierArriveExpect => {
                vec![state(), place(Space::Shared), get(U32)]
            }
            Op::MbarrierWait { .. } => vec![put(Pred), place(Space::Shared), count(1)],
            Op::TensorLoad { rank } => vec![place(Space::Shared), tensor(rank), place(Space::Shared)],
            Op::TensorStore { rank } => vec![tensor(rank), place(Space::Shared)],
            Op::BulkLoad => {
                vec![place(Space::Shared), place(Space::Global), size(), place(Space::Shared)]
            }
            Op::BulkStore | Op::BulkAdd => vec![place(Space::Global), place(Space::Shared), size()],
            Op::CpAsyncArrive => vec![place(Space::Shared)],
            Op::PrefetchMap => vec![place(Space::Generic)],
            Op::BulkWait { .. } => vec![read(Kind::Int(0, 64))],
            Op::WgmmaShared { form } => wgmma(form, get(B64), 2),
            Op::WgmmaMixed { form } => wgmma(form, vector(B32, 4), 1),
            Op::WgmmaWait => vec![read(Kind::Int(0, 7))],
            Op::SetMaxRegisters { .. } => vec![read(Kind::Int(24, 256))],
            Op::FenceMbarrierInit
            | Op::FenceProxy { .. }
            | Op::BulkCommit
            | Op::WgmmaFence
            | Op::WgmmaCommit
            | Op::GridDependency { .. } => vec![],
        })
    }

    /// What stands between the first two operands.
    pub(crate) fn first_separator(&self) -> char {
        if matches!(self, Op::ShflIn { .. } | Op::MatchAll { .. } | Op::Elect) { '|' } else { ',' }
    }
}

/// The state of a barrier in memory, which few want.
fn state() -> Slot {
    Slot { access: Access::Write, kind: Kind::Wanted(Type::B64) }
}

/// The bytes of a plain copy.
fn size() -> Slot {
    count((1 << 20) - 16)
}

/// A box of a tensor.
fn tensor(rank: TensorRank) -> Slot {
    read(Kind::Box(rank.count()))
}

/// The sums, the factors, whether the sums count, signs, and transpositions of factors in memory.
fn wgmma(form: Wgmma, left: Slot, in_memory: usize) -> Vec<Slot> {
    let sums = Slot { access: Access::Update, kind: Kind::Vector(form.types.sum(), form.sums()) };
    let mut slots = vec![sums, left, get(Type::B64), reg(Type::Pred)];
    if form.types != WgmmaTypes::S8 {
        slots.extend([read(Kind::Int(-1, 1)), read(Kind::Int(-1, 1))]);
    }
    if form.types.transposes() {
        slots.extend(vec![read(Kind::Int(0, 1)); in_memory]);
    }
    slots
}

/// A predicate from two values, and a third operand where it is combined with it.
fn setp(ty: Type, combine: Combine) -> Vec<Slot> {
    let mut slots = vec![put(Type::Pred), get(ty), get(ty)];
    if combine != Combine::None {
        slots.push(reg(Type::Pred));
    }
    slots
}

/// One of the sixteen barriers of a block. It is a number: ptxas reserves all of them for a register.
fn barrier() -> Slot {
    read(Kind::Int(0, 15))
}

/// How many bytes a `cp.async` copies.
fn copied(cache: CopyCache) -> Slot {
    read(if cache == CopyCache::All { Kind::Int(4, 16) } else { Kind::Int(16, 16) })
}

/// A fragment of one factor, which stands in braces even if it is a single register.
fn many(ty: Type, count: u8) -> Kind {
    Kind::Vector(ty, count)
}

/// Half of a register.
fn half(ty: WideBits) -> Type {
    match ty {
        WideBits::B32 => Type::B16,
        WideBits::B64 => Type::B32,
    }
}

impl Lanes {
    /// How many there are.
    pub fn count(self) -> u8 {
        match self {
            Lanes::One => 1,
            Lanes::Two => 2,
            Lanes::Four => 4,
        }
    }
}

impl Matrices {
    /// How many there are.
    pub fn count(self) -> u8 {
        match self {
            Matrices::X1 => 1,
            Matrices::X2 => 2,
            Matrices::X4 => 4,
        }
    }
}

impl TensorRank {
    /// How many there are.
    pub fn count(self) -> u8 {
        match self {
            TensorRank::R1 => 1,
            TensorRank::R2 => 2,
            TensorRank::R3 => 3,
            TensorRank::R4 => 4,
            TensorRank::R5 => 5,
        }
    }
}

impl From<Common> for Space {
    fn from(space: Common) -> Space {
        match space {
            Common::Global => Space::Global,
            Common::Shared => Space::Shared,
        }
    }
}

/// The registers of one thread in an [`Op::Mma`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragments {
    /// Rows of A and D, columns of B and D, and what is summed over.
    pub shape: [u32; 3],
    /// How many registers A, B, and C or D have.
    pub registers: [u8; 3],
    /// What registers of A and B are.
    pub factor_type: Type,
    /// What registers of C and D are.
    pub sum_type: Type,
}

impl Mma {
    /// Its shape and registers.
    pub fn fragments(self) -> Fragments {
        let (shape, registers, factor_type, sum_type) = match self {
            Mma::F32Bf16K16 | Mma::F32F16K16 => ([16, 8, 16], [4, 2, 4], Type::B32, Type::F32),
            Mma::F16F16K16 => ([16, 8, 16], [4, 2, 2], Type::B32, Type::F16x2),
            Mma::F32Bf16K8 | Mma::F32F16K8 => ([16, 8, 8], [2, 1, 4], Type::B32, Type::F32),
            Mma::F32Tf32K8 => ([16, 8, 8], [4, 2, 4], Type::TF32, Type::F32),
            Mma::F32Tf32K4 => ([16, 8, 4], [2, 1, 4], Type::TF32, Type::F32),
            Mma::S32S8K32 | Mma::S32U8S8K32 | Mma::S32U8K32 => ([16, 8, 32], [4, 2, 4], Type::B32, Type::S32),
            Mma::S32S8K16 => ([16, 8, 16], [2, 1, 4], Type::B32, Type::S32),
            Mma::F64K4 => ([8, 8, 4], [1, 1, 2], Type::F64, Type::F64),
        };
        Fragments { shape, registers, factor_type, sum_type }
    }
}
