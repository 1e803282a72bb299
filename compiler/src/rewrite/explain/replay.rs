//! A derivation to whether every step of it holds on random tensors.
//!
//! After each law the whole term is turned into a cascade and run by the interpreter, on calls of every character.
//! Laws hold for reals, so it is run in a range that no number leaves.

use super::{Derivation, Step, Whole};
use crate::ir;
use crate::ir::cascade::Cascade;
use crate::ir::interp::CallError;
use crate::verify::{Character, Trial};

/// How a derivation did.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// How many cascades were run: one for each step, then the last term and the chosen cascade.
    pub cascades: usize,
    /// How many steps mention a coordinate that their value does not depend on, so that no einsum computes it; they are
    /// run together with the next step.
    pub together: usize,
    /// How many comparisons agreed.
    pub comparisons: usize,
    /// The first step that does not hold.
    pub disagreement: Option<Disagreement>,
}

/// A step that does not hold.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// Its number, from 1; 0 stands for the chosen cascade.
    pub step: usize,
    /// What the call was like.
    pub character: Character,
    /// Where the results differ.
    pub what: String,
}

impl Derivation {
    /// Runs every step, up to the first that does not hold.
    ///
    /// # Errors
    /// The interpreter refuses a call: a fault of ours.
    pub fn replay(&self, written: &Cascade, seed: u64) -> Result<Replay, CallError> {
        let mut replay = Replay::default();
        let trials = trials(written, seed)?;
        let whole = |it: &Step| match &it.whole {
            Whole::Terms(terms) => self.notebook.cascade(terms),
            Whole::Cascade(cascade) => (**cascade).clone(),
        };
        let steps = (1..).zip(self.steps.iter().map(whole));
        let steps = steps.chain([(0, self.notebook.cascade(&self.last)), (0, self.chosen.clone())]);
        for (step, cascade) in steps {
            // A value may mention a coordinate that it does not depend on, until a later law removes it.
            if step > 0 && ir::verify::cascade(&cascade).is_err() {
                replay.together += 1;
                continue;
            }
            replay.cascades += 1;
            for trial in &trials {
                if let Some(what) = trial.compare(&cascade)? {
                    let character = trial.character;
                    replay.disagreement = Some(Disagreement { step, character, what });
                    return Ok(replay);
                }
                replay.comparisons += 1;
            }
        }
        Ok(replay)
    }
}

/// A call of each character that the author's assumptions allow.
fn trials(written: &Cascade, seed: u64) -> Result<Vec<Trial>, CallError> {
    let characters = (0..).zip(Trial::CHARACTERS);
    let trial = |(number, it)| Trial::new(written, it, seed.wrapping_mul(1009) + number).transpose();
    characters.filter_map(trial).collect()
}
