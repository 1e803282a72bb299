//! A group of steps to a walk: what is held of each tensor, and what is done before, at and after the coordinates.
//!
//! A tensor that is read `k` coordinates after it was written is held `k` times more; at the end of a step each
//! takes over from the one before. One that is replaced point by point after everything else has read it is held
//! once.

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::Kind;

use super::super::plan::{Act, Axis, Walk};
use super::super::weave::Weaver;
use super::Group;
use super::fit::{Time, distance, fold_of, shift, timed};
use crate::ir::cascade::{At, Cascade, Dim, Einsum, ExprId, Op, RankId, ReduceOp, Step, Tensor, TensorId};
use crate::ir::expr::{BinaryOp, Expr, operands, with_operands};

/// How many coordinates of a row in boxes a task has.
const BOX: u32 = 64;

/// What a walk holds.
struct Carry<'a> {
    group: &'a Group,
    all: Vec<(Time, &'a Einsum)>,
    /// What writes each tensor at each coordinate.
    writers: BTreeMap<TensorId, &'a Einsum>,
    /// How far back each tensor that is read here is read at most.
    depth: BTreeMap<TensorId, i64>,
    /// Tensors that others read, or that are handed back.
    stored: BTreeSet<TensorId>,
    /// Tensors that are replaced point by point.
    in_place: BTreeSet<TensorId>,
    /// Tensors of recurrences along other ranks: the first tensor of the recurrence, and its rank.
    nested: BTreeMap<TensorId, (TensorId, RankId)>,
    /// Where a tensor is held that was written so many coordinates ago.
    held: BTreeMap<(TensorId, i64), TensorId>,
}

