//! Equal cascades to the one that is compiled.
//!
//! The best of them, unless its sums of exponentials would not stream together: then nothing but a maximum that the author
//! took keeps them in range and in digits, so the next one is asked, and in the end the cascade as written. If that is no
//! better, it is the best after all.

use crate::rewrite::{Candidate, Variants};
use crate::schedule::{Mapping, Plan, schedule};

/// The cascade that is compiled, with its plan.
pub struct Chosen {
    /// The cascade.
    pub candidate: Candidate,
    /// Its plan.
    pub plan: Plan,
    /// Better cascades that were passed over, best first: their plans part sums of powers.
    pub passed: Vec<Candidate>,
}

/// Chooses.
pub fn choose(variants: &Variants, mapping: &Mapping) -> Chosen {
    let mut passed: Vec<(Candidate, Plan)> = Vec::new();
    for candidate in variants.candidates() {
        let plan = schedule(&candidate.cascade, mapping);
        if !plan.parts_powers {
            let passed = passed.into_iter().map(|it| it.0).collect();
            return Chosen { candidate, plan, passed };
        }
        passed.push((candidate, plan));
    }
    let (candidate, plan) = passed.swap_remove(0);
    Chosen { candidate, plan, passed: Vec::new() }
}

/// The cascade that is compiled for any machine: a mapping decides on tiles, not on what can be streamed.
pub fn chosen(variants: &Variants) -> Candidate {
    choose(variants, &Mapping::default()).candidate
}
