//! Walks a nest with the extents of a call.

use std::cmp::Ordering;

use super::cost::{Caches, Cost};
use super::program::{Node, Part, Reader, Round};
use super::{Footprint, Scene};
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::interp::fixed;
use crate::ir::nest::{BufferId, Op, Place, Scalar, Stmt, ValueId, Word, bytes_of};

/// How many tasks of a stage, and rounds of a loop, are walked; of more, so many at equal distances.
const TASKS: i64 = 24;
const ROUNDS: i64 = 16;
/// Slots that a loop takes to begin and to end, and for each round.
const ENTRY: f64 = 16.0;
const ROUND: f64 = 1.0;
/// The share of a cache that what is touched again stays in.
const KEPT: f64 = 0.75;

pub(super) struct Walk<'a> {
    scene: &'a Scene<'a>,
    reader: Reader<'a>,
    /// Integers and truth values that decide how often something runs, where they are known.
    known: Vec<Option<i64>>,
    caches: Caches,
    /// The bytes of each buffer.
    sizes: Vec<f64>,
    scratch: Vec<bool>,
    footprint: Footprint,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Walk<'a> {
        let nest = scene.nest;
        let threads = f64::from(scene.threads.max(1));
        let caches = scene.machine.levels.iter().filter_map(|it| {
            let share = if it.shared { threads } else { 1.0 };
            Some(KEPT * it.bytes? as f64 / share)
        });
        let scratch = nest.buffers.iter().map(|(_, it)| matches!(it.place, Place::Scratch(_)));
        let mut walk = Walk {
            scene,
            reader: Reader::new(scene),
            known: vec![None; nest.values.len()],
            caches: caches.collect(),
            sizes: Vec::new(),
            scratch: scratch.collect(),
            footprint: Footprint::default(),
            depth: 0,
        };
        for stmt in &nest.prologue.stmts {
            if let Stmt::Let(value, op) = stmt {
                walk.known[value.idx()] = walk.value(*value, op);
            }
        }
        walk.sizes = nest.buffers.ids().map(|it| walk.size(it)).collect();
        walk
    }

    pub(super) fn footprint(&self) -> Footprint {
        self.footprint
    }

    fn size(&self, id: BufferId) -> f64 {
        let buffer = &self.scene.nest.buffers[id];
        let extents = buffer.extents.iter().map(|it| self.known[it.idx()].map_or(1e9, |it| it as f64));
        extents.product::<f64>() * f64::from(bytes_of(buffer.dtype))
    }

    /// All stages.
    pub(super) fn call(&mut self) -> Cost {
        let nest = self.scene.nest;
        let mut total = Cost::none(nest.buffers.len(), &self.caches);
        for stage in &nest.stages {
            let tasks = self.known[stage.tasks.idx()].unwrap_or(1).max(0);
            let node = self.reader.node(&stage.body);
            let moves = self.reader.moves_of(&stage.body, stage.task);
            let mut all = Cost::none(nest.buffers.len(), &self.caches);
            let (mut largest, mut longest) = (0.0_f64, 0.0_f64);
            let walked = tasks.min(TASKS);
            for task in 0..walked {
                self.known[stage.task.idx()] = Some(middle(task, walked, tasks));
                let it = self.block(&node);
                self.note(&it);
                (largest, longest) = (largest.max(it.bytes()), longest.max(it.slots));
                all.round(&it, tasks as f64 / walked as f64, &moves);
            }
            all.looped(largest, &self.sizes, &self.caches);
            total.then(&all, &self.caches);
            total.longest = total.longest.max(longest);
        }
        total
    }

    fn note(&mut self, cost: &Cost) {
        let scratch = cost.touched.iter().zip(&self.scratch).filter(|it| *it.1).map(|it| it.0).sum();
        self.footprint.note(self.depth, cost.bytes(), scratch);
    }

    fn block(&mut self, node: &Node<'a>) -> Cost {
        let mut cost = Cost {
            slots: node.slots,
            longest: 0.0,
            flops: node.flops,
            touched: node.touched.clone(),
            traffic: vec![node.touched.iter().sum(); self.caches.len()],
        };
        for part in &node.parts {
            match part {
                Part::Value(value, op) => self.known[value.idx()] = self.value(*value, op),
                Part::Loop(it) => {
                    let it = self.rounds(it);
                    cost.then(&it, &self.caches);
                }
                Part::If(condition, then, otherwise) => {
                    let it = self.choice(*condition, then, otherwise);
                    cost.then(&it, &self.caches);
                }
            }
        }
        cost
    }

    /// Where only data can tell, the cheaper way that does something.
    fn choice(&mut self, condition: ValueId, then: &Node<'a>, otherwise: &Node<'a>) -> Cost {
        match self.known[condition.idx()] {
            Some(0) => self.block(otherwise),
            Some(_) => self.block(then),
            None => {
                let (a, b) = (self.block(then), self.block(otherwise));
                match a.slots.total_cmp(&b.slots) {
                    _ if a.bytes() == 0.0 => b,
                    _ if b.bytes() == 0.0 => a,
                    Ordering::Less | Ordering::Equal => a,
                    Ordering::Greater => b,
                }
            }
        }
    }

    fn rounds(&mut self, round: &Round<'a>) -> Cost {
        let it = round.it;
        let step = i64::from(it.step.max(1));
        let from = self.known[it.from.idx()].unwrap_or(0);
        let open = self.scene.extents.get(it.rank.idx()).copied().unwrap_or(1);
        let to = self.known[it.to.idx()].unwrap_or(from.saturating_add(open));
        let count = (to.saturating_sub(from) / step).max(0);
        let mut all = Cost::none(self.scene.nest.buffers.len(), &self.caches);
        all.slots = ENTRY;
        if count == 0 {
            return all;
        }
        let walked = if round.varies { count.min(ROUNDS) } else { 1 };
        let times = count as f64 / walked as f64;
        let mut largest = 0.0_f64;
        self.depth += 1;
        for number in 0..walked {
            self.known[it.index.idx()] = Some(from + step * middle(number, walked, count));
            for carried in &it.carried {
                self.known[carried.current.idx()] = None;
            }
            let mut one = self.block(&round.body);
            one.slots = one.slots.max(round.least) + round.spilled + ROUND;
            self.note(&one);
            largest = largest.max(one.bytes());
            all.round(&one, times, &round.moves);
        }
        self.depth -= 1;
        for carried in &it.carried {
            self.known[carried.result.idx()] = None;
        }
        all.looped(largest, &self.sizes, &self.caches);
        all
    }

    /// An integer or a truth value, where it is known.
    fn value(&self, value: ValueId, op: &Op) -> Option<i64> {
        let ty = &self.scene.nest.values[value];
        if !ty.shape.is_empty() || !matches!(ty.scalar, Scalar::I64 | Scalar::Bool) {
            return None;
        }
        let known = |it: &ValueId| self.known[it.idx()];
        match op {
            Op::Int(it) => Some(*it),
            Op::Bool(it) => Some(i64::from(*it)),
            Op::Word(word) => self.word(*word),
            Op::Threads => Some(i64::from(self.scene.threads)),
            Op::Unary(UnaryOp::Neg, a) => known(a).map(i64::wrapping_neg),
            Op::Unary(UnaryOp::Not, a) => known(a).map(|it| 1 - it),
            Op::Binary(op, a, b) => binary(*op, known(a), known(b)),
            Op::Compare(op, a, b) => Some(i64::from(op.holds(known(a)?.cmp(&known(b)?)))),
            // What only data can tell mostly holds: scores are finite.
            Op::Select(c, a, b) => known(if known(c) == Some(0) { b } else { a }),
            Op::Convert(a) => known(a),
            Op::Real(_)
            | Op::Address(_)
            | Op::WorkspaceAddress
            | Op::WorkspaceBytes
            | Op::Iota
            | Op::Unary(..)
            | Op::Power(_)
            | Op::Round(..)
            | Op::Load { .. }
            | Op::Contract { .. }
            | Op::Pack(_)
            | Op::Dot { .. }
            | Op::Reduce(..) => None,
        }
    }

    fn word(&self, word: u32) -> Option<i64> {
        let Scene { nest, cascade, extents, .. } = *self.scene;
        match &nest.words[word as usize] {
            Word::Extent(rank) => extents.get(rank.idx()).copied(),
            Word::Param(param) => match fixed(cascade, crate::ir::arena::Id::new(*param))? {
                crate::ir::array::Value::Int(it) => Some(it),
                crate::ir::array::Value::Bool(it) => Some(i64::from(it)),
                crate::ir::array::Value::Real(_) => None,
            },
            Word::Data(_) | Word::Stride(..) => None,
        }
    }
}

