//! Specs named on the command line, and what the command line fixes, to cascades.

use std::collections::hash_map::{Entry, HashMap};
use std::io::Read;
use std::path::Path;

use attnc::driver::{self, Front, Request};
use attnc::files::{self, Unreadable};
use attnc::ir::cascade::Cascade;
use attnc_dsl::check::{self, Fixed};
use attnc_dsl::diag::{Failure, Source};
use attnc_dsl::load;
use attnc_dsl::model::Checked;

use crate::exit::{Outcome, Status, Stop};
use crate::report;

/// Extents and parameters that are fixed before the spec is compiled.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// The extent of a rank; may be given for several
    #[arg(long = "set", value_name = "RANK=N", value_parser = extent)]
    sets: Vec<(String, i64)>,
    /// The value of a parameter; may be given for several
    #[arg(long = "param", value_name = "PARAM=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
}

impl Settings {
    /// Fixes the extent of one more rank.
    pub(crate) fn set(&mut self, rank: String, extent: i64) {
        self.sets.push((rank, extent));
    }

    /// The extent that a rank was given.
    pub(crate) fn extent_of(&self, rank: &str) -> Option<i64> {
        self.sets.iter().find(|it| it.0 == rank).map(|it| it.1)
    }

    pub(crate) fn fixed(&self) -> Outcome<Fixed> {
        Ok(Fixed {
            sets: once_each("--set", &self.sets)?.collect(),
            params: once_each("--param", &self.params)?.collect(),
        })
    }
}

/// The pairs of an option, unless two have one name.
pub(crate) fn once_each<'a, T: Clone>(
    option: &str,
    pairs: &'a [(String, T)],
) -> Outcome<impl Iterator<Item = (String, T)> + use<'a, T>> {
    let mut seen = HashMap::new();
    for (name, _) in pairs {
        match seen.entry(name) {
            Entry::Vacant(free) => drop(free.insert(())),
            Entry::Occupied(_) => return Err(Stop::usage(format!("`{option} {name}=…` is given twice"))),
        }
    }
    Ok(pairs.iter().cloned())
}

/// `NAME=TEXT`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn extent(text: &str) -> Result<(String, i64), String> {
    let (name, value) = pair(text)?;
    let value =
        value.parse().map_err(|_| format!("`{value}` is no extent, expected an integer below 2^63"))?;
    Ok((name, value))
}

/// Reads a spec; `-` is standard input.
pub(crate) fn read(path: &Path) -> Outcome<Result<Source, Box<Failure>>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map_err(|it| Stop::usage(format!("cannot read standard input: {it}")))?;
        return Ok(files::source_of("<stdin>", bytes));
    }
    match files::read_spec(path) {
        Ok(source) => Ok(Ok(source)),
        Err(Unreadable::Spec(failure)) => Ok(Err(failure)),
        Err(Unreadable::Io { path, source }) => {
            Err(Stop::usage(format!("cannot read `{}`: {source}", path.display())))
        }
    }
}

/// Checks a spec.
pub(crate) fn check(path: &Path, fixed: &Fixed) -> Outcome<Result<Checked, Box<Failure>>> {
    let root = files::root_of(path);
    let program = read(path)?.and_then(|source| load(source, &mut |it| files::fetch(&root, it)));
    Ok(program.and_then(|program| check::check(program, fixed)))
}

/// Compiles a spec as far as cascades; what is wrong with it is reported.
pub(crate) fn front(path: &Path, settings: &Settings) -> Outcome<Front> {
    cascades(path, settings, driver::front)
}

/// A spec as cascades to look at: extents and parameters may be open.
pub(crate) fn outline(path: &Path, settings: &Settings) -> Outcome<Front> {
    cascades(path, settings, driver::outline)
}

