//! Scaled numbers: values `a · e^c` whose exponent is kept apart, so that sums of powers stay in range whatever
//! the exponents are.
//!
//! ```text
//! exp(x) · y          =  y · e^x
//! a·e^s / (b·e^t)     =  (a / b) · e^(s - t)
//! a·e^s + b·e^t       =  (a·e^(s - u) + b·e^(t - u)) · e^u     with u = max(s, t)
//! log(a·e^s)          =  log(a) + s
//! ```

use std::collections::BTreeMap;

use attnc_dsl::ast::{CompareOp, DType, Kind};

use crate::ir::cascade::{ExprId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr, Exprs, UnaryOp};

/// Scales stay within this distance from 0, the largest of f32: the difference of one and itself is a number, and scores as low
/// as numbers are, which often stand for what is masked, are still as far apart as they are.
pub(super) const LIMIT: f64 = f32::MAX as f64;

/// How far exponents may be above the scale that they are under before it is raised: `e^28` is a little more than
/// [`MOST_POWERS`], and sums of powers have a range of `2^87` left.
pub(super) const HEADROOM: f64 = 28.0;

/// Where the powers in a tile add up to at most this, no exponent is above its scale by [`HEADROOM`].
pub(crate) const MOST_POWERS: f64 = 1_099_511_627_776.0;

/// A sum of expressions, each with a factor.
pub(super) type Scale = BTreeMap<ExprId, i64>;

/// A value and the power that it is multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaled {
    /// The exponent; nothing is 0.
    pub(super) scale: Scale,
    pub(super) value: ExprId,
    /// The same number as one expression, where that has no scaled parts.
    pub(super) raw: Option<ExprId>,
}

impl Scaled {
    pub(super) fn plain(value: ExprId) -> Scaled {
        Scaled { scale: Scale::new(), value, raw: Some(value) }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.scale.is_empty()
    }

    /// It was made of numbers that have been scaled before, so it is not put together before the end.
    fn is_fixed(&self) -> bool {
        !self.is_plain() && self.raw.is_none()
    }
}

fn merged(a: &Scale, b: &Scale, sign: i64) -> Scale {
    let mut sum = a.clone();
    for (&term, factor) in b {
        *sum.entry(term).or_insert(0) += sign * factor;
    }
    sum.retain(|_, factor| *factor != 0);
    sum
}

/// The exponent of a scale, as an expression. What was made last comes first, and a difference before a sum: an exponent
/// less the scale that it is under is small and has all its digits, however large the two are.
pub(super) fn exponent(exprs: &mut Exprs, scale: &Scale) -> ExprId {
    let of = |sign: i64| scale.iter().rev().filter(move |it| it.1.signum() == sign);
    let (mut above, mut below) = (of(1), of(-1));
    let mut sum: Option<ExprId> = None;
    loop {
        let pair = [above.next(), below.next()];
        if pair == [None, None] {
            return sum.unwrap_or_else(|| exprs.real(0.0));
        }
        let mut difference: Option<ExprId> = None;
        for (&term, &factor) in pair.into_iter().flatten() {
            let size = exprs.real(factor.unsigned_abs() as f64);
            let part = product(exprs, size, term);
            difference = Some(match difference {
                None if factor > 0 => part,
                None => exprs.unary(UnaryOp::Neg, part),
                Some(sum) => exprs.binary(BinaryOp::Sub, sum, part),
            });
        }
        sum = match (sum, difference) {
            (Some(sum), Some(it)) => Some(exprs.binary(BinaryOp::Add, sum, it)),
            (one, None) | (None, one) => one,
        };
    }
}

/// The number as one expression.
pub(super) fn put_together(exprs: &mut Exprs, it: &Scaled) -> ExprId {
    if it.is_plain() {
        return it.value;
    }
    if let Some(raw) = it.raw {
        return raw;
    }
    // The power may overflow where the number does not, so it is multiplied by the root twice; and 0 stays 0.
    let scale = exponent(exprs, &it.scale);
    let half = exprs.real(0.5);
    let half = exprs.binary(BinaryOp::Mul, scale, half);
    let root = exprs.unary(UnaryOp::Exp, half);
    let once = exprs.binary(BinaryOp::Mul, it.value, root);
    let twice = exprs.binary(BinaryOp::Mul, once, root);
    let zero = exprs.real(0.0);
    let is_zero = exprs.compare(CompareOp::Eq, it.value, zero);
    exprs.add(Expr::If(is_zero, it.value, twice))
}

