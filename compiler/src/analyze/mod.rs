//! What a cascade costs: passes and depth over each rank, live footprints, FLOPs and bytes.

mod alternatives;
pub mod passes;
pub(crate) mod stage;
mod work;

pub use alternatives::{Alternative, Form};
use indexmap::IndexMap;
use serde::Serialize;
pub use work::{admitted, flops};

use crate::choose::choose;
use crate::ir::cascade::{Cascade, Extent, Role};
use crate::rewrite::{Variants, carried, saturate};
use crate::schedule::Mapping;
use passes::{passes, passes_over};

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
    /// Equal cascades that were considered, the chosen one first.
    pub alternatives: Vec<Alternative>,
    /// The extents that the alternatives are compared at where none are known.
    pub assumed: IndexMap<String, i64>,
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

/// Analyses a cascade as written, and what it is rewritten to.
pub fn analyze(cascade: &Cascade) -> Analysis {
    let variants = saturate(&carried(cascade));
    let chosen = choose(&variants, &Mapping::default());
    let mut ranks = IndexMap::new();
    let mut fibers = Vec::new();
    for (rank, it) in cascade.ranks.iter().filter(|(_, it)| !it.local) {
        let (as_written, as_chosen) = (passes(cascade, rank), passes(&chosen.candidate.cascade, rank));
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
                passes: counts(as_written.passes, bound, chosen.passes(rank)),
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
            Role::Temporary | Role::Once => continue,
            Role::Intermediate => {}
            Role::Input | Role::Output => bytes = bytes.zip(size).map(|(sum, it)| sum + it),
        }
        let footprint = if fibers.contains(&id) { Footprint::Fiber } else { Footprint::Tile };
        tensors.insert(it.name.clone(), TensorAnalysis { footprint, bytes: size });
    }
    let flops = crate::ir::interp::extents(&chosen.cascade).map(|it| work::flops(&chosen.cascade, &it));
    let alternatives = alternatives::alternatives(cascade, &variants, &chosen);
    let assumed = if extents.is_none() { assumed(cascade, &variants) } else { IndexMap::new() };
    Analysis { name: cascade.name.clone(), ranks, tensors, flops, bytes, alternatives, assumed }
}

/// Likely extents of the ranks that callers know and that have no fixed one.
fn assumed(cascade: &Cascade, variants: &Variants) -> IndexMap<String, i64> {
    let likely = variants.likely_extents();
    let open = cascade.ranks.iter().filter(|(_, it)| !it.local && !matches!(it.extent, Extent::Fixed(_)));
    open.map(|(id, it)| (it.name.clone(), likely[id.idx()])).collect()
}

/// Bytes of inputs and outputs, each moved once.
pub fn size(cascade: &Cascade, extents: &[i64]) -> f64 {
    cascade.inputs().chain(cascade.outputs()).map(|it| work::bytes(cascade, it, extents)).sum()
}

/// Bytes of inputs and outputs, each moved as often as it is traversed.
pub fn traffic(cascade: &Cascade, extents: &[i64]) -> f64 {
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local);
    let counted: Vec<_> = passes_over(cascade, ranks.map(|(rank, _)| rank)).collect();
    let times =
        |tensor| counted.iter().filter_map(|it| it.used.get(&tensor)).map(Vec::len).max().unwrap_or(1);
    let outside = cascade.inputs().chain(cascade.outputs());
    outside.map(|it| times(it) as f64 * work::bytes(cascade, it, extents)).sum()
}
