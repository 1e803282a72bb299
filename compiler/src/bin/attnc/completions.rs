//! `attnc completions`: the command line to a script that completes it.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Outcome;
use crate::output;

/// Print a script that completes attnc's command line in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attnc completions bash")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "attnc", &mut script);
    output::stdout(&String::from_utf8_lossy(&script))
}
