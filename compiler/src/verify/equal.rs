//! Two cascades that are to be equal over the reals, to whether they are, as far as f64 can tell.
//!
//! Both are run in f64. How far they may be apart is derived from both: each is run again with every operation off by a
//! known amount ([`NUDGE`]), and what that moves, scaled down to a rounding of f64 times the length of the longest
//! reduction, is what rounding explains. Points that see a NaN of the inputs are not compared: those that move when
//! another number stands in its place. Where −∞ is put in, what becomes infinite is not compared: the laws are
//! those of the reals.

use std::collections::BTreeSet;

use crate::ir::array::{Array, Data};
use crate::ir::cascade::{Cascade, Einsum, ExprId, Extent, Op, ReduceOp, Role, Step, Tensor};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};
use crate::ir::interp::{self, Call, CallError};
use attnc_dsl::ast::{CompareOp, DType, Kind};
use indexmap::IndexMap;

use super::compare::{SLACK, coordinates, longest, real};
use super::draw::{self, Character};
use super::noise::{NUDGE, nudged};
use super::random::Random;

/// A call, and what a cascade as written gives for it.
pub struct Trial {
    /// What the inputs are like.
    pub character: Character,
    /// The extents, by rank.
    pub extents: Vec<i64>,
    /// Inputs and parameters.
    call: Call,
    written: Run,
    seed: u64,
}

/// What comes of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The outputs are as close as rounding lets them be.
    Agrees,
    /// They are not, and an exponential on the way is beyond f64: nothing can be said.
    OutOfRange,
    /// They are not: the first point, in words.
    Differs(String),
}

/// Outputs, and how far each point moves if operations are a little off.
struct Run {
    outputs: IndexMap<String, Array>,
    moves: IndexMap<String, Vec<f64>>,
    /// The points that see a NaN of the inputs, if there is one.
    sees: IndexMap<String, Vec<bool>>,
}

impl Trial {
    /// Every character of calls, −∞ included.
    pub const CHARACTERS: [Character; 8] = [
        Character::Plain,
        Character::Single,
        Character::Empty,
        Character::Zero,
        Character::Large,
        Character::Poisoned,
        Character::Sunken,
        Character::Long,
    ];

