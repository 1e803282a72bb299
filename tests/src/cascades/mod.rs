//! Random cascades as text of the language, so that one that fails can be pasted.
//!
//! ```text
//! heads grouped by 2, causal, a softmax without maximum, its log-sum-exp   ->   kernel drawn { rank m, n, d, e … }
//! ```
//!
//! What is drawn are features, and they are what shrinks: a mask goes, two segments become one, extents fall.

mod attention;
mod mask;
mod outputs;
mod pieces;
mod score;
mod sums;
mod text;
mod weights;

use std::fmt;

use attnc::verify::Character;
use indexmap::IndexMap;
use proptest::prelude::*;

/// A spec, and a call to test it with.
#[derive(Clone)]
pub struct Drawn {
    /// One kernel.
    pub text: String,
    /// The extent of each rank that inputs carry.
    pub sizes: IndexMap<String, i64>,
    /// What the inputs are like.
    pub character: Character,
    /// Where their numbers begin.
    pub seed: u64,
}

impl fmt::Debug for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.sizes.iter().map(|(rank, extent)| format!("{rank}={extent}"));
        let sizes = sizes.collect::<Vec<_>>().join(" ");
        write!(f, "{:?} inputs, seed {}, {sizes}\n{}", self.character, self.seed, self.text)
    }
}

/// Attention of every kind that its parts can be put together to, sums of sums, and maps, reductions, scans and recurrences as they
/// come.
pub fn cascades() -> impl Strategy<Value = Drawn> {
    let texts = prop_oneof![3 => attention::texts(), 1 => pieces::texts(), 2 => sums::texts()];
    (texts, character(), 0_u64..1000).prop_map(|(text, character, seed)| text.drawn(character, seed))
}

fn character() -> impl Strategy<Value = Character> {
    prop_oneof![
        5 => Just(Character::Plain),
        1 => Just(Character::Zero),
        2 => Just(Character::Large),
        1 => Just(Character::Poisoned),
    ]
}

/// An extent: mostly a few, often none, one or two, or, if `most` allows, more than a tile.
fn extent(most: i64) -> impl Strategy<Value = i64> {
    let few = most.min(9);
    prop_oneof![4 => 3.min(few)..=few, 2 => 0..=2_i64.min(most), 2 => few..=most]
}
