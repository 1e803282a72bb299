//! Map expressions: functions of coordinates, hash-consed, with what is known of each.
//!
//! Operands come before operations, so walking ids upwards visits operands first. Kinds are checked as
//! expressions are made: a builder method refuses operands of the wrong kind by panicking, because the
//! checker of the language has accepted the spec.

use std::collections::HashMap;

use attnc_dsl::ast::{CompareOp, DType, Kind};
use rustc_hash::FxHashMap;

use super::arena::Arena;
use super::cascade::{ExprId, ParamId, RankId, TensorId};

/// One operation of a map expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expr {
    /// An integer.
    Int(i64),
    /// A real number, by its bits.
    Real(u64),
    /// A truth value.
    Bool(bool),
    /// The extent of a rank.
    Extent(RankId),
    /// The coordinate along a rank; that of a composite rank is absent beyond its extent.
    Index(RankId),
    /// The value of a parameter.
    Param(ParamId, Kind),
    /// A point of a tensor, absent outside it; one integer coordinate for each dimension.
    Read(TensorId, Vec<ExprId>, Kind),
    /// One operand.
    Unary(UnaryOp, ExprId),
    /// Two operands of one kind.
    Binary(BinaryOp, ExprId, ExprId),
    /// Two operands of one kind; bool.
    Compare(CompareOp, ExprId, ExprId),
    /// `if c then a else b`: only the condition and the chosen branch count for presence.
    If(ExprId, ExprId, ExprId),
    /// The first, where the second is present and true.
    Where(ExprId, ExprId),
    /// The first where it is present, else the second.
    Else(ExprId, ExprId),
    /// Whether the operand is present; always present.
    Present(ExprId),
    /// The i-th of the others; absent outside, and only the chosen one counts for presence.
    Pick(ExprId, Vec<ExprId>),
    /// The value as that dtype stores it.
    Cast(DType, ExprId),
}

/// Operations on one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the language")]
pub enum UnaryOp {
    Neg,
    Not,
    /// An integer as a real.
    ToReal,
    Exp,
    Exp2,
    Expm1,
    Log,
    Log2,
    Log1p,
    Sqrt,
    Rsqrt,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Softplus,
    Erf,
    Relu,
    Gelu,
    Silu,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Trunc,
    /// Absent for integers below 1.
    Ilog2,
    IsNan,
    IsInf,
}

/// Operations on two values of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the language")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// Of reals.
    Div,
    /// Of integers; absent for a divisor of 0.
    FloorDiv,
    /// Of integers, with the sign of the divisor; absent for a divisor of 0.
    Mod,
    /// Of reals.
    Pow,
    Min,
    Max,
    /// A present false decides.
    And,
    /// A present true decides.
    Or,
    BitAnd,
    BitOr,
    BitXor,
    /// Absent for counts outside 0 … 63.
    Shl,
    /// Arithmetic; absent for counts outside 0 … 63.
    Shr,
}

/// What is known of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kind of its value.
    pub kind: Kind,
    /// The part-less ranks whose coordinates it depends on, ascending.
    pub free: Vec<RankId>,
}

/// Expressions, each once.
#[derive(Debug, Clone, Default)]
pub struct Exprs {
    nodes: Arena<Expr>,
    facts: Vec<Facts>,
    atoms: Vec<Vec<RankId>>,
    ids: FxHashMap<Expr, ExprId>,
}

