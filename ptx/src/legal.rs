//! Which combinations of modifiers exist.
//!
//! The types of [`crate::op`] rule out most of what PTX does not have; this table rules out the rest.

use crate::modifier::wgmma::{Wgmma, WgmmaTypes};
use crate::modifier::*;
use crate::op::Op;
use crate::types::*;

/// Says why a combination of modifiers does not exist.
pub(crate) fn check(op: &Op) -> Result<(), String> {
    if exists(op) { Ok(()) } else { Err(format!("there is no `{}`", op.mnemonic())) }
}

/// Whether there is such an instruction.
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn exists(op: &Op) -> bool {
    match *op {
        Op::FloatBinary { round, flush, ty, .. } => binary(round, flush, ty),
        Op::Extreme { flush, nan, ty, .. } => match ty {
            Float::F32 | Float::F16 | Float::F16x2 => true,
            Float::BF16 | Float::BF16x2 => flush == Flush::Keep,
            Float::F64 => flush == Flush::Keep && nan == Nan::Number,
        },
        Op::FloatSign { flush, ty, .. } => flush == Flush::Keep || flushes(ty),
        Op::Fma { round, flush, ty } => match ty {
            Float::F32 => round != Round::Any,
            Float::F64 => round != Round::Any && flush == Flush::Keep,
            Float::F16 | Float::F16x2 => round == Round::Nearest,
            Float::BF16 | Float::BF16x2 => round == Round::Nearest && flush == Flush::Keep,
        },
        Op::Div { how, flush, ty } => match ty {
            Real::F32 => true,
            Real::F64 => !matches!(how, Division::Approx | Division::Full) && flush == Flush::Keep,
        },
        Op::Function { f, flush, ty } => function(f, flush, ty),
        Op::FloatSetp { cmp: _, combine: _, flush, ty } => match ty {
            Float::F32 | Float::F16 => true,
            Float::BF16 | Float::F64 => flush == Flush::Keep,
            Float::F16x2 | Float::BF16x2 => false,
        },
        Op::Cvt { round, saturate, to, from } => conversion(round, saturate, to, from),
        Op::CvtPair { to, .. } => matches!(to, Pair::F16x2 | Pair::BF16x2),
        Op::Ld { order, space, cache, lanes, ty } => load(order, space, cache, lanes, ty),
        Op::St { order, space, cache, lanes, ty } => store(order, space, cache, lanes, ty),
        Op::Atom { op, ty, .. } => atomic(op, ty),
        Op::Red { order, op, ty, .. } => {
            let op = match op {
                RedOp::Add => AtomOp::Add,
                RedOp::Min => AtomOp::Min,
                RedOp::Max => AtomOp::Max,
                RedOp::And => AtomOp::And,
                RedOp::Or => AtomOp::Or,
                RedOp::Xor => AtomOp::Xor,
            };
            !matches!(order, AtomOrder::AcquireGpu | AtomOrder::AcqRelGpu) && atomic(op, ty)
        }
        Op::RedVector { lanes } => lanes != Lanes::One,
        Op::Redux { op, ty } => match op {
            ReduxOp::Add | ReduxOp::Min | ReduxOp::Max => ty != ReduxType::B32,
            ReduxOp::And | ReduxOp::Or | ReduxOp::Xor => ty == ReduxType::B32,
        },
        Op::IntBinary { .. }
        | Op::Mad { .. }
        | Op::IntSign { .. }
        | Op::MulWide { .. }
        | Op::MadWide { .. }
        | Op::Logic { .. }
        | Op::Not { .. }
        | Op::Shl { .. }
        | Op::Shr { .. }
        | Op::Count { .. }
        | Op::Brev { .. }
        | Op::Bfind { .. }
        | Op::Bfe { .. }
        | Op::Bfi { .. }
        | Op::Lop3
        | Op::Prmt
        | Op::FunnelShift { .. }
        | Op::Copysign { .. }
        | Op::IntSetp { .. }
        | Op::Selp { .. }
        | Op::Mov { .. }
        | Op::MovPred
        | Op::Pack { .. }
        | Op::Unpack { .. }
        | Op::CvtPair8 { .. }
        | Op::CvtUnpair8 { .. }
        | Op::CvtTf32
        | Op::Cvta { .. }
        | Op::AtomCas { .. }
        | Op::PrefetchLine { .. }
        | Op::Membar { .. }
        | Op::Fence { .. }
        | Op::Bra { .. }
        | Op::Ret
        | Op::Exit
        | Op::Trap
        | Op::Nanosleep
        | Op::BarSyncAll
        | Op::BarSync
        | Op::BarArrive
        | Op::BarWarp
        | Op::Shfl { .. }
        | Op::ShflIn { .. }
        | Op::Vote { .. }
        | Op::Ballot
        | Op::ActiveMask
        | Op::MatchAny { .. }
        | Op::MatchAll { .. }
        | Op::Elect
        | Op::Ldmatrix { .. }
        | Op::Stmatrix { .. }
        | Op::Movmatrix
        | Op::Mma { .. }
        | Op::CpAsync { .. }
        | Op::CpAsyncFill { .. }
        | Op::CpAsyncCommit
        | Op::CpAsyncWait
        | Op::CpAsyncWaitAll
        | Op::MbarrierInit
        | Op::MbarrierInval
        | Op::MbarrierArrive
        | Op::MbarrierArriveMany
        | Op::MbarrierArriveExpect
        | Op::MbarrierWait { .. }
        | Op::FenceMbarrierInit
        | Op::FenceProxy { .. }
        | Op::TensorLoad { .. }
        | Op::TensorStore { .. }
        | Op::BulkLoad
        | Op::BulkStore
        | Op::BulkAdd
        | Op::CpAsyncArrive
        | Op::BulkCommit
        | Op::BulkWait { .. }
        | Op::PrefetchMap
        | Op::WgmmaFence
        | Op::WgmmaCommit
        | Op::WgmmaWait
        | Op::SetMaxRegisters { .. }
        | Op::GridDependency { .. } => true,
        Op::WgmmaShared { form } | Op::WgmmaMixed { form } => columns(form),
    }
}

