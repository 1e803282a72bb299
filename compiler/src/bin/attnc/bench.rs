//! `attnc bench`: how fast kernels run, beside what the machine can do.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use attnc::analyze;
use attnc::choose::choose;
use attnc::codegen;
use attnc::driver;
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp;
use attnc::machine::Machine;
use attnc::rewrite::{carried, saturate};
use attnc::target::{Gpu, Target};
use attnc::verify::call_at;
use attnc_runtime::Kernel;
use serde_json::json;

use crate::backend::{Timed, on_gpu};
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

With --backend cuda, tensors are copied to the first GPU once, and what is timed is the GPU alone, by its own events. There is
no peak beside it, for the GPU is not measured.

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
    /// Whose kernels are timed; may be given for several; by default those that are fastest on the target
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<Timed>,
    /// The machine to compile for, which this one must be able to stand in for; by default this one, or the GPU of it
    #[arg(long, value_name = "T", value_parser = crate::compile::target)]
    target: Option<(String, Target)>,
    #[command(flatten)]
    settings: Settings,
    /// Leave the extents of inputs open when compiling, and give them with each call
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    mapping: MappingArg,
    /// Use at most that many threads on CPUs; all that the machine has by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// How many rounds there are
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What is counted on CPUs
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
    backend: &'static str,
    target: String,
    /// What is known of who runs it.
    runner: Runner,
    kernel: Kernel,
    call: Prepared,
    extents: Vec<(String, i64)>,
    work: Work,
    workspace: u64,
}

