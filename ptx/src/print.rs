//! Module → PTX text, as [`crate::parse`] reads it and ptxas takes it.
//!
//! ```text
//! .visible .entry scale(
//!     .param .u64 x
//! )
//! {
//!     .reg .f32 %f<2>;
//!
//!     // twice as much
//!     mul.rn.f32 %f1, %f0, 0f40000000;
//! $end:
//!     ret;
//! }
//! ```

use std::fmt::{self, Write};

use crate::module::*;
use crate::types::RegType;

/// The widest line of declarations.
const WIDTH: usize = 100;

impl fmt::Display for Module {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        comments(out, "", &self.comments)?;
        writeln!(out, ".version {}.{}", self.version.0, self.version.1)?;
        writeln!(out, ".target {}", self.target.text())?;
        writeln!(out, ".address_size 64")?;
        for kernel in &self.kernels {
            writeln!(out)?;
            header(out, kernel)?;
            writeln!(out, "{{")?;
            declarations(out, kernel)?;
            kernel.body.iter().try_for_each(|stmt| statement(out, kernel, stmt))?;
            writeln!(out, "}}")?;
        }
        Ok(())
    }
}

impl Kernel {
    /// An instruction as it is printed, without its semicolon.
    pub fn text(&self, inst: &Inst) -> String {
        let mut out = String::new();
        instruction(&mut out, self, inst).expect("a string takes all text");
        out
    }

    /// Its statements as they are printed, one a line.
    pub fn text_of_body(&self) -> String {
        let mut out = String::new();
        self.body
            .iter()
            .try_for_each(|stmt| statement(&mut out, self, stmt))
            .expect("a string takes all text");
        out
    }
}

/// Remarks, each on its line.
fn comments(out: &mut dyn Write, indent: &str, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(out, "{}", format!("{indent}// {line}").trim_end()))
}

/// What comes before the brace.
fn header(out: &mut dyn Write, kernel: &Kernel) -> fmt::Result {
    comments(out, "", &kernel.comments)?;
    for var in kernel.vars.iter().filter(|var| var.place == VarPlace::Dynamic) {
        writeln!(out, ".extern .shared .align {} .b8 {}[]; // bytes {}", var.align, var.name, var.bytes)?;
    }
    write!(out, ".visible .entry {}(", kernel.name)?;
    for (position, param) in kernel.params.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        write!(out, "{comma}\n    .param {}", parameter(param))?;
    }
    writeln!(out, "{})", if kernel.params.is_empty() { "" } else { "\n" })?;
    if let Some([x, y, z]) = kernel.max_threads {
        writeln!(out, ".maxntid {x}, {y}, {z}")?;
    }
    if let Some(blocks) = kernel.min_blocks {
        writeln!(out, ".minnctapersm {blocks}")?;
    }
    if let Some([x, y, z]) = kernel.cluster {
        writeln!(out, ".reqnctapercluster {x}, {y}, {z}")?;
    }
    Ok(())
}

/// A parameter after `.param`.
fn parameter(param: &Param) -> String {
    let name = &param.name;
    match param.ty {
        ParamType::U32 => format!(".u32 {name}"),
        ParamType::U64 => format!(".u64 {name}"),
        ParamType::S32 => format!(".s32 {name}"),
        ParamType::S64 => format!(".s64 {name}"),
        ParamType::F32 => format!(".f32 {name}"),
        ParamType::F64 => format!(".f64 {name}"),
        ParamType::Bytes { bytes, align } => format!(".align {align} .b8 {name}[{bytes}]"),
    }
}

/// Registers and variables.
fn declarations(out: &mut dyn Write, kernel: &Kernel) -> fmt::Result {
    let mut line: Option<(RegType, String)> = None;
    for (ty, run) in register_runs(&kernel.regs) {
        match &mut line {
            Some((of, text)) if *of == ty && text.len() + run.len() < WIDTH => {
                text.push_str(", ");
                text.push_str(&run);
            }
            _ => {
                if let Some((_, text)) = line.replace((ty, format!("    .reg .{} {run}", ty.text()))) {
                    writeln!(out, "{text};")?;
                }
            }
        }
    }
    if let Some((_, text)) = line {
        writeln!(out, "{text};")?;
    }
    for var in kernel.vars.iter().filter(|var| var.place != VarPlace::Dynamic) {
        let place = var.place.text();
        writeln!(out, "    .{place} .align {} .b8 {}[{}];", var.align, var.name, var.bytes)?;
    }
    writeln!(out)
}

