//! Arrays to the bytes of a tensor as kernels see it, and back.

use attnc::codegen::math::narrow::Narrow;
use attnc::ir::array::{Array, Data, Value};
use attnc_dsl::ast::{DType, Kind};

/// What any element may have to be aligned to.
const ALIGN: usize = 8;

/// The elements of a tensor in C order, aligned.
pub(crate) struct Elements {
    dtype: DType,
    /// They lie somewhere inside, where they are aligned.
    store: Vec<u8>,
    len: usize,
}

impl Elements {
    /// Zeros; none if memory does not suffice.
    pub(crate) fn zeros(dtype: DType, shape: &[usize]) -> Option<Elements> {
        let len = shape.iter().try_fold(size(dtype), |all, &it| all.checked_mul(it));
        let len = if shape.contains(&0) { 0 } else { len? };
        let mut store = Vec::new();
        store.try_reserve_exact(len.checked_add(ALIGN)?).ok()?;
        store.resize(len + ALIGN, 0);
        Some(Elements { dtype, store, len })
    }

    /// The elements of an array, converted to a dtype as the interpreter converts inputs.
    pub(crate) fn of(dtype: DType, array: &Array) -> Option<Elements> {
        let mut elements = Elements::zeros(dtype, &array.shape)?;
        for (at, place) in elements.bytes_mut().chunks_exact_mut(size(dtype)).enumerate() {
            encode(dtype, array.data.get(at), place);
        }
        Some(elements)
    }

    /// The dtype, in the words of the runtime.
    pub(crate) fn stored_as(&self) -> attnc_runtime::DType {
        attnc::package::dtype(self.dtype)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let start = self.store.as_ptr().align_offset(ALIGN);
        &self.store[start..start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.store.as_ptr().align_offset(ALIGN);
        &mut self.store[start..start + self.len]
    }

    /// The values of the elements.
    pub(crate) fn array(&self, shape: Vec<usize>) -> Array {
        let size = size(self.dtype);
        let mut data = Data::zeros(self.dtype.kind(), self.len / size);
        for (at, place) in self.bytes().chunks_exact(size).enumerate() {
            data.set(at, decode(self.dtype, place));
        }
        Array { shape, data }
    }
}

/// The bytes of one element.
fn size(dtype: DType) -> usize {
    match dtype {
        DType::F64 | DType::I64 => 8,
        DType::F32 | DType::I32 => 4,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        DType::F8E4M3 | DType::F8E5M2 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => 1,
    }
}

fn encode(dtype: DType, value: Value, place: &mut [u8]) {
    let real = match value {
        Value::Real(it) => it,
        Value::Int(it) => it as f64,
        Value::Bool(it) => f64::from(u8::from(it)),
    };
    let int = match value {
        Value::Real(it) => it as i64,
        Value::Int(it) => it,
        Value::Bool(it) => it.into(),
    };
    let (low, high) = dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
    let int = int.clamp(low, high);
    let narrow = |real| Narrow::of(dtype).map_or(0, |it| it.bits_of(real));
    match dtype {
        DType::F64 => place.copy_from_slice(&real.to_ne_bytes()),
        DType::F32 => place.copy_from_slice(&(real as f32).to_ne_bytes()),
        DType::F16 | DType::BF16 => place.copy_from_slice(&narrow(real).to_ne_bytes()),
        DType::F8E4M3 | DType::F8E5M2 => place[0] = narrow(real) as u8,
        DType::I64 => place.copy_from_slice(&int.to_ne_bytes()),
        DType::I32 => place.copy_from_slice(&(int as i32).to_ne_bytes()),
        DType::I16 => place.copy_from_slice(&(int as i16).to_ne_bytes()),
        DType::I8 | DType::U8 | DType::I4 => place[0] = int as u8,
        DType::Bool => place[0] = u8::from(real != 0.0),
    }
}

fn decode(dtype: DType, place: &[u8]) -> Value {
    let narrow = |bits| Value::Real(Narrow::of(dtype).map_or(0.0, |it| it.value_of(bits)));
    match dtype {
        DType::F64 => Value::Real(f64::from_ne_bytes(exactly(place))),
        DType::F32 => Value::Real(f32::from_ne_bytes(exactly(place)).into()),
        DType::F16 | DType::BF16 => narrow(u16::from_ne_bytes(exactly(place))),
        DType::F8E4M3 | DType::F8E5M2 => narrow(place[0].into()),
        DType::I64 => Value::Int(i64::from_ne_bytes(exactly(place))),
        DType::I32 => Value::Int(i32::from_ne_bytes(exactly(place)).into()),
        DType::I16 => Value::Int(i16::from_ne_bytes(exactly(place)).into()),
        DType::I8 | DType::I4 => Value::Int((place[0] as i8).into()),
        DType::U8 => Value::Int(place[0].into()),
        DType::Bool => Value::Bool(place[0] != 0),
    }
}

fn exactly<const N: usize>(place: &[u8]) -> [u8; N] {
    place.try_into().expect("elements are cut by their size")
}

/// What a tensor of that kind holds if nothing narrower is said.
pub(crate) fn widest(kind: Kind) -> DType {
    match kind {
        Kind::Int => DType::I64,
        Kind::Real => DType::F64,
        Kind::Bool => DType::Bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_holds_its_values() {
        let reals = [0.0, -1.5, 224.0, f64::NEG_INFINITY];
        let (ints, truths) = ([-8, -1, 0, 7], [true, false, false, true]);
        let array = |data| Array { shape: vec![4], data };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E5M2] {
            let it = array(Data::Real(reals.to_vec()));
            assert_eq!(Elements::of(dtype, &it).unwrap().array(vec![4]), it, "{dtype:?}");
        }
        for dtype in [DType::I64, DType::I32, DType::I16, DType::I8, DType::I4] {
            let it = array(Data::Int(ints.to_vec()));
            assert_eq!(Elements::of(dtype, &it).unwrap().array(vec![4]), it, "{dtype:?}");
        }
        let it = array(Data::Bool(truths.to_vec()));
        assert_eq!(Elements::of(DType::Bool, &it).unwrap().array(vec![4]), it);
    }

    #[test]
    fn conversions_are_those_of_inputs() {
        let array = Array { shape: vec![3], data: Data::Int(vec![-3, 300, 2]) };
        let as_dtype = |dtype| Elements::of(dtype, &array).unwrap().array(vec![3]).data;
        assert_eq!(as_dtype(DType::U8), Data::Int(vec![0, 255, 2]));
        assert_eq!(as_dtype(DType::I4), Data::Int(vec![-3, 7, 2]));
        assert_eq!(as_dtype(DType::BF16), Data::Real(vec![-3.0, 300.0, 2.0]));
        assert_eq!(as_dtype(DType::Bool), Data::Bool(vec![true, true, true]));
    }

    #[test]
    fn what_memory_cannot_hold_is_refused() {
        assert!(Elements::zeros(DType::F32, &[usize::MAX, 2]).is_none());
        assert!(Elements::zeros(DType::F32, &[usize::MAX, 2, 0]).is_some());
    }
}
