//! Loads and stores: coordinates to addresses, dtypes to scalars and back.

use attnc_dsl::ast::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8X16, I32, I32X4, I64};
use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value,
};
use cranelift_frontend::FunctionBuilder;

use super::address::Place;
use super::block::Emitter;
use super::tile::{Form, LANES, Tile, gather, lane};
use crate::codegen::formula::Formula;
use crate::codegen::points::{self, positions};
use crate::ir::nest::{BufferId, Scalar, TileDim, TileType, ValueId};

/// The address of an element need not be aligned to more than the element.
pub(super) const DATA: MemFlagsData = MemFlagsData::new().with_notrap();

impl<'a> Emitter<'a, '_, '_> {
    /// The elements of a buffer.
    pub(super) fn load(
        &mut self,
        ty: &'a TileType,
        buffer: BufferId,
        index: &[ValueId],
        guard: Option<ValueId>,
        contiguous: bool,
    ) -> Tile<'a> {
        let dtype = self.nest.buffers[buffer].dtype;
        let form = Form::of(ty);
        let whole = form == Form::Vectors && contiguous && points::is_uniform(self.nest, guard, &ty.shape);
        let places = self.places(buffer, index, &ty.shape, if whole { LANES } else { 1 });
        let zeros = guard.and(self.zeros);
        let places = self.guarded(places, guard, &ty.shape, zeros);
        let registers = if whole {
            places.into_iter().map(|it| self.load_vector(dtype, it)).collect()
        } else {
            let raw: Vec<Value> =
                places.into_iter().map(|it| load_one(&mut self.builder, dtype, it)).collect();
            self.widened(dtype, ty.scalar, form, &raw)
        };
        Tile { ty, form, registers }
    }

    /// Writes elements of a buffer.
    pub(super) fn store(
        &mut self,
        buffer: BufferId,
        index: &[ValueId],
        value: ValueId,
        guard: Option<ValueId>,
        contiguous: bool,
    ) {
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = points::stored(self.nest, index, value, guard);
        let (value, form) = (self.tile(value), Form::of(&ty));
        let tile = Tile { ty: &ty, form, registers: value.spread(&mut self.builder, &ty.shape, form) };
        let shape = &ty.shape;
        let whole = tile.form == Form::Vectors
            && tile.ty.scalar == Scalar::F32
            && dtype == DType::F32
            && contiguous
            && points::is_uniform(self.nest, guard, shape);
        let places = self.places(buffer, index, shape, if whole { LANES } else { 1 });
        let waste = guard.map(|_| self.waste());
        let places = self.guarded(places, guard, shape, waste);
        let narrowed = self.narrowed(dtype, &tile);
        let elements = if whole { narrowed } else { self.elements(&tile, narrowed) };
        for (place, element) in places.into_iter().zip(elements) {
            self.store_raw(dtype, element, place);
        }
    }

    /// The places where the guard holds, elsewhere a place that is nobody's.
    fn guarded(
        &mut self,
        places: Vec<Place>,
        guard: Option<ValueId>,
        shape: &[TileDim],
        instead: Option<StackSlot>,
    ) -> Vec<Place> {
        let Some(guard) = guard else { return places };
        let instead = instead.expect("there is a place for what a guard forbids");
        let instead = self.builder.ins().stack_addr(I64, instead, 0);
        let guard = self.tile(guard);
        let points = positions(&guard.ty.shape, shape);
        let every = points.len() / places.len();
        let guarded = places.into_iter().zip(points.iter().step_by(every)).map(|(place, &point)| {
            let holds = guard.element(&mut self.builder, point);
            let address = self.builder.ins().iadd_imm_s(place.address, i64::from(place.offset));
            Place { address: self.builder.ins().select(holds, address, instead), offset: 0 }
        });
        guarded.collect()
    }

    fn waste(&mut self) -> StackSlot {
        let slot = self.waste.unwrap_or_else(|| self.vector_slot());
        self.waste = Some(slot);
        slot
    }

    /// Room for one vector in the frame.
    fn vector_slot(&mut self) -> StackSlot {
        self.builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4))
    }

    /// Writes the zeros that guarded loads read.
    pub(super) fn prepare_zeros(&mut self) {
        let slot = self.vector_slot();
        let zero = self.builder.ins().iconst(I64, 0);
        for offset in [0, 8] {
            self.builder.ins().stack_store(I64, zero, slot, offset);
        }
        self.zeros = Some(slot);
    }

    /// Elements as they lie in memory in registers of the scalar that they are computed with.
    fn widened(&mut self, dtype: DType, scalar: Scalar, form: Form, raw: &[Value]) -> Vec<Value> {
        let stored = Scalar::of(dtype);
        let is_narrow = stored == Scalar::F32 && dtype != DType::F32;
        let registers: Vec<Value> = match form {
            Form::Elements => raw.to_vec(),
            Form::Vectors => {
                let ty = if is_narrow { I32X4 } else { F32X4 };
                raw.chunks(LANES).map(|it| gather(&mut self.builder, ty, it)).collect()
            }
        };
        let widened = registers.into_iter().map(|register| {
            let ty = form.register(stored);
            let value =
                if is_narrow { self.formula(Formula::Decode(dtype), ty, &[register]) } else { register };
            self.convert_register(form, stored, scalar, value)
        });
        widened.collect()
    }

    /// Four neighbouring floats.
    fn load_vector(&mut self, dtype: DType, place: Place) -> Value {
        let raw = load_four(&mut self.builder, dtype, place);
        if dtype == DType::F32 { raw } else { self.formula(Formula::Decode(dtype), F32X4, &[raw]) }
    }

    /// The registers of a tile as a dtype stores them.
    fn narrowed(&mut self, dtype: DType, tile: &Tile<'_>) -> Vec<Value> {
        let (scalar, stored) = (tile.ty.scalar, Scalar::of(dtype));
        let ty = tile.form.register(scalar);
        let narrowed = tile.registers.iter().map(|&register| match dtype {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                self.formula(Formula::Encode(dtype), ty, &[register])
            }
            DType::F64 | DType::F32 => self.convert_register(tile.form, scalar, stored, register),
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => {
                self.round_to(dtype, ty, register)
            }
        });
        narrowed.collect()
    }

    /// The elements in the registers that a tile became.
    fn elements(&mut self, tile: &Tile<'_>, registers: Vec<Value>) -> Vec<Value> {
        match tile.form {
            Form::Elements => registers,
            Form::Vectors => {
                let lanes =
                    registers.into_iter().flat_map(|register| (0..LANES).map(move |at| (register, at)));
                lanes.map(|(register, at)| lane(&mut self.builder, tile.ty.scalar, register, at)).collect()
            }
        }
    }

    /// Writes what `narrowed` made.
    fn store_raw(&mut self, dtype: DType, value: Value, Place { address, offset }: Place) {
        let ins = self.builder.ins();
        match dtype {
            DType::F64 | DType::F32 | DType::I64 | DType::Bool => ins.store(DATA, value, address, offset),
            DType::I32 => ins.istore32(DATA, value, address, offset),
            DType::F16 | DType::BF16 | DType::I16 => ins.istore16(DATA, value, address, offset),
            DType::F8E4M3 | DType::F8E5M2 | DType::I8 | DType::U8 | DType::I4 => {
                ins.istore8(DATA, value, address, offset)
            }
        };
    }
}

