//! What each module has of some kernels: LLVM compiles a module on one thread, so a kernel of many stages is spread over
//! several. Which function is in which module depends on the kernels alone, so objects are the same on every machine.

use super::rest::rests;
use crate::ir::nest::{Block, Nest, Op, Stmt};

/// Elements of a tile that LLVM takes some microseconds more for.
const LANES: usize = 64;
/// Modules of less are put together: a module takes about as long as that much code.
const LEAST: usize = 100;

/// What a module has of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// All functions of the ABI, which are short.
    Entry,
    /// The stage of that position.
    Stage(usize),
    /// Of that stage, the part of that position.
    Rest(usize, usize),
}

/// The pieces of a module, each with the position of its kernel.
#[derive(Debug)]
pub(super) struct Share {
    pieces: Vec<(usize, Piece)>,
    cost: usize,
}

impl Share {
    /// All kernels as a single module.
    pub(super) fn whole(nests: &[Nest]) -> Share {
        let of = |(at, nest): (usize, &Nest)| pieces(nest).into_iter().map(move |it| (at, it.0));
        Share { pieces: nests.iter().enumerate().flat_map(of).collect(), cost: 0 }
    }

    /// The kernels as modules, which are all that LLVM can do at the same time.
    pub(super) fn all(nests: &[Nest]) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for (at, nest) in nests.iter().enumerate() {
            for (piece, cost) in pieces(nest) {
                match shares.last_mut() {
                    Some(last) if last.cost + cost < LEAST => {
                        last.pieces.push((at, piece));
                        last.cost += cost;
                    }
                    _ => shares.push(Share { pieces: vec![(at, piece)], cost }),
                }
            }
        }
        shares
    }

    /// The kernels of which it has something, and what.
    pub(super) fn of<'a>(&self, nests: &'a [Nest]) -> impl Iterator<Item = (&'a Nest, Vec<Piece>)> {
        let kernels = self.pieces.chunk_by(|a, b| a.0 == b.0);
        kernels.map(|it| (&nests[it[0].0], it.iter().map(|it| it.1).collect()))
    }

    /// About how long LLVM takes for it.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }
}

/// All pieces of a kernel, and what they cost.
fn pieces(nest: &Nest) -> Vec<(Piece, usize)> {
    let mut all = vec![(Piece::Entry, LEAST)];
    for (at, stage) in nest.stages.iter().enumerate() {
        let rests = rests(nest, stage);
        let rests = rests.iter().enumerate().map(|(part, it)| (Piece::Rest(at, part), cost(nest, it.block)));
        let rests: Vec<_> = rests.collect();
        let elsewhere: usize = rests.iter().map(|it| it.1).sum();
        all.push((Piece::Stage(at), cost(nest, &stage.body) - elsewhere));
        all.extend(rests);
    }
    all
}

/// What code of a block costs, in vectors.
pub(super) fn cost(nest: &Nest, block: &Block) -> usize {
    let of = |stmt: &Stmt| match stmt {
        Stmt::Let(_, Op::Int(_) | Op::Real(_) | Op::Bool(_) | Op::Word(_)) => 0,
        Stmt::Let(value, _) | Stmt::Store { value, .. } => nest.values[*value].points().div_ceil(LANES),
        Stmt::Loop(it) => cost(nest, &it.body),
        Stmt::If { then, otherwise, .. } => cost(nest, then) + cost(nest, otherwise),
    };
    block.stmts.iter().map(of).sum()
}
