//! The nest: a tile program, neutral between targets.
//!
//! A kernel is a list of stages; a stage is a number of tasks that may run in any order and in
//! parallel; a task is a block of statements over *tiles*: values with one element for every point of
//! some named ranks (none: a scalar). Operands are broadcast to each other by rank name. What a back
//! end does with a tile (vector registers, fragments of a warp group, a loop) is its own business.
//! Absence is explicit here: a value that may be absent goes with a bool that says where it is not.
//!
//! Invariants, checked by `verify`: every value is defined once, before it is used, in the same block
//! or one around it; the prologue, the defaults and the lists of checks load nothing; operands have
//! equal scalars and the result has the ranks of all of them; a load or store that is not guarded lies
//! inside its buffer; tasks of one stage write disjoint elements and read none that another writes.
//!
//! ```text
//! stage 0: tasks %9
//!   %20 = floordiv %task, %3
//!   for d in %0 .. %7 step 1 carry %24 = %23 -> %27, result %28
//!     %25 = load Q[%20, %22]
//!     %26 = load K[%21, %22]
//!     %27 = contract %25, %26 over [] into %24
//!   store S[%20, %21] = %28
//! ```

use attnc_dsl::ast::{CompareOp, DType};

use super::arena::{Arena, Id};
use super::cascade::{RankId, ReduceOp};
use super::expr::{BinaryOp, UnaryOp};

/// The id of a value.
pub type ValueId = Id<TileType>;
/// The id of a [`Buffer`].
pub type BufferId = Id<Buffer>;

/// One kernel as a tile program.
#[derive(Debug, Clone)]
pub struct Nest {
    /// The kernel's name.
    pub name: String,
    /// The names of ranks, by id.
    pub ranks: Vec<String>,
    /// What each 8-byte word of the arguments holds.
    pub words: Vec<Word>,
    /// The type of every value.
    pub values: Arena<TileType>,
    /// Tensors in memory: inputs, outputs, then what lies in the workspace or in scratch.
    pub buffers: Arena<Buffer>,
    /// Scalars that everything else may use: extents, parameters, strides, sizes. Only `Let`s.
    pub prologue: Block,
    /// The extents of the ranks that callers know, in order of declaration.
    pub extents: Vec<ValueId>,
    /// The bytes of workspace that all threads share; the scratch of each thread follows.
    pub shared: ValueId,
    /// The bytes of scratch of one thread.
    pub scratch: ValueId,
    /// The bytes of workspace that a call on so many threads needs; −1 where they are beyond 2^62.
    pub workspace: ValueId,
    /// What must hold between extents.
    pub extent_checks: Checks,
    /// What else must hold before a call may run.
    pub call_checks: Checks,
    /// Values of parameters that the caller leaves out, in an order in which each sees those before it.
    pub defaults: Vec<Default>,
    /// What is run, one after the other.
    pub stages: Vec<Stage>,
}

/// What an 8-byte word of the arguments holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The extent of this rank.
    Extent(RankId),
    /// The parameter of this position in the cascade: an f64, or an i64 for integers and bools.
    Param(usize),
    /// The address of a tensor's first element.
    Data(BufferId),
    /// The distance in elements between neighbours along a dimension of a tensor.
    Stride(BufferId, usize),
}

/// Conditions and what it means when one does not hold; the first that fails is reported.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// What computes the conditions.
    pub block: Block,
    /// Conditions, each with the status of its failure.
    pub faults: Vec<(ValueId, Status)>,
}

/// What a kernel answers: a code of `attnc_runtime::abi` and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The kind of fault.
    pub code: attnc_runtime::abi::Code,
    /// The position of the tensor or rank that is blamed.
    pub index: u32,
}

/// The value of a parameter that the caller leaves out.
#[derive(Debug, Clone)]
pub struct Default {
    /// Its position among the kernel's parameters.
    pub param: usize,
    /// The word to fill in.
    pub word: u32,
    /// What computes it: it may use the prologue's extents, but reads parameters as words, for those may
    /// have been filled in just before.
    pub block: Block,
    /// The value: an F64 or an I64.
    pub value: ValueId,
}

/// One stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The tensors that it defines, for people.
    pub defines: String,
    /// How many tasks there are; a value of the prologue.
    pub tasks: ValueId,
    /// The number of the task at hand.
    pub task: ValueId,
    /// The rank whose coordinates a block of threads shares when it runs a task; `None` where a thread runs one.
    pub team: Option<TileDim>,
    /// What a task does.
    pub body: Block,
}

