//! Ranks of which it is seen that they have no coordinates. Nothing has to be asked of all others, as the laws keep what a
//! reduction over nothing gives.
//!
//! ```text
//! D[m] = sum[n](N); P = N / D; O = sum[n](P * V)     n: fibers are read twice
//! R = sum[e](O * W)                                  e: 1 / D may leave the sum, and need not be finite
//! S = sum[d](Q * K)                                  not d: of all that is summed, each part is finite
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::analyze::passes::passes;
use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

/// The part-less ranks of which it is seen.
pub(super) fn guarded(cascade: &Cascade) -> BTreeSet<RankId> {
    let reduced: BTreeSet<RankId> = cascade.einsums().flat_map(|it| it.op.reduced().to_vec()).collect();
    let mut found: BTreeSet<RankId> = reduced
        .into_iter()
        .filter(|&it| passes(cascade, it).depth > 1 || asks_whether_empty(cascade, it))
        .flat_map(|it| cascade.exprs.atoms(it))
        .copied()
        .collect();
    let mut known = Infinite { cascade, tensors: BTreeMap::new() };
    for einsum in cascade.einsums() {
        let factors = known.value(einsum.value);
        if matches!(einsum.op, Op::Reduce(ReduceOp::Sum, _)) {
            for &rank in einsum.op.reduced() {
                let family = cascade.exprs.atoms(rank);
                if factors.iter().any(|it| !it.iter().any(|it| family.contains(it))) {
                    found.extend(family);
                }
            }
        }
        known.define(einsum, factors);
    }
    found
}

/// Over no coordinates, a mean is absent, and what is divided by the extent is not finite.
fn asks_whether_empty(cascade: &Cascade, rank: RankId) -> bool {
    cascade.einsums().filter(|it| it.op.reduced().contains(&rank)).any(|it| {
        let order = cascade.exprs.postorder(it.value);
        let divides = order.into_iter().any(|id| *cascade.exprs.get(id) == Expr::Extent(rank));
        divides || matches!(it.op, Op::Reduce(ReduceOp::Mean, _))
    })
}

/// The part-less ranks that each factor depends on.
type Factors = BTreeSet<Vec<RankId>>;

/// What of each tensor need not be finite, though its inputs are: it is divided by, or the extreme of nothing.
struct Infinite<'a> {
    cascade: &'a Cascade,
    tensors: BTreeMap<TensorId, Factors>,
}

impl Infinite<'_> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn value(&self, value: ExprId) -> Factors {
        let exprs = &self.cascade.exprs;
        let mut found = Factors::new();
        for id in exprs.postorder(value) {
            match *exprs.get(id) {
                Expr::Read(tensor, ..) => {
                    if let Some(inner) = self.tensors.get(&tensor).filter(|it| !it.is_empty()) {
                        found.extend(inner.iter().cloned());
                        found.insert(exprs.free(id).to_vec());
                    }
                }
                Expr::Binary(BinaryOp::Div, _, by)
                | Expr::Binary(BinaryOp::Pow, by, _)
                | Expr::Unary(UnaryOp::Rsqrt | UnaryOp::Log | UnaryOp::Log2 | UnaryOp::Log1p, by) => {
                    let parts = exprs.postorder(by).into_iter();
                    let reads = parts.filter(|it| matches!(exprs.get(*it), Expr::Read(..)));
                    found.extend(reads.map(|it| exprs.free(it).to_vec()));
                }
                _ => {}
            }
        }
        found
    }

    fn define(&mut self, einsum: &Einsum, mut factors: Factors) {
        if matches!(einsum.op, Op::Reduce(ReduceOp::Max | ReduceOp::Min, _)) {
            let kept = einsum.iterated();
            factors.insert(kept.iter().flat_map(|it| self.cascade.exprs.atoms(*it)).copied().collect());
        }
        self.tensors.entry(einsum.tensor).or_default().extend(factors);
    }
}
