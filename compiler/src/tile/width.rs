//! How precisely reals are computed: f32 wherever a float tensor below f64 enters, else f64.

use attnc_dsl::ast::{DType, Kind};

use crate::ir::cascade::{Cascade, Einsum, ExprId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::nest::Scalar;

/// What has entered a real value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// Constants, extents, parameters, indices: f64, but narrowed for free where it meets f32.
    Scalars,
    /// A float tensor below f64.
    F32,
    /// An f64 tensor.
    F64,
}

/// The width of every expression and tensor.
pub(super) struct Widths {
    exprs: Vec<Width>,
    tensors: Vec<Width>,
}

impl Widths {
    /// Walks the cascade until nothing widens any more: recurrences read themselves.
    pub(super) fn of(cascade: &Cascade, einsums: &[&Einsum]) -> Widths {
        let declared = |dtype: Option<DType>| match dtype {
            Some(DType::F64) => Width::F64,
            Some(DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2) => Width::F32,
            Some(DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 | DType::Bool)
            | None => Width::Scalars,
        };
        let tensors = cascade.tensors.iter().map(|(_, it)| declared(it.dtype)).collect();
        let mut widths = Widths { exprs: Vec::new(), tensors };
        loop {
            widths.exprs.clear();
            for (_, expr) in cascade.exprs.iter() {
                let width = widths.width(cascade, expr);
                widths.exprs.push(width);
            }
            let mut changed = false;
            for einsum in einsums {
                let width = widths.exprs[einsum.value.idx()];
                let tensor = &mut widths.tensors[einsum.tensor.idx()];
                if cascade.tensors[einsum.tensor].dtype.is_none() && width > *tensor {
                    (*tensor, changed) = (width, true);
                }
            }
            if !changed {
                return widths;
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn width(&self, cascade: &Cascade, expr: &Expr) -> Width {
        let of = |id: ExprId| match cascade.exprs.kind(id) {
            Kind::Real => self.exprs[id.idx()],
            Kind::Int | Kind::Bool => Width::Scalars,
        };
        match expr {
            Expr::Read(tensor, _, _) => self.tensors[tensor.idx()],
            Expr::Cast(DType::F64, _) => Width::F64,
            Expr::Cast(..) => Width::F32,
            Expr::Where(value, _) => of(*value),
            Expr::If(_, a, b) => of(*a).max(of(*b)),
            other => operands(other).into_iter().map(of).max().unwrap_or(Width::Scalars),
        }
    }

    /// What an expression is computed with.
    pub(super) fn scalar(&self, cascade: &Cascade, expr: ExprId) -> Scalar {
        scalar(cascade.exprs.kind(expr), self.exprs[expr.idx()])
    }

    /// What two operands of one kind are compared in.
    pub(super) fn joined(&self, cascade: &Cascade, a: ExprId, b: ExprId) -> Scalar {
        scalar(cascade.exprs.kind(a), self.exprs[a.idx()].max(self.exprs[b.idx()]))
    }

    /// What is stored for a tensor.
    pub(super) fn stored(&self, cascade: &Cascade, tensor: TensorId) -> DType {
        let it = &cascade.tensors[tensor];
        it.dtype.unwrap_or(match scalar(it.kind, self.tensors[tensor.idx()]) {
            Scalar::F64 => DType::F64,
            Scalar::F32 => DType::F32,
            Scalar::I64 => DType::I64,
            Scalar::I32 => DType::I32,
            Scalar::Bool => DType::Bool,
        })
    }
}

/// Whether each expression is a real that is computed in f32.
pub fn in_f32(cascade: &Cascade) -> Vec<bool> {
    let widths = Widths::of(cascade, &cascade.einsums().collect::<Vec<_>>());
    cascade.exprs.iter().map(|(id, _)| widths.scalar(cascade, id) == Scalar::F32).collect()
}

fn scalar(kind: Kind, width: Width) -> Scalar {
    match (kind, width) {
        (Kind::Int, _) => Scalar::I64,
        (Kind::Bool, _) => Scalar::Bool,
        (Kind::Real, Width::F32) => Scalar::F32,
        (Kind::Real, Width::Scalars | Width::F64) => Scalar::F64,
    }
}
