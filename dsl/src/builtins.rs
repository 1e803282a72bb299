//! The built-in functions: one table of name, form of call, family and number of values.
//!
//! `max` and `min` stand there twice: with ranks they reduce, without they choose among their values.

use crate::ast::{DType, ExprKind};

/// A built-in function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What stands in its brackets.
    pub form: Form,
    /// What its values must be and what comes out.
    pub family: Family,
    /// The least and the greatest number of values.
    pub arity: (usize, usize),
}

/// What stands in the brackets of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No brackets: `exp(x)`.
    Values,
    /// One rank or several: `sum[n, j](x)`.
    Ranks,
    /// One rank, perhaps composite: `cumsum[t](x)`.
    OneRank,
    /// From a rank to another: `topk[n -> j](x)`.
    Select,
}

/// Functions that have their kinds of operands and result in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Numbers to a number of their kind, over all points of some ranks.
    Reduce,
    /// Numbers to a real, over all points of some ranks.
    Mean,
    /// Bools to a bool, over all points of some ranks.
    Quantify,
    /// Bools to an integer: how many are true.
    Count,
    /// Numbers to the index of one of them.
    Arg,
    /// Numbers to numbers of their kind, along a rank.
    Prefix,
    /// Numbers to integers, along a rank: how many are chosen before.
    Place,
    /// Numbers to indices, along a new rank.
    Select,
    /// A number to a real.
    ToReal,
    /// Numbers to a number of their common kind.
    Same,
    /// Integers to an integer.
    Int,
    /// A number to a bool.
    Test,
    /// Anything to a bool.
    Present,
    /// An integer and values of a common kind to one of them.
    Pick,
    /// Anything to a value of that dtype.
    Cast(DType),
}

/// The built-in function of that name and form; [`Form::Ranks`] finds those of one rank, too.
pub fn builtin(name: &str, form: Form) -> Option<Builtin> {
    all().find(|it| it.name == name && (it.form == form || form == Form::Ranks && it.form == Form::OneRank))
}

/// The built-in functions of that name, in whatever form.
pub fn builtins(name: &str) -> impl Iterator<Item = Builtin> {
    all().filter(move |it| it.name == name)
}

/// The form of a call as written; `None` where the expression is no call.
pub fn form_of(call: &ExprKind) -> Option<Form> {
    if let ExprKind::Call { ranks, .. } = call {
        Some(if ranks.is_empty() { Form::Values } else { Form::Ranks })
    } else if let ExprKind::Select { .. } = call {
        Some(Form::Select)
    } else {
        None
    }
}

/// Every built-in function, casts included.
pub fn all() -> impl Iterator<Item = Builtin> {
    let casts = DType::ALL.into_iter().map(|it| row(it.name(), Form::Values, Family::Cast(it), (1, 1)));
    TABLE.iter().copied().chain(casts)
}

const fn row(name: &'static str, form: Form, family: Family, arity: (usize, usize)) -> Builtin {
    Builtin { name, form, family, arity }
}

const fn reduce(name: &'static str, family: Family) -> Builtin {
    row(name, Form::Ranks, family, (1, 1))
}

const fn along(name: &'static str, family: Family) -> Builtin {
    row(name, Form::OneRank, family, (1, 1))
}

const fn map(name: &'static str, family: Family, n_values: usize) -> Builtin {
    row(name, Form::Values, family, (n_values, n_values))
}

const MANY: usize = usize::MAX;

const TABLE: &[Builtin] = &[
    reduce("sum", Family::Reduce),
    reduce("max", Family::Reduce),
    reduce("min", Family::Reduce),
    reduce("prod", Family::Reduce),
    reduce("mean", Family::Mean),
    reduce("any", Family::Quantify),
    reduce("all", Family::Quantify),
    reduce("count", Family::Count),
    along("argmax", Family::Arg),
    along("argmin", Family::Arg),
    along("cumsum", Family::Prefix),
    along("cumprod", Family::Prefix),
    along("cummax", Family::Prefix),
    along("place", Family::Place),
    row("topk", Form::Select, Family::Select, (1, 1)),
    row("argsort", Form::Select, Family::Select, (1, 1)),
    map("exp", Family::ToReal, 1),
    map("exp2", Family::ToReal, 1),
    map("expm1", Family::ToReal, 1),
    map("log", Family::ToReal, 1),
    map("log2", Family::ToReal, 1),
    map("log1p", Family::ToReal, 1),
    map("sqrt", Family::ToReal, 1),
    map("rsqrt", Family::ToReal, 1),
    map("sin", Family::ToReal, 1),
    map("cos", Family::ToReal, 1),
    map("tanh", Family::ToReal, 1),
    map("sigmoid", Family::ToReal, 1),
    map("softplus", Family::ToReal, 1),
    map("erf", Family::ToReal, 1),
    map("gelu", Family::ToReal, 1),
    map("silu", Family::ToReal, 1),
    map("relu", Family::Same, 1),
    map("abs", Family::Same, 1),
    map("sign", Family::Same, 1),
    map("floor", Family::Same, 1),
    map("ceil", Family::Same, 1),
    map("round", Family::Same, 1),
    map("trunc", Family::Same, 1),
    map("clamp", Family::Same, 3),
    row("min", Form::Values, Family::Same, (2, MANY)),
    row("max", Form::Values, Family::Same, (2, MANY)),
    map("bitand", Family::Int, 2),
    map("bitor", Family::Int, 2),
    map("bitxor", Family::Int, 2),
    map("shl", Family::Int, 2),
    map("shr", Family::Int, 2),
    map("ilog2", Family::Int, 1),
    map("isnan", Family::Test, 1),
    map("isinf", Family::Test, 1),
    map("present", Family::Present, 1),
    row("pick", Form::Values, Family::Pick, (2, MANY)),
];
