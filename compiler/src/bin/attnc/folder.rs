//! Specs, and folders of specs, to rows of a table: on all cores, with a bar.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use attnc::driver::Front;
use attnc::verify::on_all_cores;
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::{Outcome, Stop};
use crate::spec::{self, Settings};

/// The specs named, those in folders included.
pub(crate) fn specs(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut specs = Vec::new();
    for path in paths {
        if !path.is_dir() {
            specs.push(path.clone());
            continue;
        }
        let failed = |it: std::io::Error| Stop::usage(format!("cannot read `{}`: {it}", path.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|it| it == "attn") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Stop::usage(format!("no .attn file in `{}`", path.display())));
        }
        inside.sort();
        specs.extend(inside);
    }
    Ok(specs)
}

/// The rows of each spec, in order, and the first reason for which one of several has none; what is wrong with the only
/// one ends the command.
pub(crate) fn rows<R: Send>(
    specs: &[PathBuf],
    settings: &Settings,
    of: impl Fn(&Path, &Front) -> Outcome<Vec<R>> + Sync,
) -> Outcome<(Vec<R>, Option<Stop>)> {
    let bar = progress(specs.len());
    let found = on_all_cores(specs, |path| {
        bar.set_message(path.display().to_string());
        // What is said of a spec does not mix with the bar.
        let found = bar.suspend(|| spec::bound(path, settings)).and_then(|front| of(path, &front));
        bar.inc(1);
        found
    });
    bar.finish_and_clear();
    let (mut rows, mut refused) = (Vec::new(), None);
    for (path, found) in specs.iter().zip(found) {
        match found {
            Ok(found) => rows.extend(found),
            Err(stop) if specs.len() == 1 => return Err(stop),
            Err(stop) => {
                eprintln!("{}: refused", path.display());
                refused.get_or_insert(stop);
            }
        }
    }
    Ok((rows, refused))
}

/// A bar on a terminal if there is much to do.
fn progress(n_specs: usize) -> ProgressBar {
    if n_specs < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}").unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(n_specs as u64).with_style(style)
}
