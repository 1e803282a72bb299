//! Artifacts for GPUs, as those who load them see them; the emulator stands in for the machine.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use attnc::Backend;
use attnc::driver;
use attnc::target::{Gpu, Target};
use attnc_runtime::{Kernel, Library, TensorView, TensorViewMut};
use attnc_tests::artifact::{for_gpu, front};

const SPEC: &str = "kernel pick {
  rank m, n
  param bias: f32 = 0.5
  input x[m, n]: f32
  input seen[n]: bool
  output y[m] = sum[n](x where seen) + bias
}";

fn artifact(folder: &Path) {
    for_gpu(SPEC, folder, |_| ());
}

/// What the kernel makes of two rows of three numbers, the last of which is seen or not.
fn pick(kernel: &Kernel, x: &[f32; 6], last: bool) -> attnc_runtime::Result<[f32; 2]> {
    let (seen, mut y) = ([true, true, last], [0f32; 2]);
    let call = kernel.call().input("x", TensorView::new(x, &[2, 3])?);
    let call = call.input("seen", TensorView::new(&seen, &[3])?).param("bias", 1.0);
    call.output("y", TensorViewMut::new(&mut y, &[2])?).run()?;
    Ok(y)
}

#[test]
fn an_artifact_runs_on_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    artifact(folder.path());
    // SAFETY: the artifact was just made.
    let library = unsafe { Library::open_emulated(folder.path()) }.unwrap();
    let kernel = library.kernel("pick").unwrap();
    assert_eq!(kernel.info().cpu_features, ["sm_80"]);
    let x = [1.0, 2.0, 4.0, 8.0, 16.0, f32::NAN];
    assert_eq!(pick(kernel, &x, false).unwrap(), [4.0, 25.0]);
    let [first, second] = pick(kernel, &x, true).unwrap();
    assert!(first == 8.0 && second.is_nan(), "{first}, {second}");
}

#[test]
fn what_does_not_fit_a_kernel_is_refused_before_anything_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    artifact(folder.path());
    // SAFETY: the artifact was just made.
    let library = unsafe { Library::open_emulated(folder.path()) }.unwrap();
    let call = library.kernel("pick").unwrap().call();
    let mut y = [0f32; 2];
    let call = call.input("x", TensorView::new(&[1f32; 6], &[2, 3]).unwrap());
    let call = call.input("seen", TensorView::new(&[true; 4], &[4]).unwrap());
    let error = call.output("y", TensorViewMut::new(&mut y, &[2]).unwrap()).run().unwrap_err();
    assert_eq!(error.to_string(), "rank `n` is 4 in `seen` but 3 in `x`");
}

#[test]
fn a_module_that_the_manifest_does_not_describe_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    artifact(folder.path());
    let path = folder.path().join("test.ptx");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("add.rn.f32", "sub.rn.f32")).unwrap();
    // SAFETY: the artifact is refused.
    let error = unsafe { Library::open_emulated(folder.path()) }.unwrap_err();
    assert!(error.to_string().contains("it is not the module that the manifest describes"), "{error}");
}

#[test]
fn a_gpu_takes_a_feature_and_a_driver() {
    let folder = tempfile::tempdir().unwrap();
    artifact(folder.path());
    // SAFETY: the artifact was just made.
    match unsafe { Library::open(folder.path()) } {
        Ok(library) => {
            let x = [1.0, 2.0, 4.0, 8.0, 16.0, f32::NAN];
            assert_eq!(pick(library.kernel("pick").unwrap(), &x, false).unwrap(), [4.0, 25.0]);
        }
        Err(error) if cfg!(feature = "cuda") => {
            assert!(
                error.to_string().ends_with("there is no driver of NVIDIA (libcuda) on this machine"),
                "{error}"
            );
        }
        Err(error) => {
            assert!(
                error.to_string().ends_with("attnc-runtime is built without the feature `cuda`"),
                "{error}"
            );
        }
    }
}

#[test]
fn more_arguments_than_a_kernel_can_have_are_refused_with_the_limit() {
    let inputs: String = (0..130).map(|it| format!("  input x{it}[b, m, n]: f32\n")).collect();
    let sum: Vec<String> = (0..130).map(|it| format!("x{it}")).collect();
    let text =
        format!("kernel wide {{\n  rank b, m, n\n{inputs}  output y[b, m, n] = {}\n}}", sum.join(" + "));
    let error = driver::compile(&front(&text), &Target::of_gpu(Gpu::Sm90a), Backend::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("sm_90a cannot run this: kernel `wide` takes 42"), "{error}");
    assert!(error.contains("more than 4096"), "{error}");
}

#[test]
fn no_bits_of_an_input_stand_for_its_absence() {
    let text = "kernel weigh {
  rank m, n
  rank d = 8
  input q[m, d]: f32
  input k[n, d]: f32
  input v[n, d]: f32
  input w[m, n]: f32
  s[m, n] = sum[d](q * k) where n <= m
  output o[m, d] = sum[n]((if s < 1e30 then w else s) * v)
}";
    let folder = tempfile::tempdir().unwrap();
    for_gpu(text, folder.path(), |_| ());
    // SAFETY: the artifact was just made.
    let library = unsafe { Library::open_emulated(folder.path()) }.unwrap();
    let kernel = library.kernel("weigh").unwrap();
    assert!(kernel.info().teams.iter().any(|it| *it > 0), "no block takes it");
    let (ones, mut o, mut w) = ([1f32; 4 * 8], [0f32; 4 * 8], [1f32; 4 * 4]);
    // A NaN of a kind that no operation gives, and one that the row does not see.
    w[2 * 4 + 1] = f32::from_bits(0xffa5_c35a);
    w[4 + 2] = f32::NAN;
    let call = ["q", "k", "v"].iter().try_fold(kernel.call(), |call, name| {
        Ok::<_, attnc_runtime::Error>(call.input(name, TensorView::new(&ones, &[4, 8])?))
    });
    let call = call.unwrap().input("w", TensorView::new(&w, &[4, 4]).unwrap());
    call.output("o", TensorViewMut::new(&mut o, &[4, 8]).unwrap()).run().unwrap();
    let rows: Vec<f32> = o.chunks(8).map(|it| it[0]).collect();
    assert!(rows[2].is_nan(), "{rows:?}");
    assert_eq!([rows[0], rows[1], rows[3]], [1.0, 2.0, 4.0]);
}
