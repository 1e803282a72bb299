//! Sums over earlier tokens in chunks: a cascade to an equal one whose memory is a state between chunks.
//!
//! ```text
//! A[m, n] = sum[d](q * k) where n <= m;  o[m, e] = sum[n](A * v)      every pair of tokens
//! H[t+1, d, e] = a * H[t, d, e] + k * v; o[t, e] = sum[d](q * H)      a state for each token
//! G[c+1, d, e] = D * G[c, d, e] + U;     o = q · G + masked pairs     a state for each chunk of tokens
//! ```
//!
//! Three laws, each applied as often as it is worth it: *carried-state* takes the first form to the second
//! (`carry.rs`), *chunked-state* the second to the third (`form.rs`), and *solved-state* does so where what a token adds
//! depends on the state, `v - sum[d](k * H[t])` in place of `v` (`own.rs`, `solve.rs`). This is no search: all are
//! decided by the sizes of what is computed (`worth.rs`), so the e-graph need not know of chunks.

#![allow(clippy::wildcard_enum_match_arm, reason = "a law asks for some forms, whatever others there are")]

mod carry;
mod draft;
mod fade;
mod form;
mod own;
mod pair;
mod product;
mod sides;
mod solve;
mod state;
mod tokens;
mod worth;

use super::rules::Exactness;
use crate::ir::cascade::Cascade;
use draft::Draft;
pub(super) use draft::fresh;
use tokens::Tokens;

/// A law that turns one cascade into another.
#[derive(Debug)]
pub(crate) struct Law {
    /// Its name in explanations.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) law: &'static str,
    /// What it does to rounding and range.
    pub(crate) exactness: Exactness,
}

/// A sum over earlier tokens whose terms are products is a state.
const CARRIED: Law = Law {
    name: "carried-state",
    law: "Σₙ≤ₘ γᵐ⁻ⁿ·(Σ_d q[m,d]·k[n,d])·v[n] = Σ_d q[m,d]·H[m+1,d], if H[t+1] = γ·H[t] + k[t]·v[t]",
    exactness: Exactness::Reassociates,
};

/// A state at a token is the one before the chunk and what the chunk has added.
const CHUNKED: Law = Law {
    name: "chunked-state",
    law: "H[(c,i)+1] = (Π_l≤i a[l])·G[c] + Σ_j≤i (Π_j<l≤i a[l])·u[j], if H[t+1] = a[t]·H[t] + u[t] and G[c] = H[(c,0)]",
    exactness: Exactness::Reassociates,
};

/// What the tokens of a chunk add, where it depends on the state, is what they would add to the state before the chunk,
/// times the inverse of a triangle.
const SOLVED: Law = Law {
    name: "solved-state",
    law: "u[(c,i)] = Σ_j≤i T[i,j]·(f[j] + g[j]·(Π_l<j a[l])·Σ_d w[j]·G[c]), if H[t+1] = a[t]·H[t] + k[t]·u[t], \
          u[t] = f[t] + g[t]·Σ_d w[t]·H[t], T = 1 + N·T and N[i,j] = g[i]·(Π_j<l<i a[l])·Σ_d w[i]·k[j] for j < i",
    exactness: Exactness::Reassociates,
};

/// Who takes chunks one after the other; who takes larger ones comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Walker {
    /// A thread: what the tokens of a chunk give to others is held once for all of them.
    Thread,
    /// A block of threads: products of matrices take it as it lies in memory.
    Block,
}

/// All of them.
pub(super) const LAWS: [Law; 3] = [CARRIED, CHUNKED, SOLVED];

/// A law, applied once.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    /// The law.
    pub(crate) law: &'static Law,
    /// The cascade after it.
    pub(crate) cascade: Cascade,
}

/// Sums over pairs of tokens that are products become states; one result for each rank of tokens.
pub(crate) fn carried(cascade: &Cascade) -> Vec<Applied> {
    let mut draft = Draft::of(cascade);
    let mut all = Vec::new();
    while carry::apply(&mut draft) {
        all.push(Applied { law: &LAWS[0], cascade: draft.cascade.clone() });
    }
    all
}

/// States become chunks, one state after the other.
pub(crate) fn chunked(cascade: &Cascade, walker: Walker) -> Vec<Applied> {
    let mut chunking = Chunking {
        walker,
        draft: Draft::of(cascade),
        tokens: Vec::new(),
        saved: Vec::new(),
        scores: Vec::new(),
        all: Vec::new(),
    };
    // A state that is not worth it by itself may be once others have computed what it needs, too.
    while chunking.round() {}
    chunking.all
}

/// How much of what chunks save another state may take, so that it is in chunks, too.
const SHARE: f64 = 0.5;

struct Chunking {
    walker: Walker,
    draft: Draft,
    tokens: Vec<Tokens>,
    /// What chunks have saved so far along each rank of tokens.
    saved: Vec<f64>,
    scores: Vec<worth::Score>,
    all: Vec<Applied>,
}

impl Chunking {
    /// Looks at each state once; true if one was put into chunks.
    fn round(&mut self) -> bool {
        let (before, mut seen) = (self.all.len(), Vec::new());
        while let Some(state) = state::find(&mut self.draft, &seen) {
            seen.push(state.tensor);
            let Some((size, saving)) = worth::saving(&self.draft, &state, self.walker, &self.scores) else {
                continue;
            };
            let known = self.tokens.iter().position(|it| it.rank == state.rank);
            let saved = known.map_or(0.0, |it| self.saved[it]);
            // A state in tokens beside one in chunks would be stored for all tokens.
            if saving <= 0.0 && saving <= -SHARE * saved {
                continue;
            }
            match known {
                Some(at) => {
                    let tokens = self.tokens[at];
                    self.saved[at] += saving;
                    self.scores.extend(worth::scores(&self.draft, &state));
                    form::apply(&mut self.draft, &state, tokens, self.walker);
                    let law = if state.own.is_some() { &LAWS[2] } else { &LAWS[1] };
                    self.all.push(Applied { law, cascade: self.draft.cascade.clone() });
                }
                None if self.draft.may_split(state.rank) => {
                    let size = worth::smallest(&mut self.draft.clone(), state.rank, self.walker, size);
                    self.tokens.push(Tokens::split(&mut self.draft, state.rank, size));
                    self.saved.push(0.0);
                    // What is known of the state speaks of a rank without parts.
                    seen.pop();
                }
                None => {}
            }
        }
        self.all.len() > before
    }
}
