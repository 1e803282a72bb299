//! Writing kernels: fresh registers and labels, and instructions that are checked when they are added.
//!
//! An instruction whose operands do not fit is a mistake in the code that builds it, so [`Builder::push`]
//! panics at the caller's line.
//!
//! ```
//! use attnc_ptx::modifier::{FloatOp, Space};
//! use attnc_ptx::types::{Data, Float, Narrow, Scalar};
//! use attnc_ptx::{Builder, Op, ParamType, Special, args, at};
//!
//! let mut b = Builder::new("twice");
//! let x = b.param("x", ParamType::U64);
//! let base = b.load(Space::Param, Data::U64, at(x));
//! let thread = b.mov(Scalar::U32, Special::TidX);
//! let place = b.def(Op::MadWide { ty: Narrow::U32 }, args![thread, 4, base]);
//! let value = b.load(Space::Global, Data::F32, at(place));
//! let sum = b.float(FloatOp::Add, Float::F32, value, value);
//! b.store(Space::Global, Data::F32, at(place), sum);
//! b.push(Op::Ret, args![]);
//! assert!(b.finish().text_of_body().contains("add.rn.f32 %f1, %f0, %f0;"));
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::modifier::special::Special;
use crate::modifier::*;
use crate::module::*;
use crate::op::Op;
use crate::signature::{Access, Kind, Slot};
use crate::types::*;

/// A kernel that is being written.
#[derive(Debug)]
pub struct Builder {
    kernel: Kernel,
    /// Names of registers that are taken, among them those of the machine.
    taken: BTreeSet<String>,
    /// How often a name of a register or label was asked for.
    asked: BTreeMap<String, u32>,
    /// The next number of registers without a name, by type.
    next: BTreeMap<RegType, u32>,
}

impl Builder {
    /// An empty kernel.
    pub fn new(name: &str) -> Builder {
        let kernel = Kernel { name: name.to_owned(), ..Kernel::default() };
        let taken = Special::ALL.iter().map(|special| special.text().to_owned()).collect();
        Builder { kernel, taken, asked: BTreeMap::new(), next: BTreeMap::new() }
    }

    /// Adds a remark above the kernel.
    pub fn about(&mut self, text: &str) {
        self.kernel.comments.extend(lines(text));
    }

    /// Adds a parameter.
    pub fn param(&mut self, name: &str, ty: ParamType) -> ParamId {
        let id = ParamId(position(self.kernel.params.len()));
        self.kernel.params.push(Param { name: name.to_owned(), ty });
        id
    }

    /// Adds a variable.
    pub fn var(&mut self, place: VarPlace, name: &str, align: u32, bytes: u32) -> VarId {
        let id = VarId(position(self.kernel.vars.len()));
        self.kernel.vars.push(Var { name: name.to_owned(), place, align, bytes });
        id
    }

    /// Limits the threads of a block along x.
    pub fn threads(&mut self, x: u32) {
        self.kernel.max_threads = Some([x, 1, 1]);
    }

    /// Asks for registers so few that this many blocks fit on a multiprocessor.
    pub fn min_blocks(&mut self, blocks: u32) {
        self.kernel.min_blocks = Some(blocks);
    }

    /// Has blocks launched in clusters along x.
    pub fn cluster(&mut self, x: u32) {
        self.kernel.cluster = Some([x, 1, 1]);
    }

    /// A new register that is called after its type.
    pub fn fresh(&mut self, ty: RegType) -> Reg {
        let letter = match ty {
            RegType::Pred => 'p',
            RegType::B16 => 'h',
            RegType::B32 => 'r',
            RegType::B64 => 'd',
            RegType::F32 => 'f',
            RegType::F64 => 'g',
        };
        loop {
            let number = self.next.entry(ty).or_default();
            let name = format!("{letter}{number}");
            *number += 1;
            if !self.taken.contains(&name) {
                return self.declare(name, ty);
            }
        }
    }

    /// A new register with a name, or one like it where that is taken.
    pub fn reg(&mut self, ty: RegType, name: &str) -> Reg {
        let free = self.unused(name, |b, name| !b.taken.contains(name));
        self.declare(free, ty)
    }

    /// So many new registers `name0`, `name1`, …: a fragment.
    pub fn regs(&mut self, ty: RegType, name: &str, count: u32) -> Vec<Reg> {
        let digit = |last: char| last.is_ascii_digit();
        let base = self.unused(name, |b, name| {
            !name.ends_with(digit) && (0..count).all(|at| !b.taken.contains(&format!("{name}{at}")))
        });
        (0..count).map(|number| self.declare(format!("{base}{number}"), ty)).collect()
    }

    fn declare(&mut self, name: String, ty: RegType) -> Reg {
        let id = position(self.kernel.regs.len());
        self.taken.insert(name.clone());
        self.kernel.regs.push(RegDecl { name, ty });
        Reg { id, ty }
    }

