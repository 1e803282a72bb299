//! Artifacts for GPUs in a folder, as those who load them have them.

use std::path::Path;

use attnc::Backend;
use attnc::driver::{self, Front, Request};
use attnc::package::{Emit, Packing, package};
use attnc::target::{Gpu, Target};
use attnc_dsl::check::Fixed;
use attnc_dsl::diag::Source;

/// The kernels of a spec.
pub fn front(text: &str) -> Front {
    let source = Source { name: "test.attn".into(), text: text.into() };
    let mut fetch = |_: &str| Err("no imports".into());
    let front = driver::front(Request { source, fetch: &mut fetch, fixed: Fixed::default() });
    front.unwrap_or_else(|failure| panic!("{:?}", failure.diagnostics))
}

/// What a host and the emulator need of a spec for `sm_80`: files named `test`, in the folder. `change` is what becomes of the
/// module.
pub fn for_gpu(text: &str, folder: &Path, change: impl FnOnce(String) -> String) {
    let target = Target::of_gpu(Gpu::Sm80);
    let mut object = driver::compile(&front(text), &target, Backend::default()).expect("a kernel for GPUs");
    object.ptx = object.ptx.map(change);
    let emit = vec![Emit::Shared, Emit::Ptx, Emit::Manifest];
    let packing = Packing { stem: "test".into(), emit, linker: None };
    let artifact = package(&object, &packing).expect("an artifact");
    artifact.write(folder).expect("a folder that can be written");
}
