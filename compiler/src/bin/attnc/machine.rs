//! The numbers of this machine: measured once, kept in a folder of the user's, measured anew on another machine.

use std::path::PathBuf;

use attnc::machine::{Level, Machine, Rate, cpu, probe};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::exit::Outcome;
use crate::output::{self, Pending};
use crate::report;

/// What the file holds: machines by the model of their processors and how many there are.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Which probe measured them; the numbers of another are not compared with.
    probe: u32,
    #[serde(default)]
    machine: Vec<Machine>,
}

/// Changes when the probe measures something else.
const PROBE: u32 = 1;

/// Measures this machine, keeps the numbers and prints them.
pub(crate) fn measure(as_json: bool) -> Outcome {
    let machine = measured();
    if as_json { report::json(&json!({ "machine": machine })) } else { output::stdout(&table(&machine)) }
}

/// This machine's numbers, measured now if that was never done.
pub(crate) fn known_or_measured() -> Machine {
    known().unwrap_or_else(|| {
        eprintln!("note: this machine is measured first, which takes some seconds");
        measured()
    })
}

/// This machine's numbers, if they were measured.
pub(crate) fn known() -> Option<Machine> {
    let cpu = cpu();
    read().machine.into_iter().find(|it| it.cpu == cpu && it.cores == cores() && is_complete(it))
}

/// Back ends that are built in now were there when it was measured.
fn is_complete(machine: &Machine) -> bool {
    machine.exp.llvm > 0.0 || !attnc::Backend::Llvm.is_built_in()
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(1))
}

fn measured() -> Machine {
    let machine = probe::measure();
    let mut known = read();
    known.probe = PROBE;
    known.machine.retain(|it| (&it.cpu, it.cores) != (&machine.cpu, machine.cores));
    known.machine.push(machine.clone());
    keep(&known);
    machine
}

/// `$XDG_CACHE_HOME/attnc/machine.toml`, or the same in `~/.cache`.
fn place() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let folder = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(folder.join("attnc").join("machine.toml"))
}

/// What is known; nothing, if the file is not there or says something else.
fn read() -> Known {
    let text = place().and_then(|it| std::fs::read_to_string(it).ok());
    let known: Option<Known> = text.and_then(|it| toml::from_str(&it).ok());
    known.filter(|it| it.probe == PROBE).unwrap_or_default()
}

/// Numbers that cannot be kept are measured again next time.
fn keep(known: &Known) {
    let Some(path) = place() else { return };
    let folder = path.parent().map_or_else(PathBuf::new, PathBuf::from);
    let text = toml::to_string(known).unwrap_or_default();
    let written = output::folder(&folder).and_then(|()| {
        let mut pending = Pending::default();
        pending.add(&path, text.as_bytes())?;
        pending.place()
    });
    match written {
        Ok(()) => eprintln!("kept in {}", path.display()),
        Err(_) => eprintln!("note: `{}` cannot be written, so the numbers are not kept", path.display()),
    }
}

fn table(machine: &Machine) -> String {
    let Machine { cpu, cores, lanes, flops, exp, levels } = machine;
    let cores = report::count(*cores as usize, "core");
    let mut text = format!("{cpu}\n{cores}, vectors of {lanes} f32\n\n");
    text += &format!("  {:<28} {:>12} {:>12}\n", "", "one core", "all cores");
    let line = |name: &str, rate: &Rate, unit: f64| {
        format!("  {name:<28} {:>12.1} {:>12.1}\n", rate.one / unit, rate.all / unit)
    };
    text += &line("f32 multiply-add, GFLOP/s", flops, 1e9);
    for (name, rate) in [("cranelift", exp.cranelift), ("llvm", exp.llvm)] {
        if rate > 0.0 {
            text += &format!("  {:<28} {:>12.2} {:>12}\n", format!("exp by {name}, G/s"), rate / 1e9, "-");
        }
    }
    for it in levels {
        let size = it.bytes.map_or(String::new(), |it| format!(" ({})", size(it)));
        let shared = if it.shared && it.bytes.is_some() { ", shared" } else { "" };
        text += &format!("  {}{size}{shared}, read, GB/s\n", it.name);
        text += &line("  in one stream", &it.one_stream, 1e9);
        text += &line("  in four streams", &it.four_streams, 1e9);
    }
    text
}

/// `48 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        it if it >= 1 << 30 => format!("{:.1} GiB", it as f64 / f64::from(1 << 30)),
        it if it >= 1 << 20 => format!("{:.1} MiB", it as f64 / f64::from(1 << 20)),
        it if it >= 1 << 10 => format!("{:.1} KiB", it as f64 / f64::from(1 << 10)),
        it => format!("{it} B"),
    }
}

/// The bytes that are read in a second from where so much data lies, by so many threads.
pub(crate) fn bandwidth(machine: &Machine, bytes: f64, threads: u32) -> (f64, &Level) {
    let level = machine.level_of(bytes, threads);
    (level.read().on(threads, machine.cores), level)
}
