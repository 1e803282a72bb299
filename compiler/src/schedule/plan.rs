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

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::DType;

use super::flow::features;
use crate::ir::cascade::{Cascade, Einsum, ExprId, RankId, Role, Step, TensorId};
use crate::target::Block;

/// How many times as large as the largest tensor of a call what is stored is at most.
const MUCH: f64 = 8.0;

/// A cascade, and the order in which it is evaluated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was planned; its expressions and tensors include those that only this plan has, its steps are
    /// those that it was made from.
    pub cascade: Cascade,
    /// Tensors of which only the tile at hand is ever held.
    pub tiles: BTreeSet<TensorId>,
    /// For each tile of the values that a selection keeps, the tile of their indices; −1 where there is none.
    pub indices: BTreeMap<TensorId, TensorId>,
    /// What is run, one after the other.
    pub stages: Vec<Stage>,
    /// Tensors that take room only where a condition on extents holds; elsewhere nothing is written to them or read.
    pub room_where: BTreeMap<TensorId, ExprId>,
    /// Sums of powers are evaluated whole, where nothing keeps them in range, or a quotient is taken of sums that were
    /// scaled in different stages, which loses digits: a maximum that the author took would have been of use.
    pub parts_powers: bool,
    /// What is worked on together in registers.
    pub register: Register,
    /// What blocks of threads have, where they take the rows of a box together.
    pub blocks: Option<Blocks>,
}

/// What blocks of threads have, and what is said of the tiles that they take.
#[derive(Debug, Clone)]
pub struct Blocks {
    /// What a block has.
    pub limits: Block,
    /// How many rows it takes, of ranks of which that is said.
    pub rows: BTreeMap<RankId, u32>,
    /// How many coordinates of what it streams over it takes at a time.
    pub stream: BTreeMap<RankId, u32>,
}

/// What is worked on together in registers: a tile of some rows and neighbours along one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// How many rows.
    pub strip: u32,
    /// How many neighbours.
    pub lanes: u32,
    /// How many of those that are left at the end of a rank, under a mask; 1 takes each by itself.
    pub vector: u32,
    /// How many rows and columns of a tile are turned together; 1 turns none.
    pub square: u32,
    /// Whether four products of bytes are added at a time.
    pub words: bool,
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
    /// The rank of rows that says which part of another one a task traverses.
    pub part: Option<(RankId, Parts)>,
    /// A condition on extents without which nothing is to be done.
    pub when: Option<ExprId>,
    /// Composite ranks that have a coordinate wherever their parts have.
    pub composites: Vec<RankId>,
    /// Why powers that it computes are under no scale.
    pub unscaled: BTreeSet<Unscaled>,
    /// What a task does.
    pub acts: Vec<Act>,
}

/// Why a power needs no scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unscaled {
    /// Its exponent lies between these, rounded outwards, whatever the inputs are.
    Within(i32, i32),
    /// The largest exponent, which this holds, is subtracted.
    BelowPeak(TensorId),
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
    /// Combines a reduction over the box with what the tensor holds; a selection (`topk`, `argmax`, `argmin`) puts the
    /// points of the box in their places among those that the tensor keeps, of which [`Plan::indices`] has the indices.
    Fold(Einsum),
    /// Runs acts for every tile of some ranks.
    Loop(Loop),
    /// Runs acts for one coordinate of a rank after the other; each computes that coordinate of a tensor that is held
    /// with all of them.
    Along(RankId, Vec<Act>),
    /// Runs some acts where a condition on extents holds, else others.
    Choose(ExprId, Vec<Act>, Vec<Act>),
}

