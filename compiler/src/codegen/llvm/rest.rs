//! Parts of stages that are functions of their own: what is done where a condition fails, if it is long. Registers are then
//! for the part where it holds, and LLVM compiles both at the same time.
//!
//! Such a part is handed the scalars that it needs; constants, and tiles of them, it makes again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use inkwell::attributes::AttributeLoc;
use inkwell::values::FunctionValue;

use super::assembler::{Element, Value};
use super::block::{Args, Emitter};
use super::share::cost;
use super::tile::element;
use super::unit::Unit;
use crate::codegen::uses::Uses;
use crate::codegen::{CodegenError, symbol};
use crate::ir::nest::{Block, BufferId, Loop, Nest, Op, Stage, Stmt, ValueId};

/// A part of less is not worth a call.
const LONG: usize = 150;

/// A part of a stage that is a function.
#[derive(Debug)]
pub(super) struct Rest<'a> {
    pub(super) block: &'a Block,
    /// The scalars that it is handed.
    handed: BTreeSet<ValueId>,
    /// What it makes again, in order.
    again: Vec<&'a Stmt>,
    buffers: Vec<BufferId>,
}

/// Where each value is defined that an operation defines outside of a part: in the prologue or in the stage.
type Definitions<'a> = HashMap<ValueId, (usize, &'a Stmt)>;

/// The parts of a stage that are functions, in order.
pub(super) fn rests<'a>(nest: &'a Nest, stage: &'a Stage) -> Vec<Rest<'a>> {
    let mut definitions = Definitions::new();
    define(&nest.prologue, &mut definitions);
    define(&stage.body, &mut definitions);
    let mut found = Vec::new();
    find(nest, &stage.body, &definitions, &mut found);
    found
}

fn define<'a>(block: &'a Block, definitions: &mut Definitions<'a>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(value, _) => {
                definitions.insert(*value, (definitions.len(), stmt));
            }
            Stmt::Store { .. } => {}
            Stmt::Loop(it) => define(&it.body, definitions),
            Stmt::If { then, otherwise, .. } => {
                define(then, definitions);
                define(otherwise, definitions);
            }
        }
    }
}

fn find<'a>(nest: &'a Nest, block: &'a Block, definitions: &Definitions<'a>, found: &mut Vec<Rest<'a>>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(..) | Stmt::Store { .. } => {}
            Stmt::Loop(it) => find(nest, &it.body, definitions, found),
            Stmt::If { then, otherwise, .. } => {
                find(nest, then, definitions, found);
                let long = cost(nest, otherwise) >= LONG;
                match long.then(|| Rest::of(nest, otherwise, definitions)).flatten() {
                    Some(rest) => found.push(rest),
                    None => find(nest, otherwise, definitions, found),
                }
            }
        }
    }
}

impl<'a> Rest<'a> {
    /// A block as a function; `None` if it needs tiles that it cannot make again.
    fn of(nest: &'a Nest, block: &'a Block, definitions: &Definitions<'a>) -> Option<Rest<'a>> {
        let uses = Uses::named(nest, block);
        let mut own = BTreeSet::new();
        defined(block, &mut own);
        let mut wanted: Vec<ValueId> = uses.values().filter(|it| !own.contains(it)).collect();
        let (mut handed, mut again) = (BTreeSet::new(), BTreeMap::new());
        while let Some(value) = wanted.pop() {
            let known = definitions.get(&value);
            let is_scalar = nest.values[value].shape.is_empty();
            match known {
                Some(&(at, stmt @ Stmt::Let(_, op))) if is_constant(op) || !is_scalar => {
                    if !is_short(op) {
                        return None;
                    }
                    if again.insert(at, stmt).is_none() {
                        wanted.extend(op.operands());
                    }
                }
                _ if is_scalar => _ = handed.insert(value),
                _ => return None,
            }
        }
        Some(Rest { block, handed, again: again.into_values().collect(), buffers: uses.buffers().collect() })
    }

    /// Its function.
    pub(super) fn declare<'c>(
        &self,
        nest: &Nest,
        unit: &Unit<'c>,
        name: &str,
    ) -> Result<FunctionValue<'c>, CodegenError> {
        let handed = self.handed.iter().map(|it| element(nest.values[*it].scalar));
        let params: Vec<Element> = [Element::Pointer; 3].into_iter().chain(handed).collect();
        unit.hidden(&symbol(nest, name), &params)
    }

    /// Gives its function a body.
    pub(super) fn emit<'c>(&self, nest: &'a Nest, unit: &Unit<'c>, function: FunctionValue<'c>) {
        unit.mark(function, AttributeLoc::Param(0), "noalias");
        let params = function.get_params();
        let [words, workspace, scratch] = std::array::from_fn(|at| params[at].into_pointer_value());
        let args = Args { workspace: Some(workspace), scratch: Some(scratch), ..Args::reading(words) };
        let mut emitter = Emitter::new(nest, unit, function, args);
        for (&value, &register) in self.handed.iter().zip(&params[3..]) {
            emitter.define_scalar(value, register);
        }
        emitter.resume(&self.again, &self.buffers);
        emitter.block(self.block);
        unit.asm.ret(None);
    }

    /// What its function is called with.
    pub(super) fn args<'c>(&self, emitter: &Emitter<'_, '_, 'c>) -> Vec<Value<'c>> {
        let Args { words, workspace, scratch, .. } = emitter.args;
        let here = [Some(words), workspace, scratch].map(|it| it.expect("a stage has them").into());
        here.into_iter().chain(self.handed.iter().map(|it| emitter.scalar(*it))).collect()
    }
}

/// The values that a block defines.
fn defined(block: &Block, own: &mut BTreeSet<ValueId>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(value, _) => _ = own.insert(*value),
            Stmt::Store { .. } => {}
            Stmt::Loop(Loop { index, carried, body, .. }) => {
                own.insert(*index);
                own.extend(carried.iter().flat_map(|it| [it.current, it.result]));
                defined(body, own);
            }
            Stmt::If { then, otherwise, .. } => {
                defined(then, own);
                defined(otherwise, own);
            }
        }
    }
}

/// Whether it is made of nothing.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn is_constant(op: &Op) -> bool {
    matches!(op, Op::Int(_) | Op::Real(_) | Op::Bool(_) | Op::Word(_) | Op::Iota)
}

/// Whether it is made again as soon as handed over.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn is_short(op: &Op) -> bool {
    is_constant(op)
        || matches!(
            op,
            Op::Unary(..)
                | Op::Binary(..)
                | Op::Compare(..)
                | Op::Select(..)
                | Op::Convert(_)
                | Op::Round(..)
        )
}
