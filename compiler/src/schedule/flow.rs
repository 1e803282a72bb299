//! Who reads what in a cascade, and which reads are in place.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::Kind;

use crate::ir::cascade::{
    At, Cascade, Einsum, ExprId, Extent, Op, RankId, ReduceOp, Role, SelectOp, Step, Tensor, TensorId,
};
use crate::ir::expr::Expr;

/// A set of part-less ranks.
pub(crate) type Ranks = BTreeSet<RankId>;

/// So many times what it is compared with has to be less for a tensor to have a point for every pair of tokens.
const LARGE: f64 = 4.0;

/// What is known of the tensors of a cascade before anything is decided.
pub(super) struct Flow<'a> {
    pub(super) cascade: &'a Cascade,
    /// The equations that may be evaluated tile by tile.
    pub(super) einsums: BTreeMap<TensorId, &'a Einsum>,
    /// Tensors that outputs depend on.
    pub(super) live: BTreeSet<TensorId>,
    /// How many reductions lie one behind the other on the way from the inputs to each of these.
    pub(super) generations: BTreeMap<TensorId, u32>,
    /// Ranks that are the innermost of every real input that has them: they are taken whole.
    features: Ranks,
    /// The part-less ranks of every tensor.
    ranks: Vec<Ranks>,
    /// The tensors that the value of every einsum reads.
    reads: BTreeMap<ExprId, BTreeSet<TensorId>>,
    /// The spaces of all einsums that may be evaluated tile by tile and that outputs depend on.
    pub(super) live_spaces: Vec<Ranks>,
    /// Likely extents of ranks.
    sizes: Vec<f64>,
    /// The points that the largest input or output is likely to have.
    largest: f64,
    /// What must lie in memory: it is read elsewhere than in place, or by what has no tiles.
    pub(super) stored: BTreeSet<TensorId>,
    /// Sums of powers whose terms are taken all at once, tile by tile of the result, rather than traversed.
    pub(super) at_once: BTreeSet<TensorId>,
}

