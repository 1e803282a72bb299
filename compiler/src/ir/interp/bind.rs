//! A call's extents and parameters: from the shapes of inputs, from what was fixed, from expressions.

use attnc_dsl::ast::{DType, Kind};

use super::machine::{Machine, int};
use super::number::Number;
use super::{Call, CallError, number, scalar};
use crate::ir::array::{Array, Data, Value};
use crate::ir::cascade::{Cascade, ExprId, Extent, ExtentFault, ParamId, ParamValue, RankId, TensorId};
use crate::ir::expr::Expr;

/// A machine that knows every extent and parameter of a call and holds its inputs.
pub(super) fn bind<'a, R: Number>(cascade: &'a Cascade, call: &Call) -> Result<Machine<'a, R>, CallError> {
    let mut binder = Binder {
        call,
        machine: Machine::new(cascade),
        known_ranks: vec![false; cascade.ranks.len()],
        known_params: vec![false; cascade.params.len()],
    };
    refuse_surplus(cascade, call)?;
    for input in cascade.inputs() {
        binder.carry(input)?;
    }
    for rank in cascade.ranks.ids() {
        binder.rank(rank)?;
    }
    for param in cascade.params.ids() {
        binder.param(param)?;
    }
    binder.check()?;
    let mut machine = binder.machine;
    for input in cascade.inputs() {
        load(&mut machine, input, call)?;
    }
    Ok(machine)
}

/// The value of a parameter that was fixed when the kernel was compiled.
pub fn fixed(cascade: &Cascade, id: ParamId) -> Option<Value> {
    let param = &cascade.params[id];
    let ParamValue::Fixed(value) = param.value else { return None };
    let mut machine: Machine<'_> = Machine::new(cascade);
    machine.compute(&cascade.exprs.postorder(value));
    machine.value(value).map(|it| scalar::cast(param.dtype, it))
}

/// The extent of every rank, if none waits for the shapes of a call.
pub fn extents(cascade: &Cascade) -> Option<Vec<i64>> {
    let call = Call::default();
    let mut binder = Binder::<f64> {
        call: &call,
        machine: Machine::new(cascade),
        known_ranks: vec![false; cascade.ranks.len()],
        known_params: vec![false; cascade.params.len()],
    };
    cascade.ranks.ids().try_for_each(|rank| binder.rank(rank)).ok()?;
    Some(binder.machine.extents)
}

/// The extent of every rank, given those of ranks that inputs carry, by name; a composite one of which nothing is said
/// has as many coordinates as its parts have combinations. The first rank without an extent, if one is missing.
pub fn extents_at(cascade: &Cascade, sizes: &dyn Fn(&str) -> Option<i64>) -> Result<Vec<i64>, CallError> {
    let mut bound = cascade.clone();
    for id in cascade.ranks.ids() {
        if cascade.ranks[id].extent == Extent::Carried {
            let missing = || CallError::Absent(cascade.ranks[id].name.clone());
            bound.ranks[id].extent = Extent::Fixed(size_of(cascade, id, sizes).ok_or_else(missing)?);
        }
    }
    let unfit = || CallError::Unfit(cascade.name.clone(), 0);
    extents(&bound).ok_or_else(unfit)
}

fn size_of(cascade: &Cascade, id: RankId, sizes: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
    let rank = &cascade.ranks[id];
    match rank.extent {
        Extent::Fixed(extent) => Some(extent),
        Extent::Carried | Extent::Derived(_) => sizes(&rank.name).or_else(|| {
            let parts = rank.parts.iter().map(|&it| size_of(cascade, it, sizes));
            let all = parts.collect::<Option<Vec<i64>>>()?;
            (!all.is_empty()).then(|| all.into_iter().fold(1_i64, i64::saturating_mul))
        }),
    }
}

struct Binder<'a, 'c, R> {
    call: &'c Call,
    machine: Machine<'a, R>,
    known_ranks: Vec<bool>,
    known_params: Vec<bool>,
}

impl<R: Number> Binder<'_, '_, R> {
    /// Takes the extents of carried ranks from the shape of an input.
    fn carry(&mut self, input: TensorId) -> Result<(), CallError> {
        let tensor = &self.machine.cascade.tensors[input];
        let array = given(self.call, &tensor.name)?;
        let (found, declared) = (array.shape.len(), tensor.dims.len());
        if found != declared {
            return Err(CallError::Dimensions(tensor.name.clone(), found, declared));
        }
        for (dim, &extent) in tensor.dims.iter().zip(&array.shape) {
            let carried = self.machine.cascade.ranks[dim.rank].extent == Extent::Carried;
            if carried && !std::mem::replace(&mut self.known_ranks[dim.rank.idx()], true) {
                self.machine.extents[dim.rank.idx()] = extent as i64;
            }
        }
        Ok(())
    }

    fn rank(&mut self, id: RankId) -> Result<(), CallError> {
        if std::mem::replace(&mut self.known_ranks[id.idx()], true) {
            return Ok(());
        }
        let rank = &self.machine.cascade.ranks[id];
        self.machine.extents[id.idx()] = match rank.extent {
            Extent::Fixed(extent) => extent,
            Extent::Carried => return Err(CallError::Absent(rank.name.clone())),
            Extent::Derived(value) => int(self.value(value, &rank.name)?),
        };
        Ok(())
    }

