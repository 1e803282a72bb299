//! What a nest does, statement by statement, on host arrays.
//!
//! It stands between the cascade and the back ends: where it agrees with the interpreter of cascades
//! and a back end does not, the back end is wrong. Every access is checked against the extents of its
//! buffer, and nothing is read that was not written.

mod access;

use indexmap::IndexMap;

use super::bind::bind;
use super::machine::{Machine, int};
use super::memory::{Layout, Memory, Turn};
use super::tile::{self, Projection, points};
use super::{Call, NestError, scalar};
use crate::ir::array::{Array, Data, Value};
use crate::ir::cascade::{Cascade, Role, TensorId};
use crate::ir::nest::{
    Block, BufferId, Checks, Loop, Nest, Op, Place, Scalar, Stage, Stmt, TileDim, ValueId, Word, bytes_of,
};
use access::Access;

/// What a nest leaves open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// How inputs and outputs lie in memory.
    pub layout: Layout,
    /// The tasks of a stage run last to first.
    pub backwards: bool,
}

/// The outputs of a nest that was made from this cascade, by name.
pub fn run(
    nest: &Nest,
    cascade: &Cascade,
    call: &Call,
    manner: Manner,
) -> Result<IndexMap<String, Array>, NestError> {
    let machine = bind(cascade, call).map_err(NestError::Call)?;
    let mut state = State::new(nest, manner, &machine);
    state.call(call, cascade)?;
    state.outputs()
}

/// How often loops over each rank go round in a call, those of all tasks together, by the rank's name.
pub fn rounds(nest: &Nest, cascade: &Cascade, call: &Call) -> Result<IndexMap<String, u64>, NestError> {
    let machine = bind(cascade, call).map_err(NestError::Call)?;
    let mut state = State::new(nest, Manner::default(), &machine);
    state.call(call, cascade)?;
    Ok(nest.ranks.iter().cloned().zip(state.rounds).collect())
}

struct State<'a> {
    nest: &'a Nest,
    manner: Manner,
    /// By word of the arguments.
    words: Vec<Value>,
    /// By value: its elements.
    tiles: Vec<Vec<Value>>,
    /// By buffer; those in the workspace are there after the prologue.
    memory: Vec<Memory>,
    workspace_bytes: i64,
    turn: Turn,
    /// By rank: how often loops over it went round.
    rounds: Vec<u64>,
}

/// The address of the workspace, where nothing else lies.
const WORKSPACE: i64 = 1 << 60;

