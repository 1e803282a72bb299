//! Attention on the tensor cores of sm_90: one warp group copies tiles, the others compute.
//!
//! Tiles are 64 features wide, which is 128 bytes, and swizzled. Keys and values have rings of two
//! stages, each with a barrier for "full" and one for "empty". Weights go to the second product in
//! registers; the result goes through the memory of the queries.

use attnc_ptx::modifier::wgmma::{Wgmma, WgmmaTypes};
use attnc_ptx::modifier::*;
use attnc_ptx::types::*;
use attnc_ptx::{Address, Builder, Inst, Kernel, Op, Operand, ParamType, Reg, Special, VarPlace, args, at};

use crate::rows::Rows;

/// Features, and the bytes of a row of a tile.
pub(crate) const FEATURES: u32 = 64;
const ROW: u32 = 128;
/// The stages of a ring.
const STAGES: u32 = 2;

/// How many warp groups compute, each 64 queries, and the keys of a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) groups: u32,
    pub(crate) keys: u32,
}

/// Where everything lies in shared memory.
impl Shape {
    pub(crate) fn queries(self) -> u32 {
        64 * self.groups
    }

    pub(crate) fn threads(self) -> u32 {
        128 * (self.groups + 1)
    }

    fn tile_bytes(self) -> u32 {
        self.keys * ROW
    }

    fn keys_at(self) -> u32 {
        self.queries() * ROW
    }

    fn values_at(self) -> u32 {
        self.keys_at() + STAGES * self.tile_bytes()
    }

    /// Barriers: queries, then full and empty of keys, then of values.
    fn barriers_at(self) -> u32 {
        self.values_at() + STAGES * self.tile_bytes()
    }

    fn bytes(self) -> u32 {
        self.barriers_at() + 8 * (1 + 4 * STAGES)
    }
}

/// The barriers of a ring.
#[derive(Debug, Clone, Copy)]
struct Ring {
    tiles: u32,
    full: u32,
    empty: u32,
}

struct Parts {
    rows: Rows,
    shape: Shape,
    smem: Reg,
    /// Which tile, its stage and the parity of its phase.
    j: Reg,
    stage: Reg,
    parity: Reg,
    tiles: Reg,
    always: Reg,
    never: Reg,
    keys: Ring,
    values: Ring,
}

/// The kernel; its arguments are the maps of Q, K, V and O, the number of tiles and the scale in base 2.
pub(crate) fn kernel(shape: Shape) -> Kernel {
    let mut b = Builder::new("hopper");
    let map = ParamType::Bytes { bytes: 128, align: 64 };
    let maps = ["q", "k", "v", "o"].map(|name| b.param(name, map));
    let (tiles, scale) = (b.param("tiles", ParamType::U32), b.param("scale", ParamType::F32));
    b.threads(shape.threads());
    b.min_blocks(1);
    let tile = b.var(VarPlace::Dynamic, "tile", 1024, shape.bytes());
    let smem = b.mov(Scalar::U32, tile);
    let maps = maps.map(|map| {
        let place = b.mov(Scalar::U64, map);
        b.def(Op::Cvta { toward: Toward::Generic, space: CvtaSpace::Param }, args![place])
    });
    let tiles = b.load(Space::Param, Data::U32, at(tiles));
    let scale = b.load(Space::Param, Data::F32, at(scale));
    let thread = b.mov(Scalar::U32, Special::TidX);
    let group = b.int(IntOp::Div, Int::U32, thread, 128);
    let group = b.def(Op::Shfl { mode: Shuffle::Idx }, args![group, 0, 31, -1]);
    let always = b.compare(Compare::Eq, Int::U32, tiles, tiles);
    let never = b.def(Op::Not { ty: Logical::Pred }, args![always]);
    let first = shape.barriers_at() + 8;
    let ring = |tiles, number| {
        let full = first + 16 * STAGES * number;
        Ring { tiles, full, empty: full + 8 * STAGES }
    };
    let (j, stage, parity) =
        (b.reg(RegType::B32, "j"), b.reg(RegType::B32, "stage"), b.reg(RegType::B32, "parity"));
    let (keys, values) = (ring(shape.keys_at(), 0), ring(shape.values_at(), 1));
    let rows = Rows::new(b, shape.keys, FEATURES, scale);
    let mut parts = Parts { rows, shape, smem, j, stage, parity, tiles, always, never, keys, values };
    parts.make_barriers(thread);
    let b = &mut parts.rows.b;
    let producer = b.compare(Compare::Eq, Int::U32, group, 0);
    let (consume, end) = (b.label("consume"), b.label("end"));
    b.bra_unless(producer, consume);
    parts.produce(&maps, thread);
    parts.rows.b.bra(end);
    parts.rows.b.place(consume);
    parts.consume(group, thread);
    parts.finish(thread, maps[3]);
    parts.rows.b.place(end);
    parts.rows.b.push(Op::Ret, args![]);
    parts.rows.b.finish()
}

