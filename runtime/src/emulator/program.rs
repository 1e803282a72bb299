//! Text of PTX → what is run: operands resolved to registers, numbers and addresses.

use attnc_ptx::modifier::special::Special;
use attnc_ptx::signature::{Kind, Slot};
use attnc_ptx::types::Type;
use attnc_ptx::{
    Address, Base, Inst, Kernel, Module, Op, Operand, ParseError, Stmt, Target, VarPlace, parse,
};

use super::number::low;

/// Where shared memory starts. The hardware keeps the first KiB of it, so that 0 is no address of ours.
pub(super) const SHARED_START: u64 = 1024;
/// The most shared memory of a block.
pub(super) const SHARED_LIMIT: u64 = 227 * 1024;

/// A module that was read and can be launched.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) kernels: Vec<Decoded>,
}

impl Program {
    /// Reads the text of a module.
    ///
    /// # Errors
    ///
    /// Where the text is none that [`attnc_ptx::parse`] takes.
    pub fn parse(text: &str) -> Result<Program, ParseError> {
        let Module { kernels, target, .. } = parse(text)?;
        Ok(Program { kernels: kernels.into_iter().map(|it| Decoded::new(it, target)).collect() })
    }

    /// A module as its text reads: it is printed and read back, so that the text is what is tested.
    ///
    /// # Errors
    ///
    /// Where the module is none that [`attnc_ptx::Builder`] made.
    pub fn new(module: &Module) -> Result<Program, ParseError> {
        Program::parse(&module.to_string())
    }

    /// The names of its kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|it| it.kernel.name.as_str())
    }
}

/// A kernel ready to run.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    pub(super) kernel: Kernel,
    /// The machine that it is for.
    pub(super) target: Target,
    pub(super) codes: Vec<Code>,
    /// The bits that each register keeps.
    pub(super) masks: Vec<u64>,
    /// Where each variable starts in its space.
    pub(super) places: Vec<u64>,
    /// Where each parameter starts among the arguments.
    pub(super) params: Vec<u64>,
    /// The bytes of all arguments.
    pub(super) param_bytes: u64,
    /// The bytes of shared memory up to the dynamic part, and its position.
    pub(super) static_shared: u64,
    pub(super) dynamic_start: u64,
    /// The bytes of local memory of a thread.
    pub(super) local: u64,
}

/// An instruction.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) op: Op,
    /// A predicate, and what it has to be.
    pub(super) guard: Option<(u32, bool)>,
    pub(super) args: Box<[Arg]>,
}

/// An operand.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Reg(u32),
    Const(u64),
    Special(Special),
    Place(Place),
    Many(Box<[Arg]>),
    Tensor(Place, Box<[Arg]>),
    /// The position of an instruction.
    Target(u32),
    Sink,
}

impl Arg {
    /// The registers or numbers in braces, or the one that stands alone.
    pub(super) fn each(&self) -> &[Arg] {
        if let Arg::Many(all) = self { all } else { std::slice::from_ref(self) }
    }
}

/// An address: what a register holds, or 0, and so many bytes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) base: Option<u32>,
    pub(super) offset: i64,
}

impl Decoded {
    fn new(kernel: Kernel, target: Target) -> Decoded {
        let mut decoded = Decoded {
            codes: Vec::new(),
            masks: kernel.regs.iter().map(|reg| low(u64::MAX, reg.ty.bits())).collect(),
            places: Vec::new(),
            params: Vec::new(),
            param_bytes: 0,
            static_shared: SHARED_START,
            dynamic_start: 0,
            local: 0,
            kernel,
            target,
        };
        decoded.lay_out();
        let mut targets = vec![0; decoded.kernel.labels.len()];
        let mut pc = 0;
        for stmt in &decoded.kernel.body {
            match stmt {
                Stmt::Label(label) => targets[label.0 as usize] = pc,
                Stmt::Inst(_) => pc += 1,
                Stmt::NoUnroll | Stmt::Comment(_) => {}
            }
        }
        decoded.codes = decoded.kernel.insts().map(|(_, inst)| decoded.code(inst, &targets)).collect();
        decoded
    }

