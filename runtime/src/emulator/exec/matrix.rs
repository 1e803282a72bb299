//! Tensor cores, and the instructions that feed them.
//!
//! Lane `4·g + t` of a warp has the elements of row `g` around column `t` of each 8×8 matrix: that is all
//! that the layouts of PTX come to, for elements of any width.

use attnc_ptx::modifier::*;

use super::access::in_lane;
use super::{Cx, bank};
use crate::emulator::fault::Done;
use crate::emulator::number::tensor::Adder;
use crate::emulator::number::{float, format, signed};
use crate::emulator::warp::{LANES, Wide};

/// An 8×8 matrix of 16 bits.
type Matrix = [[u64; 8]; 8];

/// What elements of the factors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulator) enum Element {
    F16,
    BF16,
    Tf32,
    E4M3,
    S8,
    U8,
}

impl Element {
    pub(in crate::emulator) fn bits(self) -> u32 {
        match self {
            Element::F16 | Element::BF16 => 16,
            Element::Tf32 => 32,
            Element::E4M3 | Element::S8 | Element::U8 => 8,
        }
    }

    /// The number that an element is. Integers are exact as f32 up to their products.
    pub(in crate::emulator) fn value(self, bits: u64) -> f32 {
        match self {
            Element::F16 => half::f16::from_bits(bits as u16).to_f32(),
            Element::BF16 => f32::from_bits((bits as u32) << 16),
            // The tensor cores do not look at the digits that tf32 lacks.
            Element::Tf32 => f32::from_bits(bits as u32 & !0x1fff),
            Element::E4M3 => format::E4M3.decode(bits & 0xff) as f32,
            Element::S8 => signed(bits, 8) as f32,
            Element::U8 => (bits & 0xff) as f32,
        }
    }

    /// The exponent of its least normal number.
    fn least(self) -> i32 {
        match self {
            Element::F16 => -14,
            Element::BF16 | Element::Tf32 => -126,
            Element::E4M3 => -6,
            Element::S8 | Element::U8 => 0,
        }
    }
}

impl Cx<'_, '_> {
    /// How products of such elements are added.
    pub(super) fn adder(&self, element: Element) -> Adder {
        Adder::new(self.block.decoded.target, element.bits(), element.least())
    }

    pub(super) fn ldmatrix(&mut self, matrices: Matrices, transpose: Transpose) -> Done {
        self.whole()?;
        let (at, code) = (self.rows(1, matrices)?, self.code);
        let access = self.access(false);
        for (position, into) in code.args[0].each().iter().enumerate() {
            let mut matrix: Matrix = [[0; 8]; 8];
            for (row, line) in matrix.iter_mut().enumerate() {
                let lane = 8 * position + row;
                let data = self.block.shared.load(at[lane], 16, 16, access).map_err(in_lane(lane))?;
                for (element, bytes) in line.iter_mut().zip(data.chunks_exact(2)) {
                    *element = u64::from(bytes[0]) | u64::from(bytes[1]) << 8;
                }
            }
            self.write_arg(into, &fragment(&turned(&matrix, transpose)))?;
        }
        Ok(())
    }

    pub(super) fn stmatrix(&mut self, matrices: Matrices, transpose: Transpose) -> Done {
        self.whole()?;
        let (at, code) = (self.rows(0, matrices)?, self.code);
        let access = self.access(false);
        for (position, from) in code.args[1].each().iter().enumerate() {
            let matrix = turned(&matrix(&self.read_arg(from)?), transpose);
            for (row, line) in matrix.iter().enumerate() {
                let lane = 8 * position + row;
                let data: Vec<u8> = line.iter().flat_map(|it| (*it as u16).to_le_bytes()).collect();
                self.block.shared.store(at[lane], 16, &data, access).map_err(in_lane(lane))?;
            }
        }
        Ok(())
    }

    /// The addresses of rows. Lanes beyond the last matrix may have any.
    fn rows(&mut self, at: usize, matrices: Matrices) -> Done<Wide> {
        let count = 8 * usize::from(matrices.count());
        let lanes = std::mem::replace(&mut self.lanes, u32::MAX >> (32 - count));
        let rows = self.read(at);
        self.lanes = lanes;
        let rows = rows?;
        self.block.report.bank_conflicts += bank::conflicts(&rows[..count], 16);
        Ok(rows)
    }

    pub(super) fn movmatrix(&mut self) -> Done {
        self.whole()?;
        let value = self.read(1)?;
        self.write(0, &fragment(&turned(&matrix(&value), Transpose::Trans)))
    }

    pub(super) fn mma(&mut self, form: Mma) -> Done {
        self.whole()?;
        match form {
            Mma::F32Bf16K16 | Mma::F32Bf16K8 => self.mma_float(form, Element::BF16),
            Mma::F32F16K16 | Mma::F32F16K8 | Mma::F16F16K16 => self.mma_float(form, Element::F16),
            Mma::F32Tf32K8 | Mma::F32Tf32K4 => self.mma_float(form, Element::Tf32),
            Mma::S32S8K32 | Mma::S32S8K16 => self.mma_int(form, Element::S8, Element::S8),
            Mma::S32U8S8K32 => self.mma_int(form, Element::U8, Element::S8),
            Mma::S32U8K32 => self.mma_int(form, Element::U8, Element::U8),
            Mma::F64K4 => self.mma_double(),
        }
    }