impl Exprs {
    /// Makes the next rank known, with the part-less ranks that it stands for.
    pub fn add_rank(&mut self, rank: RankId, atoms: Vec<RankId>) {
        assert_eq!(rank.idx(), self.atoms.len(), "ranks are added in order");
        self.atoms.push(atoms);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The operation of that id.
    pub fn get(&self, id: ExprId) -> &Expr {
        &self.nodes[id]
    }

    /// What is known of an expression.
    pub fn facts(&self, id: ExprId) -> &Facts {
        &self.facts[id.idx()]
    }

    /// The kind of its value.
    pub fn kind(&self, id: ExprId) -> Kind {
        self.facts(id).kind
    }

    /// An expression without the conditions on it as a whole.
    pub(crate) fn unconditioned(&self, mut id: ExprId) -> ExprId {
        while let &Expr::Where(x, _) = self.get(id) {
            id = x;
        }
        id
    }

    /// The part-less ranks that it depends on, ascending.
    pub fn free(&self, id: ExprId) -> &[RankId] {
        &self.facts(id).free
    }

    /// The part-less ranks that a rank stands for, major to minor.
    pub fn atoms(&self, rank: RankId) -> &[RankId] {
        &self.atoms[rank.idx()]
    }

    /// All expressions, operands first.
    pub fn iter(&self) -> impl Iterator<Item = (ExprId, &Expr)> {
        self.nodes.iter()
    }

    /// The id of an operation, if it is there.
    pub fn find(&self, expr: &Expr) -> Option<ExprId> {
        self.ids.get(expr).copied()
    }

    /// The id of an operation, which is added if it is new.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub fn add(&mut self, expr: Expr) -> ExprId {
        if let Some(&id) = self.ids.get(&expr) {
            return id;
        }
        let kind = self.kind_of(&expr);
        let mut free: Vec<RankId> = match &expr {
            Expr::Index(rank) => self.atoms[rank.idx()].clone(),
            other => operands(other).iter().flat_map(|&it| self.free(it).iter().copied()).collect(),
        };
        free.sort_unstable();
        free.dedup();
        let id = self.nodes.push(expr.clone());
        self.facts.push(Facts { kind, free });
        self.ids.insert(expr, id);
        id
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> ExprId {
        self.add(Expr::Int(value))
    }

    /// A real.
    pub fn real(&mut self, value: f64) -> ExprId {
        self.add(Expr::Real(value.to_bits()))
    }

    /// The coordinate along a rank.
    pub fn index(&mut self, rank: RankId) -> ExprId {
        self.add(Expr::Index(rank))
    }

    /// An operation on one value.
    pub fn unary(&mut self, op: UnaryOp, a: ExprId) -> ExprId {
        match (op, self.get(a)) {
            (UnaryOp::Neg, &Expr::Int(value)) => self.int(value.wrapping_neg()),
            (UnaryOp::Neg, &Expr::Real(bits)) => self.real(-f64::from_bits(bits)),
            _ => self.add(Expr::Unary(op, a)),
        }
    }

    /// An operation on two values, after making an integer that meets a real a real. Integer constants
    /// are folded, so that extents which are known are seen to be.
    pub fn binary(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> ExprId {
        let (a, b) = self.joined(a, b);
        if let (&Expr::Int(x), &Expr::Int(y)) = (self.get(a), self.get(b))
            && let Some(value) = folded(op, x, y)
        {
            return self.int(value);
        }
        match (op, self.get(a), self.get(b)) {
            (BinaryOp::Mul, Expr::Int(1), _) => b,
            (BinaryOp::Mul | BinaryOp::FloorDiv, _, Expr::Int(1)) | (BinaryOp::Add, _, Expr::Int(0)) => a,
            _ => self.add(Expr::Binary(op, a, b)),
        }
    }

    /// The value as a dtype stores it.
    pub fn cast(&mut self, dtype: DType, a: ExprId) -> ExprId {
        match (self.get(a), dtype.int_range()) {
            (&Expr::Int(value), Some((low, high))) => self.int(value.clamp(low, high)),
            (&Expr::Bool(_), _) if dtype == DType::Bool => a,
            _ => self.add(Expr::Cast(dtype, a)),
        }
    }

    /// A comparison, after making an integer that meets a real a real.
    pub fn compare(&mut self, op: CompareOp, a: ExprId, b: ExprId) -> ExprId {
        let (a, b) = self.joined(a, b);
        self.simplified(Expr::Compare(op, a, b))
    }

    /// The operation, or what it comes to where integers or truth values are known.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn simplified(&mut self, expr: Expr) -> ExprId {
        let truth = |id: ExprId| match *self.get(id) {
            Expr::Bool(it) => Some(it),
            _ => None,
        };
        match expr {
            Expr::Compare(op, a, b) => match (self.get(a), self.get(b)) {
                (Expr::Int(a), Expr::Int(b)) => {
                    let holds = op.holds(a.cmp(b));
                    self.add(Expr::Bool(holds))
                }
                _ => self.add(expr),
            },
            Expr::Where(x, c) if truth(c) == Some(true) => x,
            Expr::If(c, a, b) => match truth(c) {
                Some(true) => a,
                Some(false) => b,
                None => self.add(expr),
            },
            _ => self.add(expr),
        }
    }

    /// The value as a real.
    pub fn to_real(&mut self, a: ExprId) -> ExprId {
        match (self.kind(a), self.get(a)) {
            (Kind::Int, &Expr::Int(value)) => self.real(value as f64),
            (Kind::Int, _) => self.add(Expr::Unary(UnaryOp::ToReal, a)),
            (Kind::Real | Kind::Bool, _) => a,
        }
    }

    /// The value as that kind, if it is an integer and a real is wanted.
    pub fn as_kind(&mut self, a: ExprId, kind: Kind) -> ExprId {
        if kind == Kind::Real { self.to_real(a) } else { a }
    }

    /// Both values as one kind.
    pub fn joined(&mut self, a: ExprId, b: ExprId) -> (ExprId, ExprId) {
        if self.kind(a) == self.kind(b) { (a, b) } else { (self.to_real(a), self.to_real(b)) }
    }

    fn kind_of(&self, expr: &Expr) -> Kind {
        match expr {
            Expr::Int(_) | Expr::Extent(_) | Expr::Index(_) => Kind::Int,
            Expr::Real(_) => Kind::Real,
            Expr::Bool(_) | Expr::Compare(..) | Expr::Present(_) => Kind::Bool,
            Expr::Param(_, kind) | Expr::Read(_, _, kind) => *kind,
            Expr::Unary(op, a) => op.kind(self.kind(*a)),
            Expr::Binary(_, a, _) | Expr::If(_, a, _) | Expr::Where(a, _) | Expr::Else(a, _) => self.kind(*a),
            Expr::Pick(_, values) => self.kind(values[0]),
            Expr::Cast(dtype, _) => dtype.kind(),
        }
    }
}

/// The parts that all hold where a condition does.
pub(crate) fn parts(exprs: &Exprs, condition: ExprId) -> Vec<ExprId> {
    let (mut parts, mut todo) = (Vec::new(), vec![condition]);
    while let Some(it) = todo.pop() {
        if let Expr::Binary(BinaryOp::And, a, b) = exprs.get(it) {
            todo.extend([*b, *a]);
        } else {
            parts.push(it);
        }
    }
    parts
}

/// The result of an operation on integer constants, where it is one that extents are made with.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn folded(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::FloorDiv if b > 0 => Some(a.div_euclid(b)),
        BinaryOp::Mod if b > 0 => Some(a.rem_euclid(b)),
        BinaryOp::Min => Some(a.min(b)),
        BinaryOp::Max => Some(a.max(b)),
        _ => None,
    }
}

