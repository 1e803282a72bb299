//! Cascade to variants: an e-graph of equal cascades, found by the laws of arithmetic.
//!
//! ```text
//! M = max[n](S); N = exp(S - M); D = sum[n](N); P = N / D; O = sum[n](P * V)     3 passes over n
//! A = sum[n](exp(S) * V); Z = sum[n](exp(S)); O = (A / Z where …) else 0         1 pass
//! ```
//!
//! The maximum is gone: it is a gauge, and `tile` chooses one that keeps numbers in range.

mod build;
mod chunk;
mod domain;
mod elsewhere;
mod empty;
mod explain;
mod extract;
mod facts;
mod range;
mod rules;
mod setting;
mod term;
mod translate;
mod whole;
mod write;

use std::collections::HashMap;

pub(crate) use setting::sizes_of_plan;
pub(crate) use whole::most_of;

pub use chunk::Walker;
pub use explain::{Block, Derivation, Disagreement, Replay, Step, explain};

use build::Build;
use extract::{Choice, Cost, extract};
use facts::Graph;
use rules::Phase;
use term::{Class, Term};

use crate::analyze::stage::{depth, passes};
use crate::ir::cascade::{Cascade, Extent, RankId, TensorId};

/// How often the rules of a phase are tried on all terms, at most.
const ROUNDS: usize = 20;
/// How many terms there may be.
const TERMS: usize = 2_500;

/// Cascades that are equal to one as written.
#[derive(Debug)]
pub struct Variants {
    graph: Graph,
    tensors: HashMap<TensorId, Class>,
    /// What the cascade costs as written.
    written: Cost,
    /// How the search went.
    pub report: Report,
}

/// How a search went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How often all rules were tried.
    pub rounds: usize,
    /// How many terms there are.
    pub terms: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// No rule finds anything new.
    Saturated,
    /// The limit of rounds.
    Rounds,
    /// The limit of terms.
    Terms,
}

/// One of several equal cascades.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The cascade.
    pub cascade: Cascade,
    /// Passes, summed over the ranks that are reduced.
    pub passes: u32,
    /// Bytes of inputs and outputs, each moved as often as it is traversed, at likely extents where none are known.
    pub bytes: f64,
    /// Operations, weighted by what they take, at those extents.
    pub work: f64,
    /// The terms that it is made of; none for the cascade as written.
    choice: Option<Choice>,
}

/// The laws: the name of each, what it says, and what it does to floats.
pub fn laws() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_cascades = [&whole::LAW, &elsewhere::LAW]
        .into_iter()
        .chain(&chunk::LAWS)
        .map(|it| (it.name, it.law, it.exactness.name()));
    rules::all().map(|it| (it.name, it.law, it.exactness.name())).chain(of_cascades)
}

/// Finds the cascades that the laws make of one.
pub fn saturate(cascade: &Cascade) -> Variants {
    saturated(translate::empty(cascade))
}

/// The cascade with states in place of sums over pairs of tokens, with what is read elsewhere made there, and with sums of
/// small integers as reals.
pub fn carried(cascade: &Cascade) -> Cascade {
    last(prepared(cascade), cascade)
}

/// The laws that apply before the search, one after the other.
fn prepared(cascade: &Cascade) -> Vec<chunk::Applied> {
    let mut all = whole::as_reals(cascade);
    for law in [elsewhere::made, chunk::carried] {
        let applied = law(all.last().map_or(cascade, |it| &it.cascade));
        all.extend(applied);
    }
    all
}

/// The cascade itself, but for sums over earlier tokens, which are taken in chunks, and for what would be stored only
/// because it is read elsewhere.
pub fn in_chunks(cascade: &Cascade, walker: Walker) -> Cascade {
    let carried = carried(cascade);
    last(finished(&carried, walker), &carried)
}

/// The laws that apply to the cascade that is compiled, one after the other.
fn finished(cascade: &Cascade, walker: Walker) -> Vec<chunk::Applied> {
    let mut all = chunk::chunked(cascade, walker);
    let made = elsewhere::made_anyway(all.last().map_or(cascade, |it| &it.cascade));
    all.extend(made);
    all
}

