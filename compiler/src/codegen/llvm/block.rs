//! Statements to code.

use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::values::{BasicValue, FunctionValue, IntValue, PhiValue, PointerValue};

use super::ahead::AtHand;
use super::alias::Scopes;
use super::assembler::{Assembler, Element, Opcode, Value};
use super::rest::Rest;
use super::tile::{Tile, lanes};
use super::unit::Unit;
use crate::codegen::uses::Uses;
use crate::ir::nest::{Block, BufferId, Loop, Nest, Op, Scalar, Stmt, TileType, ValueId};

/// The body of one function.
pub(super) struct Emitter<'a, 'u, 'c> {
    pub(super) nest: &'a Nest,
    pub(super) unit: &'u Unit<'c>,
    pub(super) asm: &'u Assembler<'c>,
    pub(super) args: Args<'c>,
    pub(super) scopes: Scopes<'c>,
    function: FunctionValue<'c>,
    values: Vec<Option<Tile<'a, 'c>>>,
    /// How many values were defined before each.
    pub(super) before: Vec<usize>,
    /// How many are by now.
    pub(super) defined: usize,
    /// How many a part of a stage began with, which is in a loop that had all of them before.
    pub(super) resumed: usize,
    /// The first elements of the buffers that are needed.
    addresses: Vec<Option<PointerValue<'c>>>,
    /// A place to write what a guard forbids to write.
    waste: Option<PointerValue<'c>>,
    /// The innermost loop that has begun.
    pub(super) at_hand: Option<AtHand<'a>>,
    /// Blocks that are functions of their own.
    pub(super) rests: &'u [(Rest<'a>, FunctionValue<'c>)],
}

/// With products of so many points the instructions that count turns cost little, but what is read comes from a second level
/// of cache, and with two turns in one more of it is on its way: 4 to 6 % of the time of such a loop on processors of Intel.
const MANY: usize = 256;

/// Where a loop is: its index, and what it carries.
type Carried<'c> = (Value<'c>, Vec<Vec<Value<'c>>>);

/// How a loop goes round.
#[derive(Clone, Copy)]
struct Turns {
    /// How often its body is in one turn.
    bodies: u32,
    /// Whether there is one turn at most.
    once: bool,
}

/// What a function knows of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Args<'c> {
    /// The address of the words.
    pub(super) words: PointerValue<'c>,
    /// Whether the function writes words.
    pub(super) writes_words: bool,
    /// The address of the workspace, where the function has it.
    pub(super) workspace: Option<PointerValue<'c>>,
    /// The bytes of the workspace, where the function has them.
    pub(super) workspace_bytes: Option<Value<'c>>,
    /// The number of threads, where the function has it.
    pub(super) threads: Option<Value<'c>>,
    /// The address of the running thread's scratch, where the function has it.
    pub(super) scratch: Option<PointerValue<'c>>,
}

