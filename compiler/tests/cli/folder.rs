//! A folder in which `attnc` runs, and what came of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use npyz::WriterBuilder;
use tempfile::TempDir;

/// Multiplies and adds up.
pub(crate) const DOT: &str = "kernel dot {\n  rank m, n\n\n  input A[m, n]: f32\n  input B[n]: f32\n\n  output C[m] = sum[n](A * B)\n}\n";

/// A folder that vanishes.
pub(crate) struct Folder(TempDir);

/// What a command gave.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// With `dot.attn` and inputs of 2 and 2 by 3 for it.
    pub(crate) fn with_dot() -> Folder {
        let folder = Folder::new();
        folder.write("dot.attn", DOT);
        folder.npy("A.npy", &[2, 3], &[1f32, 2., 3., 4., 5., 6.]);
        folder.npy("B.npy", &[3], &[1f32, 10., 100.]);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn npy<T: npyz::AutoSerialize + Copy>(&self, name: &str, shape: &[u64], elements: &[T]) {
        let mut bytes = Vec::new();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
        writer.extend(elements.iter().copied()).unwrap();
        writer.finish().unwrap();
        self.write(name, bytes);
    }

    pub(crate) fn read_npy<T: npyz::Deserialize>(&self, name: &str) -> (Vec<u64>, Vec<T>) {
        let bytes = std::fs::read(self.path(name)).unwrap();
        let file = npyz::NpyFile::new(bytes.as_slice()).unwrap();
        (file.shape().to_vec(), file.into_vec().unwrap())
    }

    /// The names of its files, sorted.
    pub(crate) fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `attnc` with these words.
    pub(crate) fn attnc(&self, words: &str) -> Ran {
        self.attnc_with(words, "")
    }

    /// The same with something on standard input.
    pub(crate) fn attnc_with(&self, words: &str, input: impl AsRef<[u8]>) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnc"));
        command.args(words.split_whitespace()).current_dir(self.0.path()).env("XDG_CACHE_HOME", cache());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Who does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            status: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Ran {
    /// It exited with that status and said all of that on standard error.
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, said: &[&str]) -> &Ran {
        assert_eq!(self.status, status, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for part in said {
            assert!(self.stderr.contains(part), "`{part}` is not said:\n{}", self.stderr);
        }
        self
    }
}

/// A folder of ours where `attnc` keeps what it knows of the machine, not the user's.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
