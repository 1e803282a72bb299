//! A constant expression to its value: extents of ranks, defaults of parameters.

use std::collections::HashMap;

use crate::ast::{BinaryOp, CompareOp, DType, Expr, ExprKind, FnDef, FnStmt, Kind, Name, RankDef, UnaryOp};
use crate::builtins::{Builtin, Family, Form, builtin};
use crate::model::Program;

/// How many expressions are evaluated for one constant.
const MAX_STEPS: usize = 1 << 22;

/// The value of a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// An integer.
    Int(i64),
    /// A real.
    Real(f64),
    /// A bool.
    Bool(bool),
}

/// Why a constant has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// It is absent: a division by zero, a `where` that fails.
    Absent,
    /// An integer exceeds 64 bits.
    Overflow,
    /// It takes too long, or uses what constants do not offer.
    Beyond,
}

/// What names mean to a constant.
pub(super) struct Env<'e> {
    /// Extents by name of rank.
    pub(super) extent: &'e dyn Fn(&str) -> Option<i64>,
    /// Values by name of parameter or local.
    pub(super) value: &'e dyn Fn(&str) -> Option<Result<Value, Failing>>,
}

/// Evaluates a checked constant expression.
pub(super) fn evaluate(program: &Program, e: &Expr, env: &Env<'_>) -> Result<Value, Failing> {
    Evaluator { program, steps: 0 }.eval(e, env)
}

struct Evaluator<'a> {
    program: &'a Program,
    steps: usize,
}

type Found = Result<Value, Failing>;

impl Evaluator<'_> {
    fn eval(&mut self, e: &Expr, env: &Env<'_>) -> Found {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Failing::Beyond);
        }
        match &e.kind {
            ExprKind::Int(x) => Ok(Value::Int(*x)),
            ExprKind::Real(x) => Ok(Value::Real(*x)),
            ExprKind::Bool(x) => Ok(Value::Bool(*x)),
            ExprKind::Inf => Ok(Value::Real(f64::INFINITY)),
            ExprKind::Pi => Ok(Value::Real(std::f64::consts::PI)),
            ExprKind::Name(name) | ExprKind::Reindex { name: Name { text: name, .. }, .. } => {
                (env.value)(name).unwrap_or(Err(Failing::Beyond))
            }
            ExprKind::Bars(name) => match (env.extent)(&name.text) {
                Some(extent) => Ok(Value::Int(extent)),
                None => same("abs", (env.value)(&name.text).unwrap_or(Err(Failing::Beyond))?, &[]),
            },
            ExprKind::Read { .. } | ExprKind::Select { .. } | ExprKind::Refused => Err(Failing::Beyond),
            ExprKind::Call { name, ranks, args } => self.call(name, ranks, args, env),
            ExprKind::Unary(UnaryOp::Not, a) => Ok(Value::Bool(!truth(self.eval(a, env)?)?)),
            ExprKind::Unary(UnaryOp::Neg, a) => negate(self.eval(a, env)?),
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => {
                let decides = Ok(Value::Bool(*op == BinaryOp::Or));
                match (self.eval(a, env), self.eval(b, env)) {
                    (a, b) if a == decides || b == decides => decides,
                    (a, b) => a.and(b),
                }
            }
            ExprKind::Binary(op, a, b) => binary(*op, self.eval(a, env)?, self.eval(b, env)?),
            ExprKind::Compare(first, rest) => {
                let mut left = self.eval(first, env)?;
                let mut all = true;
                for (op, e) in rest {
                    let right = self.eval(e, env)?;
                    all &= compare(*op, left, right)?;
                    left = right;
                }
                Ok(Value::Bool(all))
            }
            ExprKind::If(c, a, b) => {
                let chosen = if truth(self.eval(c, env)?)? { a } else { b };
                self.eval(chosen, env)
            }
            ExprKind::Where(a, c) => {
                let x = self.eval(a, env)?;
                if truth(self.eval(c, env)?)? { Ok(x) } else { Err(Failing::Absent) }
            }
            ExprKind::Else(a, b) => match self.eval(a, env) {
                Err(Failing::Absent) => self.eval(b, env),
                found => found,
            },
        }
    }

    fn call(&mut self, name: &Name, ranks: &[Name], args: &[Expr], env: &Env<'_>) -> Found {
        let values: Vec<Found> = args.iter().map(|it| self.eval(it, env)).collect();
        if ranks.is_empty()
            && let Some(it) = builtin(&name.text, Form::Values)
        {
            return apply(it, &values);
        }
        let program = self.program;
        let f = program.functions.meant(name).ok_or(Failing::Beyond)?;
        let extents: Option<Vec<i64>> = ranks.iter().map(|it| (env.extent)(&it.text)).collect();
        let extents = extents.ok_or(Failing::Beyond)?;
        let extents = if f.ranks.len() == 1 { vec![product(&extents)?] } else { extents };
        self.body(f, &extents, &values)
    }

    fn body(&mut self, f: &FnDef, extents: &[i64], values: &[Found]) -> Found {
        let mut ranks: HashMap<&str, i64> =
            f.ranks.iter().map(|it| it.text.as_str()).zip(extents.iter().copied()).collect();
        let mut locals: HashMap<&str, Found> =
            f.values.iter().map(|it| it.text.as_str()).zip(values.iter().copied()).collect();
        for statement in &f.body {
            let env = Env { extent: &|it| ranks.get(it).copied(), value: &|it| locals.get(it).copied() };
            match statement {
                FnStmt::Let(name, e) => {
                    let value = self.eval(e, &env);
                    locals.insert(&name.text, value);
                }
                FnStmt::Rank(decl) => {
                    let extent = match &decl.def {
                        RankDef::Fixed(e) => self.eval(e, &env).ok().and_then(whole),
                        RankDef::Alias(of) => ranks.get(of.text.as_str()).copied(),
                        RankDef::Composite(parts) => {
                            let parts: Option<Vec<i64>> =
                                parts.iter().map(|it| ranks.get(it.name.text.as_str()).copied()).collect();
                            parts.and_then(|it| product(&it).ok())
                        }
                        RankDef::Symbolic | RankDef::Bounded(..) => None,
                    };
                    ranks.extend(extent.map(|it| (decl.name.text.as_str(), it)));
                }
            }
        }
        self.eval(
            &f.result,
            &Env { extent: &|it| ranks.get(it).copied(), value: &|it| locals.get(it).copied() },
        )
    }
}

