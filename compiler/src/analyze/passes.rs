//! Passes and barrier depth of a cascade as written, over the fibers of one rank (design section 5).
//!
//! A value is followed back to its *sources*: the tensors that are read at the rank's index. For each
//! source it says in which pass over that source's fiber it is there, and whether it is *open*: there as
//! soon as its element is read. A value that needs the whole fiber is closed; what reads an element again
//! after it needs a further pass. The barrier depth is the same count with all sources taken for one.
//!
//! ```text
//! M[m] = max[n](S)            S: K in pass 1, open         M: K in pass 1, closed
//! N[m, n] = exp(S - M)        S open in 1, M closed in 1   N: K in pass 2, open
//! ```

use std::collections::BTreeMap;

use super::stage::{Join, Source, State};
use crate::ir::cascade::{At, Cascade, Einsum, ExprId, Extent, Op, RankId, Recurrence, Role, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr, each_operand};

/// How often the fibers of a rank are traversed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RankPasses {
    /// The most passes over the fiber of any one tensor; 0 for a rank that is not traversed.
    pub passes: u32,
    /// The length of the longest chain of traversals that wait for each other.
    pub depth: u32,
    /// In which passes each tensor that has the rank is made or read, ascending.
    pub used: BTreeMap<TensorId, Vec<u32>>,
}

/// Counts the passes over the fibers of a rank.
pub fn passes(cascade: &Cascade, rank: RankId) -> RankPasses {
    Count::of(cascade).over(rank)
}

/// Counts the passes over the fibers of each of some ranks.
pub(crate) fn passes_over(
    cascade: &Cascade,
    ranks: impl Iterator<Item = RankId>,
) -> impl Iterator<Item = RankPasses> {
    let mut count = Count::of(cascade);
    ranks.map(move |it| count.over(it))
}

/// What every tensor that an einsum defines needs of the sources along a rank.
pub(crate) fn states(cascade: &Cascade, rank: RankId) -> BTreeMap<TensorId, State> {
    let mut count = Count::of(cascade);
    count.over(rank);
    count.tensors
}

struct Count<'a> {
    cascade: &'a Cascade,
    /// The expressions of the value of each einsum, operands first.
    orders: BTreeMap<ExprId, Vec<ExprId>>,
    /// What each expression needs, in the einsum that was looked at last.
    values: Vec<State>,
    /// The part-less ranks of the rank that is counted over.
    family: Vec<RankId>,
    tensors: BTreeMap<TensorId, State>,
    result: RankPasses,
}

impl<'a> Count<'a> {
    fn of(cascade: &'a Cascade) -> Count<'a> {
        Count {
            cascade,
            orders: cascade.einsums().map(|it| (it.value, cascade.exprs.postorder(it.value))).collect(),
            values: vec![State::default(); cascade.exprs.len()],
            family: Vec::new(),
            tensors: BTreeMap::new(),
            result: RankPasses::default(),
        }
    }

    fn over(&mut self, rank: RankId) -> RankPasses {
        self.family = self.cascade.exprs.atoms(rank).to_vec();
        self.tensors.clear();
        for step in &self.cascade.steps {
            match step {
                Step::Einsum(einsum) => self.einsum(einsum, None),
                Step::Recurrence(recurrence) => self.recurrence(recurrence),
            }
        }
        std::mem::take(&mut self.result)
    }
}

impl Count<'_> {
    /// Members see each other's earlier coordinates, so their states are found by repetition. A chain of reads visits
    /// each member once; what still grows then waits for a whole fiber at every coordinate, and no number says that.
    fn recurrence(&mut self, it: &Recurrence) {
        for base in &it.bases {
            self.einsum(base, Some(it));
        }
        for _ in 0..=it.body.len() {
            for einsum in &it.body {
                self.einsum(einsum, Some(it));
            }
        }
    }

    fn einsum(&mut self, einsum: &Einsum, group: Option<&Recurrence>) {
        let mut reads: Vec<(TensorId, bool)> = Vec::new();
        for at in 0..self.orders[&einsum.value].len() {
            let id = self.orders[&einsum.value][at];
            let expr = self.cascade.exprs.get(id);
            let mut needs = Join::default();
            each_operand(expr, |it| needs.add(&self.values[it.idx()]));
            if let Expr::Read(tensor, coords, _) = expr {
                reads.push((*tensor, self.spans(id)));
                needs.add(&self.read(*tensor, coords, group));
            }
            // Most expressions need nothing along most ranks.
            let is_free = needs.is_empty();
            let state =
                if is_free { State::default() } else { needs.state(self.spans(id), self.touches(id)) };
            self.values[id.idx()] = state;
        }
        let state = self.values[einsum.value.idx()].clone();
        self.record(&state, einsum, &reads);
        let state = self.after(einsum, state);
        let known = self.tensors.entry(einsum.tensor).or_default();
        for (source, stage) in state.iter() {
            // A base and a step give the coordinates of one tensor: all are there with the later one.
            let old = known.or_insert(source, stage);
            if old.time() < stage.time() {
                *old = stage;
            }
        }
    }

    /// Notes what an einsum traverses.
    fn record(&mut self, state: &State, einsum: &Einsum, reads: &[(TensorId, bool)]) {
        let mut pass = 0;
        for (source, stage) in state.iter() {
            match source {
                Source::Any => self.result.depth = self.result.depth.max(stage.pass),
                Source::Tensor(_) => {
                    self.result.passes = self.result.passes.max(stage.pass);
                    pass = pass.max(stage.pass);
                }
            }
        }
        let traversed = reads.iter().filter(|(_, spans)| *spans).map(|(tensor, _)| *tensor);
        let made = Some(einsum.tensor).filter(|_| self.spans(einsum.value) && self.keeps_all(einsum));
        for tensor in traversed.chain(made).filter(|_| pass > 0) {
            let used = self.result.used.entry(tensor).or_default();
            if let Err(at) = used.binary_search(&pass) {
                used.insert(at, pass);
            }
        }
    }