impl<'c> Args<'c> {
    /// A function that only reads words.
    pub(super) fn reading(words: PointerValue<'c>) -> Args<'c> {
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

impl<'a, 'u, 'c> Emitter<'a, 'u, 'c> {
    /// A function that has no statements but what its parameters are.
    pub(super) fn new(
        nest: &'a Nest,
        unit: &'u Unit<'c>,
        function: FunctionValue<'c>,
        args: Args<'c>,
    ) -> Emitter<'a, 'u, 'c> {
        unit.asm.builder.position_at_end(unit.asm.context.append_basic_block(function, ""));
        Emitter {
            nest,
            unit,
            asm: &unit.asm,
            args,
            scopes: Scopes::new(unit.asm.context, nest),
            function,
            values: vec![None; nest.values.len()],
            before: vec![0; nest.values.len()],
            defined: 0,
            resumed: 0,
            addresses: vec![None; nest.buffers.len()],
            waste: None,
            at_hand: None,
            rests: &[],
        }
    }

    /// The values of the prologue, and the addresses of the buffers, that are needed.
    pub(super) fn prologue(&mut self, uses: &Uses<'a>) {
        self.begin(uses, None);
    }

    /// The same, for what that thread runs.
    pub(super) fn prologue_of(&mut self, uses: &Uses<'a>, thread: Value<'c>) {
        self.begin(uses, Some(thread));
    }

    fn begin(&mut self, uses: &Uses<'a>, thread: Option<Value<'c>>) {
        uses.prologue().for_each(|it| self.stmt(it));
        if let Some(thread) = thread {
            self.args.scratch = Some(self.scratch_of(thread));
        }
        self.locate(uses.buffers());
    }

    /// What a part of a stage makes again, and the addresses of the buffers that it needs.
    pub(super) fn resume(&mut self, again: &[&'a Stmt], buffers: &[BufferId]) {
        again.iter().for_each(|it| self.stmt(it));
        self.locate(buffers.iter().copied());
        self.resumed = self.defined;
    }

    fn locate(&mut self, buffers: impl Iterator<Item = BufferId>) {
        for buffer in buffers {
            self.addresses[buffer.idx()] = Some(self.first_element(buffer));
        }
    }

    /// The scratch of a thread is behind what all share and the scratch of those before.
    fn scratch_of(&self, thread: Value<'c>) -> PointerValue<'c> {
        let workspace = self.args.workspace.expect("who runs has the workspace");
        let thread = self.asm.cast(Opcode::ZExt, thread, Element::I64).into_int_value();
        let before = self.int_op(Opcode::Mul, thread, self.int(self.nest.scratch));
        self.asm.offset(self.asm.offset(workspace, self.int(self.nest.shared)), before)
    }

    /// The statements of a block, in order.
    pub(super) fn block(&mut self, block: &'a Block) {
        block.stmts.iter().for_each(|it| self.stmt(it));
    }

    fn stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Let(value, op) => {
                let tile = self.op(&self.nest.values[*value], op);
                self.define(*value, tile);
            }
            Stmt::Store { buffer, index, value, guard, contiguous } => {
                self.store(*buffer, index, *value, *guard, *contiguous);
            }
            Stmt::Loop(it) => self.tiles(it),
            Stmt::If { condition, then, otherwise } => self.choice(*condition, then, otherwise),
        }
    }

    /// The registers of a value.
    pub(super) fn tile(&self, value: ValueId) -> Tile<'a, 'c> {
        self.values[value.idx()].clone().expect("values are defined before they are used")
    }

    /// A value that may not be used any more.
    pub(super) fn undefine(&mut self, value: ValueId) {
        self.values[value.idx()] = None;
    }

    /// Whether a value is defined by now.
    pub(super) fn is_defined(&self, value: ValueId) -> bool {
        self.values[value.idx()].is_some()
    }

    /// The register of a scalar.
    pub(super) fn scalar(&self, value: ValueId) -> Value<'c> {
        self.tile(value).rows[0]
    }

    /// The register of an integer.
    pub(super) fn int(&self, value: ValueId) -> IntValue<'c> {
        self.scalar(value).into_int_value()
    }

