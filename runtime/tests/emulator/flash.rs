//! Attention on the tensor cores of sm_80: `cp.async`, `ldmatrix`, `mma.sync`, an online softmax.
//!
//! Each warp has 16 queries, and a block walks over the keys tile by tile. Rows in shared memory are
//! swizzled: chunk `c` of 16 bytes of row `r` lies at `c ^ (r % 8)`.

use crate::rows::Rows;
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Address, Builder, Kernel, Op, ParamType, Reg, Special, VarPlace, args, at};

/// Queries of a block, keys of a tile, features.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) warps: u32,
    pub(crate) keys: u32,
    pub(crate) features: u32,
}

impl Shape {
    pub(crate) fn queries(self) -> u32 {
        self.warps * 16
    }

    /// The bytes of a row.
    fn row(self) -> u32 {
        self.features * 2
    }

    fn q_bytes(self) -> u32 {
        self.queries() * self.row()
    }

    fn k_bytes(self) -> u32 {
        self.keys * self.row()
    }

    /// The rows that all threads copy at a time.
    fn rows_at_once(self) -> u32 {
        self.warps * 32 / (self.features / 8)
    }
}

/// What the parts of the kernel share.
struct Parts {
    rows: Rows,
    shape: Shape,
    /// Where this thread copies to, without the start of the tile.
    copy_to: Reg,
}

/// The kernel; its arguments are Q, K, V, O, the number of tiles and the scale of scores in base 2.
pub(crate) fn kernel(shape: Shape) -> Kernel {
    let mut b = Builder::new("flash");
    let pointers: Vec<_> = ["q", "k", "v", "o"].map(|name| b.param(name, ParamType::U64)).into();
    let tiles = b.param("tiles", ParamType::U32);
    let scale = b.param("scale", ParamType::F32);
    b.threads(shape.warps * 32);
    let bytes = shape.q_bytes() + 2 * shape.k_bytes();
    let tile = b.var(VarPlace::Dynamic, "tile", 1024, bytes);
    let smem = b.mov(Scalar::U32, tile);
    let pointers: Vec<Reg> = pointers.into_iter().map(|it| b.load(Space::Param, Data::U64, at(it))).collect();
    let tiles = b.load(Space::Param, Data::U32, at(tiles));
    let scale = b.load(Space::Param, Data::F32, at(scale));
    let thread = b.mov(Scalar::U32, Special::TidX);
    let chunks = shape.features / 8;
    let row = b.int(IntOp::Div, Int::U32, thread, chunks);
    let chunk = b.int(IntOp::Rem, Int::U32, thread, chunks);
    let copy_to = swizzled(&mut b, shape, row, chunk, smem);
    let offset = b.int(IntOp::MulLo, Int::U32, thread, 16);
    let offset = b.def(Op::MulWide { ty: Narrow::U32 }, args![offset, 1]);
    let from: Vec<Reg> = pointers.iter().map(|base| b.int(IntOp::Add, Int::U64, *base, offset)).collect();
    let rows = Rows::new(b, shape.keys, shape.features, scale);
    let mut parts = Parts { rows, shape, copy_to };
    parts.copy(0, from[0], shape.queries());
    parts.copy(shape.q_bytes(), from[1], shape.keys);
    parts.rows.start();
    parts.walk(&from, tiles, smem);
    parts.finish(pointers[3]);
    parts.rows.b.push(Op::Ret, args![]);
    parts.rows.b.finish()
}

/// The address of a chunk of a row.
fn swizzled(b: &mut Builder, shape: Shape, row: Reg, chunk: Reg, base: Reg) -> Reg {
    let turn = b.def(Op::Logic { op: LogicOp::And, ty: Logical::B32 }, args![row, 7]);
    let chunk = b.def(Op::Logic { op: LogicOp::Xor, ty: Logical::B32 }, args![chunk, turn]);
    let start = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![row, shape.row(), base]);
    b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![chunk, 16, start])
}

impl Parts {
    /// Copies rows into the tile that starts at `to`, as one group.
    fn copy(&mut self, to: u32, from: Reg, rows: u32) {
        let step = self.shape.rows_at_once();
        for part in 0..rows / step {
            let bytes = (part * step * self.shape.row()) as i32;
            let op = Op::CpAsync { cache: CopyCache::Global, prefetch: Prefetch::None };
            self.rows.b.push(op, args![at(self.copy_to).plus(to as i32 + bytes), at(from).plus(bytes), 16]);
        }
        self.rows.b.push(Op::CpAsyncCommit, args![]);
    }

    /// Waits for all copies of all threads.
    fn arrived(&mut self) {
        self.rows.b.push(Op::CpAsyncWait, args![0]);
        self.rows.b.push(Op::BarSyncAll, args![0]);
    }

