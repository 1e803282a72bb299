//! A kernel in memory: its manifest entry, its functions and what keeps them alive.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use crate::abi::Entry;
use crate::call::Call;
use crate::cpu;
use crate::device::{Device, DeviceCall};
use crate::error::{Error, Result};
use crate::manifest::{Extent, KernelInfo, Role};
use crate::workspace::Workspace;

/// A kernel that can be called, from any number of threads at once.
#[derive(Debug)]
pub struct Kernel {
    info: KernelInfo,
    entry: Entry,
    /// The dimensions of all tensors, one tensor after the other.
    dims: Vec<Dim>,
    /// Where in `dims` those of a tensor begin, and where the last end.
    starts: Vec<usize>,
    machine: Result<()>,
    /// Where its stages run, if not here.
    device: Option<Arc<dyn Device>>,
    _owner: Arc<dyn Any + Send + Sync>,
}

/// One dimension of a tensor: the extent of a rank, and more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dim {
    pub(crate) rank: usize,
    pub(crate) plus: i64,
    /// The first tensor that has the rank: if that is an input, it binds the extent.
    pub(crate) binder: usize,
}

impl Kernel {
    /// A kernel of functions that were found or made elsewhere; `owner` lives as long as it.
    ///
    /// Whether this machine can run it is asked here and answered by each call, or by
    /// [`Kernel::check_machine`].
    ///
    /// # Safety
    /// While `owner` lives, the functions of `entry` are those of a kernel that [`crate::abi`] describes
    /// and `info` describes it truly.
    pub unsafe fn from_raw(
        info: KernelInfo,
        entry: Entry,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Kernel> {
        let (dims, starts) = resolve(&info)?;
        let machine = cpu::check(&info);
        Ok(Kernel { info, entry, dims, starts, machine, device: None, _owner: owner })
    }

    /// A kernel whose stages run on a device. Of the functions of `entry`, which are for this machine, `run` is not called.
    ///
    /// # Safety
    /// As for [`Kernel::from_raw`]; and the device runs the stages of that kernel.
    pub unsafe fn on_device(
        info: KernelInfo,
        entry: Entry,
        owner: Arc<dyn Any + Send + Sync>,
        device: Arc<dyn Device>,
    ) -> Result<Kernel> {
        let (dims, starts) = resolve(&info)?;
        Ok(Kernel { info, entry, dims, starts, machine: Ok(()), device: Some(device), _owner: owner })
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &KernelInfo {
        &self.info
    }

    /// Whether this machine has what the kernel was compiled for.
    pub fn check_machine(&self) -> Result<()> {
        self.machine.clone()
    }

    /// Begins a call with a workspace of its own.
    pub fn call(&self) -> Call<'_> {
        Call::new(self)
    }

    /// Begins a call that allocates nothing if the workspace has served such a call before.
    pub fn call_in<'a>(&'a self, workspace: &'a mut Workspace) -> Call<'a> {
        Call::within(self, workspace)
    }

    /// Where its stages run, if not here.
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        self.device.as_ref()
    }

    /// Begins a call with tensors that lie on the device of the kernel.
    ///
    /// # Errors
    /// Where the kernel runs on this machine.
    pub fn device_call(&self) -> Result<DeviceCall<'_>> {
        Ok(DeviceCall::new(self, self.expect_device()?))
    }

    pub(crate) fn expect_device(&self) -> Result<&Arc<dyn Device>> {
        let why = "its stages run on the processor of this machine, expected a kernel for a GPU";
        let refused = || Error::Machine { kernel: self.title(), why: why.to_owned() };
        self.device.as_ref().ok_or_else(refused)
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where the dimensions of a tensor are among those of all.
    pub(crate) fn dims_of(&self, tensor: usize) -> Range<usize> {
        self.starts[tensor]..self.starts[tensor + 1]
    }

    pub(crate) fn dims(&self) -> &[Dim] {
        &self.dims
    }

    /// What messages call it.
    pub(crate) fn title(&self) -> String {
        title(&self.info)
    }
}

pub(crate) fn title(info: &KernelInfo) -> String {
    format!("kernel `{}`", info.name)
}

/// Resolves the ranks of all dimensions and checks that the words of the arguments are laid out as the
/// ABI says, so that a broken manifest is refused instead of misread.
fn resolve(info: &KernelInfo) -> Result<(Vec<Dim>, Vec<usize>)> {
    let broken = |why: String| Error::Manifest { kernel: title(info), why };
    let (mut dims, mut starts) = (Vec::<Dim>::new(), vec![0]);
    for (idx, tensor) in info.tensors.iter().enumerate() {
        for dim in &tensor.dims {
            let rank = info.ranks.iter().position(|it| it.name == dim.rank);
            let rank = rank.ok_or_else(|| broken(format!("`{}` has no rank `{}`", tensor.name, dim.rank)))?;
            let binder = dims.iter().find(|it| it.rank == rank).map_or(idx, |it| it.binder);
            dims.push(Dim { rank, plus: dim.plus, binder });
        }
        starts.push(dims.len());
    }
    let inputs = info.tensors.iter().take_while(|it| it.role == Role::Input).count();
    let mut words: Vec<u32> = info.params.iter().filter_map(|it| it.word).collect();
    for (idx, rank) in info.ranks.iter().enumerate() {
        if let Extent::Word(word) = rank.extent {
            words.push(word);
            if !dims.iter().any(|it| it.rank == idx && it.binder < inputs) {
                return Err(broken(format!("no input has rank `{}`", rank.name)));
            }
        }
    }
    for tensor in &info.tensors {
        words.extend((0..).take(tensor.dims.len() + 1).map(|it: u32| tensor.word.saturating_add(it)));
    }
    words.sort_unstable();
    let sorted = info.tensors[inputs..].iter().all(|it| it.role == Role::Output);
    if !sorted || !words.iter().copied().eq(0..info.words) {
        return Err(broken("its arguments do not follow the ABI".into()));
    }
    Ok((dims, starts))
}
