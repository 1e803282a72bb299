//! An artifact in a folder to kernels: its manifest is read, its shared library loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::abi::{self, Entry};
use crate::device::{Device, Emulated, EmulatedGpu};
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
    /// Loads an artifact: `path` is its folder or its manifest. One for a GPU runs on the first of this machine, which takes
    /// the feature `cuda`.
    ///
    /// # Errors
    /// When the artifact cannot be read, or this machine cannot run it.
    ///
    /// # Safety
    /// The artifact was made by attnc. That its library is the one that the manifest describes is
    /// checked, but not that either is honest.
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Library> {
        // SAFETY: the caller vouches for the artifact.
        unsafe { Library::open_on_gpu(path, 0) }
    }

    /// Loads an artifact; one for a GPU runs on that of this machine which the driver counts as `gpu`, from 0.
    ///
    /// # Errors
    /// As for [`Library::open`].
    ///
    /// # Safety
    /// As for [`Library::open`].
    pub unsafe fn open_on_gpu(path: impl AsRef<Path>, gpu: u32) -> Result<Library> {
        // SAFETY: the caller vouches for the artifact.
        unsafe { Library::open_on(path.as_ref(), &|info, text| on_gpu(info, text, gpu)) }
    }

    /// Loads an artifact for a GPU, whose stages are then emulated: `path` is its folder or its manifest.
    ///
    /// # Errors
    /// When the artifact cannot be read, or the emulator does not know what it has.
    ///
    /// # Safety
    /// As for [`Library::open`].
    pub unsafe fn open_emulated(path: impl AsRef<Path>) -> Result<Library> {
        // SAFETY: the caller vouches for the artifact.
        unsafe { Library::open_emulated_on(path, &EmulatedGpu::new()) }
    }

    /// Loads an artifact for a GPU, whose stages are then emulated on that one, so that tensors may lie in its memory.
    ///
    /// # Errors
    /// As for [`Library::open_emulated`].
    ///
    /// # Safety
    /// As for [`Library::open`].
    pub unsafe fn open_emulated_on(path: impl AsRef<Path>, gpu: &EmulatedGpu) -> Result<Library> {
        let emulated = |info: &KernelInfo, text: &str| -> Result<Arc<dyn Device>> {
            Ok(Arc::new(Emulated::new(&info.symbol, info.stages, text)?.on(gpu)))
        };
        // SAFETY: the caller vouches for the artifact.
        unsafe { Library::open_on(path.as_ref(), &emulated) }
    }

    /// Loads an artifact; if it has stages for GPUs, they run on that device.
    ///
    /// # Safety
    /// As for [`Library::open`].
    unsafe fn open_on(path: &Path, device: OnDevice<'_>) -> Result<Library> {
        let path = if path.is_dir() { path.join("manifest.json") } else { path.to_owned() };
        let text = std::fs::read(&path).map_err(|it| load(&path, it))?;
        let manifest = parse(&text).map_err(|why| load(&path, why))?;
        let library = file_of(&manifest, &path, FileKind::Shared)?;
        let library = library.ok_or_else(|| load(&path, "the artifact has no shared library"))?;
        let stages = file_of(&manifest, &path, FileKind::Ptx)?;
        let stages =
            stages.map(|it| std::fs::read_to_string(&it).map_err(|why| load(&it, why))).transpose()?;
        // SAFETY: the caller vouches for the library.
        let library =
            unsafe { libloading::Library::new(&library) }.map_err(|it| load(&library, cause(&it)))?;
        let library = Arc::new(library);
        let kernels = manifest.kernels.iter().map(|info| {
            let entry = entry(&library, info).map_err(|why| load(&path, why))?;
            let Some(stages) = &stages else {
                // SAFETY: the manifest describes the library, which the kernel keeps loaded.
                let kernel = unsafe { Kernel::from_raw(info.clone(), entry, library.clone()) }?;
                return kernel.check_machine().map(|()| kernel);
            };
            // SAFETY: as above, and the device runs the stages of the artifact.
            unsafe { Kernel::on_device(info.clone(), entry, library.clone(), device(info, stages)?) }
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

/// Finds the file of that kind, if there is one, and checks that it is the one the manifest was written for.
fn file_of(manifest: &Manifest, path: &Path, kind: FileKind) -> Result<Option<PathBuf>> {
    let Some(file) = manifest.files.iter().find(|it| it.kind == kind) else { return Ok(None) };
    let found = path.with_file_name(&file.path);
    let bytes = std::fs::read(&found).map_err(|it| load(&found, it))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    if digest != file.sha256 {
        let what = if kind == FileKind::Shared { "library" } else { "module" };
        return Err(load(&found, format!("it is not the {what} that the manifest describes")));
    }
    // Without a folder before it, a name would be sought in the system's folders.
    std::path::absolute(&found).map(Some).map_err(|it| load(&found, it))
}

/// How a kernel's device is made of the text of its module.
type OnDevice<'a> = &'a dyn Fn(&KernelInfo, &str) -> Result<Arc<dyn Device>>;

/// A GPU of this machine.
#[cfg(feature = "cuda")]
fn on_gpu(info: &KernelInfo, text: &str, gpu: u32) -> Result<Arc<dyn Device>> {
    Ok(Arc::new(crate::device::Cuda::new(info, text, gpu)?))
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(info: &KernelInfo, _text: &str, _gpu: u32) -> Result<Arc<dyn Device>> {
    let why = "it is for a GPU, and attnc-runtime is built without the feature `cuda`".to_owned();
    Err(Error::Machine { kernel: crate::kernel::title(info), why })
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
