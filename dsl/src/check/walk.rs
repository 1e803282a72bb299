//! Walks over expressions, by what stands directly below what.

use crate::ast::{Expr, ExprKind, Name};

/// The expressions directly below one, in the order written.
pub(super) fn children(e: &Expr) -> Vec<&Expr> {
    match &e.kind {
        ExprKind::Int(_)
        | ExprKind::Real(_)
        | ExprKind::Bool(_)
        | ExprKind::Inf
        | ExprKind::Pi
        | ExprKind::Name(_)
        | ExprKind::Bars(_)
        | ExprKind::Refused => vec![],
        ExprKind::Read { coords, .. } => coords.iter().collect(),
        ExprKind::Reindex { coords, .. } => coords.iter().map(|(_, e)| e).collect(),
        ExprKind::Call { args, .. } => args.iter().collect(),
        ExprKind::Select { arg, .. } => vec![arg],
        ExprKind::Unary(_, a) => vec![a],
        ExprKind::Binary(_, a, b) | ExprKind::Where(a, b) | ExprKind::Else(a, b) => vec![a, b],
        ExprKind::Compare(first, rest) => {
            std::iter::once(&**first).chain(rest.iter().map(|(_, e)| e)).collect()
        }
        ExprKind::If(c, a, b) => vec![c, a, b],
    }
}

/// Every expression in one, itself included, from the outside in.
pub(super) fn walk<'a>(e: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(e);
    for below in children(e) {
        walk(below, visit);
    }
}

/// What an expression reads by that name: a tensor, a parameter, a local or a rank.
pub(super) fn read_name(e: &Expr) -> Option<&str> {
    match &e.kind {
        ExprKind::Name(name) => Some(name),
        ExprKind::Bars(name) | ExprKind::Read { name, .. } | ExprKind::Reindex { name, .. } => {
            Some(&name.text)
        }
        ExprKind::Int(_)
        | ExprKind::Real(_)
        | ExprKind::Bool(_)
        | ExprKind::Inf
        | ExprKind::Pi
        | ExprKind::Call { .. }
        | ExprKind::Select { .. }
        | ExprKind::Unary(..)
        | ExprKind::Binary(..)
        | ExprKind::Compare(..)
        | ExprKind::If(..)
        | ExprKind::Where(..)
        | ExprKind::Else(..)
        | ExprKind::Refused => None,
    }
}

/// The ranks that a call or a selection binds in its values.
pub(super) fn bound_ranks(e: &Expr) -> &[Name] {
    if let ExprKind::Call { ranks, .. } = &e.kind {
        ranks
    } else if let ExprKind::Select { from, .. } = &e.kind {
        std::slice::from_ref(from)
    } else {
        &[]
    }
}
