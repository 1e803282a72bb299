//! PTX text → module, for what [`crate::print`] writes: `parse(&module.to_string()) == Ok(module)`.
//!
//! Any text is answered with a module or with an error that has a line. A module that was read is as
//! wrong or right as its text: registers used before they are set, say, are for the verifier to find.

mod body;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use token::{Token, tokens};

use crate::module::*;
use crate::types::RegType;

/// The most registers that one declaration may have.
const MAX_RUN: u32 = 1 << 16;

/// Why a text is no module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl ParseError {
    fn new(line: usize, message: impl Into<String>) -> ParseError {
        ParseError { line, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

type Result<T> = std::result::Result<T, ParseError>;

/// Reads a module.
pub fn parse(text: &str) -> Result<Module> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let comments = parser.comments();
    parser.word(".version")?;
    let version = parser.version()?;
    parser.word(".target")?;
    let target = parser.any_word()?;
    let target = Target::ALL.iter().copied().find(|it| it.text() == target);
    let target = target.ok_or_else(|| parser.before("a target that is not known"))?;
    parser.word(".address_size")?;
    parser.word("64")?;
    let mut kernels = Vec::new();
    while parser.peek().is_some() {
        kernels.push(parser.kernel()?);
    }
    Ok(Module { version, target, comments, kernels })
}

/// Tokens and how many of them are read.
struct Parser<'a> {
    tokens: &'a [(usize, Token<'a>)],
    at: usize,
}

