//! Expressions as products, and as linear functions of a state.
//!
//! ```text
//! x * y / z where p and q        factors x, y, 1 / z; conditions p, q
//! a * (H[t] + k * v) + u         coefficient a; terms a * k * v, u
//! ```

use crate::ir::cascade::{ExprId, Op, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use attnc_dsl::ast::Kind;

use super::draft::Draft;

/// A product that is absent where a condition does not hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Product {
    pub(super) factors: Vec<ExprId>,
    pub(super) conditions: Vec<ExprId>,
}

/// Which tensors are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Those that are products of what is in memory anyway.
    Cheap,
    /// All maps.
    Deep,
}

/// A function that is linear in a state, and a sum of products.
pub(super) struct Linear {
    /// What the state is multiplied by; none if it does not occur.
    pub(super) gate: Option<Vec<ExprId>>,
    pub(super) terms: Vec<Product>,
}

impl Draft {
    /// The factors of a value.
    pub(super) fn product(&mut self, value: ExprId, look: Look) -> Product {
        let mut product = Product::default();
        let mut todo = vec![value];
        while let Some(id) = todo.pop() {
            let is_real = self.cascade.exprs.kind(id) == Kind::Real;
            match self.cascade.exprs.get(id).clone() {
                Expr::Binary(BinaryOp::Mul, a, b) if is_real => todo.extend([b, a]),
                Expr::Binary(BinaryOp::Div, a, b) => {
                    let one = self.exprs().real(1.0);
                    product.factors.push(self.cascade.exprs.binary(BinaryOp::Div, one, b));
                    todo.extend((a != one).then_some(a));
                }
                Expr::Unary(UnaryOp::Neg, a) if is_real => {
                    product.factors.push(self.cascade.exprs.real(-1.0));
                    todo.push(a);
                }
                Expr::Where(x, condition) => {
                    self.conjuncts(condition, &mut product.conditions);
                    todo.push(x);
                }
                Expr::Real(bits) if f64::from_bits(bits) == 1.0 => {}
                Expr::Read(tensor, coords, _) => match self.looked_into(tensor, &coords, look) {
                    Some(value) => todo.push(value),
                    None => product.factors.push(id),
                },
                _ => product.factors.push(id),
            }
        }
        product
    }

    /// The parts of a conjunction.
    fn conjuncts(&self, condition: ExprId, all: &mut Vec<ExprId>) {
        match *self.cascade.exprs.get(condition) {
            Expr::Binary(BinaryOp::And, a, b) => {
                self.conjuncts(a, all);
                self.conjuncts(b, all);
            }
            // A condition on what is always there.
            Expr::Where(a, _) if self.is_total(condition) => self.conjuncts(a, all),
            _ => all.push(condition),
        }
    }

    /// What a tensor is a name for, where it is read in place.
    fn looked_into(&self, tensor: TensorId, coords: &[ExprId], look: Look) -> Option<ExprId> {
        let dims = &self.cascade.tensors[tensor].dims;
        let exprs = &self.cascade.exprs;
        let in_place = coords
            .iter()
            .zip(dims)
            .all(|(&coord, dim)| dim.lag == 0 && *exprs.get(coord) == Expr::Index(dim.rank));
        let einsum = self.definition(tensor).filter(|it| in_place && it.op == Op::Map)?;
        (look == Look::Deep || self.is_cheap(einsum.value)).then_some(einsum.value)
    }

    /// A product of inputs, scalars and what is in memory.
    fn is_cheap(&self, value: ExprId) -> bool {
        match *self.cascade.exprs.get(value) {
            Expr::Binary(BinaryOp::Mul, a, b) => self.is_cheap(a) && self.is_cheap(b),
            Expr::Unary(UnaryOp::Neg, a) => self.is_cheap(a),
            _ => self.is_held(value),
        }
    }

    /// Nothing has to be computed for it.
    pub(super) fn is_held(&self, value: ExprId) -> bool {
        matches!(self.cascade.exprs.get(value), Expr::Real(_) | Expr::Param(..) | Expr::Read(..))
    }

    /// A value as a linear function of the reads of a tensor at those coordinates; none if it is not.
    pub(super) fn linear(&mut self, value: ExprId, state: TensorId, read: ExprId) -> Option<Linear> {
        if !self.reads(value, state) {
            return Some(Linear { gate: None, terms: vec![self.product(value, Look::Cheap)] });
        }
        if value == read {
            return Some(Linear { gate: Some(Vec::new()), terms: Vec::new() });
        }
        match *self.cascade.exprs.get(value) {
            Expr::Binary(BinaryOp::Add, a, b) => {
                let (a, b) = (self.linear(a, state, read)?, self.linear(b, state, read)?);
                let gate = match (a.gate, b.gate) {
                    (Some(_), Some(_)) => return None,
                    (a, b) => a.or(b),
                };
                Some(Linear { gate, terms: [a.terms, b.terms].concat() })
            }
            Expr::Binary(BinaryOp::Sub, a, b) => {
                let minus = self.exprs().real(-1.0);
                let (a, b) = (self.linear(a, state, read)?, self.linear(b, state, read)?);
                let b = b.times(&[minus]);
                let gate = match (a.gate, b.gate) {
                    (Some(_), Some(_)) => return None,
                    (a, b) => a.or(b),
                };
                Some(Linear { gate, terms: [a.terms, b.terms].concat() })
            }
            Expr::Unary(UnaryOp::Neg, a) => {
                let minus = self.exprs().real(-1.0);
                Some(self.linear(a, state, read)?.times(&[minus]))
            }
            Expr::Binary(BinaryOp::Div, a, b) if !self.reads(b, state) => {
                let one = self.exprs().real(1.0);
                let inverse = self.exprs().binary(BinaryOp::Div, one, b);
                Some(self.linear(a, state, read)?.times(&[inverse]))
            }
            Expr::Binary(BinaryOp::Mul, a, b) => {
                let (factor, rest) = if self.reads(a, state) { (b, a) } else { (a, b) };
                if self.reads(factor, state) {
                    return None;
                }
                let factors = self.product(factor, Look::Cheap);
                let rest = self.linear(rest, state, read)?;
                factors.conditions.is_empty().then(|| rest.times(&factors.factors))
            }
            _ => None,
        }
    }
}

impl Linear {
    fn times(mut self, factors: &[ExprId]) -> Linear {
        for all in self.gate.iter_mut().chain(self.terms.iter_mut().map(|it| &mut it.factors)) {
            all.extend(factors);
        }
        self
    }
}
