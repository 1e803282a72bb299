//! The kinds of operands that each operation of a cascade takes.

use attnc_dsl::ast::{CompareOp, Kind};

use super::Broken;
use crate::ir::cascade::{Cascade, ExprId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands};

/// Every expression has operands of the kinds that its operation takes.
pub(super) fn check(cascade: &Cascade, broken: &mut Broken) {
    let kind = |id: &ExprId| cascade.exprs.kind(*id);
    for (id, expr) in cascade.exprs.iter() {
        let at = format!("expression {id:?}");
        let above = operands(expr).iter().any(|&it| it >= id);
        broken.expect(!above, &at, "operands come before operations");
        let holds = match expr {
            Expr::Int(_) | Expr::Real(_) | Expr::Bool(_) | Expr::Extent(_) | Expr::Index(_) => true,
            Expr::Param(param, of) => cascade.params[*param].dtype.kind() == *of,
            Expr::Read(tensor, coords, of) => {
                let tensor = &cascade.tensors[*tensor];
                let as_many = format!("reads `{}` at one coordinate for each dimension", tensor.name);
                broken.expect(coords.len() == tensor.dims.len(), &at, &as_many);
                tensor.kind == *of && coords.iter().all(|it| kind(it) == Kind::Int)
            }
            Expr::Unary(op, a) => takes(*op, kind(a)),
            Expr::Binary(op, a, b) => kind(a) == kind(b) && takes_two(*op, kind(a)),
            Expr::Compare(op, a, b) => {
                let has_order = kind(a) != Kind::Bool || matches!(op, CompareOp::Eq | CompareOp::Ne);
                kind(a) == kind(b) && has_order
            }
            Expr::If(c, a, b) => kind(c) == Kind::Bool && kind(a) == kind(b),
            Expr::Where(_, c) => kind(c) == Kind::Bool,
            Expr::Else(a, b) => kind(a) == kind(b),
            Expr::Present(_) | Expr::Cast(..) => true,
            Expr::Pick(i, values) => {
                let one_kind = values.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1]));
                kind(i) == Kind::Int && one_kind && !values.is_empty()
            }
        };
        broken.expect(holds, &at, "operands have the kinds that the operation takes");
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn takes(op: UnaryOp, kind: Kind) -> bool {
    match op {
        UnaryOp::Not => kind == Kind::Bool,
        UnaryOp::ToReal | UnaryOp::Ilog2 => kind == Kind::Int,
        op if op.is_real_function() => kind == Kind::Real,
        _ => kind != Kind::Bool,
    }
}

fn takes_two(op: BinaryOp, kind: Kind) -> bool {
    match op {
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max => kind != Kind::Bool,
        BinaryOp::Div | BinaryOp::Pow => kind == Kind::Real,
        BinaryOp::And | BinaryOp::Or => kind == Kind::Bool,
        BinaryOp::FloorDiv
        | BinaryOp::Mod
        | BinaryOp::BitAnd
        | BinaryOp::BitOr
        | BinaryOp::BitXor
        | BinaryOp::Shl
        | BinaryOp::Shr => kind == Kind::Int,
    }
}
