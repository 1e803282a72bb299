//! What was considered beside the chosen cascade, what it costs, and why it was not chosen.

use serde::Serialize;

use super::{traffic, work};
use crate::analyze::passes::passes;
use crate::choose::Chosen;
use crate::ir::cascade::{Cascade, Extent};
use crate::rewrite::{Candidate, Variants};

/// How many other cascades are listed, besides the one as written.
const OTHERS: usize = 4;

/// One of several equal cascades.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// Which one it is.
    pub form: Form,
    /// Traversals of fibers, summed over the ranks.
    pub passes: u32,
    /// Bytes of inputs and outputs, each moved as often as it is traversed, at the extents that are known or assumed.
    pub bytes: f64,
    /// Operations on numbers, at the same extents.
    pub flops: f64,
    /// Why it was not chosen.
    pub why: Option<&'static str>,
}

/// Which of the equal cascades it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// What is compiled.
    Chosen,
    /// The author's.
    Written,
    /// Another one that the laws lead to.
    Other,
}

/// The chosen cascade, then others by passes, bytes and operations, the one as written among them.
pub(super) fn alternatives(written: &Cascade, variants: &Variants, chosen: &Chosen) -> Vec<Alternative> {
    let likely = variants.likely_extents();
    let costed = |cascade: &Cascade| alternative(cascade, &extended(cascade, &likely));
    let first = Alternative { form: Form::Chosen, ..costed(&chosen.cascade) };
    let why = |it: Alternative| Alternative { why: Some(rejected(&first, &it)), ..it };
    let passed = |it: &Candidate, why| Alternative { why: Some(why), ..costed(&it.cascade) };
    let parted =
        chosen.passed.iter().map(|it| passed(it, "would scale sums of powers apart from each other"));
    let stored = chosen.stored.iter().map(|it| passed(it, "would store whole fibers"));
    let mut others: Vec<Alternative> = parted.chain(stored).collect();
    let same =
        |a: &Alternative, b: &Alternative| (a.passes, a.bytes, a.flops) == (b.passes, b.bytes, b.flops);
    let found = variants.best_of(4 * OTHERS).into_iter().map(|it| it.cascade);
    for it in found.chain([chosen.candidate.cascade.clone()]).map(|it| costed(&it)) {
        if !same(&it, &first) && !others.iter().any(|other| same(other, &it)) {
            others.push(why(it));
        }
    }
    others.sort_by(|a, b| {
        a.passes.cmp(&b.passes).then(a.bytes.total_cmp(&b.bytes)).then(a.flops.total_cmp(&b.flops))
    });
    others.truncate(OTHERS);
    let written = costed(written);
    if !same(&written, &first) {
        others.retain(|it| !same(it, &written));
        others.push(Alternative { form: Form::Written, ..why(written) });
    }
    std::iter::once(first).chain(others).collect()
}

/// Extents for all ranks, those too that laws have added.
fn extended(cascade: &Cascade, likely: &[i64]) -> Vec<i64> {
    let mut bound = cascade.clone();
    for (rank, &extent) in cascade.ranks.ids().zip(likely) {
        if bound.ranks[rank].extent == Extent::Carried {
            bound.ranks[rank].extent = Extent::Fixed(extent);
        }
    }
    let known = crate::ir::interp::extents(&bound);
    known.unwrap_or_else(|| {
        let mut all = likely.to_vec();
        all.resize(cascade.ranks.len(), 1);
        all
    })
}

fn alternative(cascade: &Cascade, extents: &[i64]) -> Alternative {
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local);
    Alternative {
        form: Form::Other,
        passes: ranks.map(|(rank, _)| passes(cascade, rank).passes).sum(),
        bytes: traffic(cascade, extents),
        flops: work::flops(cascade, extents),
        why: None,
    }
}

/// Why an alternative was not chosen.
fn rejected(chosen: &Alternative, other: &Alternative) -> &'static str {
    if other.passes > chosen.passes {
        "more passes"
    } else if other.bytes > chosen.bytes {
        "moves more"
    } else if other.flops > chosen.flops {
        "more operations"
    } else {
        "costlier operations"
    }
}
