//! A cascade in the making: new ranks, tensors and einsums, and what the laws ask of those that are there.

use std::collections::{BTreeMap, HashMap};

use attnc_dsl::ast::{CompareOp, DType, Kind};

use crate::ir::cascade::{
    At, Cascade, Dim, Einsum, ExprId, Extent, Op, Rank, RankId, ReduceOp, Role, ScanOp, Step, Tensor,
    TensorId,
};
use crate::ir::expr::{BinaryOp, Expr, Exprs, UnaryOp, operands, with_operands};

/// A cascade that a law is applied to.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) cascade: Cascade,
    /// Steps that stand for one that is replaced.
    pub(super) new: Vec<Step>,
    /// New tensors by what they hold, so that each is computed once.
    made: BTreeMap<(ExprId, Vec<RankId>, Vec<RankId>), TensorId>,
}

impl Draft {
    pub(super) fn of(cascade: &Cascade) -> Draft {
        Draft { cascade: cascade.clone(), new: Vec::new(), made: BTreeMap::new() }
    }

    pub(super) fn exprs(&mut self) -> &mut Exprs {
        &mut self.cascade.exprs
    }

    /// A new rank. Its name is of those that no spec can give.
    pub(super) fn rank(&mut self, name: &str, parts: Vec<RankId>, extent: Extent) -> RankId {
        let taken = |name: &str| self.cascade.ranks.iter().any(|(_, it)| it.name == name);
        let name = fresh(name, taken);
        let id = self.cascade.ranks.push(Rank { name, parts, extent, local: true });
        let atoms = self.cascade.atoms(id);
        self.exprs().add_rank(id, atoms);
        id
    }

    /// Makes a part-less rank composite.
    pub(super) fn split(&mut self, rank: RankId, parts: Vec<RankId>) {
        self.cascade.ranks[rank].parts = parts;
        let mut exprs = Exprs::default();
        for id in self.cascade.ranks.ids() {
            exprs.add_rank(id, self.cascade.atoms(id));
        }
        for (id, expr) in self.cascade.exprs.iter() {
            let copy = exprs.add(expr.clone());
            assert_eq!(id, copy, "expressions are added in order");
        }
        self.cascade.exprs = exprs;
    }

    /// The rank has no parts and is part of no other.
    pub(super) fn may_split(&self, rank: RankId) -> bool {
        self.cascade.ranks[rank].parts.is_empty()
            && !self.cascade.ranks.iter().any(|(_, it)| it.parts.contains(&rank))
    }

    /// `|rank|`, or its value where that is known.
    pub(super) fn extent(&mut self, rank: RankId) -> ExprId {
        match self.cascade.ranks[rank].extent {
            Extent::Fixed(it) => self.exprs().int(it),
            Extent::Carried | Extent::Derived(_) => self.exprs().add(Expr::Extent(rank)),
        }
    }

    /// A new tensor with these ranks.
    pub(super) fn tensor(&mut self, name: &str, dims: Vec<Dim>) -> TensorId {
        let cascade = &mut self.cascade;
        let taken = |name: &str| cascade.tensors.iter().any(|(_, it)| it.name == name);
        let name = fresh(name, taken);
        cascade.tensors.push(Tensor { name, dims, kind: Kind::Real, dtype: None, role: Role::Temporary })
    }

    /// A tensor that holds the sum of a value over some ranks, which may be none; the same one for the same sum.
    pub(super) fn sum(&mut self, name: &str, dims: &[RankId], over: &[RankId], value: ExprId) -> TensorId {
        let key = (value, over.to_vec(), dims.to_vec());
        if let Some(&it) = self.made.get(&key) {
            return it;
        }
        let op = if over.is_empty() { Op::Map } else { Op::Reduce(ReduceOp::Sum, over.to_vec()) };
        let tensor = self.define(name, dims, op, value);
        self.made.insert(key, tensor);
        tensor
    }

    /// A tensor that holds the running sums or products of a value along a rank, which it has, too.
    pub(super) fn running(
        &mut self,
        name: &str,
        dims: &[RankId],
        op: ScanOp,
        along: RankId,
        value: ExprId,
    ) -> TensorId {
        let key = (value, vec![along], dims.to_vec());
        if let Some(&it) = self.made.get(&key) {
            return it;
        }
        let tensor = self.define(name, dims, Op::Scan(op, along), value);
        self.made.insert(key, tensor);
        tensor
    }

    fn define(&mut self, name: &str, dims: &[RankId], op: Op, value: ExprId) -> TensorId {
        let tensor = self.tensor(name, dims.iter().map(|&rank| Dim { rank, lag: 0 }).collect());
        let at = dims.iter().map(|&rank| At::Rank(rank, 0)).collect();
        self.new.push(Step::Einsum(Einsum { tensor, at, op, value, exact: false }));
        tensor
    }

