//! One term for every class: the fewest passes, then the least work, what is shared counted once.
//!
//! The best DAG is hard to find in general. Classes choose greedily, each among its own terms, by the cost of
//! all that the term needs; choices are repeated until none improves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use egg::Language;

use super::build::Build;
use super::facts::{Graph, state_from};
use super::term::{Class, Term};
use crate::analyze::stage::{Stage, State, passes};
use crate::ir::expr::{BinaryOp, UnaryOp};

/// The term that each class is computed by.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The position of each class in the lists below.
    places: BTreeMap<Class, usize>,
    chosen: Vec<Option<Chosen>>,
    /// What the chosen term of a class costs by itself.
    own: Vec<f64>,
    /// The places of what is computed anyway: it costs others nothing.
    roots: Vec<usize>,
}

/// A term and what computing it costs, all that it needs included.
#[derive(Debug, Clone)]
struct Chosen {
    term: Term,
    timing: Rc<Timing>,
    /// The places of the classes that are needed.
    needs: Set,
    work: f64,
    /// The same without what is computed anyway.
    extra: f64,
}

/// When a term is there.
#[derive(Debug, PartialEq)]
struct Timing {
    /// Along each family of ranks.
    states: Vec<State>,
    /// The most passes along each family of ranks of the term and what it is made of.
    passes: Vec<u32>,
    /// All passes, then how late the values are there; smaller is better.
    key: (u32, u32),
}

/// A term that a class may be computed by, with its timing for the timings that its operands had last.
struct Way {
    term: Term,
    known: Option<(Vec<Rc<Timing>>, Rc<Timing>)>,
}

/// A set of places.
#[derive(Debug, Clone, Default)]
struct Set(Vec<u64>);

impl Set {
    fn add(&mut self, other: &Set) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn insert(&mut self, place: usize) {
        self.0.resize(self.0.len().max(place / 64 + 1), 0);
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |(at, &word): (usize, &u64)| {
            std::iter::successors(Some(word), |rest| Some(rest & (rest.wrapping_sub(1))))
                .take_while(|rest| *rest != 0)
                .map(move |rest| 64 * at + rest.trailing_zeros() as usize)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

/// What a choice costs; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Cost {
    /// Passes, summed over the families of ranks.
    pub(crate) passes: u32,
    /// Operations, weighted by what they take.
    pub(crate) work: f64,
}

impl Choice {
    /// The only one that there is where no two terms are known to be equal.
    pub(crate) fn only(graph: &Graph) -> Choice {
        extract(graph, &[], &|_, _| false)
    }

    /// The term that a class is computed by.
    pub(crate) fn term(&self, graph: &Graph, class: Class) -> &Term {
        &self.of(graph.find(class)).expect("every class can be computed").term
    }

    /// The class can be computed.
    pub(crate) fn is_known(&self, graph: &Graph, class: Class) -> bool {
        self.of(graph.find(class)).is_some()
    }

    fn of(&self, class: Class) -> Option<&Chosen> {
        self.chosen[self.places[&class]].as_ref()
    }

    /// What it takes to compute all of these classes.
    pub(crate) fn cost(&self, graph: &Graph, roots: &[Class]) -> Cost {
        let chosen: Vec<&Chosen> = roots.iter().filter_map(|it| self.of(graph.find(*it))).collect();
        let families = graph.analysis.families.len();
        let most = |family: usize| chosen.iter().map(|it| it.timing.passes[family]).max().unwrap_or(0);
        let passes = (0..families).map(most).sum();
        let mut needs = Set::default();
        chosen.iter().for_each(|it| needs.add(&it.needs));
        Cost { passes, work: self.sum(needs.iter()) }
    }

    /// The classes that are needed to compute all of these, with the terms they are computed by.
    pub(crate) fn needed(&self, graph: &Graph, roots: &[Class]) -> Vec<(Class, Term)> {
        let mut needs = Set::default();
        roots.iter().filter_map(|it| self.of(graph.find(*it))).for_each(|it| needs.add(&it.needs));
        let term = |(class, place): (&Class, &usize)| {
            let chosen = self.chosen[*place].as_ref().filter(|_| needs.contains(*place));
            chosen.map(|it| (*class, it.term.clone()))
        };
        self.places.iter().filter_map(term).collect()
    }

    /// The term with the choices of its operands, if they are all made and none needs the class itself.
    fn candidate(&self, graph: &Graph, class: Class, way: &mut Way) -> Option<Chosen> {
        let operands: Vec<&Chosen> =
            way.term.children().iter().map(|it| self.of(*it)).collect::<Option<Vec<_>>>()?;
        let mut needs = Set::default();
        operands.iter().for_each(|it| needs.add(&it.needs));
        let place = self.places[&class];
        if needs.contains(place) {
            return None;
        }
        let timing = match &way.known {
            Some((of, it)) if of.iter().zip(&operands).all(|(a, b)| Rc::ptr_eq(a, &b.timing)) => {
                Rc::clone(it)
            }
            Some(_) | None => {
                let it = Rc::new(self.timing(graph, class, &way.term, &operands));
                let of = operands.iter().map(|it| Rc::clone(&it.timing)).collect();
                way.known = Some((of, Rc::clone(&it)));
                it
            }
        };
        let own = work(graph, class, &way.term);
        let (work, extra) = (own + self.sum(needs.iter()), own + self.unpaid(&needs));
        needs.insert(place);
        Some(Chosen { term: way.term.clone(), timing, needs, work, extra })
    }

    /// What it takes to compute these beside what is computed anyway.
    fn unpaid(&self, needs: &Set) -> f64 {
        let mut paid = Set::default();
        for root in self.roots.iter().filter(|it| needs.contains(**it)) {
            self.chosen[*root].iter().for_each(|it| paid.add(&it.needs));
        }
        self.sum(needs.iter().filter(|it| !paid.contains(*it)))
    }

    fn sum(&self, places: impl Iterator<Item = usize>) -> f64 {
        places.map(|it| self.own[it]).sum()
    }

    fn timing(&self, graph: &Graph, class: Class, term: &Term, operands: &[&Chosen]) -> Timing {
        let free = &graph.facts(class).free;
        let families = 0..graph.analysis.families.len();
        let states: Vec<State> = families
            .map(|family| {
                let of = |id: Class| &self.of(id).expect("it is chosen").timing.states[family];
                state_from(graph, term, free, family, &of)
            })
            .collect();
        let most = |(family, state): (usize, &State)| {
            operands.iter().map(|it| it.timing.passes[family]).max().unwrap_or(0).max(passes(state))
        };
        let passes: Vec<u32> = states.iter().enumerate().map(most).collect();
        let late = |it: &Stage| 2 * it.pass - u32::from(it.open);
        let key = (passes.iter().sum(), states.iter().flat_map(BTreeMap::values).map(late).sum());
        Timing { states, passes, key }
    }
}

/// Chooses a term for every class that has one without a cycle, for the sake of the roots. Terms that are banned are not
/// chosen.
pub(crate) fn extract(graph: &Graph, roots: &[Class], is_banned: &dyn Fn(Class, &Term) -> bool) -> Choice {
    let mut classes: Vec<Class> = graph.classes().map(|it| it.id).collect();
    classes.sort_unstable();
    let places: BTreeMap<Class, usize> = classes.iter().enumerate().map(|(at, &it)| (it, at)).collect();
    let mut ways: Vec<Vec<Way>> = Vec::new();
    let mut parents: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); classes.len()];
    for (place, &class) in classes.iter().enumerate() {
        let mut own = graph.terms(class);
        own.retain(|it| !is_banned(class, it) && !it.children().contains(&class));
        own.iter().flat_map(|it| it.children()).for_each(|it| {
            parents[places[it]].insert(place);
        });
        ways.push(own.into_iter().map(|term| Way { term, known: None }).collect());
    }
    let roots = roots.iter().map(|it| places[&graph.find(*it)]).collect();
    let own = vec![0.0; classes.len()];
    let mut choice = Choice { places, chosen: vec![None; classes.len()], own, roots };
    let mut todo: VecDeque<usize> = (0..classes.len()).collect();
    let mut waiting = vec![true; classes.len()];
    // A choice that gets better for one class may get worse for those that share with it; the number of steps is
    // bounded so that this cannot go on.
    let mut steps = 200 * classes.len();
    while let Some(place) = todo.pop_front() {
        waiting[place] = false;
        let mut improved = false;
        for way in &mut ways[place] {
            let Some(mut new) = choice.candidate(graph, classes[place], way) else { continue };
            let old = choice.chosen[place].as_ref();
            if old.is_none_or(|old| is_better(&new, old)) {
                // What is the same stays so for all that is made of it.
                if let Some(old) = old.filter(|it| it.timing == new.timing) {
                    new.timing = Rc::clone(&old.timing);
                }
                choice.own[place] = work(graph, classes[place], &new.term);
                choice.chosen[place] = Some(new);
                improved = true;
            }
        }
        steps = steps.saturating_sub(1);
        if improved && steps > 0 {
            for &parent in &parents[place] {
                if !std::mem::replace(&mut waiting[parent], true) {
                    todo.push_back(parent);
                }
            }
        }
    }
    choice
}

