//! A kernel to calls that test it: small extents that its checks accept, and inputs of several characters.

use crate::codegen::math::narrow::round_to;
use crate::ir::array::{Array, Data, Value};
use crate::ir::cascade::{
    At, Cascade, Check, Einsum, ExprId, Extent, Op, ParamValue, RankId, Role, Step, Tensor,
};
use crate::ir::expr::Expr;
use crate::ir::interp::{self, Call, CallError};
use crate::rewrite::{Walker, chunks};
use attnc_dsl::ast::{CompareOp, DType, Kind};

use super::random::Random;

/// What the inputs of a call are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Character {
    /// Normal reals; integers that are mostly coordinates.
    Plain,
    /// All extents are 1.
    Single,
    /// Some extents are 0.
    Empty,
    /// Zeros, so that everything ties.
    Zero,
    /// Reals eight times as large, integers over the whole range of narrow dtypes.
    Large,
    /// Reals so large that scores of attention reach 10000.
    Vast,
    /// A NaN in each tensor of reals: it must not reach what does not depend on it.
    Poisoned,
    /// Here and there −∞ among positive reals, as masks that are added have it.
    Sunken,
    /// Tokens of several chunks, where sums over them are taken in chunks, or keys of several tiles of a block of threads.
    Long,
}

impl Character {
    /// Every character of calls that any kernel is tested with: selections among scores as large as those of [`Vast`]
    /// depend on roundings.
    ///
    /// [`Vast`]: Character::Vast
    pub const ALL: [Character; 7] = [
        Character::Plain,
        Character::Single,
        Character::Empty,
        Character::Zero,
        Character::Large,
        Character::Poisoned,
        Character::Long,
    ];
}

/// What the reals of calls are multiplied by, until the author's assumptions hold.
pub(super) const SCALES: [f64; 4] = [1.0, 0.25, 0.0625, 0.015_625];

/// The points that the einsums of one call may visit; the interpreter is slow.
pub const MOST_POINTS: i64 = 2_000_000;

/// How often extents are drawn before the spec's constraints count as not to be met.
const TRIES: usize = 2000;

/// How often extents are made to follow from each other.
const REPAIRS: usize = 4;

/// The extents of all ranks, small and such that the cascade's checks hold; long ones are more than a chunk of a walker.
pub(super) fn extents(
    cascade: &Cascade,
    character: Character,
    walker: Walker,
    random: &mut Random,
) -> Option<Vec<i64>> {
    let long = if character == Character::Long { chunks(cascade, walker) } else { Vec::new() };
    if character == Character::Long && long.is_empty() {
        return None;
    }
    for attempt in 0..TRIES {
        let most = 2 + attempt as i64 * 40 / TRIES as i64;
        let mut drawn: Vec<i64> = (0..cascade.ranks.len()).map(|_| extent(character, most, random)).collect();
        for &(rank, size) in &long {
            drawn[rank.idx()] = size + 1 + random.below(size);
        }
        let Some(extents) = settled(cascade, drawn, &[], random) else { continue };
        if points(cascade, &extents) <= MOST_POINTS {
            return Some(extents);
        }
    }
    None
}

/// The extents of all ranks, given those that inputs carry; none if there are too many points.
pub(super) fn extents_of(
    cascade: &Cascade,
    sizes: &dyn Fn(&str) -> Option<i64>,
    random: &mut Random,
) -> Result<Option<Vec<i64>>, CallError> {
    let carried: Vec<i64> = cascade.ranks.iter().map(|(_, it)| sizes(&it.name).unwrap_or(1)).collect();
    let (extents, _) = evaluate(cascade, &carried, true, random)?;
    Ok((points(cascade, &extents) <= MOST_POINTS).then_some(extents))
}

/// The extents that follow from those that are drawn and those that are set, if the checks hold.
pub(super) fn settled(
    cascade: &Cascade,
    mut drawn: Vec<i64>,
    set: &[(RankId, i64)],
    random: &mut Random,
) -> Option<Vec<i64>> {
    for _ in 0..REPAIRS {
        set.iter().for_each(|(rank, extent)| drawn[rank.idx()] = *extent);
        let Ok((extents, demands)) = evaluate(cascade, &drawn, false, random) else { break };
        repair(cascade, &mut drawn, &extents, &demands, random);
    }
    let (extents, _) = evaluate(cascade, &drawn, true, random).ok()?;
    set.iter().all(|(rank, extent)| extents[rank.idx()] == *extent).then_some(extents)
}

