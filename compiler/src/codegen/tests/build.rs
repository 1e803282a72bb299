//! A small builder of nests, and calls of what they become.

use attnc_dsl::ast::DType;
use attnc_runtime::abi::{Code, WORKSPACE_ALIGN};

use crate::codegen::{Backend, jit};
use crate::ir::arena::{Arena, Id};
use crate::ir::expr::BinaryOp;
use crate::ir::nest::{
    Block, Buffer, BufferId, Carried, Checks, Loop, Nest, Op, Place, Scalar, Stage, Stmt, TileDim, TileType,
    ValueId, Word,
};
use crate::target::Target;

/// A nest in the making; statements go to the innermost open block.
pub(super) struct Build {
    pub(super) nest: Nest,
    open: Vec<Stmt>,
}

/// A rank and the extent of tiles along it.
pub(super) fn dim(rank: usize, extent: u32) -> TileDim {
    TileDim { rank: Id::new(rank), extent }
}

impl Build {
    /// A kernel over so many ranks, whose extents are the first words.
    pub(super) fn new(ranks: usize) -> Build {
        let mut values = Arena::default();
        let workspace = values.push(TileType::scalar(Scalar::I64));
        let nest = Nest {
            name: "test".to_owned(),
            ranks: (0..ranks).map(|it| format!("r{it}")).collect(),
            words: Vec::new(),
            values,
            buffers: Arena::default(),
            prologue: Block { stmts: vec![Stmt::Let(workspace, Op::Int(0))] },
            extents: Vec::new(),
            shared: workspace,
            scratch: workspace,
            workspace,
            extent_checks: Checks::default(),
            call_checks: Checks::default(),
            defaults: Vec::new(),
            stages: Vec::new(),
        };
        let mut build = Build { nest, open: Vec::new() };
        for rank in 0..ranks {
            let extent = build.known_word(Word::Extent(Id::new(rank)));
            build.nest.extents.push(extent);
        }
        build
    }

    /// A scalar of the prologue.
    pub(super) fn known(&mut self, scalar: Scalar, op: Op) -> ValueId {
        let value = self.nest.values.push(TileType::scalar(scalar));
        self.nest.prologue.stmts.push(Stmt::Let(value, op));
        value
    }

    fn known_word(&mut self, word: Word) -> ValueId {
        let at = u32::try_from(self.nest.words.len()).unwrap();
        self.nest.words.push(word);
        self.known(Scalar::I64, Op::Word(at))
    }

    /// A tensor of the caller over these ranks.
    pub(super) fn tensor(&mut self, dtype: DType, place: fn(u32) -> Place, ranks: &[usize]) -> BufferId {
        let id = Id::new(self.nest.buffers.len());
        let data = u32::try_from(self.nest.words.len()).unwrap();
        self.nest.words.push(Word::Data(id));
        let strides = (0..ranks.len()).map(|dim| self.known_word(Word::Stride(id, dim))).collect();
        let extents = ranks.iter().map(|&it| self.nest.extents[it]).collect();
        self.nest.buffers.push(Buffer {
            name: "t".to_owned(),
            dtype,
            place: place(data),
            extents,
            strides,
            padded: false,
        })
    }

    /// An operation.
    pub(super) fn tile(&mut self, scalar: Scalar, shape: &[TileDim], op: Op) -> ValueId {
        let value = self.nest.values.push(TileType { scalar, shape: shape.to_vec() });
        self.open.push(Stmt::Let(value, op));
        value
    }

    /// An operation without ranks.
    pub(super) fn scalar(&mut self, scalar: Scalar, op: Op) -> ValueId {
        self.tile(scalar, &[], op)
    }

    /// An unguarded load.
    pub(super) fn load(
        &mut self,
        scalar: Scalar,
        shape: &[TileDim],
        buffer: BufferId,
        index: &[ValueId],
        contiguous: bool,
    ) -> ValueId {
        self.tile(scalar, shape, Op::Load { buffer, index: index.to_vec(), guard: None, contiguous })
    }

    /// An unguarded store.
    pub(super) fn store(&mut self, buffer: BufferId, index: &[ValueId], value: ValueId, contiguous: bool) {
        self.open.push(Stmt::Store { buffer, index: index.to_vec(), value, guard: None, contiguous });
    }

    /// Any statement.
    pub(super) fn push(&mut self, stmt: Stmt) {
        self.open.push(stmt);
    }

    /// `first + iota` along one rank.
    pub(super) fn coordinates(&mut self, first: ValueId, dim: TileDim) -> ValueId {
        let iota = self.tile(Scalar::I64, &[dim], Op::Iota);
        self.tile(Scalar::I64, &[dim], Op::Binary(BinaryOp::Add, first, iota))
    }

    /// The statements that `fill` makes, as a block of their own.
    pub(super) fn block<T>(&mut self, fill: impl FnOnce(&mut Build) -> T) -> (Block, T) {
        let outer = std::mem::take(&mut self.open);
        let made = fill(self);
        (Block { stmts: std::mem::replace(&mut self.open, outer) }, made)
    }

