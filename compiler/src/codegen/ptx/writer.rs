//! Instructions in the making: what is computed once is not computed again, and not within a loop that it does not
//! depend on.
//!
//! Every block that is open has a list of instructions; the list of the block around a loop ends just before the loop. So
//! an instruction that only computes is added to the list of the innermost block that one of its operands belongs to, unless
//! a branch lies between: what may not be needed is not computed.

use std::cell::RefCell;
use std::collections::HashMap;

use attnc_ptx::modifier::{Compare, IntOp, LogicOp, Uniform};
use attnc_ptx::types::{Int, Logical, RegType};
use attnc_ptx::{Builder, Inst, Kernel, Label, Op, Operand, Reg, Stmt, VarPlace, args};

use super::value::{Value, moved_as};

/// The most shared memory that a text may declare with its size.
const DECLARED: u32 = attnc_ptx::verify::DECLARED;

/// A kernel in the making.
pub(super) struct Writer(RefCell<State>);

struct State {
    builder: Builder,
    open: Vec<Open>,
    /// What does not change while the kernel runs, whichever way it takes.
    constants: Vec<Stmt>,
    /// The block that each register belongs to, by position.
    level: HashMap<Reg, usize>,
    /// Integers that are sums of another and a number.
    sums: HashMap<Reg, (Value, i64)>,
    /// Predicates that say that one value is not another.
    differences: HashMap<Reg, (Value, Value)>,
    /// Whether what a loop does not change is computed before it, and what a block around computes is not again.
    hoists: bool,
    /// What lies in shared memory: the register of its address, its alignment, its bytes.
    shared: Vec<(Reg, u32, u32)>,
}

impl State {
    fn level_of(&self, value: Value) -> usize {
        if let Value::Reg(reg) = value { self.level[&reg] } else { 0 }
    }
}

/// A block that is open.
#[derive(Default)]
struct Open {
    stmts: Vec<Stmt>,
    /// What is computed in it.
    known: HashMap<(Op, Vec<Value>, RegType), Reg>,
    /// Whether it may not be run.
    conditional: bool,
}

/// What a block became.
pub(super) struct Closed(Vec<Stmt>);

impl Writer {
    /// A kernel without instructions; one that hoists needs more registers.
    pub(super) fn new(builder: Builder, hoists: bool) -> Writer {
        Writer(RefCell::new(State {
            builder,
            open: vec![Open::default()],
            constants: Vec::new(),
            level: HashMap::new(),
            sums: HashMap::new(),
            differences: HashMap::new(),
            hoists,
            shared: Vec::new(),
        }))
    }

    /// A new register that belongs to the innermost block.
    pub(super) fn fresh(&self, ty: RegType) -> Reg {
        let mut state = self.0.borrow_mut();
        let reg = state.builder.fresh(ty);
        let level = state.open.len() - 1;
        state.level.insert(reg, level);
        reg
    }

    /// A new label.
    pub(super) fn label(&self, name: &str) -> Label {
        self.0.borrow_mut().builder.label(name)
    }

    /// An integer as the sum of another and a number: `(m + 3) - 1` is `m + 2`.
    pub(super) fn split(&self, value: Value) -> (Value, i64) {
        match value {
            Value::Int(it) => (Value::Int(0), it),
            Value::Reg(reg) => self.0.borrow().sums.get(&reg).copied().unwrap_or((value, 0)),
            Value::F32(_) | Value::F64(_) | Value::Bool(_) => unreachable!("{value:?} is no integer"),
        }
    }

    /// Remembers of what an integer is the sum.
    pub(super) fn note_sum(&self, value: Value, base: Value, number: i64) {
        if let Value::Reg(reg) = value {
            self.0.borrow_mut().sums.insert(reg, (base, number));
        }
    }

    /// Remembers that a predicate says that one value is not another.
    pub(super) fn note_difference(&self, predicate: Value, a: Value, b: Value) {
        if let Value::Reg(reg) = predicate {
            self.0.borrow_mut().differences.insert(reg, (a, b));
        }
    }

    /// The values of which a predicate says that one is not the other.
    pub(super) fn difference(&self, predicate: Value) -> Option<(Value, Value)> {
        let Value::Reg(reg) = predicate else { return None };
        self.0.borrow().differences.get(&reg).copied()
    }

    /// How deep the block lies that a value belongs to.
    pub(super) fn level(&self, value: Value) -> usize {
        self.0.borrow().level_of(value)
    }

