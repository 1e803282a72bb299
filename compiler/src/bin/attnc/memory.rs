//! `attnc verify --memory`: kernels to the workspace that they need for few and for many keys.

use std::path::PathBuf;

use attnc::codegen;
use attnc::codegen::Backend;
use attnc::driver;
use attnc::ir::cascade::{Cascade, ParamValue, RankId};
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::verify::{key_rank, with_keys};
use attnc_dsl::ast::Kind;
use attnc_runtime::{Kernel, Scalar, TensorView};
use serde_json::json;

use crate::elements::Elements;
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::report::count;
use crate::spec::Settings;
use crate::{folder, output, report};

/// How many keys the two calls have that are shown; more, where there cannot be that many.
const KEYS: [i64; 2] = [4 << 10, 32 << 10];
/// How many keys tell what still grows: below, it may be the number of parts in which keys are taken, which has an end.
const BEYOND: i64 = 64 << 10;
/// An input beyond that is not allocated to find out.
const MOST_ELEMENTS: usize = 1 << 27;

/// The workspace of one kernel.
struct Row {
    kernel: String,
    /// Why it is not known, if it is not.
    found: Result<Memory, String>,
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

/// Prints a table, or JSON: for each kernel the bytes of workspace that one thread needs.
pub(crate) fn measure(
    specs: &[PathBuf],
    settings: &Settings,
    mapping: &MappingArg,
    as_json: bool,
) -> Outcome {
    let (rows, refused) = folder::rows(specs, settings, |_, front| {
        let mapping = mapping.of(&front.cascades, &Target::native(), Backend::default())?;
        front.cascades.iter().map(|it| row(it, &mapping)).collect()
    })?;
    if as_json {
        report::json(&rows.iter().map(Row::json).collect())?;
    } else {
        output::stdout(&table(&rows))?;
    }
    let number =
        |class| rows.iter().filter(|it| it.found.as_ref().is_ok_and(|it| it.class() == class)).count();
    let [constant, per_row, grows] = [CONSTANT, PER_ROW, GROWS].map(number);
    eprintln!(
        "measured {}: {constant} {CONSTANT}, {per_row} {PER_ROW}, {grows} {GROWS}, {} unknown",
        count(rows.len(), "kernel"),
        rows.len() - constant - per_row - grows
    );
    refused.map_or(Ok(()), Err)
}

fn row(cascade: &Cascade, mapping: &Mapping) -> Outcome<Row> {
    let kernel = cascade.name.clone();
    let Some(rank) = key_rank(cascade) else {
        return Ok(Row {
            kernel,
            found: Err("none of its ranks takes the place of keys and may grow".to_owned()),
        });
    };
    let compiled = driver::jit_by(cascade, mapping, codegen::Backend::default()).map_err(Stop::codegen)?;
    let found = memory(cascade, &compiled, rank);
    let found = found.map_err(|why| format!("keys `{}`: {why}", cascade.ranks[rank].name));
    Ok(Row { kernel, found })
}

fn memory(cascade: &Cascade, kernel: &Kernel, rank: RankId) -> Result<Memory, String> {
    let mut has_rows = false;
    let mut call = |keys| {
        let extents = with_keys(cascade, rank, keys).ok_or("its constraints do not allow so many")?;
        let mut dims = cascade.outputs().flat_map(|it| &cascade.tensors[it].dims);
        has_rows = dims.any(|dim| extents[dim.rank.idx()] >= keys);
        Ok::<_, String>(Call { keys: extents[rank.idx()], bytes: workspace(cascade, kernel, &extents)? })
    };
    let (calls, beyond) = ([call(KEYS[0])?, call(KEYS[1])?], call(BEYOND)?);
    Ok(Memory { rank: cascade.ranks[rank].name.clone(), calls, beyond, has_rows })
}

/// What the kernel itself says that it needs for inputs of that size.
fn workspace(cascade: &Cascade, kernel: &Kernel, extents: &[i64]) -> Result<u64, String> {
    let mut inputs = Vec::new();
    for id in cascade.inputs() {
        let tensor = &cascade.tensors[id];
        let shape: Vec<usize> =
            tensor.dims.iter().map(|it| usize::try_from(extents[it.rank.idx()]).unwrap_or(0)).collect();
        let len = shape.iter().try_fold(1_usize, |all, it| all.checked_mul(*it));
        let elements = tensor.dtype.filter(|_| len.is_some_and(|it| it <= MOST_ELEMENTS));
        let elements = elements.and_then(|dtype| Elements::zeros(dtype, &shape));
        let elements = elements.ok_or_else(|| format!("`{}` does not fit into memory", tensor.name))?;
        inputs.push((&tensor.name, elements, shape));
    }
    let mut call = kernel.call();
    for (name, elements, shape) in &inputs {
        let view = TensorView::from_bytes(elements.stored_as(), elements.bytes(), shape);
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
            Err(why) => json!({ "kernel": self.kernel, "unknown": why }),
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
            Err(why) => {
                format!("{kernel:width$}  {:6}  {:>14}  {:>14}  {:>6}  unknown: {why}\n", "-", "-", "-", "-")
            }
        };
    }
    text
}
