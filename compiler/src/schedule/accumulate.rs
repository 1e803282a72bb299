//! Reductions over what is traversed: accumulators, and the scales that keep sums of powers in range.
//!
//! ```text
//! Z = sum[n](exp(x) · y)   ->   old = c;  c max= x;  c = raised(old, c);  f = exp(old - c);  Z *= f;  w = exp(x - c);  Z += w · y
//! ```
//!
//! Any `c` gives the same number `Z · e^c`; one that is near the running maximum keeps every power small. It is raised
//! only where the maximum has grown by more than [`scaled::HEADROOM`], so that most tiles leave it, and with it all sums, as
//! they are. What a row does depends on its own exponents alone. Sums of powers of the same exponents have one scale.

use std::collections::BTreeSet;

use attnc_dsl::ast::{CompareOp, Kind};

use super::plan::Act;
use super::range::of_coordinate;
use super::scaled::{self, Scaled};
use super::weave::{Weaver, left};
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, ReduceOp, Role, TensorId};
use crate::ir::cover::is_covered;
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands};
use crate::ir::order::Order;

/// What a fold is along, and for what.
pub(super) struct Fiber {
    name: String,
    pub(super) level: usize,
    pub(super) ranks: Vec<RankId>,
    pub(super) over: Vec<RankId>,
    pub(super) along: super::flow::Ranks,
    /// The rank of the parts, if the fiber is one of many that make a whole; it is the first of `ranks`.
    part: Option<RankId>,
}

impl Fiber {
    /// Those of the ranks that an expression depends on, and the parts.
    pub(super) fn kept(&self, free: &[RankId]) -> Vec<RankId> {
        let keeps = |it: &RankId| Some(*it) == self.part || free.contains(it);
        self.ranks.iter().copied().filter(keeps).collect()
    }

    /// What depends on those ranks differs along what is reduced.
    fn reduces_with(&self, free: &[RankId]) -> bool {
        self.over.iter().chain(&self.along).chain(&self.part).any(|it| free.contains(it))
    }

    /// What a tile for some purpose is called.
    pub(super) fn name_of(&self, purpose: &str) -> String {
        let infix = if self.part.is_some() { ".part" } else { "" };
        format!("{}{infix}.{purpose}", self.name)
    }

    /// What the parts are put together by.
    fn of_parts(&self) -> Option<Fiber> {
        let part = self.part?;
        Some(Fiber {
            name: self.name.clone(),
            level: self.level,
            ranks: self.ranks[1..].to_vec(),
            over: vec![part],
            along: [part].into(),
            part: None,
        })
    }
}

