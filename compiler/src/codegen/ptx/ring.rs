//! Tiles that a group of four warps copies for those that compute, by copies of boxes of tensors (`bulk.rs` says which).
//!
//! A ring has room for a few tiles, each with two barriers in shared memory. `full` awaits the bytes of a copy, `empty`
//! one lane of each warp that computes. Both sides count the tiles of a ring: tile `i` is in place `i % stages`, and it
//! is the `i / stages`-th one there, whose parity tells the phase of a barrier. What the warps that copy run is the
//! stage without all that is not needed to know where and how often they do. Products see memory as copies do; who reads a
//! tile by other instructions ends that with a fence before its place is told to be empty.
//!
//! ```text
//! one lane of the last group                     all others
//! for n:  wait empty; expect; copy K (n)         for n:  wait full; S = Q · K; arrive at empty
//!         wait empty; expect; copy V (n)                 wait full; O += P · V; arrive at empty
//! ```

use std::collections::HashMap;

use attnc_ptx::modifier::{
    Combine, Compare, CvtRound, CvtaSpace, IntOp, LogicOp, PhaseWait, ProxySpace, TensorRank, Toward,
};
use attnc_ptx::types::{Int, Logical, Number, RegType, Scalar as Type};
use attnc_ptx::{Builder, Inst, Op, Operand, ParamId, ParamType, Reg, args, at};

use super::arith::convert;
use super::block::Emitter;
use super::bulk::{Bulk, Map};
use super::finite::Finite;
use super::layout::{COLUMNS, HALF, Layout};
use super::roles::Role;
use super::value::Value;
use super::writer::Writer;
use crate::ir::nest::{Block, Op as TileOp, Stmt, ValueId};

/// The bytes of a map of a tensor, and what its address is a multiple of.
const MAP: ParamType = ParamType::Bytes { bytes: attnc_runtime::TENSOR_MAP_BYTES as u32, align: 64 };
/// The bytes of a barrier.
pub(super) const BARRIER: u32 = 8;

/// The rings of a stage as those see them that copy, or those that compute.
pub(super) struct Rings<'a> {
    bulk: &'a Bulk,
    pub(super) role: Role,
    /// The parameters of the maps.
    maps: Vec<ParamId>,
    /// The room of each ring, its barriers, and how many of its tiles came before.
    pub(super) rooms: Vec<Room>,
    /// The tiles that those that compute have at hand.
    held: HashMap<ValueId, Held>,
}

/// A tile at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Where to say that it is used no more.
    empty: Value,
    /// The barrier and the parity of the phase that was waited for.
    full: (Value, Value),
    /// Whether some of it is not finite, if somebody has looked.
    broken: Option<Reg>,
}

/// Room in shared memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    tiles: Value,
    layout: Layout,
    /// The bytes of a tile.
    pub(super) bytes: u32,
    /// The barriers of full places come first, those of empty ones behind them.
    barriers: Value,
    pub(super) stages: u32,
    /// The tiles that came before.
    count: Value,
    /// What is known of tiles of which products leave out what they are multiplied by.
    pub(super) finite: Option<Finite>,
}

/// The parameters of the maps of a stage, and what their boxes have.
pub(super) fn params(builder: &mut Builder, bulk: &Bulk) -> Vec<ParamId> {
    let named = |(at, map): (usize, &Map)| {
        let name = format!("map_{at}");
        builder.about(&attnc_ptx::verify::boxes(&name, HALF * map.extents.iter().product::<u32>()));
        builder.param(&name, MAP)
    };
    bulk.maps.iter().enumerate().map(named).collect()
}

impl<'a> Rings<'a> {
    pub(super) fn new(writer: &Writer, bulk: &'a Bulk, maps: Vec<ParamId>) -> Rings<'a> {
        let rooms = bulk.rings.iter().map(|ring| {
            let (stages, (layout, bytes)) = (bulk.stages_of(ring), ring.layout());
            let tiles = writer.shared(stages * bytes, layout.align());
            let barriers = writer.shared(2 * stages * BARRIER, BARRIER);
            let finite = ring.leaves_out.then(|| Finite::new(writer, stages));
            Room { tiles, layout, bytes, barriers, stages, count: Value::Int(0), finite }
        });
        Rings { bulk, role: Role::Copies, maps, rooms: rooms.collect(), held: HashMap::new() }
    }

    /// From now on it is for those that do something else; no tile came before.
    pub(super) fn turn_to(&mut self, role: Role) {
        self.role = role;
        self.held.clear();
        self.rooms.iter_mut().for_each(|it| it.count = Value::Int(0));
    }

    /// The body that is to be run.
    pub(super) fn body(&self) -> &'a Block {
        if self.role == Role::Computes { &self.bulk.body } else { &self.bulk.copies }
    }

