//! Conditions on coordinates to the share of points at which they hold.
//!
//! ```text
//! n <= m, over |m| = 4 and |n| = 4   ->   10 / 16
//! ```

use super::fixed;
use super::machine::Machine;
use crate::ir::array::Value;
use crate::ir::cascade::{Cascade, ExprId, RankId};
use crate::ir::expr::Expr;

/// How many coordinates of a rank are looked at; of longer ones, as many at equal distances.
const COORDINATES: i64 = 512;
/// How many points are looked at all in all.
const POINTS: i64 = 1 << 18;

/// The share of points at which all conditions of one of the lists hold, all of them if there are none, in a cascade whose ranks have these extents.
/// Conditions that read tensors, or parameters of a call, count as holding. Over long ranks it is an estimate.
pub fn admitted(cascade: &Cascade, extents: &[i64], lists: &[Vec<ExprId>]) -> f64 {
    let known = |it: &ExprId| is_known(cascade, *it);
    let lists: Vec<Vec<ExprId>> =
        lists.iter().map(|list| list.iter().copied().filter(known).collect()).collect();
    if lists.is_empty() || lists.iter().any(Vec::is_empty) {
        return 1.0;
    }
    let mut ranks: Vec<RankId> =
        lists.iter().flatten().flat_map(|&it| cascade.exprs.free(it).iter().copied()).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let mut order: Vec<ExprId> = lists.iter().flatten().flat_map(|&it| cascade.exprs.postorder(it)).collect();
    order.sort_unstable();
    order.dedup();
    let mut machine: Machine<'_> = Machine::new(cascade);
    machine.extents = extents.to_vec();
    for id in cascade.params.ids() {
        machine.params[id.idx()] = fixed(cascade, id);
    }
    let most = POINTS.checked_ilog2().map_or(1, |bits| 1_i64 << (bits / (ranks.len().max(1) as u32)));
    let counts: Vec<i64> =
        ranks.iter().map(|it| extents[it.idx()].min(COORDINATES).min(most.max(2)).max(0)).collect();
    let total: i64 = counts.iter().product();
    let mut held = 0;
    for point in 0..total {
        let mut rest = point;
        for (&rank, &count) in ranks.iter().zip(&counts) {
            let extent = extents[rank.idx()];
            machine.coords[rank.idx()] = (2 * (rest % count) + 1) * extent / (2 * count);
            rest /= count;
        }
        machine.compute(&order);
        let holds = |it: &ExprId| machine.value(*it) == Some(Value::Bool(true));
        held += i64::from(lists.iter().any(|list| list.iter().all(holds)));
    }
    if total == 0 { 1.0 } else { held as f64 / total as f64 }
}

/// The condition needs neither data nor parameters of a call.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn is_known(cascade: &Cascade, condition: ExprId) -> bool {
    cascade.exprs.postorder(condition).into_iter().all(|it| match cascade.exprs.get(it) {
        Expr::Read(..) => false,
        Expr::Param(param, _) => fixed(cascade, *param).is_some(),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use attnc_dsl::ast::CompareOp;

    use super::super::extents;
    use super::*;
    use crate::ir::cascade::{Extent, Rank};
    use crate::ir::expr::Exprs;

    #[test]
    fn half_of_a_square_lies_below_its_diagonal() {
        let mut cascade = Cascade {
            name: "k".to_owned(),
            docs: Vec::new(),
            ranks: Default::default(),
            params: Default::default(),
            tensors: Default::default(),
            exprs: Exprs::default(),
            steps: Vec::new(),
            checks: Vec::new(),
            assumes: Vec::new(),
        };
        let mut rank = |name: &str, extent| {
            let rank = Rank {
                name: name.to_owned(),
                parts: Vec::new(),
                extent: Extent::Fixed(extent),
                local: false,
            };
            let id = cascade.ranks.push(rank);
            cascade.exprs.add_rank(id, vec![id]);
            id
        };
        let (m, n) = (rank("m", 4), rank("n", 4));
        let (row, column) = (cascade.exprs.index(m), cascade.exprs.index(n));
        let below = cascade.exprs.compare(CompareOp::Le, column, row);
        let all = extents(&cascade).unwrap();
        assert_eq!(admitted(&cascade, &all, &[vec![below]]), 10.0 / 16.0);
        assert_eq!(admitted(&cascade, &all, &[vec![below], Vec::new()]), 1.0);
        assert_eq!(admitted(&cascade, &all, &[]), 1.0);
    }
}
