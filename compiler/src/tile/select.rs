//! Selections as plain loops: the next point in an order is found by walking the fiber once more, or, where all are put in order,
//! where each point goes is how many come before it, which is counted for several points at a time.
//!
//! In the descending order of `topk` and `place`, a larger value comes first, NaN after every number,
//! and of equal values the smaller index; `argsort` is ascending with NaN first.

use attnc_dsl::ast::CompareOp;

use super::Tiling;
use super::builder::Known;
use crate::ir::cascade::{ArgOp, Einsum, Op, RankId, SelectOp, TensorId};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{self, Block, Scalar, TileDim, ValueId};

/// Which value comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn of_list(op: SelectOp) -> Order {
        match op {
            SelectOp::TopK => Order::Descending,
            SelectOp::ArgSort => Order::Ascending,
        }
    }

    fn of_point(op: ArgOp) -> Order {
        match op {
            ArgOp::Max => Order::Descending,
            ArgOp::Min => Order::Ascending,
        }
    }
}

/// A point of a fiber: where, and what is compared.
#[derive(Debug, Clone, Copy)]
struct Point {
    index: ValueId,
    value: ValueId,
}

/// The best points so far, in order.
struct List {
    /// The tile of what is compared.
    values: TensorId,
    /// The tile of where it was; −1 beyond the last.
    indices: TensorId,
    /// The rank of the list; without one it is a single point.
    to: Option<RankId>,
    order: Order,
}

