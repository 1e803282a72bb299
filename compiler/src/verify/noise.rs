//! A cascade to one whose f32 operations are each off by a rounding, which depends on where and which they are.
//!
//! ```text
//! S[m, n] = sum[d](Q * K)   ->   S[m, n] = sum[d]((Q * K) * (1 + ulp * sin(seed + a * m + b * n + c * d)))
//! ```
//!
//! Or each is rounded to the nearest f32, subnormal ones apart.
//! What leaves the range of f32 on the way becomes an infinity or 0, as in a kernel.

use std::collections::HashMap;

use crate::ir::cascade::{Cascade, Einsum, ExprId, Step};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands, with_operands};
use crate::tile::in_f32;
use attnc_dsl::ast::{CompareOp, Kind};

use super::random::Random;

/// The ulp of f32 at 1, twice the largest error of a rounding.
const ULP: f64 = f32::EPSILON as f64;

/// How far off operations are where the numbers are those of f64: so much that f64 shows it well, and so little
/// that results move in proportion.
pub(super) const NUDGE: f64 = 1.0 / (1u64 << 30) as f64;

/// The same kernel with noise; an operation on the same operands is always off by the same.
pub(super) fn noisy(cascade: &Cascade, random: &mut Random) -> Cascade {
    let subnormal = random.below(2) == 0;
    Noise::new(cascade, subnormal, Some(random)).everywhere()
}

/// The same kernel with noise, where nothing leaves the range of f32.
pub(super) fn unlimited(cascade: &Cascade, random: &mut Random) -> Cascade {
    let mut noise = Noise::new(cascade, true, Some(random));
    noise.limited = false;
    noise.everywhere()
}

/// The same kernel with every operation rounded to the nearest f32.
pub(super) fn rounded(cascade: &Cascade) -> Cascade {
    Noise::new(cascade, true, None).everywhere()
}

/// The same kernel with every operation on reals and everything that is read off by about [`NUDGE`], in the range of f64.
pub(super) fn nudged(cascade: &Cascade, random: &mut Random) -> Cascade {
    let mut noise = Noise::new(cascade, true, Some(random));
    noise.in_f32 = cascade.exprs.iter().map(|(id, _)| cascade.exprs.kind(id) == Kind::Real).collect();
    (noise.ulp, noise.limited) = (NUDGE, false);
    noise.everywhere()
}

struct Noise<'a> {
    cascade: Cascade,
    /// By expression of the cascade as it was.
    in_f32: Vec<bool>,
    /// What became of an expression.
    done: HashMap<ExprId, ExprId>,
    /// The size of the noise.
    ulp: f64,
    /// What leaves the range of f32 is lost.
    limited: bool,
    /// Numbers below the least normal one are kept.
    subnormal: bool,
    /// Where the noise comes from; none for rounding to nearest.
    random: Option<&'a mut Random>,
}

impl<'a> Noise<'a> {
    fn new(cascade: &Cascade, subnormal: bool, random: Option<&'a mut Random>) -> Noise<'a> {
        let (in_f32, done) = (in_f32(cascade), HashMap::new());
        Noise { in_f32, cascade: cascade.clone(), done, ulp: ULP, limited: true, subnormal, random }
    }

    fn everywhere(mut self) -> Cascade {
        self.cascade.assumes.clear();
        let mut steps = self.cascade.steps.clone();
        for step in &mut steps {
            match step {
                Step::Einsum(einsum) => self.einsum(einsum),
                Step::Recurrence(it) => {
                    it.bases.iter_mut().chain(&mut it.body).for_each(|it| self.einsum(it));
                }
            }
        }
        self.cascade.steps = steps;
        self.cascade
    }

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
        match (self.in_f32[id.idx()], &old) {
            (true, old) if rounds(old) => {
                let off = self.off(same);
                self.within_range(off)
            }
            // What a reduction stored.
            (true, Expr::Read(..)) if self.random.is_none() => {
                let nearest = self.nearest(same);
                self.within_range(nearest)
            }
            (true, Expr::Read(..)) if !self.limited => self.off(same),
            (true, Expr::Read(..)) => self.within_range(same),
            _ => same,
        }
    }

    /// An operation that is off by a rounding.
    fn off(&mut self, id: ExprId) -> ExprId {
        let Some(random) = &mut self.random else { return self.nearest(id) };
        let exprs = &mut self.cascade.exprs;
        let mut phase = exprs.real(random.unit() * 1e3);
        for rank in exprs.free(id).to_vec() {
            let index = exprs.index(rank);
            let factor = exprs.real(1.0 + 10.0 * random.unit());
            let part = exprs.binary(BinaryOp::Mul, index, factor);
            phase = exprs.binary(BinaryOp::Add, phase, part);
        }
        let (mut sine, ulp, one) = (exprs.unary(UnaryOp::Sin, phase), exprs.real(self.ulp), exprs.real(1.0));
        if !self.limited {
            // Noise that depends on the value does not cancel where the value does.
            let of_value = exprs.unary(UnaryOp::Tanh, id);
            sine = exprs.binary(BinaryOp::Add, sine, of_value);
        }
        let error = exprs.binary(BinaryOp::Mul, ulp, sine);
        let factor = exprs.binary(BinaryOp::Add, one, error);
        exprs.binary(BinaryOp::Mul, id, factor)
    }

    /// The nearest number of 24 bits: the high part of Veltkamp's splitting, which is as large as `id` if that is infinite.
    fn nearest(&mut self, id: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let factor = exprs.real(2f64.powi(29) + 1.0);
        let product = exprs.binary(BinaryOp::Mul, id, factor);
        let rest = exprs.binary(BinaryOp::Sub, product, id);
        let high = exprs.binary(BinaryOp::Sub, product, rest);
        let (size, most) = (exprs.unary(UnaryOp::Abs, id), exprs.real(f64::from(f32::MAX)));
        let large = exprs.compare(CompareOp::Gt, size, most);
        exprs.add(Expr::If(large, id, high))
    }

    /// The value, or what f32 has beyond its largest number and below its least, with or without subnormal ones.
    fn within_range(&mut self, id: ExprId) -> ExprId {
        if !self.limited {
            return id;
        }
        let least = f64::from(if self.subnormal { f32::from_bits(1) } else { f32::MIN_POSITIVE });
        let exprs = &mut self.cascade.exprs;
        let size = exprs.unary(UnaryOp::Abs, id);
        let [most, least, zero, infinity] =
            [f64::from(f32::MAX), least, 0.0, f64::INFINITY].map(|it| exprs.real(it));
        let (small, large) =
            (exprs.compare(CompareOp::Lt, size, least), exprs.compare(CompareOp::Gt, size, most));
        let beyond = exprs.binary(BinaryOp::Mul, id, infinity);
        let rest = exprs.add(Expr::If(large, beyond, id));
        exprs.add(Expr::If(small, zero, rest))
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
