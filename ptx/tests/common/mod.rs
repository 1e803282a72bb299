//! Instructions with operands that fit, made from signatures.

use attnc_ptx::modifier::Space;
use attnc_ptx::signature::{Kind, Slot};
use attnc_ptx::types::{RegType, Type};
use attnc_ptx::{
    Builder, Inst, Label, Module, Op, Operand, ParamId, ParamType, Reg, Target, VarId, VarPlace, at,
};

/// A kernel with something of everything, and the ids of it.
pub(crate) struct Stock {
    /// What is added to.
    pub(crate) builder: Builder,
    /// Numbers stand for what is read where this is even: these bits.
    pub(crate) numbers: u64,
    param: ParamId,
    shared: VarId,
    local: VarId,
    end: Label,
    shared_address: Reg,
    address: Reg,
}

impl Stock {
    /// An empty kernel.
    pub(crate) fn new() -> Stock {
        let mut builder = Builder::new("forms");
        let param = builder.param("given", ParamType::Bytes { bytes: 128, align: 64 });
        let local = builder.var(VarPlace::Local, "stack", 16, 64);
        let shared = builder.var(VarPlace::Dynamic, "tile", 1024, 4096);
        let end = builder.label("end");
        let shared_address = builder.reg(RegType::B32, "place");
        let address = builder.reg(RegType::B64, "address");
        let numbers = 1;
        Stock { builder, numbers, param, shared, local, end, shared_address, address }
    }

    /// An operand for a slot.
    pub(crate) fn operand(&mut self, slot: Slot) -> Operand {
        match slot.kind {
            Kind::Value(ty) | Kind::Source(ty) if self.numbers.is_multiple_of(2) => {
                let number = number(ty, self.numbers);
                number.unwrap_or_else(|| self.builder.fresh(ty.register()).into())
            }
            Kind::Reg(ty) | Kind::Wanted(ty) | Kind::Value(ty) | Kind::Source(ty) => {
                self.builder.fresh(ty.register()).into()
            }
            Kind::Vector(ty, count) => (&self.builder.regs(ty.register(), "v", count.into())).into(),
            Kind::Address(Space::Param) => at(self.param).plus(16).into(),
            Kind::Address(Space::Shared) if self.numbers.is_multiple_of(2) => at(self.shared).into(),
            Kind::Address(Space::Shared) => at(self.shared_address).plus(-16).into(),
            Kind::Address(Space::Local) => at(self.local).plus(16).into(),
            Kind::Address(Space::Global | Space::Generic) => at(self.address).into(),
            Kind::Count(most) if self.numbers.is_multiple_of(2) => Operand::Int(most),
            Kind::Count(_) => self.builder.fresh(RegType::B32).into(),
            Kind::Int(_, to) => Operand::Int(to),
            Kind::Label => self.end.into(),
            Kind::Box(ranks) => {
                let coordinates = self.builder.regs(RegType::B32, "c", ranks.into());
                let coordinates = coordinates.into_iter().map(Operand::Reg).collect();
                Operand::Tensor(at(self.address), coordinates)
            }
        }
    }

    /// An instruction with operands that fit.
    pub(crate) fn inst(&mut self, op: Op) -> Inst {
        let slots = op.signature().expect("an instruction that there is");
        Inst::new(op, slots.into_iter().map(|slot| self.operand(slot)).collect())
    }

    /// A module of this kernel alone.
    pub(crate) fn module(mut self, target: Target) -> Module {
        self.builder.place(self.end);
        self.builder.push(Op::Ret, vec![]);
        Module { version: (8, 1), target, comments: vec![], kernels: vec![self.builder.finish()] }
    }
}

/// A module of one kernel with these instructions; `numbers` as in [`Stock`].
pub(crate) fn module_of(target: Target, ops: &[Op], numbers: u64) -> Module {
    let mut stock = Stock { numbers, ..Stock::new() };
    for op in ops {
        let inst = stock.inst(*op);
        stock.builder.add(inst);
    }
    stock.module(target)
}

/// A number for an operand of this type, from some bits.
fn number(ty: Type, bits: u64) -> Option<Operand> {
    if ty == Type::F32 {
        Some(Operand::F32((bits >> 32) as u32))
    } else if ty == Type::F64 {
        Some(Operand::F64(bits))
    } else {
        ty.takes_integers().then(|| Operand::Int(bits.cast_signed() >> (64 - ty.bits())))
    }
}