impl Tiling<'_> {
    /// The indices of the first, second, … points in order.
    pub(super) fn select(
        &mut self,
        einsum: &Einsum,
        op: SelectOp,
        from: RankId,
        to: RankId,
        open: &[RankId],
    ) {
        let order = Order::of_list(op);
        let others: Vec<RankId> = open.iter().copied().filter(|it| *it != to).collect();
        // A composite rank would be bound to places as its parts, by division.
        if self.extent(from) == self.extent(to) && self.cascade.exprs.atoms(to).len() == 1 {
            return self.sort(einsum, order, (from, to), &others);
        }
        self.for_each(&others, None, &mut |it| {
            let none = it.no_point(einsum);
            let no = it.builder.bool(false);
            let before = it.open(to, &[none.index, none.value, no]);
            let last = Point { index: before[0], value: before[1] };
            let (next, found) = it.first(einsum, from, order, Some((last, before[2])));
            it.store(einsum.tensor, &einsum.at, Known { value: next.index, present: Some(found) });
            let index = it.builder.select(found, next.index, last.index);
            let value = it.builder.select(found, next.value, last.value);
            let started = it.builder.or(before[2], found);
            it.builder.close_loop(&[index, value, started]);
        });
    }

    /// The index of the largest or smallest point.
    pub(super) fn arg(&mut self, einsum: &Einsum, op: ArgOp, along: RankId, open: &[RankId]) {
        let order = Order::of_point(op);
        self.for_each(open, None, &mut |it| {
            let (point, found) = it.first(einsum, along, order, None);
            it.store(einsum.tensor, &einsum.at, Known { value: point.index, present: Some(found) });
        });
    }

    /// Puts the points of the box in their places among the best so far.
    pub(super) fn keep_best(&mut self, einsum: &Einsum, open: &[RankId]) {
        let (from, to, order) = match einsum.op {
            Op::Select(op, from, to) => (from, Some(to), Order::of_list(op)),
            Op::Arg(op, from) => (from, None, Order::of_point(op)),
            Op::Map | Op::Reduce(..) | Op::Scan(..) | Op::Place(_) => {
                unreachable!("they keep no list of the best")
            }
        };
        let rows: Vec<RankId> = open.iter().copied().filter(|it| Some(*it) != to).collect();
        let over = self.unbound(self.cascade.exprs.atoms(from).iter().copied());
        let list = List { values: einsum.tensor, indices: self.plan.indices[&einsum.tensor], to, order };
        self.for_each(&rows, None, &mut |it| {
            it.for_each(&over, None, &mut |it| {
                let (known, index, exists) = (it.value(einsum.value), it.index(from), it.exists());
                let there = it.builder.both(known.present, index.present);
                let there = it.builder.both(there, exists);
                it.keep(&list, Point { index: index.value, value: known.value }, there);
            });
        });
    }

    /// Puts a point in its place in a list, where it is present and comes before the last.
    fn keep(&mut self, list: &List, point: Point, there: Option<ValueId>) {
        let floor = self.pin_tiles();
        let mut takes = there;
        if let Some(to) = list.to {
            let (length, zero) = (self.extent(to), self.builder.int(0));
            let last = self.plus(length, -1);
            let some = self.builder.compare(CompareOp::Gt, length, zero);
            self.builder.bind(to, last);
            self.builder.bind_offset(to, last);
            takes = self.builder.both(takes, Some(some));
        }
        let before = self.goes_before(list, point, takes).0;
        let takes = self.builder.both(takes, Some(before)).expect("there is a condition");
        self.builder.open_branch();
        let inner = self.pin_tiles();
        match list.to {
            Some(to) => {
                let carried = self.open(to, &[point.index, point.value]);
                let innermost = self.pin_tiles();
                let moved = Point { index: carried[0], value: carried[1] };
                let zero = self.builder.int(0);
                let some = self.builder.compare(CompareOp::Ge, moved.index, zero);
                let (before, old) = self.goes_before(list, moved, None);
                let before = self.builder.and(some, before);
                let index = self.builder.select(before, moved.index, old.index);
                let value = self.builder.select(before, moved.value, old.value);
                self.put(list, Point { index, value });
                let index = self.builder.select(before, old.index, moved.index);
                let value = self.builder.select(before, old.value, moved.value);
                self.builder.unpin(innermost);
                self.builder.close_loop(&[index, value]);
            }
            None => self.put(list, point),
        }
        self.builder.unpin(inner);
        let then = self.builder.close_branch();
        self.builder.branch(takes, then, Block::default());
        self.builder.unpin(floor);
    }

    /// Whether a point comes before what a list has at the position that is bound, and that.
    fn goes_before(&mut self, list: &List, point: Point, guard: Option<ValueId>) -> (ValueId, Point) {
        let at = self.tile_coordinates(list.indices);
        let index = self.load(list.indices, at, guard).value;
        let at = self.tile_coordinates(list.values);
        let value = self.load(list.values, at, guard).value;
        let old = Point { index, value };
        let zero = self.builder.int(0);
        let none = self.builder.compare(CompareOp::Lt, index, zero);
        let before = self.comes_before(point, old, list.order);
        (self.builder.or(none, before), old)
    }

    /// Writes a point to a list at the position that is bound.
    fn put(&mut self, list: &List, point: Point) {
        for (tensor, value) in [(list.indices, point.index), (list.values, point.value)] {
            let at = self.tile_coordinates(tensor);
            let buffer = self.buffer(tensor);
            self.builder.store(buffer, at, value, None, false);
        }
    }

    /// Writes the index of each point where it goes; what is not written then is behind the last.
    fn sort(&mut self, einsum: &Einsum, order: Order, (from, to): (RankId, RankId), others: &[RankId]) {
        self.for_each(&[others, &[to]].concat(), None, &mut |it| {
            let (value, present) = (it.builder.int(0), Some(it.builder.bool(false)));
            it.store(einsum.tensor, &einsum.at, Known { value, present });
        });
        self.counted(einsum, (from, order), &[others, &[from]].concat(), &mut |it, own, count| {
            let index = it.builder.indices[&from];
            it.bind(to, count);
            it.store_where(own.present, einsum.tensor, &einsum.at, Known { value: index, present: None });
        });
    }

    /// How many present points come before each.
    pub(super) fn place(&mut self, einsum: &Einsum, along: RankId, open: &[RankId]) {
        self.counted(einsum, (along, Order::Descending), open, &mut |it, own, count| {
            it.store(einsum.tensor, &einsum.at, Known { value: count, present: own.present });
        });
    }

    /// Counts for each point how many come before it.
    fn counted(
        &mut self,
        einsum: &Einsum,
        (along, order): (RankId, Order),
        open: &[RankId],
        then: &mut dyn FnMut(&mut Self, Known, ValueId),
    ) {
        let lane = self.lane_of_points(einsum, open);
        self.for_each(open, lane, &mut |it| {
            let own = it.value(einsum.value);
            let own_point = Point { index: it.builder.indices[&along], value: own.value };
            let shape: Vec<TileDim> = it.lane.iter().map(|it| it.dim).collect();
            let zero = it.builder.filled(nest::Op::Int(0), Scalar::I64, &shape);
            // Inside, the index along the rank means another point.
            let memos = it.builder.forget();
            let lanes = it.lane;
            it.lane = lanes.filter(|it| it.dim.rank != along);
            let count = it.open(along, &[zero]);
            let other = it.value(einsum.value);
            let other_point = Point { index: it.builder.indices[&along], value: other.value };
            let earlier = it.comes_before(other_point, own_point, order);
            let counts = other.present.map_or(earlier, |there| it.builder.and(earlier, there));
            let one = it.builder.convert(counts, Scalar::I64);
            let next = it.builder.binary(BinaryOp::Add, count[0], one);
            let count = it.builder.close_loop(&[next]);
            it.lane = lanes;
            it.builder.recollect(memos);
            then(it, own, count[0]);
        });
    }

    /// A point that is never looked at.
    fn no_point(&mut self, einsum: &Einsum) -> Point {
        let index = self.builder.int(0);
        let value = match self.widths.scalar(self.cascade, einsum.value) {
            Scalar::I64 | Scalar::I32 => index,
            scalar @ (Scalar::F64 | Scalar::F32) => self.builder.real(0.0, scalar),
            Scalar::Bool => self.builder.bool(false),
        };
        Point { index, value }
    }

    /// The first point of a fiber in order, of those that come after another one if that has been found.
    fn first(
        &mut self,
        einsum: &Einsum,
        along: RankId,
        order: Order,
        after: Option<(Point, ValueId)>,
    ) -> (Point, ValueId) {
        let none = self.no_point(einsum);
        let no = self.builder.bool(false);
        let best = self.open(along, &[none.index, none.value, no]);
        let known = self.value(einsum.value);
        let point = Point { index: self.builder.indices[&along], value: known.value };
        // Indices ascend, so of equal values the first stays.
        let better = self.value_before(point.value, best[1], order);
        let unbeaten = self.builder.not(best[2]);
        let mut take = self.builder.or(better, unbeaten);
        take = known.present.map_or(take, |there| self.builder.and(take, there));
        if let Some((last, started)) = after {
            let later = self.comes_before(last, point, order);
            let fresh = self.builder.not(started);
            let eligible = self.builder.or(later, fresh);
            take = self.builder.and(take, eligible);
        }
        let index = self.builder.select(take, point.index, best[0]);
        let value = self.builder.select(take, point.value, best[1]);
        let found = self.builder.or(best[2], take);
        let best = self.builder.close_loop(&[index, value, found]);
        (Point { index: best[0], value: best[1] }, best[2])
    }

    /// One point comes before another in order.
    fn comes_before(&mut self, a: Point, b: Point, order: Order) -> ValueId {
        let strictly = self.value_before(a.value, b.value, order);
        let behind = self.value_before(b.value, a.value, order);
        let tie = self.builder.not(behind);
        let smaller = self.builder.compare(CompareOp::Lt, a.index, b.index);
        let by_index = self.builder.and(tie, smaller);
        self.builder.or(strictly, by_index)
    }

    /// One value comes strictly before another in order; NaN is below every number.
    fn value_before(&mut self, a: ValueId, b: ValueId, order: Order) -> ValueId {
        let (low, high) = if order == Order::Descending { (b, a) } else { (a, b) };
        let less = self.builder.compare(CompareOp::Lt, low, high);
        if self.builder.scalar(a) == Scalar::I64 {
            return less;
        }
        let (low_nan, high_nan) =
            (self.builder.unary(UnaryOp::IsNan, low), self.builder.unary(UnaryOp::IsNan, high));
        let high_number = self.builder.not(high_nan);
        let by_nan = self.builder.and(low_nan, high_number);
        self.builder.or(less, by_nan)
    }
}
