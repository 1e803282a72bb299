//! Cascade to plan: what is stored, what streams, and how sums stay in range.
//!
//! Reductions over tensors that nobody stores become traversals: a stage takes a box of rows and walks along the
//! ranks that are reduced, tile by tile, as often as the cascade has passes over them. Recurrences and scans become
//! walks (`walk/`), which hold what they still need of earlier coordinates. Everything else is evaluated whole. No algebra is done here but that of scaled numbers (`scaled.rs`): a cascade of three passes gives three
//! traversals.

mod account;
mod accumulate;
mod assemble;
mod boxes;
mod flow;
mod gauge;
mod group;
mod handed;
mod inline;
mod mapping;
mod merge;
pub mod model;
mod plan;
pub(crate) mod presence;
pub(crate) mod range;
mod scaled;
mod select;
mod shape;
mod sharing;
pub mod space;
mod split;
mod walk;
mod weave;

use std::collections::{BTreeMap, BTreeSet};

pub use account::{SplitAccount, StageAccount};
pub(crate) use flow::{features, live};
pub use mapping::{Cut, Mapping, Refusal};
pub(crate) use plan::loops;
pub use plan::{Act, Axis, Blocks, Gauge, Loop, Parts, Plan, Register, Stage, Stream, Unscaled, Walk};
pub(crate) use scaled::{MOST_POWERS, exponents};
pub(crate) use sharing::{factors, sharing};
pub(crate) use weave::is_byte;

use crate::ir::cascade::{Cascade, Einsum, Step};
use crate::rewrite::Walker;
use flow::Flow;
use group::Draft;
use handed::Handed;
use inline::Memo;
use shape::Shapes;
use weave::Weaver;

/// A plan of a cascade that follows a mapping.
pub fn schedule(cascade: &Cascade, mapping: &Mapping) -> Plan {
    let (cascade, walks) = walk::gathered(cascade, mapping.walker());
    let mut flow = Flow::of(&cascade, &walks.tensors);
    let shapes = Shapes::settle(&mut flow);
    let drafts = group::drafts(&flow, &shapes, &walks);
    let mut planned = cascade.clone();
    let mut tiles = BTreeSet::new();
    let (mut handed, mut room_where, mut indices) = (Handed::default(), BTreeMap::new(), BTreeMap::new());
    let mut promised = range::promised(&cascade);
    let mut stages = Vec::new();
    for draft in drafts {
        let group = match &draft {
            Draft::Whole(_) | Draft::Walk(_) => group::Group::default(),
            Draft::Group(it) => it.clone(),
        };
        let streams = group.cone.iter().flat_map(|it| shapes.of[it].streams.iter().copied()).collect();
        let mut weaver = Weaver {
            flow: &flow,
            shapes: &shapes,
            mapping,
            cascade: &mut planned,
            tiles: &mut tiles,
            handed: &mut handed,
            promised: &mut promised,
            room_where: &mut room_where,
            indices: &mut indices,
            group,
            split: None,
            streams,
            meanings: BTreeMap::new(),
            memo: Memo::new(),
            peaks: BTreeMap::new(),
            sources: BTreeMap::new(),
            tops: BTreeMap::new(),
            scales_here: BTreeMap::new(),
            unscaled: BTreeSet::new(),
            held: BTreeMap::new(),
            level: BTreeMap::new(),
            on_demand: BTreeMap::new(),
            between: Vec::new(),
            rounds: Vec::new(),
        };
        match draft {
            Draft::Whole(step) => stages.push(Stage::Whole(weaver.whole(step))),
            Draft::Walk(it) => stages.push(Stage::Walk(weaver.walk(&walks.groups[it]))),
            Draft::Group(_) => stages.extend(weaver.stages().into_iter().map(Stage::Stream)),
        }
    }
    let parts_powers = handed.parted || handed.sums_powers_whole(&planned, &stages);
    let (register, blocks) = (mapping.register(), mapping.blocks(&planned));
    let mut plan =
        Plan { cascade: planned, tiles, indices, stages, room_where, parts_powers, register, blocks };
    if mapping.walker() == Walker::Block {
        walk::shorten(&mut plan);
    }
    plan
}

/// A plan that stores every tensor, for comparison.
pub fn materialise(cascade: &Cascade) -> Plan {
    let live = live(cascade);
    let wanted = |it: &&Step| match it {
        Step::Einsum(einsum) => live.contains(&einsum.tensor),
        Step::Recurrence(it) => it.body.iter().any(|einsum| live.contains(&einsum.tensor)),
    };
    let stages = cascade.steps.iter().filter(wanted).cloned().map(Stage::Whole).collect();
    let (tiles, indices, room_where) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let register = Mapping::default().register();
    let (cascade, parts_powers, blocks) = (cascade.clone(), false, None);
    Plan { cascade, tiles, indices, stages, room_where, parts_powers, register, blocks }
}

impl Weaver<'_> {
    /// A step that is evaluated whole, with stored scaled numbers put together.
    fn whole(&mut self, step: &Step) -> Step {
        if self.handed.is_empty() {
            return step.clone();
        }
        let mut einsum = |it: &Einsum| Einsum { value: self.stored_only(it.value), ..it.clone() };
        match step {
            Step::Einsum(it) => Step::Einsum(einsum(it)),
            Step::Recurrence(it) => Step::Recurrence(crate::ir::cascade::Recurrence {
                rank: it.rank,
                bases: it.bases.iter().map(&mut einsum).collect(),
                body: it.body.iter().map(&mut einsum).collect(),
            }),
        }
    }

    /// The expression itself, if it reads nothing that is stored scaled.
    pub(crate) fn stored_only(&mut self, value: crate::ir::cascade::ExprId) -> crate::ir::cascade::ExprId {
        let scaled = self.cascade.exprs.reads(value).any(|(it, _)| self.handed.has(it));
        if scaled { self.plain(value) } else { value }
    }
}