impl Weaver<'_> {
    /// The stage of some steps.
    pub(in super::super) fn walk(mut self, group: &Group) -> Walk {
        let flow = self.flow;
        let mut carry = Carry::of(&self, flow.cascade, group);
        let order = carry.order(&self);
        for &einsum in &order {
            self.hold(&mut carry, einsum.tensor);
        }
        let mut walk = Walk {
            rows: self.walk_rows(group),
            rank: group.rank,
            before: vec![],
            step: vec![],
            after: vec![],
        };
        for &einsum in &order {
            self.begin(&carry, einsum, &mut walk.before);
        }
        for &einsum in &order {
            let acts = self.at_each(&carry, einsum, &mut walk.before);
            if carry.nested.contains_key(&einsum.tensor) {
                walk.before.extend(acts.iter().filter_map(|act| self.cleared(act)));
            }
            match (carry.nested.get(&einsum.tensor), walk.step.last_mut()) {
                (None, _) => walk.step.extend(acts),
                (Some((first, _)), Some(Act::Along(_, all))) if *first != einsum.tensor => all.extend(acts),
                (Some((_, rank)), _) => walk.step.push(Act::Along(*rank, acts)),
            }
        }
        for &einsum in order.iter().filter(|it| !carry.in_place.contains(&it.tensor)) {
            for back in (1..=carry.depth.get(&einsum.tensor).copied().unwrap_or(0)).rev() {
                let value = self.read_held(&carry, einsum.tensor, back - 1);
                walk.step.push(self.held_from(&carry, einsum.tensor, back, Op::Map, value));
            }
        }
        for (time, einsum) in carry.all.clone() {
            if time == Time::After && flow.live.contains(&einsum.tensor) {
                let value = self.local(&carry, time, einsum.value);
                walk.after.push(Act::Define(Einsum { value, ..einsum.clone() }));
            }
        }
        walk
    }

    /// A tile of which some coordinates are read beside those that count, before all of them are there.
    fn cleared(&mut self, act: &Act) -> Option<Act> {
        let Act::Define(it) = act else { return None };
        let exprs = &mut self.cascade.exprs;
        let value = match self.cascade.tensors[it.tensor].kind {
            Kind::Real => exprs.real(0.0),
            Kind::Int => exprs.int(0),
            Kind::Bool => exprs.add(Expr::Bool(false)),
        };
        self.tiles.contains(&it.tensor).then(|| Act::Define(Einsum { op: Op::Map, value, ..it.clone() }))
    }

    /// The rows, the last one in boxes if it is the innermost of the inputs that have it, or if all of it meets the same values
    /// and tasks have more rows than one.
    fn walk_rows(&self, group: &Group) -> Vec<Axis> {
        let last = group.rows.last().copied();
        let axis = |&rank: &RankId| {
            let fixed = self.cascade.most_coordinates(rank);
            let shares = || self.mapping.defaults.rows > 1 && self.shares(group, rank);
            let boxed = Some(rank) == last && (self.flow.is_feature(rank) || shares());
            let size = self.mapping.cut(&self.cascade.ranks[rank].name).rows.unwrap_or(BOX);
            Axis { rank, tile: if boxed { fixed.min(size) } else { 1 } }
        };
        group.rows.iter().map(axis).collect()
    }

    /// Sums of products have a factor that is the same for all coordinates of a row: in boxes they are products of matrices.
    fn shares(&self, group: &Group, row: RankId) -> bool {
        let exprs = &self.cascade.exprs;
        let has = |it: ExprId, rank: RankId| exprs.free(it).contains(&rank);
        let einsums = timed(self.flow.cascade, group);
        einsums.iter().filter(|it| it.0 == Time::At).any(|(_, einsum)| {
            let &Expr::Binary(BinaryOp::Mul, a, b) = exprs.get(exprs.unconditioned(einsum.value)) else {
                return false;
            };
            let over = einsum.op.reduced().iter().flat_map(|it| exprs.atoms(*it));
            let meets = |a: ExprId, b: ExprId| {
                has(a, row) && !has(b, row) && over.clone().any(|it| has(a, *it) && has(b, *it))
            };
            matches!(einsum.op, Op::Reduce(ReduceOp::Sum, _)) && (meets(a, b) || meets(b, a))
        })
    }

    /// Makes the tiles of a tensor that is read here.
    fn hold(&mut self, carry: &mut Carry<'_>, tensor: TensorId) {
        let Some(&depth) = carry.depth.get(&tensor) else { return };
        let Tensor { name, kind, dtype, .. } = self.cascade.tensors[tensor].clone();
        let dims = self.dims(carry, tensor);
        for back in 0..=depth {
            let tile = match carry.held.get(&(tensor, 0)) {
                Some(&it) if carry.in_place.contains(&tensor) => it,
                Some(_) | None => self.held_as(&name, dims.clone(), kind, dtype),
            };
            carry.held.insert((tensor, back), tile);
        }
    }

    /// The dimensions of a tensor but that which is walked along.
    fn dims(&self, carry: &Carry<'_>, tensor: TensorId) -> Vec<Dim> {
        let dims = &self.cascade.tensors[tensor].dims;
        dims.iter().copied().filter(|it| it.rank != carry.group.rank).collect()
    }

    /// What is held, and in memory, before the first coordinate.
    fn begin(&mut self, carry: &Carry<'_>, einsum: &Einsum, acts: &mut Vec<Act>) {
        let (tensor, ahead) = (einsum.tensor, shift(einsum, carry.group.rank));
        let depth = carry.depth.get(&tensor).copied().unwrap_or(0);
        let bases: Vec<(i64, &Einsum)> = carry.bases(tensor).collect();
        for back in 1..=depth {
            let base = bases.iter().find(|it| it.0 == ahead - back);
            let (op, value) = match base {
                Some((_, it)) => (it.op.clone(), self.local(carry, Time::Before, it.value)),
                None => {
                    let kind = self.cascade.tensors[tensor].kind;
                    let zero = self.identity(ReduceOp::Sum, kind);
                    let never = self.cascade.exprs.add(Expr::Bool(false));
                    (Op::Map, self.cascade.exprs.add(Expr::Where(zero, never)))
                }
            };
            acts.push(self.held_from(carry, tensor, back, op, value));
        }
        if carry.stored.contains(&tensor) {
            for (coordinate, base) in bases {
                let back = ahead - coordinate;
                let (op, value) = if back <= depth {
                    (Op::Map, self.read_held(carry, tensor, back))
                } else {
                    (base.op.clone(), self.local(carry, Time::Before, base.value))
                };
                acts.push(Act::Define(Einsum { op, value, ..base.clone() }));
            }
        }
    }

    /// What is done for a tensor at each coordinate.
    fn at_each(&mut self, carry: &Carry<'_>, einsum: &Einsum, before: &mut Vec<Act>) -> Vec<Act> {
        let (tensor, mut acts) = (einsum.tensor, Vec::new());
        let mut value = self.local(carry, Time::At, einsum.value);
        let mut op = einsum.op.clone();
        if let Op::Scan(scan, along) = op
            && along == carry.group.rank
        {
            let (clear, fold, read) = self.accumulated(carry, einsum, fold_of(scan), value);
            before.push(clear);
            acts.push(fold);
            (op, value) = (Op::Map, read);
        }
        if carry.depth.contains_key(&tensor) {
            acts.push(self.held_from(carry, tensor, 0, op, value));
            (op, value) = (Op::Map, self.read_held(carry, tensor, 0));
        }
        if carry.stored.contains(&tensor) {
            acts.push(Act::Define(Einsum { op, value, ..einsum.clone() }));
        }
        acts
    }

    /// A new accumulator of a scan: what clears it, what feeds it at each coordinate, and what reads it.
    fn accumulated(
        &mut self,
        carry: &Carry<'_>,
        einsum: &Einsum,
        op: ReduceOp,
        value: ExprId,
    ) -> (Act, Act, ExprId) {
        let name = format!("{}.{}", self.cascade.tensors[einsum.tensor].name, op.name());
        let kind = self.cascade.exprs.kind(value);
        let dims = self.dims(carry, einsum.tensor);
        let tensor = self.held_as(&name, dims.clone(), kind, None);
        let at: Vec<At> = dims.iter().map(|it| At::Rank(it.rank, 0)).collect();
        let empty = self.identity(op, kind);
        let clear = Einsum { tensor, at: at.clone(), op: Op::Map, value: empty, exact: false };
        let op = Op::Reduce(op, Vec::new());
        let fold = Einsum { tensor, at, op, value, exact: einsum.exact };
        let coords = dims.iter().map(|it| self.cascade.exprs.index(it.rank)).collect();
        let read = self.cascade.exprs.add(Expr::Read(tensor, coords, kind));
        (Act::Define(clear), Act::Fold(fold), read)
    }

    /// Computes what is held of a tensor.
    fn held_from(&self, carry: &Carry<'_>, of: TensorId, back: i64, op: Op, value: ExprId) -> Act {
        let tensor = carry.held[&(of, back)];
        let at = self.dims(carry, of).iter().map(|it| At::Rank(it.rank, 0)).collect();
        Act::Define(Einsum { tensor, at, op, value, exact: carry.writers[&of].exact })
    }

    /// A read in place of what is held of a tensor.
    fn read_held(&mut self, carry: &Carry<'_>, of: TensorId, back: i64) -> ExprId {
        let ranks: Vec<RankId> = self.dims(carry, of).iter().map(|it| it.rank).collect();
        let coords = ranks.into_iter().map(|it| self.cascade.exprs.index(it)).collect();
        let kind = self.cascade.tensors[of].kind;
        self.cascade.exprs.add(Expr::Read(carry.held[&(of, back)], coords, kind))
    }

    /// An expression that reads what is held.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn local(&mut self, carry: &Carry<'_>, time: Time, value: ExprId) -> ExprId {
        let value = self.stored_only(value);
        let mut new: BTreeMap<ExprId, ExprId> = BTreeMap::new();
        for id in self.cascade.exprs.postorder(value) {
            let expr = self.cascade.exprs.get(id).clone();
            let parts: Vec<ExprId> = operands(&expr).iter().map(|it| new[it]).collect();
            let it = match &expr {
                Expr::Read(tensor, coords, kind) if carry.writers.contains_key(tensor) => {
                    let written = carry.writers[tensor];
                    let back = distance(self.cascade, carry.group.rank, time, written, coords);
                    let held = carry.held[&(*tensor, back.expect("a walk reads what it holds"))];
                    let dims = self.cascade.tensors[*tensor].dims.iter().zip(parts);
                    let kept = dims.filter(|(dim, _)| dim.rank != carry.group.rank).map(|it| it.1);
                    Expr::Read(held, kept.collect(), *kind)
                }
                other => with_operands(other, &parts),
            };
            let it = self.cascade.exprs.add(it);
            new.insert(id, it);
        }
        new[&value]
    }
}

