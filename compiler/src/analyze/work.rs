//! FLOPs and bytes of a cascade whose extents are known.

use attnc_dsl::ast::{DType, Kind};

use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, RankId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::nest::bytes_of;

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
pub(super) fn flops(cascade: &Cascade, extents: &[i64]) -> f64 {
    cascade.einsums().map(|it| einsum_flops(cascade, it, extents)).sum()
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
