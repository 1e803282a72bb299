//! The kernel of `axpy.c`, compiled and packed as an artifact in a folder of its own.

use std::path::Path;
use std::process::Command;

use attnc_runtime::manifest::{FileInfo, FileKind, KernelInfo, Manifest};
use sha2::{Digest, Sha256};

/// What the manifest says of the kernel, for this machine.
pub(crate) fn info() -> KernelInfo {
    let triple = format!("{}-unknown-{}", std::env::consts::ARCH, std::env::consts::OS);
    serde_json::from_str(&include_str!("kernel.json").replace("TARGET", &triple)).unwrap()
}

/// An artifact whose manifest has this to say of the kernel.
pub(crate) fn artifact(info: KernelInfo) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/axpy/axpy.c");
    let library = folder.path().join("libaxpy.so");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    assert!(cc.status().unwrap().success());
    let digest = Sha256::digest(std::fs::read(&library).unwrap());
    let sha256 = digest.iter().map(|it| format!("{it:02x}")).collect();
    let (path, target) = ("libaxpy.so".into(), info.target.clone());
    let files = vec![FileInfo { path, kind: FileKind::Shared, target, sha256 }];
    let manifest = Manifest::new("test", vec![info], files);
    std::fs::write(folder.path().join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    folder
}
