//! Text → tokens with their lines.

use super::ParseError;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A run of letters, digits, `_`, `.`, `$`, `%` and pairs of colons.
    Word(&'a str),
    /// Anything else.
    Sign(char),
    /// What follows `//` on a line, without the space before it and blanks at its end.
    Comment(&'a str),
}

/// The tokens of a text, each with the number of its line.
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, ParseError> {
    let mut found = Vec::new();
    for (position, line) in text.lines().enumerate() {
        let number = position + 1;
        let mut rest = line.trim();
        while let Some(first) = rest.chars().next() {
            let length = if let Some(comment) = rest.strip_prefix("//") {
                found.push((number, Token::Comment(comment.strip_prefix(' ').unwrap_or(comment))));
                rest.len()
            } else if is_word(first) {
                let length = word_length(rest);
                found.push((number, Token::Word(&rest[..length])));
                length
            } else if "{}[]()<>,;:+-|!@\"".contains(first) {
                found.push((number, Token::Sign(first)));
                1
            } else {
                return Err(ParseError::new(number, format!("`{first}` has no meaning here")));
            };
            rest = rest[length..].trim_start();
        }
    }
    Ok(found)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_.$%".contains(letter)
}

/// The bytes of the word at the start; a pair of colons belongs to it, a single one does not.
fn word_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = &text[length..];
        length += match rest.chars().next() {
            Some(letter) if is_word(letter) => 1,
            _ if rest.starts_with("::") => 2,
            _ => return length,
        };
    }
}
