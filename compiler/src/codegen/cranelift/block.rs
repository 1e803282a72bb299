//! Statements to code.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    Block as ClifBlock, BlockArg, FuncRef, InstBuilder, MemFlagsData, StackSlot, Type, Value,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::FuncId;
use indexmap::IndexMap;

use super::library;
use super::tile::{Form, Tile};
use super::unit::Linker;
use crate::codegen::formula::Formula;
use crate::codegen::uses::Uses;
use crate::ir::nest::{Block, Loop, Nest, Stmt, ValueId};

/// The body of one function.
pub(super) struct Emitter<'a, 'f, 'm> {
    pub(super) nest: &'a Nest,
    pub(super) builder: FunctionBuilder<'f>,
    pub(super) linker: &'f mut Linker<'m>,
    pub(super) args: Args,
    /// A place to read zeros from, instead of what a guard forbids to read.
    pub(super) zeros: Option<StackSlot>,
    /// A place to write what a guard forbids to write.
    pub(super) waste: Option<StackSlot>,
    /// Places for sums that functions hand back, by their size.
    pub(super) rooms: IndexMap<u32, StackSlot>,
    values: Vec<Option<Tile<'a>>>,
    references: IndexMap<FuncId, FuncRef>,
}

/// What a function knows of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Args {
    /// The address of the words.
    pub(super) words: Value,
    /// Whether the function writes words.
    pub(super) writes_words: bool,
    /// The address of the workspace, where the function has it.
    pub(super) workspace: Option<Value>,
    /// The bytes of the workspace, where the function has them.
    pub(super) workspace_bytes: Option<Value>,
    /// The number of threads, where the function has it.
    pub(super) threads: Option<Value>,
    /// The address of the running thread's scratch, where the function has it.
    pub(super) scratch: Option<Value>,
}

impl Args {
    /// A function that only reads words.
    pub(super) fn reading(words: Value) -> Args {
        Args {
            words,
            writes_words: false,
            workspace: None,
            workspace_bytes: None,
            threads: None,
            scratch: None,
        }
    }
}

