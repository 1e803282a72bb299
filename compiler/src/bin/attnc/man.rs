//! `attnc man`: the command line to its manual pages.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::exit::{Outcome, Stop};
use crate::output;

/// Print the manual page of attnc, or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attnc man check")]
pub(crate) struct Args {
    /// The command
    command: Option<String>,
}

pub(crate) fn man(args: &Args) -> Outcome {
    let mut cli = crate::Cli::command();
    cli.build();
    let page = match &args.command {
        None => cli,
        Some(name) => {
            let found = cli.find_subcommand(name).cloned();
            found.ok_or_else(|| Stop::usage(format!("there is no command `{name}`")))?
        }
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text).map_err(Stop::internal)?;
    output::stdout(&String::from_utf8_lossy(&text))
}
