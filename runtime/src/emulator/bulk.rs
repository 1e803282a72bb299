//! Copies of boxes of tensors, between global and shared memory.

use crate::tensor_map::TensorMap;

use super::fault::{Done, Problem};
use super::race::Access;

/// A copy to shared memory that is under way. What it copies was read when it started.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Pieces with their addresses in shared memory.
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
    /// The barrier that it tells, and whether that counts as an arrival, not as bytes.
    pub(super) barrier: u64,
    pub(super) arrives: bool,
    /// How it writes, but for the period, which is that in which it ends.
    pub(super) access: Access,
}

/// The groups of copies from shared memory that a warp has started.
#[derive(Debug, Default)]
pub(super) struct Stores {
    /// Whether the open group has any.
    pub(super) open: bool,
    /// The groups that are closed, and those of them that were waited for.
    pub(super) closed: u32,
    pub(super) waited: u32,
}

/// A row of a box, by elements: before the tensor, inside of it, and beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Bytes from the start of the box.
    pub(super) offset: u64,
    /// The address of the first element inside.
    pub(super) address: u64,
    pub(super) before: u64,
    pub(super) inside: u64,
}

/// The rows of the box that starts at a point.
pub(super) fn runs(map: &TensorMap, at: &[i64]) -> Vec<Run> {
    let length = i64::from(map.extents[0]);
    let element = i64::from(map.element);
    let rows: i64 = map.extents[1..].iter().map(|it| i64::from(*it)).product();
    let first = at[0].max(0);
    let end = (at[0] + length).min(map.shape[0].cast_signed());
    (0..rows)
        .map(|row| {
            let (mut rest, mut address, mut outside) = (row, map.address.cast_signed(), end <= first);
            let outer = map.shape.iter().zip(&map.extents).zip(at).skip(1).zip(&map.strides);
            for (((shape, extent), at), stride) in outer {
                let coordinate = at + rest % i64::from(*extent);
                rest /= i64::from(*extent);
                outside |= coordinate < 0 || coordinate >= shape.cast_signed();
                address += coordinate * stride.cast_signed();
            }
            let inside = if outside { 0 } else { end - first };
            Run {
                offset: (row * length * element).cast_unsigned(),
                address: (address + first * element).cast_unsigned(),
                before: if outside { 0 } else { first - at[0] }.cast_unsigned(),
                inside: inside.cast_unsigned(),
            }
        })
        .collect()
}

/// The map that bytes are.
pub(super) fn decode(bytes: &[u8]) -> Done<TensorMap> {
    let map = bytes.try_into().ok().and_then(TensorMap::from_bytes);
    let map = map.ok_or_else(|| Problem::Operand("what it points to is no map of a tensor".to_owned()))?;
    map.check().map_err(|why| Problem::Operand(format!("the map of the tensor: {why}")))?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_map::Swizzle;

    #[test]
    fn rows_are_cut_where_the_tensor_ends() {
        let map = TensorMap {
            address: 0x1000,
            element: 2,
            shape: vec![20, 3],
            strides: vec![64],
            extents: vec![16, 2],
            swizzle: Swizzle::None,
        };
        let run = |offset, address, before, inside| Run { offset, address, before, inside };
        assert_eq!(runs(&map, &[0, 0]), [run(0, 0x1000, 0, 16), run(32, 0x1040, 0, 16)]);
        assert_eq!(runs(&map, &[16, 2]), [run(0, 0x10a0, 0, 4), run(32, 0x10e0, 0, 0)]);
        assert_eq!(runs(&map, &[-4, 1]), [run(0, 0x1040, 4, 12), run(32, 0x1080, 4, 12)]);
    }
}
