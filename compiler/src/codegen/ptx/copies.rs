//! What is left of a stage for the warps that start copies of boxes: loops around loads, and what their coordinates and how
//! often they run are computed of.
//!
//! ```text
//! for n: %k = load K; %s = contract %q, %k; ..; %v = load V; %o = contract ..    ->   for n: %k = load K; %v = load V
//! ```

use std::collections::HashSet;

use crate::ir::factors::Factors;
use crate::ir::nest::{Block, Loop, Nest, Op, Stmt, ValueId};

/// A block with loads where they are first used.
pub(super) fn late(block: &Block, is_box: &impl Fn(ValueId) -> bool) -> Block {
    let (mut waiting, mut stmts) = (Vec::new(), Vec::new());
    for stmt in &block.stmts {
        let (used, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|it: &Stmt| match it {
            Stmt::Let(load, _) => stmt.uses(*load),
            Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => false,
        });
        waiting = rest;
        stmts.extend(used);
        match stmt {
            Stmt::Let(value, _) if is_box(*value) => waiting.push(stmt.clone()),
            Stmt::Loop(it) => stmts.push(Stmt::Loop(Loop { body: late(&it.body, is_box), ..it.clone() })),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::If { .. } => stmts.push(stmt.clone()),
        }
    }
    stmts.extend(waiting);
    Block { stmts }
}

/// What the coordinates of loads are computed of, and how often loops with loads run.
pub(super) fn wanted(
    block: &Block,
    is_box: &impl Fn(ValueId) -> bool,
    factors: &Factors<'_>,
    needed: &mut HashSet<ValueId>,
) -> bool {
    let mut any = false;
    for stmt in &block.stmts {
        let own = match stmt {
            Stmt::Let(value, Op::Load { index, .. }) if is_box(*value) => index.clone(),
            Stmt::Loop(it) if wanted(&it.body, is_box, factors, needed) => vec![it.from, it.to],
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => continue,
        };
        any = true;
        let mut waiting = own;
        while let Some(value) = waiting.pop() {
            if needed.insert(value) {
                waiting.extend(factors.definition(value).map(Op::operands).unwrap_or_default());
            }
        }
    }
    any
}

/// The loads of a block, the scalars that are needed for them, and the loops around them; nothing without loads.
pub(super) fn copies(
    nest: &Nest,
    block: &Block,
    is_box: &impl Fn(ValueId) -> bool,
    needed: &HashSet<ValueId>,
) -> Option<Block> {
    let (mut stmts, mut any) = (Vec::new(), false);
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(value, _) if is_box(*value) => {
                any = true;
                stmts.push(stmt.clone());
            }
            Stmt::Let(value, _) if needed.contains(value) && nest.values[*value].shape.is_empty() => {
                stmts.push(stmt.clone());
            }
            Stmt::Loop(it) => {
                let Some(body) = copies(nest, &it.body, is_box, needed) else { continue };
                any = true;
                stmts.push(Stmt::Loop(Loop { body, carried: Vec::new(), ..it.clone() }));
            }
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::If { .. } => {}
        }
    }
    any.then_some(Block { stmts })
}
