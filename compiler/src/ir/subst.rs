//! Re-indexing: a value as a function of its ranks, taken at other coordinates.

use std::collections::HashMap;

use attnc_dsl::ast::CompareOp;

use super::cascade::{Cascade, ExprId, RankId};
use super::expr::{BinaryOp, Expr, operands, with_operands};

/// A cascade whose values are taken elsewhere.
pub(crate) struct Subst<'a> {
    pub(crate) cascade: &'a mut Cascade,
    /// Composite ranks that may have fewer coordinates than their parts have combinations.
    pub(crate) partial: &'a [RankId],
}

impl Subst<'_> {
    /// `value[rank = coordinate, …]`: absent where a coordinate lies outside its rank.
    pub(crate) fn reindexed(&mut self, value: ExprId, coords: &[(RankId, ExprId)]) -> ExprId {
        let read_at: Vec<RankId> = self.direct_ranks(value);
        // A read is absent outside its tensor by itself.
        let others: Vec<(RankId, ExprId)> =
            coords.iter().copied().filter(|(rank, _)| !read_at.contains(rank)).collect();
        let moved = self.moved(value, coords);
        self.inside(moved, &others)
    }

    /// The value with coordinates in place of indices, wherever they lie.
    pub(crate) fn moved(&mut self, value: ExprId, coords: &[(RankId, ExprId)]) -> ExprId {
        let mut at = HashMap::new();
        for &(rank, coord) in coords {
            self.digits(rank, coord, &mut at);
            at.insert(rank, coord);
        }
        self.substituted(value, &at)
    }

    /// The value where coordinates lie inside their ranks.
    pub(crate) fn inside(&mut self, value: ExprId, coords: &[(RankId, ExprId)]) -> ExprId {
        let mut value = value;
        for &(rank, coord) in coords {
            if self.is_own(rank, coord) {
                continue;
            }
            let (zero, extent) = (self.cascade.exprs.int(0), self.extent(rank));
            let exprs = &mut self.cascade.exprs;
            for condition in
                [exprs.compare(CompareOp::Le, zero, coord), exprs.compare(CompareOp::Lt, coord, extent)]
            {
                value = exprs.simplified(Expr::Where(value, condition));
            }
        }
        value
    }

    /// The coordinate is an index along a rank that is as long.
    fn is_own(&self, rank: RankId, coord: ExprId) -> bool {
        matches!(*self.cascade.exprs.get(coord), Expr::Index(own)
            if self.cascade.ranks[own].parts.is_empty() && self.cascade.have_same_extent(own, rank))
    }

    fn extent(&mut self, rank: RankId) -> ExprId {
        self.cascade.extent_of(rank)
    }

    /// The ranks whose bare index is a coordinate of the read that a value is.
    fn direct_ranks(&self, value: ExprId) -> Vec<RankId> {
        let exprs = &self.cascade.exprs;
        let Expr::Read(tensor, coords, _) = exprs.get(value) else { return Vec::new() };
        let dims = &self.cascade.tensors[*tensor].dims;
        let direct =
            coords.iter().zip(dims).filter(|(coord, dim)| *exprs.get(**coord) == Expr::Index(dim.rank));
        direct.map(|(_, dim)| dim.rank).collect()
    }

    /// What the parts of a rank become when it becomes `coord`.
    fn digits(&mut self, rank: RankId, coord: ExprId, at: &mut HashMap<RankId, ExprId>) {
        let parts = self.cascade.ranks[rank].parts.clone();
        if parts.is_empty() {
            at.insert(rank, coord);
            return;
        }
        let mut rest = coord;
        for &part in parts[1..].iter().rev() {
            let extent = self.extent(part);
            let digit = self.cascade.exprs.binary(BinaryOp::Mod, rest, extent);
            self.digits(part, digit, at);
            rest = self.cascade.exprs.binary(BinaryOp::FloorDiv, rest, extent);
        }
        self.digits(parts[0], rest, at);
    }

    /// The value with other coordinates in place of indices.
    fn substituted(&mut self, value: ExprId, at: &HashMap<RankId, ExprId>) -> ExprId {
        let mut new: HashMap<ExprId, ExprId> = HashMap::new();
        for id in self.cascade.exprs.postorder(value) {
            let expr = self.cascade.exprs.get(id).clone();
            let result = if !self.cascade.exprs.free(id).iter().any(|it| at.contains_key(it)) {
                id
            } else if let Expr::Index(rank) = expr {
                self.index_at(rank, at)
            } else {
                let moved: Vec<ExprId> = operands(&expr).iter().map(|it| new[it]).collect();
                self.cascade.exprs.simplified(with_operands(&expr, &moved))
            };
            new.insert(id, result);
        }
        new[&value]
    }

    /// The index of a rank whose parts have moved; absent beyond the extent of a composite.
    fn index_at(&mut self, rank: RankId, at: &HashMap<RankId, ExprId>) -> ExprId {
        if let Some(&coord) = at.get(&rank) {
            return coord;
        }
        let parts = self.cascade.ranks[rank].parts.clone();
        if parts.is_empty() {
            return self.cascade.exprs.index(rank);
        }
        let mut index = self.index_at(parts[0], at);
        for &part in &parts[1..] {
            let (extent, digit) = (self.extent(part), self.index_at(part, at));
            let major = self.cascade.exprs.binary(BinaryOp::Mul, index, extent);
            index = self.cascade.exprs.binary(BinaryOp::Add, major, digit);
        }
        if self.partial.contains(&rank) {
            let extent = self.extent(rank);
            let exists = self.cascade.exprs.compare(CompareOp::Lt, index, extent);
            index = self.cascade.exprs.add(Expr::Where(index, exists));
        }
        index
    }
}