/// A tensor in memory.
#[derive(Debug, Clone)]
pub struct Buffer {
    /// The tensor's name; that of a mask of present points ends in `?`.
    pub name: String,
    /// What is stored.
    pub dtype: DType,
    /// Where it lies.
    pub place: Place,
    /// Its extents; values of the prologue.
    pub extents: Vec<ValueId>,
    /// Its strides in elements; values of the prologue.
    pub strides: Vec<ValueId>,
    /// It has room for rows that nobody asks for. They are computed with the others, from what nobody wrote if need be,
    /// and nothing that is asked for depends on them.
    pub padded: bool,
}

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The caller's input whose address is in this word.
    Input(u32),
    /// The caller's output whose address is in this word.
    Output(u32),
    /// So many bytes into the workspace; a value of the prologue.
    Workspace(ValueId),
    /// So many bytes into the scratch of the running thread; a value of the prologue. A task finds nothing
    /// there and leaves nothing.
    Scratch(ValueId),
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TileType {
    /// What its elements are.
    pub scalar: Scalar,
    /// Named ranks with their extents, major to minor; none for a scalar.
    pub shape: Vec<TileDim>,
}

/// One rank of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileDim {
    /// The rank.
    pub rank: RankId,
    /// How many coordinates the tile has along it.
    pub extent: u32,
}

/// What a value's elements are while computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scalar {
    F64,
    F32,
    I64,
    /// Bytes of a word and sums of their products, where a target takes four at a time ([`Op::Dot`]); nothing overflows.
    I32,
    Bool,
}

/// Statements, run in order.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
}

/// A statement.
#[derive(Debug, Clone)]
pub enum Stmt {
    /// Defines a value.
    Let(ValueId, Op),
    /// Writes a value, where the guard holds: an element for every point of the ranks of the
    /// coordinates, the value and the guard together, those of the last coordinate last.
    Store {
        /// The buffer.
        buffer: BufferId,
        /// A coordinate for each of its dimensions.
        index: Vec<ValueId>,
        /// What is stored, rounded to the buffer's dtype.
        value: ValueId,
        /// Nothing is written where it is false.
        guard: Option<ValueId>,
        /// As in [`Op::Load`].
        contiguous: bool,
    },
    /// Runs a block for every tile of a rank.
    Loop(Loop),
    /// Runs one of two blocks.
    If {
        /// A scalar bool.
        condition: ValueId,
        /// When it holds.
        then: Block,
        /// When it does not.
        otherwise: Block,
    },
}

/// A loop over the tiles of a rank, first to last.
#[derive(Debug, Clone)]
pub struct Loop {
    /// The rank that it walks along.
    pub rank: RankId,
    /// The first coordinate of the tile at hand; an I64 scalar.
    pub index: ValueId,
    /// The first coordinate of all.
    pub from: ValueId,
    /// One past the last; tiles that would reach beyond it are not run.
    pub to: ValueId,
    /// The extent of a tile.
    pub step: u32,
    /// Values handed from one tile to the next.
    pub carried: Vec<Carried>,
    /// What is done for a tile.
    pub body: Block,
    /// Hardly ever is there a tile: registers are for what is around it.
    pub rare: bool,
}

/// A value that a loop carries: an accumulator, a running maximum, the last index found.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Before the first tile; defined outside.
    pub init: ValueId,
    /// What the body sees.
    pub current: ValueId,
    /// What it hands on; defined in the body or outside.
    pub next: ValueId,
    /// After the last tile; may be used after the loop.
    pub result: ValueId,
}

/// What computes a value. Unless said otherwise the operation works element by element.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// An integer, the same for all elements of the result.
    Int(i64),
    /// A real of the result's scalar, the same for all elements of the result.
    Real(f64),
    /// A truth value, the same for all elements of the result.
    Bool(bool),
    /// A word of the arguments, as I64 or F64.
    Word(u32),
    /// The address of a buffer's first element, in bytes.
    Address(BufferId),
    /// The address of the workspace and the bytes it has; only in `call_checks`.
    WorkspaceAddress,
    /// The bytes that the caller's workspace has; only in `call_checks`.
    WorkspaceBytes,
    /// How many threads may run tasks at the same time; only for the size of the workspace.
    Threads,
    /// 0, 1, 2, … along the only rank of the result, an I64.
    Iota,
    /// As in the cascade, for present operands; `Ilog2` of values below 1 is 0.
    Unary(UnaryOp, ValueId),
    /// `e` to the power of a finite real; of any other it is NaN, so that a sum of powers tells whether all were finite.
    Power(ValueId),
    /// As in the cascade, for present operands; division by 0 gives 0, shift counts are taken modulo 64.
    Binary(BinaryOp, ValueId, ValueId),
    /// A bool; bools themselves are only compared by `==` and `!=`.
    Compare(CompareOp, ValueId, ValueId),
    /// The second where the first holds, else the third.
    Select(ValueId, ValueId, ValueId),
    /// The value in the result's scalar: an integer or bool (0, 1) made real, a real made wider or
    /// narrower, a real made integer (nearest even, saturating, NaN to 0), a number made bool (≠ 0).
    Convert(ValueId),
    /// The value as that dtype would store it, in the same scalar.
    Round(DType, ValueId),
    /// The elements of a buffer at these coordinates, widened to the result's scalar; 0 or false where
    /// the guard is false.
    Load {
        /// The buffer.
        buffer: BufferId,
        /// A coordinate for each of its dimensions.
        index: Vec<ValueId>,
        /// Nothing is read where it is false.
        guard: Option<ValueId>,
        /// The elements along the result's last rank follow one another in memory.
        contiguous: bool,
    },
    /// `into + Σ a · b`, summed over the ranks that `into` lacks. Sums may be taken in any order.
    Contract {
        /// One factor.
        a: ValueId,
        /// The other.
        b: ValueId,
        /// Products of elements of one factor of which it does not hold are left out, whatever the other is. That of `b` is 0
        /// there.
        there: Option<ValueId>,
        /// What is added to; the result has its ranks.
        into: ValueId,
    },
    /// Integers from −128 to 127, as reals, four neighbours along the last rank in a word, the first in its low byte. The
    /// result is an I32 with a quarter of the extent along that rank.
    Pack(ValueId),
    /// `into + Σ a · b` over the four bytes of each word, those of `a` taken without a sign and those of `b` with one; I32s.
    /// Words are broadcast to each other, and the result has the ranks of `into`.
    Dot {
        /// Words of bytes without sign.
        a: ValueId,
        /// Words of bytes with one.
        b: ValueId,
        /// What is added to.
        into: ValueId,
    },
    /// The value combined over the ranks that the result lacks: sum, prod, max, min, any or all.
    Reduce(ReduceOp, ValueId),
}