    /// Adds an instruction to the innermost block.
    #[track_caller]
    pub(super) fn add(&self, inst: Inst) {
        let mut state = self.0.borrow_mut();
        state.open.last_mut().expect("a block is open").stmts.push(Stmt::Inst(inst));
    }

    /// The result of an instruction that only computes.
    pub(super) fn pure(&self, ty: RegType, op: Op, operands: &[Value]) -> Value {
        if let Some((op, operands)) = by_bits(op, operands) {
            return self.pure(ty, op, &operands);
        }
        let mut state = self.0.borrow_mut();
        let innermost = state.open.len() - 1;
        let least = operands.iter().map(|&it| state.level_of(it)).max().unwrap_or(0);
        let least = if state.hoists { least } else { innermost };
        let key = (op, operands.to_vec(), ty);
        if let Some(&known) = state.open[least..].iter().find_map(|it| it.known.get(&key)) {
            return Value::Reg(known);
        }
        let branch = state.open.iter().rposition(|it| it.conditional).unwrap_or(0);
        let level = least.max(branch);
        let reg = state.builder.fresh(ty);
        state.level.insert(reg, level);
        let operands = std::iter::once(Operand::Reg(reg)).chain(operands.iter().map(|&it| it.into()));
        let inst = Inst::new(op, operands.collect());
        state.open[level].stmts.push(Stmt::Inst(inst));
        state.open[level].known.insert(key, reg);
        Value::Reg(reg)
    }

    /// A value that does not change while the kernel runs, made by `make` before everything else the first time that it
    /// is asked for.
    pub(super) fn constant(&self, name: Op, key: i64, ty: RegType, make: impl FnOnce(Reg) -> Inst) -> Reg {
        let mut state = self.0.borrow_mut();
        let key = (name, vec![Value::Int(key)], ty);
        if let Some(&known) = state.open[0].known.get(&key) {
            return known;
        }
        let reg = state.builder.fresh(ty);
        state.level.insert(reg, 0);
        state.constants.push(Stmt::Inst(make(reg)));
        state.open[0].known.insert(key, reg);
        reg
    }

    /// A register with that value.
    pub(super) fn reg(&self, ty: RegType, value: Value) -> Reg {
        let number = match value {
            Value::Reg(reg) => return reg,
            Value::Bool(it) => {
                let one = Value::Reg(self.reg(RegType::B32, Value::Int(1)));
                let cmp = if it { Compare::Ne } else { Compare::Eq };
                let op = Op::IntSetp { cmp, combine: attnc_ptx::modifier::Combine::None, ty: Int::S32 };
                self.pure(RegType::Pred, op, &[one, Value::Int(0)])
            }
            Value::F32(_) | Value::F64(_) | Value::Int(_) => {
                let moved = moved_as(ty).expect("numbers are not moved to predicates");
                self.pure(ty, Op::Mov { ty: moved }, &[value])
            }
        };
        let Value::Reg(reg) = number else { unreachable!("instructions give registers") };
        reg
    }

    /// Gives registers new values, all at the same time.
    pub(super) fn assign(&self, moves: &[(Reg, Value)]) {
        let moved = |it: &Value| matches!(it, Value::Reg(reg) if moves.iter().any(|(to, _)| to == reg));
        let moves: Vec<(Reg, Value)> =
            moves.iter().copied().filter(|(to, it)| *it != Value::Reg(*to)).collect();
        let saved: Vec<(Reg, Value)> = moves
            .iter()
            .map(|&(to, it)| {
                if !moved(&it) {
                    return (to, it);
                }
                let kept = self.fresh(to.ty);
                self.copy(kept, it);
                (to, Value::Reg(kept))
            })
            .collect();
        saved.into_iter().for_each(|(to, it)| self.copy(to, it));
    }

    /// Gives a register a value.
    pub(super) fn copy(&self, to: Reg, value: Value) {
        match moved_as(to.ty) {
            Some(ty) => self.add(Inst::new(Op::Mov { ty }, args![to, Operand::from(value)])),
            None => self.add(Inst::new(Op::MovPred, args![to, self.reg(RegType::Pred, value)])),
        }
    }

    /// Opens a block; what is in one that may not be run stays in it.
    pub(super) fn open(&self, conditional: bool) {
        self.0.borrow_mut().open.push(Open { conditional, ..Open::default() });
    }

    /// A value that is computed anew each time, and all that it is made of: no register is kept for that over a loop.
    pub(super) fn in_place(&self, ty: RegType, make: impl FnOnce() -> Value) -> Value {
        let into = self.fresh(ty);
        self.open(true);
        self.copy(into, make());
        let closed = self.close(&[]);
        self.append(closed);
        Value::Reg(into)
    }

