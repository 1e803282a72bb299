//! Attention as kernels that `build.rs` compiled from `kernels/`: they read the cache where it lies.

use anyhow::{Result, bail};
use attnc_runtime::{TensorView, TensorViewMut, Workspace};
use candle_core::{Device, Layout, Storage, StorageRef, Tensor};

use super::Attention;

attnc_runtime::kernel!(prefill);
attnc_runtime::kernel!(decode);

/// Compiled kernels, and the memory that they work in.
#[derive(Debug, Default)]
pub struct Attnc {
    workspace: Workspace,
}

impl Attention for Attnc {
    fn attend(&mut self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
        let (h, m, d) = queries.dims3()?;
        let mut output = vec![0f32; m * h * d];
        let (kernel, queries, shape) = match m {
            1 => (decode::decode(), queries.squeeze(1)?, vec![h, d]),
            _ => (prefill::prefill(), queries.clone(), vec![m, h, d]),
        };
        kernel
            .call_in(&mut self.workspace)
            .input("Q", Strided::of(&queries).view()?)
            .input("K", Strided::of(keys).view()?)
            .input("V", Strided::of(values).view()?)
            .output("O", TensorViewMut::new(&mut output, &shape)?)
            .run()?;
        Ok(Tensor::from_vec(output, (m, h * d), &Device::Cpu)?)
    }
}

/// A candle tensor, locked for reading, with its strides as attnc takes them.
struct Strided<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
    strides: Vec<isize>,
}

impl<'a> Strided<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        let strides = layout.stride().iter().map(|&stride| stride as isize).collect();
        Self { storage, layout, strides }
    }

    fn view(&self) -> Result<TensorView<'_>> {
        let Storage::Cpu(data) = &*self.storage else { bail!("the tensor is not in the memory of the CPU") };
        let (first, shape) = (self.layout.start_offset(), self.layout.dims());
        Ok(TensorView::strided(data.as_slice::<f32>()?, first, shape, &self.strides)?)
    }
}
