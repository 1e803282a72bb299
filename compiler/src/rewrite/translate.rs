//! A cascade into the e-graph: every tensor that algebra may touch becomes the class of its definition.
//!
//! ```text
//! P.max[m] = max[n](S)     Else(Reduce(Max, [n], S), -inf)
//! P[m, n] = S - P.max      Sum(S, Product(-1, P.max))
//! ```
//!
//! What is kept as written is a leaf, `Written`: recurrences, prefix reductions, selections, what is marked
//! `exact`, and tensors that are defined at shifted coordinates.

use std::collections::HashMap;

use attnc_dsl::ast::{CompareOp, Kind};

use super::build::Build;
use super::domain::is_total;
use super::facts::{Graph, rounds};
use super::setting::Setting;
use super::term::{Class, Term, identity, is_strict_reduction};
use crate::ir::cascade::{At, Cascade, Einsum, ExprId, Op, ParamValue, ReduceOp, Role, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands};

/// The class of every tensor that is not an input.
pub(crate) fn translate(graph: &mut Graph) -> HashMap<TensorId, Class> {
    let cascade = graph.analysis.cascade.clone();
    let mut translation = Translation { graph, cascade: &cascade, tensors: HashMap::new() };
    for step in &cascade.steps {
        match step {
            Step::Einsum(einsum) => {
                let class = translation.einsum(einsum);
                translation.tensors.insert(einsum.tensor, class);
            }
            Step::Recurrence(it) => {
                for einsum in it.bases.iter().chain(&it.body) {
                    let class = translation.graph.add(Term::Written(einsum.tensor));
                    translation.tensors.insert(einsum.tensor, class);
                }
            }
        }
    }
    translation.tensors
}

/// The einsum may be rewritten: no law of arithmetic is forbidden to it.
pub(crate) fn is_free(cascade: &Cascade, einsum: &Einsum) -> bool {
    let in_place = einsum.at.iter().all(|at| matches!(at, At::Rank(_, 0)));
    let dims = &cascade.tensors[einsum.tensor].dims;
    let plain = matches!(einsum.op, Op::Map | Op::Reduce(..));
    !einsum.exact && plain && in_place && dims.iter().all(|dim| dim.lag == 0)
}

struct Translation<'a> {
    graph: &'a mut Graph,
    cascade: &'a Cascade,
    tensors: HashMap<TensorId, Class>,
}

