//! Cascade to nest: loops, buffers, and absence made explicit.
//!
//! Every einsum becomes a stage that writes its tensor to memory, a recurrence one stage for all its
//! tensors. Coordinates of the left-hand side but the last are spread over tasks; reductions are loops
//! that carry their accumulators; the rank that most loads walk along is taken in tiles of [`LANES`].
//!
//! ```text
//! S[m, n] = sum[d](Q * K)   ->   stage: tasks |m|; for n: for d carry acc: contract Q[m, d], K[n, d] into acc
//! ```

mod builder;
mod checks;
mod einsum;
mod fold;
mod lanes;
mod loops;
mod memory;
mod recurrence;
mod select;
mod value;
mod width;

use std::collections::{BTreeSet, HashMap};

use crate::ir::arena::Arena;
use crate::ir::cascade::{Cascade, Einsum, ParamId, RankId, Role, Step, TensorId};
use crate::ir::expr::Expr;
use crate::ir::nest::{Block, Checks, Nest, Scalar, Stage, TileDim, ValueId};
use builder::Builder;
use memory::Stored;
use width::Widths;
pub use width::in_f32;

/// How many coordinates of a rank one tile has: two vectors of four f32, so that additions overlap.
const LANES: u32 = 8;

/// A cascade as a tile program with every intermediate tensor in memory.
pub fn tile(cascade: &Cascade) -> Nest {
    let mut tiling = Tiling::new(cascade);
    tiling.arguments();
    for (rank, it) in cascade.ranks.iter() {
        if !it.local {
            let extent = tiling.extent(rank);
            tiling.builder.nest.extents.push(extent);
        }
    }
    let live = tiling.live();
    for step in &cascade.steps {
        tiling.step(step, &live);
    }
    tiling.extent_checks();
    tiling.defaults();
    tiling.workspace_size();
    tiling.call_checks();
    tiling.builder.finish()
}

/// A nest on its way.
struct Tiling<'a> {
    cascade: &'a Cascade,
    widths: Widths,
    builder: Builder,
    extents: HashMap<RankId, ValueId>,
    param_words: HashMap<ParamId, u32>,
    stored: HashMap<TensorId, Stored>,
    /// Tensors that some einsum reads.
    read: BTreeSet<TensorId>,
    /// The bytes taken in the workspace so far, exactly and as an f64 that does not wrap.
    workspace: (ValueId, ValueId),
    /// The tile that is being worked on, and the indices of its elements.
    lane: Option<(TileDim, ValueId)>,
    /// Parameters are read where they are used, not in the prologue.
    in_defaults: bool,
}

impl<'a> Tiling<'a> {
    fn new(cascade: &'a Cascade) -> Tiling<'a> {
        let mut builder = Builder::new(Nest {
            name: cascade.name.clone(),
            ranks: cascade.ranks.iter().map(|(_, it)| it.name.clone()).collect(),
            words: Vec::new(),
            values: Arena::default(),
            buffers: Arena::default(),
            prologue: Block::default(),
            extents: Vec::new(),
            workspace: crate::ir::arena::Id::new(0),
            extent_checks: Checks::default(),
            call_checks: Checks::default(),
            defaults: Vec::new(),
            stages: Vec::new(),
        });
        let workspace = (builder.int(0), builder.real(0.0, Scalar::F64));
        Tiling {
            cascade,
            widths: Widths::of(cascade),
            builder,
            extents: HashMap::new(),
            param_words: HashMap::new(),
            stored: HashMap::new(),
            read: BTreeSet::new(),
            workspace,
            lane: None,
            in_defaults: false,
        }
    }

    /// The tensors that outputs depend on, outputs included; notes those that are read.
    fn live(&mut self) -> BTreeSet<TensorId> {
        let mut live: BTreeSet<TensorId> = self.cascade.outputs().collect();
        let einsums: Vec<&Einsum> = self.cascade.einsums().collect();
        loop {
            let before = live.len();
            for einsum in einsums.iter().rev().filter(|it| live.contains(&it.tensor)).collect::<Vec<_>>() {
                for id in self.cascade.exprs.postorder(einsum.value) {
                    if let Expr::Read(tensor, _, _) = self.cascade.exprs.get(id) {
                        live.insert(*tensor);
                        self.read.insert(*tensor);
                    }
                }
            }
            if live.len() == before {
                return live;
            }
        }
    }

    fn step(&mut self, step: &Step, live: &BTreeSet<TensorId>) {
        match step {
            Step::Einsum(einsum) if live.contains(&einsum.tensor) => {
                self.stage(&[einsum.tensor], |it| it.whole_einsum(einsum));
            }
            Step::Recurrence(it) if it.body.iter().any(|einsum| live.contains(&einsum.tensor)) => {
                self.recurrence(it);
            }
            Step::Einsum(_) | Step::Recurrence(_) => {}
        }
    }

    /// Adds a stage; `body` gives the extents that are spread over tasks.
    fn stage(&mut self, tensors: &[TensorId], body: impl FnOnce(&mut Self) -> Tasks) {
        self.builder.open_body();
        let Tasks { task, count } = body(self);
        let block = self.builder.close_body();
        self.builder.unbind_all();
        let names: Vec<&str> = tensors.iter().map(|&it| self.cascade.tensors[it].name.as_str()).collect();
        let stage = Stage { defines: names.join(", "), tasks: count, task, body: block };
        self.builder.nest.stages.push(stage);
    }

    /// Whether what a tensor stores is handed back.
    fn is_output(&self, tensor: TensorId) -> bool {
        self.cascade.tensors[tensor].role == Role::Output
    }
}

/// The number of a task and how many there are.
struct Tasks {
    task: ValueId,
    count: ValueId,
}