/// The product of extents.
pub(super) fn product(extents: &[i64]) -> Result<i64, Failing> {
    if extents.contains(&0) {
        return Ok(0);
    }
    extents.iter().try_fold(1_i64, |all, it| all.checked_mul(*it)).ok_or(Failing::Overflow)
}

/// The integer that a value is.
pub(super) fn whole(value: Value) -> Option<i64> {
    if let Value::Int(x) = value { Some(x) } else { None }
}

fn truth(value: Value) -> Result<bool, Failing> {
    if let Value::Bool(x) = value { Ok(x) } else { Err(Failing::Beyond) }
}

#[expect(clippy::cast_precision_loss, reason = "an integer that meets a real becomes the nearest one")]
fn real(value: Value) -> Result<f64, Failing> {
    match value {
        Value::Int(x) => Ok(x as f64),
        Value::Real(x) => Ok(x),
        Value::Bool(_) => Err(Failing::Beyond),
    }
}

fn int(found: Option<i64>) -> Found {
    found.map(Value::Int).ok_or(Failing::Overflow)
}

fn negate(value: Value) -> Found {
    match value {
        Value::Int(x) => int(x.checked_neg()),
        Value::Real(x) => Ok(Value::Real(-x)),
        Value::Bool(_) => Err(Failing::Beyond),
    }
}

fn binary(op: BinaryOp, a: Value, b: Value) -> Found {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        match op {
            BinaryOp::Add => return int(a.checked_add(b)),
            BinaryOp::Sub => return int(a.checked_sub(b)),
            BinaryOp::Mul => return int(a.checked_mul(b)),
            BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => return Err(Failing::Absent),
            BinaryOp::FloorDiv => {
                return int(a
                    .checked_div_euclid(b)
                    .map(|q| if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q }));
            }
            BinaryOp::Mod => {
                return int(a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }));
            }
            BinaryOp::Div | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => {}
        }
    }
    let (a, b) = (real(a)?, real(b)?);
    let found = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::And | BinaryOp::Or => return Err(Failing::Beyond),
    };
    Ok(Value::Real(found))
}

fn compare(op: CompareOp, a: Value, b: Value) -> Result<bool, Failing> {
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
        (Value::Int(_) | Value::Real(_) | Value::Bool(_), _) => real(a)?.partial_cmp(&real(b)?),
    };
    Ok(match op {
        CompareOp::Eq => order.is_some_and(|it| it.is_eq()),
        CompareOp::Ne => !order.is_some_and(|it| it.is_eq()),
        CompareOp::Lt => order.is_some_and(|it| it.is_lt()),
        CompareOp::Le => order.is_some_and(|it| it.is_le()),
        CompareOp::Gt => order.is_some_and(|it| it.is_gt()),
        CompareOp::Ge => order.is_some_and(|it| it.is_ge()),
    })
}

