//! `attnc verify`: specs to whether their compiled kernels compute what the interpreter does.

use std::path::{Path, PathBuf};

use attnc::driver::{self, Front};
use attnc::ir::cascade::{Cascade, RankId};
use attnc::ir::interp::CallError;
use attnc::rewrite::Walker;
use attnc::schedule::Mapping;
use attnc::verify::{Case, Distance, MOST_OF_SEVERAL, MOST_POINTS, Several, Tiling, cases, extents};
use serde_json::json;

use crate::backend::{Backend, Engine};
use crate::exit::{Outcome, Status, Stop};
use crate::mapping::MappingArg;
use crate::report::count;
use crate::spec::Settings;
use crate::{folder, memory, output, report};

/// Compare compiled kernels with the interpreter on random and adversarial inputs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Extents that nothing fixes are drawn small, 0 and 1 included; a rank that nothing binds has an extent of 3. More calls have
one coordinate more than two tiles, and one less, of all that a kernel for CPUs takes tile by tile, as much of it together as
comes to 300000 points of einsums, and 1200000 in all; what is in no call, for that reason or because the kernel does not
allow it, is named.
Where blocks of threads go along keys tile by tile, one call more has more than two tiles of them. Reals are normal, zero, large, and here and there NaN.
An error may be as large as what a few roundings of the inputs would cause, and on GPUs what it costs at most that products
of matrices round weights. One line for each kernel and back end: the
largest error relative to the largest magnitude of its tensor, and relative to what is allowed there.

Examples:
  attnc verify examples/gallery/causal_softmax_attention.attn
  attnc verify examples/gallery/gla.attn --backend cranelift --seed 7 --json
  attnc verify examples/gallery/gqa.attn examples/gallery/h2o.attn --memory")]
pub(crate) struct Args {
    /// The specs, or folders of specs
    #[arg(required = true, value_name = "SPEC|DIR")]
    specs: Vec<PathBuf>,
    /// A back end; may be given for several; by default all compiling ones that are built in
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<Backend>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mapping: MappingArg,
    /// Measure instead the workspace of each kernel for 4 Ki and for 32 Ki keys
    #[arg(long, conflicts_with = "backends")]
    memory: bool,
    /// Where the random numbers begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// One kernel on one back end.
struct Row {
    spec: String,
    kernel: String,
    backend: Backend,
    /// How many calls were compared.
    calls: usize,
    verdict: Verdict,
    /// Extents of several tiles that no call had.
    missed: Vec<String>,
}

enum Verdict {
    /// The worst of all calls, which is all right.
    Agrees(Distance),
    /// The first call that is off, and what it was like.
    Differs(Distance, String),
    /// Nothing could be compared, for this reason.
    Untested(String),
}

pub(crate) fn verify(args: &Args) -> Outcome {
    let specs = folder::specs(&args.specs)?;
    if args.memory {
        return memory::measure(&specs, &args.settings, &args.mapping, args.json);
    }
    let backends = if args.backends.is_empty() { Backend::compiling() } else { args.backends.clone() };
    let (rows, refused) =
        folder::rows(&specs, &args.settings, |path, front| verify_spec(path, front, args, &backends))?;
    if args.json {
        report::json(&rows.iter().map(Row::json).collect())?
    } else {
        output::stdout(&table(&rows))?
    }
    let number = |of: fn(&Verdict) -> bool| rows.iter().filter(|it| of(&it.verdict)).count();
    let ok = number(|it| matches!(it, Verdict::Agrees(_)));
    let differs = number(|it| matches!(it, Verdict::Differs(..)));
    let untested = number(|it| matches!(it, Verdict::Untested(_)));
    eprintln!("verified {}: {ok} ok, {differs} failed, {untested} untested", count(specs.len(), "spec"));
    match refused {
        _ if differs > 0 => Err(Stop::said(Status::Unverified)),
        Some(stop) => Err(stop),
        None if untested > 0 => Err(Stop::said(Status::Refused)),
        None => Ok(()),
    }
}

fn verify_spec(path: &Path, front: &Front, args: &Args, backends: &[Backend]) -> Outcome<Vec<Row>> {
    let mapping = |it: Backend| args.mapping.of(path, &front.cascades, &it.target(), it.generator());
    let mappings = backends.iter().map(|&it| Ok((it, mapping(it)?))).collect::<Outcome<Vec<_>>>()?;
    // Calls that cross the largest chunks cross all.
    let walker = mappings.iter().map(|it| it.1.walker()).max().unwrap_or(Walker::Thread);
    let mut rows = Vec::new();
    for cascade in &front.cascades {
        let subject = |(backend, mapping): &(Backend, Mapping)| {
            let engine = Engine::new(*backend, cascade, mapping)?;
            Ok(Subject { backend: *backend, engine, calls: 0, verdict: untested() })
        };
        let mut subjects = mappings.iter().map(subject).collect::<Outcome<Vec<_>>>()?;
        let mut tiles: Vec<_> = subjects.iter().flat_map(|it| it.engine.tiles().to_vec()).collect();
        tiles.sort();
        tiles.dedup();
        let long = tiles.iter().filter_map(|it| it.case(cascade, args.seed).transpose());
        for case in cases(cascade, walker, args.seed).chain(long) {
            let case = case.map_err(|it| fault(cascade, &it))?;
            subjects.iter_mut().try_for_each(|it| it.compare(cascade, &case))?;
        }
        let missed = verify_tiles(cascade, &mappings, &mut subjects, args.seed)?;
        rows.extend(subjects.into_iter().map(|it| Row {
            spec: path.display().to_string(),
            kernel: cascade.name.clone(),
            backend: it.backend,
            calls: it.calls,
            verdict: it.verdict,
            missed: if it.backend.is_on_cpus() { missed.clone() } else { Vec::new() },
        }));
    }
    Ok(rows)
}

/// Of a kernel of which nothing could be compared.
fn untested() -> Verdict {
    Verdict::Untested(format!(
        "found no extents that it allows and that come to at most {MOST_POINTS} points: give some, or smaller ones, with --set"
    ))
}

/// Compares calls of several tiles on the back ends for CPUs; what none of them has, in words.
fn verify_tiles(
    cascade: &Cascade,
    mappings: &[(Backend, Mapping)],
    subjects: &mut [Subject<'_>],
    seed: u64,
) -> Outcome<Vec<String>> {
    let mut tilings: Vec<Tiling> = Vec::new();
    for (_, mapping) in mappings.iter().filter(|it| it.0.is_on_cpus()) {
        let new = Tiling::of(cascade, &driver::plan(cascade, mapping));
        tilings.extend(new.into_iter().filter(|it| !tilings.contains(it)).collect::<Vec<_>>());
    }
    let several = Several::of(cascade, &tilings, seed);
    let mut missed = Vec::new();
    let of = |(rank, extent): &(RankId, i64)| format!("{}={extent}", cascade.ranks[*rank].name);
    for (them, why) in [
        (&several.too_many, format!("beyond {MOST_OF_SEVERAL} points")),
        (&several.excluded, "excluded by constraints".to_owned()),
    ] {
        if !them.is_empty() {
            missed.push(format!("{} ({why})", them.iter().map(of).collect::<Vec<_>>().join(" ")));
        }
    }
    for call in &several.calls {
        match Several::case(cascade, call, seed).map_err(|it| fault(cascade, &it))? {
            Some(case) => {
                let mut on_cpus = subjects.iter_mut().filter(|it| it.backend.is_on_cpus());
                on_cpus.try_for_each(|it| it.compare(cascade, &case))?;
            }
            None => missed.push(format!("{} (excluded by assumptions)", extents(cascade, call))),
        }
    }
    Ok(missed)
}

fn fault(cascade: &Cascade, error: &CallError) -> Stop {
    Stop::internal(format!("kernel `{}`: {error}", cascade.name))
}

/// A kernel by one back end, and how it does.
struct Subject<'a> {
    backend: Backend,
    engine: Engine<'a>,
    /// How many calls were compared.
    calls: usize,
    verdict: Verdict,
}

impl Subject<'_> {
    fn compare(&mut self, cascade: &Cascade, case: &Case) -> Outcome<()> {
        if matches!(self.verdict, Verdict::Differs(..)) {
            return Ok(());
        }
        let refused = |it| Stop::refused(format!("kernel `{}`: {it}", cascade.name));
        let found = self.engine.run(&case.call, None).map_err(refused)?;
        let found = found.into_iter().map(|it| (it.name, it.array)).collect();
        let short = self.engine.short(&case.call).map_err(refused)?;
        let distance = case.reference.compare_short(&found, &short);
        self.calls += 1;
        self.verdict = match &self.verdict {
            _ if distance.of_allowed > 1.0 => Verdict::Differs(distance, case.describe(cascade)),
            Verdict::Agrees(before) => Verdict::Agrees(before.clone().worse(distance)),
            Verdict::Differs(..) | Verdict::Untested(_) => Verdict::Agrees(distance),
        };
        Ok(())
    }
}

