//! Calls: built-in functions, and the inlining of others.

use std::collections::HashMap;

use attnc_dsl::ast::{self, DType, ExprKind, FnDef, FnStmt, Kind, Name, RankDef};

use super::Lowering;
use super::scope::Scope;
use crate::ir::cascade::{ArgOp, ExprId, Op, RankId, ReduceOp, ScanOp, SelectOp};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

impl Lowering<'_> {
    pub(super) fn call(
        &mut self,
        name: &Name,
        ranks: &[Name],
        args: &[ast::Expr],
        scope: &Scope,
        bound: &[RankId],
    ) -> ExprId {
        let over = scope.ranks(ranks.iter().map(|it| it.text.as_str()));
        if let Some(op) = traversal(&name.text, &over) {
            return self.traverse(op, &args[0], scope, bound).stored(self);
        }
        let values: Vec<ExprId> = args.iter().map(|it| self.expr(it, scope, bound)).collect();
        match self.functions.meant(name) {
            Some(function) => self.inline(function, ranks, over, values, scope, bound),
            None => self.built_in(&name.text, &values),
        }
    }

    /// A function's result for these ranks and values.
    fn inline(
        &mut self,
        function: &FnDef,
        ranks: &[Name],
        over: Vec<RankId>,
        values: Vec<ExprId>,
        scope: &Scope,
        bound: &[RankId],
    ) -> ExprId {
        let names = function.ranks.iter().map(|it| it.text.clone());
        // A single rank parameter stands for all ranks that are given.
        let meanings: Vec<Vec<RankId>> = if function.ranks.len() == 1 {
            vec![over]
        } else {
            ranks.iter().map(|it| scope.ranks[&it.text].clone()).collect()
        };
        let values = function.values.iter().map(|it| it.text.clone()).zip(values);
        let mut inner =
            Scope { ranks: names.zip(meanings).collect(), locals: Some(HashMap::from_iter(values)) };
        for stmt in &function.body {
            match stmt {
                FnStmt::Let(name, value) => {
                    let value = self.expr(value, &inner, bound);
                    inner.locals.get_or_insert_default().insert(name.text.clone(), value);
                }
                FnStmt::Rank(decl) => {
                    let extent = match &decl.def {
                        RankDef::Fixed(extent) => self.expr(extent, &inner, bound),
                        RankDef::Alias(of) => self.extent(inner.rank(&of.text)),
                        RankDef::Symbolic | RankDef::Bounded(..) | RankDef::Composite(_) => {
                            unreachable!("the checker refuses such ranks in functions")
                        }
                    };
                    let rank = self.local_rank(&decl.name.text, extent);
                    inner.ranks.insert(decl.name.text.clone(), vec![rank]);
                }
            }
        }
        self.expr(&function.result, &inner, bound)
    }

    /// What a reduction, scan or selection does, and with what.
    fn traverse(&mut self, op: Op, arg: &ast::Expr, scope: &Scope, bound: &[RankId]) -> Traversal {
        let over = match &op {
            Op::Map => Vec::new(),
            Op::Reduce(_, ranks) => ranks.clone(),
            Op::Scan(_, rank) | Op::Place(rank) | Op::Arg(_, rank) | Op::Select(_, rank, _) => vec![*rank],
        };
        let (value, mut bound) = self.traversed(&over, arg, scope, bound);
        let (value, along) = match &op {
            Op::Reduce(ReduceOp::Mean, _) => (self.cascade.exprs.to_real(value), None),
            Op::Map | Op::Reduce(..) => (value, None),
            Op::Scan(_, rank) => (value, Some(*rank)),
            Op::Place(rank) => (self.stored(value, &bound), Some(*rank)),
            Op::Arg(..) => (self.stored(value, &bound), None),
            Op::Select(_, from, to) => {
                let value = self.stored(value, &bound);
                bound.retain(|it| it != from);
                (value, Some(*to))
            }
        };
        Traversal { op, value, along, bound }
    }

    /// The reduction, scan or selection that an expression is, if it is nothing else.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(super) fn as_traversal(
        &mut self,
        expr: &ast::Expr,
        scope: &Scope,
        bound: &[RankId],
    ) -> Option<Traversal> {
        let (op, arg) = match &expr.kind {
            ExprKind::Call { name, ranks, args } => {
                let over = scope.ranks(ranks.iter().map(|it| it.text.as_str()));
                (traversal(&name.text, &over)?, args.first()?)
            }
            ExprKind::Select { name, from, to, arg } => (selection(name, from, to, scope), &**arg),
            _ => return None,
        };
        Some(self.traverse(op, arg, scope, bound))
    }

    pub(super) fn select(&mut self, op: Op, arg: &ast::Expr, scope: &Scope, bound: &[RankId]) -> ExprId {
        self.traverse(op, arg, scope, bound).stored(self)
    }

    /// The value that is traversed along some ranks, and the ranks that are then iterated over.
    fn traversed(
        &mut self,
        over: &[RankId],
        arg: &ast::Expr,
        scope: &Scope,
        bound: &[RankId],
    ) -> (ExprId, Vec<RankId>) {
        let mut inner: Vec<RankId> = bound.to_vec();
        inner.extend(over.iter().filter(|it| !bound.contains(it)));
        let value = self.expr(arg, scope, &inner);
        (self.within(value, over, &inner), inner)
    }

    /// The value as a point of a tensor, so that reading it again costs nothing.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn stored(&mut self, value: ExprId, bound: &[RankId]) -> ExprId {
        match self.cascade.exprs.get(value) {
            Expr::Read(_, coords, _) if coords.iter().all(|&it| self.is_index(it)) => value,
            _ => self.temporary(Op::Map, value, None, bound),
        }
    }

    fn is_index(&self, expr: ExprId) -> bool {
        matches!(self.cascade.exprs.get(expr), Expr::Index(_))
    }

    fn built_in(&mut self, name: &str, values: &[ExprId]) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        if let Some(dtype) = DType::from_name(name) {
            return exprs.cast(dtype, values[0]);
        }
        if let Some((_, op)) = UnaryOp::NAMED.iter().find(|it| it.0 == name) {
            let takes_real = op.is_real_function() || matches!(op, UnaryOp::IsNan | UnaryOp::IsInf);
            let value = if takes_real { exprs.to_real(values[0]) } else { values[0] };
            return exprs.unary(*op, value);
        }
        match name {
            "present" => exprs.add(Expr::Present(values[0])),
            "pick" => self.pick(values),
            // `clamp(x, low, high)` is the least of `high` and the greatest of `x` and `low`.
            "clamp" => {
                let raised = exprs.binary(BinaryOp::Max, values[0], values[1]);
                exprs.binary(BinaryOp::Min, raised, values[2])
            }
            _ => {
                let op = match name {
                    "min" => BinaryOp::Min,
                    "max" => BinaryOp::Max,
                    "bitand" => BinaryOp::BitAnd,
                    "bitor" => BinaryOp::BitOr,
                    "bitxor" => BinaryOp::BitXor,
                    "shl" => BinaryOp::Shl,
                    "shr" => BinaryOp::Shr,
                    _ => unreachable!("the checker knows no function `{name}`"),
                };
                let (first, rest) = values.split_first().expect("it takes two values");
                rest.iter().fold(*first, |a, &b| exprs.binary(op, a, b))
            }
        }
    }

    fn pick(&mut self, values: &[ExprId]) -> ExprId {
        let (i, values) = values.split_first().expect("`pick` takes an index");
        let exprs = &mut self.cascade.exprs;
        let real = values.iter().any(|&it| exprs.kind(it) == Kind::Real);
        let kind = if real { Kind::Real } else { exprs.kind(values[0]) };
        let values = values.iter().map(|&it| exprs.as_kind(it, kind)).collect();
        exprs.add(Expr::Pick(*i, values))
    }
}