impl<'a> Flow<'a> {
    /// Tensors that are walked for are in memory for all others.
    pub(super) fn of(cascade: &'a Cascade, walked: &BTreeSet<TensorId>) -> Flow<'a> {
        let mut flow = Flow {
            cascade,
            einsums: BTreeMap::new(),
            generations: generations(cascade),
            live: live(cascade),
            features: features(cascade),
            ranks: cascade
                .tensors
                .iter()
                .map(|(_, it)| atoms(cascade, it.dims.iter().map(|it| it.rank)))
                .collect(),
            reads: cascade.einsums().map(|it| (it.value, read(cascade, it))).collect(),
            live_spaces: Vec::new(),
            sizes: crate::rewrite::sizes_of_plan(cascade),
            largest: 1.0,
            stored: BTreeSet::new(),
            at_once: BTreeSet::new(),
        };
        flow.largest =
            cascade.inputs().chain(cascade.outputs()).map(|it| flow.points(it)).fold(1.0, f64::max);
        for step in &cascade.steps {
            match step {
                Step::Einsum(einsum) if flow.has_tiles(einsum) && !walked.contains(&einsum.tensor) => {
                    flow.einsums.insert(einsum.tensor, einsum);
                }
                Step::Einsum(_) | Step::Recurrence(_) => {}
            }
        }
        let live = flow.einsums.values().filter(|it| flow.live.contains(&it.tensor));
        flow.live_spaces = live.map(|it| flow.space(it)).collect();
        for einsum in cascade.einsums().filter(|it| flow.live.contains(&it.tensor)) {
            if flow.sums_powers(einsum) && flow.points(einsum.tensor) >= LARGE * flow.largest {
                flow.at_once.insert(einsum.tensor);
            }
            let tiled = flow.einsums.contains_key(&einsum.tensor);
            if matches!(einsum.op, Op::Select(..) | Op::Arg(..)) {
                // What is selected is few, and mostly read at once.
                flow.stored.insert(einsum.tensor);
            }
            // A law made it so that nobody computes it again.
            if cascade.tensors[einsum.tensor].role == Role::Once {
                flow.stored.insert(einsum.tensor);
            }
            for (tensor, coords) in cascade.exprs.reads(einsum.value) {
                if !tiled || !flow.in_place(tensor, coords) || !flow.einsums.contains_key(&tensor) {
                    flow.stored.insert(tensor);
                }
            }
        }
        flow
    }

    /// A map, a reduction or a selection of a few whose left-hand side names its ranks and nothing else.
    fn has_tiles(&self, einsum: &Einsum) -> bool {
        let dims = &self.cascade.tensors[einsum.tensor].dims;
        let plain = einsum.at.iter().zip(dims).all(|(at, dim)| *at == At::Rank(dim.rank, 0) && dim.lag == 0);
        let whole = |rank| self.cascade.exprs.atoms(rank).iter().any(|it| self.is_feature(*it));
        let by_points = match einsum.op {
            Op::Map | Op::Reduce(..) => true,
            Op::Select(op, from, to) => {
                let (it, all) = (&self.cascade.ranks[to], &self.cascade.ranks[from].extent);
                // Whole fibers are sorted otherwise, unless they are short.
                let is_short = |points: i64| points <= FEW || *all != Extent::Fixed(points);
                let few = match it.extent {
                    Extent::Fixed(points) => op == SelectOp::TopK || is_short(points),
                    Extent::Carried | Extent::Derived(_) => op == SelectOp::TopK,
                };
                few && it.parts.is_empty() && !whole(from)
            }
            Op::Arg(_, from) => !whole(from),
            Op::Scan(..) | Op::Place(_) => false,
        };
        plain && by_points && !einsum.exact
    }

    /// Each coordinate is the index along the dimension's own rank.
    pub(super) fn in_place(&self, tensor: TensorId, coords: &[ExprId]) -> bool {
        let dims = &self.cascade.tensors[tensor].dims;
        let exprs = &self.cascade.exprs;
        coords
            .iter()
            .zip(dims)
            .all(|(&coord, dim)| *exprs.get(coord) == Expr::Index(dim.rank) && dim.lag == 0)
    }

    /// The part-less ranks of a tensor.
    pub(super) fn ranks(&self, tensor: TensorId) -> &Ranks {
        &self.ranks[tensor.idx()]
    }

    /// The part-less ranks that an einsum iterates over.
    pub(super) fn space(&self, einsum: &Einsum) -> Ranks {
        atoms(self.cascade, einsum.iterated().into_iter().chain(einsum.op.reduced().iter().copied()))
    }

    /// The part-less ranks that an einsum reduces.
    pub(super) fn reduced(&self, einsum: &Einsum) -> Ranks {
        atoms(self.cascade, einsum.op.reduced().iter().copied())
    }

    /// What a reduction traverses that is worth it: what is not taken whole, if any of that is long or has no known extent.
    pub(super) fn long(&self, einsum: &Einsum) -> Ranks {
        if !matches!(einsum.op, Op::Reduce(..)) {
            return Ranks::new();
        }
        let over = self.no_features(self.reduced(einsum));
        if over.iter().all(|it| has_at_most(self.cascade, *it, SHORT)) { Ranks::new() } else { over }
    }

    /// What of some ranks a sum traverses in tiles of a tensor that changes along them: what is not taken whole, if any of
    /// that has more than a few coordinates, or is taken in tiles of that tensor anyway.
    pub(super) fn tiled(&self, tensor: TensorId, ranks: impl IntoIterator<Item = RankId>) -> Ranks {
        let over = self.no_features(ranks);
        let whole =
            over.iter().all(|it| has_at_most(self.cascade, *it, FEW)) && !self.comes_in_tiles(tensor, &over);
        if whole { Ranks::new() } else { over }
    }

    /// Something other than a sum of reals reduces the tensor, what it is made of or what is made of it along these ranks.
    fn comes_in_tiles(&self, tensor: TensorId, along: &Ranks) -> bool {
        let (mut todo, mut seen) = (vec![tensor], BTreeSet::from([tensor]));
        while let Some(tensor) = todo.pop() {
            let made_of = self.einsums.get(&tensor).map(|it| self.read(it)).into_iter().flatten();
            let mut others: Vec<TensorId> = made_of.copied().collect();
            let reads = |it: &&&Einsum| self.live.contains(&it.tensor) && self.read(it).contains(&tensor);
            for einsum in self.einsums.values().filter(reads) {
                let reduces = !self.reduced(einsum).is_disjoint(along);
                if reduces && !self.is_plain_sum(einsum) {
                    return true;
                }
                others.extend((!reduces).then_some(einsum.tensor));
            }
            let is_along =
                |it: &TensorId| !self.ranks(*it).is_disjoint(along) && self.einsums.contains_key(it);
            todo.extend(others.into_iter().filter(|it| is_along(it) && seen.insert(*it)));
        }
        false
    }

    /// It adds up reals, and no powers.
    fn is_plain_sum(&self, einsum: &Einsum) -> bool {
        let sums = matches!(einsum.op, Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _));
        sums && self.is_real(einsum.value) && !self.sums_powers(einsum)
    }

    /// Those of some ranks that are not taken whole.
    pub(super) fn no_features(&self, ranks: impl IntoIterator<Item = RankId>) -> Ranks {
        ranks.into_iter().filter(|it| !self.is_feature(*it)).collect()
    }

    /// The tensors that an einsum reads, each once.
    pub(super) fn read(&self, einsum: &Einsum) -> &BTreeSet<TensorId> {
        &self.reads[&einsum.value]
    }