    /// Gives every variable and parameter its place. Dynamic memory follows what is static.
    fn lay_out(&mut self) {
        let place = |end: &mut u64, align: u32, bytes: u32| {
            let start = end.next_multiple_of(u64::from(align.max(1)));
            *end = start + u64::from(bytes);
            start
        };
        for var in &self.kernel.vars {
            self.places.push(match var.place {
                VarPlace::Shared => place(&mut self.static_shared, var.align, var.bytes),
                VarPlace::Local => place(&mut self.local, var.align, var.bytes),
                VarPlace::Dynamic => 0,
            });
        }
        let dynamic = self.kernel.vars.iter().filter(|var| var.place == VarPlace::Dynamic);
        let align = dynamic.map(|var| var.align).max().unwrap_or(1);
        self.dynamic_start = self.static_shared.next_multiple_of(u64::from(align.max(1)));
        for (place, var) in self.places.iter_mut().zip(&self.kernel.vars) {
            if var.place == VarPlace::Dynamic {
                *place = self.dynamic_start;
            }
        }
        for param in &self.kernel.params {
            let align = match param.ty {
                attnc_ptx::ParamType::Bytes { align, .. } => align,
                attnc_ptx::ParamType::U32
                | attnc_ptx::ParamType::U64
                | attnc_ptx::ParamType::S32
                | attnc_ptx::ParamType::S64
                | attnc_ptx::ParamType::F32
                | attnc_ptx::ParamType::F64 => param.ty.bytes(),
            };
            self.params.push(place(&mut self.param_bytes, align, param.ty.bytes()));
        }
    }

    fn code(&self, inst: &Inst, targets: &[u32]) -> Code {
        let args = inst.slots().map(|(slot, operand)| self.arg(slot, operand, targets)).collect();
        Code { op: inst.op, guard: inst.guard.map(|guard| (guard.reg.id, guard.holds)), args }
    }

    fn arg(&self, slot: Slot, operand: &Operand, targets: &[u32]) -> Arg {
        match operand {
            Operand::Reg(reg) => Arg::Reg(reg.id),
            Operand::Int(int) => Arg::Const(low(int.cast_unsigned(), width(slot.kind))),
            Operand::F32(bits) => Arg::Const((*bits).into()),
            Operand::F64(bits) => Arg::Const(*bits),
            Operand::Special(special) => Arg::Special(*special),
            Operand::Var(var) => Arg::Const(self.places[var.0 as usize]),
            Operand::Param(param) => Arg::Const(self.params[param.0 as usize]),
            Operand::Sink => Arg::Sink,
            Operand::Label(label) => Arg::Target(targets[label.0 as usize]),
            Operand::Vector(elements) => {
                Arg::Many(elements.iter().map(|it| self.arg(slot, it, targets)).collect())
            }
            Operand::Address(address) => Arg::Place(self.place(*address)),
            Operand::Tensor(map, coordinates) => {
                let coordinates = coordinates.iter().map(|it| self.arg(slot, it, targets)).collect();
                Arg::Tensor(self.place(*map), coordinates)
            }
        }
    }

    fn place(&self, address: Address) -> Place {
        let offset = i64::from(address.offset);
        let from = |start: u64| Place { base: None, offset: start.cast_signed() + offset };
        match address.base {
            Base::Reg(reg) => Place { base: Some(reg.id), offset },
            Base::Var(var) => from(self.places[var.0 as usize]),
            Base::Param(param) => from(self.params[param.0 as usize]),
        }
    }

    /// An instruction as PTX, without most registers of large fragments.
    pub(super) fn text(&self, pc: usize) -> String {
        let Some((_, inst)) = self.kernel.insts().nth(pc) else { return "the end".to_owned() };
        let mut inst = inst.clone();
        let mut long = Vec::new();
        for operand in &mut inst.operands {
            if let Operand::Vector(elements) = operand
                && elements.len() > 4
            {
                elements.drain(2..elements.len() - 1);
                long.push(elements[1].clone());
            }
        }
        let mut text = self.kernel.text(&inst);
        for second in long {
            if let Operand::Reg(reg) = second {
                let name = format!(", %{},", self.kernel.regs[reg.id as usize].name);
                text = text.replacen(&name, ", …,", 1);
            }
        }
        text
    }
}

/// The bits of a number in a slot.
fn width(kind: Kind) -> u32 {
    match kind {
        Kind::Reg(ty) | Kind::Wanted(ty) | Kind::Value(ty) | Kind::Source(ty) | Kind::Vector(ty, _) => {
            ty.bits()
        }
        Kind::Count(_) => Type::U32.bits(),
        // Coordinates of a box.
        Kind::Box(_) => Type::S32.bits(),
        Kind::Address(_) | Kind::Int(..) | Kind::Label => 64,
    }
}
