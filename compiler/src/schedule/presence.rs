//! What must hold for an expression to be present, as far as it is a list of conditions.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::cascade::{ExprId, ReduceOp, TensorId};
use crate::ir::expr::{BinaryOp, Expr, Exprs, parts};

/// The values of maps that are held as tiles, which a read is seen through.
pub(super) type Held = BTreeMap<TensorId, ExprId>;

/// Conditions each of which holds wherever the expression is present.
pub(super) fn conditions(exprs: &Exprs, held: &Held, value: ExprId) -> BTreeSet<ExprId> {
    let mut search = Search { exprs, held, seen: BTreeSet::new(), found: BTreeSet::new() };
    search.presence(value);
    search.found
}

/// Conditions each of which holds wherever a point changes what a reduction comes to.
pub(super) fn matters(exprs: &Exprs, held: &Held, op: ReduceOp, value: ExprId) -> BTreeSet<ExprId> {
    let mut search = Search { exprs, held, seen: BTreeSet::new(), found: BTreeSet::new() };
    match op {
        ReduceOp::Any | ReduceOp::Count => search.truth(value),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Mean => {
            search.presence(value);
        }
        ReduceOp::All => {}
    }
    search.found
}

struct Search<'a> {
    exprs: &'a Exprs,
    held: &'a Held,
    seen: BTreeSet<ExprId>,
    found: BTreeSet<ExprId>,
}

impl Search<'_> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn truth(&mut self, condition: ExprId) {
        for part in parts(self.exprs, condition) {
            match self.exprs.get(part) {
                Expr::Present(x) => self.presence(*x),
                Expr::Where(x, c) => {
                    self.truth(*x);
                    self.truth(*c);
                }
                // What is true is present.
                _ => {
                    self.found.insert(part);
                    self.presence(part);
                }
            }
        }
    }

    fn presence(&mut self, value: ExprId) {
        if !self.seen.insert(value) {
            return;
        }
        match self.exprs.get(value) {
            Expr::Where(x, c) => {
                self.presence(*x);
                self.truth(*c);
            }
            Expr::Unary(_, a) | Expr::Cast(_, a) => self.presence(*a),
            Expr::Binary(BinaryOp::And | BinaryOp::Or, ..) => {}
            Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => {
                self.presence(*a);
                self.presence(*b);
            }
            Expr::If(c, ..) => self.presence(*c),
            Expr::Read(tensor, ..) => {
                if let Some(&value) = self.held.get(tensor) {
                    self.presence(value);
                }
            }
            Expr::Int(_)
            | Expr::Real(_)
            | Expr::Bool(_)
            | Expr::Extent(_)
            | Expr::Index(_)
            | Expr::Param(..)
            | Expr::Else(..)
            | Expr::Present(_)
            | Expr::Pick(..) => {}
        }
    }
}
