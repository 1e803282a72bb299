//! Back ends by name, and what they make of a call.

use attnc::codegen;
use attnc::driver;
use attnc::ir::array::Value;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::{self, Call};
use attnc::schedule::Mapping;
use attnc_dsl::ast::DType;
use attnc_runtime::{Kernel, Scalar, TensorView, TensorViewMut};
use clap::ValueEnum;

use crate::elements::{Elements, widest};
use crate::exit::{Outcome, Stop};
use crate::tensors::Output;

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The reference interpreter, in f64
    Interp,
    /// Machine code by Cranelift
    Cranelift,
    /// Machine code by LLVM
    Llvm,
    /// PTX, emulated
    PtxEmu,
    /// PTX on a GPU
    Cuda,
}

/// Who generates code.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Generator {
    /// Cranelift
    Cranelift,
    /// LLVM
    Llvm,
    /// PTX for NVIDIA GPUs
    Ptx,
}

impl Generator {
    /// The back end of that name, if there is one.
    pub(crate) fn built_in(self) -> Outcome<codegen::Backend> {
        match self {
            Generator::Cranelift => Ok(codegen::Backend::Cranelift),
            Generator::Llvm => Ok(codegen::Backend::Llvm),
            Generator::Ptx => Err(Stop::refused(
                "this attnc is built without the back end `ptx`; `cranelift` compiles any spec for CPUs",
            )),
        }
    }
}

impl Backend {
    /// Those that compile and are built in.
    pub(crate) fn compiling() -> Vec<Backend> {
        let all =
            [(Backend::Cranelift, codegen::Backend::Cranelift), (Backend::Llvm, codegen::Backend::Llvm)];
        all.into_iter().filter(|(_, it)| it.is_built_in()).map(|(it, _)| it).collect()
    }

    /// Who generates its code; of those that generate none, who would by default.
    pub(crate) fn generator(self) -> codegen::Backend {
        match self {
            Backend::Llvm => codegen::Backend::Llvm,
            Backend::Cranelift | Backend::Interp | Backend::PtxEmu | Backend::Cuda => {
                codegen::Backend::Cranelift
            }
        }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
    }
}

/// A kernel that is ready to be called.
pub(crate) enum Engine<'a> {
    Interp(&'a Cascade),
    Compiled(&'a Cascade, Box<Kernel>),
}

impl Engine<'_> {
    pub(crate) fn new<'a>(backend: Backend, cascade: &'a Cascade, mapping: &Mapping) -> Outcome<Engine<'a>> {
        match backend {
            Backend::Interp => Ok(Engine::Interp(cascade)),
            Backend::Cranelift => Engine::compiled(codegen::Backend::Cranelift, cascade, mapping),
            Backend::Llvm => Engine::compiled(codegen::Backend::Llvm, cascade, mapping),
            Backend::PtxEmu | Backend::Cuda => {
                let compiling = Backend::compiling().into_iter().map(|it| format!(" and `{}`", it.name()));
                Err(Stop::refused(format!(
                    "this attnc is built without the back end `{}`, only with `interp`{}",
                    backend.name(),
                    compiling.collect::<String>()
                )))
            }
        }
    }

    fn compiled<'a>(
        backend: codegen::Backend,
        cascade: &'a Cascade,
        mapping: &Mapping,
    ) -> Outcome<Engine<'a>> {
        let kernel = driver::jit_by(cascade, mapping, backend).map_err(Stop::codegen)?;
        Ok(Engine::Compiled(cascade, Box::new(kernel)))
    }

    /// Computes the outputs, on at most that many threads, or says what is wrong with the call.
    pub(crate) fn run(&self, call: &Call, threads: Option<usize>) -> Result<Vec<Output>, String> {
        match self {
            Engine::Interp(cascade) => interpret(cascade, call),
            Engine::Compiled(cascade, kernel) => execute(cascade, kernel, call, threads),
        }
    }
}

/// The interpreter writes the widest dtype of each kind; it needs one thread.
fn interpret(cascade: &Cascade, call: &Call) -> Result<Vec<Output>, String> {
    let arrays = interp::cascade::run(cascade, call).map_err(|it| it.to_string())?;
    let outputs =
        arrays.into_iter().map(|(name, array)| Output { name, dtype: widest(array.data.kind()), array });
    Ok(outputs.collect())
}

/// A compiled kernel writes what its outputs are declared as.
fn execute(
    cascade: &Cascade,
    kernel: &Kernel,
    call: &Call,
    threads: Option<usize>,
) -> Result<Vec<Output>, String> {
    let too_large = |name: &str| format!("`{name}` does not fit into memory");
    let mut inputs = Vec::new();
    for (name, array) in &call.inputs {
        let elements = Elements::of(dtype_of(cascade, name), array).ok_or_else(|| too_large(name))?;
        inputs.push((name, elements, array.shape.as_slice()));
    }
    let begin = || {
        let mut running = kernel.call();
        for (name, elements, shape) in &inputs {
            let view = TensorView::from_bytes(elements.stored_as(), elements.bytes(), shape);
            running = running.input(name, view.map_err(|it| it.to_string())?);
        }
        Ok::<_, String>(
            call.params.iter().fold(running, |running, (name, &value)| running.param(name, scalar(value))),
        )
    };
    let shapes = begin()?.shapes().map_err(|it| it.to_string())?;
    let mut outputs = Vec::new();
    for (name, shape) in shapes.iter() {
        let elements = Elements::zeros(dtype_of(cascade, name), shape).ok_or_else(|| too_large(name))?;
        outputs.push((name, elements, shape));
    }
    let mut running = begin()?;
    for (name, elements, shape) in &mut outputs {
        let view = TensorViewMut::from_bytes(elements.stored_as(), elements.bytes_mut(), shape);
        running = running.output(name, view.map_err(|it| it.to_string())?);
    }
    if let Some(threads) = threads {
        running = running.threads(threads);
    }
    running.run().map_err(|it| it.to_string())?;
    let output = |(name, elements, shape): (&str, Elements, &[usize])| Output {
        name: name.to_owned(),
        dtype: dtype_of(cascade, name),
        array: elements.array(shape.to_vec()),
    };
    Ok(outputs.into_iter().map(output).collect())
}

/// What the tensor of that name holds.
fn dtype_of(cascade: &Cascade, name: &str) -> DType {
    let found = cascade.tensors.iter().find(|(_, it)| it.name == name);
    found.map_or(DType::F32, |(_, it)| it.dtype.unwrap_or(widest(it.kind)))
}

fn scalar(value: Value) -> Scalar {
    match value {
        Value::Real(it) => Scalar::Real(it),
        Value::Int(it) => Scalar::Int(it),
        Value::Bool(it) => Scalar::Bool(it),
    }
}
