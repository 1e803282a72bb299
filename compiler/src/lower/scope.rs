//! What names mean at one place of a spec, and which an expression mentions.

use std::collections::HashMap;

use attnc_dsl::ast::{Expr, ExprKind};

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

/// The names that an expression mentions, those between bars included.
pub(super) fn collect_names(expr: &Expr, names: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Name(name) => names.push(name.clone()),
        ExprKind::Bars(name) => names.push(name.text.clone()),
        ExprKind::Int(_)
        | ExprKind::Real(_)
        | ExprKind::Bool(_)
        | ExprKind::Inf
        | ExprKind::Pi
        | ExprKind::Refused => {}
        ExprKind::Read { coords: args, .. } | ExprKind::Call { args, .. } => {
            args.iter().for_each(|it| collect_names(it, names));
        }
        ExprKind::Reindex { coords, .. } => coords.iter().for_each(|(_, it)| collect_names(it, names)),
        ExprKind::Select { arg, .. } | ExprKind::Unary(_, arg) => collect_names(arg, names),
        ExprKind::Binary(_, a, b) | ExprKind::Where(a, b) | ExprKind::Else(a, b) => {
            collect_names(a, names);
            collect_names(b, names);
        }
        ExprKind::Compare(first, rest) => {
            collect_names(first, names);
            rest.iter().for_each(|(_, it)| collect_names(it, names));
        }
        ExprKind::If(c, a, b) => [c, a, b].into_iter().for_each(|it| collect_names(it, names)),
    }
}
