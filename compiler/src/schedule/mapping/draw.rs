//! Legal mappings by number: for tests, and to explore from.

use super::legal::Key;
use super::{Cut, Mapping};
use crate::schedule::{Plan, loops};
use crate::target::Tiles;

/// What tiles are drawn from: one, few, what is no multiple of a vector, the usual, and more than there is.
const TILES: [u32; 8] = [1, 2, 3, 8, 16, 48, 64, 100];
/// What the least lengths of parts are drawn from.
const CHUNKS: [u32; 5] = [1, 3, 8, 64, 1024];
/// What the largest numbers of parts are drawn from; 1 is no split.
const PARTS: [u32; 4] = [1, 2, 5, 32];

impl Mapping {
    /// A legal mapping of a kernel, the same for the same seed, given what plan it has by a mapping.
    pub fn draw(seed: u64, plan_by: &dyn Fn(&Mapping) -> Plan) -> Mapping {
        let mut draw = Draw(seed);
        let mut mapping = Mapping::default();
        let plan = plan_by(&mapping);
        mapping.defaults.tasks = draw.one_of(&[1, 32]);
        let (strip, lanes, vector) = REGISTERS[draw.below(REGISTERS.len())];
        mapping.defaults = Tiles { strip, lanes, vector, ..mapping.defaults };
        let mut cut = |rank, change: &mut dyn FnMut(&mut Cut)| {
            let rank: &crate::ir::cascade::Rank = &plan.cascade.ranks[rank];
            if !rank.local {
                change(mapping.ranks.entry(rank.name.clone()).or_default());
            }
        };
        for stage in plan.streams() {
            for row in &stage.rows {
                cut(row.rank, &mut |it| it.rows = Some(draw.one_of(&TILES)));
            }
            for axis in loops(&stage.acts).iter().flat_map(|it| &it.axes) {
                cut(axis.rank, &mut |it| {
                    it.stream = Some(draw.one_of(&TILES));
                    (it.chunk, it.parts) = (Some(draw.one_of(&CHUNKS)), Some(draw.one_of(&PARTS)));
                });
            }
        }
        // Each step makes a size smaller.
        while let Some((rank, key, size)) =
            mapping.refusals(&[plan_by(&mapping)]).into_iter().find_map(|it| it.nearest)
        {
            let cut = mapping.ranks.entry(rank).or_default();
            match key {
                Key::Rows => cut.rows = Some(size),
                Key::Stream => cut.stream = Some(size),
            }
        }
        mapping
    }
}

/// What tiles of registers are drawn from: rows, neighbours, and how many are taken together at the end of a rank.
const REGISTERS: [(u32, u32, u32); 6] =
    [(6, 8, 1), (6, 64, 16), (2, 16, 8), (1, 4, 4), (3, 32, 1), (6, 8, 8)];

/// Numbers that look random, from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, number: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % number
    }

    fn one_of(&mut self, sizes: &[u32]) -> u32 {
        sizes[self.below(sizes.len())]
    }
}
