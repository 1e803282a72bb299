//! Kernels compiled into memory, called with the arrays of the interpreter.

use attnc::Backend;
use attnc::codegen::math::narrow::Narrow;
use attnc::driver::jit;
use attnc::ir::array::{Array, Data, Value};
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc_dsl::ast::DType;
use attnc_runtime::{Call as Running, Kernel, Scalar, TensorView, TensorViewMut, Workspace};
use indexmap::IndexMap;

/// How tensors lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In C order, without gaps.
    Dense,
    /// With gaps around every row and so many elements from one to the next. The gaps hold NaN, or what
    /// is no sensible integer, and must be as they were after the call.
    Padded(usize),
}

/// What the gaps hold: NaN for floats, −1 for integers.
const POISON: u8 = 0xFF;

/// The back ends that are built in.
pub fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|it| it.is_built_in())
}

/// The outputs of a cascade, by name, as the machine code of a back end computes them.
pub fn run(
    backend: Backend,
    cascade: &Cascade,
    call: &Call,
    placement: Placement,
) -> Result<IndexMap<String, Array>, String> {
    call_kernel(&jit(cascade, backend).map_err(|it| it.to_string())?, cascade, call, placement)
}

/// The outputs of the kernel that a cascade was compiled to.
pub fn call_kernel(
    kernel: &Kernel,
    cascade: &Cascade,
    call: &Call,
    placement: Placement,
) -> Result<IndexMap<String, Array>, String> {
    call_on(kernel, (&mut Workspace::new(), usize::MAX), cascade, call, placement)
}

/// The same on so many threads at most.
pub fn call_kernel_on(
    threads: usize,
    kernel: &Kernel,
    cascade: &Cascade,
    call: &Call,
    placement: Placement,
) -> Result<IndexMap<String, Array>, String> {
    call_on(kernel, (&mut Workspace::new(), threads), cascade, call, placement)
}

/// The same in a workspace, on so many threads at most.
pub fn call_on(
    kernel: &Kernel,
    (workspace, threads): (&mut Workspace, usize),
    cascade: &Cascade,
    call: &Call,
    placement: Placement,
) -> Result<IndexMap<String, Array>, String> {
    let inputs: Vec<_> = call
        .inputs
        .iter()
        .map(|(name, it)| {
            let dtype = dtype_of(cascade, name);
            let mut memory = Memory::new(dtype, &it.shape, placement);
            memory.write(&encoded(dtype, it));
            (name, memory)
        })
        .collect();
    let shapes = given(kernel.call(), &inputs, call)?.shapes().map_err(|it| it.to_string())?;
    let mut outputs: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (name, Memory::new(dtype_of(cascade, name), shape, placement)))
        .collect();
    let mut running = given(kernel.call_in(workspace), &inputs, call)?;
    for (name, memory) in &mut outputs {
        let (data, dtype) = (memory.first_mut(), memory.dtype());
        // SAFETY: the memory has room for every element of the view, outlives it, and is its alone.
        let view = unsafe { TensorViewMut::from_raw(data, dtype, &memory.shape, &memory.strides) };
        running = running.output(name, view.map_err(|it| it.to_string())?);
    }
    running.threads(threads).run().map_err(|it| it.to_string())?;
    outputs.into_iter().map(|(name, memory)| Ok((name.to_owned(), memory.read(name)?))).collect()
}

/// The call with its inputs and parameters.
fn given<'a>(
    mut running: Running<'a>,
    inputs: &'a [(&String, Memory)],
    call: &Call,
) -> Result<Running<'a>, String> {
    for (name, memory) in inputs {
        // SAFETY: the memory has room for every element of the view and outlives it.
        let view = unsafe {
            TensorView::from_raw(memory.first().cast_mut(), memory.dtype(), &memory.shape, &memory.strides)
        };
        running = running.input(name, view.map_err(|it| it.to_string())?);
    }
    Ok(call.params.iter().fold(running, |running, (name, &it)| running.param(name, scalar(it))))
}

/// One tensor in memory of its own.
struct Memory {
    dtype: DType,
    shape: Vec<usize>,
    /// In elements.
    strides: Vec<isize>,
    first: usize,
    bytes: Vec<u8>,
}

impl Memory {
    fn new(dtype: DType, shape: &[usize], placement: Placement) -> Memory {
        let (mut stride, gap) = match placement {
            Placement::Dense => (1, 0),
            Placement::Padded(apart) => (apart, 1),
        };
        let first = 3 * gap;
        let mut strides = vec![0; shape.len()];
        for (at, &extent) in shape.iter().enumerate().rev() {
            strides[at] = isize::try_from(stride).expect("tensors of tests are small");
            stride *= extent + gap;
        }
        // There is room even for no elements, so that the bytes are aligned.
        let room = (first + stride + 2) * attnc::package::dtype(dtype).size();
        Memory { dtype, shape: shape.to_vec(), strides, first, bytes: vec![POISON; room.max(16)] }
    }

    fn dtype(&self) -> attnc_runtime::DType {
        attnc::package::dtype(self.dtype)
    }

    fn first(&self) -> *const u8 {
        self.bytes[self.first * self.dtype().size()..].as_ptr()
    }

    fn first_mut(&mut self) -> *mut u8 {
        let first = self.first * self.dtype().size();
        self.bytes[first..].as_mut_ptr()
    }

    /// Where the elements lie, in C order, in bytes.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![self.first];
        for (&extent, &stride) in self.shape.iter().zip(&self.strides) {
            places = places
                .iter()
                .flat_map(|at| (0..extent).map(move |i| at + i * stride.unsigned_abs()))
                .collect();
        }
        places.iter().map(|it| it * self.dtype().size()).collect()
    }

    fn write(&mut self, elements: &[u8]) {
        let size = self.dtype().size();
        for (at, element) in self.places().into_iter().zip(elements.chunks(size)) {
            self.bytes[at..at + size].copy_from_slice(element);
        }
    }

    /// The elements, if nothing was written beside them.
    fn read(mut self, name: &str) -> Result<Array, String> {
        let size = self.dtype().size();
        let mut elements = Vec::new();
        for at in self.places() {
            elements.extend_from_slice(&self.bytes[at..at + size]);
            self.bytes[at..at + size].fill(POISON);
        }
        match self.bytes.iter().all(|&it| it == POISON) {
            true => Ok(Array { shape: self.shape, data: decoded(self.dtype, &elements) }),
            false => Err(format!("`{name}`: the kernel wrote beside its elements")),
        }
    }
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

/// The elements as the kernel sees them.
fn encoded(dtype: DType, array: &Array) -> Vec<u8> {
    let mut bytes = Vec::new();
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
