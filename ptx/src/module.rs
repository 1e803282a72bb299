//! A module of kernels, as data.
//!
//! Registers, variables, parameters and labels are positions in tables of their kernel; a register also
//! carries its type, so an instruction can be checked where it is made. Names matter to people only.
//!
//! Invariants, checked by [`Inst::check`]: operands are as the signature of the operation has them.
//! Labels are numbered in the order in which they are placed: [`crate::Builder::finish`] and
//! [`crate::parse`] see to it, so that printing and parsing lose nothing.

use crate::modifier::special::Special;
use crate::op::Op;
use crate::piece::pieces;
use crate::types::RegType;

/// What one PTX file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The version of PTX: (8, 0).
    pub version: (u8, u8),
    /// The machine.
    pub target: Target,
    /// Lines at the top, for people.
    pub comments: Vec<String>,
    /// The kernels.
    pub kernels: Vec<Kernel>,
}

pieces! {
    /// The machine that a module is for.
    Target { Sm80 = "sm_80", Sm90a = "sm_90a" }
}

/// An entry point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Lines above it, for people.
    pub comments: Vec<String>,
    /// What it is called with.
    pub params: Vec<Param>,
    /// The most threads of a block along x, y and z (`.maxntid`).
    pub max_threads: Option<[u32; 3]>,
    /// How many blocks should fit on a multiprocessor at a time (`.minnctapersm`).
    pub min_blocks: Option<u32>,
    /// The blocks of a cluster along x, y and z (`.reqnctapercluster`).
    pub cluster: Option<[u32; 3]>,
    /// Variables in shared and local memory.
    pub vars: Vec<Var>,
    /// Every register.
    pub regs: Vec<RegDecl>,
    /// The names of labels.
    pub labels: Vec<String>,
    /// What it does.
    pub body: Vec<Stmt>,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What it is.
    pub ty: ParamType,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ParamType {
    U32,
    U64,
    S32,
    S64,
    F32,
    F64,
    /// So many bytes by value, such as a tensor map.
    Bytes {
        bytes: u32,
        align: u32,
    },
}

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Var {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub place: VarPlace,
    /// A power of two that its address is a multiple of.
    pub align: u32,
    /// Its bytes. Those of [`VarPlace::Dynamic`] are asked for when the kernel is launched.
    pub bytes: u32,
}

pieces! {
    /// Where a variable lies: `Dynamic` is the shared memory whose size the launch gives.
    VarPlace { Shared = "shared", Local = "local", Dynamic = "extern .shared" }
}

/// The declaration of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegDecl {
    /// Its name, without `%`.
    pub name: String,
    /// Its type.
    pub ty: RegType,
}

/// A register of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg {
    /// Its position among the registers of the kernel.
    pub id: u32,
    /// Its type.
    pub ty: RegType,
}

/// A variable of a kernel, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarId(pub u32);

/// A parameter of a kernel, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// A label of a kernel, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub u32);

/// A line of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stmt {
    /// The place of a label.
    Label(Label),
    /// The loop of which the label stands before is not unrolled.
    NoUnroll,
    /// A remark; one line.
    Comment(String),
    /// An instruction.
    Inst(Inst),
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inst {
    /// Only threads for which this holds run it.
    pub guard: Option<Guard>,
    /// What it does.
    pub op: Op,
    /// On what, as [`Op::signature`] has it.
    pub operands: Vec<Operand>,
}

/// A condition of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// A predicate.
    pub reg: Reg,
    /// What it has to be.
    pub holds: bool,
}

/// An operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An integer, or the bits of one without a sign.
    Int(i64),
    /// The bits of an f32.
    F32(u32),
    /// The bits of an f64.
    F64(u64),
    /// A special register.
    Special(Special),
    /// The address of a variable.
    Var(VarId),
    /// The address of a parameter.
    Param(ParamId),
    /// A result that nobody wants, `_`.
    Sink,
    /// A place to go to.
    Label(Label),
    /// A fragment or vector: registers, integers, floats.
    Vector(Vec<Operand>),
    /// A place in memory.
    Address(Address),
    /// A box of a tensor: the address of its map, and coordinates, innermost first.
    Tensor(Address, Vec<Operand>),
}

/// A place in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// From where.
    pub base: Base,
    /// So many bytes on.
    pub offset: i32,
}

/// Where an address starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At what a register holds.
    Reg(Reg),
    /// At a variable.
    Var(VarId),
    /// At a parameter.
    Param(ParamId),
}

impl ParamType {
    /// The bytes that it takes among the arguments.
    pub fn bytes(self) -> u32 {
        match self {
            ParamType::U32 | ParamType::S32 | ParamType::F32 => 4,
            ParamType::U64 | ParamType::S64 | ParamType::F64 => 8,
            ParamType::Bytes { bytes, .. } => bytes,
        }
    }
}

impl Kernel {
    /// The instructions with their positions in the body.
    pub fn insts(&self) -> impl Iterator<Item = (usize, &Inst)> {
        self.body.iter().enumerate().filter_map(|(at, stmt)| match stmt {
            Stmt::Inst(inst) => Some((at, inst)),
            Stmt::Label(_) | Stmt::NoUnroll | Stmt::Comment(_) => None,
        })
    }
}
