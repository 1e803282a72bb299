//! Writing an artifact: all of its files appear in the folder, or none does and what was there stays.
//!
//! The files are written to a hidden folder inside the target folder and then renamed; renames that
//! were done before one that fails are undone.

use std::io;
use std::path::{Path, PathBuf};

use super::{Artifact, Error, File};

impl Artifact {
    /// Puts the files into a folder, which is made if need be.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        self.write_by(folder, |path, bytes| std::fs::write(path, bytes))
    }

    /// The same, with another way to write a file.
    fn write_by(&self, folder: &Path, put: impl Fn(&Path, &[u8]) -> io::Result<()>) -> Result<(), Error> {
        let made = Made::folder(folder)?;
        let stage = tempfile::Builder::new().prefix(".attnc-").tempdir_in(folder);
        let stage = stage.map_err(|source| at("write to", folder, source))?;
        for file in &self.files {
            let path = stage.path().join(&file.path);
            // The message names the place that the user knows, not the hidden one.
            put(&path, &file.bytes).map_err(|source| at("write", &folder.join(&file.path), source))?;
        }
        let mut moves = Moves { done: Vec::new() };
        for File { path, .. } in &self.files {
            let (new, target) = (stage.path().join(path), folder.join(path));
            let (old, kept) = (stage.path().join(format!("{path}.old")), target.clone());
            // A link counts as a file, wherever it leads.
            if target.symlink_metadata().is_ok_and(|it| !it.is_dir()) {
                moves.rename(target, old)?;
            }
            moves.rename(new, kept)?;
        }
        moves.keep();
        made.keep();
        Ok(())
    }
}

/// Folders that were made and vanish again unless kept; the innermost is last.
struct Made(Vec<PathBuf>);

impl Made {
    fn folder(folder: &Path) -> Result<Made, Error> {
        let missing = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists());
        let mut made = Made(Vec::new());
        for path in missing.map(Path::to_owned).collect::<Vec<_>>().into_iter().rev() {
            std::fs::create_dir(&path).map_err(|source| at("create", &path, source))?;
            made.0.push(path);
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // A folder that cannot be removed is no longer empty: someone else uses it.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Renames that are undone unless kept.
struct Moves {
    done: Vec<(PathBuf, PathBuf)>,
}

impl Moves {
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), Error> {
        std::fs::rename(&from, &to).map_err(|source| at("write", &to, source))?;
        self.done.push((from, to));
        Ok(())
    }

    fn keep(mut self) {
        self.done.clear();
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        for (from, to) in self.done.iter().rev() {
            // Nothing better can be done if the way back is barred too.
            let _ = std::fs::rename(to, from);
        }
    }
}

fn at(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_runtime::manifest::Manifest;

    fn artifact(text: &str) -> Artifact {
        let file = |path: &str| File { path: path.into(), bytes: text.into() };
        let files = vec![file("a.o"), file("a.h"), file("manifest.json")];
        Artifact { manifest: Manifest::new("0", Vec::new(), Vec::new()), files }
    }

    fn listing(folder: &Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap());
        let read = |it: std::fs::DirEntry| {
            let text = std::fs::read_to_string(it.path()).unwrap_or_else(|_| "a folder".into());
            (it.file_name().into_string().unwrap(), text)
        };
        let mut listing: Vec<_> = entries.map(read).collect();
        listing.sort();
        listing
    }

    /// A disk that is full once one file is on it.
    fn full_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
        match path.ends_with("a.o") {
            true => std::fs::write(path, bytes),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    #[test]
    fn all_files_appear_and_replace_older_ones() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/er");
        artifact("old").write(&folder).unwrap();
        artifact("new").write(&folder).unwrap();
        let new = |it: &str| (it.to_string(), "new".to_string());
        assert_eq!(listing(&folder), [new("a.h"), new("a.o"), new("manifest.json")]);
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/er");
        let error = artifact("new").write_by(&folder, full_disk).unwrap_err();
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
        assert!(error.to_string().contains("deep/er/a.h`: "), "{error}");
        assert_eq!(listing(root.path()), []);
    }

    #[test]
    fn a_full_disk_leaves_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        artifact("old").write(root.path()).unwrap();
        let before = listing(root.path());
        artifact("new").write_by(root.path(), full_disk).unwrap_err();
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn a_rename_that_fails_undoes_those_before() {
        let root = tempfile::tempdir().unwrap();
        artifact("old").write(root.path()).unwrap();
        std::fs::remove_file(root.path().join("manifest.json")).unwrap();
        std::fs::create_dir_all(root.path().join("manifest.json/in the way")).unwrap();
        let before = listing(root.path());
        let error = artifact("new").write(root.path()).unwrap_err();
        assert!(error.to_string().contains("manifest.json`: "), "{error}");
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let error = artifact("new").write(&root.path().join("file/out")).unwrap_err();
        assert!(error.to_string().contains("file/out`: "), "{error}");
        assert_eq!(listing(root.path()).len(), 1);
    }
}
