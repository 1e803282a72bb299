//! Two cascades that are to be equal over the reals, to whether they are, as far as f64 can tell.
//!
//! Both are run with the precision of f64, in a range that nothing leaves. How far they may be apart is derived from both: each is run again with every operation off by a
//! known amount ([`NUDGE`]), and what that moves, scaled down to a rounding of f64 times the length of the longest
//! reduction, is what rounding explains. Points that see a NaN of the inputs are not compared: those that move when
//! another number stands in its place. Where −∞ is put in, what becomes infinite is not compared, and nothing is where +∞
//! comes up on the way: the laws are those of the reals.

use crate::ir::array::{Array, Data};
use crate::ir::cascade::{Cascade, Extent, Role};
use crate::ir::interp::cascade::run_extended;
use crate::ir::interp::{Call, CallError};
use crate::rewrite::Walker;
use attnc_dsl::ast::Kind;
use indexmap::IndexMap;

use super::compare::{SLACK, coordinates, longest, real};
use super::draw::{self, Character};
use super::noise::{NUDGE, nudged};
use super::random::Random;

/// A call, and what a cascade as written gives for it.
pub struct Trial {
    /// What the inputs are like.
    pub character: Character,
    /// The extents, by rank.
    pub extents: Vec<i64>,
    /// Inputs and parameters.
    call: Call,
    written: Run,
    seed: u64,
}

/// Outputs, and how far each point moves if operations are a little off.
struct Run {
    outputs: IndexMap<String, Array>,
    moves: IndexMap<String, Vec<f64>>,
    /// The points that see a NaN of the inputs, if there is one.
    sees: IndexMap<String, Vec<bool>>,
}

impl Trial {
    /// Every character of calls, −∞ included.
    pub const CHARACTERS: [Character; 9] = [
        Character::Plain,
        Character::Single,
        Character::Empty,
        Character::Zero,
        Character::Large,
        Character::Vast,
        Character::Poisoned,
        Character::Sunken,
        Character::Long,
    ];

    /// A call of that character; none if what the author promises excludes it.
    ///
    /// # Errors
    /// The interpreter refuses a call that meets the constraints: a fault of ours.
    pub fn new(cascade: &Cascade, character: Character, seed: u64) -> Result<Option<Trial>, CallError> {
        let mut random = Random::new(seed);
        let Some(extents) = draw::extents(cascade, character, Walker::Thread, &mut random) else {
            return Ok(None);
        };
        for scale in draw::SCALES {
            let call = draw::call(cascade, &extents, character, scale, &mut random);
            if character == Character::Sunken && reaches_infinity(cascade, &call) {
                return Ok(None);
            }
            match Run::of(cascade, &call, character, seed) {
                Ok(written) => return Ok(Some(Trial { character, extents, call, written, seed })),
                Err(CallError::Assume(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Where the outputs of another cascade are not as close as rounding lets them be: the first point, in words.
    ///
    /// # Errors
    /// The interpreter refuses what it took from the cascade as written: a fault of ours.
    pub fn compare(&self, cascade: &Cascade) -> Result<Option<String>, CallError> {
        let other = Run::of(cascade, &self.call, self.character, self.seed)?;
        // Ranks that laws have added are no longer than what they split.
        let most = self.extents.iter().copied().max().unwrap_or(1);
        let added = cascade.ranks.iter().skip(self.extents.len()).map(|(_, it)| match it.extent {
            Extent::Fixed(extent) => extent,
            Extent::Carried | Extent::Derived(_) => most,
        });
        let extents: Vec<i64> = self.extents.iter().copied().chain(added).collect();
        let length = longest(cascade, &extents);
        Ok(self.written.outputs.keys().find_map(|name| self.worst(name, &other, length)))
    }

    fn worst(&self, name: &str, other: &Run, length: f64) -> Option<String> {
        let (written, found) = (&self.written.outputs[name], &other.outputs[name]);
        let moves = (&self.written.moves[name], &other.moves[name]);
        let explained = SLACK * length * f64::EPSILON / NUDGE;
        let typical = median(moves.0).max(median(moves.1));
        (0..written.data.len()).find_map(|at| {
            let (expected, found) = (real(written, at), real(found, at));
            // What the other one makes of a number has to be a number.
            let moves =
                if found.is_finite() { moves.0[at].max(moves.1[at]) } else { moves.0[at] }.max(typical);
            let sees = [&self.written, other].iter().any(|it| it.sees.get(name).is_some_and(|it| it[at]));
            let is_number =
                expected.is_finite() || (expected.is_infinite() && self.character != Character::Sunken);
            let is_compared = is_number
                && !sees
                && moves < f64::INFINITY
                && (written.data.kind() == Kind::Real || moves == 0.0);
            // The last operation rounds, however little the noise happened to move its result.
            let last = if expected.is_finite() { f64::EPSILON * expected.abs() } else { 0.0 };
            let allowed = explained * moves + last + f64::MIN_POSITIVE;
            let agrees = expected == found || (expected.is_finite() && (found - expected).abs() <= allowed);
            (is_compared && !agrees).then(|| {
                let point = coordinates(at, &written.shape);
                format!(
                    "`{name}{point:?}` is {found:?}, expected {expected:?}, where {allowed:.1e} is allowed"
                )
            })
        })
    }
}

impl Run {
    fn of(cascade: &Cascade, call: &Call, character: Character, seed: u64) -> Result<Run, CallError> {
        let outputs = run_extended(cascade, call)?;
        let moved = run_extended(&nudged(cascade, &mut Random::new(seed)), call)?;
        let moves = outputs.iter().map(|(name, it)| {
            let by = |at| match (real(&moved[name], at), real(it, at)) {
                (moved, it) if moved == it => 0.0,
                (moved, it) if (moved - it).is_nan() => f64::INFINITY,
                (moved, it) => (moved - it).abs(),
            };
            (name.clone(), (0..it.data.len()).map(by).collect())
        });
        let mut run = Run { moves: moves.collect(), outputs, sees: IndexMap::new() };
        if character == Character::Poisoned {
            run.look(cascade, call, seed)?;
        }
        Ok(run)
    }

    /// Finds what sees a NaN of the inputs: what another number in its place changes, be it by a rounding.
    fn look(&mut self, cascade: &Cascade, call: &Call, seed: u64) -> Result<(), CallError> {
        let with = |number: f64| {
            let mut call = call.clone();
            for array in call.inputs.values_mut() {
                if let Data::Real(it) = &mut array.data {
                    it.iter_mut().filter(|it| it.is_nan()).for_each(|it| *it = number);
                }
            }
            run_extended(&nudged(cascade, &mut Random::new(seed)), &call)
        };
        let (low, high) = (with(-0.75)?, with(1.5)?);
        for (name, it) in &low {
            let differs = |at| real(it, at).to_bits() != real(&high[name], at).to_bits();
            self.sees.insert(name.clone(), (0..it.data.len()).map(differs).collect());
        }
        Ok(())
    }
}

/// A tensor has +∞ at some point.
fn reaches_infinity(cascade: &Cascade, call: &Call) -> bool {
    let mut all = cascade.clone();
    for id in cascade.tensors.ids().filter(|it| cascade.tensors[*it].role == Role::Temporary) {
        all.tensors[id].role = Role::Output;
    }
    let tensors = run_extended(&all, call).into_iter().flat_map(IndexMap::into_values);
    tensors.into_iter().any(|it| matches!(it.data, Data::Real(it) if it.contains(&f64::INFINITY)))
}

/// What moves half of the points less.
fn median(moves: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = moves.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
