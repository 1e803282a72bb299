//! A kernel to calls of several tiles: of everything that its plan takes tile by tile there is one coordinate more than two
//! tiles have, and one less. As much of it as the interpreter can be asked for is in one call; what is left is in others.
//!
//! ```text
//! stream m in 48: for n in 64   ->   |m| = 97, |n| = 129, few of all else;   |m| = 95, |n| = 127
//! ```

use super::draw;
use super::keys::drivers;
use super::long::Names;
use super::random::Random;
use super::{Case, Character, case, case_of};
use crate::ir::array::Data;
use crate::ir::cascade::{Cascade, RankId, Step};
use crate::ir::interp::{Call, CallError};
use crate::schedule::{Act, Axis, Plan, Stage, features, loops};

/// A rank, of the cascade as it is written, of which so many coordinates are taken at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// The rank.
    pub rank: RankId,
    /// How many coordinates.
    pub size: i64,
}

/// Extents of calls, and what none of them has.
#[derive(Debug, Clone, Default)]
pub struct Several {
    /// The extents of each call, by rank.
    pub calls: Vec<Vec<i64>>,
    /// Ranks with extents that would make too many points.
    pub too_many: Vec<(RankId, i64)>,
    /// Ranks with extents that the constraints of the kernel exclude.
    pub excluded: Vec<(RankId, i64)>,
}

/// The points that the einsums of all such calls of a kernel may visit together: the interpreter goes through each call a few
/// times.
pub const MOST_OF_SEVERAL: i64 = 1_200_000;

/// A part of them for one call, so that there is more than one.
const MOST_OF_ONE: i64 = MOST_OF_SEVERAL / 4;

/// From how many coordinates the others are drawn: few, but not so few that what is done along them cannot be seen.
const FEW: [i64; 6] = [3, 2, 1, 4, 6, 9];

/// One extent serves several sizes of tiles of a rank if it is no larger.
const LARGE: i64 = 200;

impl Tiling {
    /// Those of a plan for CPUs, given the cascade as it is written: what streams take in tiles, rows in boxes, chunks of
    /// tokens, features in registers, and parts of fibers.
    pub fn of(cascade: &Cascade, plan: &Plan) -> Vec<Tiling> {
        let names = Names { cascade, plan };
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        let tiling = |it: &Axis| Some(Tiling { rank: names.written(it.rank)?, size: i64::from(it.tile) });
        for stage in &plan.stages {
            let (acts, rows): (Vec<&[Act]>, &[Axis]) = match stage {
                Stage::Whole(_) => continue,
                Stage::Stream(it) => (vec![&it.acts], &it.rows),
                Stage::Walk(it) => (vec![&it.before, &it.step, &it.after], &it.rows),
            };
            let loops = acts.iter().flat_map(|it| loops(it));
            for it in loops {
                match &it.parts {
                    None => all.extend(it.axes.iter().filter_map(tiling)),
                    Some(it) => parts
                        .extend(names.written(it.of).map(|rank| Tiling { rank, size: i64::from(it.least) })),
                }
            }
            all.extend(rows.iter().filter_map(tiling));
            if let Stage::Walk(it) = stage {
                all.extend(names.chunks(it.rank).map(|(rank, size)| Tiling { rank, size }));
            }
        }
        let lanes = i64::from(plan.register.lanes);
        all.extend(features(cascade).into_iter().map(|rank| Tiling { rank, size: lanes }));
        let mut once = Vec::new();
        for it in all.into_iter().chain(parts).filter(|it| it.size > 1) {
            if !once.contains(&it) {
                once.push(it);
            }
        }
        once
    }
}

/// A rank, how many coordinates it is to have, and the sizes of tiles for which that is one more than a multiple, or one less.
#[derive(Debug, Clone)]
struct Wanted {
    rank: RankId,
    extent: i64,
    sizes: Vec<i64>,
}

impl Wanted {
    /// What makes several tiles of all of them, `off` from a multiple.
    fn all(tilings: &[Tiling], off: i64) -> Vec<Wanted> {
        let mut all: Vec<Wanted> = Vec::new();
        for &Tiling { rank, size } in tilings {
            let multiple = |it: &Wanted| {
                let sizes = it.sizes.iter().copied().chain([size]);
                let common = sizes.clone().fold(1, lcm);
                let least = 2 * sizes.fold(1, i64::max);
                (least + common - 1) / common * common
            };
            match all.iter_mut().find(|it| it.rank == rank && multiple(it) <= LARGE) {
                Some(it) => {
                    it.extent = multiple(it) + off;
                    it.sizes.push(size);
                }
                None => all.push(Wanted { rank, extent: 2 * size + off, sizes: vec![size] }),
            }
        }
        all
    }

    /// Extents that serve as well.
    fn is_in(&self, extents: &[i64], off: i64) -> bool {
        let extent = extents[self.rank.idx()];
        self.sizes.iter().all(|it| extent >= 2 * it + off && (extent - off) % it == 0)
    }
}

fn lcm(a: i64, b: i64) -> i64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

