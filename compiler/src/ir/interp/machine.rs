//! The state of an interpretation: extents, parameters, tensors, and the expressions of one point.

use super::number::Number;
use super::{CallError, scalar};
use crate::ir::array::{Data, Value};
use crate::ir::cascade::{Cascade, ExprId, RankId, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// A value, or its absence.
pub(super) type Point<R = f64> = Option<Value<R>>;

/// Everything that the value of an expression depends on.
pub(super) struct Machine<'a, R = f64> {
    pub(super) cascade: &'a Cascade,
    /// By rank.
    pub(super) extents: Vec<i64>,
    /// By parameter.
    pub(super) params: Vec<Point<R>>,
    /// By tensor.
    pub(super) tensors: Vec<Points<R>>,
    /// The coordinate at hand, by rank.
    pub(super) coords: Vec<i64>,
    /// The values at the coordinates at hand, by expression.
    values: Vec<Point<R>>,
}

/// The points of a tensor, in C order.
pub(super) struct Points<R = f64> {
    pub(super) shape: Vec<i64>,
    pub(super) points: Vec<Point<R>>,
}

impl<'a, R: Number> Machine<'a, R> {
    pub(super) fn new(cascade: &'a Cascade) -> Machine<'a, R> {
        let n_ranks = cascade.ranks.len();
        Machine {
            cascade,
            extents: vec![0; n_ranks],
            params: vec![None; cascade.params.len()],
            tensors: cascade
                .tensors
                .ids()
                .map(|_| Points { shape: Vec::new(), points: Vec::new() })
                .collect(),
            coords: vec![0; n_ranks],
            values: vec![None; cascade.exprs.iter().count()],
        }
    }

    pub(super) fn extent(&self, rank: RankId) -> i64 {
        self.extents[rank.idx()]
    }

    /// Moves to a coordinate along a rank, and so along its parts.
    pub(super) fn move_to(&mut self, rank: RankId, coord: i64) {
        self.coords[rank.idx()] = coord;
        let cascade = self.cascade;
        let mut rest = coord;
        for (place, &part) in cascade.ranks[rank].parts.iter().enumerate().rev() {
            let extent = self.extent(part).max(1);
            self.move_to(part, if place == 0 { rest } else { rest % extent });
            rest /= extent;
        }
    }

    /// The coordinate along a rank, from its parts; absent beyond its extent.
    pub(super) fn index(&self, rank: RankId) -> Option<i64> {
        let parts = &self.cascade.ranks[rank].parts;
        if parts.is_empty() {
            return Some(self.coords[rank.idx()]);
        }
        let composed =
            parts.iter().try_fold(0, |major, &part| Some(major * self.extent(part) + self.index(part)?))?;
        (composed < self.extent(rank)).then_some(composed)
    }

    /// The value of an expression that was computed for the coordinates at hand.
    pub(super) fn value(&self, id: ExprId) -> Point<R> {
        self.values[id.idx()]
    }

    /// Computes expressions at the coordinates at hand, in an order in which operands come first.
    pub(super) fn compute(&mut self, order: &[ExprId]) {
        for &id in order {
            self.values[id.idx()] = self.apply(self.cascade.exprs.get(id));
        }
    }

    fn apply(&self, expr: &Expr) -> Point<R> {
        match expr {
            Expr::Int(it) => Some(Value::Int(*it)),
            Expr::Real(bits) => Some(Value::Real(R::of(f64::from_bits(*bits)))),
            Expr::Bool(it) => Some(Value::Bool(*it)),
            Expr::Extent(rank) => Some(Value::Int(self.extent(*rank))),
            Expr::Index(rank) => self.index(*rank).map(Value::Int),
            Expr::Param(param, _) => self.params[param.idx()],
            Expr::Read(tensor, coords, _) => self.read(*tensor, coords),
            Expr::Unary(op, a) => scalar::unary(*op, self.value(*a)?),
            Expr::Binary(BinaryOp::And, a, b) => decided_by(false, self.value(*a), self.value(*b)),
            Expr::Binary(BinaryOp::Or, a, b) => decided_by(true, self.value(*a), self.value(*b)),
            Expr::Binary(op, a, b) => scalar::binary(*op, self.value(*a)?, self.value(*b)?),
            Expr::Compare(op, a, b) => {
                Some(Value::Bool(scalar::compare(*op, self.value(*a)?, self.value(*b)?)))
            }
            Expr::If(condition, a, b) => {
                self.value(if self.value(*condition)? == Value::Bool(true) { *a } else { *b })
            }
            Expr::Where(a, condition) => {
                self.value(*a).filter(|_| self.value(*condition) == Some(Value::Bool(true)))
            }
            Expr::Else(a, b) => self.value(*a).or(self.value(*b)),
            Expr::Present(a) => Some(Value::Bool(self.value(*a).is_some())),
            Expr::Pick(i, values) => {
                let chosen = usize::try_from(int(self.value(*i)?)).ok()?;
                self.value(*values.get(chosen)?)
            }
            Expr::Cast(dtype, a) => Some(scalar::cast(*dtype, self.value(*a)?)),
        }
    }

    fn read(&self, tensor: TensorId, coords: &[ExprId]) -> Point<R> {
        let tensor = &self.tensors[tensor.idx()];
        let mut at = 0;
        for (&coord, &extent) in coords.iter().zip(&tensor.shape) {
            let coord = int(self.value(coord)?);
            if !(0..extent).contains(&coord) {
                return None;
            }
            at = at * extent + coord;
        }
        tensor.points[at as usize]
    }

    /// Makes room for a tensor, all of it absent.
    pub(super) fn allocate(&mut self, id: TensorId) -> Result<(), CallError> {
        let Tensor { name, dims, .. } = &self.cascade.tensors[id];
        let too_large = || CallError::TooLarge(name.clone());
        let extents = dims.iter().map(|dim| self.extent(dim.rank).checked_add(dim.lag));
        let shape: Vec<i64> = extents.collect::<Option<_>>().ok_or_else(too_large)?;
        let len = shape.iter().try_fold(1_i64, |len, &extent| len.checked_mul(extent));
        let len = len.and_then(|it| usize::try_from(it).ok()).ok_or_else(too_large)?;
        let mut points = Vec::new();
        points.try_reserve_exact(len).map_err(|_| too_large())?;
        points.resize(len, None);
        self.tensors[id.idx()] = Points { shape, points };
        Ok(())
    }

    /// An output as it is handed back.
    pub(super) fn data(&self, id: TensorId) -> Data {
        let Tensor { kind, dtype, .. } = self.cascade.tensors[id];
        let points = &self.tensors[id.idx()].points;
        let mut data = Data::zeros(kind, points.len());
        for (at, point) in points.iter().enumerate() {
            let value = match point {
                Some(Value::Real(it)) => Value::Real(it.to_f64()),
                Some(Value::Int(it)) => Value::Int(*it),
                Some(Value::Bool(it)) => Value::Bool(*it),
                None => scalar::absent(kind, dtype),
            };
            data.set(at, value);
        }
        data
    }
}

/// `or` is decided by a present true, `and` by a present false.
fn decided_by<R: Number>(decider: bool, a: Point<R>, b: Point<R>) -> Point<R> {
    let decider = Value::Bool(decider);
    if a == Some(decider) || b == Some(decider) { Some(decider) } else { a.and(b) }
}

/// An integer; the kinds of operands were checked when the expression was made.
pub(super) fn int<R: Number>(value: Value<R>) -> i64 {
    match value {
        Value::Int(it) => it,
        Value::Real(_) | Value::Bool(_) => unreachable!("{value:?} where an integer stands"),
    }
}
