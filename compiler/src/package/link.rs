//! An object to a shared library, by the system's C compiler.
//!
//! Nothing of the machine that links gets into the bytes but the version of its linker: no paths, no
//! times, no build id, no start-up files.

use std::path::{Path, PathBuf};
use std::process::Command;

use target_lexicon::{BinaryFormat, Triple};

use super::{Error, Object, Packing};

/// What a shared library is called there.
pub(super) fn file_name(target: &Triple, stem: &str) -> String {
    let suffix = if target.binary_format == BinaryFormat::Macho { "dylib" } else { "so" };
    format!("lib{stem}.{suffix}")
}

/// The bytes of the shared library of that name.
pub(super) fn link(object: &Object, packing: &Packing, name: &str) -> Result<Vec<u8>, Error> {
    let linker = packing.linker.clone().unwrap_or_else(|| default_linker(&object.target));
    let folder =
        tempfile::tempdir().map_err(|source| io("create a folder in", &std::env::temp_dir(), source))?;
    let (from, to) = (folder.path().join("kernels.o"), folder.path().join(name));
    std::fs::write(&from, &object.bytes).map_err(|source| io("write", &from, source))?;
    let run = Command::new(&linker)
        .args(flags(&object.target, name))
        .args([Path::new("-o"), &to, &from])
        .output()
        .map_err(|source| Error::NoLinker {
            linker: linker.clone(),
            target: object.target.to_string(),
            source,
        })?;
    if !run.status.success() {
        return Err(Error::Linker { linker, stderr: String::from_utf8_lossy(&run.stderr).into_owned() });
    }
    std::fs::read(&to).map_err(|source| io("read", &to, source))
}

fn flags(target: &Triple, name: &str) -> Vec<String> {
    let flags = if target.binary_format == BinaryFormat::Macho { MACHO } else { ELF };
    flags.iter().map(|it| it.replace("NAME", name)).collect()
}

const MACHO: &[&str] = &["-dynamiclib", "-Wl,-install_name,@rpath/NAME"];
const ELF: &[&str] = &[
    "-shared",
    "-nostartfiles",
    "-Wl,-soname,NAME",
    "-Wl,--build-id=none",
    "-Wl,--as-needed",
    "-Wl,-z,defs",
    "-Wl,-z,noexecstack",
];

/// `cc` for this kind of machine, else what distributions call the cross compiler.
fn default_linker(target: &Triple) -> PathBuf {
    let host = Triple::host();
    if (host.architecture, host.operating_system) == (target.architecture, target.operating_system) {
        return "cc".into();
    }
    format!("{}-{}-{}-gcc", target.architecture, target.operating_system, target.environment).into()
}

fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}
