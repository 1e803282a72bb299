//! What the products of matrices of a stage take that a block of threads runs, and where they leave it.
//!
//! ```text
//! %8 = load V;  %9 = contract %7, %8 into 0;  %10 = %4 + %9     ->   %8 is a factor only, %9 is added to %4 as it is taken
//! ```

use std::collections::{HashMap, HashSet};

use super::cascade::{RankId, ReduceOp};
use super::expr::{BinaryOp, UnaryOp};
use super::nest::{Block, Nest, Op, Stmt, ValueId};
use attnc_dsl::ast::DType;

/// More columns of sums than this leave few registers for others.
const FEW: u32 = 128;

/// How many columns of sums are looked at before they are added, where some products are left out, and where factors are taken
/// in parts, which need registers, too. Products of groups begin at whole slabs of columns.
pub(crate) fn slice(columns: u32, is_split: bool, in_groups: bool) -> u32 {
    match (is_split, columns <= FEW) {
        (false, _) if in_groups => 64,
        (false, true) => 64,
        (false, false) | (true, true) => 32,
        (true, false) => 16,
    }
}

/// What is known of the values of a stage.
pub(crate) struct Factors<'a> {
    /// What defines each value that an operation defines.
    definitions: HashMap<ValueId, &'a Op>,
    /// Loads and rounded values that are nothing but factors of products.
    only: HashSet<ValueId>,
    /// By products that are added to something as they are taken: the sum, and to what.
    sums: HashMap<ValueId, (ValueId, ValueId)>,
    /// How often each value is used.
    counts: HashMap<ValueId, usize>,
}

impl<'a> Factors<'a> {
    /// Of a stage: the prologue of its nest, and its body.
    pub(crate) fn of(prologue: &'a Block, body: &'a Block) -> Factors<'a> {
        let mut walk = Walk::default();
        walk.block(prologue);
        walk.block(body);
        let (mut factors, mut others) = (HashSet::new(), HashSet::new());
        uses(body, &mut factors, &mut others);
        let Walk { definitions, order, adds, counts } = walk;
        let taken = |it: &ValueId| matches!(definitions.get(it), Some(Op::Load { .. } | Op::Round(..)));
        factors.retain(|it| taken(it) && !others.contains(it));
        let zero = |it| matches!(definitions.get(it), Some(Op::Real(zero)) if *zero == 0.0);
        let starts_at_zero =
            |it| matches!(definitions.get(&it), Some(Op::Contract { into, .. }) if zero(into));
        let mut sums = HashMap::new();
        for (sum, product, before) in adds {
            // What is not defined in the order of statements is there before all of them.
            let is_there = order.get(&before).is_none_or(|it| *it < order[&product]);
            if starts_at_zero(product) && counts[&product] == 1 && is_there && before != product {
                sums.insert(product, (sum, before));
            }
        }
        Factors { definitions, only: factors, sums, counts }
    }

    /// What defines a value.
    pub(crate) fn definition(&self, value: ValueId) -> Option<&'a Op> {
        self.definitions.get(&value).copied()
    }

    /// Whether a value is a load or rounded, and nothing but a factor of products.
    pub(crate) fn is_factor(&self, value: ValueId) -> bool {
        self.only.contains(&value)
    }

    /// Whether a value is a load and nothing but a factor of products.
    pub(crate) fn is_loaded(&self, value: ValueId) -> bool {
        self.is_factor(value) && matches!(self.definition(value), Some(Op::Load { .. }))
    }

    /// The factors of products.
    pub(crate) fn products(&self) -> impl Iterator<Item = (ValueId, ValueId)> {
        self.definitions
            .values()
            .filter_map(|it| if let Op::Contract { a, b, .. } = it { Some((*a, *b)) } else { None })
    }

    /// Whether a factor is a load of f32: products take it in two parts, of which each has the digits of tf32.
    pub(crate) fn is_split(&self, nest: &Nest, factor: ValueId) -> bool {
        let load = self
            .definition(factor)
            .and_then(|it| if let Op::Load { buffer, .. } = it { Some(buffer) } else { None });
        load.is_some_and(|it| nest.buffers[*it].dtype == DType::F32)
    }

    /// Whether products that leave out some of their rows' elements take a factor on the right, with so many columns of sums
    /// that they are added to what is there as they are taken where it is known to be finite. Of each tile there are so many
    /// times as many columns.
    pub(crate) fn is_looked_at(&self, nest: &Nest, factor: ValueId, rows: RankId, times: u32) -> bool {
        !self.is_split(nest, factor)
            && self.definitions.iter().any(|(value, op)| {
                let takes = matches!(op, Op::Contract { b, there: Some(there), .. }
                    if *b == factor && nest.values[*there].shape.iter().any(|it| it.rank == rows));
                takes && times * columns(nest, *value, rows) > FEW
            })
    }

    /// Whether the sums that products are added to have so many columns that they leave few registers for others; parts of
    /// factors need some, too. Of each tile there are so many times as many columns.
    pub(crate) fn leave_few(&self, nest: &Nest, rows: RankId, times: u32) -> bool {
        let is_split = self.products().any(|it| self.is_split(nest, it.1));
        let few = if is_split { FEW / 2 } else { FEW };
        self.sums.values().any(|it| times * columns(nest, it.0, rows) > few)
    }

    /// The sum that products are added to as they are taken, and what it is before.
    pub(crate) fn sum(&self, products: ValueId) -> Option<(ValueId, ValueId)> {
        self.sums.get(&products).copied()
    }

    /// Whether no element of a value is negative or -0, whatever its operands are.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn has_no_sign(&self, value: ValueId) -> bool {
        match self.definition(value) {
            Some(Op::Unary(UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Abs, _)) => true,
            Some(Op::Real(it)) => it.is_sign_positive(),
            Some(
                &Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Max, a, b)
                | &Op::Select(_, a, b),
            ) => self.has_no_sign(a) && self.has_no_sign(b),
            Some(&Op::Convert(a) | &Op::Round(_, a) | &Op::Reduce(ReduceOp::Max, a)) => self.has_no_sign(a),
            _ => false,
        }
    }

    /// Whether a value is a multiple of what a loop carries, which is used otherwise, too, and products are added to it.
    pub(crate) fn is_next(&self, value: ValueId) -> bool {
        let Some(Op::Binary(BinaryOp::Mul, a, b)) = self.definition(value) else { return false };
        let is_kept = |it: &ValueId| self.definition(*it).is_none() && self.n_uses(*it) > 1;
        self.is_used_once(value)
            && [a, b].into_iter().any(is_kept)
            && self.sums.values().any(|it| it.1 == value)
    }

    /// How often a value is used.
    pub(crate) fn n_uses(&self, value: ValueId) -> usize {
        self.counts.get(&value).copied().unwrap_or_default()
    }

    /// Whether a value is used once.
    pub(crate) fn is_used_once(&self, value: ValueId) -> bool {
        self.n_uses(value) == 1
    }

    /// Whether a value is a sum that its products are added to.
    pub(crate) fn is_sum(&self, value: ValueId) -> bool {
        let Some(&Op::Binary(BinaryOp::Add, a, b)) = self.definition(value) else { return false };
        [a, b].into_iter().any(|it| self.sum(it).is_some_and(|(sum, _)| sum == value))
    }
}

