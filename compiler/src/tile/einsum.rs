//! One einsum: maps, reductions and scans, and the store of what comes out.

use attnc_dsl::ast::{CompareOp, DType};

use super::builder::Known;
use super::fold::Fold;
use super::loops::{Folding, Lane};
use super::{Tasks, Tiling};
use crate::ir::cascade::{At, Einsum, ExprId, Op, RankId, ReduceOp, ScanOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::nest::{Scalar, TileDim, ValueId};

impl Tiling<'_> {
    /// All points of an einsum, spread over tasks.
    pub(super) fn whole_einsum(&mut self, einsum: &Einsum) -> Tasks {
        let (ranks, serial) = (einsum.iterated(), einsum.op.along());
        let keep = match &einsum.op {
            // The last rank stays inside a task, so that it can be taken in tiles.
            Op::Map => 1,
            Op::Reduce(..) => usize::from(ranks.len() > 1),
            Op::Select(..) | Op::Place(_) => {
                let last = ranks.iter().rfind(|it| Some(**it) != serial);
                usize::from(last.is_some() && last == self.rank_of_points(einsum, &ranks).as_ref())
            }
            Op::Scan(..) | Op::Arg(..) => 0,
        };
        let spread: Vec<RankId> = ranks.iter().copied().filter(|it| Some(*it) != serial).collect();
        let spread = &spread[..spread.len().saturating_sub(keep)];
        let tasks = self.tasks(spread);
        self.einsum(einsum, spread);
        tasks
    }

    /// The points of an einsum whose coordinates along some ranks are bound already.
    pub(super) fn einsum(&mut self, einsum: &Einsum, bound: &[RankId]) {
        let open: Vec<RankId> = einsum.iterated().into_iter().filter(|it| !bound.contains(it)).collect();
        let composites = self.region.composites.clone();
        self.open_points(einsum, open);
        self.region.composites = composites;
    }

    /// The points of an einsum along some ranks. Composite ones are iterated over part by part, for tiles lie so.
    fn open_points(&mut self, einsum: &Einsum, mut open: Vec<RankId>) {
        if matches!(einsum.op, Op::Map | Op::Reduce(..)) {
            open = open.into_iter().flat_map(|it| self.in_parts(it)).collect();
        }
        let lane = self.lane(einsum, &open);
        match &einsum.op {
            Op::Map => self.for_each(&open, lane, &mut |it| {
                let known = it.value(einsum.value);
                it.store(einsum.tensor, &einsum.at, known);
            }),
            Op::Reduce(op, over) => {
                let (inner, outer) = super::stream::split(lane, over);
                self.for_each(&open, outer, &mut |it| {
                    let known = it.reduction(*op, over, einsum.value, inner);
                    it.store(einsum.tensor, &einsum.at, known);
                });
            }
            Op::Scan(op, along) => self.scan(einsum, *op, *along, &open),
            Op::Select(op, from, to) => self.select(einsum, *op, *from, *to, &open),
            Op::Place(along) => self.place(einsum, *along, &open),
            Op::Arg(op, along) => self.arg(einsum, *op, *along, &open),
        }
    }

    /// The parts of a rank that has all their combinations, which is bound with them from now on; or the rank itself.
    fn in_parts(&mut self, rank: RankId) -> Vec<RankId> {
        let parts = self.cascade.exprs.atoms(rank).to_vec();
        if parts.len() == 1 || self.cascade.is_ragged(rank) {
            return vec![rank];
        }
        self.region.composites.push(rank);
        parts
    }

    pub(super) fn reduction(
        &mut self,
        op: ReduceOp,
        over: &[RankId],
        value: ExprId,
        lane: Option<Lane>,
    ) -> Known {
        let known = self.any_point(op, over, value).or_else(|| self.sum_of_words(op, over, value));
        if let Some(known) = known.or_else(|| self.added_up(op, over, value)) {
            return known;
        }
        if self.multiplies_zeros(op, over, value) {
            return self.with_zeros(over, value, lane);
        }
        self.folded(op, over, value, lane)
    }

    fn folded(&mut self, op: ReduceOp, over: &[RankId], value: ExprId, lane: Option<Lane>) -> Known {
        let mut fold = Fold::new(self, op, value);
        let shape: Vec<TileDim> = self.rows.iter().chain(&self.lane).map(|it| it.dim).collect();
        let outer = self.lane.take();
        let inits = fold.inits(self, &shape);
        self.lane = outer;
        let accs = self.fold_over(over, lane, &inits, &mut fold);
        fold.result(self, &accs)
    }

    /// A sum of products, a factor of which is a tile that holds 0 where nothing is there.
    fn multiplies_zeros(&self, op: ReduceOp, over: &[RankId], value: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        let &Expr::Binary(BinaryOp::Mul, a, b) = exprs.get(value) else { return false };
        let has_zeros = |it: ExprId| {
            let Expr::Read(tensor, ..) = exprs.get(it) else { return false };
            self.zeroed.contains(tensor) && self.stored[tensor].mask.is_some()
        };
        op == ReduceOp::Sum
            && !over.is_empty()
            && self.widths.scalar(self.cascade, value) == Scalar::F32
            && (has_zeros(a) || has_zeros(b))
    }

    /// Such a sum with all products, which is right where it is finite: 0 times what is not would have made it NaN.
    fn with_zeros(&mut self, over: &[RankId], value: ExprId, lane: Option<Lane>) -> Known {
        let memos = self.builder.forget();
        self.takes_zeros = true;
        let all = self.folded(ReduceOp::Sum, over, value, lane).value;
        self.takes_zeros = false;
        self.builder.forget();
        self.builder.recollect(memos);
        let known = match self.all_there {
            Some(all_there) => {
                let all = self.builder.open_unless(all_there, over[0], &[all])[0];
                let sum = self.unless_finite(all, over, value, lane);
                self.builder.close_loop(&[sum])[0]
            }
            None => self.unless_finite(all, over, value, lane),
        };
        Known { value: known, present: None }
    }

    /// A sum of all products, which is taken again of those that are there unless it is finite.
    fn unless_finite(&mut self, all: ValueId, over: &[RankId], value: ExprId, lane: Option<Lane>) -> ValueId {
        let (nothing, zero) =
            (self.builder.binary(BinaryOp::Sub, all, all), self.builder.real(0.0, Scalar::F32));
        let mut finite = self.builder.compare(CompareOp::Eq, nothing, zero);
        finite = self.or_beyond(finite);
        for dim in self.builder.nest.values[finite].shape.clone() {
            finite = self.builder.reduce(ReduceOp::All, finite, dim.rank);
        }
        self.builder.open_unless(finite, over[0], &[all]);
        let some = self.folded(ReduceOp::Sum, over, value, lane).value;
        self.builder.close_loop(&[some])[0]
    }

    /// Whether a condition that is known to hold everywhere holds somewhere: where there is a point.
    fn any_point(&mut self, op: ReduceOp, over: &[RankId], value: ExprId) -> Option<Known> {
        if op != ReduceOp::Any || !self.is_holding(value) || over.iter().any(|it| self.is_part(*it)) {
            return None;
        }
        let mut all = None;
        for &rank in over {
            let (from, to) = self.span(rank);
            let some = self.builder.compare(CompareOp::Lt, from, to);
            all = self.builder.both(all, Some(some));
        }
        Some(Known { value: all?, present: None })
    }

    /// Inclusive prefix reduction: what is carried is stored at each coordinate.
    pub(super) fn scan(&mut self, einsum: &Einsum, op: ScanOp, along: RankId, open: &[RankId]) {
        let others: Vec<RankId> = open.iter().copied().filter(|it| *it != along).collect();
        let op = match op {
            ScanOp::Sum => ReduceOp::Sum,
            ScanOp::Prod => ReduceOp::Prod,
            ScanOp::Max => ReduceOp::Max,
        };
        let lane = self.lane(einsum, open);
        self.for_each(&others, lane, &mut |it| {
            let mut fold = Fold::new(it, op, einsum.value);
            let shape: Vec<TileDim> = it.lane.iter().map(|it| it.dim).collect();
            let inits = fold.inits(it, &shape);
            let accs = it.open(along, &inits);
            let nexts = fold.step(it, &accs);
            let known = fold.result(it, &nexts);
            it.store(einsum.tensor, &einsum.at, known);
            it.builder.close_loop(&nexts);
        });
    }

    /// The coordinates that a left-hand side names, in the tensor's buffer.
    pub(super) fn coordinates(&mut self, tensor: TensorId, at: &[At]) -> Vec<ValueId> {
        if self.is_tile(tensor) {
            return self.tile_coordinates(tensor);
        }
        let coordinate = |at: &At| match *at {
            At::Rank(rank, shift) => {
                let index = self.builder.indices[&rank];
                self.plus(index, shift)
            }
            At::Const(coordinate) => self.builder.int(coordinate),
        };
        at.iter().map(coordinate).collect()
    }

    /// Writes one point (or tile) of a tensor.
    pub(super) fn store(&mut self, tensor: TensorId, at: &[At], known: Known) {
        self.store_where(None, tensor, at, known);
    }

    /// Writes it only where a condition holds (`None`: everywhere).
    pub(super) fn store_where(
        &mut self,
        condition: Option<ValueId>,
        tensor: TensorId,
        at: &[At],
        known: Known,
    ) {
        let index = self.coordinates(tensor, at);
        let buffer = self.buffer(tensor);
        let dtype = self.builder.nest.buffers[buffer].dtype;
        // A tile has room for points beyond a ragged rank, memory has none.
        let exists = if self.is_tile(tensor) { None } else { self.exists() };
        let guard = self.builder.both(condition, exists);
        // Rounded here and not by the store, so that it is rounded once.
        let mut value = self.cast(dtype, known.value, Scalar::of(dtype));
        let is_masked = self.always_masked.contains(&tensor) || self.is_read_after_strips(tensor);
        if self.is_tile(tensor) && known.present.is_none() && !is_masked {
            self.forget_mask(tensor);
        }
        if self.read.contains(&tensor) && (known.present.is_some() || self.stored[&tensor].mask.is_some()) {
            let mask = self.mask(tensor);
            let there = known.present.unwrap_or_else(|| self.builder.bool(true));
            if self.is_tile(tensor) && dtype == DType::F32 {
                let zero = self.builder.real(0.0, Scalar::F32);
                value = known.present.map_or(value, |there| self.builder.select(there, value, zero));
                self.zeroed.insert(tensor);
            }
            let contiguous = self.is_contiguous(mask, &index);
            let within = self.within_tile(&index, guard);
            self.builder.store(mask, index.clone(), there, within, contiguous);
        }
        if let Some(there) = known.present
            && self.is_output(tensor)
        {
            let absent = self.absent(tensor, Scalar::of(dtype));
            value = self.builder.select(there, value, absent);
        }
        let contiguous = self.is_contiguous(buffer, &index);
        let within = self.within_tile(&index, guard);
        self.builder.store(buffer, index, value, within, contiguous);
    }
}
