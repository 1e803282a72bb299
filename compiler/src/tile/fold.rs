//! Reductions as folds: accumulators, a step for each point, and what comes out.

use attnc_dsl::ast::{CompareOp, Kind};

use super::Tiling;
use super::builder::Known;
use super::loops::Folding;
use crate::ir::cascade::{ExprId, RankId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{Op, Scalar, TileDim, ValueId};

/// A reduction of an expression. Its first accumulator is the result so far; a second one, where absence needs it,
/// says whether there was a point, or counts them.
pub(super) struct Fold {
    pub(super) op: ReduceOp,
    pub(super) value: ExprId,
    pub(super) scalar: Scalar,
}

/// The second accumulator of a fold.
#[derive(Clone, Copy, PartialEq)]
enum Also {
    Nothing,
    /// Whether a point was present.
    Some,
    /// How many were.
    Number,
}

impl Fold {
    pub(super) fn new(tiling: &Tiling<'_>, op: ReduceOp, value: ExprId) -> Fold {
        Fold { op, value, scalar: tiling.widths.scalar(tiling.cascade, value) }
    }

    fn also(&self) -> Also {
        match (self.op, self.scalar) {
            (ReduceOp::Mean, _) => Also::Number,
            (ReduceOp::Max | ReduceOp::Min, Scalar::I64) => Also::Some,
            (
                ReduceOp::Sum
                | ReduceOp::Prod
                | ReduceOp::Max
                | ReduceOp::Min
                | ReduceOp::Any
                | ReduceOp::All
                | ReduceOp::Count,
                _,
            ) => Also::Nothing,
        }
    }

    /// The result of a reduction over nothing, and its scalar.
    pub(super) fn identity(&self) -> (Op, Scalar) {
        let integer = self.scalar == Scalar::I64;
        match self.op {
            ReduceOp::Count => (Op::Int(0), Scalar::I64),
            ReduceOp::Any => (Op::Bool(false), Scalar::Bool),
            ReduceOp::All => (Op::Bool(true), Scalar::Bool),
            ReduceOp::Sum | ReduceOp::Mean if integer => (Op::Int(0), Scalar::I64),
            ReduceOp::Sum | ReduceOp::Mean => (Op::Real(0.0), self.scalar),
            ReduceOp::Prod if integer => (Op::Int(1), Scalar::I64),
            ReduceOp::Prod => (Op::Real(1.0), self.scalar),
            ReduceOp::Max if integer => (Op::Int(i64::MIN), Scalar::I64),
            ReduceOp::Max => (Op::Real(f64::NEG_INFINITY), self.scalar),
            ReduceOp::Min if integer => (Op::Int(i64::MAX), Scalar::I64),
            ReduceOp::Min => (Op::Real(f64::INFINITY), self.scalar),
        }
    }

    pub(super) fn combine(&self) -> BinaryOp {
        match self.op {
            ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Count => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Max => BinaryOp::Max,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::Any => BinaryOp::Or,
            ReduceOp::All => BinaryOp::And,
        }
    }

    /// What the accumulators come to.
    pub(super) fn result(&self, tiling: &mut Tiling<'_>, accs: &[ValueId]) -> Known {
        let b = &mut tiling.builder;
        match self.also() {
            Also::Nothing => Known { value: accs[0], present: None },
            Also::Some => Known { value: accs[0], present: Some(accs[1]) },
            Also::Number => {
                let (number, zero) = (b.convert(accs[1], self.scalar), b.int(0));
                let value = b.binary(BinaryOp::Div, accs[0], number);
                Known { value, present: Some(b.compare(CompareOp::Gt, accs[1], zero)) }
            }
        }
    }

    /// The factors of a product that is summed, whatever the conditions on it.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn factors(&self, tiling: &Tiling<'_>) -> Option<(ExprId, ExprId)> {
        match *tiling.cascade.exprs.get(tiling.cascade.exprs.unconditioned(self.value)) {
            Expr::Binary(BinaryOp::Mul, a, b)
                if self.op == ReduceOp::Sum && tiling.cascade.exprs.kind(a) == Kind::Real =>
            {
                Some((a, b))
            }
            _ => None,
        }
    }

    /// A product added to a sum where it is there. Factors are left out where that takes no more of them than there
    /// are; else the sum is left as it is.
    fn contracted(
        &self,
        tiling: &mut Tiling<'_>,
        [a, b]: [ValueId; 2],
        present: Option<ValueId>,
        sum: ValueId,
    ) -> ValueId {
        let builder = &mut tiling.builder;
        let Some(there) = present else { return builder.contract(a, b, sum) };
        let shape = |it: ValueId| &builder.nest.values[it].shape;
        if [a, b].iter().all(|it| shape(there).iter().all(|dim| shape(*it).contains(dim))) {
            let zero = builder.real(0.0, self.scalar);
            let [a, b] = [a, b].map(|it| builder.select(there, it, zero));
            return builder.contract(a, b, sum);
        }
        let more = builder.contract(a, b, sum);
        builder.select(there, more, sum)
    }
}

