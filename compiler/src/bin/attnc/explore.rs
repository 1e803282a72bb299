//! `attnc explore`: the mappings that a kernel may have, ranked by a model of the machine and, if asked, by measuring.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use attnc::analyze::analyze as analysis_of;
use attnc::choose::choose;
use attnc::driver;
use attnc::explore::report::{Setting, csv, html, to_json};
use attnc::explore::{Found, Point, Subject, explore as explored, refine};
use attnc::ir::cascade::{Cascade, Extent};
use attnc::ir::interp::Call;
use attnc::machine::Machine;
use attnc::rewrite::{carried, saturate};
use attnc::schedule::schedule;
use attnc::target::Target;
use attnc::verify::call_at;
use indicatif::{ProgressBar, ProgressStyle};

use crate::backend::Generator;
use crate::bench::{duration, extents_of, runs_here, threads};
use crate::exit::{Outcome, Stop};
use crate::machine::size;
use crate::output::{self, Pending};
use crate::prepared::Prepared;
use crate::rounds::{Clock, Contestant, interleaved};
use crate::spec::{self, Settings};
use crate::{analyze, machine, report};

/// Explore the mappings that a kernel may have on a machine, and the cascades that it equals
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A model estimates what each mapping takes: time, bytes held, bytes moved between caches. A `*` marks those that no other
beats in all of time, scratch and bytes moved into the last cache of a core. With --measure, the best of the model are run
in turns, and what was measured decides. In DIR, NAME.csv and NAME.json have all mappings, NAME.html shows them, and
NAME.map.toml is the best one, for --mapping. Extents that --set does not give are likely ones, and stay open when compiling.

Example:
  attnc explore examples/gallery/softmax_attention.attn --target x86-64-v3 -o out \\
    --set b=1 --set h=2 --set m=64 --set n=64 --set d=16 --set e=16")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// The machine to explore for
    #[arg(long, value_name = "T", value_parser = crate::compile::target)]
    target: (String, Target),
    /// The kernel, if the spec has several
    #[arg(long)]
    kernel: Option<String>,
    /// Who generates the code; by default the one whose kernels are fastest
    #[arg(long)]
    backend: Option<Generator>,
    #[command(flatten)]
    settings: Settings,
    /// How many threads run the kernel; all that this machine has by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Measure the best ones, too; this machine must be able to stand in for the target
    #[arg(long)]
    measure: bool,
    /// How many of the best are measured
    #[arg(long, value_name = "N", default_value_t = 8, requires = "measure", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// In how many rounds
    #[arg(long, value_name = "N", default_value_t = 15, requires = "measure", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What is counted
    #[arg(long, default_value = "wall", requires = "measure")]
    clock: Clock,
    /// The folder to write to
    #[arg(short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print all that was found as JSON
    #[arg(long)]
    json: bool,
}

/// The mappings that the table shows.
const SHOWN: usize = 20;

/// A kernel, and what extents it is explored at.
struct Spec {
    cascade: Cascade,
    /// The same for any extents.
    open: Vec<Cascade>,
    /// Likely extents of ranks that were given none.
    assumed: Vec<(String, i64)>,
}

pub(crate) fn explore(args: &Args) -> Outcome {
    let (name, target) = &args.target;
    if target.gpu().is_some() {
        let why = "is a GPU, of which there is no model; expected a CPU such as `native`";
        return Err(Stop::refused(format!("`{name}` {why}")));
    }
    let backend = args.backend.unwrap_or_else(Generator::fastest).on_cpus("explored")?;
    if args.measure {
        runs_here(name, target)?;
    }
    let threads = threads(args.threads);
    if args.clock == Clock::Cpu && threads != 1 {
        return Err(Stop::usage("`--clock cpu` adds up what all threads take: give it with --threads 1"));
    }
    let spec = spec_of(args)?;
    let machine = machine_of(args, target);
    let sizes = |rank: &str| {
        let assumed = || spec.assumed.iter().find(|it| it.0 == rank).map(|it| it.1);
        args.settings.extent_of(rank).or_else(assumed)
    };
    extents_of(&spec.cascade, &sizes)?;
    let subject = Subject {
        cascade: &spec.cascade,
        others: &spec.open,
        sizes: &sizes,
        target,
        backend,
        machine: &machine,
        threads,
    };
    let bar = progress("mappings looked at");
    let found = explored(&subject, &|more| bar.inc(more as u64));
    bar.finish_and_clear();
    let mut found = found.map_err(|it| Stop::refused(format!("kernel `{}`: {it}", spec.cascade.name)))?;
    if args.measure {
        measure(args, &subject, &mut found.points)?;
        refine(&mut found.points);
    }
    let setting = Setting {
        target: name.clone(),
        backend: backend.name().to_owned(),
        threads,
        assumed: spec.assumed.iter().map(|it| it.0.clone()).collect(),
        machine: machine.clone(),
    };
    if let Some(folder) = &args.out {
        write(folder, &stem(&args.spec, &spec.cascade), &found, &setting)?;
    }
    match args.json {
        true => report::json(&to_json(&found, &setting)),
        false => output::stdout(&table(&found)),
    }
}

