//! Products come as late as they are wanted, so that what they are made of need not be held beside them.
//!
//! ```text
//! O += P · V; any(S != -inf)   ->   any(S != -inf); O += P · V
//! ```

use crate::ir::factors::Factors;
use crate::ir::nest::{Block, Op, Stmt};

/// Moves products, and sums that they are added to, to their first uses in the block.
pub(super) fn products_late(prologue: &Block, body: &mut Block) {
    let own = body.clone();
    late(&Factors::of(prologue, &own), body);
}

fn late(factors: &Factors<'_>, block: &mut Block) {
    // From the end, so that a sum has moved before its products do; those with the same first use keep their order.
    for at in (0..block.stmts.len()).rev() {
        match &mut block.stmts[at] {
            Stmt::Let(value, op) => {
                let value = *value;
                if !matches!(op, Op::Contract { .. }) && !factors.is_sum(value) {
                    continue;
                }
                let rest = &block.stmts[at + 1..];
                let mut stays = rest.iter().position(|it| it.uses(value)).unwrap_or(rest.len());
                let is_product = |it: &Stmt| matches!(it, Stmt::Let(_, Op::Contract { .. }));
                while stays > 0 && is_product(&rest[stays - 1]) {
                    stays -= 1;
                }
                block.stmts[at..=at + stays].rotate_left(1);
            }
            Stmt::Loop(it) => late(factors, &mut it.body),
            Stmt::If { then, otherwise, .. } => {
                [then, otherwise].into_iter().for_each(|it| late(factors, it))
            }
            Stmt::Store { .. } => {}
        }
    }
}