/// A number within the limits, whatever it was made of.
pub(super) fn clamped(exprs: &mut Exprs, x: ExprId) -> ExprId {
    let (low, high) = (exprs.real(-LIMIT), exprs.real(LIMIT));
    let above = exprs.compare(CompareOp::Gt, x, low);
    let below = exprs.binary(BinaryOp::Min, x, high);
    exprs.add(Expr::If(above, below, low))
}

/// The exponent of powers of which the largest or smallest is asked for: `max (a·e^x) = a·e^(max x)` for a positive constant.
/// It is within the limits, so that what comes out tells whether there was any ([`of_extreme`]).
pub(super) fn extreme(exprs: &mut Exprs, it: &Scaled, op: ReduceOp) -> Option<ExprId> {
    let (keep, limit) = limit_of(op)?;
    let factor = exprs.unconditioned(it.value);
    let is_positive = matches!(*exprs.get(factor), Expr::Real(bits) if f64::from_bits(bits) > 0.0);
    if it.is_plain() || !is_positive {
        return None;
    }
    let (exponent, limit) = (exponent(exprs, &it.scale), exprs.real(limit));
    let mut within = exprs.binary(keep, exponent, limit);
    let mut value = it.value;
    while let Expr::Where(x, condition) = *exprs.get(value) {
        within = exprs.add(Expr::Where(within, condition));
        value = x;
    }
    Some(within)
}

/// The number that is the largest or smallest power, given the largest or smallest exponent.
pub(super) fn of_extreme(exprs: &mut Exprs, it: &Scaled, op: ReduceOp, most: ExprId) -> Scaled {
    let (_, limit) = limit_of(op).expect("it is a maximum or a minimum");
    let (zero, nothing) = (exprs.real(0.0), exprs.real(f64::INFINITY.copysign(limit)));
    let is_nothing = exprs.compare(CompareOp::Eq, most, nothing);
    let scale = exprs.add(Expr::If(is_nothing, zero, most));
    let factor = exprs.unconditioned(it.value);
    let value = exprs.add(Expr::If(is_nothing, nothing, factor));
    Scaled { scale: [(scale, 1)].into(), value, raw: None }
}

/// What keeps exponents within a limit, and that limit: beyond it is only what nothing has.
fn limit_of(op: ReduceOp) -> Option<(BinaryOp, f64)> {
    match op {
        ReduceOp::Max => Some((BinaryOp::Max, -LIMIT)),
        ReduceOp::Min => Some((BinaryOp::Min, LIMIT)),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => {
            None
        }
    }
}

/// The exponent of a number beside others: that of 0 is the smallest one, so that it takes no digits from a sum.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn own_exponent(exprs: &mut Exprs, it: &Scaled) -> ExprId {
    let scale = exponent(exprs, &it.scale);
    let (zero, low) = (exprs.real(0.0), exprs.real(-LIMIT));
    match *exprs.get(it.value) {
        // What is scaled has a scale of its own where it is 0.
        _ if !it.is_plain() => scale,
        Expr::Real(_) if it.value != zero => scale,
        _ => {
            let is_zero = exprs.compare(CompareOp::Eq, it.value, zero);
            exprs.add(Expr::If(is_zero, low, scale))
        }
    }
}

/// The values of two numbers under one scale, which is given.
fn rebased(exprs: &mut Exprs, a: &Scaled, b: &Scaled) -> (Scale, ExprId, ExprId) {
    if a.scale == b.scale {
        return (a.scale.clone(), a.value, b.value);
    }
    let (s, t) = (own_exponent(exprs, a), own_exponent(exprs, b));
    let larger = exprs.binary(BinaryOp::Max, s.min(t), s.max(t));
    let common = clamped(exprs, larger);
    let mut under = |value: ExprId, own: ExprId| {
        let down = exprs.binary(BinaryOp::Sub, own, common);
        let factor = exprs.unary(UnaryOp::Exp, down);
        product(exprs, value, factor)
    };
    let (a, b) = (under(a.value, s), under(b.value, t));
    (Scale::from([(common, 1)]), a, b)
}