    /// A call of that character with reals multiplied by `scale`; none if what the author promises excludes it.
    ///
    /// # Errors
    /// The interpreter refuses a call that meets the constraints: a fault of ours.
    pub fn new(
        cascade: &Cascade,
        character: Character,
        scale: f64,
        seed: u64,
    ) -> Result<Option<Trial>, CallError> {
        let mut random = Random::new(seed);
        let Some(extents) = draw::extents(cascade, character, &mut random) else { return Ok(None) };
        let call = draw::call(cascade, &extents, character, scale, &mut random);
        match Run::of(cascade, &call, character, seed) {
            Ok(written) => Ok(Some(Trial { character, extents, call, written, seed })),
            Err(CallError::Assume(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compares the outputs of another cascade.
    ///
    /// # Errors
    /// The interpreter refuses what it took from the cascade as written: a fault of ours.
    pub fn compare(&self, cascade: &Cascade) -> Result<Verdict, CallError> {
        let other = Run::of(cascade, &self.call, self.character, self.seed)?;
        // Ranks that laws have added are no longer than what they split.
        let most = self.extents.iter().copied().max().unwrap_or(1);
        let added = cascade.ranks.iter().skip(self.extents.len()).map(|(_, it)| match it.extent {
            Extent::Fixed(extent) => extent,
            Extent::Carried | Extent::Derived(_) => most,
        });
        let extents: Vec<i64> = self.extents.iter().copied().chain(added).collect();
        let length = longest(cascade, &extents);
        match self.written.outputs.keys().find_map(|name| self.worst(name, &other, length)) {
            None => Ok(Verdict::Agrees),
            Some(_) if leaves_range(cascade, &self.call)? => Ok(Verdict::OutOfRange),
            Some(what) => Ok(Verdict::Differs(what)),
        }
    }

    fn worst(&self, name: &str, other: &Run, length: f64) -> Option<String> {
        let (written, found) = (&self.written.outputs[name], &other.outputs[name]);
        let moves = (&self.written.moves[name], &other.moves[name]);
        let explained = SLACK * length * f64::EPSILON / NUDGE;
        let typical = median(moves.0).max(median(moves.1));
        (0..written.data.len()).find_map(|at| {
            let (expected, found) = (real(written, at), real(found, at));
            // What the other one makes of a number has to be a number.
            let moves =
                if found.is_finite() { moves.0[at].max(moves.1[at]) } else { moves.0[at] }.max(typical);
            let sees = [&self.written, other].iter().any(|it| it.sees.get(name).is_some_and(|it| it[at]));
            let is_number =
                expected.is_finite() || (expected.is_infinite() && self.character != Character::Sunken);
            let is_compared = is_number
                && !sees
                && moves < f64::INFINITY
                && (written.data.kind() == Kind::Real || moves == 0.0);
            let allowed = explained * moves + f64::MIN_POSITIVE;
            let agrees = expected == found || (expected.is_finite() && (found - expected).abs() <= allowed);
            (is_compared && !agrees).then(|| {
                let point = coordinates(at, &written.shape);
                format!(
                    "`{name}{point:?}` is {found:?}, expected {expected:?}, where {allowed:.1e} is allowed"
                )
            })
        })
    }
}

/// Whether an exponential of a present point is 0 or infinite, so that f64 cannot hold what the cascade goes through.
fn leaves_range(cascade: &Cascade, call: &Call) -> Result<bool, CallError> {
    let mut asked = cascade.clone();
    let mut seen = BTreeSet::new();
    for einsum in
        cascade.steps.iter().filter_map(|it| if let Step::Einsum(it) = it { Some(it) } else { None })
    {
        for id in cascade.exprs.postorder(einsum.value) {
            let is_exponential =
                matches!(cascade.exprs.get(id), Expr::Unary(UnaryOp::Exp | UnaryOp::Exp2, _));
            if is_exponential && seen.insert(id) {
                ask(&mut asked, id);
            }
        }
    }
    let answers = interp::cascade::run(&asked, call)?;
    Ok(answers.iter().any(|(name, it)| name.starts_with(ASKED) && real(it, 0) != 0.0))
}

/// What no tensor of a spec is called.
const ASKED: &str = "leaves range ";

/// Adds the question whether an expression is 0 or infinite anywhere.
fn ask(cascade: &mut Cascade, id: ExprId) {
    let exprs = &mut cascade.exprs;
    let (zero, infinity) = (exprs.real(0.0), exprs.real(f64::INFINITY));
    let (is_zero, is_infinite) =
        (exprs.compare(CompareOp::Eq, id, zero), exprs.compare(CompareOp::Eq, id, infinity));
    let value = exprs.add(Expr::Binary(BinaryOp::Or, is_zero, is_infinite));
    let op = Op::Reduce(ReduceOp::Any, exprs.free(id).to_vec());
    let (name, role) = (format!("{ASKED}{}", id.idx()), Role::Output);
    let dtype = Some(DType::Bool);
    let tensor = cascade.tensors.push(Tensor { name, dims: Vec::new(), kind: Kind::Bool, dtype, role });
    cascade.steps.push(Step::Einsum(Einsum { tensor, at: Vec::new(), op, value, exact: false }));
}

impl Run {
    fn of(cascade: &Cascade, call: &Call, character: Character, seed: u64) -> Result<Run, CallError> {
        let outputs = interp::cascade::run(cascade, call)?;
        let moved = interp::cascade::run(&nudged(cascade, &mut Random::new(seed)), call)?;
        let moves = outputs.iter().map(|(name, it)| {
            let by = |at| match (real(&moved[name], at), real(it, at)) {
                (moved, it) if moved == it => 0.0,
                (moved, it) if (moved - it).is_nan() => f64::INFINITY,
                (moved, it) => (moved - it).abs(),
            };
            (name.clone(), (0..it.data.len()).map(by).collect())
        });
        let mut run = Run { moves: moves.collect(), outputs, sees: IndexMap::new() };
        if character == Character::Poisoned {
            run.look(cascade, call, seed)?;
        }
        Ok(run)
    }

    /// Finds what sees a NaN of the inputs: what another number in its place changes, be it by a rounding.
    fn look(&mut self, cascade: &Cascade, call: &Call, seed: u64) -> Result<(), CallError> {
        let with = |number: f64| {
            let mut call = call.clone();
            for array in call.inputs.values_mut() {
                if let Data::Real(it) = &mut array.data {
                    it.iter_mut().filter(|it| it.is_nan()).for_each(|it| *it = number);
                }
            }
            interp::cascade::run(&nudged(cascade, &mut Random::new(seed)), &call)
        };
        let (low, high) = (with(-0.75)?, with(1.5)?);
        for (name, it) in &low {
            let differs = |at| real(it, at).to_bits() != real(&high[name], at).to_bits();
            self.sees.insert(name.clone(), (0..it.data.len()).map(differs).collect());
        }
        Ok(())
    }
}

/// What moves half of the points less.
fn median(moves: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = moves.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