impl Weaver<'_> {
    /// A reduction over a traversal; its accumulators are there after it.
    pub(super) fn fold(&mut self, einsum: &Einsum, op: ReduceOp, level: usize) -> Scaled {
        let along = self.shapes.of[&einsum.tensor].fold.clone();
        let part = self.split.as_ref().filter(|it| it.along == along).map(|it| it.part);
        let fiber = Fiber {
            name: self.cascade.tensors[einsum.tensor].name.clone(),
            level,
            ranks: part.into_iter().chain(self.as_the_root(self.ranks_of(einsum.tensor))).collect(),
            over: self.flow.reduced_in_order(einsum),
            along,
            part,
        };
        let it = self.scaled(einsum.value);
        let kind = self.cascade.exprs.kind(it.value);
        match (op, kind) {
            (ReduceOp::Sum, Kind::Real) => self.sum(&fiber, &it),
            (ReduceOp::Mean, _) => {
                let it =
                    if kind == Kind::Int { Scaled::plain(self.cascade.exprs.to_real(it.value)) } else { it };
                let sum = self.sum(&fiber, &it);
                let there = self.cascade.exprs.add(Expr::Present(it.value));
                let number = self.accumulate(&fiber, "count", ReduceOp::Count, there).1;
                let exprs = &mut self.cascade.exprs;
                let (zero, real) = (exprs.int(0), exprs.to_real(number));
                let some = exprs.compare(CompareOp::Gt, number, zero);
                let value = exprs.binary(BinaryOp::Div, sum.value, real);
                let value = exprs.add(Expr::Where(value, some));
                let raw = sum.raw.map(|_| value);
                Scaled { scale: sum.scale, value, raw }
            }
            (ReduceOp::Max | ReduceOp::Min, Kind::Int) => {
                let value = self.accumulate(&fiber, op.name(), op, it.value).1;
                let there = self.cascade.exprs.add(Expr::Present(it.value));
                let some = self.accumulate(&fiber, "some", ReduceOp::Any, there).1;
                Scaled::plain(self.cascade.exprs.add(Expr::Where(value, some)))
            }
            _ => {
                let exponent = scaled::extreme(&mut self.cascade.exprs, &it, op);
                let value = exponent.unwrap_or_else(|| self.put_together(&it));
                let (tensor, read) = self.accumulate(&fiber, op.name(), op, value);
                if op == ReduceOp::Max {
                    self.peaks.insert(tensor, value);
                }
                match exponent {
                    Some(_) => scaled::of_extreme(&mut self.cascade.exprs, &it, op, read),
                    None => Scaled::plain(read),
                }
            }
        }
    }

    /// Ranks of a tile in the order that they have in what the stage stores, so that the same rank comes last in both: in the
    /// first that has all of them, if one does, and else in the usual one.
    fn as_the_root(&self, mut ranks: Vec<RankId>) -> Vec<RankId> {
        let mut roots = self.group.roots.iter().map(|it| self.ranks_of(*it));
        let order = roots.find(|order| ranks.iter().all(|it| order.contains(it)));
        match order {
            Some(order) => {
                ranks.sort_by_key(|it| order.iter().position(|other| other == it));
                ranks
            }
            None => Order::of(self.cascade).sorted(&self.cascade.exprs, ranks),
        }
    }

    /// A new accumulator, and what it comes to over all parts of the fiber.
    fn accumulate(&mut self, fiber: &Fiber, part: &str, op: ReduceOp, value: ExprId) -> (TensorId, ExprId) {
        let (tensor, read) = self.accumulator(fiber, part, op, value);
        let op = if op == ReduceOp::Count { ReduceOp::Sum } else { op };
        match fiber.of_parts() {
            Some(fiber) => self.accumulator(&fiber, part, op, read),
            None => (tensor, read),
        }
    }

    /// A new accumulator, empty before the traversal and fed by each tile.
    fn accumulator(&mut self, fiber: &Fiber, part: &str, op: ReduceOp, value: ExprId) -> (TensorId, ExprId) {
        let kind = Op::Reduce(op, Vec::new()).kind(self.cascade.exprs.kind(value));
        let name = fiber.name_of(part);
        let (tensor, read) = self.new_tile(&name, &fiber.ranks, kind);
        let empty = self.identity(op, kind);
        let at = left(&fiber.ranks);
        let clear = Einsum { tensor, at: at.clone(), op: Op::Map, value: empty, exact: false };
        let op = Op::Reduce(op, fiber.over.clone());
        let fold = Einsum { tensor, at, op, value, exact: false };
        let round = self.round(fiber.level, &fiber.along);
        round.starts.push(Act::Define(clear));
        round.effects.push(Act::Fold(fold));
        (tensor, read)
    }

    /// A sum of reals, scaled if its terms are.
    fn sum(&mut self, fiber: &Fiber, it: &Scaled) -> Scaled {
        if it.is_plain() {
            let value = self.factored(fiber, it.value, None);
            return Scaled::plain(self.accumulate(fiber, "sum", ReduceOp::Sum, value).1);
        }
        self.note_scale(&it.scale);
        let whole = scaled::exponent(&mut self.cascade.exprs, &it.scale);
        let exponent = self.where_present(fiber, whole, it.value);
        let exponent = self.where_counted(exponent, it.value);
        let gauge = self.gauge(fiber, exponent);
        let kept = fiber.kept(self.cascade.exprs.free(exponent));
        let c = self.read_of(gauge, &kept);
        // The maximum of maxima is one, too.
        let source = self.sources.get(&whole).or_else(|| self.tops.get(&whole)).copied();
        if let Some(source) = source.filter(|_| exponent == whole) {
            self.tops.insert(c, source);
        }
        let weight = self.weight(fiber, exponent, c);
        let value = self.factored(fiber, it.value, Some(weight));
        let (tensor, read) = self.accumulator(fiber, "sum", ReduceOp::Sum, value);
        self.rescale(fiber, gauge, &kept, tensor, read);
        let sum = Scaled { scale: [(c, 1)].into(), value: read, raw: None };
        match fiber.of_parts() {
            Some(fiber) => self.sum(&fiber, &sum),
            None => sum,
        }
    }

    pub(super) fn read_of(&mut self, tensor: TensorId, ranks: &[RankId]) -> ExprId {
        let coords = ranks.iter().map(|&it| self.cascade.exprs.index(it)).collect();
        self.cascade.exprs.add(Expr::Read(tensor, coords, Kind::Real))
    }

    /// An exponent where its term is not taken 0 times, or a power that does not count would decide on the scale.
    fn where_counted(&mut self, exponent: ExprId, value: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let is_number = matches!(exprs.get(value), Expr::Unary(UnaryOp::ToReal, _));
        if !is_number || !exprs.free(value).iter().all(|it| exprs.free(exponent).contains(it)) {
            return exponent;
        }
        let zero = exprs.real(0.0);
        let counts = exprs.compare(CompareOp::Ne, value, zero);
        exprs.add(Expr::Where(exponent, counts))
    }

    /// An exponent where its term is present, so that a hidden one counts for nothing. Where all terms of a sum are absent
    /// for the same reason, so is the sum, whatever its scale.
    fn where_present(&mut self, fiber: &Fiber, exponent: ExprId, value: ExprId) -> ExprId {
        let exprs = &self.cascade.exprs;
        let mut needed = super::presence::conditions(exprs, &self.held, value);
        // An exponent of −∞ decides on no maximum.
        needed.retain(|&it| !self.says_finite(it, exponent));
        let known = super::presence::conditions(exprs, &self.held, exponent);
        let lacking = self.otherwise(value, exponent);
        let decides = |it: &ExprId| self.split.is_some() || fiber.reduces_with(self.cascade.exprs.free(*it));
        let lacking = lacking
            .map(|more| needed.difference(&known).copied().chain(more).filter(decides).collect::<Vec<_>>());
        let there = match lacking {
            Some(conditions) if conditions.is_empty() => return exponent,
            Some(conditions) if self.has_all_rows(exponent, &conditions) => {
                let both = |a, b| self.cascade.exprs.add(Expr::Binary(BinaryOp::And, a, b));
                conditions.into_iter().reduce(both).expect("there are conditions")
            }
            Some(_) | None => self.cascade.exprs.add(Expr::Present(value)),
        };
        self.cascade.exprs.add(Expr::Where(exponent, there))
    }

    /// Under these conditions the exponent depends on all rows, as what is kept of parts has to: tasks of other rows would
    /// write the same.
    fn has_all_rows(&self, exponent: ExprId, conditions: &[ExprId]) -> bool {
        let exprs = &self.cascade.exprs;
        let has = |row: &RankId| conditions.iter().chain([&exponent]).any(|it| exprs.free(*it).contains(row));
        self.split.is_none() || self.group.rows.iter().all(has)
    }

    /// The condition is that the exponent is not −∞.
    fn says_finite(&self, condition: ExprId, exponent: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        let is_sunken = |it: ExprId| *exprs.get(it) == Expr::Real(f64::NEG_INFINITY.to_bits());
        let Expr::Compare(CompareOp::Ne, x, limit) = *exprs.get(condition) else { return false };
        x == exponent && is_sunken(limit)
    }

    /// What must hold, beside what `where` says, for a value to be present where the exponent is: coordinates lie inside, and
    /// what is read from memory is present. `None` where it may be absent for reasons that are no list of conditions.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn otherwise(&mut self, value: ExprId, exponent: ExprId) -> Option<Vec<ExprId>> {
        let mut seen = BTreeSet::new();
        self.strict_parts(exponent, &mut seen);
        let mut partial = Vec::new();
        self.partial_parts(value, &mut seen, &mut partial)?;
        let mut inside = Vec::new();
        for id in partial {
            let (tensor, coords) = match self.cascade.exprs.get(id).clone() {
                Expr::Read(tensor, coords, _) if self.cascade.tensors[tensor].role == Role::Input => {
                    (tensor, coords)
                }
                // That it is present says so of its operands, too.
                Expr::Read(..) | Expr::Binary(..) | Expr::Unary(..) => {
                    inside.push(self.cascade.exprs.add(Expr::Present(id)));
                    continue;
                }
                _ => return None,
            };
            for (at, coord) in coords.into_iter().enumerate() {
                let rank = self.cascade.tensors[tensor].dims[at].rank;
                if !self.is_in_place(coord, rank) {
                    let exprs = &mut self.cascade.exprs;
                    let (zero, extent) = (exprs.int(0), exprs.add(Expr::Extent(rank)));
                    inside.push(exprs.compare(CompareOp::Ge, coord, zero));
                    inside.push(exprs.compare(CompareOp::Lt, coord, extent));
                }
            }
        }
        Some(inside)
    }

    /// The parts of a value that have to be present for it to be, and that may be absent though what they are made of is
    /// present; others than those that were seen before. `None` where a branch that may not be taken has such a part.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn partial_parts(&self, id: ExprId, seen: &mut BTreeSet<ExprId>, found: &mut Vec<ExprId>) -> Option<()> {
        if !seen.insert(id) {
            return Some(());
        }
        let exprs = &self.cascade.exprs;
        if let Expr::If(_, a, b) | Expr::Binary(BinaryOp::And | BinaryOp::Or, a, b) = exprs.get(id)
            && !(self.is_whole(*a, seen) && self.is_whole(*b, seen))
        {
            return None;
        }
        if self.is_partial(id) {
            found.push(id);
        }
        self.strict_operands(id).into_iter().try_for_each(|it| self.partial_parts(it, seen, found))
    }

    /// All that has to be present for a value to be.
    fn strict_parts(&self, id: ExprId, seen: &mut BTreeSet<ExprId>) {
        if seen.insert(id) {
            self.strict_operands(id).into_iter().for_each(|it| self.strict_parts(it, seen));
        }
    }

    /// The operands without which an operation has no value; of a tile that is held, those of what it holds.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn strict_operands(&self, id: ExprId) -> Vec<ExprId> {
        let exprs = &self.cascade.exprs;
        match exprs.get(id) {
            Expr::Present(_)
            | Expr::Else(..)
            | Expr::Pick(..)
            | Expr::Binary(BinaryOp::And | BinaryOp::Or, ..) => Vec::new(),
            Expr::If(condition, ..) => vec![*condition],
            Expr::Read(tensor, ..) if self.held.contains_key(tensor) => vec![self.held[tensor]],
            other => operands(other),
        }
    }

    /// Nothing that a value consists of may be absent, other than what was seen.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_whole(&self, value: ExprId, seen: &BTreeSet<ExprId>) -> bool {
        let exprs = &self.cascade.exprs;
        let all = exprs.postorder(value).into_iter().filter(|it| !seen.contains(it));
        all.into_iter().all(|it| match exprs.get(it) {
            Expr::Where(..) => false,
            Expr::Read(tensor, ..) if self.held.contains_key(tensor) => {
                self.is_whole(self.held[tensor], seen)
            }
            _ => !self.is_partial(it),
        })
    }

    /// A coordinate is that of the point at hand, along a rank as long as this one.
    fn is_in_place(&self, coord: ExprId, rank: RankId) -> bool {
        matches!(*self.cascade.exprs.get(coord), Expr::Index(own)
            if self.cascade.have_same_extent(own, rank) && self.is_walked(own))
    }

    /// An operation that may be absent though its operands are present, other than a `where`.
    fn is_partial(&self, id: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        match exprs.get(id) {
            Expr::Pick(..) => true,
            Expr::Else(..) => !is_covered(self.cascade, id),
            Expr::If(_, a, b) => {
                let none = |it| super::presence::conditions(exprs, &self.held, it).is_empty();
                !(none(*a) && none(*b))
            }
            Expr::Binary(BinaryOp::FloorDiv | BinaryOp::Mod, _, b) => {
                of_coordinate(self.cascade, *b).0 <= 0.0
            }
            Expr::Binary(BinaryOp::Shl | BinaryOp::Shr, _, b) => {
                let (low, high) = of_coordinate(self.cascade, *b);
                low < 0.0 || high > 63.0
            }
            Expr::Unary(UnaryOp::Ilog2, _) => true,
            Expr::Read(tensor, coords, _) => {
                let input = !self.tiles.contains(tensor);
                let mut both = coords.iter().zip(&self.cascade.tensors[*tensor].dims);
                let in_place = both.all(|(&coord, dim)| self.is_in_place(coord, dim.rank));
                input && !(in_place && self.is_total(*tensor))
            }
            Expr::Int(_)
            | Expr::Real(_)
            | Expr::Bool(_)
            | Expr::Extent(_)
            | Expr::Index(_)
            | Expr::Param(..)
            | Expr::Unary(..)
            | Expr::Binary(..)
            | Expr::Compare(..)
            | Expr::Where(..)
            | Expr::Present(_)
            | Expr::Cast(..) => false,
        }
    }

    /// Every point of a tensor in memory is present.
    fn is_total(&self, tensor: TensorId) -> bool {
        if self.cascade.tensors[tensor].role == Role::Input {
            return true;
        }
        let exprs = &self.flow.cascade.exprs;
        self.flow.einsums.get(&tensor).is_some_and(|it| match it.op {
            // Over no points at all it is the identity, which the laws keep apart.
            Op::Reduce(ReduceOp::Max | ReduceOp::Min, _) => exprs.kind(it.value) == Kind::Real,
            Op::Reduce(op, _) => op != ReduceOp::Mean,
            Op::Map => {
                let all = exprs.postorder(it.value);
                all.into_iter().all(|it| !matches!(exprs.get(it), Expr::Where(..)) && !self.is_partial(it))
            }
            Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
        })
    }

    /// The rank has a coordinate wherever its parts have.
    fn is_walked(&self, rank: RankId) -> bool {
        self.cascade.ranks[rank].parts.is_empty()
            || self.group.cone.iter().any(|it| {
                let einsum = self.flow.einsums[it];
                einsum.op.reduced().contains(&rank)
                    || self.flow.cascade.tensors[*it].dims.iter().any(|dim| dim.rank == rank)
            })
    }

    /// The powers of an exponent under its scale, held once for all sums.
    fn weight(&mut self, fiber: &Fiber, exponent: ExprId, c: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let down = exprs.binary(BinaryOp::Sub, exponent, c);
        let power = exprs.unary(UnaryOp::Exp, down);
        self.held_tile(fiber, "weight", power)
    }

    /// An expression of one traversal, held as a tile once.
    fn held_tile(&mut self, fiber: &Fiber, part: &str, value: ExprId) -> ExprId {
        let free = self.cascade.exprs.free(value).to_vec();
        let all: Vec<RankId> = fiber.ranks.iter().chain(&fiber.over).copied().collect();
        let ranks: Vec<RankId> = all.into_iter().filter(|it| free.contains(it)).collect();
        if let Some(&it) = self.round(fiber.level, &fiber.along).weights.get(&value) {
            return self.read_of(it, &self.ranks_of(it));
        }
        let kind = self.cascade.exprs.kind(value);
        let (tensor, read) = self.new_tile(&fiber.name_of(part), &ranks, kind);
        self.held.insert(tensor, value);
        let einsum = Einsum { tensor, at: left(&ranks), op: Op::Map, value, exact: false };
        self.on_demand.insert(tensor, Act::Define(einsum));
        self.round(fiber.level, &fiber.along).weights.insert(value, tensor);
        read
    }

    /// A term as a product of two: factors that lack a rank of the result are multiplied first and held as a tile.
    fn factored(&mut self, fiber: &Fiber, value: ExprId, weight: Option<ExprId>) -> ExprId {
        let (mut factors, mut conditions) = (Vec::new(), Vec::new());
        self.factors(value, &mut factors, &mut conditions);
        factors.splice(0..0, weight);
        let all: Vec<RankId> = fiber.ranks.iter().chain(&fiber.over).copied().collect();
        let narrow = |it: &Self, id: ExprId| {
            let free = it.cascade.exprs.free(id);
            let streams = fiber.along.iter().any(|rank| free.contains(rank));
            streams && !all.iter().all(|rank| free.contains(rank))
        };
        let lead =
            factors.iter().copied().filter(|&it| narrow(self, it)).max_by_key(|&it| {
                (Some(it) == weight, self.is_costly(it), self.cascade.exprs.free(it).len())
            });
        let Some(lead) = lead else { return self.multiplied(&factors, &conditions) };
        let ranks = self.cascade.exprs.free(lead).to_vec();
        let inside =
            |it: &Self, id: ExprId| it.cascade.exprs.free(id).iter().all(|rank| ranks.contains(rank));
        let (own, rest): (Vec<ExprId>, Vec<ExprId>) = factors.into_iter().partition(|&it| inside(self, it));
        let (own_conditions, others): (Vec<ExprId>, Vec<ExprId>) =
            conditions.into_iter().partition(|&it| inside(self, it));
        let mut left = self.multiplied(&own, &own_conditions);
        if !matches!(self.cascade.exprs.get(left), Expr::Read(..)) {
            left = self.held_tile(fiber, "factor", left);
        }
        let right = self.multiplied(&rest, &[]);
        let whole = scaled::product(&mut self.cascade.exprs, left, right);
        self.multiplied(&[whole], &others)
    }

    fn multiplied(&mut self, factors: &[ExprId], conditions: &[ExprId]) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let one = exprs.real(1.0);
        let all = factors.iter().fold(one, |all, &it| scaled::product(exprs, all, it));
        conditions.iter().fold(all, |all, &it| exprs.add(Expr::Where(all, it)))
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn factors(&mut self, value: ExprId, factors: &mut Vec<ExprId>, conditions: &mut Vec<ExprId>) {
        match *self.cascade.exprs.get(value) {
            Expr::Binary(BinaryOp::Mul, a, b) => {
                self.factors(a, factors, conditions);
                self.factors(b, factors, conditions);
            }
            Expr::Where(x, c) => {
                self.factors(x, factors, conditions);
                conditions.push(c);
            }
            _ => factors.push(value),
        }
    }

    /// Computing it again costs more than reading it from a tile.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn is_costly(&self, value: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        exprs.postorder(value).into_iter().any(|id| match exprs.get(id) {
            Expr::Unary(op, _) => op.is_real_function(),
            Expr::Binary(op, ..) => matches!(op, BinaryOp::Div | BinaryOp::Pow),
            _ => false,
        })
    }
}