    /// The factors as matrices: A by rows, B by columns.
    fn factors(&self, k: usize, left: Element, right: Element) -> Done<([f32; 512], [f32; 256])> {
        let (mut a, mut b) = ([0.0; 512], [0.0; 256]);
        for (position, arg) in self.many(1).iter().enumerate() {
            // The registers of A alternate between the upper and the lower eight rows.
            let (rows, part) = (8 * (position & 1), position >> 1);
            spread(&self.read_arg(arg)?, left, part, |g, at, value| a[(g + rows) * k + at] = value);
        }
        for (position, arg) in self.many(2).iter().enumerate() {
            spread(&self.read_arg(arg)?, right, position, |g, at, value| b[g * k + at] = value);
        }
        Ok((a, b))
    }

    fn mma_float(&mut self, form: Mma, element: Element) -> Done {
        let k = form.fragments().shape[2] as usize;
        let (a, b) = self.factors(k, element, element)?;
        let adder = self.adder(element);
        let [a, b] = [&a[..16 * k], &b[..8 * k]].map(|it| adder.factor(it.to_vec()));
        let code = self.code;
        let halves = form == Mma::F16F16K16;
        let sums: Vec<Wide> =
            code.args[3].each().iter().map(|arg| self.read_arg(arg)).collect::<Done<_>>()?;
        for (position, (into, sum)) in code.args[0].each().iter().zip(&sums).enumerate() {
            let value: Wide = std::array::from_fn(|lane| {
                let add = |before: f32, position: usize| {
                    let (row, column) = (lane / 4 + 8 * (position / 2), 2 * (lane % 4) + position % 2);
                    adder.add(before, (&a, row * k), (&b, column * k), k)
                };
                if halves {
                    let add = |shift: u32| {
                        let before = half::f16::from_bits((sum[lane] >> shift) as u16).to_f32();
                        let result = half::f16::from_f32(add(before, 2 * position + shift as usize / 16));
                        u64::from(result.to_bits()) << shift
                    };
                    add(0) | add(16)
                } else {
                    float::single(add(float::from_single(sum[lane]), position))
                }
            });
            self.write_arg(into, &value)?;
        }
        Ok(())
    }

    fn mma_int(&mut self, form: Mma, left: Element, right: Element) -> Done {
        let k = form.fragments().shape[2] as usize;
        let (a, b) = self.factors(k, left, right)?;
        // Sums of at most 32 products of 16 bits are exact in f32.
        let products = products(&a, &b, k);
        let code = self.code;
        let sums: Vec<Wide> =
            code.args[3].each().iter().map(|arg| self.read_arg(arg)).collect::<Done<_>>()?;
        for (position, (into, sum)) in code.args[0].each().iter().zip(&sums).enumerate() {
            let value = std::array::from_fn(|lane| {
                let at = (lane / 4 + 8 * (position / 2)) * 8 + 2 * (lane % 4) + position % 2;
                let result = (sum[lane] as i32).wrapping_add(products[at] as i32);
                result.cast_unsigned().into()
            });
            self.write_arg(into, &value)?;
        }
        Ok(())
    }

    /// The 8×8×4 product in f64: one register of each factor, two of the sum.
    fn mma_double(&mut self) -> Done {
        let code = self.code;
        let one = |cx: &Self, at: usize| cx.read_arg(&code.args[at].each()[0]);
        let (a, b) = (one(self, 1)?, one(self, 2)?);
        let sums: Vec<Wide> =
            code.args[3].each().iter().map(|arg| self.read_arg(arg)).collect::<Done<_>>()?;
        for (position, (into, sum)) in code.args[0].each().iter().zip(&sums).enumerate() {
            let value = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, 2 * (lane % 4) + position);
                let start = f64::from_bits(sum[lane]);
                let result = (0..4).fold(start, |sum, k| {
                    f64::from_bits(a[4 * row + k]).mul_add(f64::from_bits(b[4 * column + k]), sum)
                });
                result.to_bits()
            });
            self.write_arg(into, &value)?;
        }
        Ok(())
    }
}

/// Calls `put(g, k, value)` for every element of a register: lane `4·g + t` has those around `t`.
pub(in crate::emulator) fn spread(
    register: &Wide,
    element: Element,
    part: usize,
    mut put: impl FnMut(usize, usize, f32),
) {
    let bits = element.bits();
    let count = (32 / bits) as usize;
    for (lane, value) in register.iter().enumerate() {
        for position in 0..count {
            let k = count * (lane % 4) + 4 * count * part + position;
            put(lane / 4, k, element.value(value >> (bits * position as u32) & (u64::MAX >> (64 - bits))));
        }
    }
}

/// The sums of products of 16 rows and 8 columns.
fn products(a: &[f32], b: &[f32], k: usize) -> [f32; 128] {
    let mut result = [0.0; 128];
    for (row, line) in a.chunks_exact(k).take(16).enumerate() {
        for (column, other) in b.chunks_exact(k).take(8).enumerate() {
            result[row * 8 + column] = line.iter().zip(other).map(|(x, y)| x * y).sum();
        }
    }
    result
}

/// The matrix that a register of all lanes holds.
fn matrix(register: &Wide) -> Matrix {
    let mut matrix = [[0; 8]; 8];
    for (lane, value) in register.iter().enumerate() {
        matrix[lane / 4][2 * (lane % 4)] = value & 0xffff;
        matrix[lane / 4][2 * (lane % 4) + 1] = value >> 16 & 0xffff;
    }
    matrix
}

/// The register of all lanes that holds a matrix.
fn fragment(matrix: &Matrix) -> Wide {
    let mut register = [0; LANES];
    for (lane, value) in register.iter_mut().enumerate() {
        let row = &matrix[lane / 4];
        *value = row[2 * (lane % 4)] | row[2 * (lane % 4) + 1] << 16;
    }
    register
}

fn turned(matrix: &Matrix, transpose: Transpose) -> Matrix {
    match transpose {
        Transpose::No => *matrix,
        Transpose::Trans => std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row])),
    }
}
