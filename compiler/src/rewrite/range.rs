//! Where the values of a class lie, by interval arithmetic over the reals.

use attnc_dsl::ast::CompareOp;

use super::facts::Graph;
use super::term::{Class, Term};
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};

/// An interval of reals, with its ends. A NaN that comes from a visible NaN is not spoken of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    /// Nothing is below.
    pub(crate) low: f64,
    /// Nothing is above.
    pub(crate) high: f64,
    /// Zero and what is below it do not occur.
    pub(crate) positive: bool,
}

/// Nothing is known.
const ANY: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY, positive: false };
const POSITIVE: Range = Range { low: 0.0, high: f64::INFINITY, positive: true };

impl Range {
    fn between(low: f64, high: f64) -> Range {
        Range { low, high, positive: low > 0.0 }
    }

    /// No value is negative.
    pub(crate) fn is_nonnegative(self) -> bool {
        self.positive || self.low >= 0.0
    }

    /// Zero does not occur.
    pub(crate) fn is_nonzero(self) -> bool {
        self.positive || self.low > 0.0 || self.high < 0.0
    }

    /// What holds when both do.
    pub(crate) fn both(self, other: Range) -> Range {
        Range {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
            positive: self.positive || other.positive,
        }
    }

    /// What holds when one of them does.
    fn either(self, other: Range) -> Range {
        Range {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            positive: self.positive && other.positive,
        }
    }

    fn plus(self, other: Range) -> Range {
        let (a, b) = (self, other);
        let positive = (a.positive && b.is_nonnegative()) || (b.positive && a.is_nonnegative());
        Range { low: a.low + b.low, high: a.high + b.high, positive }
    }

    fn times(self, other: Range) -> Range {
        let (a, b) = (self, other);
        // An infinite end is never reached, so that it times 0 is 0.
        let product = |x: f64, y: f64| if x == 0.0 || y == 0.0 { 0.0 } else { x * y };
        let ends = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)];
        let ends = ends.map(|(x, y)| product(x, y));
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Range { low, high, positive: a.positive && b.positive }
    }

    fn power(self, k: f64) -> Range {
        let even = k % 2.0 == 0.0;
        match (self.positive, self.is_nonnegative() || even) {
            (true, _) => POSITIVE,
            (false, true) => Range { low: 0.0, high: f64::INFINITY, positive: self.is_nonzero() },
            (false, false) => ANY,
        }
    }

    /// Of a term, from what is known of its operands.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn of(graph: &Graph, term: &Term) -> Range {
        let of = |id: &Class| graph[*id].data.range;
        match term {
            Term::Real(bits) => Range::between(f64::from_bits(*bits), f64::from_bits(*bits)),
            Term::Int(value) => Range::between(*value as f64, *value as f64),
            Term::Extent(_) | Term::Index(_) | Term::Reduce(ReduceOp::Count, ..) => {
                Range::between(0.0, f64::INFINITY)
            }
            Term::Unary(op, [a]) => unary(*op, of(a)),
            Term::Binary(BinaryOp::Min, [a, b]) => smaller(of(a), of(b)),
            Term::Binary(BinaryOp::Max, [a, b]) => larger(of(a), of(b)),
            Term::Binary(BinaryOp::Pow, [a, _]) if of(a).positive => POSITIVE,
            Term::Sum(all) => all.iter().map(of).reduce(Range::plus).unwrap_or(ANY),
            Term::Product(all) => all.iter().map(of).reduce(Range::times).unwrap_or(ANY),
            Term::Power(k, [a]) => of(a).power(f64::from_bits(*k)),
            Term::Where([a, _]) => of(a),
            Term::If([_, a, b]) | Term::Else([a, b]) => of(a).either(of(b)),
            Term::Reduce(op, _, [a]) => many(*op, of(a)),
            Term::Union(op, all) => {
                let one = all.iter().map(of).reduce(Range::either).unwrap_or(ANY);
                many(*op, one)
            }
            _ => ANY,
        }
    }
}

fn smaller(a: Range, b: Range) -> Range {
    Range { low: a.low.min(b.low), high: a.high.min(b.high), positive: a.positive && b.positive }
}

fn larger(a: Range, b: Range) -> Range {
    Range { low: a.low.max(b.low), high: a.high.max(b.high), positive: a.positive || b.positive }
}

/// Of one value or more from that range, combined.
fn many(op: ReduceOp, one: Range) -> Range {
    match op {
        ReduceOp::Max | ReduceOp::Min => one,
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean if one.positive => POSITIVE,
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean if one.is_nonnegative() => {
            Range::between(0.0, f64::INFINITY)
        }
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => {
            ANY
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn unary(op: UnaryOp, a: Range) -> Range {
    match op {
        UnaryOp::Exp | UnaryOp::Exp2 => POSITIVE,
        // Of −∞ they are 0, and no scale keeps small ones from becoming 0 in f32.
        UnaryOp::Softplus => Range::between(0.0, f64::INFINITY),
        UnaryOp::Sigmoid => Range::between(0.0, 1.0),
        UnaryOp::Tanh | UnaryOp::Erf | UnaryOp::Sin | UnaryOp::Cos => Range::between(-1.0, 1.0),
        UnaryOp::Abs => Range { low: 0.0, high: a.high.max(-a.low), positive: a.is_nonzero() },
        UnaryOp::Relu => larger(a, Range::between(0.0, 0.0)),
        UnaryOp::ToReal => a,
        _ => ANY,
    }
}

/// The truth of a comparison that the ranges of its operands decide, wherever they are present; a NaN compares the
/// same way, which is why an order is only ever decided to be false.
pub(super) fn decided(graph: &Graph, op: CompareOp, a: Class, b: Class) -> Option<bool> {
    let (a, b) = (graph[a].data.range, graph[b].data.range);
    let less = a.high < b.low || (b.positive && a.high <= 0.0);
    let more = a.low > b.high || (a.positive && b.high <= 0.0);
    match op {
        CompareOp::Eq => (less || more).then_some(false),
        CompareOp::Ne => (less || more).then_some(true),
        CompareOp::Lt => (more || a.low >= b.high).then_some(false),
        CompareOp::Gt => (less || a.high <= b.low).then_some(false),
        CompareOp::Le => more.then_some(false),
        CompareOp::Ge => less.then_some(false),
    }
}