    /// Takes out those of the new einsums that need a tensor, in order.
    pub(super) fn take_readers(&mut self, tensor: TensorId) -> Vec<Einsum> {
        let mut needed = vec![tensor];
        let mut readers = Vec::new();
        for step in std::mem::take(&mut self.new) {
            match step {
                Step::Einsum(it) if needed.iter().any(|&tensor| self.reads(it.value, tensor)) => {
                    needed.push(it.tensor);
                    readers.push(it);
                }
                step => self.new.push(step),
            }
        }
        readers
    }

    /// A tensor that is not defined any more has no name.
    pub(super) fn forget_undefined(&mut self) {
        let defined: Vec<TensorId> = self.cascade.einsums().map(|it| it.tensor).collect();
        for id in self.cascade.tensors.ids() {
            if self.cascade.tensors[id].role == Role::Intermediate && !defined.contains(&id) {
                self.cascade.tensors[id].role = Role::Temporary;
            }
        }
    }

    /// A tensor where some ranks have other coordinates than their index.
    pub(super) fn read_at(&mut self, tensor: TensorId, at: &[(RankId, ExprId)]) -> ExprId {
        let Tensor { dims, kind, .. } = self.cascade.tensors[tensor].clone();
        let coordinate = |rank: RankId, exprs: &mut Exprs| match at.iter().find(|it| it.0 == rank) {
            Some(&(_, coordinate)) => coordinate,
            None => exprs.index(rank),
        };
        let coords = dims.iter().map(|dim| coordinate(dim.rank, &mut self.cascade.exprs)).collect();
        self.exprs().add(Expr::Read(tensor, coords, kind))
    }

    pub(super) fn read(&mut self, tensor: TensorId) -> ExprId {
        self.read_at(tensor, &[])
    }

    pub(super) fn times(&mut self, a: ExprId, b: ExprId) -> ExprId {
        let one = self.exprs().real(1.0);
        match () {
            () if a == one => b,
            () if b == one => a,
            () => self.exprs().binary(BinaryOp::Mul, a, b),
        }
    }

    /// The product of some factors.
    pub(super) fn multiplied(&mut self, factors: &[ExprId]) -> ExprId {
        let one = self.exprs().real(1.0);
        factors.iter().fold(one, |all, &it| self.times(all, it))
    }

    pub(super) fn plus(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.exprs().binary(BinaryOp::Add, a, b)
    }

    pub(super) fn compare(&mut self, op: CompareOp, a: ExprId, b: ExprId) -> ExprId {
        self.exprs().compare(op, a, b)
    }

    /// A value with another coordinate in place of the index of one rank.
    pub(super) fn moved(&mut self, value: ExprId, from: RankId, to: ExprId) -> ExprId {
        let mut new: HashMap<ExprId, ExprId> = HashMap::new();
        for id in self.cascade.exprs.postorder(value) {
            let expr = self.cascade.exprs.get(id).clone();
            let result = match expr {
                Expr::Index(rank) if rank == from => to,
                expr => {
                    let inner: Vec<ExprId> = operands(&expr).iter().map(|it| new[it]).collect();
                    self.exprs().add(with_operands(&expr, &inner))
                }
            };
            new.insert(id, result);
        }
        new[&value]
    }

    /// Ranks for some part-less ranks: those of `order` that they make up, or their parts, then what is left.
    pub(super) fn dims(&self, atoms: &[RankId], order: &[RankId]) -> Vec<RankId> {
        let mut left = atoms.to_vec();
        let mut dims = Vec::new();
        for &rank in order {
            let parts = self.cascade.atoms(rank);
            let own: Vec<RankId> = parts.iter().copied().filter(|it| left.contains(it)).collect();
            left.retain(|it| !own.contains(it));
            if own.len() == parts.len() { dims.push(rank) } else { dims.extend(own) }
        }
        left.sort_unstable();
        left.dedup();
        dims.extend(left);
        dims
    }

