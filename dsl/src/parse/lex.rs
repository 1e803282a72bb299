//! Text to lexemes, for what the grammar does not keep or cannot say.
//!
//! The grammar decides what a spec means. Lexemes serve around it: they carry the comments, bound the
//! nesting before the grammar recurses, find the word at an error and the item after it. Text that the
//! grammar refuses still has lexemes.

/// Words that are no names.
const KEYWORDS: [&str; 20] = [
    "kernel", "rank", "input", "param", "output", "fn", "import", "assume", "exact", "where", "else", "if",
    "then", "and", "or", "not", "inf", "pi", "true", "false",
];

/// Symbols of more than one character, longest first; some only so that messages can quote them.
const SYMBOLS: [&str; 16] =
    ["->", "==", "!=", "<=", ">=", "//", "**", "&&", "||", ":=", "+=", "-=", "*=", "/=", "=>", "=<"];

/// A stretch of text that is not space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lexeme<'a> {
    /// What it looks like.
    pub(super) kind: Kind,
    /// Its text.
    pub(super) text: &'a str,
    /// Its first byte.
    pub(super) start: usize,
    /// Nothing but space stands before it on its line.
    pub(super) first_on_line: bool,
}

impl Lexeme<'_> {
    /// One past its last byte.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// It can be the name of something.
    pub(super) fn is_name(&self) -> bool {
        self.kind == Kind::Word && !self.is_keyword()
    }

    /// It is a word with a meaning of its own.
    pub(super) fn is_keyword(&self) -> bool {
        KEYWORDS.contains(&self.text)
    }

    /// The keyword that it would be in lower case, unless it is one.
    pub(super) fn lower_keyword(self) -> Option<String> {
        let lower = self.text.to_ascii_lowercase();
        (lower != self.text && KEYWORDS.contains(&lower.as_str())).then_some(lower)
    }

    /// It begins an item of a file.
    pub(super) fn begins_top_item(&self) -> bool {
        matches!(self.text, "kernel" | "fn" | "import")
    }

    /// It is a keyword that begins an item of a kernel.
    pub(super) fn begins_kernel_item(&self) -> bool {
        matches!(self.text, "rank" | "input" | "param" | "output" | "assume" | "exact")
    }

    /// An expression may end here, so that a name after it begins an item.
    pub(super) fn ends_operand(&self) -> bool {
        match self.kind {
            Kind::Word => !self.is_keyword() || matches!(self.text, "inf" | "pi" | "true" | "false"),
            Kind::Number | Kind::Text => true,
            Kind::Symbol => matches!(self.text, ")" | "]" | "}" | "|" | ";"),
            Kind::Comment => false,
        }
    }
}

/// What a lexeme looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number, perhaps malformed.
    Number,
    /// A quoted text, perhaps unclosed.
    Text,
    /// An operator, a bracket, or a character that means nothing.
    Symbol,
    /// From `#` to the end of the line, without trailing space.
    Comment,
}

/// The lexemes of a text.
pub(super) fn lexemes(text: &str) -> Lexemes<'_> {
    Lexemes { text, at: 0, line_is_blank: true }
}

/// See [`lexemes`].
#[derive(Debug, Clone)]
pub(super) struct Lexemes<'a> {
    text: &'a str,
    at: usize,
    line_is_blank: bool,
}

impl<'a> Iterator for Lexemes<'a> {
    type Item = Lexeme<'a>;

    fn next(&mut self) -> Option<Lexeme<'a>> {
        let rest = &self.text[self.at..];
        let space = rest.find(|it: char| !matches!(it, ' ' | '\t' | '\r' | '\n')).unwrap_or(rest.len());
        let first_on_line = self.line_is_blank || rest[..space].contains('\n');
        let start = self.at + space;
        let (kind, text) = first_lexeme(&rest[space..])?;
        self.at = start + text.len();
        self.line_is_blank = false;
        Some(Lexeme { kind, text, start, first_on_line })
    }
}

/// The lexeme at the beginning of a text that does not begin with space.
fn first_lexeme(text: &str) -> Option<(Kind, &str)> {
    let first = text.chars().next()?;
    let (kind, len) = match first {
        '#' => (Kind::Comment, text[..line_len(text)].trim_end().len()),
        '"' => (Kind::Text, text_len(text)),
        'a'..='z' | 'A'..='Z' | '_' => (Kind::Word, text.find(|it| !is_letter(it)).unwrap_or(text.len())),
        '0'..='9' => (Kind::Number, number_len(text)),
        '.' if text[1..].starts_with(|it: char| it.is_ascii_digit()) => (Kind::Number, number_len(text)),
        _ => (Kind::Symbol, symbol_len(text, first)),
    };
    Some((kind, &text[..len]))
}

fn line_len(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn is_letter(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

fn text_len(text: &str) -> usize {
    match text[1..].find(['"', '\n']) {
        Some(end) if text[1 + end..].starts_with('"') => end + 2,
        Some(end) => text[..=end].trim_end().len(),
        None => text.trim_end().len(),
    }
}

fn number_len(text: &str) -> usize {
    let mut before = ' ';
    text.find(|it| {
        let goes_on = is_letter(it) || it == '.' || (matches!(it, '+' | '-') && matches!(before, 'e' | 'E'));
        before = it;
        !goes_on
    })
    .unwrap_or(text.len())
}

fn symbol_len(text: &str, first: char) -> usize {
    SYMBOLS.iter().find(|it| text.starts_with(**it)).map_or(first.len_utf8(), |it| it.len())
}