impl Parts {
    fn logic(&mut self, op: LogicOp, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.rows.b.def(Op::Logic { op, ty: Logical::B32 }, vec![a.into(), b.into()])
    }

    /// One thread makes the barriers, and all learn of it.
    fn make_barriers(&mut self, thread: Reg) {
        let (shape, smem) = (self.shape, self.smem);
        let (keys, values) = (self.keys, self.values);
        let one = self.rows.b.compare(Compare::Eq, Int::U32, thread, 0);
        self.rows.b.when(one, |b| {
            let mut make = |place: u32, count: u32| {
                b.push(Op::MbarrierInit, args![at(smem).plus(place as i32), count]);
            };
            make(shape.barriers_at(), 1);
            for stage in 0..STAGES {
                for ring in [keys, values] {
                    make(ring.full + 8 * stage, 1);
                    make(ring.empty + 8 * stage, shape.groups);
                }
            }
            b.push(Op::FenceMbarrierInit, args![]);
        });
        self.rows.b.push(Op::BarSyncAll, args![0]);
        for reg in [self.j, self.stage, self.parity] {
            self.rows.b.define(reg, Op::Mov { ty: Scalar::U32 }, args![0]);
        }
    }

    /// Waits for the phase of this parity.
    fn wait(&mut self, barrier: Address, parity: impl Into<Operand>) {
        let b = &mut self.rows.b;
        let again = b.label("wait");
        b.place(again);
        let parity = parity.into();
        let over = b.def(Op::MbarrierWait { how: PhaseWait::Try }, args![barrier, &parity]);
        b.bra_unless(over, again);
    }

    /// The barrier of the stage at hand.
    fn barrier(&mut self, first: u32) -> Address {
        let place =
            self.rows.b.def(Op::Mad { half: Half::Lo, ty: Int::U32 }, args![self.stage, 8, self.smem]);
        at(place).plus(first as i32)
    }

    /// The next tile and its stage.
    fn advance(&mut self) -> Reg {
        let b = &mut self.rows.b;
        b.define(self.j, Op::IntBinary { op: IntOp::Add, ty: Int::U32 }, args![self.j, 1]);
        b.define(self.stage, Op::IntBinary { op: IntOp::Rem, ty: Int::U32 }, args![self.j, STAGES]);
        let round = b.int(IntOp::Div, Int::U32, self.j, STAGES);
        b.define(self.parity, Op::Logic { op: LogicOp::And, ty: Logical::B32 }, args![round, 1]);
        b.compare(Compare::Lt, Int::U32, self.j, self.tiles)
    }

    /// Announces bytes and copies rows from `row` on, 64 features wide.
    fn load(&mut self, to: Address, map: Reg, row: Reg, barrier: Address, bytes: u32) {
        let b = &mut self.rows.b;
        b.push(Op::MbarrierArriveExpect, args![Operand::Sink, barrier, bytes]);
        let block = b.mov(Scalar::U32, Special::CtaidY);
        let tile = Operand::Tensor(at(map), args![0, row, block]);
        b.push(Op::TensorLoad { rank: TensorRank::R3 }, args![to, tile, barrier]);
    }