    /// A name as PTX has it that is free: the one given, or with a number and perhaps `_` after it. One that
    /// starts with `$` is counted apart, and given without that.
    fn unused(&mut self, name: &str, free: impl Fn(&mut Builder, &str) -> bool) -> String {
        let asked = self.asked.get(name).copied().unwrap_or(0);
        let clean = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        let mut base: String = name.trim_start_matches('$').chars().map(clean).collect();
        if !base.starts_with(|first: char| first.is_ascii_alphabetic()) {
            base.insert(0, 'x');
        }
        for number in asked.. {
            let plain = if number == 0 { base.clone() } else { format!("{base}_{number}") };
            for candidate in [format!("{plain}_"), plain].into_iter().rev() {
                if free(self, &candidate) {
                    self.asked.insert(name.to_owned(), number + 1);
                    return candidate;
                }
            }
        }
        unreachable!("a kernel has fewer names than there are numbers")
    }

    /// A new label, to be placed once.
    pub fn label(&mut self, name: &str) -> Label {
        let id = Label(position(self.kernel.labels.len()));
        let free = self.unused(&format!("${name}"), |b, name| b.taken.insert(format!("${name}")));
        self.kernel.labels.push(free);
        id
    }

    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        self.kernel.body.push(Stmt::Label(label));
    }

    /// Says of the loop that begins with the label before that it is not unrolled.
    pub fn no_unroll(&mut self) {
        self.kernel.body.push(Stmt::NoUnroll);
    }

    /// Adds a remark.
    pub fn comment(&mut self, text: &str) {
        self.kernel.body.extend(lines(text).map(Stmt::Comment));
    }

    /// Adds an instruction.
    #[track_caller]
    pub fn push(&mut self, op: Op, operands: Vec<Operand>) {
        self.add(Inst::new(op, operands));
    }

    /// Adds an instruction, with its guard if it has one.
    ///
    /// # Panics
    ///
    /// Where an operand does not fit.
    #[track_caller]
    pub fn add(&mut self, inst: Inst) {
        if let Err(why) = inst.check() {
            panic!("{why}, in `{}`", self.kernel.text(&inst));
        }
        self.kernel.body.push(Stmt::Inst(inst));
    }

    /// Adds an instruction whose first operand is a new register, and gives that. `operands` are the others.
    ///
    /// # Panics
    ///
    /// Where an operand does not fit, or the instruction has no such result.
    #[track_caller]
    pub fn def(&mut self, op: Op, operands: Vec<Operand>) -> Reg {
        let result = self.result(op);
        self.define(result, op, operands);
        result
    }

    /// As [`Builder::def`] with a register that is there.
    #[track_caller]
    pub fn define(&mut self, result: Reg, op: Op, operands: Vec<Operand>) {
        let operands = std::iter::once(Operand::Reg(result)).chain(operands).collect();
        self.add(Inst::new(op, operands));
    }

    /// A new register for the first operand of an instruction.
    #[track_caller]
    fn result(&mut self, op: Op) -> Reg {
        let slots = op.signature().unwrap_or_else(|why| panic!("{why}"));
        match slots.first() {
            Some(Slot { access: Access::Write, kind: Kind::Reg(ty) | Kind::Wanted(ty) }) => {
                self.fresh(ty.register())
            }
            Some(_) | None => panic!("`{}` has no single result", op.mnemonic()),
        }
    }

    /// `a` in a new register; also special registers and addresses of variables and parameters.
    #[track_caller]
    pub fn mov(&mut self, ty: Scalar, a: impl Into<Operand>) -> Reg {
        self.def(Op::Mov { ty }, vec![a.into()])
    }

    /// `a op b` of integers.
    #[track_caller]
    pub fn int(&mut self, op: IntOp, ty: Int, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.def(Op::IntBinary { op, ty }, vec![a.into(), b.into()])
    }

    /// `a op b` of floats, rounded to the nearest and never fused.
    #[track_caller]
    pub fn float(&mut self, op: FloatOp, ty: Float, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let op = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty };
        self.def(op, vec![a.into(), b.into()])
    }

    /// `a · b + c` of floats, rounded once.
    #[track_caller]
    pub fn fma(
        &mut self,
        ty: Float,
        a: impl Into<Operand>,
        b: impl Into<Operand>,
        c: impl Into<Operand>,
    ) -> Reg {
        let op = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty };
        self.def(op, vec![a.into(), b.into(), c.into()])
    }

    /// Whether `a cmp b` of integers.
    #[track_caller]
    pub fn compare(&mut self, cmp: Compare, ty: Int, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.def(Op::IntSetp { cmp, combine: Combine::None, ty }, vec![a.into(), b.into()])
    }

    /// `p ? a : b`.
    #[track_caller]
    pub fn select(&mut self, ty: Scalar, p: Reg, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.def(Op::Selp { ty }, vec![a.into(), b.into(), p.into()])
    }

    /// Loads a value.
    #[track_caller]
    pub fn load(&mut self, space: Space, ty: Data, from: Address) -> Reg {
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::One);
        self.def(Op::Ld { order, space, cache, lanes, ty }, vec![from.into()])
    }

    /// Stores a value.
    #[track_caller]
    pub fn store(&mut self, space: Space, ty: Data, to: Address, value: impl Into<Operand>) {
        let (order, cache, lanes) = (StoreOrder::Weak, StoreCache::Default, Lanes::One);
        self.push(Op::St { order, space, cache, lanes, ty }, vec![to.into(), value.into()]);
    }

    /// Goes to a label.
    pub fn bra(&mut self, label: Label) {
        self.push(Op::Bra { uniform: Uniform::No }, vec![label.into()]);
    }

    /// Goes to a label where a predicate holds.
    #[track_caller]
    pub fn bra_if(&mut self, p: Reg, label: Label) {
        self.add(Inst::new(Op::Bra { uniform: Uniform::No }, vec![label.into()]).when(p));
    }

    /// Goes to a label where a predicate does not hold.
    #[track_caller]
    pub fn bra_unless(&mut self, p: Reg, label: Label) {
        self.add(Inst::new(Op::Bra { uniform: Uniform::No }, vec![label.into()]).unless(p));
    }

    /// What is added by `then` runs where a predicate holds.
    #[track_caller]
    pub fn when(&mut self, p: Reg, then: impl FnOnce(&mut Builder)) {
        let end = self.label("end");
        self.bra_unless(p, end);
        then(self);
        self.place(end);
    }

    /// The kernel. Registers are sorted by type and name, dynamic memory comes first, and labels are
    /// numbered as they are placed, so ids handed out before no longer hold.
    pub fn finish(self) -> Kernel {
        let mut kernel = self.kernel;
        let regs = sort(&mut kernel.regs, |reg| {
            let base = reg.name.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let number = reg.name[base.len()..].parse().unwrap_or(0u64);
            (reg.ty, base.to_owned(), number)
        });
        let vars = sort(&mut kernel.vars, |var| var.place != VarPlace::Dynamic);
        let mut places = BTreeMap::new();
        for stmt in &kernel.body {
            if let Stmt::Label(label) = stmt {
                let next = places.len();
                places.entry(label.0 as usize).or_insert(next);
            }
        }
        let mut position = 0;
        let labels = sort(&mut kernel.labels, |_| {
            position += 1;
            places.get(&(position - 1)).copied().unwrap_or(usize::MAX)
        });
        for stmt in &mut kernel.body {
            match stmt {
                Stmt::Label(label) => label.0 = labels[label.0 as usize],
                Stmt::Inst(inst) => renumber(inst, &regs, &vars, &labels),
                Stmt::NoUnroll | Stmt::Comment(_) => {}
            }
        }
        kernel
    }
}

