//! Where the elements of a tile lie in shared memory.
//!
//! For products of warps a row is followed by 16 bytes that nothing uses, so that the eight rows of a matrix lie in
//! different banks. For products of groups of four warps a tile lies in slabs of 64 columns, whose rows have 128 bytes:
//! each eight of them are 1024 bytes, in which chunk `c` of row `r` is at place `c ^ r`.
//!
//! ```text
//! chunk c of row r:   start + r * pitch + 16 c;   start + c / 8 * slab + 128 r + 16 (c % 8 ^ r % 8)
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::{CvtRound, IntOp, LogicOp};
use attnc_ptx::types::{Int, Logical, Number, RegType};
use attnc_ptx::{Address, Op, at};

use super::arith::{convert, int};
use super::ring::Room;
use super::value::Value;
use super::writer::Writer;
use crate::ir::cascade::RankId;
use crate::ir::nest::bytes_of;

/// The bytes of a chunk.
pub(super) const CHUNK: u32 = 16;
/// The bytes of a short float; in slabs, the elements of a chunk, the columns of a slab, and the bytes of its rows.
pub(super) const HALF: u32 = 2;
const EACH: u32 = CHUNK / HALF;
pub(super) const COLUMNS: u32 = 64;
const ROW: u32 = HALF * COLUMNS;
/// The bytes of eight rows of a slab, and what a slab begins at a multiple of.
const SQUARE: u32 = 8 * ROW;

/// How the rows of a tile lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// So many bytes apart.
    Padded {
        /// The bytes from one to the next.
        pitch: u32,
    },
    /// In slabs.
    Swizzled {
        /// The bytes of a slab.
        slab: u32,
    },
}

/// A tile in shared memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    /// Where it begins.
    pub(super) start: Value,
    /// How its rows lie.
    pub(super) layout: Layout,
    /// The rank along which they follow each other.
    pub(super) rows: RankId,
    /// What its elements are.
    pub(super) dtype: DType,
}

impl Layout {
    /// Of a tile of rows with so many columns, each of so many bytes, and the bytes that it takes.
    pub(super) fn padded(rows: u32, columns: u32, size: u32) -> (Layout, u32) {
        let pitch = size * columns + CHUNK;
        (Layout::Padded { pitch }, rows * pitch)
    }

    /// The same of halves for products of groups.
    pub(super) fn swizzled(rows: u32, columns: u32) -> (Layout, u32) {
        let slab = rows.next_multiple_of(8) * ROW;
        (Layout::Swizzled { slab }, columns.div_ceil(COLUMNS) * slab)
    }

    /// What a tile begins at a multiple of.
    pub(super) fn align(self) -> u32 {
        match self {
            Layout::Padded { .. } => 16,
            Layout::Swizzled { .. } => SQUARE,
        }
    }
}

impl Staged {
    /// The bytes of an element.
    pub(super) fn size(&self) -> u32 {
        bytes_of(self.dtype)
    }

    /// The bytes from one row to the next, where rows are padded.
    pub(super) fn pitch(&self) -> u32 {
        match self.layout {
            Layout::Padded { pitch } => pitch,
            Layout::Swizzled { .. } => unreachable!("products of warps take rows that are padded"),
        }
    }

    /// The address of a chunk of the row so many below another; all are 32-bit numbers.
    pub(super) fn chunk(&self, w: &Writer, row: (Value, u32), chunk: Value) -> Address {
        let (start, further) = self.start_of_chunk(w, row, chunk);
        at(w.reg(RegType::B32, start)).plus(further.cast_signed())
    }

    /// The same as a number and bytes that are added to it.
    fn start_of_chunk(&self, w: &Writer, (row, down): (Value, u32), chunk: Value) -> (Value, u32) {
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let by = |op, a, b: u32| word(op, a, Value::Int(b.into()));
        let logic = |op, a, b| w.pure(RegType::B32, Op::Logic { op, ty: Logical::B32 }, &[a, b]);
        // Rows of which eight times as many lie between have chunks at the same places.
        let (row, down) = match self.layout {
            Layout::Swizzled { .. } if !down.is_multiple_of(8) => (by(IntOp::Add, row, down), 0),
            Layout::Padded { .. } | Layout::Swizzled { .. } => (row, down),
        };
        let (inside, apart) = match self.layout {
            Layout::Padded { pitch } => {
                (word(IntOp::Add, by(IntOp::MulLo, row, pitch), by(IntOp::MulLo, chunk, CHUNK)), pitch)
            }
            Layout::Swizzled { slab } => {
                let start = word(
                    IntOp::Add,
                    by(IntOp::MulLo, by(IntOp::Div, chunk, EACH), slab),
                    by(IntOp::MulLo, row, ROW),
                );
                let seven = Value::Int(7);
                let place =
                    logic(LogicOp::Xor, logic(LogicOp::And, chunk, seven), logic(LogicOp::And, row, seven));
                (word(IntOp::Add, start, by(IntOp::MulLo, place, CHUNK)), ROW)
            }
        };
        (word(IntOp::Add, self.start, inside), down * apart)
    }

