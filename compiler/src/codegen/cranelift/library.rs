//! Formulas as Cranelift functions.

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{Type, Value};
use cranelift_frontend::FunctionBuilder;

use super::arith::{bits_type, with_lanes};
use crate::codegen::formula::{self, Formula};

/// The types of a formula's parameters and of its result, for lanes of that type.
pub(super) fn types(formula: Formula, ty: Type) -> (Vec<Type>, Type) {
    match formula {
        Formula::Real(_) | Formula::Power => (vec![ty], ty),
        Formula::Pow => (vec![ty, ty], ty),
        Formula::Decode(_) => (vec![bits_type(ty)], ty),
        Formula::Encode(_) => (vec![ty], bits_type(ty)),
    }
}

/// Whether a formula is repeated where it is used, because a call would spill the registers around it.
pub(super) fn is_inlined(formula: Formula, ty: Type) -> bool {
    formula.is_short() && ty == F32X4
}

/// Emits a formula in place, where products are added by one instruction or not.
pub(super) fn emit(
    builder: &mut FunctionBuilder<'_>,
    formula: Formula,
    ty: Type,
    args: &[Value],
    fuses: bool,
) -> Value {
    with_lanes(builder, (ty, fuses), |lanes| formula::emit(lanes, formula, args))
}
