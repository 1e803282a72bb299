//! What names mean at one place of a spec.

use std::collections::HashMap;

use crate::ir::cascade::{ExprId, RankId};

/// What names mean at one place.
pub(super) struct Scope {
    /// Ranks; a function's rank parameter may stand for several.
    pub(super) ranks: HashMap<String, Vec<RankId>>,
    /// Values inside a function; `None` outside, where tensors and parameters are seen instead.
    pub(super) locals: Option<HashMap<String, ExprId>>,
}

impl Scope {
    /// The ranks that these names stand for, in order.
    pub(super) fn ranks<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<RankId> {
        names.into_iter().flat_map(|name| self.ranks[name].iter().copied()).collect()
    }

    /// The rank that a name stands for.
    pub(super) fn rank(&self, name: &str) -> RankId {
        self.ranks[name][0]
    }
}
