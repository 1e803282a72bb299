//! A call: named tensors and parameters to the words of the C ABI, checked, and run.

use std::marker::PhantomData;

use crate::device::Resident;
use crate::error::{Error, Result, What};
use crate::kernel::Kernel;
use crate::manifest::{Extent, ParamInfo, Role, Scalar};
use crate::run;
use crate::tensor::{Raw, TensorView, TensorViewMut};
use crate::workspace::{Frame, Workspace};

/// A call in the making. What is wrong with it is told by [`Call::run`], before anything is computed.
#[derive(Debug)]
#[must_use = "a call does nothing until it is run"]
pub struct Call<'a> {
    kernel: &'a Kernel,
    space: Space<'a>,
    threads: Option<usize>,
    wrong: Option<Error>,
    tensors: PhantomData<&'a mut [u8]>,
}

#[derive(Debug)]
enum Space<'a> {
    Own(Workspace),
    Lent(&'a mut Workspace),
}

impl Space<'_> {
    fn get(&mut self) -> &mut Workspace {
        match self {
            Space::Own(it) => it,
            Space::Lent(it) => it,
        }
    }
}

/// The shapes of the outputs of a call, by name or in the order declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shapes(Vec<(String, Vec<usize>)>);

impl Shapes {
    /// Names and shapes, in the order declared.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// The shape of an output.
    pub fn get(&self, name: &str) -> Option<&[usize]> {
        self.iter().find(|it| it.0 == name).map(|it| it.1)
    }
}

impl std::ops::Index<&str> for Shapes {
    type Output = [usize];

    fn index(&self, name: &str) -> &[usize] {
        self.get(name).unwrap_or_else(|| panic!("no output `{name}`"))
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(kernel: &'a Kernel) -> Call<'a> {
        Call::with(kernel, Space::Own(Workspace::new()))
    }

    pub(crate) fn within(kernel: &'a Kernel, workspace: &'a mut Workspace) -> Call<'a> {
        Call::with(kernel, Space::Lent(workspace))
    }

    fn with(kernel: &'a Kernel, mut space: Space<'a>) -> Call<'a> {
        space.get().frame.reset(kernel);
        Call { kernel, space, threads: None, wrong: None, tensors: PhantomData }
    }

    /// Gives an input.
    pub fn input(self, name: &str, tensor: TensorView<'a>) -> Call<'a> {
        self.give(name, Role::Input, tensor.raw())
    }

    /// Gives an output to write to; it must not overlap any other tensor.
    pub fn output(self, name: &str, tensor: TensorViewMut<'a>) -> Call<'a> {
        self.give(name, Role::Output, tensor.raw())
    }

    /// Gives a tensor, wherever it lies.
    pub(crate) fn give(self, name: &str, role: Role, tensor: Raw<'a>) -> Call<'a> {
        self.note(|kernel, frame| give(kernel, frame, (name, role), tensor))
    }

    /// Gives a parameter; one that is not given has its default.
    pub fn param(self, name: &str, value: impl Into<Scalar>) -> Call<'a> {
        self.note(|kernel, frame| set(kernel, frame, name, value.into()))
    }

    /// Uses at most that many threads of the current rayon pool; 1 keeps to this one. All by default.
    pub fn threads(mut self, at_most: usize) -> Call<'a> {
        self.threads = Some(at_most);
        self
    }

    /// The shapes of the outputs, once all inputs and parameters are given.
    pub fn shapes(&mut self) -> Result<Shapes> {
        let (kernel, frame) = self.bound()?;
        let mut shapes = Vec::new();
        for (idx, tensor) in kernel.info().tensors.iter().enumerate() {
            if tensor.role == Role::Output {
                let dims = kernel.dims()[kernel.dims_of(idx)].iter();
                let shape = dims.map(|it| usize::try_from(frame.extents[it.rank].saturating_add(it.plus)));
                let shape = shape.collect::<std::result::Result<_, _>>();
                let what = || format!("`{}`", tensor.name);
                shapes.push((tensor.name.clone(), shape.map_err(|_| Error::TooLarge { what: what() })?));
            }
        }
        Ok(Shapes(shapes))
    }

    /// The bytes of workspace that so many threads need, once all inputs and parameters are given: all that the
    /// kernel uses beside its tensors.
    pub fn workspace_bytes(&mut self, threads: u32) -> Result<u64> {
        let (kernel, frame) = self.bound()?;
        run::workspace_bytes(kernel, frame, threads)
    }

    /// Checks everything and copies the tensors to the device of the kernel, to run the call there more than once.
    ///
    /// # Errors
    /// As for [`Call::run`], and where the kernel runs on this machine.
    pub fn resident(mut self) -> Result<Resident<'a>> {
        let device = self.kernel.expect_device()?;
        let (kernel, frame) = self.bound()?;
        run::expect_outputs(kernel, frame)?;
        Resident::new(kernel, frame, device)
    }

