//! One term for every class: the fewest passes, then the least work, what is shared counted once.
//!
//! The best DAG is hard to find in general. Classes choose greedily, each among its own terms, by the cost of
//! all that the term needs; choices are repeated until none improves. Where one term is not wanted after all, only what
//! was made of it chooses again.

use std::cmp::Ordering;
use std::collections::VecDeque;
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
    places: Rc<Places>,
    chosen: Vec<Option<Rc<Chosen>>>,
    /// What the chosen term of a class costs by itself.
    own: Vec<f64>,
}

/// The classes of a graph, in order, and the position of each.
#[derive(Debug)]
struct Places {
    classes: Vec<Class>,
    of: Vec<usize>,
}

/// A term and what computing it costs, all that it needs included.
#[derive(Debug)]
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
#[derive(Debug, PartialEq, Eq)]
struct Timing {
    /// Along each family of ranks.
    states: Vec<State>,
    /// The most passes along each family of ranks of the term and what it is made of.
    passes: Vec<u32>,
    /// All passes that count, then how late the values are there; smaller is better.
    key: (u32, u32),
}

/// A term that a class may be computed by.
struct Way {
    term: Term,
    /// The places of its operands.
    operands: Vec<usize>,
    /// What it costs by itself.
    work: f64,
    /// Its timing for the timings that its operands had last.
    known: Option<(Vec<Rc<Timing>>, Rc<Timing>)>,
}

/// A set of places, a bit for each that there is.
#[derive(Debug, Clone)]
struct Set(Vec<u64>);

impl Set {
    fn of(places: usize) -> Set {
        Set(vec![0; places.div_ceil(64)])
    }

    fn add(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn remove(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
    }

    fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|it| it.count_ones()).sum()
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
    /// Passes, summed over the families of ranks that are more than features.
    pub(crate) passes: u32,
    /// Operations, weighted by what they take.
    pub(crate) work: f64,
}

impl Choice {
    /// The only one that there is where no two terms are known to be equal.
    pub(crate) fn only(graph: &Graph) -> Choice {
        Search::of(graph, &[]).best(&|_, _| false)
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
        self.chosen[self.places.of[usize::from(class)]].as_deref()
    }

    /// What it takes to compute all of these classes.
    pub(crate) fn cost(&self, graph: &Graph, roots: &[Class]) -> Cost {
        let chosen: Vec<&Chosen> = roots.iter().filter_map(|it| self.of(graph.find(*it))).collect();
        let families = graph.analysis.families.len();
        let most = |family: usize| chosen.iter().map(|it| it.timing.passes[family]).max().unwrap_or(0);
        let passes = graph.analysis.counted((0..families).map(most));
        Cost { passes, work: self.sum(&self.needs(graph, roots)) }
    }

    /// The classes that are needed to compute all of these, with the terms they are computed by.
    pub(crate) fn needed(&self, graph: &Graph, roots: &[Class]) -> Vec<(Class, Term)> {
        let needs = self.needs(graph, roots);
        let term = |place: usize| {
            let chosen = self.chosen[place].as_ref()?;
            Some((self.places.classes[place], chosen.term.clone()))
        };
        needs.iter().filter_map(term).collect()
    }

    fn needs(&self, graph: &Graph, roots: &[Class]) -> Set {
        let mut needs = Set::of(self.chosen.len());
        roots.iter().filter_map(|it| self.of(graph.find(*it))).for_each(|it| needs.add(&it.needs));
        needs
    }

    fn sum(&self, places: &Set) -> f64 {
        places.iter().map(|it| self.own[it]).sum()
    }
}

/// All terms of a graph, to choose from.
pub(crate) struct Search<'a> {
    graph: &'a Graph,
    places: Rc<Places>,
    /// The terms of each class that do not need it themselves.
    ways: Vec<Vec<Way>>,
    /// The places of the classes that have a term with this one.
    parents: Vec<Vec<usize>>,
    /// The places of what is computed anyway: it costs others nothing.
    roots: Vec<usize>,
}

