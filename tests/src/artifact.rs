//! Artifacts for GPUs in a folder, as those who load them have them.

use std::path::Path;

use attnc::Backend;
use attnc::driver::{self, Front, Request};
use attnc::package::{Emit, Object, Packing, package};
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

/// What a host and the emulator need of a spec for `sm_80`: files named `test`, in the folder. What was compiled may be
/// changed before.
pub fn for_gpu(text: &str, folder: &Path, change: impl FnOnce(&mut Object)) {
    let target = Target::of_gpu(Gpu::Sm80);
    let mut object = driver::compile(&front(text), &target, Backend::default()).expect("a kernel for GPUs");
    change(&mut object);
    let emit = vec![Emit::Shared, Emit::Ptx, Emit::Manifest];
    let packing = Packing { stem: "test".into(), emit, linker: None };
    let artifact = package(&object, &packing).expect("an artifact");
    artifact.write(folder).expect("a folder that can be written");
}
