//! Factors of products of a walk that earlier stages store, in the precision in which products of matrices take them.
//!
//! ```text
//! A[b, h, t, t.key]: real;  v: bf16   ->   A: bf16, for sum[t.key](A * v) takes it so
//! ```
//!
//! What others read, too, is stored a second time.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::DType;

use super::super::plan::{Act, Plan, Stage, Walk};
use super::super::sharing::factors;
use crate::ir::cascade::{At, Cascade, Einsum, ExprId, Op, RankId, Role, Step, Tensor, TensorId};
use crate::ir::expr::Expr;

/// Stores what products with bf16 read as that. f16 has not the range of what is stored, which stays as it is where it is
/// multiplied by that.
pub(in super::super) fn shorten(plan: &mut Plan) {
    let mut stages = Vec::new();
    for at in 0..plan.stages.len() {
        let mut stage = plan.stages[at].clone();
        if let Stage::Walk(walk) = &mut stage
            && has_short_values(&plan.cascade, walk)
        {
            let mut all: BTreeMap<TensorId, BTreeSet<ExprId>> = BTreeMap::new();
            for factor in acts(walk).iter().flat_map(|it| stored_factors(plan, walk, it)) {
                if let Expr::Read(tensor, ..) = plan.cascade.exprs.get(factor) {
                    all.entry(*tensor).or_default().insert(factor);
                }
            }
            for (tensor, factors) in all {
                let copy = shortened(plan, walk, tensor, &factors);
                stages.extend(copy.map(|it| Stage::Whole(Step::Einsum(it))));
            }
        }
        stages.push(stage);
    }
    plan.stages = stages;
}

/// Makes a walk take a tensor as bf16 where it is a factor; what stores it so, if it is not stored so to begin with.
fn shortened(
    plan: &mut Plan,
    walk: &mut Walk,
    tensor: TensorId,
    factors: &BTreeSet<ExprId>,
) -> Option<Einsum> {
    let reads = |it: &&Einsum| plan.cascade.exprs.reads(it.value).any(|(it, _)| it == tensor);
    let takes = |it: &&Einsum| stored_factors(plan, walk, it).iter().any(|it| factors.contains(it));
    let taken = acts(walk).into_iter().filter(|it| takes(it)).count();
    if plan.einsums().into_iter().filter(reads).count() == taken {
        plan.cascade.tensors[tensor].dtype = Some(DType::BF16);
        return None;
    }
    let Tensor { name, dims, kind, .. } = plan.cascade.tensors[tensor].clone();
    let ranks: Vec<RankId> = dims.iter().map(|it| it.rank).collect();
    let own =
        Tensor { name: format!("{name}.short"), dims, kind, dtype: Some(DType::BF16), role: Role::Temporary };
    let copy = plan.cascade.tensors.push(own);
    let exprs = &mut plan.cascade.exprs;
    for act in walk.before.iter_mut().chain(&mut walk.step).chain(&mut walk.after) {
        let Act::Define(einsum) = act else { continue };
        for &factor in factors {
            if let Expr::Read(_, coords, _) = exprs.get(factor).clone() {
                let read = exprs.add(Expr::Read(copy, coords, kind));
                einsum.value = exprs.replaced(einsum.value, factor, read);
            }
        }
    }
    let indices = ranks.iter().map(|it| exprs.index(*it)).collect();
    let value = exprs.add(Expr::Read(tensor, indices, kind));
    let at = ranks.into_iter().map(|it| At::Rank(it, 0)).collect();
    Some(Einsum { tensor: copy, at, op: Op::Map, value, exact: false })
}

/// Everything that a walk computes; nothing if some of it is no definition.
fn acts(walk: &Walk) -> Vec<&Einsum> {
    let all: Option<Vec<&Einsum>> =
        walk.acts().map(|it| if let Act::Define(einsum) = it { Some(einsum) } else { None }).collect();
    all.unwrap_or_default()
}

/// What has rows at each coordinate that is walked along is handed in as bf16.
fn has_short_values(cascade: &Cascade, walk: &Walk) -> bool {
    let Some(row) = walk.rows.last() else { return false };
    let has = |tensor: TensorId, rank: RankId| {
        let dims = cascade.tensors[tensor].dims.iter();
        dims.flat_map(|it| cascade.atoms(it.rank)).any(|it| it == rank)
    };
    let all = acts(walk);
    let reads = all.iter().flat_map(|it| cascade.exprs.reads(it.value)).map(|it| it.0);
    let is_input = |it: &TensorId| cascade.tensors[*it].role == Role::Input;
    let mut values = reads.filter(is_input).filter(|it| has(*it, row.rank) && has(*it, walk.rank)).peekable();
    values.peek().is_some() && values.all(|it| cascade.tensors[it].dtype == Some(DType::BF16))
}

/// The factors of a sum of products that have no rows and are stored, as they are.
fn stored_factors(plan: &Plan, walk: &Walk, einsum: &Einsum) -> Vec<ExprId> {
    let exprs = &plan.cascade.exprs;
    // Products of matrices take none of its sums.
    if einsum.exact {
        return Vec::new();
    }
    let value = exprs.unconditioned(einsum.value);
    let is_row = |it: &RankId| walk.rows.last().is_some_and(|row| row.rank == *it);
    let is_stored = |it: &ExprId| {
        let Expr::Read(tensor, ..) = exprs.get(*it) else { return false };
        let own = plan.cascade.tensors[*tensor].role.is_own();
        let is_open = plan.cascade.tensors[*tensor].dtype.is_none();
        own && is_open && !plan.tiles.contains(tensor) && !exprs.free(*it).iter().any(is_row)
    };
    let both = factors(exprs, &Einsum { value, ..einsum.clone() });
    both.into_iter().flat_map(|(a, b)| [a, b]).filter(is_stored).collect()
}
