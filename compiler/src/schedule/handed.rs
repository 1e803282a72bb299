//! Scaled numbers that one stage hands to another: a value and a scale in memory, and what is known of the scale.
//!
//! ```text
//! Z[m] = sum[n](exp(S))                      stored as Z[m] and Z.scale[m], the maximum of S
//! sum[m](exp(S) / Z)   ->   sum[m](exp(S - Z.scale) / Z)      S does not exceed its maximum: no other scale is needed
//! ```
//!
//! A quotient of powers with different scales keeps only the digits that the difference of the scales has. Within a stage
//! they are computed from the same numbers; in two stages they need not be, so it is noted where that happens.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::Kind;

use super::flow::Ranks;
use super::plan::{Act, Stage};
use super::scaled::{self, Scale, Scaled};
use super::weave::Weaver;
use crate::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, ReduceOp, Role, Step, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

/// What earlier stages stored scaled.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The scale of each tensor that is stored scaled.
    scales: BTreeMap<TensorId, StoredScale>,
    /// Of which exponent, in the cascade that is planned, a stored scale is the maximum.
    tops: BTreeMap<TensorId, ExprId>,
    /// Tiles that are made of stored scales.
    derived: BTreeSet<TensorId>,
    /// A quotient was taken of numbers that were scaled in different stages.
    pub(super) parted: bool,
}

/// A scale in memory.
#[derive(Debug, Clone)]
struct StoredScale {
    tensor: TensorId,
    /// The dimensions of the value that it has.
    dims: Vec<usize>,
}

impl Handed {
    pub(super) fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Sums that are evaluated whole have terms that nothing keeps in range.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn sums_powers_whole(&self, cascade: &Cascade, stages: &[Stage]) -> bool {
        let exprs = &cascade.exprs;
        // The author's maximum of the same exponent, or the one that it was scaled by.
        let is_scale = |x: ExprId, id: ExprId| {
            exprs.reads(id).any(|(tensor, _)| {
                let is_peak = |it: &Einsum| {
                    it.tensor == tensor && it.value == x && matches!(it.op, Op::Reduce(ReduceOp::Max, _))
                };
                self.scales.values().any(|it| it.tensor == tensor) || cascade.einsums().any(is_peak)
            })
        };
        let is_power = |x: ExprId| match *exprs.get(x) {
            Expr::Binary(BinaryOp::Sub, x, scale) => !is_scale(x, scale),
            _ => true,
        };
        let has_power = |it: &Einsum| {
            let reduces = matches!(it.op, Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _));
            reduces && scaled::exponents(exprs, it.value).into_iter().any(is_power)
        };
        stages.iter().any(|stage| match stage {
            Stage::Whole(Step::Einsum(it)) => has_power(it),
            Stage::Whole(Step::Recurrence(_)) | Stage::Stream(_) | Stage::Walk(_) => false,
        })
    }

    /// A scale in memory is the maximum of that exponent.
    pub(super) fn is_top_of(&self, exponent: ExprId) -> bool {
        self.tops.values().any(|it| *it == exponent)
    }

    /// The tensor is stored scaled.
    pub(super) fn has(&self, tensor: TensorId) -> bool {
        self.scales.contains_key(&tensor)
    }
}

