//! `attnc bench`: how fast kernels run, beside what the machine can do.

use std::path::PathBuf;

use attnc::analyze;
use attnc::choose::choose;
use attnc::codegen;
use attnc::driver;
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp;
use attnc::machine::Machine;
use attnc::rewrite::{carried, saturate};
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::verify::call_at;
use attnc_runtime::Kernel;
use serde_json::json;

use crate::backend::Generator;
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::prepared::Prepared;
use crate::rounds::{Clock, Contestant, Times, interleaved};
use crate::spec::{self, Settings};
use crate::{machine, output, report};

/// Measure how fast kernels run, and what share of what the machine can do that is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Kernels are compiled in memory for the extents that --set gives, and called with random inputs. In each round every kernel
is called once, or as often as makes two milliseconds; times are medians of all rounds. FLOPs are those that `analyze` counts,
on the points that masks admit, as far as that can be told without data; bytes are those of inputs and outputs, each moved
once. The peak is what this machine was measured to do on as many threads: multiply-adds of f32 in registers, or bytes read
from where inputs and outputs fit; the one that takes longer is what binds.

With --machine, measures the machine itself; the numbers are kept in $XDG_CACHE_HOME/attnc or ~/.cache/attnc.

Example:
  attnc bench examples/gallery/softmax_attention.attn --rounds 3 --set b=1 --set h=2 --set m=64 --set n=64 --set d=16 --set e=16")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    #[arg(required_unless_present = "machine")]
    spec: Option<PathBuf>,
    /// Measure what the machine can do, not a kernel
    #[arg(long, conflicts_with_all = ["spec", "kernel", "backends", "target", "mapping", "sets", "params"])]
    machine: bool,
    /// The kernel; all by default
    #[arg(long)]
    kernel: Option<String>,
    /// Who generates the code; may be given for several; by default the one whose kernels are fastest
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<Generator>,
    /// The machine to compile for, which this one must be able to stand in for; by default this one
    #[arg(long, value_name = "T", value_parser = crate::compile::target)]
    target: Option<(String, Target)>,
    #[command(flatten)]
    settings: Settings,
    /// Leave the extents of inputs open when compiling, and give them with each call
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    mapping: MappingArg,
    /// Use at most that many threads; all that the machine has by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// How many rounds there are
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What is counted
    #[arg(long, default_value = "wall")]
    clock: Clock,
    /// Where the random numbers begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A kernel that is measured.
struct Subject {
    name: String,
    backend: codegen::Backend,
    kernel: Kernel,
    call: Prepared,
    extents: Vec<(String, i64)>,
    work: Work,
    workspace: u64,
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Operations on points that masks admit.
    pub(crate) flops: f64,
    /// The share of all points that these are.
    pub(crate) admitted: f64,
    /// Bytes of inputs and outputs.
    pub(crate) bytes: f64,
}

/// What binds a kernel, and what share of that it reaches.
struct Share {
    of_peak: f64,
    bound: String,
}

