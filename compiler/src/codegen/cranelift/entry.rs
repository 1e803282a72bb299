//! The functions of a kernel: those of `attnc_runtime::abi`, and one for each stage.

use attnc_runtime::abi::Code;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::Switch;

use super::block::{Args, Emitter};
use super::unit::{Declared, Unit};
use crate::codegen::uses::Uses;
use crate::codegen::{CodegenError, Part, symbol};
use crate::ir::nest::{Checks, Nest, Stage, Status};

const DONE: i64 = 0;

/// The exported functions of a kernel.
struct Functions {
    bind: Declared,
    workspace: Declared,
    check: Declared,
    tasks: Declared,
    run: Declared,
    whole: Declared,
}

/// Emits the functions of a kernel. Without its stages there is no task to run.
pub(super) fn emit(nest: &Nest, unit: &mut Unit<'_>, part: Part) -> Result<(), CodegenError> {
    let name = |suffix: &str| symbol(nest, suffix);
    let functions = Functions {
        bind: unit.export(name("_bind"), &[I64, I64, I64], &[I32])?,
        workspace: unit.export(name("_workspace"), &[I64, I32], &[I64])?,
        check: unit.export(name("_check"), &[I64, I64, I64, I32], &[I32])?,
        tasks: unit.export(name("_tasks"), &[I64, I32], &[I64])?,
        run: unit.export(name("_run"), &[I64, I64, I32, I32, I64, I64], &[I32])?,
        whole: unit.export(name(""), &[I64, I64, I64], &[I32])?,
    };
    let stage = |at| unit.local(name(&format!("_stage_{at}")), &[I64, I64, I32, I64, I64], &[]);
    let here = if part == Part::All { nest.stages.len() } else { 0 };
    let stages: Vec<Declared> = (0..here).map(stage).collect::<Result<_, _>>()?;
    bind(nest, unit, &functions.bind);
    workspace(nest, unit, &functions.workspace);
    check(nest, unit, &functions.check);
    tasks(nest, unit, &functions.tasks);
    for (declared, stage) in stages.iter().zip(&nest.stages) {
        run_stage(nest, unit, declared, stage);
    }
    run(nest, unit, &functions, &stages);
    whole(nest, unit, &functions, &stages);
    Ok(())
}

fn bind(nest: &Nest, unit: &mut Unit<'_>, declared: &Declared) {
    unit.define(declared, |builder, params, linker| {
        let &[words, given, extents] = params else { unreachable!("`bind` has three parameters") };
        let args = Args { writes_words: true, ..Args::reading(words) };
        let mut emitter = Emitter::new(nest, builder, linker, args);
        emitter.prologue(&Uses::by_bind(nest));
        emitter.checks(&nest.extent_checks);
        emitter.when(extents, |emitter| emitter.extents(extents));
        emitter.when(given, |emitter| emitter.defaults(given));
        emitter.answer(DONE);
        emitter.close();
    });
}

fn workspace(nest: &Nest, unit: &mut Unit<'_>, declared: &Declared) {
    unit.define(declared, |builder, params, linker| {
        let &[words, threads] = params else { unreachable!("`workspace` has two parameters") };
        let mut emitter = Emitter::new(nest, builder, linker, Args::reading(words));
        emitter.threads(threads);
        emitter.prologue(&Uses::by_workspace(nest));
        let bytes = emitter.scalar(nest.workspace);
        emitter.builder.ins().return_(&[bytes]);
        emitter.close();
    });
}

fn check(nest: &Nest, unit: &mut Unit<'_>, declared: &Declared) {
    unit.define(declared, |builder, params, linker| {
        let &[words, workspace, bytes, threads] = params else { unreachable!("`check` has four parameters") };
        let args = Args { workspace: Some(workspace), workspace_bytes: Some(bytes), ..Args::reading(words) };
        let mut emitter = Emitter::new(nest, builder, linker, args);
        emitter.threads(threads);
        emitter.prologue(&Uses::by_check(nest));
        emitter.checks(&nest.extent_checks);
        emitter.checks(&nest.call_checks);
        emitter.answer(DONE);
        emitter.close();
    });
}

