//! A nest as text: its arguments and buffers, the prologue, then the stages.

use std::fmt::Write;

use crate::ir::nest::{Block, BufferId, Carried, Checks, Loop, Nest, Op, Place, Scalar, Stmt, ValueId, Word};

/// The text of a nest.
pub fn nest(nest: &Nest) -> String {
    let mut printer = Printer { nest, out: format!("nest {}\n", nest.name) };
    printer.words();
    printer.buffers();
    printer.line(0, "prologue");
    printer.block(1, &nest.prologue);
    printer.line(1, &format!("extents {}", list(&nest.extents)));
    let sizes = [nest.workspace, nest.shared, nest.scratch].map(value);
    printer.line(1, &format!("workspace {}, shared {}, scratch {}", sizes[0], sizes[1], sizes[2]));
    printer.checks("check extents", &nest.extent_checks);
    printer.checks("check call", &nest.call_checks);
    for default in &nest.defaults {
        printer.line(0, &format!("default of parameter {} to word {}", default.param, default.word));
        printer.block(1, &default.block);
        printer.line(1, &format!("give {}", value(default.value)));
    }
    for (idx, stage) in nest.stages.iter().enumerate() {
        let (tasks, task) = (value(stage.tasks), value(stage.task));
        let team =
            stage.team.map(|it| format!(", {} of {} by a block", it.extent, nest.ranks[it.rank.idx()]));
        let team = team.unwrap_or_default();
        printer.line(0, &format!("stage {idx} {}: task {task} of {tasks}{team}", stage.defines));
        printer.block(1, &stage.body);
    }
    printer.out
}

fn value(id: ValueId) -> String {
    format!("%{}", id.idx())
}

fn list(ids: &[ValueId]) -> String {
    ids.iter().map(|&it| value(it)).collect::<Vec<_>>().join(", ")
}

fn guarded(guard: Option<ValueId>) -> String {
    guard.map(|it| format!(" if {}", value(it))).unwrap_or_default()
}

struct Printer<'a> {
    nest: &'a Nest,
    out: String,
}