/// The columns of a tile of rows.
fn columns(nest: &Nest, value: ValueId, rows: RankId) -> u32 {
    let dims = nest.values[value].shape.iter().filter(|dim| dim.rank != rows);
    dims.map(|it| it.extent).product()
}

/// The values that are factors of products, and those that are used for anything else.
pub(crate) fn uses(block: &Block, factors: &mut HashSet<ValueId>, others: &mut HashSet<ValueId>) {
    for stmt in &block.stmts {
        match stmt {
            Stmt::Let(_, Op::Contract { a, b, there, into }) => {
                factors.extend([*a, *b]);
                others.extend(there.iter().chain([into]));
            }
            Stmt::Let(_, op) => others.extend(op.operands()),
            Stmt::Store { index, value, guard, .. } => {
                others.extend(index.iter().chain([value]).chain(guard));
            }
            Stmt::Loop(it) => {
                others.extend(it.carried.iter().flat_map(|it| [it.init, it.next]));
                uses(&it.body, factors, others);
            }
            Stmt::If { then, otherwise, .. } => {
                [then, otherwise].iter().for_each(|it| uses(it, factors, others));
            }
        }
    }
}

/// Values in the order of statements.
#[derive(Default)]
struct Walk<'a> {
    definitions: HashMap<ValueId, &'a Op>,
    order: HashMap<ValueId, usize>,
    /// Sums of two values, of which the first named is defined in the same block.
    adds: Vec<(ValueId, ValueId, ValueId)>,
    /// How often each value is used.
    counts: HashMap<ValueId, usize>,
}

impl<'a> Walk<'a> {
    fn block(&mut self, block: &'a Block) {
        let mut here = HashSet::new();
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(value, op) => {
                    self.define(*value);
                    here.insert(*value);
                    self.definitions.insert(*value, op);
                    op.operands().into_iter().for_each(|it| self.count(it));
                    if let Op::Binary(BinaryOp::Add, a, b) = *op {
                        let both = [(a, b), (b, a)].into_iter().filter(|it| here.contains(&it.0));
                        self.adds.extend(both.map(|(product, before)| (*value, product, before)));
                    }
                }
                Stmt::Store { index, value, guard, .. } => {
                    index.iter().chain([value]).chain(guard).for_each(|it| self.count(*it));
                }
                Stmt::Loop(it) => {
                    it.carried.iter().for_each(|it| self.define(it.current));
                    self.block(&it.body);
                    for it in &it.carried {
                        [it.init, it.next].into_iter().for_each(|it| self.count(it));
                        self.define(it.result);
                    }
                }
                Stmt::If { then, otherwise, .. } => {
                    [then, otherwise].into_iter().for_each(|it| self.block(it));
                }
            }
        }
    }

    fn define(&mut self, value: ValueId) {
        let next = self.order.len();
        self.order.insert(value, next);
    }

    fn count(&mut self, value: ValueId) {
        *self.counts.entry(value).or_default() += 1;
    }
}

impl Stmt {
    /// Whether it, or a statement within it, uses a value.
    pub(crate) fn uses(&self, value: ValueId) -> bool {
        let within = |block: &Block| block.stmts.iter().any(|it| it.uses(value));
        match self {
            Stmt::Let(_, op) => op.operands().contains(&value),
            Stmt::Store { index, value: stored, guard, .. } => {
                index.iter().chain([stored]).chain(guard).any(|it| *it == value)
            }
            Stmt::Loop(it) => {
                let carried = it.carried.iter().any(|it| it.init == value || it.next == value);
                carried || it.from == value || it.to == value || within(&it.body)
            }
            Stmt::If { condition, then, otherwise } => {
                *condition == value || within(then) || within(otherwise)
            }
        }
    }
}
