//! A kernel and a machine to the mappings that it may have, each with what a model says of it (`schedule/model`), best
//! first: the knobs that matter most in all combinations, then others from the best of these.

mod plot;
pub mod report;

use std::collections::BTreeSet;

use crate::analyze::{Analysis, admitted, analyze, flops};
use crate::choose::choose;
use crate::codegen::Backend;
use crate::ir::cascade::Cascade;
use crate::ir::interp;
use crate::machine::Machine;
use crate::rewrite::{carried, saturate};
use crate::schedule::model::{Estimate, Scene, estimate};
use crate::schedule::space::{Knob, knobs, spelled, told};
use crate::schedule::{Mapping, Plan, schedule};
use crate::target::Target;
use crate::tile::tile;
use crate::verify::on_all_cores;

/// What is explored.
pub struct Subject<'a> {
    /// The kernel.
    pub cascade: &'a Cascade,
    /// The same with other extents fixed, which mappings have to suit as well.
    pub others: &'a [Cascade],
    /// The extents of ranks that inputs bring along, where they are not fixed.
    pub sizes: &'a (dyn Fn(&str) -> Option<i64> + Sync),
    /// The machine that code is generated for.
    pub target: &'a Target,
    /// And who generates it.
    pub backend: Backend,
    /// What that machine can do.
    pub machine: &'a Machine,
    /// How many threads there are.
    pub threads: u32,
}

/// What was found.
pub struct Found {
    /// The kernel.
    pub analysis: Analysis,
    /// Operations of the chosen form, on points that masks admit.
    pub flops: f64,
    /// The extents that it was explored at, by name.
    pub extents: Vec<(String, i64)>,
    /// The mappings, best first.
    pub points: Vec<Point>,
    /// How many mappings were tried and found not to be legal.
    pub illegal: usize,
}

/// A mapping and what is known of it.
#[derive(Debug, Clone)]
pub struct Point {
    /// The mapping, with all sizes that matter.
    pub mapping: Mapping,
    /// In a few words.
    pub label: String,
    /// What the model says.
    pub estimate: Estimate,
    /// It is what the target has by itself.
    pub default: bool,
    /// No other is better in time, in what is held, and in what is moved into the last cache of a core.
    pub front: bool,
    /// The seconds that it took: the median and the quartiles.
    pub measured: Option<[f64; 3]>,
}

/// How many settings of single knobs are tried from the best.
const STEPS: usize = 4;
/// From how many of the best the registers are varied.
const LEADERS: usize = 2;
/// After so many mappings no more steps are taken.
const MANY: usize = 160;
/// And after so many for each thousand values of a nest, for large ones take long to look at.
const MANY_LARGE: usize = 400;

/// Explores. `done` hears how many more mappings were looked at.
pub fn explore(subject: &Subject<'_>, done: &(dyn Fn(usize) + Sync)) -> Result<Found, interp::CallError> {
    let chosen = choose(&saturate(&carried(subject.cascade)), &Mapping::of(subject.target, subject.backend));
    let others: Vec<Cascade> = subject
        .others
        .iter()
        .map(|it| choose(&saturate(&carried(it)), &Mapping::of(subject.target, subject.backend)).cascade)
        .collect();
    let extents = interp::extents_at(subject.cascade, subject.sizes)?;
    let all = interp::extents_at(&chosen.cascade, subject.sizes)?;
    let planned = interp::extents_at(&chosen.plan.cascade, subject.sizes)?;
    let flops = flops(&chosen.cascade, &all) * admitted(&chosen.plan, &planned);
    let mut search = Search {
        subject,
        cascade: &chosen.cascade,
        others: &others,
        knobs: knobs(&chosen.plan),
        many: MANY,
        seen: BTreeSet::new(),
        points: Vec::new(),
        illegal: 0,
        done,
    };
    let thousands = 1 + tile(&chosen.plan).values.len() / 1000;
    search.many = MANY.min(MANY_LARGE / thousands);
    search.run(&chosen.plan);
    let Search { mut points, illegal, .. } = search;
    mark_front(&mut points);
    let declared = subject.cascade.ranks.iter().filter(|(_, it)| !it.local);
    Ok(Found {
        analysis: analyze(subject.cascade),
        flops,
        extents: declared.map(|(id, it)| (it.name.clone(), extents[id.idx()])).collect(),
        points,
        illegal,
    })
}

struct Search<'a> {
    subject: &'a Subject<'a>,
    cascade: &'a Cascade,
    others: &'a [Cascade],
    knobs: Vec<Knob>,
    /// How many mappings are enough.
    many: usize,
    seen: BTreeSet<String>,
    points: Vec<Point>,
    illegal: usize,
    done: &'a (dyn Fn(usize) + Sync),
}

