//! What is read at other coordinates than where it is made is made there, too, if else it would be stored whole though it is
//! larger than anything that is handed in.
//!
//! ```text
//! S[m, n] = sum[d](Q * K);  F[m, s] = exp(S[m, at])   ->   S.at[m, s] = sum[d](Q * K[at, d]);  F[m, s] = exp(S.at)
//! ```

use std::collections::BTreeSet;

use super::chunk::{Applied, Law, fresh};
use super::rules::Exactness;
use super::setting;
use crate::analyze::passes::passes_over;
use crate::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, RankId, Role, Step, Tensor, TensorId};
use crate::ir::expr::Expr;
use crate::ir::subst::Subst;

/// The law.
pub(super) const LAW: Law =
    Law { name: "read-as-defined", law: "T[c] = f(c), if T[i] = f(i)", exactness: Exactness::Exact };

/// So many times the largest input is a tensor that is not stored for the sake of reads elsewhere.
const LARGE: f64 = 4.0;

/// Makes large tensors where they are read, as long as all counts are still those of the author's cascade and no more has
/// to be stored; one result for each read.
///
/// A tensor in memory is read without regard to what it was made of, and what is gathered is not counted: so counts may
/// change either way.
pub(super) fn made(cascade: &Cascade) -> Vec<Applied> {
    let all = applied(cascade, &|new, old| new == old);
    up_to_the_least(cascade, all, |points, least| points <= least)
}

/// The same in a cascade that is to be compiled, as far as less has to be stored then and no rank is traversed more often.
pub(super) fn made_anyway(cascade: &Cascade) -> Vec<Applied> {
    let all = applied(cascade, &|new, old| new <= old);
    up_to_the_least(cascade, all, |points, least| points < least)
}

/// Results up to the last whose plan stores less than all before, or as little.
fn up_to_the_least(cascade: &Cascade, mut all: Vec<Applied>, better: fn(f64, f64) -> bool) -> Vec<Applied> {
    if all.is_empty() {
        return all;
    }
    let (mut least, mut kept) = (stored(cascade), 0);
    for (at, it) in all.iter().enumerate() {
        let points = stored(&it.cascade);
        if better(points, least) {
            (least, kept) = (points, at + 1);
        }
    }
    all.truncate(kept);
    all
}

/// How often each of some ranks is traversed.
fn traversals(cascade: &Cascade, ranks: impl Iterator<Item = RankId>) -> impl Iterator<Item = u32> {
    passes_over(cascade, ranks).map(|it| it.passes.max(1))
}

/// How many points of tensors a plan of a cascade is likely to store.
fn stored(cascade: &Cascade) -> f64 {
    let plan = crate::schedule::schedule(cascade, &crate::schedule::Mapping::default());
    let sizes = setting::sizes_of_plan(&plan.cascade);
    let points = |it: TensorId| -> f64 {
        let dims = plan.cascade.tensors[it].dims.iter().map(|it| it.rank);
        atoms(&plan.cascade, dims).iter().map(|it| sizes[it.idx()]).product()
    };
    // Parts of fibers take room only where there are few rows.
    plan.stored().into_iter().filter(|it| !plan.room_where.contains_key(it)).map(points).sum()
}

/// Applies the law as long as it may make that of how often a rank was traversed.
fn applied(cascade: &Cascade, allows: &dyn Fn(u32, u32) -> bool) -> Vec<Applied> {
    let mut all: Vec<Applied> = Vec::new();
    loop {
        let last = all.last().map_or(cascade, |it| &it.cascade);
        let Some(next) = next(last, allows) else { return all };
        all.push(Applied { law: &LAW, cascade: next });
    }
}

/// A read of a tensor.
struct Reading {
    /// The step that reads.
    step: usize,
    read: ExprId,
    coords: Vec<ExprId>,
}

/// The cascade with the law applied once, if there is something to apply it to.
fn next(cascade: &Cascade, allows: &dyn Fn(u32, u32) -> bool) -> Option<Cascade> {
    let sizes = setting::sizes_of_plan(cascade);
    let points = |ranks: &BTreeSet<RankId>| ranks.iter().map(|it| sizes[it.idx()]).product::<f64>();
    let of = |it: TensorId| points(&atoms(cascade, cascade.tensors[it].dims.iter().map(|dim| dim.rank)));
    let largest = cascade.inputs().map(of).fold(1.0, f64::max);
    let large = cascade.steps.iter().filter_map(|step| match step {
        Step::Einsum(it) if of(it.tensor) >= LARGE * largest => Some(it),
        Step::Einsum(_) | Step::Recurrence(_) => None,
    });
    let mut before: Option<Vec<u32>> = None;
    for made in large {
        let tensor = &cascade.tensors[made.tensor];
        let is_own = tensor.role.is_own() && tensor.dtype.is_none();
        if !is_own || made.exact || !is_of_points(made) || !is_plain(cascade, made) {
            continue;
        }
        let Some(elsewhere) = readings(cascade, made.tensor) else { continue };
        let fits = |it: &Reading| {
            let free = free(cascade, &it.coords);
            points(&free) <= of(made.tensor)
                && free.is_disjoint(&atoms(cascade, made.op.reduced().iter().copied()))
        };
        if !elsewhere.is_empty() && elsewhere.iter().all(fits) {
            let new = with(cascade, made, &elsewhere[0]);
            let before = before.get_or_insert_with(|| traversals(cascade, cascade.ranks.ids()).collect());
            let is_allowed =
                traversals(&new, cascade.ranks.ids()).zip(before).all(|(new, old)| allows(new, *old));
            if is_allowed {
                return Some(new);
            }
        }
    }
    None
}