    /// The addresses of the elements that a thread multiplies by one of a left factor: those at `number` along what is
    /// summed over and at columns `2 · pair`, `2 · pair + 1`, and each eight further on. What they have in common is
    /// computed once, for there are many.
    pub(super) fn elements(
        &self,
        w: &Writer,
        is_turned: bool,
        (number, pair): (Value, Value),
        count: usize,
    ) -> Vec<Address> {
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let by = |op, a, b: u32| word(op, a, Value::Int(b.into()));
        let xor = |a, b| w.pure(RegType::B32, Op::Logic { op: LogicOp::Xor, ty: Logical::B32 }, &[a, b]);
        let start = |down: Value, along: Value| word(IntOp::Add, word(IntOp::Add, self.start, down), along);
        let place = |base: Value, further: u32| at(w.reg(RegType::B32, base)).plus(further.cast_signed());
        let size = self.size();
        let places = (0..u32::try_from(count).expect("tiles are small")).map(|it| (it / 2, it % 2));
        match (self.layout, is_turned) {
            (Layout::Padded { pitch }, true) => {
                let base = start(by(IntOp::MulLo, number, pitch), by(IntOp::MulLo, pair, 2 * size));
                places.map(|(eighth, one)| place(base, size * (8 * eighth + one))).collect()
            }
            (Layout::Padded { pitch }, false) => {
                let base = start(by(IntOp::MulLo, pair, 2 * pitch), by(IntOp::MulLo, number, size));
                places.map(|(eighth, one)| place(base, pitch * (8 * eighth + one))).collect()
            }
            (Layout::Swizzled { slab }, true) => {
                let base = start(by(IntOp::MulLo, number, ROW), by(IntOp::MulLo, pair, 4));
                let turn = by(IntOp::MulLo, by(IntOp::Rem, number, 8), 16);
                let chunk = |it: u32| word(IntOp::Add, base, xor(turn, Value::Int((16 * it).into())));
                places.map(|(eighth, one)| place(chunk(eighth % 8), slab * (eighth / 8) + 2 * one)).collect()
            }
            (Layout::Swizzled { slab }, false) => {
                let chunk = by(IntOp::Div, number, EACH);
                let far = by(IntOp::MulLo, by(IntOp::Div, chunk, 8), slab);
                let rest = by(IntOp::MulLo, by(IntOp::Rem, number, EACH), 2);
                let along = word(IntOp::Add, far, rest);
                let rows = [0, 1].map(|one| {
                    let row = by(IntOp::Add, by(IntOp::MulLo, pair, 2), one);
                    let turned = by(IntOp::MulLo, xor(by(IntOp::Rem, chunk, 8), row), 16);
                    word(IntOp::Add, start(by(IntOp::MulLo, row, ROW), along), turned)
                });
                places.map(|(eighth, one)| place(rows[one as usize], SQUARE * eighth)).collect()
            }
        }
    }

    /// The address of an element of the row and the column so many behind others.
    pub(super) fn element(&self, w: &Writer, row: (Value, u32), column: (Value, u32)) -> Address {
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let by = |op, a, b: u32| word(op, a, Value::Int(b.into()));
        let size = self.size();
        let (start, further) = match self.layout {
            Layout::Padded { pitch } => {
                let inside =
                    word(IntOp::Add, by(IntOp::MulLo, row.0, pitch), by(IntOp::MulLo, column.0, size));
                (word(IntOp::Add, self.start, inside), row.1 * pitch + column.1 * size)
            }
            Layout::Swizzled { .. } => {
                let column = by(IntOp::Add, column.0, column.1);
                let row = (by(IntOp::Add, row.0, row.1 % 8), row.1 / 8 * 8);
                let (start, further) = self.start_of_chunk(w, row, by(IntOp::Div, column, EACH));
                let inside = by(IntOp::MulLo, by(IntOp::Rem, column, EACH), size);
                (word(IntOp::Add, start, inside), further)
            }
        };
        at(w.reg(RegType::B32, start)).plus(further.cast_signed())
    }

    /// The same from so many of what is not summed over on; in slabs from a multiple of 64.
    pub(super) fn from(self, w: &Writer, is_turned: bool, columns: Value) -> Staged {
        let apart = match (self.layout, is_turned) {
            (Layout::Padded { .. }, true) => self.size(),
            (Layout::Padded { pitch }, false) => pitch,
            (Layout::Swizzled { slab }, true) => slab / COLUMNS,
            (Layout::Swizzled { .. }, false) => ROW,
        };
        Staged { start: Room::at(w, self.start, columns, apart), ..self }
    }

    /// What tells products of groups where it lies; of sixteen of what is summed over, so many times further on.
    pub(super) fn descriptor(&self, w: &Writer, is_turned: bool, depth: u32) -> Value {
        let Layout::Swizzled { slab } = self.layout else {
            unreachable!("products of groups take tiles in slabs")
        };
        let sixteenth = w.pure(
            RegType::B32,
            Op::IntBinary { op: IntOp::Div, ty: Int::U32 },
            &[self.start, Value::Int(16)],
        );
        let start = convert(w, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, sixteenth);
        // From one slab to the next, from eight rows to the next, and that chunks are where `chunk` has them.
        let apart = if is_turned { slab / 16 } else { 1 };
        let form = 1 << 62 | i64::from(SQUARE / 16) << 32 | i64::from(apart) << 16;
        let steps = COLUMNS / 16;
        let further = if is_turned { depth * 2 * SQUARE } else { depth / steps * slab + depth % steps * 32 };
        int(w, IntOp::Add, start, Value::Int(form + i64::from(further / 16)))
    }
}
