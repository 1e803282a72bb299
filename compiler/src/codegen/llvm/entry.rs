//! The functions of a kernel: those of `attnc_runtime::abi`, and one for each stage.

use attnc_runtime::abi::Code;
use inkwell::IntPredicate;
use inkwell::attributes::AttributeLoc;
use inkwell::values::{FunctionValue, PointerValue};

use super::assembler::{Element, Opcode, Value};
use super::block::{Args, Emitter};
use super::mode::Mode;
use super::rest::{Rest, rests};
use super::share::Piece;
use super::unit::Unit;
use crate::codegen::uses::Uses;
use crate::codegen::{CodegenError, symbol};
use crate::ir::nest::{Checks, Nest, Status};

const DONE: i64 = 0;

/// The exported functions of a kernel, and its stages.
struct Functions<'a, 'c> {
    bind: FunctionValue<'c>,
    workspace: FunctionValue<'c>,
    check: FunctionValue<'c>,
    tasks: FunctionValue<'c>,
    run: FunctionValue<'c>,
    whole: FunctionValue<'c>,
    stages: Vec<FunctionValue<'c>>,
    /// Of each stage, the parts that are functions.
    rests: Vec<Vec<(Rest<'a>, FunctionValue<'c>)>>,
}

/// Emits these functions of a kernel.
pub(super) fn emit(nest: &Nest, unit: &Unit<'_>, pieces: &[Piece]) -> Result<(), CodegenError> {
    let functions = declare(nest, unit)?;
    for &piece in pieces {
        match piece {
            Piece::Entry => entry(nest, unit, &functions),
            Piece::Stage(at) => run_stage(nest, unit, &functions, at),
            Piece::Rest(at, part) => {
                let (rest, function) = &functions.rests[at][part];
                rest.emit(nest, unit, *function);
            }
        }
    }
    Ok(())
}

fn declare<'a, 'c>(nest: &'a Nest, unit: &Unit<'c>) -> Result<Functions<'a, 'c>, CodegenError> {
    use Element::{I32, I64, Pointer};
    let export = |suffix, from: &[Element], to| unit.export(&symbol(nest, suffix), from, Some(to));
    let stage = |at| unit.hidden(&symbol(nest, &format!("_stage_{at}")), &[Pointer, Pointer, I32, I64, I64]);
    let rests_of = |at: usize| {
        let rests = rests(nest, &nest.stages[at]).into_iter().enumerate();
        let declared = |(part, it): (usize, Rest<'a>)| {
            let function = it.declare(nest, unit, &format!("_stage_{at}_rest_{part}"))?;
            Ok((it, function))
        };
        rests.map(declared).collect::<Result<Vec<_>, CodegenError>>()
    };
    Ok(Functions {
        bind: export("_bind", &[Pointer, Pointer, Pointer], I32)?,
        workspace: export("_workspace", &[Pointer, I32], I64)?,
        check: export("_check", &[Pointer, Pointer, I64, I32], I32)?,
        tasks: export("_tasks", &[Pointer, I32], I64)?,
        run: export("_run", &[Pointer, Pointer, I32, I32, I64, I64], I32)?,
        whole: export("", &[Pointer, Pointer, I64], I32)?,
        stages: (0..nest.stages.len()).map(stage).collect::<Result<_, _>>()?,
        rests: (0..nest.stages.len()).map(rests_of).collect::<Result<_, _>>()?,
    })
}

/// The functions of the ABI.
fn entry<'c>(nest: &Nest, unit: &Unit<'c>, functions: &Functions<'_, 'c>) {
    // Before the work starts, it is the time to compile them that counts.
    for function in [functions.bind, functions.workspace, functions.check, functions.tasks] {
        unit.mark(function, AttributeLoc::Function, "noinline");
        unit.mark(function, AttributeLoc::Function, "optnone");
    }
    bind(nest, unit, functions.bind);
    workspace(nest, unit, functions.workspace);
    check(nest, unit, functions.check);
    tasks(nest, unit, functions.tasks);
    run(nest, unit, functions);
    whole(nest, unit, functions);
}

/// The parameters of a function.
fn params<'c, const N: usize>(function: FunctionValue<'c>) -> [Value<'c>; N] {
    function.get_params().try_into().expect("a function has the parameters that it was declared with")
}

