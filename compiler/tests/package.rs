//! Packaging: the files of an artifact, used as strangers would use them.
//!
//! The object is compiled from C by hand, so that nothing here depends on a back end of ours.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use attnc::package::{Artifact, Emit, Error, Object, Packing, package};
use attnc_runtime::{Library, TensorView};
use target_lexicon::Triple;

static OBJECT: LazyLock<Object> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (fixture("axpy.c"), folder.path().join("axpy.o"));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-c", "-fPIC"]).arg(source).arg("-o").arg(&object);
    assert!(cc.status().unwrap().success());
    let target = Triple::host();
    let info = std::fs::read_to_string(fixture("kernel.json")).unwrap();
    let info = serde_json::from_str(&info.replace("TARGET", &target.to_string())).unwrap();
    Object { bytes: std::fs::read(object).unwrap(), target, ptx: None, kernels: vec![info] }
});

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/axpy").join(name)
}

fn packed(emit: &[Emit]) -> Artifact {
    let packing = Packing { stem: "axpy".into(), emit: emit.to_vec(), linker: None };
    package(&OBJECT, &packing).unwrap()
}

fn text(emit: Emit) -> String {
    let artifact = packed(&[emit]);
    assert_eq!(artifact.files.len(), 1);
    let text = String::from_utf8(artifact.files[0].bytes.clone()).unwrap();
    text.replace(&Triple::host().to_string(), "TARGET").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn an_artifact_has_the_files_that_were_asked_for() {
    let paths = |emit: &[Emit]| packed(emit).files.into_iter().map(|it| it.path).collect::<Vec<_>>();
    let all = ["axpy.o", "libaxpy.a", "libaxpy.so", "axpy.h", "axpy.rs", "manifest.json"];
    assert_eq!(paths(&Emit::ALL), all);
    assert_eq!(paths(&[Emit::Manifest, Emit::Object]), ["axpy.o", "manifest.json"]);
    for emit in Emit::ALL {
        assert_eq!(Emit::from_name(emit.name()), Some(emit));
    }
}

#[test]
fn the_same_object_gives_the_same_bytes() {
    assert_eq!(packed(&Emit::ALL).files, packed(&Emit::ALL).files);
}

#[test]
fn the_header() {
    insta::assert_snapshot!(text(Emit::Header));
}

#[test]
fn the_bindings() {
    insta::assert_snapshot!(text(Emit::Rust));
}

#[test]
fn names_that_c_has_are_changed() {
    let mut object = OBJECT.clone();
    let info = &mut object.kernels[0];
    info.docs = "ends */ here".into();
    info.ranks[0].name = "register".into();
    info.ranks[1].name = "A_stride".into();
    info.tensors[1].name = "linux".into();
    let packing = Packing { stem: "axpy".into(), emit: vec![Emit::Header], linker: None };
    let header = String::from_utf8(package(&object, &packing).unwrap().files.remove(0).bytes).unwrap();
    for line in [
        "   ends * / here",
        "    int64_t register_; /* rank 0 */",
        "    int64_t A_stride; /* rank 1, at most 1000 */",
        "    const float *A; int64_t A_stride_[2]; /* tensor 0, input f32 [m, n] */",
        "    const float *linux_; int64_t linux__stride[2]; /* tensor 1, input f32 [m, n] */",
    ] {
        assert!(header.lines().any(|it| it == line), "no line `{line}` in\n{header}");
    }
}

/// Runs a program made of the caller in C and what `link` names; both header and libraries are used.
fn run_caller(compiler: &str, flags: &[&str], link: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    packed(&Emit::ALL).write(folder.path()).unwrap();
    let caller = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package/caller.c");
    let program = folder.path().join("caller");
    let mut cc = Command::new(compiler);
    cc.args(["-Wall", "-Wextra", "-Werror", "-I"]).arg(folder.path()).args(flags).arg(caller);
    cc.args(["-x", "none"]).arg(folder.path().join(link)).arg("-o").arg(&program);
    assert!(cc.status().unwrap().success());
    let run = Command::new(program).env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
    assert!(run.status.success(), "{}", run.status);
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn c_calls_the_object_and_both_libraries() {
    for link in ["axpy.o", "libaxpy.a", "libaxpy.so"] {
        assert_eq!(run_caller("cc", &["-std=c11", "-pedantic"], link), "10.5 13 70.5 4\n", "{link}");
    }
}

#[test]
fn the_header_serves_cpp_too() {
    if Command::new("c++").arg("--version").output().is_err() {
        println!("SKIP: no C++ compiler");
        return;
    }
    assert_eq!(run_caller("c++", &["-std=c++17", "-x", "c++"], "libaxpy.a"), "10.5 13 70.5 4\n");
}

#[test]
fn the_runtime_loads_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = packed(&[Emit::Shared, Emit::Manifest]);
    artifact.write(folder.path()).unwrap();
    // SAFETY: the library does what the manifest says.
    let library = unsafe { Library::open(folder.path()) }.unwrap();
    assert_eq!(library.manifest(), &artifact.manifest);
    let kernel = library.kernel("axpy").unwrap();
    let (a, shape) = ([0f32; 6], [3, 2]);
    let input = || TensorView::new(&a, &shape).unwrap();
    let call = kernel.call().param("flip", true).input("A", input()).input("B", input());
    let shapes = call.input("Z", TensorView::new(&[true, true], &[2]).unwrap()).shapes().unwrap();
    assert_eq!(&shapes["H"], [6]);
}

#[test]
fn the_shared_library_has_no_trace_of_where_it_was_made() {
    let artifact = packed(&[Emit::Shared]);
    let text = String::from_utf8_lossy(&artifact.files[0].bytes).into_owned();
    let folder = std::env::temp_dir();
    assert!(!text.contains(folder.to_str().unwrap()));
    assert!(text.contains("libaxpy.so"));
}

#[test]
fn a_linker_that_is_missing_or_fails_is_named() {
    let with = |linker: &str| {
        let packing = Packing { stem: "axpy".into(), emit: vec![Emit::Shared], linker: Some(linker.into()) };
        package(&OBJECT, &packing).unwrap_err()
    };
    let missing = with("no-such-linker");
    assert!(matches!(missing, Error::NoLinker { .. }));
    let start = format!("cannot link a shared library for {} with `no-such-linker`: ", Triple::host());
    assert!(missing.to_string().starts_with(&start), "{missing}");
    assert_eq!(with("false").to_string(), "`false` cannot link a shared library:\n");
}

#[test]
fn an_undefined_symbol_is_found_when_linking() {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("x.c"), folder.path().join("x.o"));
    std::fs::write(&source, "int absent_function(void); int f(void) { return absent_function(); }").unwrap();
    let mut cc = Command::new("cc");
    assert!(cc.args(["-c", "-fPIC"]).arg(source).arg("-o").arg(&object).status().unwrap().success());
    let object = Object { bytes: std::fs::read(object).unwrap(), ..OBJECT.clone() };
    let packing = Packing { stem: "x".into(), emit: vec![Emit::Shared], linker: None };
    let error = package(&object, &packing).unwrap_err().to_string();
    assert!(
        error.starts_with("`cc` cannot link a shared library:\n") && error.contains("absent_function"),
        "{error}"
    );
}
