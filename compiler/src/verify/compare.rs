//! Outputs to how far they are from the interpreter's, in units of what rounding explains.
//!
//! A kernel is right if it computes what the interpreter would if each of its operations were off by a rounding: the
//! interpreter runs on cascades with [`noise`](super::noise), once with plain rounding, so that what cancels in f32 cancels
//! there, and each point may differ by [`SLACK`] times what it moves. In place of a
//! point that happens to move little stands the median of its tensor. Sums add roundings of their own: the ulp of f32 times
//! the length of the longest reduction times the largest magnitude of the tensor. What is stored in fewer bits, on the
//! way or in the end, adds an ulp of that dtype. Where a kernel rounds factors of its products to fewer bits than they are
//! computed in, [`Short`] says what that may cost. Integers and bools must agree, except at points that noise changes.
//!
//! The meaning of a spec knows no overflow on the way, so the interpreter runs in a range that nothing leaves. A kernel may
//! lose a point where numbers leave the range of f32: where noise in that range does. If it gives a number there, it must be
//! right; how many it does not is counted. Points whose reference is NaN, or infinite in f32, are not compared.

use crate::ir::array::{Array, Data};
use crate::ir::cascade::{Cascade, Op, Step};
use crate::ir::expr::Expr;
use crate::ir::interp::cascade::{run, run_extended};
use crate::ir::interp::{Call, CallError};
use attnc_dsl::ast::{DType, Kind};
use indexmap::IndexMap;

use super::noise::{NUDGE, noisy, nudged, rounded, unlimited};
use super::random::Random;
use super::short::Short;

/// How much larger than the noise's the errors of a right kernel may be.
pub(super) const SLACK: f64 = 16.0;

/// How many times there is noise.
const MOVES: usize = 3;

/// What a kernel must compute for one call.
pub struct Reference {
    outputs: IndexMap<String, Points>,
}

struct Points {
    values: Array,
    /// How far a value may be off, at each point; negative where it is not compared.
    allowed: Vec<f64>,
    /// Where a kernel need not give a number.
    may_be_lost: Vec<bool>,
}

/// How one output compares.
#[derive(Debug, Clone, Default)]
pub struct Distance {
    /// The largest error, relative to the largest magnitude of its tensor.
    pub error: f64,
    /// The largest error, relative to what is allowed at that point.
    pub of_allowed: f64,
    /// The point that is off most, in words.
    pub worst: String,
    /// How many points were compared.
    pub compared: usize,
    /// How many more have no number where one is right, for f32 cannot hold what comes up on the way.
    pub lost: usize,
}

impl Reference {
    /// Computes the reference of a call.
    pub(super) fn of(
        cascade: &Cascade,
        call: &Call,
        extents: &[i64],
        random: &mut Random,
    ) -> Result<Reference, CallError> {
        let all = run_extended(cascade, call)?;
        let (mut moved, mut beyond) = (vec![run(&rounded(cascade), call)?], Vec::new());
        for _ in 0..MOVES {
            moved.push(run(&noisy(cascade, random), call)?);
        }
        if all.iter().any(|(name, it)| may_be_lost(it, &moved, name).contains(&true)) {
            for _ in 0..MOVES {
                beyond.push(run_extended(&unlimited(cascade, random), call)?);
            }
        }
        // Sums of f64 are off, too, of which noise in f32 says nothing where they cancel to 0.
        let is_wide = cascade.tensors.iter().any(|(_, it)| it.dtype == Some(DType::F64));
        let wide = if is_wide { Some(run_extended(&nudged(cascade, random), call)?) } else { None };
        let mut outputs = IndexMap::new();
        for id in cascade.outputs() {
            let tensor = &cascade.tensors[id];
            let values = all[&tensor.name].clone();
            let ulps = ulp_of(tensor.dtype)
                + longest(cascade, extents) * f64::from(f32::EPSILON)
                + narrowest(cascade);
            let may_be_lost = may_be_lost(&values, &moved, &tensor.name);
            let moves = |at: usize| {
                let runs = if may_be_lost[at] { &beyond } else { &moved };
                let wide = wide.as_ref().map_or(0.0, |it| off(&values, &it[&tensor.name], at));
                let least = if wide.is_finite() { wide * f64::EPSILON / NUDGE } else { 0.0 };
                runs.iter().fold(least, |most: f64, it| most.max(off(&values, &it[&tensor.name], at)))
            };
            let moves = (0..values.data.len()).map(moves).collect();
            let allowed = allowed(&values, moves, ulps);
            outputs.insert(tensor.name.clone(), Points { values, allowed, may_be_lost });
        }
        Ok(Reference { outputs })
    }

