//! Ranks of which it is seen that they have no coordinates. Nothing has to be asked of all others, as the laws keep what a
//! reduction over nothing gives.
//!
//! ```text
//! N[m, n] = exp(S); D[m] = sum[n](N); P = N / D; O[m, e] = sum[n](P * V)     n: fibers are read twice
//! R[m] = sum[e](O * W)          not e: 1 / D may leave the sum, but is finite where there is an n
//! T[m] = sum[e](O / C * W)      e: 1 / C[m] may leave the sum, and need not be finite
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
    let mut known = Infinite { cascade, tensors: BTreeMap::new(), positive: BTreeMap::new() };
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

/// What each tensor is divided by: it need not be finite, though its inputs are.
struct Infinite<'a> {
    cascade: &'a Cascade,
    tensors: BTreeMap<TensorId, Factors>,
    /// Tensors of which every term is an exponential, with the ranks that these are summed over.
    positive: BTreeMap<TensorId, Vec<RankId>>,
}

impl Infinite<'_> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn value(&self, value: ExprId) -> Factors {
        let exprs = &self.cascade.exprs;
        let mut found = Factors::new();
        for id in exprs.postorder(value) {
            match *exprs.get(id) {
                Expr::Binary(BinaryOp::Div, _, by) if self.is_of_some(by, value) => {}
                Expr::Read(tensor, ..) => {
                    if let Some(inner) = self.tensors.get(&tensor).filter(|it| !it.is_empty()) {
                        found.extend(inner.iter().cloned());
                        found.insert(exprs.free(id).to_vec());
                    }
                }
                Expr::Binary(BinaryOp::Div, _, by)
                | Expr::Binary(BinaryOp::Pow, by, _)
                | Expr::Unary(UnaryOp::Rsqrt, by) => {
                    let parts = exprs.postorder(by).into_iter();
                    let reads = parts.filter(|it| matches!(exprs.get(*it), Expr::Read(..)));
                    found.extend(reads.map(|it| exprs.free(it).to_vec()));
                }
                _ => {}
            }
        }
        found
    }

    /// A sum of positive terms, over fibers that have a point wherever the value has one.
    fn is_of_some(&self, id: ExprId, value: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        let Expr::Read(tensor, ..) = *exprs.get(id) else { return false };
        let over = self.positive.get(&tensor).filter(|it| !it.is_empty());
        let has_point = |rank: &RankId| exprs.atoms(*rank).iter().all(|it| exprs.free(value).contains(it));
        over.is_some_and(|it| it.iter().all(has_point))
    }

    /// An exponential, but for where it is.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_positive(&self, id: ExprId) -> bool {
        match *self.cascade.exprs.get(id) {
            Expr::Unary(UnaryOp::Exp | UnaryOp::Exp2, _) => true,
            Expr::Where(value, _) => self.is_positive(value),
            Expr::Read(tensor, ..) => self.positive.contains_key(&tensor),
            _ => false,
        }
    }

    fn define(&mut self, einsum: &Einsum, factors: Factors) {
        let sums = matches!(einsum.op, Op::Map | Op::Reduce(ReduceOp::Sum, _));
        if sums && self.is_positive(einsum.value) {
            self.positive.insert(einsum.tensor, einsum.op.reduced().to_vec());
        } else {
            self.positive.remove(&einsum.tensor);
        }
        self.tensors.entry(einsum.tensor).or_default().extend(factors);
    }
}
