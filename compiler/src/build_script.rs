//! Kernels in build scripts: a spec to bindings and a static library that cargo links.
//!
//! ```no_run
//! // build.rs
//! attnc::Build::new("kernels/mha.attn").emit();
//! // in the crate: attnc_runtime::kernel!(mha);
//! ```

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::{Display, Formatter, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Failure;
use attnc_dsl::render;

use crate::codegen::{Backend, CodegenError};
use crate::driver::{self, Request};
use crate::files::{self, Unreadable};
use crate::package::{self, Emit, Packing, package};
use crate::schedule::{Mapping, Refusal};
use crate::target::{Target, UnknownTarget};

/// A spec to compile in a build script, and what is fixed in it.
#[derive(Debug)]
#[must_use = "nothing is built until `emit`"]
pub struct Build {
    spec: PathBuf,
    target: Option<String>,
    backend: Backend,
    fixed: Fixed,
    mapping: Option<PathBuf>,
}

/// Why nothing was built.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The spec is wrong, or the target cannot run it.
    Spec(Box<Failure>),
    /// The spec cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mapping is wrong, or the kernels cannot follow it.
    Mapping {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        refusals: Vec<Refusal>,
    },
    /// The artifact cannot be made or written.
    Package(package::Error),
    /// A variable that cargo sets for build scripts is not set.
    NotInBuildScript(&'static str),
    /// The machine to compile for is not one that attnc knows.
    Target(UnknownTarget),
    /// The back end is not built in, or a fault of ours.
    Codegen(CodegenError),
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Spec(failure) => f.write_str(&render::text(&failure.sources, &failure.diagnostics)),
            Error::Read { path, source } => write!(f, "cannot read `{}`: {source}", path.display()),
            Error::Mapping { path, refusals } => {
                write!(f, "cannot follow `{}`:", path.display())?;
                refusals.iter().try_for_each(|it| write!(f, "\n{it}"))
            }
            Error::Package(error) => write!(f, "{error}"),
            Error::NotInBuildScript(name) => {
                write!(f, "`{name}` is not set, as cargo does for build scripts")
            }
            Error::Target(error) => write!(f, "{error}"),
            Error::Codegen(error @ CodegenError::NotBuiltIn(_)) => write!(f, "{error}"),
            Error::Codegen(error) => write!(f, "{error}; please report this bug"),
        }
    }
}

impl std::error::Error for Error {}

/// What cargo is told and what is read on the way there.
struct Script<'a> {
    variables: &'a dyn Fn(&str) -> Option<OsString>,
    /// Lines for cargo.
    lines: RefCell<BTreeSet<String>>,
}

impl Build {
    /// A build of the spec at that path, relative to the package that is built.
    pub fn new(spec: impl Into<PathBuf>) -> Build {
        let (backend, fixed) = (Backend::default(), Fixed::default());
        Build { spec: spec.into(), target: None, backend, fixed, mapping: None }
    }

    /// Compiles for that machine, such as `x86-64-v3`; by default for the one that cargo builds for.
    pub fn target(mut self, name: impl Into<String>) -> Build {
        self.target = Some(name.into());
        self
    }

    /// Compiles with that back end; by default with Cranelift.
    ///
    /// ```no_run
    /// // build.rs of a package with `attnc = { version = "0.1", features = ["llvm"] }`
    /// attnc::Build::new("kernels/mha.attn").backend(attnc::Backend::Llvm).target("x86-64-v4").emit();
    /// ```
    pub fn backend(mut self, backend: Backend) -> Build {
        self.backend = backend;
        self
    }

    /// Fixes the extent of a rank.
    pub fn set(mut self, rank: impl Into<String>, extent: i64) -> Build {
        self.fixed.sets.insert(rank.into(), extent);
        self
    }

    /// Fixes a parameter.
    pub fn param(mut self, name: impl Into<String>, value: impl Display) -> Build {
        self.fixed.params.insert(name.into(), value.to_string());
        self
    }

    /// Follows the mapping in that file; by default that in `NAME.map.toml` beside the spec, else one that suits the machine.
    pub fn mapping(mut self, path: impl Into<PathBuf>) -> Build {
        self.mapping = Some(path.into());
        self
    }

    /// Compiles to `OUT_DIR/attnc/NAME/` and tells cargo what to link; prints what is wrong with the
    /// spec and exits with status 1 if it cannot.
    pub fn emit(self) {
        if let Err(error) = self.try_emit() {
            let _ = writeln!(std::io::stderr(), "{error}");
            std::process::exit(1);
        }
    }

