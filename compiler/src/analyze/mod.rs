//! What a cascade costs: passes and depth over each rank, live footprints, FLOPs and bytes.

pub mod passes;
pub(crate) mod stage;
mod work;

use indexmap::IndexMap;
use serde::Serialize;

use crate::ir::cascade::{Cascade, Role};
use crate::rewrite::{Variants, carried, in_chunks, saturate, unchunked};
use passes::passes;

/// The analysis of one kernel, in the form that `attnc analyze --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Analysis {
    /// The kernel.
    pub name: String,
    /// For each declared rank that is traversed.
    pub ranks: IndexMap<String, RankAnalysis>,
    /// For each tensor that the spec names, in the chosen form.
    pub tensors: IndexMap<String, TensorAnalysis>,
    /// Operations on numbers of the chosen form; `null` where extents are not known.
    pub flops: Option<f64>,
    /// Bytes of inputs and outputs, each moved once; `null` where extents are not known.
    pub bytes: Option<f64>,
    /// Equal cascades that were considered, best first; the first is the chosen one.
    pub alternatives: Vec<Alternative>,
}

/// One of several equal cascades.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// Traversals of fibers, summed over the ranks.
    pub passes: u32,
    /// Bytes of inputs and outputs, each moved as often as it is traversed; `null` where extents are not known.
    pub bytes: Option<f64>,
    /// Operations on numbers; `null` where extents are not known.
    pub flops: Option<f64>,
}

/// The counts of one rank.
#[derive(Debug, Clone, Serialize)]
pub struct RankAnalysis {
    /// Traversals of its fibers.
    pub passes: Counts,
    /// Traversals that wait for each other, whatever they read.
    pub depth: Counts,
}

/// A count for each form of the cascade that is known.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// Of the cascade as written.
    pub written: u32,
    /// What none of the equal cascades that are known does without.
    pub bound: u32,
    /// Of the cascade that is compiled.
    pub chosen: u32,
}

/// What is known of one tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorAnalysis {
    /// What has to be held of it between its first and its last use.
    pub footprint: Footprint,
    /// Its size in memory; `null` where extents are not known.
    pub bytes: Option<f64>,
}

/// How much of a tensor has to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Footprint {
    /// A tile: all uses are in one pass.
    Tile,
    /// A whole fiber: it is used again in a later pass.
    Fiber,
}

/// How many equal cascades are listed.
const ALTERNATIVES: usize = 5;

/// Analyses a cascade as written, and what it is rewritten to.
pub fn analyze(cascade: &Cascade) -> Analysis {
    let variants = saturate(&carried(cascade));
    let chosen = in_chunks(&variants.chosen());
    let mut ranks = IndexMap::new();
    let mut fibers = Vec::new();
    for (rank, it) in cascade.ranks.iter().filter(|(_, it)| !it.local) {
        let (as_written, as_chosen) = (passes(cascade, rank), passes(&chosen, rank));
        fibers.extend(as_chosen.used.iter().filter(|(_, used)| used.len() > 1).map(|(tensor, _)| *tensor));
        if as_written.passes > 0 {
            let (bound, depth) = variants.bound(rank);
            // A rank whose tokens another rank walks along is still read.
            let counts = |written, bound: u32, chosen: u32| Counts {
                written,
                bound: bound.max(1),
                chosen: chosen.max(1),
            };
            let analysis = RankAnalysis {
                passes: counts(as_written.passes, bound, as_chosen.passes),
                depth: counts(as_written.depth, depth, as_chosen.depth),
            };
            ranks.insert(it.name.clone(), analysis);
        }
    }
    let extents = crate::ir::interp::extents(cascade);
    let mut tensors = IndexMap::new();
    let mut bytes = extents.as_ref().map(|_| 0.0);
    for (id, it) in cascade.tensors.iter() {
        let size = extents.as_ref().map(|extents| work::bytes(cascade, id, extents));
        match it.role {
            Role::Temporary => continue,
            Role::Intermediate => {}
            Role::Input | Role::Output => bytes = bytes.zip(size).map(|(sum, it)| sum + it),
        }
        let footprint = if fibers.contains(&id) { Footprint::Fiber } else { Footprint::Tile };
        tensors.insert(it.name.clone(), TensorAnalysis { footprint, bytes: size });
    }
    let first = alternative(&chosen, crate::ir::interp::extents(&chosen).as_deref());
    let flops = first.flops;
    let alternatives = considered(cascade, &variants, first);
    Analysis { name: cascade.name.clone(), ranks, tensors, flops, bytes, alternatives }
}

/// The chosen cascade, then others by passes, bytes and operations.
fn considered(cascade: &Cascade, variants: &Variants, chosen: Alternative) -> Vec<Alternative> {
    let others = variants.best_of(4 * ALTERNATIVES).into_iter().map(|it| it.cascade);
    let others = others.chain(unchunked(cascade));
    let mut others: Vec<Alternative> =
        others.map(|it| alternative(&it, crate::ir::interp::extents(&it).as_deref())).collect();
    let order = |a: &Option<f64>, b: &Option<f64>| a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0));
    others.sort_by(|a, b| {
        a.passes.cmp(&b.passes).then(order(&a.bytes, &b.bytes)).then(order(&a.flops, &b.flops))
    });
    others.dedup();
    others.retain(|it| *it != chosen);
    others.truncate(ALTERNATIVES - 1);
    std::iter::once(chosen).chain(others).collect()
}

/// What a cascade costs.
pub fn alternative(cascade: &Cascade, extents: Option<&[i64]>) -> Alternative {
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local);
    let counted: Vec<_> = ranks.map(|(rank, _)| passes(cascade, rank)).collect();
    let traffic = |extents: &[i64]| -> f64 {
        let outside = cascade.inputs().chain(cascade.outputs());
        let times =
            |tensor| counted.iter().filter_map(|it| it.used.get(&tensor)).map(Vec::len).max().unwrap_or(1);
        outside.map(|it| times(it) as f64 * work::bytes(cascade, it, extents)).sum()
    };
    Alternative {
        passes: counted.iter().map(|it| it.passes).sum(),
        bytes: extents.map(traffic),
        flops: extents.map(|it| work::flops(cascade, it)),
    }
}