impl<'a> Search<'a> {
    /// For the sake of the roots.
    pub(crate) fn of(graph: &'a Graph, roots: &[Class]) -> Search<'a> {
        let mut classes: Vec<Class> = graph.classes().map(|it| it.id).collect();
        classes.sort_unstable();
        let mut of = vec![usize::MAX; classes.last().map_or(0, |it| usize::from(*it) + 1)];
        classes.iter().enumerate().for_each(|(at, it)| of[usize::from(*it)] = at);
        let mut ways: Vec<Vec<Way>> = Vec::new();
        let mut parents: Vec<Vec<usize>> = vec![Vec::new(); classes.len()];
        for (place, &class) in classes.iter().enumerate() {
            let mut terms = graph.terms(class);
            terms.retain(|it| !it.children().contains(&class));
            let way = |term: Term| {
                let operands: Vec<usize> = term.children().iter().map(|it| of[usize::from(*it)]).collect();
                Way { work: work(graph, class, &term), term, operands, known: None }
            };
            ways.push(terms.into_iter().map(way).collect());
            for &operand in ways[place].iter().flat_map(|it| &it.operands) {
                if parents[operand].last() != Some(&place) {
                    parents[operand].push(place);
                }
            }
        }
        let roots = roots.iter().map(|it| of[usize::from(graph.find(*it))]).collect();
        Search { graph, places: Rc::new(Places { classes, of }), ways, parents, roots }
    }

    /// A term for every class that has one without a cycle. Terms that are banned are not chosen.
    pub(crate) fn best(&mut self, is_banned: &dyn Fn(Class, &Term) -> bool) -> Choice {
        let n_classes = self.places.classes.len();
        let places = Rc::clone(&self.places);
        let mut choice = Choice { places, chosen: vec![None; n_classes], own: vec![0.0; n_classes] };
        self.improve(&mut choice, (0..n_classes).collect(), is_banned);
        choice
    }

    /// The choice where a class is not computed by the term that it is computed by: whatever needs the class chooses again.
    pub(crate) fn otherwise(&mut self, mut choice: Choice, class: Class) -> Choice {
        let place = self.places.of[usize::from(class)];
        let Some(old) = choice.chosen[place].clone() else { return choice };
        let mut again = self.made_of(&choice, place);
        // Operands before what is made of them.
        let size = |it: &usize| choice.chosen[*it].as_ref().map(|it| it.needs.len());
        again.sort_by_cached_key(size);
        again.iter().for_each(|it| choice.chosen[*it] = None);
        self.improve(&mut choice, again, &|it, term| it == class && *term == old.term);
        choice
    }

    /// A class and those that it is needed for, as they are chosen. What a choice needs was noted when it was made, and its
    /// operands may have been chosen anew since.
    fn made_of(&self, choice: &Choice, place: usize) -> Vec<usize> {
        let takes = |parent: usize, operand: usize| {
            let chosen = choice.chosen[parent].as_ref();
            let mut operands = chosen.into_iter().flat_map(|it| it.term.children());
            operands.any(|it| self.places.of[usize::from(*it)] == operand)
        };
        let needs = |it: usize| choice.chosen[it].as_ref().is_some_and(|it| it.needs.contains(place));
        let mut all: Vec<usize> = (0..choice.chosen.len()).filter(|it| *it == place || needs(*it)).collect();
        let mut is_known = vec![false; choice.chosen.len()];
        all.iter().for_each(|it| is_known[*it] = true);
        let mut at = 0;
        while let Some(&operand) = all.get(at) {
            for &parent in &self.parents[operand] {
                if !is_known[parent] && takes(parent, operand) {
                    is_known[parent] = true;
                    all.push(parent);
                }
            }
            at += 1;
        }
        all
    }

    /// Has these classes choose, and those that are made of what got better.
    fn improve(&mut self, choice: &mut Choice, places: Vec<usize>, is_banned: &dyn Fn(Class, &Term) -> bool) {
        let mut waiting = vec![false; choice.chosen.len()];
        places.iter().for_each(|it| waiting[*it] = true);
        let mut todo = VecDeque::from(places);
        // A choice that gets better for one class may get worse for those that share with it; the number of steps is
        // bounded so that this cannot go on.
        let mut steps = 200 * choice.chosen.len();
        while let Some(place) = todo.pop_front() {
            waiting[place] = false;
            let improved = self.choose(choice, place, is_banned);
            steps = steps.saturating_sub(1);
            if improved && steps > 0 {
                for &parent in &self.parents[place] {
                    if !std::mem::replace(&mut waiting[parent], true) {
                        todo.push_back(parent);
                    }
                }
            }
        }
    }

    /// Takes the best term for a class, if there is a better one than it has.
    fn choose(
        &mut self,
        choice: &mut Choice,
        place: usize,
        is_banned: &dyn Fn(Class, &Term) -> bool,
    ) -> bool {
        let class = self.places.classes[place];
        let mut improved = false;
        for way in &mut self.ways[place] {
            if is_banned(class, &way.term) {
                continue;
            }
            let asked = Asked { graph: self.graph, roots: &self.roots, choice, place };
            if let Some(new) = asked.better(way) {
                choice.own[place] = way.work;
                choice.chosen[place] = Some(Rc::new(new));
                improved = true;
            }
        }
        improved
    }
}

/// A class that is asked whether it is better computed otherwise.
struct Asked<'a> {
    graph: &'a Graph,
    roots: &'a [usize],
    choice: &'a Choice,
    place: usize,
}