impl Row {
    fn json(&self) -> serde_json::Value {
        let (result, distance, detail) = match &self.verdict {
            Verdict::Agrees(it) => ("ok", Some(it), None),
            Verdict::Differs(it, call) => ("failed", Some(it), Some(format!("{} ({call})", it.worst))),
            Verdict::Untested(why) => ("untested", None, Some(why.clone())),
        };
        json!({
            "spec": self.spec, "kernel": self.kernel, "backend": self.backend.name(), "calls": self.calls,
            "result": result, "error": distance.map(|it| it.error), "of_allowed": distance.map(|it| it.of_allowed),
            "lost": distance.map(|it| it.lost), "detail": detail, "not_tried": self.missed,
        })
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|it| it.kernel.len()).max().unwrap_or(0).max("kernel".len());
    let mut text = format!(
        "{:width$}  {:9}  {:>5}  {:>8}  {:>10}  result\n",
        "kernel", "back end", "calls", "error", "of allowed"
    );
    for row in rows {
        let (error, of_allowed, result) = match &row.verdict {
            Verdict::Agrees(it) => {
                let result = match it.lost {
                    0 => "ok".to_owned(),
                    lost => format!("ok, but {lost} points are lost to the range of f32"),
                };
                (format!("{:.1e}", it.error), percent(it.of_allowed), result)
            }
            Verdict::Differs(it, call) => {
                let result = format!("FAILED: {} ({call}; {})", it.worst, row.spec);
                (format!("{:.1e}", it.error), percent(it.of_allowed), result)
            }
            Verdict::Untested(why) => ("-".to_owned(), "-".to_owned(), format!("untested: {why}")),
        };
        let (kernel, backend, calls) = (&row.kernel, row.backend.name(), row.calls);
        let missed = match row.missed.as_slice() {
            [] => String::new(),
            them => format!("; not tried: {}", them.join("; ")),
        };
        text += &format!(
            "{kernel:width$}  {backend:9}  {calls:>5}  {error:>8}  {of_allowed:>10}  {result}{missed}\n"
        );
    }
    text
}

fn percent(part: f64) -> String {
    if part > 10.0 { format!("{part:.1e} x") } else { format!("{:.1} %", 100.0 * part) }
}