    /// Compares the outputs of a back end, by name.
    pub fn compare(&self, outputs: &IndexMap<String, Array>) -> Distance {
        self.compare_short(outputs, &Short::default())
    }

    /// Compares the outputs of a kernel that takes products of short floats.
    pub fn compare_short(&self, outputs: &IndexMap<String, Array>, short: &Short) -> Distance {
        let mut all = Distance::default();
        for (name, expected) in &self.outputs {
            all = all.worse(expected.distance(name, outputs.get(name), short.costs(name)));
        }
        all
    }
}

impl Distance {
    /// What can be said of two comparisons together.
    pub fn worse(&self, other: Distance) -> Distance {
        let (of_allowed, worst) = match self.of_allowed >= other.of_allowed {
            true => (self.of_allowed, self.worst.clone()),
            false => (other.of_allowed, other.worst),
        };
        let (compared, lost) = (self.compared + other.compared, self.lost + other.lost);
        Distance { error: self.error.max(other.error), of_allowed, worst, compared, lost }
    }
}

impl Points {
    /// How an output compares, given what rounding of factors may cost at each point; nothing where `costs` ends.
    fn distance(&self, name: &str, output: Option<&Array>, costs: &[f64]) -> Distance {
        let mut distance = Distance::default();
        let Some(output) = output.filter(|it| it.shape == self.values.shape) else {
            let found = output.map_or("missing".to_owned(), |it| format!("of shape {:?}", it.shape));
            let worst = format!("`{name}` is {found}, expected {:?}", self.values.shape);
            return Distance {
                error: f64::INFINITY,
                of_allowed: f64::INFINITY,
                worst,
                ..Distance::default()
            };
        };
        let largest = largest(&self.values);
        for at in 0..self.allowed.len() {
            let (found, expected, allowed) = (real(output, at), real(&self.values, at), self.allowed[at]);
            let cost = costs.get(at).copied().unwrap_or(0.0);
            // An integer that depends on the last digit of a real is not compared.
            if allowed < 0.0 || (self.values.data.kind() != Kind::Real && cost > 0.0) {
                continue;
            }
            let allowed = allowed + cost;
            if self.may_be_lost[at] && !found.is_finite() {
                distance.lost += 1;
                continue;
            }
            distance.compared += 1;
            let off = if found.is_nan() { f64::INFINITY } else { (found - expected).abs() };
            let of_allowed = if off == 0.0 { 0.0 } else { off / allowed };
            distance.error = distance.error.max(if off == 0.0 { 0.0 } else { off / largest });
            if of_allowed > distance.of_allowed {
                let point = coordinates(at, &self.values.shape);
                distance.of_allowed = of_allowed;
                distance.worst = format!(
                    "`{name}{point:?}` is {found:?}, expected {expected:?}, off by {off:.1e} where {allowed:.1e} is allowed"
                );
            }
        }
        distance
    }
}

/// How far a point is from where it was; infinitely where that cannot be told.
fn off(values: &Array, moved: &Array, at: usize) -> f64 {
    let off = (real(moved, at) - real(values, at)).abs();
    if off.is_nan() { f64::INFINITY } else { off }
}

