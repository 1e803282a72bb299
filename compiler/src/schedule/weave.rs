//! A group of tensors to one streaming stage: what is done before, in and after each traversal.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::{DType, Kind};

use super::flow::{Flow, Ranks};
use super::group::Group;
use super::handed::Handed;
use super::inline::Memo;
use super::mapping::Mapping;
use super::plan::{Act, Stream, Unscaled};
use super::presence::Held;
use super::range::{Range, range};
use super::scaled::{self, Scaled};
use super::shape::Shapes;
use super::split::Split;
use crate::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, RankId, ReduceOp, Role, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// The largest exponent whose power needs no scale.
const MODERATE: f64 = 60.0;

/// A stage in the making, on top of what earlier stages left.
pub(super) struct Weaver<'a> {
    pub(super) flow: &'a Flow<'a>,
    pub(super) shapes: &'a Shapes,
    pub(super) mapping: &'a Mapping,
    pub(super) cascade: &'a mut Cascade,
    pub(super) tiles: &'a mut BTreeSet<TensorId>,
    /// What earlier stages stored scaled.
    pub(super) handed: &'a mut Handed,
    /// Ranges of expressions that the author promises.
    pub(super) promised: &'a mut BTreeMap<ExprId, Range>,
    /// Tensors that take room only where a condition holds.
    pub(super) room_where: &'a mut BTreeMap<TensorId, ExprId>,
    /// The indices of the values that selections keep.
    pub(super) indices: &'a mut BTreeMap<TensorId, TensorId>,
    pub(super) group: Group,
    /// The traversal that goes over parts of its fiber.
    pub(super) split: Option<Split>,
    /// What is traversed, by any loop.
    pub(super) streams: Ranks,
    /// What tensors of this stage are, where they are read in place.
    pub(super) meanings: BTreeMap<TensorId, Scaled>,
    pub(super) memo: Memo,
    /// Of what a tensor holds the maximum.
    pub(super) peaks: BTreeMap<TensorId, ExprId>,
    /// What exponents are in the cascade that is planned.
    pub(super) sources: BTreeMap<ExprId, ExprId>,
    /// Of which exponent, in the cascade that is planned, an expression is the maximum.
    pub(super) tops: BTreeMap<ExprId, ExprId>,
    /// The scales that this stage stores, by what they are.
    pub(super) scales_here: BTreeMap<ExprId, TensorId>,
    /// Why powers are under no scale.
    pub(super) unscaled: BTreeSet<Unscaled>,
    /// The values of maps that are held as tiles.
    pub(super) held: Held,
    /// After which traversal a tensor is there, or in which it changes.
    pub(super) level: BTreeMap<TensorId, usize>,
    /// What is computed for each tile on demand.
    pub(super) on_demand: BTreeMap<TensorId, Act>,
    /// What is done once for the rows after so many rounds of traversals.
    pub(super) between: Vec<Vec<Act>>,
    /// The traversals of each round.
    pub(super) rounds: Vec<Vec<Round>>,
}

/// One traversal in the making.
pub(super) struct Round {
    pub(super) along: Ranks,
    /// What accumulators and scales are before the first tile.
    pub(super) starts: Vec<Act>,
    /// How the scales of this traversal are brought up to date.
    pub(super) gauges: BTreeMap<TensorId, Vec<Act>>,
    /// The scale of each exponent.
    pub(super) gauge_of: BTreeMap<(ExprId, Vec<RankId>), TensorId>,
    /// What is computed for its own scales only.
    pub(super) weights: BTreeMap<ExprId, TensorId>,
    pub(super) effects: Vec<Act>,
}

impl<'a> Weaver<'a> {
    /// The stages of the group: one, and if it goes over parts, one more that merges them.
    pub(super) fn stages(mut self) -> Vec<Stream> {
        let rows = self.rows();
        self.split = self.split(&rows);
        let order: Vec<&Einsum> =
            self.flow.cascade.einsums().filter(|it| self.group.cone.contains(&it.tensor)).collect();
        for einsum in order {
            self.define(einsum);
            if self.group.roots.contains(&einsum.tensor) {
                self.store(einsum);
            }
        }
        let composites = self.composites();
        match self.split.take() {
            Some(split) => self.in_parts(&split, rows, composites),
            None => {
                let acts = self.acts();
                vec![Stream { rows, part: None, when: None, composites, unscaled: self.unscaled, acts }]
            }
        }
    }

