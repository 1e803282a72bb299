//! Rows that share factors of sums of products: those that a block of threads takes together.
//!
//! ```text
//! sum[d](Q[b, k, g, m, d] * K[b, k, n, d])   ->   m, with g packed: K lacks both
//! ```

use std::collections::BTreeSet;

use crate::ir::cascade::{Einsum, ExprId, Op, RankId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr, Exprs};

/// The factors of a sum of products over what both have.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn factors(exprs: &Exprs, einsum: &Einsum) -> Option<(ExprId, ExprId)> {
    let Op::Reduce(ReduceOp::Sum, over) = &einsum.op else { return None };
    let &Expr::Binary(BinaryOp::Mul, a, b) = exprs.get(einsum.value) else { return None };
    let mut atoms = over.iter().flat_map(|it| exprs.atoms(*it));
    let both = atoms.all(|it| [a, b].iter().all(|factor| exprs.free(*factor).contains(it)));
    (both && !over.is_empty()).then_some((a, b))
}

/// Of rows, the last one that a factor of some products lacks while the other has it, and those that all such factors lack,
/// too.
pub(crate) fn sharing(
    exprs: &Exprs,
    products: &[(ExprId, ExprId)],
    rows: &[RankId],
) -> Option<(RankId, Vec<RankId>)> {
    let has = |factor: ExprId, row: RankId| exprs.free(factor).contains(&row);
    let shared = |row: RankId| {
        let those = products.iter().filter(move |(a, b)| has(*a, row) != has(*b, row));
        those.map(move |&(a, b)| if has(a, row) { b } else { a }).collect::<BTreeSet<ExprId>>()
    };
    let rank = *rows.iter().rev().find(|&&row| !shared(row).is_empty())?;
    let packs = |it: &&RankId| {
        let lack = || shared(rank).iter().all(|factor| !has(*factor, **it));
        **it != rank && !shared(**it).is_empty() && lack()
    };
    Some((rank, rows.iter().filter(packs).copied().collect()))
}