fn apply(it: Builtin, values: &[Found]) -> Found {
    if it.family == Family::Present {
        return Ok(Value::Bool(values[0].is_ok()));
    }
    if it.family == Family::Pick {
        let at = whole(values[0]?).and_then(|it| usize::try_from(it).ok());
        return at.and_then(|it| values[1..].get(it).copied()).unwrap_or(Err(Failing::Absent));
    }
    let values: Vec<Value> = values.iter().copied().collect::<Result<_, _>>()?;
    match it.family {
        Family::ToReal => to_real(it.name, real(values[0])?),
        Family::Same => same(it.name, values[0], &values[1..]),
        Family::Int => bits(it.name, &values),
        Family::Test => {
            let x = real(values[0])?;
            Ok(Value::Bool(if it.name == "isnan" { x.is_nan() } else { x.is_infinite() }))
        }
        Family::Cast(dtype) => cast(values[0], dtype),
        Family::Reduce
        | Family::Mean
        | Family::Quantify
        | Family::Count
        | Family::Arg
        | Family::Prefix
        | Family::Place
        | Family::Select
        | Family::Present
        | Family::Pick => Err(Failing::Beyond),
    }
}

fn to_real(name: &str, x: f64) -> Found {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let found = match name {
        "exp" => x.exp(),
        "exp2" => x.exp2(),
        "expm1" => x.exp_m1(),
        "log" => x.ln(),
        "log2" => x.log2(),
        "log1p" => x.ln_1p(),
        "sqrt" => x.sqrt(),
        "rsqrt" => 1.0 / x.sqrt(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "sigmoid" => sigmoid(x),
        "softplus" => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        "silu" => x * sigmoid(x),
        _ => return Err(Failing::Beyond),
    };
    Ok(Value::Real(found))
}

fn same(name: &str, first: Value, rest: &[Value]) -> Found {
    if let Value::Int(x) = first
        && rest.iter().all(|it| matches!(it, Value::Int(_)))
    {
        let mut rest = rest.iter().copied().filter_map(whole);
        return match name {
            "relu" => Ok(Value::Int(x.max(0))),
            "abs" => int(x.checked_abs()),
            "sign" => Ok(Value::Int(x.signum())),
            "min" => Ok(Value::Int(rest.fold(x, i64::min))),
            "max" => Ok(Value::Int(rest.fold(x, i64::max))),
            "clamp" => Ok(Value::Int(x.max(rest.next().unwrap_or(x)).min(rest.next().unwrap_or(x)))),
            _ => Ok(first),
        };
    }
    let x = real(first)?;
    let rest: Vec<f64> = rest.iter().map(|it| real(*it)).collect::<Result<_, _>>()?;
    let least = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
    let most = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    Ok(Value::Real(match name {
        "relu" => most(x, 0.0),
        "abs" => x.abs(),
        "sign" if x == 0.0 || x.is_nan() => x,
        "sign" => x.signum(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round_ties_even(),
        "trunc" => x.trunc(),
        "min" => rest.into_iter().fold(x, least),
        "max" => rest.into_iter().fold(x, most),
        "clamp" if rest.len() == 2 => least(most(x, rest[0]), rest[1]),
        _ => return Err(Failing::Beyond),
    }))
}

fn bits(name: &str, values: &[Value]) -> Found {
    let ints: Vec<i64> = values.iter().copied().filter_map(whole).collect();
    let shift = |by: i64| u32::try_from(by).ok().filter(|it| *it < 64).ok_or(Failing::Absent);
    Ok(Value::Int(match (name, &ints[..]) {
        ("ilog2", [x]) => i64::from(x.checked_ilog2().ok_or(Failing::Absent)?),
        ("bitand", [a, b]) => a & b,
        ("bitor", [a, b]) => a | b,
        ("bitxor", [a, b]) => a ^ b,
        ("shl", [a, b]) => a << shift(*b)?,
        ("shr", [a, b]) => a >> shift(*b)?,
        (_, _) => return Err(Failing::Beyond),
    }))
}

/// A value of another dtype: to integers nearest even and saturating, NaN to 0.
///
/// Reals are kept as they are; the narrow ones round when the kernel stores them.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates and takes NaN to 0, as the language does"
)]
#[expect(clippy::cast_precision_loss, reason = "an integer becomes the nearest real")]
pub(super) fn cast(value: Value, dtype: DType) -> Found {
    let number = |it: bool| i64::from(it);
    Ok(match dtype.kind() {
        Kind::Bool => Value::Bool(match value {
            Value::Int(x) => x != 0,
            Value::Real(x) => x != 0.0,
            Value::Bool(x) => x,
        }),
        Kind::Real => Value::Real(match value {
            Value::Int(x) => x as f64,
            Value::Real(x) => x,
            Value::Bool(x) => number(x) as f64,
        }),
        Kind::Int => {
            let (low, high) = dtype.int_range().ok_or(Failing::Beyond)?;
            Value::Int(match value {
                Value::Int(x) => x.clamp(low, high),
                Value::Real(x) => (x.round_ties_even() as i64).clamp(low, high),
                Value::Bool(x) => number(x),
            })
        }
    })
}
