//! What the manifest says of a kernel, and that the kernel in memory agrees with it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use attnc::Backend;
use attnc::driver::{self, Front, Request};
use attnc::target::Target;
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;
use attnc_runtime::{TensorView, TensorViewMut};

/// Ranks and parameters of every sort, and a tensor with a base coordinate.
const SPEC: &str = "\
## Running sums of scaled pairs.
kernel sums {
  param w: i32 = 2
  param scale: f32 = 1 / |t|
  param shift: f32
  rank t <= 100
  rank k = 2
  rank j = w + 1
  rank h = (t, k)
  input X[t, k]: f16
  S[0, k] = shift
  output S[t + 1, k]: f32 = S[t, k] + scale * sum[j](X)
  output N[h]: i32 = h
}";

fn front() -> Front {
    let source = Source { name: "sums.attn".into(), text: SPEC.into() };
    let mut fetch = |_: &str| Err("no imports".into());
    driver::front(Request { source, fetch: &mut fetch, fixed: Fixed::default() }).unwrap_or_else(|failure| {
        panic!("{}", attnc_dsl::render::text(&failure.sources, &failure.diagnostics))
    })
}

#[test]
fn a_kernel_is_described() {
    let object = driver::compile(&front(), &Target::named("x86-64-v2").unwrap(), Backend::Cranelift).unwrap();
    let mut info = object.kernels[0].clone();
    assert_eq!(info.derivation.len(), 64);
    (info.derivation, info.target) = ("DIGEST".into(), "TARGET".into());
    let line = |it: serde_json::Value| it.to_string();
    let json = serde_json::to_value(&info).unwrap();
    let lines = json.as_object().unwrap().iter().flat_map(|(key, value)| match value.as_array() {
        Some(items) => items.iter().map(|it| format!("{key}: {}", line(it.clone()))).collect(),
        None => vec![format!("{key}: {}", line(value.clone()))],
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_same_spec_gives_the_same_object() {
    let object = || driver::compile(&front(), &Target::default(), Backend::Cranelift).unwrap();
    assert!(object().bytes == object().bytes && object().kernels == object().kernels);
}

#[test]
fn a_kernel_in_memory_runs() {
    let kernel = driver::jit(&front().cascades[0], Backend::Cranelift).unwrap();
    let x = [0x3c00u16, 0x4000, 0x4200, 0x4400].map(u16::to_ne_bytes).concat();
    let (mut s, mut n) = ([f32::NAN; 6], [7i32; 4]);
    let x = TensorView::from_bytes(attnc_runtime::DType::F16, &x, &[2, 2]).unwrap();
    let mut call = kernel.call().param("shift", 10.0).input("X", x);
    assert_eq!(&call.shapes().unwrap()["S"], [3, 2]);
    call = call.output("S", TensorViewMut::new(&mut s, &[3, 2]).unwrap());
    call.output("N", TensorViewMut::new(&mut n, &[4]).unwrap()).run().unwrap();
    assert_eq!(s, [10.0, 10.0, 11.5, 13.0, 16.0, 19.0]);
    assert_eq!(n, [0, 1, 2, 3]);
}
