//! Parts of the tree to text on one line, with the places where the line may be broken.

use crate::ast::{
    BinaryOp, Equation, Expr, ExprKind, FnDef, FnStmt, Input, KernelItemKind, Name, Param, RankDecl, RankDef,
    UnaryOp,
};
use crate::diag::Span;
use crate::syntax::Level;

/// Text that grows at its end.
pub(super) struct Flat<'a> {
    /// The text that the tree was read from; numbers keep their spelling.
    source: &'a str,
    pub(super) text: String,
    /// Where a line may end instead of a space.
    pub(super) breaks: Vec<Break>,
    depth: usize,
}

/// A place where a line may end. The least `tightness` is the best place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Break {
    pub(super) at: usize,
    /// How many brackets are open, and what would be torn apart.
    pub(super) tightness: (usize, Level),
}

impl<'a> Flat<'a> {
    pub(super) fn new(source: &'a str) -> Flat<'a> {
        Flat { source, text: String::new(), breaks: Vec::new(), depth: 0 }
    }

    /// Appends, and goes on.
    pub(super) fn put(&mut self, text: &str) -> &mut Self {
        self.word(text);
        self
    }

    fn word(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A space, or the end of the line.
    fn space(&mut self, torn: Level) -> &mut Self {
        self.breaks.push(Break { at: self.text.len(), tightness: (self.depth, torn) });
        self.put(" ")
    }

    fn list<T>(&mut self, open: &str, items: &[T], close: &str, mut item: impl FnMut(&mut Self, &T)) {
        self.put(open);
        self.depth += 1;
        for (position, it) in items.iter().enumerate() {
            if position > 0 {
                self.put(",").space(Level::Loose);
            }
            item(self, it);
        }
        self.depth -= 1;
        self.put(close);
    }

    fn names(&mut self, open: &str, names: &[Name], close: &str) {
        self.list(open, names, close, |out, it| out.word(&it.text));
    }

    /// `fn f[n](x)`
    pub(super) fn fn_head(&mut self, function: &FnDef) {
        self.put("fn ").put(&function.name.text);
        if !function.ranks.is_empty() {
            self.names("[", &function.ranks, "]");
        }
        self.names("(", &function.values, ")");
    }

    pub(super) fn fn_stmt(&mut self, stmt: &FnStmt) {
        match stmt {
            FnStmt::Rank(decl) => self.put("rank ").rank_decl(decl),
            FnStmt::Let(name, value) => self.put(&name.text).put(" = ").expr(value, Level::Loose),
        }
        self.put(";");
    }

    pub(super) fn kernel_item(&mut self, item: &KernelItemKind) {
        match item {
            KernelItemKind::Ranks(decls) => self.list("rank ", decls, "", Self::rank_decl),
            KernelItemKind::Input(input) => self.input(input),
            KernelItemKind::Param(param) => self.param(param),
            KernelItemKind::Assume(fact) => self.put("assume ").expr(fact, Level::Loose),
            KernelItemKind::Equation(equation) => self.equation(equation),
        }
    }

    fn rank_decl(&mut self, decl: &RankDecl) {
        self.put(&decl.name.text);
        match &decl.def {
            RankDef::Symbolic => {}
            RankDef::Fixed(extent) => self.put(" = ").expr(extent, Level::Loose),
            RankDef::Bounded(bound, _) => self.word(&format!(" <= {bound}")),
            RankDef::Alias(other) => self.word(&format!(": {}", other.text)),
            RankDef::Composite(parts) => self.list(" = (", parts, ")", |out, part| {
                out.put(&part.name.text);
                if let Some(extent) = &part.extent {
                    out.put(" = ").expr(extent, Level::Loose);
                }
            }),
        }
    }

    fn input(&mut self, input: &Input) {
        self.put("input ").put(&input.name.text);
        if !input.ranks.is_empty() {
            self.names("[", &input.ranks, "]");
        }
        self.put(": ").put(&input.dtype.text);
    }

    fn param(&mut self, param: &Param) {
        self.put("param ").put(&param.name.text).put(": ").put(&param.dtype.text);
        if let Some(default) = &param.default {
            self.put(" = ").expr(default, Level::Loose);
        }
    }

    /// The condition of a whole equation stands apart from its value.
    fn equation(&mut self, equation: &Equation) {
        self.put(if equation.exact { "exact " } else { "" });
        self.put(if equation.output { "output " } else { "" }).put(&equation.name.text);
        if !equation.coords.is_empty() {
            self.list("[", &equation.coords, "]", Self::coord);
        }
        if let Some(dtype) = &equation.dtype {
            self.put(": ").put(&dtype.text);
        }
        self.put(" = ");
        if let ExprKind::Where(value, condition) = &equation.value.kind {
            self.guarded(value);
            self.space(Level::Loose).put("  where ").expr(condition, Level::If);
        } else {
            self.expr(&equation.value, Level::Loose);
        }
    }

    /// An expression, in parentheses if it holds together less tightly than its place demands.
    pub(super) fn expr(&mut self, expr: &Expr, place: Level) {
        if level(&expr.kind) >= place {
            return self.bare_expr(expr);
        }
        self.list("(", &[expr], ")", |out, it| out.bare_expr(it));
    }

    fn bare_expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Int(value) => self.word(&value.to_string()),
            ExprKind::Real(value) => self.word(&real(*value, self.source, expr.span)),
            ExprKind::Bool(value) => self.word(if *value { "true" } else { "false" }),
            ExprKind::Inf => self.word("inf"),
            ExprKind::Pi => self.word("pi"),
            ExprKind::Name(name) => self.word(name),
            ExprKind::Bars(name) => self.word(&format!("|{}|", name.text)),
            ExprKind::Read { name, coords } => self.put(&name.text).list("[", coords, "]", Self::coord),
            ExprKind::Reindex { name, coords } => {
                self.put(&name.text).list("[", coords, "]", |out, (rank, coord)| {
                    out.put(&rank.text).put(" = ").expr(coord, Level::Loose);
                });
            }
            ExprKind::Call { name, ranks, args } => {
                self.put(&name.text);
                if !ranks.is_empty() {
                    self.names("[", ranks, "]");
                }
                self.list("(", args, ")", |out, it| out.expr(it, Level::Loose));
            }
            ExprKind::Select { name, from, to, arg } => {
                self.put(&format!("{}[{} -> {}]", name.text, from.text, to.text));
                self.list("(", &[arg], ")", |out, it| out.expr(it, Level::Loose));
            }
            ExprKind::Unary(op, operand) => self.unary(*op, operand),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right),
            ExprKind::Compare(first, rest) => {
                self.expr(first, Level::Sum);
                for (op, right) in rest {
                    self.space(Level::Compare).put(op.symbol()).put(" ").expr(right, Level::Sum);
                }
            }
            ExprKind::If(condition, yes, no) => {
                self.put("if ").expr(condition, Level::Or);
                self.space(Level::If).put("then ").expr(yes, Level::Or);
                self.space(Level::If).put("else ").expr(no, Level::If);
            }
            ExprKind::Where(value, condition) => {
                self.guarded(value);
                self.space(Level::Loose).put("where ").expr(condition, Level::If);
            }
            ExprKind::Else(value, other) => {
                self.guarded(value);
                self.space(Level::Loose).put("else ").expr(other, Level::If);
            }
            ExprKind::Refused => self.word(&self.source[expr.span.start as usize..expr.span.end as usize]),
        }
    }

    /// The left side of `where` or `else`; an `if` there is clearer in parentheses.
    fn guarded(&mut self, value: &Expr) {
        let place = if level(&value.kind) == Level::If { Level::Or } else { Level::Loose };
        self.expr(value, place);
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr) {
        self.put(op.symbol());
        match op {
            UnaryOp::Neg => {}
            UnaryOp::Not => self.word(" "),
        }
        self.expr(operand, op.level());
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let (left_place, right_place) = match op {
            BinaryOp::Or => (Level::Or, Level::And),
            BinaryOp::And => (Level::And, Level::Not),
            BinaryOp::Add | BinaryOp::Sub => (Level::Sum, Level::Product),
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => {
                (Level::Product, Level::Sign)
            }
            BinaryOp::Pow => (Level::Operand, Level::Sign),
        };
        self.expr(left, left_place);
        if op == BinaryOp::Pow && level(&right.kind) >= right_place {
            self.put("^");
        } else {
            self.space(op.level()).put(op.symbol()).put(" ");
        }
        self.expr(right, right_place);
    }

    /// A coordinate; `t+1` and `t-1` are so common in recurrences that they are written close.
    fn coord(&mut self, coord: &Expr) {
        if let ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), left, right) = &coord.kind
            && let (ExprKind::Name(rank), ExprKind::Int(shift)) = (&left.kind, &right.kind)
            && rank.len() == 1
        {
            self.put(&format!("{rank}{}{shift}", op.symbol()));
        } else {
            self.expr(coord, Level::Loose);
        }
    }
}

fn level(kind: &ExprKind) -> Level {
    match kind {
        ExprKind::Int(_)
        | ExprKind::Real(_)
        | ExprKind::Bool(_)
        | ExprKind::Inf
        | ExprKind::Pi
        | ExprKind::Name(_)
        | ExprKind::Bars(_)
        | ExprKind::Read { .. }
        | ExprKind::Reindex { .. }
        | ExprKind::Call { .. }
        | ExprKind::Select { .. }
        | ExprKind::Refused => Level::Operand,
        ExprKind::Unary(op, _) => op.level(),
        ExprKind::Binary(op, _, _) => op.level(),
        ExprKind::Compare(..) => Level::Compare,
        ExprKind::If(..) => Level::If,
        ExprKind::Where(..) | ExprKind::Else(..) => Level::Loose,
    }
}

/// A number as it was written, else in the shortest form.
fn real(value: f64, source: &str, span: Span) -> String {
    let written = source.get(span.start as usize..span.end as usize).unwrap_or_default();
    let same = written.starts_with(|it: char| it.is_ascii_digit()) && written.parse() == Ok(value);
    let is_real = written.contains(['.', 'e', 'E']);
    if same && is_real { written.to_owned() } else { format!("{value:?}") }
}
