//! Why the chosen cascade equals the one that was written: a chain of laws, each applied to one subterm.
//!
//! ```text
//! exp(S - S.max) = exp(S)·exp(-S.max)                     exp-of-sum, needs a gauge       n: 3 → 3 passes
//! Σₙ exp(S)·exp(-S.max) = exp(-S.max)·Σₙ exp(S)           factor-out, moves a rounding    n: 3 → 2 passes
//! ```
//!
//! Laws that are no equations of terms (`chunk/`) come first and last, each as the einsums that it replaces and those that
//! it puts in their place. A derivation is found once more on an e-graph that remembers how its classes merged. Its terms live in a
//! [`Notebook`], where nothing is ever merged, so that what is known of a term there is true of it as it stands.

mod blocks;
mod chunks;
mod notation;
mod proof;
mod replay;

use std::collections::{BTreeMap, HashMap};

use egg::Language;

pub use blocks::Block;
pub use replay::{Disagreement, Replay};

use super::build::Build;
use super::extract::Choice;
use super::facts::Graph;
use super::term::{Class, Term};
use super::{Candidate, Report, Variants, translate, write};
use crate::analyze::stage::passes;
use crate::ir::cascade::{Cascade, RankId, TensorId};
use notation::Notation;

/// How many applications of laws are spelled out at most; what is beyond is counted.
const STEPS: usize = 300;

/// The proof that two cascades are equal.
pub struct Derivation {
    /// How the search went that found it.
    pub report: Report,
    /// The cascade that it ends with.
    pub chosen: Cascade,
    /// The laws that were applied, in order.
    pub steps: Vec<Step>,
    /// How many more there are than are spelled out.
    pub beyond: usize,
    /// How many steps only put operands in another order; they are not among the steps.
    pub reordered: usize,
    /// What keeps the chosen cascade from fewer passes.
    pub blocks: Vec<Block>,
    /// Subterms that the notation has names for, with what they stand for.
    pub named: Vec<(String, String)>,
    notebook: Notebook,
    /// For each output, the term that it ends with.
    last: BTreeMap<TensorId, Class>,
}

/// One law, applied to one subterm wherever it occurs in the same context.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name of the rule.
    pub rule: &'static str,
    /// What it says.
    pub law: &'static str,
    /// What it does to numbers of finite precision.
    pub exactness: &'static str,
    /// From left to right, as the law is written.
    pub forward: bool,
    /// The subterm before.
    pub before: String,
    /// The subterm after.
    pub after: String,
    /// For each rank that is reduced over, the passes of the whole before and after.
    pub passes: Vec<(RankId, u32, u32)>,
    whole: Whole,
}

/// All that is computed after a step.
#[derive(Debug, Clone)]
enum Whole {
    /// For each output, its term.
    Terms(BTreeMap<TensorId, Class>),
    /// A cascade that no term of the e-graph stands for.
    Cascade(Box<Cascade>),
}

/// Terms side by side, none merged with another.
pub(super) struct Notebook {
    graph: Graph,
    /// The terms of the tensors as written.
    tensors: HashMap<TensorId, Class>,
    /// The most passes along each family of ranks that a term and what it is made of need.
    most: HashMap<Class, Vec<u32>>,
}

impl Notebook {
    fn new(cascade: &Cascade) -> Notebook {
        let mut graph = translate::empty(cascade);
        let tensors = translate::translate(&mut graph);
        Notebook { graph, tensors, most: HashMap::new() }
    }

    fn add(&mut self, term: &Term, operands: &[Class]) -> Class {
        self.graph.exactly(&term.with(operands))
    }

    fn term(&self, class: Class) -> &Term {
        self.graph.id_to_node(class)
    }

    fn passes(&mut self, class: Class) -> Vec<u32> {
        let mut todo = vec![class];
        while let Some(&class) = todo.last() {
            let operands = self.term(class).children().to_vec();
            let missing = operands.iter().copied().filter(|it| !self.most.contains_key(it));
            let n_known = todo.len();
            todo.extend(missing);
            if todo.len() > n_known {
                continue;
            }
            let mut most: Vec<u32> = self.graph.facts(class).passes.iter().map(passes).collect();
            for operand in operands {
                most.iter_mut().zip(&self.most[&operand]).for_each(|(a, b)| *a = (*a).max(*b));
            }
            self.most.insert(class, most);
            todo.pop();
        }
        self.most[&class].clone()
    }