pub(crate) fn bench(args: &Args) -> Outcome {
    let Some(path) = args.spec.as_deref().filter(|_| !args.machine) else {
        return machine::measure(args.json);
    };
    let threads = threads(args.threads);
    if args.clock == Clock::Cpu && threads != 1 {
        return Err(Stop::usage("`--clock cpu` adds up what all threads take: give it with --threads 1"));
    }
    let front = match args.open {
        true => spec::open(path, &args.settings)?,
        false => spec::front(path, &args.settings)?,
    };
    let cascades = match &args.kernel {
        Some(name) => vec![spec::kernel(&front, Some(name))?],
        None => front.cascades.iter().collect(),
    };
    let (target_name, target) =
        args.target.clone().unwrap_or_else(|| ("native".to_owned(), Target::native()));
    runs_here(&target_name, &target)?;
    let backends = if args.backends.is_empty() { vec![Generator::fastest()] } else { args.backends.clone() };
    let mut subjects = Vec::new();
    for cascade in cascades {
        for backend in &backends {
            let backend = backend.on_cpus("timed")?;
            let mapping = args.mapping.of(path, &front.cascades, &target, backend)?;
            subjects.push(subject(args, cascade, &mapping, &target, backend)?);
        }
    }
    let machine = machine::known_or_measured();
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for Subject { kernel, call, .. } in &mut subjects {
        contestants.push(Box::new(|| call.run(kernel, Some(threads as usize))));
    }
    let times = interleaved(&mut contestants, args.rounds, args.clock, || {})?;
    drop(contestants);
    let rows: Vec<(Subject, Times)> = subjects.into_iter().zip(times).collect();
    if args.json {
        let kernels: Vec<_> = rows.iter().map(|it| json_of(it, &target_name, threads, &machine)).collect();
        return report::json(&json!({ "rounds": args.rounds, "kernels": kernels, "machine": machine }));
    }
    output::stdout(&table(&rows, threads, &machine))
}

/// Refuses a target whose code this machine cannot run.
pub(crate) fn runs_here(name: &str, target: &Target) -> Outcome {
    if target.runs_here() {
        return Ok(());
    }
    let here = Target::native();
    Err(Stop::refused(format!(
        "kernels for `{name}` ({target}) cannot be measured here: this machine is {here}, expected one that has all that `{name}` has"
    )))
}

/// As many threads as were asked for, if there are so many.
pub(crate) fn threads(asked: Option<u16>) -> u32 {
    let all = std::thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(1));
    asked.map_or(all, |it| all.min(it.into()))
}

/// The extents of a cascade, where `--set` gives those that its inputs bring along.
pub(crate) fn extents_of(cascade: &Cascade, sizes: &dyn Fn(&str) -> Option<i64>) -> Outcome<Vec<i64>> {
    interp::extents_at(cascade, sizes).map_err(|error| {
        let open = cascade.ranks.iter().filter(|(_, it)| {
            it.extent == Extent::Carried && it.parts.is_empty() && sizes(&it.name).is_none()
        });
        let open: Vec<String> = open.map(|(_, it)| format!("--set {}=N", it.name)).collect();
        match open.is_empty() {
            true => Stop::refused(format!("kernel `{}`: {error}", cascade.name)),
            false => Stop::refused(format!(
                "kernel `{}` is called with extents that are not known: give {}",
                cascade.name,
                open.join(" ")
            )),
        }
    })
}

fn subject(
    args: &Args,
    cascade: &Cascade,
    mapping: &Mapping,
    target: &Target,
    backend: codegen::Backend,
) -> Outcome<Subject> {
    let failed = |why: String| Stop::refused(format!("kernel `{}`: {why}", cascade.name));
    let sizes = |rank: &str| args.settings.extent_of(rank);
    let extents = extents_of(cascade, &sizes)?;
    let chosen = choose(&saturate(&carried(cascade)), mapping);
    let kernel = driver::jit_on(&chosen.plan, mapping, target, backend).map_err(Stop::codegen)?;
    let call = Prepared::new(cascade, &kernel, &call_at(cascade, &extents, args.seed)).map_err(failed)?;
    let workspace = call.workspace_bytes(&kernel, threads(args.threads)).map_err(failed)?;
    let declared = cascade.ranks.iter().filter(|(_, it)| !it.local);
    let work = Work::of(cascade, &chosen, &extents, &sizes);
    Ok(Subject {
        name: cascade.name.clone(),
        backend,
        kernel,
        call,
        extents: declared.map(|(id, it)| (it.name.clone(), extents[id.idx()])).collect(),
        work,
        workspace,
    })
}