impl Several {
    /// Calls of a kernel that is cut so, the same for the same seed; together they visit at most [`MOST_OF_SEVERAL`] points.
    pub fn of(cascade: &Cascade, tilings: &[Tiling], seed: u64) -> Several {
        let random = &mut Random::new(seed);
        // What nothing carries is in every call as it is.
        let varies = |it: &&Tiling| !drivers(cascade, it.rank).is_empty();
        let tilings: Vec<Tiling> = tilings.iter().filter(varies).copied().collect();
        let mut turns = [1, -1].map(|off| (off, Wanted::all(&tilings, off)));
        let (mut several, mut budget) = (Several::default(), MOST_OF_SEVERAL);
        loop {
            let before = several.calls.len();
            for (off, wanted) in &mut turns {
                let most = budget.min(MOST_OF_ONE);
                if let Some((call, rest)) = most_of(cascade, (wanted, *off), most, random) {
                    budget -= draw::points(cascade, &call);
                    several.calls.push(call);
                    *wanted = rest;
                }
            }
            if several.calls.len() == before {
                break;
            }
        }
        for it in turns.into_iter().flat_map(|it| it.1) {
            let wanted = (it.rank, it.extent);
            let list = match extents(cascade, &[wanted], i64::MAX, random) {
                Some(_) => &mut several.too_many,
                None => &mut several.excluded,
            };
            list.push(wanted);
        }
        several
    }

    /// The case of a call; none if the author's assumptions exclude what is drawn.
    ///
    /// # Errors
    /// The interpreter refuses a call that meets the constraints: a fault of ours.
    pub fn case(cascade: &Cascade, extents: &[i64], seed: u64) -> Result<Option<Case>, CallError> {
        // What is multiplied at each token should not grow.
        let walks = cascade.steps.iter().any(|it| matches!(it, Step::Recurrence(_)));
        let character = if walks { Character::Long } else { Character::Plain };
        if let Some(case) = case(cascade, extents.to_vec(), character, &mut Random::new(seed))? {
            return Ok(Some(case));
        }
        // Logarithms of gates are none above 0, of which there are too many to come so by chance.
        let fall = |call: &mut Call, _: &mut Random| {
            for it in call.inputs.values_mut() {
                if let Data::Real(it) = &mut it.data {
                    it.iter_mut().for_each(|it| *it = -it.abs());
                }
            }
        };
        case_of(cascade, extents.to_vec(), character, &fall, &mut Random::new(seed))
    }
}

/// A call with as many of those extents as there can be together, first come, first served, and what is left for others; none
/// if it would have none.
fn most_of(
    cascade: &Cascade,
    (wanted, off): (&[Wanted], i64),
    most: i64,
    random: &mut Random,
) -> Option<(Vec<i64>, Vec<Wanted>)> {
    let mut taken: Vec<(RankId, i64)> = Vec::new();
    let mut call: Option<Vec<i64>> = None;
    for it in wanted {
        let has = |rank: RankId| taken.iter().any(|it| it.0 == rank);
        // A rank has one extent in a call.
        if has(it.rank) || call.as_ref().is_some_and(|call| it.is_in(call, off)) {
            continue;
        }
        let with = [taken.as_slice(), &[(it.rank, it.extent)]].concat();
        if let Some(found) = extents(cascade, &with, most, random) {
            (call, taken) = (Some(found), with);
        }
    }
    let call = call?;
    let rest = wanted.iter().filter(|it| !it.is_in(&call, off) && !taken.contains(&(it.rank, it.extent)));
    let rest = rest.cloned().collect();
    Some((call, rest))
}

/// Extents of which some are at least those, and exactly those if that can be, with few of what is not asked for.
fn extents(cascade: &Cascade, wanted: &[(RankId, i64)], most: i64, random: &mut Random) -> Option<Vec<i64>> {
    FEW.into_iter().find_map(|few| {
        let drawn: Vec<i64> = cascade.ranks.ids().map(|_| 1 + random.below(few)).collect();
        let (mut set, mut found) = (Vec::new(), draw::settled(cascade, drawn.clone(), &[], random));
        for &(rank, extent) in wanted {
            if found.as_ref().is_none_or(|it| it[rank.idx()] != extent) {
                (set, found) = grown(cascade, &drawn, (set, (rank, extent)), random)?;
            }
        }
        let has = |it: &Vec<i64>| wanted.iter().all(|(rank, extent)| it[rank.idx()] >= *extent);
        let is_small = |it: &Vec<i64>| draw::points(cascade, it) <= most;
        found.filter(|it| has(it) && is_small(it) && it.iter().all(|it| *it > 0))
    })
}

/// Extents that are set, and what follows from them.
type Set = Vec<(RankId, i64)>;

/// Sets what a rank follows from so that it has that extent, or a little more.
fn grown(
    cascade: &Cascade,
    drawn: &[i64],
    (set, (rank, extent)): (Set, (RankId, i64)),
    random: &mut Random,
) -> Option<(Set, Option<Vec<i64>>)> {
    let mut with = |more: &[(RankId, i64)]| {
        let set = [set.as_slice(), more].concat();
        let found = draw::settled(cascade, drawn.to_vec(), &set, random)?;
        (found[rank.idx()] >= extent).then_some((set, Some(found)))
    };
    let drivers: Vec<RankId> =
        drivers(cascade, rank).into_iter().filter(|it| set.iter().all(|set| set.0 != *it)).collect();
    let few = 1..=32;
    let numbers: Vec<i64> = few.chain((6..12).map(|it| 1 << it)).filter(|it| *it < extent).collect();
    let exact = drivers.contains(&rank).then(|| with(&[(rank, extent)])).flatten();
    exact.or_else(|| {
        drivers.iter().find_map(|&driver| {
            let number =
                numbers.iter().chain([&extent]).find_map(|&it| with(&[(driver, it)]).map(|set| (it, set)));
            let (number, found) = number?;
            let exact = if driver == rank { None } else { with(&[(driver, number), (rank, extent)]) };
            Some(exact.unwrap_or(found))
        })
    })
}
