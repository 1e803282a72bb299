//! A kernel and a mapping to the legal mappings near it: what explorers search.
//!
//! A knob is one size: how many rows a box has along a rank, how many coordinates a tile of a streamed rank has, how its
//! fiber is parted, what registers hold. Each has settings about as far apart as makes a difference.

use std::collections::BTreeMap;

use super::mapping::{Cut, Mapping};
use super::plan::{Axis, Plan, loops};
use crate::ir::cascade::RankId;
use crate::target::Tiles;

/// A size that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knob {
    /// How many rows a box has along a rank.
    Rows(String),
    /// How many coordinates a tile of a streamed rank has.
    Stream(String),
    /// How many points a part of a fiber of the rank has at least.
    Chunk(String),
    /// How many parts it has at most.
    Parts(String),
    /// For how many boxes parts are tasks at most.
    Tasks,
    /// How many rows are worked on together in registers.
    Strip,
    /// And how many neighbours.
    Lanes,
}

const ROWS: [u32; 8] = [1, 6, 12, 24, 48, 96, 192, 384];
const STREAMS: [u32; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
const CHUNKS: [u32; 4] = [256, 512, 1024, 4096];
const PARTS: [u32; 5] = [1, 4, 8, 16, 32];
const TASKS: [u32; 4] = [1, 8, 32, 128];
const STRIPS: [u32; 6] = [2, 4, 5, 6, 8, 12];
const LANES: [u32; 5] = [4, 8, 16, 32, 64];

impl Knob {
    /// Its settings, where a rank has that many coordinates: no more than it has use for.
    pub fn settings(&self, extent: Option<i64>) -> Vec<u32> {
        let all: &[u32] = match self {
            Knob::Rows(_) => &ROWS,
            Knob::Stream(_) => &STREAMS,
            Knob::Chunk(_) => &CHUNKS,
            Knob::Parts(_) => &PARTS,
            Knob::Tasks => &TASKS,
            Knob::Strip => &STRIPS,
            Knob::Lanes => &LANES,
        };
        let sized = matches!(self, Knob::Rows(_) | Knob::Stream(_));
        let most = if sized { extent.unwrap_or(i64::MAX) } else { i64::MAX };
        // The first that covers the whole rank is of use, those beyond are the same.
        let covering = all.iter().position(|it| i64::from(*it) >= most).unwrap_or(all.len());
        all[..all.len().min(covering + 1)].to_vec()
    }

    /// The mapping with that setting.
    pub fn set(&self, mapping: &Mapping, size: u32) -> Mapping {
        let mut new = mapping.clone();
        let mut cut = |rank: &String, change: &dyn Fn(&mut Cut)| {
            change(new.ranks.entry(rank.clone()).or_default());
        };
        match self {
            Knob::Rows(rank) => cut(rank, &|it| it.rows = Some(size)),
            Knob::Stream(rank) => cut(rank, &|it| it.stream = Some(size)),
            Knob::Chunk(rank) => cut(rank, &|it| it.chunk = Some(size)),
            Knob::Parts(rank) => cut(rank, &|it| it.parts = Some(size)),
            Knob::Tasks => new.defaults.tasks = size,
            Knob::Strip => new.defaults.strip = size,
            Knob::Lanes => {
                let Tiles { vector, .. } = new.defaults;
                (new.defaults.lanes, new.defaults.vector) = (size, vector.min(size));
            }
        }
        new
    }

    /// The rank that it is about.
    pub fn rank(&self) -> Option<&str> {
        match self {
            Knob::Rows(rank) | Knob::Stream(rank) | Knob::Chunk(rank) | Knob::Parts(rank) => Some(rank),
            Knob::Tasks | Knob::Strip | Knob::Lanes => None,
        }
    }
}

/// The knobs of a kernel, given its plan; those that matter most first.
pub fn knobs(plan: &Plan) -> Vec<Knob> {
    let mut found = Vec::new();
    let mut add = |knob: Knob| {
        if !found.contains(&knob) {
            found.push(knob);
        }
    };
    let named = |rank: RankId| {
        let rank = &plan.cascade.ranks[rank];
        (!rank.local).then(|| rank.name.clone())
    };
    for stage in plan.streams() {
        let sized = stage.rows.iter().rev().filter(|it| it.tile > 1);
        sized.filter_map(|it| named(it.rank)).for_each(|it| add(Knob::Rows(it)));
        for axis in loops(&stage.acts).iter().flat_map(|it| it.axes.iter().rev()) {
            named(axis.rank).into_iter().for_each(|it| add(Knob::Stream(it)));
        }
    }
    add(Knob::Lanes);
    add(Knob::Strip);
    for stage in plan.streams() {
        for (_, parts) in stage.parts() {
            if let Some(rank) = named(parts.of) {
                add(Knob::Parts(rank.clone()));
                add(Knob::Chunk(rank));
            }
            add(Knob::Tasks);
        }
    }
    found
}

/// In a few words, what a mapping says of these knobs.
pub fn told(mapping: &Mapping, knobs: &[Knob]) -> String {
    let Tiles { strip, lanes, tasks, chunk, parts, .. } = mapping.defaults;
    let own = |rank: &String| mapping.cut(rank);
    let words = knobs.iter().filter_map(|knob| match knob {
        Knob::Rows(rank) => Some(format!("{rank}:{}", own(rank).rows?)),
        Knob::Stream(rank) => Some(format!("{rank}/{}", own(rank).stream?)),
        Knob::Chunk(rank) => own(rank).chunk.filter(|it| *it != chunk).map(|it| format!("chunk {it}")),
        Knob::Parts(rank) => own(rank).parts.filter(|it| *it != parts).map(|it| format!("parts {it}")),
        Knob::Tasks => (tasks != Tiles::default().tasks).then(|| format!("tasks {tasks}")),
        Knob::Strip => Some(format!("{strip}x{lanes}")),
        Knob::Lanes => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The mapping with the sizes said that it leaves to defaults and that are the same in all stages of the plan: the same
/// mapping, in full.
pub fn spelled(mapping: &Mapping, plan: &Plan) -> Mapping {
    let mut full = mapping.clone();
    let (mut rows, mut streams) = (Sizes::new(), Sizes::new());
    for stage in plan.streams() {
        let boxed = stage.rows.iter();
        boxed.for_each(|it| note(plan, it, &mut rows));
        loops(&stage.acts).iter().flat_map(|it| &it.axes).for_each(|it| note(plan, it, &mut streams));
    }
    let agreed = |sizes: Sizes| sizes.into_iter().filter_map(|(rank, size)| Some((rank, size?)));
    for (rank, size) in agreed(rows).filter(|it| it.1 > 1) {
        full.ranks.entry(rank).or_default().rows = Some(size);
    }
    for (rank, size) in agreed(streams) {
        full.ranks.entry(rank).or_default().stream = Some(size);
    }
    full
}

/// The size of a tile of each rank; none where stages differ.
type Sizes = BTreeMap<String, Option<u32>>;

fn note(plan: &Plan, axis: &Axis, sizes: &mut Sizes) {
    let rank = &plan.cascade.ranks[axis.rank];
    if !rank.local {
        let known = sizes.entry(rank.name.clone()).or_insert(Some(axis.tile));
        *known = known.filter(|it| *it == axis.tile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_end_where_a_rank_is_covered() {
        let rows = Knob::Rows("m".to_owned());
        assert_eq!(rows.settings(Some(20)), [1, 6, 12, 24]);
        assert_eq!(rows.settings(None).len(), ROWS.len());
        assert_eq!(Knob::Strip.settings(Some(1)).len(), STRIPS.len());
    }

    #[test]
    fn a_setting_changes_nothing_else() {
        let before = Mapping::default();
        let after = Knob::Stream("n".to_owned()).set(&before, 16);
        assert_eq!(
            (after.ranks["n"].stream, after.ranks["n"].chunk, after.defaults),
            (Some(16), None, before.defaults)
        );
        assert_eq!(Knob::Lanes.set(&before, 4).defaults.lanes, 4);
    }
}
