//! `attnc fmt`: specs to the one form in which they are written.

use std::path::{Path, PathBuf};

use attnc_dsl::diag::{Failure, SourceId, SourceMap};
use attnc_dsl::{parse, print};

use crate::exit::{Outcome, Status, Stop};
use crate::output::{self, Pending};
use crate::spec;

/// Format specs in place
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A spec with syntax errors is left as it is.\n\nExample:\n  attnc fmt - < examples/gallery/gqa.attn"
)]
pub(crate) struct Args {
    /// The specs; `-` reads standard input and writes standard output
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// Change nothing; list the specs that would change, and fail if there are any
    #[arg(long)]
    check: bool,
}

pub(crate) fn fmt(args: &Args) -> Outcome {
    let mut refused = false;
    for path in &args.specs {
        let (old, new) = match formatted(path)? {
            Ok(texts) => texts,
            Err(failure) => {
                spec::refused(&failure);
                refused = true;
                continue;
            }
        };
        let (changes, is_stdin) = (old != new, path.as_os_str() == "-");
        if args.check {
            if changes {
                output::stdout(&format!("{}\n", path.display()))?;
                refused = true;
            }
        } else if is_stdin {
            output::stdout(&new)?;
        } else if changes {
            let mut pending = Pending::default();
            pending.add(path, new.as_bytes())?;
            pending.place()?;
        }
    }
    if refused { Err(Stop::said(Status::Refused)) } else { Ok(()) }
}

/// The text of a spec as it is and as it should be.
fn formatted(path: &Path) -> Outcome<Result<(String, String), Box<Failure>>> {
    Ok(spec::read(path)?.and_then(|source| match parse(SourceId(0), &source.text) {
        Ok(tree) => {
            let new = print(&tree, &source.text);
            Ok((source.text, new))
        }
        Err(diagnostics) => {
            let mut sources = SourceMap::default();
            sources.add(source);
            Err(Box::new(Failure { sources, diagnostics }))
        }
    }))
}
