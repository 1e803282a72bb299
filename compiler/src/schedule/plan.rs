//! The plan: which einsums run together, and how a stage walks through its ranks.
//!
//! Invariants: a stage reads only inputs, what earlier stages stored, and its own tiles; a tile is defined
//! before it is read, within the same loop or around it; the ranks of the tiles of a stream and of
//! everything that it iterates over are part-less; what a walk holds keeps its composite ranks.
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

use crate::ir::cascade::{Cascade, Einsum, ExprId, Op, RankId, ReduceOp, Step, TensorId};
use crate::ir::expr::{Expr, UnaryOp};

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
    /// Scaled numbers go from one stage to another, each with a scale that was rounded where it was made.
    pub hands_on_scales: bool,
}

/// One stage.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Every point of what a step defines is stored.
    Whole(Step),
    /// Boxes of rows, each of which streams over other ranks.
    Stream(Stream),
    /// Boxes of rows, each of which goes along a rank coordinate by coordinate.
    Walk(Walk),
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

/// A stage that holds what it needs of the coordinates that it has been at.
///
/// ```text
/// walk b, e in 64 along t
///   H~[b, d, e] = 0
///   for t
///     H~[b, d, e] = G * H~ + K * V
///     output O[b, t, e] = sum[d](Q * H~)
///   output F[b, d, e] = H~
/// ```
#[derive(Debug, Clone)]
pub struct Walk {
    /// The ranks whose points are spread over tasks; those in boxes are part-less.
    pub rows: Vec<Axis>,
    /// The rank that is walked along.
    pub rank: RankId,
    /// What is done before the first coordinate.
    pub before: Vec<Act>,
    /// What is done at each coordinate.
    pub step: Vec<Act>,
    /// What is done after the last.
    pub after: Vec<Act>,
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
    /// Sums of exponentials do not all stream in one stage: nothing keeps those in range that are evaluated whole, and
    /// those of different stages lose digits to each other.
    pub fn parts_powers(&self) -> bool {
        self.hands_on_scales || self.sums_powers_whole()
    }

    fn sums_powers_whole(&self) -> bool {
        let exprs = &self.cascade.exprs;
        let has_power = |it: &Einsum| {
            let mut order = exprs.postorder(it.value).into_iter();
            let reduces = matches!(it.op, Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _));
            reduces && order.any(|id| matches!(exprs.get(id), Expr::Unary(UnaryOp::Exp | UnaryOp::Exp2, _)))
        };
        self.stages.iter().any(|stage| match stage {
            Stage::Whole(Step::Einsum(it)) => has_power(it),
            Stage::Whole(Step::Recurrence(_)) | Stage::Stream(_) | Stage::Walk(_) => false,
        })
    }

    /// Every einsum that is run.
    pub fn einsums(&self) -> Vec<&Einsum> {
        let mut found = Vec::new();
        for stage in &self.stages {
            match stage {
                Stage::Whole(Step::Einsum(einsum)) => found.push(einsum),
                Stage::Whole(Step::Recurrence(it)) => found.extend(it.bases.iter().chain(&it.body)),
                Stage::Stream(it) => it.acts.iter().for_each(|act| act.einsums(&mut found)),
                Stage::Walk(it) => it.acts().for_each(|act| act.einsums(&mut found)),
            }
        }
        found
    }

    /// The most loops that one stage runs one after the other: how often it traverses what it streams over.
    pub fn traversals(&self) -> usize {
        let loops = |stage: &Stage| match stage {
            Stage::Whole(_) | Stage::Walk(_) => 0,
            Stage::Stream(it) => it.acts.iter().filter(|act| matches!(act, Act::Loop(_))).count(),
        };
        self.stages.iter().map(loops).max().unwrap_or(0)
    }
}

impl Walk {
    /// Everything that is done, in order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.before.iter().chain(&self.step).chain(&self.after)
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
