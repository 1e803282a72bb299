//! The plan: which einsums run together, and how a stage walks through its ranks.
//!
//! Invariants: a stage reads only inputs, what earlier stages stored, and its own tiles; a tile is defined
//! before it is read, within the same loop or around it; the ranks of tiles and of everything that a streaming
//! stage iterates over are part-less.
//!
//! ```text
//! stream b, h, m in 32
//!   Z.sum = 0
//!   for n in 64
//!     S[m, n] = sum[d](Q * K)
//!     Z.sum[m] += sum[n](exp(S))
//!   output L[b, h, m] = log(Z.sum)
//! ```

use std::collections::BTreeSet;

use crate::ir::cascade::{Cascade, Einsum, ExprId, RankId, Step, TensorId};

/// A cascade, and the order in which it is evaluated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was planned; its expressions and tensors include those that only this plan has, its steps are
    /// those that it was made from.
    pub cascade: Cascade,
    /// Tensors of which only the tile at hand is ever held.
    pub tiles: BTreeSet<TensorId>,
    /// What is run, one after the other.
    pub stages: Vec<Stage>,
    /// Sums of powers are evaluated whole, where nothing keeps them in range, or a quotient is taken of sums that were
    /// scaled in different stages, which loses digits: a maximum that the author took would have been of use.
    pub parts_powers: bool,
}

/// One stage.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Every point of what a step defines is stored.
    Whole(Step),
    /// Boxes of rows, each of which streams over other ranks.
    Stream(Stream),
}

/// A stage that holds no more than tiles.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The ranks whose points are spread over tasks, in boxes.
    pub rows: Vec<Axis>,
    /// Composite ranks that have a coordinate wherever their parts have.
    pub composites: Vec<RankId>,
    /// What a task does.
    pub acts: Vec<Act>,
}

/// A part-less rank in tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The rank.
    pub rank: RankId,
    /// How many coordinates are taken at a time.
    pub tile: u32,
}

/// What is done for a box of coordinates.
#[derive(Debug, Clone)]
pub enum Act {
    /// Computes a tensor at all points of the box.
    Define(Einsum),
    /// Combines a reduction over the box with what the tensor holds.
    Fold(Einsum),
    /// Runs acts for every tile of some ranks.
    Loop(Loop),
}

/// A traversal of the fibers of some ranks, tile by tile.
#[derive(Debug, Clone)]
pub struct Loop {
    /// The ranks, outer to inner.
    pub axes: Vec<Axis>,
    /// What must hold somewhere in a tile for it to matter: for some of these lists, each of its conditions.
    /// Empty if every tile matters.
    pub matters: Vec<Vec<ExprId>>,
    /// What is done for each tile.
    pub acts: Vec<Act>,
}

impl Plan {
    /// Every einsum that is run.
    pub fn einsums(&self) -> Vec<&Einsum> {
        let mut found = Vec::new();
        for stage in &self.stages {
            match stage {
                Stage::Whole(Step::Einsum(einsum)) => found.push(einsum),
                Stage::Whole(Step::Recurrence(it)) => found.extend(it.bases.iter().chain(&it.body)),
                Stage::Stream(it) => it.acts.iter().for_each(|act| act.einsums(&mut found)),
            }
        }
        found
    }

    /// The most loops that one stage runs one after the other: how often it traverses what it streams over.
    pub fn traversals(&self) -> usize {
        let loops = |stage: &Stage| match stage {
            Stage::Whole(_) => 0,
            Stage::Stream(it) => it.acts.iter().filter(|act| matches!(act, Act::Loop(_))).count(),
        };
        self.stages.iter().map(loops).max().unwrap_or(0)
    }
}

impl Act {
    fn einsums<'a>(&'a self, found: &mut Vec<&'a Einsum>) {
        match self {
            Act::Define(einsum) | Act::Fold(einsum) => found.push(einsum),
            Act::Loop(it) => it.acts.iter().for_each(|act| act.einsums(found)),
        }
    }
}
