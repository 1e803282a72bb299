//! The command line of attnc.

#![allow(clippy::print_stdout, reason = "data goes to standard output")]

mod analyze;
mod backend;
mod bench;
mod check;
mod compile;
mod completions;
mod dump;
mod elements;
mod exit;
mod explain;
mod explore;
mod fmt;
mod folder;
mod machine;
mod man;
mod mapping;
mod memory;
mod npy;
mod output;
mod prepared;
mod report;
mod rounds;
mod run;
mod spec;
mod tensors;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Outcome;

/// An ahead-of-time attention compiler: cascades of einsums to kernels.
#[derive(Debug, Parser)]
#[command(name = "attnc", version, propagate_version = true, after_help = STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const STATUS: &str = "Data goes to standard output, everything else to standard error. A spec of `-` is read from standard input.

Exit status: 0 done; 1 the spec or the target refuses; 2 usage; 3 a verification failed;
4 internal error, or an output that cannot be written.";

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Compile(compile::Args),
    Run(run::Args),
    Verify(verify::Args),
    Analyze(analyze::Args),
    Explain(explain::Args),
    Explore(explore::Args),
    Bench(bench::Args),
    Dump(dump::Args),
    Fmt(fmt::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    exit::report_panics();
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Check(args) => check::check(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Run(args) => run::run(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Analyze(args) => analyze::analyze(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Explore(args) => explore::explore(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Dump(args) => dump::dump(&args),
        Command::Fmt(args) => fmt::fmt(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
    }
}
