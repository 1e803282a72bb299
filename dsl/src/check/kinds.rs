//! Kinds of operands to the kind of a result, or to what is wrong with them.

use crate::ast::Kind;
use crate::check::Cx;
use crate::check::names::Typed;
use crate::diag::{Code, Diagnostic, Span};

/// A kind with its article.
pub(super) fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "an integer",
        Kind::Real => "a real",
        Kind::Bool => "a bool",
    }
}

/// What an operand must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An integer or a real.
    Number,
    /// An integer.
    Int,
    /// A bool.
    Bool,
    /// Anything.
    Any,
}

impl Wanted {
    fn admits(self, kind: Kind) -> bool {
        match self {
            Wanted::Number => kind != Kind::Bool,
            Wanted::Int => kind == Kind::Int,
            Wanted::Bool => kind == Kind::Bool,
            Wanted::Any => true,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Wanted::Number => "a number",
            Wanted::Int => "an integer",
            Wanted::Bool => "a bool",
            Wanted::Any => "a value",
        }
    }
}

impl Cx<'_, '_> {
    /// Reports an operand that is not what its user, named by `what`, wants.
    pub(super) fn want(&mut self, wanted: Wanted, found: &Typed, span: Span, what: &str) {
        let Some(kind) = found.kind.filter(|it| !wanted.admits(*it)) else { return };
        let advice = match (wanted, kind) {
            (Wanted::Int, Kind::Real) => Some("cast it: `i64(…)`, or `i64(floor(…))` to round down"),
            (Wanted::Number, Kind::Bool) => Some("cast it: `i32(…)`, or choose with `if … then … else …`"),
            (Wanted::Bool, Kind::Int | Kind::Real) => Some("compare it: `… != 0`"),
            (Wanted::Int, Kind::Bool) => Some("cast it: `i32(…)`"),
            (Wanted::Number | Wanted::Bool | Wanted::Int | Wanted::Any, _) => None,
        };
        let message = format!("{what} must be {}, found {}", wanted.words(), words(kind));
        self.report.push(
            Diagnostic::error(Code::WrongKind, message)
                .label(span, format!("this is {}", words(kind)))
                .help(advice.map(str::to_owned)),
        );
    }

    /// The common kind of two values: an integer that meets a real becomes real; bools mix with nothing.
    pub(super) fn join(
        &mut self,
        a: (Option<Kind>, Span),
        b: (Option<Kind>, Span),
        at: Span,
    ) -> Option<Kind> {
        let (Some(one), Some(other)) = (a.0, b.0) else { return a.0.or(b.0) };
        if one == other {
            return Some(one);
        }
        if one != Kind::Bool && other != Kind::Bool {
            return Some(Kind::Real);
        }
        self.report.push(
            Diagnostic::error(Code::MixedKinds, format!("{} and {} do not mix", words(one), words(other)))
                .label(at, "mixed here")
                .label(a.1, format!("this is {}", words(one)))
                .label(b.1, format!("this is {}", words(other)))
                .help("cast one of them, or choose with `if … then … else …`".to_owned()),
        );
        None
    }

    /// Reports a value of `what` that a dtype or a declaration of that kind cannot hold.
    pub(super) fn check_holds(&mut self, found: &Typed, span: Span, wanted: Kind, what: &str) -> bool {
        let Some(kind) = found.kind.filter(|it| *it != wanted && (*it, wanted) != (Kind::Int, Kind::Real))
        else {
            return true;
        };
        let cast = match wanted {
            Kind::Int => "cast it, say by `i32(…)`: from a real it rounds to the nearest integer",
            Kind::Real => "cast it, say by `f32(…)`",
            Kind::Bool => "compare it: `… != 0`",
        };
        self.report.push(
            Diagnostic::error(
                Code::DTypeMisfit,
                format!("{what} must be {}, found {}", words(wanted), words(kind)),
            )
            .label(span, format!("this is {}", words(kind)))
            .help(cast.to_owned()),
        );
        false
    }

    /// Reports a value of `what` that depends on more than literals, parameters and extents.
    pub(super) fn check_constant(&mut self, found: &Typed, span: Span, what: &str) -> bool {
        if !found.constant || found.free.len() > 0 {
            self.report.push(
                Diagnostic::error(Code::NotConstant, format!("{what} is not constant"))
                    .label(span, "depends on an index or a tensor")
                    .help(
                        "it may use literals, parameters, extents `|n|` and scalar functions of them"
                            .to_owned(),
                    ),
            );
            return false;
        }
        true
    }
}