impl Translation<'_> {
    fn einsum(&mut self, einsum: &Einsum) -> Class {
        if !is_free(self.cascade, einsum) {
            return self.graph.add(Term::Written(einsum.tensor));
        }
        let value = self.expr(einsum.value);
        let result = match &einsum.op {
            Op::Reduce(op, ranks) => self.reduction(*op, ranks, value),
            Op::Map | Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => value,
        };
        match self.cascade.tensors[einsum.tensor].dtype {
            Some(dtype) if rounds(dtype) => self.graph.add(Term::Cast(dtype, [result])),
            Some(_) | None => result,
        }
    }

    fn reduction(&mut self, op: ReduceOp, ranks: &[crate::ir::cascade::RankId], value: Class) -> Class {
        let integer = self.graph.facts(value).kind == Kind::Int;
        if op == ReduceOp::Mean {
            return self.mean(ranks, value);
        }
        let strict = self.graph.reduce(op, ranks.to_vec(), value);
        match identity(op) {
            Some(none) if is_strict_reduction(op) && !integer => {
                let none = self.graph.real(none);
                self.or_else(strict, none)
            }
            Some(_) if integer && matches!(op, ReduceOp::Sum | ReduceOp::Prod) => {
                let none = self.graph.add(Term::Int(i64::from(op == ReduceOp::Prod)));
                self.or_else(strict, none)
            }
            Some(_) | None => strict,
        }
    }

    /// The sum over the number of points.
    fn mean(&mut self, ranks: &[crate::ir::cascade::RankId], value: Class) -> Class {
        let sum = self.graph.reduce(ReduceOp::Sum, ranks.to_vec(), value);
        let one = self.graph.real(1.0);
        let count = if is_total(self.graph, value) {
            let extents = ranks.iter().map(|&rank| self.extent(rank)).collect::<Vec<_>>();
            let reals = extents.into_iter().map(|it| self.real(it)).collect();
            self.graph.product(reals)
        } else {
            let present = self.graph.add(Term::Present([value]));
            let point = self.graph.add(Term::Where([one, present]));
            self.graph.reduce(ReduceOp::Sum, ranks.to_vec(), point)
        };
        self.quotient(sum, count)
    }

    fn or_else(&mut self, value: Class, other: Class) -> Class {
        let total = self.graph.facts(value).domain.is_empty();
        if total { value } else { self.graph.add(Term::Else([value, other])) }
    }

    fn quotient(&mut self, a: Class, b: Class) -> Class {
        let inverse = self.graph.power(b, -1.0);
        self.graph.product(vec![a, inverse])
    }

    fn extent(&mut self, rank: crate::ir::cascade::RankId) -> Class {
        let extent = self.graph.analysis.extent(rank);
        self.graph.add(extent)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn real(&mut self, a: Class) -> Class {
        let literal = self.graph.terms(a).into_iter().find_map(|it| match it {
            Term::Int(value) => Some(value),
            _ => None,
        });
        match literal {
            Some(value) => self.graph.real(value as f64),
            None => self.graph.add(Term::Unary(UnaryOp::ToReal, [a])),
        }
    }

    /// The class of an expression; operands come before operations.
    fn expr(&mut self, root: ExprId) -> Class {
        let mut classes: HashMap<ExprId, Class> = HashMap::new();
        for id in self.cascade.exprs.postorder(root) {
            let expr = self.cascade.exprs.get(id);
            let inner: Vec<Class> = operands(expr).iter().map(|it| classes[it]).collect();
            let kind = self.cascade.exprs.kind(id);
            let class = self.operation(expr, &inner, kind);
            classes.insert(id, class);
        }
        classes[&root]
    }

    fn operation(&mut self, expr: &Expr, inner: &[Class], kind: Kind) -> Class {
        let term = match expr {
            Expr::Int(value) => Term::Int(*value),
            Expr::Real(bits) => Term::Real(*bits),
            Expr::Bool(value) => Term::Bool(*value),
            Expr::Extent(rank) => return self.extent(*rank),
            Expr::Index(rank) => Term::Index(*rank),
            Expr::Param(param, kind) => match self.cascade.params[*param].value {
                ParamValue::Fixed(value) if self.is_literal(value) => return self.expr(value),
                ParamValue::Fixed(_) | ParamValue::Launch(_) => Term::Param(*param, *kind),
            },
            Expr::Read(tensor, coords, kind) => return self.read(*tensor, coords, inner, *kind),
            Expr::Unary(op, _) => return self.unary(*op, inner[0], kind),
            Expr::Binary(op, ..) if kind == Kind::Real => return self.arithmetic(*op, inner[0], inner[1]),
            Expr::Binary(op, ..) => Term::Binary(*op, [inner[0], inner[1]]),
            Expr::Compare(op, ..) => Term::Compare(*op, [inner[0], inner[1]]),
            Expr::If(..) => Term::If([inner[0], inner[1], inner[2]]),
            Expr::Where(..) => Term::Where([inner[0], inner[1]]),
            Expr::Else(..) => return self.or_else(inner[0], inner[1]),
            Expr::Present(_) => Term::Present([inner[0]]),
            Expr::Pick(..) => Term::Pick(inner.into()),
            Expr::Cast(dtype, _) if kind == Kind::Real && !rounds(*dtype) && self.is_real(inner[0]) => {
                return inner[0];
            }
            Expr::Cast(dtype, _) => Term::Cast(*dtype, [inner[0]]),
        };
        self.graph.add(term)
    }

    fn is_real(&self, class: Class) -> bool {
        self.graph.facts(class).kind == Kind::Real
    }

    fn is_literal(&self, value: ExprId) -> bool {
        matches!(self.cascade.exprs.get(value), Expr::Int(_) | Expr::Bool(_))
    }

    fn unary(&mut self, op: UnaryOp, a: Class, kind: Kind) -> Class {
        let real = kind == Kind::Real && self.is_real(a);
        #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
        match op {
            UnaryOp::Neg if real => {
                let minus = self.graph.real(-1.0);
                self.graph.product(vec![minus, a])
            }
            UnaryOp::Sqrt => self.graph.power(a, 0.5),
            UnaryOp::Rsqrt => self.graph.power(a, -0.5),
            UnaryOp::ToReal => self.real(a),
            _ => self.graph.add(Term::Unary(op, [a])),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn arithmetic(&mut self, op: BinaryOp, a: Class, b: Class) -> Class {
        match (op, self.graph.constant_real(b)) {
            (BinaryOp::Add, _) => self.graph.sum(vec![a, b]),
            (BinaryOp::Sub, _) => {
                let minus = self.graph.real(-1.0);
                let negative = self.graph.product(vec![minus, b]);
                self.graph.sum(vec![a, negative])
            }
            (BinaryOp::Mul, _) => self.graph.product(vec![a, b]),
            (BinaryOp::Div, _) => self.quotient(a, b),
            (BinaryOp::Pow, Some(exponent)) => self.graph.power(a, exponent),
            _ => self.graph.add(Term::Binary(op, [a, b])),
        }
    }

    /// Has the graph know the conditions that coordinates of an input are inside, where they are not its indices.
    fn bound(&mut self, tensor: TensorId, coordinates: &[Class]) {
        for (dim, &at) in self.cascade.tensors[tensor].dims.iter().zip(coordinates) {
            if !self.graph.analysis.is_inside(self.graph, dim.rank, at) {
                let (zero, extent) = (self.graph.add(Term::Int(0)), self.extent(dim.rank));
                self.graph.add(Term::Compare(CompareOp::Ge, [at, zero]));
                self.graph.add(Term::Compare(CompareOp::Lt, [at, extent]));
            }
        }
    }

    /// A tensor at its own coordinates is what defines it.
    fn read(&mut self, tensor: TensorId, coords: &[ExprId], inner: &[Class], kind: Kind) -> Class {
        let it = &self.cascade.tensors[tensor];
        if it.role == Role::Input {
            self.bound(tensor, inner);
            return self.graph.add(Term::Input(tensor, kind, inner.into()));
        }
        let definition = self.tensors.get(&tensor).copied();
        let definition = definition.unwrap_or_else(|| self.graph.add(Term::Written(tensor)));
        let own = it.dims.iter().zip(coords).all(|(dim, &at)| {
            dim.lag == 0 && matches!(self.cascade.exprs.get(at), Expr::Index(rank) if *rank == dim.rank)
        });
        if own {
            return definition;
        }
        let operands = std::iter::once(definition).chain(inner.iter().copied()).collect();
        self.graph.add(Term::Read(tensor, kind, operands))
    }
}

/// A graph that speaks of a cascade, with nothing in it.
pub(crate) fn empty(cascade: &Cascade) -> Graph {
    Graph::new(Setting::new(cascade))
}