/// An element as it lies in memory: a float of its own width, an I64, an I8 for a bool, else the bits as an I32.
pub(super) fn load_one(
    builder: &mut FunctionBuilder<'_>,
    dtype: DType,
    Place { address, offset }: Place,
) -> Value {
    let ins = builder.ins();
    match dtype {
        DType::F64 => ins.load(F64, DATA, address, offset),
        DType::F32 => ins.load(F32, DATA, address, offset),
        DType::F16 | DType::BF16 => ins.uload16(I32, DATA, address, offset),
        DType::F8E4M3 | DType::F8E5M2 => ins.uload8(I32, DATA, address, offset),
        DType::I64 => ins.load(I64, DATA, address, offset),
        DType::I32 => ins.sload32(DATA, address, offset),
        DType::I16 => ins.sload16(I64, DATA, address, offset),
        DType::I8 => ins.sload8(I64, DATA, address, offset),
        DType::U8 => ins.uload8(I64, DATA, address, offset),
        DType::I4 => {
            let byte = ins.uload8(I64, DATA, address, offset);
            let top = builder.ins().ishl_imm_u(byte, 60);
            builder.ins().sshr_imm_u(top, 60)
        }
        DType::Bool => {
            let byte = ins.uload8(I32, DATA, address, offset);
            builder.ins().icmp_imm_u(IntCC::NotEqual, byte, 0)
        }
    }
}

/// Four neighbouring floats: f32, or the bits of narrower ones.
pub(super) fn load_four(
    builder: &mut FunctionBuilder<'_>,
    dtype: DType,
    Place { address, offset }: Place,
) -> Value {
    match dtype {
        DType::F32 => builder.ins().load(F32X4, DATA, address, offset),
        DType::F16 | DType::BF16 => builder.ins().uload16x4(DATA, address, offset),
        DType::F8E4M3 | DType::F8E5M2 => {
            let flags = MemFlagsData::new().with_endianness(Endianness::Little);
            let four = builder.ins().load(I32, DATA, address, offset);
            let low = builder.ins().scalar_to_vector(I32X4, four);
            let bytes = builder.ins().bitcast(I8X16, flags, low);
            let halves = builder.ins().uwiden_low(bytes);
            builder.ins().uwiden_low(halves)
        }
        DType::F64
        | DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::I4
        | DType::Bool => unreachable!("{} is not widened to f32", dtype.name()),
    }
}