fn bind<'c>(nest: &Nest, unit: &Unit<'c>, function: FunctionValue<'c>) {
    let [words, given, extents] = params(function).map(Value::into_pointer_value);
    let args = Args { writes_words: true, ..Args::reading(words) };
    let mut emitter = Emitter::new(nest, unit, function, args);
    emitter.prologue(&Uses::by_bind(nest));
    emitter.checks(&nest.extent_checks);
    emitter.when_given(extents, |emitter| emitter.extents(extents));
    emitter.when_given(given, |emitter| emitter.defaults(given));
    emitter.answer(DONE);
}

fn workspace<'c>(nest: &Nest, unit: &Unit<'c>, function: FunctionValue<'c>) {
    let [words, threads] = params(function);
    let mut emitter = Emitter::new(nest, unit, function, Args::reading(words.into_pointer_value()));
    emitter.args.threads = Some(unit.asm.cast(Opcode::ZExt, threads, Element::I64));
    emitter.prologue(&Uses::by_workspace(nest));
    unit.asm.ret(Some(emitter.scalar(nest.workspace)));
}

fn check<'c>(nest: &Nest, unit: &Unit<'c>, function: FunctionValue<'c>) {
    let [words, workspace, bytes, threads] = params(function);
    let args = Args {
        workspace: Some(workspace.into_pointer_value()),
        workspace_bytes: Some(bytes),
        ..Args::reading(words.into_pointer_value())
    };
    let mut emitter = Emitter::new(nest, unit, function, args);
    emitter.args.threads = Some(unit.asm.cast(Opcode::ZExt, threads, Element::I64));
    emitter.prologue(&Uses::by_check(nest));
    emitter.checks(&nest.extent_checks);
    emitter.checks(&nest.call_checks);
    emitter.answer(DONE);
}

fn tasks<'c>(nest: &Nest, unit: &Unit<'c>, function: FunctionValue<'c>) {
    let [words, stage] = params(function);
    let asm = &unit.asm;
    let mut emitter = Emitter::new(nest, unit, function, Args::reading(words.into_pointer_value()));
    emitter.prologue(&Uses::by_tasks(nest));
    let none = asm.int(Element::I64, None, 0);
    let count = nest.stages.iter().enumerate().fold(none, |count, (at, it)| {
        let this = asm.icmp(IntPredicate::EQ, stage, asm.int(Element::I32, None, at as i64));
        asm.select(this, emitter.scalar(it.tasks), count)
    });
    asm.ret(Some(count));
}

/// `void stage(const args *, void *workspace, uint32_t thread, uint64_t first, uint64_t last)`
fn run_stage<'c>(nest: &Nest, unit: &Unit<'c>, functions: &Functions<'_, 'c>, at: usize) {
    let (function, stage) = (functions.stages[at], &nest.stages[at]);
    let [words, workspace, thread, first, last] = params(function);
    // Words and workspace overlap nothing, least of all each other.
    for param in [0, 1] {
        unit.mark(function, AttributeLoc::Param(param), "noalias");
    }
    let asm = &unit.asm;
    let args =
        Args { workspace: Some(workspace.into_pointer_value()), ..Args::reading(words.into_pointer_value()) };
    let mut emitter = Emitter::new(nest, unit, function, args);
    emitter.rests = &functions.rests[at];
    emitter.prologue_of(&Uses::by_stage(nest, stage), thread);
    let before = asm.here();
    let [header, body, exit] = std::array::from_fn(|_| emitter.new_block());
    asm.jump(header);
    emitter.switch_to(header);
    let task = emitter.phi(first, before);
    asm.branch(asm.icmp(IntPredicate::ULT, task.as_basic_value(), last), body, exit);
    emitter.switch_to(body);
    emitter.define_scalar(stage.task, task.as_basic_value());
    emitter.block(&stage.body);
    let next = asm.binary(Opcode::Add, task.as_basic_value(), asm.int(Element::I64, None, 1));
    task.add_incoming(&[(&next, asm.here())]);
    asm.jump(header);
    emitter.switch_to(exit);
    asm.ret(None);
}