/// The points that are numbers of f32 and that something in its range leaves without a number.
fn may_be_lost(values: &Array, moved: &[IndexMap<String, Array>], name: &str) -> Vec<bool> {
    let is_number = |at| values.data.kind() == Kind::Real && (real(values, at) as f32).is_finite();
    let leaves = |at| moved.iter().any(|it| off(values, &it[name], at).is_infinite());
    (0..values.data.len()).map(|at| is_number(at) && leaves(at)).collect()
}

/// How far each point may be off, from how far noise moves it.
fn allowed(values: &Array, moves: Vec<f64>, ulps: f64) -> Vec<f64> {
    if values.data.kind() != Kind::Real {
        return moves.iter().map(|&it| if it == 0.0 { 0.0 } else { -1.0 }).collect();
    }
    let mut sorted: Vec<f64> = moves.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let own = ulps * largest(values);
    let at_point = |(at, &moves): (usize, &f64)| {
        let compared = (real(values, at) as f32).is_finite() && moves.is_finite();
        if compared { SLACK * moves.max(median) + own + f64::from(f32::MIN_POSITIVE) } else { -1.0 }
    };
    moves.iter().enumerate().map(at_point).collect()
}

/// The extent of the longest reduction or recurrence.
pub(super) fn longest(cascade: &Cascade, extents: &[i64]) -> f64 {
    let along = |op: &Op| match op {
        Op::Scan(_, rank) => extents[rank.idx()] as f64,
        Op::Map | Op::Reduce(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => {
            op.reduced().iter().map(|it| extents[it.idx()] as f64).product()
        }
    };
    let steps = cascade.steps.iter().filter_map(|it| match it {
        Step::Recurrence(it) => Some(extents[it.rank.idx()] as f64),
        Step::Einsum(_) => None,
    });
    cascade.einsums().map(|it| along(&it.op)).chain(steps).fold(1.0, f64::max)
}

/// The ulp of the narrowest float that an intermediate is rounded to.
fn narrowest(cascade: &Cascade) -> f64 {
    let stored = cascade.einsums().map(|it| ulp_of(cascade.tensors[it.tensor].dtype));
    let cast = cascade
        .exprs
        .iter()
        .map(|(_, it)| if let Expr::Cast(dtype, _) = it { ulp_of(Some(*dtype)) } else { 0.0 });
    stored.chain(cast).fold(0.0, f64::max)
}

/// The ulp of a float narrower than f32; nothing for others.
fn ulp_of(dtype: Option<DType>) -> f64 {
    match dtype {
        Some(DType::F16) => 2f64.powi(-10),
        Some(DType::BF16) => 2f64.powi(-7),
        Some(DType::F8E4M3) => 2f64.powi(-3),
        Some(DType::F8E5M2) => 2f64.powi(-2),
        Some(
            DType::F64
            | DType::F32
            | DType::I64
            | DType::I32
            | DType::I16
            | DType::I8
            | DType::U8
            | DType::I4
            | DType::Bool,
        )
        | None => 0.0,
    }
}

/// The largest finite magnitude.
fn largest(values: &Array) -> f64 {
    let all = (0..values.data.len()).map(|at| real(values, at).abs());
    all.filter(|it| it.is_finite()).fold(f64::from(f32::MIN_POSITIVE), f64::max)
}

pub(super) fn real(values: &Array, at: usize) -> f64 {
    match &values.data {
        Data::Real(it) => it[at],
        Data::Int(it) => it[at] as f64,
        Data::Bool(it) => f64::from(u8::from(it[at])),
    }
}

pub(super) fn coordinates(at: usize, shape: &[usize]) -> Vec<usize> {
    let (mut rest, mut point) = (at, Vec::new());
    for &extent in shape.iter().rev() {
        point.push(rest % extent);
        rest /= extent;
    }
    point.reverse();
    point
}
