//! A kernel to its entry in the manifest: names, and which word of the arguments each thing has.

use attnc_dsl::ast;
use attnc_ptx::{Module, VarPlace};
use attnc_runtime::DType;
use attnc_runtime::manifest::{
    BoxInfo, DimInfo, Extent, KernelInfo, MappedStage, ParamInfo, RankInfo, Role, Scalar, TensorInfo,
};
use sha2::{Digest, Sha256};

use super::hex;
use crate::codegen::ptx;
use crate::ir::array::Value;
use crate::ir::cascade::{self, Cascade, ExtentFault, Param, ParamId, ParamValue, RankId, Tensor, TensorId};
use crate::ir::expr::Expr;
use crate::ir::interp;
use crate::ir::nest::{Buffer, Nest, Place, Word, bytes_of};
use crate::ir::print;
use crate::schedule::{Mapping, Plan};
use crate::target::Target;

/// The entry of a kernel that was compiled from that nest of that cascade.
pub fn describe(plan: &Plan, nest: &Nest, target: &Target, mapping: &Mapping) -> KernelInfo {
    let cascade = &plan.cascade;
    let ranks = cascade.ranks.iter().filter(|(_, it)| !it.local).map(|(id, _)| rank(cascade, nest, id));
    let tensors = cascade.inputs().chain(cascade.outputs()).zip(nest.buffers.iter());
    let stages = to_u32(nest.stages.len());
    KernelInfo {
        name: cascade.name.clone(),
        symbol: format!("attnc_{}", cascade.name),
        docs: cascade.docs.join("\n"),
        ranks: ranks.collect(),
        params: cascade.params.iter().map(|(id, it)| param(cascade, nest, id, it)).collect(),
        tensors: tensors.map(|(id, (_, buffer))| tensor(cascade, id, buffer)).collect(),
        words: to_u32(nest.words.len()),
        stages,
        shared: Vec::new(),
        teams: by_stage(stages, |it| nest.stages[it as usize].team.map_or(0, ptx::threads)),
        mapped: mapped(nest, target),
        workspace: workspace(plan, nest),
        target: target.triple().to_string(),
        cpu_features: target.cpu_features().iter().map(|it| (*it).to_owned()).collect(),
        mapping: mapping.to_json(),
        derivation: hex(&Sha256::digest(print::cascade(cascade))),
    }
}

/// The same where the stages are in a module: with the shared memory that each asks for when it is launched.
pub fn describe_module(info: KernelInfo, module: &Module) -> KernelInfo {
    let asked = |stage, maps| {
        let entry = ptx::entry_name(&info.symbol, stage as usize, maps);
        let kernel = module.kernels.iter().find(|it| it.name == entry);
        // Variables of this kind share one piece of memory.
        let dynamic = kernel.into_iter().flat_map(|it| &it.vars).filter(|it| it.place == VarPlace::Dynamic);
        dynamic.map(|it| it.bytes).max().unwrap_or(0)
    };
    let mapped = info.mapped.iter().map(|it| MappedStage { shared: asked(it.stage, true), ..it.clone() });
    KernelInfo { mapped: mapped.collect(), shared: by_stage(info.stages, |it| asked(it, false)), ..info }
}

/// The stages that have an entry for maps of tensors.
fn mapped(nest: &Nest, target: &Target) -> Vec<MappedStage> {
    let stages = (0..).zip(&nest.stages).filter_map(|(at, stage)| {
        let bulk = ptx::bulk(nest, stage, target.gpu()?)?;
        // The first buffers of a nest are the caller's tensors.
        let maps =
            bulk.maps.into_iter().map(|it| BoxInfo { tensor: to_u32(it.buffer.idx()), extents: it.extents });
        let threads = ptx::with_copying(ptx::threads(stage.team?));
        Some(MappedStage { stage: at, threads, shared: 0, maps: maps.collect() })
    });
    stages.collect()
}

/// A number for each stage; none if there are none.
fn by_stage(stages: u32, number: impl Fn(u32) -> u32) -> Vec<u32> {
    let all: Vec<u32> = (0..stages).map(number).collect();
    if all.iter().all(|it| *it == 0) { Vec::new() } else { all }
}

fn rank(cascade: &Cascade, nest: &Nest, id: RankId) -> RankInfo {
    let rank = &cascade.ranks[id];
    let extent = match rank.extent {
        cascade::Extent::Fixed(it) => Extent::Fixed(it),
        cascade::Extent::Carried => {
            Extent::Word(word(nest, &Word::Extent(id)).expect("every carried extent has a word"))
        }
        cascade::Extent::Derived(formula) => Extent::Derived(print::formula(cascade, formula)),
    };
    // Callers know nothing of the chunks that the compiler took.
    let parts = rank.parts.iter().filter(|it| !cascade.ranks[**it].local);
    let parts = parts.map(|&it| cascade.ranks[it].name.clone()).collect();
    RankInfo { name: rank.name.clone(), parts, extent, bound: bound(cascade, id) }
}

