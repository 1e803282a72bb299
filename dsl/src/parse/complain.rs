//! What is wrong with a text, in the user's words.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::Rule;
use super::lex::{Kind, Lexeme};
use super::outline::Spot;
use super::remarks::span;
use crate::ast::{MAX_NESTING, Name};
use crate::diag::{Code, Diagnostic, SourceId, Span};

/// What the grammar may have wanted, in the order of mention.
const WANTED: [(Rule, &str); 41] = [
    (Rule::file, "`kernel`, `fn` or `import`"),
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
    (Rule::real, "a value"),
    (Rule::expr, "an expression"),
    (Rule::logic, "an expression"),
    (Rule::arith, "an expression"),
    (Rule::arith_op, "an operator"),
    (Rule::rest_of_kernel, "an item of the kernel"),
    (Rule::kernel_item, "an item of the kernel"),
    (Rule::close_brace, "`}`"),
    (Rule::EOI, "the end of the file"),
];

/// What need not be mentioned: the first of a pair, where the second is wanted too.
const IMPLIED: [(&str, Rule); 10] = [
    ("a name", Rule::real),
    ("an integer", Rule::real),
    ("`(`", Rule::real),
    ("`|`", Rule::real),
    ("a name", Rule::expr),
    ("`(`", Rule::expr),
    ("`[`", Rule::arith_op),
    ("`(`", Rule::arith_op),
    ("`else`", Rule::kw_where),
    ("an operator", Rule::kw_then),
];

/// Where parsing stopped.
pub(super) fn place(error: &Error<Rule>) -> usize {
    match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    }
}

/// The text does not follow the grammar at `at`.
pub(super) fn syntax(id: SourceId, text: &str, at: usize, error: &Error<Rule>) -> Diagnostic {
    let ErrorVariant::ParsingError { positives: wanted, .. } = &error.variant else {
        return too_deep(span(id, at, at), "the text");
    };
    let spot = Spot::at(text, at);
    let place = spot.found.map_or(span(id, text.len(), text.len()), |it| span(id, it.start, it.end()));
    let (expected, found) = (in_words(wanted), spot.found.map_or("the end of the file".to_owned(), quoted));
    let mut diagnostic = Diagnostic::error(Code::Syntax, format!("expected {expected}, found {found}"))
        .label(place, format!("expected {expected}"));
    let cut_off = spot.found.is_none_or(|it| it.first_on_line || it.is_keyword());
    let closers = [(Rule::close_bracket, "["), (Rule::close_paren, "("), (Rule::close_brace, "{")];
    if let Some(open) = spot.open.filter(|_| cut_off)
        && closers.iter().any(|(closer, opener)| wanted.contains(closer) && open.text == *opener)
    {
        diagnostic = diagnostic.label(span(id, open.start, open.end()), "not closed");
    }
    diagnostic.help(hint(&spot, wanted))
}

/// The wanted things as a list of words.
fn in_words(wanted: &[Rule]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for (rule, word) in WANTED {
        let implied = IMPLIED.iter().any(|(it, by)| *it == word && wanted.contains(by));
        if wanted.contains(&rule) && !implied && !words.contains(&word) {
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
    match found.text.chars().find(|it| it.is_ascii_control()) {
        Some(it) => format!("the character {}", it.escape_unicode()),
        None => format!("`{}`", found.text),
    }
}

/// What to do where a mistake is a common one.
fn hint(spot: &Spot<'_>, wanted: &[Rule]) -> Option<String> {
    let wants = |rule| wanted.contains(&rule);
    let found = spot.found.map_or("", |it| it.text);
    let shouted = [spot.found, spot.before].into_iter().flatten().find_map(Lexeme::lower_keyword);
    let hint = match found {
        "=" if wants(Rule::compare_op) => "equality is written `==`",
        "**" => "a power is written `a^b`",
        "&&" | "&" => "write `and`",
        "||" => "write `or`",
        "!" => "write `not`",
        "=>" => "write `>=`",
        "=<" => "write `<=`",
        ":=" => "an equation is written with `=`",
        "+=" | "-=" | "*=" | "/=" => "an equation has a plain `=`, and a sum over a rank is `sum[n](…)`",
        "not" if wants(Rule::real) => {
            "`not` binds looser than arithmetic and comparisons; put it in parentheses"
        }
        "if" if wants(Rule::real) => "as an operand, `if` needs parentheses",
        "'" => "a path is quoted with `\"`",
        _ if !found.is_ascii() => "outside comments, text is ASCII",
        _ if spot.found.is_some_and(|it| it.kind == Kind::Number)
            && (wants(Rule::expr) || wants(Rule::real)) =>
        {
            "numbers are written like `16`, `0.5` or `1e-6`"
        }
        _ if shouted.is_some() => return shouted.map(|it| format!("keywords are lower case: `{it}`")),
        _ if wants(Rule::colon) && !wants(Rule::assign) => "it needs a dtype, such as `: f32`",
        _ if wants(Rule::bar) && !wants(Rule::real) => {
            "only one name may stand between bars; else write `abs(…)`"
        }
        _ if wants(Rule::kw_else) && !wants(Rule::kw_where) => {
            "`if` needs two branches; `x where c` needs one"
        }
        _ if wants(Rule::local_end) => "each definition in a function ends in `;`",
        _ => return None,
    };
    Some(hint.to_owned())
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
