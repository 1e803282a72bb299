//! Tensors and their equations.

use attnc_dsl::ast::{KernelItemKind, Kind};
use attnc_dsl::model;

use super::call::Traversal;
use super::{Lowering, Target};
use crate::ir::cascade::{Assume, At, Dim, Einsum, Op, RankId, Role, Tensor, TensorId};

impl Lowering<'_> {
    /// Gives every tensor of the spec an id, inputs first.
    pub(super) fn declare_tensors(&mut self) {
        let is_input = |it: &model::TensorModel| it.role == model::Role::Input;
        let model = self.model;
        let (inputs, others): (Vec<_>, Vec<_>) = model.tensors.iter().partition(|(_, it)| is_input(it));
        for (name, it) in inputs.into_iter().chain(others) {
            let dim = |dim: &model::DimModel| Dim { rank: self.ranks[&dim.rank], lag: dim.lag };
            let dims = it.dims.iter().map(dim).collect();
            let role = match &it.role {
                model::Role::Input => Role::Input,
                model::Role::Defined { output: true, .. } => Role::Output,
                model::Role::Defined { output: false, .. } => Role::Intermediate,
            };
            let tensor = Tensor { name: name.clone(), dims, kind: it.kind, dtype: it.dtype, role };
            let id = self.cascade.tensors.push(tensor);
            self.tensors.insert(name.clone(), id);
        }
    }

    /// All equations, as einsums in no order.
    pub(super) fn equations(&mut self) {
        let model = self.model;
        for (name, it) in &model.tensors {
            if let model::Role::Defined { step, bases, .. } = &it.role {
                let tensor = self.tensors[name];
                let dims = self.cascade.tensors[tensor].dims.clone();
                for (base, item) in (0i64..).zip(bases) {
                    let at = |dim: &Dim| if dim.lag > 0 { At::Const(base) } else { At::Rank(dim.rank, 0) };
                    self.equation(tensor, *item, dims.iter().map(at).collect());
                }
                self.equation(tensor, *step, dims.iter().map(|it| At::Rank(it.rank, it.lag)).collect());
            }
        }
    }

    fn equation(&mut self, tensor: TensorId, item: usize, at: Vec<At>) {
        let KernelItemKind::Equation(equation) = &self.kernel.items[item].kind else {
            unreachable!("the model of a tensor points at its equations")
        };
        self.target = Target { name: equation.name.text.clone(), exact: equation.exact };
        let bound: Vec<RankId> =
            at.iter().filter_map(|it| if let At::Rank(rank, _) = it { Some(*rank) } else { None }).collect();
        let (scope, kind, exact) = (self.top_scope(), self.cascade.tensors[tensor].kind, equation.exact);
        let value = match self.as_traversal(&equation.value, &scope, &bound) {
            Some(it) if self.fits(&it, &at, &bound, kind) => {
                self.einsums.push(Einsum { tensor, at, op: it.op, value: it.value, exact });
                return;
            }
            Some(it) => it.stored(self),
            None => self.expr(&equation.value, &scope, &bound),
        };
        let value = self.within(value, &bound, &bound);
        let value = self.cascade.exprs.as_kind(value, kind);
        self.einsums.push(Einsum { tensor, at, op: Op::Map, value, exact });
    }

    /// The result of a traversal is the equation's tensor, point by point, with nothing left to do.
    fn fits(&mut self, it: &Traversal, at: &[At], bound: &[RankId], kind: Kind) -> bool {
        let exprs = &self.cascade.exprs;
        let atoms = |ranks: &[RankId]| -> Vec<RankId> {
            let mut atoms: Vec<RankId> = ranks.iter().flat_map(|&rank| exprs.atoms(rank).to_vec()).collect();
            atoms.sort_unstable();
            atoms
        };
        let reduced = atoms(it.op.reduced());
        let mut free: Vec<RankId> = exprs.free(it.value).to_vec();
        free.retain(|atom| !reduced.contains(atom));
        free.extend(it.along.iter().flat_map(|&rank| exprs.atoms(rank)));
        free.sort_unstable();
        free.dedup();
        let plain = at.iter().all(|it| matches!(it, At::Rank(_, 0)));
        let (result, all) = (it.op.kind(exprs.kind(it.value)), atoms(bound));
        let whole = it.along.is_none_or(|rank| bound.contains(&rank));
        plain && whole && result == kind && free == all && self.within(it.value, bound, bound) == it.value
    }

    /// What the author promises.
    pub(super) fn assumes(&mut self) {
        for item in self.items() {
            if let KernelItemKind::Assume(condition) = item {
                self.target = Target { name: "assume".to_owned(), exact: false };
                let scope = self.top_scope();
                let value = self.expr(condition, &scope, &[]);
                let ranks = self.cascade.exprs.free(value).to_vec();
                let text = self.sources.text(condition.span).to_owned();
                self.cascade.assumes.push(Assume { condition: value, ranks, text });
            }
        }
    }
}