/// What an operation is applied to, in order.
pub fn operands(expr: &Expr) -> Vec<ExprId> {
    let mut all = Vec::new();
    each_operand(expr, |it| all.push(it));
    all
}

/// Visits what an operation is applied to, in order.
pub(crate) fn each_operand(expr: &Expr, mut visit: impl FnMut(ExprId)) {
    match expr {
        Expr::Int(_) | Expr::Real(_) | Expr::Bool(_) | Expr::Extent(_) | Expr::Index(_) | Expr::Param(..) => {
        }
        Expr::Read(_, coords, _) => coords.iter().copied().for_each(visit),
        Expr::Unary(_, a) | Expr::Present(a) | Expr::Cast(_, a) => visit(*a),
        Expr::Binary(_, a, b) | Expr::Compare(_, a, b) | Expr::Where(a, b) | Expr::Else(a, b) => {
            [*a, *b].into_iter().for_each(visit);
        }
        Expr::If(c, a, b) => [*c, *a, *b].into_iter().for_each(visit),
        Expr::Pick(i, values) => std::iter::once(*i).chain(values.iter().copied()).for_each(visit),
    }
}

/// The same operation on other operands, given in the order of [`operands`].
pub fn with_operands(expr: &Expr, new: &[ExprId]) -> Expr {
    match expr {
        Expr::Int(_) | Expr::Real(_) | Expr::Bool(_) | Expr::Extent(_) | Expr::Index(_) | Expr::Param(..) => {
            expr.clone()
        }
        Expr::Read(tensor, _, kind) => Expr::Read(*tensor, new.to_vec(), *kind),
        Expr::Unary(op, _) => Expr::Unary(*op, new[0]),
        Expr::Present(_) => Expr::Present(new[0]),
        Expr::Cast(dtype, _) => Expr::Cast(*dtype, new[0]),
        Expr::Binary(op, ..) => Expr::Binary(*op, new[0], new[1]),
        Expr::Compare(op, ..) => Expr::Compare(*op, new[0], new[1]),
        Expr::Where(..) => Expr::Where(new[0], new[1]),
        Expr::Else(..) => Expr::Else(new[0], new[1]),
        Expr::If(..) => Expr::If(new[0], new[1], new[2]),
        Expr::Pick(..) => Expr::Pick(new[0], new[1..].to_vec()),
    }
}

