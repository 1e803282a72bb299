//! An artifact in a folder to kernels: its manifest is read, its shared library loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::abi::{self, Entry};
use crate::error::{Error, Result, What};
use crate::kernel::Kernel;
use crate::manifest::{FileKind, KernelInfo, Manifest};

/// The kernels of an artifact, loaded from its shared library.
#[derive(Debug)]
pub struct Library {
    manifest: Manifest,
    kernels: Vec<Kernel>,
}

impl Library {
    /// Loads an artifact: `path` is its folder or its manifest.
    ///
    /// # Safety
    /// The artifact was made by attnc. That its library is the one that the manifest describes is
    /// checked, but not that either is honest.
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Library> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join("manifest.json") } else { path.to_owned() };
        let text = std::fs::read(&path).map_err(|it| load(&path, it))?;
        let manifest = parse(&text).map_err(|why| load(&path, why))?;
        let library = shared_library(&manifest, &path)?;
        // SAFETY: the caller vouches for the library.
        let library =
            unsafe { libloading::Library::new(&library) }.map_err(|it| load(&library, cause(&it)))?;
        let library = Arc::new(library);
        let kernels = manifest.kernels.iter().map(|info| {
            let entry = entry(&library, info).map_err(|why| load(&path, why))?;
            // SAFETY: the manifest describes the library, which the kernel keeps loaded.
            let kernel = unsafe { Kernel::from_raw(info.clone(), entry, library.clone()) }?;
            kernel.check_machine().map(|()| kernel)
        });
        let kernels = kernels.collect::<Result<_>>()?;
        Ok(Library { manifest, kernels })
    }

    /// What the artifact holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The kernels, in the order written.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Result<&Kernel> {
        self.kernels.iter().find(|it| it.info().name == name).ok_or_else(|| {
            let known = self.kernels.iter().map(|it| it.info().name.clone()).collect();
            Error::Unknown { kernel: "the artifact".into(), what: What::Kernel, name: name.into(), known }
        })
    }
}

/// Reads a manifest of this version of the ABI.
pub(crate) fn parse(text: &[u8]) -> std::result::Result<Manifest, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        attnc: String,
        abi: u32,
    }
    let version: Version = serde_json::from_slice(text).map_err(|it| it.to_string())?;
    if version.abi != abi::VERSION {
        let Version { attnc, abi } = version;
        return Err(format!("attnc {attnc} made it for ABI {abi}, this runtime has ABI {}", abi::VERSION));
    }
    serde_json::from_slice(text).map_err(|it| it.to_string())
}

/// Finds the shared library and checks that it is the one the manifest was written for.
fn shared_library(manifest: &Manifest, path: &Path) -> Result<PathBuf> {
    let Some(file) = manifest.files.iter().find(|it| it.kind == FileKind::Shared) else {
        return Err(load(path, "the artifact has no shared library"));
    };
    let library = path.with_file_name(&file.path);
    let bytes = std::fs::read(&library).map_err(|it| load(&library, it))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    if digest != file.sha256 {
        return Err(load(&library, "it is not the library that the manifest describes"));
    }
    // Without a folder before it, a name would be sought in the system's folders.
    std::path::absolute(&library).map_err(|it| load(&library, it))
}

/// The functions of a kernel.
fn entry(library: &libloading::Library, info: &KernelInfo) -> std::result::Result<Entry, String> {
    fn get<T: Copy>(library: &libloading::Library, name: String) -> std::result::Result<T, String> {
        // SAFETY: the caller of `Library::open` vouches that the symbols have the types of the ABI.
        let symbol = unsafe { library.get::<T>(&name) };
        symbol.map(|it| *it).map_err(|_| format!("the library has no function `{name}`"))
    }
    let name = |function: &str| format!("{}_{function}", info.symbol);
    Ok(Entry {
        bind: get::<abi::Bind>(library, name("bind"))?,
        workspace: get::<abi::WorkspaceSize>(library, name("workspace"))?,
        check: get::<abi::Check>(library, name("check"))?,
        tasks: get::<abi::Tasks>(library, name("tasks"))?,
        run: get::<abi::Run>(library, name("run"))?,
    })
}

/// What the innermost of nested errors says.
fn cause(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn load(path: &Path, why: impl ToString) -> Error {
    Error::Load { path: path.to_owned(), why: why.to_string() }
}