    /// The same, but returns what is wrong.
    pub fn try_emit(self) -> Result<(), Error> {
        let script = Script { variables: &|name| std::env::var_os(name), lines: RefCell::default() };
        let done = self.run(&script);
        // Cargo learns what was read even if it was wrong, and looks again when that changes.
        let lines = script.lines.into_inner().into_iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "cargo::{line}");
            text
        });
        let _ = std::io::stdout().write_all(lines.as_bytes());
        done
    }

    fn run(self, script: &Script<'_>) -> Result<(), Error> {
        let name = module_name(&self.spec);
        let folder = Path::new(&script.cargo("OUT_DIR")?).join("attnc").join(&name);
        let target = match self.target {
            Some(target) => target,
            None => match script.variable("ATTNC_TARGET") {
                Some(target) => target,
                None => script.cargo("TARGET")?,
            },
        };
        script.reads(&self.spec);
        let source = files::read_spec(&self.spec).map_err(|error| match error {
            Unreadable::Io { path, source } => Error::Read { path, source },
            Unreadable::Spec(failure) => Error::Spec(failure),
        })?;
        let root = files::root_of(&self.spec);
        let mut fetch = |path: &str| {
            script.reads(&root.join(path));
            files::fetch(&root, path)
        };
        let target = Target::named(&target).map_err(Error::Target)?;
        let request = Request { source, fetch: &mut fetch, fixed: self.fixed };
        let front = driver::front(request).map_err(Error::Spec)?;
        let read = |path: &Path| {
            script.reads(path);
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
        };
        let mapping = match (self.mapping, files::mapping_beside(&self.spec)) {
            (Some(path), _) => driver::mapping(&read(&path)?, &front.cascades, &target, self.backend)
                .map_err(|refusals| Error::Mapping { path, refusals })?,
            (None, Some(path)) => {
                let found = driver::mapping_beside(&read(&path)?, &front.cascades, &target, self.backend);
                let (mapping, unsuited) =
                    found.map_err(|refusals| Error::Mapping { path: path.clone(), refusals })?;
                if let Some(why) = unsuited {
                    script.line(format!("warning={} is not followed: {why}", path.display()));
                }
                mapping
            }
            (None, None) => Mapping::of(&target, self.backend),
        };
        let object = driver::compile_by(&front, &mapping, &target, self.backend).map_err(Error::Codegen)?;
        let emit = vec![Emit::Static, Emit::Header, Emit::Rust, Emit::Manifest];
        let packing = Packing { stem: name.clone(), emit, linker: None };
        let artifact = package(&object, &packing).map_err(Error::Package)?;
        artifact.write(&folder).map_err(Error::Package)?;
        script.line(format!("rustc-link-search=native={}", folder.display()));
        script.line(format!("rustc-link-lib=static={name}"));
        Ok(())
    }
}

impl Script<'_> {
    fn line(&self, line: String) {
        self.lines.borrow_mut().insert(line);
    }

    /// Notes that a file is read.
    fn reads(&self, path: &Path) {
        self.line(format!("rerun-if-changed={}", path.display()));
    }

    /// Reads a variable of ours.
    fn variable(&self, name: &str) -> Option<String> {
        self.line(format!("rerun-if-env-changed={name}"));
        (self.variables)(name).map(|it| it.to_string_lossy().into_owned())
    }

    /// Reads a variable that cargo sets.
    fn cargo(&self, name: &'static str) -> Result<String, Error> {
        let value = (self.variables)(name).ok_or(Error::NotInBuildScript(name))?;
        Ok(value.to_string_lossy().into_owned())
    }
}

