//! The laws, by theme. Each row has a name, the law, what it does to floats, and the function that finds where it applies.
//!
//! A rule looks at one term of the graph and answers with pairs of equal terms: the one that it matched
//! and what it may be replaced by. It asks only for facts that can never turn false as classes merge.

#![allow(clippy::wildcard_enum_match_arm, reason = "a rule asks for some terms, whatever others there are")]

mod algebra;
mod exponential;
mod precise;
mod presence;
mod reduction;
#[cfg(test)]
mod tests;

use super::build::Build;
use super::facts::Graph;
use super::term::{Class, Term};
use crate::analyze::stage::{State, passes};
use crate::ir::cascade::RankId;
use crate::ir::expr::UnaryOp;

/// One law of arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Its name in explanations.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) law: &'static str,
    /// From when on it is tried.
    pub(crate) phase: Phase,
    /// What it does to rounding and range.
    pub(crate) exactness: Exactness,
    /// Where it applies to a term: pairs of equal terms.
    pub(crate) find: fn(&mut Graph, &Term) -> Vec<Equation>,
}

/// When a rule is tried. Each phase runs until its rules, and those of the phases before, find nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Ways to write the same that differ in nothing that matters are brought together.
    Normalise,
    /// What is summed over, and in which order, changes.
    Algebra,
}

impl Phase {
    /// In order.
    pub(crate) const ALL: [Phase; 2] = [Phase::Normalise, Phase::Algebra];
}

/// The term that a rule matched, and one that equals it.
pub(crate) type Equation = (Class, Class);

/// What a law does to numbers of finite precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// The same bits.
    Exact,
    /// Sums or products are taken in another order.
    Reassociates,
    /// A rounding happens elsewhere.
    Rounds,
    /// Intermediate values may be far larger or smaller: a gauge has to keep them in range.
    Ranges,
}

impl Exactness {
    /// In explanations.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Exactness::Exact => "exact",
            Exactness::Reassociates => "reassociates",
            Exactness::Rounds => "moves a rounding",
            Exactness::Ranges => "needs a gauge",
        }
    }
}

/// All rules, theme by theme.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    [presence::RULES, algebra::RULES, exponential::RULES, reduction::RULES].into_iter().flatten()
}

/// It depends on whole fibers of some rank, but on no coordinate along it: a sum, a maximum, what is made of them.
fn is_statistic(graph: &Graph, class: Class) -> bool {
    graph.facts(class).passes.iter().any(State::is_closed)
}

/// It is there only in a second pass along these part-less ranks, or later.
fn is_late(graph: &Graph, class: Class, ranks: &[RankId]) -> bool {
    let families = graph.analysis.families.iter().zip(&graph.facts(class).passes);
    families
        .filter(|(family, _)| family.iter().any(|it| ranks.contains(it)))
        .any(|(_, state)| passes(state) > 1)
}

/// It depends on none of these part-less ranks.
fn is_free_of(graph: &Graph, class: Class, ranks: &[RankId]) -> bool {
    !graph.facts(class).free.iter().any(|it| ranks.contains(it))
}

/// The product of these factors with another class at one position; a single factor is no product.
fn product_with(graph: &mut Graph, factors: &[Class], position: usize, new: Class) -> Class {
    match factors {
        [_] => new,
        _ => graph.exactly(&Term::Product(with(factors, position, new).into())),
    }
}

/// All but the operand at that position.
fn without(operands: &[Class], position: usize) -> Vec<Class> {
    let mut rest = operands.to_vec();
    rest.remove(position);
    rest
}

/// The operands with another one at that position.
fn with(operands: &[Class], position: usize, new: Class) -> Vec<Class> {
    let mut all = operands.to_vec();
    all[position] = new;
    all
}

/// The part-less ranks that these stand for.
fn atoms(graph: &Graph, ranks: &[RankId]) -> Vec<RankId> {
    ranks.iter().flat_map(|it| graph.analysis.atoms(*it).to_vec()).collect()
}

/// No exponential stands in the way of another order of contraction.
fn is_linear(graph: &Graph, class: Class) -> bool {
    graph.terms_like(class, |it| matches!(it, Term::Unary(UnaryOp::Exp, _))).is_empty()
}
