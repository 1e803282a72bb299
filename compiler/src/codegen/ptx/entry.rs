//! A stage to a kernel: every thread runs tasks, as many apart as there are threads.

use attnc_ptx::modifier::special::Special;
use attnc_ptx::modifier::{CvtRound, IntOp};
use attnc_ptx::types::{Narrow, Number, RegType, Scalar as Type};
use attnc_ptx::{Builder, Kernel, Op, ParamType, at};

use super::THREADS;
use super::arith::{convert, int};
use super::block::Emitter;
use super::bulk::Bulk;
use super::memory::global;
use super::pressure::pressure;
use super::ring::{self, Rings};
use super::roles::with_copying;
use super::team::Team;
use super::turns::Turns;
use super::value::Value;
use super::writer::Writer;
use crate::codegen::symbol;
use crate::codegen::uses::Uses;
use crate::ir::nest::{Nest, Stage};
use crate::target::Gpu;

/// How many registers a kernel may seem to need before it saves some: a thread has 255, and ptxas orders instructions so
/// that fewer are needed, but for addresses in flight.
const REGISTERS: u32 = 160;

/// The kernels of a stage, by its position: one that any tensors will do for, and where copies of boxes can stage something
/// one that wants maps of tensors.
pub(super) fn emit(nest: &Nest, at_stage: usize, stage: &Stage, gpu: Gpu) -> Vec<Kernel> {
    let plain = best(nest, (at_stage, stage), gpu, None);
    let copying = super::bulk(nest, stage, gpu).map(|it| best(nest, (at_stage, stage), gpu, Some(&it)));
    std::iter::once(plain).chain(copying).collect()
}

/// What loops do not change is computed before them if there are registers to keep it in.
fn best(nest: &Nest, stage: (usize, &Stage), gpu: Gpu, bulk: Option<&Bulk>) -> Kernel {
    let hoisted = write(nest, stage, (gpu, bulk), true);
    let needed = pressure(&hoisted);
    if needed <= REGISTERS {
        return hoisted;
    }
    let plain = write(nest, stage, (gpu, bulk), false);
    if pressure(&plain) < needed { plain } else { hoisted }
}

fn write(
    nest: &Nest,
    (at_stage, stage): (usize, &Stage),
    (gpu, bulk): (Gpu, Option<&Bulk>),
    hoists: bool,
) -> Kernel {
    let own;
    let nest = match stage.team {
        Some(rows) => {
            own = super::team::own(nest, rows);
            &own
        }
        None => nest,
    };
    let mut builder = Builder::new(&super::entry_name(&symbol(nest, ""), at_stage, bulk.is_some()));
    builder.about(&format!("Stage {at_stage} of `{}`: {}.", nest.name, stage.defines));
    let bytes = u32::try_from(8 * nest.words.len()).expect("arguments are fewer than 2^28");
    let words = builder.param("words", ParamType::Bytes { bytes: bytes.max(8), align: 8 });
    let [workspace, tasks] = ["workspace", "tasks"].map(|it| builder.param(it, ParamType::U64));
    let maps = bulk.map(|it| ring::params(&mut builder, it)).unwrap_or_default();
    let threads = stage.team.map_or(THREADS, super::threads);
    builder.threads(if bulk.is_some() { with_copying(threads) } else { threads });
    // Otherwise ptxas would rather keep registers in memory than run fewer blocks.
    builder.min_blocks(1);
    let writer = Writer::new(builder, hoists);
    let [workspace, tasks] = [workspace, tasks].map(|it| writer.param(at(it)));
    let workspace = global(&writer, workspace);
    let team = stage.team.map(|rows| Team::new(nest, stage, rows, (&writer, gpu)));
    let (thread, threads) = if team.is_some() { blocks(&writer) } else { threads_of(&writer) };
    let rings = bulk.map(|it| Rings::new(&writer, it, maps));
    let mut emitter = Emitter::new(nest, writer, words, workspace);
    emitter.team = team;
    emitter.turns = bulk.and_then(|_| Turns::new(&emitter.writer, emitter.together().threads()));
    emitter.rings = rings;
    match stage.team {
        Some(_) => emitter.prologue(&Uses::outside_branches(nest, stage)),
        None => {
            emitter.prologue(&Uses::by_stage(nest, stage));
            emitter.scratch = scratch(&emitter, thread);
        }
    }
    match (bulk, stage.team) {
        (Some(_), _) => emitter.in_roles(|it, body| it.rounds(stage, body, (thread, tasks, threads))),
        (None, Some(_)) => emitter.rounds(stage, &stage.body, (thread, tasks, threads)),
        (None, None) => emitter.tasks(stage.task, &stage.body, (thread, tasks, threads)),
    }
    emitter.writer.finish()
}

/// The number of the running thread, and how many there are.
fn threads_of(writer: &Writer) -> (Value, Value) {
    let [block, size, lane, blocks] =
        [Special::CtaidX, Special::NtidX, Special::TidX, Special::NctaidX].map(|it| writer.special(it));
    let wide = |it| convert(writer, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, it);
    let thread = writer.pure(RegType::B64, Op::MadWide { ty: Narrow::U32 }, &[block, size, wide(lane)]);
    let threads = writer.pure(RegType::B64, Op::MulWide { ty: Narrow::U32 }, &[blocks, size]);
    (thread, threads)
}

/// The number of the running block, and how many there are.
fn blocks(writer: &Writer) -> (Value, Value) {
    let [block, blocks] = [Special::CtaidX, Special::NctaidX].map(|it| {
        let it = writer.special(it);
        convert(writer, CvtRound::Exact, (RegType::B64, Number::U64), Number::U32, it)
    });
    (block, blocks)
}

/// The scratch of a thread is behind what all share and the scratch of those before.
fn scratch(emitter: &Emitter<'_>, thread: Value) -> Value {
    let w = &emitter.writer;
    let [shared, scratch] = [emitter.nest.shared, emitter.nest.scratch].map(|it| emitter.scalar(it));
    let before = int(w, IntOp::MulLo, thread, scratch);
    let start = int(w, IntOp::Add, emitter.workspace, shared);
    int(w, IntOp::Add, start, before)
}

impl Writer {
    /// A word that the kernel is called with.
    fn param(&self, from: attnc_ptx::Address) -> Value {
        use attnc_ptx::modifier::{Lanes, LoadCache, LoadOrder, Space};
        let into = self.fresh(RegType::B64);
        let (order, cache, lanes) = (LoadOrder::Weak, LoadCache::Default, Lanes::One);
        let op = Op::Ld { order, space: Space::Param, cache, lanes, ty: attnc_ptx::types::Data::U64 };
        self.add(attnc_ptx::Inst::new(op, attnc_ptx::args![into, from]));
        Value::Reg(into)
    }

    /// A special register.
    pub(super) fn special(&self, special: Special) -> Value {
        let into = self.fresh(RegType::B32);
        self.add(attnc_ptx::Inst::new(Op::Mov { ty: Type::B32 }, attnc_ptx::args![into, special]));
        Value::Reg(into)
    }
}
