//! Where the values of a class lie, by interval arithmetic over the reals.

use attnc_dsl::ast::CompareOp;

use super::facts::Graph;
use super::term::{Class, Term};
use crate::ir::cascade::{Extent, ReduceOp};
use crate::ir::expr::{BinaryOp, UnaryOp};

/// An interval of reals, with its ends. A NaN that comes from a visible NaN is not spoken of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    /// Nothing is below.
    pub(crate) low: f64,
    /// Nothing is above.
    pub(crate) high: f64,
    /// Zero and what is below it do not occur, if what `sinks` does not.
    pub(crate) positive: bool,
    /// A visible −∞ may make it 0 or infinite.
    sinks: bool,
}

/// Nothing is known.
const ANY: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY, positive: false, sinks: true };
const POSITIVE: Range = Range { low: 0.0, high: f64::INFINITY, positive: true, sinks: true };

impl Range {
    fn between(low: f64, high: f64) -> Range {
        Range { low, high, positive: low > 0.0, sinks: low == high && low.is_infinite() }
    }

    /// The same, of operands that sink or do not.
    fn sinking(self, sinks: bool) -> Range {
        Range { sinks, ..self }
    }

    /// No value is negative.
    pub(crate) fn is_nonnegative(self) -> bool {
        self.positive || self.low >= 0.0
    }

