//! A nest to what is known of it before it is walked: what straight-line code takes, which loops are the same in every
//! round, and which coordinates of buffers move along with which loop.

use std::collections::BTreeSet;

use super::Scene;
use super::price::{self, Need};
use crate::ir::nest::{Block, BufferId, Loop, Nest, Op, Stmt, ValueId, bytes_of};

/// A block.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    /// What its own statements take.
    pub(super) slots: f64,
    /// What its own statements compute.
    pub(super) flops: f64,
    /// Bytes that its own statements touch, by buffer.
    pub(super) touched: Vec<f64>,
    /// What has to be walked, in order.
    pub(super) parts: Vec<Part<'a>>,
}

/// What has to be walked.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// A value that decides how often something runs.
    Value(ValueId, &'a Op),
    /// A loop.
    Loop(Round<'a>),
    /// A choice.
    If(ValueId, Node<'a>, Node<'a>),
}

/// A loop.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pub(super) it: &'a Loop,
    pub(super) body: Node<'a>,
    /// How often its body runs something depends on the round.
    pub(super) varies: bool,
    /// By buffer: what is touched moves along with it.
    pub(super) moves: Vec<bool>,
    /// What a round takes at least: sums wait for those before.
    pub(super) least: f64,
    /// What a round takes on top: what registers do not hold.
    pub(super) spilled: f64,
}

/// Reads nests.
pub(super) struct Reader<'a> {
    scene: &'a Scene<'a>,
    nest: &'a Nest,
    /// Values that decide how often something runs.
    decides: Vec<bool>,
    /// Values that something needs; back ends leave out the others.
    used: Vec<bool>,
    /// By value: the loops that it moves along with, by the values of their indices.
    along: Vec<BTreeSet<usize>>,
}

/// Slots from the beginning of a sum until the next can begin.
const LATENCY: f64 = 8.0;

