//! What the e-graph remembers of its merges to a chain of laws on whole terms.
//!
//! egg answers with trees: a proof is a list of moves, and a move applies a law to the whole term or holds
//! proofs for its operands. Proofs are shared. Here a shared proof is walked once, and all places that share
//! it change at once, as in `D = Σₙ N;  O = Σₙ N·V / D`, where the law that rewrites `N` does so in both sums.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use egg::{Language, TreeTerm};

use super::super::extract::Choice;
use super::super::rules::{self, Rule};
use super::super::term::{Class, Term};
use super::super::{Graph, Variants};
use super::Notebook;
use crate::ir::cascade::TensorId;

/// A chain of laws.
pub(super) struct Proof {
    /// The terms of the outputs as written.
    pub(super) first: BTreeMap<TensorId, Class>,
    /// What is applied, in order.
    pub(super) laws: Vec<Law>,
    /// The terms of the outputs as chosen.
    pub(super) last: BTreeMap<TensorId, Class>,
}

/// One law, applied.
pub(super) struct Law {
    pub(super) rule: &'static Rule,
    pub(super) forward: bool,
    pub(super) before: Class,
    pub(super) after: Class,
    /// The terms of the outputs after it.
    pub(super) whole: BTreeMap<TensorId, Class>,
}

/// What is compiled as written needs no proof.
pub(super) fn none(notebook: &Notebook) -> Proof {
    let outputs = notebook.graph.analysis.cascade.outputs();
    let first: BTreeMap<TensorId, Class> = outputs.map(|it| (it, notebook.tensors[&it])).collect();
    Proof { last: first.clone(), laws: Vec::new(), first }
}

/// Proves that every output as written equals what was chosen for it. Classes of the result are those of the notebook.
pub(super) fn prove(variants: &mut Variants, choice: &Choice, notebook: &mut Notebook) -> Proof {
    let outputs: Vec<TensorId> = variants.graph.analysis.cascade.outputs().collect();
    let mut built = HashMap::new();
    let mut shared = Shared { notebook, trees: HashMap::new(), known: HashMap::new(), lists: Vec::new() };
    let mut roots = BTreeMap::new();
    for output in outputs {
        let written = variants.tensors[&output];
        let chosen = build(&mut variants.graph, choice, written, &mut built);
        let explanation = variants.graph.explain_id_equivalence(written, chosen);
        roots.insert(output, shared.list(&explanation.explanation_trees));
    }
    let first = roots.iter().map(|(&output, &list)| (output, shared.lists[list].first)).collect();
    let mut walk = Walk { at: vec![0; shared.lists.len()], shared, roots, laws: Vec::new() };
    for root in walk.roots.values().copied().collect::<Vec<_>>() {
        walk.list(root);
    }
    Proof { first, last: walk.whole(), laws: walk.laws }
}

/// The chosen term of a class, node by node.
fn build(graph: &mut Graph, choice: &Choice, class: Class, built: &mut HashMap<Class, Class>) -> Class {
    let class = graph.find(class);
    if let Some(&id) = built.get(&class) {
        return id;
    }
    let term = choice.term(graph, class).clone();
    let operands: Vec<Class> = term.children().iter().map(|&it| build(graph, choice, it, built)).collect();
    let id = graph.add_uncanonical(term.with(&operands));
    built.insert(class, id);
    id
}

/// A proof that two terms are equal.
struct List {
    first: Class,
    last: Class,
    moves: Vec<Move>,
}

#[derive(Clone)]
struct Move {
    how: How,
    from: Class,
    to: Class,
}

#[derive(Clone)]
enum How {
    /// By a law.
    Law(&'static Rule, bool),
    /// In the operands: a proof for each.
    Inside(Term, Vec<usize>),
}

/// Proofs by what they are made of, each once.
struct Shared<'a> {
    notebook: &'a mut Notebook,
    /// Trees that were seen, kept so that none gets the address of another.
    trees: HashMap<*const TreeTerm<Term>, (Rc<TreeTerm<Term>>, Tree)>,
    known: HashMap<(Class, Vec<(Class, Class)>), usize>,
    lists: Vec<List>,
}

