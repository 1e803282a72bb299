//! A derivation to whether every step of it holds on random tensors.
//!
//! After each law the whole term is turned into a cascade and run by the interpreter, on calls of every character.
//! Laws hold for reals; where numbers grow beyond f64, the call is repeated with smaller ones, which is said.

use super::{Derivation, Step, Whole};
use crate::ir;
use crate::ir::cascade::Cascade;
use crate::ir::interp::CallError;
use crate::verify::{Character, Trial, Verdict};

/// What the reals of calls are multiplied by, until f64 can hold what comes up on the way.
const SCALES: [f64; 4] = [1.0, 0.25, 0.0625, 0.015_625];

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
    /// How many could not be made, for no numbers were small enough.
    pub beyond: usize,
    /// How many of them needed smaller numbers than were drawn.
    pub scaled: usize,
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
            for scales in &trials {
                if let Some(what) = compared(scales, &cascade, &mut replay)? {
                    let character = scales[0].character;
                    replay.disagreement = Some(Disagreement { step, character, what });
                    return Ok(replay);
                }
            }
        }
        Ok(replay)
    }
}

/// For each character, calls with smaller and smaller numbers.
fn trials(written: &Cascade, seed: u64) -> Result<Vec<Vec<Trial>>, CallError> {
    let mut all = Vec::new();
    for (number, character) in (0..).zip(Trial::CHARACTERS) {
        let mut scales = Vec::new();
        for scale in SCALES {
            scales.extend(Trial::new(written, character, scale, seed.wrapping_mul(1009) + number)?);
        }
        if !scales.is_empty() {
            all.push(scales);
        }
    }
    Ok(all)
}

/// Compares on the first of the calls that f64 can hold.
fn compared(trials: &[Trial], cascade: &Cascade, replay: &mut Replay) -> Result<Option<String>, CallError> {
    for (number, trial) in trials.iter().enumerate() {
        match trial.compare(cascade)? {
            Verdict::Agrees => {
                replay.comparisons += 1;
                replay.scaled += usize::from(number > 0);
                return Ok(None);
            }
            Verdict::OutOfRange => {}
            Verdict::Differs(what) => return Ok(Some(what)),
        }
    }
    replay.beyond += 1;
    Ok(None)
}