impl<'a> State<'a> {
    fn new(nest: &'a Nest, manner: Manner, machine: &Machine<'_>) -> State<'a> {
        let memory = nest.buffers.iter().map(|(_, buffer)| match buffer.place {
            Place::Workspace(_) | Place::Scratch(_) => Memory::new(vec![0], Layout::Contiguous),
            Place::Input(_) | Place::Output(_) => {
                let tensor = tensor_named(machine.cascade, &buffer.name);
                let dims = &machine.cascade.tensors[tensor].dims;
                let shape = dims.iter().map(|dim| machine.extent(dim.rank) + dim.lag).collect();
                let mut memory = Memory::new(shape, manner.layout);
                if machine.cascade.tensors[tensor].role == Role::Input {
                    let points = &machine.tensors[tensor.idx()].points;
                    for (coords, point) in memory.coords().zip(points) {
                        let value = point.expect("every point of an input is present");
                        let stored =
                            memory.store(buffer, &coords, tile::stored(buffer.dtype, value), Turn::default());
                        stored.expect("a tensor's own coordinates are inside it");
                    }
                }
                memory
            }
        });
        let memory: Vec<Memory> = memory.collect();
        let words = words(nest, machine, &memory);
        let tiles = vec![Vec::new(); nest.values.len()];
        let rounds = vec![0; nest.ranks.len()];
        State { nest, manner, words, tiles, memory, workspace_bytes: 0, turn: Turn::default(), rounds }
    }

    /// Everything that a call does.
    fn call(&mut self, call: &Call, cascade: &Cascade) -> Result<(), NestError> {
        self.block(&self.nest.prologue)?;
        self.defaults(call, cascade)?;
        self.block(&self.nest.prologue)?;
        self.checks(&self.nest.extent_checks)?;
        self.place_workspace()?;
        self.checks(&self.nest.call_checks)?;
        self.nest.stages.iter().try_for_each(|stage| self.stage(stage))
    }

    /// Fills in the parameters that the caller leaves out; what the prologue made of them is void.
    fn defaults(&mut self, call: &Call, cascade: &Cascade) -> Result<(), NestError> {
        for default in &self.nest.defaults {
            let name = &cascade.params[crate::ir::arena::Id::new(default.param)].name;
            if !call.params.contains_key(name) {
                self.block(&default.block)?;
                self.words[default.word as usize] = self.scalar(default.value);
            }
        }
        Ok(())
    }

    fn checks(&mut self, checks: &Checks) -> Result<(), NestError> {
        self.block(&checks.block)?;
        match checks.faults.iter().find(|(condition, _)| self.scalar(*condition) != Value::Bool(true)) {
            Some((_, status)) => Err(NestError::Refused(*status)),
            None => Ok(()),
        }
    }

    /// Where the element at coordinates 0 of a buffer lies.
    fn address(&self, id: BufferId) -> i64 {
        match self.nest.buffers[id].place {
            Place::Workspace(offset) => WORKSPACE + self.int(offset),
            Place::Scratch(offset) => WORKSPACE + self.int(self.nest.shared) + self.int(offset),
            Place::Input(word) | Place::Output(word) => int(self.words[word as usize]),
        }
    }

    fn place_workspace(&mut self) -> Result<(), NestError> {
        self.workspace_bytes = self.int(self.nest.workspace);
        for (id, buffer) in self.nest.buffers.iter() {
            let (offset, room) = match buffer.place {
                Place::Input(_) | Place::Output(_) => continue,
                Place::Workspace(offset) => (offset, self.nest.shared),
                Place::Scratch(offset) => (offset, self.nest.scratch),
            };
            let shape = buffer.extents.iter().map(|&it| self.int(it)).collect();
            let memory = Memory::new(shape, Layout::Contiguous);
            let end = self.int(offset) + memory.bytes(buffer);
            if end > self.int(room) {
                let text = format!("{} ends at byte {end} of {}", buffer.name, self.int(room));
                return Err(NestError::Fault(text));
            }
            self.memory[id.idx()] = memory;
        }
        self.agree()
    }

    /// The extents and strides that a buffer is said to have are those that it has.
    fn agree(&self) -> Result<(), NestError> {
        for (id, buffer) in self.nest.buffers.iter() {
            let memory = &self.memory[id.idx()];
            let said = |ids: &[ValueId]| ids.iter().map(|&it| self.int(it)).collect::<Vec<_>>();
            let (extents, strides) = (said(&buffer.extents), said(&buffer.strides));
            if extents != memory.shape || strides != memory.strides {
                let (shape, wanted) = (&memory.shape, &memory.strides);
                let text = format!(
                    "{} has extents {extents:?} and strides {strides:?}, not {shape:?} and {wanted:?}",
                    buffer.name
                );
                return Err(NestError::Fault(text));
            }
        }
        Ok(())
    }

    fn stage(&mut self, stage: &Stage) -> Result<(), NestError> {
        let n_tasks = self.int(stage.tasks);
        self.turn.stage = self.turn.task + 1;
        for task in 0..n_tasks {
            let task = if self.manner.backwards { n_tasks - 1 - task } else { task };
            self.turn.task += 1;
            self.tiles[stage.task.idx()] = vec![Value::Int(task)];
            self.empty_scratch();
            self.block(&stage.body)?;
        }
        Ok(())
    }

    /// What another task left in scratch is gone.
    fn empty_scratch(&mut self) {
        for (id, buffer) in self.nest.buffers.iter() {
            if let Place::Scratch(_) = buffer.place {
                self.memory[id.idx()].clear();
            }
        }
    }

    fn outputs(&mut self) -> Result<IndexMap<String, Array>, NestError> {
        self.turn.stage = self.turn.task + 1;
        let mut outputs = IndexMap::new();
        for (id, buffer) in self.nest.buffers.iter() {
            if let Place::Output(_) = buffer.place {
                let memory = &self.memory[id.idx()];
                let shape: Vec<usize> = memory.shape.iter().map(|&it| it as usize).collect();
                let mut data = Data::zeros(buffer.dtype.kind(), shape.iter().product());
                for (at, coords) in memory.coords().enumerate() {
                    data.set(at, memory.load(buffer, &coords, self.turn)?);
                }
                outputs.insert(buffer.name.clone(), Array { shape, data });
            }
        }
        Ok(outputs)
    }

    fn block(&mut self, block: &Block) -> Result<(), NestError> {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(id, op) => self.define(*id, op)?,
                Stmt::Store { buffer, index, value, guard, contiguous } => {
                    let access = Access { buffer: *buffer, index, guard: *guard, contiguous: *contiguous };
                    self.store(&access, *value)?;
                }
                Stmt::Loop(it) => self.run_loop(it)?,
                Stmt::If { condition, then, otherwise } => {
                    let holds = self.scalar(*condition) == Value::Bool(true);
                    self.block(if holds { then } else { otherwise })?;
                }
            }
        }
        Ok(())
    }

    fn run_loop(&mut self, it: &Loop) -> Result<(), NestError> {
        let (mut at, to, step) = (self.int(it.from), self.int(it.to), i64::from(it.step));
        let mut handed: Vec<Vec<Value>> =
            it.carried.iter().map(|it| self.tiles[it.init.idx()].clone()).collect();
        while at + step <= to {
            self.rounds[it.rank.idx()] += 1;
            self.tiles[it.index.idx()] = vec![Value::Int(at)];
            for (carried, tile) in it.carried.iter().zip(handed) {
                self.tiles[carried.current.idx()] = tile;
            }
            self.block(&it.body)?;
            handed = it.carried.iter().map(|it| self.tiles[it.next.idx()].clone()).collect();
            at += step;
        }
        for (carried, tile) in it.carried.iter().zip(handed) {
            self.tiles[carried.result.idx()] = tile;
        }
        Ok(())
    }

    fn shape(&self, id: ValueId) -> &'a [TileDim] {
        &self.nest.values[id].shape
    }

    fn scalar(&self, id: ValueId) -> Value {
        self.tiles[id.idx()][0]
    }

    fn int(&self, id: ValueId) -> i64 {
        int(self.scalar(id))
    }

    /// The elements of a value, for the elements of a shape that has its ranks.
    fn operand<'s>(&'s self, id: ValueId, onto: &[TileDim]) -> impl Fn(usize) -> Value + use<'s, 'a> {
        let projection = Projection::new(self.shape(id), onto);
        move |element| self.tiles[id.idx()][projection.at(element)]
    }

    fn define(&mut self, id: ValueId, op: &Op) -> Result<(), NestError> {
        let mut tile = std::mem::take(&mut self.tiles[id.idx()]);
        tile.clear();
        self.compute(id, op, &mut tile)?;
        self.tiles[id.idx()] = tile;
        Ok(())
    }

    /// The elements of a buffer at the points of a shape; zero where nothing is read.
    fn load(
        &self,
        access: &Access<'_>,
        shape: &[TileDim],
        held: Scalar,
        tile: &mut Vec<Value>,
    ) -> Result<(), NestError> {
        let (memory, buffer) = (&self.memory[access.buffer.idx()], &self.nest.buffers[access.buffer]);
        for coords in self.coords(access, shape)? {
            let loaded = coords.map(|it| memory.load(buffer, &it, self.turn)).transpose()?;
            tile.push(loaded.map_or(tile::zero(held), |it| tile::held(held, it)));
        }
        Ok(())
    }

    fn compute(&self, id: ValueId, op: &Op, tile: &mut Vec<Value>) -> Result<(), NestError> {
        let (held, shape) = (self.nest.values[id].scalar, self.shape(id));
        let operand = |id: ValueId| self.operand(id, shape);
        let mut fill = |element: &dyn Fn(usize) -> Value| {
            tile.extend((0..points(shape)).map(|at| tile::held(held, element(at))));
        };
        match op {
            Op::Int(it) => fill(&|_| Value::Int(*it)),
            Op::Real(it) => fill(&|_| Value::Real(*it)),
            Op::Bool(it) => fill(&|_| Value::Bool(*it)),
            Op::Word(word) => fill(&|_| self.words[*word as usize]),
            Op::Address(buffer) => fill(&|_| Value::Int(self.address(*buffer))),
            Op::WorkspaceAddress => fill(&|_| Value::Int(WORKSPACE)),
            Op::WorkspaceBytes => fill(&|_| Value::Int(self.workspace_bytes)),
            Op::Threads => fill(&|_| Value::Int(1)),
            Op::Iota => fill(&|at| Value::Int(at as i64)),
            Op::Unary(op, a) => {
                let a = operand(*a);
                fill(&|at| tile::unary(*op, a(at)));
            }
            Op::Power(a) => {
                let a = operand(*a);
                fill(&|at| tile::power(a(at)));
            }
            Op::Binary(op, a, b) => {
                let (a, b) = (operand(*a), operand(*b));
                fill(&|at| tile::binary(*op, a(at), b(at)));
            }
            Op::Compare(op, a, b) => {
                let (a, b) = (operand(*a), operand(*b));
                fill(&|at| Value::Bool(scalar::compare(*op, a(at), b(at))));
            }
            Op::Select(c, a, b) => {
                let (c, a, b) = (operand(*c), operand(*a), operand(*b));
                fill(&|at| if c(at) == Value::Bool(true) { a(at) } else { b(at) });
            }
            Op::Convert(a) => {
                let a = operand(*a);
                fill(&|at| tile::convert(held, a(at)));
            }
            Op::Round(dtype, a) => {
                let a = operand(*a);
                fill(&|at| tile::stored(*dtype, a(at)));
            }
            Op::Load { buffer, index, guard, contiguous } => {
                let access = Access { buffer: *buffer, index, guard: *guard, contiguous: *contiguous };
                self.load(&access, shape, held, tile)?;
            }
            Op::Contract { a, b, there, into } => self.contract((*a, *b), *there, *into, tile),
            Op::Pack(a) => {
                let bytes = &self.tiles[a.idx()];
                tile.extend(bytes.chunks_exact(4).map(|it| tile::packed([it[0], it[1], it[2], it[3]])));
            }
            Op::Dot { a, b, into } => {
                let (a, b, into) = (operand(*a), operand(*b), operand(*into));
                fill(&|at| tile::dot(a(at), b(at), into(at)));
            }
            Op::Reduce(op, a) => self.reduce(*op, *a, id, tile),
        }
        Ok(())
    }
}

/// The words of the arguments, each tensor far from the others.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
fn words(nest: &Nest, machine: &Machine<'_>, memory: &[Memory]) -> Vec<Value> {
    let word = |word: &Word| match word {
        Word::Extent(rank) => Value::Int(machine.extent(*rank)),
        Word::Param(param) => match machine.params[*param].expect("every parameter is bound") {
            Value::Bool(it) => Value::Int(it.into()),
            number => number,
        },
        Word::Data(buffer) => {
            let bytes = i64::from(bytes_of(nest.buffers[*buffer].dtype));
            Value::Int(((buffer.idx() as i64 + 1) << 40) | (memory[buffer.idx()].origin() * bytes))
        }
        Word::Stride(buffer, dim) => Value::Int(memory[buffer.idx()].strides[*dim]),
    };
    nest.words.iter().map(word).collect()
}

fn tensor_named(cascade: &Cascade, name: &str) -> TensorId {
    let found = cascade.tensors.iter().find(|(_, it)| it.name == name);
    found.expect("the buffers of the caller are tensors of the cascade").0
}
