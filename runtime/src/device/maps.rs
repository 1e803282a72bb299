//! Maps of the tensors of a call, for stages that take them.
//!
//! Ranks are innermost first in a map, which the last dimension of a tensor has to be: elements next to each other, all
//! other strides positive multiples of 16 bytes. Where a tensor is not such, its stage is launched without maps.

use super::Device;
use crate::kernel::Kernel;
use crate::manifest::{BoxInfo, MappedStage, TensorInfo};
use crate::tensor_map::{Swizzle, TENSOR_MAP_BYTES, TensorMap};

/// The most elements along a dimension: coordinates have 31 bits and a sign.
const EXTENT: u64 = 1 << 31;
/// The most bytes between neighbours.
const STRIDE: u64 = 1 << 40;
/// What addresses and strides are multiples of.
const ALIGN: u64 = 16;

/// A map as kernels of a device take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct EncodedMap(pub [u8; TENSOR_MAP_BYTES]);

/// The maps that a stage takes of tensors with these shapes, one tensor after the other; else what of a tensor is not as it
/// has to be.
pub(super) fn maps_of(
    kernel: &Kernel,
    device: &dyn Device,
    stage: &MappedStage,
    (shapes, words): (&[i64], &[u64]),
) -> Result<Vec<EncodedMap>, String> {
    let map = |of: &BoxInfo| {
        let tensor = &kernel.info().tensors[of.tensor as usize];
        let shape = &shapes[kernel.dims_of(of.tensor as usize)];
        let map = map_of(tensor, of, (shape, words)).map_err(|why| format!("`{}` {why}", tensor.name))?;
        device.encode(&map).map_err(|it| it.to_string())
    };
    stage.maps.iter().map(map).collect()
}

fn map_of(tensor: &TensorInfo, of: &BoxInfo, (shape, words): (&[i64], &[u64])) -> Result<TensorMap, String> {
    let (word, element) = (tensor.word as usize, tensor.dtype.size() as u64);
    let address = words[word];
    if !address.is_multiple_of(ALIGN) {
        return Err(format!("lies at {address:#x}, expected a multiple of {ALIGN}"));
    }
    let (mut extents, mut strides) = (Vec::new(), Vec::new());
    let dims = tensor.dims.iter().zip(shape).zip(&words[word + 1..]).rev();
    for (at, ((dim, &extent), &stride)) in dims.enumerate() {
        let count = extent.cast_unsigned();
        if extent <= 0 || count >= EXTENT {
            return Err(format!("has {extent} elements along `{dim}`, expected 1 to {}", EXTENT - 1));
        }
        extents.push(count);
        // What has one coordinate may have any stride.
        let stride = if count == 1 { None } else { Some(stride.cast_signed()) };
        if at == 0 {
            if let Some(stride) = stride.filter(|it| *it != 1) {
                return Err(format!("has a stride of {stride} along `{dim}`, expected 1"));
            }
            continue;
        }
        let row = (extents[0] * element).next_multiple_of(ALIGN);
        let bytes = stride.map_or(Some(row), |it| u64::try_from(it).ok()?.checked_mul(element));
        match bytes.filter(|it| *it > 0 && *it < STRIDE && it.is_multiple_of(ALIGN)) {
            Some(bytes) => strides.push(bytes),
            None => {
                let found = stride.unwrap_or(0);
                let step = ALIGN / element;
                let along = format!("`{dim}`, expected a positive multiple of {step}");
                return Err(format!("has a stride of {found} along {along}"));
            }
        }
    }
    let map = TensorMap {
        address,
        element: tensor.dtype.size() as u32,
        shape: extents,
        strides,
        extents: of.extents.iter().rev().copied().collect(),
        swizzle: Swizzle::B128,
    };
    map.check().map_err(|it| format!("has no map: {it}"))?;
    Ok(map)
}