fn run<'c>(nest: &Nest, unit: &Unit<'c>, functions: &Functions<'_, 'c>) {
    let [words, workspace, thread, stage, first, last] = params(functions.run);
    let asm = &unit.asm;
    let emitter = Emitter::new(nest, unit, functions.run, Args::reading(words.into_pointer_value()));
    let mode = Mode::new(unit);
    let tasks = asm.call(functions.tasks, &[words, stage]).expect("`tasks` has a result");
    let backwards = asm.icmp(IntPredicate::UGT, first, last);
    let beyond = asm.icmp(IntPredicate::UGT, last, tasks);
    let [wrong, right] = std::array::from_fn(|_| emitter.new_block());
    asm.branch(asm.binary(Opcode::Or, backwards, beyond), wrong, right);
    emitter.switch_to(right);
    for (at, function) in functions.stages.iter().enumerate() {
        let [this, other] = std::array::from_fn(|_| emitter.new_block());
        asm.branch(asm.icmp(IntPredicate::EQ, stage, asm.int(Element::I32, None, at as i64)), this, other);
        emitter.switch_to(this);
        mode.flush();
        asm.call(*function, &[words, workspace, thread, first, last]);
        mode.restore();
        emitter.answer(DONE);
        emitter.switch_to(other);
    }
    asm.jump(wrong);
    emitter.switch_to(wrong);
    emitter.answer(Code::NoSuchTask.at(0).into());
}

fn whole<'c>(nest: &Nest, unit: &Unit<'c>, functions: &Functions<'_, 'c>) {
    let [words, workspace, bytes] = params(functions.whole);
    let asm = &unit.asm;
    let emitter = Emitter::new(nest, unit, functions.whole, Args::reading(words.into_pointer_value()));
    let mode = Mode::new(unit);
    let [one, alone] = [1, 0].map(|it| asm.int(Element::I32, None, it));
    let check = asm.call(functions.check, &[words, workspace, bytes, one]);
    let status = check.expect("`check` has a result");
    let [wrong, right] = std::array::from_fn(|_| emitter.new_block());
    let done = asm.int(Element::I32, None, DONE);
    asm.branch(asm.icmp(IntPredicate::EQ, status, done), right, wrong);
    emitter.switch_to(right);
    mode.flush();
    let first = asm.int(Element::I64, None, 0);
    for (at, function) in functions.stages.iter().enumerate() {
        let stage = asm.int(Element::I32, None, at as i64);
        let last = asm.call(functions.tasks, &[words, stage]).expect("`tasks` has a result");
        asm.call(*function, &[words, workspace, alone, first, last]);
    }
    mode.restore();
    emitter.answer(DONE);
    emitter.switch_to(wrong);
    asm.ret(Some(status));
}

impl<'a, 'c> Emitter<'a, '_, 'c> {
    /// Returns the status of the first condition that does not hold.
    fn checks(&mut self, checks: &'a Checks) {
        self.block(&checks.block);
        for (condition, Status { code, index }) in &checks.faults {
            let [wrong, right] = std::array::from_fn(|_| self.new_block());
            self.asm.branch(self.scalar(*condition), right, wrong);
            self.switch_to(wrong);
            self.answer(code.at(*index).into());
            self.switch_to(right);
        }
    }

    /// Returns a status.
    fn answer(&self, status: i64) {
        self.asm.ret(Some(self.asm.int(Element::I32, None, status)));
    }

    /// Does something if a condition holds.
    fn when(&mut self, condition: Value<'c>, then: impl FnOnce(&mut Self)) {
        let [yes, join] = std::array::from_fn(|_| self.new_block());
        self.asm.branch(condition, yes, join);
        self.switch_to(yes);
        then(self);
        self.asm.jump(join);
        self.switch_to(join);
    }

    /// Does something if there is a pointer.
    fn when_given(&mut self, pointer: PointerValue<'c>, then: impl FnOnce(&mut Self)) {
        let condition = self.asm.builder.build_is_not_null(pointer, "").expect("a pointer may be null");
        self.when(condition.into(), then);
    }

    /// Writes the extents that callers know.
    fn extents(&mut self, to: PointerValue<'c>) {
        for (at, &extent) in self.nest.extents.iter().enumerate() {
            let place = self.asm.offset(to, self.asm.index(8 * at as i64));
            self.asm.store(place, self.scalar(extent), 8);
        }
    }

    /// Writes the parameters that are not given.
    fn defaults(&mut self, given: PointerValue<'c>) {
        let asm = self.asm;
        for default in &self.nest.defaults {
            let flag = asm.offset(given, asm.index(default.param as i64));
            let is_given = asm.load(asm.ty(Element::I8, None), flag, 1);
            let is_missing = asm.icmp(IntPredicate::EQ, is_given, asm.int(Element::I8, None, 0));
            self.when(is_missing, |emitter| {
                emitter.block(&default.block);
                let place = asm.offset(emitter.args.words, asm.index(8 * i64::from(default.word)));
                asm.store(place, emitter.scalar(default.value), 8);
            });
        }
    }
}
