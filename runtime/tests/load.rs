//! Artifacts that are refused when they are loaded, each with the reason.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod axpy;

use attnc_runtime::Library;
use attnc_runtime::manifest::{Extent, KernelInfo};
use sha2::Digest;

/// The reason why an artifact with such a manifest is not loaded.
fn refused(edit: impl FnOnce(&mut KernelInfo)) -> String {
    let mut info = axpy::info();
    edit(&mut info);
    let folder = axpy::artifact(info);
    // SAFETY: the library does what the manifest says, where that makes sense.
    let error = unsafe { Library::open(folder.path()) }.unwrap_err();
    error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
}

/// The reason why an artifact is not loaded after that was done to its folder.
fn refused_after(edit: impl FnOnce(&std::path::Path)) -> String {
    let folder = axpy::artifact(axpy::info());
    edit(folder.path());
    // SAFETY: nothing is loaded.
    let error = unsafe { Library::open(folder.path().join("manifest.json")) }.unwrap_err();
    error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
}

#[test]
fn another_architecture() {
    let arch = std::env::consts::ARCH;
    assert_eq!(
        refused(|it| it.target = "sparc64-unknown-linux-gnu".into()),
        format!("kernel `axpy` cannot run here: it is for sparc64-unknown-linux-gnu, this machine is {arch}")
    );
}

#[test]
fn a_processor_that_lacks_something() {
    assert_eq!(
        refused(|it| it.cpu_features = vec!["warp".into(), "antigravity".into()]),
        "kernel `axpy` cannot run here: this processor lacks `warp`, `antigravity`"
    );
}

#[test]
fn a_symbol_that_is_not_there() {
    assert_eq!(
        refused(|it| it.symbol = "attnc_other".into()),
        "cannot load `DIR/manifest.json`: the library has no function `attnc_other_bind`"
    );
}

#[test]
fn a_library_that_cannot_be_loaded() {
    let folder = axpy::artifact(axpy::info());
    let (library, manifest) = (folder.path().join("libaxpy.so"), folder.path().join("manifest.json"));
    let digest = |path: &std::path::Path| {
        let digest = sha2::Sha256::digest(std::fs::read(path).unwrap());
        digest.iter().map(|it| format!("{it:02x}")).collect::<String>()
    };
    let before = digest(&library);
    std::fs::write(&library, "no library").unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap().replace(&before, &digest(&library));
    std::fs::write(&manifest, text).unwrap();
    // SAFETY: nothing can be loaded.
    let error = unsafe { Library::open(folder.path()) }.unwrap_err().to_string();
    assert!(error.contains("libaxpy.so`: ") && !error.ends_with("dlopen failed"), "{error}");
}

#[test]
fn a_manifest_that_contradicts_itself() {
    let broken = |why| format!("the manifest of kernel `axpy` is broken: {why}");
    let layout = broken("its arguments do not follow the ABI");
    assert_eq!(refused(|it| it.words = 20), layout);
    assert_eq!(refused(|it| it.tensors.swap(2, 3)), layout);
    assert_eq!(refused(|it| it.params[0].word = Some(1)), layout);
    assert_eq!(refused(|it| it.tensors[5].word = u32::MAX), layout);
    assert_eq!(refused(|it| it.tensors[0].dims[0].rank = "q".into()), broken("`A` has no rank `q`"));
    assert_eq!(refused(|it| it.ranks[3].extent = Extent::Word(19)), broken("no input has rank `h`"));
}

#[test]
fn another_library_than_the_manifest_describes() {
    assert_eq!(
        refused_after(|it| std::fs::write(it.join("libaxpy.so"), "").unwrap()),
        "cannot load `DIR/libaxpy.so`: it is not the library that the manifest describes"
    );
}

#[test]
fn a_library_or_manifest_that_is_missing() {
    let missing = refused_after(|it| std::fs::remove_file(it.join("libaxpy.so")).unwrap());
    assert!(missing.starts_with("cannot load `DIR/libaxpy.so`: No such file"), "{missing}");
    let missing = refused_after(|it| std::fs::remove_file(it.join("manifest.json")).unwrap());
    assert!(missing.starts_with("cannot load `DIR/manifest.json`: No such file"), "{missing}");
}

#[test]
fn another_version_of_the_abi() {
    let newer = refused_after(|it| {
        let path = it.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap().replace("\"abi\":2", "\"abi\":3");
        std::fs::write(path, text).unwrap();
    });
    assert_eq!(
        newer,
        "cannot load `DIR/manifest.json`: attnc test made it for ABI 3, this runtime has ABI 2"
    );
}

#[test]
fn an_unknown_kernel() {
    let folder = axpy::artifact(axpy::info());
    // SAFETY: the library does what the manifest says.
    let library = unsafe { Library::open(folder.path()) }.unwrap();
    assert_eq!(library.kernels().len(), 1);
    let error = library.kernel("other").unwrap_err();
    assert_eq!(error.to_string(), "the artifact has no kernel `other`; its only kernel is `axpy`");
}