fn extent(character: Character, most: i64, random: &mut Random) -> i64 {
    match character {
        Character::Single => 1,
        Character::Long => 1 + random.below(2),
        Character::Empty if random.below(4) == 0 => 0,
        Character::Plain
        | Character::Empty
        | Character::Zero
        | Character::Large
        | Character::Vast
        | Character::Poisoned
        | Character::Sunken => {
            let most = if random.below(3) == 0 { 3 * most } else { most };
            1 + random.below(most)
        }
    }
}

/// Makes carried extents follow from others, where the checks ask for it.
fn repair(
    cascade: &Cascade,
    drawn: &mut [i64],
    extents: &[i64],
    demands: &[(RankId, i64)],
    random: &mut Random,
) {
    for (id, rank) in cascade.ranks.iter().filter(|(_, it)| !it.parts.is_empty()) {
        let product =
            |parts: &[RankId]| parts.iter().map(|it| extents[it.idx()]).fold(1, i64::saturating_mul);
        let (all, minor) = (product(&rank.parts), product(&rank.parts[1..]));
        // The last major part need not be full.
        let follows = all.saturating_sub(minor) < drawn[id.idx()] && drawn[id.idx()] <= all;
        if !follows {
            let missing = if random.below(2) == 0 { random.below(minor.max(1)) } else { 0 };
            drawn[id.idx()] = (all - missing).max(0);
        }
    }
    for &(rank, extent) in demands {
        drawn[rank.idx()] = extent;
    }
}

/// Extents that checks ask ranks to have.
type Demands = Vec<(RankId, i64)>;

/// All extents, given those that inputs carry, and what equations among the checks demand of carried ones: the
/// interpreter runs a cascade whose outputs they are.
fn evaluate(
    cascade: &Cascade,
    carried: &[i64],
    checked: bool,
    random: &mut Random,
) -> Result<(Vec<i64>, Demands), CallError> {
    let mut own = cascade.clone();
    own.steps.clear();
    own.assumes.clear();
    let demands: Vec<(RankId, ExprId)> = cascade.checks.iter().filter_map(|it| demand(cascade, it)).collect();
    if !checked {
        own.checks.clear();
    }
    for id in cascade.tensors.ids() {
        own.tensors[id].role = Role::Temporary;
    }
    let mut values = Vec::new();
    for rank in cascade.ranks.ids() {
        if cascade.ranks[rank].extent == Extent::Carried {
            own.ranks[rank].extent = Extent::Fixed(carried[rank.idx()]);
        }
        values.push(own.exprs.add(Expr::Extent(rank)));
    }
    values.extend(demands.iter().map(|it| it.1));
    for (place, &value) in values.iter().enumerate() {
        let (name, role) = (format!("value {place}"), Role::Output);
        let tensor = own.tensors.push(Tensor { name, dims: Vec::new(), kind: Kind::Int, dtype: None, role });
        own.steps.push(Step::Einsum(Einsum { tensor, at: Vec::new(), op: Op::Map, value, exact: false }));
    }
    let call = Call { inputs: Default::default(), params: params(cascade, random) };
    let results = interp::cascade::run(&own, &call)?;
    let mut results = results.values().map(|it| match it.data.get(0) {
        Value::Int(it) => it,
        Value::Real(_) | Value::Bool(_) => unreachable!("extents are integers"),
    });
    let extents = results.by_ref().take(cascade.ranks.len()).collect();
    Ok((extents, demands.iter().map(|it| it.0).zip(results).collect()))
}

/// The carried rank and the value that a check asks it to have.
pub(super) fn demand(cascade: &Cascade, check: &Check) -> Option<(RankId, ExprId)> {
    let &Expr::Compare(CompareOp::Eq, extent, value) = cascade.exprs.get(check.condition) else {
        return None;
    };
    let &Expr::Extent(rank) = cascade.exprs.get(extent) else { return None };
    (cascade.ranks[rank].extent == Extent::Carried).then_some((rank, value))
}

/// How many points all einsums visit.
pub(super) fn points(cascade: &Cascade, extents: &[i64]) -> i64 {
    let extent = |rank: RankId| extents[rank.idx()].max(1);
    let of = |einsum: &Einsum| {
        let left = einsum.at.iter().filter_map(|it| match it {
            At::Rank(rank, _) => Some(*rank),
            At::Const(_) => None,
        });
        let ranks = left.chain(einsum.op.reduced().iter().copied());
        ranks.fold(1, |all: i64, rank| all.saturating_mul(extent(rank)))
    };
    cascade.einsums().map(of).fold(0, i64::saturating_add)
}

