//! Tiles under the scales that are there: powers are taken as scores come out of registers, without a look at how large
//! they are, and it is their sums that tell whether this was bold or wrong.
//!
//! Powers that add up to little are sums of numbers none of which is far above its scale, so no scale would have been
//! raised, and none of which is infinite or NaN, so nothing had to be left out. Else nothing has been done yet that
//! counts: the acts are run as they stand. A row comes to the same bits either way.
//!
//! ```text
//! S~[m, n] = …                         ok = all[m](calm~)
//! c~ = raised(c~, max[n](S~)); …       if ok
//! P~[m, n] = exp(S~ - c~)        ->      P~[m, n] = power(… - c~)        as scores come out of registers
//! Z~[m] += P~                            ok = all[m](0 <= sum[n](P~) <= 2^40)
//! O~[m, e] += P~ * V                   if not ok: S~ = …; c~ = …; P~ = …
//!                                      Z~ += sum[n](P~); O~ += P~ * V
//! ```
//!
//! Weights hold 0 where they are absent, so what is added of them alone is added the same way whichever they were.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, DType};

use super::Tiling;
use super::bounds::einsum;
use super::builder::Known;
use super::loops::Lane;
use super::stream::split;
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, parts};
use crate::ir::nest::{Scalar, ValueId};
use crate::schedule::{Act, Gauge, Loop, MOST_POWERS};

/// Acts that may be run under the scales that are there.
pub(super) struct Bold {
    /// What holds the scales.
    scales: Vec<TensorId>,
    /// What says that they were left as they were.
    calm: Vec<TensorId>,
    /// What is defined before any sum is touched.
    defines: Vec<Act>,
    /// The powers under the scales, and what each is read as.
    weights: Vec<(TensorId, ExprId)>,
    /// The same as expressions of exponents.
    powers: BTreeSet<ExprId>,
    /// That exponents are not −∞.
    conditions: BTreeSet<ExprId>,
    /// What else those say, for an exponent has to be there not to be −∞: sums of powers tell nothing of it.
    presence: BTreeSet<ExprId>,
    /// What is added to sums.
    folds: Vec<Act>,
    /// What is added of the weights alone.
    sums: Vec<Act>,
    /// All acts but those.
    others: Vec<Act>,
}

