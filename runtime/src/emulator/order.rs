//! What ordered and atomic accesses order: releases, acquires, and fences around relaxed accesses.

use std::collections::BTreeMap;

use super::race::{Clock, NOTHING, Races, join};

/// What memory and warps carry from releases to acquires.
#[derive(Debug)]
pub(super) struct Order {
    /// What was released at an address.
    places: BTreeMap<u64, Clock>,
    /// What a warp knew at its last fence, which its relaxed stores release.
    fenced: Vec<Clock>,
    /// What relaxed loads of a warp have seen, which its next fence acquires.
    seen: Vec<Clock>,
}

impl Order {
    pub(super) fn new(warps: usize) -> Order {
        let none = vec![NOTHING; warps];
        Order { places: BTreeMap::new(), fenced: none.clone(), seen: none }
    }

    /// A load that is not weak.
    pub(super) fn load(&mut self, warp: usize, address: u64, acquires: bool, races: &mut Races) {
        if let Some(clock) = self.places.get(&address) {
            join(&mut self.seen[warp], clock);
            if acquires {
                join(&mut races.clocks[warp], clock);
            }
        }
    }

    /// A store that is not weak.
    pub(super) fn store(&mut self, warp: usize, address: u64, releases: bool, races: &mut Races) {
        let clock = if releases { &races.clocks[warp] } else { &self.fenced[warp] };
        join(self.places.entry(address).or_insert(NOTHING), clock);
        if releases {
            races.tick(warp);
        }
    }

    /// A fence.
    pub(super) fn fence(&mut self, warp: usize, races: &mut Races) {
        join(&mut races.clocks[warp], &self.seen[warp]);
        self.fenced[warp] = races.clocks[warp];
        races.tick(warp);
    }
}
