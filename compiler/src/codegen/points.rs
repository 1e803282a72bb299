//! The points of tiles: which element of one belongs to which of another, and what operations make of their ranks.

use crate::ir::cascade::ReduceOp;
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Nest, TileDim, TileType, ValueId};

/// For every point of a shape in row-major order, the position of its element in a tile of shape `of`.
pub(super) fn positions(of: &[TileDim], along: &[TileDim]) -> Vec<usize> {
    let mut positions = vec![0];
    for dim in along {
        let stride = stride(of, dim);
        let extent = dim.extent as usize;
        positions = positions.iter().flat_map(|at| (0..extent).map(move |i| at + i * stride)).collect();
    }
    positions
}

/// How far neighbours along a rank are apart in a tile of shape `of`; 0 where it lacks the rank.
fn stride(of: &[TileDim], along: &TileDim) -> usize {
    let Some(at) = of.iter().position(|dim| dim.rank == along.rank) else { return 0 };
    of[at + 1..].iter().map(|dim| dim.extent as usize).product()
}

/// The ranks among those that a shape lacks, each once.
pub(super) fn lacking<'d>(shape: &[TileDim], among: impl IntoIterator<Item = &'d TileDim>) -> Vec<TileDim> {
    let mut lacking: Vec<TileDim> = Vec::new();
    for dim in among {
        if !shape.contains(dim) && !lacking.contains(dim) {
            lacking.push(*dim);
        }
    }
    lacking
}

/// What a store writes: an element for every point of the coordinates, the value and the guard; the ranks of the last
/// coordinate come last.
pub(super) fn stored(nest: &Nest, index: &[ValueId], value: ValueId, guard: Option<ValueId>) -> TileType {
    let mut shape: Vec<TileDim> = Vec::new();
    let others = guard.iter().chain([&value]).chain(index);
    for dim in others.flat_map(|&it| &nest.values[it].shape) {
        shape.retain(|it| it != dim);
        shape.push(*dim);
    }
    TileType { scalar: nest.values[value].scalar, shape }
}

/// Whether a guard is the same for all elements along the last rank of a shape.
pub(super) fn is_uniform(nest: &Nest, guard: Option<ValueId>, shape: &[TileDim]) -> bool {
    let varies = |guard: ValueId| shape.last().is_some_and(|last| nest.values[guard].shape.contains(last));
    !guard.is_some_and(varies)
}

/// The operation that combines two values of a reduction.
pub(super) fn combination(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::Min => BinaryOp::Min,
        ReduceOp::Any => BinaryOp::Or,
        ReduceOp::All => BinaryOp::And,
        ReduceOp::Mean | ReduceOp::Count => unreachable!("`tile` makes sums of {}", op.name()),
    }
}