    /// The loop over tiles of keys.
    fn walk(&mut self, from: &[Reg], tiles: Reg, smem: Reg) {
        let (shape, b) = (self.shape, &mut self.rows.b);
        let lane = b.mov(Scalar::U32, Special::LaneId);
        let warp = b.mov(Scalar::U32, Special::TidX);
        let warp = b.int(IntOp::Div, Int::U32, warp, 32);
        let inner = b.def(Op::Logic { op: LogicOp::And, ty: Logical::B32 }, args![lane, 7]);
        let half = b.int(IntOp::Rem, Int::U32, lane, 16);
        let upper = b.int(IntOp::Div, Int::U32, lane, 16);
        let odd = b.int(IntOp::Div, Int::U32, lane, 8);
        let odd = b.def(Op::Logic { op: LogicOp::And, ty: Logical::B32 }, args![odd, 1]);
        let (row_q, row_k) = (
            b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![warp, 16, half]),
            b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![upper, 8, inner]),
        );
        let (k_start, v_start) = (shape.q_bytes(), shape.q_bytes() + shape.k_bytes());
        let j = b.mov(Scalar::U32, 0u32);
        let top = b.label("tile");
        b.place(top);
        self.arrived();
        self.copy(v_start, from[2], shape.keys);
        let scores = self.rows.scores.clone();
        self.rows.set(&scores, 0.0);
        for k in 0..shape.features / 16 {
            let q = self.ldmatrix(row_q, upper, k, smem, 0, Transpose::No);
            for pair in 0..shape.keys / 16 {
                let start = k_start + pair * 16 * shape.row();
                let keys = self.ldmatrix(row_k, odd, k, smem, start, Transpose::No);
                for (n, half) in keys.chunks(2).enumerate() {
                    let at = (2 * pair as usize + n) * 4;
                    self.mma(&scores[at..at + 4], &q, half);
                }
            }
        }
        self.rows.softmax();
        self.arrived();
        let b = &mut self.rows.b;
        for pointer in &from[1..3] {
            b.define(
                *pointer,
                Op::IntBinary { op: IntOp::Add, ty: Int::U64 },
                args![*pointer, shape.k_bytes()],
            );
        }
        b.define(j, Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![j, 1]);
        let more = b.compare(Compare::Lt, Int::U32, j, tiles);
        let last = b.label("last");
        b.bra_unless(more, last);
        self.copy(k_start, from[1], shape.keys);
        self.rows.b.place(last);
        self.weigh(half, upper, smem, v_start);
        self.rows.b.bra_if(more, top);
    }

    /// Adds the values of a tile under their weights.
    fn weigh(&mut self, row: Reg, chunk: Reg, smem: Reg, v_start: u32) {
        let shape = self.shape;
        for k in 0..shape.keys / 16 {
            for pair in 0..shape.features / 16 {
                let start = v_start + k * 16 * shape.row();
                let values = self.ldmatrix(row, chunk, pair, smem, start, Transpose::Trans);
                let weights: Vec<Reg> = self.rows.weights[4 * k as usize..4 * k as usize + 4].to_vec();
                for (n, half) in values.chunks(2).enumerate() {
                    let at = (2 * pair as usize + n) * 4;
                    let sums = self.rows.sums[at..at + 4].to_vec();
                    self.mma(&sums, &weights, half);
                }
            }
        }
    }

    /// Four matrices: rows as the lane has them, chunks `2 · pair + chunk`.
    fn ldmatrix(
        &mut self,
        row: Reg,
        chunk: Reg,
        pair: u32,
        smem: Reg,
        start: u32,
        transpose: Transpose,
    ) -> Vec<Reg> {
        let chunk = self.rows.b.int(IntOp::Add, Int::U32, chunk, 2 * pair);
        let address = swizzled(&mut self.rows.b, self.shape, row, chunk, smem);
        let into = self.rows.b.regs(RegType::B32, "m", 4);
        let place: Address = at(address).plus(start as i32);
        self.rows.b.push(Op::Ldmatrix { matrices: Matrices::X4, transpose }, args![&into, place]);
        into
    }

    fn mma(&mut self, sums: &[Reg], a: &[Reg], b: &[Reg]) {
        self.rows.b.push(Op::Mma { form: Mma::F32Bf16K16 }, args![sums, a, b, sums]);
    }

    /// Divides by the norm and stores, two features at a time.
    fn finish(&mut self, o: Reg) {
        let shape = self.shape;
        let b = &mut self.rows.b;
        let lane = b.mov(Scalar::U32, Special::LaneId);
        let warp = b.mov(Scalar::U32, Special::TidX);
        let warp = b.int(IntOp::Div, Int::U32, warp, 32);
        let group = b.int(IntOp::Div, Int::U32, lane, 4);
        let row = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![warp, 16, group]);
        let column = b.int(IntOp::Rem, Int::U32, lane, 4);
        let column = b.int(IntOp::MulLo, Int::U32, column, 4);
        let offset = b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![row, shape.row(), column]);
        let place = b.def(Op::MadWide { ty: Narrow::U32 }, args![offset, 1, o]);
        for (row, pairs) in (0..).zip(self.rows.packed()) {
            for (n, pair) in (0..).zip(pairs) {
                let bytes = row * 8 * shape.row() as i32 + n * 16;
                self.rows.b.store(Space::Global, Data::B32, at(place).plus(bytes), pair);
            }
        }
    }
}
