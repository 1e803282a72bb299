//! Structure to syntax tree: expressions.
//!
//! Chains of operators become trees by operator precedence, without recursion; the height of each node is checked
//! as it is made.

use pest::iterators::Pair;

use super::build::{Builder, Built, children, next};
use super::{Rule, complain};
use crate::ast::{BinaryOp, CompareOp, Expr, ExprKind, MAX_NESTING, Name, UnaryOp};
use crate::diag::Span;
use crate::syntax::Level;

/// An expression and how high its tree is.
struct Tall {
    expr: Expr,
    height: usize,
}

/// An operator that waits for its right operand.
struct Pending {
    op: Op,
    span: Span,
}

#[derive(Clone, Copy)]
enum Op {
    Unary(UnaryOp),
    Binary(BinaryOp),
}

impl Builder {
    /// The expression of a pair.
    pub(super) fn expr(&self, pair: Pair<'_, Rule>) -> Built<Expr> {
        self.tall(pair).map(|it| it.expr)
    }

    /// The expressions between brackets.
    pub(super) fn exprs(&self, pair: Pair<'_, Rule>) -> Built<Vec<Expr>> {
        children(pair).map(|it| self.expr(it)).collect()
    }

    fn tall(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        match pair.as_rule() {
            Rule::expr => self.loose(pair),
            Rule::conditional => self.conditional(pair),
            Rule::logic | Rule::arith => self.operators(pair),
            Rule::comparison => self.comparison(pair),
            Rule::group => {
                let span = self.span(&pair);
                let inner = self.tall(next(&mut children(pair)))?;
                Ok(Tall { expr: Expr { span, ..inner.expr }, height: inner.height })
            }
            Rule::reference => self.reference(pair),
            _ => self.leaf(pair),
        }
    }

    fn leaf(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::integer => ExprKind::Int(self.integer(&pair)?),
            Rule::real => ExprKind::Real(real(&pair).ok_or_else(|| complain::real_too_large(span))?),
            Rule::bars => ExprKind::Bars(self.name(&next(&mut children(pair)))),
            _ => match pair.as_str() {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "inf" => ExprKind::Inf,
                _ => ExprKind::Pi,
            },
        };
        node(kind, span, [])
    }

    /// `where` and `else`, left to right.
    fn loose(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let mut parts = children(pair);
        let mut left = self.tall(next(&mut parts))?;
        while let Some(op) = parts.next() {
            let right = self.tall(next(&mut parts))?;
            let (span, heights) = (left.expr.span.to(right.expr.span), [left.height, right.height]);
            let (left_expr, right_expr) = (Box::new(left.expr), Box::new(right.expr));
            let kind = if op.as_rule() == Rule::kw_where {
                ExprKind::Where(left_expr, right_expr)
            } else {
                ExprKind::Else(left_expr, right_expr)
            };
            left = node(kind, span, heights)?;
        }
        Ok(left)
    }

    fn conditional(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let span = self.span(&pair);
        let mut parts = children(pair).filter(|it| it.as_rule() != Rule::kw_else);
        let condition = self.tall(next(&mut parts))?;
        let yes = self.tall(next(&mut parts))?;
        let no = self.tall(next(&mut parts))?;
        let heights = [condition.height, yes.height, no.height];
        let kind = ExprKind::If(Box::new(condition.expr), Box::new(yes.expr), Box::new(no.expr));
        node(kind, span, heights)
    }

    fn comparison(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let mut parts = children(pair);
        let first = self.tall(next(&mut parts))?;
        let (mut span, mut height, mut rest) = (first.expr.span, first.height, Vec::new());
        while let Some(op) = parts.next() {
            let op = CompareOp::from_symbol(op.as_str()).expect("the grammar has these comparisons");
            let right = self.tall(next(&mut parts))?;
            span = span.to(right.expr.span);
            height = height.max(right.height);
            rest.push((op, right.expr));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        node(ExprKind::Compare(Box::new(first.expr), rest), span, [height])
    }

    /// Operands, prefixes and infixes in a row.
    fn operators(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let (mut operands, mut pending) = (Vec::new(), Vec::new());
        for part in children(pair) {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::kw_not => pending.push(Pending { op: Op::Unary(UnaryOp::Not), span }),
                Rule::sign => pending.push(Pending { op: Op::Unary(UnaryOp::Neg), span }),
                Rule::kw_and | Rule::kw_or | Rule::arith_op => {
                    let op = BinaryOp::from_symbol(part.as_str()).expect("the grammar has these operators");
                    apply(&mut operands, &mut pending, op.level(), op == BinaryOp::Pow)?;
                    pending.push(Pending { op: Op::Binary(op), span });
                }
                _ => operands.push(self.tall(part)?),
            }
        }
        apply(&mut operands, &mut pending, Level::Loose, false)?;
        Ok(pop(&mut operands))
    }

    /// A name and what its brackets make of it.
    fn reference(&self, pair: Pair<'_, Rule>) -> Built<Tall> {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let Some(first) = parts.next() else { return node(ExprKind::Name(name.text), span, []) };
        match first.as_rule() {
            Rule::selection => self.selection(name, first, span),
            Rule::reindex => self.reindex(name, first, span),
            Rule::args => self.call(name, Vec::new(), first, span),
            _ => {
                let (coords, height) = self.list(first)?;
                match parts.next() {
                    None => node(ExprKind::Read { name, coords }, span, [height]),
                    Some(args) => {
                        let ranks = coords.into_iter().map(|it| rank_of(&name, it)).collect::<Built<_>>()?;
                        self.call(name, ranks, args, span)
                    }
                }
            }
        }
    }

    fn call(&self, name: Name, ranks: Vec<Name>, args: Pair<'_, Rule>, span: Span) -> Built<Tall> {
        let (args, height) = self.list(args)?;
        node(ExprKind::Call { name, ranks, args }, span, [height])
    }

    fn selection(&self, name: Name, pair: Pair<'_, Rule>, span: Span) -> Built<Tall> {
        let mut parts = children(pair);
        let (from, to) = (self.name(&next(&mut parts)), self.name(&next(&mut parts)));
        let arg = self.tall(next(&mut parts))?;
        node(ExprKind::Select { name, from, to, arg: Box::new(arg.expr) }, span, [arg.height])
    }

    fn reindex(&self, name: Name, pair: Pair<'_, Rule>, span: Span) -> Built<Tall> {
        let (mut coords, mut height) = (Vec::new(), 0);
        for renaming in children(pair) {
            let mut parts = children(renaming);
            let rank = self.name(&next(&mut parts));
            let coord = self.tall(next(&mut parts))?;
            height = height.max(coord.height);
            coords.push((rank, coord.expr));
        }
        node(ExprKind::Reindex { name, coords }, span, [height])
    }

    /// The expressions between brackets and the greatest height among them.
    fn list(&self, pair: Pair<'_, Rule>) -> Built<(Vec<Expr>, usize)> {
        let (mut exprs, mut height) = (Vec::new(), 0);
        for part in children(pair) {
            let part = self.tall(part)?;
            height = height.max(part.height);
            exprs.push(part.expr);
        }
        Ok((exprs, height))
    }
}

