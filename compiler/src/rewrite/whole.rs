//! Sums of products of small integers as sums of reals, where f32 holds every one of them: vectors add those several times as
//! fast as integers of 64 bits, and what the sums are scaled by may be shared like that of any other sum.
//!
//! ```text
//! T[m, n] = sum[d](q * k);  S = real(T) * scale   ->   T[m, n] = sum[d](f32(q) * f32(k));  S = T * scale
//!   with q, k of i8 and |d| <= 1024
//! ```

use attnc_dsl::ast::{CompareOp, DType, Kind};

use super::chunk::{Applied, Law};
use super::rules::Exactness;
use crate::ir::cascade::{Cascade, Einsum, ExprId, Extent, Op, RankId, ReduceOp, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

/// The law.
pub(super) const LAW: Law = Law {
    name: "whole-reals",
    law: "real(Σ a·b) = Σ f32(a)·f32(b), if a, b are integers and no sum of |a·b| is above 2²⁴",
    exactness: Exactness::Exact,
};

/// f32 holds all integers up to this.
const MOST: f64 = 16_777_216.0;

/// Applies the law wherever it can be.
pub(super) fn as_reals(cascade: &Cascade) -> Vec<Applied> {
    let mut all: Vec<Applied> = Vec::new();
    for step in &cascade.steps {
        let Step::Einsum(einsum) = step else { continue };
        if !is_small(cascade, einsum) || !is_read_as_real(cascade, einsum.tensor) {
            continue;
        }
        let mut next = all.last().map_or(cascade, |it| &it.cascade).clone();
        make_real(&mut next, einsum.tensor);
        all.push(Applied { law: &LAW, cascade: next });
    }
    all
}

/// A sum of products of integers that are never above `MOST` together.
fn is_small(cascade: &Cascade, einsum: &Einsum) -> bool {
    let tensor = &cascade.tensors[einsum.tensor];
    let is_own = tensor.role.is_own() && tensor.dtype.is_none();
    let Op::Reduce(ReduceOp::Sum, over) = &einsum.op else { return false };
    let Expr::Binary(BinaryOp::Mul, a, b) = *cascade.exprs.get(einsum.value) else { return false };
    let points = over.iter().map(|it| most_of(cascade, *it)).try_fold(1.0, |all, it| Some(all * it?));
    let product = magnitude(cascade, a).zip(magnitude(cascade, b)).map(|(a, b)| a * b);
    let fits = points.zip(product).is_some_and(|(points, product)| points * product <= MOST);
    is_own && !einsum.exact && fits
}

/// How large the values of a dtype are at most.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn magnitude(cascade: &Cascade, value: ExprId) -> Option<f64> {
    let dtype = match *cascade.exprs.get(value) {
        Expr::Read(tensor, ..) => cascade.tensors[tensor].dtype?,
        Expr::Cast(dtype, _) => dtype,
        _ => return None,
    };
    match dtype {
        DType::I4 => Some(8.0),
        DType::I8 => Some(128.0),
        DType::U8 => Some(255.0),
        _ => None,
    }
}

/// How many coordinates a rank has at most, in every call that passes the checks.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for one form, whatever others there are")]
pub(crate) fn most_of(cascade: &Cascade, rank: RankId) -> Option<f64> {
    if let Extent::Fixed(extent) = cascade.ranks[rank].extent {
        return Some(extent as f64);
    }
    let exprs = &cascade.exprs;
    let bounds = cascade.checks.iter().filter_map(|it| match *exprs.get(it.condition) {
        Expr::Compare(CompareOp::Le, a, b) if *exprs.get(a) == Expr::Extent(rank) => match *exprs.get(b) {
            Expr::Int(bound) => Some(bound as f64),
            _ => None,
        },
        _ => None,
    });
    bounds.reduce(f64::min)
}

/// A tensor is read only to be made real.
fn is_read_as_real(cascade: &Cascade, tensor: TensorId) -> bool {
    let exprs = &cascade.exprs;
    let mut roots = cascade.einsums().map(|it| it.value).chain(cascade.assumes.iter().map(|it| it.condition));
    let is_it = |id: &ExprId| matches!(exprs.get(*id), Expr::Read(it, ..) if *it == tensor);
    roots.all(|root| {
        let all = exprs.postorder(root);
        !is_it(&root)
            && all.iter().all(|id| {
                let of = crate::ir::expr::operands(exprs.get(*id));
                !of.iter().any(is_it) || matches!(exprs.get(*id), Expr::Unary(UnaryOp::ToReal, _))
            })
    })
}

/// Makes an integer tensor one of reals.
fn make_real(cascade: &mut Cascade, tensor: TensorId) {
    cascade.tensors[tensor].kind = Kind::Real;
    let Cascade { steps, exprs, assumes, .. } = cascade;
    let mut real = |value: ExprId| {
        let mut value = value;
        for id in exprs.postorder(value) {
            let Expr::Unary(UnaryOp::ToReal, of) = *exprs.get(id) else { continue };
            let Expr::Read(read, coords, _) = exprs.get(of).clone() else { continue };
            if read == tensor {
                let to = exprs.add(Expr::Read(read, coords, Kind::Real));
                value = exprs.replaced(value, id, to);
            }
        }
        value
    };
    for step in steps.iter_mut() {
        match step {
            Step::Einsum(it) => it.value = real(it.value),
            Step::Recurrence(it) => {
                it.bases.iter_mut().chain(&mut it.body).for_each(|it| it.value = real(it.value));
            }
        }
    }
    assumes.iter_mut().for_each(|it| it.condition = real(it.condition));
    let made = steps.iter_mut().find_map(|step| match step {
        Step::Einsum(it) if it.tensor == tensor => Some(it),
        Step::Einsum(_) | Step::Recurrence(_) => None,
    });
    let made = made.expect("a sum is an einsum by itself");
    let Expr::Binary(BinaryOp::Mul, a, b) = *exprs.get(made.value) else { unreachable!("it sums products") };
    let [a, b] = [a, b].map(|it| exprs.cast(DType::F32, it));
    made.value = exprs.binary(BinaryOp::Mul, a, b);
}
