//! Powers that blocks of threads take, one for each score: by the instruction for powers of two.
//!
//! It is off by at most 2^-22 of its result (the PTX ISA's bound), and what is below 2^-126 is 0. The exponent is multiplied by
//! log2 e, which is rounded: a power `exp(x)` is off by `|x| 2^-24` besides. Both are much less than the rounding to eight or
//! eleven bits with which products of matrices take it; where some take all of f32, powers are computed with its digits.
//!
//! ```text
//! exp(x - c)   ->   ex2.approx.ftz((x - c) log2 e)
//! ```
//!
//! The difference is taken before: `c log2 e` in one product with a sum would be a multiply fewer, but its rounding does not
//! cancel, and `exp(0)` would be anything where `c` is -10^10, as it is where a finite number masks all of a tile.

use attnc_ptx::Op;
use attnc_ptx::modifier::{Flush, Function};
use attnc_ptx::types::{Float, RegType};

use super::arith::Lane;
use super::block::Emitter;
use super::op::Tile;
use super::value::Value;
use crate::codegen::math::{Arith, Format};
use crate::ir::nest::{TileType, ValueId};

impl<'a> Emitter<'a> {
    /// A number to the power of some exponents, of which this is the logarithm to base two of the number.
    pub(super) fn powers(&self, ty: &'a TileType, log2: f64, exponents: ValueId) -> Tile<'a> {
        let w = &self.writer;
        let lane = Lane::new(w, Format::Single);
        let factor = lane.float(log2);
        let times = |x: Value| if log2 == 1.0 { x } else { lane.mul(x, factor) };
        let elements = self.tile(exponents).spread(ty).into_iter().map(times);
        let power = |exponent| {
            let op = Op::Function { f: Function::Ex2, flush: Flush::Ftz, ty: Float::F32 };
            w.pure(RegType::F32, op, &[Value::Reg(w.reg(RegType::F32, exponent))])
        };
        Tile { ty, elements: elements.map(power).collect() }
    }
}
