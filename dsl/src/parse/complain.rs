//! What is wrong with a text, in the user's words.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::Rule;
use super::lex::{Kind, Lexeme};
use super::outline;
use super::remarks::span;
use crate::ast::{DType, MAX_NESTING, Name};
use crate::diag::{Code, Diagnostic, SourceId, Span};

/// What the grammar may have wanted, in the order of mention.
const WANTED: [(Rule, &str); 38] = [
    (Rule::kw_import, "`import`"),
    (Rule::function, "`fn`"),
    (Rule::kw_fn, "`fn`"),
    (Rule::kernel, "`kernel`"),
    (Rule::kw_kernel, "`kernel`"),
    (Rule::path, "a path in quotes"),
    (Rule::kw_rank, "`rank`"),
    (Rule::binding, "a definition `name = …`"),
    (Rule::name, "a name"),
    (Rule::rank_decl, "a name"),
    (Rule::part, "a name"),
    (Rule::renaming, "a name"),
    (Rule::dtype, "a dtype"),
    (Rule::integer, "an integer"),
    (Rule::coords, "`[`"),
    (Rule::rank_params, "`[`"),
    (Rule::open_bracket, "`[`"),
    (Rule::args, "`(`"),
    (Rule::value_params, "`(`"),
    (Rule::open_paren, "`(`"),
    (Rule::open_brace, "`{`"),
    (Rule::colon, "`:`"),
    (Rule::assign, "`=`"),
    (Rule::arrow, "`->`"),
    (Rule::comma, "`,`"),
    (Rule::local_end, "`;`"),
    (Rule::bar, "`|`"),
    (Rule::kw_then, "`then`"),
    (Rule::kw_else, "`else`"),
    (Rule::close_bracket, "`]`"),
    (Rule::close_paren, "`)`"),
    (Rule::expr, "an expression"),
    (Rule::logic, "an expression"),
    (Rule::arith, "an expression"),
    (Rule::arith_op, "an operator"),
    (Rule::kernel_item, "an item of the kernel"),
    (Rule::close_brace, "`}`"),
    (Rule::EOI, "the end of the file"),
];

/// Where parsing stopped.
pub(super) fn place(error: &Error<Rule>) -> usize {
    match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    }
}

/// The text does not follow the grammar at `at`.
pub(super) fn syntax(id: SourceId, text: &str, at: usize, error: &Error<Rule>) -> Diagnostic {
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else {
        return too_deep(span(id, at, at), "the text");
    };
    let found = outline::lexeme_at(text, at);
    let place = found.map_or(span(id, text.len(), text.len()), |it| span(id, it.start, it.end()));
    let (expected, was) = (wanted(positives), found.map_or("the end of the file".to_owned(), quoted));
    let diagnostic = Diagnostic::error(Code::Syntax, format!("expected {expected}, found {was}"))
        .label(place, format!("expected {expected}"));
    diagnostic.help(None)
}

/// The wanted things as a list of words.
fn wanted(rules: &[Rule]) -> String {
    let mut words: Vec<&str> = Vec::new();
    let operator = rules.contains(&Rule::arith_op);
    for (rule, word) in WANTED {
        let hidden = operator && matches!(word, "`[`" | "`(`" | "`else`");
        if rules.contains(&rule) && !hidden && !words.contains(&word) {
            words.push(word);
        }
    }
    match words.split_last() {
        None => "something else".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

fn quoted(found: Lexeme<'_>) -> String {
    let strange = found.text.chars().find(|it| !it.is_ascii() || it.is_ascii_control());
    match strange {
        Some(it) if found.kind == Kind::Symbol => format!("the character `{}`", it.escape_debug()),
        _ => format!("`{}`", found.text),
    }
}

/// A bracket or an `if` beyond the limit.
pub(super) fn too_deep(place: Span, what: &str) -> Diagnostic {
    Diagnostic::error(Code::TooDeep, format!("`{what}` nests deeper than {MAX_NESTING} levels"))
        .label(place, "one level too many")
        .help("give a part its own equation".to_owned())
}

/// An expression beyond the limit.
pub(super) fn too_high(place: Span) -> Diagnostic {
    Diagnostic::error(Code::TooDeep, format!("the expression is more than {MAX_NESTING} operators high"))
        .label(place, "one operator too many")
        .help("give a part its own equation".to_owned())
}

/// A dtype that does not exist.
pub(super) fn unknown_dtype(name: &Name) -> Diagnostic {
    let known = DType::ALL.map(DType::name).join(", ");
    Diagnostic::error(Code::UnknownDType, format!("`{}` is not a dtype", name.text))
        .label(name.span, "used as a dtype here")
        .help(format!("the dtypes are {known}"))
}

/// An integer of more than 63 bits.
pub(super) fn int_too_large(place: Span) -> Diagnostic {
    Diagnostic::error(Code::IntTooLarge, "the integer is larger than 9223372036854775807")
        .label(place, "does not fit 64 bits")
}

/// A real number beyond f64.
pub(super) fn real_too_large(place: Span) -> Diagnostic {
    Diagnostic::error(Code::Syntax, "the number is larger than any f64")
        .label(place, "does not fit 64 bits")
        .help("infinity is written `inf`".to_owned())
}

/// `sum[n + 1](x)`
pub(super) fn not_a_rank(function: &Name, place: Span) -> Diagnostic {
    Diagnostic::error(Code::Syntax, format!("`{}[…](…)` takes names of ranks in its brackets", function.text))
        .label(place, "expected the name of a rank")
}
