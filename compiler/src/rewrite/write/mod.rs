//! Chosen terms back to a cascade: every reduction is an einsum, everything else is written into its readers.
//!
//! Strict reductions become those of the language, which give their identity over nothing. Where that
//! can be seen, the result is restricted to the points that its terms are present at:
//!
//! ```text
//! Else(Product(Reduce(Sum, a), Power(-1, Reduce(Sum, z))), 0)     (a / z where any) else 0
//! ```

mod arithmetic;
mod invariant;
mod presence;

use std::collections::{BTreeSet, HashMap, HashSet};

use attnc_dsl::ast::Kind;
use egg::Language;

use super::build::Build;
use super::domain::{Atom, Domain};
use super::extract::Choice;
use super::facts::Graph;
use super::term::{Class, Term, identity, is_strict_reduction};
use crate::ir::cascade::{
    At, Cascade, Dim, Einsum, ExprId, Op, RankId, ReduceOp, Role, Step, Tensor, TensorId,
};
use crate::ir::expr::{BinaryOp, Expr};
use crate::ir::order::Order;

/// The cascade that computes its outputs by the chosen terms. `tensors` has the class of every tensor as written.
pub(crate) fn write(graph: &Graph, choice: &Choice, tensors: &HashMap<TensorId, Class>) -> Cascade {
    let written = &graph.analysis.cascade;
    let mut cascade = written.clone();
    cascade.steps.clear();
    let mut names: HashMap<Class, TensorId> = HashMap::new();
    let mut known: Vec<(&TensorId, &Class)> = tensors.iter().collect();
    known.sort();
    for (&tensor, &class) in known {
        names.entry(graph.find(class)).or_insert(tensor);
    }
    let mut writer = Writer {
        graph,
        choice,
        tensors,
        names,
        order: Order::of(&cascade),
        cascade,
        made: HashMap::new(),
        present: HashMap::new(),
        values: HashMap::new(),
        defined: HashSet::new(),
        root: String::new(),
        around: Vec::new(),
    };
    for tensor in kept(graph, choice, tensors) {
        writer.copy(tensor);
    }
    for output in written.outputs().collect::<Vec<_>>() {
        writer.root.clone_from(&written.tensors[output].name);
        let class = graph.find(tensors[&output]);
        if !writer.defined.contains(&output) {
            writer.define(class, output);
        }
    }
    let defined: HashSet<TensorId> = writer.cascade.einsums().map(|it| it.tensor).collect();
    let mut cascade = writer.cascade;
    // A tensor that nothing defines any more is nobody's intermediate.
    for id in cascade.tensors.ids() {
        if cascade.tensors[id].role == Role::Intermediate && !defined.contains(&id) {
            cascade.tensors[id].role = Role::Temporary;
        }
    }
    cascade
}

/// The tensors that chosen terms take as written.
fn kept(graph: &Graph, choice: &Choice, tensors: &HashMap<TensorId, Class>) -> BTreeSet<TensorId> {
    let outputs = graph.analysis.cascade.outputs();
    let mut todo: Vec<Class> = outputs.map(|it| graph.find(tensors[&it])).collect();
    let mut seen = BTreeSet::new();
    let mut kept = BTreeSet::new();
    while let Some(class) = todo.pop() {
        if seen.insert(class) {
            let term = choice.term(graph, class);
            todo.extend(term.children().iter().map(|it| graph.find(*it)));
            if let Term::Written(tensor) = term {
                kept.insert(*tensor);
            }
        }
    }
    kept
}

struct Writer<'a> {
    graph: &'a Graph,
    choice: &'a Choice,
    tensors: &'a HashMap<TensorId, Class>,
    /// The tensors as written, by class.
    names: HashMap<Class, TensorId>,
    cascade: Cascade,
    /// In which order its tensors have their ranks.
    order: Order,
    /// Classes that are tensors of the new cascade.
    made: HashMap<Class, TensorId>,
    /// Tensors that say where there is a point.
    present: HashMap<Atom, TensorId>,
    /// Values that are written already.
    values: HashMap<Class, Value>,
    /// Outputs, tensors kept as written and those read at other coordinates, once they have their steps.
    defined: HashSet<TensorId>,
    /// The output that is being defined, after which temporaries are called.
    root: String,
    /// The part-less ranks of the points that are being reduced; none outside of reductions.
    around: Vec<RankId>,
}

