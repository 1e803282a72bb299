//! Data to standard output and to files that appear whole or not at all.

use std::fs::Metadata;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::{Outcome, Stop};

/// Writes to standard output. Who closes it has read enough.
pub(crate) fn stdout(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Stop::internal(format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Files that wait for all of them to be written; then they appear, whole.
#[derive(Default)]
pub(crate) struct Pending {
    files: Vec<(NamedTempFile, PathBuf)>,
    /// What is no file, such as `/dev/null`, is written when the files appear.
    devices: Vec<(PathBuf, Vec<u8>)>,
}

impl Pending {
    /// Writes a file beside its place.
    pub(crate) fn add(&mut self, path: &Path, bytes: &[u8]) -> Outcome {
        let failed = |error: std::io::Error| cannot_write(path, &error);
        let old = std::fs::metadata(path).ok();
        match &old {
            Some(old) if old.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            Some(old) if !old.is_file() => {
                self.devices.push((path.to_owned(), bytes.to_vec()));
                return Ok(());
            }
            Some(_) | None => {}
        }
        // A link stays, and what it leads to is replaced.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = place.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".attnc-").tempfile_in(folder).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        set_mode(&file, old).map_err(failed)?;
        self.files.push((file, place));
        Ok(())
    }

    /// Moves all files to their places.
    pub(crate) fn place(self) -> Outcome {
        for (path, bytes) in self.devices {
            std::fs::write(&path, bytes).map_err(|it| cannot_write(&path, &it))?;
        }
        for (file, path) in self.files {
            file.persist(&path).map_err(|it| cannot_write(&path, &it.error))?;
        }
        Ok(())
    }
}

/// Makes a folder and those above it.
pub(crate) fn folder(path: &Path) -> Outcome {
    std::fs::create_dir_all(path)
        .map_err(|it| Stop::internal(format!("cannot create `{}`: {it}", path.display())))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Stop {
    Stop::internal(format!("cannot write `{}`: {error}", path.display()))
}

/// A file that replaces another may be used by the same people; a new one may be read by all.
#[cfg(unix)]
fn set_mode(file: &NamedTempFile, old: Option<Metadata>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = old.map_or_else(|| PermissionsExt::from_mode(0o644), |it| it.permissions());
    file.as_file().set_permissions(mode)
}

#[cfg(not(unix))]
fn set_mode(_: &NamedTempFile, _: Option<Metadata>) -> std::io::Result<()> {
    Ok(())
}
