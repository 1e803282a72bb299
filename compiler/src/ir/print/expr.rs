//! Map expressions as text, close to the language.
//!
//! A part that is used more than once, or makes a line too long, gets a line and a number of its own,
//! so that the text is not larger than the graph.

use std::collections::HashMap;

use crate::ir::cascade::{Cascade, Dim, ExprId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands};

/// A part longer than this is printed once.
const SHARED: usize = 24;
/// A part longer than this is printed alone.
const LONG: usize = 90;

/// How tightly the parts of a text stick together, as in the grammar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Where,
    If,
    Or,
    And,
    Not,
    Compare,
    Add,
    Mul,
    Neg,
    Pow,
    Atom,
}

struct Text {
    text: String,
    level: Level,
}

/// The text of an expression, and the lines that define what it calls `%0`, `%1`, …
pub(super) fn expr(cascade: &Cascade, root: ExprId) -> (Vec<String>, String) {
    let order = cascade.exprs.postorder(root);
    let mut uses: HashMap<ExprId, usize> = HashMap::new();
    for &id in &order {
        for operand in operands(cascade.exprs.get(id)) {
            *uses.entry(operand).or_default() += 1;
        }
    }
    let mut printer = Printer { cascade, texts: HashMap::new() };
    let mut lines = Vec::new();
    for &id in &order {
        let mut text = printer.text(cascade.exprs.get(id));
        let shared = uses.get(&id).is_some_and(|&it| it > 1) && text.text.len() > SHARED;
        if id != root && (shared || text.text.len() > LONG) {
            let name = format!("%{}", lines.len());
            lines.push(format!("let {name} = {}", text.text));
            text = atom(name);
        }
        printer.texts.insert(id, text);
    }
    let root = printer.texts.remove(&root).expect("the root comes last in its own order");
    (lines, root.text)
}

struct Printer<'a> {
    cascade: &'a Cascade,
    texts: HashMap<ExprId, Text>,
}

impl Printer<'_> {
    fn text(&self, expr: &Expr) -> Text {
        let Cascade { ranks, params, tensors, .. } = self.cascade;
        match expr {
            Expr::Int(it) if *it < 0 => Text { text: it.to_string(), level: Level::Neg },
            Expr::Int(it) => atom(it.to_string()),
            Expr::Real(bits) => real(f64::from_bits(*bits)),
            Expr::Bool(it) => atom(it.to_string()),
            Expr::Extent(rank) => atom(format!("|{}|", ranks[*rank].name)),
            Expr::Index(rank) => atom(ranks[*rank].name.clone()),
            Expr::Param(param, _) => atom(params[*param].name.clone()),
            Expr::Read(tensor, coords, _) => {
                let name = &tensors[*tensor].name;
                let dims = &tensors[*tensor].dims;
                let is_own = |(coord, dim): (&ExprId, &Dim)| {
                    dim.lag == 0 && *self.cascade.exprs.get(*coord) == Expr::Index(dim.rank)
                };
                if coords.iter().zip(dims).all(is_own) {
                    return atom(name.clone());
                }
                atom(format!("{name}[{}]", self.list(coords)))
            }
            Expr::Unary(UnaryOp::Neg, a) => self.prefix("-", *a, Level::Neg),
            Expr::Unary(UnaryOp::Not, a) => self.prefix("not ", *a, Level::Not),
            Expr::Unary(op, a) => self.call(op.name(), &[*a]),
            Expr::Binary(op, a, b) => self.binary(*op, *a, *b),
            Expr::Compare(op, a, b) => {
                let (a, b) = (self.at(*a, Level::Add), self.at(*b, Level::Add));
                Text { text: format!("{a} {} {b}", op.symbol()), level: Level::Compare }
            }
            Expr::If(c, a, b) => {
                let [c, a, b] = [*c, *a, *b].map(|it| self.at(it, Level::If));
                Text { text: format!("if {c} then {a} else {b}"), level: Level::If }
            }
            Expr::Where(a, b) => self.infix("where", (*a, Level::Where), (*b, Level::If), Level::Where),
            Expr::Else(a, b) => self.infix("else", (*a, Level::Where), (*b, Level::If), Level::Where),
            Expr::Present(a) => self.call("present", &[*a]),
            Expr::Pick(i, values) => {
                self.call("pick", &[std::slice::from_ref(i), values.as_slice()].concat())
            }
            Expr::Cast(dtype, a) => self.call(dtype.name(), &[*a]),
        }
    }

    fn binary(&self, op: BinaryOp, a: ExprId, b: ExprId) -> Text {
        let (level, above) = match op {
            BinaryOp::Or => (Level::Or, Level::And),
            BinaryOp::And => (Level::And, Level::Not),
            BinaryOp::Add | BinaryOp::Sub => (Level::Add, Level::Mul),
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => (Level::Mul, Level::Neg),
            BinaryOp::Pow => return self.infix("^", (a, Level::Atom), (b, Level::Neg), Level::Pow),
            BinaryOp::Min
            | BinaryOp::Max
            | BinaryOp::BitAnd
            | BinaryOp::BitOr
            | BinaryOp::BitXor
            | BinaryOp::Shl
            | BinaryOp::Shr => return self.call(op.name(), &[a, b]),
        };
        self.infix(op.name(), (a, level), (b, above), level)
    }

    fn infix(&self, op: &str, (a, left): (ExprId, Level), (b, right): (ExprId, Level), level: Level) -> Text {
        Text { text: format!("{} {op} {}", self.at(a, left), self.at(b, right)), level }
    }

    fn prefix(&self, op: &str, a: ExprId, level: Level) -> Text {
        Text { text: format!("{op}{}", self.at(a, level)), level }
    }

    fn call(&self, name: &str, values: &[ExprId]) -> Text {
        atom(format!("{name}({})", self.list(values)))
    }

    fn list(&self, ids: &[ExprId]) -> String {
        ids.iter().map(|it| self.texts[it].text.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// An operand, in brackets if it is looser than what may stand there.
    fn at(&self, id: ExprId, least: Level) -> String {
        let Text { text, level } = &self.texts[&id];
        if *level < least { format!("({text})") } else { text.clone() }
    }
}

fn atom(text: String) -> Text {
    Text { text, level: Level::Atom }
}

fn real(value: f64) -> Text {
    let level = if value.is_sign_negative() { Level::Neg } else { Level::Atom };
    Text { text: format!("{value:?}"), level }
}
