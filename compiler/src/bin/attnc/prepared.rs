//! A call of a compiled kernel that can be made again and again: inputs as the kernel reads them, room for what it writes.

use attnc::ir::array::Value;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::Call;
use attnc_dsl::ast::DType;
use attnc_runtime::device::Resident;
use attnc_runtime::{Kernel, Scalar, TensorView, TensorViewMut, Workspace};

use crate::elements::{Elements, widest};
use crate::tensors::Output;

/// The tensors and parameters of a call.
pub(crate) struct Prepared {
    inputs: Vec<Tensor>,
    params: Vec<(String, Scalar)>,
    outputs: Vec<Tensor>,
    workspace: Workspace,
}

struct Tensor {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    elements: Elements,
}

impl Prepared {
    /// The call as a kernel of that cascade takes it.
    pub(crate) fn new(cascade: &Cascade, kernel: &Kernel, call: &Call) -> Result<Prepared, String> {
        let too_large = |name: &str| format!("`{name}` does not fit into memory");
        let mut inputs = Vec::new();
        for (name, array) in &call.inputs {
            let dtype = dtype_of(cascade, name);
            let elements = Elements::of(dtype, array).ok_or_else(|| too_large(name))?;
            inputs.push(Tensor { name: name.clone(), dtype, shape: array.shape.clone(), elements });
        }
        let params = call.params.iter().map(|(name, &value)| (name.clone(), scalar(value))).collect();
        let mut it = Prepared { inputs, params, outputs: Vec::new(), workspace: Workspace::new() };
        let shapes = it.begin(kernel)?.shapes().map_err(|it| it.to_string())?;
        for (name, shape) in shapes.iter() {
            let dtype = dtype_of(cascade, name);
            let elements = Elements::zeros(dtype, shape).ok_or_else(|| too_large(name))?;
            it.outputs.push(Tensor { name: name.to_owned(), dtype, shape: shape.to_vec(), elements });
        }
        Ok(it)
    }

    fn begin<'a>(&'a self, kernel: &'a Kernel) -> Result<attnc_runtime::Call<'a>, String> {
        given(kernel.call(), &self.inputs, &self.params)
    }

    /// The bytes of workspace that so many threads need.
    pub(crate) fn workspace_bytes(&self, kernel: &Kernel, threads: u32) -> Result<u64, String> {
        self.begin(kernel)?.workspace_bytes(threads).map_err(|it| it.to_string())
    }

    /// Makes the call, on at most that many threads, or says what is wrong with it.
    pub(crate) fn run(&mut self, kernel: &Kernel, threads: Option<usize>) -> Result<(), String> {
        let Prepared { inputs, params, outputs, workspace } = self;
        let mut running = given(kernel.call_in(workspace), inputs, params)?;
        running = written(running, outputs)?;
        if let Some(threads) = threads {
            running = running.threads(threads);
        }
        running.run().map_err(|it| it.to_string())
    }

    /// The call on the device of the kernel, with copies of its tensors there.
    pub(crate) fn resident<'a>(&'a mut self, kernel: &'a Kernel) -> Result<Resident<'a>, String> {
        let Prepared { inputs, params, outputs, .. } = self;
        let call = written(given(kernel.call(), inputs, params)?, outputs)?;
        call.resident().map_err(|it| it.to_string())
    }

    /// What the last call wrote.
    pub(crate) fn into_outputs(self) -> Vec<Output> {
        let output =
            |it: Tensor| Output { name: it.name, dtype: it.dtype, array: it.elements.array(it.shape) };
        self.outputs.into_iter().map(output).collect()
    }
}

fn given<'a>(
    mut call: attnc_runtime::Call<'a>,
    inputs: &'a [Tensor],
    params: &[(String, Scalar)],
) -> Result<attnc_runtime::Call<'a>, String> {
    for Tensor { name, shape, elements, .. } in inputs {
        let view = TensorView::from_bytes(elements.stored_as(), elements.bytes(), shape);
        call = call.input(name, view.map_err(|it| it.to_string())?);
    }
    Ok(params.iter().fold(call, |call, (name, value)| call.param(name, *value)))
}

fn written<'a>(
    mut call: attnc_runtime::Call<'a>,
    outputs: &'a mut [Tensor],
) -> Result<attnc_runtime::Call<'a>, String> {
    for Tensor { name, shape, elements, .. } in outputs {
        let view = TensorViewMut::from_bytes(elements.stored_as(), elements.bytes_mut(), shape);
        call = call.output(name, view.map_err(|it| it.to_string())?);
    }
    Ok(call)
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