impl Tiling<'_> {
    /// How acts are run under the scales that are there, if they can be.
    pub(super) fn bold(&self, it: &Loop, acts: &[Act]) -> Option<Bold> {
        let all: Option<Vec<&Einsum>> = acts.iter().map(einsum).collect();
        let all = all?;
        if it.gauges.is_empty() || !it.gauges.iter().all(|it| it.updates.iter().all(|it| all.contains(&it))) {
            return None;
        }
        let updates: Vec<&Einsum> = it.gauges.iter().flat_map(|it| &it.updates).collect();
        let scales: Vec<TensorId> = it.gauges.iter().map(|it| it.scale).collect();
        let rest = acts.iter().filter(|act| einsum(act).is_some_and(|it| !updates.contains(&it)));
        let (folds, defines): (Vec<&Act>, Vec<&Act>) = rest.partition(|act| matches!(act, Act::Fold(_)));
        let mut bold = Bold {
            scales,
            calm: it.gauges.iter().map(|it| it.calm).collect(),
            weights: Vec::new(),
            powers: BTreeSet::new(),
            conditions: BTreeSet::new(),
            presence: BTreeSet::new(),
            folds: folds.into_iter().cloned().collect(),
            defines: defines.into_iter().cloned().collect(),
            sums: Vec::new(),
            others: Vec::new(),
        };
        self.find_powers(&it.gauges, &mut bold)?;
        let written = updates
            .iter()
            .map(|it| it.tensor)
            .chain(bold.folds.iter().filter_map(|act| Some(einsum(act)?.tensor)));
        let written: BTreeSet<TensorId> = written.filter(|it| !bold.scales.contains(it)).collect();
        let reads =
            |it: &Einsum| self.cascade.exprs.reads(it.value).any(|(tensor, _)| written.contains(&tensor));
        let only_sums = bold.folds.iter().all(|act| {
            let mut read = einsum(act).into_iter().flat_map(|it| self.cascade.exprs.reads(it.value));
            !read.any(|(tensor, _)| bold.scales.contains(&tensor))
        });
        if !only_sums || bold.defines.iter().filter_map(einsum).any(reads) {
            return None;
        }
        let weights = bold.weights.clone();
        let is_sum = |act: &Act| matches!(act, Act::Fold(it) if self.adds_weights(it, &weights));
        (bold.sums, bold.others) = acts.iter().cloned().partition(is_sum);
        bold.folds.retain(|it| !is_sum(it));
        Some(bold)
    }

    /// A sum of weights, or of products of one, without conditions of its own, such as where a composite rank ends.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn adds_weights(&self, it: &Einsum, weights: &[(TensorId, ExprId)]) -> bool {
        let exprs = &self.cascade.exprs;
        let is_weight = |of: ExprId| {
            let Expr::Read(tensor, ..) = exprs.get(of) else { return false };
            weights.iter().any(|weight| weight.0 == *tensor) && self.reads_in_place(it, *tensor)
        };
        let of_weights = match *exprs.get(it.value) {
            Expr::Read(..) => is_weight(it.value),
            Expr::Binary(BinaryOp::Mul, a, b) => is_weight(a) || is_weight(b),
            _ => false,
        };
        let conditional = |id: ExprId| matches!(exprs.get(id), Expr::Where(..) | Expr::Compare(..));
        matches!(&it.op, Op::Reduce(ReduceOp::Sum, over) if !over.iter().any(|of| self.is_part(*of)))
            && self.widths.scalar(self.cascade, it.value) == Scalar::F32
            && of_weights
            && !exprs.postorder(it.value).into_iter().any(conditional)
    }

    /// Finds the powers under scales; `None` if a scale is read by anything else.
    fn find_powers(&self, gauges: &[Gauge], bold: &mut Bold) -> Option<()> {
        let exprs = &self.cascade.exprs;
        let reads = |value: ExprId, tensor: TensorId| exprs.reads(value).any(|(it, _)| it == tensor);
        for scale in gauges.iter().map(|it| it.scale) {
            let mut found = false;
            for einsum in bold.defines.iter().filter_map(einsum).filter(|it| reads(it.value, scale)) {
                let value = self.cascade.exprs.unconditioned(einsum.value);
                let &Expr::Unary(UnaryOp::Exp, down) = exprs.get(value) else { return None };
                let &Expr::Binary(BinaryOp::Sub, exponent, c) = exprs.get(down) else { return None };
                let is_scale = matches!(exprs.get(c), Expr::Read(tensor, ..) if *tensor == scale);
                let is_short = self.widths.stored(self.cascade, einsum.tensor) == DType::F32;
                if !is_scale || !is_short || reads(exponent, scale) || einsum.op != Op::Map {
                    return None;
                }
                let mut readers =
                    bold.folds.iter().filter_map(self::einsum).flat_map(|it| exprs.postorder(it.value));
                let is_read =
                    |id: &ExprId| matches!(exprs.get(*id), Expr::Read(it, ..) if *it == einsum.tensor);
                let read = readers.find(is_read)?;
                bold.powers.insert(value);
                bold.weights.push((einsum.tensor, read));
                let finite = self.says_finite(einsum.value, exponent);
                bold.presence.extend(finite.iter().flat_map(|it| self.presence_in(*it)));
                bold.conditions.extend(finite);
                found = true;
            }
            if !found {
                return None;
            }
        }
        Some(())
    }

    /// The conditions on where what is compared is there.
    fn presence_in(&self, comparison: ExprId) -> Vec<ExprId> {
        let exprs = &self.cascade.exprs;
        let &Expr::Compare(_, mut value, _) = exprs.get(comparison) else { return Vec::new() };
        let mut found = Vec::new();
        while let &Expr::Where(of, condition) = exprs.get(value) {
            found.extend(parts(exprs, condition));
            value = of;
        }
        found
    }

    /// The conditions on a value that its exponent is not −∞.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn says_finite(&self, value: ExprId, exponent: ExprId) -> Vec<ExprId> {
        let exprs = &self.cascade.exprs;
        let finite = self.cascade.exprs.unconditioned(exponent);
        let sunken = Expr::Real(f64::NEG_INFINITY.to_bits());
        let all = exprs.postorder(value).into_iter().filter_map(|id| match *exprs.get(id) {
            Expr::Where(_, condition) => Some(parts(exprs, condition)),
            _ => None,
        });
        all.flatten()
            .filter(|it| match *exprs.get(*it) {
                Expr::Compare(CompareOp::Ne, x, limit) => {
                    self.cascade.exprs.unconditioned(x) == finite && *exprs.get(limit) == sunken
                }
                _ => false,
            })
            .collect()
    }

    /// Whether the scale of every row of the box was left as it was when it was last brought up to date. There is none
    /// yet before that, and exponents that grow from tile to tile are better met with caution.
    pub(super) fn are_calm(&mut self, bold: &Bold) -> ValueId {
        let mut all = self.builder.bool(true);
        for &calm in &bold.calm {
            let rows = self.unbound(self.cascade.tensors[calm].dims.iter().map(|it| it.rank));
            all = self.over_rows(&rows, None, all, &mut |it, all| {
                let value = it.read_tile(calm).value;
                let scalar = it.builder.scalar(value);
                let zero = it.builder.real(0.0, scalar);
                let is_calm = it.builder.compare(CompareOp::Gt, value, zero);
                it.builder.and(all, is_calm)
            });
        }
        all
    }

    /// Carries a bool through all points of some ranks, those of one in tiles if a lane has rows.
    fn over_rows(
        &mut self,
        rows: &[RankId],
        lane: Option<Lane>,
        mut all: ValueId,
        then: &mut dyn FnMut(&mut Self, ValueId) -> ValueId,
    ) -> ValueId {
        let Some((&rank, rest)) = rows.split_first() else { return then(self, all) };
        let mut from = self.span(rank).0;
        if let Some(rows) = lane.and_then(|it| it.rows).filter(|it| it.rank == rank) {
            let (main, seen) = self.open_rows(rows, self.rows_of_tile(rank), from, &[all]);
            let next = self.over_rows(rest, None, seen[0], then);
            self.rows = None;
            (from, all) = (main, self.builder.close_loop(&[next])[0]);
            if rows.padded {
                return all;
            }
        }
        let seen = self.open_from(rank, from, &[all]);
        let next = self.over_rows(rest, lane, seen[0], then);
        self.builder.close_loop(&[next])[0]
    }

    /// Acts under the scales that are there where a condition holds and they turn out to do, else as they stand.
    pub(super) fn boldly(
        &mut self,
        bold: &Bold,
        (hold, conditions): (Option<ValueId>, BTreeSet<ExprId>),
        acts: &[Act],
    ) {
        if !bold.presence.iter().all(|it| conditions.contains(it) || self.holding.contains(it)) {
            return self.timidly((hold, conditions), acts);
        }
        let summands = bold.sums.iter().filter_map(einsum).flat_map(|it| self.cascade.exprs.reads(it.value));
        self.read_later = summands.map(|(tensor, _)| tensor).collect();
        // First what may be absent, so that it is known which tensors in memory have masks.
        self.builder.open_branch();
        let weights: Vec<TensorId> = bold.weights.iter().map(|it| it.0).collect();
        let outside = self.always_masked.clone();
        self.always_masked.extend(weights.iter().filter(|_| !bold.sums.is_empty()));
        self.timidly((hold, conditions.clone()), &bold.others);
        self.always_masked = outside;
        let masks: Vec<_> = weights.iter().map(|it| self.stored[it].mask).collect();
        self.add_up(bold);
        let as_they_stand = self.builder.close_branch();
        let memos = self.builder.forget();
        let outside = self.holding.clone();
        self.holding.extend(conditions);
        self.holding.extend(&bold.conditions);
        let are_calm = self.are_calm(bold);
        let hold = hold.map_or(are_calm, |it| self.builder.and(it, are_calm));
        let ok = self.attempt(bold, hold);
        // What is not there for other reasons than scores is left out under the old scales, too.
        let all_there = weights.iter().all(|it| self.stored[it].mask.is_none());
        self.builder.open_branch();
        self.acts(&bold.folds);
        let folds = self.builder.close_branch();
        self.holding = outside;
        self.builder.forget();
        self.builder.recollect(memos);
        self.builder.branch(ok, folds, as_they_stand);
        self.read_later.clear();
        for (weight, mask) in weights.into_iter().zip(masks) {
            self.stored.get_mut(&weight).expect("it has a buffer").mask = mask;
        }
        self.all_there = all_there.then_some(ok);
        self.are_added_up = true;
        self.acts(&bold.sums);
        self.all_there = None;
        self.are_added_up = false;
        self.added_up.clear();
    }

    /// Defines the powers under the scales that are there, in a loop that is run once if at all; gives whether they do.
    fn attempt(&mut self, bold: &Bold, hold: ValueId) -> ValueId {
        let rank = *self.region.tiles.keys().next().expect("a stream has tiles");
        self.once_if(hold, rank, |it| {
            it.powers.clone_from(&bold.powers);
            it.acts_before(&bold.defines, &bold.folds);
            it.powers.clear();
            let floor = it.pin_tiles();
            let mut all = it.builder.bool(true);
            for &weight in &bold.weights {
                all = it.adds_up_to_little(weight, !bold.sums.is_empty(), all);
            }
            it.builder.unpin(floor);
            all
        })
    }

    /// Adds up the weights of each row in the box, for those who ask for their sums.
    fn add_up(&mut self, bold: &Bold) {
        self.takes_zeros = true;
        for &(tensor, read) in bold.weights.iter().filter(|_| !bold.sums.is_empty()) {
            let floor = self.pin_tiles();
            let (rows, over, lane) = self.rows_of_weights(tensor, read);
            let (inner, outer) = split(lane, &over);
            self.for_each(&rows, outer, &mut |it| {
                let sum = it.reduction(ReduceOp::Sum, &over, read, inner).value;
                it.keep_sum(tensor, &over, sum);
            });
            self.builder.unpin(floor);
        }
        self.takes_zeros = false;
    }

    /// The rows of some weights, the ranks that they are added up along, and how.
    fn rows_of_weights(
        &mut self,
        tensor: TensorId,
        read: ExprId,
    ) -> (Vec<RankId>, Vec<RankId>, Option<Lane>) {
        let ranks: Vec<RankId> = self.unbound(self.cascade.tensors[tensor].dims.iter().map(|it| it.rank));
        let is_row = |it: &RankId| self.region.rows.contains(it);
        let (rows, over): (Vec<RankId>, Vec<RankId>) = ranks.into_iter().partition(is_row);
        let op = Op::Reduce(ReduceOp::Sum, over.clone());
        let lane = self.lane(&Einsum { tensor, at: Vec::new(), op, value: read, exact: false }, &rows);
        (rows, over, lane)
    }

    /// Keeps what the weights of the row at hand add up to.
    fn keep_sum(&mut self, tensor: TensorId, over: &[RankId], sum: ValueId) {
        let buffer = match self.added_up.get(&tensor) {
            Some((buffer, _)) => *buffer,
            None => {
                let name = format!("{}.sum", self.cascade.tensors[tensor].name);
                let buffer = self.tile_without(tensor, over, (name, DType::F32));
                self.added_up.insert(tensor, (buffer, over.iter().copied().collect()));
                buffer
            }
        };
        let index = self.coordinates_without(tensor, over);
        let contiguous = self.is_contiguous(buffer, &index);
        self.builder.store(buffer, index, sum, None, contiguous);
    }

    /// What weights were seen to add up to.
    pub(super) fn added_up(&mut self, op: ReduceOp, over: &[RankId], value: ExprId) -> Option<Known> {
        let Expr::Read(tensor, ..) = *self.cascade.exprs.get(value) else { return None };
        let (buffer, along) = self.added_up.get(&tensor)?.clone();
        if op != ReduceOp::Sum || !self.are_added_up || along != over.iter().copied().collect() {
            return None;
        }
        let index = self.coordinates_without(tensor, over);
        let contiguous = self.is_contiguous(buffer, &index);
        Some(Known { value: self.builder.load(buffer, index, None, contiguous), present: None })
    }

    /// Whether the powers of each row in the box add up to little.
    fn adds_up_to_little(&mut self, (tensor, read): (TensorId, ExprId), keep: bool, all: ValueId) -> ValueId {
        let (rows, over, lane) = self.rows_of_weights(tensor, read);
        let (inner, outer) = split(lane, &over);
        self.over_rows(&rows, outer, all, &mut |it, all| {
            let sum = it.reduction(ReduceOp::Sum, &over, read, inner).value;
            if keep {
                it.keep_sum(tensor, &over, sum);
            }
            let scalar = it.builder.scalar(sum);
            let [least, most] = [0.0, MOST_POWERS].map(|bound| it.builder.real(bound, scalar));
            let above = it.builder.compare(CompareOp::Ge, sum, least);
            let below = it.builder.compare(CompareOp::Le, sum, most);
            let little = it.builder.and(above, below);
            let little = match it.rows {
                Some(rows) => {
                    let little = it.or_beyond(little);
                    it.builder.reduce(ReduceOp::All, little, rows.dim.rank)
                }
                None => little,
            };
            it.builder.and(all, little)
        })
    }
}
