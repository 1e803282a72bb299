//! Reductions, point by point: what is known after the present points seen so far.

use attnc_dsl::ast::Kind;

use super::machine::Point;
use super::number::Number;
use super::scalar;
use crate::ir::array::Value;
use crate::ir::cascade::{ReduceOp, ScanOp};
use crate::ir::expr::BinaryOp;

/// A reduction under way.
pub(super) struct Fold<R> {
    op: ReduceOp,
    total: Point<R>,
    n_present: u64,
}

impl<R: Number> Fold<R> {
    /// The reduction of nothing: the identity, which the mean and the extremes of integers lack.
    pub(super) fn new(op: ReduceOp, kind: Kind) -> Fold<R> {
        let number =
            |it: i64| if kind == Kind::Real { Value::Real(R::of(it as f64)) } else { Value::Int(it) };
        let extreme = |it: f64| (kind == Kind::Real).then_some(Value::Real(R::of(it)));
        let total = match op {
            ReduceOp::Sum => Some(number(0)),
            ReduceOp::Prod => Some(number(1)),
            ReduceOp::Max => extreme(f64::NEG_INFINITY),
            ReduceOp::Min => extreme(f64::INFINITY),
            ReduceOp::Mean => None,
            ReduceOp::Any => Some(Value::Bool(false)),
            ReduceOp::All => Some(Value::Bool(true)),
            ReduceOp::Count => Some(Value::Int(0)),
        };
        Fold { op, total, n_present: 0 }
    }

    /// The start of a prefix reduction.
    pub(super) fn of_scan(op: ScanOp, kind: Kind) -> Fold<R> {
        match op {
            ScanOp::Sum => Fold::new(ReduceOp::Sum, kind),
            ScanOp::Prod => Fold::new(ReduceOp::Prod, kind),
            ScanOp::Max => Fold::new(ReduceOp::Max, kind),
        }
    }

    /// Takes in a present point.
    pub(super) fn add(&mut self, value: Value<R>) {
        self.n_present += 1;
        self.total = match (self.op, self.total, value) {
            (ReduceOp::Count, Some(Value::Int(count)), value) => {
                Some(Value::Int(count + i64::from(value == Value::Bool(true))))
            }
            (ReduceOp::Any, Some(Value::Bool(a)), Value::Bool(b)) => Some(Value::Bool(a || b)),
            (ReduceOp::All, Some(Value::Bool(a)), Value::Bool(b)) => Some(Value::Bool(a && b)),
            (_, None, value) => Some(value),
            (ReduceOp::Sum | ReduceOp::Mean, Some(total), value) => {
                scalar::binary(BinaryOp::Add, total, value)
            }
            (ReduceOp::Prod, Some(total), value) => scalar::binary(BinaryOp::Mul, total, value),
            (ReduceOp::Max, Some(total), value) => scalar::binary(BinaryOp::Max, total, value),
            (ReduceOp::Min, Some(total), value) => scalar::binary(BinaryOp::Min, total, value),
            (op, total, value) => unreachable!("{} of {value:?} after {total:?}", op.name()),
        };
    }

    /// What the points taken in so far come to.
    pub(super) fn result(&self) -> Point<R> {
        let mean = |sum| Some(Value::Real(R::binary(BinaryOp::Div, sum, R::of(self.n_present as f64))));
        match (self.op, self.total) {
            (ReduceOp::Mean, Some(Value::Real(sum))) => mean(sum),
            (ReduceOp::Mean, Some(Value::Int(sum))) => mean(R::of(sum as f64)),
            (_, total) => total,
        }
    }
}