    /// The most passes along each family of ranks of all outputs.
    fn whole(&mut self, outputs: &BTreeMap<TensorId, Class>) -> Vec<u32> {
        let all: Vec<Vec<u32>> = outputs.values().map(|&it| self.passes(it)).collect();
        let families = 0..self.graph.analysis.families.len();
        families.map(|family| all.iter().map(|it| it[family]).max().unwrap_or(0)).collect()
    }

    /// The cascade that computes its outputs by exactly these terms.
    fn cascade(&self, outputs: &BTreeMap<TensorId, Class>) -> Cascade {
        let mut page = Notebook::new(&self.graph.analysis.cascade);
        let mut copies = HashMap::new();
        for (&tensor, &class) in outputs {
            let class = copied(self, &mut page, class, &mut copies);
            page.tensors.insert(tensor, class);
        }
        let choice = Choice::only(&page.graph);
        write::write(&page.graph, &choice, &page.tensors)
    }
}

/// The same term in another notebook.
fn copied(from: &Notebook, to: &mut Notebook, class: Class, copies: &mut HashMap<Class, Class>) -> Class {
    if let Some(&copy) = copies.get(&class) {
        return copy;
    }
    let term = from.term(class).clone();
    let operands: Vec<Class> = term.children().iter().map(|&it| copied(from, to, it, copies)).collect();
    let copy = to.add(&term, &operands);
    copies.insert(class, copy);
    copy
}

/// Finds the laws that lead to the cascade that is chosen.
pub fn explain(cascade: &Cascade, choose: fn(&Variants) -> Candidate) -> Derivation {
    // Proofs nest as deeply as terms do.
    const STACK: usize = 1 << 29;
    std::thread::scope(|scope| {
        let worker =
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || derive(cascade, choose));
        worker.expect("a thread can be started").join().expect("a derivation is found")
    })
}

fn derive(written: &Cascade, choose: fn(&Variants) -> Candidate) -> Derivation {
    let carried = super::prepared(written);
    let mut derivation = of_terms(carried.last().map_or(written, |it| &it.cascade), choose);
    let finished = super::finished(&derivation.chosen, super::Walker::Thread);
    let mut steps = chunks::steps(written, &carried);
    steps.append(&mut derivation.steps);
    steps.extend(chunks::steps(&derivation.chosen, &finished));
    if let Some(last) = finished.into_iter().next_back() {
        derivation.chosen = last.cascade;
    }
    Derivation { steps, ..derivation }
}

/// The derivation in the e-graph.
fn of_terms(cascade: &Cascade, choose: fn(&Variants) -> Candidate) -> Derivation {
    let graph = translate::empty(cascade).with_explanations_enabled();
    let mut variants = super::saturated(graph);
    let Candidate { cascade: chosen, choice, .. } = choose(&variants);
    let mut notebook = Notebook::new(cascade);
    let proof = match choice {
        Some(choice) => proof::prove(&mut variants, &choice, &mut notebook),
        None => proof::none(&notebook),
    };
    let ranks = families(cascade, &notebook);
    let mut notation = Notation::new(&notebook);
    let mut derivation = Derivation {
        report: variants.report,
        chosen,
        steps: Vec::new(),
        beyond: 0,
        reordered: 0,
        blocks: Vec::new(),
        named: Vec::new(),
        notebook: Notebook::new(cascade),
        last: proof.last,
    };
    let mut before = notebook.whole(&proof.first);
    for law in proof.laws {
        if matches!(law.rule.name, "commute" | "associate") {
            derivation.reordered += 1;
            continue;
        }
        if derivation.steps.len() == STEPS {
            derivation.beyond += 1;
            continue;
        }
        let after = notebook.whole(&law.whole);
        let passes = ranks.iter().map(|&(rank, family)| (rank, before[family], after[family])).collect();
        before = after;
        derivation.steps.push(Step {
            rule: law.rule.name,
            law: law.rule.law,
            exactness: law.rule.exactness.name(),
            forward: law.forward,
            before: notation.show(&notebook, law.before),
            after: notation.show(&notebook, law.after),
            passes,
            whole: Whole::Terms(law.whole),
        });
    }
    derivation.blocks = blocks::blocks(&notebook, &derivation.last, &mut notation);
    derivation.named = notation.named();
    derivation.notebook = notebook;
    derivation
}

/// The ranks that callers know and that something reduces over, each with its family.
fn families(cascade: &Cascade, notebook: &Notebook) -> Vec<(RankId, usize)> {
    let all = &notebook.graph.analysis.families;
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local);
    ranks
        .filter_map(|(rank, _)| {
            let family = all.iter().position(|it| it == cascade.exprs.atoms(rank))?;
            Some((rank, family))
        })
        .collect()
}