/// A product, of which 1 is no part.
pub(super) fn product(exprs: &mut Exprs, a: ExprId, b: ExprId) -> ExprId {
    let one = exprs.real(1.0);
    match (a == one, b == one) {
        (true, _) => b,
        (_, true) => a,
        (false, false) => exprs.binary(BinaryOp::Mul, a, b),
    }
}

/// `exp(x)`, or `exp2(x)`.
pub(super) fn power(exprs: &mut Exprs, op: UnaryOp, x: ExprId) -> Scaled {
    let raw = Some(exprs.unary(op, x));
    let exponent = if op == UnaryOp::Exp2 {
        let log = exprs.real(std::f64::consts::LN_2);
        exprs.binary(BinaryOp::Mul, x, log)
    } else {
        x
    };
    Scaled { scale: Scale::from([(exponent, 1)]), value: exprs.real(1.0), raw }
}

/// An operation on one scaled number; `None` if it does not keep scales apart.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(super) fn unary(exprs: &mut Exprs, op: UnaryOp, a: &Scaled) -> Option<Scaled> {
    if a.is_plain() {
        return None;
    }
    let raw = a.raw.map(|it| exprs.unary(op, it));
    let log = |exprs: &mut Exprs, per: f64| {
        let (value, scale) = (exprs.unary(op, a.value), exponent(exprs, &a.scale));
        let factor = exprs.real(per);
        let scale = product(exprs, scale, factor);
        Scaled::plain(exprs.binary(BinaryOp::Add, value, scale))
    };
    match op {
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Relu => {
            Some(Scaled { scale: a.scale.clone(), value: exprs.unary(op, a.value), raw })
        }
        UnaryOp::Log => Some(log(exprs, 1.0)),
        UnaryOp::Log2 => Some(log(exprs, std::f64::consts::LOG2_E)),
        UnaryOp::Sqrt => Some(raised(exprs, a, 0.5, &|exprs, it| exprs.unary(op, it))),
        UnaryOp::Rsqrt => Some(raised(exprs, a, -0.5, &|exprs, it| exprs.unary(op, it))),
        UnaryOp::Sign | UnaryOp::IsNan => Some(Scaled::plain(exprs.unary(op, a.value))),
        _ => None,
    }
}

/// `(a·e^c)^k = a^k · e^(k·c)`.
fn raised(exprs: &mut Exprs, a: &Scaled, k: f64, raise: &dyn Fn(&mut Exprs, ExprId) -> ExprId) -> Scaled {
    let (k, scale) = (exprs.real(k), exponent(exprs, &a.scale));
    let scale = exprs.binary(BinaryOp::Mul, k, scale);
    let raw = a.raw.map(|it| raise(exprs, it));
    Scaled { scale: Scale::from([(scale, 1)]), value: raise(exprs, a.value), raw }
}

/// An operation on two numbers of which one is scaled; `None` if it does not keep scales apart.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(super) fn binary(exprs: &mut Exprs, op: BinaryOp, a: &Scaled, b: &Scaled) -> Option<Scaled> {
    if a.is_plain() && b.is_plain() {
        return None;
    }
    let raw = match (a.raw, b.raw) {
        (Some(a), Some(b)) => Some(exprs.binary(op, a, b)),
        (Some(_) | None, _) => None,
    };
    match op {
        BinaryOp::Mul => {
            let value = product(exprs, a.value, b.value);
            Some(Scaled { scale: merged(&a.scale, &b.scale, 1), value, raw })
        }
        BinaryOp::Div => {
            let value = exprs.binary(BinaryOp::Div, a.value, b.value);
            Some(Scaled { scale: merged(&a.scale, &b.scale, -1), value, raw })
        }
        BinaryOp::Pow => {
            let Expr::Real(bits) = *exprs.get(b.value) else { return None };
            let raise = |exprs: &mut Exprs, it| exprs.binary(op, it, b.value);
            b.is_plain().then(|| raised(exprs, a, f64::from_bits(bits), &raise))
        }
        // One power among other numbers is a number like them, unless it has been scaled before.
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max
            if a.is_fixed() || b.is_fixed() || !(a.is_plain() || b.is_plain()) =>
        {
            let (scale, x, y) = rebased(exprs, a, b);
            Some(Scaled { scale, value: exprs.binary(op, x, y), raw })
        }
        _ => None,
    }
}