    /// The part-less ranks of some expressions, each once.
    pub(super) fn free(&self, values: &[ExprId]) -> Vec<RankId> {
        let mut all: Vec<RankId> =
            values.iter().flat_map(|&it| self.cascade.exprs.free(it).to_vec()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The part-less ranks of some ranks.
    pub(super) fn atoms(&self, ranks: &[RankId]) -> Vec<RankId> {
        ranks.iter().flat_map(|&it| self.cascade.atoms(it)).collect()
    }

    pub(super) fn touches(&self, value: ExprId, atoms: &[RankId]) -> bool {
        self.cascade.exprs.free(value).iter().any(|it| atoms.contains(it))
    }

    pub(super) fn reads(&self, value: ExprId, tensor: TensorId) -> bool {
        self.cascade.exprs.reads(value).any(|(it, _)| it == tensor)
    }

    /// The einsum that defines all points of a tensor, if laws may look into it: nothing is rounded on the way.
    pub(super) fn definition(&self, tensor: TensorId) -> Option<&Einsum> {
        let it = &self.cascade.tensors[tensor];
        let rounds = it.dtype.is_some_and(|it| !matches!(it, DType::F32 | DType::F64));
        if rounds || it.kind != Kind::Real {
            return None;
        }
        self.cascade.steps.iter().find_map(|step| match step {
            Step::Einsum(einsum) => (einsum.tensor == tensor && !einsum.exact).then_some(einsum),
            Step::Recurrence(_) => None,
        })
    }

    /// Both ranks have the same coordinates in every call.
    pub(super) fn same_extent(&self, a: RankId, b: RankId) -> bool {
        let cascade = &self.cascade;
        let is_extent = |id: ExprId, of: RankId| *cascade.exprs.get(id) == Expr::Extent(of);
        let derived = |a: RankId, b: RankId| match cascade.ranks[a].extent {
            Extent::Derived(value) => is_extent(value, b),
            Extent::Fixed(_) => cascade.ranks[a].extent == cascade.ranks[b].extent,
            Extent::Carried => false,
        };
        let checked = |a: RankId, b: RankId| {
            cascade.checks.iter().any(|check| match *cascade.exprs.get(check.condition) {
                Expr::Compare(CompareOp::Eq, x, y) => is_extent(x, a) && is_extent(y, b),
                _ => false,
            })
        };
        a == b || derived(a, b) || derived(b, a) || checked(a, b) || checked(b, a)
    }

    /// The value is present wherever its ranks have a coordinate.
    pub(super) fn is_total(&self, value: ExprId) -> bool {
        let mut known: HashMap<ExprId, bool> = HashMap::new();
        for id in self.cascade.exprs.postorder(value) {
            let inside = |it: &ExprId| known[it];
            let total = match self.cascade.exprs.get(id) {
                Expr::Read(tensor, coords, _) => self.is_inside(*tensor, coords) && self.is_defined(*tensor),
                Expr::Where(a, condition) => match self.cascade.exprs.get(*condition) {
                    Expr::Present(b) => inside(a) && inside(b),
                    _ => false,
                },
                Expr::Pick(..) | Expr::Unary(UnaryOp::Ilog2, _) => false,
                Expr::Binary(BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::Shl | BinaryOp::Shr, a, b) => {
                    inside(a) && matches!(self.cascade.exprs.get(*b), Expr::Int(1..64))
                }
                Expr::Else(_, b) => inside(b),
                Expr::Present(_) => true,
                other @ (Expr::Int(_)
                | Expr::Real(_)
                | Expr::Bool(_)
                | Expr::Extent(_)
                | Expr::Index(_)
                | Expr::Param(..)
                | Expr::Unary(..)
                | Expr::Binary(..)
                | Expr::Compare(..)
                | Expr::If(..)
                | Expr::Cast(..)) => operands(other).iter().all(inside),
            };
            known.insert(id, total);
        }
        known[&value]
    }

    /// Every point of the tensor is present.
    fn is_defined(&self, tensor: TensorId) -> bool {
        if self.cascade.tensors[tensor].role == Role::Input {
            return true;
        }
        // What was made here is a map, a sum or a running one.
        if let Some(((value, over, _), _)) = self.made.iter().find(|(_, it)| **it == tensor) {
            return !over.is_empty() || self.is_total(*value);
        }
        self.cascade.steps.iter().any(|step| match step {
            Step::Einsum(it) if it.tensor == tensor => match &it.op {
                Op::Map => self.is_total(it.value),
                Op::Reduce(ReduceOp::Sum | ReduceOp::Prod, _) | Op::Scan(..) => true,
                Op::Reduce(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
            },
            Step::Einsum(_) | Step::Recurrence(_) => false,
        })
    }

    /// The coordinates are those of the tensor's own ranks, or of ranks of the same extents.
    fn is_inside(&self, tensor: TensorId, coords: &[ExprId]) -> bool {
        let dims = &self.cascade.tensors[tensor].dims;
        coords.iter().zip(dims).all(|(&coord, dim)| match *self.cascade.exprs.get(coord) {
            Expr::Index(rank) => self.same_extent(rank, dim.rank),
            _ => false,
        })
    }

    /// The steps with each after those that it reads: what several readings share may have been made for a later one.
    pub(super) fn ordered(&self, mut steps: Vec<Step>) -> Vec<Step> {
        let mut done: Vec<TensorId> = self.cascade.inputs().collect();
        let mut all = Vec::new();
        while !steps.is_empty() {
            let einsums = |step: &Step| match step {
                Step::Einsum(it) => vec![it.clone()],
                Step::Recurrence(it) => [it.bases.as_slice(), &it.body].concat(),
            };
            let is_ready = |step: &Step| {
                let own = einsums(step);
                let known =
                    |tensor: TensorId| done.contains(&tensor) || own.iter().any(|it| it.tensor == tensor);
                own.iter().all(|it| self.cascade.exprs.reads(it.value).all(|(tensor, _)| known(tensor)))
            };
            let next = steps.iter().position(is_ready).expect("einsums do not need each other");
            let step = steps.remove(next);
            done.extend(einsums(&step).iter().map(|it| it.tensor));
            all.push(step);
        }
        all
    }
}

pub(crate) fn fresh(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|it| !taken(it)).expect("numbers do not end")
}
