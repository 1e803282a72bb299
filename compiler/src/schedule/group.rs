//! Which stored tensors are computed by one stage: those that have their rows and part of their work in common.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{Flow, Ranks};
use super::shape::Shapes;
use super::walk::Walks;
use crate::ir::cascade::{Step, TensorId};

/// One stage in the making.
pub(super) enum Draft<'a> {
    /// A step evaluated whole.
    Whole(&'a Step),
    /// The walk of that number.
    Walk(usize),
    /// Tensors that one traversal serves.
    Group(Group),
}

/// Tensors that are computed together.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) rows: Ranks,
    /// What is stored.
    pub(super) roots: Vec<TensorId>,
    /// All that they are made of and that is not in memory.
    pub(super) cone: BTreeSet<TensorId>,
}

/// The stages, in order.
pub(super) fn drafts<'a>(flow: &Flow<'a>, shapes: &Shapes, walks: &Walks) -> Vec<Draft<'a>> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    let mut made: BTreeMap<TensorId, usize> = BTreeMap::new();
    for (at, step) in flow.cascade.steps.iter().enumerate() {
        if let Some(walk) = walks.of_step(at) {
            if walks.groups[walk].steps.first() == Some(&at) {
                drafts.push(Draft::Walk(walk));
            }
            made.extend(step.einsums().map(|it| (it.tensor, drafts.len() - 1)));
            continue;
        }
        match step {
            Step::Einsum(einsum) if flow.live.contains(&einsum.tensor) => {
                let tensor = einsum.tensor;
                let in_memory = flow.stored.contains(&tensor) || flow.is_output(tensor);
                let rows = shapes.of.get(&tensor).and_then(|it| it.rows.as_ref());
                match rows {
                    Some(rows) if in_memory => {
                        let at = place(flow, shapes, tensor, rows, &mut drafts, &made);
                        made.insert(tensor, at);
                    }
                    None if in_memory || !shapes.of.contains_key(&tensor) => {
                        made.insert(tensor, drafts.len());
                        drafts.push(Draft::Whole(step));
                    }
                    Some(_) | None => {}
                }
            }
            Step::Recurrence(it) if it.body.iter().any(|einsum| flow.live.contains(&einsum.tensor)) => {
                made.extend(step.einsums().map(|it| (it.tensor, drafts.len())));
                drafts.push(Draft::Whole(step));
            }
            Step::Einsum(_) | Step::Recurrence(_) => {}
        }
    }
    drafts
}

/// Adds a tensor to the first group that it fits, or to one of its own; gives the place of that group.
fn place<'a>(
    flow: &Flow<'a>,
    shapes: &Shapes,
    tensor: TensorId,
    rows: &Ranks,
    drafts: &mut Vec<Draft<'a>>,
    made: &BTreeMap<TensorId, usize>,
) -> usize {
    let cone = shapes.cone(flow, tensor);
    let read = cone.iter().flat_map(|it| flow.read(flow.einsums[it]));
    let after = read.filter(|it| !cone.contains(it)).filter_map(|it| made.get(it)).max().copied();
    let heavy = |it: &TensorId| shapes.of[it].deep;
    let fits = |(at, draft): (usize, &Draft<'a>)| match draft {
        Draft::Group(group) => {
            let shared = group.cone.intersection(&cone).any(heavy);
            let fits = shared && group.rows == *rows && after.is_none_or(|it| it < at);
            let both = || group.cone.union(&cone).copied().collect();
            (fits && shapes.held_whole(flow, rows, &both(), &Ranks::new()).is_empty()).then_some(at)
        }
        Draft::Whole(_) | Draft::Walk(_) => None,
    };
    match drafts.iter().enumerate().find_map(fits) {
        Some(at) => {
            let Draft::Group(group) = &mut drafts[at] else { unreachable!("only groups fit") };
            group.roots.push(tensor);
            group.cone.extend(cone);
            at
        }
        None => {
            drafts.push(Draft::Group(Group { rows: rows.clone(), roots: vec![tensor], cone }));
            drafts.len() - 1
        }
    }
}
