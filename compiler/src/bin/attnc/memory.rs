//! `attnc verify --memory`: kernels to the workspace that they need for few and for many keys.

use std::path::PathBuf;

use attnc::codegen;
use attnc::driver;
use attnc::ir::cascade::{Cascade, RankId};
use attnc::verify::{key_rank, with_keys};
use attnc_runtime::TensorView;
use serde_json::json;

use crate::elements::Elements;
use crate::exit::{Outcome, Stop};
use crate::spec::{self, Settings};
use crate::{output, report};

/// How many keys the two calls have.
const KEYS: [i64; 2] = [4 << 10, 32 << 10];
/// An input beyond that is not allocated to find out.
const MOST_ELEMENTS: usize = 1 << 27;

/// The workspace of one kernel.
struct Row {
    kernel: String,
    /// The rank of the keys, and the bytes for each number of them; or why they are not known.
    found: Result<(String, [u64; 2]), String>,
    /// Outputs have as many rows as there are keys.
    has_rows: bool,
}

/// Prints a table, or JSON: for each kernel the bytes of workspace that one thread needs.
pub(crate) fn measure(specs: &[PathBuf], settings: &Settings, as_json: bool) -> Outcome {
    let mut rows = Vec::new();
    for path in specs {
        for cascade in &spec::bound(path, settings)?.cascades {
            rows.push(row(cascade)?);
        }
    }
    if as_json { report::json(&rows.iter().map(Row::json).collect()) } else { output::stdout(&table(&rows)) }
}

fn row(cascade: &Cascade) -> Outcome<Row> {
    let kernel = cascade.name.clone();
    let Some(rank) = key_rank(cascade) else {
        let found = Err("no rank of its inputs takes the place of keys".to_owned());
        return Ok(Row { kernel, found, has_rows: false });
    };
    let compiled = driver::jit(cascade, codegen::Backend::default()).map_err(Stop::codegen)?;
    let bytes = |keys| workspace(cascade, &compiled, rank, keys);
    let found = bytes(KEYS[0]).and_then(|few| Ok((cascade.ranks[rank].name.clone(), [few, bytes(KEYS[1])?])));
    let has_rows = with_keys(cascade, rank, KEYS[0]).is_some_and(|extents| {
        let mut dims = cascade.outputs().flat_map(|it| &cascade.tensors[it].dims);
        dims.any(|dim| extents[dim.rank.idx()] == KEYS[0])
    });
    Ok(Row { kernel, found, has_rows })
}

/// What the kernel itself says that it needs for inputs of that size.
fn workspace(
    cascade: &Cascade,
    kernel: &attnc_runtime::Kernel,
    rank: RankId,
    keys: i64,
) -> Result<u64, String> {
    let extents = with_keys(cascade, rank, keys).ok_or("its constraints do not allow so many keys")?;
    let mut inputs = Vec::new();
    for id in cascade.inputs() {
        let tensor = &cascade.tensors[id];
        let shape: Vec<usize> =
            tensor.dims.iter().map(|it| usize::try_from(extents[it.rank.idx()]).unwrap_or(0)).collect();
        let len = shape.iter().try_fold(1_usize, |all, it| all.checked_mul(*it));
        let elements = tensor.dtype.filter(|_| len.is_some_and(|it| it <= MOST_ELEMENTS));
        let elements = elements.and_then(|dtype| Elements::zeros(dtype, &shape));
        inputs.push((
            &tensor.name,
            elements.ok_or_else(|| format!("`{}` does not fit into memory", tensor.name))?,
            shape,
        ));
    }
    let mut call = kernel.call();
    for (name, elements, shape) in &inputs {
        let view = TensorView::from_bytes(elements.stored_as(), elements.bytes(), shape);
        call = call.input(name, view.map_err(|it| it.to_string())?);
    }
    call.workspace_bytes(1).map_err(|it| it.to_string())
}

impl Row {
    /// How the workspace depends on the number of keys.
    fn class(&self, [few, many]: [u64; 2]) -> &'static str {
        let times = (KEYS[1] / KEYS[0]) as u64;
        match (many == few, self.has_rows && many <= times * few) {
            (true, _) => "constant",
            (false, true) => "per row",
            (false, false) => "grows with keys",
        }
    }

    fn json(&self) -> serde_json::Value {
        match &self.found {
            Ok((rank, bytes)) => json!({
                "kernel": self.kernel, "rank": rank, "bytes": bytes, "keys": KEYS, "class": self.class(*bytes),
            }),
            Err(why) => json!({ "kernel": self.kernel, "untested": why }),
        }
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|it| it.kernel.len()).max().unwrap_or(0).max("kernel".len());
    let mut text = format!(
        "{:width$}  {:6}  {:>14}  {:>14}  {:>6}  memory\n",
        "kernel", "keys", "4 Ki keys", "32 Ki keys", "ratio"
    );
    for row in rows {
        let kernel = &row.kernel;
        text += &match &row.found {
            Ok((rank, bytes)) => {
                let [few, many] = *bytes;
                let (ratio, class) = (many as f64 / (few as f64).max(1.0), row.class(*bytes));
                format!("{kernel:width$}  {rank:6}  {few:>14}  {many:>14}  {ratio:>6.2}  {class}\n")
            }
            Err(why) => {
                format!("{kernel:width$}  {:6}  {:>14}  {:>14}  {:>6}  untested: {why}\n", "-", "-", "-", "-")
            }
        };
    }
    text
}