    fn param(&mut self, id: ParamId) -> Result<(), CallError> {
        if std::mem::replace(&mut self.known_params[id.idx()], true) {
            return Ok(());
        }
        let param = &self.machine.cascade.params[id];
        let given = self.call.params.get(&param.name);
        let value = match (param.value, given) {
            (ParamValue::Fixed(_), Some(_)) => return Err(CallError::FixedParam(param.name.clone())),
            (ParamValue::Launch(_), Some(&given)) => {
                number::lifted(convert(param.dtype, given, &param.name)?)
            }
            (ParamValue::Fixed(value) | ParamValue::Launch(Some(value)), None) => {
                scalar::cast(param.dtype, self.value(value, &param.name)?)
            }
            (ParamValue::Launch(None), None) => return Err(CallError::MissingParam(param.name.clone())),
        };
        self.machine.params[id.idx()] = Some(value);
        Ok(())
    }

    /// The value of an expression without indices, after what it mentions is known.
    fn value(&mut self, id: ExprId, owner: &str) -> Result<Value<R>, CallError> {
        let cascade = self.machine.cascade;
        let order = cascade.exprs.postorder(id);
        for &id in &order {
            if let Expr::Extent(rank) = cascade.exprs.get(id) {
                self.rank(*rank)?;
            }
            if let Expr::Param(param, _) = cascade.exprs.get(id) {
                self.param(*param)?;
            }
        }
        self.machine.compute(&order);
        self.machine.value(id).ok_or_else(|| CallError::Absent(owner.to_owned()))
    }

    /// Refuses extents that contradict the inputs, the checks of the cascade or themselves.
    fn check(&mut self) -> Result<(), CallError> {
        let cascade = self.machine.cascade;
        for check in &cascade.checks {
            let name = &cascade.ranks[check.rank].name;
            if self.value(check.condition, name)? != Value::Bool(true) {
                let extent = self.machine.extent(check.rank);
                return Err(match check.fault {
                    ExtentFault::Range => CallError::Range(name.clone(), extent),
                    ExtentFault::Disagree => CallError::Unfit(name.clone(), extent),
                });
            }
        }
        for (id, rank) in cascade.ranks.iter() {
            let extent = self.machine.extent(id);
            if extent < 0 {
                return Err(CallError::Range(rank.name.clone(), extent));
            }
        }
        for input in cascade.inputs() {
            let tensor = &cascade.tensors[input];
            for (dim, &found) in tensor.dims.iter().zip(&given(self.call, &tensor.name)?.shape) {
                let extent = self.machine.extent(dim.rank);
                if found as i64 != extent {
                    let rank = cascade.ranks[dim.rank].name.clone();
                    let has_it =
                        |it: &TensorId| cascade.tensors[*it].dims.iter().any(|other| other.rank == dim.rank);
                    let first = cascade.inputs().take_while(|it| *it != input).find(has_it);
                    let first = first.map(|it| cascade.tensors[it].name.clone());
                    return Err(CallError::Disagree(rank, extent, first, tensor.name.clone(), found as i64));
                }
            }
        }
        Ok(())
    }
}

fn refuse_surplus(cascade: &Cascade, call: &Call) -> Result<(), CallError> {
    let is_input = |name: &str| cascade.inputs().any(|it| cascade.tensors[it].name == name);
    if let Some(name) = call.inputs.keys().find(|name| !is_input(name)) {
        return Err(CallError::UnknownInput(name.clone()));
    }
    let is_param = |name: &str| cascade.params.iter().any(|(_, it)| it.name == name);
    match call.params.keys().find(|name| !is_param(name)) {
        Some(name) => Err(CallError::UnknownParam(name.clone())),
        None => Ok(()),
    }
}

fn given<'c>(call: &'c Call, name: &str) -> Result<&'c Array, CallError> {
    call.inputs.get(name).ok_or_else(|| CallError::MissingInput(name.to_owned()))
}

fn load<R: Number>(machine: &mut Machine<'_, R>, input: TensorId, call: &Call) -> Result<(), CallError> {
    let tensor = &machine.cascade.tensors[input];
    let data = converted(given(call, &tensor.name)?, tensor.dtype, tensor.kind, &tensor.name)?;
    machine.allocate(input)?;
    for (at, point) in machine.tensors[input.idx()].points.iter_mut().enumerate() {
        *point = Some(number::lifted(data.get(at)));
    }
    Ok(())
}

/// The elements of an input as its tensor stores them.
fn converted(array: &Array, dtype: Option<DType>, kind: Kind, name: &str) -> Result<Data, CallError> {
    let dtype = dtype.unwrap_or(match kind {
        Kind::Int => DType::I64,
        Kind::Real => DType::F64,
        Kind::Bool => DType::Bool,
    });
    let mut data = Data::zeros(kind, array.data.len());
    for at in 0..array.data.len() {
        data.set(at, convert(dtype, array.data.get(at), name)?);
    }
    Ok(data)
}

/// A value from outside in a declared dtype; a real is never taken for an integer or a bool.
fn convert(dtype: DType, value: Value, name: &str) -> Result<Value, CallError> {
    if dtype.kind() != Kind::Real && value.kind() == Kind::Real {
        return Err(CallError::Kind(name.to_owned()));
    }
    Ok(scalar::cast(dtype, value))
}