/// The ranks of tokens that are taken in chunks, each with how many tokens a chunk has.
pub(crate) fn chunks(cascade: &Cascade, walker: Walker) -> Vec<(RankId, i64)> {
    let after = in_chunks(cascade, walker);
    let split = cascade.ranks.iter().filter(|(_, it)| it.parts.is_empty()).filter_map(|(rank, _)| {
        let place = *after.ranks[rank].parts.last()?;
        let Extent::Fixed(size) = after.ranks[place].extent else { return None };
        Some((rank, size))
    });
    split.collect()
}

fn last(applied: Vec<chunk::Applied>, otherwise: &Cascade) -> Cascade {
    applied.into_iter().next_back().map_or_else(|| otherwise.clone(), |it| it.cascade)
}

/// Fills a graph that speaks of a cascade.
fn saturated(mut graph: Graph) -> Variants {
    let tensors = translate::translate(&mut graph);
    graph.rebuild();
    let roots: Vec<Class> = graph.analysis.cascade.outputs().map(|it| tensors[&it]).collect();
    let written = extract(&graph, &roots, &|_, _| false).cost(&graph, &roots);
    let report = run(&mut graph);
    Variants { graph, tensors, written, report }
}

fn run(graph: &mut Graph) -> Report {
    let mut report = Report { rounds: 0, terms: 0, stop: Stop::Saturated };
    for phase in Phase::ALL {
        report.stop = Stop::Rounds;
        for _ in 0..ROUNDS {
            let before = (graph.total_number_of_nodes(), graph.number_of_classes());
            if !round(graph, phase) {
                return Report { terms: graph.total_number_of_nodes(), stop: Stop::Terms, ..report };
            }
            if before == (graph.total_number_of_nodes(), graph.number_of_classes()) {
                report.stop = Stop::Saturated;
                break;
            }
            report.rounds += 1;
        }
    }
    Report { terms: graph.total_number_of_nodes(), ..report }
}

/// Tries every rule of a phase and those before on every term that there is; false if the limit of terms is reached.
fn round(graph: &mut Graph, phase: Phase) -> bool {
    let mut classes: Vec<Class> = graph.classes().map(|it| it.id).collect();
    classes.sort_unstable();
    let terms: Vec<Term> = classes.iter().flat_map(|&it| graph.terms(it)).collect();
    for rule in rules::all().filter(|it| it.phase <= phase) {
        for term in &terms {
            for (before, after) in (rule.find)(graph, term) {
                graph.union_trusted(before, after, rule.name);
            }
            if graph.total_size() > TERMS {
                graph.rebuild();
                return false;
            }
        }
        graph.rebuild();
    }
    true
}

impl Variants {
    /// The fewest passes over the fibers of a rank that any of the cascades needs, and the least barrier depth.
    pub fn bound(&self, rank: RankId) -> (u32, u32) {
        let atoms = self.graph.analysis.atoms(rank);
        let family = self.graph.analysis.families.iter().position(|it| it == atoms);
        let states = self.roots().into_iter().filter_map(|it| self.graph.facts(it).passes.get(family?));
        let along = states.fold((0, 0), |(most, deepest), it| (most.max(passes(it)), deepest.max(depth(it))));
        if along != (0, 0) {
            return along;
        }
        // No input has it.
        let counted = crate::analyze::passes::passes(&self.best(), rank);
        (counted.passes, counted.depth)
    }

    /// The cascade that needs the fewest passes, and of those the one that takes the least work.
    pub fn best(&self) -> Cascade {
        self.written_as(&self.extracted(&|_, _| false))
    }

