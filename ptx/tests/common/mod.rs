//! Instructions with operands that fit, made from signatures.

use attnc_ptx::modifier::Space;
use attnc_ptx::signature::{Kind, Slot};
use attnc_ptx::types::RegType;
use attnc_ptx::{Builder, Label, Module, Op, Operand, ParamId, ParamType, Reg, Target, VarId, VarPlace, at};

/// A kernel with something of everything, and the ids of it.
pub(crate) struct Stock {
    /// What is added to.
    pub(crate) builder: Builder,
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
        Stock { builder, param, shared, local, end, shared_address, address }
    }

    /// An operand for a slot.
    pub(crate) fn operand(&mut self, slot: Slot) -> Operand {
        match slot.kind {
            Kind::Reg(ty) | Kind::Wanted(ty) | Kind::Value(ty) | Kind::Source(ty) => {
                self.builder.fresh(ty.register()).into()
            }
            Kind::Vector(ty, count) => (&self.builder.regs(ty.register(), "v", count.into())).into(),
            Kind::Address(Space::Param) => at(self.param).plus(16).into(),
            Kind::Address(Space::Shared) => at(self.shared_address).plus(-16).into(),
            Kind::Address(Space::Local) => at(self.local).plus(16).into(),
            Kind::Address(Space::Global | Space::Generic) => at(self.address).into(),
            Kind::Int(_, to) => Operand::Int(to),
            Kind::Label => self.end.into(),
        }
    }

    /// Adds an instruction.
    pub(crate) fn add(&mut self, op: Op) {
        let slots = op.signature().unwrap();
        let operands = slots.into_iter().map(|slot| self.operand(slot)).collect();
        self.builder.push(op, operands);
    }
}

/// A module of one kernel with these instructions, as the target has them.
pub(crate) fn module_of(target: Target, ops: &[Op]) -> Module {
    let mut stock = Stock::new();
    for op in ops {
        stock.add(*op);
    }
    let end = stock.end;
    stock.builder.place(end);
    stock.builder.push(Op::Ret, vec![]);
    Module { version: (8, 1), target, comments: vec![], kernels: vec![stock.builder.finish()] }
}
