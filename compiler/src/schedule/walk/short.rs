//! Factors of products of a walk that earlier stages store, in the precision in which products of matrices take them.
//!
//! ```text
//! A[b, h, t, t.key]: real;  v: bf16   ->   A: bf16, for sum[t.key](A * v) takes it so
//! ```

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::DType;

use super::super::plan::{Plan, Stage, Walk};
use super::super::sharing::factors;
use crate::ir::cascade::{Cascade, Einsum, ExprId, RankId, Role, TensorId};
use crate::ir::expr::Expr;

/// Stores what nothing but products with bf16 reads as that. There is no such range in f16, so what is multiplied by that is
/// stored as it is.
pub(in super::super) fn shorten(plan: &mut Plan) {
    let mut short: BTreeSet<TensorId> = BTreeSet::new();
    let mut reads: BTreeMap<TensorId, usize> = BTreeMap::new();
    for einsum in plan.einsums() {
        plan.cascade.exprs.reads(einsum.value).for_each(|(it, _)| *reads.entry(it).or_default() += 1);
    }
    let mut taken: BTreeMap<TensorId, usize> = BTreeMap::new();
    for stage in &plan.stages {
        let Stage::Walk(walk) = stage else { continue };
        if !has_short_values(&plan.cascade, walk) {
            continue;
        }
        walk.acts().for_each(|act| {
            act.einsums(&mut |it| {
                stored_factors(plan, walk, it).for_each(|it| *taken.entry(it).or_default() += 1);
            });
        });
    }
    short.extend(taken.iter().filter(|it| reads[it.0] == *it.1).map(|it| *it.0));
    for tensor in short {
        plan.cascade.tensors[tensor].dtype = Some(DType::BF16);
    }
}

/// What has a row for each coordinate that is walked along is handed in as bf16.
fn has_short_values(cascade: &Cascade, walk: &Walk) -> bool {
    let Some(row) = walk.rows.last() else { return false };
    let has = |tensor: TensorId, rank: RankId| {
        let dims = cascade.tensors[tensor].dims.iter();
        dims.flat_map(|it| cascade.atoms(it.rank)).any(|it| it == rank)
    };
    let mut values: Vec<TensorId> = Vec::new();
    walk.acts().for_each(|act| {
        act.einsums(&mut |it| values.extend(cascade.exprs.reads(it.value).map(|it| it.0)));
    });
    values.retain(|&it| cascade.tensors[it].role == Role::Input && has(it, row.rank) && has(it, walk.rank));
    !values.is_empty() && values.iter().all(|it| cascade.tensors[*it].dtype == Some(DType::BF16))
}

/// Factors of a sum of products that have no rows and are stored by this plan.
fn stored_factors(plan: &Plan, walk: &Walk, einsum: &Einsum) -> impl Iterator<Item = TensorId> {
    let exprs = &plan.cascade.exprs;
    let mut value = einsum.value;
    while let &Expr::Where(x, _) = exprs.get(value) {
        value = x;
    }
    let both = factors(exprs, &Einsum { value, ..einsum.clone() });
    let is_row = |it: &RankId| walk.rows.last().is_some_and(|row| row.rank == *it);
    let tensor = |it: ExprId| match exprs.get(it) {
        Expr::Read(tensor, ..) if !exprs.free(it).iter().any(is_row) => Some(*tensor),
        _ => None,
    };
    let own = |it: &TensorId| {
        let role = plan.cascade.tensors[*it].role;
        matches!(role, Role::Intermediate | Role::Temporary) && !plan.tiles.contains(it)
    };
    both.into_iter().flat_map(|(a, b)| [a, b]).filter_map(tensor).filter(own).collect::<Vec<_>>().into_iter()
}