/// A map or a reduction.
fn is_of_points(einsum: &Einsum) -> bool {
    matches!(einsum.op, Op::Map | Op::Reduce(..))
}

/// Its left-hand side names its ranks and nothing else.
fn is_plain(cascade: &Cascade, einsum: &Einsum) -> bool {
    let dims = &cascade.tensors[einsum.tensor].dims;
    einsum.at.iter().zip(dims).all(|(at, dim)| *at == At::Rank(dim.rank, 0) && dim.lag == 0)
}

/// The reads of a tensor elsewhere than where it is made; `None` if something that needs it whole reads it.
fn readings(cascade: &Cascade, tensor: TensorId) -> Option<Vec<Reading>> {
    let dims = &cascade.tensors[tensor].dims;
    let mut found = Vec::new();
    for (at, step) in cascade.steps.iter().enumerate() {
        let (einsums, is_step): (Vec<&Einsum>, bool) = match step {
            Step::Einsum(it) => (vec![it], true),
            Step::Recurrence(it) => (it.bases.iter().chain(&it.body).collect(), false),
        };
        for einsum in einsums {
            for id in cascade.exprs.postorder(einsum.value) {
                let Expr::Read(it, coords, _) = cascade.exprs.get(id) else { continue };
                if *it != tensor {
                    continue;
                }
                let is_index =
                    |(coord, dim): (&ExprId, &Dim)| *cascade.exprs.get(*coord) == Expr::Index(dim.rank);
                let in_place = coords.iter().zip(dims).all(is_index);
                let selects = matches!(einsum.op, Op::Select(..) | Op::Arg(..));
                if !(is_step && (is_of_points(einsum) || selects && in_place)) {
                    return None;
                }
                if !in_place {
                    found.push(Reading { step: at, read: id, coords: coords.clone() });
                }
            }
        }
    }
    Some(found)
}

/// The cascade with one read replaced by what it stands for.
fn with(cascade: &Cascade, made: &Einsum, reading: &Reading) -> Cascade {
    let mut new = cascade.clone();
    let dims = cascade.tensors[made.tensor].dims.iter().map(|it| it.rank);
    let moves: Vec<(RankId, ExprId)> = dims
        .zip(reading.coords.iter().copied())
        .filter(|(rank, coord)| *cascade.exprs.get(*coord) != Expr::Index(*rank))
        .collect();
    let partial: Vec<RankId> = cascade.ranks.ids().filter(|it| cascade.is_ragged(*it)).collect();
    let value = Subst { cascade: &mut new, partial: &partial }.moved(made.value, &moves);
    let value = match made.op.clone() {
        Op::Map => value,
        op @ (Op::Reduce(..) | Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..)) => {
            let ranks = ranks(cascade, &reading.coords);
            let taken = |name: &str| new.tensors.iter().any(|(_, it)| it.name == name);
            let name = fresh(&format!("{}.at", cascade.tensors[made.tensor].name), taken);
            let kind = cascade.tensors[made.tensor].kind;
            let dims = ranks.iter().map(|&rank| Dim { rank, lag: 0 }).collect();
            let tensor = new.tensors.push(Tensor { name, dims, kind, dtype: None, role: Role::Temporary });
            let at = ranks.iter().map(|&rank| At::Rank(rank, 0)).collect();
            let einsum = Einsum { tensor, at, op, value, exact: false };
            new.steps.insert(reading.step, Step::Einsum(einsum));
            let indices = ranks.iter().map(|&it| new.exprs.index(it)).collect();
            new.exprs.add(Expr::Read(tensor, indices, kind))
        }
    };
    let value = Subst { cascade: &mut new, partial: &partial }.inside(value, &moves);
    let reader = reading.step + usize::from(new.steps.len() > cascade.steps.len());
    let Step::Einsum(mut einsum) = new.steps[reader].clone() else {
        unreachable!("only einsums are of points")
    };
    einsum.value = new.exprs.replaced(einsum.value, reading.read, value);
    new.steps[reader] = Step::Einsum(einsum);
    new
}

/// The part-less ranks that these stand for.
pub(super) fn atoms(cascade: &Cascade, ranks: impl Iterator<Item = RankId>) -> BTreeSet<RankId> {
    ranks.flat_map(|it| cascade.exprs.atoms(it).to_vec()).collect()
}

/// The ranks that coordinates depend on, those first of which one is the index, whole.
fn ranks(cascade: &Cascade, coords: &[ExprId]) -> Vec<RankId> {
    let mut ranks: Vec<RankId> = Vec::new();
    for &coord in coords {
        if let Expr::Index(rank) = *cascade.exprs.get(coord)
            && !ranks.contains(&rank)
        {
            ranks.push(rank);
        }
    }
    let covered = atoms(cascade, ranks.iter().copied());
    ranks.extend(free(cascade, coords).difference(&covered));
    ranks
}

/// The part-less ranks that coordinates depend on.
fn free(cascade: &Cascade, coords: &[ExprId]) -> BTreeSet<RankId> {
    coords.iter().flat_map(|it| cascade.exprs.free(*it).to_vec()).collect()
}