impl<'a> Printer<'a> {
    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{:1$}{text}", "", 2 * depth).expect("a string takes every text");
    }

    fn buffer(&self, id: BufferId) -> &'a str {
        &self.nest.buffers[id].name
    }

    fn words(&mut self) {
        for (idx, word) in self.nest.words.iter().enumerate() {
            let text = match word {
                Word::Extent(rank) => format!("|{}|", self.nest.ranks[rank.idx()]),
                Word::Param(param) => format!("parameter {param}"),
                Word::Data(buffer) => format!("address of {}", self.buffer(*buffer)),
                Word::Stride(buffer, dim) => format!("stride {dim} of {}", self.buffer(*buffer)),
            };
            self.line(0, &format!("word {idx} {text}"));
        }
    }

    fn buffers(&mut self) {
        for (_, buffer) in self.nest.buffers.iter() {
            let place = match buffer.place {
                Place::Input(word) => format!("input at word {word}"),
                Place::Output(word) => format!("output at word {word}"),
                Place::Workspace(offset) => format!("workspace at {}", value(offset)),
                Place::Scratch(offset) => format!("scratch at {}", value(offset)),
            };
            let (extents, strides) = (list(&buffer.extents), list(&buffer.strides));
            let (name, dtype) = (&buffer.name, buffer.dtype.name());
            self.line(0, &format!("buffer {name}[{extents}]: {dtype} strides [{strides}] {place}"));
        }
    }

    fn checks(&mut self, title: &str, checks: &Checks) {
        self.line(0, title);
        self.block(1, &checks.block);
        for (condition, status) in &checks.faults {
            let text = format!("expect {} else {:?} {}", value(*condition), status.code, status.index);
            self.line(1, &text);
        }
    }

    fn block(&mut self, depth: usize, block: &Block) {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(id, op) => {
                    let line = format!("{} = {}", self.typed(*id), self.op(op));
                    self.line(depth, &line);
                }
                Stmt::Store { buffer, index, value: stored, guard, contiguous } => {
                    let run = if *contiguous { "store run" } else { "store" };
                    let place = format!("{}[{}]", self.buffer(*buffer), list(index));
                    self.line(depth, &format!("{run} {place} = {}{}", value(*stored), guarded(*guard)));
                }
                Stmt::Loop(it) => self.loop_(depth, it),
                Stmt::If { condition, then, otherwise } => {
                    self.line(depth, &format!("if {}", value(*condition)));
                    self.block(depth + 1, then);
                    if !otherwise.stmts.is_empty() {
                        self.line(depth, "else");
                        self.block(depth + 1, otherwise);
                    }
                }
            }
        }
    }

    fn loop_(&mut self, depth: usize, it: &Loop) {
        let rank = &self.nest.ranks[it.rank.idx()];
        let (index, from, to) = (value(it.index), value(it.from), value(it.to));
        let seldom = if it.rare { ", seldom" } else { "" };
        self.line(depth, &format!("for {rank} {index} in {from} .. {to} step {}{seldom}", it.step));
        for Carried { init, current, next, result } in &it.carried {
            let (init, next, result) = (value(*init), value(*next), value(*result));
            let line = format!("carry {} = {init} -> {next}, result {result}", self.typed(*current));
            self.line(depth + 1, &line);
        }
        self.block(depth + 1, &it.body);
    }

    /// A value with its type, where it is more than an integer scalar.
    fn typed(&self, id: ValueId) -> String {
        let of = &self.nest.values[id];
        let dims = of.shape.iter().map(|dim| format!("{} {}", self.nest.ranks[dim.rank.idx()], dim.extent));
        match (of.scalar, dims.collect::<Vec<_>>().join(", ")) {
            (Scalar::I64, shape) if shape.is_empty() => value(id),
            (scalar, shape) if shape.is_empty() => format!("{}: {}", value(id), scalar.name()),
            (scalar, shape) => format!("{}: {}[{shape}]", value(id), scalar.name()),
        }
    }

    fn op(&self, op: &Op) -> String {
        match op {
            Op::Int(it) => it.to_string(),
            Op::Real(it) => format!("{it:?}"),
            Op::Bool(it) => it.to_string(),
            Op::Word(word) => format!("word {word}"),
            Op::Address(buffer) => format!("address of {}", self.buffer(*buffer)),
            Op::WorkspaceAddress => "address of workspace".to_owned(),
            Op::WorkspaceBytes => "bytes of workspace".to_owned(),
            Op::Threads => "threads".to_owned(),
            Op::Iota => "iota".to_owned(),
            Op::Unary(op, a) => format!("{} {}", op.name(), value(*a)),
            Op::Power(a) => format!("power {}", value(*a)),
            Op::Binary(op, a, b) => format!("{} {} {}", value(*a), op.name(), value(*b)),
            Op::Compare(op, a, b) => format!("{} {} {}", value(*a), op.symbol(), value(*b)),
            Op::Select(c, a, b) => format!("select {}", list(&[*c, *a, *b])),
            Op::Convert(a) => format!("convert {}", value(*a)),
            Op::Round(dtype, a) => format!("round to {} {}", dtype.name(), value(*a)),
            Op::Load { buffer, index, guard, contiguous } => {
                let run = if *contiguous { "load run" } else { "load" };
                format!("{run} {}[{}]{}", self.buffer(*buffer), list(index), guarded(*guard))
            }
            Op::Contract { a, b, there, into } => {
                format!("contract {} into {}{}", list(&[*a, *b]), value(*into), guarded(*there))
            }
            Op::Pack(a) => format!("pack {}", value(*a)),
            Op::Dot { a, b, into } => format!("dot {} into {}", list(&[*a, *b]), value(*into)),
            Op::Reduce(op, a) => format!("reduce {} {}", op.name(), value(*a)),
        }
    }
}
