//! Whether kernels can follow a mapping, and what is nearest where they cannot.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use attnc_dsl::check::nearest;

use super::Mapping;
use crate::codegen::Backend;
use crate::ir::cascade::{Extent, RankId};
use crate::schedule::{Axis, Plan, loops};
use crate::target::{MOST_POINTS, Target, Tiles};

/// Why kernels cannot follow a mapping: what was found, what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    message: String,
    /// A size of a rank and the nearest legal one.
    pub(super) nearest: Option<(String, Key, u32)>,
}

/// A size of a rank that a mapping may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Rows,
    Stream,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Refusal {
    pub(crate) fn of(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), nearest: None }
    }
}

/// The tiles that each rank of some plans has, by name: those that were asked for and got less as well.
type Found = BTreeMap<String, Vec<(u32, u32)>>;

impl Mapping {
    /// Refuses a machine and a back end with other vectors than those that it is for.
    ///
    /// # Errors
    /// What it is for and what they have.
    pub fn suits(&self, target: &Target, backend: Backend) -> Result<(), Refusal> {
        let found = target.vectors(backend);
        match &self.vectors {
            Some(expected) if expected != found => Err(Refusal::of(format!(
                "it is for vectors `{expected}`, but {} has `{found}` for {target}",
                if target.gpu().is_some() { "attnc" } else { backend.name() },
            ))),
            _ => Ok(()),
        }
    }

    /// Sizes that no kernel can follow.
    pub(super) fn sizes(&self) -> Vec<Refusal> {
        let Tiles {
            rows,
            inner_rows,
            stream,
            outer,
            chunk,
            parts,
            tasks,
            strip,
            lanes,
            vector,
            square,
            words: _,
            block,
        } = self.defaults;
        let defaults = [
            ("rows", rows),
            ("inner-rows", inner_rows),
            ("stream", stream),
            ("outer", outer),
            ("chunk", chunk),
            ("parts", parts),
            ("tasks", tasks),
            ("strip", strip),
            ("lanes", lanes),
            ("vector", vector),
            ("square", square),
        ];
        let defaults = defaults.into_iter().map(|(key, size)| (format!("defaults.{key}"), key, size));
        let single = self.ranks.iter().flat_map(|(rank, cut)| {
            cut.sizes().map(move |(key, size)| (format!("ranks.{rank}.{key}"), key, size))
        });
        let narrow = (vector > lanes).then(|| {
            Refusal::of(format!("`defaults.vector` is {vector}, expected at most `defaults.lanes`, {lanes}"))
        });
        let refused = defaults.chain(single).filter_map(|(name, key, size)| refused_size(&name, key, size));
        let block = block.into_iter().flat_map(|it| {
            [("rows", it.rows, 64), ("stream", it.stream, 16), ("chunk", it.chunk, 1), ("parts", it.parts, 1)]
        });
        let block = block.filter(|(_, size, grain)| *size == 0 || size % grain > 0);
        let block = block.map(|(key, size, grain)| {
            let near = (size / grain * grain).max(grain);
            let expected = format!("expected a multiple of {grain}; the nearest is {near}");
            Refusal::of(format!("`defaults.block.{key}` is {size}, {expected}"))
        });
        refused.chain(narrow).chain(block).collect()
    }

