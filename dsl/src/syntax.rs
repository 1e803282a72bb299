//! What parser and printer must agree on: how operators are written and how tightly they bind.

use crate::ast::{BinaryOp, CompareOp, UnaryOp};

/// How tightly the parts of an expression hold together, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// `where`, `else`: left to right.
    Loose,
    /// `if`: starts an expression.
    If,
    /// `or`
    Or,
    /// `and`
    And,
    /// `not`
    Not,
    /// `== != < <= > >=`: a chain.
    Compare,
    /// `+ -`
    Sum,
    /// `* / // %`
    Product,
    /// Unary `-`.
    Sign,
    /// `^`: right to left.
    Power,
    /// Names, numbers, calls, brackets.
    Operand,
}

impl BinaryOp {
    const ALL: [BinaryOp; 9] = [
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::FloorDiv,
        BinaryOp::Mod,
        BinaryOp::Pow,
    ];

    /// The operator written so.
    pub(crate) fn from_symbol(symbol: &str) -> Option<BinaryOp> {
        BinaryOp::ALL.into_iter().find(|it| it.symbol() == symbol)
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
        }
    }

    pub(crate) fn level(self) -> Level {
        match self {
            BinaryOp::Or => Level::Or,
            BinaryOp::And => Level::And,
            BinaryOp::Add | BinaryOp::Sub => Level::Sum,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => Level::Product,
            BinaryOp::Pow => Level::Power,
        }
    }
}

impl UnaryOp {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "not",
        }
    }

    pub(crate) fn level(self) -> Level {
        match self {
            UnaryOp::Neg => Level::Sign,
            UnaryOp::Not => Level::Not,
        }
    }
}

impl CompareOp {
    const ALL: [CompareOp; 6] =
        [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];

    /// The comparison written so.
    pub(crate) fn from_symbol(symbol: &str) -> Option<CompareOp> {
        CompareOp::ALL.into_iter().find(|it| it.symbol() == symbol)
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        }
    }
}