    /// Whether a load is staged by copies of boxes.
    fn has(&self, load: ValueId) -> bool {
        self.bulk.ring(load).is_some()
    }
}

impl Room {
    /// The place of the next tile, and the parity of its phase.
    fn turn(&self, w: &Writer) -> (Value, Value) {
        if let Some(count) = self.count.int() {
            let (count, stages) = (u32::try_from(count).expect("it counts"), self.stages);
            return (Value::Int((count % stages).into()), Value::Int((count / stages % 2).into()));
        }
        let word = |op, a, b: u32| {
            w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, Value::Int(b.into())])
        };
        let (place, round) = match self.stages {
            1 => (Value::Int(0), self.count),
            stages => (word(IntOp::Rem, self.count, stages), word(IntOp::Div, self.count, stages)),
        };
        (place, word_logic(w, LogicOp::And, round, 1))
    }

    /// What is so many times further on.
    pub(super) fn at(w: &Writer, first: Value, place: Value, step: u32) -> Value {
        let word = |op, a, b| w.pure(RegType::B32, Op::IntBinary { op, ty: Int::U32 }, &[a, b]);
        let further = match place.int() {
            Some(0) => return first,
            Some(place) => Value::Int(place * i64::from(step)),
            None => word(IntOp::MulLo, place, Value::Int(step.into())),
        };
        word(IntOp::Add, first, further)
    }

    pub(super) fn full(&self, w: &Writer, place: Value) -> Value {
        Room::at(w, self.barriers, place, BARRIER)
    }

    pub(super) fn empty(&self, w: &Writer, place: Value) -> Value {
        let first = Room::at(w, self.barriers, Value::Int(self.stages.into()), BARRIER);
        Room::at(w, first, place, BARRIER)
    }
}

