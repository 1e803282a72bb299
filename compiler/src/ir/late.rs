//! Values made of loads that lie in shared memory, which a block of threads computes element by element as products take them,
//! as they are combined along rows, or as they are stored: a thread has no registers for all its elements, nor for their addresses.
//!
//! ```text
//! %1 = load V;  %2 = %1 * %g;  %3 = round %2;  %o = contract %3, %k     ->   %1, %2 come late, %1 from shared memory
//! ```

use std::collections::{HashMap, HashSet};

use attnc_dsl::ast::DType;

use super::cascade::RankId;
use super::expr::UnaryOp;
use super::factors::Factors;
use super::nest::{Block, Nest, Op, Place, Scalar, Stmt, ValueId};

/// The values of a block that come late, if products take one of them: they have rows and another rank, and are loaded or made
/// of what is.
pub(crate) fn late(nest: &Nest, rows: RankId, block: &Block, factors: &Factors<'_>) -> HashSet<ValueId> {
    let mut uses = Uses::default();
    let mut candidates: Vec<(ValueId, &Op)> = Vec::new();
    for stmt in block.stmts.iter().rev() {
        match stmt {
            Stmt::Store { value, .. } => uses.note(*value, false),
            Stmt::Let(_, Op::Contract { a, .. }) => uses.note(*a, true),
            Stmt::Let(_, Op::Reduce(_, a)) => uses.note(*a, false),
            Stmt::Let(value, op) => {
                let (count, taken) = uses.of(*value);
                let by_element = count > 0 && factors.n_uses(*value) == count;
                let is_round = matches!(op, Op::Round(..)) && factors.is_factor(*value);
                let ty = &nest.values[*value];
                let is_wide = ty.scalar == Scalar::F32
                    && ty.shape.len() == 2
                    && ty.shape.iter().any(|it| it.rank == rows);
                if !by_element || !is_wide || factors.is_sum(*value) {
                    continue;
                }
                if !is_round {
                    candidates.push((*value, op));
                }
                elements(op).into_iter().for_each(|it| uses.note(it, taken));
            }
            Stmt::Loop(_) | Stmt::If { .. } => {}
        }
    }
    let (mut late, mut any) = (HashSet::new(), false);
    for (value, op) in candidates.into_iter().rev() {
        if matches!(op, Op::Load { .. }) && is_copied(nest, factors, (value, op)) {
            any |= uses.of(value).1;
            late.insert(value);
        } else if elements(op).iter().any(|it| late.contains(it)) {
            late.insert(value);
        }
    }
    if any { late } else { HashSet::new() }
}

/// How often values are used by element, and whether products take what is made of them.
#[derive(Default)]
struct Uses(HashMap<ValueId, (usize, bool)>);

impl Uses {
    fn note(&mut self, value: ValueId, taken: bool) {
        let (count, any) = self.0.entry(value).or_default();
        *count += 1;
        *any |= taken;
    }

    fn of(&self, value: ValueId) -> (usize, bool) {
        self.0.get(&value).copied().unwrap_or_default()
    }
}

/// The operands of which an element makes one of the result, if it is made so late.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
pub(crate) fn elements(op: &Op) -> Vec<ValueId> {
    match *op {
        Op::Binary(_, a, b) | Op::Select(_, a, b) => vec![a, b],
        Op::Convert(a) | Op::Round(_, a) | Op::Unary(UnaryOp::Abs, a) => vec![a],
        _ => Vec::new(),
    }
}

/// Whether a load can be copied to shared memory as products take what lies there.
fn is_copied(nest: &Nest, factors: &Factors<'_>, (value, op): (ValueId, &Op)) -> bool {
    let Op::Load { buffer, index, guard, .. } = op else { return false };
    let of = &nest.buffers[*buffer];
    let dtype = matches!(of.dtype, DType::BF16 | DType::F16 | DType::F32);
    let is_shared = !matches!(of.place, Place::Scratch(_));
    dtype
        && is_shared
        && !factors.is_factor(value)
        && index.iter().chain(guard).all(|it| anew(nest, factors, *it))
}

/// Whether an element can be computed anew for any coordinates.
fn anew(nest: &Nest, factors: &Factors<'_>, value: ValueId) -> bool {
    if nest.values[value].shape.is_empty() {
        return true;
    }
    let Some(op) = factors.definition(value) else { return false };
    op.is_by_element() && op.operands().into_iter().all(|it| anew(nest, factors, it))
}
