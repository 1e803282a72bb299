//! `attnc verify --memory`: kernels to the workspace that they need for few and for many keys.

use std::path::{Path, PathBuf};

use attnc::codegen;
use attnc::codegen::Backend;
use attnc::driver;
use attnc::ir::cascade::{Cascade, ParamValue, RankId};
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::verify::{key_ranks, with_keys};
use attnc_dsl::ast::Kind;
use attnc_runtime::{Kernel, Scalar, TensorView};
use serde_json::json;

use crate::elements::Elements;
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::report::count;
use crate::spec::Settings;
use crate::{folder, output, report, spec};

/// How many keys the two calls have that are shown; more, where there cannot be that many.
const KEYS: [i64; 2] = [4 << 10, 32 << 10];
/// How many keys tell what still grows: below, it may be the number of parts in which keys are taken, which has an end.
const BEYOND: i64 = 64 << 10;
const SIZES: [i64; 3] = [KEYS[0], KEYS[1], BEYOND];
/// How much of a parameter there may be for one key.
const MOST: i64 = 4;

/// The workspace of one kernel.
struct Row {
    kernel: String,
    /// Why it is not known, if it is not.
    found: Result<Memory, Unknown>,
}

/// Why the workspace of a kernel for many keys is not known.
enum Unknown {
    /// It has no rank of keys that may grow.
    Fixed(String),
    /// The kernel does not say.
    Refused(String),
}

struct Memory {
    /// The rank of the keys.
    rank: String,
    calls: [Call; 2],
    beyond: Call,
    /// Outputs have as many rows as there are keys.
    has_rows: bool,
}

/// Keys, and the bytes that one thread needs for them.
#[derive(Debug, Clone, Copy)]
struct Call {
    keys: i64,
    bytes: u64,
}

/// A kernel at a number of keys: itself, or with another value of a parameter that its extents follow from.
struct Grown {
    cascade: Cascade,
    extents: Vec<i64>,
    /// The parameter differs from what the spec says.
    param: Option<String>,
}

/// Prints a table, or JSON: for each kernel the bytes of workspace that one thread needs.
pub(crate) fn measure(
    specs: &[PathBuf],
    settings: &Settings,
    mapping: &MappingArg,
    as_json: bool,
) -> Outcome {
    let (rows, refused) = folder::rows(specs, settings, |path, front| {
        let mapping = mapping.of(path, &front.cascades, &Target::native(), Backend::default())?;
        let spec = Spec { path, settings, mapping: &mapping };
        front.cascades.iter().map(|it| spec.row(it)).collect()
    })?;
    if as_json {
        report::json(&rows.iter().map(Row::json).collect())?;
    } else {
        output::stdout(&table(&rows))?;
    }
    let number =
        |class| rows.iter().filter(|it| it.found.as_ref().is_ok_and(|it| it.class() == class)).count();
    let [constant, per_row, grows] = [CONSTANT, PER_ROW, GROWS].map(number);
    let fixed = rows.iter().filter(|it| matches!(it.found, Err(Unknown::Fixed(_)))).count();
    eprintln!(
        "measured {}: {constant} {CONSTANT}, {per_row} {PER_ROW}, {grows} {GROWS}; {fixed} {FIXED}, {} unknown",
        count(rows.len(), "kernel"),
        rows.len() - constant - per_row - grows - fixed
    );
    refused.map_or(Ok(()), Err)
}

/// A spec as it is measured.
struct Spec<'a> {
    path: &'a Path,
    settings: &'a Settings,
    mapping: &'a Mapping,
}

impl Spec<'_> {
    fn row(&self, cascade: &Cascade) -> Outcome<Row> {
        let kernel = cascade.name.clone();
        let Some(found) = self.memory(cascade) else {
            let why = "neither inputs nor parameters give any of its ranks many coordinates";
            return Ok(Row { kernel, found: Err(Unknown::Fixed(why.to_owned())) });
        };
        Ok(Row { kernel, found: found?.map_err(Unknown::Refused) })
    }

    /// The first rank of keys that may grow: proper keys by what inputs carry, then by a parameter, then features.
    fn memory(&self, cascade: &Cascade) -> Option<Outcome<Result<Memory, String>>> {
        let keys = key_ranks(cascade);
        let itself = |rank: RankId| {
            let all = SIZES.map(|keys| {
                let extents = with_keys(cascade, rank, keys)?;
                Some(Grown { cascade: cascade.clone(), extents, param: None })
            });
            Some((rank, complete(all)?))
        };
        let by_param = |rank: RankId| {
            let params = cascade
                .params
                .iter()
                .filter(|(_, it)| it.dtype.kind() == Kind::Int && matches!(it.value, ParamValue::Fixed(_)));
            params.into_iter().find_map(|(_, it)| {
                let all = SIZES.map(|keys| self.grown(cascade, rank, keys, &it.name));
                Some((rank, complete(all)?))
            })
        };
        let proper = || keys.proper.iter().copied();
        let found = proper().find_map(itself).or_else(|| proper().find_map(by_param));
        let (rank, grown) = found.or_else(|| keys.features.iter().copied().find_map(itself))?;
        Some(self.measured(rank, &grown))
    }

    /// The kernel with so much of a parameter that a rank has enough coordinates.
    fn grown(&self, cascade: &Cascade, rank: RankId, keys: i64, param: &str) -> Option<Grown> {
        let powers = std::iter::successors(Some(2), |it| Some(2 * it)).take_while(|it| *it <= MOST * keys);
        powers.into_iter().find_map(|value| {
            let front = spec::with_param(self.path, self.settings, param, value)?;
            let cascade = front.cascades.into_iter().find(|it| it.name == cascade.name)?;
            let extents = with_keys(&cascade, rank, keys)?;
            Some(Grown { cascade, extents, param: Some(param.to_owned()) })
        })
    }

    fn measured(&self, rank: RankId, grown: &[Grown; 3]) -> Outcome<Result<Memory, String>> {
        let compile = |it: &Cascade| {
            driver::jit_by(it, self.mapping, codegen::Backend::default()).map_err(Stop::codegen)
        };
        let mut own = None;
        let mut calls = Vec::new();
        for it in grown {
            if it.param.is_some() || own.is_none() {
                own = Some(compile(&it.cascade)?);
            }
            let kernel = own.as_ref().expect("it was compiled just now");
            match workspace(&it.cascade, kernel, &it.extents) {
                Ok(bytes) => calls.push(Call { keys: it.extents[rank.idx()], bytes }),
                Err(why) => return Ok(Err(why)),
            }
        }
        let last = &grown[2];
        let mut dims = last.cascade.outputs().flat_map(|it| &last.cascade.tensors[it].dims);
        let has_rows = dims.any(|dim| last.extents[dim.rank.idx()] >= calls[2].keys);
        let mut name = last.cascade.ranks[rank].name.clone();
        name.extend(last.param.iter().map(|it| format!(" by {it}")));
        Ok(Ok(Memory { rank: name, calls: [calls[0], calls[1]], beyond: calls[2], has_rows }))
    }
}

