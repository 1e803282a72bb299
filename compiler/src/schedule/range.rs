//! Between which numbers the value of an expression lies, whatever the inputs are.

use std::collections::BTreeMap;

use attnc_dsl::ast::CompareOp;

use crate::ir::cascade::{Cascade, ExprId, Extent, TensorId};
use crate::ir::expr::{BinaryOp, Expr, Exprs, UnaryOp, parts};

/// The least and the greatest value of all present points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Anything.
const ANY: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY };

/// Ranges that the author promises, by what they are promised of.
pub(super) fn promised(cascade: &Cascade) -> BTreeMap<ExprId, Range> {
    let mut promised = BTreeMap::new();
    for assume in &cascade.assumes {
        for part in parts(&cascade.exprs, assume.condition) {
            promise(&cascade.exprs, part, &mut promised);
        }
    }
    promised
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn promise(exprs: &Exprs, condition: ExprId, promised: &mut BTreeMap<ExprId, Range>) {
    let Expr::Compare(op, a, b) = *exprs.get(condition) else { return };
    let (small, large) = match op {
        CompareOp::Le | CompareOp::Lt => (a, b),
        CompareOp::Ge | CompareOp::Gt => (b, a),
        CompareOp::Eq | CompareOp::Ne => return,
    };
    if let Some(high) = constant(exprs, large) {
        let (of, low) = match *exprs.get(small) {
            Expr::Unary(UnaryOp::Abs, inner) => (inner, -high),
            _ => (small, f64::NEG_INFINITY),
        };
        meet(promised, of, Range { low, high });
    }
    if let Some(low) = constant(exprs, small) {
        meet(promised, large, Range { low, high: f64::INFINITY });
    }
}

fn meet(promised: &mut BTreeMap<ExprId, Range>, of: ExprId, range: Range) {
    let known = promised.entry(of).or_insert(ANY);
    *known = Range { low: known.low.max(range.low), high: known.high.min(range.high) };
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn constant(exprs: &Exprs, id: ExprId) -> Option<f64> {
    match exprs.get(id) {
        Expr::Real(bits) => Some(f64::from_bits(*bits)),
        Expr::Int(it) => Some(*it as f64),
        _ => None,
    }
}

/// Between which numbers a coordinate lies in every call, both included.
pub(crate) fn of_coordinate(cascade: &Cascade, coordinate: ExprId) -> (f64, f64) {
    let exprs = &cascade.exprs;
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for one form, whatever others there are")]
    let within = |id: ExprId| match *exprs.get(id) {
        Expr::Index(rank) => match cascade.ranks[rank].extent {
            Extent::Fixed(extent) => Some((id, Range { low: 0.0, high: extent as f64 - 1.0 })),
            Extent::Carried | Extent::Derived(_) => None,
        },
        _ => None,
    };
    let known = exprs.postorder(coordinate).into_iter().filter_map(within).collect();
    let it = range(exprs, &BTreeMap::new(), &known, coordinate);
    (it.low, it.high)
}

/// The range of an expression, given those of tensors and of some expressions.
pub(super) fn range(
    exprs: &Exprs,
    tensors: &BTreeMap<TensorId, Range>,
    promised: &BTreeMap<ExprId, Range>,
    value: ExprId,
) -> Range {
    let mut known: BTreeMap<ExprId, Range> = BTreeMap::new();
    for id in exprs.postorder(value) {
        let it = step(exprs, tensors, id, &known);
        let it = match promised.get(&id) {
            Some(more) => Range { low: it.low.max(more.low), high: it.high.min(more.high) },
            None => it,
        };
        known.insert(id, it);
    }
    known[&value]
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn step(
    exprs: &Exprs,
    tensors: &BTreeMap<TensorId, Range>,
    id: ExprId,
    known: &BTreeMap<ExprId, Range>,
) -> Range {
    match exprs.get(id) {
        Expr::Read(tensor, ..) => tensors.get(tensor).copied().unwrap_or(ANY),
        Expr::Unary(op, a) => unary(*op, known[a]),
        Expr::Binary(op, a, b) => binary(*op, known[a], known[b]),
        Expr::Where(x, _) => known[x],
        Expr::If(_, a, b) | Expr::Else(a, b) => joined(known[a], known[b]),
        Expr::Extent(_) | Expr::Index(_) => Range { low: 0.0, high: f64::INFINITY },
        _ => constant(exprs, id).map_or(ANY, |it| Range { low: it, high: it }),
    }
}

pub(super) fn joined(a: Range, b: Range) -> Range {
    Range { low: a.low.min(b.low), high: a.high.max(b.high) }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn unary(op: UnaryOp, a: Range) -> Range {
    match op {
        UnaryOp::Neg => Range { low: -a.high, high: -a.low },
        UnaryOp::ToReal => a,
        UnaryOp::Tanh | UnaryOp::Erf | UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Sign => {
            Range { low: -1.0, high: 1.0 }
        }
        UnaryOp::Sigmoid => Range { low: 0.0, high: 1.0 },
        UnaryOp::Relu => Range { low: a.low.max(0.0), high: a.high.max(0.0) },
        UnaryOp::Abs => {
            let low = if a.low > 0.0 { a.low } else { (-a.high).max(0.0) };
            Range { low, high: a.low.abs().max(a.high.abs()) }
        }
        UnaryOp::Exp => Range { low: a.low.exp(), high: a.high.exp() },
        UnaryOp::Sqrt => Range { low: 0.0, high: a.high.max(0.0).sqrt() },
        _ => ANY,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn binary(op: BinaryOp, a: Range, b: Range) -> Range {
    match op {
        BinaryOp::Add => Range { low: a.low + b.low, high: a.high + b.high },
        BinaryOp::Sub => Range { low: a.low - b.high, high: a.high - b.low },
        BinaryOp::Mul => corners(a, b, |x, y| if x == 0.0 || y == 0.0 { 0.0 } else { x * y }),
        BinaryOp::Div if b.low > 0.0 || b.high < 0.0 => {
            corners(a, b, |x, y| if x == 0.0 { 0.0 } else { x / y })
        }
        BinaryOp::Min => Range { low: a.low.min(b.low), high: a.high.min(b.high) },
        BinaryOp::Max => Range { low: a.low.max(b.low), high: a.high.max(b.high) },
        _ => ANY,
    }
}

fn corners(a: Range, b: Range, of: impl Fn(f64, f64) -> f64) -> Range {
    let all = [of(a.low, b.low), of(a.low, b.high), of(a.high, b.low), of(a.high, b.high)];
    if all.iter().any(|it| it.is_nan()) {
        return ANY;
    }
    Range {
        low: all.iter().copied().fold(f64::INFINITY, f64::min),
        high: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}