/// Sorts a table, keeping the order of equals, and gives the new position of every entry.
fn sort<T: Clone, K: Ord>(table: &mut Vec<T>, mut key: impl FnMut(&T) -> K) -> Vec<u32> {
    let mut order: Vec<(K, usize)> =
        table.iter().map(&mut key).enumerate().map(|(at, key)| (key, at)).collect();
    order.sort();
    let mut moved = vec![0; table.len()];
    for (new, (_, old)) in order.iter().enumerate() {
        moved[*old] = position(new);
    }
    *table = order.iter().map(|(_, old)| table[*old].clone()).collect();
    moved
}

/// Puts new ids in place of old ones.
fn renumber(inst: &mut Inst, regs: &[u32], vars: &[u32], labels: &[u32]) {
    if let Some(guard) = &mut inst.guard {
        guard.reg.id = regs[guard.reg.id as usize];
    }
    let mut operands: Vec<&mut Operand> = inst.operands.iter_mut().collect();
    while let Some(operand) = operands.pop() {
        match operand {
            Operand::Reg(reg) => reg.id = regs[reg.id as usize],
            Operand::Var(var) => var.0 = vars[var.0 as usize],
            Operand::Label(label) => label.0 = labels[label.0 as usize],
            Operand::Vector(elements) => operands.extend(elements),
            Operand::Address(address) => renumber_base(&mut address.base, regs, vars),
            Operand::Tensor(map, coordinates) => {
                renumber_base(&mut map.base, regs, vars);
                operands.extend(coordinates);
            }
            Operand::Int(_)
            | Operand::F32(_)
            | Operand::F64(_)
            | Operand::Special(_)
            | Operand::Param(_)
            | Operand::Sink => {}
        }
    }
}

fn renumber_base(base: &mut Base, regs: &[u32], vars: &[u32]) {
    match base {
        Base::Reg(reg) => reg.id = regs[reg.id as usize],
        Base::Var(var) => var.0 = vars[var.0 as usize],
        Base::Param(_) => {}
    }
}

/// The lines of a remark, without blanks at their ends.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| line.trim_end().to_owned())
}

/// A position in a table.
fn position(length: usize) -> u32 {
    u32::try_from(length).expect("a kernel has fewer than 2^32 registers and labels")
}
