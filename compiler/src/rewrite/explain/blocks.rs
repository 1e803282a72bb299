//! What keeps a derivation from ending in fewer passes.
//!
//! ```text
//! max(0, 1.1·(exp(S) / Z) − 0.05)     needs K again after Z, and no law takes Z out of max
//! ```

use std::collections::{BTreeMap, BTreeSet};

use egg::Language;

use super::notation::Notation;
use super::{Notebook, families};
use crate::analyze::stage::{Source, State};
use crate::ir::cascade::{RankId, ReduceOp, TensorId};
use crate::rewrite::build::Build;
use crate::rewrite::term::{Class, Term};

/// Why a rank is traversed more than once in the chosen form.
#[derive(Debug, Clone)]
pub struct Block {
    /// The rank.
    pub rank: RankId,
    /// How often it is traversed.
    pub passes: u32,
    /// What is read again.
    pub again: Vec<String>,
    /// The term that reads it again.
    pub term: String,
    /// What has to be there before: it needs the whole fiber.
    pub after: Vec<String>,
    /// The operation that no law takes the statistic through.
    pub through: Option<String>,
}

/// For each rank that is traversed more than once, the first term that does so.
pub(super) fn blocks(
    notebook: &Notebook,
    outputs: &BTreeMap<TensorId, Class>,
    notation: &mut Notation,
) -> Vec<Block> {
    let order = order(notebook, outputs.values().copied());
    let all = families(&notebook.graph.analysis.cascade, notebook).into_iter();
    all.filter_map(|(rank, family)| block(notebook, &order, rank, family, notation)).collect()
}

/// Operands before operations.
fn order(notebook: &Notebook, roots: impl Iterator<Item = Class>) -> Vec<Class> {
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    let mut todo: Vec<(Class, bool)> = roots.map(|it| (it, false)).collect();
    while let Some((class, is_done)) = todo.pop() {
        if is_done {
            order.push(class);
        } else if seen.insert(class) {
            todo.push((class, true));
            todo.extend(notebook.term(class).children().iter().map(|it| (*it, false)));
        }
    }
    order
}

fn state(notebook: &Notebook, class: Class, family: usize) -> &State {
    &notebook.graph.facts(class).passes[family]
}

fn block(
    notebook: &Notebook,
    order: &[Class],
    rank: RankId,
    family: usize,
    notation: &mut Notation,
) -> Option<Block> {
    let passes = |class: Class| crate::analyze::stage::passes(state(notebook, class, family));
    let passes_in_all = order.iter().map(|&it| passes(it)).max().filter(|it| *it > 1)?;
    let at = order.iter().position(|&it| passes(it) > 1)?;
    let class = order[at];
    let cascade = &notebook.graph.analysis.cascade;
    let again = state(notebook, class, family).iter().filter_map(|(source, stage)| match source {
        Source::Tensor(tensor) if stage.pass > 1 => Some(cascade.tensors[tensor].name.clone()),
        Source::Tensor(_) | Source::Any => None,
    });
    let is_closed = |class: &Class| state(notebook, *class, family).is_closed();
    let operands = notebook.term(class).children().iter();
    let after = operands.filter(|it| is_closed(it)).map(|&it| notation.operand_text(notebook, it)).collect();
    let over = &notebook.graph.analysis.families[family];
    let through = obstacle(notebook, &order[at..], over);
    Some(Block {
        rank,
        passes: passes_in_all,
        again: again.collect(),
        term: notation.show(notebook, class),
        after,
        through: through.map(|it| notation.show(notebook, it)),
    })
}

/// The first operation on the way from a term to the end of the rank that is no arithmetic.
fn obstacle(notebook: &Notebook, order: &[Class], over: &[RankId]) -> Option<Class> {
    let mut reached = BTreeSet::from([order[0]]);
    for &class in order {
        let term = notebook.term(class);
        if !reached.contains(&class) && !term.children().iter().any(|it| reached.contains(it)) {
            continue;
        }
        reached.insert(class);
        match term {
            Term::Sum(_) | Term::Product(_) | Term::Where(_) | Term::Else(_) | Term::Input(..) => {}
            Term::Reduce(ReduceOp::Sum, ranks, _) => {
                let ends = ranks
                    .iter()
                    .any(|it| notebook.graph.analysis.atoms(*it).iter().any(|it| over.contains(it)));
                if ends {
                    return None;
                }
            }
            Term::Int(_)
            | Term::Real(_)
            | Term::Bool(_)
            | Term::Extent(_)
            | Term::Index(_)
            | Term::Param(..)
            | Term::Written(_)
            | Term::Read(..)
            | Term::Unary(..)
            | Term::Binary(..)
            | Term::Compare(..)
            | Term::Cast(..)
            | Term::If(_)
            | Term::Present(_)
            | Term::Pick(_)
            | Term::Power(..)
            | Term::Reduce(..)
            | Term::Union(..) => return Some(class),
        }
    }
    None
}
