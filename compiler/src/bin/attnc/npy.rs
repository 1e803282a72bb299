//! `.npy` files to arrays and back.
//!
//! Either byte order and either order of elements is read; C order and the machine's byte order are written.

use std::io;
use std::path::Path;

use attnc::ir::array::{Array, Data};
use attnc_dsl::ast::{DType, Kind};
use half::f16;
use npyz::{AutoSerialize, Deserialize, NpyFile, NpyHeader, Order, TypeChar, WriterBuilder};

/// What a file holds.
pub(crate) struct Npy {
    pub(crate) array: Array,
    /// The type of its elements, in the words of the language as far as it has them.
    pub(crate) dtype: String,
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Npy, String> {
    let bytes = std::fs::read(path).map_err(|it| it.to_string())?;
    let mut rest = bytes.as_slice();
    let header = NpyHeader::from_reader(&mut rest).map_err(|it| format!("it is no .npy file: {it}"))?;
    let (dtype, size) = element(&header)?;
    let shape: Option<Vec<usize>> = header.shape().iter().map(|&it| usize::try_from(it).ok()).collect();
    // Extents beyond a 0 may be anything.
    let sizes = || header.shape().iter().try_fold(size, |all, &it| all.checked_mul(it));
    let needed = if header.shape().contains(&0) { Some(0) } else { sizes() };
    let (Some(shape), Some(needed)) = (shape, needed) else {
        return Err(format!("its shape {:?} is too large", header.shape()));
    };
    if rest.len() as u64 != needed {
        let found = rest.len();
        return Err(format!(
            "it holds {found} bytes of data, but its shape {shape:?} of {dtype} takes {needed}"
        ));
    }
    let order = header.order();
    let data = data(header, rest).map_err(|it| it.to_string())?;
    let data = match order {
        Order::C => data,
        Order::Fortran => match data {
            Data::Real(it) => Data::Real(in_c_order(&it, &shape)),
            Data::Int(it) => Data::Int(in_c_order(&it, &shape)),
            Data::Bool(it) => Data::Bool(in_c_order(&it, &shape)),
        },
    };
    Ok(Npy { array: Array { shape, data }, dtype })
}

/// The name and the bytes of the type of the elements, if it is one of the simple types.
fn element(header: &NpyHeader) -> Result<(String, u64), String> {
    let npyz::DType::Plain(it) = header.dtype() else { return Err("its elements are structures".to_owned()) };
    let letters =
        [(TypeChar::Float, 'f'), (TypeChar::Int, 'i'), (TypeChar::Uint, 'u'), (TypeChar::Bool, 'b')];
    match letters.into_iter().find(|(char, _)| *char == it.type_char()) {
        Some((_, 'b')) => Ok(("bool".to_owned(), 1)),
        Some((_, letter)) => Ok((format!("{letter}{}", 8 * it.size_field()), it.size_field())),
        None => Err(format!("its elements are of type {it}, expected floats, integers or bools")),
    }
}

fn data(header: NpyHeader, bytes: &[u8]) -> io::Result<Data> {
    let npyz::DType::Plain(it) = header.dtype() else { return Err(io::ErrorKind::Unsupported.into()) };
    let file = NpyFile::with_header(header, bytes);
    let too_large = |it: u64| io::Error::other(format!("it holds {it}, which is beyond 2^63 - 1"));
    Ok(match (it.type_char(), it.size_field()) {
        (TypeChar::Float, 8) => Data::Real(file.into_vec()?),
        (TypeChar::Float, 4) => Data::Real(vec(file, |it: f32| it.into())?),
        (TypeChar::Float, 2) => Data::Real(vec(file, |it: f16| it.into())?),
        (TypeChar::Int, 8) => Data::Int(file.into_vec()?),
        (TypeChar::Int, 4) => Data::Int(vec(file, |it: i32| it.into())?),
        (TypeChar::Int, 2) => Data::Int(vec(file, |it: i16| it.into())?),
        (TypeChar::Int, 1) => Data::Int(vec(file, |it: i8| it.into())?),
        (TypeChar::Uint, 8) => {
            let wide: Vec<u64> = file.into_vec()?;
            Data::Int(
                wide.into_iter()
                    .map(|it| it.try_into().map_err(|_| too_large(it)))
                    .collect::<Result<_, _>>()?,
            )
        }
        (TypeChar::Uint, 4) => Data::Int(vec(file, |it: u32| it.into())?),
        (TypeChar::Uint, 2) => Data::Int(vec(file, |it: u16| it.into())?),
        (TypeChar::Uint, 1) => Data::Int(vec(file, |it: u8| it.into())?),
        (TypeChar::Bool, _) => Data::Bool(file.into_vec()?),
        _ => return Err(io::Error::other(format!("its elements are of type {it}, which cannot be read"))),
    })
}

fn vec<T: Deserialize, U>(file: NpyFile<&[u8]>, convert: impl Fn(T) -> U) -> io::Result<Vec<U>> {
    Ok(file.into_vec()?.into_iter().map(convert).collect())
}

/// Elements that lie first dimension fastest, last dimension fastest.
fn in_c_order<T: Copy>(data: &[T], shape: &[usize]) -> Vec<T> {
    let mut sorted = Vec::with_capacity(data.len());
    for place in 0..data.len() {
        let (mut rest, mut at, mut stride) = (place, 0, data.len());
        for &extent in shape.iter().rev() {
            stride /= extent;
            at += rest % extent * stride;
            rest /= extent;
        }
        sorted.push(data[at]);
    }
    sorted
}

/// What a dtype is written as: itself, or, where the format lacks it, the next one that holds all its values.
pub(crate) fn written_as(dtype: DType) -> DType {
    match dtype {
        DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => DType::F32,
        DType::I4 => DType::I8,
        DType::F64
        | DType::F32
        | DType::F16
        | DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::Bool => dtype,
    }
}

/// The bytes of a file with these elements, which a tensor of that dtype holds.
pub(crate) fn bytes(array: &Array, dtype: DType) -> io::Result<Vec<u8>> {
    let shape = array.shape.as_slice();
    match (&array.data, written_as(dtype)) {
        (Data::Real(it), DType::F32) => file(shape, it.iter().map(|&it| it as f32)),
        (Data::Real(it), DType::F16) => file(shape, it.iter().map(|&it| f16::from_f64(it))),
        (Data::Real(it), _) => file(shape, it.iter().copied()),
        (Data::Int(it), DType::I32) => file(shape, it.iter().map(|&it| it as i32)),
        (Data::Int(it), DType::I16) => file(shape, it.iter().map(|&it| it as i16)),
        (Data::Int(it), DType::I8) => file(shape, it.iter().map(|&it| it as i8)),
        (Data::Int(it), DType::U8) => file(shape, it.iter().map(|&it| it as u8)),
        (Data::Int(it), _) => file(shape, it.iter().copied()),
        (Data::Bool(it), _) => file(shape, it.iter().copied()),
    }
}

fn file<T: AutoSerialize>(shape: &[usize], elements: impl Iterator<Item = T>) -> io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|&it| it as u64).collect();
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(elements)?;
    writer.finish()?;
    Ok(bytes)
}

