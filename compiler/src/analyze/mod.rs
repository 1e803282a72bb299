//! What a cascade costs: passes and depth over each rank, live footprints, FLOPs and bytes.

pub mod passes;
pub(crate) mod stage;
mod work;

use indexmap::IndexMap;
use serde::Serialize;

use crate::ir::cascade::{Cascade, Role};
use passes::passes;

/// The analysis of one kernel, in the form that `attnc analyze --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Analysis {
    /// The kernel.
    pub name: String,
    /// For each declared rank that is traversed.
    pub ranks: IndexMap<String, RankAnalysis>,
    /// For each tensor that the spec names.
    pub tensors: IndexMap<String, TensorAnalysis>,
    /// Operations on numbers; `null` where extents are not known.
    pub flops: Option<f64>,
    /// Bytes of inputs and outputs, each moved once; `null` where extents are not known.
    pub bytes: Option<f64>,
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

/// Analyses a cascade as written.
pub fn analyze(cascade: &Cascade) -> Analysis {
    let mut ranks = IndexMap::new();
    let mut fibers = Vec::new();
    for (rank, it) in cascade.ranks.iter().filter(|(_, it)| !it.local) {
        let counted = passes(cascade, rank);
        fibers.extend(counted.used.iter().filter(|(_, used)| used.len() > 1).map(|(tensor, _)| *tensor));
        if counted.passes > 0 {
            let analysis = RankAnalysis {
                passes: Counts { written: counted.passes },
                depth: Counts { written: counted.depth },
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
    let flops = extents.as_ref().map(|extents| work::flops(cascade, extents));
    Analysis { name: cascade.name.clone(), ranks, tensors, flops, bytes }
}
