//! The online softmax of two rows a thread, on fragments of tensor cores.

use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Builder, Op, Reg, args};

/// A kernel that is being written, with the registers of one thread's rows.
pub(crate) struct Rows {
    pub(crate) b: Builder,
    /// Scores of a tile of keys, and sums of values, in f32 fragments.
    pub(crate) scores: Vec<Reg>,
    pub(crate) sums: Vec<Reg>,
    /// Weights of a tile, two in a register: a fragment of the left factor.
    pub(crate) weights: Vec<Reg>,
    /// The largest score of each row, and the sum of its weights.
    most: Vec<Reg>,
    norm: Vec<Reg>,
    /// The scale of scores in base 2.
    scale: Reg,
}

impl Rows {
    pub(crate) fn new(mut b: Builder, keys: u32, features: u32, scale: Reg) -> Rows {
        let scores = b.regs(RegType::F32, "score", keys / 2);
        let sums = b.regs(RegType::F32, "sum", features / 2);
        let weights = b.regs(RegType::B32, "weight", keys / 4);
        let most = b.regs(RegType::F32, "most", 2);
        let norm = b.regs(RegType::F32, "norm", 2);
        Rows { b, scores, sums, weights, most, norm, scale }
    }

    pub(crate) fn set(&mut self, regs: &[Reg], value: f32) {
        for reg in regs {
            self.b.define(*reg, Op::Mov { ty: Scalar::F32 }, args![value]);
        }
    }

    /// Nothing is summed yet.
    pub(crate) fn start(&mut self) {
        let (sums, most, norm) = (self.sums.clone(), self.most.clone(), self.norm.clone());
        self.set(&sums, 0.0);
        self.set(&most, f32::NEG_INFINITY);
        self.set(&norm, 0.0);
    }

    /// `a op b` into a register that is there.
    fn float(&mut self, into: Reg, op: FloatOp, a: Reg, b: Reg) {
        let op = Op::FloatBinary { op, round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
        self.b.define(into, op, args![a, b]);
    }

    fn exp2(&mut self, into: Reg, a: Reg) {
        self.b.define(into, Op::Function { f: Function::Ex2, flush: Flush::Ftz, ty: Float::F32 }, args![a]);
    }

    /// The value of lanes whose number differs in a bit.
    fn shuffled(&mut self, value: Reg, bit: u32) -> Reg {
        let bits = self.b.mov(Scalar::B32, value);
        let other = self.b.def(Op::Shfl { mode: Shuffle::Bfly }, args![bits, bit, 31, -1]);
        let float = self.b.fresh(RegType::F32);
        self.b.define(float, Op::Mov { ty: Scalar::B32 }, args![other]);
        float
    }

    /// Scores to weights; what was summed before is scaled to the new largest score.
    pub(crate) fn softmax(&mut self) {
        let max = Op::Extreme { op: Extreme::Max, flush: Flush::Keep, nan: Nan::Number, ty: Float::F32 };
        for row in 0..2 {
            let scores: Vec<Reg> = of_row(&self.scores, row);
            let most = self.b.mov(Scalar::F32, self.most[row]);
            for score in &scores {
                self.b.define(most, max, args![most, *score]);
            }
            for bit in [1, 2] {
                let other = self.shuffled(most, bit);
                self.b.define(most, max, args![most, other]);
            }
            let shift = self.b.float(FloatOp::Mul, Float::F32, most, self.scale);
            let sign = Op::FloatSign { op: SignOp::Neg, flush: Flush::Keep, ty: Float::F32 };
            let shift = self.b.def(sign, args![shift]);
            let fade = self.b.fma(Float::F32, self.most[row], self.scale, shift);
            self.exp2(fade, fade);
            self.b.define(self.most[row], Op::Mov { ty: Scalar::F32 }, args![most]);
            let norm = self.norm[row];
            self.float(norm, FloatOp::Mul, norm, fade);
            for score in scores {
                let fma = Op::Fma { round: Round::Nearest, flush: Flush::Keep, ty: Float::F32 };
                self.b.define(score, fma, args![score, self.scale, shift]);
                self.exp2(score, score);
                self.float(norm, FloatOp::Add, norm, score);
            }
            for sum in of_row(&self.sums, row) {
                self.float(sum, FloatOp::Mul, sum, fade);
            }
        }
        for (weight, scores) in self.weights.clone().into_iter().zip(self.scores.clone().chunks(2)) {
            let op = Op::CvtPair { relu: Relu::No, to: Pair::BF16x2 };
            self.b.define(weight, op, args![scores[1], scores[0]]);
        }
    }

    /// Divides by the norms, and packs the sums of each row in pairs.
    pub(crate) fn packed(&mut self) -> [Vec<Reg>; 2] {
        [0, 1].map(|row| {
            let norm = self.norm[row];
            for bit in [1, 2] {
                let other = self.shuffled(norm, bit);
                self.float(norm, FloatOp::Add, norm, other);
            }
            let op = Op::Function { f: Function::Rcp, flush: Flush::Ftz, ty: Float::F32 };
            let inverse = self.b.def(op, args![norm]);
            of_row(&self.sums, row)
                .chunks(2)
                .map(|pair| {
                    self.float(pair[0], FloatOp::Mul, pair[0], inverse);
                    self.float(pair[1], FloatOp::Mul, pair[1], inverse);
                    let op = Op::CvtPair { relu: Relu::No, to: Pair::BF16x2 };
                    self.b.def(op, args![pair[1], pair[0]])
                })
                .collect()
        })
    }
}

/// The elements of a fragment that belong to the upper or lower row of a thread.
fn of_row(fragment: &[Reg], row: usize) -> Vec<Reg> {
    fragment.chunks(4).flat_map(|four| four[2 * row..2 * row + 2].to_vec()).collect()
}
