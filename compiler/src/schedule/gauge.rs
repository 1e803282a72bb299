//! Scales of sums of powers: how one is brought up to date, and with it what is under it.
//!
//! ```text
//! before = c;  c max= x;  raised = c > before + 28;  calm = not raised or before is none;
//! c = if raised then limited(c) else before;  f = exp(before - c)
//! ```

use attnc_dsl::ast::{CompareOp, Kind};

use super::accumulate::Fiber;
use super::plan::Act;
use super::scaled;
use super::weave::{Weaver, left};
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

/// Which of the acts that bring a scale up to date says whether it stays as it was.
pub(super) const CALM: usize = 2;
/// Which of them computes what sums are multiplied by.
const FACTOR: usize = 4;

impl Weaver<'_> {
    /// The scale of an exponent in this traversal: near its running maximum.
    pub(super) fn gauge(&mut self, fiber: &Fiber, exponent: ExprId) -> TensorId {
        let key = (exponent, fiber.over.clone());
        if let Some(&it) = self.round(fiber.level, &fiber.along).gauge_of.get(&key) {
            return it;
        }
        let kept = fiber.kept(self.cascade.exprs.free(exponent));
        let (gauge, now) = self.new_tile(&fiber.name_of("scale"), &kept, Kind::Real);
        let (old, before) = self.new_tile(&fiber.name_of("before"), &kept, Kind::Real);
        let (factor, _) = self.new_tile(&fiber.name_of("factor"), &kept, Kind::Real);
        let (calm, _) = self.new_tile(&fiber.name_of("calm"), &kept, Kind::Real);
        self.note_derived(gauge, exponent);
        let exprs = &mut self.cascade.exprs;
        let low = exprs.real(-scaled::LIMIT);
        // The maximum is kept within limits, not each of what it is of.
        let limited = scaled::clamped(exprs, now);
        let headroom = exprs.real(scaled::HEADROOM);
        let most = exprs.binary(BinaryOp::Add, before, headroom);
        let has_grown = exprs.compare(CompareOp::Gt, now, most);
        let raised = exprs.add(Expr::If(has_grown, limited, before));
        let down = exprs.binary(BinaryOp::Sub, before, now);
        let down = exprs.unary(UnaryOp::Exp, down);
        let [yes, no] = [1.0, 0.0].map(|it| exprs.real(it));
        // A first scale says nothing of how exponents go on.
        let is_first = exprs.compare(CompareOp::Le, before, low);
        let was_raised = exprs.add(Expr::If(is_first, yes, no));
        let is_calm = exprs.add(Expr::If(has_grown, was_raised, yes));
        let map =
            |tensor, value| Act::Define(Einsum { tensor, at: left(&kept), op: Op::Map, value, exact: false });
        let most = Op::Reduce(ReduceOp::Max, fiber.over.clone());
        let raise =
            Act::Fold(Einsum { tensor: gauge, at: left(&kept), op: most, value: exponent, exact: false });
        let update = vec![map(old, now), raise, map(calm, is_calm), map(gauge, raised), map(factor, down)];
        let starts = [map(gauge, low), map(calm, no)];
        let round = self.round(fiber.level, &fiber.along);
        round.starts.extend(starts);
        round.gauges.insert(gauge, update);
        round.gauge_of.insert(key, gauge);
        gauge
    }

    /// Brings a sum to the scale of the tile at hand.
    pub(super) fn rescale(
        &mut self,
        fiber: &Fiber,
        gauge: TensorId,
        kept: &[RankId],
        tensor: TensorId,
        read: ExprId,
    ) {
        let update = &self.round(fiber.level, &fiber.along).gauges[&gauge];
        let Some(Act::Define(it)) = update.get(FACTOR) else { unreachable!("a scale has a factor") };
        let factor = it.tensor;
        let factor = self.read_of(factor, kept);
        let value = self.cascade.exprs.binary(BinaryOp::Mul, read, factor);
        let at = left(&fiber.ranks);
        let act = Act::Define(Einsum { tensor, at, op: Op::Map, value, exact: false });
        self.round(fiber.level, &fiber.along).gauges.get_mut(&gauge).expect("it is there").push(act);
    }
}
