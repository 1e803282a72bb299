//! Acts in variants: with the tests that their conditions ask for, and without where all of them hold.
//!
//! Conditions on coordinates are told from where the box lies. Conditions on what a tile holds are told by a walk along
//! it once it is there, which costs less than to select in every act that follows.
//!
//! ```text
//! S~[m, n] = …                          S~[m, n] = …
//! P~[m, n] = exp(S~) where S~ != -inf   if all[m, n](S~ != -inf)
//! O[m, e] += P~ * V               ->      P~[m, n] = exp(S~); O[m, e] += P~ * V
//!                                       else
//!                                         P~[m, n] = exp(S~) where S~ != -inf; …
//! ```

use std::collections::BTreeSet;

use attnc_dsl::ast::Kind;

use super::Tiling;
use super::bounds::einsum;
use super::loops::Folding;
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, ReduceOp, TensorId};
use crate::ir::expr::{Expr, parts};
use crate::ir::nest::{Op as TileOp, Scalar, TileDim, ValueId};
use crate::schedule::{Act, Loop};

/// A condition on what a tile holds.
struct Told {
    /// After how many acts it can be told.
    after: usize,
    condition: ExprId,
    /// The ranks along which it varies.
    ranks: Vec<RankId>,
}

impl Tiling<'_> {
    /// Acts for tiles at all points of which their conditions hold, and for others.
    pub(super) fn variants(&mut self, it: &Loop, acts: &[Act]) {
        let (conditions, hold) = self.all_hold(acts);
        match (self.bold(it, acts), hold) {
            (Some(bold), hold) => self.boldly(&bold, (hold, conditions), acts),
            (None, hold) => self.timidly((hold, conditions), acts),
        }
    }

    /// Acts without tests of some conditions where it can be told that all of them hold, and where what they are about
    /// is there and it can be told then.
    pub(super) fn timidly(&mut self, (hold, conditions): (Option<ValueId>, BTreeSet<ExprId>), acts: &[Act]) {
        let outside = self.holding.clone();
        self.holding.extend(&conditions);
        let told = self.told(acts);
        self.holding = outside;
        match (hold, told) {
            // What the data decide is told after acts that are the same either way, so it is told together.
            (_, Some(told)) if !acts[..told.after].iter().any(|it| self.tests(it, &conditions)) => {
                self.by_data((hold, conditions), told, acts);
            }
            (Some(hold), _) => self.either(hold, conditions, acts),
            (None, _) => self.acts(acts),
        }
    }

    /// Whether an act tests one of some conditions.
    fn tests(&self, act: &Act, conditions: &BTreeSet<ExprId>) -> bool {
        let exprs = &self.cascade.exprs;
        let mut values = einsum(act).into_iter().flat_map(|it| exprs.postorder(it.value));
        values.any(|id| {
            let Expr::Where(_, condition) = *exprs.get(id) else { return false };
            parts(exprs, condition).iter().any(|it| conditions.contains(it))
        })
    }

    /// Acts, those that follow what a condition is about without any test if that and some others hold.
    fn by_data(
        &mut self,
        (hold, mut conditions): (Option<ValueId>, BTreeSet<ExprId>),
        told: Told,
        acts: &[Act],
    ) {
        let (before, after) = acts.split_at(told.after);
        self.acts_before(before, after);
        let floor = self.pin_tiles();
        let all = match hold {
            None => self.holds_everywhere(&told),
            Some(hold) => {
                let (memos, outside) = (self.builder.forget(), self.holding.clone());
                self.holding.extend(&conditions);
                let all = self.once_if(hold, told.ranks[0], |it| it.holds_everywhere(&told));
                self.holding = outside;
                self.builder.forget();
                self.builder.recollect(memos);
                all
            }
        };
        conditions.insert(told.condition);
        self.either(all, conditions, after);
        self.builder.unpin(floor);
    }

    /// What something comes to if a condition holds, else false: a loop that is run once if at all.
    pub(super) fn once_if(
        &mut self,
        condition: ValueId,
        rank: RankId,
        then: impl FnOnce(&mut Self) -> ValueId,
    ) -> ValueId {
        let no = self.builder.bool(false);
        self.builder.open_times(condition, [1, 0], rank, &[no]);
        let value = then(self);
        self.builder.close_loop(&[value])[0]
    }

    /// Acts without tests where some conditions hold, with them elsewhere.
    fn either(&mut self, hold: ValueId, conditions: BTreeSet<ExprId>, acts: &[Act]) {
        // First what may be absent, so that it is known which tensors in memory have masks.
        self.builder.open_branch();
        self.acts(acts);
        let partial = self.builder.close_branch();
        let memos = self.builder.forget();
        let outside = self.holding.clone();
        self.holding.extend(conditions);
        self.builder.open_branch();
        self.timidly((None, BTreeSet::new()), acts);
        let full = self.builder.close_branch();
        self.holding = outside;
        self.builder.forget();
        self.builder.recollect(memos);
        self.builder.branch_apart(hold, full, partial);
    }

    /// The first condition of acts on what a tile holds.
    fn told(&self, acts: &[Act]) -> Option<Told> {
        let exprs = &self.cascade.exprs;
        let all: Option<Vec<&Einsum>> = acts.iter().map(einsum).collect();
        let all = all?;
        let there = |tensor: TensorId| {
            let wrote = all.iter().rposition(|it| it.tensor == tensor);
            wrote.map_or(0, |it| it + 1)
        };
        let conditions = all.iter().flat_map(|it| exprs.postorder(it.value)).filter_map(|it| {
            let Expr::Where(_, condition) = exprs.get(it) else { return None };
            Some(parts(exprs, *condition))
        });
        conditions.flatten().filter(|it| !self.holding.contains(it)).find_map(|condition| {
            let &Expr::Compare(_, a, _) = exprs.get(condition) else { return None };
            let after = exprs.reads(condition).map(|(it, _)| there(it)).max()?;
            // In the order of the tile, so that neighbours come last.
            let tile = exprs.reads(condition).map(|(it, _)| it).max_by_key(|it| there(*it))?;
            let order: Vec<RankId> = self.cascade.tensors[tile].dims.iter().map(|it| it.rank).collect();
            let mut ranks: Vec<RankId> = self.unbound(exprs.free(condition).iter().copied());
            ranks.sort_by_key(|it| order.iter().position(|other| other == it));
            let plain = ranks
                .iter()
                .all(|it| self.cascade.ranks[*it].parts.is_empty() && self.region.spans.contains_key(it));
            let is_worth_it =
                exprs.kind(a) == Kind::Real && (1..all.len()).contains(&after) && !ranks.is_empty();
            (plain && is_worth_it).then_some(Told { after, condition, ranks })
        })
    }

    /// Whether a condition holds at all points of the box.
    fn holds_everywhere(&mut self, told: &Told) -> ValueId {
        let Told { condition, ref ranks, .. } = *told;
        let op = Op::Reduce(ReduceOp::All, ranks.clone());
        let tensor = self.cascade.exprs.reads(condition).map(|(it, _)| it).next();
        let tensor = tensor.expect("a condition on what a tile holds reads one");
        let lane = self.lane(&Einsum { tensor, at: Vec::new(), op, value: condition, exact: false }, &[]);
        let yes = self.builder.bool(true);
        self.fold_over(ranks, lane, &[yes], &mut Holds(condition))[0]
    }
}

/// Whether a condition holds, and is present, at all points so far.
struct Holds(ExprId);

impl Folding for Holds {
    fn inits(&mut self, tiling: &mut Tiling<'_>, shape: &[TileDim]) -> Vec<ValueId> {
        vec![tiling.builder.filled(TileOp::Bool(true), Scalar::Bool, shape)]
    }

    fn step(&mut self, tiling: &mut Tiling<'_>, accs: &[ValueId]) -> Vec<ValueId> {
        let known = tiling.value(self.0);
        let holds = known.present.map_or(known.value, |it| tiling.builder.and(it, known.value));
        let holds = match tiling.exists() {
            Some(exists) => {
                let nowhere = tiling.builder.not(exists);
                tiling.builder.or(nowhere, holds)
            }
            None => holds,
        };
        vec![tiling.builder.and(accs[0], holds)]
    }

    fn merge(
        &mut self,
        tiling: &mut Tiling<'_>,
        accs: &[ValueId],
        tiles: &[ValueId],
        along: RankId,
    ) -> Vec<ValueId> {
        let all = tiling.builder.reduce(ReduceOp::All, tiles[0], along);
        vec![tiling.builder.and(accs[0], all)]
    }
}
