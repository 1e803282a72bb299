//! Walks over the points of some ranks that keep expressions computed.

use std::ops::Range;

use super::machine::Machine;
use super::number::Number;
use crate::ir::cascade::{ExprId, RankId};

/// The order in which coordinates move and expressions are computed.
pub(super) struct Walk {
    /// Outermost first.
    pub(super) ranks: Vec<RankId>,
    /// What to compute after the first, second, … rank has moved; before that, what depends on none.
    levels: Vec<Vec<ExprId>>,
}

impl Walk {
    pub(super) fn new<R: Number>(machine: &Machine<'_, R>, ranks: &[RankId], value: ExprId) -> Walk {
        let exprs = &machine.cascade.exprs;
        let level_of = |atom: &RankId| {
            1 + ranks.iter().position(|&it| exprs.atoms(it).contains(atom)).expect("free ranks are walked")
        };
        let mut levels = vec![Vec::new(); ranks.len() + 1];
        for id in exprs.postorder(value) {
            levels[exprs.free(id).iter().map(level_of).max().unwrap_or(0)].push(id);
        }
        Walk { ranks: ranks.to_vec(), levels }
    }

    /// Computes what depends on no coordinate.
    pub(super) fn start<R: Number>(&self, machine: &mut Machine<'_, R>) {
        machine.compute(&self.levels[0]);
    }

    /// Visits all coordinates of these of its ranks, while those before stand still.
    pub(super) fn visit<R: Number>(
        &self,
        machine: &mut Machine<'_, R>,
        ranks: Range<usize>,
        visitor: &mut dyn FnMut(&mut Machine<'_, R>),
    ) {
        if ranks.start == 0 {
            self.start(machine);
        }
        if ranks.is_empty() {
            return visitor(machine);
        }
        for coord in 0..machine.extent(self.ranks[ranks.start]) {
            self.enter(machine, ranks.start, coord);
            self.visit(machine, ranks.start + 1..ranks.end, visitor);
        }
    }

    /// Moves along one of its ranks and computes what depends on that.
    pub(super) fn enter<R: Number>(&self, machine: &mut Machine<'_, R>, depth: usize, coord: i64) {
        machine.move_to(self.ranks[depth], coord);
        machine.compute(&self.levels[depth + 1]);
    }
}
