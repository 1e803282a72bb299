//! A cascade to one whose f32 operations are each off by a rounding, which depends on where and which they are.
//!
//! ```text
//! S[m, n] = sum[d](Q * K)   ->   S[m, n] = sum[d]((Q * K) * (1 + ulp * sin(seed + a * m + b * n + c * d)))
//! ```

use std::collections::HashMap;

use attnc::ir::cascade::{Cascade, Einsum, ExprId, Step};
use attnc::ir::expr::{BinaryOp, Expr, UnaryOp, operands, with_operands};
use attnc::tile::in_f32;

use super::random::Random;

/// The ulp of f32 at 1, twice the largest error of a rounding.
const ULP: f64 = f32::EPSILON as f64;

/// The same kernel with noise; an operation on the same operands is always off by the same.
pub(crate) fn noisy(cascade: &Cascade, random: &mut Random) -> Cascade {
    let mut noise = Noise { in_f32: in_f32(cascade), cascade: cascade.clone(), done: HashMap::new(), random };
    noise.cascade.assumes.clear();
    let mut steps = cascade.steps.clone();
    for step in &mut steps {
        match step {
            Step::Einsum(einsum) => noise.einsum(einsum),
            Step::Recurrence(it) => it.bases.iter_mut().chain(&mut it.body).for_each(|it| noise.einsum(it)),
        }
    }
    noise.cascade.steps = steps;
    noise.cascade
}

struct Noise<'a> {
    cascade: Cascade,
    /// By expression of the cascade as it was.
    in_f32: Vec<bool>,
    /// What became of an expression.
    done: HashMap<ExprId, ExprId>,
    random: &'a mut Random,
}

impl Noise<'_> {
    fn einsum(&mut self, einsum: &mut Einsum) {
        for id in self.cascade.exprs.postorder(einsum.value) {
            if !self.done.contains_key(&id) {
                let noisy = self.expr(id);
                self.done.insert(id, noisy);
            }
        }
        einsum.value = self.done[&einsum.value];
    }

    /// An expression whose operands are done.
    fn expr(&mut self, id: ExprId) -> ExprId {
        let old = self.cascade.exprs.get(id).clone();
        let new: Vec<ExprId> = operands(&old).iter().map(|it| self.done[it]).collect();
        let same = self.cascade.exprs.add(with_operands(&old, &new));
        if !rounds(&old) || !self.in_f32[id.idx()] {
            return same;
        }
        let exprs = &mut self.cascade.exprs;
        let mut phase = exprs.real(self.random.unit() * 1e3);
        for rank in exprs.free(id).to_vec() {
            let index = exprs.index(rank);
            let factor = exprs.real(1.0 + 10.0 * self.random.unit());
            let part = exprs.binary(BinaryOp::Mul, index, factor);
            phase = exprs.binary(BinaryOp::Add, phase, part);
        }
        let (sine, ulp, one) = (exprs.unary(UnaryOp::Sin, phase), exprs.real(ULP), exprs.real(1.0));
        let error = exprs.binary(BinaryOp::Mul, ulp, sine);
        let factor = exprs.binary(BinaryOp::Add, one, error);
        exprs.binary(BinaryOp::Mul, same, factor)
    }
}

/// Whether an operation on reals may round.
fn rounds(expr: &Expr) -> bool {
    match expr {
        Expr::Unary(op, _) => *op == UnaryOp::ToReal || op.is_real_function(),
        Expr::Binary(op, ..) => {
            matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow)
        }
        Expr::Int(_)
        | Expr::Real(_)
        | Expr::Bool(_)
        | Expr::Extent(_)
        | Expr::Index(_)
        | Expr::Param(..)
        | Expr::Read(..)
        | Expr::Compare(..)
        | Expr::If(..)
        | Expr::Where(..)
        | Expr::Else(..)
        | Expr::Present(_)
        | Expr::Pick(..)
        | Expr::Cast(..) => false,
    }
}