/// A traversal of the fibers of some ranks, tile by tile.
#[derive(Debug, Clone)]
pub struct Loop {
    /// The ranks, outer to inner; if it goes over parts, their number alone.
    pub axes: Vec<Axis>,
    /// What the acts see of another rank.
    pub parts: Option<Parts>,
    /// What must hold somewhere in a tile for it to matter: for some of these lists, each of its conditions.
    /// Empty if every tile matters.
    pub matters: Vec<Vec<ExprId>>,
    /// The scales of sums of powers that are brought up to date on the way.
    pub gauges: Vec<Gauge>,
    /// What is done for each tile.
    pub acts: Vec<Act>,
}

/// A scale of sums of powers, which is near the maximum of the exponents so far.
///
/// Powers are read nowhere but in sums that are under the scale, so any scale will do by which no power is large.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// What holds it.
    pub scale: TensorId,
    /// A number for each scale, above 0 where it was left as it was when it was last brought up to date.
    pub calm: TensorId,
    /// Those of the acts that bring it, and what is under it, up to date; they are the only ones that write it.
    pub updates: Vec<Einsum>,
}

/// The part of a rank's coordinates that a loop over parts has at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The rank.
    pub of: RankId,
    /// How many coordinates a part has, but for the last: an integer over extents, at least 1.
    pub length: ExprId,
    /// How many points it has at least, but for the last.
    pub least: u32,
    /// How many parts there are at most.
    pub most: u32,
}

impl Plan {
    /// Every einsum that is run.
    pub fn einsums(&self) -> Vec<&Einsum> {
        let mut found = Vec::new();
        for stage in &self.stages {
            match stage {
                Stage::Whole(it) => found.extend(it.einsums()),
                Stage::Stream(it) => {
                    it.acts.iter().for_each(|act| act.einsums(&mut |einsum| found.push(einsum)));
                }
                Stage::Walk(it) => it.acts().for_each(|act| act.einsums(&mut |einsum| found.push(einsum))),
            }
        }
        found
    }

    /// The tensors that lie in the workspace, in the order in which they are made.
    pub fn stored(&self) -> Vec<TensorId> {
        let mut stored = Vec::new();
        for einsum in self.einsums() {
            let tensor = einsum.tensor;
            let own = self.cascade.tensors[tensor].role.is_own();
            if own && !self.tiles.contains(&tensor) && !stored.contains(&tensor) {
                stored.push(tensor);
            }
        }
        stored
    }

    /// The most loops that one stage runs one after the other: how often it traverses what it streams over.
    pub fn traversals(&self) -> usize {
        let loops = |stage: &Stage| match stage {
            Stage::Whole(_) | Stage::Walk(_) => 0,
            Stage::Stream(it) => one_by_one(&it.acts),
        };
        self.stages.iter().map(loops).max().unwrap_or(0)
    }

    /// What a stage streams for is stored with a rank that another one reduces: a fiber of what never was in memory as
    /// long as it is traversed.
    pub fn stores_fibers(&self) -> bool {
        let features = features(&self.cascade);
        let stored = |tensor: TensorId| {
            self.cascade.tensors[tensor].role != Role::Output
                && self.cascade.einsums().any(|it| it.tensor == tensor)
                && self.streams().any(|it| stores(&it.acts, tensor))
        };
        self.cascade.einsums().any(|it| {
            let over = it.op.reduced().iter().flat_map(|&rank| self.cascade.exprs.atoms(rank).to_vec());
            let over: Vec<RankId> = over.filter(|rank| !features.contains(rank)).collect();
            self.cascade.exprs.reads(it.value).any(|(tensor, _)| {
                let dims = self.cascade.tensors[tensor].dims.iter();
                let has = dims.flat_map(|dim| self.cascade.exprs.atoms(dim.rank)).any(|it| over.contains(it));
                has && !self.tiles.contains(&tensor) && stored(tensor)
            })
        })
    }

