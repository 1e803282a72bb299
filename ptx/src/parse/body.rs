//! Labels, comments and instructions of a kernel.

use super::token::Token;
use super::{Names, Parser, Result, index, is_name};
use crate::modifier::special::Special;
use crate::module::*;
use crate::op::Op;

impl Parser<'_> {
    /// Numbers the labels of the body at hand in the order of their places. Places follow statements, and
    /// names are looked up later, so the tokens ahead are looked through once.
    pub(super) fn labels(&self, kernel: &mut Kernel, names: &mut Names) {
        let ahead = self.tokens[self.at..].iter().map(|(_, token)| *token);
        let mut depth = 0i32;
        let mut before = None;
        for token in ahead {
            match (before, token) {
                (_, Token::Sign('{')) => depth += 1,
                (_, Token::Sign('}')) => depth -= 1,
                (Some(Token::Word(word)), Token::Sign(':')) => {
                    if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
                        let label = Label(index(kernel.labels.len()));
                        if !names.labels.contains_key(name) {
                            names.labels.insert(name.to_owned(), label);
                            kernel.labels.push(name.to_owned());
                        }
                    }
                }
                _ => {}
            }
            if depth < 0 {
                return;
            }
            before = Some(token);
        }
    }

    /// Everything up to the closing brace.
    pub(super) fn body(&mut self, kernel: &mut Kernel, names: &Names) -> Result<()> {
        loop {
            let stmt = match self.peek() {
                Some(Token::Comment(text)) => {
                    self.at += 1;
                    Stmt::Comment(text.to_owned())
                }
                Some(Token::Sign('}')) => {
                    self.at += 1;
                    return Ok(());
                }
                Some(Token::Word(".pragma")) => {
                    self.at += 1;
                    self.sign('"')?;
                    self.word("nounroll")?;
                    self.sign('"')?;
                    self.sign(';')?;
                    Stmt::NoUnroll
                }
                Some(Token::Word(word)) if word.starts_with('$') => {
                    self.at += 1;
                    let label = self.label(word, names)?;
                    self.sign(':')?;
                    Stmt::Label(label)
                }
                Some(Token::Word(_) | Token::Sign(_)) => Stmt::Inst(self.inst(names)?),
                None => return Err(self.expected("`}`")),
            };
            kernel.body.push(stmt);
        }
    }

    fn label(&self, word: &str, names: &Names) -> Result<Label> {
        let name = word.strip_prefix('$').unwrap_or(word);
        names.labels.get(name).copied().ok_or_else(|| self.before(format!("there is no label `${name}`")))
    }

    /// An instruction with its semicolon. Of the forms with its mnemonic, the first that the operands fit.
    fn inst(&mut self, names: &Names) -> Result<Inst> {
        let guard = self.guard(names)?;
        let mnemonic = self.any_word()?;
        let forms = Op::from_mnemonic(mnemonic);
        if forms.is_empty() {
            return Err(self.before(format!("there is no instruction `{mnemonic}`")));
        }
        let mut operands = Vec::new();
        let mut first_separator = ',';
        while self.peek() != Some(Token::Sign(';')) {
            if operands.len() == 1 && self.eat('|') {
                first_separator = '|';
            } else if !operands.is_empty() {
                self.sign(',')?;
            }
            operands.push(self.operand(names)?);
        }
        let mut refusal = None;
        for op in forms {
            let inst = Inst { guard, op, operands: operands.clone() };
            match inst.check() {
                Ok(()) if op.first_separator() == first_separator || operands.len() < 2 => {
                    self.at += 1;
                    return Ok(inst);
                }
                Ok(()) => {
                    refusal = refusal.or(Some(format!("`{mnemonic}` does not take `{first_separator}` here")))
                }
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        Err(self.error(refusal.unwrap_or_default()))
    }

    fn guard(&mut self, names: &Names) -> Result<Option<Guard>> {
        if !self.eat('@') {
            return Ok(None);
        }
        let holds = !self.eat('!');
        let word = self.any_word()?;
        let Operand::Reg(reg) = self.register(word, names)? else {
            return Err(self.before(format!("`{word}` is no predicate")));
        };
        Ok(Some(Guard { reg, holds }))
    }

    fn operand(&mut self, names: &Names) -> Result<Operand> {
        if self.eat('{') {
            return Ok(Operand::Vector(self.list(names)?));
        }
        if !self.eat('[') {
            return self.atom(names);
        }
        let address = self.address(names)?;
        let operand = if self.eat(',') {
            self.sign('{')?;
            Operand::Tensor(address, self.list(names)?)
        } else {
            Operand::Address(address)
        };
        self.sign(']')?;
        Ok(operand)
    }

    /// Operands without structure up to the closing brace.
    fn list(&mut self, names: &Names) -> Result<Vec<Operand>> {
        let mut elements = vec![self.atom(names)?];
        while self.eat(',') {
            elements.push(self.atom(names)?);
        }
        self.sign('}')?;
        Ok(elements)
    }

    fn address(&mut self, names: &Names) -> Result<Address> {
        let word = self.any_word()?;
        let base = Base::of(&self.named(word, names)?);
        let base = base.ok_or_else(|| self.before(format!("an address cannot start at `{word}`")))?;
        let offset = if self.eat('+') { self.integer()? } else { 0 };
        let offset = i32::try_from(offset).map_err(|_| self.before(format!("{offset} is too far off")))?;
        Ok(Address { base, offset })
    }

    fn integer(&mut self) -> Result<i64> {
        let minus = if self.eat('-') { "-" } else { "" };
        let word = self.any_word()?;
        let digits = word.starts_with(|first: char| first.is_ascii_digit());
        let value = digits.then(|| format!("{minus}{word}").parse().ok()).flatten();
        value.ok_or_else(|| self.before(format!("`{minus}{word}` is no integer of 64 bits")))
    }

    /// A number, a register, or another name.
    fn atom(&mut self, names: &Names) -> Result<Operand> {
        match self.peek() {
            Some(Token::Sign('-')) => Ok(Operand::Int(self.integer()?)),
            Some(Token::Word(word)) if word.starts_with(|first: char| first.is_ascii_digit()) => {
                let single = word.strip_prefix("0f").filter(|digits| digits.len() == 8);
                let double = word.strip_prefix("0d").filter(|digits| digits.len() == 16);
                if let Some(bits) = single.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
                    self.at += 1;
                    Ok(Operand::F32(bits))
                } else if let Some(bits) = double.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                    self.at += 1;
                    Ok(Operand::F64(bits))
                } else {
                    Ok(Operand::Int(self.integer()?))
                }
            }
            Some(Token::Word(word)) => {
                self.at += 1;
                self.named(word, names)
            }
            Some(Token::Sign(_) | Token::Comment(_)) | None => Err(self.expected("an operand")),
        }
    }

    /// What a word that was just read stands for.
    fn named(&self, word: &str, names: &Names) -> Result<Operand> {
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if word.starts_with('%') {
            return self.register(word, names);
        }
        if word.starts_with('$') {
            return Ok(Operand::Label(self.label(word, names)?));
        }
        let var = names.vars.get(word).map(|var| Operand::Var(*var));
        let param = || names.params.get(word).map(|param| Operand::Param(*param));
        var.or_else(param).ok_or_else(|| self.before(format!("`{word}` is not declared")))
    }

    /// A register of the kernel or of the machine.
    fn register(&self, word: &str, names: &Names) -> Result<Operand> {
        let name = word.strip_prefix('%').unwrap_or(word);
        let special = || Special::ALL.iter().copied().find(|it| it.text() == name).map(Operand::Special);
        let declared = names.regs.get(name).map(|reg| Operand::Reg(*reg));
        declared.or_else(special).ok_or_else(|| self.before(format!("register `{word}` is not declared")))
    }
}
