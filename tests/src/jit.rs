//! Kernels compiled into memory, called with the arrays of the interpreter.

use attnc::codegen::math::narrow::Narrow;
use attnc::driver::jit;
use attnc::ir::array::{Array, Data, Value};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc_dsl::ast::DType;
use attnc_runtime::{Scalar, TensorView, TensorViewMut};
use indexmap::IndexMap;

/// The outputs of a cascade, by name, as machine code computes them.
pub fn run(cascade: &Cascade, call: &Call) -> Result<IndexMap<String, Array>, String> {
    let kernel = jit(cascade).map_err(|it| it.to_string())?;
    let inputs: Vec<_> = call.inputs.iter().map(|(name, it)| (name, dtype_of(cascade, name), it)).collect();
    let inputs: Vec<_> =
        inputs.into_iter().map(|(name, dtype, it)| (name, dtype, encoded(dtype, it), it)).collect();
    let begin = || {
        let mut running = kernel.call();
        for (name, dtype, bytes, array) in &inputs {
            let view = TensorView::from_bytes(attnc::package::dtype(*dtype), bytes, &array.shape);
            running = running.input(name, view.map_err(|it| it.to_string())?);
        }
        Ok::<_, String>(
            call.params.iter().fold(running, |running, (name, &it)| running.param(name, scalar(it))),
        )
    };
    let shapes = begin()?.shapes().map_err(|it| it.to_string())?;
    let mut outputs: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (name, dtype_of(cascade, name), shape))
        .map(|(name, dtype, shape)| {
            (name, dtype, encoded(dtype, &Array::zeros(dtype.kind(), shape.to_vec())), shape)
        })
        .collect();
    let mut running = begin()?;
    for (name, dtype, bytes, shape) in &mut outputs {
        let view = TensorViewMut::from_bytes(attnc::package::dtype(*dtype), bytes, shape);
        running = running.output(name, view.map_err(|it| it.to_string())?);
    }
    running.run().map_err(|it| it.to_string())?;
    let output = |(name, dtype, bytes, shape): (&str, DType, Vec<u8>, &[usize])| {
        (name.to_owned(), Array { shape: shape.to_vec(), data: decoded(dtype, &bytes) })
    };
    Ok(outputs.into_iter().map(output).collect())
}

fn dtype_of(cascade: &Cascade, name: &str) -> DType {
    let found = cascade.tensors.iter().find(|(_, it)| it.name == name);
    found.and_then(|(_, it)| it.dtype).expect("what callers see is declared with a dtype")
}

fn scalar(value: Value) -> Scalar {
    match value {
        Value::Real(it) => Scalar::Real(it),
        Value::Int(it) => Scalar::Int(it),
        Value::Bool(it) => Scalar::Bool(it),
    }
}

/// The elements as the kernel sees them. There is room even for none, so that the bytes are aligned.
fn encoded(dtype: DType, array: &Array) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + 8 * array.data.len());
    for at in 0..array.data.len() {
        match (dtype, array.data.get(at)) {
            (DType::F64, Value::Real(it)) => bytes.extend(it.to_le_bytes()),
            (DType::F32, Value::Real(it)) => bytes.extend((it as f32).to_le_bytes()),
            (DType::F32, Value::Int(it)) => bytes.extend((it as f32).to_le_bytes()),
            (DType::I64, Value::Int(it)) => bytes.extend(it.to_le_bytes()),
            (DType::I32, Value::Int(it)) => bytes.extend((it as i32).to_le_bytes()),
            (DType::I16, Value::Int(it)) => bytes.extend((it as i16).to_le_bytes()),
            (DType::I8 | DType::I4 | DType::U8, Value::Int(it)) => bytes.push(it as u8),
            (DType::Bool, Value::Bool(it)) => bytes.push(it.into()),
            (dtype, Value::Real(it)) => {
                let narrow = Narrow::of(dtype).unwrap_or_else(|| panic!("{} of a real", dtype.name()));
                bytes.extend_from_slice(
                    &narrow.bits_of(it).to_le_bytes()[..attnc::package::dtype(dtype).size()],
                );
            }
            (dtype, other) => panic!("{} of {other:?}", dtype.name()),
        }
    }
    bytes
}

fn decoded(dtype: DType, bytes: &[u8]) -> Data {
    macro_rules! elements {
        ($kind:ident, $type:ty, $widened:expr) => {
            Data::$kind(bytes.as_chunks().0.iter().map(|it| $widened(<$type>::from_le_bytes(*it))).collect())
        };
    }
    let narrow = |bits: u16| Narrow::of(dtype).map_or(f64::NAN, |it| it.value_of(bits));
    match dtype {
        DType::F64 => elements!(Real, f64, f64::from),
        DType::F32 => elements!(Real, f32, f64::from),
        DType::F16 | DType::BF16 => elements!(Real, u16, narrow),
        DType::F8E4M3 | DType::F8E5M2 => Data::Real(bytes.iter().map(|&it| narrow(it.into())).collect()),
        DType::I64 => elements!(Int, i64, i64::from),
        DType::I32 => elements!(Int, i32, i64::from),
        DType::I16 => elements!(Int, i16, i64::from),
        DType::I8 | DType::I4 => elements!(Int, i8, i64::from),
        DType::U8 => elements!(Int, u8, i64::from),
        DType::Bool => Data::Bool(bytes.iter().map(|&it| it != 0).collect()),
    }
}
