//! Structure to syntax tree: expressions.
//!
//! Chains of operators become trees by operator precedence, without recursion; the height of each node is checked
//! as it is made. What is refused is noted and leaves a gap, so that all else is looked at.

use pest::iterators::Pair;

use super::build::{Builder, children, next};
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
    pub(super) fn expr(&mut self, pair: Pair<'_, Rule>) -> Expr {
        self.tall(pair).expr
    }

    /// The expressions between brackets.
    pub(super) fn exprs(&mut self, pair: Pair<'_, Rule>) -> Vec<Expr> {
        children(pair).map(|it| self.expr(it)).collect()
    }

    fn tall(&mut self, pair: Pair<'_, Rule>) -> Tall {
        match pair.as_rule() {
            Rule::expr => self.loose(pair),
            Rule::conditional => self.conditional(pair),
            Rule::logic | Rule::arith => self.operators(pair),
            Rule::comparison => self.comparison(pair),
            Rule::group => {
                let span = self.span(&pair);
                let inner = self.tall(next(&mut children(pair)));
                Tall { expr: Expr { span, ..inner.expr }, height: inner.height }
            }
            Rule::reference => self.reference(pair),
            _ => self.leaf(pair),
        }
    }

    fn leaf(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::integer => self.integer(&pair).map_or(ExprKind::Refused, ExprKind::Int),
            Rule::real => self.real(&pair).map_or(ExprKind::Refused, ExprKind::Real),
            Rule::bars => ExprKind::Bars(self.name(&next(&mut children(pair)))),
            _ => match pair.as_str() {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "inf" => ExprKind::Inf,
                _ => ExprKind::Pi,
            },
        };
        self.node(kind, span, [])
    }

    /// `where` and `else`, left to right.
    fn loose(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let mut parts = children(pair);
        let mut left = self.tall(next(&mut parts));
        while let Some(op) = parts.next() {
            let right = self.tall(next(&mut parts));
            let (span, heights) = (left.expr.span.to(right.expr.span), [left.height, right.height]);
            let (left_expr, right_expr) = (Box::new(left.expr), Box::new(right.expr));
            let kind = if op.as_rule() == Rule::kw_where {
                ExprKind::Where(left_expr, right_expr)
            } else {
                ExprKind::Else(left_expr, right_expr)
            };
            left = self.node(kind, span, heights);
        }
        left
    }

    fn conditional(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let span = self.span(&pair);
        let mut parts = children(pair).filter(|it| it.as_rule() != Rule::kw_else);
        let condition = self.tall(next(&mut parts));
        let yes = self.tall(next(&mut parts));
        let no = self.tall(next(&mut parts));
        let heights = [condition.height, yes.height, no.height];
        let kind = ExprKind::If(Box::new(condition.expr), Box::new(yes.expr), Box::new(no.expr));
        self.node(kind, span, heights)
    }

    fn comparison(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let mut parts = children(pair);
        let first = self.tall(next(&mut parts));
        let (mut span, mut height, mut rest) = (first.expr.span, first.height, Vec::new());
        while let Some(op) = parts.next() {
            let op = CompareOp::from_symbol(op.as_str()).expect("the grammar has these comparisons");
            let right = self.tall(next(&mut parts));
            span = span.to(right.expr.span);
            height = height.max(right.height);
            rest.push((op, right.expr));
        }
        if rest.is_empty() {
            return first;
        }
        self.node(ExprKind::Compare(Box::new(first.expr), rest), span, [height])
    }

    /// Operands, prefixes and infixes in a row.
    fn operators(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let (mut operands, mut pending) = (Vec::new(), Vec::new());
        for part in children(pair) {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::kw_not => pending.push(Pending { op: Op::Unary(UnaryOp::Not), span }),
                Rule::sign => pending.push(Pending { op: Op::Unary(UnaryOp::Neg), span }),
                Rule::kw_and | Rule::kw_or | Rule::arith_op => {
                    let op = BinaryOp::from_symbol(part.as_str()).expect("the grammar has these operators");
                    self.apply(&mut operands, &mut pending, op.level(), op == BinaryOp::Pow);
                    pending.push(Pending { op: Op::Binary(op), span });
                }
                _ => operands.push(self.tall(part)),
            }
        }
        self.apply(&mut operands, &mut pending, Level::Loose, false);
        pop(&mut operands)
    }

    /// A name and what its brackets make of it.
    fn reference(&mut self, pair: Pair<'_, Rule>) -> Tall {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let name = self.name(&next(&mut parts));
        let Some(first) = parts.next() else { return self.node(ExprKind::Name(name.text), span, []) };
        match first.as_rule() {
            Rule::selection => self.selection(name, first, span),
            Rule::reindex => self.reindex(name, first, span),
            Rule::args => self.call(name, Vec::new(), first, span),
            _ => {
                let (coords, height) = self.list(first);
                match parts.next() {
                    None => self.node(ExprKind::Read { name, coords }, span, [height]),
                    Some(args) => {
                        let ranks: Vec<_> = coords.into_iter().map(|it| self.rank_of(&name, it)).collect();
                        let ranks: Option<Vec<Name>> = ranks.into_iter().collect();
                        let refused = ranks.is_none();
                        let mut call = self.call(name, ranks.unwrap_or_default(), args, span);
                        if refused {
                            call.expr.kind = ExprKind::Refused;
                        }
                        call
                    }
                }
            }
        }
    }

    fn call(&mut self, name: Name, ranks: Vec<Name>, args: Pair<'_, Rule>, span: Span) -> Tall {
        let (args, height) = self.list(args);
        self.node(ExprKind::Call { name, ranks, args }, span, [height])
    }

    fn selection(&mut self, name: Name, pair: Pair<'_, Rule>, span: Span) -> Tall {
        let mut parts = children(pair);
        let (from, to) = (self.name(&next(&mut parts)), self.name(&next(&mut parts)));
        let arg = self.tall(next(&mut parts));
        self.node(ExprKind::Select { name, from, to, arg: Box::new(arg.expr) }, span, [arg.height])
    }

    fn reindex(&mut self, name: Name, pair: Pair<'_, Rule>, span: Span) -> Tall {
        let (mut coords, mut height) = (Vec::new(), 0);
        for renaming in children(pair) {
            let mut parts = children(renaming);
            let rank = self.name(&next(&mut parts));
            let coord = self.tall(next(&mut parts));
            height = height.max(coord.height);
            coords.push((rank, coord.expr));
        }
        self.node(ExprKind::Reindex { name, coords }, span, [height])
    }

    /// The expressions between brackets and the greatest height among them.
    fn list(&mut self, pair: Pair<'_, Rule>) -> (Vec<Expr>, usize) {
        let (mut exprs, mut height) = (Vec::new(), 0);
        for part in children(pair) {
            let part = self.tall(part);
            height = height.max(part.height);
            exprs.push(part.expr);
        }
        (exprs, height)
    }

    /// Makes a node above others of these heights. One above what is refused for its height is refused with it.
    fn node<const N: usize>(&mut self, kind: ExprKind, span: Span, below: [usize; N]) -> Tall {
        let height = 1 + below.into_iter().max().unwrap_or(0);
        if height <= MAX_NESTING {
            return Tall { expr: Expr { kind, span }, height };
        }
        if height == MAX_NESTING + 1 {
            self.errors.push(complain::too_high(span));
        }
        Tall { expr: Expr { kind: ExprKind::Refused, span }, height: MAX_NESTING + 1 }
    }

    /// Applies the pending operators that bind tighter than `level`, or as tightly unless that groups to the right.
    fn apply(&mut self, operands: &mut Vec<Tall>, pending: &mut Vec<Pending>, level: Level, to_right: bool) {
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
                    self.node(ExprKind::Unary(op, Box::new(right.expr)), span, [right.height])
                }
                Op::Binary(op) => {
                    let left = pop(operands);
                    let (span, heights) = (left.expr.span.to(right.expr.span), [left.height, right.height]);
                    let kind = ExprKind::Binary(op, Box::new(left.expr), Box::new(right.expr));
                    self.node(kind, span, heights)
                }
            };
            operands.push(applied);
        }
    }

    /// The name of a rank; none if another expression stands in its place.
    fn rank_of(&mut self, function: &Name, coord: Expr) -> Option<Name> {
        match coord {
            Expr { kind: ExprKind::Name(text), span } => Some(Name { text, span }),
            Expr { span, .. } => {
                self.errors.push(complain::not_a_rank(function, span));
                None
            }
        }
    }

    /// A real number, unless it is too large.
    fn real(&mut self, pair: &Pair<'_, Rule>) -> Option<f64> {
        let read: Option<f64> = pair.as_str().parse().ok().filter(|it: &f64| it.is_finite());
        if read.is_none() {
            self.errors.push(complain::real_too_large(self.span(pair)));
        }
        read
    }
}

fn pop(operands: &mut Vec<Tall>) -> Tall {
    operands.pop().expect("the grammar puts an operand on each side of an operator")
}