impl Weaver<'_> {
    /// What a read of a tensor that is stored scaled stands for.
    pub(super) fn handed_on(
        &mut self,
        tensor: TensorId,
        coords: &[ExprId],
        in_place: bool,
    ) -> Option<Scaled> {
        let StoredScale { tensor: scale, dims } = self.handed.scales.get(&tensor)?.clone();
        let at = dims.iter().map(|&it| coords[it]).collect();
        let exprs = &mut self.cascade.exprs;
        let value = exprs.add(Expr::Read(tensor, coords.to_vec(), Kind::Real));
        let read = exprs.add(Expr::Read(scale, at, Kind::Real));
        if let Some(&source) = self.handed.tops.get(&scale).filter(|_| in_place) {
            self.tops.insert(read, source);
        }
        Some(Scaled { scale: [(read, 1)].into(), value, raw: None })
    }

    /// Stores a value and its scale; the scale is stored once for all values that have it.
    pub(super) fn hand_on(&mut self, einsum: &Einsum, meaning: &Scaled) -> Vec<Act> {
        let exponent = scaled::exponent(&mut self.cascade.exprs, &meaning.scale);
        let mut acts = Vec::new();
        let tensor = einsum.tensor;
        let ranks: Vec<_> = self.cascade.tensors[tensor].dims.iter().map(|it| it.rank).collect();
        let position = |it: &Dim| ranks.iter().position(|rank| *rank == it.rank);
        let known = self.scales_here.get(&exponent).copied().and_then(|scale| {
            let dims = self.cascade.tensors[scale].dims.iter().map(position);
            Some(StoredScale { tensor: scale, dims: dims.collect::<Option<Vec<_>>>()? })
        });
        let stored = known.unwrap_or_else(|| {
            let (scale, act) = self.new_scale(einsum, exponent);
            acts.push(act);
            scale
        });
        self.handed.scales.insert(tensor, stored);
        acts.push(self.map_to(einsum, tensor, meaning.value));
        acts
    }

    fn new_scale(&mut self, einsum: &Einsum, exponent: ExprId) -> (StoredScale, Act) {
        let Tensor { name, dims, .. } = self.cascade.tensors[einsum.tensor].clone();
        let exprs = &self.cascade.exprs;
        let free = exprs.free(exponent);
        // It is stored for each row, or tasks would write the same.
        let rows = &self.group.rows;
        let depends =
            |it: &Dim| exprs.atoms(it.rank).iter().any(|atom| free.contains(atom) || rows.contains(atom));
        let kept: Vec<usize> = (0..dims.len()).filter(|&at| depends(&dims[at])).collect();
        let dims: Vec<Dim> = kept.iter().map(|&at| dims[at]).collect();
        let at = dims.iter().map(|it| At::Rank(it.rank, 0)).collect();
        let name = format!("{name}.scale");
        let it = Tensor { name, dims, kind: Kind::Real, dtype: None, role: Role::Temporary };
        let tensor = self.cascade.tensors.push(it);
        self.scales_here.insert(exponent, tensor);
        if let Some(&source) = self.tops.get(&exponent) {
            self.handed.tops.insert(tensor, source);
        }
        let act = Act::Define(Einsum { tensor, at, op: Op::Map, value: exponent, exact: false });
        (StoredScale { tensor, dims: kept }, act)
    }

    /// `e^x / e^c` is `e^(x - c)`, at most 1, where `c` is the maximum of `x`: a number like others.
    pub(super) fn settled(&mut self, it: Scaled) -> Scaled {
        let pair = it.scale.iter().filter(|it| *it.1 == -1).find_map(|(&c, _)| {
            let source = self.tops.get(&c)?;
            let mut over = it.scale.iter().filter(|it| *it.1 == 1);
            over.find(|(x, _)| self.sources.get(x) == Some(source)).map(|(&x, _)| (x, c))
        });
        let Some((x, c)) = pair else { return it };
        let exprs = &mut self.cascade.exprs;
        let down = exprs.binary(BinaryOp::Sub, x, c);
        let power = exprs.unary(UnaryOp::Exp, down);
        let value = scaled::product(exprs, power, it.value);
        let mut scale = it.scale;
        scale.retain(|term, _| *term != x && *term != c);
        if scale.is_empty() { Scaled::plain(value) } else { Scaled { scale, value, raw: None } }
    }

    /// Notes a number whose scale is a difference of scales, if another stage made one of them; not if both are made of
    /// the same scales, which are the same numbers wherever they are read.
    pub(super) fn note_scale(&mut self, scale: &Scale) {
        let exprs = &self.cascade.exprs;
        let read = |sign: i64| -> Option<BTreeSet<TensorId>> {
            let terms: Vec<ExprId> =
                scale.iter().filter(|it| it.1.signum() == sign).map(|it| *it.0).collect();
            let reads = terms.iter().flat_map(|&it| exprs.reads(it).map(|(tensor, _)| tensor));
            (!terms.is_empty()).then(|| reads.collect())
        };
        if let (Some(above), Some(below)) = (read(1), read(-1))
            && above != below
            && scale.keys().any(|&it| self.is_handed(it))
        {
            self.handed.parted = true;
        }
    }

    /// Notes a scale of this stage that is made of those of others.
    pub(super) fn note_derived(&mut self, tile: TensorId, exponent: ExprId) {
        if self.is_handed(exponent) {
            self.handed.derived.insert(tile);
        }
    }

    fn is_handed(&self, exponent: ExprId) -> bool {
        let is_scale = |tensor: TensorId| {
            self.handed.derived.contains(&tensor) || self.handed.scales.values().any(|it| it.tensor == tensor)
        };
        self.cascade.exprs.reads(exponent).any(|(tensor, _)| is_scale(tensor))
    }

    /// The ranks that are traversed and that a tensor has.
    pub(super) fn streamed_of(&self, tensor: TensorId) -> Ranks {
        self.ranks_of(tensor).into_iter().filter(|it| self.streams.contains(it)).collect()
    }
}
