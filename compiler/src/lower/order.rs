//! Einsums in an order of evaluation: each after what it reads, those that need each other as a
//! recurrence along the rank that the checker found.

use std::collections::{BTreeMap, BTreeSet};

use super::Lowering;
use crate::ir::cascade::{At, Einsum, ExprId, RankId, Recurrence, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

impl Lowering<'_> {
    /// Moves all einsums into steps.
    pub(super) fn order(&mut self) {
        let mut of: BTreeMap<TensorId, Vec<Einsum>> = BTreeMap::new();
        for einsum in std::mem::take(&mut self.einsums) {
            of.entry(einsum.tensor).or_default().push(einsum);
        }
        let reads: BTreeMap<TensorId, BTreeSet<TensorId>> = of
            .iter()
            .map(|(&tensor, einsums)| {
                let read = einsums.iter().flat_map(|it| self.tensors_read(it.value));
                (tensor, read.filter(|it| of.contains_key(it)).collect())
            })
            .collect();
        for group in components(&reads) {
            let einsums: Vec<Einsum> =
                group.iter().flat_map(|it| of.remove(it).unwrap_or_default()).collect();
            let cyclic = group.iter().any(|it| reads[it].iter().any(|read| group.contains(read)));
            let step = if cyclic || einsums.len() > 1 {
                Step::Recurrence(self.recurrence(&group, einsums))
            } else {
                Step::Einsum(einsums.into_iter().next().expect("a defined tensor has an equation"))
            };
            self.cascade.steps.push(step);
        }
    }

    fn tensors_read(&self, value: ExprId) -> BTreeSet<TensorId> {
        self.reads(value).into_iter().map(|(tensor, _)| tensor).collect()
    }

    fn reads(&self, value: ExprId) -> Vec<(TensorId, Vec<ExprId>)> {
        let exprs = &self.cascade.exprs;
        let read =
            |id| if let Expr::Read(it, at, _) = exprs.get(id) { Some((*it, at.clone())) } else { None };
        exprs.postorder(value).into_iter().filter_map(read).collect()
    }

    /// A group of tensors along the rank that they are defined along.
    fn recurrence(&self, group: &[TensorId], einsums: Vec<Einsum>) -> Recurrence {
        let names: Vec<&str> = group.iter().map(|&it| self.cascade.tensors[it].name.as_str()).collect();
        let model =
            self.model.groups.iter().find(|it| it.tensors.iter().any(|t| names.contains(&t.as_str())));
        let rank = model.and_then(|it| it.rank.as_deref()).map(|it| self.ranks[it]);
        let rank = rank.unwrap_or_else(|| self.lagged(group));
        let is_base = |it: &Einsum| it.at.iter().any(|at| matches!(at, At::Const(_)));
        let (bases, body): (Vec<Einsum>, Vec<Einsum>) = einsums.into_iter().partition(is_base);
        Recurrence { rank, bases, body: self.in_step_order(rank, body) }
    }

    fn lagged(&self, group: &[TensorId]) -> RankId {
        let mut dims = group.iter().flat_map(|&it| &self.cascade.tensors[it].dims);
        dims.find(|it| it.lag > 0).expect("a tensor with bases has a lag").rank
    }

    /// Einsums after those whose result they read in the same step.
    fn in_step_order(&self, rank: RankId, mut open: Vec<Einsum>) -> Vec<Einsum> {
        let mut done = Vec::new();
        while !open.is_empty() {
            let ready = (0..open.len()).find(|&idx| {
                let reads = self.reads(open[idx].value);
                !open.iter().any(|other| {
                    reads.iter().any(|(tensor, at)| {
                        *tensor == other.tensor && self.lag(rank, &other.at, at) == Some(0)
                    })
                })
            });
            done.push(open.remove(ready.expect("the checker accepts no cycle within a step")));
        }
        done
    }

    /// How many steps ago a coordinate was written, where both are along the rank of a recurrence.
    fn lag(&self, rank: RankId, written: &[At], read: &[ExprId]) -> Option<i64> {
        let exprs = &self.cascade.exprs;
        let along = |it: RankId| exprs.atoms(it).iter().all(|atom| exprs.atoms(rank).contains(atom));
        let lags = written.iter().zip(read).filter_map(|(at, &coord)| match at {
            At::Rank(it, shift) if along(*it) => Some(shift - self.offset(*it, coord)?),
            At::Rank(..) | At::Const(_) => None,
        });
        lags.max_by_key(|lag| lag.abs())
    }

    /// The constant of `rank + constant`.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn offset(&self, rank: RankId, coord: ExprId) -> Option<i64> {
        let exprs = &self.cascade.exprs;
        let is_index = |id: ExprId| *exprs.get(id) == Expr::Index(rank);
        let int = |id: ExprId| if let Expr::Int(value) = exprs.get(id) { Some(*value) } else { None };
        match exprs.get(coord) {
            Expr::Binary(BinaryOp::Add, a, b) if is_index(*a) => int(*b),
            Expr::Binary(BinaryOp::Add, a, b) if is_index(*b) => int(*a),
            Expr::Binary(BinaryOp::Sub, a, b) if is_index(*a) => int(*b).map(|it| -it),
            _ => is_index(coord).then_some(0),
        }
    }
}

/// The strongly connected components of a graph, each after those that it points to (Tarjan).
fn components(graph: &BTreeMap<TensorId, BTreeSet<TensorId>>) -> Vec<Vec<TensorId>> {
    let mut state =
        Tarjan { graph, index: BTreeMap::new(), low: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for &root in graph.keys() {
        if !state.index.contains_key(&root) {
            state.visit(root);
        }
    }
    state.found
}

struct Tarjan<'a> {
    graph: &'a BTreeMap<TensorId, BTreeSet<TensorId>>,
    index: BTreeMap<TensorId, usize>,
    low: BTreeMap<TensorId, usize>,
    stack: Vec<TensorId>,
    found: Vec<Vec<TensorId>>,
}

impl Tarjan<'_> {
    /// Walks from a root without recursion: chains of thousands of equations are fine.
    fn visit(&mut self, root: TensorId) {
        let mut path = vec![(root, self.graph[&root].iter())];
        self.enter(root);
        while let Some((node, edges)) = path.last_mut() {
            let node = *node;
            if let Some(&next) = edges.next() {
                if !self.index.contains_key(&next) {
                    self.enter(next);
                    path.push((next, self.graph[&next].iter()));
                } else if self.stack.contains(&next) {
                    self.lower(node, self.index[&next]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                self.lower(*parent, self.low[&node]);
            }
            if self.low[&node] == self.index[&node] {
                let at = self.stack.iter().position(|&it| it == node).expect("a root is on the stack");
                let mut component = self.stack.split_off(at);
                component.sort_unstable();
                self.found.push(component);
            }
        }
    }

    fn enter(&mut self, node: TensorId) {
        let index = self.index.len();
        self.index.insert(node, index);
        self.low.insert(node, index);
        self.stack.push(node);
    }

    fn lower(&mut self, node: TensorId, to: usize) {
        let low = self.low.get_mut(&node).expect("it was entered");
        *low = (*low).min(to);
    }
}