impl Exprs {
    /// The expressions that a value consists of, operands first, each once.
    pub fn postorder(&self, root: ExprId) -> Vec<ExprId> {
        // Operands have smaller ids.
        let mut seen = vec![false; root.idx() + 1];
        let (mut order, mut todo) = (Vec::with_capacity(32), Vec::with_capacity(32));
        todo.push((root, false));
        while let Some((id, ready)) = todo.pop() {
            if ready {
                order.push(id);
            } else if !std::mem::replace(&mut seen[id.idx()], true) {
                todo.push((id, true));
                let first = todo.len();
                each_operand(self.get(id), |it| todo.push((it, false)));
                todo[first..].reverse();
            }
        }
        order
    }
}

impl Exprs {
    /// A value with another expression in place of each occurrence of one.
    pub fn replaced(&mut self, value: ExprId, from: ExprId, to: ExprId) -> ExprId {
        let mut new: HashMap<ExprId, ExprId> = HashMap::from([(from, to)]);
        for id in self.postorder(value) {
            if !new.contains_key(&id) {
                let expr = self.get(id).clone();
                let inner: Vec<ExprId> = operands(&expr).iter().map(|it| new[it]).collect();
                let result = self.add(with_operands(&expr, &inner));
                new.insert(id, result);
            }
        }
        new[&value]
    }

    /// The tensors that a value reads, with the coordinates.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub fn reads(&self, root: ExprId) -> impl Iterator<Item = (TensorId, &[ExprId])> {
        self.postorder(root).into_iter().filter_map(|id| match self.get(id) {
            Expr::Read(tensor, coords, _) => Some((*tensor, coords.as_slice())),
            _ => None,
        })
    }
}

impl UnaryOp {
    /// Every operation that the language has a name for, with that name.
    pub const NAMED: [(&'static str, UnaryOp); 27] = [
        ("exp", UnaryOp::Exp),
        ("exp2", UnaryOp::Exp2),
        ("expm1", UnaryOp::Expm1),
        ("log", UnaryOp::Log),
        ("log2", UnaryOp::Log2),
        ("log1p", UnaryOp::Log1p),
        ("sqrt", UnaryOp::Sqrt),
        ("rsqrt", UnaryOp::Rsqrt),
        ("sin", UnaryOp::Sin),
        ("cos", UnaryOp::Cos),
        ("tanh", UnaryOp::Tanh),
        ("sigmoid", UnaryOp::Sigmoid),
        ("softplus", UnaryOp::Softplus),
        ("erf", UnaryOp::Erf),
        ("relu", UnaryOp::Relu),
        ("gelu", UnaryOp::Gelu),
        ("silu", UnaryOp::Silu),
        ("abs", UnaryOp::Abs),
        ("sign", UnaryOp::Sign),
        ("floor", UnaryOp::Floor),
        ("ceil", UnaryOp::Ceil),
        ("round", UnaryOp::Round),
        ("trunc", UnaryOp::Trunc),
        ("ilog2", UnaryOp::Ilog2),
        ("isnan", UnaryOp::IsNan),
        ("isinf", UnaryOp::IsInf),
        ("not", UnaryOp::Not),
    ];

    /// Its name; that of the language where it has one.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub fn name(self) -> &'static str {
        match self {
            UnaryOp::Neg => "neg",
            UnaryOp::ToReal => "real",
            named => {
                let row = UnaryOp::NAMED.iter().find(|(_, op)| *op == named);
                row.expect("the table has every other operation").0
            }
        }
    }

    /// It takes a real and gives a real.
    pub fn is_real_function(self) -> bool {
        match self {
            UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log1p
            | UnaryOp::Sqrt
            | UnaryOp::Rsqrt
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Softplus
            | UnaryOp::Erf
            | UnaryOp::Gelu
            | UnaryOp::Silu => true,
            UnaryOp::Neg
            | UnaryOp::Not
            | UnaryOp::ToReal
            | UnaryOp::Relu
            | UnaryOp::Abs
            | UnaryOp::Sign
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc
            | UnaryOp::Ilog2
            | UnaryOp::IsNan
            | UnaryOp::IsInf => false,
        }
    }

    /// The kind of its result for an operand of that kind.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub fn kind(self, operand: Kind) -> Kind {
        match self {
            UnaryOp::ToReal => Kind::Real,
            UnaryOp::IsNan | UnaryOp::IsInf => Kind::Bool,
            op if op.is_real_function() => Kind::Real,
            _ => operand,
        }
    }
}

impl BinaryOp {
    /// How it is written: an operator, or the name of a function.
    pub fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Min => "min",
            BinaryOp::Max => "max",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::BitAnd => "bitand",
            BinaryOp::BitOr => "bitor",
            BinaryOp::BitXor => "bitxor",
            BinaryOp::Shl => "shl",
            BinaryOp::Shr => "shr",
        }
    }
}
