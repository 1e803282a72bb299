//! What takes long, is made of inputs alone and depends on fewer ranks than the einsum that it is part of is computed once
//! for each of its own points, and stored.
//!
//! ```text
//! S[m, n] = sum[d](q * k * cos(n * w ^ d))   ->   C[n, d] = cos(n * W);  W[d] = w ^ d;  S[m, n] = sum[d](q * k * C)
//! ```

use std::collections::BTreeSet;

use attnc_dsl::ast::Kind;

use super::chunk::{Applied, Law, fresh};
use super::elsewhere::atoms;
use super::rules::Exactness;
use super::setting;
use crate::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, RankId, Role, Step, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, each_operand};
use crate::schedule::exponents;

/// The law.
pub(super) const LAW: Law =
    Law { name: "computed-once", law: "f(g) = f(T), if T[i] = g(i)", exactness: Exactness::Exact };

/// Operations at a point that are worth memory for their result. What takes less is computed again for each box of rows; each
/// of those multiplies it tens of times.
const DEAR: f64 = 30.0;
/// The same of what a walk would compute again at each of its coordinates: a function.
const STAYING: f64 = 10.0;
/// A point would be computed again at least that often.
const OFTEN: f64 = 4.0;

/// Applies the law wherever it is worth it.
pub(super) fn computed(cascade: &Cascade) -> Vec<Applied> {
    let mut all: Vec<Applied> = Vec::new();
    loop {
        let last = all.last().map_or(cascade, |it| &it.cascade);
        let Some(next) = next(last) else { return all };
        all.push(Applied { law: &LAW, cascade: next });
    }
}

/// The cascade with the law applied once, if there is something to apply it to.
fn next(cascade: &Cascade) -> Option<Cascade> {
    let sizes = setting::sizes_of_plan(cascade);
    let size = |ranks: &BTreeSet<RankId>| ranks.iter().map(|it| sizes[it.idx()].max(1.0)).product::<f64>();
    let inputs: Vec<Vec<RankId>> = cascade.inputs().map(|it| parts(cascade, it)).collect();
    let of_inputs = of_inputs(cascade);
    let steps = cascade.steps.iter().flat_map(|step| step.einsums().map(move |it| (step.walked(), it)));
    let einsums = steps.filter(|(_, it)| matches!(it.op, Op::Map | Op::Reduce(..)));
    let found = einsums.filter_map(|(walked, einsum)| {
        let space = atoms(cascade, einsum.iterated().into_iter().chain(einsum.op.reduced().iter().copied()));
        let is_worth = |id: ExprId| {
            let free: BTreeSet<RankId> = cascade.exprs.free(id).iter().copied().collect();
            let stays = walked.is_some_and(|it| cascade.exprs.atoms(it).iter().all(|it| !free.contains(it)));
            cascade.exprs.kind(id) == Kind::Real
                && !free.is_empty()
                // What is a tensor of its own already has all ranks of its einsum.
                && free.len() < space.len()
                // A power stays with its sum, which keeps it in range; a condition on all of it stays in its einsum, where it
                // decides what is traversed.
                && (stays || exponents(&cascade.exprs, id).is_empty())
                && !matches!(cascade.exprs.get(id), Expr::Where(..))
                && OFTEN * size(&free) <= size(&space)
                && cost(cascade, id) >= if stays { STAYING } else { DEAR }
                && cascade.exprs.reads(id).all(|(it, _)| of_inputs.contains(&it))
                && inputs.iter().any(|it| places(cascade, cascade.exprs.free(id), it).is_some())
        };
        first(cascade, einsum.value, &is_worth)
    });
    let value = found.into_iter().next()?;
    let free = cascade.exprs.free(value);
    let (own, others): (Vec<_>, Vec<_>) =
        inputs.iter().partition(|it| free.iter().all(|rank| it.contains(rank)));
    let places = own.into_iter().chain(others).find_map(|it| places(cascade, free, it))?;
    let mut ranks: Vec<RankId> = free.to_vec();
    ranks.sort_by_key(|rank| free.iter().zip(&places).find(|it| it.0 == rank).map(|it| *it.1));
    Some(with(cascade, value, &ranks))
}