impl Search<'_> {
    fn run(&mut self, plan: &Plan) {
        let Subject { target, backend, .. } = *self.subject;
        let vectors = Some(target.vectors(backend).to_owned());
        let start = Mapping { vectors, ..Mapping::of(target, backend) };
        self.look(vec![start.clone()]);
        self.points.iter_mut().for_each(|it| it.default = true);
        let first = |wanted: fn(&Knob) -> bool| self.knobs.iter().find(|it| wanted(it)).cloned();
        let main = [first(|it| matches!(it, Knob::Rows(_))), first(|it| matches!(it, Knob::Stream(_)))];
        let start = spelled(&start, plan);
        let mut grid = vec![start];
        for knob in main.iter().flatten() {
            let settings = self.settings(knob);
            grid = grid.iter().flat_map(|it| settings.iter().map(|size| knob.set(it, *size))).collect();
        }
        self.look(grid);
        if self.seen.len() > self.many {
            return;
        }
        let leaders: Vec<Mapping> = self.points.iter().take(LEADERS).map(|it| it.mapping.clone()).collect();
        let registers = |it: &Mapping| -> Vec<Mapping> {
            // Less than a vector is of no use.
            let least = self.subject.target.lanes(self.subject.backend);
            let lanes = Knob::Lanes.settings(None).into_iter().filter(move |it| *it >= least);
            let lanes = lanes.map(|size| Knob::Lanes.set(it, size));
            lanes
                .flat_map(|it| {
                    Knob::Strip.settings(None).into_iter().map(move |size| Knob::Strip.set(&it, size))
                })
                .collect()
        };
        self.look(leaders.iter().flat_map(registers).collect());
        for _ in 0..STEPS {
            if self.seen.len() > self.many {
                break;
            }
            let Some(best) = self.points.first().map(|it| it.mapping.clone()) else { return };
            let steps = self.knobs.clone();
            let around = steps
                .iter()
                .flat_map(|knob| self.settings(knob).into_iter().map(|size| knob.set(&best, size)))
                .collect();
            self.look(around);
            if self.points.first().is_some_and(|it| it.mapping == best) {
                break;
            }
        }
    }

    fn settings(&self, knob: &Knob) -> Vec<u32> {
        let extent = knob.rank().and_then(|name| {
            let rank = self.subject.cascade.ranks.iter().find(|(_, it)| it.name == name)?.1;
            match rank.extent {
                crate::ir::cascade::Extent::Fixed(extent) => Some(extent),
                crate::ir::cascade::Extent::Carried | crate::ir::cascade::Extent::Derived(_) => {
                    (self.subject.sizes)(name)
                }
            }
        });
        knob.settings(extent)
    }

    /// Adds what is legal and new among mappings.
    fn look(&mut self, mappings: Vec<Mapping>) {
        let mut new = Vec::new();
        for mapping in mappings {
            if self.seen.insert(mapping.to_toml()) {
                new.push(mapping);
            }
        }
        let found = on_all_cores(&new, |mapping| {
            let it = self.point(mapping);
            (self.done)(1);
            it
        });
        self.illegal += found.iter().filter(|it| it.is_none()).count();
        for point in found.into_iter().flatten() {
            // Sizes beyond what there is of a rank, or parts of what is not parted, come to the same.
            if !self.points.iter().any(|it| it.estimate == point.estimate) {
                self.points.push(point);
            }
        }
        self.points.sort_by(|a, b| {
            let order = a.estimate.seconds.total_cmp(&b.estimate.seconds);
            order.then(b.default.cmp(&a.default)).then(a.label.cmp(&b.label))
        });
    }

    fn point(&self, mapping: &Mapping) -> Option<Point> {
        let mapping = Mapping::read(&mapping.to_toml(), mapping.defaults).ok()?;
        let plan = schedule(self.cascade, &mapping);
        let plans: Vec<Plan> = self.others.iter().map(|it| schedule(it, &mapping)).collect();
        let legal = mapping.refusals(std::slice::from_ref(&plan)).is_empty();
        if !legal || plans.iter().any(|it| !mapping.refusals(std::slice::from_ref(it)).is_empty()) {
            return None;
        }
        let extents = interp::extents_at(&plan.cascade, self.subject.sizes).ok()?;
        let nest = tile(&plan);
        let Subject { machine, backend, threads, target, .. } = *self.subject;
        let lanes = target.lanes(backend);
        let scene = Scene {
            nest: &nest,
            cascade: &plan.cascade,
            extents: &extents,
            machine,
            backend,
            lanes,
            threads,
        };
        let estimate = estimate(&scene);
        let full = spelled(&mapping, &plan);
        let label = told(&full, &self.knobs);
        Some(Point { mapping: full, label, estimate, default: false, front: false, measured: None })
    }
}

/// What a mapping is judged by: smaller is better in each.
fn objectives(point: &Point) -> [f64; 3] {
    let time = point.measured.map_or(point.estimate.seconds, |it| it[0]);
    let traffic = point.estimate.traffic.get(1).map_or(0.0, |it| it.bytes);
    [time, point.estimate.footprint.scratch, traffic]
}

/// Marks the mappings that no other beats in everything.
pub fn mark_front(points: &mut [Point]) {
    let all: Vec<[f64; 3]> = points.iter().map(objectives).collect();
    for (at, own) in all.iter().enumerate() {
        let beats = |other: &[f64; 3]| {
            other.iter().zip(own).all(|(a, b)| a <= b) && other.iter().zip(own).any(|(a, b)| a < b)
        };
        points[at].front = !all.iter().any(beats);
    }
}

/// Puts what was measured first, fastest first; the rest stays in the order of the model.
pub fn refine(points: &mut [Point]) {
    let key = |it: &Point| (it.measured.is_none(), it.measured.map_or(it.estimate.seconds, |it| it[0]));
    points.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
    mark_front(points);
}
