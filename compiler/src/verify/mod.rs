//! A cascade to calls that test it, and to what a right kernel may answer.
//!
//! ```text
//! S[m, n] = sum[d](Q * K)   ->   Q and K of |m| = 3, |n| = 7, |d| = 1, normal;  S, each point with how far it may be off
//! ```
//!
//! The same cascade and seed give the same calls.

mod compare;
mod draw;
mod equal;
mod keys;
mod long;
mod noise;
mod parallel;
mod random;
mod several;
mod short;

pub use compare::{Distance, Reference};
pub use draw::{Character, MOST_POINTS};
pub use equal::Trial;
pub use keys::{Keys, key_ranks, with_keys};
pub use long::Tiles;
pub use parallel::on_all_cores;
pub use several::{MOST_OF_SEVERAL, Several, Tiling};
pub use short::Short;

use crate::ir::cascade::Cascade;
use crate::ir::interp::{Call, CallError};
use crate::rewrite::Walker;
use random::Random;

/// A call and what it must give.
pub struct Case {
    /// What the inputs are like.
    pub character: Character,
    /// The extents, by rank.
    pub extents: Vec<i64>,
    /// Inputs and parameters.
    pub call: Call,
    /// What must come out.
    pub reference: Reference,
}

impl Case {
    /// A case of that character and those extents of the ranks that inputs carry; none if the author's assumptions
    /// exclude what is drawn, or there is too much to interpret.
    ///
    /// # Errors
    /// The interpreter refuses the extents.
    pub fn of(
        cascade: &Cascade,
        sizes: &dyn Fn(&str) -> Option<i64>,
        character: Character,
        seed: u64,
    ) -> Result<Option<Case>, CallError> {
        let mut random = Random::new(seed);
        match draw::extents_of(cascade, sizes, &mut random)? {
            Some(extents) => case(cascade, extents, character, &mut random),
            None => Ok(None),
        }
    }

    /// The call in words.
    pub fn describe(&self, cascade: &Cascade) -> String {
        format!("{:?} inputs, {}", self.character, extents(cascade, &self.extents))
    }
}

/// The extents of a call in words.
pub fn extents(cascade: &Cascade, extents: &[i64]) -> String {
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local);
    let ranks = ranks.map(|(id, it)| format!("{}={}", it.name, extents[id.idx()]));
    ranks.collect::<Vec<_>>().join(" ")
}

/// A call of a kernel whose ranks have these extents, with normal reals and integers that are mostly coordinates; the
/// same for the same seed.
pub fn call_at(cascade: &Cascade, extents: &[i64], seed: u64) -> Call {
    draw::call(cascade, extents, Character::Plain, 1.0, &mut Random::new(seed))
}

/// One case of each character that the constraints and assumptions of a kernel allow, for code in which that walker takes
/// chunks of tokens: if the interpreter can be asked for so much, there is a case with more tokens than one of its chunks
/// has.
///
/// # Errors
/// The interpreter refuses a call that meets them: a fault of ours.
pub fn cases(cascade: &Cascade, walker: Walker, seed: u64) -> impl Iterator<Item = Result<Case, CallError>> {
    (0..).zip(Character::ALL).filter_map(move |(number, character)| {
        let mut random = Random::new(seed.wrapping_mul(1009).wrapping_add(number));
        let extents = draw::extents(cascade, character, walker, &mut random)?;
        case(cascade, extents, character, &mut random).transpose()
    })
}

/// A case of that character, unless the author's assumptions exclude what is drawn.
fn case(
    cascade: &Cascade,
    extents: Vec<i64>,
    character: Character,
    random: &mut Random,
) -> Result<Option<Case>, CallError> {
    case_of_bounds(cascade, extents, character, (&[], 0), random)
}

/// The same with inputs of integers that are near a number.
fn case_of_bounds(
    cascade: &Cascade,
    extents: Vec<i64>,
    character: Character,
    (bounds, near): (&[String], i64),
    random: &mut Random,
) -> Result<Option<Case>, CallError> {
    let bound = |call: &mut Call, random: &mut Random| draw::bound(cascade, call, bounds, near, random);
    case_of(cascade, extents, character, &bound, random)
}

/// The same with what is done to a call that is drawn.
fn case_of(
    cascade: &Cascade,
    extents: Vec<i64>,
    character: Character,
    change: &dyn Fn(&mut Call, &mut Random),
    random: &mut Random,
) -> Result<Option<Case>, CallError> {
    for scale in draw::SCALES {
        let mut call = draw::call(cascade, &extents, character, scale, random);
        change(&mut call, random);
        match Reference::of(cascade, &call, &extents, random) {
            Ok(reference) => return Ok(Some(Case { character, extents, call, reference })),
            Err(CallError::Assume(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