    /// Depends on the coordinate along all of the rank.
    fn spans(&self, id: ExprId) -> bool {
        let free = self.cascade.exprs.free(id);
        self.family.iter().all(|it| free.contains(it))
    }

    /// Depends on the coordinate along some part of the rank.
    fn touches(&self, id: ExprId) -> bool {
        self.family.iter().any(|it| self.cascade.exprs.free(id).contains(it))
    }

    /// The left-hand side has all of the rank.
    fn keeps_all(&self, einsum: &Einsum) -> bool {
        let kept = self.kept(einsum);
        self.family.iter().all(|it| kept.contains(it))
    }

    fn kept(&self, einsum: &Einsum) -> Vec<RankId> {
        einsum.iterated().iter().flat_map(|&it| self.cascade.exprs.atoms(it).to_vec()).collect()
    }

    /// The state of a tensor where it is read.
    fn read(&self, tensor: TensorId, coords: &[ExprId], group: Option<&Recurrence>) -> State {
        let it = &self.cascade.tensors[tensor];
        let mut state = self.tensors.get(&tensor).cloned().unwrap_or_default();
        if let Some(recurrence) = group
            && recurrence.body.iter().any(|it| it.tensor == tensor)
            && self.is_earlier(recurrence, tensor, coords)
        {
            // An earlier step of a rank that is not counted over has fibers of its own.
            let along = self.cascade.exprs.atoms(recurrence.rank);
            if !along.iter().any(|it| self.family.contains(it)) {
                return State::default();
            }
        }
        let free: Vec<RankId> =
            coords.iter().flat_map(|&it| self.cascade.exprs.free(it).iter().copied()).collect();
        let spans =
            self.family.iter().all(|it| free.contains(it)) || coords.iter().any(|it| self.is_beside(*it));
        let in_place = coords.iter().zip(&it.dims).all(|(&coord, dim)| {
            let along = self.cascade.exprs.atoms(dim.rank);
            !along.iter().any(|it| self.family.contains(it))
                || self.is_near(coord, dim.rank)
                || self.is_beside(coord)
                || self.is_inner(dim.rank)
        });
        if !in_place {
            state.close();
        }
        let is_source = it.role == Role::Input || (state.is_empty() && !it.dims.is_empty());
        if spans && is_source {
            state.read(tensor);
        }
        state
    }

    /// The coordinate is the index along the rank, or a constant number of steps away.
    fn is_near(&self, coord: ExprId, rank: RankId) -> bool {
        self.offset(coord, rank).is_some()
    }

    /// The rank is an inner part of the one that is counted over: where it is read elsewhere, it is so in the same chunk.
    fn is_inner(&self, rank: RankId) -> bool {
        let inner = self.family.get(1..).unwrap_or_default();
        self.cascade.exprs.atoms(rank).iter().all(|it| inner.contains(it))
    }

    /// The coordinate is that of another element of the same chunk: the index along a composite rank with the same
    /// major parts and a last one of the same, known extent.
    fn is_beside(&self, coord: ExprId) -> bool {
        let Expr::Index(rank) = *self.cascade.exprs.get(coord) else { return false };
        let parts = self.cascade.exprs.atoms(rank);
        let (Some((a, outer)), Some((b, of_family))) = (parts.split_last(), self.family.split_last()) else {
            return false;
        };
        let extent = |it: &RankId| self.cascade.ranks[*it].extent;
        a != b
            && !outer.is_empty()
            && outer == of_family
            && extent(a) == extent(b)
            && matches!(extent(a), Extent::Fixed(_))
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn offset(&self, coord: ExprId, rank: RankId) -> Option<i64> {
        let exprs = &self.cascade.exprs;
        match *exprs.get(coord) {
            Expr::Index(it) => (it == rank).then_some(0),
            Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => match (exprs.get(a), exprs.get(b)) {
                (Expr::Index(it), Expr::Int(by)) if *it == rank => {
                    Some(if op == BinaryOp::Add { *by } else { -by })
                }
                (Expr::Int(by), Expr::Index(it)) if *it == rank && op == BinaryOp::Add => Some(*by),
                _ => None,
            },
            _ => None,
        }
    }

    /// A read of a coordinate that an earlier step of the recurrence has written.
    fn is_earlier(&self, recurrence: &Recurrence, tensor: TensorId, coords: &[ExprId]) -> bool {
        let written = recurrence.body.iter().find(|it| it.tensor == tensor);
        written.into_iter().flat_map(|it| it.at.iter().zip(coords)).any(|(at, &coord)| match *at {
            At::Rank(rank, shift) if rank == recurrence.rank => {
                self.offset(coord, rank).is_some_and(|offset| offset < shift)
            }
            At::Rank(..) | At::Const(_) => false,
        })
    }

    /// The state of a tensor after its einsum's operation.
    fn after(&self, einsum: &Einsum, mut state: State) -> State {
        let kept = self.kept(einsum);
        let gone = !self.family.iter().any(|it| kept.contains(it));
        let whole_fiber_first = match &einsum.op {
            Op::Place(along) => self.cascade.exprs.atoms(*along).iter().any(|it| self.family.contains(it)),
            Op::Select(_, from, _) | Op::Arg(_, from) => {
                self.cascade.exprs.atoms(*from).iter().any(|it| self.family.contains(it))
            }
            Op::Map | Op::Reduce(..) | Op::Scan(..) => false,
        };
        if gone || whole_fiber_first {
            state.close();
        }
        state
    }
}
