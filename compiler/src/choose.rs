//! Equal cascades to the one that is compiled.
//!
//! The best of them, unless its sums of exponentials would not stream together: then nothing but a maximum that the author
//! took keeps them in range and in digits, so the next one is asked, and in the end the cascade as written.

use crate::ir::cascade::Cascade;
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
}

/// Chooses.
pub fn choose(variants: &Variants, mapping: &Mapping) -> Chosen {
    let mut passed: Vec<Chosen> = Vec::new();
    for candidate in variants.candidates() {
        let cascade = in_chunks(&candidate.cascade);
        let plan = schedule(&cascade, mapping);
        let parts = plan.parts_powers;
        let it = Chosen { candidate, cascade, plan, passed: Vec::new() };
        if !parts {
            return Chosen { passed: passed.into_iter().map(|it| it.candidate).collect(), ..it };
        }
        passed.push(it);
    }
    let last = passed.pop().expect("the cascade as written is the last candidate");
    Chosen { passed: passed.into_iter().map(|it| it.candidate).collect(), ..last }
}

/// What is compiled for any machine: a mapping decides on tiles, not on what can be streamed.
pub fn chosen(variants: &Variants) -> Candidate {
    choose(variants, &Mapping::default()).candidate
}