impl<'a> Emitter<'a> {
    pub(super) fn expect_rings(&self) -> &Rings<'a> {
        self.rings.as_ref().expect("there are rings")
    }

    pub(super) fn each_map(&self, act: impl Fn(&Writer, Reg)) {
        let maps = self.expect_rings().maps.len();
        (0..maps).for_each(|it| act(&self.writer, self.map_address(it)));
    }

    /// The address of a map.
    fn map_address(&self, map: usize) -> Reg {
        let (w, param) = (&self.writer, self.expect_rings().maps[map]);
        let place = w.fresh(RegType::B64);
        w.add(Inst::new(Op::Mov { ty: Type::U64 }, args![place, param]));
        let cvta = Op::Cvta { toward: Toward::Generic, space: CvtaSpace::Param };
        w.reg(RegType::B64, w.pure(RegType::B64, cvta, &[Value::Reg(place)]))
    }

    /// Whether copies of boxes stage a load.
    pub(super) fn is_boxed(&self, load: ValueId) -> bool {
        self.rings.as_ref().is_some_and(|it| it.has(load))
    }

    /// Whether a ring has room for one tile of such a load.
    pub(super) fn has_one_place(&self, load: ValueId) -> bool {
        let ring = |it: &Rings<'_>| it.bulk.ring(load).map(|ring| it.rooms[ring].stages);
        self.rings.as_ref().and_then(ring) == Some(1)
    }

    /// Stages a load by copies of boxes: begins one or waits for it. Whether it is one of these.
    pub(super) fn take_box(&mut self, load: ValueId) -> bool {
        let Some(rings) = self.rings.as_ref().filter(|it| it.has(load)) else { return false };
        let ring = rings.bulk.ring(load).expect("it takes turns");
        let (role, room) = (rings.role, rings.rooms[ring]);
        let w = &self.writer;
        let (place, parity) = room.turn(w);
        let (full, empty) = (room.full(w, place), room.empty(w, place));
        let start = Room::at(w, room.tiles, place, room.bytes);
        let mut broken = None;
        match (role, room.finite) {
            (Role::Copies, _) => {
                // Before the first tile a place is as good as empty.
                self.wait(empty, word_logic(w, LogicOp::Xor, parity, 1));
                self.begin_copy(load, (start, full), room);
            }
            (Role::Looks, None) => {}
            (Role::Looks, Some(finite)) => {
                self.wait(full, parity);
                let staged = self.staged(load, start, room.layout);
                self.look(finite, (start, room.bytes), place, staged.dtype);
            }
            (Role::Computes, finite) => {
                self.wait(full, parity);
                let staged = self.staged(load, start, room.layout);
                self.together_mut().staged.insert(load, staged);
                broken = finite.map(|it| {
                    self.wait(it.known(&self.writer, place), parity);
                    it.broken(&self.writer, place)
                });
            }
        }
        let rings = self.rings.as_mut().expect("there are rings");
        rings.held.insert(load, Held { empty, full: (full, parity), broken });
        let count = rings.rooms[ring].count;
        rings.rooms[ring].count = match count.int() {
            Some(count) => Value::Int(count + 1),
            None => self.writer.pure(
                RegType::B32,
                Op::IntBinary { op: IntOp::Add, ty: Int::U32 },
                &[count, Value::Int(1)],
            ),
        };
        true
    }

    /// Whether some of a tile at hand is not finite, if somebody has looked.
    pub(super) fn broken(&self, load: ValueId) -> Option<Reg> {
        let looked = self.together().broken.get(&load).copied();
        looked.or_else(|| self.rings.as_ref()?.held.get(&load)?.broken)
    }

    /// Waits for the phase of a parity.
    pub(super) fn wait(&self, barrier: Value, parity: Value) {
        let w = &self.writer;
        let again = w.label("wait");
        let barrier = at(w.reg(RegType::B32, barrier));
        w.place(again);
        let over = w.fresh(RegType::Pred);
        let op = Op::MbarrierWait { how: PhaseWait::Try };
        w.add(Inst::new(op, args![over, barrier, Operand::from(parity)]));
        w.bra(again, Some((over, false)));
    }

    /// Announces the bytes of a tile and copies its slabs.
    fn begin_copy(&mut self, load: ValueId, (to, full): (Value, Value), room: Room) {
        let bulk = self.expect_rings().bulk;
        let map = bulk.loads.iter().find(|it| it.0 == load).expect("it has a map").1;
        let Layout::Swizzled { slab } = room.layout else {
            unreachable!("copies of boxes put tiles in slabs")
        };
        let coordinates = self.corner_of(load);
        let w = &self.writer;
        let full = at(w.reg(RegType::B32, full));
        // What lies beyond the tensor counts, too.
        w.add(Inst::new(Op::MbarrierArriveExpect, args![Operand::Sink, full, room.bytes]));
        let to = at(w.reg(RegType::B32, to));
        let map = at(self.map_address(map));
        let (first, others) = coordinates.split_last().expect("a tensor has ranks");
        let add = Op::IntBinary { op: IntOp::Add, ty: Int::U32 };
        for slab_at in 0..room.bytes / slab {
            let along = match first.int() {
                Some(first) => Value::Int(first + i64::from(slab_at * COLUMNS)),
                None => w.pure(RegType::B32, add, &[*first, Value::Int((slab_at * COLUMNS).into())]),
            };
            // Ranks are innermost first.
            let point = std::iter::once(along).chain(others.iter().rev().copied());
            let point: Vec<Operand> = point.map(Operand::from).collect();
            let rank = [TensorRank::R1, TensorRank::R2, TensorRank::R3, TensorRank::R4, TensorRank::R5]
                [point.len() - 1];
            let to = to.plus((slab_at * slab).cast_signed());
            let copy = Op::TensorLoad { rank };
            w.add(Inst::new(copy, args![to, Operand::Tensor(map, point), full]));
        }
    }

    /// The first coordinates of a load, as 32-bit numbers.
    fn corner_of(&mut self, load: ValueId) -> Vec<Value> {
        let TileOp::Load { index, .. } = self.together().definition(load) else {
            unreachable!("what is copied is loaded")
        };
        let index: Vec<Value> = index.iter().map(|it| self.first_of(*it)).collect();
        let narrow = |it: Value| match it.int() {
            Some(it) => Value::Int(it),
            None => convert(&self.writer, CvtRound::Exact, (RegType::B32, Number::S32), Number::S64, it),
        };
        index.into_iter().map(narrow).collect()
    }

    /// Lets go of what is used no more after a statement of a block.
    pub(super) fn let_go(&mut self, block: &Block, at_stmt: usize) {
        let Some(rings) = self.rings.as_ref().filter(|it| it.role == Role::Computes) else { return };
        let stmts = &block.stmts;
        let done = stmts[..=at_stmt].iter().filter_map(|it| match it {
            Stmt::Let(load, _) if rings.has(*load) && rings.held.contains_key(load) => Some(*load),
            Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        let done: Vec<ValueId> =
            done.filter(|load| !stmts[at_stmt + 1..].iter().any(|it| it.uses(*load))).collect();
        done.into_iter().for_each(|load| self.release(load));
    }

    /// A tile at hand.
    pub(super) fn at_hand(&self, load: ValueId) -> Held {
        self.expect_rings().held[&load]
    }

    /// Asks once more whether a tile at hand has come, as it has.
    pub(super) fn ask_again(&self, load: ValueId) {
        let (full, parity) = self.at_hand(load).full;
        self.wait(full, parity);
    }

    /// From now on a tile is at hand.
    pub(super) fn hold(&mut self, load: ValueId, held: Held) {
        self.rings.as_mut().expect("there are rings").held.insert(load, held);
    }

    /// Ends what instructions read of tiles that are copied by others: the next copy writes memory on a way of its own.
    pub(super) fn end_reads(&self) {
        if self.rings.is_some() {
            self.writer.add(Inst::new(Op::FenceProxy { space: ProxySpace::Shared }, args![]));
        }
    }

    /// Lets go of a tile.
    pub(super) fn release(&mut self, load: ValueId) {
        let rings = self.rings.as_mut().expect("there are rings");
        let empty = rings.held.remove(&load).expect("it is held").empty;
        let w = &self.writer;
        // Lanes may have read it one by one.
        w.add(Inst::new(Op::BarWarp, args![-1]));
        let lane = word_logic(w, LogicOp::And, Value::Reg(self.together().thread), 31);
        let one = compare(w, Compare::Eq, lane, 0);
        let empty = at(w.reg(RegType::B32, empty));
        w.add(Inst::new(Op::MbarrierArrive, args![Operand::Sink, empty]).when(one));
    }

    /// The counts of tiles that a loop with that body changes, in registers of the loop: each with what it is before.
    pub(super) fn count_in(&mut self, body: &Block) -> Vec<(usize, Reg, Value)> {
        let Some(rings) = self.rings.as_mut() else { return Vec::new() };
        let count = |ring: usize| {
            let register = self.writer.fresh(RegType::B32);
            let before = std::mem::replace(&mut rings.rooms[ring].count, Value::Reg(register));
            (ring, register, before)
        };
        rings.bulk.rings_of(body).into_iter().map(count).collect()
    }

    /// What the counts are after a turn; from now on they are what they are after the loop.
    pub(super) fn counted(&mut self, counts: &[(usize, Reg, Value)]) -> Vec<Value> {
        let Some(rings) = self.rings.as_mut() else { return Vec::new() };
        let after = counts.iter().map(|&(ring, register, _)| {
            std::mem::replace(&mut rings.rooms[ring].count, Value::Reg(register))
        });
        after.collect()
    }
}

pub(super) fn word_logic(w: &Writer, op: LogicOp, a: Value, b: i64) -> Value {
    if let Some(a) = a.int() {
        return Value::Int(match op {
            LogicOp::And => a & b,
            LogicOp::Or => a | b,
            LogicOp::Xor => a ^ b,
        });
    }
    w.pure(RegType::B32, Op::Logic { op, ty: Logical::B32 }, &[a, Value::Int(b)])
}

pub(super) fn compare(w: &Writer, cmp: Compare, a: Value, b: u32) -> Reg {
    let op = Op::IntSetp { cmp, combine: Combine::None, ty: Int::U32 };
    w.reg(RegType::Pred, w.pure(RegType::Pred, op, &[a, Value::Int(b.into())]))
}