/// Values for the parameters that a call must give.
fn params(cascade: &Cascade, random: &mut Random) -> indexmap::IndexMap<String, Value> {
    let mut params = indexmap::IndexMap::new();
    for (_, param) in cascade.params.iter() {
        if param.value == ParamValue::Launch(None) {
            let value = match param.dtype.kind() {
                Kind::Real => Value::Real(round_to(param.dtype, f64::from(0.5 + random.unit() as f32))),
                Kind::Int => Value::Int(1 + random.below(3)),
                Kind::Bool => Value::Bool(random.below(2) == 0),
            };
            params.insert(param.name.clone(), value);
        }
    }
    params
}

/// A call with these extents; its reals are multiplied by `scale`.
pub(super) fn call(
    cascade: &Cascade,
    extents: &[i64],
    character: Character,
    scale: f64,
    random: &mut Random,
) -> Call {
    let mut call = Call { inputs: Default::default(), params: params(cascade, random) };
    for input in cascade.inputs() {
        let tensor = &cascade.tensors[input];
        let shape: Vec<usize> =
            tensor.dims.iter().map(|it| usize::try_from(extents[it.rank.idx()]).unwrap_or(0)).collect();
        let len = shape.iter().product();
        let dtype = tensor.dtype.expect("inputs are declared with a dtype");
        let data = match tensor.kind {
            Kind::Real => Data::Real(reals(len, dtype, character, scale, random)),
            Kind::Int => Data::Int(ints(len, dtype, character, extents, random)),
            Kind::Bool => Data::Bool((0..len).map(|_| random.below(3) > 0).collect()),
        };
        call.inputs.insert(tensor.name.clone(), Array { shape, data });
    }
    call
}

/// Sets inputs of integers to numbers that are near one and not above it, as far as their dtype has them.
pub(super) fn bound(cascade: &Cascade, call: &mut Call, names: &[String], near: i64, random: &mut Random) {
    for input in cascade.inputs().map(|it| &cascade.tensors[it]).filter(|it| names.contains(&it.name)) {
        let (low, high) = input.dtype.and_then(DType::int_range).unwrap_or((i64::MIN, i64::MAX));
        if let Some(Array { data: Data::Int(them), .. }) = call.inputs.get_mut(&input.name) {
            them.iter_mut().for_each(|it| *it = (near - random.below(3)).clamp(low, high));
        }
    }
}

fn reals(len: usize, dtype: DType, character: Character, scale: f64, random: &mut Random) -> Vec<f64> {
    let factor = match character {
        Character::Plain | Character::Single | Character::Empty | Character::Poisoned | Character::Sunken => {
            1.0
        }
        Character::Zero => 0.0,
        Character::Large => 8.0,
        Character::Vast => 64.0,
        // What is multiplied at each token should not grow.
        Character::Long => 0.25,
    };
    // Every compiled kernel stores at most f32 of what is declared f32.
    let stored = |x: f64| if dtype == DType::F64 { x } else { round_to(dtype, f64::from(x as f32)) };
    let mut values: Vec<f64> = (0..len).map(|_| stored(random.normal() * factor * scale)).collect();
    if character == Character::Poisoned && len > 0 {
        values[random.below(len as i64) as usize] = f64::NAN;
    }
    if character == Character::Sunken {
        // What multiplies −∞ should sink, too.
        values.iter_mut().for_each(|it| *it = it.abs());
        values.iter_mut().filter(|_| random.below(8) == 0).for_each(|it| *it = f64::NEG_INFINITY);
    }
    values
}

/// Mostly coordinates of some rank, and now and then one just outside.
fn ints(len: usize, dtype: DType, character: Character, extents: &[i64], random: &mut Random) -> Vec<i64> {
    let largest = extents.iter().copied().max().unwrap_or(0);
    let typical = extents.get(random.below(extents.len().max(1) as i64) as usize).copied().unwrap_or(1);
    let (low, high) = dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
    let is_narrow = high.saturating_sub(low) < 256;
    let mut coordinate =
        || if random.below(8) == 0 { random.below(largest + 3) - 1 } else { random.below(typical.max(1)) };
    match character {
        Character::Zero => vec![0; len],
        Character::Large if is_narrow => (0..len).map(|_| low + random.below(high - low + 1)).collect(),
        Character::Plain
        | Character::Single
        | Character::Empty
        | Character::Large
        | Character::Vast
        | Character::Poisoned
        | Character::Sunken
        | Character::Long => (0..len).map(|_| coordinate().clamp(low, high)).collect(),
    }
}
