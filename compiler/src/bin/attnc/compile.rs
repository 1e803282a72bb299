//! `attnc compile`: a spec to the artifact that those who call its kernels need.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use attnc::driver::{self, Front};
use attnc::package::{self, Artifact, Emit, Packing, package};
use attnc::target::Target;

use crate::backend::Generator;
use crate::exit::{Outcome, Stop};
use crate::mapping::MappingArg;
use crate::spec::{self, Settings};

/// Compile a spec to object files, libraries, bindings and a manifest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The files appear in DIR all or not at all; those of an earlier artifact are replaced. With several targets, each has a
folder of its own in DIR. Targets are `native`, `x86-64`, `x86-64-v2`, `x86-64-v3`, `x86-64-v4`, those with features added
(`x86-64-v4+avx512vnni`), `aarch64`, or a triple; `sm_80` and `sm_90a` are GPUs; by default, any machine of this kind.
Kinds of files are `obj`, `static`, `shared`, `header`, `rust`, `ptx` and `manifest`; by default, all that the target has.
For a GPU, `ptx` has the stages, the others what a host of this kind needs to launch them. A shared library takes a
linker: `cc`, or what ATTNC_LINKER names.

Examples:
  attnc compile examples/gallery/causal_softmax_attention.attn -o out
  attnc compile examples/gallery/gqa.attn -o out --target sm_80 --target sm_90a")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// The folder to write to
    #[arg(short, value_name = "DIR")]
    out: PathBuf,
    /// A machine to compile for; may be given for several
    #[arg(long = "target", value_name = "T", value_parser = target)]
    targets: Vec<(String, Target)>,
    /// Who generates the code; by default, `ptx` for GPUs and `cranelift` for others
    #[arg(long)]
    backend: Option<Generator>,
    /// A kind of file to write; may be given for several
    #[arg(long = "emit", value_name = "KIND", value_parser = emit)]
    emit: Vec<Emit>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mapping: MappingArg,
}

pub(crate) fn compile(args: &Args) -> Outcome {
    let front = spec::front(&args.spec, &args.settings)?;
    let mut artifacts = Vec::new();
    let mut folders = HashSet::new();
    for (name, target) in &args.targets {
        if !folders.insert(name) {
            return Err(Stop::usage(format!("`--target {name}` is given twice")));
        }
        let folder = if args.targets.len() == 1 { args.out.clone() } else { args.out.join(name) };
        artifacts.push((folder, artifact(args, &front, target)?));
    }
    if artifacts.is_empty() {
        let target = args.backend.map_or_else(Target::default, Generator::target);
        artifacts.push((args.out.clone(), artifact(args, &front, &target)?));
    }
    for (folder, artifact) in artifacts {
        artifact.write(&folder).map_err(stop)?;
        for file in &artifact.files {
            eprintln!("wrote {}", folder.join(&file.path).display());
        }
    }
    Ok(())
}

/// The files for one target.
fn artifact(args: &Args, front: &Front, target: &Target) -> Outcome<Artifact> {
    let backend = Generator::of(args.backend, target)?;
    let gpu = target.gpu().is_some();
    if let Some(lacking) = args.emit.iter().find(|it| !it.is_for(gpu)) {
        let machine = if gpu { "a GPU" } else { "a CPU" };
        return Err(Stop::usage(format!("there is no `{}` for {machine}: leave it out", lacking.name())));
    }
    let mapping = args.mapping.of(&args.spec, &front.cascades, target, backend)?;
    let object = driver::compile_by(front, &mapping, target, backend).map_err(Stop::codegen)?;
    let linker = std::env::var_os("ATTNC_LINKER").map(PathBuf::from);
    let asked = !args.emit.is_empty();
    let emit = if asked { args.emit.clone() } else { Emit::ALL.to_vec() };
    let mut packing = Packing { stem: stem(&args.spec, front), emit, linker };
    match package(&object, &packing) {
        Err(error @ package::Error::NoLinker { .. }) if !asked => {
            eprintln!("warning: no shared library: {error}");
            packing.emit.retain(|&it| it != Emit::Shared);
            package(&object, &packing).map_err(stop)
        }
        result => result.map_err(stop),
    }
}

/// What the files are named after: the spec's file; its first kernel if there is none.
fn stem(spec: &Path, front: &Front) -> String {
    match spec.file_stem() {
        Some(stem) if spec.as_os_str() != "-" => stem.to_string_lossy().into_owned(),
        _ => front.cascades.first().map(|it| it.name.clone()).unwrap_or_default(),
    }
}

fn stop(error: package::Error) -> Stop {
    let no_library = matches!(error, package::Error::NoLinker { .. } | package::Error::Linker { .. });
    if no_library { Stop::refused(error) } else { Stop::internal(error) }
}

pub(crate) fn target(name: &str) -> Result<(String, Target), String> {
    let target = Target::named(name).map_err(|it| it.to_string())?;
    Ok((name.to_owned(), target))
}

fn emit(name: &str) -> Result<Emit, String> {
    let known = || Emit::ALL.map(|it| format!("`{}`", it.name())).join(", ");
    Emit::from_name(name).ok_or_else(|| format!("expected one of {}", known()))
}
