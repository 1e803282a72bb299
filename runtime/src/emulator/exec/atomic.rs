//! Atomic operations.

use attnc_ptx::modifier::*;
use attnc_ptx::types::{Atomic, Float, Int, Type, WideBits};

use super::Cx;
use super::access::in_lane;
use crate::emulator::fault::Done;
use crate::emulator::number::{float, int};
use crate::emulator::warp::{LANES, Wide, lanes_of};

impl Cx<'_, '_> {
    pub(super) fn atom(&mut self, order: AtomOrder, space: Common, op: AtomOp, ty: Atomic) -> Done {
        let (at, value) = (self.read(1)?, self.read(2)?);
        let bytes = u64::from(Type::from(ty).bits() / 8);
        let old = self.update(order, space, bytes, &at, |old, lane| result(op, ty, old, value[lane]))?;
        self.write(0, &old)
    }

    pub(super) fn cas(&mut self, order: AtomOrder, space: Common, ty: WideBits) -> Done {
        let (at, expected, new) = (self.read(1)?, self.read(2)?, self.read(3)?);
        let bytes = u64::from(Type::from(ty).bits() / 8);
        let swap = |old: u64, lane: usize| if old == expected[lane] { new[lane] } else { old };
        let old = self.update(order, space, bytes, &at, swap)?;
        self.write(0, &old)
    }

    pub(super) fn red(&mut self, order: AtomOrder, space: Common, op: RedOp, ty: Atomic) -> Done {
        let (at, value) = (self.read(0)?, self.read(1)?);
        let bytes = u64::from(Type::from(ty).bits() / 8);
        let op = match op {
            RedOp::Add => AtomOp::Add,
            RedOp::Min => AtomOp::Min,
            RedOp::Max => AtomOp::Max,
            RedOp::And => AtomOp::And,
            RedOp::Or => AtomOp::Or,
            RedOp::Xor => AtomOp::Xor,
        };
        self.update(order, space, bytes, &at, |old, lane| result(op, ty, old, value[lane]))?;
        Ok(())
    }

    pub(super) fn red_vector(&mut self, lanes: Lanes) -> Done {
        let at = self.read(0)?;
        let whole = u64::from(lanes.count()) * 4;
        for lane in lanes_of(self.lanes) {
            crate::emulator::memory::aligned("global", at[lane], whole).map_err(in_lane(lane))?;
        }
        let values: Vec<Wide> = self.many(1).iter().map(|arg| self.read_arg(arg)).collect::<Done<_>>()?;
        for (position, value) in values.iter().enumerate() {
            let at = at.map(|address| address + 4 * position as u64);
            let add = |old, lane: usize| result(AtomOp::Add, Atomic::F32, old, value[lane]);
            self.update(AtomOrder::Default, Common::Global, 4, &at, add)?;
        }
        Ok(())
    }

    /// Replaces values one lane after the other, and gives what was there.
    fn update(
        &mut self,
        order: AtomOrder,
        space: Common,
        bytes: u64,
        at: &Wide,
        f: impl Fn(u64, usize) -> u64,
    ) -> Done<Wide> {
        let space = Space::from(space);
        let acquires = matches!(order, AtomOrder::AcquireGpu | AtomOrder::AcqRelGpu);
        let releases = matches!(order, AtomOrder::ReleaseGpu | AtomOrder::AcqRelGpu);
        let mut found = [0; LANES];
        for lane in lanes_of(self.lanes) {
            let address = at[lane];
            let old = self.peek(lane, space, address, bytes, bytes, true).map_err(in_lane(lane))?;
            found[lane] = old;
            let warp = self.warp.id;
            self.block.order.load(warp, address, acquires, &mut self.block.shared.races);
            self.poke(lane, space, address, bytes, bytes, true, f(old, lane)).map_err(in_lane(lane))?;
            self.block.order.store(warp, address, releases, &mut self.block.shared.races);
        }
        Ok(found)
    }
}

/// What memory gets.
fn result(op: AtomOp, ty: Atomic, old: u64, value: u64) -> u64 {
    let with_int = |int_op| {
        let ty = match ty {
            Atomic::U64 | Atomic::B64 => Int::U64,
            Atomic::S32 => Int::S32,
            Atomic::S64 => Int::S64,
            Atomic::U32 | Atomic::B32 | Atomic::F32 | Atomic::F64 | Atomic::F16x2 | Atomic::BF16x2 => {
                Int::U32
            }
        };
        int::binary(int_op, ty, old, value)
    };
    let sum = |ty| float::binary(FloatOp::Add, Round::Nearest, Flush::Keep, ty, old, value);
    match op {
        AtomOp::Add => match ty {
            Atomic::F32 => sum(Float::F32),
            Atomic::F64 => sum(Float::F64),
            Atomic::F16x2 => sum(Float::F16x2),
            Atomic::BF16x2 => sum(Float::BF16x2),
            Atomic::U32 | Atomic::U64 | Atomic::S32 | Atomic::S64 | Atomic::B32 | Atomic::B64 => {
                with_int(IntOp::Add)
            }
        },
        AtomOp::Min => with_int(IntOp::Min),
        AtomOp::Max => with_int(IntOp::Max),
        AtomOp::And => int::logic(LogicOp::And, old, value),
        AtomOp::Or => int::logic(LogicOp::Or, old, value),
        AtomOp::Xor => int::logic(LogicOp::Xor, old, value),
        AtomOp::Exch => value,
    }
}
