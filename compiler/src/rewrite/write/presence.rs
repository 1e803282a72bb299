//! Presence, written as conditions: predicates, and tensors that say whether there is a point.
use attnc_dsl::ast::{CompareOp, Kind};

use super::Writer;
use crate::ir::cascade::{ExprId, Op, RankId, ReduceOp};
use crate::ir::expr::{BinaryOp, Expr};
use crate::rewrite::domain::{Atom, Domain, canonical, implies};

impl Writer<'_> {
    /// A bool that says that all of these hold; none where that is so everywhere.
    pub(super) fn holds(&mut self, domain: &Domain) -> Option<ExprId> {
        let domain = canonical(self.graph, domain);
        let mut needed = domain.clone();
        for atom in &domain {
            let mut rest = needed.clone();
            rest.remove(atom);
            if implies(self.graph, &rest, &[], &Domain::from([atom.clone()])) {
                needed = rest;
            }
        }
        let mut conditions: Vec<ExprId> = Vec::new();
        for atom in &needed {
            let condition = self.condition(atom);
            if !conditions.contains(&condition) {
                conditions.push(condition);
            }
        }
        conditions.into_iter().reduce(|a, b| self.cascade.exprs.add(Expr::Binary(BinaryOp::And, a, b)))
    }

    fn condition(&mut self, atom: &Atom) -> ExprId {
        match atom {
            Atom::Holds(class) => self.value(*class).expr,
            Atom::Defined(class) => {
                let value = self.exact(*class);
                self.cascade.exprs.add(Expr::Present(value))
            }
            Atom::Exists(ranks, inner) if inner.is_empty() => {
                let mut all = Vec::new();
                for &rank in ranks {
                    let extent = self.cascade.exprs.add(Expr::Extent(rank));
                    let zero = self.cascade.exprs.int(0);
                    all.push(self.cascade.exprs.compare(CompareOp::Gt, extent, zero));
                }
                let both = |a, b| self.cascade.exprs.add(Expr::Binary(BinaryOp::And, a, b));
                all.into_iter().reduce(both).expect("a reduction has ranks")
            }
            Atom::Exists(ranks, inner) => {
                if let Some(&tensor) = self.present.get(atom) {
                    return self.read(tensor);
                }
                let value = self.holds(inner).unwrap_or_else(|| self.cascade.exprs.add(Expr::Bool(true)));
                let free: Vec<RankId> =
                    self.cascade.exprs.free(value).iter().copied().filter(|it| !ranks.contains(it)).collect();
                let [kept, ranks] = [free.as_slice(), ranks].map(|it| self.cascade.composed(it, value));
                let tensor = self.temporary("any", kept, Kind::Bool);
                self.push(tensor, Op::Reduce(ReduceOp::Any, ranks), value);
                self.present.insert(atom.clone(), tensor);
                self.read(tensor)
            }
            Atom::OneOf(some) => {
                let conditions: Vec<Option<ExprId>> = some.iter().map(|it| self.holds(it)).collect();
                let conditions: Option<Vec<ExprId>> = conditions.into_iter().collect();
                let either = |a, b| self.cascade.exprs.add(Expr::Binary(BinaryOp::Or, a, b));
                match conditions {
                    Some(all) => all.into_iter().reduce(either).expect("one of some"),
                    None => self.cascade.exprs.add(Expr::Bool(true)),
                }
            }
        }
    }
}