/// All of them, or none.
fn complete(all: [Option<Grown>; 3]) -> Option<[Grown; 3]> {
    let [Some(a), Some(b), Some(c)] = all else { return None };
    Some([a, b, c])
}

/// What the kernel itself says that it needs for inputs of that size, all elements of which are one.
fn workspace(cascade: &Cascade, kernel: &Kernel, extents: &[i64]) -> Result<u64, String> {
    let mut inputs = Vec::new();
    for id in cascade.inputs() {
        let tensor = &cascade.tensors[id];
        let shape: Vec<usize> =
            tensor.dims.iter().map(|it| usize::try_from(extents[it.rank.idx()]).unwrap_or(0)).collect();
        let element = tensor.dtype.and_then(|dtype| Elements::zeros(dtype, &[1]));
        let element = element.ok_or_else(|| format!("`{}` has no elements", tensor.name))?;
        inputs.push((&tensor.name, element, vec![0; shape.len()], shape));
    }
    let mut call = kernel.call();
    for (name, element, strides, shape) in &inputs {
        let view = TensorView::strided_bytes(element.stored_as(), element.bytes(), 0, shape, strides);
        call = call.input(name, view.map_err(|it| it.to_string())?);
    }
    for (_, param) in cascade.params.iter().filter(|(_, it)| it.value == ParamValue::Launch(None)) {
        let value = match param.dtype.kind() {
            Kind::Real => Scalar::Real(1.0),
            Kind::Int => Scalar::Int(1),
            Kind::Bool => Scalar::Bool(true),
        };
        call = call.param(&param.name, value);
    }
    call.workspace_bytes(1).map_err(|it| it.to_string())
}

const CONSTANT: &str = "constant";
const PER_ROW: &str = "per row";
const GROWS: &str = "grows with the keys";
const FIXED: &str = "with keys that cannot grow";

impl Memory {
    /// How the workspace depends on the number of keys.
    fn class(&self) -> &'static str {
        let (few, many) = (self.calls[1], self.beyond);
        let in_proportion =
            i128::from(many.bytes) * i128::from(few.keys) <= i128::from(few.bytes) * i128::from(many.keys);
        match (many.bytes == few.bytes, self.has_rows && in_proportion) {
            (true, _) => CONSTANT,
            (false, true) => PER_ROW,
            (false, false) => GROWS,
        }
    }

    fn ratio(&self) -> f64 {
        let [few, many] = self.calls;
        if many.bytes == few.bytes { 1.0 } else { many.bytes as f64 / few.bytes as f64 }
    }
}

impl Row {
    fn json(&self) -> serde_json::Value {
        match &self.found {
            Ok(it) => json!({
                "kernel": self.kernel, "rank": it.rank, "keys": it.calls.map(|it| it.keys),
                "bytes": it.calls.map(|it| it.bytes), "class": it.class(),
            }),
            Err(Unknown::Fixed(why)) => json!({ "kernel": self.kernel, "fixed": why }),
            Err(Unknown::Refused(why)) => json!({ "kernel": self.kernel, "unknown": why }),
        }
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|it| it.kernel.len()).max().unwrap_or(0).max("kernel".len());
    let mut text = format!(
        "{:width$}  {:6}  {:>14}  {:>14}  {:>6}  memory\n",
        "kernel", "keys", "4 Ki keys", "32 Ki keys", "ratio"
    );
    for Row { kernel, found } in rows {
        text += &match found {
            Ok(it) => {
                let [few, many] = it.calls;
                let others = match it.calls.map(|it| it.keys) == KEYS {
                    true => String::new(),
                    false => format!(" ({} and {} keys)", few.keys, many.keys),
                };
                let (rank, class, ratio, few, many) =
                    (&it.rank, it.class(), it.ratio(), few.bytes, many.bytes);
                format!("{kernel:width$}  {rank:6}  {few:>14}  {many:>14}  {ratio:>6.2}  {class}{others}\n")
            }
            Err(unknown) => {
                let (word, why) = match unknown {
                    Unknown::Fixed(why) => ("fixed", why),
                    Unknown::Refused(why) => ("unknown", why),
                };
                format!("{kernel:width$}  {:6}  {:>14}  {:>14}  {:>6}  {word}: {why}\n", "-", "-", "-", "-")
            }
        };
    }
    text
}