/// Where some ranks are among others: each is one of those, or as long as one that no other is; `None` if what has them
/// may be larger than what has the others.
fn places(cascade: &Cascade, ranks: &[RankId], among: &[RankId]) -> Option<Vec<usize>> {
    let mut places: Vec<usize> = Vec::new();
    for &rank in ranks {
        let is_alike = |(at, of): &(usize, &RankId)| {
            !ranks.contains(of) && !places.contains(at) && cascade.have_same_extent(**of, rank)
        };
        let own = among.iter().position(|it| *it == rank);
        places.push(own.or_else(|| Some(among.iter().enumerate().find(is_alike)?.0))?);
    }
    Some(places)
}

/// The outermost expression in a value that something is true of.
fn first(cascade: &Cascade, value: ExprId, holds: &impl Fn(ExprId) -> bool) -> Option<ExprId> {
    let (mut todo, mut seen) = (vec![value], vec![false; value.idx() + 1]);
    while let Some(id) = todo.pop() {
        if std::mem::replace(&mut seen[id.idx()], true) {
            continue;
        }
        if holds(id) {
            return Some(id);
        }
        // An exponent is computed once for its power, and what is known of it tells whether that needs a scale.
        if !matches!(cascade.exprs.get(id), Expr::Unary(UnaryOp::Exp | UnaryOp::Exp2, _)) {
            each_operand(cascade.exprs.get(id), |it| todo.push(it));
        }
    }
    None
}

/// The cascade with a value as a tensor of its own, which has these part-less ranks in that order, wherever it is.
fn with(cascade: &Cascade, value: ExprId, order: &[RankId]) -> Cascade {
    let mut new = cascade.clone();
    let ranks = new.composed(order, value);
    let taken = |name: &str| new.tensors.iter().any(|(_, it)| it.name == name);
    let name = fresh("once", taken);
    let kind = new.exprs.kind(value);
    let dims = ranks.iter().map(|&rank| Dim { rank, lag: 0 }).collect();
    let tensor = new.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Once });
    let indices = ranks.iter().map(|&it| new.exprs.index(it)).collect();
    let read = new.exprs.add(Expr::Read(tensor, indices, kind));
    let exprs = &mut new.exprs;
    for step in &mut new.steps {
        step.einsums_mut().for_each(|it| it.value = exprs.replaced(it.value, value, read));
    }
    let at = ranks.iter().map(|&rank| At::Rank(rank, 0)).collect();
    let read: Vec<TensorId> = new.exprs.reads(value).map(|it| it.0).collect();
    let is_read = |step: &Step| matches!(step, Step::Einsum(it) if read.contains(&it.tensor));
    let place = new.steps.iter().rposition(is_read).map_or(0, |it| it + 1);
    new.steps.insert(place, Step::Einsum(Einsum { tensor, at, op: Op::Map, value, exact: false }));
    new
}

/// Operations that depend on a coordinate, each with what it takes.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn cost(cascade: &Cascade, value: ExprId) -> f64 {
    let exprs = &cascade.exprs;
    let changing = exprs.postorder(value).into_iter().filter(|it| !exprs.free(*it).is_empty());
    let of = |id: ExprId| match exprs.get(id) {
        // In f64 mostly, for angles may be large.
        Expr::Unary(UnaryOp::Sin | UnaryOp::Cos, _) | Expr::Binary(BinaryOp::Pow, ..) => 40.0,
        Expr::Unary(op, _) if op.is_real_function() => 10.0,
        Expr::Binary(BinaryOp::Div, ..) => 4.0,
        Expr::Unary(..) | Expr::Binary(..) | Expr::Compare(..) | Expr::Cast(..) => 1.0,
        _ => 0.0,
    };
    changing.map(of).sum()
}

/// Inputs, and what is made of them point by point.
fn of_inputs(cascade: &Cascade) -> BTreeSet<TensorId> {
    let mut of_inputs: BTreeSet<TensorId> = cascade.inputs().collect();
    for step in &cascade.steps {
        if let Step::Einsum(it) = step
            && it.op == Op::Map
            && cascade.exprs.reads(it.value).all(|(it, _)| of_inputs.contains(&it))
            && cascade.einsums().filter(|other| other.tensor == it.tensor).count() == 1
        {
            of_inputs.insert(it.tensor);
        }
    }
    of_inputs
}

/// The part-less ranks of a tensor, in order.
fn parts(cascade: &Cascade, tensor: TensorId) -> Vec<RankId> {
    cascade.tensors[tensor].dims.iter().flat_map(|it| cascade.exprs.atoms(it.rank).to_vec()).collect()
}