fn tasks(nest: &Nest, unit: &mut Unit<'_>, declared: &Declared) {
    unit.define(declared, |builder, params, linker| {
        let &[words, stage] = params else { unreachable!("`tasks` has two parameters") };
        let mut emitter = Emitter::new(nest, builder, linker, Args::reading(words));
        emitter.prologue(&Uses::by_tasks(nest));
        let mut count = emitter.builder.ins().iconst(I64, 0);
        for (at, it) in nest.stages.iter().enumerate() {
            let tasks = emitter.scalar(it.tasks);
            let this = emitter.builder.ins().icmp_imm_u(IntCC::Equal, stage, at as i64);
            count = emitter.builder.ins().select(this, tasks, count);
        }
        emitter.builder.ins().return_(&[count]);
        emitter.close();
    });
}

/// `void stage(const args *, void *workspace, uint32_t thread, uint64_t first, uint64_t last)`
fn run_stage(nest: &Nest, unit: &mut Unit<'_>, declared: &Declared, stage: &Stage) {
    unit.define(declared, |builder, params, linker| {
        let &[words, workspace, thread, first, last] = params else {
            unreachable!("a stage has five parameters")
        };
        let args = Args { workspace: Some(workspace), ..Args::reading(words) };
        let mut emitter = Emitter::new(nest, builder, linker, args);
        emitter.pinned_prologue(&Uses::by_stage(nest, stage));
        emitter.find_scratch(workspace, thread);
        emitter.prepare_zeros();
        let [header, body, exit] = std::array::from_fn(|_| emitter.builder.create_block());
        emitter.jump(header, &[first]);
        emitter.builder.switch_to_block(header);
        let task = emitter.builder.append_block_param(header, I64);
        let more = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, task, last);
        emitter.builder.ins().brif(more, body, &[], exit, &[]);
        emitter.builder.switch_to_block(body);
        emitter.define_scalar(stage.task, task);
        emitter.block(&stage.body);
        let next = emitter.builder.ins().iadd_imm_s(task, 1);
        emitter.jump(header, &[next]);
        emitter.builder.switch_to_block(exit);
        emitter.builder.ins().return_(&[]);
        emitter.close();
    });
}

fn run(nest: &Nest, unit: &mut Unit<'_>, functions: &Functions, stages: &[Declared]) {
    unit.define(&functions.run, |builder, params, linker| {
        let &[words, workspace, thread, stage, first, last] = params else {
            unreachable!("`run` has six parameters")
        };
        let mut emitter = Emitter::new(nest, builder, linker, Args::reading(words));
        let tasks = emitter.call(functions.tasks.id, &[words, stage]).expect("`tasks` has a result");
        let backwards = emitter.builder.ins().icmp(IntCC::UnsignedGreaterThan, first, last);
        let beyond = emitter.builder.ins().icmp(IntCC::UnsignedGreaterThan, last, tasks);
        let outside = emitter.builder.ins().bor(backwards, beyond);
        let [wrong, right] = std::array::from_fn(|_| emitter.builder.create_block());
        emitter.builder.ins().brif(outside, wrong, &[], right, &[]);
        emitter.builder.switch_to_block(right);
        let mut switch = Switch::new();
        let blocks: Vec<Block> = stages.iter().map(|_| emitter.builder.create_block()).collect();
        for (at, block) in blocks.iter().enumerate() {
            switch.set_entry(at as u128, *block);
        }
        switch.emit(&mut emitter.builder, stage, wrong);
        for (declared, block) in stages.iter().zip(blocks) {
            emitter.builder.switch_to_block(block);
            emitter.call(declared.id, &[words, workspace, thread, first, last]);
            emitter.answer(DONE);
        }
        emitter.builder.switch_to_block(wrong);
        emitter.answer(Code::NoSuchTask.at(0).into());
        emitter.close();
    });
}

