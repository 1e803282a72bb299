//! Products come as late as they are wanted, so that what they are made of need not be held beside them.
//!
//! ```text
//! O += P · V; any(S != -inf)   ->   any(S != -inf); O += P · V
//! ```

use std::collections::BTreeSet;

use crate::ir::expr::BinaryOp;
use crate::ir::factors::Factors;
use crate::ir::nest::{Block, BufferId, Op, Stmt, ValueId};

/// Moves products, sums that they are added to, and what a loop carries and products take before it is multiplied for such a sum,
/// to their first uses in the block.
pub(super) fn products_late(prologue: &Block, body: &mut Block) {
    // Products that have moved behind what they are added to make sums of others.
    for _ in 0..2 {
        let own = body.clone();
        let factors = Factors::of(prologue, &own);
        let is_moved =
            |value: ValueId, op: &Op| is_product(op) || factors.is_sum(value) || factors.is_next(value);
        late(&factors, body, &is_moved, is_product);
    }
}

/// Moves all else to its first use in its block, loads among it: where products wait for copies, the assembler does not read
/// memory later than is said.
pub(super) fn others_late(prologue: &Block, body: &mut Block) {
    let own = body.clone();
    let mut written = BTreeSet::new();
    stores(&own, &mut written);
    // What is stored in between would be read instead.
    let is_free = |op: &Op| !matches!(op, Op::Load { buffer, .. } if written.contains(buffer));
    late(&Factors::of(prologue, &own), body, &|_, op| !is_product(op) && is_free(op), |op| {
        is_product(op) || matches!(op, Op::Compare(..) | Op::Binary(BinaryOp::And, ..))
    });
}

/// The buffers that a block writes to.
fn stores(block: &Block, written: &mut BTreeSet<BufferId>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(..) => {}
            Stmt::Store { buffer, .. } => _ = written.insert(*buffer),
            Stmt::Loop(it) => stores(&it.body, written),
            Stmt::If { then, otherwise, .. } => {
                [then, otherwise].into_iter().for_each(|it| stores(it, written))
            }
        }
    }
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::Contract { .. })
}

/// Moves some of what is computed to its first use in its block. Of what has the same first use, some keeps its order: what
/// products are added to is there before them, and conditions, which are small, do not come before all else.
fn late(
    factors: &Factors<'_>,
    block: &mut Block,
    is_moved: &impl Fn(ValueId, &Op) -> bool,
    keeps_order: fn(&Op) -> bool,
) {
    // From the end, so that a sum has moved before its products do.
    for at in (0..block.stmts.len()).rev() {
        match &mut block.stmts[at] {
            Stmt::Let(value, op) if is_moved(*value, op) => {
                let value = *value;
                let rest = &block.stmts[at + 1..];
                let first = rest.iter().position(|it| it.uses(value));
                // What a loop hands on comes last.
                let end = factors.is_sum(value).then_some(rest.len());
                let Some(mut stays) = first.or(end) else { continue };
                let keeps = |it: &Stmt, user: &Stmt| match it {
                    Stmt::Let(other, op) => keeps_order(op) && user.uses(*other),
                    Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => false,
                };
                while stays > 0 && rest.get(stays).is_some_and(|user| keeps(&rest[stays - 1], user)) {
                    stays -= 1;
                }
                block.stmts[at..=at + stays].rotate_left(1);
            }
            Stmt::Loop(it) => late(factors, &mut it.body, is_moved, keeps_order),
            Stmt::If { then, otherwise, .. } => {
                [then, otherwise].into_iter().for_each(|it| late(factors, it, is_moved, keeps_order));
            }
            Stmt::Let(..) | Stmt::Store { .. } => {}
        }
    }
}
