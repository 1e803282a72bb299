//! Plan to nest: loops, buffers, and absence made explicit.
//!
//! An einsum that is evaluated whole becomes a stage that writes its tensor to memory, a recurrence one stage for
//! all its tensors. Coordinates of the left-hand side but the last are spread over tasks; reductions are loops
//! that carry their accumulators; the rank that most loads walk along is taken in tiles of vectors.
//! A stream becomes a stage whose tasks are boxes of rows and whose tiles lie in scratch (`stream.rs`), a walk one
//! whose tasks go along their rank with what they still need in scratch (`walk.rs`).
//!
//! ```text
//! S[m, n] = sum[d](Q * K)   ->   stage: tasks |m|; for n: for d carry acc: contract Q[m, d], K[n, d] into acc
//! ```

mod bold;
mod bounds;
mod branch;
mod builder;
mod chain;
mod checks;
mod combine;
mod distance;
mod einsum;
mod fold;
mod lanes;
mod loops;
mod memory;
mod reach;
mod recurrence;
mod select;
mod stream;
mod strip;
mod team;
mod turn;
mod value;
mod variants;
mod walk;
mod width;
mod within;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ir::arena::Arena;
use crate::ir::cascade::{Cascade, Einsum, ExprId, ParamId, RankId, Role, Step, TensorId};
use crate::ir::expr::Expr;
use crate::ir::nest::{Block, BufferId, Checks, Nest, Scalar, Stage, TileDim, ValueId};
use crate::schedule::{self, Plan};
use builder::Builder;
use memory::Stored;
use strip::Strip;
use team::Team;
pub(crate) use team::staged_bytes;
use width::Widths;
pub use width::in_f32;
use words::Words;

/// A plan as a tile program.
pub fn tile(plan: &Plan) -> Nest {
    tiled(plan).builder.finish()
}

/// Why blocks of threads cannot have tiles of the sizes that a mapping says, and with what sizes they can.
pub fn refused(plan: &Plan) -> Vec<String> {
    tiled(plan).refused
}

fn tiled(plan: &Plan) -> Tiling<'_> {
    let mut tiling = Tiling::new(plan);
    tiling.arguments();
    for (rank, it) in plan.cascade.ranks.iter() {
        if !it.local {
            let extent = tiling.extent(rank);
            tiling.builder.nest.extents.push(extent);
        }
    }
    tiling.note_reads();
    for stage in &plan.stages {
        match stage {
            schedule::Stage::Whole(step) => tiling.whole(step),
            schedule::Stage::Stream(it) => tiling.stream(it),
            schedule::Stage::Walk(it) => tiling.walk(it),
        }
    }
    tiling.extent_checks();
    tiling.defaults();
    tiling.workspace_size();
    tiling.call_checks();
    tiling
}

/// A nest on its way.
struct Tiling<'a> {
    plan: &'a Plan,
    cascade: &'a Cascade,
    widths: Widths,
    builder: Builder,
    extents: HashMap<RankId, ValueId>,
    param_words: HashMap<ParamId, u32>,
    stored: HashMap<TensorId, Stored>,
    /// Tensors that some einsum reads.
    read: BTreeSet<TensorId>,
    /// The bytes taken in the workspace so far.
    workspace: Bytes,
    /// The bytes of scratch taken by the stage at hand.
    scratch: Bytes,
    /// The bytes of scratch that the stages before need.
    most_scratch: Bytes,
    /// The masks of tiles, whether or not the tile at hand has absent points.
    tile_masks: HashMap<TensorId, BufferId>,
    /// The tiles of the stage at hand that are held in words of four bytes, and what sums of products with some begin with.
    words: BTreeMap<TensorId, Words>,
    word_sums: HashMap<TensorId, BufferId>,
    /// Tiles that hold 0 where a mask says that nothing is there.
    zeroed: BTreeSet<TensorId>,
    /// Those masks are not looked at.
    takes_zeros: bool,
    /// Where this holds, nothing of such a tile is absent.
    all_there: Option<ValueId>,
    /// What tiles of weights add up to along some ranks.
    added_up: HashMap<TensorId, (BufferId, BTreeSet<RankId>)>,
    /// These are not taken again.
    are_added_up: bool,
    /// Tiles that are read by what comes after the acts at hand, whatever else they say.
    read_later: BTreeSet<TensorId>,
    /// Tensors that have a mask all through the stage at hand.
    always_masked: BTreeSet<TensorId>,
    /// What is at hand is done for rows that are left of a box, the lesser part.
    is_seldom: bool,
    /// By expression: it reads a tile.
    reads_tile: Vec<bool>,
    /// The box of a stream's stage that is being worked on.
    region: Region,
    /// Conditions that hold at all points of the box.
    holding: BTreeSet<ExprId>,
    /// Powers of exponents that are finite, or have to be seen if they are not.
    powers: BTreeSet<ExprId>,
    /// The tile that is being worked on.
    lane: Option<Lanes>,
    /// The rows of that tile, where it has two ranks.
    rows: Option<Lanes>,
    /// What a block of threads holds, where it takes rows together.
    team: Option<Team>,
    /// Why stages are not taken by blocks of threads with the tiles that a mapping says.
    refused: Vec<String>,
    /// Parameters are read where they are used, not in the prologue.
    in_defaults: bool,
}