impl Op {
    /// The values that it is computed of.
    pub fn operands(&self) -> Vec<ValueId> {
        self.clone().operands_mut().into_iter().map(|it| *it).collect()
    }

    fn operands_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            Op::Int(_)
            | Op::Real(_)
            | Op::Bool(_)
            | Op::Word(_)
            | Op::Address(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Threads
            | Op::Iota => Vec::new(),
            Op::Unary(_, a)
            | Op::Power(a)
            | Op::Convert(a)
            | Op::Round(_, a)
            | Op::Pack(a)
            | Op::Reduce(_, a) => vec![a],
            Op::Binary(_, a, b) | Op::Compare(_, a, b) => vec![a, b],
            Op::Select(a, b, c) => vec![a, b, c],
            Op::Contract { a, b, there, into } => [a, b, into].into_iter().chain(there).collect(),
            Op::Dot { a, b, into } => vec![a, b, into],
            Op::Load { index, guard, .. } => index.iter_mut().chain(guard).collect(),
        }
    }

    /// Whether it is the same operation on the same values, bit by bit: there is more than one zero.
    pub fn is(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Real(a), Op::Real(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }

    /// The same operation on other values.
    pub fn on(&self, renamed: impl Fn(ValueId) -> ValueId) -> Op {
        let mut op = self.clone();
        op.operands_mut().into_iter().for_each(|it| *it = renamed(*it));
        op
    }

    /// Whether each element is computed by itself, of elements of the operands.
    pub(crate) fn is_by_element(&self) -> bool {
        match self {
            Op::Int(_)
            | Op::Real(_)
            | Op::Bool(_)
            | Op::Iota
            | Op::Unary(..)
            | Op::Power(_)
            | Op::Binary(..)
            | Op::Compare(..)
            | Op::Select(..)
            | Op::Convert(_)
            | Op::Round(..)
            | Op::Load { .. } => true,
            Op::Word(_)
            | Op::Address(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Threads
            | Op::Contract { .. }
            | Op::Pack(_)
            | Op::Dot { .. }
            | Op::Reduce(..) => false,
        }
    }
}

impl TileType {
    /// A scalar of that type.
    pub fn scalar(scalar: Scalar) -> TileType {
        TileType { scalar, shape: Vec::new() }
    }

    /// How many elements it has.
    pub fn points(&self) -> usize {
        self.shape.iter().map(|dim| dim.extent as usize).product()
    }
}

impl Scalar {
    /// What values of a dtype are computed with.
    pub fn of(dtype: DType) -> Scalar {
        match dtype {
            DType::F64 => Scalar::F64,
            DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => Scalar::F32,
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 => Scalar::I64,
            DType::Bool => Scalar::Bool,
        }
    }

    /// Its name in printed nests.
    pub fn name(self) -> &'static str {
        match self {
            Scalar::F64 => "f64",
            Scalar::F32 => "f32",
            Scalar::I64 => "i64",
            Scalar::I32 => "i32",
            Scalar::Bool => "bool",
        }
    }
}

/// The bytes that one element of a dtype takes in memory.
pub fn bytes_of(dtype: DType) -> u32 {
    match dtype {
        DType::F64 | DType::I64 => 8,
        DType::F32 | DType::I32 => 4,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        DType::F8E4M3 | DType::F8E5M2 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => 1,
    }
}
