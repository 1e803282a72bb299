//! Views of tensors: data, dtype, shape and strides, checked once so that no kernel reads outside.
//!
//! A view borrows its data, its shape and its strides; making one allocates nothing.

use std::marker::PhantomData;

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};

/// A tensor that a kernel reads.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    raw: Raw<'a>,
    data: PhantomData<&'a [u8]>,
}

/// A tensor that a kernel writes.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    raw: Raw<'a>,
    data: PhantomData<&'a mut [u8]>,
}

/// What a kernel is told of a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    pub(crate) data: *const u8,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
    strides: Option<&'a [isize]>,
}

// SAFETY: the data is borrowed shared for the life of the view.
unsafe impl Send for TensorView<'_> {}
// SAFETY: as above.
unsafe impl Sync for TensorView<'_> {}
// SAFETY: the data is borrowed exclusively for the life of the view.
unsafe impl Send for TensorViewMut<'_> {}
// SAFETY: a shared reference to the view gives no access to the data.
unsafe impl Sync for TensorViewMut<'_> {}

macro_rules! constructors {
    ($slice:ty, $bytes:ty, $pointer:ty, $as_ptr:ident) => {
        /// The whole slice in C order.
        pub fn new<T: Element>(data: $slice, shape: &'a [usize]) -> Result<Self> {
            let raw = Raw { data: data.$as_ptr().cast(), dtype: T::DTYPE, shape, strides: None };
            raw.fills(data.len())?;
            Ok(Self { raw, data: PhantomData })
        }

        /// Part of the slice: coordinate 0 of all dimensions is element `first`, and a step along
        /// dimension `i` is `strides[i]` elements, of either sign; 0 repeats one.
        pub fn strided<T: Element>(
            data: $slice,
            first: usize,
            shape: &'a [usize],
            strides: &'a [isize],
        ) -> Result<Self> {
            let raw = Raw { data: data.$as_ptr().cast(), dtype: T::DTYPE, shape, strides: Some(strides) };
            Ok(Self { raw: raw.starting_at(first, data.len())?, data: PhantomData })
        }

        /// All the bytes in C order, as elements of a dtype that is known at run time.
        pub fn from_bytes(dtype: DType, bytes: $bytes, shape: &'a [usize]) -> Result<Self> {
            let raw = Raw { data: bytes.$as_ptr().cast(), dtype, shape, strides: None };
            if !raw.data.addr().is_multiple_of(dtype.size()) {
                return Err(Error::Misaligned { what: "a view".into(), dtype });
            }
            match bytes.len() % dtype.size() {
                0 => raw.fills(bytes.len() / dtype.size())?,
                _ => return Err(raw.beyond(bytes.len() / dtype.size())),
            }
            Ok(Self { raw, data: PhantomData })
        }

        /// Part of the bytes, as elements of a dtype that is known at run time: which one, is said as for `strided`.
        pub fn strided_bytes(
            dtype: DType,
            bytes: $bytes,
            first: usize,
            shape: &'a [usize],
            strides: &'a [isize],
        ) -> Result<Self> {
            let raw = Raw { data: bytes.$as_ptr().cast(), dtype, shape, strides: Some(strides) };
            if !raw.data.addr().is_multiple_of(dtype.size()) {
                return Err(Error::Misaligned { what: "a view".into(), dtype });
            }
            Ok(Self { raw: raw.starting_at(first, bytes.len() / dtype.size())?, data: PhantomData })
        }

        /// What the pointer leads to, with a stride in elements for each dimension.
        ///
        /// # Safety
        /// For as long as the view lives, each of its elements is memory that may be used as the
        /// view uses it, and holds a valid value if the view reads it.
        pub unsafe fn from_raw(
            data: $pointer,
            dtype: DType,
            shape: &'a [usize],
            strides: &'a [isize],
        ) -> Result<Self> {
            let raw = Raw { data: data.cast_const(), dtype, shape, strides: Some(strides) };
            if strides.len() != shape.len() || shape.iter().any(|&it| i64::try_from(it).is_err()) {
                return Err(raw.beyond(0));
            }
            Ok(Self { raw, data: PhantomData })
        }

        /// What its elements are.
        pub fn dtype(&self) -> DType {
            self.raw.dtype
        }

        /// The extents of its dimensions.
        pub fn shape(&self) -> &'a [usize] {
            self.raw.shape
        }

        pub(crate) fn raw(&self) -> Raw<'a> {
            self.raw
        }
    };
}