fn cascades(
    path: &Path,
    settings: &Settings,
    front: fn(Request<'_>) -> Result<Front, Box<Failure>>,
) -> Outcome<Front> {
    let (fixed, root) = (settings.fixed()?, files::root_of(path));
    let mut fetch = |path: &str| files::fetch(&root, path);
    let front = read(path)?.and_then(|source| front(Request { source, fetch: &mut fetch, fixed }));
    let front = front.map_err(|failure| refused(&failure))?;
    report::text(&front.checked.program.sources, &front.checked.warnings);
    Ok(front)
}

/// The extent of a rank that nothing binds.
const EXTENT: i64 = 3;

/// The kernels of a spec; a rank that nothing binds gets an extent, unless the spec can be read only once.
pub(crate) fn bound(path: &Path, settings: &Settings) -> Outcome<Front> {
    if path.as_os_str() == "-" {
        return front(path, settings);
    }
    let outlined = outline(path, settings)?;
    if outlined.checked.unfixed.is_empty() {
        return Ok(outlined);
    }
    let mut settings = settings.clone();
    for rank in outlined.checked.unbound {
        eprintln!("note: nothing binds `{rank}` in `{}`: taken as --set {rank}={EXTENT}", path.display());
        settings.set(rank, EXTENT);
    }
    front(path, &settings)
}

/// The kernels of a spec for any extents of inputs; none if it can be read only once.
pub(crate) fn any_extents(path: &Path, settings: &Settings) -> Option<Front> {
    let needed = needed(path, settings)?;
    quiet(path, &needed)
}

/// What of the settings no input brings along.
fn needed(path: &Path, settings: &Settings) -> Option<Settings> {
    let mut needed = Settings { sets: Vec::new(), params: settings.params.clone() };
    let unbound = quiet(path, &needed)?.checked.unbound;
    needed.sets = settings.sets.iter().filter(|it| unbound.contains(&it.0)).cloned().collect();
    Some(needed)
}

/// A spec as cascades to look at, without a word; none if it means nothing, or can be read only once.
fn quiet(path: &Path, settings: &Settings) -> Option<Front> {
    if path.as_os_str() == "-" {
        return None;
    }
    let (fixed, root) = (settings.fixed().ok()?, files::root_of(path));
    let mut fetch = |path: &str| files::fetch(&root, path);
    driver::outline(Request { source: read(path).ok()?.ok()?, fetch: &mut fetch, fixed }).ok()
}

/// A spec whose ranks are fixed only where no input brings their extents along; the others are only looked at.
pub(crate) fn open(path: &Path, settings: &Settings) -> Outcome<Front> {
    if path.as_os_str() == "-" {
        return Err(Stop::usage("standard input can be read only once: give the spec as a file"));
    }
    // What is wrong with the extents of others is said here.
    front(path, settings)?;
    front(path, &needed(path, settings).unwrap_or_else(|| settings.clone()))
}

/// The kernels of a spec with one more parameter fixed; none if it is fixed already, or the spec then means nothing.
pub(crate) fn with_param(path: &Path, settings: &Settings, param: &str, value: i64) -> Option<Front> {
    if settings.params.iter().any(|(name, _)| name == param) {
        return None;
    }
    let mut settings = settings.clone();
    settings.params.push((param.to_owned(), value.to_string()));
    let outlined = quiet(path, &settings)?;
    if outlined.checked.unfixed.is_empty() {
        return Some(outlined);
    }
    outlined.checked.unbound.into_iter().for_each(|rank| settings.set(rank, EXTENT));
    quiet(path, &settings)
}

/// Reports what is wrong with a spec.
pub(crate) fn refused(failure: &Failure) -> Stop {
    report::text(&failure.sources, &failure.diagnostics);
    Stop::said(Status::Refused)
}

/// The kernel of that name, or the only one.
pub(crate) fn kernel<'a>(front: &'a Front, name: Option<&str>) -> Outcome<&'a Cascade> {
    let all = &front.cascades;
    let names = all.iter().map(|it| format!("`{}`", it.name)).collect::<Vec<_>>().join(", ");
    match (name, all.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Stop::usage(format!("the spec has several kernels: name one of {names} with --kernel")))
        }
        (Some(name), _) => {
            let found = all.iter().find(|it| it.name == name);
            found.ok_or_else(|| Stop::refused(format!("the spec has no kernel `{name}`, only {names}")))
        }
    }
}
