//! A plan as text: stage by stage, what is done for a box of rows and for each tile.
//!
//! ```text
//! stream b, h, m in 32
//!   O.sum~[b, h, m, e]: real = 0
//!   for n in 64
//!     O.sum~[b, h, m, e]: real += sum[n](P~ * V)
//! ```

use super::cascade::Printer;
use crate::ir::cascade::{Op, ReduceOp};
use crate::schedule::{Act, Axis, Plan, Stage};

/// The text of a plan.
pub fn plan(plan: &Plan) -> String {
    let mut printer = Printer { cascade: &plan.cascade, out: format!("plan {}\n", plan.cascade.name) };
    for stage in &plan.stages {
        match stage {
            Stage::Whole(step) => {
                printer.line(1, "whole");
                printer.step(2, step);
            }
            Stage::Stream(it) => {
                let rows = printer.axes(&it.rows);
                let when = it.when.map(|it| format!(" where {}", printer.expr(1, it))).unwrap_or_default();
                let part = it.part.map(|(rank, parts)| {
                    let part = printer.rank(rank).to_owned();
                    format!("; {part} of {} in {}", printer.rank(parts.of), printer.expr(1, parts.length))
                });
                printer.line(1, &format!("stream {rows}{when}{}", part.unwrap_or_default()));
                it.acts.iter().for_each(|act| printer.act(2, act));
            }
            Stage::Walk(it) => {
                let (rows, rank) = (printer.axes(&it.rows), printer.rank(it.rank));
                let rows = if rows.is_empty() { rows } else { format!("{rows} ") };
                printer.line(1, &format!("walk {rows}along {rank}"));
                it.before.iter().for_each(|act| printer.act(2, act));
                printer.line(2, &format!("for {rank}"));
                it.step.iter().for_each(|act| printer.act(3, act));
                it.after.iter().for_each(|act| printer.act(2, act));
            }
        }
    }
    printer.out
}

impl Printer<'_> {
    fn axes(&self, axes: &[Axis]) -> String {
        let axis = |it: &Axis| match it.tile {
            1 => self.rank(it.rank).to_owned(),
            tile => format!("{} in {tile}", self.rank(it.rank)),
        };
        axes.iter().map(axis).collect::<Vec<_>>().join(", ")
    }

    fn act(&mut self, depth: usize, act: &Act) {
        match act {
            Act::Define(einsum) => self.einsum(depth, einsum),
            Act::Fold(einsum) => self.assign(depth, einsum, operator(&einsum.op)),
            Act::Loop(it) => {
                let parts = it
                    .parts
                    .map(|it| format!(" of {} in {}", self.rank(it.of), self.expr(depth + 1, it.length)));
                let axes = self.axes(&it.axes);
                self.line(depth, &format!("for {axes}{}", parts.unwrap_or_default()));
                for list in &it.matters {
                    let texts: Vec<String> = list.iter().map(|&it| self.expr(depth + 1, it)).collect();
                    self.line(depth + 1, &format!("if {}", texts.join(" and ")));
                }
                it.acts.iter().for_each(|act| self.act(depth + 1, act));
            }
            Act::Along(rank, acts) => {
                let rank = self.rank(*rank).to_owned();
                self.line(depth, &format!("along {rank}"));
                acts.iter().for_each(|act| self.act(depth + 1, act));
            }
            Act::Choose(when, then, otherwise) => {
                let when = self.expr(depth, *when);
                for (word, acts) in [("where", then), ("unless", otherwise)] {
                    if !acts.is_empty() {
                        self.line(depth, &format!("{word} {when}"));
                        acts.iter().for_each(|act| self.act(depth + 1, act));
                    }
                }
            }
        }
    }
}

/// How a reduction combines with what is there.
fn operator(op: &Op) -> &'static str {
    match op {
        Op::Reduce(op, _) => match op {
            ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Count => "+",
            ReduceOp::Prod => "*",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "or",
            ReduceOp::All => "and",
        },
        Op::Map | Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => "",
    }
}