/// The declared bound of a rank, if it is a number: the check `|rank| <= number`.
fn bound(cascade: &Cascade, rank: RankId) -> Option<i64> {
    let checks = cascade.checks.iter().filter(|it| it.rank == rank && it.fault == ExtentFault::Range);
    let bounds = checks.filter_map(|check| {
        let Expr::Compare(_, extent, bound) = cascade.exprs.get(check.condition) else { return None };
        match (cascade.exprs.get(*extent), cascade.exprs.get(*bound)) {
            (Expr::Extent(of), Expr::Int(bound)) if *of == rank => Some(*bound),
            _ => None,
        }
    });
    bounds.min()
}

fn param(cascade: &Cascade, nest: &Nest, id: ParamId, param: &Param) -> ParamInfo {
    let (fixed, default) = match param.value {
        ParamValue::Fixed(_) => (interp::fixed(cascade, id).map(scalar), None),
        ParamValue::Launch(default) => (None, default.map(|it| print::formula(cascade, it))),
    };
    let word = word(nest, &Word::Param(id.idx()));
    ParamInfo { name: param.name.clone(), dtype: dtype(param.dtype), word, fixed, default }
}

fn scalar(value: Value) -> Scalar {
    match value {
        Value::Int(it) => Scalar::Int(it),
        Value::Real(it) => Scalar::Real(it),
        Value::Bool(it) => Scalar::Bool(it),
    }
}

fn tensor(cascade: &Cascade, id: TensorId, buffer: &Buffer) -> TensorInfo {
    let Tensor { name, dims, .. } = &cascade.tensors[id];
    let (role, word) = match buffer.place {
        Place::Input(word) => (Role::Input, word),
        Place::Output(word) => (Role::Output, word),
        Place::Workspace(_) | Place::Scratch(_) => {
            unreachable!("the first buffers of a nest are the caller's tensors")
        }
    };
    let dims = dims.iter().map(|it| DimInfo { rank: cascade.ranks[it.rank].name.clone(), plus: it.lag });
    TensorInfo { name: name.clone(), role, dtype: dtype(buffer.dtype), dims: dims.collect(), word }
}

/// The formula of the workspace: what each tensor in it takes, rounded up to a multiple of 64, and the tiles of
/// each thread.
fn workspace(plan: &Plan, nest: &Nest) -> String {
    let cascade = &plan.cascade;
    let mut terms = Vec::new();
    for (_, buffer) in nest.buffers.iter().filter(|it| matches!(it.1.place, Place::Workspace(_))) {
        let name = buffer.name.trim_end_matches('?');
        let tensor = cascade.tensors.iter().find(|it| it.1.name == name);
        let condition = tensor.and_then(|(it, _)| plan.room_where.get(&it));
        let when = condition.map_or(String::new(), |&it| format!(" if {}", print::formula(cascade, it)));
        let factors = tensor.map(|it| &it.1.dims).into_iter().flatten().map(|dim| {
            match (&cascade.ranks[dim.rank].name, dim.lag) {
                (name, 0) => format!(" * |{name}|"),
                (name, lag) => format!(" * (|{name}| + {lag})"),
            }
        });
        terms.push(format!("round64({}{}{when})", bytes_of(buffer.dtype), factors.collect::<String>()));
    }
    if nest.buffers.iter().any(|(_, it)| matches!(it.place, Place::Scratch(_))) {
        terms.push("threads * scratch".to_owned());
    }
    if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
}

fn word(nest: &Nest, word: &Word) -> Option<u32> {
    nest.words.iter().position(|it| it == word).map(to_u32)
}

/// A dtype of the language as the runtime knows it.
pub fn dtype(of: ast::DType) -> DType {
    match of {
        ast::DType::F64 => DType::F64,
        ast::DType::F32 => DType::F32,
        ast::DType::F16 => DType::F16,
        ast::DType::BF16 => DType::BF16,
        ast::DType::F8E4M3 => DType::F8E4M3,
        ast::DType::F8E5M2 => DType::F8E5M2,
        ast::DType::I64 => DType::I64,
        ast::DType::I32 => DType::I32,
        ast::DType::I16 => DType::I16,
        ast::DType::I8 => DType::I8,
        ast::DType::U8 => DType::U8,
        ast::DType::I4 => DType::I4,
        ast::DType::Bool => DType::Bool,
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).expect("a kernel has fewer than 2^32 arguments")
}