    /// Closes the innermost block. Registers that live on belong to the one around it.
    pub(super) fn close(&self, living: &[Reg]) -> Closed {
        let mut state = self.0.borrow_mut();
        let closed = state.open.pop().expect("a block is open");
        let level = state.open.len() - 1;
        for &reg in living {
            state.level.insert(reg, level);
        }
        Closed(closed.stmts)
    }

    /// Adds a block that was closed.
    pub(super) fn append(&self, block: Closed) {
        let mut state = self.0.borrow_mut();
        state.open.last_mut().expect("a block is open").stmts.extend(block.0);
    }

    /// Places a label.
    pub(super) fn place(&self, label: Label) {
        let mut state = self.0.borrow_mut();
        state.open.last_mut().expect("a block is open").stmts.push(Stmt::Label(label));
    }

    /// Says of the loop that begins with the label before that it is not unrolled.
    pub(super) fn no_unroll(&self) {
        let mut state = self.0.borrow_mut();
        state.open.last_mut().expect("a block is open").stmts.push(Stmt::NoUnroll);
    }

    /// Goes to a label, if a predicate is as it has to be.
    pub(super) fn bra(&self, label: Label, guard: Option<(Reg, bool)>) {
        let inst = Inst::new(Op::Bra { uniform: Uniform::No }, args![label]);
        self.add(match guard {
            Some((reg, true)) => inst.when(reg),
            Some((reg, false)) => inst.unless(reg),
            None => inst,
        });
    }

    /// The address of so many bytes of shared memory, a multiple of `align`.
    pub(super) fn shared(&self, bytes: u32, align: u32) -> Value {
        let mut state = self.0.borrow_mut();
        let reg = state.builder.fresh(RegType::B32);
        state.level.insert(reg, 0);
        state.shared.push((reg, align, bytes));
        Value::Reg(reg)
    }

    /// The kernel.
    pub(super) fn finish(self) -> Kernel {
        let State { mut builder, open, constants, shared, .. } = self.0.into_inner();
        place_shared(&mut builder, &shared);
        for stmt in constants.into_iter().chain(open.into_iter().flat_map(|it| it.stmts)) {
            match stmt {
                Stmt::Inst(inst) => builder.add(inst),
                Stmt::Label(label) => builder.place(label),
                Stmt::NoUnroll => builder.no_unroll(),
                Stmt::Comment(text) => builder.comment(&text),
            }
        }
        builder.push(Op::Ret, args![]);
        builder.finish()
    }
}

/// A quotient by a power of two, or what it leaves, as an operation on bits: ptxas would divide.
fn by_bits(op: Op, operands: &[Value]) -> Option<(Op, [Value; 2])> {
    let (Op::IntBinary { op, ty: ty @ Int::U32 }, &[a, Value::Int(by)]) = (op, operands) else { return None };
    let by = u32::try_from(by).ok().filter(|it| it.is_power_of_two())?;
    let (div, and) = (Op::Shr { ty }, Op::Logic { op: LogicOp::And, ty: Logical::B32 });
    match op {
        IntOp::Div => Some((div, [a, Value::Int(by.trailing_zeros().into())])),
        IntOp::Rem => Some((and, [a, Value::Int((by - 1).into())])),
        IntOp::Add | IntOp::Sub | IntOp::MulLo | IntOp::MulHi | IntOp::Min | IntOp::Max => None,
    }
}

/// Gives what lies in shared memory its place: variables of its own, or parts of one whose size a launch gives where a text
/// may not declare as much.
fn place_shared(builder: &mut Builder, shared: &[(Reg, u32, u32)]) {
    let mut end = 0;
    let places = shared.iter().map(|&(_, align, bytes)| {
        let start = u32::next_multiple_of(end, align);
        end = start + bytes;
        start
    });
    let places: Vec<u32> = places.collect();
    let mov = Op::Mov { ty: attnc_ptx::types::Scalar::U32 };
    if end <= DECLARED {
        for (at, &(reg, align, bytes)) in shared.iter().enumerate() {
            let var = builder.var(VarPlace::Shared, &format!("tile_{at}"), align, bytes);
            builder.push(mov, args![reg, var]);
        }
        return;
    }
    let align = shared.iter().map(|it| it.1).max().unwrap_or(1);
    let var = builder.var(VarPlace::Dynamic, "tiles", align, end);
    let start = builder.fresh(RegType::B32);
    builder.push(mov, args![start, var]);
    for (&(reg, ..), place) in shared.iter().zip(places) {
        builder.push(Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![reg, start, place]);
    }
}