    /// The arguments, with all extents and parameters, once all inputs and parameters are given.
    pub(crate) fn bound(&mut self) -> Result<(&'a Kernel, &Frame)> {
        self.wrong.clone().map_or(Ok(()), Err)?;
        let (kernel, frame) = (self.kernel, &mut self.space.get().frame);
        bind(kernel, frame)?;
        Ok((kernel, frame))
    }

    /// Checks everything and computes the outputs.
    pub fn run(mut self) -> Result<()> {
        self.wrong.take().map_or(Ok(()), Err)?;
        let (kernel, workspace) = (self.kernel, self.space.get());
        kernel.check_machine()?;
        bind(kernel, &mut workspace.frame)?;
        run::run(kernel, workspace, self.threads)
    }

    /// Does one step unless an earlier one failed.
    fn note(mut self, step: impl FnOnce(&Kernel, &mut Frame) -> Result<()>) -> Call<'a> {
        if self.wrong.is_none() {
            self.wrong = step(self.kernel, &mut self.space.get().frame).err();
        }
        self
    }
}

/// Stores a tensor's pointer, strides and shape.
fn give(kernel: &Kernel, frame: &mut Frame, (name, role): (&str, Role), raw: Raw<'_>) -> Result<()> {
    let of_role = kernel.info().tensors.iter().enumerate().filter(|it| it.1.role == role);
    let what = match role {
        Role::Input => What::Input,
        Role::Output => What::Output,
    };
    let Some((idx, tensor)) = of_role.clone().find(|it| it.1.name == name) else {
        let known = of_role.map(|it| it.1.name.clone()).collect();
        return Err(Error::Unknown { kernel: kernel.title(), what, name: name.into(), known });
    };
    if std::mem::replace(&mut frame.tensors[idx], true) {
        return Err(Error::Twice { what, name: name.into() });
    }
    if raw.dtype != tensor.dtype {
        return Err(Error::DType { tensor: name.into(), found: raw.dtype, expected: tensor.dtype });
    }
    if raw.shape.len() != tensor.dims.len() {
        let expected = tensor.dims.iter().map(ToString::to_string).collect();
        return Err(Error::DimCount { tensor: name.into(), found: raw.shape.to_vec(), expected });
    }
    let word = tensor.word as usize;
    frame.args[word] = raw.data.expose_provenance() as u64;
    raw.write_strides(&mut frame.args[word + 1..][..raw.shape.len()]);
    let shape = &mut frame.shapes[kernel.dims_of(idx)];
    shape.iter_mut().zip(raw.shape).for_each(|(to, &it)| *to = it as i64);
    Ok(())
}

/// Stores a parameter.
fn set(kernel: &Kernel, frame: &mut Frame, name: &str, value: Scalar) -> Result<()> {
    let params = &kernel.info().params;
    let Some(idx) = params.iter().position(|it| it.name == name) else {
        let known = params.iter().map(|it| it.name.clone()).collect();
        return Err(Error::Unknown { kernel: kernel.title(), what: What::Param, name: name.into(), known });
    };
    if std::mem::replace(&mut frame.params[idx], 1) == 1 {
        return Err(Error::Twice { what: What::Param, name: name.into() });
    }
    let param = &params[idx];
    let value = convert(param, value)?;
    match (param.word, param.fixed) {
        (Some(word), _) => frame.args[word as usize] = bits(value),
        (None, Some(fixed)) if fixed == value => {}
        (None, fixed) => {
            let expected =
                fixed.map_or("nothing".into(), |it| format!("{it}, which was fixed at compile time"));
            return Err(Error::Param { name: name.into(), found: value, expected });
        }
    }
    Ok(())
}