    /// The cascades that are worth compiling, best first: by passes, bytes and work. Others than the very best differ from
    /// it in one class that is computed by another term. What is hardly better than the cascade as written, whose author
    /// may have had a reason to write it so, comes after that; what is worse does not come.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let first = self.candidate(self.extracted(&|_, _| false));
        let worth = self.is_worth(&first);
        let others = move |it: &Candidate| {
            let mut others = self.others(it);
            others.retain(|it| self.is_worth(it));
            others
        };
        let rest = first.clone();
        let lead = worth.then_some(first).into_iter();
        let flat = std::iter::once_with(|| self.flat()).flatten().filter(|it| self.is_worth(it));
        let rest = std::iter::once(rest).filter(move |_| worth).flat_map(move |it| others(&it));
        lead.chain(flat).chain(rest).chain(std::iter::once_with(|| self.as_written()))
    }

    /// The cascade as written, as a candidate.
    pub fn as_written(&self) -> Candidate {
        let cascade = self.graph.analysis.cascade.clone();
        let bytes = self.bytes(&cascade);
        let Cost { passes, work } = self.written;
        Candidate { cascade, passes, bytes, work, choice: None }
    }

    /// It is better than the cascade as written, and not hardly so.
    fn is_worth(&self, candidate: &Candidate) -> bool {
        /// A saving of work below this share is none.
        const WORTH: f64 = 0.25;
        let fewer = candidate.passes < self.written.passes;
        let cheaper =
            candidate.passes == self.written.passes && candidate.work < (1.0 - WORTH) * self.written.work;
        fewer || cheaper
    }

    /// The best cascade in which no sum is over sums, other than those over features: whatever is summed over can be
    /// streamed over, in one traversal, and costs more operations.
    fn flat(&self) -> Option<Candidate> {
        let setting = &self.graph.analysis;
        let features = crate::schedule::features(&setting.cascade);
        let is_long = |ranks: &[RankId]| ranks.iter().any(|it| !features.contains(it));
        let is_nested = |term: &Term| {
            let Term::Reduce(_, ranks, [body]) = term else { return false };
            let over: Vec<RankId> = ranks.iter().flat_map(|it| setting.atoms(*it).to_vec()).collect();
            let others = setting.families.iter().zip(&self.graph.facts(*body).passes);
            let mut others = others.filter(|(family, _)| !family.iter().any(|it| over.contains(it)));
            is_long(&over)
                && others.any(|(family, state)| {
                    is_long(family) && !state.is_empty() && state.values().all(|it| !it.open)
                })
        };
        let choice = self.extracted(&|_, term| is_nested(term));
        let known = self.roots().iter().all(|it| choice.is_known(&self.graph, *it));
        known.then(|| self.candidate(choice))
    }

    /// Cascades like the best one but for one class, best first.
    fn others(&self, first: &Candidate) -> Vec<Candidate> {
        /// How many classes are tried with another term.
        const TRIED: usize = 32;
        let roots = self.roots();
        let Some(choice) = &first.choice else { return Vec::new() };
        let mut found = Vec::new();
        for (class, term) in choice.needed(&self.graph, &roots).into_iter().rev() {
            if found.len() == TRIED {
                break;
            }
            if self.graph.terms(class).len() < 2 {
                continue;
            }
            let other = self.extracted(&|banned, it| banned == class && *it == term);
            if roots.iter().all(|it| other.is_known(&self.graph, *it)) {
                found.push(self.candidate(other));
            }
        }
        found.sort_by(|a, b| {
            a.passes.cmp(&b.passes).then(a.bytes.total_cmp(&b.bytes)).then(a.work.total_cmp(&b.work))
        });
        let cost = |it: &Candidate| (it.passes, it.bytes, it.work);
        found.dedup_by(|a, b| cost(a) == cost(b));
        found.retain(|it| cost(it) != cost(first));
        found
    }

    /// Equal cascades, best first, the very best one among them, whether or not they are worth compiling.
    pub fn best_of(&self, number: usize) -> Vec<Candidate> {
        let first = self.candidate(self.extracted(&|_, _| false));
        let others = self.others(&first);
        std::iter::once(first).chain(others).take(number).collect()
    }

    fn extracted(&self, is_banned: &dyn Fn(Class, &Term) -> bool) -> Choice {
        extract(&self.graph, &self.roots(), is_banned)
    }

    fn candidate(&self, choice: Choice) -> Candidate {
        let Cost { passes, work } = choice.cost(&self.graph, &self.roots());
        let cascade = self.written_as(&choice);
        let bytes = self.bytes(&cascade);
        Candidate { cascade, passes, bytes, work, choice: Some(choice) }
    }

    fn bytes(&self, cascade: &Cascade) -> f64 {
        crate::analyze::traffic(cascade, &self.likely_extents())
    }

    /// The extents that costs are computed with: those that are known, and likely ones for the others.
    pub fn likely_extents(&self) -> Vec<i64> {
        self.graph.analysis.sizes.iter().map(|it| *it as i64).collect()
    }

    fn written_as(&self, choice: &Choice) -> Cascade {
        write::write(&self.graph, choice, &self.tensors)
    }

    fn roots(&self) -> Vec<Class> {
        self.graph.analysis.cascade.outputs().map(|it| self.tensors[&it]).collect()
    }
}
