//! The meaning of a cascade, in f64: every point of every tensor, one after the other.
//!
//! This is the semantics of the language, so it is naive on purpose: the only thing done for speed is
//! that an expression is computed when the innermost coordinate that it depends on moves.

use indexmap::IndexMap;

use super::bind::bind;
use super::extended::Extended;
use super::fold::Fold;
use super::machine::{Machine, Point};
use super::number::Number;
use super::walk::Walk;
use super::{Call, CallError, scalar};
use crate::ir::array::{Array, Value};
use crate::ir::cascade::{ArgOp, At, Cascade, Einsum, Op, RankId, Recurrence, SelectOp, Step};

/// The outputs of a cascade, by name.
pub fn run(cascade: &Cascade, call: &Call) -> Result<IndexMap<String, Array>, CallError> {
    run_in::<f64>(cascade, call)
}

/// The outputs of a cascade, as they are where nothing on the way overflows: the same as those of [`run`] unless numbers
/// leave the range of f64 there.
pub fn run_extended(cascade: &Cascade, call: &Call) -> Result<IndexMap<String, Array>, CallError> {
    run_in::<Extended>(cascade, call)
}

fn run_in<R: Number>(cascade: &Cascade, call: &Call) -> Result<IndexMap<String, Array>, CallError> {
    let mut machine = bind::<R>(cascade, call)?;
    for einsum in cascade.einsums() {
        machine.allocate(einsum.tensor)?;
    }
    for step in &cascade.steps {
        match step {
            Step::Einsum(einsum) => Plan::new(&machine, einsum, None).run(&mut machine, None),
            Step::Recurrence(recurrence) => run_recurrence(&mut machine, recurrence),
        }
    }
    check_assumes(&mut machine)?;
    let outputs = cascade.outputs().map(|id| {
        let shape = machine.tensors[id.idx()].shape.iter().map(|&extent| extent as usize).collect();
        (cascade.tensors[id].name.clone(), Array { shape, data: machine.data(id) })
    });
    Ok(outputs.collect())
}

fn run_recurrence<R: Number>(machine: &mut Machine<'_, R>, recurrence: &Recurrence) {
    for einsum in &recurrence.bases {
        Plan::new(machine, einsum, None).run(machine, None);
    }
    let rank = recurrence.rank;
    let body: Vec<Plan<'_>> = recurrence.body.iter().map(|it| Plan::new(machine, it, Some(rank))).collect();
    for coord in 0..machine.extent(rank) {
        for plan in &body {
            plan.run(machine, Some(coord));
        }
    }
}

/// Ranges that the author promised, at every point at which they can be told.
fn check_assumes<R: Number>(machine: &mut Machine<'_, R>) -> Result<(), CallError> {
    for assume in &machine.cascade.assumes {
        let walk = Walk::new(machine, &assume.ranks, assume.condition);
        let mut holds = true;
        walk.visit(machine, 0..walk.ranks.len(), &mut |machine| {
            holds &= machine.value(assume.condition) != Some(Value::Bool(false));
        });
        if !holds {
            return Err(CallError::Assume(assume.text.clone()));
        }
    }
    Ok(())
}

/// An einsum with the order of its evaluation.
struct Plan<'a> {
    einsum: &'a Einsum,
    /// The ranks of the left-hand side, the recurrence's first; then those that the operation traverses.
    walk: Walk,
    n_outer: usize,
}

