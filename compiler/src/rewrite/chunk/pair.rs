//! A sum over pairs of tokens as a product: what the later token gives, what the earlier one gives, and how their
//! product fades with the distance between them.

use crate::ir::cascade::{ExprId, Op, RankId, ReduceOp, ScanOp, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr, UnaryOp};

use super::carry::prefix;
use super::draft::Draft;
use super::product::{Look, Product};

/// Two ranks of the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) later: RankId,
    pub(super) earlier: RankId,
}

/// A sum over the earlier tokens of each token.
#[derive(Debug, Clone)]
pub(super) struct Pairs {
    pub(super) pair: Pair,
    /// A token is among the earlier ones itself.
    pub(super) inclusive: bool,
    /// What the later token gives.
    pub(super) queries: Product,
    /// What the earlier token gives.
    pub(super) keys: Product,
    /// The features that the two have in common.
    pub(super) over: Vec<RankId>,
    /// What the product fades by at each token after the earlier one, up to the later one.
    pub(super) gate: Vec<ExprId>,
    /// Tensors that hold something for each pair.
    pub(super) scores: Vec<TensorId>,
}

impl Pair {
    /// The coordinate is that of the later token, counted from the first or from the last.
    pub(super) fn is_later(self, draft: &Draft, id: ExprId) -> bool {
        let exprs = &draft.cascade.exprs;
        let extent = |id: ExprId, of: RankId| *exprs.get(id) == Expr::Extent(of);
        match *exprs.get(id) {
            Expr::Index(rank) => rank == self.later,
            Expr::Binary(BinaryOp::Sub, sum, back) => match *exprs.get(sum) {
                Expr::Binary(BinaryOp::Add, index, ahead) => {
                    *exprs.get(index) == Expr::Index(self.later)
                        && extent(ahead, self.earlier)
                        && extent(back, self.later)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// `later - earlier`.
    pub(super) fn is_distance(self, draft: &Draft, id: ExprId) -> bool {
        let exprs = &draft.cascade.exprs;
        match *exprs.get(id) {
            Expr::Binary(BinaryOp::Sub, a, b) => {
                self.is_later(draft, a) && *exprs.get(b) == Expr::Index(self.earlier)
            }
            Expr::Unary(UnaryOp::ToReal, a) => self.is_distance(draft, a),
            _ => false,
        }
    }

    fn has_both(self, draft: &Draft, id: ExprId) -> bool {
        draft.touches(id, &[self.later]) && draft.touches(id, &[self.earlier])
    }
}

impl Pairs {
    /// The terms of a sum as products; none if they are none, or if other tokens than the earlier ones count.
    pub(super) fn of(draft: &mut Draft, value: ExprId, pair: Pair) -> Option<Pairs> {
        let mut it = Pairs {
            pair,
            inclusive: true,
            queries: Product::default(),
            keys: Product::default(),
            over: Vec::new(),
            gate: Vec::new(),
            scores: Vec::new(),
        };
        let Product { factors, mut conditions } = draft.product(value, Look::Deep);
        let mut todo = factors;
        while let Some(factor) = todo.pop() {
            if !pair.has_both(draft, factor) {
                it.side(draft, factor).factors.push(factor);
            } else if let Some(gate) = faded(draft, pair, factor) {
                it.gate.push(gate);
            } else {
                let (tensor, over, value) = score(draft, factor)?;
                if !it.over.is_empty() {
                    return None;
                }
                it.over = over;
                it.scores.push(tensor);
                let inner = draft.product(value, Look::Deep);
                todo.extend(inner.factors);
                conditions.extend(inner.conditions);
            }
        }
        let mut seen = None;
        for condition in conditions {
            match prefix(draft, pair, condition) {
                Some(inclusive) if seen.is_none_or(|it| it == inclusive) => seen = Some(inclusive),
                None if !pair.has_both(draft, condition) => {
                    it.side(draft, condition).conditions.push(condition)
                }
                Some(_) | None => return None,
            }
        }
        it.inclusive = seen?;
        it.gate.sort_unstable();
        let keys = &it.keys.factors;
        let shared = it.over.is_empty() || keys.iter().any(|&key| draft.touches(key, &draft.atoms(&it.over)));
        let steady = it.gate.iter().all(|&gate| draft.is_total(gate));
        let there = keys.iter().all(|&key| draft.is_total(key));
        (shared && steady && there).then_some(it)
    }

    /// Where a factor belongs.
    fn side(&mut self, draft: &Draft, id: ExprId) -> &mut Product {
        let of_keys = draft.touches(id, &[self.pair.earlier]);
        if of_keys { &mut self.keys } else { &mut self.queries }
    }
}

/// A sum over features that is read in place.
fn score(draft: &Draft, factor: ExprId) -> Option<(TensorId, Vec<RankId>, ExprId)> {
    let exprs = &draft.cascade.exprs;
    let Expr::Read(tensor, coords, _) = exprs.get(factor) else { return None };
    let einsum = draft.definition(*tensor)?;
    let Op::Reduce(ReduceOp::Sum, over) = &einsum.op else { return None };
    let dims = &draft.cascade.tensors[*tensor].dims;
    let in_place = coords.iter().zip(dims).all(|(&coord, dim)| *exprs.get(coord) == Expr::Index(dim.rank));
    in_place.then(|| (*tensor, over.clone(), einsum.value))
}

/// What a function of the distance fades by at each token.
fn faded(draft: &mut Draft, pair: Pair, factor: ExprId) -> Option<ExprId> {
    match *draft.cascade.exprs.get(factor) {
        Expr::Binary(BinaryOp::Pow, base, exponent) => {
            (pair.is_distance(draft, exponent) && is_steady(draft, pair, base)).then_some(base)
        }
        Expr::Unary(op @ (UnaryOp::Exp | UnaryOp::Exp2), exponent) => {
            let Product { mut factors, conditions } = draft.product(exponent, Look::Deep);
            let at = factors.iter().position(|&it| pair.has_both(draft, it))?;
            let distance = factors.remove(at);
            if !conditions.is_empty() || !factors.iter().all(|&it| is_steady(draft, pair, it)) {
                return None;
            }
            if !pair.is_distance(draft, distance) {
                factors.push(increment(draft, pair, distance)?);
            }
            let exponent = draft.multiplied(&factors);
            Some(draft.exprs().unary(op, exponent))
        }
        _ => None,
    }
}

fn is_steady(draft: &Draft, pair: Pair, id: ExprId) -> bool {
    !draft.touches(id, &[pair.later, pair.earlier])
}

/// What a difference of a running sum at the two tokens grows by at each token.
fn increment(draft: &mut Draft, pair: Pair, difference: ExprId) -> Option<ExprId> {
    let Expr::Binary(BinaryOp::Sub, a, b) = *draft.cascade.exprs.get(difference) else { return None };
    let later = draft.exprs().index(pair.later);
    if draft.moved(b, pair.earlier, later) != a {
        return None;
    }
    let mut product = draft.product(a, Look::Deep);
    let at = product.factors.iter().position(|&it| draft.touches(it, &[pair.later]))?;
    let sum = product.factors.remove(at);
    let Expr::Read(tensor, coords, _) = draft.cascade.exprs.get(sum).clone() else { return None };
    let of_tensor = |step: &Step| match step {
        Step::Einsum(it) => (it.tensor == tensor && !it.exact).then(|| it.clone()),
        Step::Recurrence(_) => None,
    };
    let einsum = draft.cascade.steps.iter().find_map(of_tensor)?;
    let Op::Scan(ScanOp::Sum, along) = einsum.op else { return None };
    let dims = draft.cascade.tensors[tensor].dims.clone();
    let exprs = &draft.cascade.exprs;
    let near = coords.iter().zip(&dims).all(|(&coord, dim)| match dim.rank == along {
        true => coord == later,
        false => *exprs.get(coord) == Expr::Index(dim.rank),
    });
    let steady =
        product.factors.iter().all(|&it| is_steady(draft, pair, it)) && product.conditions.is_empty();
    if !near || !steady {
        return None;
    }
    let step = draft.moved(einsum.value, along, later);
    let zero = draft.exprs().real(0.0);
    let step = if draft.is_total(step) { step } else { draft.exprs().add(Expr::Else(step, zero)) };
    let factors = draft.multiplied(&product.factors);
    Some(draft.times(factors, step))
}