    /// Why kernels cannot follow it, given the plans that they have by it; nothing if they can.
    pub fn refusals(&self, plans: &[Plan]) -> Vec<Refusal> {
        let (mut rows, mut streams, mut names) = (Found::new(), Found::new(), Vec::new());
        for plan in plans {
            names
                .extend(plan.cascade.ranks.iter().filter(|(_, it)| !it.local).map(|(_, it)| it.name.clone()));
            for stage in plan.streams() {
                note(plan, &stage.rows, &mut rows);
                loops(&stage.acts).iter().for_each(|it| note(plan, &it.axes, &mut streams));
            }
        }
        let mut refusals = Vec::new();
        for (rank, cut) in &self.ranks {
            if !names.contains(rank) {
                let near = nearest(rank, names.iter().map(String::as_str));
                let near = near.map_or(String::new(), |it| format!("; did you mean `{it}`?"));
                refusals.push(Refusal::of(format!(
                    "`ranks.{rank}`: there is no rank `{rank}`, expected {}{near}",
                    one_of(names.iter())
                )));
                continue;
            }
            for (key, size) in cut.sizes() {
                let (found, what) =
                    if key == "rows" { (&rows, "boxes of") } else { (&streams, "streams over") };
                match found.get(rank) {
                    None => refusals.push(Refusal {
                        message: format!(
                            "`ranks.{rank}.{key}` is {size}, but no stage has {what} `{rank}`, expected {}",
                            one_of(found.keys())
                        ),
                        nearest: None,
                    }),
                    Some(tiles)
                        if key == "rows" && tiles.iter().all(|(tile, most)| *tile != size.min(*most)) =>
                    {
                        let most = tiles.iter().map(|(tile, _)| *tile).max().unwrap_or(1);
                        refusals.push(Refusal {
                            message: format!(
                                "`ranks.{rank}.rows` is {size}, expected {most}: boxes have one coordinate of a rank that says where another ends"
                            ),
                            nearest: Some((rank.clone(), Key::Rows, most)),
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        refusals.extend(plans.iter().flat_map(too_large));
        refusals
    }
}

fn refused_size(name: &str, key: &str, size: u32) -> Option<Refusal> {
    let (least, most) = match key {
        "chunk" => (1, u32::MAX),
        "strip" => (1, 16),
        "lanes" => (4, 64),
        "vector" => (1, 64),
        "square" => (1, 16),
        _ => (1, MOST_POINTS),
    };
    let whole = size.clamp(least, most);
    // Tiles of registers are cut off by masks of bits.
    let is_power = matches!(key, "lanes" | "vector" | "square");
    let legal = if is_power { 1 << whole.ilog2() } else { whole };
    let kind = if is_power { "a power of two, " } else { "" };
    (legal != size).then(|| {
        Refusal::of(format!("`{name}` is {size}, expected {kind}{least} to {most}; the nearest is {legal}"))
    })
}

/// Boxes and tiles that do not fit the scratch of a thread.
fn too_large(plan: &Plan) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for stage in plan.streams() {
        let rows: u64 = product(&stage.rows);
        for it in loops(&stage.acts).into_iter().filter(|it| it.parts.is_none()) {
            let (points, most) = (rows.saturating_mul(product(&it.axes)), u64::from(MOST_POINTS));
            if points <= most {
                continue;
            }
            // The largest tile is the one to make smaller.
            let all =
                it.axes.iter().map(|it| (it, Key::Stream)).chain(stage.rows.iter().map(|it| (it, Key::Rows)));
            let Some((axis, key)) = all.max_by_key(|(it, _)| it.tile) else { continue };
            let legal = (most * u64::from(axis.tile) / points).max(1) as u32;
            let (rank, word) = (name(plan, axis.rank), if key == Key::Rows { "rows" } else { "stream" });
            refusals.push(Refusal {
                message: format!(
                    "a box of {} rows and a tile of {} streamed coordinates have {points} points, expected at most {most}: that is the scratch of a thread; the nearest is `ranks.{rank}.{word}` of {legal}",
                    rows, product(&it.axes)
                ),
                nearest: Some((rank, key, legal)),
            });
        }
    }
    refusals
}

fn product(axes: &[Axis]) -> u64 {
    axes.iter().fold(1, |all, it| all.saturating_mul(it.tile.into()))
}

fn name(plan: &Plan, rank: RankId) -> String {
    plan.cascade.ranks[rank].name.clone()
}

/// Notes the tiles of ranks that callers know, and the most that they may have.
fn note(plan: &Plan, axes: &[Axis], found: &mut Found) {
    for axis in axes {
        let rank = &plan.cascade.ranks[axis.rank];
        let most = match rank.extent {
            Extent::Fixed(extent) => u32::try_from(extent).unwrap_or(u32::MAX).max(1),
            Extent::Carried | Extent::Derived(_) => u32::MAX,
        };
        if !rank.local {
            found.entry(rank.name.clone()).or_default().push((axis.tile, most));
        }
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut listed: Vec<String> = Vec::new();
    for name in names {
        let name = format!("`{name}`");
        if !listed.contains(&name) {
            listed.push(name);
        }
    }
    match listed.is_empty() {
        true => "none: nothing streams here".to_owned(),
        false => format!("one of {}", listed.join(", ")),
    }
}