/// The value as the parameter holds it: an integer serves as a real, nothing else changes kind.
fn convert(param: &ParamInfo, value: Scalar) -> Result<Scalar> {
    use crate::dtype::{DType, Kind};
    let refuse = |expected: String| Err(Error::Param { name: param.name.clone(), found: value, expected });
    let range = match param.dtype {
        DType::I32 => i32::MIN.into()..=i32::MAX.into(),
        DType::I16 => i16::MIN.into()..=i16::MAX.into(),
        DType::I8 => i8::MIN.into()..=i8::MAX.into(),
        DType::U8 => 0..=255,
        DType::I4 => -8..=7,
        DType::I64 | DType::Bool => i64::MIN..=i64::MAX,
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
            i64::MIN..=i64::MAX
        }
    };
    match (param.dtype.kind(), value) {
        (Kind::Real, Scalar::Int(it)) => Ok(Scalar::Real(it as f64)),
        (Kind::Int, Scalar::Int(it)) if !range.contains(&it) => {
            refuse(format!("{} to {}, as {} allows", range.start(), range.end(), param.dtype))
        }
        (kind, value) if kind == value.kind() => Ok(value),
        (kind, _) => refuse(format!("{kind}")),
    }
}

fn bits(value: Scalar) -> u64 {
    match value {
        Scalar::Int(it) => it as u64,
        Scalar::Real(it) => it.to_bits(),
        Scalar::Bool(it) => it.into(),
    }
}

/// Finds all extents and parameters, and checks the shape of each given tensor against them.
fn bind(kernel: &Kernel, frame: &mut Frame) -> Result<()> {
    let info = kernel.info();
    let missing = |what, name: &str| Err(Error::Missing { kernel: kernel.title(), what, name: name.into() });
    for (tensor, given) in info.tensors.iter().zip(&frame.tensors) {
        if tensor.role == Role::Input && !given {
            return missing(What::Input, &tensor.name);
        }
    }
    for (param, given) in info.params.iter().zip(&frame.params) {
        if param.word.is_some() && param.default.is_none() && *given == 0 {
            return missing(What::Param, &param.name);
        }
    }
    bind_inputs(kernel, frame)?;
    let (args, extents) = (frame.args.as_mut_ptr(), frame.extents.as_mut_ptr());
    // SAFETY: the arguments have the words of the manifest, `extents` a place for each rank and
    // `params` one for each parameter.
    let status = unsafe { (kernel.entry().bind)(args, frame.params.as_ptr(), extents) };
    run::expect_done(kernel, frame, status)?;
    check_shapes(kernel, frame)
}

/// Stores the extents that inputs bind; those of one rank must agree.
fn bind_inputs(kernel: &Kernel, frame: &mut Frame) -> Result<()> {
    let info = kernel.info();
    for (idx, tensor) in info.tensors.iter().enumerate().filter(|it| it.1.role == Role::Input) {
        for at in kernel.dims_of(idx) {
            let dim = kernel.dims()[at];
            let rank = &info.ranks[dim.rank];
            let Extent::Word(word) = rank.extent else { continue };
            let (found, place) = (frame.shapes[at] - dim.plus, &mut frame.args[word as usize]);
            if dim.binder == idx {
                *place = found as u64;
            } else if *place as i64 != found {
                let (rank, tensor) = (rank.name.clone(), tensor.name.clone());
                let (other, expected) = (info.tensors[dim.binder].name.clone(), *place as i64);
                return Err(Error::Disagree { rank, tensor, found, other, expected });
            }
        }
    }
    Ok(())
}

/// Checks each given tensor against the extents that `bind` found.
fn check_shapes(kernel: &Kernel, frame: &Frame) -> Result<()> {
    for (idx, tensor) in kernel.info().tensors.iter().enumerate().filter(|it| frame.tensors[it.0]) {
        for (at, dim) in kernel.dims_of(idx).zip(&tensor.dims) {
            let expected = frame.extents[kernel.dims()[at].rank].saturating_add(dim.plus);
            let found = frame.shapes[at];
            if found != expected {
                return Err(Error::Extent {
                    tensor: tensor.name.clone(),
                    dim: dim.to_string(),
                    found,
                    expected,
                });
            }
        }
    }
    Ok(())
}