impl Asked<'_> {
    /// The term with the choices of its operands, if they are all made, none needs the class itself, and it is better than
    /// what the class has.
    fn better(&self, way: &mut Way) -> Option<Chosen> {
        /// So many times the work is no longer worth a pass.
        const FAR: f64 = 64.0;
        let of = |it: &usize| self.choice.chosen[*it].as_deref();
        let operands: Vec<&Chosen> = way.operands.iter().map(of).collect::<Option<_>>()?;
        if operands.iter().any(|it| it.needs.contains(self.place)) {
            return None;
        }
        let mut needs = Set::of(self.choice.chosen.len());
        operands.iter().for_each(|it| needs.add(&it.needs));
        let work = way.work + self.choice.sum(&needs);
        let old = of(&self.place);
        let is_far = old.is_some_and(|old| work * FAR < old.work || old.work * FAR < work);
        if old.is_some_and(|old| is_far && work >= old.work) {
            return None;
        }
        let mut timing = self.timing(way, &operands);
        let order = old.map_or(Ordering::Less, |old| timing.key.cmp(&old.timing.key));
        if !is_far && order == Ordering::Greater {
            return None;
        }
        let extra = way.work + self.unpaid(&needs);
        // A difference within rounding is none.
        let is_less = old.is_none_or(|old| extra < old.extra * (1.0 - 1e-9));
        if !is_far && order == Ordering::Equal && !is_less {
            return None;
        }
        if self.is_needed_for(&way.operands) {
            return None;
        }
        // What is the same stays so for all that is made of it.
        if let Some(old) = old.filter(|it| it.timing == timing) {
            timing = Rc::clone(&old.timing);
        }
        needs.insert(self.place);
        Some(Chosen { term: way.term.clone(), timing, needs, work, extra })
    }

    /// Some of these are made of the class. What their choices need was noted when they were made, and what they are made of
    /// may have been chosen anew since.
    fn is_needed_for(&self, places: &[usize]) -> bool {
        let (mut todo, mut seen) = (places.to_vec(), Set::of(self.choice.chosen.len()));
        while let Some(it) = todo.pop() {
            if it == self.place {
                return true;
            }
            if !seen.contains(it) {
                seen.insert(it);
                let operands = self.choice.chosen[it].iter().flat_map(|it| it.term.children());
                todo.extend(operands.map(|it| self.choice.places.of[usize::from(*it)]));
            }
        }
        false
    }

    /// What it takes to compute these beside what is computed anyway.
    fn unpaid(&self, needs: &Set) -> f64 {
        let mut unpaid = needs.clone();
        let roots = self.roots.iter().filter(|it| needs.contains(**it));
        roots.filter_map(|it| self.choice.chosen[*it].as_ref()).for_each(|it| unpaid.remove(&it.needs));
        self.choice.sum(&unpaid)
    }

    fn timing(&self, way: &mut Way, operands: &[&Chosen]) -> Rc<Timing> {
        let is_same =
            |(of, _): &&(Vec<Rc<Timing>>, Rc<Timing>)| of.iter().zip(operands).all(|(a, b)| *a == b.timing);
        if let Some((_, known)) = way.known.as_ref().filter(is_same) {
            return Rc::clone(known);
        }
        let timing = Rc::new(self.timed(&way.term, operands));
        let of = operands.iter().map(|it| Rc::clone(&it.timing)).collect();
        way.known = Some((of, Rc::clone(&timing)));
        timing
    }

    fn timed(&self, term: &Term, operands: &[&Chosen]) -> Timing {
        let free = &self.graph.facts(self.choice.places.classes[self.place]).free;
        let families = 0..self.graph.analysis.families.len();
        let states: Vec<State> = families
            .map(|family| {
                let of = |id: Class| &self.choice.of(id).expect("it is chosen").timing.states[family];
                state_from(self.graph, term, free, family, &of)
            })
            .collect();
        let most = |(family, state): (usize, &State)| {
            operands.iter().map(|it| it.timing.passes[family]).max().unwrap_or(0).max(passes(state))
        };
        let passes: Vec<u32> = states.iter().enumerate().map(most).collect();
        let late = |it: Stage| 2 * it.pass - u32::from(it.open);
        let lateness = states.iter().map(|it| it.stages().map(late).sum());
        let setting = &self.graph.analysis;
        let key = (setting.counted(passes.iter().copied()), setting.counted(lateness));
        Timing { states, passes, key }
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
