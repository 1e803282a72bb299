//! `attnc run`: a kernel on tensors from files.

use std::path::PathBuf;

use attnc::ir::interp::Call;
use indexmap::IndexMap;

use crate::backend::{Backend, Engine};
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::spec::{self, Settings};
use crate::tensors::{InputArgs, OutputArgs};

/// Run a kernel on .npy files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ranks are bound by the shapes of the inputs, which are converted to the declared dtypes. The interpreter computes in
f64 and writes f64, i64 and bool; compiled kernels write the dtypes of the outputs.

Example:
  attnc run examples/gallery/causal_softmax_attention.attn --backend interp \\
    --in-dir tests/fixtures/causal_softmax_attention/0/in --out o=o.npy")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// The kernel, if the spec has several
    #[arg(long)]
    kernel: Option<String>,
    /// Who computes
    #[arg(long)]
    backend: Backend,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    outputs: OutputArgs,
    #[command(flatten)]
    mapping: MappingArg,
    /// Use at most that many threads; all that the machine has by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let front = spec::front(&args.spec, &args.settings)?;
    let cascade = spec::kernel(&front, args.kernel.as_deref())?;
    let files = args.outputs.files(cascade)?;
    let call = Call { inputs: args.inputs.read(cascade)?, params: IndexMap::new() };
    let (target, generator) = (args.backend.target(), args.backend.generator());
    let mapping = args.mapping.of(&args.spec, &front.cascades, &target, generator)?;
    let engine = Engine::new(args.backend, cascade, &mapping)?;
    let outputs = engine.run(&call, args.threads.map(usize::from)).map_err(Stop::refused)?;
    args.outputs.write(&files, &outputs)
}