/// Declarations of registers: those called `x0`, `x1`, … in a row become `%x<n>`. A base that ends with a
/// digit would not do, as ptxas takes all digits at the end of a name for the number.
fn register_runs(regs: &[RegDecl]) -> Vec<(RegType, String)> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(first) = regs.get(at) {
        let base = first.name.strip_suffix('0').filter(|base| !base.is_empty() && !base.ends_with(is_digit));
        let length = base.map_or(1, |base| {
            let same = |(position, reg): &(usize, &RegDecl)| {
                reg.ty == first.ty && reg.name == format!("{base}{position}")
            };
            regs[at..].iter().enumerate().take_while(same).count()
        });
        runs.push(match base {
            Some(base) if length > 1 => (first.ty, format!("%{base}<{length}>")),
            Some(_) | None => (first.ty, format!("%{}", first.name)),
        });
        at += length;
    }
    runs
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

fn statement(out: &mut dyn Write, kernel: &Kernel, stmt: &Stmt) -> fmt::Result {
    match stmt {
        Stmt::Label(label) => writeln!(out, "{}:", label_name(kernel, *label)),
        Stmt::NoUnroll => writeln!(out, "    .pragma \"nounroll\";"),
        Stmt::Comment(text) => comments(out, "    ", std::slice::from_ref(text)),
        Stmt::Inst(inst) => {
            write!(out, "    ")?;
            instruction(out, kernel, inst)?;
            writeln!(out, ";")
        }
    }
}

fn instruction(out: &mut dyn Write, kernel: &Kernel, inst: &Inst) -> fmt::Result {
    if let Some(guard) = inst.guard {
        write!(out, "@{}{} ", if guard.holds { "" } else { "!" }, register(kernel, guard.reg))?;
    }
    write!(out, "{}", inst.op.mnemonic())?;
    for (position, operand) in inst.operands.iter().enumerate() {
        match position {
            0 => write!(out, " ")?,
            1 if inst.op.first_separator() == '|' => write!(out, "|")?,
            _ => write!(out, ", ")?,
        }
        write!(out, "{}", operand_text(kernel, operand))?;
    }
    Ok(())
}

fn operand_text(kernel: &Kernel, operand: &Operand) -> String {
    match operand {
        Operand::Reg(reg) => register(kernel, *reg),
        Operand::Int(int) => int.to_string(),
        Operand::F32(bits) => format!("0f{bits:08X}"),
        Operand::F64(bits) => format!("0d{bits:016X}"),
        Operand::Special(special) => format!("%{}", special.text()),
        Operand::Var(var) => variable(kernel, *var),
        Operand::Param(param) => parameter_name(kernel, *param),
        Operand::Sink => "_".to_owned(),
        Operand::Label(label) => label_name(kernel, *label),
        Operand::Vector(elements) => list(kernel, elements),
        Operand::Address(address) => format!("[{}]", address_text(kernel, *address)),
        Operand::Tensor(map, coordinates) => {
            format!("[{}, {}]", address_text(kernel, *map), list(kernel, coordinates))
        }
    }
}

/// Operands in braces.
fn list(kernel: &Kernel, elements: &[Operand]) -> String {
    let elements: Vec<String> = elements.iter().map(|element| operand_text(kernel, element)).collect();
    format!("{{{}}}", elements.join(", "))
}

/// An address without its brackets.
fn address_text(kernel: &Kernel, address: Address) -> String {
    let base = match address.base {
        Base::Reg(reg) => register(kernel, reg),
        Base::Var(var) => variable(kernel, var),
        Base::Param(param) => parameter_name(kernel, param),
    };
    if address.offset == 0 { base } else { format!("{base}+{}", address.offset) }
}

fn register(kernel: &Kernel, reg: Reg) -> String {
    kernel.regs.get(reg.id as usize).map_or_else(|| format!("%?{}", reg.id), |reg| format!("%{}", reg.name))
}

fn variable(kernel: &Kernel, var: VarId) -> String {
    kernel.vars.get(var.0 as usize).map_or_else(|| format!("?{}", var.0), |var| var.name.clone())
}

fn parameter_name(kernel: &Kernel, param: ParamId) -> String {
    kernel.params.get(param.0 as usize).map_or_else(|| format!("?{}", param.0), |param| param.name.clone())
}

fn label_name(kernel: &Kernel, label: Label) -> String {
    kernel.labels.get(label.0 as usize).map_or_else(|| format!("$?{}", label.0), |name| format!("${name}"))
}