/// Whether a product of a warpgroup has so many columns. Integers step by 16 beyond 32.
fn columns(form: Wgmma) -> bool {
    let step = if form.types == WgmmaTypes::S8 && form.columns > 32 { 16 } else { 8 };
    (8..=256).contains(&form.columns) && form.columns.is_multiple_of(step)
}

/// Whether operations on this type may flush subnormal numbers.
fn flushes(ty: Float) -> bool {
    matches!(ty, Float::F32 | Float::F16 | Float::F16x2)
}

/// Sums, differences and products.
fn binary(round: Round, flush: Flush, ty: Float) -> bool {
    let flushed = flush == Flush::Keep || flushes(ty);
    let rounded = matches!(ty, Float::F32 | Float::F64) || matches!(round, Round::Any | Round::Nearest);
    flushed && rounded
}

/// Functions of one float.
fn function(f: Function, flush: Flush, ty: Float) -> bool {
    match f {
        Function::Ex2 => match ty {
            Float::F32 => true,
            Float::F16 | Float::F16x2 => flush == Flush::Keep,
            Float::BF16 | Float::BF16x2 => flush == Flush::Ftz,
            Float::F64 => false,
        },
        Function::Tanh => flush == Flush::Keep && ty != Float::F64,
        Function::Lg2 | Function::Sin | Function::Cos | Function::Sqrt => ty == Float::F32,
        Function::Rcp => matches!((ty, flush), (Float::F32, _) | (Float::F64, Flush::Ftz)),
        Function::Rsqrt => matches!(ty, Float::F32 | Float::F64),
        Function::RcpExact | Function::SqrtExact => {
            ty == Float::F32 || (ty == Float::F64 && flush == Flush::Keep)
        }
    }
}

/// Conversions: what loses digits is rounded, what does not is not.
fn conversion(round: CvtRound, saturate: Saturate, to: Number, from: Number) -> bool {
    let (target, source) = (Type::from(to), Type::from(from));
    let to_int =
        matches!(round, CvtRound::NearestInt | CvtRound::ZeroInt | CvtRound::DownInt | CvtRound::UpInt);
    let to_float = !to_int && round != CvtRound::Exact;
    let rounded = match (target.is_int(), source.is_int()) {
        (true, true) => round == CvtRound::Exact,
        (true, false) => to_int,
        (false, true) => to_float,
        (false, false) if target == source => to_int,
        (false, false) if target.bits() < source.bits() => to_float,
        (false, false) if target.bits() > source.bits() => round == CvtRound::Exact,
        (false, false) => to_float,
    };
    let bf16 = target == Type::BF16 || source == Type::BF16;
    let bytes = target.bits() == 8 || source.bits() == 8;
    // Limiting what always fits is no instruction.
    let fits = target.is_int()
        && source.is_int()
        && (!source.is_signed() || target.is_signed())
        && target.bits() >= source.bits() + u32::from(target.is_signed() && !source.is_signed());
    rounded && !(bf16 && bytes) && (saturate == Saturate::No || !(bf16 || fits))
}

/// Whether a vector of this type is at most 16 bytes.
fn vector(lanes: Lanes, ty: Data) -> bool {
    u32::from(lanes.count()) * Type::from(ty).bits() <= 128
}

/// Loads: an order excludes hints to caches; some hints are for global memory only.
fn load(order: LoadOrder, space: Space, cache: LoadCache, lanes: Lanes, ty: Data) -> bool {
    let cached = match cache {
        LoadCache::Default => true,
        LoadCache::All | LoadCache::Global | LoadCache::Streaming | LoadCache::LastUse | LoadCache::Again => {
            order == LoadOrder::Weak && matches!(space, Space::Generic | Space::Global)
        }
        LoadCache::Constant
        | LoadCache::ConstantOnce
        | LoadCache::ConstantOnce128
        | LoadCache::ConstantOnce256 => order == LoadOrder::Weak && space == Space::Global,
    };
    let ordered = order == LoadOrder::Weak || matches!(space, Space::Generic | Space::Global | Space::Shared);
    cached && ordered && vector(lanes, ty)
}

/// Stores: as loads, and nothing is stored to parameters.
fn store(order: StoreOrder, space: Space, cache: StoreCache, lanes: Lanes, ty: Data) -> bool {
    let cached = cache == StoreCache::Default
        || (order == StoreOrder::Weak && matches!(space, Space::Generic | Space::Global));
    let ordered =
        order == StoreOrder::Weak || matches!(space, Space::Generic | Space::Global | Space::Shared);
    space != Space::Param && cached && ordered && vector(lanes, ty)
}

/// Atomic operations.
fn atomic(op: AtomOp, ty: Atomic) -> bool {
    match op {
        AtomOp::Add => matches!(
            ty,
            Atomic::U32
                | Atomic::U64
                | Atomic::S32
                | Atomic::F32
                | Atomic::F64
                | Atomic::F16x2
                | Atomic::BF16x2
        ),
        AtomOp::Min | AtomOp::Max => matches!(ty, Atomic::U32 | Atomic::U64 | Atomic::S32 | Atomic::S64),
        AtomOp::And | AtomOp::Or | AtomOp::Xor | AtomOp::Exch => matches!(ty, Atomic::B32 | Atomic::B64),
    }
}
