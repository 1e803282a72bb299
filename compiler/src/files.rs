//! Specs on disk: a path to a source, and the imports of a spec to text.

use std::io;
use std::path::{Path, PathBuf};

use attnc_dsl::diag::{Code, Diagnostic, Failure, Source, SourceMap, Span};

/// A spec that cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The system does not give the file.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no text.
    Spec(Box<Failure>),
}

/// Reads a spec; diagnostics call it by its path as given.
pub fn read_spec(path: &Path) -> Result<Source, Unreadable> {
    let bytes = std::fs::read(path).map_err(|source| Unreadable::Io { path: path.to_owned(), source })?;
    source_of(&path.display().to_string(), bytes).map_err(Unreadable::Spec)
}

/// The text of a spec of that name.
pub fn source_of(name: &str, bytes: Vec<u8>) -> Result<Source, Box<Failure>> {
    let name = name.to_owned();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let mut sources = SourceMap::default();
            let at = u32::try_from(valid).unwrap_or(u32::MAX);
            let span = Span { source: sources.add(Source { name, text }), start: at, end: at };
            let message = format!("the file is not UTF-8 text: byte {valid} does not belong");
            let diagnostics = vec![Diagnostic::error(Code::NotUtf8, message).label(span, "here")];
            Err(Box::new(Failure { sources, diagnostics }))
        }
    }
}

/// The folder that the imports of a spec are relative to: its own.
pub fn root_of(spec: &Path) -> PathBuf {
    match spec.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The mapping that lies beside a spec: `NAME.map.toml`, if there is one.
pub fn mapping_beside(spec: &Path) -> Option<PathBuf> {
    let path = spec.with_extension("map.toml");
    path.is_file().then_some(path)
}

/// Reads an imported file under a root folder.
pub fn fetch(root: &Path, path: &str) -> Result<String, String> {
    let bytes = std::fs::read(root.join(path)).map_err(|it| it.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_where_it_ends_to_be_text() {
        let failure = source_of("x.attn", b"kernel \xff".to_vec()).unwrap_err();
        let text = attnc_dsl::render::text(&failure.sources, &failure.diagnostics);
        assert!(text.contains("error[A0002]: the file is not UTF-8 text: byte 7 does not belong"), "{text}");
        assert!(text.contains("x.attn:1:8"), "{text}");
    }

    #[test]
    fn the_root_of_a_spec_is_its_folder() {
        assert_eq!(root_of(Path::new("a/b.attn")), Path::new("a"));
        assert_eq!(root_of(Path::new("b.attn")), Path::new("."));
    }
}
