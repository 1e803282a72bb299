//! Instructions: whether their operands fit, and what registers they read and write.

use crate::modifier::{Space, special::Special};
use crate::module::{Address, Base, Guard, Inst, Operand, Reg};
use crate::op::Op;
use crate::signature::{Access, Kind, Slot};
use crate::types::{RegType, Type};

impl Inst {
    /// An instruction that all threads run.
    pub fn new(op: Op, operands: Vec<Operand>) -> Inst {
        Inst { guard: None, op, operands }
    }

    /// The same for threads in which a predicate holds.
    pub fn when(self, reg: Reg) -> Inst {
        Inst { guard: Some(Guard { reg, holds: true }), ..self }
    }

    /// The same for threads in which a predicate does not hold.
    pub fn unless(self, reg: Reg) -> Inst {
        Inst { guard: Some(Guard { reg, holds: false }), ..self }
    }

    /// Whether the modifiers go together and every operand fits its slot.
    pub fn check(&self) -> Result<(), String> {
        let slots = self.op.signature()?;
        if slots.len() != self.operands.len() {
            let (wanted, found) = (slots.len(), self.operands.len());
            return Err(format!("`{}` takes {wanted} operands, found {found}", self.op.mnemonic()));
        }
        for (place, (slot, operand)) in slots.iter().zip(&self.operands).enumerate() {
            fits(slot.kind, operand)
                .map_err(|why| format!("operand {} of `{}`: {why}", place + 1, self.op.mnemonic()))?;
        }
        match self.guard {
            Some(guard) if guard.reg.ty != RegType::Pred => Err("a guard has to be a predicate".to_owned()),
            Some(_) | None => Ok(()),
        }
    }

    /// The registers that it reads, in order: the guard, operands, bases of addresses. What is updated is
    /// both read and written.
    pub fn reads(&self) -> Vec<Reg> {
        let mut regs: Vec<Reg> = self.guard.iter().map(|guard| guard.reg).collect();
        for (slot, operand) in self.slots() {
            if slot.access != Access::Write {
                operand.regs(&mut regs);
            }
        }
        regs
    }

    /// The registers that it writes, in order.
    pub fn writes(&self) -> Vec<Reg> {
        let mut regs = Vec::new();
        for (slot, operand) in self.slots() {
            if slot.access != Access::Read {
                operand.regs(&mut regs);
            }
        }
        regs
    }

    /// Operands with their slots; none where the instruction does not exist.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &Operand)> {
        self.op.signature().unwrap_or_default().into_iter().zip(&self.operands)
    }
}

impl Operand {
    /// Appends the registers in it.
    pub fn regs(&self, into: &mut Vec<Reg>) {
        match self {
            Operand::Reg(reg) => into.push(*reg),
            Operand::Address(address) => address.regs(into),
            Operand::Vector(elements) => elements.iter().for_each(|element| element.regs(into)),
            Operand::Tensor(map, coordinates) => {
                map.regs(into);
                coordinates.iter().for_each(|coordinate| coordinate.regs(into));
            }
            Operand::Int(_)
            | Operand::F32(_)
            | Operand::F64(_)
            | Operand::Special(_)
            | Operand::Var(_)
            | Operand::Param(_)
            | Operand::Sink
            | Operand::Label(_) => {}
        }
    }
}

impl Address {
    fn regs(self, into: &mut Vec<Reg>) {
        if let Base::Reg(reg) = self.base {
            into.push(reg);
        }
    }
}

/// Whether an operand may stand where that is wanted.
pub(crate) fn fits(kind: Kind, operand: &Operand) -> Result<(), String> {
    let fit = match kind {
        Kind::Reg(ty) => register(ty, operand)?,
        Kind::Wanted(ty) => *operand == Operand::Sink || register(ty, operand)?,
        Kind::Value(ty) => value(ty, operand)?,
        Kind::Source(ty) => source(ty, operand)?,
        Kind::Count(most) => integer(0, most, operand)? || register(Type::U32, operand)?,
        Kind::Vector(ty, count) => elements(ty, count, operand)?,
        Kind::Address(space) => address(space, operand)?,
        Kind::Int(from, to) => integer(from, to, operand)?,
        Kind::Label => matches!(operand, Operand::Label(_)),
        Kind::Box(ranks) => tensor(ranks, operand)?,
    };
    if fit { Ok(()) } else { Err(format!("found {}, expected {}", describe(operand), wanted(kind))) }
}

/// Whether it is a register, of the right type.
fn register(ty: Type, operand: &Operand) -> Result<bool, String> {
    let Operand::Reg(reg) = operand else { return Ok(false) };
    if ty.fits(reg.ty) {
        return Ok(true);
    }
    Err(format!("a register of type {} cannot hold {}", reg.ty.text(), ty.text()))
}

/// Whether it is an integer, in that range.
fn integer(from: i64, to: i64, operand: &Operand) -> Result<bool, String> {
    let Operand::Int(int) = operand else { return Ok(false) };
    if (from..=to).contains(int) {
        return Ok(true);
    }
    Err(format!("{int} is not between {from} and {to}"))
}