    /// What a walk reads that earlier stages store is several times as large as what is handed in or back.
    pub fn stores_much(&self) -> bool {
        let sizes = crate::rewrite::sizes_of_plan(&self.cascade);
        let points = |tensor: TensorId| -> f64 {
            let dims = self.cascade.tensors[tensor].dims.iter();
            dims.flat_map(|it| self.cascade.atoms(it.rank)).map(|it| sizes[it.idx()]).product()
        };
        let handed = self.cascade.inputs().chain(self.cascade.outputs());
        let largest = handed.map(points).fold(1.0, f64::max);
        let walks = self.stages.iter().any(|it| matches!(it, Stage::Walk(_)));
        walks && self.stored().into_iter().any(|it| points(it) > MUCH * largest)
    }

    /// Whether a walk reads what was stored in fewer digits since products of matrices would take it so.
    pub(crate) fn takes_short(&self, walk: &Walk) -> bool {
        let read = |it: &Einsum| {
            self.cascade.exprs.reads(it.value).map(|it| &self.cascade.tensors[it.0]).collect::<Vec<_>>()
        };
        let mut all = walk.einsums().into_iter().flat_map(read);
        all.any(|it| it.role != Role::Input && it.dtype == Some(DType::BF16))
    }

    /// The stages that stream, without those that only merge parts.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.stages.iter().filter_map(|stage| match stage {
            Stage::Stream(it) if it.when.is_none() => Some(it),
            Stage::Stream(_) | Stage::Walk(_) | Stage::Whole(_) => None,
        })
    }
}

impl Stream {
    /// The ranks that are traversed in parts, and that of the parts.
    pub fn parts(&self) -> impl Iterator<Item = (RankId, Parts)> {
        let of_loops = loops(&self.acts).into_iter().filter_map(|it| Some((it.axes[0].rank, it.parts?)));
        self.part.into_iter().chain(of_loops)
    }
}

impl Walk {
    /// Everything that is done, in order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.before.iter().chain(&self.step).chain(&self.after)
    }

    /// What they evaluate, those of loops within them included.
    pub(crate) fn einsums(&self) -> Vec<&Einsum> {
        let mut all = Vec::new();
        self.acts().for_each(|act| act.einsums(&mut |it| all.push(it)));
        all
    }
}

impl Act {
    /// Calls `see` with every einsum.
    pub(crate) fn einsums<'a>(&'a self, see: &mut dyn FnMut(&'a Einsum)) {
        match self {
            Act::Define(einsum) | Act::Fold(einsum) => see(einsum),
            Act::Loop(Loop { acts, .. }) | Act::Along(_, acts) => {
                acts.iter().for_each(|act| act.einsums(see));
            }
            Act::Choose(_, then, otherwise) => then.iter().chain(otherwise).for_each(|act| act.einsums(see)),
        }
    }
}

/// A traversal is followed by, or has, a definition of that tensor.
fn stores(acts: &[Act], tensor: TensorId) -> bool {
    acts.iter().any(|act| match act {
        Act::Define(it) | Act::Fold(it) => it.tensor == tensor,
        Act::Loop(Loop { acts, .. }) | Act::Along(_, acts) => stores(acts, tensor),
        Act::Choose(_, then, otherwise) => stores(then, tensor) || stores(otherwise, tensor),
    })
}

/// How many loops acts run one after the other.
fn one_by_one(acts: &[Act]) -> usize {
    let loops = |act: &Act| match act {
        Act::Define(_) | Act::Fold(_) | Act::Along(..) => 0,
        Act::Loop(_) => 1,
        Act::Choose(_, then, otherwise) => one_by_one(then).max(one_by_one(otherwise)),
    };
    acts.iter().map(loops).sum()
}

/// All loops of acts, those within others too, outer before inner.
pub(crate) fn loops(acts: &[Act]) -> Vec<&Loop> {
    let mut found = Vec::new();
    for act in acts {
        match act {
            Act::Define(_) | Act::Fold(_) | Act::Along(..) => {}
            Act::Loop(it) => {
                found.push(it);
                found.extend(loops(&it.acts));
            }
            Act::Choose(_, then, otherwise) => {
                found.extend(loops(then));
                found.extend(loops(otherwise));
            }
        }
    }
    found
}
