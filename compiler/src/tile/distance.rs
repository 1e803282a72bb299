//! Integers that grow by one from neighbour to neighbour, made real: what is the same for all neighbours is converted, and
//! their distance from the first is added.
//!
//! ```text
//! f32(n - m), n = n0 + [0, 1, ..]   ->   f32(n0 - m) + [0., 1., ..]
//! ```

use super::builder::Builder;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Op, Scalar, ValueId};

impl Builder {
    /// An integer that grows by one from neighbour to neighbour, or its size, as an f32: what is the same for all of them
    /// is converted, and the distance added, for vectors of f32 are twice as wide as those of integers. Below 2^24 both
    /// are exact; beyond, the sum is rounded twice.
    pub(super) fn along_lanes(&mut self, a: ValueId) -> Option<ValueId> {
        if let Some(&Op::Unary(UnaryOp::Abs, of)) = self.definition(a) {
            let real = self.along_lanes(of)?;
            return Some(self.unary(UnaryOp::Abs, real));
        }
        let (rest, iota, sign) = self.affine(a)?;
        let [rest, iota] = [rest, iota].map(|it| self.convert(it, Scalar::F32));
        Some(self.binary(sign, rest, iota))
    }

    /// An integer as the sum or the difference of one that is the same for all neighbours and their distance from the first.
    fn affine(&mut self, a: ValueId) -> Option<(ValueId, ValueId, BinaryOp)> {
        let &Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), x, y) = self.definition(a)? else {
            return None;
        };
        let minor = self.minor?;
        let varies = |it: &Builder, of: ValueId| it.nest.values[of].shape.iter().any(|dim| dim.rank == minor);
        if matches!(self.definition(y), Some(Op::Iota)) && varies(self, y) && !varies(self, x) {
            return Some((x, y, op));
        }
        let turned = |sign| if sign == BinaryOp::Add { BinaryOp::Sub } else { BinaryOp::Add };
        if !varies(self, y) {
            let (rest, iota, sign) = self.affine(x)?;
            return Some((self.binary(op, rest, y), iota, sign));
        }
        if varies(self, x) {
            return None;
        }
        let (rest, iota, sign) = self.affine(y)?;
        let sign = if op == BinaryOp::Sub { turned(sign) } else { sign };
        Some((self.binary(op, x, rest), iota, sign))
    }
}
