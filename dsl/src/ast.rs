//! The syntax tree: what was written, with the place of every node.
//!
//! One page of types, in the order of the language guide. The tree is as high as the text is nested,
//! at most [`MAX_NESTING`], so walking it by recursion is safe. Two trees are equal when they say the
//! same thing: spans and comments do not take part (see [`Span`] and [`Comment`]).

use crate::diag::Span;

/// How deep brackets, operators and branches may nest, and how high an expression tree may be.
pub const MAX_NESTING: usize = 200;

/// A file: documentation, imports, functions and kernels, in the order written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The `#!` lines, without their marker.
    pub docs: Vec<String>,
    /// Everything else.
    pub items: Vec<Item>,
    /// All `#` comments of the file, by position; the printer puts them back.
    pub comments: Vec<Comment>,
}

/// A `#` comment. Comments are no part of what a spec says: all are equal.
#[derive(Debug, Clone)]
pub struct Comment {
    /// From the `#` to the end of the line.
    pub span: Span,
    /// The text with its `#`, trailing space removed.
    pub text: String,
    /// Nothing but space stands before it on its line.
    pub own_line: bool,
}

impl PartialEq for Comment {
    fn eq(&self, _: &Comment) -> bool {
        true
    }
}

/// A name as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// Its letters.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What may stand in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `import "other.attn"`
    Import(Import),
    /// `fn softmax[n](s) { … }`
    Fn(FnDef),
    /// `kernel mha { … }`
    Kernel(Kernel),
}

/// `import "other.attn"`: brings the functions of that file.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The path between the quotes.
    pub path: String,
    /// The whole item.
    pub span: Span,
}

/// A function over ranks and values, inlined where it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct FnDef {
    /// The `##` lines before it.
    pub docs: Vec<String>,
    /// Its name.
    pub name: Name,
    /// Rank parameters, in square brackets.
    pub ranks: Vec<Name>,
    /// Value parameters, in round brackets.
    pub values: Vec<Name>,
    /// Ranks and locals, in order; each sees those before it.
    pub body: Vec<FnStmt>,
    /// The value of a call.
    pub result: Expr,
    /// The whole item.
    pub span: Span,
}

/// A statement of a function body; `;` separates them.
#[derive(Debug, Clone, PartialEq)]
pub enum FnStmt {
    /// `rank i = 2;` or `rank k: n;`: a rank of its own, fresh at each call.
    Rank(RankDecl),
    /// `w = exp(t);`
    Let(Name, Expr),
}

/// One kernel: a cascade of einsums.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The `##` lines before it.
    pub docs: Vec<String>,
    /// Its name.
    pub name: Name,
    /// Its items, in the order written.
    pub items: Vec<KernelItem>,
    /// The whole item.
    pub span: Span,
}

/// An item of a kernel with the `##` lines before it.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelItem {
    /// The `##` lines before it.
    pub docs: Vec<String>,
    /// What it is.
    pub kind: KernelItemKind,
    /// The whole item.
    pub span: Span,
}

/// What may stand in a kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum KernelItemKind {
    /// `rank b, m, n = 64`
    Ranks(Vec<RankDecl>),
    /// `input Q[b, m, d]: f32`
    Input(Input),
    /// `param scale: f32 = 1 / sqrt(|d|)`
    Param(Param),
    /// `assume |S| <= 30`
    Assume(Expr),
    /// `S[b, m, n] = …`, perhaps `exact` or `output`
    Equation(Equation),
}

/// The declaration of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct RankDecl {
    /// Its name.
    pub name: Name,
    /// What its extent is.
    pub def: RankDef,
    /// From its name to the end of its definition.
    pub span: Span,
}

/// Where the extent of a rank comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum RankDef {
    /// `rank n`: bound when the kernel is called.
    Symbolic,
    /// `rank j = 2 * w + 1`
    Fixed(Expr),
    /// `rank n <= 8192`
    Bounded(i64, Span),
    /// `rank n2: n`
    Alias(Name),
    /// `rank h = (hk, g = 4)`, major to minor.
    Composite(Vec<Part>),
}

/// A part of a composite rank. With an extent, or declared nowhere else, it is declared here.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: Name,
    /// `= 4`
    pub extent: Option<Expr>,
}

/// `input Q[b, m, d]: f32`
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: Name,
    /// Its ranks; none for a rank-less tensor.
    pub ranks: Vec<Name>,
    /// The dtype of what is stored.
    pub dtype: Name,
}