    /// The exponents whose powers enter an expression.
    pub(super) fn exponents(&self, value: ExprId) -> Vec<ExprId> {
        super::scaled::exponents(&self.cascade.exprs, value)
    }

    /// A rank that is not worth a traversal of its own.
    pub(super) fn is_feature(&self, rank: RankId) -> bool {
        self.features.contains(&rank)
    }

    /// How many points a tensor is likely to have.
    pub(super) fn points(&self, tensor: TensorId) -> f64 {
        self.size(self.ranks(tensor))
    }

    /// How many points some ranks are likely to have together.
    pub(super) fn size(&self, ranks: &Ranks) -> f64 {
        ranks.iter().map(|it| self.sizes[it.idx()]).product()
    }

    /// A rank of any extent that is the innermost of no input.
    pub(super) fn is_outer(&self, rank: RankId) -> bool {
        let is_inner = |it: TensorId| {
            let last = self.cascade.tensors[it].dims.last();
            last.is_some_and(|it| self.cascade.exprs.atoms(it.rank).contains(&rank))
        };
        !matches!(self.cascade.ranks[rank].extent, Extent::Fixed(_)) && !self.cascade.inputs().any(is_inner)
    }

    /// Sums powers.
    pub(super) fn sums_powers(&self, einsum: &Einsum) -> bool {
        let sums = matches!(einsum.op, Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _));
        sums && !self.exponents(einsum.value).is_empty()
    }

    pub(super) fn is_real(&self, value: ExprId) -> bool {
        self.cascade.exprs.kind(value) == Kind::Real
    }

    pub(super) fn is_output(&self, tensor: TensorId) -> bool {
        self.cascade.tensors[tensor].role == Role::Output
    }
}

/// The part-less ranks that these stand for.
fn atoms(cascade: &Cascade, ranks: impl Iterator<Item = RankId>) -> Ranks {
    ranks.flat_map(|it| cascade.exprs.atoms(it).iter().copied()).collect()
}

/// The tensors that an einsum reads.
fn read(cascade: &Cascade, einsum: &Einsum) -> BTreeSet<TensorId> {
    cascade.exprs.reads(einsum.value).map(|(tensor, _)| tensor).collect()
}

/// For each tensor, how many reductions lie one behind the other on the way from the inputs.
fn generations(cascade: &Cascade) -> BTreeMap<TensorId, u32> {
    let mut generations: BTreeMap<TensorId, u32> = BTreeMap::new();
    for einsum in cascade.einsums() {
        let reads = cascade.exprs.reads(einsum.value).filter_map(|(it, _)| generations.get(&it));
        let own = reads.max().copied().unwrap_or(0) + u32::from(matches!(einsum.op, Op::Reduce(..)));
        generations.insert(einsum.tensor, own);
    }
    generations
}

/// What has at most so many coordinates is taken whole.
const SHORT: i64 = 128;
/// So many are taken whole even where each takes a reduction.
const FEW: i64 = 16;

fn has_at_most(cascade: &Cascade, rank: RankId, most: i64) -> bool {
    matches!(cascade.ranks[rank].extent, Extent::Fixed(extent) if extent <= most)
}

/// The ranks that are the last of every real input with more than one dimension that has them.
pub(crate) fn features(cascade: &Cascade) -> Ranks {
    let (mut last, mut others) = (Ranks::new(), Ranks::new());
    for input in cascade.inputs() {
        let Tensor { dims, kind, .. } = &cascade.tensors[input];
        let Some((innermost, outer)) = dims.split_last() else { continue };
        let atoms = |rank: RankId| cascade.exprs.atoms(rank).to_vec();
        others.extend(outer.iter().flat_map(|it| atoms(it.rank)));
        if *kind == Kind::Real && !outer.is_empty() {
            last.extend(atoms(innermost.rank));
        }
    }
    last.difference(&others).copied().collect()
}

/// The tensors that outputs depend on, outputs included.
pub(crate) fn live(cascade: &Cascade) -> BTreeSet<TensorId> {
    let mut live: BTreeSet<TensorId> = cascade.outputs().collect();
    let einsums: Vec<&Einsum> = cascade.einsums().collect();
    loop {
        let before = live.len();
        for einsum in einsums.iter().rev() {
            if live.contains(&einsum.tensor) {
                live.extend(cascade.exprs.reads(einsum.value).map(|(tensor, _)| tensor));
            }
        }
        if live.len() == before {
            return live;
        }
    }
}

impl Flow<'_> {
    /// The part-less ranks that an einsum reduces, in order.
    pub(super) fn reduced_in_order(&self, einsum: &Einsum) -> Vec<RankId> {
        einsum.op.reduced().iter().flat_map(|&it| self.cascade.exprs.atoms(it).to_vec()).collect()
    }
}