/// A comparison of a scaled number with 0.
pub(super) fn compare(exprs: &mut Exprs, op: CompareOp, a: &Scaled, b: &Scaled) -> Option<Scaled> {
    let zero = exprs.real(0.0);
    let asks = (a.is_fixed() && b.value == zero) || (b.is_fixed() && a.value == zero);
    asks.then(|| Scaled::plain(exprs.compare(op, a.value, b.value)))
}

/// One of two numbers, put together by `choose` with a condition that is known to it; `None` if that is a number
/// like others.
pub(super) fn choice(
    exprs: &mut Exprs,
    a: &Scaled,
    b: &Scaled,
    choose: impl Fn(&mut Exprs, ExprId, ExprId) -> ExprId,
) -> Option<Scaled> {
    let zero = exprs.real(0.0);
    // A constant is a multiple of e⁰: laws fold the power of what stands in for an exponent.
    let is_number = |it: &Scaled| it.is_plain() && !matches!(exprs.get(it.value), Expr::Real(_));
    let alone = (is_number(a) || is_number(b)) && !(a.is_fixed() || b.is_fixed());
    if alone || (a.is_plain() && b.is_plain()) {
        return None;
    }
    let raw = match (a.raw, b.raw) {
        (Some(a), Some(b)) => Some(choose(exprs, a, b)),
        (Some(_) | None, _) => None,
    };
    let value = choose(exprs, a.value, b.value);
    let scale = if a.scale == b.scale {
        a.scale.clone()
    } else {
        // 0 has a scale, for it is there where it is chosen; the smallest one, so that it takes no digits from a sum.
        let mut of =
            |it: &Scaled| if it.value == zero { exprs.real(-LIMIT) } else { exponent(exprs, &it.scale) };
        let (s, t) = (of(a), of(b));
        Scale::from([(choose(exprs, s, t), 1)])
    };
    Some(Scaled { scale, value, raw })
}

/// Whether a stored value of that type is the value itself.
pub(super) fn keeps(kind: Kind, dtype: Option<DType>) -> bool {
    match dtype {
        None | Some(DType::F64 | DType::F32 | DType::I64 | DType::Bool) => true,
        Some(
            DType::F16
            | DType::BF16
            | DType::F8E4M3
            | DType::F8E5M2
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U8
            | DType::I4,
        ) => kind == Kind::Bool,
    }
}

/// The exponents of the powers that keep a value apart from plain numbers: those of its factors, and of its terms or cases
/// if all of them have some; constants stand beside the cases that do.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn exponents(exprs: &Exprs, value: ExprId) -> Vec<ExprId> {
    match *exprs.get(value) {
        Expr::Unary(UnaryOp::Exp | UnaryOp::Exp2, x) => vec![x],
        Expr::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Relu | UnaryOp::Sqrt | UnaryOp::Rsqrt, x)
        | Expr::Binary(BinaryOp::Pow, x, _)
        | Expr::Where(x, _)
        | Expr::Cast(DType::F64, x) => exponents(exprs, x),
        Expr::Binary(BinaryOp::Mul | BinaryOp::Div, a, b) => {
            [exponents(exprs, a), exponents(exprs, b)].concat()
        }
        Expr::If(is_zero, a, b) if is_comparison_with_zero(exprs, is_zero, a) => exponents(exprs, b),
        Expr::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b) => {
            of_both(exprs, a, b, &|it| *it == Expr::Real(0.0_f64.to_bits()))
        }
        Expr::If(_, a, b) | Expr::Else(a, b) => of_both(exprs, a, b, &|it| matches!(it, Expr::Real(_))),
        _ => Vec::new(),
    }
}

/// Those of two expressions if each has some, or may stand beside powers as it is.
fn of_both(exprs: &Exprs, a: ExprId, b: ExprId, stands: &dyn Fn(&Expr) -> bool) -> Vec<ExprId> {
    let either = [a, b].map(|it| (it, exponents(exprs, it)));
    let is_plain = |(it, powers): &(ExprId, Vec<ExprId>)| powers.is_empty() && !stands(exprs.get(*it));
    if either.iter().any(is_plain) { Vec::new() } else { either.map(|it| it.1).concat() }
}

/// The condition of [`put_together`].
fn is_comparison_with_zero(exprs: &Exprs, condition: ExprId, value: ExprId) -> bool {
    let Expr::Compare(CompareOp::Eq, a, zero) = *exprs.get(condition) else { return false };
    a == value && *exprs.get(zero) == Expr::Real(0.0_f64.to_bits())
}
