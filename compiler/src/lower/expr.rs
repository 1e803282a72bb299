//! Expressions of the spec to expressions of the cascade.

use attnc_dsl::ast::{self, CompareOp, ExprKind};

use super::Lowering;
use super::call::selection;
use super::scope::Scope;
use crate::ir::cascade::{At, Dim, Einsum, ExprId, Op, RankId, Role, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::subst::Subst;

impl Lowering<'_> {
    /// The value of an expression where the `bound` ranks are iterated over.
    pub(super) fn expr(&mut self, expr: &ast::Expr, scope: &Scope, bound: &[RankId]) -> ExprId {
        match &expr.kind {
            ExprKind::Int(value) => self.cascade.exprs.int(*value),
            ExprKind::Real(value) => self.cascade.exprs.real(*value),
            ExprKind::Bool(value) => self.cascade.exprs.add(Expr::Bool(*value)),
            ExprKind::Inf => self.cascade.exprs.real(f64::INFINITY),
            ExprKind::Pi => self.cascade.exprs.real(std::f64::consts::PI),
            ExprKind::Name(name) => self.name(name, scope),
            ExprKind::Bars(name) => self.bars(&name.text, scope),
            ExprKind::Read { name, coords } => {
                let coords = coords.iter().map(|it| self.expr(it, scope, bound)).collect();
                self.read(self.tensors[&name.text], coords)
            }
            ExprKind::Reindex { name, coords } => {
                let coords: Vec<(RankId, ExprId)> = coords
                    .iter()
                    .map(|(rank, it)| (scope.rank(&rank.text), self.expr(it, scope, bound)))
                    .collect();
                let value = self.name(&name.text, scope);
                Subst { cascade: &mut self.cascade, partial: &self.partial }.reindexed(value, &coords)
            }
            ExprKind::Call { name, ranks, args } => self.call(name, ranks, args, scope, bound),
            ExprKind::Select { name, from, to, arg } => {
                self.select(selection(name, from, to, scope), arg, scope, bound)
            }
            ExprKind::Unary(op, a) => {
                let a = self.expr(a, scope, bound);
                let op = match op {
                    ast::UnaryOp::Neg => UnaryOp::Neg,
                    ast::UnaryOp::Not => UnaryOp::Not,
                };
                self.cascade.exprs.unary(op, a)
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(a, scope, bound), self.expr(b, scope, bound));
                self.infix(*op, a, b)
            }
            ExprKind::Compare(first, rest) => self.comparison(first, rest, scope, bound),
            ExprKind::If(c, a, b) => {
                let c = self.expr(c, scope, bound);
                let (a, b) = (self.expr(a, scope, bound), self.expr(b, scope, bound));
                let (a, b) = self.cascade.exprs.joined(a, b);
                self.cascade.exprs.add(Expr::If(c, a, b))
            }
            ExprKind::Where(a, b) => {
                let (a, b) = (self.expr(a, scope, bound), self.expr(b, scope, bound));
                self.cascade.exprs.add(Expr::Where(a, b))
            }
            ExprKind::Else(a, b) => {
                let (a, b) = (self.expr(a, scope, bound), self.expr(b, scope, bound));
                let (a, b) = self.cascade.exprs.joined(a, b);
                self.cascade.exprs.add(Expr::Else(a, b))
            }
            ExprKind::Refused => unreachable!("a checked spec has no gaps"),
        }
    }

    /// A rank's index, a local, a parameter, or a tensor at its own ranks.
    fn name(&mut self, name: &str, scope: &Scope) -> ExprId {
        if let Some(ranks) = scope.ranks.get(name) {
            return self.cascade.exprs.index(ranks[0]);
        }
        if let Some(locals) = &scope.locals {
            return locals[name];
        }
        if let Some(&param) = self.params.get(name) {
            if let Some(&constant) = self.constants.get(&param) {
                return constant;
            }
            let kind = self.cascade.params[param].dtype.kind();
            return self.cascade.exprs.add(Expr::Param(param, kind));
        }
        self.bare(self.tensors[name])
    }

    /// A tensor at its own ranks.
    pub(super) fn bare(&mut self, tensor: TensorId) -> ExprId {
        let ranks: Vec<RankId> = self.cascade.tensors[tensor].dims.iter().map(|it| it.rank).collect();
        let coords = ranks.into_iter().map(|it| self.cascade.exprs.index(it)).collect();
        self.read(tensor, coords)
    }

    pub(super) fn read(&mut self, tensor: TensorId, coords: Vec<ExprId>) -> ExprId {
        let kind = self.cascade.tensors[tensor].kind;
        self.cascade.exprs.add(Expr::Read(tensor, coords, kind))
    }

    /// The extent of a rank, or the absolute value of what else has that name.
    fn bars(&mut self, name: &str, scope: &Scope) -> ExprId {
        if let Some(ranks) = scope.ranks.get(name) {
            let extents: Vec<ExprId> = ranks.clone().into_iter().map(|it| self.extent(it)).collect();
            let one = self.cascade.exprs.int(1);
            return extents.into_iter().fold(one, |a, b| self.cascade.exprs.binary(BinaryOp::Mul, a, b));
        }
        let value = self.name(name, scope);
        self.cascade.exprs.unary(UnaryOp::Abs, value)
    }

    fn infix(&mut self, op: ast::BinaryOp, a: ExprId, b: ExprId) -> ExprId {
        let exprs = &mut self.cascade.exprs;
        let real = |op| (op, true);
        let (op, of_reals) = match op {
            ast::BinaryOp::Or => (BinaryOp::Or, false),
            ast::BinaryOp::And => (BinaryOp::And, false),
            ast::BinaryOp::Add => (BinaryOp::Add, false),
            ast::BinaryOp::Sub => (BinaryOp::Sub, false),
            ast::BinaryOp::Mul => (BinaryOp::Mul, false),
            ast::BinaryOp::FloorDiv => (BinaryOp::FloorDiv, false),
            ast::BinaryOp::Mod => (BinaryOp::Mod, false),
            ast::BinaryOp::Div => real(BinaryOp::Div),
            ast::BinaryOp::Pow => real(BinaryOp::Pow),
        };
        if of_reals {
            let (a, b) = (exprs.to_real(a), exprs.to_real(b));
            exprs.binary(op, a, b)
        } else {
            exprs.binary(op, a, b)
        }
    }

    /// `a < b <= c`: both hold, and the chain is absent where any of its operands is.
    fn comparison(
        &mut self,
        first: &ast::Expr,
        rest: &[(CompareOp, ast::Expr)],
        scope: &Scope,
        bound: &[RankId],
    ) -> ExprId {
        let mut left = self.expr(first, scope, bound);
        let mut chain: Option<ExprId> = None;
        for (op, right) in rest {
            let right = self.expr(right, scope, bound);
            let pair = self.cascade.exprs.compare(*op, left, right);
            chain = Some(match chain {
                None => pair,
                Some(before) => {
                    let exprs = &mut self.cascade.exprs;
                    // `and` alone would be false where one side is false and the other absent.
                    let present = exprs.add(Expr::Present(pair));
                    let before = exprs.add(Expr::Where(before, present));
                    let pair = exprs.add(Expr::Where(pair, present));
                    let both = exprs.binary(BinaryOp::And, before, pair);
                    let present = exprs.add(Expr::Present(before));
                    exprs.add(Expr::Where(both, present))
                }
            });
            left = right;
        }
        chain.expect("a comparison has two operands")
    }

    /// The einsum `op(value)` as a tensor of its own, read at the indices of its ranks. Equal ones are made once.
    ///
    /// `along` is a rank that the result has whatever it depends on: that of a scan or of a selection.
    pub(super) fn temporary(
        &mut self,
        op: Op,
        value: ExprId,
        along: Option<RankId>,
        bound: &[RankId],
    ) -> ExprId {
        let key = (op.clone(), value, self.target.exact);
        if let Some(&tensor) = self.temporaries.get(&key) {
            return self.bare(tensor);
        }
        let mut free = self.cascade.exprs.free(value).to_vec();
        for &rank in op.reduced() {
            free.retain(|it| !self.cascade.exprs.atoms(rank).contains(it));
        }
        let ranks = self.ranks_for(free, along, bound);
        let stem = format!("{}.{}", self.target.name, op.name().unwrap_or("value"));
        // Names of the spec have no dots, so only temporaries can be called alike.
        let n_alike = self.stems.entry(stem.clone()).and_modify(|n| *n += 1).or_insert(1);
        let name = if *n_alike == 1 { stem } else { format!("{stem}{n_alike}") };
        let kind = op.kind(self.cascade.exprs.kind(value));
        let dims = ranks.iter().map(|&rank| Dim { rank, lag: 0 }).collect();
        let tensor =
            self.cascade.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Temporary });
        let at = ranks.into_iter().map(|rank| At::Rank(rank, 0)).collect();
        self.einsums.push(Einsum { tensor, at, op, value, exact: self.target.exact });
        self.temporaries.insert(key, tensor);
        self.bare(tensor)
    }

    /// Ranks that cover these part-less ones: composites that are iterated over as a whole where possible, in the usual
    /// order, and where that says nothing in the one in which they are iterated over.
    fn ranks_for(&self, mut free: Vec<RankId>, along: Option<RankId>, bound: &[RankId]) -> Vec<RankId> {
        let atoms = |rank: RankId| self.cascade.exprs.atoms(rank);
        if let Some(along) = along {
            free.retain(|it| !atoms(along).contains(it));
        }
        let mut ranks = Vec::new();
        for &rank in bound {
            if Some(rank) == along {
                ranks.push(rank);
            } else if atoms(rank).iter().all(|it| free.contains(it)) {
                free.retain(|it| !atoms(rank).contains(it));
                ranks.push(rank);
            }
        }
        ranks.extend(free);
        if let Some(along) = along
            && !ranks.contains(&along)
        {
            ranks.push(along);
        }
        self.rank_order.sorted(&self.cascade.exprs, ranks)
    }

    /// A value without the points whose `new` ranks lie beyond the extent of a composite in scope.
    pub(super) fn within(&mut self, mut value: ExprId, new: &[RankId], bound: &[RankId]) -> ExprId {
        let atoms = |it: &Self, ranks: &[RankId]| -> Vec<RankId> {
            ranks.iter().flat_map(|&rank| it.cascade.exprs.atoms(rank).to_vec()).collect()
        };
        let (new_atoms, in_scope) = (atoms(self, new), atoms(self, bound));
        for rank in self.partial.clone() {
            let parts = self.cascade.exprs.atoms(rank);
            let touched = parts.iter().any(|it| new_atoms.contains(it));
            if touched && parts.iter().all(|it| in_scope.contains(it)) && !new.contains(&rank) {
                let (index, extent) = (self.cascade.exprs.index(rank), self.extent(rank));
                let exists = self.cascade.exprs.compare(CompareOp::Lt, index, extent);
                value = self.cascade.exprs.add(Expr::Where(value, exists));
            }
        }
        value
    }
}
