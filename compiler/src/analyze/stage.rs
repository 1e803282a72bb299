//! In which pass over a fiber a value is there: what the count of passes is made of.

use std::collections::BTreeMap;

use crate::ir::cascade::TensorId;

/// When a value is there, with respect to one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The pass over the source's fiber in which it is there.
    pub(crate) pass: u32,
    /// It is there as soon as the source's element is read, not only after the whole fiber.
    pub(crate) open: bool,
}

impl Stage {
    /// The order in which values get there: an element of a pass before the whole fiber, which is there when the next begins.
    pub(crate) fn time(self) -> (u32, bool) {
        (self.pass, !self.open)
    }
}

/// What a value needs of each source.
pub(crate) type State = BTreeMap<Source, Stage>;

/// What is read along the rank: one tensor, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// All tensors taken for one: the barrier depth.
    Any,
    /// One tensor.
    Tensor(TensorId),
}

/// The state of a value from those of its operands, where it depends on the coordinate along all of the
/// rank (`spans`) or along a part of it at least (`touches`).
pub(crate) fn join<'s>(spans: bool, touches: bool, operands: impl Iterator<Item = &'s State>) -> State {
    // Of each source the most passes of what is open and of what is closed.
    let mut most: BTreeMap<Source, [Option<u32>; 2]> = BTreeMap::new();
    for (&source, stage) in operands.flatten() {
        let most = &mut most.entry(source).or_default()[usize::from(stage.open)];
        *most = (*most).max(Some(stage.pass));
    }
    let joined = |[closed, open]: [Option<u32>; 2]| match (open, closed) {
        // The element is read again after the whole fiber was.
        (Some(open), Some(closed)) if spans => Stage { pass: open.max(closed + 1), open: true },
        (Some(open), None) => Stage { pass: open, open: touches },
        (open, closed) => Stage { pass: open.max(closed).unwrap_or(0), open: false },
    };
    most.into_iter().map(|(source, most)| (source, joined(most))).collect()
}

/// The most passes over the fiber of any one tensor.
pub(crate) fn passes(state: &State) -> u32 {
    state.iter().filter(|(source, _)| **source != Source::Any).map(|(_, it)| it.pass).max().unwrap_or(0)
}

/// The length of the longest chain of traversals that wait for each other.
pub(crate) fn depth(state: &State) -> u32 {
    state.get(&Source::Any).map_or(0, |it| it.pass)
}