/// What the kernels of a spec are called in Rust: its stem, with underscores for what no name has.
fn module_name(spec: &Path) -> String {
    let stem = spec.file_stem().unwrap_or_default().to_string_lossy();
    let mut name: String = stem.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    if !name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_') {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with two specs, one of which imports the other.
    fn package_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/f.attn"), "fn f(x) { x }").unwrap();
        let spec = "import \"lib/f.attn\" kernel k { rank n  input A[n]: f32  output O = sum[n](f(A)) }";
        std::fs::write(folder.path().join("my-kernel.attn"), spec).unwrap();
        folder
    }

    /// Runs a build where these variables are set; the result and the lines for cargo.
    fn run(build: Build, variables: &[(&str, &Path)]) -> (Result<(), Error>, Vec<String>) {
        let get = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.as_os_str().to_owned());
        let script = Script { variables: &get, lines: RefCell::default() };
        let done = build.run(&script);
        (done, script.lines.into_inner().into_iter().collect())
    }

    #[test]
    fn cargo_is_told_what_was_read_and_what_to_link() {
        let (folder, out) = (package_folder(), tempfile::tempdir().unwrap());
        let spec = folder.path().join("my-kernel.attn");
        let host = target_lexicon::Triple::host().to_string();
        let variables = [("OUT_DIR", out.path()), ("TARGET", Path::new(&host))];
        let (done, lines) = run(Build::new(&spec), &variables);
        done.unwrap();
        let (from, to) = (folder.path().display(), out.path().display());
        let expected = [
            format!("rerun-if-changed={from}/lib/f.attn"),
            format!("rerun-if-changed={from}/my-kernel.attn"),
            "rerun-if-env-changed=ATTNC_TARGET".to_owned(),
            "rustc-link-lib=static=my_kernel".to_owned(),
            format!("rustc-link-search=native={to}/attnc/my_kernel"),
        ];
        assert_eq!(lines, expected);
        let entries = std::fs::read_dir(out.path().join("attnc/my_kernel")).unwrap();
        let mut files: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ["libmy_kernel.a", "manifest.json", "my_kernel.h", "my_kernel.rs"]);
    }

    #[test]
    fn the_target_is_what_the_script_says_then_the_variable_then_what_cargo_builds_for() {
        let (folder, out) = (package_folder(), tempfile::tempdir().unwrap());
        let spec = folder.path().join("my-kernel.attn");
        let variables =
            [("OUT_DIR", out.path()), ("TARGET", Path::new("cargo's")), ("ATTNC_TARGET", Path::new("ours"))];
        let message = |build, variables| run(build, variables).0.unwrap_err().to_string();
        assert!(message(Build::new(&spec), &variables[..2]).starts_with("unknown target `cargo's`"));
        assert!(message(Build::new(&spec), &variables).starts_with("unknown target `ours`"));
        let (done, lines) = run(Build::new(&spec).target("native"), &variables);
        done.unwrap();
        assert!(!lines.contains(&"rerun-if-env-changed=ATTNC_TARGET".to_owned()));
    }

    #[test]
    fn cargo_looks_again_at_a_spec_that_was_wrong_or_absent() {
        let (folder, out) = (package_folder(), tempfile::tempdir().unwrap());
        let host = target_lexicon::Triple::host().to_string();
        let variables = [("OUT_DIR", out.path()), ("TARGET", Path::new(&host))];
        for (text, message) in [(Some("kernel {"), "error[A0001]"), (None, "cannot read `")] {
            let spec = folder.path().join("other.attn");
            text.map_or(Ok(()), |it| std::fs::write(&spec, it)).unwrap();
            let (done, lines) = run(Build::new(&spec), &variables);
            let error = done.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(lines.contains(&format!("rerun-if-changed={}", spec.display())));
            assert!(!out.path().join("attnc").exists());
            let _ = std::fs::remove_file(&spec);
        }
    }

    #[test]
    fn what_is_fixed_reaches_the_compiler() {
        let (folder, out) = (package_folder(), tempfile::tempdir().unwrap());
        let build = Build::new(folder.path().join("my-kernel.attn")).set("q", 64);
        let (done, _) = run(build.target("native"), &[("OUT_DIR", out.path())]);
        let error = done.unwrap_err().to_string();
        assert!(error.contains("`q`"), "{error}");
    }

    #[test]
    fn a_mapping_is_read_and_what_is_wrong_with_it_is_said() {
        let (folder, out) = (package_folder(), tempfile::tempdir().unwrap());
        let path = folder.path().join("my-kernel.map.toml");
        std::fs::write(&path, "[ranks.q]\nrows = 2").unwrap();
        let build = || Build::new(folder.path().join("my-kernel.attn")).target("native");
        for named in [build().mapping(&path), build()] {
            let (done, lines) = run(named, &[("OUT_DIR", out.path())]);
            let error = done.unwrap_err().to_string();
            assert!(error.contains("my-kernel.map.toml") && error.contains("no rank `q`"), "{error}");
            assert!(lines.contains(&format!("rerun-if-changed={}", path.display())));
        }
    }

    #[test]
    fn outside_of_a_build_script_the_missing_variable_is_named() {
        let (done, _) = run(Build::new("x.attn"), &[]);
        assert_eq!(done.unwrap_err().to_string(), "`OUT_DIR` is not set, as cargo does for build scripts");
    }

    #[test]
    fn a_module_has_a_name_that_rust_can_say() {
        assert_eq!(module_name(Path::new("kernels/mha.attn")), "mha");
        assert_eq!(module_name(Path::new("2-pass.v1.attn")), "_2_pass_v1");
    }
}
