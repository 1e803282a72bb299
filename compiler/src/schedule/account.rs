//! What a plan does, for people and tools: per stage its boxes, its tiles, and its parts with their condition.

use indexmap::IndexMap;
use serde::Serialize;

use super::plan::{Act, Axis, Plan, Stage, Stream, Unscaled, Walk, loops};
use crate::ir::cascade::{Extent, RankId, Step, TensorId};
use crate::ir::expr::Expr;
use crate::ir::print;

/// How one stage is cut.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct StageAccount {
    /// What it stores.
    pub defines: Vec<String>,
    /// How many coordinates of each rank a box has; none if it is evaluated whole.
    pub rows: IndexMap<String, u32>,
    /// How many coordinates of each streamed rank a tile has.
    pub streams: IndexMap<String, u32>,
    /// The rank that it walks along, coordinate by coordinate.
    pub walk: Option<String>,
    /// The traversal that goes over parts.
    pub split: Option<SplitAccount>,
    /// The scales that sums of powers are under, each of which is raised only where an exponent exceeds it by more than
    /// 28: nothing is known of how large their exponents get.
    pub scales: Vec<String>,
    /// Why other powers are under no scale.
    pub unscaled: Vec<String>,
}

/// How a traversal goes over parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitAccount {
    /// Over parts of which rank.
    pub rank: String,
    /// How many coordinates a part has.
    pub length: String,
    /// How many points a part has at least.
    pub least: u32,
    /// How many parts there are.
    pub parts: String,
    /// How many parts there are at most.
    pub most: u32,
    /// Where they are tasks of their own.
    pub apart: String,
}

impl Plan {
    /// Each stage, without those that only merge parts.
    pub fn account(&self) -> Vec<StageAccount> {
        let stages = self.stages.iter().filter(|it| !matches!(it, Stage::Stream(it) if it.when.is_some()));
        stages
            .map(|stage| match stage {
                Stage::Whole(step) => {
                    let defines = match step {
                        Step::Einsum(it) => vec![self.name_of(it.tensor)],
                        Step::Recurrence(it) => it.body.iter().map(|it| self.name_of(it.tensor)).collect(),
                    };
                    StageAccount { defines, ..StageAccount::default() }
                }
                Stage::Stream(it) => self.stream_account(it),
                Stage::Walk(it) => self.walk_account(it),
            })
            .collect()
    }

    fn name_of(&self, tensor: TensorId) -> String {
        self.cascade.tensors[tensor].name.clone()
    }

    fn walk_account(&self, walk: &Walk) -> StageAccount {
        StageAccount {
            defines: self.stored_by(walk.acts()),
            rows: self.sizes(&walk.rows),
            walk: Some(self.cascade.ranks[walk.rank].name.clone()),
            ..StageAccount::default()
        }
    }

    /// What acts write to memory, each once.
    fn stored_by<'a>(&self, acts: impl IntoIterator<Item = &'a Act>) -> Vec<String> {
        let mut defines: Vec<String> = Vec::new();
        for act in acts {
            act.einsums(&mut |it| {
                let name = self.name_of(it.tensor);
                let inside = self.tiles.contains(&it.tensor) || self.room_where.contains_key(&it.tensor);
                if !inside && !defines.contains(&name) {
                    defines.push(name);
                }
            });
        }
        defines
    }

    fn stream_account(&self, stream: &Stream) -> StageAccount {
        let defines = self.stored_by(&stream.acts);
        let loops = loops(&stream.acts);
        let streamed = loops.iter().flat_map(|it| &it.axes);
        let split = stream.parts().next().map(|(part, parts)| SplitAccount {
            rank: self.cascade.ranks[parts.of].name.clone(),
            length: print::formula(&self.cascade, parts.length),
            least: parts.least,
            parts: self.extent_of(part),
            most: parts.most,
            apart: match stream.part {
                Some(_) => format!("{} >= 2", self.extent_of(part)),
                None => stream.rows.first().map_or(String::new(), |it| self.condition_of(it.rank)),
            },
        });
        StageAccount {
            defines,
            rows: self.sizes(&stream.rows),
            streams: self.sizes(streamed),
            walk: None,
            split,
            scales: loops.iter().flat_map(|it| &it.gauges).map(|it| self.name_of(it.scale)).collect(),
            unscaled: stream.unscaled.iter().map(|it| self.reason(*it)).collect(),
        }
    }

    /// Why powers need no scale.
    fn reason(&self, it: Unscaled) -> String {
        match it {
            Unscaled::Within(low, high) => format!("exponents between {low} and {high}"),
            Unscaled::BelowPeak(peak) => {
                format!("exponents below their maximum `{}`", self.name_of(peak).trim_end_matches('~'))
            }
        }
    }

    fn sizes<'a>(&self, axes: impl IntoIterator<Item = &'a Axis>) -> IndexMap<String, u32> {
        let ranks = axes.into_iter().map(|it| (&self.cascade.ranks[it.rank], it.tile));
        ranks.filter(|(rank, _)| !rank.local).map(|(rank, tile)| (rank.name.clone(), tile)).collect()
    }

    fn extent_of(&self, rank: RankId) -> String {
        match self.cascade.ranks[rank].extent {
            Extent::Fixed(extent) => extent.to_string(),
            Extent::Carried => format!("|{}|", self.cascade.ranks[rank].name),
            Extent::Derived(formula) => print::formula(&self.cascade, formula),
        }
    }

    /// Where the extent of a rank is the first of two.
    fn condition_of(&self, rank: RankId) -> String {
        let Extent::Derived(extent) = self.cascade.ranks[rank].extent else { return String::new() };
        let Expr::If(condition, ..) = self.cascade.exprs.get(extent) else { return String::new() };
        print::formula(&self.cascade, *condition)
    }
}

impl std::fmt::Display for StageAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |sizes: &IndexMap<String, u32>| {
            let size = |(name, size): (&String, &u32)| match size {
                1 => name.clone(),
                size => format!("{name} in {size}"),
            };
            sizes.iter().map(size).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{}: ", self.defines.join(", "))?;
        match (self.rows.is_empty(), self.streams.is_empty()) {
            (true, true) if self.walk.is_none() => return f.write_str("whole"),
            (_, true) => write!(f, "rows {}", list(&self.rows))?,
            (_, false) => write!(f, "rows {}; streams over {}", list(&self.rows), list(&self.streams))?,
        }
        if let Some(rank) = &self.walk {
            write!(f, "; walks along {rank}")?;
        }
        if !self.scales.is_empty() {
            let names = self.scales.iter().map(|it| format!("`{}`", it.trim_end_matches('~')));
            let names = names.collect::<Vec<_>>().join(", ");
            write!(
                f,
                "; powers under {names}, raised where an exponent is {} above",
                super::scaled::HEADROOM
            )?;
        }
        if !self.unscaled.is_empty() {
            write!(f, "; powers of {} as they are", self.unscaled.join(" and of "))?;
        }
        let Some(SplitAccount { rank, least, most, apart, .. }) = &self.split else { return Ok(()) };
        write!(f, "; `{rank}` in up to {most} parts of at least {least}, tasks of their own where {apart}")
    }
}