#[derive(Clone)]
struct Tree {
    law: Option<(&'static Rule, bool)>,
    inside: Move,
}

impl Shared<'_> {
    fn list(&mut self, trees: &[Rc<TreeTerm<Term>>]) -> usize {
        let mut moves: Vec<Move> = Vec::new();
        let mut first = None;
        for tree in trees {
            let tree = self.tree(tree);
            let start = tree.inside.from;
            let before = moves.last().map_or(*first.get_or_insert(start), |it| it.to);
            if let Some((rule, forward)) = tree.law {
                push(&mut moves, Move { how: How::Law(rule, forward), from: before, to: start });
            }
            push(&mut moves, tree.inside);
        }
        let first = first.expect("a proof has a term");
        let last = moves.last().map_or(first, |it| it.to);
        let key = (first, moves.iter().map(|it| (it.from, it.to)).collect());
        if let Some(&list) = self.known.get(&key) {
            return list;
        }
        self.lists.push(List { first, last, moves });
        self.known.insert(key, self.lists.len() - 1);
        self.lists.len() - 1
    }

    fn tree(&mut self, tree: &Rc<TreeTerm<Term>>) -> Tree {
        if let Some((_, known)) = self.trees.get(&Rc::as_ptr(tree)) {
            return known.clone();
        }
        let inside: Vec<usize> = tree.child_proofs.iter().map(|it| self.list(it)).collect();
        let of = |of: fn(&List) -> Class| inside.iter().map(|&it| of(&self.lists[it])).collect::<Vec<_>>();
        let (first, last) = (of(|it| it.first), of(|it| it.last));
        let (from, to) = (self.notebook.add(&tree.node, &first), self.notebook.add(&tree.node, &last));
        let named =
            |name: &str| rules::all().find(|it| it.name == name).expect("laws are those of the tables");
        let law = match (&tree.forward_rule, &tree.backward_rule) {
            (Some(name), _) => Some((named(name.as_str()), true)),
            (None, Some(name)) => Some((named(name.as_str()), false)),
            (None, None) => None,
        };
        let result = Tree { law, inside: Move { how: How::Inside(tree.node.clone(), inside), from, to } };
        self.trees.insert(Rc::as_ptr(tree), (Rc::clone(tree), result.clone()));
        result
    }
}

/// Adds a move; one that leads back to an earlier term takes with it what lies between.
fn push(moves: &mut Vec<Move>, new: Move) {
    if let Some(earlier) = moves.iter().position(|it| it.from == new.to) {
        moves.truncate(earlier);
    } else if new.from != new.to {
        moves.push(new);
    }
}

/// The walk along all proofs.
struct Walk<'a> {
    shared: Shared<'a>,
    /// For each list, how many moves are made.
    at: Vec<usize>,
    roots: BTreeMap<TensorId, usize>,
    laws: Vec<Law>,
}

impl Walk<'_> {
    fn list(&mut self, list: usize) {
        while let Some(next) = self.shared.lists[list].moves.get(self.at[list]).cloned() {
            match next.how {
                How::Law(rule, forward) => {
                    self.at[list] += 1;
                    let whole = self.whole();
                    self.laws.push(Law { rule, forward, before: next.from, after: next.to, whole });
                }
                How::Inside(_, inside) => {
                    inside.into_iter().for_each(|it| self.list(it));
                    self.at[list] += 1;
                }
            }
        }
    }

    /// The terms of the outputs as they are now.
    fn whole(&mut self) -> BTreeMap<TensorId, Class> {
        let mut now = HashMap::new();
        let roots = self.roots.clone();
        roots.into_iter().map(|(output, list)| (output, self.now(list, &mut now))).collect()
    }

    fn now(&mut self, list: usize, known: &mut HashMap<usize, Class>) -> Class {
        if let Some(&class) = known.get(&list) {
            return class;
        }
        let class = match self.shared.lists[list].moves.get(self.at[list]).cloned() {
            None => self.shared.lists[list].last,
            Some(Move { how: How::Law(..), from, .. }) => from,
            Some(Move { how: How::Inside(term, inside), .. }) => {
                let operands: Vec<Class> = inside.iter().map(|&it| self.now(it, known)).collect();
                self.shared.notebook.add(&term, &operands)
            }
        };
        known.insert(list, class);
        class
    }
}
