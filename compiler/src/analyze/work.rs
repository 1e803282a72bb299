//! FLOPs and bytes of a cascade whose extents are known.

use attnc_dsl::ast::{DType, Kind};

use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, RankId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::interp;
use crate::ir::nest::bytes_of;
use crate::schedule::{Act, Plan, Stage};

/// The bytes of a tensor.
pub(super) fn bytes(cascade: &Cascade, tensor: TensorId, extents: &[i64]) -> f64 {
    let it = &cascade.tensors[tensor];
    let dtype = it.dtype.unwrap_or(match it.kind {
        Kind::Real => DType::F32,
        Kind::Int => DType::I64,
        Kind::Bool => DType::Bool,
    });
    let points: f64 = it.dims.iter().map(|dim| (extents[dim.rank.idx()] + dim.lag) as f64).product();
    points * f64::from(bytes_of(dtype))
}

/// Operations on numbers of all einsums. Each operation is counted once for each point of the ranks it
/// depends on; each reduction once for each point it combines. Masks do not lower the count.
pub fn flops(cascade: &Cascade, extents: &[i64]) -> f64 {
    cascade.einsums().map(|it| einsum_flops(cascade, it, extents)).sum()
}

/// The share of a plan's operations that are on points which masks admit, as far as that can be told without data: what
/// is done in a traversal counts where its conditions hold.
pub fn admitted(plan: &Plan, extents: &[i64]) -> f64 {
    let mut sums = Sums { plan, extents, all: 0.0, admitted: 0.0 };
    for stage in &plan.stages {
        match stage {
            Stage::Whole(it) => it.einsums().for_each(|it| sums.einsum(it, 1.0)),
            // What merges parts is run where the others are not.
            Stage::Stream(it) if it.when.is_some() => {}
            Stage::Stream(it) => sums.acts(&it.acts, 1.0),
            Stage::Walk(it) => it.acts().for_each(|act| sums.acts(std::slice::from_ref(act), 1.0)),
        }
    }
    if sums.all > 0.0 { sums.admitted / sums.all } else { 1.0 }
}

struct Sums<'a> {
    plan: &'a Plan,
    extents: &'a [i64],
    all: f64,
    admitted: f64,
}

impl Sums<'_> {
    fn einsum(&mut self, einsum: &Einsum, share: f64) {
        let flops = einsum_flops(&self.plan.cascade, einsum, self.extents);
        self.all += flops;
        self.admitted += share * flops;
    }

    fn acts(&mut self, acts: &[Act], share: f64) {
        for act in acts {
            match act {
                Act::Define(it) | Act::Fold(it) => self.einsum(it, share),
                // Which parts are whose turn is no mask.
                Act::Loop(it) if it.parts.is_some() || it.matters.is_empty() => self.acts(&it.acts, share),
                Act::Loop(it) => {
                    let share = interp::admitted(&self.plan.cascade, self.extents, &it.matters);
                    self.acts(&it.acts, share);
                }
                Act::Along(_, acts) => self.acts(acts, share),
                Act::Choose(_, then, otherwise) => {
                    self.acts(then, share);
                    self.acts(otherwise, share);
                }
            }
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn einsum_flops(cascade: &Cascade, einsum: &Einsum, extents: &[i64]) -> f64 {
    let points = |ranks: &[RankId]| -> f64 { ranks.iter().map(|it| extents[it.idx()] as f64).product() };
    let exprs = &cascade.exprs;
    let per_point = |id: ExprId| -> f64 {
        let reals = exprs.kind(id) == Kind::Real
            || operands(exprs.get(id)).iter().any(|&it| exprs.kind(it) == Kind::Real);
        match exprs.get(id) {
            Expr::Unary(..) | Expr::Binary(..) | Expr::Compare(..) if reals => 1.0,
            _ => 0.0,
        }
    };
    let map: f64 =
        exprs.postorder(einsum.value).into_iter().map(|id| per_point(id) * points(exprs.free(id))).sum();
    let mut ranks: Vec<RankId> = einsum.iterated();
    ranks.extend(einsum.op.reduced());
    let combine = if einsum.op == Op::Map { 0.0 } else { points(&ranks) };
    map + combine
}
