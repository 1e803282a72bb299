//! The memory of a nest: one array of elements for each buffer, with every access checked.

use super::NestError;
use crate::ir::array::Value;
use crate::ir::nest::{Buffer, Scalar, bytes_of};

/// How the caller's tensors lie in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// In C order.
    #[default]
    Contiguous,
    /// With negative strides: the last element first.
    Reversed,
    /// With a gap after every element.
    Spread,
}

/// Who is at work: tasks are numbered through all stages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// The task at hand.
    pub(super) task: u64,
    /// The first task of its stage.
    pub(super) stage: u64,
}

/// The elements of one buffer.
pub(super) struct Memory {
    pub(super) shape: Vec<i64>,
    pub(super) strides: Vec<i64>,
    /// Where the element at coordinates 0 lies.
    origin: i64,
    /// What was written, and by which task; `None` where nothing was yet.
    cells: Vec<Option<(Value, u64)>>,
}

impl Memory {
    /// Room for a tensor of that shape.
    pub(super) fn new(shape: Vec<i64>, layout: Layout) -> Memory {
        let unit = match layout {
            Layout::Contiguous => 1,
            Layout::Reversed => -1,
            Layout::Spread => 2,
        };
        let mut strides = vec![unit; shape.len()];
        for dim in (1..shape.len()).rev() {
            strides[dim - 1] = strides[dim] * shape[dim];
        }
        let len: i64 = shape.iter().product();
        let n_cells = usize::try_from(len * unit.abs()).expect("extents are not negative");
        let origin = if unit < 0 { (len - 1).max(0) } else { 0 };
        Memory { shape, strides, origin, cells: vec![None; n_cells] }
    }

    /// Forgets what was written.
    pub(super) fn clear(&mut self) {
        self.cells.fill(None);
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self, buffer: &Buffer) -> i64 {
        self.cells.len() as i64 * i64::from(bytes_of(buffer.dtype))
    }

    /// The distance in elements from the lowest one to the one at coordinates 0.
    pub(super) fn origin(&self) -> i64 {
        self.origin
    }

    /// Where the element at these coordinates lies.
    pub(super) fn place(&self, buffer: &Buffer, coords: &[i64]) -> Result<usize, NestError> {
        let inside = coords.iter().zip(&self.shape).all(|(coord, extent)| (0..*extent).contains(coord));
        if !inside || coords.len() != self.shape.len() {
            let text = format!("{}{coords:?} is outside the extents {:?}", buffer.name, self.shape);
            return Err(NestError::Fault(text));
        }
        let distance: i64 = coords.iter().zip(&self.strides).map(|(coord, stride)| coord * stride).sum();
        Ok((self.origin + distance) as usize)
    }

    pub(super) fn load(&self, buffer: &Buffer, coords: &[i64], turn: Turn) -> Result<Value, NestError> {
        let fault = |what: &str| NestError::Fault(format!("{}{coords:?} is {what}", buffer.name));
        match self.cells[self.place(buffer, coords)?] {
            // Were it to matter, so would this: what is read so is NaN, or not there.
            None if buffer.padded => Ok(match Scalar::of(buffer.dtype) {
                Scalar::F64 | Scalar::F32 => Value::Real(f64::NAN),
                Scalar::I64 | Scalar::I32 => Value::Int(i64::MIN),
                Scalar::Bool => Value::Bool(false),
            }),
            None => Err(fault("read before it is written")),
            Some((_, task)) if turn.shares_stage_with(task) => {
                Err(fault("read while another task writes it"))
            }
            Some((value, _)) => Ok(value),
        }
    }

    pub(super) fn store(
        &mut self,
        buffer: &Buffer,
        coords: &[i64],
        value: Value,
        turn: Turn,
    ) -> Result<(), NestError> {
        let place = self.place(buffer, coords)?;
        if self.cells[place].is_some_and(|(_, task)| turn.shares_stage_with(task)) {
            return Err(NestError::Fault(format!("{}{coords:?} is written by two tasks", buffer.name)));
        }
        self.cells[place] = Some((value, turn.task));
        Ok(())
    }

    /// All coordinates of the tensor, in C order.
    pub(super) fn coords(&self) -> impl Iterator<Item = Vec<i64>> + use<> {
        let shape = self.shape.clone();
        let len: i64 = shape.iter().product();
        (0..len).map(move |mut at| {
            let mut coords = vec![0; shape.len()];
            for (coord, &extent) in coords.iter_mut().zip(&shape).rev() {
                *coord = at % extent;
                at /= extent;
            }
            coords
        })
    }
}

impl Turn {
    /// Another task that may run at the same time.
    fn shares_stage_with(self, task: u64) -> bool {
        task != self.task && task >= self.stage
    }
}