impl Work {
    /// What a call of the chosen form does.
    pub(crate) fn of(
        cascade: &Cascade,
        chosen: &attnc::choose::Chosen,
        extents: &[i64],
        sizes: &dyn Fn(&str) -> Option<i64>,
    ) -> Work {
        // The chosen form and its plan may have ranks of their own; they follow from the others.
        let flops = interp::extents_at(&chosen.cascade, sizes)
            .map_or_else(|_| analyze::flops(cascade, extents), |it| analyze::flops(&chosen.cascade, &it));
        let admitted = interp::extents_at(&chosen.plan.cascade, sizes)
            .map_or(1.0, |it| analyze::admitted(&chosen.plan, &it));
        Work { flops: flops * admitted, admitted, bytes: analyze::size(cascade, extents) }
    }
}

/// The share of the peak that a call of that work in that time reaches.
fn share(work: Work, seconds: f64, threads: u32, machine: &Machine) -> Share {
    let (bandwidth, level) = machine::bandwidth(machine, work.bytes, threads);
    let computing = work.flops / machine.flops.on(threads, machine.cores);
    let moving = work.bytes / bandwidth;
    match computing >= moving {
        true => Share { of_peak: computing / seconds, bound: "FMA".to_owned() },
        false => Share { of_peak: moving / seconds, bound: format!("reading {}", level.name) },
    }
}

fn json_of(
    (subject, times): &(Subject, Times),
    target: &str,
    threads: u32,
    machine: &Machine,
) -> serde_json::Value {
    let Work { flops, admitted, bytes } = subject.work;
    let (median, [low, high]) = (times.median(), times.quartiles());
    let Share { of_peak, bound } = share(subject.work, median, threads, machine);
    let extents: serde_json::Map<String, serde_json::Value> =
        subject.extents.iter().map(|(name, it)| (name.clone(), json!(it))).collect();
    json!({
        "name": subject.name, "backend": subject.backend.name(), "target": target, "threads": threads,
        "extents": extents,
        "seconds": { "median": median, "low": low, "high": high, "best": times.best() },
        "flops": flops, "admitted": admitted, "bytes": bytes, "workspace": subject.workspace,
        "flops_per_second": flops / median, "bytes_per_second": bytes / median, "intensity": flops / bytes,
        "of_peak": of_peak, "bound": bound,
    })
}

fn table(rows: &[(Subject, Times)], threads: u32, machine: &Machine) -> String {
    let width = rows.iter().map(|it| it.0.name.len()).max().unwrap_or(0).max("kernel".len());
    let head = ["time", "quartiles", "GFLOP/s", "GB/s", "FLOP/B", "of peak"];
    let [time, quartiles, flops, bytes, intensity, peak] = head;
    let mut text = format!(
        "{:width$}  {:9}  {:>7}  {time:>10}  {quartiles:>19}  {flops:>8}  {bytes:>7}  {intensity:>7}  {peak:>7}  bound by\n",
        "kernel", "back end", "threads"
    );
    for (subject, times) in rows {
        let (median, [low, high]) = (times.median(), times.quartiles());
        let Share { of_peak, bound } = share(subject.work, median, threads, machine);
        let Work { flops, bytes, .. } = subject.work;
        text += &format!(
            "{:width$}  {:9}  {threads:>7}  {:>10}  {:>19}  {:>8.2}  {:>7.2}  {:>7.1}  {:>5.1} %  {bound}\n",
            subject.name,
            subject.backend.name(),
            duration(median),
            format!("{} - {}", duration(low), duration(high)),
            flops / median / 1e9,
            bytes / median / 1e9,
            flops / bytes,
            100.0 * of_peak,
        );
    }
    for (subject, _) in rows.iter().filter(|it| it.0.work.admitted < 1.0) {
        text += &format!(
            "{}: masks admit {:.1} % of all points, and only these are counted\n",
            subject.name,
            100.0 * subject.work.admitted
        );
    }
    text
}

/// `1.25 ms`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        it if it >= 1.0 => format!("{it:.2} s"),
        it if it >= 1e-3 => format!("{:.2} ms", it * 1e3),
        it => format!("{:.1} us", it * 1e6),
    }
}