impl<'a> Reader<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Reader<'a> {
        let nest = scene.nest;
        let mut reader = Reader {
            scene,
            nest,
            decides: vec![false; nest.values.len()],
            used: vec![false; nest.values.len()],
            along: vec![BTreeSet::new(); nest.values.len()],
        };
        for stage in &nest.stages {
            reader.along[stage.task.idx()].insert(stage.task.idx());
            reader.follow(&stage.body);
            reader.decide(&stage.body);
            reader.use_of(&stage.body);
        }
        reader.decide(&nest.prologue);
        reader
    }

    /// The values that decide how often something runs.
    pub(super) fn decides(&self, value: ValueId) -> bool {
        self.decides[value.idx()]
    }

    /// Notes what values move along with.
    fn follow(&mut self, block: &Block) {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(value, op) => {
                    let all = op.operands().iter().flat_map(|it| self.along[it.idx()].clone()).collect();
                    self.along[value.idx()] = all;
                }
                Stmt::Store { .. } => {}
                Stmt::Loop(it) => {
                    let bounds = [it.from, it.to].into_iter().flat_map(|it| self.along[it.idx()].clone());
                    let mut all: BTreeSet<usize> = bounds.collect();
                    all.insert(it.index.idx());
                    self.along[it.index.idx()] = all;
                    for carried in &it.carried {
                        self.along[carried.current.idx()] = self.along[carried.init.idx()].clone();
                    }
                    self.follow(&it.body);
                    for carried in &it.carried {
                        self.along[carried.result.idx()] = self.along[carried.init.idx()].clone();
                    }
                }
                Stmt::If { then, otherwise, .. } => {
                    self.follow(then);
                    self.follow(otherwise);
                }
            }
        }
    }

    /// Notes what is needed, last statement first.
    fn use_of(&mut self, block: &Block) {
        for stmt in block.stmts.iter().rev() {
            match stmt {
                Stmt::Let(value, op) => {
                    if self.used[value.idx()] {
                        op.operands().iter().for_each(|it| self.used[it.idx()] = true);
                    }
                }
                Stmt::Store { index, value, guard, .. } => {
                    index.iter().chain([value]).chain(guard).for_each(|it| self.used[it.idx()] = true);
                }
                Stmt::Loop(it) => {
                    let carried = it.carried.iter().flat_map(|it| [it.init, it.next]);
                    carried.chain([it.from, it.to]).for_each(|it| self.used[it.idx()] = true);
                    self.use_of(&it.body);
                }
                Stmt::If { condition, then, otherwise } => {
                    self.used[condition.idx()] = true;
                    self.use_of(then);
                    self.use_of(otherwise);
                }
            }
        }
    }

    /// Notes what bounds of loops and conditions need, last statement first.
    fn decide(&mut self, block: &Block) {
        for stmt in block.stmts.iter().rev() {
            match stmt {
                Stmt::Let(value, op) if self.decides[value.idx()] => {
                    op.operands().iter().for_each(|it| self.decides[it.idx()] = true);
                }
                Stmt::Let(..) | Stmt::Store { .. } => {}
                Stmt::Loop(it) => {
                    [it.from, it.to].iter().for_each(|it| self.decides[it.idx()] = true);
                    self.decide(&it.body);
                }
                Stmt::If { condition, then, otherwise } => {
                    self.decides[condition.idx()] = true;
                    self.decide(then);
                    self.decide(otherwise);
                }
            }
        }
        // What the prologue gives to stages, and what buffers hold.
        let nest = self.nest;
        let sizes = nest.buffers.iter().flat_map(|(_, it)| &it.extents);
        sizes.for_each(|it| self.decides[it.idx()] = true);
        nest.stages.iter().for_each(|it| self.decides[it.tasks.idx()] = true);
    }

    /// A block, read.
    pub(super) fn node(&self, block: &'a Block) -> Node<'a> {
        let mut node = Node { touched: vec![0.0; self.nest.buffers.len()], ..Node::default() };
        let mut need = Need::default();
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(value, _) if !self.used[value.idx()] => {}
                Stmt::Let(value, op) => {
                    need.add(price::of(self.scene, *value, op));
                    if let Op::Load { buffer, .. } = op {
                        self.touch(&mut node, *buffer, self.nest.values[*value].points());
                    }
                    if self.decides(*value) {
                        node.parts.push(Part::Value(*value, op));
                    }
                }
                Stmt::Store { buffer, index, value, contiguous, .. } => {
                    need.add(price::of_store(self.scene, index, *value, *contiguous));
                    self.touch(&mut node, *buffer, self.nest.values[*value].points());
                }
                Stmt::Loop(it) => node.parts.push(Part::Loop(self.round(it))),
                Stmt::If { condition, then, otherwise } => {
                    node.parts.push(Part::If(*condition, self.node(then), self.node(otherwise)));
                }
            }
        }
        (node.slots, node.flops) = (need.slots(self.scene), need.flops);
        node
    }

    fn touch(&self, node: &mut Node<'_>, buffer: BufferId, points: usize) {
        let bytes = points as f64 * f64::from(bytes_of(self.nest.buffers[buffer].dtype));
        let all = &mut node.touched[buffer.idx()];
        *all = all.max(bytes);
    }

    fn round(&self, it: &'a Loop) -> Round<'a> {
        let body = self.node(&it.body);
        let mut moves = vec![false; self.nest.buffers.len()];
        self.note_moves(&it.body, it.index.idx(), &mut moves);
        let varies = self.decides(it.index) || it.carried.iter().any(|it| self.decides(it.current));
        let (least, spilled) = self.registers(it);
        Round { it, body, varies, moves, least, spilled }
    }

    fn note_moves(&self, block: &Block, index: usize, moves: &mut [bool]) {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(_, Op::Load { buffer, index: at, .. }) | Stmt::Store { buffer, index: at, .. } => {
                    moves[buffer.idx()] |= at.iter().any(|it| self.along[it.idx()].contains(&index));
                }
                Stmt::Let(..) => {}
                Stmt::Loop(it) => self.note_moves(&it.body, index, moves),
                Stmt::If { then, otherwise, .. } => {
                    self.note_moves(then, index, moves);
                    self.note_moves(otherwise, index, moves);
                }
            }
        }
    }

    /// What the task moves along with, by buffer.
    pub(super) fn moves_of(&self, block: &Block, task: ValueId) -> Vec<bool> {
        let mut moves = vec![false; self.nest.buffers.len()];
        self.note_moves(block, task.idx(), &mut moves);
        moves
    }

    /// What a round takes at least and on top: sums that are carried stay in registers, if these are enough.
    fn registers(&self, it: &Loop) -> (f64, f64) {
        let lanes = self.scene.lanes;
        let held: f64 = it.carried.iter().map(|it| price::vectors(self.nest, it.current, lanes)).sum();
        let (mut chain, mut factors) = (0.0, 0.0_f64);
        for stmt in &it.body.stmts {
            if let Stmt::Let(_, Op::Contract { b, a, .. }) = stmt {
                let [a, b] = [*a, *b].map(|it| price::vectors(self.nest, it, lanes));
                chain += LATENCY;
                factors = factors.max(a.min(b));
            }
        }
        let registers = if lanes >= 16 || self.scene.backend == crate::codegen::Backend::Llvm && lanes == 4 {
            32.0
        } else {
            16.0
        };
        let beyond = if chain > 0.0 { (held + factors + 1.0 - registers).max(0.0) } else { 0.0 };
        // Where some sums do not stay, the scheduler of a back end moves most of them: tiles that spill take more than
        // twice as long.
        let spilled = if beyond > 0.0 { 2.0 * held + 6.0 * beyond } else { 0.0 };
        (chain, spilled)
    }
}