/// What names of a kernel stand for.
#[derive(Default)]
struct Names {
    regs: BTreeMap<String, Reg>,
    vars: BTreeMap<String, VarId>,
    params: BTreeMap<String, ParamId>,
    labels: BTreeMap<String, Label>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|(_, token)| *token)
    }

    /// An error on the line of the next token.
    fn error(&self, message: impl Into<String>) -> ParseError {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(line, _)| *line);
        ParseError::new(line, message)
    }

    /// An error on the line of the token that was just read.
    fn before(&self, message: impl Into<String>) -> ParseError {
        let line = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(1, |(line, _)| *line);
        ParseError::new(line, message)
    }

    /// An error that says what was expected here.
    fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
            Some(Token::Comment(_)) => "a comment".to_owned(),
            None => "the end".to_owned(),
        };
        self.error(format!("found {found}, expected {what}"))
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Token::Word(word));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) -> Result<()> {
        if self.eat(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    fn any_word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            Some(Token::Sign(_) | Token::Comment(_)) | None => Err(self.expected("a word")),
        }
    }

    /// A name: letters, digits and `_`, and no digit first.
    fn name(&mut self) -> Result<String> {
        let word = self.any_word()?;
        if is_name(word) { Ok(word.to_owned()) } else { Err(self.before(format!("`{word}` is no name"))) }
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let word = self.any_word()?;
        word.parse().map_err(|_| self.before(format!("`{word}` is no number, or too large a one")))
    }

    fn triple(&mut self) -> Result<[u32; 3]> {
        let x = self.number()?;
        self.sign(',')?;
        let y = self.number()?;
        self.sign(',')?;
        Ok([x, y, self.number()?])
    }

    fn version(&mut self) -> Result<(u8, u8)> {
        let word = self.any_word()?;
        let parts =
            word.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        parts.ok_or_else(|| self.before(format!("`{word}` is no version")))
    }

    fn comments(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(Token::Comment(line)) = self.peek() {
            lines.push(line.to_owned());
            self.at += 1;
        }
        lines
    }

    fn kernel(&mut self) -> Result<Kernel> {
        let mut kernel = Kernel { comments: self.comments(), ..Kernel::default() };
        let mut names = Names::default();
        while self.eat_word(".extern") {
            self.word(".shared")?;
            self.dynamic(&mut kernel, &mut names)?;
        }
        self.word(".visible")?;
        self.word(".entry")?;
        kernel.name = self.name()?;
        self.sign('(')?;
        while !self.eat(')') {
            if !kernel.params.is_empty() {
                self.sign(',')?;
            }
            self.param(&mut kernel, &mut names)?;
        }
        self.limits(&mut kernel)?;
        self.sign('{')?;
        loop {
            if self.eat_word(".reg") {
                self.regs(&mut kernel, &mut names)?;
            } else if self.eat_word(".shared") {
                self.var(VarPlace::Shared, &mut kernel, &mut names)?;
            } else if self.eat_word(".local") {
                self.var(VarPlace::Local, &mut kernel, &mut names)?;
            } else {
                break;
            }
        }
        self.labels(&mut kernel, &mut names);
        self.body(&mut kernel, &names)?;
        Ok(kernel)
    }

    /// The shared memory of the launch, after `.extern .shared`; its bytes are in a comment.
    fn dynamic(&mut self, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        self.word(".align")?;
        let align = self.number()?;
        self.word(".b8")?;
        let name = self.name()?;
        self.sign('[')?;
        self.sign(']')?;
        self.sign(';')?;
        let bytes = match self.peek() {
            Some(Token::Comment(text)) => text.strip_prefix("bytes ").and_then(|bytes| bytes.parse().ok()),
            Some(Token::Word(_) | Token::Sign(_)) | None => None,
        };
        let bytes = bytes.ok_or_else(|| self.expected("a comment `// bytes N`"))?;
        self.at += 1;
        self.declare_var(Var { name, place: VarPlace::Dynamic, align, bytes }, kernel, names)
    }

    fn var(&mut self, place: VarPlace, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        self.word(".align")?;
        let align = self.number()?;
        self.word(".b8")?;
        let name = self.name()?;
        self.sign('[')?;
        let bytes = self.number()?;
        self.sign(']')?;
        self.sign(';')?;
        self.declare_var(Var { name, place, align, bytes }, kernel, names)
    }

    fn declare_var(&mut self, var: Var, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        let id = VarId(index(kernel.vars.len()));
        if names.vars.insert(var.name.clone(), id).is_some() {
            return Err(self.before(format!("`{}` is declared twice", var.name)));
        }
        kernel.vars.push(var);
        Ok(())
    }

    fn param(&mut self, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        self.word(".param")?;
        let word = self.any_word()?;
        let (name, ty) = if word == ".align" {
            let align = self.number()?;
            self.word(".b8")?;
            let name = self.name()?;
            self.sign('[')?;
            let bytes = self.number()?;
            self.sign(']')?;
            (name, ParamType::Bytes { bytes, align })
        } else {
            let ty = match word {
                ".u32" => ParamType::U32,
                ".u64" => ParamType::U64,
                ".s32" => ParamType::S32,
                ".s64" => ParamType::S64,
                ".f32" => ParamType::F32,
                ".f64" => ParamType::F64,
                _ => return Err(self.before(format!("`{word}` is no type of a parameter"))),
            };
            (self.name()?, ty)
        };
        if names.params.insert(name.clone(), ParamId(index(kernel.params.len()))).is_some() {
            return Err(self.before(format!("`{name}` is declared twice")));
        }
        kernel.params.push(Param { name, ty });
        Ok(())
    }

    /// What a launch is limited to.
    fn limits(&mut self, kernel: &mut Kernel) -> Result<()> {
        if self.eat_word(".maxntid") {
            kernel.max_threads = Some(self.triple()?);
        }
        if self.eat_word(".minnctapersm") {
            kernel.min_blocks = Some(self.number()?);
        }
        if self.eat_word(".reqnctapercluster") {
            kernel.cluster = Some(self.triple()?);
        }
        Ok(())
    }

    /// Registers after `.reg`.
    fn regs(&mut self, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        let word = self.any_word()?;
        let ty = RegType::ALL.iter().copied().find(|ty| word.strip_prefix('.') == Some(ty.text()));
        let ty = ty.ok_or_else(|| self.before(format!("`{word}` is no type of a register")))?;
        loop {
            let word = self.any_word()?;
            let base = word.strip_prefix('%').filter(|name| is_name(name));
            let base = base.ok_or_else(|| self.before(format!("`{word}` is no name of a register")))?;
            if self.eat('<') {
                let count: u32 = self.number()?;
                self.sign('>')?;
                if base.ends_with(|last: char| last.is_ascii_digit()) {
                    return Err(
                        self.before(format!("a run of registers `%{base}` must not end with a digit"))
                    );
                }
                if count > MAX_RUN {
                    return Err(self.before(format!("{count} registers are more than {MAX_RUN}")));
                }
                for position in 0..count {
                    self.reg(format!("{base}{position}"), ty, kernel, names)?;
                }
            } else {
                self.reg(base.to_owned(), ty, kernel, names)?;
            }
            if !self.eat(',') {
                return self.sign(';');
            }
        }
    }

    fn reg(&mut self, name: String, ty: RegType, kernel: &mut Kernel, names: &mut Names) -> Result<()> {
        let reg = Reg { id: index(kernel.regs.len()), ty };
        if names.regs.insert(name.clone(), reg).is_some() {
            return Err(self.before(format!("`%{name}` is declared twice")));
        }
        kernel.regs.push(RegDecl { name, ty });
        Ok(())
    }
}

/// A position in a table.
fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a table has fewer entries than a text has bytes")
}

/// Whether a word is a name.
fn is_name(word: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    word.chars().all(letter) && word.starts_with(|first: char| !first.is_ascii_digit())
}