    /// The rows of a value broadcast to a type.
    pub(super) fn spread(&self, value: ValueId, ty: &TileType) -> Vec<Value<'c>> {
        self.tile(value).spread(self.asm, &ty.shape)
    }

    /// Defines a value.
    pub(super) fn define(&mut self, value: ValueId, tile: Tile<'a, 'c>) {
        self.values[value.idx()] = Some(tile);
        self.before[value.idx()] = self.defined;
        self.defined += 1;
    }

    /// Defines a scalar.
    pub(super) fn define_scalar(&mut self, value: ValueId, register: Value<'c>) {
        self.define(value, Tile::new(&self.nest.values[value], vec![register]));
    }

    /// The address of a buffer's first element.
    pub(super) fn address(&self, buffer: BufferId) -> PointerValue<'c> {
        self.addresses[buffer.idx()].expect("a function says which buffers it needs")
    }

    /// A block of this function, yet to be filled.
    pub(super) fn new_block(&self) -> BasicBlock<'c> {
        self.asm.context.append_basic_block(self.function, "")
    }

    /// Goes on in a block.
    pub(super) fn switch_to(&self, block: BasicBlock<'c>) {
        self.asm.builder.position_at_end(block);
    }

    /// A value that depends on where the block is entered from; so far from here.
    pub(super) fn phi(&self, like: Value<'c>, from: BasicBlock<'c>) -> PhiValue<'c> {
        let phi = self.asm.builder.build_phi(like.get_type(), "").expect("a block begins with phis");
        phi.add_incoming(&[(&like, from)]);
        phi
    }

    /// Counts from `from` in steps as long as the body's tiles end at `to`: `from + step <= to`. Bodies of nothing but many
    /// products are taken two at a time, and then what is left.
    fn tiles(&mut self, it: &'a Loop) {
        self.fetch_rows(it);
        let inits = it.carried.iter().map(|it| self.tile(it.init).rows).collect();
        let mut so_far = (self.scalar(it.from), inits);
        let by_twos = self.multiplies_much(it);
        if by_twos {
            so_far = self.turns(it, so_far, Turns { bodies: 2, once: false });
        }
        let (_, results) = self.turns(it, so_far, Turns { bodies: 1, once: by_twos });
        for (carried, registers) in it.carried.iter().zip(results) {
            self.define(carried.result, Tile::new(&self.nest.values[carried.result], registers));
        }
    }

    /// Whether a loop does nothing but add products of what it reads, of so many points that they take long.
    fn multiplies_much(&self, it: &Loop) -> bool {
        let mut is_large = false;
        let is_plain = it.body.stmts.iter().all(|it| {
            let Stmt::Let(value, op) = it else { return false };
            let ty = &self.nest.values[*value];
            is_large |= matches!(op, Op::Contract { .. }) && ty.points() >= MANY;
            // What else is computed of tiles has no registers to spare.
            let is_tile = ty.scalar == Scalar::F32 && !ty.shape.is_empty();
            !is_tile || matches!(op, Op::Contract { .. } | Op::Load { .. })
        });
        !it.rare && !it.carried.is_empty() && is_plain && is_large
    }

    /// A loop from an index and what is carried there; where it ends. The condition stands before the loop and at its end, as
    /// LLVM wants loops.
    fn turns(&mut self, it: &'a Loop, (from, inits): Carried<'c>, turns: Turns) -> Carried<'c> {
        let asm = self.asm;
        let step: Value<'c> = asm.index((it.step * turns.bodies).into()).into();
        // So that neither this nor the step, where it is taken, goes beyond the integers.
        let last = asm.function("llvm.ssub.sat", &[self.scalar(it.to), step]);
        let before = asm.here();
        let [entry, body, exit] = std::array::from_fn(|_| self.new_block());
        let begins = asm.icmp(IntPredicate::SLE, from, last);
        if it.rare {
            asm.seldom(begins, entry, exit);
        } else {
            asm.branch(begins, entry, exit);
        }
        self.switch_to(entry);
        asm.jump(body);

        self.switch_to(body);
        let outside = self.enter(it);
        let index = self.phi(from, entry);
        let phis: Vec<Vec<PhiValue<'c>>> =
            inits.iter().map(|rows| rows.iter().map(|init| self.phi(*init, entry)).collect()).collect();
        let begin = |rows: &Vec<PhiValue<'c>>| rows.iter().map(|it| it.as_basic_value()).collect();
        let at = (index.as_basic_value(), phis.iter().map(begin).collect());
        let (next, nexts) = (0..turns.bodies).fold(at, |at, _| self.body(it, at));
        self.at_hand = outside;
        let end = asm.here();
        if turns.once {
            asm.jump(exit);
        } else {
            index.add_incoming(&[(&next, end)]);
            for (phi, next) in phis.iter().flatten().zip(nexts.iter().flatten()) {
                phi.add_incoming(&[(next, end)]);
            }
            asm.branch(asm.icmp(IntPredicate::SLE, next, last), body, exit);
        }

        self.switch_to(exit);
        let after = |one: Value<'c>, other: Value<'c>| {
            let phi = self.phi(one, before);
            phi.add_incoming(&[(&other, end)]);
            phi.as_basic_value()
        };
        let index = after(from, next);
        let rows =
            |(one, other): (Vec<_>, Vec<_>)| one.into_iter().zip(other).map(|(a, b)| after(a, b)).collect();
        (index, inits.into_iter().zip(nexts).map(rows).collect())
    }

    /// The body of a loop at an index and with what is carried there; where it ends.
    fn body(&mut self, it: &'a Loop, (index, carried): Carried<'c>) -> Carried<'c> {
        for (it, registers) in it.carried.iter().zip(carried) {
            self.define(it.current, Tile::new(&self.nest.values[it.current], registers));
        }
        self.define_scalar(it.index, index);
        self.block(&it.body);
        let [index, step] = [index.into_int_value(), self.asm.index(it.step.into())];
        let next = self.asm.builder.build_int_nsw_add(index, step, "").expect("integers are added");
        (next.into(), it.carried.iter().map(|it| self.tile(it.next).rows).collect())
    }

    fn choice(&mut self, condition: ValueId, then: &'a Block, otherwise: &'a Block) {
        let [yes, no, join] = std::array::from_fn(|_| self.new_block());
        self.asm.branch(self.scalar(condition), yes, no);
        for (start, block) in [(yes, then), (no, otherwise)] {
            self.switch_to(start);
            match self.rests.iter().find(|(rest, _)| std::ptr::eq(rest.block, block)) {
                Some((rest, function)) => _ = self.asm.call(*function, &rest.args(self)),
                None => self.block(block),
            }
            self.asm.jump(join);
        }
        self.switch_to(join);
    }

    /// A constant of a tile's type in all its rows.
    pub(super) fn constant(&self, ty: &'a TileType, value: Value<'c>) -> Tile<'a, 'c> {
        let row = self.asm.splat(value, lanes(&ty.shape));
        Tile::new(ty, vec![row; Tile::rows_of(ty)])
    }

    /// A word of the arguments.
    pub(super) fn word(&self, word: u32, element: Element) -> Value<'c> {
        let asm = self.asm;
        let place = asm.offset(self.args.words, asm.index(8 * i64::from(word)));
        let value = asm.load(asm.ty(element, None), place, 8);
        if !self.args.writes_words {
            let kind = asm.context.get_kind_id("invariant.load");
            let load = value.as_instruction_value().expect("a load is an instruction");
            load.set_metadata(asm.context.metadata_node(&[]), kind).expect("a node is metadata of a load");
        }
        value
    }

    /// A place to write what a guard forbids to write.
    pub(super) fn waste(&mut self) -> PointerValue<'c> {
        if let Some(known) = self.waste {
            return known;
        }
        let here = self.asm.here();
        let entry = self.function.get_first_basic_block().expect("a function has begun");
        match entry.get_first_instruction() {
            Some(first) => self.asm.builder.position_before(&first),
            None => self.switch_to(entry),
        }
        let ty = self.asm.context.i8_type().array_type(self.widest());
        let place = self.asm.builder.build_alloca(ty, "waste").expect("there is room in the frame");
        self.switch_to(here);
        *self.waste.insert(place)
    }

    /// The bytes that no row of a tile is beyond.
    pub(super) fn widest(&self) -> u32 {
        let widths = self.nest.values.iter().map(|(_, ty)| lanes(&ty.shape).unwrap_or(1));
        8 * widths.max().unwrap_or(1)
    }

    /// `a op b`, of integers.
    pub(super) fn int_op(&self, op: Opcode, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.asm.binary(op, a.into(), b.into()).into_int_value()
    }
}
