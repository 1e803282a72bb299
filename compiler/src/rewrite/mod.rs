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
mod once;
mod range;
mod rules;
mod setting;
mod term;
mod translate;
mod whole;
mod write;

use std::collections::HashMap;

use egg::Language;

pub(crate) use setting::sizes_of_plan;
pub(crate) use whole::most_of;

pub use chunk::Walker;
pub use explain::{Block, Derivation, Disagreement, Replay, Step, explain};

use build::Build;
use extract::{Choice, Cost, Search};
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

impl Candidate {
    fn cost(&self) -> Cost {
        Cost { passes: self.passes, work: self.work }
    }
}

/// The laws: the name of each, what it says, and what it does to floats.
pub fn laws() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_cascades = [&whole::LAW, &elsewhere::LAW, &once::LAW]
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

/// The cascade itself, but for sums over earlier tokens, which are taken in chunks, for what would be stored only because it
/// is read elsewhere, and for what would be computed again and again.
pub fn in_chunks(cascade: &Cascade, walker: Walker) -> Cascade {
    let carried = carried(cascade);
    last(finished(&carried, walker), &carried)
}

/// The laws that apply to the cascade that is compiled, one after the other.
fn finished(cascade: &Cascade, walker: Walker) -> Vec<chunk::Applied> {
    let mut all = chunk::chunked(cascade, walker);
    for law in [elsewhere::made_anyway, once::computed] {
        let applied = law(all.last().map_or(cascade, |it| &it.cascade));
        all.extend(applied);
    }
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
    let written = Search::of(&graph, &roots).best(&|_, _| false).cost(&graph, &roots);
    let report = run(&mut graph);
    Variants { graph, tensors, written, report }
}

fn run(graph: &mut Graph) -> Report {
    let mut report = Report { rounds: 0, terms: 0, stop: Stop::Saturated };
    for phase in Phase::ALL {
        report.stop = Stop::Rounds;
        // All terms are asked first, and last; in between only those around which something has changed.
        let mut asked = Asked::All;
        for _ in 0..ROUNDS {
            let before = (graph.total_number_of_nodes(), graph.number_of_classes());
            if !round(graph, phase, asked) {
                return Report { terms: graph.total_number_of_nodes(), stop: Stop::Terms, ..report };
            }
            let is_same = before == (graph.total_number_of_nodes(), graph.number_of_classes());
            if is_same && asked == Asked::All {
                report.stop = Stop::Saturated;
                break;
            }
            asked = if is_same { Asked::All } else { Asked::Fresh };
            report.rounds += usize::from(!is_same);
        }
    }
    Report { terms: graph.total_number_of_nodes(), ..report }
}

/// Which terms rules are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    All,
    /// Those that are near something that changed in the last round.
    Fresh,
}

/// Tries every rule of a phase and those before on the terms that are asked; false if the limit of terms is reached.
fn round(graph: &mut Graph, phase: Phase, asked: Asked) -> bool {
    graph.analysis.next_round();
    let mut classes: Vec<Class> = graph.classes().map(|it| it.id).collect();
    classes.sort_unstable();
    let mut terms: Vec<(Class, Term)> = Vec::new();
    for &class in &classes {
        terms.extend(graph.terms(class).into_iter().map(|it| (class, it)));
    }
    if asked == Asked::Fresh {
        retain_fresh(graph, &mut terms);
    }
    for rule in rules::all().filter(|it| it.phase <= phase) {
        for (_, term) in &terms {
            for (before, after) in (rule.find)(graph, term) {
                // A proof may be shorter by what was known before.
                if graph.are_explanations_enabled() || graph.find(before) != graph.find(after) {
                    graph.union_trusted(before, after, rule.name);
                }
            }
            if graph.total_size() > TERMS {
                graph.rebuild();
                return false;
            }
        }
        if !graph.clean {
            graph.rebuild();
        }
    }
    true
}

