//! `attnc dump`: the form that a spec has after a stage, as text.

use std::fmt::Write;
use std::path::PathBuf;

use attnc::Backend;
use attnc::choose::choose;
use attnc::codegen;
use attnc::driver;
use attnc::driver::plan;
use attnc::ir::cascade::Cascade;
use attnc::ir::nest::Nest;
use attnc::ir::print;
use attnc::package::{Emit, Packing, package};
use attnc::rewrite::{carried, saturate};
use attnc::schedule::Mapping;
use attnc::target::Target;
use attnc::tile::tile;
use attnc_dsl::ast::{DType, Kind};
use attnc_dsl::model::{Checked, KernelModel, Role};

use crate::backend::Generator;
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::output;
use crate::spec::{self, Settings};

/// Print an intermediate form as text
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attnc dump examples/gallery/gqa.attn --after lower")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// The stage
    #[arg(long, value_name = "STAGE")]
    after: Stage,
    /// The kernel; all by default
    #[arg(long)]
    kernel: Option<String>,
    /// Whose machine code to print; by default, PTX for GPUs and that of Cranelift for others
    #[arg(long)]
    backend: Option<Generator>,
    /// The machine whose code to print; by default, any machine of this kind
    #[arg(long, value_name = "T", value_parser = crate::compile::target)]
    target: Option<(String, Target)>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mapping: MappingArg,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// The spec as it was understood
    Parse,
    /// The tensors and the order of their computation
    Check,
    /// The cascade of einsums
    Lower,
    /// The equal cascade of the fewest passes
    Saturate,
    /// What is stored, what streams, and in which order
    Schedule,
    /// The tile program
    Tile,
    /// The machine code
    Codegen,
    /// The files of an artifact that are text
    Package,
}

pub(crate) fn dump(args: &Args) -> Outcome {
    output::stdout(&match args.after {
        Stage::Parse => parsed(&checked(args)?),
        Stage::Check => {
            let wanted = |it: &&KernelModel| args.kernel.as_ref().is_none_or(|name| *name == it.name);
            checked(args)?.kernels.iter().filter(wanted).map(model).collect()
        }
        Stage::Lower => cascades(args, |it, _| Ok(print::cascade(it)))?,
        Stage::Saturate => {
            cascades(args, |it, by| Ok(print::cascade(&choose(&saturate(&carried(it)), by).cascade)))?
        }
        Stage::Schedule => cascades(args, |it, by| Ok(print::plan(&plan(it, by))))?,
        Stage::Tile => cascades(args, |it, by| Ok(print::nest(&tile(&plan(it, by)))))?,
        Stage::Codegen => {
            let target = machine(args);
            let backend = Generator::of(args.backend, &target)?;
            let listing = |nest: &Nest| codegen::listing(nest, &target, backend).map_err(Stop::codegen);
            cascades(args, |it, by| listing(&tile(&plan(it, by))))?
        }
        Stage::Package => packaged(args)?,
    })
}

fn machine(args: &Args) -> Target {
    let usual = || args.backend.map_or_else(Target::default, Generator::target);
    args.target.clone().map_or_else(usual, |(_, it)| it)
}

/// The text of each cascade that is asked for.
fn cascades(args: &Args, text: impl Fn(&Cascade, &Mapping) -> Outcome<String>) -> Outcome<String> {
    let front = spec::front(&args.spec, &args.settings)?;
    let target = machine(args);
    let mapping =
        args.mapping.of(&args.spec, &front.cascades, &target, Generator::of(args.backend, &target)?)?;
    match &args.kernel {
        Some(name) => text(spec::kernel(&front, Some(name))?, &mapping),
        None => front.cascades.iter().map(|it| text(it, &mapping)).collect(),
    }
}

/// The C header, the Rust bindings and the manifest.
fn packaged(args: &Args) -> Outcome<String> {
    let mut front = spec::front(&args.spec, &args.settings)?;
    if let Some(name) = &args.kernel {
        front.cascades = vec![spec::kernel(&front, Some(name))?.clone()];
    }
    let target = machine(args);
    let mapping = args.mapping.of(&args.spec, &front.cascades, &target, Backend::default())?;
    let object = driver::compile_by(&front, &mapping, &target, Backend::default()).map_err(Stop::codegen)?;
    let stem = front.cascades.first().map(|it| it.name.clone()).unwrap_or_default();
    let packing = Packing { stem, emit: vec![Emit::Header, Emit::Rust, Emit::Manifest], linker: None };
    let artifact = package(&object, &packing).map_err(Stop::internal)?;
    let files =
        artifact.files.iter().map(|it| format!("== {}\n{}", it.path, String::from_utf8_lossy(&it.bytes)));
    Ok(files.collect())
}

/// The spec, which need not be ready to be compiled.
fn checked(args: &Args) -> Outcome<Checked> {
    let checked = spec::check(&args.spec, &args.settings.fixed()?)?;
    checked.map_err(|failure| spec::refused(&failure))
}

fn parsed(checked: &Checked) -> String {
    let source = checked.program.sources.iter().next().map_or("", |(_, it)| &it.text);
    attnc_dsl::print(&checked.program.spec, source)
}

/// One kernel: its tensors, then the order of their computation.
fn model(kernel: &KernelModel) -> String {
    let mut text = format!("kernel {} {{\n", kernel.name);
    for (name, tensor) in &kernel.tensors {
        let role = match tensor.role {
            Role::Input => "input ",
            Role::Defined { output: true, .. } => "output ",
            Role::Defined { output: false, .. } => "",
        };
        let dims = tensor.dims.iter().map(|it| match it.lag {
            0 => it.rank.clone(),
            lag => format!("{} + {lag}", it.rank),
        });
        let dims = dims.collect::<Vec<_>>().join(", ");
        let dims = if dims.is_empty() { dims } else { format!("[{dims}]") };
        let held = tensor.dtype.map_or(kind_name(tensor.kind), DType::name);
        put(&mut text, format_args!("  {role}{name}{dims}: {held}"));
    }
    for group in &kernel.groups {
        let tensors = group.tensors.join(", ");
        match &group.rank {
            None => put(&mut text, format_args!("  compute {tensors}")),
            Some(rank) => put(&mut text, format_args!("  compute {tensors} along {rank}")),
        }
    }
    text + "}\n"
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "integer",
        Kind::Real => "real",
        Kind::Bool => "bool",
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("text can grow");
}
