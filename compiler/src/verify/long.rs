//! A kernel that blocks of threads take to calls that are long for it: more than two tiles of what a block goes along, the
//! last of them cut off, so that room for tiles is used again; all else is as small as it can be.
//!
//! ```text
//! stream m in 128: for n in 64 .. where n <= m   ->   |n| = 2 · 64 + 3, and as many rows, for which all keys matter
//! ```

use super::keys::with_least;
use super::random::Random;
use super::{Case, Character, case_of_bounds, draw};
use crate::ir::cascade::{Cascade, ExprId, Extent, RankId, Role, Tensor};
use crate::ir::expr::{Expr, Exprs, operands};
use crate::ir::interp::CallError;
use crate::ir::nest::{Block, Nest, Stmt};
use crate::schedule::{Loop, Plan, Stage, Stream, loops};
use attnc_dsl::ast::Kind;

/// The points that the einsums of such a call may visit: rows and keys may both be many.
const MOST_POINTS: i64 = 10 * draw::MOST_POINTS;

/// At most so many coordinates of the last tile are there.
const CUT: i64 = 8;

/// What a block of threads goes along tile by tile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tiles {
    /// The rank, of the cascade as it is written.
    pub rank: RankId,
    /// How many coordinates a tile has.
    pub size: i64,
    /// Rows that say which tiles matter.
    rows: Vec<RankId>,
    /// Inputs of integers that say it.
    bounds: Vec<String>,
}

impl Tiles {
    /// Those of the blocks of a nest, given the cascade as it is written and the plan that the nest was made of.
    pub fn of(cascade: &Cascade, plan: &Plan, nest: &Nest) -> Vec<Tiles> {
        let names = Names { cascade, plan };
        let mut all = Vec::new();
        for (stage, tiled) in plan.stages.iter().zip(&nest.stages).filter(|it| it.1.team.is_some()) {
            match stage {
                Stage::Whole(_) => {}
                Stage::Stream(stream) => {
                    let whole = loops(&stream.acts).into_iter().filter(|it| it.parts.is_none());
                    all.extend(whole.filter_map(|it| names.of_stream(stream, it, nest, &tiled.body)));
                }
                Stage::Walk(walk) => all.extend(names.of_walk(walk.rank)),
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// Extents with more than two of them; none if the author's constraints allow none, or there is too much to interpret.
    pub fn extents(&self, cascade: &Cascade, seed: u64) -> Option<Vec<i64>> {
        let cut = CUT.min(self.size - 1).max(1);
        let keys = 2 * self.size + 1 + Random::new(seed).below(cut);
        let extents = with_least(cascade, (self.rank, keys), &self.rows)?;
        (draw::points(cascade, &extents) <= MOST_POINTS).then_some(extents)
    }

    /// A call with more than two of them, in which they matter; none if there are no such extents, or the author's assumptions
    /// exclude what is drawn.
    ///
    /// # Errors
    /// The interpreter refuses a call that meets the constraints: a fault of ours.
    pub fn case(&self, cascade: &Cascade, seed: u64) -> Result<Option<Case>, CallError> {
        let Some(extents) = self.extents(cascade, seed) else { return Ok(None) };
        let bounds = (self.bounds.as_slice(), extents[self.rank.idx()]);
        case_of_bounds(cascade, extents, Character::Long, bounds, &mut Random::new(seed))
    }
}

/// The ranks of a cascade as it is written, and a plan of an equal one.
pub(super) struct Names<'a> {
    pub(super) cascade: &'a Cascade,
    pub(super) plan: &'a Plan,
}

impl Names<'_> {
    /// A rank of the plan, if it is one that was written.
    pub(super) fn written(&self, rank: RankId) -> Option<RankId> {
        let name = &self.plan.cascade.ranks[rank].name;
        self.cascade.ranks.iter().find(|(_, it)| it.name == *name && !it.local).map(|it| it.0)
    }

    fn of_stream(&self, stream: &Stream, it: &Loop, nest: &Nest, body: &Block) -> Option<Tiles> {
        let exprs = &self.plan.cascade.exprs;
        let axes: Vec<RankId> = it.axes.iter().filter_map(|it| self.written(it.rank)).collect();
        let made_of = |rank: RankId| {
            let atoms = self.cascade.atoms(rank);
            atoms.len() > 1 && atoms.iter().all(|it| axes.contains(it))
        };
        let whole = self.cascade.ranks.ids().find(|&it| made_of(it)).filter(|_| axes.len() > 1);
        let rank = whole.or(axes.first().copied())?;
        let size = largest(nest, body, it.axes.last()?.rank);
        let read = |it: ExprId| exprs.reads(it).map(|it| &self.plan.cascade.tensors[it.0]);
        let is_known = |it: &Tensor| it.kind == Kind::Int && it.role == Role::Input;
        // What depends on scores is met by any of these.
        let conditions = || it.matters.iter().flatten().copied().filter(|it| read(*it).all(is_known));
        let is_row = |rank: &RankId| stream.rows.iter().any(|it| it.rank == *rank);
        let compared = conditions().flat_map(|it| compared(exprs, it)).filter(is_row);
        let mut rows: Vec<RankId> = compared.filter_map(|it| self.written(it)).collect();
        let mut bounds: Vec<String> = conditions().flat_map(read).map(|it| it.name.clone()).collect();
        rows.sort_unstable();
        rows.dedup();
        bounds.sort_unstable();
        bounds.dedup();
        Some(Tiles { rank, size, rows, bounds })
    }

    fn of_walk(&self, chunks: RankId) -> Option<Tiles> {
        let (rank, size) = self.chunks(chunks)?;
        Some(Tiles { rank, size, rows: Vec::new(), bounds: Vec::new() })
    }

    /// The tokens that chunks have, and how many each has.
    pub(super) fn chunks(&self, chunks: RankId) -> Option<(RankId, i64)> {
        let ranks = &self.plan.cascade.ranks;
        let (tokens, whole) = ranks.iter().find(|(_, it)| it.parts.first() == Some(&chunks))?;
        let Extent::Fixed(size) = ranks[*whole.parts.last()?].extent else { return None };
        Some((self.written(tokens)?, size))
    }
}

/// The ranks of which coordinates are compared, and not only where an input is read.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn compared(exprs: &Exprs, value: ExprId) -> Vec<RankId> {
    match exprs.get(value) {
        Expr::Index(rank) => vec![*rank],
        Expr::Read(..) => Vec::new(),
        other => operands(other).into_iter().flat_map(|it| compared(exprs, it)).collect(),
    }
}

/// The most coordinates along a rank that a value has which is computed in a block.
fn largest(nest: &Nest, block: &Block, rank: RankId) -> i64 {
    let of = |stmt: &Stmt| match stmt {
        Stmt::Let(value, _) => {
            let dims = nest.values[*value].shape.iter().filter(|it| it.rank == rank);
            dims.map(|it| i64::from(it.extent)).max().unwrap_or(0)
        }
        Stmt::Loop(it) => largest(nest, &it.body, rank),
        Stmt::If { then, otherwise, .. } => largest(nest, then, rank).max(largest(nest, otherwise, rank)),
        Stmt::Store { .. } => 0,
    };
    block.stmts.iter().map(of).max().unwrap_or(0)
}
