//! What the warps of a block do where a group of them copies for the others.
//!
//! ```text
//! make barriers; last group: a lane of the first warp: copies | two warps: look (`finite.rs`) | others: idle;   all other groups: compute
//! ```

use attnc_ptx::modifier::{Compare, RegisterChange};
use attnc_ptx::types::RegType;
use attnc_ptx::{Inst, Op, Operand, args, at};

use super::block::Emitter;
use super::finite::Finite;
use super::group::GROUP;
use super::ring::compare;
use super::value::Value;
use crate::ir::nest::Block;

/// The registers of a thread where others only copy, and where some look at tiles.
const FEW: u32 = 24;
const SOME: u32 = 40;
/// The registers of all threads of a block, and the most that a thread starts with.
const REGISTERS: u32 = 1 << 16;
const OF_THREAD: u32 = 255;

/// What a warp does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It copies tiles.
    Copies,
    /// It looks whether they are finite (`finite.rs`).
    Looks,
    /// It computes.
    Computes,
}

/// The threads of a block of which so many compute.
pub(crate) fn with_copying(threads: u32) -> u32 {
    threads + GROUP
}

impl<'a> Emitter<'a> {
    /// Makes the barriers; then the last group copies, and looks at what it copies where that matters, and the others compute:
    /// each by what `run` writes of its body.
    pub(super) fn in_roles(&mut self, run: impl Fn(&mut Self, &'a Block)) {
        self.make_barriers();
        let (w, team) = (&self.writer, self.together());
        let (thread, threads) = (Value::Reg(team.thread), team.threads());
        let is_last = compare(w, Compare::Ge, thread, threads);
        let [compute, look, idle, end] = ["compute", "look", "idle", "end"].map(|it| w.label(it));
        let looks = self.expect_rings().rooms.iter().any(|it| it.finite.is_some());
        let (few, many) = registers(threads, if looks { SOME } else { FEW });
        w.bra(compute, Some((is_last, false)));
        w.open(true);
        self.set_registers(RegisterChange::Dec, few);
        let w = &self.writer;
        let others = if looks { look } else { idle };
        w.bra(others, Some((compare(w, Compare::Ge, thread, threads + 32), true)));
        // Of a lane that is elected ptxas knows that it is alone: for any other it would go through all lanes at each copy.
        let elected = w.fresh(RegType::Pred);
        w.add(Inst::new(Op::Elect, args![Operand::Sink, elected, -1]));
        w.bra(idle, Some((elected, false)));
        w.open(true);
        self.each_map(|it, map| it.add(Inst::new(Op::PrefetchMap, args![at(map)])));
        run(self, self.expect_rings().body());
        let w = &self.writer;
        let closed = w.close(&[]);
        w.append(closed);
        if looks {
            w.bra(idle, None);
            w.place(look);
            w.bra(idle, Some((compare(w, Compare::Ge, thread, threads + 32 + Finite::THREADS), true)));
            w.open(true);
            self.rings.as_mut().expect("there are rings").turn_to(Role::Looks);
            run(self, self.expect_rings().body());
            let closed = self.writer.close(&[]);
            self.writer.append(closed);
        }
        let w = &self.writer;
        w.place(idle);
        let closed = w.close(&[]);
        w.append(closed);
        w.bra(end, None);
        w.place(compute);
        w.open(true);
        self.set_registers(RegisterChange::Inc, many);
        self.rings.as_mut().expect("there are rings").turn_to(Role::Computes);
        self.enter_turns();
        run(self, self.expect_rings().body());
        let w = &self.writer;
        let closed = w.close(&[]);
        w.append(closed);
        w.place(end);
    }

    fn set_registers(&self, change: RegisterChange, registers: Option<u32>) {
        if let Some(registers) = registers {
            self.writer.add(Inst::new(Op::SetMaxRegisters { change }, args![registers]));
        }
    }

    /// One thread makes the barriers, and all learn of it.
    fn make_barriers(&self) {
        let (w, team) = (&self.writer, self.together());
        let made = w.label("made");
        w.bra(made, Some((compare(w, Compare::Eq, Value::Reg(team.thread), 0), false)));
        w.open(true);
        let make = |barrier: Value, count: u32| {
            let barrier = at(w.reg(RegType::B32, barrier));
            w.add(Inst::new(Op::MbarrierInit, args![barrier, count]));
        };
        self.turns.iter().for_each(|it| it.each(w, make));
        for room in &self.expect_rings().rooms {
            for place in 0..room.stages {
                make(room.full(w, Value::Int(place.into())), 1);
                make(room.empty(w, Value::Int(place.into())), team.threads() / 32);
                room.finite.iter().for_each(|it| make(it.known(w, Value::Int(place.into())), Finite::WARPS));
            }
        }
        w.add(Inst::new(Op::FenceMbarrierInit, args![]));
        let closed = w.close(&[]);
        w.append(closed);
        w.place(made);
        w.add(Inst::new(Op::BarSyncAll, args![0]));
    }
}

/// The registers of a thread that copies, which are few, and of one that computes, if so many compute; none where there are enough at the
/// start.
fn registers(threads: u32, few: u32) -> (Option<u32>, Option<u32>) {
    let (groups, computing) = (with_copying(threads) / GROUP, threads / GROUP);
    let start = REGISTERS / (groups * GROUP) / 8 * 8;
    if start > OF_THREAD {
        return (None, None);
    }
    (Some(few), Some((groups * start - few) / computing / 8 * 8))
}