impl<'a, 'f, 'm> Emitter<'a, 'f, 'm> {
    /// A function without statements.
    pub(super) fn new(
        nest: &'a Nest,
        builder: FunctionBuilder<'f>,
        linker: &'f mut Linker<'m>,
        args: Args,
    ) -> Emitter<'a, 'f, 'm> {
        let values = vec![None; nest.values.len()];
        Emitter {
            nest,
            builder,
            linker,
            args,
            zeros: None,
            waste: None,
            rooms: IndexMap::new(),
            values,
            references: IndexMap::new(),
        }
    }

    /// Ends the function.
    pub(super) fn close(self) {
        self.linker.close(self.builder);
    }

    /// The values of the prologue that are needed.
    pub(super) fn prologue(&mut self, uses: &Uses<'a>) {
        uses.prologue().for_each(|it| self.stmt(it));
    }

    /// The statements of a block, in order.
    pub(super) fn block(&mut self, block: &'a Block) {
        block.stmts.iter().for_each(|it| self.stmt(it));
    }

    pub(super) fn stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Let(value, op) => {
                let tile = self.op(&self.nest.values[*value], op);
                self.define(*value, tile);
            }
            Stmt::Store { buffer, index, value, guard, contiguous } => {
                self.store(*buffer, index, *value, *guard, *contiguous);
            }
            Stmt::Loop(it) => self.tiles(it),
            Stmt::If { condition, then, otherwise } => self.branch(*condition, then, otherwise),
        }
    }

    /// The registers of a value.
    pub(super) fn tile(&self, value: ValueId) -> Tile<'a> {
        self.values[value.idx()].clone().expect("values are defined before they are used")
    }

    /// The register of a scalar.
    pub(super) fn scalar(&self, value: ValueId) -> Value {
        self.tile(value).registers[0]
    }

    /// Defines a value.
    pub(super) fn define(&mut self, value: ValueId, tile: Tile<'a>) {
        self.values[value.idx()] = Some(tile);
    }

    /// Defines a scalar.
    pub(super) fn define_scalar(&mut self, value: ValueId, register: Value) {
        let ty = &self.nest.values[value];
        self.define(value, Tile { ty, form: Form::Elements, registers: vec![register] });
    }

    fn tiles(&mut self, it: &'a Loop) {
        if self.outlined(it) {
            return;
        }
        let (from, to) = (self.scalar(it.from), self.scalar(it.to));
        let step = i64::from(it.step);
        let mut start = vec![from];
        for carried in &it.carried {
            start.extend(self.canonical(carried.init));
        }
        let [body, exit] = std::array::from_fn(|_| self.builder.create_block());
        self.jump_while(to, step, &start, [body, exit]);

        self.builder.switch_to_block(body);
        let index = self.builder.append_block_param(body, I64);
        self.define_scalar(it.index, index);
        for carried in &it.carried {
            let registers = self.receive(body, carried.current);
            self.define(carried.current, registers);
        }
        self.block(&it.body);
        let mut again = vec![self.builder.ins().iadd_imm_s(index, step)];
        for carried in &it.carried {
            again.extend(self.canonical(carried.next));
        }
        self.jump_while(to, step, &again, [body, exit]);

        self.builder.switch_to_block(exit);
        for carried in &it.carried {
            let registers = self.receive(exit, carried.result);
            self.define(carried.result, registers);
        }
    }

    /// Goes to the body of a loop while a step from the first of these values on is no further than the end; else behind
    /// it, with the others.
    fn jump_while(&mut self, to: Value, step: i64, state: &[Value], [body, exit]: [ClifBlock; 2]) {
        let after = self.builder.ins().iadd_imm_s(state[0], step);
        let fits = self.builder.ins().icmp(IntCC::SignedLessThanOrEqual, after, to);
        let args: Vec<BlockArg> = state.iter().map(|&it| it.into()).collect();
        self.builder.ins().brif(fits, body, &args, exit, &args[1..]);
    }

    /// The registers of a value in the form that its type alone decides.
    fn canonical(&mut self, value: ValueId) -> Vec<Value> {
        let tile = self.tile(value);
        tile.spread(&mut self.builder, &tile.ty.shape, Form::of(tile.ty))
    }

    /// A value that a block gets as parameters.
    fn receive(&mut self, block: ClifBlock, value: ValueId) -> Tile<'a> {
        let ty = &self.nest.values[value];
        let form = Form::of(ty);
        let register = form.register(ty.scalar);
        let registers = (0..ty.points() / form.lanes())
            .map(|_| self.builder.append_block_param(block, register))
            .collect();
        Tile { ty, form, registers }
    }

    fn branch(&mut self, condition: ValueId, then: &'a Block, otherwise: &'a Block) {
        let condition = self.scalar(condition);
        let [yes, no, join] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.ins().brif(condition, yes, &[], no, &[]);
        for (start, block) in [(yes, then), (no, otherwise)] {
            self.builder.switch_to_block(start);
            self.block(block);
            self.jump(join, &[]);
        }
        self.builder.switch_to_block(join);
    }

    /// Goes to a block.
    pub(super) fn jump(&mut self, block: ClifBlock, args: &[Value]) {
        let args: Vec<BlockArg> = args.iter().map(|&it| it.into()).collect();
        self.builder.ins().jump(block, &args);
    }

    /// Calls a function of the module.
    pub(super) fn call(&mut self, function: FuncId, args: &[Value]) -> Option<Value> {
        let reference = match self.references.get(&function) {
            Some(&known) => known,
            None => self.linker.reference(function, self.builder.func),
        };
        self.references.insert(function, reference);
        let call = self.builder.ins().call(reference, args);
        self.builder.inst_results(call).first().copied()
    }

    /// The value of a formula on registers of that type.
    pub(super) fn formula(&mut self, formula: Formula, ty: Type, args: &[Value]) -> Value {
        if library::is_inlined(formula, ty) {
            return library::emit(&mut self.builder, formula, ty, args, self.linker.fuses());
        }
        let function = self.linker.formula(formula, ty);
        self.call(function, args).expect("a formula has a value")
    }

    /// A word of the arguments.
    pub(super) fn word(&mut self, word: u32, ty: Type) -> Value {
        let constant = MemFlagsData::trusted().with_readonly().with_can_move();
        let flags = if self.args.writes_words { MemFlagsData::trusted() } else { constant };
        let offset = i32::try_from(8 * word).expect("arguments are fewer than 2^28");
        self.builder.ins().load(ty, flags, self.args.words, offset)
    }
}