fn is_better(new: &Chosen, old: &Chosen) -> bool {
    /// So many times the work is no longer worth a pass.
    const FAR: f64 = 64.0;
    if new.work * FAR < old.work || old.work * FAR < new.work {
        return new.work < old.work;
    }
    match new.timing.key.cmp(&old.timing.key) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        // A difference within rounding is none.
        std::cmp::Ordering::Equal => new.extra < old.extra * (1.0 - 1e-9),
    }
}

/// Operations at one point, weighted by what they take, times the points.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn work(graph: &Graph, class: Class, term: &Term) -> f64 {
    /// What any operation costs at least, so that of two forms the shorter one is chosen.
    const LEAST: f64 = 0.01;
    let size = |class: Class| -> f64 {
        graph.facts(class).free.iter().map(|it| graph.analysis.sizes[it.idx()]).product()
    };
    let points = match term {
        Term::Reduce(_, _, [body]) => size(*body),
        _ => size(class),
    };
    let operands = term.children().len() as f64;
    let weight = match term {
        Term::Int(_)
        | Term::Real(_)
        | Term::Bool(_)
        | Term::Extent(_)
        | Term::Index(_)
        | Term::Param(..)
        | Term::Written(_)
        | Term::Read(..)
        | Term::Input(..)
        | Term::Present(_) => LEAST,
        Term::Unary(op, _) if op.is_real_function() => 10.0,
        Term::Unary(UnaryOp::ToReal, _) => LEAST,
        Term::Binary(BinaryOp::Pow, _) => 20.0,
        Term::Power(bits, _) => power(f64::from_bits(*bits)),
        Term::Sum(_) | Term::Product(_) | Term::Union(..) => operands - 1.0,
        Term::Unary(..) | Term::Binary(..) | Term::Compare(..) | Term::Reduce(..) | Term::Cast(..) => 1.0,
        Term::If(_) | Term::Where(_) | Term::Else(_) | Term::Pick(_) => 0.5,
    };
    points * (weight + LEAST)
}

fn power(exponent: f64) -> f64 {
    match exponent {
        -1.0 => 4.0,
        2.0 => 1.0,
        0.5 | -0.5 => 8.0,
        _ => 20.0,
    }
}
