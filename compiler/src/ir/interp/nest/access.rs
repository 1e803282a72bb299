//! Loads, stores, contractions and reductions of whole tiles.

use super::State;
use crate::ir::array::Value;
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::BinaryOp;
use crate::ir::interp::NestError;
use crate::ir::interp::tile::{self, Projection, points};
use crate::ir::nest::{BufferId, TileDim, ValueId};

/// The elements of a buffer that a statement touches.
pub(super) struct Access<'a> {
    pub(super) buffer: BufferId,
    pub(super) index: &'a [ValueId],
    pub(super) guard: Option<ValueId>,
    pub(super) contiguous: bool,
}

impl State<'_> {
    /// For each element of a shape the coordinates in the buffer, where the guard holds.
    pub(super) fn coords(
        &self,
        access: &Access<'_>,
        shape: &[TileDim],
    ) -> Result<Vec<Option<Vec<i64>>>, NestError> {
        let index: Vec<_> = access.index.iter().map(|&it| self.operand(it, shape)).collect();
        let guard = access.guard.map(|it| self.operand(it, shape));
        let coords = |at: usize| {
            let visited = guard.as_ref().is_none_or(|guard| guard(at) == Value::Bool(true));
            visited.then(|| index.iter().map(|it| super::int(it(at))).collect::<Vec<i64>>())
        };
        let coords: Vec<_> = (0..points(shape)).map(coords).collect();
        if access.contiguous {
            self.expect_run(access, shape, &coords)?;
        }
        Ok(coords)
    }

    /// Elements along the last rank follow one another.
    fn expect_run(
        &self,
        access: &Access<'_>,
        shape: &[TileDim],
        coords: &[Option<Vec<i64>>],
    ) -> Result<(), NestError> {
        let (buffer, memory) = (&self.nest.buffers[access.buffer], &self.memory[access.buffer.idx()]);
        let run = shape.last().map_or(1, |dim| dim.extent as usize);
        for run in coords.chunks(run) {
            for pair in run.windows(2) {
                if let [Some(first), Some(second)] = pair
                    && memory.place(buffer, second)? != memory.place(buffer, first)? + 1
                {
                    let name = &buffer.name;
                    return Err(NestError::Fault(format!(
                        "{name}{second:?} does not follow {name}{first:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Writes an element for every point of the coordinates, the value and the guard together.
    pub(super) fn store(&mut self, access: &Access<'_>, value: ValueId) -> Result<(), NestError> {
        let mut shape: Vec<TileDim> = Vec::new();
        for dim in access.guard.iter().chain([&value]).chain(access.index).flat_map(|&it| self.shape(it)) {
            shape.retain(|it| it != dim);
            shape.push(*dim);
        }
        let coords = self.coords(access, &shape)?;
        let values: Vec<Value> = (0..coords.len()).map(self.operand(value, &shape)).collect();
        let buffer = &self.nest.buffers[access.buffer];
        for (coords, value) in coords.into_iter().zip(values) {
            if let Some(coords) = coords {
                let stored = tile::stored(buffer.dtype, value);
                self.memory[access.buffer.idx()].store(buffer, &coords, stored, self.turn)?;
            }
        }
        Ok(())
    }

    pub(super) fn contract(
        &self,
        (a, b): (ValueId, ValueId),
        there: Option<ValueId>,
        into: ValueId,
        tile: &mut Vec<Value>,
    ) {
        let held = self.nest.values[into].scalar;
        let (kept, mut all) = (self.shape(into), self.shape(into).to_vec());
        for dim in self.shape(a).iter().chain(self.shape(b)) {
            if !all.iter().any(|it| it.rank == dim.rank) {
                all.push(*dim);
            }
        }
        tile.extend_from_slice(&self.tiles[into.idx()]);
        let (a, b, into) = (self.operand(a, &all), self.operand(b, &all), Projection::new(kept, &all));
        let there = there.map(|it| self.operand(it, &all));
        for at in 0..points(&all) {
            if there.as_ref().is_some_and(|it| it(at) == Value::Bool(false)) {
                continue;
            }
            let total = &mut tile[into.at(at)];
            let product = tile::binary(BinaryOp::Mul, a(at), b(at));
            *total = tile::held(held, tile::binary(BinaryOp::Add, *total, product));
        }
    }

    pub(super) fn reduce(&self, op: ReduceOp, a: ValueId, result: ValueId, tile: &mut Vec<Value>) {
        let op = match op {
            ReduceOp::Sum => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Max => BinaryOp::Max,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::Any => BinaryOp::Or,
            ReduceOp::All => BinaryOp::And,
            ReduceOp::Mean | ReduceOp::Count => unreachable!("a nest has no {}", op.name()),
        };
        let (held, kept, all) = (self.nest.values[result].scalar, self.shape(result), self.shape(a));
        let place = Projection::new(kept, all);
        let mut totals = vec![None; points(kept)];
        for (at, &value) in self.tiles[a.idx()].iter().enumerate() {
            let total = &mut totals[place.at(at)];
            *total = Some(total.map_or(value, |total| tile::held(held, tile::binary(op, total, value))));
        }
        tile.extend(totals.into_iter().map(|it| it.expect("every tile has elements")));
    }
}
