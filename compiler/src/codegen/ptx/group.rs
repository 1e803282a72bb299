//! Contractions to products of matrices that four warps take together: `wgmma`.
//!
//! A thread has the same elements of sums and left factors as for products of warps (`products.rs`). The right factor
//! lies in shared memory, and so may the left one; descriptors tell where.
//!
//! ```text
//! contract Q [m in 64, d in 64], K [n in 32, d in 64] into 0   ->   fence; 4 wgmma of 64 × 32 × 16; commit; wait
//! ```

use attnc_dsl::ast::DType;
use attnc_ptx::modifier::special::Special;
use attnc_ptx::modifier::wgmma::{Wgmma, WgmmaTypes};
use attnc_ptx::modifier::{IntOp, Shuffle};
use attnc_ptx::types::{Int, RegType, Scalar};
use attnc_ptx::{Inst, Op, Reg, args};

use super::block::Emitter;
use super::layout::Staged;
use super::value::Value;
use super::writer::Writer;

/// The threads of a group.
pub(super) const GROUP: u32 = 128;
/// The rows of its products.
const ROWS: u32 = 64;

/// A left factor.
pub(super) enum Left {
    /// Fragments in registers, one for each sixteen of what is summed over.
    Registers(Vec<[Reg; 4]>),
    /// In shared memory; whether what is summed over is its rows.
    Memory(Staged, bool),
}

impl Writer {
    /// The number of the running thread's group, which all lanes take from one: so ptxas knows that a warp has one, and
    /// computes descriptors once for all lanes.
    pub(super) fn group(&self) -> Value {
        let (mov, shift) = (Op::Mov { ty: Scalar::B32 }, Op::Shr { ty: Int::U32 });
        let thread = self.constant(mov, 0, RegType::B32, |it| Inst::new(mov, args![it, Special::TidX]));
        let bits = GROUP.trailing_zeros();
        let own = self.constant(shift, 0, RegType::B32, |it| Inst::new(shift, args![it, thread, bits]));
        let first = Op::Shfl { mode: Shuffle::Idx };
        Value::Reg(self.constant(first, 0, RegType::B32, |it| Inst::new(first, args![it, own, 0, 31, -1])))
    }
}

impl Emitter<'_> {
    /// Adds products to sums, rows first, which count as 0 before where that is said: `right` is turned if what is summed
    /// over is its rows.
    pub(super) fn by_group(
        &self,
        left: &Left,
        (right, is_turned): (Staged, bool),
        (depths, columns): (u32, u32),
        (sums, from_zero): (&[Reg], bool),
    ) {
        let w = &self.writer;
        // Registers go by pairs of columns, those of the lower row after those of the upper.
        let width = sums.len() / 2;
        let place = |at: usize| at % 4 / 2 * width + at / 4 * 2 + at % 2;
        let ordered: Vec<Reg> = (0..sums.len()).map(|at| sums[place(at)]).collect();
        let types = if right.dtype == DType::F16 { WgmmaTypes::F16 } else { WgmmaTypes::BF16 };
        let form = Wgmma { columns: u16::try_from(columns).expect("tiles are small"), types };
        // Each group has its own rows of what all have together.
        let own_rows = match self.together().threads() / GROUP {
            1 => Value::Int(0),
            _ => {
                let rows = Op::IntBinary { op: IntOp::MulLo, ty: Int::U32 };
                w.pure(RegType::B32, rows, &[w.group(), Value::Int(ROWS.into())])
            }
        };
        w.add(Inst::new(Op::WgmmaFence, args![]));
        for depth in 0..depths {
            let scale = w.reg(RegType::Pred, Value::Bool(depth > 0 || !from_zero));
            let of = |staged: Staged, is_turned| w.reg(RegType::B64, staged.descriptor(w, is_turned, depth));
            let (from, turned) = (of(right, is_turned), i64::from(is_turned));
            w.add(match left {
                Left::Registers(fragments) => {
                    let fragment = fragments[depth as usize];
                    let op = Op::WgmmaMixed { form };
                    Inst::new(op, args![&ordered, fragment, from, scale, 1, 1, turned])
                }
                Left::Memory(staged, is_left_turned) => {
                    let left = of(staged.from(w, *is_left_turned, own_rows), *is_left_turned);
                    let op = Op::WgmmaShared { form };
                    let left_turned = i64::from(*is_left_turned);
                    Inst::new(op, args![&ordered, left, from, scale, 1, 1, left_turned, turned])
                }
            });
        }
        w.add(Inst::new(Op::WgmmaCommit, args![]));
        self.leave_turn();
        if self.together().waits {
            w.add(Inst::new(Op::WgmmaWait, args![0]));
        }
    }
}