impl<'a> Tiling<'a> {
    fn new(plan: &'a Plan) -> Tiling<'a> {
        let cascade = &plan.cascade;
        let mut builder = Builder::new(Nest {
            name: cascade.name.clone(),
            ranks: cascade.ranks.iter().map(|(_, it)| it.name.clone()).collect(),
            words: Vec::new(),
            values: Arena::default(),
            buffers: Arena::default(),
            prologue: Block::default(),
            extents: Vec::new(),
            shared: crate::ir::arena::Id::new(0),
            scratch: crate::ir::arena::Id::new(0),
            workspace: crate::ir::arena::Id::new(0),
            extent_checks: Checks::default(),
            call_checks: Checks::default(),
            defaults: Vec::new(),
            stages: Vec::new(),
        });
        let none = Bytes { exact: builder.int(0), wide: builder.real(0.0, Scalar::F64) };
        Tiling {
            plan,
            cascade,
            widths: Widths::of(cascade, &plan.einsums()),
            builder,
            extents: HashMap::new(),
            param_words: HashMap::new(),
            stored: HashMap::new(),
            read: BTreeSet::new(),
            workspace: none,
            scratch: none,
            most_scratch: none,
            tile_masks: HashMap::new(),
            words: BTreeMap::new(),
            word_sums: HashMap::new(),
            zeroed: BTreeSet::new(),
            takes_zeros: false,
            all_there: None,
            added_up: HashMap::new(),
            are_added_up: false,
            read_later: BTreeSet::new(),
            always_masked: BTreeSet::new(),
            is_seldom: false,
            reads_tile: stream::reads_tile(plan),
            region: Region::default(),
            holding: BTreeSet::new(),
            powers: BTreeSet::new(),
            lane: None,
            rows: None,
            team: None,
            refused: Vec::new(),
            in_defaults: false,
        }
    }

    /// Notes the tensors that are read.
    fn note_reads(&mut self) {
        for einsum in self.plan.einsums() {
            for id in self.cascade.exprs.postorder(einsum.value) {
                if let Expr::Read(tensor, _, _) = self.cascade.exprs.get(id) {
                    self.read.insert(*tensor);
                }
            }
        }
    }

    fn whole(&mut self, step: &Step) {
        match step {
            Step::Einsum(einsum) => self.stage(&[einsum.tensor], |it| it.whole_einsum(einsum)),
            Step::Recurrence(it) => self.recurrence(it),
        }
    }

    /// Adds a stage; `body` gives the extents that are spread over tasks.
    fn stage(&mut self, tensors: &[TensorId], body: impl FnOnce(&mut Self) -> Tasks) {
        self.builder.open_body();
        let Tasks { task, count } = body(self);
        let block = self.builder.close_body();
        self.builder.unbind_all();
        let names: Vec<&str> = tensors.iter().map(|&it| self.cascade.tensors[it].name.as_str()).collect();
        let stage = Stage { defines: names.join(", "), tasks: count, task, team: None, body: block };
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

/// A number of bytes, exactly and as an f64 that does not wrap.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    exact: ValueId,
    wide: ValueId,
}

/// The coordinates of some ranks that a stage works on at a time: a half-open interval for each.
#[derive(Debug, Clone, Default)]
struct Region {
    spans: BTreeMap<RankId, (ValueId, ValueId)>,
    /// How many coordinates a tile of a rank has.
    tiles: BTreeMap<RankId, u32>,
    /// Composite ranks that have a coordinate wherever their parts have.
    composites: Vec<RankId>,
    /// Ranks with one coordinate at a time.
    fixed: BTreeSet<RankId>,
    /// Ranks one coordinate of which is worked on at a time, though all are held.
    at_hand: BTreeSet<RankId>,
    /// The stage is a walk: what is not fixed is held whole.
    walks: bool,
    /// The ranks that boxes are made of.
    rows: Vec<RankId>,
    /// The rows of the box that are worked on together.
    strip: Strip,
    /// The acts that mention each tensor.
    mentions: BTreeMap<TensorId, Vec<Einsum>>,
}

/// Neighbours along a rank that are worked on together.
#[derive(Debug, Clone, Copy)]
struct Lanes {
    dim: TileDim,
    /// The first of their coordinates.
    first: ValueId,
    /// Their coordinates.
    indices: ValueId,
    /// Their distances from where the box, or the strip, begins.
    offsets: ValueId,
    /// And from where the box begins.
    shifted: ValueId,
    /// Which of them there are, where the tile may reach beyond the box.
    mask: Option<ValueId>,
    /// They are combined with each other.
    reduced: bool,
}
