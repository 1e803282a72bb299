//! In which pass over a fiber a value is there: what the count of passes is made of.

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

/// What a value needs of each source, ascending: there are few, and states are made all the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State(Vec<(Source, Stage)>);

/// What is read along the rank: one tensor, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// All tensors taken for one: the barrier depth.
    Any,
    /// One tensor.
    Tensor(TensorId),
}

impl State {
    /// Nothing is needed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is needed of a source.
    pub(crate) fn get(&self, source: Source) -> Option<Stage> {
        self.place(source).ok().map(|at| self.0[at].1)
    }

    /// What is needed of a source, which is that where nothing was so far.
    pub(crate) fn or_insert(&mut self, source: Source, stage: Stage) -> &mut Stage {
        let at = self.place(source).unwrap_or_else(|at| {
            self.0.insert(at, (source, stage));
            at
        });
        &mut self.0[at].1
    }

    /// The sources with what is needed of each, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Source, Stage)> + '_ {
        self.0.iter().copied()
    }

    /// What is needed of the sources.
    pub(crate) fn stages(&self) -> impl Iterator<Item = Stage> + '_ {
        self.iter().map(|(_, stage)| stage)
    }

    /// Something is needed, and only when whole fibers were read.
    pub(crate) fn is_closed(&self) -> bool {
        !self.is_empty() && self.stages().all(|it| !it.open)
    }

    /// It is there only after whole fibers.
    pub(crate) fn close(&mut self) {
        self.0.iter_mut().for_each(|(_, it)| it.open = false);
    }

    /// What both of two equal values need: a source that one of them does without is not needed.
    pub(crate) fn least(&mut self, other: &State) {
        self.0.retain_mut(|(source, stage)| {
            let other = other.get(*source);
            if let Some(other) = other.filter(|it| it.time() < stage.time()) {
                *stage = other;
            }
            other.is_some()
        });
    }

    /// An element of a tensor that is read along the rank.
    pub(crate) fn read(&mut self, tensor: TensorId) {
        let first = Stage { pass: 1, open: true };
        for source in [Source::Any, Source::Tensor(tensor)] {
            *self.or_insert(source, first) = first;
        }
    }

    fn place(&self, source: Source) -> Result<usize, usize> {
        self.0.binary_search_by_key(&source, |it| it.0)
    }
}

/// What the operands of a value need: of each source the most passes of what is closed and of what is open.
#[derive(Debug, Default)]
pub(crate) struct Join(Vec<(Source, [Option<u32>; 2])>);

impl Join {
    /// One more operand.
    pub(crate) fn add(&mut self, operand: &State) {
        for (source, stage) in operand.iter() {
            let at = self.0.binary_search_by_key(&source, |it| it.0).unwrap_or_else(|at| {
                self.0.insert(at, (source, [None; 2]));
                at
            });
            let most = &mut self.0[at].1[usize::from(stage.open)];
            *most = (*most).max(Some(stage.pass));
        }
    }

    /// They need nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The state of the value, where it depends on the coordinate along all of the rank (`spans`) or along a part of it at
    /// least (`touches`).
    pub(crate) fn state(self, spans: bool, touches: bool) -> State {
        let joined = |[closed, open]: [Option<u32>; 2]| match (open, closed) {
            // The element is read again after the whole fiber was.
            (Some(open), Some(closed)) if spans => Stage { pass: open.max(closed + 1), open: true },
            (Some(open), None) => Stage { pass: open, open: touches },
            (open, closed) => Stage { pass: open.max(closed).unwrap_or(0), open: false },
        };
        State(self.0.into_iter().map(|(source, most)| (source, joined(most))).collect())
    }
}

/// The state of a value from those of its operands, see [`Join`].
pub(crate) fn join<'s>(spans: bool, touches: bool, operands: impl Iterator<Item = &'s State>) -> State {
    let mut join = Join::default();
    operands.for_each(|it| join.add(it));
    join.state(spans, touches)
}

/// The most passes over the fiber of any one tensor.
pub(crate) fn passes(state: &State) -> u32 {
    state.iter().filter(|(source, _)| *source != Source::Any).map(|(_, it)| it.pass).max().unwrap_or(0)
}

/// The length of the longest chain of traversals that wait for each other.
pub(crate) fn depth(state: &State) -> u32 {
    state.get(Source::Any).map_or(0, |it| it.pass)
}