/// A reduction, scan or selection before it is known where its result goes.
pub(super) struct Traversal {
    pub(super) op: Op,
    pub(super) value: ExprId,
    /// A rank that the result has whatever the value depends on.
    pub(super) along: Option<RankId>,
    bound: Vec<RankId>,
}

impl Traversal {
    /// Its result as a temporary.
    pub(super) fn stored(self, lowering: &mut Lowering<'_>) -> ExprId {
        lowering.temporary(self.op, self.value, self.along, &self.bound)
    }
}

/// `topk[from -> to]` or `argsort[from -> to]`.
pub(super) fn selection(name: &Name, from: &Name, to: &Name, scope: &Scope) -> Op {
    let op = if name.text == SelectOp::TopK.name() { SelectOp::TopK } else { SelectOp::ArgSort };
    Op::Select(op, scope.rank(&from.text), scope.rank(&to.text))
}

/// The operation of that name along those ranks, if there is one.
fn traversal(name: &str, over: &[RankId]) -> Option<Op> {
    let &first = over.first()?;
    let reduce = |op| Some(Op::Reduce(op, over.to_vec()));
    match name {
        "sum" => reduce(ReduceOp::Sum),
        "prod" => reduce(ReduceOp::Prod),
        "max" => reduce(ReduceOp::Max),
        "min" => reduce(ReduceOp::Min),
        "mean" => reduce(ReduceOp::Mean),
        "any" => reduce(ReduceOp::Any),
        "all" => reduce(ReduceOp::All),
        "count" => reduce(ReduceOp::Count),
        "argmax" => Some(Op::Arg(ArgOp::Max, first)),
        "argmin" => Some(Op::Arg(ArgOp::Min, first)),
        "cumsum" => Some(Op::Scan(ScanOp::Sum, first)),
        "cumprod" => Some(Op::Scan(ScanOp::Prod, first)),
        "cummax" => Some(Op::Scan(ScanOp::Max, first)),
        "place" => Some(Op::Place(first)),
        _ => None,
    }
}
