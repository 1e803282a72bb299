//! A cascade as text: ranks, parameters and tensors as declared, then einsums in order of evaluation.
//!
//! ```text
//! kernel attention
//!   rank b, m, n, d, e
//!   input Q[b, m, d]: f32
//!   …
//!   S[b, m, n] = sum[d](Q * K)
//!   P.max[b, m] = max[n](S)
//! ```

use std::fmt::Write;

use super::expr::expr;
use crate::ir::cascade::{
    At, Cascade, Dim, Einsum, ExprId, Extent, ExtentFault, Op, ParamValue, RankId, Role, Step, Tensor,
    TensorId,
};

/// The text of a cascade.
pub fn cascade(cascade: &Cascade) -> String {
    let mut printer = Printer { cascade, out: format!("kernel {}\n", cascade.name) };
    printer.ranks();
    printer.params();
    for id in cascade.inputs() {
        let Tensor { name, dims, .. } = &cascade.tensors[id];
        let dims: Vec<At> = dims.iter().map(|dim| At::Rank(dim.rank, 0)).collect();
        let line = format!("input {name}{}{}", printer.at(&dims), printer.stored(id));
        printer.line(1, &line);
    }
    printer.conditions();
    cascade.steps.iter().for_each(|it| printer.step(1, it));
    printer.out
}

/// Writes lines about a cascade.
pub(super) struct Printer<'a> {
    pub(super) cascade: &'a Cascade,
    pub(super) out: String,
}

impl<'a> Printer<'a> {
    pub(super) fn step(&mut self, depth: usize, step: &Step) {
        match step {
            Step::Einsum(it) => self.einsum(depth, it),
            Step::Recurrence(it) => {
                let rank = self.rank(it.rank);
                self.line(depth, &format!("recurrence {rank}"));
                it.bases.iter().for_each(|it| self.einsum(depth + 1, it));
                self.line(depth, &format!("for {rank}"));
                it.body.iter().for_each(|it| self.einsum(depth + 1, it));
            }
        }
    }

    pub(super) fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{:1$}{text}", "", 2 * depth).expect("a string takes every text");
    }

    pub(super) fn rank(&self, id: RankId) -> &'a str {
        &self.cascade.ranks[id].name
    }

    fn list(&self, ranks: &[RankId]) -> String {
        ranks.iter().map(|&it| self.rank(it)).collect::<Vec<_>>().join(", ")
    }

    /// The lines of what is shared, and the text itself.
    pub(super) fn expr(&mut self, depth: usize, id: ExprId) -> String {
        let (lines, text) = expr(self.cascade, id);
        lines.iter().for_each(|it| self.line(depth, it));
        text
    }

    fn ranks(&mut self) {
        for (_, rank) in self.cascade.ranks.iter() {
            let parts = if rank.parts.is_empty() {
                String::new()
            } else {
                format!(" = ({})", self.list(&rank.parts))
            };
            let extent = match rank.extent {
                Extent::Fixed(extent) => format!(" of {extent}"),
                Extent::Carried => String::new(),
                Extent::Derived(value) => format!(" of {}", self.expr(1, value)),
            };
            let local = if rank.local { "local rank" } else { "rank" };
            self.line(1, &format!("{local} {}{parts}{extent}", rank.name));
        }
    }

    fn params(&mut self) {
        for (_, param) in self.cascade.params.iter() {
            let (word, value) = match param.value {
                ParamValue::Fixed(value) => ("fixed param", Some(value)),
                ParamValue::Launch(value) => ("param", value),
            };
            let value = value.map(|it| format!(" = {}", self.expr(1, it))).unwrap_or_default();
            self.line(1, &format!("{word} {}: {}{value}", param.name, param.dtype.name()));
        }
    }

    fn conditions(&mut self) {
        for check in &self.cascade.checks {
            let fault = match check.fault {
                ExtentFault::Range => "range",
                ExtentFault::Disagree => "agreement",
            };
            let (rank, condition) = (self.rank(check.rank), self.expr(1, check.condition));
            self.line(1, &format!("check {fault} of {rank}: {condition}"));
        }
        for assume in &self.cascade.assumes {
            let (ranks, condition) = (self.list(&assume.ranks), self.expr(1, assume.condition));
            self.line(1, &format!("assume[{ranks}] {condition}"));
        }
    }

    pub(super) fn einsum(&mut self, depth: usize, einsum: &Einsum) {
        self.assign(depth, einsum, "");
    }

    /// An einsum whose result is combined with what is there by that operator.
    pub(super) fn assign(&mut self, depth: usize, einsum: &Einsum, combine: &str) {
        let exact = if einsum.exact { "exact " } else { "" };
        let Tensor { name, role, .. } = &self.cascade.tensors[einsum.tensor];
        let output = if *role == Role::Output { "output " } else { "" };
        let left = format!("{exact}{output}{name}{}{}", self.at(&einsum.at), self.stored(einsum.tensor));
        let value = self.expr(depth, einsum.value);
        let right = match (&einsum.op, einsum.op.name()) {
            (Op::Select(_, from, to), Some(op)) => {
                format!("{op}[{} -> {}]({value})", self.rank(*from), self.rank(*to))
            }
            (Op::Scan(_, rank) | Op::Place(rank), Some(op)) => format!("{op}[{}]({value})", self.rank(*rank)),
            (reduction, Some(op)) => format!("{op}[{}]({value})", self.list(reduction.reduced())),
            (_, None) => value,
        };
        self.line(depth, &format!("{left} {combine}= {right}"));
    }

    /// Coordinates on the left.
    fn at(&self, at: &[At]) -> String {
        let coords = at.iter().map(|it| match it {
            At::Rank(rank, 0) => self.rank(*rank).to_owned(),
            At::Rank(rank, shift) => format!("{}+{shift}", self.rank(*rank)),
            At::Const(coord) => coord.to_string(),
        });
        let coords = coords.collect::<Vec<_>>().join(", ");
        if at.is_empty() { coords } else { format!("[{coords}]") }
    }

    /// What a tensor stores, or else the kind of its values.
    fn stored(&self, id: TensorId) -> String {
        let Tensor { dtype, kind, dims, .. } = &self.cascade.tensors[id];
        let kind = dtype.map_or_else(|| format!("{kind:?}").to_lowercase(), |it| it.name().to_owned());
        let lags = dims.iter().filter(|dim| dim.lag > 0);
        let lags: String = lags.map(|Dim { rank, lag }| format!(" {}+{lag}", self.rank(*rank))).collect();
        format!(": {kind}{lags}")
    }
}