/// The kernel that is explored: as it is compiled with these settings, but for ranks that nothing binds.
fn spec_of(args: &Args) -> Outcome<Spec> {
    let outlined = spec::outline(&args.spec, &args.settings)?;
    let cascade = spec::kernel(&outlined, args.kernel.as_deref())?;
    let likely = analysis_of(cascade).assumed;
    let is_open = |name: &str| args.settings.extent_of(name).is_none();
    let carried = |it: &attnc::ir::cascade::Rank| it.extent == Extent::Carried && !it.local;
    let names = cascade.ranks.iter().filter(|(_, it)| carried(it)).map(|(_, it)| it.name.clone());
    let unbound = outlined.checked.unbound.clone();
    let mut assumed: Vec<(String, i64)> = Vec::new();
    for name in names.chain(unbound.clone()).filter(|it| is_open(it)) {
        let extent = likely.get(&name).copied().unwrap_or(64);
        if !assumed.iter().any(|it| it.0 == name) {
            assumed.push((name, extent));
        }
    }
    for (name, extent) in &assumed {
        eprintln!("note: the extent of `{name}` is taken as --set {name}={extent}");
    }
    let mut settings = args.settings.clone();
    for (name, extent) in assumed.iter().filter(|it| unbound.contains(&it.0)) {
        settings.set(name.clone(), *extent);
    }
    let cascade = if outlined.checked.unfixed.is_empty() {
        cascade.clone()
    } else {
        spec::kernel(&spec::front(&args.spec, &settings)?, args.kernel.as_deref())?.clone()
    };
    let open = spec::any_extents(&args.spec, &settings).map_or(Vec::new(), |it| it.cascades);
    let open = open.into_iter().filter(|it| it.name == cascade.name).collect();
    Ok(Spec { cascade, open, assumed })
}

/// What was measured of this machine, if it can stand in for the target; else a usual one.
fn machine_of(args: &Args, target: &Target) -> Machine {
    match (args.measure, target.runs_here()) {
        (true, _) => machine::known_or_measured(),
        (false, true) => machine::known().unwrap_or_else(|| Machine::typical(target)),
        (false, false) => Machine::typical(target),
    }
}

/// Measures the best of the model, and what the target has by itself.
fn measure(args: &Args, subject: &Subject<'_>, points: &mut [Point]) -> Outcome {
    let cascade = subject.cascade;
    let failed = |why: String| Stop::refused(format!("kernel `{}`: {why}", cascade.name));
    let extents = extents_of(cascade, subject.sizes)?;
    let call: Call = call_at(cascade, &extents, 1);
    let chosen = choose(&saturate(&carried(cascade)), &points[0].mapping).cascade;
    let top = usize::from(args.top);
    let wanted: Vec<usize> = (0..points.len()).filter(|&at| at < top || points[at].default).collect();
    let bar = progress("kernels compiled, rounds run");
    let mut kernels = Vec::new();
    for &at in &wanted {
        let mapping = &points[at].mapping;
        let kernel = driver::jit_on(&schedule(&chosen, mapping), mapping, subject.target, subject.backend);
        let kernel = kernel.map_err(Stop::codegen)?;
        let prepared = Prepared::new(cascade, &kernel, &call).map_err(failed)?;
        kernels.push((kernel, prepared));
        bar.inc(1);
    }
    let threads = subject.threads as usize;
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (kernel, call) in &mut kernels {
        contestants.push(Contestant::Here(Box::new(|| call.run(kernel, Some(threads)))));
    }
    let times = interleaved(&mut contestants, args.rounds, args.clock, || bar.inc(1))?;
    bar.finish_and_clear();
    for (at, times) in wanted.into_iter().zip(times) {
        let [low, high] = times.quartiles();
        points[at].measured = Some([times.median(), low, high]);
    }
    Ok(())
}