impl<'a> Plan<'a> {
    fn new<R: Number>(machine: &Machine<'_, R>, einsum: &'a Einsum, recurrence: Option<RankId>) -> Plan<'a> {
        let (filled, traversed) = match &einsum.op {
            Op::Map => (None, vec![]),
            Op::Reduce(_, ranks) => (None, ranks.clone()),
            Op::Arg(_, rank) => (None, vec![*rank]),
            Op::Scan(_, rank) | Op::Place(rank) => (Some(*rank), vec![*rank]),
            Op::Select(_, from, to) => (Some(*to), vec![*from]),
        };
        let others = einsum.iterated().into_iter().filter(|&it| Some(it) != recurrence && Some(it) != filled);
        let mut ranks: Vec<RankId> = recurrence.into_iter().chain(others).collect();
        let n_outer = ranks.len();
        ranks.extend(traversed);
        let walk = Walk::new(machine, &ranks, einsum.value);
        Plan { einsum, walk, n_outer }
    }

    /// Defines all points, or those at one coordinate of the recurrence.
    fn run<R: Number>(&self, machine: &mut Machine<'_, R>, coord: Option<i64>) {
        let mut outer = |machine: &mut Machine<'_, R>| self.run_fiber(machine);
        match coord {
            None => self.walk.visit(machine, 0..self.n_outer, &mut outer),
            Some(coord) => {
                self.walk.start(machine);
                self.walk.enter(machine, 0, coord);
                self.walk.visit(machine, 1..self.n_outer, &mut outer);
            }
        }
    }

    /// Traverses what the operation traverses, for one point of the other ranks.
    fn run_fiber<R: Number>(&self, machine: &mut Machine<'_, R>) {
        let kind = machine.cascade.exprs.kind(self.einsum.value);
        match &self.einsum.op {
            Op::Map => self.store(machine, machine.value(self.einsum.value)),
            Op::Reduce(op, _) => {
                let mut fold = Fold::new(*op, kind);
                self.traverse(machine, &mut |_, point| point.into_iter().for_each(|it| fold.add(it)));
                self.store(machine, fold.result());
            }
            Op::Scan(op, _) => {
                let mut fold = Fold::of_scan(*op, kind);
                self.traverse(machine, &mut |machine, point| {
                    point.into_iter().for_each(|it| fold.add(it));
                    self.store(machine, fold.result());
                });
            }
            Op::Arg(op, rank) => {
                let order = match op {
                    ArgOp::Max => SelectOp::TopK,
                    ArgOp::Min => SelectOp::ArgSort,
                };
                let first = self.sorted(machine, order, *rank).first().copied();
                self.store(machine, first.map(Value::Int));
            }
            Op::Select(op, from, to) => {
                let sorted = self.sorted(machine, *op, *from);
                for (place, &index) in (0..machine.extent(*to)).zip(&sorted) {
                    machine.move_to(*to, place);
                    self.store(machine, Some(Value::Int(index)));
                }
            }
            Op::Place(rank) => {
                let sorted = self.sorted(machine, SelectOp::TopK, *rank);
                for (place, &index) in (0..).zip(&sorted) {
                    machine.move_to(*rank, index);
                    self.store(machine, Some(Value::Int(place)));
                }
            }
        }
    }

    /// Visits the points of a fiber with the value there.
    fn traverse<R: Number>(
        &self,
        machine: &mut Machine<'_, R>,
        visitor: &mut dyn FnMut(&mut Machine<'_, R>, Point<R>),
    ) {
        self.walk.visit(machine, self.n_outer..self.walk.ranks.len(), &mut |machine| {
            visitor(machine, machine.value(self.einsum.value));
        });
    }

    /// The coordinates of a fiber's present points, in order of their values; equals by coordinate.
    fn sorted<R: Number>(&self, machine: &mut Machine<'_, R>, op: SelectOp, rank: RankId) -> Vec<i64> {
        let mut points = Vec::new();
        self.traverse(machine, &mut |machine, point| {
            points.extend(point.map(|value| (machine.coords[rank.idx()], value)));
        });
        points.sort_by(|(_, a), (_, b)| match op {
            SelectOp::TopK => scalar::order(*b, *a),
            SelectOp::ArgSort => scalar::order(*a, *b),
        });
        points.into_iter().map(|(coord, _)| coord).collect()
    }

    /// Defines the point at hand.
    fn store<R: Number>(&self, machine: &mut Machine<'_, R>, point: Point<R>) {
        let id = self.einsum.tensor;
        let dtype = machine.cascade.tensors[id].dtype;
        let coords = self.einsum.at.iter().map(|at| match at {
            At::Rank(rank, shift) => machine.coords[rank.idx()] + shift,
            At::Const(coord) => *coord,
        });
        let shape = &machine.tensors[id.idx()].shape;
        let at = coords.zip(shape).fold(0, |at, (coord, extent)| at * extent + coord);
        let stored = point.map(|value| dtype.map_or(value, |dtype| scalar::cast(dtype, value)));
        machine.tensors[id.idx()].points[at as usize] = stored;
    }
}