/// A file of that type may be given for an input of that dtype: a float never for an integer or a bool.
pub(crate) fn fits(found: &Data, declared: DType) -> bool {
    declared.kind() == Kind::Real || found.kind() != Kind::Real
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(array: &Array, dtype: DType) -> Npy {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, bytes(array, dtype).unwrap()).unwrap();
        read(&path).unwrap()
    }

    fn read_text(header: &str, data: &[u8]) -> Result<Npy, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let mut all = b"\x93NUMPY\x01\x00".to_vec();
        all.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        all.extend(header.as_bytes());
        all.extend(data);
        std::fs::write(&path, all).unwrap();
        read(&path)
    }

    #[test]
    fn every_dtype_survives() {
        let real = Array { shape: vec![2, 2], data: Data::Real(vec![-1.5, 0.25, f64::INFINITY, 240.0]) };
        let int = Array { shape: vec![3], data: Data::Int(vec![0, 1, 7]) };
        let truth = Array { shape: vec![], data: Data::Bool(vec![true]) };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
            let back = round_trip(&real, dtype);
            assert_eq!((back.array, back.dtype.as_str()), (real.clone(), written_as(dtype).name()));
        }
        for dtype in [DType::I64, DType::I32, DType::I16, DType::I8, DType::U8, DType::I4] {
            let back = round_trip(&int, dtype);
            assert_eq!((back.array, back.dtype.as_str()), (int.clone(), written_as(dtype).name()));
        }
        assert_eq!(round_trip(&truth, DType::Bool).array, truth);
    }

    #[test]
    fn foreign_orders_are_read() {
        let header = "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let npy = read_text(header, &[0, 0, 0, 10, 0, 1, 0, 11, 0, 2, 1, 12]).unwrap();
        assert_eq!((npy.array.shape, npy.dtype.as_str()), (vec![2, 3], "u16"));
        assert_eq!(npy.array.data, Data::Int(vec![0, 1, 2, 10, 11, 268]));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let message = |descr: &str, shape: &str, data: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            read_text(&header, data).err().unwrap_or_default()
        };
        assert_eq!(message("<f4", "(2, 3)", &[0; 24]), "");
        assert!(message("<f4", "(2, 3)", &[0; 20]).contains("holds 20 bytes of data"));
        assert!(message("<f4", "(4611686018427387904, 4)", &[]).contains("too large"));
        assert!(message("<c8", "(1,)", &[0; 8]).contains("<c8"));
        assert!(message("<f16", "(1,)", &[0; 16]).contains("<f16"));
        assert!(message("<u8", "(1,)", &[255; 8]).contains("18446744073709551615"));
        assert!(read(Path::new("nowhere.npy")).is_err());
    }
}