    /// A loop over the tiles of a rank; `fill` gets the index and the carried values and gives the next ones.
    pub(super) fn for_each(
        &mut self,
        rank: usize,
        (from, to, step): (ValueId, ValueId, u32),
        inits: &[ValueId],
        fill: impl FnOnce(&mut Build, ValueId, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let index = self.nest.values.push(TileType::scalar(Scalar::I64));
        let mut like = |it: &ValueId| self.nest.values.push(self.nest.values[*it].clone());
        let currents: Vec<ValueId> = inits.iter().map(&mut like).collect();
        let results: Vec<ValueId> = inits.iter().map(&mut like).collect();
        let (body, nexts) = self.block(|build| fill(build, index, &currents));
        let carried = (0..inits.len()).map(|at| Carried {
            init: inits[at],
            current: currents[at],
            next: nexts[at],
            result: results[at],
        });
        let carried = carried.collect();
        self.open.push(Stmt::Loop(Loop {
            rank: Id::new(rank),
            index,
            from,
            to,
            step,
            carried,
            body,
            rare: false,
        }));
        results
    }

    /// A stage; `fill` gets the number of the task.
    pub(super) fn stage(&mut self, tasks: ValueId, fill: impl FnOnce(&mut Build, ValueId)) {
        let task = self.nest.values.push(TileType::scalar(Scalar::I64));
        let (body, ()) = self.block(|build| fill(build, task));
        self.nest.stages.push(Stage { defines: "t".to_owned(), tasks, task, team: None, body });
    }
}

/// A kernel that computes one output from inputs, all along rank 0, in tiles of `width` elements or in scalars.
pub(super) fn elementwise(
    inputs: &[(DType, Scalar)],
    output: DType,
    width: Option<u32>,
    compute: impl FnOnce(&mut Build, &[TileDim], &[ValueId]) -> ValueId,
) -> Nest {
    let mut build = Build::new(1);
    let buffers: Vec<_> = inputs.iter().map(|(dtype, _)| build.tensor(*dtype, Place::Input, &[0])).collect();
    let result = build.tensor(output, Place::Output, &[0]);
    let [zero, one] = [0, 1].map(|it| build.known(Scalar::I64, Op::Int(it)));
    let extent = build.nest.extents[0];
    build.stage(one, |build, _| {
        build.for_each(0, (zero, extent, width.unwrap_or(1)), &[], |build, first, _| {
            let shape: Vec<TileDim> = width.iter().map(|&width| dim(0, width)).collect();
            let at = shape.first().map_or(first, |&dim| build.coordinates(first, dim));
            let loads = inputs.iter().zip(&buffers);
            let values: Vec<_> = loads
                .map(|((_, scalar), &buffer)| build.load(*scalar, &shape, buffer, &[at], true))
                .collect();
            let value = compute(build, &shape, &values);
            build.store(result, &[at], value, true);
            Vec::new()
        });
    });
    build.nest
}

/// The back ends that are built in.
pub(super) fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|it| it.is_built_in())
}

/// Machines that this one can stand in for.
fn targets() -> Vec<Target> {
    let native = Target::native();
    let levels: &[&str] =
        if cfg!(target_arch = "x86_64") { &["x86-64", "x86-64-v3", "x86-64-v4"] } else { &[] };
    let levels = levels.iter().map(|it| Target::named(it).unwrap());
    let runs = |it: &Target| it.cpu_features().iter().all(|it| native.cpu_features().contains(it));
    levels.filter(runs).chain([native.clone()]).collect()
}

/// Calls a kernel, as every back end makes it for every machine that this one can stand in for.
pub(super) fn call(nest: &Nest, words: &[u64]) {
    call_each(nest, words, |_| {});
}

/// The same; says after each call for which machine it was.
fn call_each(nest: &Nest, words: &[u64], mut done: impl FnMut(&Target)) {
    for backend in backends() {
        for target in targets() {
            call_on(backend, &target, nest, words);
            done(&target);
        }
    }
}

/// Checks, then every task of every stage, one at a time and last to first.
fn call_on(backend: Backend, target: &Target, nest: &Nest, words: &[u64]) {
    let jit = jit(nest, target, backend).unwrap();
    let entry = jit.entry();
    // SAFETY: the words hold what the kernel says they do.
    unsafe {
        let bytes = (entry.workspace)(words.as_ptr(), 1);
        let mut workspace = vec![0xAAu8; usize::try_from(bytes).unwrap() + WORKSPACE_ALIGN];
        let aligned = workspace.as_mut_ptr().add(workspace.as_ptr().align_offset(WORKSPACE_ALIGN)).cast();
        assert_eq!((entry.check)(words.as_ptr(), aligned, bytes, 1), Code::Done.at(0));
        for stage in 0..u32::try_from(nest.stages.len()).unwrap() {
            for task in (0..(entry.tasks)(words.as_ptr(), stage)).rev() {
                assert_eq!((entry.run)(words.as_ptr(), aligned, 0, stage, task, task + 1), 0);
            }
        }
    }
}

/// Calls what `elementwise` made; gives each result, and whether products are added by one instruction.
pub(super) fn apply_each<O: Copy + Default>(
    nest: &Nest,
    count: usize,
    inputs: &[*const ()],
) -> Vec<(bool, Vec<O>)> {
    let mut output = vec![O::default(); count];
    let place = output.as_mut_ptr();
    let mut words = vec![count as u64];
    for &input in inputs {
        words.extend([input as u64, 1]);
    }
    words.extend([place as u64, 1]);
    let mut found = Vec::new();
    call_each(nest, &words, |target| {
        let fuses = !cfg!(target_arch = "x86_64") || target.cpu_features().contains(&"fma");
        // SAFETY: the place is that of so many elements, which nobody else uses now.
        found.push((fuses, unsafe { std::slice::from_raw_parts(place, count) }.to_vec()));
    });
    found
}

/// Calls what `elementwise` made; gives the last result.
pub(super) fn apply<O: Copy + Default>(nest: &Nest, count: usize, inputs: &[*const ()]) -> Vec<O> {
    apply_each(nest, count, inputs).pop().expect("there is a back end").1
}