/// Whether it is a register or a number, of the right type.
fn value(ty: Type, operand: &Operand) -> Result<bool, String> {
    if let Operand::Int(int) = operand {
        return if ty.takes_integers() { in_range(ty, *int) } else { Ok(false) };
    }
    let float = (matches!(operand, Operand::F32(_)) && ty == Type::F32)
        || (matches!(operand, Operand::F64(_)) && ty == Type::F64);
    Ok(float || register(ty, operand)?)
}

/// Whether it is something to move: a value, a special register, or the address of something.
fn source(ty: Type, operand: &Operand) -> Result<bool, String> {
    if let Operand::Special(special) = operand {
        return readable(*special, ty);
    }
    let address = matches!(operand, Operand::Var(_) | Operand::Param(_));
    let pointer = matches!(ty, Type::U32 | Type::U64 | Type::B32 | Type::B64);
    Ok((address && pointer) || value(ty, operand)?)
}

/// Whether an integer fits the bits of a type, with or without a sign.
fn in_range(ty: Type, int: i64) -> Result<bool, String> {
    let bits = ty.bits();
    if bits == 64 || (-(1i64 << (bits - 1))..1i64 << bits).contains(&int) {
        return Ok(true);
    }
    Err(format!("{int} does not fit {bits} bits"))
}

/// Whether a special register has the right width.
fn readable(special: Special, ty: Type) -> Result<bool, String> {
    let float = matches!(ty, Type::F32 | Type::F64);
    if special.bits() == ty.bits() && !float {
        return Ok(true);
    }
    Err(format!("%{} has {} bits and is no {}", special.text(), special.bits(), ty.text()))
}

/// Whether it is a vector of so many registers of the right type.
fn elements(ty: Type, count: u8, operand: &Operand) -> Result<bool, String> {
    let Operand::Vector(elements) = operand else { return Ok(false) };
    if elements.len() != usize::from(count) {
        return Err(format!("a vector of {} elements, expected {count}", elements.len()));
    }
    for element in elements {
        if !register(ty, element)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether it is an address of that space: its base has the width of the space's addresses.
fn address(space: Space, operand: &Operand) -> Result<bool, String> {
    let Operand::Address(address) = operand else { return Ok(false) };
    Ok(match (space, address.base) {
        (Space::Param, base) => matches!(base, Base::Param(_)),
        (Space::Shared, Base::Reg(reg)) => reg.ty == RegType::B32,
        (Space::Shared | Space::Local, Base::Var(_)) => true,
        (Space::Global | Space::Local | Space::Generic, Base::Reg(reg)) => reg.ty == RegType::B64,
        (Space::Global | Space::Generic, Base::Var(_)) => false,
        (Space::Global | Space::Shared | Space::Local | Space::Generic, Base::Param(_)) => false,
    })
}

/// Whether it is a box with so many coordinates, and a map that a register points to.
fn tensor(ranks: u8, operand: &Operand) -> Result<bool, String> {
    let Operand::Tensor(map, coordinates) = operand else { return Ok(false) };
    if coordinates.len() != usize::from(ranks) {
        return Err(format!("a box with {} coordinates, expected {ranks}", coordinates.len()));
    }
    for coordinate in coordinates {
        if !value(Type::S32, coordinate)? {
            return Ok(false);
        }
    }
    Ok(matches!(map.base, Base::Reg(reg) if reg.ty == RegType::B64))
}

/// An operand, for people.
fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Reg(reg) => format!("a register of type {}", reg.ty.text()),
        Operand::Int(int) => format!("the integer {int}"),
        Operand::F32(_) => "an f32".to_owned(),
        Operand::F64(_) => "an f64".to_owned(),
        Operand::Special(special) => format!("%{}", special.text()),
        Operand::Var(_) => "a variable".to_owned(),
        Operand::Param(_) => "a parameter".to_owned(),
        Operand::Sink => "`_`".to_owned(),
        Operand::Label(_) => "a label".to_owned(),
        Operand::Vector(_) => "a vector".to_owned(),
        Operand::Address(_) => "an address".to_owned(),
        Operand::Tensor(..) => "a box of a tensor".to_owned(),
    }
}

/// What was expected, for people.
fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Reg(ty) => format!("a register for {}", ty.text()),
        Kind::Wanted(ty) => format!("a register for {} or `_`", ty.text()),
        Kind::Value(ty) => format!("a register or number for {}", ty.text()),
        Kind::Source(ty) => format!("a register, number or address for {}", ty.text()),
        Kind::Count(most) => format!("a register for u32 or an integer from 0 to {most}"),
        Kind::Vector(ty, count) => format!("{count} registers for {} in braces", ty.text()),
        Kind::Address(Space::Generic) => "a generic address".to_owned(),
        Kind::Address(space) => format!("an address in .{}", space.text()),
        Kind::Int(from, to) => format!("an integer from {from} to {to}"),
        Kind::Label => "a label".to_owned(),
        Kind::Box(ranks) => format!("a box of a tensor with {ranks} ranks"),
    }
}
