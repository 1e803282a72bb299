//! Package: an [`Object`] to an [`Artifact`], the files that those who call the kernels need.
//!
//! ```text
//! mha.o  libmha.a  libmha.so  mha.h  mha.rs  mha.ptx  manifest.json
//! ```
//!
//! The same object gives the same bytes. Only [`link`] leaves the process, for a linker; only
//! [`Artifact::write`] changes the disk, all or nothing.

mod archive;
mod bindings;
mod describe;
mod header;
mod link;
mod write;

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use attnc_runtime::manifest::{FileInfo, FileKind, KernelInfo, Manifest};
use sha2::{Digest, Sha256};
use target_lexicon::Triple;

pub use describe::{describe, describe_module, dtype};

/// The machine code of the kernels of one spec.
#[derive(Debug, Clone)]
pub struct Object {
    /// A relocatable object file.
    pub bytes: Vec<u8>,
    /// The machine it is for.
    pub target: Triple,
    /// The stages as PTX, where they run on a GPU; the object is then what a host needs to call them.
    pub ptx: Option<String>,
    /// Its kernels, in the order written.
    pub kernels: Vec<KernelInfo>,
}

/// The triple of GPUs.
const GPU: &str = "nvptx64-nvidia-cuda";

/// What to make of an object.
#[derive(Debug, Clone)]
pub struct Packing {
    /// What the files are named after: the stem of the spec's file.
    pub stem: String,
    /// Which files to make.
    pub emit: Vec<Emit>,
    /// The C compiler that links shared libraries; by default `cc`, or the usual cross compiler.
    pub linker: Option<PathBuf>,
}

/// A kind of file of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Emit {
    /// `NAME.o`
    Object,
    /// `libNAME.a`
    Static,
    /// `libNAME.so`
    Shared,
    /// `NAME.h`
    Header,
    /// `NAME.rs`
    Rust,
    /// `NAME.ptx`
    Ptx,
    /// `manifest.json`
    Manifest,
}

impl Emit {
    /// Every kind.
    pub const ALL: [Emit; 7] =
        [Emit::Object, Emit::Static, Emit::Shared, Emit::Header, Emit::Rust, Emit::Ptx, Emit::Manifest];

    /// Whether a kernel that runs on a GPU, or on none, has it: Rust bindings are for kernels that are linked.
    pub fn is_for(self, gpu: bool) -> bool {
        match self {
            Emit::Object | Emit::Static | Emit::Shared | Emit::Header | Emit::Manifest => true,
            Emit::Rust => !gpu,
            Emit::Ptx => gpu,
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Emit> {
        Emit::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Emit::Object => "obj",
            Emit::Static => "static",
            Emit::Shared => "shared",
            Emit::Header => "header",
            Emit::Rust => "rust",
            Emit::Ptx => "ptx",
            Emit::Manifest => "manifest",
        }
    }
}

/// What is shipped: files and the manifest that lists them.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The kernels and the files.
    pub manifest: Manifest,
    /// The files, `manifest.json` last if asked for.
    pub files: Vec<File>,
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Why there is no artifact.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that cannot be read or written; nothing was left behind.
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A static library that cannot be made.
    Archive {
        /// What the archive writer said.
        source: std::io::Error,
    },
    /// A shared library without a linker.
    NoLinker {
        /// What was looked for.
        linker: PathBuf,
        /// The machine to link for.
        target: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A linker that failed.
    Linker {
        /// What was run.
        linker: PathBuf,
        /// What it said.
        stderr: String,
    },
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Io { doing, path, source } => write!(f, "cannot {doing} `{}`: {source}", path.display()),
            Error::Archive { source } => write!(f, "cannot make a static library: {source}"),
            Error::NoLinker { linker, target, source } => write!(
                f,
                "cannot link a shared library for {target} with `{}`: {source}; \
                 name a C compiler in ATTNC_LINKER, or emit no `shared`",
                linker.display()
            ),
            Error::Linker { linker, stderr } => {
                write!(f, "`{}` cannot link a shared library:\n{}", linker.display(), stderr.trim_end())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::Archive { source } | Error::NoLinker { source, .. } => {
                Some(source)
            }
            Error::Linker { .. } => None,
        }
    }
}

/// Makes the files of an artifact.
pub fn package(object: &Object, packing: &Packing) -> Result<Artifact, Error> {
    let mut manifest = Manifest::new(env!("CARGO_PKG_VERSION"), object.kernels.clone(), Vec::new());
    let mut files = Vec::new();
    let stem = &packing.stem;
    let wanted = |it: &Emit| packing.emit.contains(it) && it.is_for(object.ptx.is_some());
    for emit in Emit::ALL.into_iter().filter(wanted) {
        let (kind, path, bytes) = match emit {
            Emit::Object => (FileKind::Object, format!("{stem}.o"), object.bytes.clone()),
            Emit::Static => (FileKind::Static, format!("lib{stem}.a"), archive::archive(object, stem)?),
            Emit::Shared => {
                let path = link::file_name(&object.target, stem);
                let bytes = link::link(object, packing, &path)?;
                (FileKind::Shared, path, bytes)
            }
            Emit::Header => (FileKind::Header, format!("{stem}.h"), header::header(object, stem).into()),
            Emit::Rust => (FileKind::Rust, format!("{stem}.rs"), bindings::bindings(object).into()),
            Emit::Ptx => {
                let text = object.ptx.clone().expect("a kernel of a GPU has PTX");
                (FileKind::Ptx, format!("{stem}.ptx"), text.into())
            }
            Emit::Manifest => {
                files.push(File { path: "manifest.json".into(), bytes: json(&manifest) });
                continue;
            }
        };
        let sha256 = hex(&Sha256::digest(&bytes));
        let target = if kind == FileKind::Ptx { GPU.to_owned() } else { object.target.to_string() };
        manifest.files.push(FileInfo { path: path.clone(), kind, target, sha256 });
        files.push(File { path, bytes });
    }
    Ok(Artifact { manifest, files })
}

fn json(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(manifest).expect("a manifest has text keys only");
    bytes.push(b'\n');
    bytes
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|it| format!("{it:02x}")).collect()
}
