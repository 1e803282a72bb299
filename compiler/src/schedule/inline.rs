//! Expressions of the cascade as expressions of one stage: what the stage does not store is put in place of its
//! reads, and numbers are kept scaled.

use std::collections::HashMap;

use attnc_dsl::ast::{DType, Kind};

use super::plan::Unscaled;
use super::scaled::{self, Scaled};
use super::weave::Weaver;
use crate::ir::cascade::{ExprId, TensorId};
use crate::ir::expr::{BinaryOp, Expr, Exprs, UnaryOp, operands, with_operands};

/// What expressions became.
pub(super) type Memo = HashMap<ExprId, Scaled>;

impl Weaver<'_> {
    /// An expression in terms of inputs, memory and tiles.
    pub(super) fn scaled(&mut self, value: ExprId) -> Scaled {
        for id in self.cascade.exprs.postorder(value) {
            if !self.memo.contains_key(&id) {
                let it = self.rewritten(id);
                self.memo.insert(id, it);
            }
        }
        self.memo[&value].clone()
    }

    /// The same as one number.
    pub(super) fn plain(&mut self, value: ExprId) -> ExprId {
        let it = self.scaled(value);
        self.put_together(&it)
    }

    /// A scaled number as one number.
    pub(super) fn put_together(&mut self, it: &Scaled) -> ExprId {
        self.note_scale(&it.scale);
        scaled::put_together(&mut self.cascade.exprs, it)
    }

    fn one(&mut self, id: ExprId) -> ExprId {
        let it = self.memo[&id].clone();
        self.put_together(&it)
    }

    fn rewritten(&mut self, id: ExprId) -> Scaled {
        let expr = self.cascade.exprs.get(id).clone();
        self.apart(id, &expr).unwrap_or_else(|| {
            let new: Vec<ExprId> = operands(&expr).into_iter().map(|it| self.one(it)).collect();
            Scaled::plain(self.cascade.exprs.add(with_operands(&expr, &new)))
        })
    }

    /// The expression as a scaled number, if it is one.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn apart(&mut self, id: ExprId, expr: &Expr) -> Option<Scaled> {
        let is_real = self.cascade.exprs.kind(id) == Kind::Real;
        match expr {
            Expr::Read(tensor, coords, _) => self.meant(*tensor, coords),
            Expr::Unary(op @ (UnaryOp::Exp | UnaryOp::Exp2), x) => {
                let source = *x;
                let x = self.one(source);
                if *op == UnaryOp::Exp {
                    if let Some(it) = self.power_of_sum(source) {
                        return Some(it);
                    }
                    self.sources.insert(x, source);
                }
                let why = self.moderate(x).or_else(|| self.below_peak(x));
                self.unscaled.extend(why);
                why.is_none().then(|| scaled::power(&mut self.cascade.exprs, *op, x))
            }
            Expr::Unary(op, a) => {
                let a = self.memo[a].clone();
                scaled::unary(&mut self.cascade.exprs, *op, &a)
            }
            Expr::Binary(op, a, b) if is_real => {
                let (a, b) = (self.memo[a].clone(), self.memo[b].clone());
                scaled::binary(&mut self.cascade.exprs, *op, &a, &b).map(|it| self.settled(it))
            }
            // It has all digits of any value, and the power is none of its own.
            Expr::Cast(DType::F64, x) if is_real => {
                let x = self.memo[x].clone();
                let mut wide = |it| self.cascade.exprs.cast(DType::F64, it);
                (!x.is_plain()).then(|| Scaled { value: wide(x.value), raw: x.raw.map(wide), scale: x.scale })
            }
            Expr::Compare(op, a, b) => {
                let (a, b) = (self.memo[a].clone(), self.memo[b].clone());
                scaled::compare(&mut self.cascade.exprs, *op, &a, &b)
            }
            Expr::Where(x, c) if is_real => {
                let (x, c) = (self.memo[x].clone(), self.one(*c));
                let exprs = &mut self.cascade.exprs;
                let mut guarded = |it| exprs.add(Expr::Where(it, c));
                (!x.is_plain()).then(|| Scaled {
                    value: guarded(x.value),
                    raw: x.raw.map(&mut guarded),
                    scale: x.scale,
                })
            }
            Expr::If(c, a, b) if is_real => {
                let (c, a, b) = (self.one(*c), self.memo[a].clone(), self.memo[b].clone());
                let choose = |exprs: &mut Exprs, a, b| exprs.add(Expr::If(c, a, b));
                scaled::choice(&mut self.cascade.exprs, &a, &b, choose)
            }
            Expr::Else(x, y) if is_real => {
                let (x, y) = (self.memo[x].clone(), self.memo[y].clone());
                let there = self.there(&x);
                let choose = |exprs: &mut Exprs, a, b| exprs.add(Expr::If(there, a, b));
                scaled::choice(&mut self.cascade.exprs, &x, &y, choose)
            }
            Expr::Present(x) => {
                let x = self.memo[x].clone();
                Some(Scaled::plain(self.there(&x)))
            }
            _ => None,
        }
    }

    /// `exp(a + b)` as `e^a · e^b`, if an earlier stage stored the maximum of one of them as a scale.
    fn power_of_sum(&mut self, exponent: ExprId) -> Option<Scaled> {
        let Expr::Binary(BinaryOp::Add, a, b) = *self.cascade.exprs.get(exponent) else { return None };
        if a == b || ![a, b].iter().any(|it| self.handed.is_top_of(*it)) {
            return None;
        }
        let powers = [a, b].map(|source| {
            let x = self.one(source);
            self.sources.insert(x, source);
            scaled::power(&mut self.cascade.exprs, UnaryOp::Exp, x)
        });
        scaled::binary(&mut self.cascade.exprs, BinaryOp::Mul, &powers[0], &powers[1])
    }

    /// Whether a number is present.
    fn there(&mut self, it: &Scaled) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let value = exprs.add(Expr::Present(it.value));
        if it.is_plain() {
            return value;
        }
        let scale = scaled::exponent(exprs, &it.scale);
        let scale = exprs.add(Expr::Present(scale));
        exprs.binary(BinaryOp::And, value, scale)
    }

    /// What a read of a tensor stands for, if that is not the tensor itself.
    fn meant(&mut self, tensor: TensorId, coords: &[ExprId]) -> Option<Scaled> {
        if let Some(it) = self.meanings.get(&tensor)
            && self.flow.in_place(tensor, coords)
        {
            return Some(it.clone());
        }
        if !self.handed.has(tensor) {
            return None;
        }
        let in_place = self.flow.in_place(tensor, coords);
        let coords: Vec<ExprId> = coords.iter().map(|&it| self.one(it)).collect();
        self.handed_on(tensor, &coords, in_place)
    }

    /// A difference to the largest of what it is a difference of.
    fn below_peak(&self, x: ExprId) -> Option<Unscaled> {
        let exprs = &self.cascade.exprs;
        let &Expr::Binary(BinaryOp::Sub, x, peak) = exprs.get(x) else { return None };
        let &Expr::Read(tensor, ..) = exprs.get(peak) else { return None };
        (self.peaks.get(&tensor) == Some(&x)).then_some(Unscaled::BelowPeak(tensor))
    }
}