/// An expression for a class, right wherever the class is present.
#[derive(Clone)]
struct Value {
    expr: ExprId,
    /// What has to hold besides the expression's own presence for the class to be present.
    unsaid: Domain,
}

impl Writer<'_> {
    /// Defines an output.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn define(&mut self, class: Class, output: TensorId) {
        let dims = self.cascade.tensors[output].dims.clone();
        let at = dims.iter().map(|dim| At::Rank(dim.rank, 0)).collect();
        // An output may have a rank that its value is summed over and so does not depend on.
        let own = self.graph.analysis.ranks_of(output);
        let is_free = |ranks: &[RankId]| !ranks.iter().any(|it| own.contains(it));
        let (op, value) = match self.choice.term(self.graph, class).clone() {
            Term::Reduce(op, ranks, [body]) if is_free(&ranks) => {
                (Op::Reduce(op, ranks.to_vec()), self.reduced(body))
            }
            Term::Else([value, other]) => match self.reduction_or(value, other) {
                Some((op, ranks, body))
                    if is_free(&ranks) && !self.made.contains_key(&self.graph.find(value)) =>
                {
                    (Op::Reduce(op, ranks), self.reduced(body))
                }
                _ => (Op::Map, self.exact(class)),
            },
            _ => (Op::Map, self.exact(class)),
        };
        self.cascade.steps.push(Step::Einsum(Einsum { tensor: output, at, op, value, exact: false }));
        self.defined.insert(output);
        // Read for the class, it must not bring ranks along that the class does not depend on.
        let facts = self.graph.facts(class);
        if own.iter().all(|it| facts.free.contains(it)) {
            self.values.remove(&class);
            self.made.entry(class).or_insert(output);
        }
    }

    /// A reduction whose identity is what stands in for it where there is nothing.
    fn reduction_or(&self, value: Class, other: Class) -> Option<(ReduceOp, Vec<RankId>, Class)> {
        let Term::Reduce(op, ranks, [body]) = self.choice.term(self.graph, value) else { return None };
        let integer = match self.graph.facts(other).constant {
            Some(Term::Int(0)) => *op == ReduceOp::Sum,
            Some(Term::Int(1)) => *op == ReduceOp::Prod,
            _ => false,
        };
        let real = identity(*op).is_some() && self.graph.constant_real(other) == identity(*op);
        (integer || real).then(|| (*op, ranks.to_vec(), *body))
    }

    /// An expression with the presence of the class.
    fn exact(&mut self, class: Class) -> ExprId {
        let Value { expr, unsaid } = self.value(class);
        self.restricted(expr, &unsaid)
    }

    fn restricted(&mut self, expr: ExprId, domain: &Domain) -> ExprId {
        match self.holds(domain) {
            Some(condition) => self.cascade.exprs.add(Expr::Where(expr, condition)),
            None => expr,
        }
    }

    fn value(&mut self, class: Class) -> Value {
        let class = self.graph.find(class);
        if let Some(value) = self.values.get(&class) {
            return value.clone();
        }
        let value = match self.made.get(&class) {
            Some(&tensor) => Value { expr: self.read(tensor), unsaid: Domain::new() },
            None => self.computed(class),
        };
        self.values.insert(class, value.clone());
        value
    }

    /// A tensor at its own coordinates.
    fn read(&mut self, tensor: TensorId) -> ExprId {
        let it = &self.cascade.tensors[tensor];
        let (kind, ranks): (Kind, Vec<RankId>) = (it.kind, it.dims.iter().map(|dim| dim.rank).collect());
        let coords = ranks.into_iter().map(|rank| self.cascade.exprs.index(rank)).collect();
        self.cascade.exprs.add(Expr::Read(tensor, coords, kind))
    }

    fn term(&mut self, class: Class, term: &Term) -> Value {
        let said = |expr| Value { expr, unsaid: Domain::new() };
        match term {
            Term::Int(value) => said(self.cascade.exprs.int(*value)),
            Term::Real(bits) => said(self.cascade.exprs.add(Expr::Real(*bits))),
            Term::Bool(value) => said(self.cascade.exprs.add(Expr::Bool(*value))),
            Term::Extent(rank) => said(self.cascade.exprs.add(Expr::Extent(*rank))),
            Term::Index(rank) => said(self.cascade.exprs.index(*rank)),
            Term::Param(param, kind) => said(self.cascade.exprs.add(Expr::Param(*param, *kind))),
            Term::Written(tensor) => said(self.read(*tensor)),
            Term::Input(tensor, kind, coords) => {
                let coords = coords.iter().map(|it| self.exact(*it)).collect();
                said(self.cascade.exprs.add(Expr::Read(*tensor, coords, *kind)))
            }
            Term::Read(tensor, kind, operands) => {
                self.materialised(operands[0], *tensor);
                let coords = operands[1..].iter().map(|it| self.exact(*it)).collect();
                said(self.cascade.exprs.add(Expr::Read(*tensor, coords, *kind)))
            }
            Term::Reduce(op, ranks, [body]) => self.reduction(class, *op, ranks, *body),
            Term::Union(op, all) => self.union(class, *op, all),
            Term::Product(factors) => self.product(factors),
            Term::Sum(terms) => self.sum(terms),
            Term::Power(bits, [base]) => self.power(f64::from_bits(*bits), *base),
            Term::Unary(op, [a]) => self.strict(&[*a], |exprs, it| exprs.add(Expr::Unary(*op, it[0]))),
            Term::Binary(op @ (BinaryOp::And | BinaryOp::Or), [a, b]) => {
                let (a, b) = (self.exact(*a), self.exact(*b));
                said(self.cascade.exprs.add(Expr::Binary(*op, a, b)))
            }
            Term::Binary(op, [a, b]) => {
                self.strict(&[*a, *b], |exprs, it| exprs.add(Expr::Binary(*op, it[0], it[1])))
            }
            Term::Compare(op, [a, b]) => {
                self.strict(&[*a, *b], |exprs, it| exprs.add(Expr::Compare(*op, it[0], it[1])))
            }
            Term::Cast(dtype, [a]) => self.strict(&[*a], |exprs, it| exprs.add(Expr::Cast(*dtype, it[0]))),
            Term::Where([value, condition]) => {
                self.strict(&[*value, *condition], |exprs, it| exprs.add(Expr::Where(it[0], it[1])))
            }
            Term::Else([value, other]) => self.otherwise(*value, *other),
            Term::If([condition, a, b]) => {
                let (c, a, b) = (self.exact(*condition), self.exact(*a), self.exact(*b));
                said(self.cascade.exprs.add(Expr::If(c, a, b)))
            }
            Term::Present([a]) => {
                let domain = self.graph.facts(*a).domain.clone();
                let expr = self.holds(&domain);
                said(expr.unwrap_or_else(|| self.cascade.exprs.add(Expr::Bool(true))))
            }
            Term::Pick(all) => {
                let all: Vec<ExprId> = all.iter().map(|it| self.exact(*it)).collect();
                said(self.cascade.exprs.add(Expr::Pick(all[0], all[1..].to_vec())))
            }
        }
    }

    /// An operation that is absent where an operand is.
    fn strict(
        &mut self,
        operands: &[Class],
        make: impl FnOnce(&mut crate::ir::expr::Exprs, &[ExprId]) -> ExprId,
    ) -> Value {
        let values: Vec<Value> = operands.iter().map(|it| self.value(*it)).collect();
        let exprs: Vec<ExprId> = values.iter().map(|it| it.expr).collect();
        let unsaid = values.into_iter().flat_map(|it| it.unsaid).collect();
        Value { expr: make(&mut self.cascade.exprs, &exprs), unsaid }
    }

    fn otherwise(&mut self, value: Class, other: Class) -> Value {
        let expr = if self.reduction_or(value, other).is_some() {
            self.value(value).expr
        } else {
            let (value, other) = (self.exact(value), self.exact(other));
            self.cascade.exprs.add(Expr::Else(value, other))
        };
        Value { expr, unsaid: Domain::new() }
    }

    fn reduction(&mut self, class: Class, op: ReduceOp, ranks: &[RankId], body: Class) -> Value {
        let value = self.reduced(body);
        let tensor = self.tensor_for(class, op.name(), value);
        self.push(tensor, Op::Reduce(op, ranks.to_vec()), value);
        self.made.insert(class, tensor);
        let strict = is_strict_reduction(op) && !self.is_exact_in_language(class, op);
        let unsaid = if strict { self.graph.facts(class).domain.clone() } else { Domain::new() };
        let expr = self.read(tensor);
        let value = Value { expr, unsaid };
        self.values.insert(class, value.clone());
        value
    }

    /// Maxima and minima of integers over nothing are absent in the language, too.
    fn is_exact_in_language(&self, class: Class, op: ReduceOp) -> bool {
        self.graph.facts(class).kind == Kind::Int && matches!(op, ReduceOp::Max | ReduceOp::Min)
    }

    fn push(&mut self, tensor: TensorId, op: Op, value: ExprId) {
        let at = self.cascade.tensors[tensor].dims.iter().map(|dim| At::Rank(dim.rank, 0)).collect();
        self.cascade.steps.push(Step::Einsum(Einsum { tensor, at, op, value, exact: false }));
    }

    /// The tensor that a class becomes: the one that was written for it, or a new one.
    fn tensor_for(&mut self, class: Class, what: &str, value: ExprId) -> TensorId {
        let facts = self.graph.facts(class);
        if let Some(&tensor) = self.names.get(&class) {
            let it = &self.cascade.tensors[tensor];
            let ranks: BTreeSet<RankId> = self.graph.analysis.ranks_of(tensor).into_iter().collect();
            let fits = ranks.iter().copied().eq(facts.free.iter().copied());
            let taken = self.defined.contains(&tensor) || it.role == Role::Output;
            if fits && !taken && it.dtype.is_none() {
                return tensor;
            }
        }
        let ranks = self.cascade.composed(&facts.free, value);
        self.temporary(what, ranks, facts.kind)
    }

    fn temporary(&mut self, what: &str, ranks: Vec<RankId>, kind: Kind) -> TensorId {
        let ranks = self.order.sorted(&self.cascade.exprs, ranks);
        let dims = ranks.into_iter().map(|rank| Dim { rank, lag: 0 }).collect();
        let base = format!("{}.{what}", self.root);
        let taken = |cascade: &Cascade, name: &str| cascade.tensors.iter().any(|(_, it)| it.name == name);
        let name = std::iter::once(base.clone())
            .chain((2..).map(|number| format!("{base}{number}")))
            .find(|name| !taken(&self.cascade, name))
            .expect("numbers do not end");
        self.cascade.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Temporary })
    }

    /// A tensor that is read at other coordinates than its own is kept as a tensor.
    fn materialised(&mut self, definition: Class, tensor: TensorId) {
        let class = self.graph.find(definition);
        if self.defined.contains(&tensor) || self.made.get(&class) == Some(&tensor) {
            return;
        }
        self.defined.insert(tensor);
        self.values.remove(&class);
        let value = self.exact(class);
        self.push(tensor, Op::Map, value);
    }

    /// Keeps the step that defines a tensor as written, and all that it reads.
    fn copy(&mut self, tensor: TensorId) {
        if self.graph.analysis.cascade.tensors[tensor].role == Role::Input || !self.defined.insert(tensor) {
            return;
        }
        let defines = |step: &&Step| match step {
            Step::Einsum(it) => it.tensor == tensor,
            Step::Recurrence(it) => it.body.iter().any(|it| it.tensor == tensor),
        };
        let step = self.graph.analysis.cascade.steps.iter().find(defines).cloned();
        let step = step.expect("every tensor that is not an input is defined");
        let einsums: Vec<Einsum> = step.einsums().cloned().collect();
        self.defined.extend(einsums.iter().map(|it| it.tensor));
        for einsum in &einsums {
            for id in self.cascade.exprs.postorder(einsum.value) {
                if let Expr::Read(read, _, _) = *self.cascade.exprs.get(id) {
                    self.copy(read);
                }
            }
        }
        self.cascade.steps.push(step);
        for einsum in einsums {
            let class = self.graph.find(self.tensors[&einsum.tensor]);
            self.made.entry(class).or_insert(einsum.tensor);
        }
    }
}