/// `param scale: f32 = 1 / sqrt(|d|)`
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Name,
    /// Its dtype.
    pub dtype: Name,
    /// The value it has when the caller gives none.
    pub default: Option<Expr>,
}

/// One equation of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Equation {
    /// `exact`: not even reassociation is allowed.
    pub exact: bool,
    /// `output`
    pub output: bool,
    /// The tensor.
    pub name: Name,
    /// Left coordinates: a rank, `t + c`, or the base constant of a recurrence.
    pub coords: Vec<Expr>,
    /// `: i8`
    pub dtype: Option<Name>,
    /// The right-hand side.
    pub value: Expr,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of expressions. Names, those of dtypes too, are resolved by the checker, not here.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the examples show the fields")]
pub enum ExprKind {
    /// `3`
    Int(i64),
    /// `0.5`, `1e-6`
    Real(f64),
    /// `true`, `false`
    Bool(bool),
    /// `inf`
    Inf,
    /// `pi`
    Pi,
    /// A rank's index, a tensor, a parameter or a local.
    Name(String),
    /// `|n|`, the extent of a rank; `|x|`, the absolute value of what else has that name.
    Bars(Name),
    /// `K[b, n + 1, d]`
    Read {
        /// The tensor.
        name: Name,
        /// One for each dimension.
        coords: Vec<Expr>,
    },
    /// `K[n = n + 1]`: the other ranks stay.
    Reindex {
        /// A tensor, parameter or local.
        name: Name,
        /// Ranks and what they become.
        coords: Vec<(Name, Expr)>,
    },
    /// `exp(x)`, `sum[n](x)`, `softmax[n](x)`
    Call {
        /// The function.
        name: Name,
        /// In square brackets.
        ranks: Vec<Name>,
        /// In round brackets.
        args: Vec<Expr>,
    },
    /// `topk[n -> j](x)`, `argsort[n -> j](x)`
    Select {
        /// `topk` or `argsort`.
        name: Name,
        /// The rank selected from.
        from: Name,
        /// The rank of the result.
        to: Name,
        /// What is compared.
        arg: Box<Expr>,
    },
    /// `-x`, `not x`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `a <= b < c`: pairwise
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    /// `if c then a else b`
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `x where p`
    Where(Box<Expr>, Box<Expr>),
    /// `x else y`
    Else(Box<Expr>, Box<Expr>),
    /// What the parser refused though it follows the grammar: a number that is too large, a tree that is too high.
    /// No spec without errors has one.
    Refused,
}

/// Prefix operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `not`
    Not,
}

/// Infix operators, comparisons apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`, always real
    Div,
    /// `//`, floor division of integers
    FloorDiv,
    /// `%`, with the sign of the divisor
    Mod,
    /// `^`, always real
    Pow,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl CompareOp {
    /// Whether it holds between two things in that order.
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            CompareOp::Eq => order.is_eq(),
            CompareOp::Ne => order.is_ne(),
            CompareOp::Lt => order.is_lt(),
            CompareOp::Le => order.is_le(),
            CompareOp::Gt => order.is_gt(),
            CompareOp::Ge => order.is_ge(),
        }
    }
}

/// What a tensor stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U8,
    I4,
    Bool,
}

/// The three kinds of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 64-bit two's complement, wrapping.
    Int,
    /// A real number.
    Real,
    /// True or false.
    Bool,
}

impl DType {
    /// Every dtype, in the order of the language guide.
    pub const ALL: [DType; 13] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F8E4M3,
        DType::F8E5M2,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::I4,
        DType::Bool,
    ];

    /// The dtype of that name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F8E4M3 => "f8e4m3",
            DType::F8E5M2 => "f8e5m2",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I4 => "i4",
            DType::Bool => "bool",
        }
    }

    /// The kind of value it stores.
    pub fn kind(self) -> Kind {
        match self {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => Kind::Real,
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 => Kind::Int,
            DType::Bool => Kind::Bool,
        }
    }

    /// The least and the greatest value of an integer dtype; `None` for the others.
    pub fn int_range(self) -> Option<(i64, i64)> {
        match self {
            DType::I64 => Some((i64::MIN, i64::MAX)),
            DType::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            DType::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            DType::I8 => Some((i8::MIN.into(), i8::MAX.into())),
            DType::U8 => Some((0, 255)),
            DType::I4 => Some((-8, 7)),
            DType::F64
            | DType::F32
            | DType::F16
            | DType::BF16
            | DType::F8E4M3
            | DType::F8E5M2
            | DType::Bool => None,
        }
    }
}
