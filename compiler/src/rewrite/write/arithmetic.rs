//! Sums, products and powers, written as a person would: differences, quotients, one exponential.
use super::{Value, Writer};
use crate::ir::cascade::{ExprId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::rewrite::build::Build;
use crate::rewrite::domain::Domain;
use crate::rewrite::term::{Class, Term, identity};

impl Writer<'_> {
    pub(super) fn sum(&mut self, terms: &[Class]) -> Value {
        let mut unsaid = Domain::new();
        let mut result: Option<ExprId> = None;
        // What is subtracted comes last.
        let (minus, plus): (Vec<Class>, Vec<Class>) =
            terms.iter().partition(|it| self.negated(**it).is_some());
        for it in plus {
            let value = self.value(it);
            unsaid.extend(value.unsaid);
            result = Some(match result {
                Some(sum) => self.cascade.exprs.binary(BinaryOp::Add, sum, value.expr),
                None => value.expr,
            });
        }
        for it in minus {
            let positive = self.negated(it).expect("it was found to be");
            let value = self.product(&positive);
            unsaid.extend(value.unsaid);
            result = Some(match result {
                Some(sum) => self.cascade.exprs.binary(BinaryOp::Sub, sum, value.expr),
                None => self.cascade.exprs.unary(UnaryOp::Neg, value.expr),
            });
        }
        Value { expr: result.expect("a sum has terms"), unsaid }
    }

    /// The factors of a product by −1 without it, if that is how the class is computed.
    fn negated(&self, class: Class) -> Option<Vec<Class>> {
        let class = self.graph.find(class);
        if self.made.contains_key(&class) {
            return None;
        }
        let Term::Product(factors) = self.choice.term(self.graph, class) else { return None };
        let at = factors.iter().position(|it| self.graph.constant_real(*it) == Some(-1.0))?;
        let mut rest = factors.to_vec();
        rest.remove(at);
        Some(rest)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn product(&mut self, factors: &[Class]) -> Value {
        let mut unsaid = Domain::new();
        let (mut above, mut below, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        let mut exponents: Vec<ExprId> = Vec::new();
        let (fixed, factors) = self.invariant_factors(factors);
        above.extend(fixed);
        for factor in factors {
            let class = self.graph.find(factor);
            let known = self.made.contains_key(&class);
            match self.choice.term(self.graph, class).clone() {
                Term::Power(bits, [base]) if !known && f64::from_bits(bits) < 0.0 => {
                    let value = self.power(-f64::from_bits(bits), base);
                    unsaid.extend(value.unsaid);
                    below.push(value.expr);
                }
                Term::Where([one, condition]) if !known && self.graph.constant_real(one) == Some(1.0) => {
                    let value = self.value(condition);
                    unsaid.extend(value.unsaid);
                    conditions.push(value.expr);
                }
                Term::Unary(UnaryOp::Exp, [argument]) if !known => {
                    let value = self.value(argument);
                    unsaid.extend(value.unsaid);
                    exponents.push(value.expr);
                }
                _ => {
                    let value = self.value(class);
                    unsaid.extend(value.unsaid);
                    above.push(value.expr);
                }
            }
        }
        let exprs = &mut self.cascade.exprs;
        if let Some(exponent) = exponents.into_iter().reduce(|a, b| exprs.binary(BinaryOp::Add, a, b)) {
            above.insert(0, exprs.unary(UnaryOp::Exp, exponent));
        }
        let above = above.into_iter().reduce(|a, b| exprs.binary(BinaryOp::Mul, a, b));
        let below = below.into_iter().reduce(|a, b| exprs.binary(BinaryOp::Mul, a, b));
        let above = above.unwrap_or_else(|| exprs.real(1.0));
        let mut expr = match below {
            Some(below) => exprs.binary(BinaryOp::Div, above, below),
            None => above,
        };
        for condition in conditions {
            expr = exprs.add(Expr::Where(expr, condition));
        }
        Value { expr, unsaid }
    }

    pub(super) fn power(&mut self, exponent: f64, base: Class) -> Value {
        let Value { expr: base, unsaid } = self.value(base);
        let exprs = &mut self.cascade.exprs;
        let positive = match exponent.abs() {
            0.5 if exponent < 0.0 => {
                return Value { expr: exprs.unary(UnaryOp::Rsqrt, base), unsaid };
            }
            0.5 => exprs.unary(UnaryOp::Sqrt, base),
            1.0 => base,
            2.0 => exprs.binary(BinaryOp::Mul, base, base),
            other => {
                let other = exprs.real(other);
                exprs.binary(BinaryOp::Pow, base, other)
            }
        };
        let expr = if exponent < 0.0 {
            let one = exprs.real(1.0);
            exprs.binary(BinaryOp::Div, one, positive)
        } else {
            positive
        };
        Value { expr, unsaid }
    }

    pub(super) fn union(&mut self, class: Class, op: ReduceOp, all: &[Class]) -> Value {
        let combine = match op {
            ReduceOp::Sum => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::Max | ReduceOp::Mean | ReduceOp::Any | ReduceOp::All | ReduceOp::Count => BinaryOp::Max,
        };
        let none = identity(op).expect("a union is of an operation with an identity");
        let mut result: Option<ExprId> = None;
        for &it in all {
            let is_own = matches!(self.choice.term(self.graph, it), Term::Reduce(own, ..) if *own == op);
            let expr = if is_own || self.graph.facts(it).domain.is_empty() {
                self.value(it).expr
            } else {
                let value = self.exact(it);
                let none = self.cascade.exprs.real(none);
                self.cascade.exprs.add(Expr::Else(value, none))
            };
            result = Some(match result {
                Some(so_far) => self.cascade.exprs.binary(combine, so_far, expr),
                None => expr,
            });
        }
        let expr = result.expect("a union is of something");
        Value { expr, unsaid: self.graph.facts(class).domain.clone() }
    }
}