/// The middle one of those that stand for as many others, of so many in all.
fn middle(number: i64, walked: i64, count: i64) -> i64 {
    let twice = i128::from(2 * number + 1) * i128::from(count) / i128::from(2 * walked);
    i64::try_from(twice).unwrap_or(i64::MAX)
}

/// Absence aside, as in the cascade; what one operand decides needs no other.
fn binary(op: BinaryOp, a: Option<i64>, b: Option<i64>) -> Option<i64> {
    let decides = |it| a == Some(it) || b == Some(it);
    if op == BinaryOp::And && decides(0) {
        return Some(0);
    }
    if op == BinaryOp::Or && decides(1) {
        return Some(1);
    }
    let (a, b) = (a?, b?);
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::FloorDiv => {
            if b == 0 {
                Some(0)
            } else {
                a.checked_div_euclid(b)
            }
        }
        BinaryOp::Mod => {
            if b == 0 {
                Some(0)
            } else {
                a.checked_rem_euclid(b)
            }
        }
        BinaryOp::Min => Some(a.min(b)),
        BinaryOp::Max => Some(a.max(b)),
        BinaryOp::And | BinaryOp::BitAnd => Some(a & b),
        BinaryOp::Or | BinaryOp::BitOr => Some(a | b),
        BinaryOp::BitXor => Some(a ^ b),
        BinaryOp::Shl => u32::try_from(b).ok().and_then(|it| a.checked_shl(it)),
        BinaryOp::Shr => u32::try_from(b).ok().and_then(|it| a.checked_shr(it)),
        BinaryOp::Div | BinaryOp::Pow => None,
    }
}