    /// The limits of a number, if its power needs no scale.
    pub(super) fn moderate(&self, x: ExprId) -> Option<Unscaled> {
        let it = range(&self.cascade.exprs, &BTreeMap::new(), self.promised, x);
        let is_moderate = it.low >= -MODERATE && it.high <= MODERATE;
        is_moderate.then(|| Unscaled::Within(it.low.floor() as i32, it.high.ceil() as i32))
    }

    pub(super) fn is_streamed(&self, tensor: TensorId) -> bool {
        !self.flow.ranks(tensor).is_disjoint(&self.streams)
    }

    /// Finds what a tensor of the cascade is here.
    fn define(&mut self, einsum: &Einsum) {
        let tensor = einsum.tensor;
        let reads = self.shapes.local_reads(self.flow, einsum);
        let level = reads.iter().map(|it| self.level[it]).max().unwrap_or(0);
        let fold = &self.shapes.of[&tensor].fold;
        let level = level + usize::from(!fold.is_empty());
        self.level.insert(tensor, level);
        let meaning = match &einsum.op {
            Op::Map => self.map(einsum, level),
            Op::Reduce(op, _) if fold.is_empty() => self.reduction(einsum, *op, level),
            Op::Reduce(op, _) => self.fold(einsum, *op, level),
            Op::Select(..) | Op::Arg(..) => self.selection(einsum, level),
            Op::Scan(..) | Op::Place(_) => unreachable!("they have no tiles"),
        };
        let meaning = self.as_stored(tensor, meaning);
        self.keep_promise(tensor, &meaning);
        self.meanings.insert(tensor, meaning);
    }

    /// The value that a read of the tensor gives, if it is declared with few bits.
    fn as_stored(&mut self, tensor: TensorId, meaning: Scaled) -> Scaled {
        let Tensor { kind, dtype, .. } = self.cascade.tensors[tensor];
        match dtype {
            Some(dtype) if !scaled::keeps(kind, Some(dtype)) => {
                let value = self.put_together(&meaning);
                Scaled::plain(self.cascade.exprs.cast(dtype, value))
            }
            Some(_) | None => meaning,
        }
    }

    fn keep_promise(&mut self, tensor: TensorId, meaning: &Scaled) {
        let coords: Vec<ExprId> = self.flow.cascade.tensors[tensor]
            .dims
            .iter()
            .map(|it| self.cascade.exprs.index(it.rank))
            .collect();
        let kind = self.cascade.tensors[tensor].kind;
        let read = self.cascade.exprs.add(Expr::Read(tensor, coords, kind));
        if let Some(&range) = self.promised.get(&read) {
            self.promised.insert(meaning.value, range);
        }
    }

    fn map(&mut self, einsum: &Einsum, level: usize) -> Scaled {
        let it = self.scaled(einsum.value);
        let readers = self.group.cone.iter().map(|it| self.flow.einsums[it]);
        let readers: Vec<&Einsum> =
            readers.filter(|it| self.flow.read(it).contains(&einsum.tensor)).collect();
        let costly = self.is_costly(it.value);
        let own = self.flow.ranks(einsum.tensor);
        let is_lacking = |it: &Einsum| !self.flow.space(it).is_subset(own);
        let again = readers.len() > 1 && (it.raw.is_none() || !self.is_streamed(einsum.tensor));
        // Of what changes along a traversal there is only a tile.
        let streamed = self.streamed_of(einsum.tensor);
        let takes_whole = |it: &Einsum| {
            self.shapes.of[&it.tensor].fold.is_empty() && !self.flow.reduced(it).is_disjoint(&streamed)
        };
        let tiled = !readers.iter().any(|it| takes_whole(it));
        // A factor of sums along features lies as such factors are packed.
        let adds_features = |it: &&Einsum| {
            let over = self.flow.reduced(it);
            !over.is_disjoint(own) && over.is_disjoint(&streamed)
        };
        let is_packed = readers.iter().all(adds_features);
        if costly && it.is_plain() && tiled && (again || readers.into_iter().any(is_lacking)) {
            let name = self.cascade.tensors[einsum.tensor].name.clone();
            let mut ranks = self.ranks_of(einsum.tensor);
            ranks.sort_by_key(|it| is_packed && self.streams.contains(it));
            let value = self.put_together(&it);
            let tile = self.tile(&name, &ranks, Op::Map, value, level);
            return Scaled::plain(tile);
        }
        it
    }

