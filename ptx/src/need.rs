//! What each instruction needs: a machine and a version of PTX.

use crate::modifier::PhaseWait;
use crate::module::Target;
use crate::op::Op;
use crate::types::*;

impl Op {
    /// The least machine that has it.
    pub fn least_target(&self) -> Target {
        if self.needs_sm90() { Target::Sm90a } else { Target::Sm80 }
    }

    /// The least version of PTX that has it; every module has at least (8, 0).
    pub fn least_version(&self) -> (u8, u8) {
        if matches!(self, Op::RedVector { .. }) { (8, 1) } else { (8, 0) }
    }

    fn needs_sm90(&self) -> bool {
        #[allow(clippy::wildcard_enum_match_arm, reason = "sm_80 has whatever is not listed")]
        match *self {
            Op::FloatBinary { ty, .. } | Op::Function { ty, .. } => {
                matches!(ty, Float::BF16 | Float::BF16x2)
            }
            Op::FloatSetp { ty, .. } => ty == Float::BF16,
            Op::Cvt { to, from, .. } => match (to, from) {
                (Number::BF16, Number::F32) | (Number::F32, Number::BF16) => false,
                (to, from) => to == Number::BF16 || from == Number::BF16,
            },
            Op::CvtPair8 { .. } | Op::CvtUnpair8 { .. } | Op::RedVector { .. } => true,
            Op::Atom { ty, .. } | Op::Red { ty, .. } => ty == Atomic::BF16x2,
            Op::Elect | Op::Stmatrix { .. } => true,
            Op::MbarrierArriveMany | Op::MbarrierArriveExpect | Op::MbarrierWait { how: PhaseWait::Try } => {
                true
            }
            Op::FenceMbarrierInit | Op::FenceProxy { .. } | Op::GridDependency { .. } => true,
            Op::TensorLoad { .. } | Op::TensorStore { .. } | Op::PrefetchMap => true,
            Op::BulkLoad | Op::BulkStore | Op::BulkAdd => true,
            Op::BulkCommit | Op::BulkWait { .. } | Op::SetMaxRegisters { .. } => true,
            Op::WgmmaFence | Op::WgmmaShared { .. } | Op::WgmmaMixed { .. } => true,
            Op::WgmmaCommit | Op::WgmmaWait => true,
            _ => false,
        }
    }
}
