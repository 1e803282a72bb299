//! Loads and stores: coordinates to addresses, dtypes to scalars and back.

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{
    CvtRound, CvtaSpace, IntOp, Lanes, LoadCache, LoadOrder, Space, StoreCache, StoreOrder, Toward,
};
use attnc_ptx::types::{Data, Number, RegType};
use attnc_ptx::{Address, Inst, Op, Reg, args, at};

use super::arith::{and, convert, int, int_compare, select};
use super::block::Emitter;
use super::op::Tile;
use super::scalar;
use super::value::Value;
use crate::codegen::formula::Formula;
use crate::codegen::points;
use crate::ir::nest::{BufferId, Place, Scalar, TileType, ValueId, bytes_of};

impl<'a> Emitter<'a> {
    /// The elements of a buffer.
    pub(super) fn load(
        &mut self,
        ty: &'a TileType,
        buffer: BufferId,
        index: &[ValueId],
        guard: Option<ValueId>,
    ) -> Tile<'a> {
        let dtype = self.nest.buffers[buffer].dtype;
        let (places, guards) = (self.places(buffer, index, ty), self.guards(guard, ty));
        let elements = guards.into_iter().enumerate().map(|(at, guard)| {
            if guard == Value::Bool(false) {
                return scalar::converted(&self.writer, Scalar::I64, ty.scalar, Value::Int(0));
            }
            let raw = self.load_raw(dtype, self.address_at(&places, at), guard);
            scalar::converted(&self.writer, Scalar::of(dtype), ty.scalar, self.widened(dtype, raw))
        });
        Tile { ty, elements: elements.collect() }
    }

    /// Writes elements of a buffer.
    pub(super) fn store(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        value: ValueId,
        guard: Option<ValueId>,
    ) {
        self.arrive(value);
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = points::stored(self.nest, index, value, guard);
        let (places, guards) = (self.places(buffer, index, &ty), self.guards(guard, &ty));
        let writes = self.writes(&ty);
        // What lies below each other shares most of its address, so that is written next.
        let down = ty.shape.first().map_or(1, |it| it.extent as usize);
        let along = ty.points() / down;
        for at in (0..ty.points()).map(|it| it % down * along + it / down) {
            let guard = and(&self.writer, writes, guards[at]);
            if guard != Value::Bool(false) {
                let address = self.address_at(&places, at);
                self.store_raw(
                    dtype,
                    address,
                    guard,
                    self.stored(dtype, ty.scalar, self.element_of(value, &ty, at)),
                );
            }
        }
    }

    /// Whether each point of a shape is read or written.
    fn guards(&self, guard: Option<ValueId>, ty: &TileType) -> Vec<Value> {
        guard.map_or_else(|| vec![Value::Bool(true); ty.points()], |it| self.tile(it).spread(ty))
    }

    /// Where the points of a shape lie: the base, and the stride and the coordinates of each dimension.
    fn places(&mut self, buffer: BufferId, index: &[ValueId], ty: &TileType) -> Places {
        let base = self.address(buffer);
        let bytes = Value::Int(bytes_of(self.nest.buffers[buffer].dtype).into());
        let strides = &self.nest.buffers[buffer].strides;
        let dims = strides.iter().zip(index).map(|(&stride, &coordinate)| {
            let stride = int(&self.writer, IntOp::MulLo, self.scalar(stride), bytes);
            (stride, self.tile(coordinate).spread(ty))
        });
        Places { base, dims: dims.collect() }
    }

    /// The address of one of them.
    fn address_at(&self, places: &Places, at: usize) -> Address {
        // What coordinates differ by is added last, so that neighbours share the rest.
        let (mut terms, mut apart) = (vec![places.base], Value::Int(0));
        for (stride, coordinates) in &places.dims {
            let (coordinate, number) = self.writer.split(coordinates[at]);
            terms.push(int(&self.writer, IntOp::MulLo, coordinate, *stride));
            let further = int(&self.writer, IntOp::MulLo, *stride, Value::Int(number));
            apart = int(&self.writer, IntOp::Add, apart, further);
        }
        self.place(int(&self.writer, IntOp::Add, self.sum(terms), apart))
    }

    /// An address with a number that is added to it as the instruction has it.
    pub(super) fn place(&self, address: Value) -> Address {
        let (base, number) = self.writer.split(address);
        match i32::try_from(number) {
            Ok(number) => at(self.writer.reg(RegType::B64, base)).plus(number),
            Err(_) => at(self.writer.reg(RegType::B64, address)),
        }
    }

    /// The sum of terms, those first that change least often.
    pub(super) fn sum(&self, mut terms: Vec<Value>) -> Value {
        terms.sort_by_key(|it| self.writer.level(*it));
        terms.into_iter().reduce(|a, b| int(&self.writer, IntOp::Add, a, b)).expect("an address has a base")
    }

    /// The address of a buffer's first element.
    pub(super) fn address(&mut self, buffer: BufferId) -> Value {
        match self.nest.buffers[buffer].place {
            Place::Input(word) | Place::Output(word) => {
                let generic = self.word(word, Scalar::I64);
                global(&self.writer, generic)
            }
            Place::Workspace(offset) => int(&self.writer, IntOp::Add, self.workspace, self.scalar(offset)),
            Place::Scratch(offset) => int(&self.writer, IntOp::Add, self.scratch, self.scalar(offset)),
        }
    }

    /// An element as it lies in memory: integers in 64 bits, floats in their own width; 0 where the guard is false.
    pub(super) fn load_raw(&self, dtype: DType, address: Address, guard: Value) -> Value {
        let ty = data(dtype);
        let into = self.writer.fresh(attnc_ptx::types::Type::from(ty).register());
        let op = Op::Ld {
            order: LoadOrder::Weak,
            space: Space::Global,
            cache: LoadCache::Default,
            lanes: Lanes::One,
            ty,
        };
        let load = Inst::new(op, args![into, address]);
        match guard {
            Value::Reg(guard) => {
                let zero = match into.ty {
                    RegType::F32 => Value::F32(0),
                    RegType::F64 => Value::F64(0),
                    RegType::Pred | RegType::B16 | RegType::B32 | RegType::B64 => Value::Int(0),
                };
                self.writer.copy(into, zero);
                self.writer.add(load.when(guard));
            }
            Value::F32(_) | Value::F64(_) | Value::Int(_) | Value::Bool(_) => self.writer.add(load),
        }
        Value::Reg(into)
    }

    /// An element as it lies in memory as the scalar that it is computed with.
    pub(super) fn widened(&self, dtype: DType, raw: Value) -> Value {
        let w = &self.writer;
        let to_int = |from| convert(w, CvtRound::Exact, (RegType::B64, Number::S64), from, raw);
        match dtype {
            DType::F64 | DType::F32 | DType::I64 => raw,
            DType::F16 | DType::BF16 => scalar::decoded(w, dtype, raw),
            DType::F8E4M3 | DType::F8E5M2 => scalar::formula(w, Formula::Decode(dtype), Scalar::F32, &[raw]),
            DType::I32 => to_int(Number::S32),
            DType::I16 => to_int(Number::S16),
            DType::I8 => to_int(Number::S8),
            DType::U8 => to_int(Number::U8),
            DType::I4 => {
                let top =
                    w.pure(RegType::B32, Op::Shl { ty: attnc_ptx::types::Bits::B32 }, &[raw, Value::Int(28)]);
                let low =
                    w.pure(RegType::B32, Op::Shr { ty: attnc_ptx::types::Int::S32 }, &[top, Value::Int(28)]);
                convert(w, CvtRound::Exact, (RegType::B64, Number::S64), Number::S32, low)
            }
            DType::Bool => {
                let wide = to_int(Number::U8);
                int_compare(w, attnc_ptx::modifier::Compare::Ne, wide, Value::Int(0))
            }
        }
    }

    /// A value as a dtype stores it, in the register that is written.
    fn stored(&self, dtype: DType, scalar: Scalar, value: Value) -> Reg {
        let w = &self.writer;
        let narrow = |value: Value, (register, to), from, wide| {
            let value = Value::Reg(w.reg(wide, value));
            let Value::Reg(reg) = convert(w, CvtRound::Exact, (register, to), from, value) else {
                unreachable!("a conversion gives a register")
            };
            reg
        };
        match dtype {
            DType::F64 => w.reg(RegType::F64, scalar::converted(w, scalar, Scalar::F64, value)),
            DType::F32 => w.reg(RegType::F32, scalar::converted(w, scalar, Scalar::F32, value)),
            DType::F16 | DType::BF16 if scalar == Scalar::F32 => {
                w.reg(RegType::B16, scalar::encoded(w, dtype, value))
            }
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let bits = scalar::formula(w, Formula::Encode(dtype), scalar, &[value]);
                let (number, register) = if scalar == Scalar::F32 {
                    (Number::U32, RegType::B32)
                } else {
                    (Number::U64, RegType::B64)
                };
                let to = if bytes_of(dtype) == 2 {
                    (RegType::B16, Number::U16)
                } else {
                    (RegType::B32, Number::U32)
                };
                if to.0 == register { w.reg(register, bits) } else { narrow(bits, to, number, register) }
            }
            DType::I64 => w.reg(RegType::B64, value),
            DType::I32 | DType::I8 | DType::U8 | DType::I4 => {
                let value = scalar::rounded(w, dtype, scalar, value);
                narrow(value, (RegType::B32, Number::S32), Number::S64, RegType::B64)
            }
            DType::I16 => {
                let value = scalar::rounded(w, dtype, scalar, value);
                narrow(value, (RegType::B16, Number::S16), Number::S64, RegType::B64)
            }
            DType::Bool => w.reg(RegType::B32, select(w, RegType::B32, value, Value::Int(1), Value::Int(0))),
        }
    }

    /// Writes what `stored` made, where the guard holds.
    fn store_raw(&self, dtype: DType, address: Address, guard: Value, value: Reg) {
        let op = Op::St {
            order: StoreOrder::Weak,
            space: Space::Global,
            cache: StoreCache::Default,
            lanes: Lanes::One,
            ty: data(dtype),
        };
        let store = Inst::new(op, args![address, value]);
        self.writer.add(match guard {
            Value::Reg(guard) => store.when(guard),
            Value::F32(_) | Value::F64(_) | Value::Int(_) | Value::Bool(_) => store,
        });
    }
}

/// Where the points of a shape lie.
struct Places {
    base: Value,
    /// The bytes from one coordinate to the next, and the coordinate of each point.
    dims: Vec<(Value, Vec<Value>)>,
}

/// An address that a caller gives as one of global memory.
pub(super) fn global(writer: &super::writer::Writer, generic: Value) -> Value {
    writer.pure(RegType::B64, Op::Cvta { toward: Toward::Space, space: CvtaSpace::Global }, &[generic])
}

/// How elements of a dtype are loaded and stored.
fn data(dtype: DType) -> Data {
    match dtype {
        DType::F64 => Data::F64,
        DType::F32 => Data::F32,
        DType::F16 | DType::BF16 => Data::B16,
        DType::F8E4M3 | DType::F8E5M2 | DType::U8 | DType::I4 | DType::Bool => Data::U8,
        DType::I64 => Data::S64,
        DType::I32 => Data::S32,
        DType::I16 => Data::S16,
        DType::I8 => Data::S8,
    }
}