fn progress(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} {msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or(ProgressStyle::default_spinner()))
        .with_message(what)
}

/// What the files are named after: the spec's file; its kernel if there is none.
fn stem(spec: &Path, cascade: &Cascade) -> String {
    match spec.file_stem() {
        Some(stem) if spec.as_os_str() != "-" => stem.to_string_lossy().into_owned(),
        _ => cascade.name.clone(),
    }
}

fn write(folder: &Path, stem: &str, found: &Found, setting: &Setting) -> Outcome {
    output::folder(folder)?;
    let mut files = vec![
        ("csv", csv(found)),
        ("json", format!("{:#}\n", to_json(found, setting))),
        ("html", html(found, setting)),
    ];
    if let Some(best) = found.points.first() {
        files.push(("map.toml", mapping_of(best, found, setting)));
    }
    let mut pending = Pending::default();
    for (kind, text) in &files {
        pending.add(&folder.join(format!("{stem}.{kind}")), text.as_bytes())?;
    }
    pending.place()?;
    for (kind, _) in &files {
        eprintln!("wrote {}", folder.join(format!("{stem}.{kind}")).display());
    }
    Ok(())
}

fn mapping_of(best: &Point, found: &Found, setting: &Setting) -> String {
    let extents: Vec<String> = found.extents.iter().map(|(name, it)| format!("{name}={it}")).collect();
    let how = if best.measured.is_some() { "measured" } else { "by the model" };
    format!(
        "# The fastest mapping that `attnc explore` found for `{}`, {how}.\n# {} on {}, threads: {}; {}\n\n{}",
        found.analysis.name,
        setting.backend,
        setting.target,
        setting.threads,
        extents.join(" "),
        best.mapping.to_toml()
    )
}

fn table(found: &Found) -> String {
    let shown = || found.points.iter().enumerate().filter(|(at, it)| *at < SHOWN || it.default);
    let width = shown().map(|(_, it)| it.label.len()).max().unwrap_or(0).max("mapping".len());
    let measured = found.points.iter().any(|it| it.measured.is_some());
    let [time, taken, flops, task, scratch] = ["model", "measured", "GFLOP/s", "task", "scratch"];
    let mut text = format!("kernel {}\n\n      {:width$}  {time:>10}", found.analysis.name, "mapping");
    if measured {
        text += &format!("  {taken:>10}");
    }
    text += &format!("  {flops:>8}  {task:>10}  {scratch:>10}");
    for it in found.points.first().iter().flat_map(|it| &it.estimate.traffic) {
        text += &format!("  {:>10}", format!("into {}", it.level));
    }
    text += "\n";
    for (at, it) in shown() {
        let (front, default) =
            (if it.front { "*" } else { " " }, if it.default { "  (default)" } else { "" });
        let seconds = it.measured.map_or(it.estimate.seconds, |it| it[0]);
        text += &format!("{:>4}{front} {:width$}  {:>10}", at + 1, it.label, duration(it.estimate.seconds));
        if measured {
            text += &format!("  {:>10}", it.measured.map_or("-".to_owned(), |it| duration(it[0])));
        }
        let bytes = |it: f64| size(it as u64);
        let footprint = &it.estimate.footprint;
        text += &format!(
            "  {:>8.1}  {:>10}  {:>10}",
            found.flops / seconds / 1e9,
            bytes(footprint.task),
            bytes(footprint.scratch)
        );
        for it in &it.estimate.traffic {
            text += &format!("  {:>10}", bytes(it.bytes));
        }
        text += &format!("{default}\n");
    }
    text += &format!("\n  {} legal mappings, {} that are not\n\n", found.points.len(), found.illegal);
    analyze::alternatives(&found.analysis, &mut text);
    text
}