/// Who runs a kernel.
#[derive(Debug, Clone)]
enum Runner {
    /// So many threads of this machine, and what they can do.
    Threads(u32, Rc<Machine>),
    /// A GPU of that name.
    Gpu(String),
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
    if args.clock == Clock::Cpu && threads(args.threads) != 1 {
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
    let backends = timed(args)?;
    let machine =
        backends.iter().any(|it| it.on_cpus().is_some()).then(|| Rc::new(machine::known_or_measured()));
    let mut subjects = Vec::new();
    for cascade in cascades {
        for &backend in &backends {
            subjects.push(subject(args, path, &front.cascades, cascade, backend, machine.as_ref())?);
        }
    }
    let mut contestants = Vec::new();
    for Subject { name, kernel, call, runner, .. } in &mut subjects {
        contestants.push(match runner {
            Runner::Threads(threads, _) => {
                let threads = *threads as usize;
                Contestant::Here(Box::new(move || call.run(kernel, Some(threads))))
            }
            Runner::Gpu(_) => {
                let resident = call.resident(kernel);
                let mut resident = resident.map_err(|it| Stop::refused(format!("kernel `{name}`: {it}")))?;
                for (stage, why) in resident.unmapped() {
                    eprintln!("note: kernel `{name}`: stage {stage} runs without maps of tensors: {why}");
                }
                Contestant::Elsewhere(Box::new(move |launches| {
                    resident.seconds(launches).map_err(|it| it.to_string())
                }))
            }
        });
    }
    let times = interleaved(&mut contestants, args.rounds, args.clock, || {})?;
    drop(contestants);
    let rows: Vec<(Subject, Times)> = subjects.into_iter().zip(times).collect();
    if args.json {
        let kernels: Vec<_> = rows.iter().map(json_of).collect();
        return report::json(
            &json!({ "rounds": args.rounds, "kernels": kernels, "machine": machine.as_deref() }),
        );
    }
    output::stdout(&table(&rows))
}

/// Whose kernels are timed, if what is asked of them makes sense.
fn timed(args: &Args) -> Outcome<Vec<Timed>> {
    let target = args.target.as_ref().map(|it| &it.1);
    let backends =
        if args.backends.is_empty() { vec![Timed::fastest_on(target)] } else { args.backends.clone() };
    let on_gpus = backends.contains(&Timed::Cuda);
    if on_gpus && args.clock == Clock::Cpu {
        return Err(Stop::usage("`--clock cpu` is for CPUs: a GPU is timed by its own events"));
    }
    if args.threads.is_some() && backends.iter().all(|it| *it == Timed::Cuda) {
        return Err(Stop::usage("`--threads` is for CPUs: a GPU takes as many as it has room for"));
    }
    if let Some((name, target)) = &args.target {
        match (target.gpu().is_some(), on_gpus) {
            (true, _) if backends.iter().any(|it| it.on_cpus().is_some()) => {
                return Err(Stop::usage(format!("`{name}` is a GPU and takes `--backend cuda` only")));
            }
            (false, true) => {
                let gpus = Gpu::ALL.map(|it| format!("`{}`", it.name())).join(" or ");
                return Err(Stop::usage(format!(
                    "`--backend cuda` takes a GPU, `--target` {gpus}, not `{name}`"
                )));
            }
            (true, _) => {}
            (false, false) => runs_here(name, target)?,
        }
    }
    Ok(backends)
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
    path: &Path,
    all: &[Cascade],
    cascade: &Cascade,
    timed: Timed,
    machine: Option<&Rc<Machine>>,
) -> Outcome<Subject> {
    let failed = |why: String| Stop::refused(format!("kernel `{}`: {why}", cascade.name));
    let sizes = |rank: &str| args.settings.extent_of(rank);
    let extents = extents_of(cascade, &sizes)?;
    let backend = timed.on_cpus().unwrap_or_default();
    let usual = || match timed.on_cpus() {
        Some(_) => ("native".to_owned(), Target::native()),
        None => (driver::gpu_here().name().to_owned(), Target::of_gpu(driver::gpu_here())),
    };
    let (target_name, target) = args.target.clone().unwrap_or_else(usual);
    let mapping = args.mapping.of(path, all, &target, backend)?;
    let mapping = driver::fitted(cascade, &mapping, &target, backend).map_err(Stop::codegen)?;
    let chosen = choose(&saturate(&carried(cascade)), &mapping);
    let kernel = match target.gpu() {
        Some(gpu) => on_gpu(cascade, &mapping, gpu)?,
        None => driver::jit_on(&chosen.plan, &mapping, &target, backend).map_err(Stop::codegen)?,
    };
    let mut call = Prepared::new(cascade, &kernel, &call_at(cascade, &extents, args.seed)).map_err(failed)?;
    let (runner, workspace) = match machine.filter(|_| target.gpu().is_none()) {
        Some(machine) => {
            let threads = threads(args.threads);
            let workspace = call.workspace_bytes(&kernel, threads).map_err(failed)?;
            (Runner::Threads(threads, machine.clone()), workspace)
        }
        None => {
            let resident = call.resident(&kernel).map_err(failed)?;
            (Runner::Gpu(resident.device_name()), resident.workspace_bytes())
        }
    };
    let declared = cascade.ranks.iter().filter(|(_, it)| !it.local);
    let work = Work::of(cascade, &chosen, &extents, &sizes);
    Ok(Subject {
        name: cascade.name.clone(),
        backend: timed.on_cpus().map_or("cuda", codegen::Backend::name),
        target: target_name,
        runner,
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

/// The share of the peak that a call of that work in that time reaches, where a peak is known.
fn share(work: Work, seconds: f64, runner: &Runner) -> Option<Share> {
    let Runner::Threads(threads, machine) = runner else { return None };
    let (bandwidth, level) = machine::bandwidth(machine, work.bytes, *threads);
    let computing = work.flops / machine.flops.on(*threads, machine.cores);
    let moving = work.bytes / bandwidth;
    Some(match computing >= moving {
        true => Share { of_peak: computing / seconds, bound: "FMA".to_owned() },
        false => Share { of_peak: moving / seconds, bound: format!("reading {}", level.name) },
    })
}

fn json_of((subject, times): &(Subject, Times)) -> serde_json::Value {
    let Work { flops, admitted, bytes } = subject.work;
    let (median, [low, high]) = (times.median(), times.quartiles());
    let share = share(subject.work, median, &subject.runner);
    let extents: serde_json::Map<String, serde_json::Value> =
        subject.extents.iter().map(|(name, it)| (name.clone(), json!(it))).collect();
    let (threads, gpu) = match &subject.runner {
        Runner::Threads(threads, _) => (Some(threads), None),
        Runner::Gpu(name) => (None, Some(name)),
    };
    json!({
        "name": subject.name, "backend": subject.backend, "target": subject.target, "threads": threads, "gpu": gpu,
        "extents": extents,
        "seconds": { "median": median, "low": low, "high": high, "best": times.best() },
        "flops": flops, "admitted": admitted, "bytes": bytes, "workspace": subject.workspace,
        "flops_per_second": flops / median, "bytes_per_second": bytes / median, "intensity": flops / bytes,
        "of_peak": share.as_ref().map(|it| it.of_peak), "bound": share.as_ref().map(|it| &it.bound),
    })
}

fn table(rows: &[(Subject, Times)]) -> String {
    let width = rows.iter().map(|it| it.0.name.len()).max().unwrap_or(0).max("kernel".len());
    let head = ["time", "quartiles", "GFLOP/s", "GB/s", "FLOP/B", "of peak"];
    let [time, quartiles, flops, bytes, intensity, peak] = head;
    let mut text = format!(
        "{:width$}  {:9}  {:>7}  {time:>10}  {quartiles:>19}  {flops:>8}  {bytes:>7}  {intensity:>7}  {peak:>7}  bound by\n",
        "kernel", "back end", "threads"
    );
    for (subject, times) in rows {
        let (median, [low, high]) = (times.median(), times.quartiles());
        let (of_peak, bound) = share(subject.work, median, &subject.runner).map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |it| (format!("{:.1} %", 100.0 * it.of_peak), it.bound),
        );
        let threads = match &subject.runner {
            Runner::Threads(threads, _) => threads.to_string(),
            Runner::Gpu(_) => "-".to_owned(),
        };
        let Work { flops, bytes, .. } = subject.work;
        text += &format!(
            "{:width$}  {:9}  {threads:>7}  {:>10}  {:>19}  {:>8.2}  {:>7.2}  {:>7.1}  {of_peak:>7}  {bound}\n",
            subject.name,
            subject.backend,
            duration(median),
            format!("{} - {}", duration(low), duration(high)),
            flops / median / 1e9,
            bytes / median / 1e9,
            flops / bytes,
        );
    }
    for (subject, _) in rows {
        if let Runner::Gpu(name) = &subject.runner {
            text += &format!("{}: on {name}, for {}\n", subject.name, subject.target);
        }
        if subject.work.admitted < 1.0 {
            text += &format!(
                "{}: masks admit {:.1} % of all points, and only these are counted\n",
                subject.name,
                100.0 * subject.work.admitted
            );
        }
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
