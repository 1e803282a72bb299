//! Equal cascades to the one that is compiled.
//!
//! The best of them, unless its sums of exponentials would not stream together: then nothing but a maximum that the author
//! took keeps them in range and in digits, so the next one is asked, and in the end the cascade as written. Of those in as
//! few passes, one that streams comes before one that stores whole fibers on the way.

use crate::analyze::passes::passes;
use crate::ir::cascade::{Cascade, RankId};
use crate::rewrite::{Candidate, Variants, in_chunks};
use crate::schedule::{Mapping, Plan, schedule};

/// The cascade that is compiled, with its plan.
pub struct Chosen {
    /// What saturation found.
    pub candidate: Candidate,
    /// The same with sums over earlier tokens in chunks: the cascade that is compiled.
    pub cascade: Cascade,
    /// Its plan.
    pub plan: Plan,
    /// Better cascades that were passed over, best first: their plans part sums of powers.
    pub passed: Vec<Candidate>,
    /// Cheaper cascades that were passed over, best first: their plans store fibers.
    pub stored: Vec<Candidate>,
}

impl Chosen {
    /// How often a rank is traversed: by what is compiled, or by what that was made of, if it gathers what that traverses,
    /// for a gather is not counted.
    pub fn passes(&self, rank: RankId) -> u32 {
        [&self.candidate.cascade, &self.cascade]
            .map(|it| passes(it, rank).passes)
            .into_iter()
            .fold(0, u32::max)
    }
}

/// Chooses.
pub fn choose(variants: &Variants, mapping: &Mapping) -> Chosen {
    let (mut parting, mut storing): (Vec<Chosen>, Vec<Chosen>) = (Vec::new(), Vec::new());
    let candidates = |them: Vec<Chosen>| them.into_iter().map(|it| it.candidate).collect();
    // Products of matrices are worth more than less work for one token after the other.
    let written = variants.as_written();
    let is_chunked = takes_chunks(&written.cascade, &in_chunks(&written.cascade, mapping.walker()));
    for candidate in variants.candidates() {
        let cascade = in_chunks(&candidate.cascade, mapping.walker());
        if is_chunked && candidate.passes == written.passes && !takes_chunks(&candidate.cascade, &cascade) {
            continue;
        }
        if storing.first().is_some_and(|it: &Chosen| candidate.passes > it.candidate.passes) {
            break;
        }
        let plan = schedule(&cascade, mapping);
        let it = Chosen { candidate, cascade, plan, passed: Vec::new(), stored: Vec::new() };
        if it.plan.parts_powers {
            parting.push(it);
        } else if it.plan.stores_fibers() {
            storing.push(it);
        } else {
            return Chosen { passed: candidates(parting), stored: candidates(storing), ..it };
        }
    }
    if storing.is_empty() {
        let last = parting.pop().expect("the cascade as written is the last candidate");
        return Chosen { passed: candidates(parting), ..last };
    }
    let first = storing.swap_remove(0);
    // What came after the first that is compiled was not better.
    parting.retain(|it| {
        it.candidate.passes < first.candidate.passes || it.candidate.work < first.candidate.work
    });
    Chosen { passed: candidates(parting), ..first }
}

/// Some ranks of a cascade are split in the one in chunks.
fn takes_chunks(cascade: &Cascade, in_chunks: &Cascade) -> bool {
    cascade.ranks.iter().any(|(rank, it)| it.parts.is_empty() && !in_chunks.ranks[rank].parts.is_empty())
}

/// What is compiled for any machine: a mapping decides on tiles, not on what can be streamed.
pub fn chosen(variants: &Variants) -> Candidate {
    choose(variants, &Mapping::default()).candidate
}