/// Keeps the terms whose class has changed lately, or one that rules see from them.
fn retain_fresh(graph: &Graph, terms: &mut Vec<(Class, Term)>) {
    /// How deep below a term rules look.
    const DEPTH: usize = 2;
    let most = terms.last().map_or(0, |it| usize::from(it.0) + 1);
    let mut fresh = vec![false; most];
    for (class, _) in terms.iter() {
        fresh[usize::from(*class)] = graph.analysis.is_fresh(*class);
    }
    let is_near = |fresh: &[bool], (class, term): &(Class, Term)| {
        fresh[usize::from(*class)] || term.children().iter().any(|it| fresh[usize::from(*it)])
    };
    for _ in 1..DEPTH {
        let mut above = fresh.clone();
        for it in terms.iter().filter(|it| is_near(&fresh, it)) {
            above[usize::from(it.0)] = true;
        }
        fresh = above;
    }
    terms.retain(|it| is_near(&fresh, it));
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
        let worth = self.is_worth(first.cost()) && self.is_as_light(&first);
        let others = move |it: &Candidate| self.others(it, |cost| self.is_worth(cost));
        let rest = first.clone();
        let lead = worth.then_some(first).into_iter();
        let flat = std::iter::once_with(|| self.flat()).flatten();
        let flat = flat.filter(|it| self.is_worth(it.cost()) && self.is_as_light(it));
        let rest = std::iter::once(rest).filter(move |_| worth).flat_map(move |it| others(&it));
        let rest = rest.filter(|it| self.is_as_light(it));
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
    fn is_worth(&self, cost: Cost) -> bool {
        /// A saving of work below this share is none.
        const WORTH: f64 = 0.25;
        let fewer = cost.passes < self.written.passes;
        let cheaper = cost.passes == self.written.passes && cost.work < (1.0 - WORTH) * self.written.work;
        fewer || cheaper
    }

    /// It has fewer passes than the cascade as written, or no more operations once it is written: terms that share what they
    /// are made of need not be written so.
    fn is_as_light(&self, candidate: &Candidate) -> bool {
        let flops = |it: &Cascade| crate::analyze::flops(it, &self.likely_extents());
        candidate.passes < self.written.passes
            || flops(&candidate.cascade) <= flops(&self.graph.analysis.cascade)
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
            is_long(&over) && others.any(|(family, state)| is_long(family) && state.is_closed())
        };
        let choice = self.extracted(&|_, term| is_nested(term));
        let known = self.roots().iter().all(|it| choice.is_known(&self.graph, *it));
        known.then(|| self.candidate(choice))
    }

    /// Cascades like the best one but for one class, as far as they are wanted for what they cost, best first.
    fn others(&self, first: &Candidate, is_wanted: impl Fn(Cost) -> bool) -> Vec<Candidate> {
        /// How many classes are tried with another term.
        const TRIED: usize = 32;
        let roots = self.roots();
        let Some(choice) = &first.choice else { return Vec::new() };
        let mut search = Search::of(&self.graph, &roots);
        let needed = choice.needed(&self.graph, &roots).into_iter().rev();
        let others = needed
            .filter(|(class, _)| self.graph.terms(*class).len() > 1)
            .map(|(class, _)| search.otherwise(choice.clone(), class))
            .filter(|it| roots.iter().all(|root| it.is_known(&self.graph, *root)));
        let mut different: Vec<(Vec<(Class, Term)>, Choice)> = Vec::new();
        for other in others.take(TRIED) {
            let needed = other.needed(&self.graph, &roots);
            if is_wanted(other.cost(&self.graph, &roots)) && !different.iter().any(|it| it.0 == needed) {
                different.push((needed, other));
            }
        }
        let mut found: Vec<Candidate> = different.into_iter().map(|(_, it)| self.candidate(it)).collect();
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
        let others = self.others(&first, |_| true);
        std::iter::once(first).chain(others).take(number).collect()
    }

    fn extracted(&self, is_banned: &dyn Fn(Class, &Term) -> bool) -> Choice {
        Search::of(&self.graph, &self.roots()).best(is_banned)
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