fn whole(nest: &Nest, unit: &mut Unit<'_>, functions: &Functions, stages: &[Declared]) {
    unit.define(&functions.whole, |builder, params, linker| {
        let &[words, workspace, bytes] = params else { unreachable!("a kernel has three parameters") };
        let mut emitter = Emitter::new(nest, builder, linker, Args::reading(words));
        let [thread, threads] = [0, 1].map(|it| emitter.builder.ins().iconst(I32, it));
        let check = [words, workspace, bytes, threads];
        let status = emitter.call(functions.check.id, &check).expect("`check` has a result");
        let [wrong, right] = std::array::from_fn(|_| emitter.builder.create_block());
        emitter.builder.ins().brif(status, wrong, &[], right, &[]);
        emitter.builder.switch_to_block(right);
        let first = emitter.builder.ins().iconst(I64, 0);
        for (at, declared) in stages.iter().enumerate() {
            let stage = emitter.builder.ins().iconst(I32, at as i64);
            let last = emitter.call(functions.tasks.id, &[words, stage]).expect("`tasks` has a result");
            emitter.call(declared.id, &[words, workspace, thread, first, last]);
        }
        let all_ran = stages.len() == nest.stages.len();
        emitter.answer(if all_ran { DONE } else { Code::NoSuchTask.at(0).into() });
        emitter.builder.switch_to_block(wrong);
        emitter.builder.ins().return_(&[status]);
        emitter.close();
    });
}

impl<'a> Emitter<'a, '_, '_> {
    /// Returns the status of the first condition that does not hold.
    fn checks(&mut self, checks: &'a Checks) {
        self.block(&checks.block);
        for (condition, Status { code, index }) in &checks.faults {
            let holds = self.scalar(*condition);
            let [wrong, right] = std::array::from_fn(|_| self.builder.create_block());
            self.builder.set_cold_block(wrong);
            self.builder.ins().brif(holds, right, &[], wrong, &[]);
            self.builder.switch_to_block(wrong);
            self.answer(code.at(*index).into());
            self.builder.switch_to_block(right);
        }
    }

    /// The number of threads is that.
    fn threads(&mut self, threads: Value) {
        self.args.threads = Some(self.builder.ins().uextend(I64, threads));
    }

    /// The scratch of a thread is behind what all share and the scratch of those before.
    fn find_scratch(&mut self, workspace: Value, thread: Value) {
        let (shared, scratch) = (self.scalar(self.nest.shared), self.scalar(self.nest.scratch));
        let thread = self.builder.ins().uextend(I64, thread);
        let before = self.builder.ins().imul(thread, scratch);
        let address = self.builder.ins().iadd(workspace, shared);
        let address = self.builder.ins().iadd(address, before);
        self.args.scratch = Some(self.pinned(address));
    }

    /// Returns a status.
    fn answer(&mut self, status: i64) {
        let status = self.builder.ins().iconst(I32, status);
        self.builder.ins().return_(&[status]);
    }

    /// Does something if a condition, or a pointer, is not 0.
    fn when(&mut self, condition: Value, then: impl FnOnce(&mut Self)) {
        let [yes, join] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.ins().brif(condition, yes, &[], join, &[]);
        self.builder.switch_to_block(yes);
        then(self);
        self.jump(join, &[]);
        self.builder.switch_to_block(join);
    }

    /// Writes the extents that callers know.
    fn extents(&mut self, to: Value) {
        for (at, &extent) in self.nest.extents.iter().enumerate() {
            let extent = self.scalar(extent);
            self.builder.ins().store(MemFlagsData::trusted(), extent, to, 8 * at as i32);
        }
    }

    /// Writes the parameters that are not given.
    fn defaults(&mut self, given: Value) {
        for default in &self.nest.defaults {
            let is_given = self.builder.ins().load(I8, MemFlagsData::trusted(), given, default.param as i32);
            let is_missing = self.builder.ins().icmp_imm_u(IntCC::Equal, is_given, 0);
            self.when(is_missing, |emitter| {
                emitter.block(&default.block);
                let value = emitter.scalar(default.value);
                let words = emitter.args.words;
                emitter.builder.ins().store(MemFlagsData::trusted(), value, words, 8 * default.word as i32);
            });
        }
    }
}