    /// Nothing is outside of these.
    pub(crate) fn is_within(self, low: f64, high: f64) -> bool {
        self.low >= low && self.high <= high
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
            sinks: self.sinks && other.sinks,
        }
    }

    /// What holds when one of them does.
    fn either(self, other: Range) -> Range {
        Range {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            positive: self.positive && other.positive,
            sinks: self.sinks || other.sinks,
        }
    }

    fn plus(self, other: Range) -> Range {
        let (a, b) = (self, other);
        let positive = (a.positive && b.is_nonnegative()) || (b.positive && a.is_nonnegative());
        Range { low: a.low + b.low, high: a.high + b.high, positive, sinks: a.sinks || b.sinks }
    }

    fn times(self, other: Range) -> Range {
        let (a, b) = (self, other);
        // An infinite end is never reached, so that it times 0 is 0.
        let product = |x: f64, y: f64| if x == 0.0 || y == 0.0 { 0.0 } else { x * y };
        let ends = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)];
        let ends = ends.map(|(x, y)| product(x, y));
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Range { low, high, positive: a.positive && b.positive, sinks: a.sinks || b.sinks }
    }

    fn power(self, k: f64) -> Range {
        let even = k % 2.0 == 0.0;
        match (self.positive, self.is_nonnegative() || even) {
            (true, _) => POSITIVE.sinking(self.sinks),
            (false, true) => {
                Range { positive: self.is_nonzero(), ..POSITIVE }.sinking(self.sinks || !self.is_nonzero())
            }
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
            Term::Index(rank) => match graph.analysis.cascade.ranks[*rank].extent {
                Extent::Fixed(extent) => Range::between(0.0, (extent - 1).max(0) as f64),
                Extent::Carried | Extent::Derived(_) => Range::between(0.0, f64::INFINITY),
            },
            Term::Extent(_) | Term::Reduce(ReduceOp::Count, ..) => Range::between(0.0, f64::INFINITY),
            Term::Unary(op, [a]) => unary(*op, of(a)),
            Term::Binary(BinaryOp::Min, [a, b]) => smaller(of(a), of(b)),
            Term::Binary(BinaryOp::Max, [a, b]) => larger(of(a), of(b)),
            Term::Binary(BinaryOp::Pow, [a, b]) if of(a).positive => {
                POSITIVE.sinking(of(a).sinks || of(b).sinks)
            }
            Term::Sum(all) => all.iter().map(of).reduce(Range::plus).unwrap_or(ANY),
            Term::Product(all) => all.iter().map(of).reduce(Range::times).unwrap_or(ANY),
            Term::Power(k, [a]) => of(a).power(f64::from_bits(*k)),
            Term::Where([a, condition]) => {
                let kept = graph[*condition].nodes.iter().any(|it| excludes_sunken(graph, it, *a));
                of(a).sinking(of(a).sinks && !kept)
            }
            // What stands in for the extreme of nothing stands beside nothing.
            Term::Else([a, b]) if is_extreme(graph, *a) => of(a).either(of(b)).sinking(of(a).sinks),
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

/// A condition that holds only where a value is not −∞.
fn excludes_sunken(graph: &Graph, condition: &Term, value: Class) -> bool {
    let is_sunken =
        |it: Class| graph[it].nodes.iter().any(|it| *it == Term::Real(f64::NEG_INFINITY.to_bits()));
    let Term::Compare(CompareOp::Ne, [a, b]) = condition else { return false };
    graph.find(*a) == graph.find(value) && is_sunken(*b)
        || graph.find(*b) == graph.find(value) && is_sunken(*a)
}

fn is_extreme(graph: &Graph, class: Class) -> bool {
    let is = |it: &Term| matches!(it, Term::Reduce(ReduceOp::Max | ReduceOp::Min, ..));
    graph[class].nodes.iter().any(is)
}

fn smaller(a: Range, b: Range) -> Range {
    let sinks = a.sinks || b.sinks;
    Range { low: a.low.min(b.low), high: a.high.min(b.high), positive: a.positive && b.positive, sinks }
}

fn larger(a: Range, b: Range) -> Range {
    let sinks = a.sinks || b.sinks;
    Range { low: a.low.max(b.low), high: a.high.max(b.high), positive: a.positive || b.positive, sinks }
}

/// Of one value or more from that range, combined.
fn many(op: ReduceOp, one: Range) -> Range {
    match op {
        ReduceOp::Max | ReduceOp::Min => one,
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean if one.positive => POSITIVE.sinking(one.sinks),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean if one.is_nonnegative() => {
            Range::between(0.0, f64::INFINITY).sinking(one.sinks)
        }
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean if !one.sinks => ANY.sinking(false),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => {
            ANY
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn unary(op: UnaryOp, a: Range) -> Range {
    match op {
        UnaryOp::Exp | UnaryOp::Exp2 => POSITIVE.sinking(a.sinks),
        // Of −∞ they are 0, and no scale keeps small ones from becoming 0 in f32.
        UnaryOp::Softplus => Range::between(0.0, f64::INFINITY),
        UnaryOp::Sigmoid => Range::between(0.0, 1.0),
        UnaryOp::Tanh | UnaryOp::Erf | UnaryOp::Sin | UnaryOp::Cos => Range::between(-1.0, 1.0),
        UnaryOp::Abs => {
            Range { low: 0.0, high: a.high.max(-a.low), positive: a.is_nonzero(), sinks: a.sinks }
        }
        UnaryOp::Relu => larger(a, Range::between(0.0, 0.0)),
        UnaryOp::ToReal => a,
        _ => ANY,
    }
}

/// The truth of a comparison that the ranges of its operands decide, wherever they are present; a NaN compares the
/// same way, which is why an order is only ever decided to be false.
pub(super) fn decided(graph: &Graph, op: CompareOp, a: Class, b: Class) -> Option<bool> {
    let (a, b) = (graph[a].data.range, graph[b].data.range);
    let positive = |it: Range| it.positive && !it.sinks;
    let less = a.high < b.low || (positive(b) && a.high <= 0.0);
    let more = a.low > b.high || (positive(a) && b.high <= 0.0);
    match op {
        CompareOp::Eq => (less || more).then_some(false),
        CompareOp::Ne => (less || more).then_some(true),
        CompareOp::Lt => (more || a.low >= b.high).then_some(false),
        CompareOp::Gt => (less || a.high <= b.low).then_some(false),
        CompareOp::Le => more.then_some(false),
        CompareOp::Ge => less.then_some(false),
    }
}