    /// A reduction within what is at hand.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn reduction(&mut self, einsum: &Einsum, op: ReduceOp, level: usize) -> Scaled {
        let name = self.cascade.tensors[einsum.tensor].name.clone();
        let over: Vec<RankId> = self.flow.reduced_in_order(einsum);
        let it = self.scaled(einsum.value);
        // What is streamed over comes last, whatever the order in memory would be: lanes go along it in every stage that
        // computes the tensor, so that all of them add up in one order. Where both factors of a product have it, nothing is
        // shared along it.
        let mut ranks = self.ranks_of(einsum.tensor);
        ranks.sort_by_key(|rank| self.streams.contains(rank) && !self.is_of_both(it.value, *rank));
        self.note_scale(&it.scale);
        let exponent = scaled::exponent(&mut self.cascade.exprs, &it.scale);
        let varies = self.cascade.exprs.free(exponent).iter().any(|rank| over.contains(rank));
        if varies && let Some(powers) = scaled::extreme(&mut self.cascade.exprs, &it, op) {
            let most = self.tile(&name, &ranks, Op::Reduce(op, over), powers, level);
            return scaled::of_extreme(&mut self.cascade.exprs, &it, op, most);
        }
        let (scale, value) = match op {
            ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Max | ReduceOp::Min if !varies => (it.scale, it.value),
            ReduceOp::Sum => {
                let top = scaled::clamped(&mut self.cascade.exprs, exponent);
                let kept: Vec<RankId> = self.kept(&ranks, top);
                let op = Op::Reduce(ReduceOp::Max, over.clone());
                let most = self.tile(&format!("{name}.scale"), &kept, op, top, level);
                if let Expr::Read(tile, ..) = *self.cascade.exprs.get(most) {
                    self.note_derived(tile, exponent);
                }
                let common = scaled::clamped(&mut self.cascade.exprs, most);
                let value = self.weighted(exponent, common, it.value);
                ([(common, 1)].into(), value)
            }
            _ => {
                let value = self.put_together(&it);
                (scaled::Scale::new(), value)
            }
        };
        let of = if op == ReduceOp::Sum { self.packed(&name, &ranks, &over, value, level) } else { value };
        let value = self.tile(&name, &ranks, Op::Reduce(op, over), of, level);
        if let (ReduceOp::Max, Expr::Read(tensor, ..)) = (op, self.cascade.exprs.get(value)) {
            self.peaks.insert(*tensor, of);
        }
        let raw = scale.is_empty().then_some(value);
        Scaled { scale, value, raw }
    }

    /// The value is a product of two factors that both depend on a rank.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_of_both(&self, value: ExprId, rank: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        match exprs.get(value) {
            Expr::Binary(BinaryOp::Mul, a, b) => [a, b].iter().all(|it| exprs.free(**it).contains(&rank)),
            _ => false,
        }
    }

    /// A product whose factors lie in memory along what is summed, with the one that is used for many points of the
    /// tile copied so that it lies along the last rank of the result. What is computed for many points is held, too.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn packed(
        &mut self,
        name: &str,
        ranks: &[RankId],
        over: &[RankId],
        value: ExprId,
        level: usize,
    ) -> ExprId {
        let (&Expr::Binary(BinaryOp::Mul, a, b), Some(last)) = (self.cascade.exprs.get(value), ranks.last())
        else {
            return value;
        };
        let is_streamed = self.streams.contains(last);
        // Bytes are multiplied in words, which both factors have to be put in.
        let in_words = self.mapping.defaults.words && [a, b].iter().all(|it| is_byte(self.cascade, *it));
        let factors = [a, b].map(|it| {
            let exprs = &self.cascade.exprs;
            let free = exprs.free(it);
            let read = match exprs.get(it) {
                Expr::Cast(DType::F32, of) => exprs.get(*of),
                other => other,
            };
            let is_across = |coords: &[ExprId]| {
                let last = coords.last();
                last.is_some_and(|&it| over.iter().any(|rank| *exprs.get(it) == Expr::Index(*rank)))
            };
            let is_read = matches!(read, Expr::Read(_, _, Kind::Real | Kind::Int));
            let across = exprs.reads(it).any(|(_, coords)| is_across(coords));
            let mut lacked = ranks.iter().filter(|it| !free.contains(it));
            // Of what is not streamed over, all is at hand, for each of the features that it lacks.
            let shared = match is_streamed {
                true => lacked.any(|it| self.streams.contains(it) || self.is_long(*it)),
                false => {
                    lacked.any(|it| self.flow.is_feature(*it))
                        && over.iter().all(|it| self.flow.is_feature(*it))
                }
            };
            let is_dear = !is_read && (is_streamed && across || self.is_costly(it));
            if !shared || !(is_streamed && is_read && across || is_dear) {
                return it;
            }
            let along = match is_streamed && free.contains(last) {
                true => Some(last),
                false if in_words => ranks.iter().rfind(|it| free.contains(it)),
                false => None,
            };
            if along.is_none() && (in_words || !is_dear) {
                return it;
            }
            let order = ranks.iter().filter(|it| Some(*it) != along).chain(over).chain(along);
            let kept: Vec<RankId> = order.copied().filter(|rank| free.contains(rank)).collect();
            self.tile(&format!("{name}.packed"), &kept, Op::Map, it, level)
        });
        self.cascade.exprs.binary(BinaryOp::Mul, factors[0], factors[1])
    }

    /// `value · e^(exponent - common)`.
    fn weighted(&mut self, exponent: ExprId, common: ExprId, value: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let down = exprs.binary(BinaryOp::Sub, exponent, common);
        let power = exprs.unary(crate::ir::expr::UnaryOp::Exp, down);
        scaled::product(exprs, power, value)
    }

    /// Those of some ranks that an expression depends on.
    pub(super) fn kept(&self, ranks: &[RankId], value: ExprId) -> Vec<RankId> {
        let free = self.cascade.exprs.free(value);
        ranks.iter().copied().filter(|it| free.contains(it)).collect()
    }

    /// Holds the value of an einsum as a tile, and reads it.
    pub(super) fn tile(
        &mut self,
        name: &str,
        ranks: &[RankId],
        op: Op,
        value: ExprId,
        level: usize,
    ) -> ExprId {
        let kind = op.kind(self.cascade.exprs.kind(value));
        let (tensor, read) = self.new_tile(name, ranks, kind);
        if op == Op::Map {
            self.held.insert(tensor, value);
        }
        let einsum = Einsum { tensor, at: left(ranks), op, value, exact: false };
        if ranks.iter().any(|it| self.streams.contains(it)) {
            self.on_demand.insert(tensor, Act::Define(einsum));
        } else {
            self.once(level, Act::Define(einsum));
        }
        read
    }

    /// A tensor that is held as a tile, and a read of it in place.
    pub(super) fn new_tile(&mut self, name: &str, ranks: &[RankId], kind: Kind) -> (TensorId, ExprId) {
        let dims = ranks.iter().map(|&rank| Dim { rank, lag: 0 }).collect();
        let tensor = self.held_as(name, dims, kind, None);
        (tensor, self.read(tensor, ranks, kind))
    }

    /// A tensor that is held as a tile.
    pub(super) fn held_as(
        &mut self,
        name: &str,
        dims: Vec<Dim>,
        kind: Kind,
        dtype: Option<DType>,
    ) -> TensorId {
        let is_taken = |fresh: &str| self.cascade.tensors.iter().any(|(_, it)| it.name == fresh);
        let mut fresh = format!("{name}~");
        let mut number = 2;
        while is_taken(&fresh) {
            fresh = format!("{name}~{number}");
            number += 1;
        }
        let tensor =
            self.cascade.tensors.push(Tensor { name: fresh, dims, kind, dtype, role: Role::Temporary });
        self.tiles.insert(tensor);
        tensor
    }

    fn read(&mut self, tensor: TensorId, ranks: &[RankId], kind: Kind) -> ExprId {
        let coords = ranks.iter().map(|&it| self.cascade.exprs.index(it)).collect();
        self.cascade.exprs.add(Expr::Read(tensor, coords, kind))
    }

    /// The part-less ranks of a tensor, in order.
    pub(super) fn ranks_of(&self, tensor: TensorId) -> Vec<RankId> {
        let dims = &self.cascade.tensors[tensor].dims;
        dims.iter().flat_map(|it| self.cascade.exprs.atoms(it.rank).to_vec()).collect()
    }

    /// Something that is done once for the rows, when so many rounds are over.
    pub(super) fn once(&mut self, level: usize, act: Act) {
        if self.between.len() <= level {
            self.between.resize_with(level + 1, Vec::new);
        }
        self.between[level].push(act);
    }

    /// The traversal of a round along some ranks.
    pub(super) fn round(&mut self, level: usize, along: &Ranks) -> &mut Round {
        if self.rounds.len() < level {
            self.rounds.resize_with(level, Vec::new);
        }
        let round = &mut self.rounds[level - 1];
        let at = round.iter().position(|it| it.along == *along).unwrap_or_else(|| {
            round.push(Round {
                along: along.clone(),
                starts: Vec::new(),
                gauges: BTreeMap::new(),
                gauge_of: BTreeMap::new(),
                weights: BTreeMap::new(),
                effects: Vec::new(),
            });
            round.len() - 1
        });
        &mut round[at]
    }

    /// Writes a tensor to memory.
    fn store(&mut self, einsum: &Einsum) {
        let tensor = einsum.tensor;
        let meaning = self.meanings[&tensor].clone();
        let is_scaled = !meaning.is_plain() && meaning.raw.is_none() && !self.flow.is_output(tensor);
        let stores = if is_scaled {
            self.hand_on(einsum, &meaning)
        } else {
            let value = self.put_together(&meaning);
            vec![self.map_to(einsum, tensor, value)]
        };
        let level = self.level[&tensor];
        for act in stores {
            let Act::Define(it) = &act else { unreachable!("what is stored is defined") };
            let along = self.streamed_of(it.tensor);
            if along.is_empty() {
                self.once(level, act);
            } else {
                self.round(level + 1, &along).effects.push(act);
            }
        }
    }

    pub(super) fn map_to(&self, einsum: &Einsum, tensor: TensorId, value: ExprId) -> Act {
        Act::Define(Einsum { tensor, at: einsum.at.clone(), op: Op::Map, value, exact: false })
    }

    /// The value that an accumulator starts with.
    pub(super) fn identity(&mut self, op: ReduceOp, kind: Kind) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        match (op, kind) {
            (ReduceOp::Any, _) => exprs.add(Expr::Bool(false)),
            (ReduceOp::All, _) => exprs.add(Expr::Bool(true)),
            (ReduceOp::Count, _) | (ReduceOp::Sum | ReduceOp::Mean, Kind::Int) => exprs.int(0),
            (ReduceOp::Prod, Kind::Int) => exprs.int(1),
            (ReduceOp::Max, Kind::Int) => exprs.int(i64::MIN),
            (ReduceOp::Min, Kind::Int) => exprs.int(i64::MAX),
            (ReduceOp::Sum | ReduceOp::Mean, _) => exprs.real(0.0),
            (ReduceOp::Prod, _) => exprs.real(1.0),
            (ReduceOp::Max, _) => exprs.real(f64::NEG_INFINITY),
            (ReduceOp::Min, _) => exprs.real(f64::INFINITY),
        }
    }
}

/// The left-hand side with these ranks.
pub(super) fn left(ranks: &[RankId]) -> Vec<At> {
    ranks.iter().map(|&it| At::Rank(it, 0)).collect()
}

/// A value is an integer of eight bits.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn is_byte(cascade: &Cascade, value: ExprId) -> bool {
    let small = |it: Option<DType>| matches!(it, Some(DType::I8 | DType::I4));
    match *cascade.exprs.get(value) {
        Expr::Cast(DType::F32, of) | Expr::Where(of, _) => is_byte(cascade, of),
        Expr::Cast(dtype, _) => small(Some(dtype)),
        Expr::Read(tensor, ..) => small(cascade.tensors[tensor].dtype),
        _ => false,
    }
}
