//! Where tensors lie: the words of the arguments, the buffers, the workspace.

use attnc_dsl::ast::{DType, Kind};

use super::{Bytes, Tiling};
use crate::ir::cascade::{Extent, ParamValue, RankId, Role, TensorId};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Buffer, BufferId, Place, Scalar, ValueId, Word, bytes_of};

/// What each buffer in the workspace is aligned to, in bytes.
const ALIGN: i64 = attnc_runtime::abi::WORKSPACE_ALIGN as i64;

/// A tensor in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Its values.
    pub(super) values: BufferId,
    /// Where it is present; `None` is everywhere.
    pub(super) mask: Option<BufferId>,
}

impl Tiling<'_> {
    /// Lays out the words of the arguments: extents, parameters, then tensors.
    pub(super) fn arguments(&mut self) {
        let cascade = self.cascade;
        for (rank, it) in cascade.ranks.iter() {
            if it.extent == Extent::Carried {
                self.add_word(Word::Extent(rank));
            }
        }
        for (param, it) in cascade.params.iter() {
            if matches!(it.value, ParamValue::Launch(_)) {
                let word = self.add_word(Word::Param(param.idx()));
                self.param_words.insert(param, word);
            }
        }
        for tensor in cascade.inputs().chain(cascade.outputs()) {
            self.argument(tensor);
        }
    }

    fn add_word(&mut self, word: Word) -> u32 {
        self.builder.nest.words.push(word);
        u32::try_from(self.builder.nest.words.len() - 1).expect("a kernel has fewer than 2^32 arguments")
    }

    fn argument(&mut self, tensor: TensorId) {
        let it = &self.cascade.tensors[tensor];
        let buffer = crate::ir::arena::Id::new(self.builder.nest.buffers.len());
        let word = self.add_word(Word::Data(buffer));
        let mut strides = Vec::new();
        for dim in 0..it.dims.len() {
            let word = self.add_word(Word::Stride(buffer, dim));
            strides.push(self.builder.word(word, Scalar::I64));
        }
        let place = if it.role == Role::Input { Place::Input(word) } else { Place::Output(word) };
        let extents = self.extents_of(tensor);
        let dtype = self.widths.stored(self.cascade, tensor);
        let values = self.builder.nest.buffers.push(Buffer {
            name: it.name.clone(),
            dtype,
            place,
            extents,
            strides,
            padded: false,
        });
        self.stored.insert(tensor, Stored { values, mask: None });
    }

    /// The extents of a tensor's dimensions.
    fn extents_of(&mut self, tensor: TensorId) -> Vec<ValueId> {
        let dims = self.cascade.tensors[tensor].dims.clone();
        let mut extents: Vec<ValueId> = dims
            .iter()
            .map(|dim| {
                let extent = self.extent(dim.rank);
                self.plus(extent, dim.lag)
            })
            .collect();
        if let (Some(&condition), Some(first)) = (self.plan.room_where.get(&tensor), extents.first_mut()) {
            let (holds, none) = (self.value(condition).value, self.builder.int(0));
            *first = self.builder.select(holds, *first, none);
        }
        extents
    }

    /// A value plus a constant.
    pub(super) fn plus(&mut self, value: ValueId, constant: i64) -> ValueId {
        if constant == 0 {
            return value;
        }
        let constant = self.builder.int(constant);
        self.builder.binary(BinaryOp::Add, value, constant)
    }

    /// The extent of a rank.
    pub(super) fn extent(&mut self, rank: RankId) -> ValueId {
        if let Some(&value) = self.extents.get(&rank) {
            return value;
        }
        let value = match self.cascade.ranks[rank].extent {
            Extent::Fixed(value) => self.builder.int(value),
            Extent::Carried => {
                let words = &self.builder.nest.words;
                let word = words.iter().position(|it| *it == Word::Extent(rank));
                let word = word.expect("every carried extent has a word");
                self.builder.word(u32::try_from(word).expect("words are few"), Scalar::I64)
            }
            Extent::Derived(expr) => self.value(expr).value,
        };
        self.extents.insert(rank, value);
        value
    }

    /// The buffer of a tensor, which is made in the workspace if it has none yet.
    pub(super) fn buffer(&mut self, tensor: TensorId) -> BufferId {
        if let Some(it) = self.stored.get(&tensor) {
            return it.values;
        }
        if self.is_tile(tensor) {
            return self.tile_buffer(tensor);
        }
        let name = self.cascade.tensors[tensor].name.clone();
        let dtype = self.widths.stored(self.cascade, tensor);
        let values = self.reserve(tensor, name, dtype);
        self.stored.insert(tensor, Stored { values, mask: None });
        values
    }

    /// The mask of a tensor that may be absent, which is made if it has none yet.
    pub(super) fn mask(&mut self, tensor: TensorId) -> BufferId {
        self.buffer(tensor);
        if let Some(mask) = self.stored[&tensor].mask {
            return mask;
        }
        if self.is_tile(tensor) {
            return self.tile_mask(tensor);
        }
        let name = format!("{}?", self.cascade.tensors[tensor].name);
        let mask = self.reserve(tensor, name, DType::Bool);
        self.stored.get_mut(&tensor).expect("it has a buffer").mask = Some(mask);
        mask
    }

    /// Takes room in the workspace, in C order.
    fn reserve(&mut self, tensor: TensorId, name: String, dtype: DType) -> BufferId {
        let extents = self.extents_of(tensor);
        let (strides, bytes) = self.in_c_order(dtype, &extents);
        let offset = self.workspace.exact;
        self.workspace = self.grown(self.workspace, bytes);
        self.builder.nest.buffers.push(Buffer {
            name,
            dtype,
            place: Place::Workspace(offset),
            extents,
            strides,
            padded: false,
        })
    }

    /// The sum of two numbers of bytes.
    pub(super) fn grown(&mut self, a: Bytes, b: Bytes) -> Bytes {
        let mut add = |a, b| self.builder.binary(BinaryOp::Add, a, b);
        Bytes { exact: add(a.exact, b.exact), wide: add(a.wide, b.wide) }
    }

    /// The strides of an array in C order, and the bytes that it takes.
    pub(super) fn in_c_order(&mut self, dtype: DType, extents: &[ValueId]) -> (Vec<ValueId>, Bytes) {
        let b = &mut self.builder;
        let mut strides = vec![b.int(1)];
        for &extent in extents.iter().skip(1).rev() {
            let last = *strides.last().expect("there is one");
            strides.push(b.binary(BinaryOp::Mul, last, extent));
        }
        strides.truncate(extents.len());
        strides.reverse();
        let (size, mut exact) =
            (b.int(i64::from(bytes_of(dtype))), b.real(bytes_of(dtype).into(), Scalar::F64));
        let mut bytes = size;
        for &extent in extents {
            let extent_f64 = b.convert(extent, Scalar::F64);
            bytes = b.binary(BinaryOp::Mul, bytes, extent);
            exact = b.binary(BinaryOp::Mul, exact, extent_f64);
        }
        let (slack, mask) = (b.int(ALIGN - 1), b.int(-ALIGN));
        let bytes = b.binary(BinaryOp::Add, bytes, slack);
        let bytes = b.binary(BinaryOp::BitAnd, bytes, mask);
        (strides, Bytes { exact: bytes, wide: exact })
    }

    /// What an absent point of an output shows.
    pub(super) fn absent(&mut self, tensor: TensorId, scalar: Scalar) -> ValueId {
        match self.cascade.tensors[tensor].kind {
            Kind::Real => self.builder.real(0.0, scalar),
            Kind::Bool => self.builder.bool(false),
            Kind::Int => {
                let unsigned = self.cascade.tensors[tensor].dtype == Some(DType::U8);
                self.builder.int(if unsigned { 0 } else { -1 })
            }
        }
    }
}
