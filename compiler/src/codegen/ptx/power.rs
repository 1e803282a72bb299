//! Powers that blocks of threads take, one for each score: by the instruction for powers of two.
//!
//! It is off by at most 2^-22 of its result (the PTX ISA's bound), and what is below 2^-126 is 0. A factor of the exponent and
//! what is subtracted from it along a row go into one product with a sum, which is rounded once: an exponent `x - c` is
//! then off by at most `(|x| + |c|) 2^-23`, as it is by the rounding of the score and of what it is subtracted from. So a power
//! is off by as many units of f32 as one that is computed accurately of a score in f32, and a few more: much less
//! than by the rounding to eight or eleven bits with which products of matrices take it.
//!
//! ```text
//! exp(x - c)   ->   ex2.approx.ftz(fma(x, log2 e, -(c log2 e)))
//! ```

use attnc_ptx::Op;
use attnc_ptx::modifier::{Flush, Function};
use attnc_ptx::types::{Float, RegType};

use super::arith::Lane;
use super::block::Emitter;
use super::op::Tile;
use super::value::Value;
use crate::codegen::math::{Arith, Format};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{Op as TileOp, Scalar, TileType, ValueId};

impl<'a> Emitter<'a> {
    /// A number to the power of some exponents, of which this is the logarithm to base two of the number.
    pub(super) fn powers(&self, ty: &'a TileType, log2: f64, exponents: ValueId) -> Tile<'a> {
        let w = &self.writer;
        let lane = Lane::new(w, Format::Single);
        let factor = lane.float(log2);
        let times = |x: Value| if log2 == 1.0 { x } else { lane.mul(x, factor) };
        let elements: Vec<Value> = match self.difference(exponents) {
            Some((x, c)) => {
                let [x, c] = [x, c].map(|it| self.tile(it));
                // What is known once for a row is computed once for it.
                let less =
                    Tile { ty: c.ty, elements: c.elements.iter().map(|&it| lane.neg(times(it))).collect() };
                let both = x.spread(ty).into_iter().zip(less.spread(ty));
                both.map(|(x, less)| lane.mul_add(x, factor, less)).collect()
            }
            None => self.tile(exponents).spread(ty).into_iter().map(times).collect(),
        };
        let power = |exponent| {
            let op = Op::Function { f: Function::Ex2, flush: Flush::Ftz, ty: Float::F32 };
            w.pure(RegType::F32, op, &[Value::Reg(w.reg(RegType::F32, exponent))])
        };
        Tile { ty, elements: elements.into_iter().map(power).collect() }
    }

    /// The operands of exponents that are differences, the second with fewer points.
    fn difference(&self, exponents: ValueId) -> Option<(ValueId, ValueId)> {
        let Some(&TileOp::Binary(BinaryOp::Sub, x, c)) = self.together().factors.definition(exponents) else {
            return None;
        };
        let ty = |it: ValueId| &self.nest.values[it];
        let fits = ty(x).scalar == Scalar::F32 && ty(c).points() < ty(exponents).points();
        fits.then_some((x, c))
    }
}
