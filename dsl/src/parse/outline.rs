//! What the lexemes of a text say about its shape: how deep it nests, where its items begin.

use super::lex::{Kind, Lexeme, lexemes};
use crate::ast::MAX_NESTING;

/// The first bracket or `if` that is nested deeper than allowed.
///
/// Each open bracket and each unfinished `if` is a level of recursion of the grammar. The two are counted apart.
/// In text that follows the grammar the count is exact.
pub(super) fn too_deep(text: &str) -> Option<Lexeme<'_>> {
    let mut open = Open::default();
    let (mut after_operand, mut in_bars) = (false, false);
    for lexeme in code(text) {
        let is_item = lexeme.begins_top_item() || lexeme.begins_kernel_item();
        match lexeme.text {
            "(" | "[" => open.push(Level::Bracket),
            ")" | "]" => open.close_bracket(),
            "if" => open.push(Level::If),
            "else" => open.turn_to_else(),
            "," | ";" | "where" => open.close_ifs(),
            "{" | "}" => open = Open::default(),
            _ if is_item => open = Open::default(),
            _ if after_operand && lexeme.is_name() => open.close_ifs(),
            _ => {}
        }
        if open.brackets > MAX_NESTING || open.ifs > MAX_NESTING {
            return Some(lexeme);
        }
        in_bars ^= lexeme.text == "|";
        after_operand = lexeme.ends_operand() && !in_bars;
    }
    None
}

/// What is open at a place.
#[derive(Default)]
struct Open {
    levels: Vec<Level>,
    brackets: usize,
    ifs: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Bracket,
    /// Before its `else`.
    If,
    /// After its `else`.
    Else,
}

impl Open {
    fn count(&mut self, level: Level) -> &mut usize {
        match level {
            Level::Bracket => &mut self.brackets,
            Level::If | Level::Else => &mut self.ifs,
        }
    }

    fn push(&mut self, level: Level) {
        self.levels.push(level);
        *self.count(level) += 1;
    }

    fn pop_while(&mut self, unwanted: impl Fn(Level) -> bool) {
        while let Some(level) = self.levels.pop_if(|it| unwanted(*it)) {
            *self.count(level) -= 1;
        }
    }

    fn close_ifs(&mut self) {
        self.pop_while(|it| it != Level::Bracket);
    }

    fn close_bracket(&mut self) {
        self.close_ifs();
        if self.levels.pop().is_some() {
            self.brackets -= 1;
        }
    }

    /// An `else` finishes the branches before it; it belongs to the last `if` that has none, if any.
    fn turn_to_else(&mut self) {
        self.pop_while(|it| it == Level::Else);
        if let Some(last @ Level::If) = self.levels.last_mut() {
            *last = Level::Else;
        }
    }
}

/// A place in a text where something went wrong.
pub(super) struct Spot<'a> {
    /// What stands there, if the text goes on.
    pub(super) found: Option<Lexeme<'a>>,
    /// What stands before it.
    pub(super) before: Option<Lexeme<'a>>,
    /// The innermost bracket that is open there.
    pub(super) open: Option<Lexeme<'a>>,
}

impl<'a> Spot<'a> {
    /// The spot of the lexeme at or after a place.
    pub(super) fn at(text: &'a str, at: usize) -> Spot<'a> {
        let (mut before, mut open) = (None, Vec::new());
        for lexeme in code(text) {
            if lexeme.end() > at {
                return Spot { found: Some(lexeme), before, open: open.pop() };
            }
            match lexeme.text {
                "(" | "[" | "{" => open.push(lexeme),
                ")" | "]" | "}" => drop(open.pop()),
                _ => {}
            }
            before = Some(lexeme);
        }
        Spot { found: None, before, open: open.pop() }
    }
}

/// Where an item begins after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// `kernel`, `fn` or `import`.
    File(usize),
    /// An item of the kernel that the error is in.
    Kernel(usize),
}

/// The first item that begins at or after an error and after `previous`, where parsing began that met the error.
pub(super) fn next_item(text: &str, error: usize, previous: usize) -> Option<Resume> {
    let mut in_kernel = false;
    let mut before: Option<Lexeme<'_>> = None;
    for lexeme in code(text) {
        let goes_on = before.is_some_and(|it| !it.ends_operand() && it.text != "{");
        let beyond = lexeme.start >= error && lexeme.start > previous;
        if lexeme.begins_top_item() && beyond {
            return Some(Resume::File(lexeme.start));
        }
        let equation = lexeme.is_name() && lexeme.first_on_line && !goes_on;
        let keyword = lexeme.begins_kernel_item() && (lexeme.first_on_line || !goes_on);
        if in_kernel && beyond && (keyword || equation) {
            return Some(Resume::Kernel(lexeme.start));
        }
        in_kernel = lexeme.text == "kernel" || in_kernel && !lexeme.begins_top_item() && lexeme.text != "}";
        before = Some(lexeme);
    }
    None
}

fn code(text: &str) -> impl Iterator<Item = Lexeme<'_>> {
    lexemes(text).filter(|it| it.kind != Kind::Comment)
}