/// Makes a node above others of these heights.
fn node<const N: usize>(kind: ExprKind, span: Span, below: [usize; N]) -> Built<Tall> {
    let height = 1 + below.into_iter().max().unwrap_or(0);
    if height > MAX_NESTING {
        return Err(complain::too_high(span));
    }
    Ok(Tall { expr: Expr { kind, span }, height })
}

/// Applies the pending operators that bind tighter than `level`, or as tightly unless that groups to the right.
fn apply(operands: &mut Vec<Tall>, pending: &mut Vec<Pending>, level: Level, to_right: bool) -> Built<()> {
    let binds = |it: &mut Pending| {
        let own = match it.op {
            Op::Unary(op) => op.level(),
            Op::Binary(op) => op.level(),
        };
        own > level || own == level && !to_right
    };
    while let Some(Pending { op, span }) = pending.pop_if(binds) {
        let right = pop(operands);
        let applied = match op {
            Op::Unary(op) => {
                let span = span.to(right.expr.span);
                node(ExprKind::Unary(op, Box::new(right.expr)), span, [right.height])
            }
            Op::Binary(op) => {
                let left = pop(operands);
                let (span, heights) = (left.expr.span.to(right.expr.span), [left.height, right.height]);
                node(ExprKind::Binary(op, Box::new(left.expr), Box::new(right.expr)), span, heights)
            }
        };
        operands.push(applied?);
    }
    Ok(())
}

fn pop(operands: &mut Vec<Tall>) -> Tall {
    operands.pop().expect("the grammar puts an operand on each side of an operator")
}

fn rank_of(function: &Name, coord: Expr) -> Built<Name> {
    match coord {
        Expr { kind: ExprKind::Name(text), span } => Ok(Name { text, span }),
        Expr { span, .. } => Err(complain::not_a_rank(function, span)),
    }
}

fn real(pair: &Pair<'_, Rule>) -> Option<f64> {
    pair.as_str().parse().ok().filter(|it: &f64| it.is_finite())
}