    /// One thread of the first group copies all tiles.
    fn produce(&mut self, maps: &[Reg; 4], thread: Reg) {
        let shape = self.shape;
        let b = &mut self.rows.b;
        b.push(Op::SetMaxRegisters { change: RegisterChange::Dec }, args![24]);
        let one = b.compare(Compare::Eq, Int::U32, thread, 0);
        let (idle, top) = (b.label("idle"), b.label("copy"));
        b.bra_unless(one, idle);
        let block = b.mov(Scalar::U32, Special::CtaidX);
        let row = b.int(IntOp::MulLo, Int::U32, block, shape.queries());
        let barrier = at(self.smem).plus(shape.barriers_at() as i32);
        self.load(at(self.smem), maps[0], row, barrier, shape.queries() * ROW);
        self.rows.b.place(top);
        let other = self.logic(LogicOp::Xor, self.parity, 1);
        let row = self.rows.b.int(IntOp::MulLo, Int::U32, self.j, shape.keys);
        for (ring, map) in [(self.keys, maps[1]), (self.values, maps[2])] {
            let empty = self.barrier(ring.empty);
            self.wait(empty, other);
            let full = self.barrier(ring.full);
            let mad = Op::Mad { half: Half::Lo, ty: Int::U32 };
            let to = self.rows.b.def(mad, args![self.stage, shape.tile_bytes(), self.smem]);
            self.load(at(to).plus(ring.tiles as i32), map, row, full, shape.tile_bytes());
        }
        let more = self.advance();
        self.rows.b.bra_if(more, top);
        self.rows.b.place(idle);
    }

    /// The descriptor of what starts at an address of shared memory; strides are in bytes.
    fn descriptor(&mut self, start: Reg, leading: u32) -> Reg {
        let b = &mut self.rows.b;
        let start = b.int(IntOp::Div, Int::U32, start, 16);
        let start = b.def(Op::MulWide { ty: Narrow::U32 }, args![start, 1]);
        let fields = 1u64 << 62 | u64::from(1024u32 >> 4) << 32 | u64::from(leading >> 4) << 16;
        b.def(Op::Logic { op: LogicOp::Or, ty: Logical::B64 }, args![start, fields])
    }

    /// The start of the tile of the stage at hand.
    fn tile(&mut self, ring: Ring) -> Reg {
        let b = &mut self.rows.b;
        let mad = Op::Mad { half: Half::Lo, ty: Int::U32 };
        let start = b.def(mad, args![self.stage, self.shape.tile_bytes(), self.smem]);
        b.int(IntOp::Add, Int::U32, start, ring.tiles)
    }

    fn done(&mut self) {
        self.rows.b.push(Op::WgmmaCommit, args![]);
        self.rows.b.push(Op::WgmmaWait, args![0]);
    }

    /// One thread of the group says that a stage may be filled again.
    fn release(&mut self, ring: Ring, one: Reg) {
        let barrier = self.barrier(ring.empty);
        self.rows.b.add(Inst::new(Op::MbarrierArrive, args![Operand::Sink, barrier]).when(one));
    }

