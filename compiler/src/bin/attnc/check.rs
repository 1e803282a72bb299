//! `attnc check`: specs to everything that is wrong with them.

use std::path::{Path, PathBuf};

use attnc_dsl::diag::{Diagnostic, Severity, SourceMap};
use attnc_dsl::render;
use serde_json::{Value, json};

use crate::exit::{Outcome, Status, Stop};
use crate::report::{self, count};
use crate::spec::{self, Settings};

/// Parse and type-check; every error, with spans and codes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attnc check examples/gallery/causal_softmax_attention.attn")]
pub(crate) struct Args {
    /// The specs; `-` is standard input
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn check(args: &Args) -> Outcome {
    let mut findings = Vec::new();
    for path in &args.specs {
        findings.push(check_one(path, &args.settings)?);
    }
    let all = || findings.iter().flat_map(|it| &it.1);
    let errors = all().filter(|it| it.severity == Severity::Error).count();
    if args.json {
        let lists = findings.iter().map(|(sources, found)| render::json(sources, found));
        let lists = lists.flat_map(|it| if let Value::Array(items) = it { items } else { vec![it] });
        report::json(&json!({ "diagnostics": lists.collect::<Vec<_>>() }))?;
    } else {
        findings.iter().for_each(|(sources, found)| report::text(sources, found));
        let (specs, warnings) = (args.specs.len(), all().count() - errors);
        eprintln!(
            "checked {}: {}, {}",
            count(specs, "spec"),
            count(errors, "error"),
            count(warnings, "warning")
        );
    }
    if errors == 0 { Ok(()) } else { Err(Stop::said(Status::Refused)) }
}

/// What there is to say about one spec.
fn check_one(path: &Path, settings: &Settings) -> Outcome<(SourceMap, Vec<Diagnostic>)> {
    Ok(match spec::check(path, &settings.fixed()?)? {
        Ok(checked) => {
            let mut found = checked.warnings;
            // What a compilation needs besides is no fault of the spec.
            found.extend(
                checked.unfixed.into_iter().map(|it| Diagnostic { severity: Severity::Warning, ..it }),
            );
            (checked.program.sources, found)
        }
        Err(failure) => (failure.sources, failure.diagnostics),
    })
}
