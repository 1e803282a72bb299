//! The mapping: how the work of a kernel is cut into boxes, tiles and parts. It is data beside the spec; any legal
//! mapping gives the same results but for the order of sums.
//!
//! Invariants, checked by [`Mapping::refusals`]: sizes are at least 1; `ranks` names ranks of the kernel, each with
//! what it is used for; a box and a tile fit the scratch of a thread.
//!
//! ```toml
//! vectors = "avx512"
//!
//! [defaults]
//! stream = 128
//!
//! [ranks.m]
//! rows = 16
//!
//! [ranks.n]
//! stream = 64
//! chunk = 2048
//! parts = 16
//! ```

mod draw;
mod legal;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use legal::Refusal;

use super::plan::{Blocks, Register};
use crate::codegen::Backend;
use crate::ir::cascade::{Cascade, Rank};
use crate::rewrite::Walker;
use crate::target::{Target, Tiles};

/// How the work of a kernel is cut.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// The vectors that its sizes are for, as [`Target::vectors`] calls them; `None` suits all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// What holds for ranks of which `ranks` says nothing.
    pub defaults: Tiles,
    /// What is said of single ranks, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ranks: BTreeMap<String, Cut>,
}

/// How one rank is cut; `None` leaves it to the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cut {
    /// How many of its coordinates a box of rows has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// How many of its coordinates a tile has where it is streamed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// How many points of its fiber a part has at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// How many parts its fiber has at most; 1 leaves it whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
}

impl Mapping {
    /// That of a machine and a back end, whatever the kernel.
    pub fn of(target: &Target, backend: Backend) -> Mapping {
        Mapping { vectors: None, defaults: target.tiles(backend), ranks: BTreeMap::new() }
    }

    /// What is worked on together in registers.
    pub(super) fn register(&self) -> Register {
        let Tiles { strip, lanes, vector, square, words, .. } = self.defaults;
        Register { strip, lanes, vector, square, words }
    }

    /// What blocks of threads have, and what is said of the ranks of a cascade that they take.
    pub(super) fn blocks(&self, cascade: &Cascade) -> Option<Blocks> {
        let limits = self.defaults.block?;
        let said = |size: fn(Cut) -> Option<u32>| {
            let of = |rank: &Rank| size(self.cut(&rank.name));
            cascade.ranks.iter().filter_map(|(id, it)| Some((id, of(it)?))).collect()
        };
        Some(Blocks { limits, rows: said(|it| it.rows), stream: said(|it| it.stream) })
    }

    /// Who takes chunks of tokens one after the other.
    pub fn walker(&self) -> Walker {
        if self.defaults.block.is_some_and(|it| it.walks) { Walker::Block } else { Walker::Thread }
    }

    /// What is said of a rank.
    pub(super) fn cut(&self, rank: &str) -> Cut {
        self.ranks.get(rank).copied().unwrap_or_default()
    }

    /// How many coordinates a tile of a streamed rank has; `last` is the innermost of several.
    pub(super) fn stream(&self, rank: &str, last: bool) -> u32 {
        self.cut(rank).stream.unwrap_or(if last { self.defaults.stream } else { self.defaults.outer })
    }

    /// How many points a part of a fiber has at least, and how many parts there are at most.
    pub(super) fn parts(&self, rank: &str) -> (u32, u32) {
        let cut = self.cut(rank);
        (cut.chunk.unwrap_or(self.defaults.chunk), cut.parts.unwrap_or(self.defaults.parts))
    }
}