impl<'a> TensorView<'a> {
    constructors!(&'a [T], &'a [u8], *mut u8, as_ptr);
}

impl<'a> TensorViewMut<'a> {
    constructors!(&'a mut [T], &'a mut [u8], *mut u8, as_mut_ptr);
}

impl<'a> Raw<'a> {
    /// What lies at an address of another machine, in C order unless strides are given.
    pub(crate) fn elsewhere(
        address: u64,
        dtype: DType,
        shape: &'a [usize],
        strides: Option<&'a [isize]>,
    ) -> Result<Raw<'a>> {
        let address = usize::try_from(address)
            .map_err(|_| Error::TooLarge { what: format!("the address {address:#x}") })?;
        let raw = Raw { data: std::ptr::without_provenance(address), dtype, shape, strides };
        let paired = strides.is_none_or(|it| it.len() == shape.len());
        if paired && shape.iter().all(|&it| i64::try_from(it).is_ok()) { Ok(raw) } else { Err(raw.beyond(0)) }
    }
}

impl Raw<'_> {
    /// Writes the stride of each dimension, in elements.
    pub(crate) fn write_strides(&self, to: &mut [u64]) {
        match self.strides {
            Some(strides) => to.iter_mut().zip(strides).for_each(|(to, &it)| *to = it as i64 as u64),
            None => {
                let mut stride = 1u64;
                for (to, &extent) in to.iter_mut().zip(self.shape).rev() {
                    *to = stride;
                    stride = stride.wrapping_mul(extent as u64);
                }
            }
        }
    }

    /// Checks that a view in C order has `len` elements.
    fn fills(&self, len: usize) -> Result<()> {
        let count = self.shape.iter().try_fold(1usize, |count, &it| count.checked_mul(it));
        let count = if self.shape.contains(&0) { Some(0) } else { count };
        let small = self.shape.iter().all(|&it| i64::try_from(it).is_ok());
        if small && count == Some(len) { Ok(()) } else { Err(self.beyond(len)) }
    }

    /// The view with its data at element `first` of `len`, if all its elements are among them.
    fn starting_at(self, first: usize, len: usize) -> Result<Self> {
        let strides = self.strides.unwrap_or_default();
        let small = self.shape.iter().all(|&it| i64::try_from(it).is_ok());
        if strides.len() != self.shape.len() || !small {
            return Err(self.beyond(len));
        }
        if self.shape.contains(&0) {
            return Ok(self);
        }
        // No overflow below 2^60 dimensions: each product is less than 2^126.
        let (mut low, mut high) = (first as i128, first as i128);
        for (&extent, &stride) in self.shape.iter().zip(strides) {
            let reach = (extent as i128 - 1) * stride as i128;
            let (low_more, high_more) = (low.checked_add(reach.min(0)), high.checked_add(reach.max(0)));
            (low, high) = low_more.zip(high_more).ok_or_else(|| self.beyond(len))?;
        }
        if low < 0 || high >= len as i128 {
            return Err(self.beyond(len));
        }
        Ok(Raw { data: self.data.wrapping_add(first * self.dtype.size()), ..self })
    }

    fn beyond(&self, len: usize) -> Error {
        Error::View { shape: self.shape.to_vec(), strides: self.strides.map(<[_]>::to_vec), len }
    }
}