impl<'a> Carry<'a> {
    fn of(weaver: &Weaver<'_>, cascade: &'a Cascade, group: &'a Group) -> Carry<'a> {
        let all = timed(cascade, group);
        let live = |it: &&(Time, &Einsum)| weaver.flow.live.contains(&it.1.tensor);
        let all: Vec<(Time, &Einsum)> = all.iter().filter(live).copied().collect();
        let writers: BTreeMap<TensorId, &Einsum> =
            all.iter().filter(|it| it.0 == Time::At).map(|it| (it.1.tensor, it.1)).collect();
        let mut depth: BTreeMap<TensorId, i64> = BTreeMap::new();
        for &(time, einsum) in &all {
            for (tensor, coords) in cascade.exprs.reads(einsum.value) {
                if let Some(written) = writers.get(&tensor)
                    && let Some(back) = distance(cascade, group.rank, time, written, coords)
                {
                    let most = depth.entry(tensor).or_insert(0);
                    *most = back.max(*most);
                }
            }
        }
        let inside: BTreeSet<TensorId> = all.iter().map(|it| it.1.tensor).collect();
        let others = cascade.steps.iter().enumerate().filter(|(at, _)| !group.steps.contains(at));
        let others = others.flat_map(|(_, step)| step.einsums());
        let others = others.filter(|it| weaver.flow.live.contains(&it.tensor));
        let mut stored: BTreeSet<TensorId> =
            others.flat_map(|it| cascade.exprs.reads(it.value).map(|it| it.0).collect::<Vec<_>>()).collect();
        stored.extend(cascade.outputs());
        stored.retain(|it| inside.contains(it));
        let (in_place, held) = (BTreeSet::new(), BTreeMap::new());
        let mut nested = BTreeMap::new();
        for &step in &group.steps {
            if let Step::Recurrence(it) = &cascade.steps[step]
                && it.rank != group.rank
            {
                let first = it.body[0].tensor;
                nested.extend(it.body.iter().map(|einsum| (einsum.tensor, (first, it.rank))));
            }
        }
        Carry { group, all, writers, depth, stored, in_place, nested, held }
    }

    /// The first coordinates of a tensor.
    fn bases(&self, tensor: TensorId) -> impl Iterator<Item = (i64, &'a Einsum)> + '_ {
        let bases = self.all.iter().filter(move |(time, it)| *time == Time::Before && it.tensor == tensor);
        bases.filter_map(|(_, it)| {
            it.at.iter().find_map(|at| match *at {
                At::Const(coordinate) => Some((coordinate, *it)),
                At::Rank(..) => None,
            })
        })
    }

    /// What is evaluated at each coordinate, in an order in which as many tensors as possible are replaced in place.
    fn order(&mut self, weaver: &Weaver<'_>) -> Vec<&'a Einsum> {
        let mut order = self.sorted(weaver).expect("steps make no cycle");
        let candidates: Vec<TensorId> = self.depth.iter().filter(|it| *it.1 == 1).map(|it| *it.0).collect();
        for tensor in candidates {
            if self.reads_own_point_only(weaver, tensor) {
                self.in_place.insert(tensor);
                match self.sorted(weaver) {
                    Some(it) => order = it,
                    None => {
                        self.in_place.remove(&tensor);
                    }
                }
            }
        }
        order
    }

    /// What writes a tensor reads its earlier coordinate only where it writes.
    fn reads_own_point_only(&self, weaver: &Weaver<'_>, tensor: TensorId) -> bool {
        let exprs = &weaver.flow.cascade.exprs;
        let dims = &weaver.flow.cascade.tensors[tensor].dims;
        let einsum = self.writers[&tensor];
        let in_place = |coords: &[ExprId]| {
            let mut pairs = coords.iter().zip(dims);
            pairs.all(|(&it, dim)| dim.rank == self.group.rank || *exprs.get(it) == Expr::Index(dim.rank))
        };
        let by_points = match einsum.op {
            Op::Map | Op::Reduce(..) => true,
            Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
        };
        by_points && exprs.reads(einsum.value).all(|(it, coords)| it != tensor || in_place(coords))
    }

    /// The einsum that comes first of those that stay together.
    fn first(&self, tensor: TensorId) -> TensorId {
        self.nested.get(&tensor).map_or(tensor, |it| it.0)
    }

    /// Einsums after those whose result they read in the same step, and before those that replace what they read.
    fn sorted(&self, weaver: &Weaver<'_>) -> Option<Vec<&'a Einsum>> {
        let cascade = weaver.flow.cascade;
        let mut open: Vec<&Einsum> = self.all.iter().filter(|it| it.0 == Time::At).map(|it| it.1).collect();
        let mut edges: BTreeSet<(TensorId, TensorId)> = BTreeSet::new();
        for einsum in &open {
            for (tensor, coords) in cascade.exprs.reads(einsum.value) {
                let Some(written) = self.writers.get(&tensor) else { continue };
                match distance(cascade, self.group.rank, Time::At, written, coords)? {
                    0 => edges.insert((self.first(tensor), self.first(einsum.tensor))),
                    _ if self.in_place.contains(&tensor) && tensor != einsum.tensor => {
                        edges.insert((self.first(einsum.tensor), self.first(tensor)))
                    }
                    _ => false,
                };
            }
        }
        // A recurrence along another rank keeps its own order.
        edges.retain(|(a, b)| a != b || !self.nested.contains_key(a));
        let mut done = Vec::new();
        while !open.is_empty() {
            let free = |it: &&Einsum| {
                let first = self.first(it.tensor);
                !open.iter().any(|other| edges.contains(&(self.first(other.tensor), first)))
            };
            let first = self.first(open[open.iter().position(free)?].tensor);
            let (next, rest) = open.into_iter().partition(|it| self.first(it.tensor) == first);
            done.extend::<Vec<&Einsum>>(next);
            open = rest;
        }
        Some(done)
    }
}