impl Folding for Fold {
    fn conditions(&self, tiling: &Tiling<'_>) -> Vec<ExprId> {
        tiling.conditions_on(self.value)
    }

    fn inits(&mut self, tiling: &mut Tiling<'_>, shape: &[TileDim]) -> Vec<ValueId> {
        let (identity, scalar) = self.identity();
        let mut inits = vec![tiling.builder.filled(identity, scalar, shape)];
        match self.also() {
            Also::Nothing => {}
            Also::Some => inits.push(tiling.builder.filled(Op::Bool(false), Scalar::Bool, shape)),
            Also::Number => inits.push(tiling.builder.filled(Op::Int(0), Scalar::I64, shape)),
        }
        inits
    }

    fn step(&mut self, tiling: &mut Tiling<'_>, accs: &[ValueId]) -> Vec<ValueId> {
        let mut known = tiling.value(self.value);
        let exists = tiling.exists();
        known.present = tiling.builder.both(known.present, exists);
        if let Some((a, b)) = self.factors(tiling) {
            // The product itself is left unused.
            let factors = [a, b].map(|it| {
                let value = tiling.value(it).value;
                tiling.builder.convert(value, self.scalar)
            });
            return vec![self.contracted(tiling, factors, known.present, accs[0])];
        }
        let (identity, scalar) = self.identity();
        let b = &mut tiling.builder;
        let value =
            if self.op == ReduceOp::Count { b.convert(known.value, Scalar::I64) } else { known.value };
        let there = known.present.unwrap_or_else(|| b.bool(true));
        let value = match known.present {
            Some(there) => {
                let neutral = b.filled(identity, scalar, &[]);
                b.select(there, value, neutral)
            }
            None => value,
        };
        let mut nexts = vec![b.binary(self.combine(), accs[0], value)];
        match self.also() {
            Also::Nothing => {}
            Also::Some => nexts.push(b.or(accs[1], there)),
            Also::Number => {
                let one = b.convert(there, Scalar::I64);
                nexts.push(b.binary(BinaryOp::Add, accs[1], one));
            }
        }
        nexts
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn merge(
        &mut self,
        tiling: &mut Tiling<'_>,
        accs: &[ValueId],
        tiles: &[ValueId],
        along: RankId,
    ) -> Vec<ValueId> {
        let b = &mut tiling.builder;
        let horizontal = match self.op {
            ReduceOp::Mean | ReduceOp::Count => ReduceOp::Sum,
            op => op,
        };
        let first = b.reduce(horizontal, tiles[0], along);
        let mut merged = vec![b.binary(self.combine(), accs[0], first)];
        match self.also() {
            Also::Nothing => {}
            Also::Some => {
                let any = b.reduce(ReduceOp::Any, tiles[1], along);
                merged.push(b.or(accs[1], any));
            }
            Also::Number => {
                let sum = b.reduce(ReduceOp::Sum, tiles[1], along);
                merged.push(b.binary(BinaryOp::Add, accs[1], sum));
            }
        }
        merged
    }
}