    fn consume(&mut self, group: Reg, thread: Reg) {
        let shape = self.shape;
        self.rows.b.push(Op::SetMaxRegisters { change: RegisterChange::Inc }, args![240]);
        let lane = self.logic(LogicOp::And, thread, 127);
        let one = self.rows.b.compare(Compare::Eq, Int::U32, lane, 0);
        let rows = self.rows.b.int(IntOp::Sub, Int::U32, group, 1);
        let mad = Op::Mad { half: Half::Lo, ty: Int::U32 };
        let queries = self.rows.b.def(mad, args![rows, 64 * ROW, self.smem]);
        let queries = self.descriptor(queries, 16);
        self.rows.start();
        let barrier = at(self.smem).plus(shape.barriers_at() as i32);
        self.wait(barrier, 0);
        let top = self.rows.b.label("tile");
        self.rows.b.place(top);
        let full = self.barrier(self.keys.full);
        self.wait(full, self.parity);
        let keys = self.tile(self.keys);
        let keys = self.descriptor(keys, 16);
        self.rows.b.push(Op::WgmmaFence, args![]);
        let scores = self.rows.scores.clone();
        let form = Wgmma { columns: shape.keys as u16, types: WgmmaTypes::BF16 };
        for k in 0..FEATURES / 16 {
            let step = u64::from(k * 32 / 16);
            let a = self.rows.b.int(IntOp::Add, Int::U64, queries, step);
            let b = self.rows.b.int(IntOp::Add, Int::U64, keys, step);
            let adds = if k == 0 { self.never } else { self.always };
            self.rows.b.push(Op::WgmmaShared { form }, args![&scores, a, b, adds, 1, 1, 0, 0]);
        }
        self.done();
        self.release(self.keys, one);
        self.rows.softmax();
        let full = self.barrier(self.values.full);
        self.wait(full, self.parity);
        let values = self.tile(self.values);
        let values = self.descriptor(values, shape.tile_bytes());
        self.rows.b.push(Op::WgmmaFence, args![]);
        let sums = self.rows.sums.clone();
        let form = Wgmma { columns: FEATURES as u16, types: WgmmaTypes::BF16 };
        for k in 0..shape.keys / 16 {
            let b = self.rows.b.int(IntOp::Add, Int::U64, values, u64::from(k * 16 * ROW / 16));
            let a = self.rows.weights[4 * k as usize..4 * k as usize + 4].to_vec();
            self.rows.b.push(Op::WgmmaMixed { form }, args![&sums, &a, b, self.always, 1, 1, 1]);
        }
        self.done();
        self.release(self.values, one);
        let more = self.advance();
        self.rows.b.bra_if(more, top);
    }

    /// Puts the result where the queries were, and copies it out.
    fn finish(&mut self, thread: Reg, map: Reg) {
        let shape = self.shape;
        let packed = self.rows.packed();
        let lane = self.logic(LogicOp::And, thread, 31);
        let b = &mut self.rows.b;
        let in_group = b.int(IntOp::Sub, Int::U32, thread, 128);
        let warp = b.int(IntOp::Div, Int::U32, in_group, 32);
        let g = b.int(IntOp::Div, Int::U32, lane, 4);
        let t = b.int(IntOp::Rem, Int::U32, lane, 4);
        let mad = Op::Mad { half: Half::Lo, ty: Int::U32 };
        let row = b.def(mad, args![warp, 16, g]);
        let start = b.def(mad, args![row, ROW, self.smem]);
        let start = b.def(mad, args![t, 4, start]);
        // Rows `g` and `g + 8` have the same place in the pattern.
        for column in 0..FEATURES / 8 {
            let chunk = b.def(Op::Logic { op: LogicOp::Xor, ty: Logical::B32 }, args![g, column]);
            let place = b.def(mad, args![chunk, 16, start]);
            for (half, pairs) in packed.iter().enumerate() {
                let to = at(place).plus((half as u32 * 8 * ROW) as i32);
                b.store(Space::Shared, Data::B32, to, pairs[column as usize]);
            }
        }
        b.push(Op::FenceProxy { space: ProxySpace::Shared }, args![]);
        b.push(Op::BarSync, args![1, 128 * shape.groups]);
        let one = b.compare(Compare::Eq, Int::U32, in_group, 0);
        b.when(one, |b| {
            let block = b.mov(Scalar::U32, Special::CtaidX);
            let row = b.int(IntOp::MulLo, Int::U32, block, shape.queries());
            let head = b.mov(Scalar::U32, Special::CtaidY);
            let tile = Operand::Tensor(at(map), args![0, row, head]);
            b.push(Op::TensorStore { rank: TensorRank::R3 }, args![tile, at(self.smem)]);
            b.push(Op::BulkCommit, args![]);
            b.push(Op::BulkWait { wait: BulkWait::Read }, args![0]);
        });
    }
}
