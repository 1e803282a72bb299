//! A state in chunks: inside a chunk the masked sum over pairs of tokens, between chunks one value of the state.
//!
//! ```text
//! U[c, d, e] = sum[j](E[c, j] * k[(c, j), d] * v[(c, j), e])       what a chunk adds, faded to its end
//! G[c+1, d, e] = D[c, |i| - 1] * G[c, d, e] + U[c, d, e]           the state before each chunk
//! A[c, i, j] = sum[d](q[(c, i), d] * k[(c, j), d])                 inside a chunk
//! o[(c, i), e] = D[c, i] * sum[d](q * G) + sum[j](A * L[c, i, j] * v[(c, j), e] where j <= i)
//! ```
//!
//! `D`, `E` and `L` are products of the gates of one chunk, from its start, to its end, and between two tokens. They
//! are running products of the gates themselves: nothing is divided by a product, no logarithm is taken, so gates
//! of any sign, and exact zeros, stay what they are, and decays are at most 1.

use attnc_dsl::ast::CompareOp;

use super::draft::Draft;
use super::product::Product;
use super::state::{Reading, State};
use crate::ir::cascade::{At, Dim, Einsum, ExprId, Extent, Op, RankId, Recurrence, Role, ScanOp, Step, TensorId};
use crate::ir::expr::{BinaryOp, Expr};

/// The tokens of a rank in chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    /// The rank: `(chunk, place)`.
    pub(super) rank: RankId,
    pub(super) chunk: RankId,
    pub(super) place: RankId,
    /// The same tokens under another name: what is read there lies in memory, computed once.
    held: RankId,
    /// The place of an earlier token, and that token: `(chunk, key)`.
    key: RankId,
    keys: RankId,
    /// How many tokens a chunk has.
    size: i64,
}

impl Tokens {
    /// Splits a rank.
    pub(super) fn split(draft: &mut Draft, rank: RankId, size: i64) -> Tokens {
        let name = draft.cascade.ranks[rank].name.clone();
        let whole = draft.extent(rank);
        let (rest, all) = (draft.exprs().int(size - 1), draft.exprs().int(size));
        let sum = draft.plus(whole, rest);
        let chunks = draft.exprs().binary(BinaryOp::FloorDiv, sum, all);
        let known = |draft: &mut Draft, it: ExprId| match *draft.cascade.exprs.get(it) {
            Expr::Int(it) => Extent::Fixed(it),
            _ => Extent::Derived(it),
        };
        let (chunks, tokens) = (known(draft, chunks), known(draft, whole));
        let chunk = draft.rank(&format!("{name}.chunk"), Vec::new(), chunks);
        let place = draft.rank(&format!("{name}.place"), Vec::new(), Extent::Fixed(size));
        let key = draft.rank(&format!("{name}.key"), Vec::new(), Extent::Fixed(size));
        let keys = draft.rank(&format!("{name}.keys"), vec![chunk, key], tokens);
        let held = draft.rank(&format!("{name}.held"), vec![chunk, place], tokens);
        draft.split(rank, vec![chunk, place]);
        Tokens { rank, chunk, place, held, key, keys, size }
    }
}

/// The products of the gates of one chunk.
struct Fading {
    /// From the start of the chunk to each token, that token included.
    start: TensorId,
    /// From each place to the end of the chunk, counted backwards: the product of the last so many gates.
    end: TensorId,
    /// What they fade along, besides the tokens.
    free: Vec<RankId>,
}

/// A state in the making.
struct Form<'a> {
    draft: &'a mut Draft,
    state: &'a State,
    tokens: Tokens,
    name: String,
    /// The ranks of the state but for the tokens, in order.
    others: Vec<RankId>,
    /// The gate at a token, 1 beyond the last one; none if the state does not fade.
    gate: Option<ExprId>,
    fading: Option<Fading>,
    /// The state before each chunk.
    carried: TensorId,
}

/// Replaces a state and what reads it.
pub(super) fn apply(draft: &mut Draft, state: &State, tokens: Tokens) {
    let dims = draft.cascade.tensors[state.tensor].dims.clone();
    let others = dims.iter().map(|it| it.rank).filter(|it| *it != state.rank).collect();
    let name = draft.cascade.tensors[state.tensor].name.clone();
    let dims = dims.iter().map(|it| match it.rank == state.rank {
        true => Dim { rank: tokens.chunk, lag: 1 },
        false => *it,
    });
    let carried = draft.tensor(&format!("{name}.carried"), dims.collect());
    let mut form = Form { draft, state, tokens, name, others, gate: None, fading: None, carried };
    let steps = form.draft.cascade.steps.clone();
    let mut all = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let reading = state.readings.iter().find(|it| it.step == number);
        match (step, reading) {
            _ if number == state.step => form.carry(),
            (Step::Einsum(einsum), Some(reading)) => form.reading(&einsum, reading),
            (step, _) => {
                let step = form.with_lasts(number, step);
                form.draft.new.push(step);
            }
        }
        all.append(&mut form.draft.new);
    }
    draft.cascade.steps = ordered(draft, all);
}

/// The steps with each after those that it reads: what several readings share may have been made for a later one.
fn ordered(draft: &Draft, mut steps: Vec<Step>) -> Vec<Step> {
    let mut done: Vec<TensorId> = draft.cascade.inputs().collect();
    let mut all = Vec::new();
    while !steps.is_empty() {
        let einsums = |step: &Step| match step {
            Step::Einsum(it) => vec![it.clone()],
            Step::Recurrence(it) => [it.bases.as_slice(), &it.body].concat(),
        };
        let is_ready = |step: &Step| {
            let own = einsums(step);
            let known = |tensor: TensorId| done.contains(&tensor) || own.iter().any(|it| it.tensor == tensor);
            own.iter().all(|it| draft.cascade.exprs.reads(it.value).all(|(tensor, _)| known(tensor)))
        };
        let next = steps.iter().position(is_ready).expect("einsums do not need each other");
        let step = steps.remove(next);
        done.extend(einsums(&step).iter().map(|it| it.tensor));
        all.push(step);
    }
    all
}

impl Form<'_> {
    /// The state before each chunk.
    fn carry(&mut self) {
        self.fade();
        let state = self.state;
        let gains: Vec<ExprId> = state.terms.iter().map(|term| self.gain(term)).collect();
        let mut value = self.draft.read(self.carried);
        if let Some(start) = self.fading.as_ref().map(|it| it.start) {
            let last = self.last_place();
            let whole = self.draft.read_at(start, &[(self.tokens.place, last)]);
            value = self.draft.times(whole, value);
        }
        for gain in gains {
            value = self.draft.plus(value, gain);
        }
        let zero = self.draft.exprs().real(0.0);
        let dims = self.draft.cascade.tensors[self.carried].dims.clone();
        let at = |chunk: At| {
            dims.iter().map(|it| if it.rank == self.tokens.chunk { chunk } else { At::Rank(it.rank, 0) }).collect()
        };
        let einsum =
            |at, value| Einsum { tensor: self.carried, at, op: Op::Map, value, exact: false };
        let bases = vec![einsum(at(At::Const(0)), self.state.base.unwrap_or(zero))];
        let body = vec![einsum(at(At::Rank(self.tokens.chunk, 1)), value)];
        let recurrence = Recurrence { rank: self.tokens.chunk, bases, body };
        self.draft.new.push(Step::Recurrence(recurrence));
    }

    /// The place up to which a chunk fades. A gate that depends on the token is 1 beyond the last one; the chunk
    /// of one that does not ends there.
    fn last_place(&mut self) -> ExprId {
        let Tokens { rank, chunk, size, .. } = self.tokens;
        let last = self.draft.exprs().int(size - 1);
        if self.gate.is_some_and(|it| self.draft.touches(it, &[chunk])) {
            return last;
        }
        let (extent, index) = (self.draft.extent(rank), self.draft.exprs().index(chunk));
        let (one, all) = (self.draft.exprs().int(1), self.draft.exprs().int(size));
        let first = self.draft.exprs().binary(BinaryOp::Mul, index, all);
        let left = self.draft.exprs().binary(BinaryOp::Sub, extent, first);
        let left = self.draft.exprs().binary(BinaryOp::Sub, left, one);
        self.draft.exprs().binary(BinaryOp::Min, left, last)
    }

    /// The products of gates that every reading needs.
    fn fade(&mut self) {
        if self.state.gate.is_empty() {
            return;
        }
        let Tokens { chunk, place, size, .. } = self.tokens;
        let one = self.draft.exprs().real(1.0);
        let value = self.draft.multiplied(&self.state.gate);
        let free = self.draft.free(&[value]);
        let order: Vec<RankId> = self.others.clone();
        let own: Vec<RankId> = free.iter().copied().filter(|it| *it != chunk && *it != place).collect();
        let varies = own.len() < free.len();
        let (mut outer, inner) = self.parted(&own, &order);
        if varies {
            outer.push(chunk);
        }
        let dims: Vec<RankId> = [outer.as_slice(), &[place], &inner].concat();
        let gate = if varies {
            let total = self.draft.exprs().add(Expr::Else(value, one));
            let tensor = self.draft.sum(&format!("{}.gate", self.name), &dims, &[], total);
            self.draft.read(tensor)
        } else {
            value
        };
        self.gate = Some(gate);
        let start = self.draft.running(&format!("{}.start", self.name), &dims, ScanOp::Prod, place, gate);
        let (index, zero, all) =
            (self.draft.exprs().index(place), self.draft.exprs().int(0), self.draft.exprs().int(size));
        let first = self.draft.compare(CompareOp::Eq, index, zero);
        let back = self.draft.exprs().binary(BinaryOp::Sub, all, index);
        let reversed = self.draft.moved(gate, place, back);
        let reversed = self.draft.exprs().add(Expr::If(first, one, reversed));
        let end = self.draft.running(&format!("{}.end", self.name), &dims, ScanOp::Prod, place, reversed);
        self.fading = Some(Fading { start, end, free: own });
    }

    /// Ranks that come before those of a chunk in memory, and features, which come after.
    fn parted(&self, atoms: &[RankId], order: &[RankId]) -> (Vec<RankId>, Vec<RankId>) {
        let features: Vec<RankId> =
            self.state.readings.iter().flat_map(|it| self.draft.atoms(&it.over)).collect();
        let (inner, outer): (Vec<RankId>, Vec<RankId>) = atoms.iter().partition(|it| features.contains(it));
        (self.draft.dims(&outer, order), self.draft.dims(&inner, order))
    }

    /// What a term adds to the state in one chunk.
    fn gain(&mut self, term: &Product) -> ExprId {
        let Tokens { chunk, place, key, keys, rank, .. } = self.tokens;
        let mut factors = Vec::new();
        if let Some(end) = self.fading.as_ref().map(|it| it.end) {
            let (last, index) = (self.last_place(), self.draft.exprs().index(key));
            let back = self.draft.exprs().binary(BinaryOp::Sub, last, index);
            factors.push(self.draft.read_at(end, &[(place, back)]));
        }
        let others = self.others.clone();
        let held: Vec<ExprId> = term.factors.iter().map(|&it| self.held(it, &others)).collect();
        let at = self.draft.exprs().index(keys);
        factors.extend(held.iter().map(|&it| self.draft.moved(it, rank, at)).collect::<Vec<_>>());
        let mut value = self.draft.multiplied(&factors);
        for &condition in &term.conditions {
            let condition = self.draft.moved(condition, rank, at);
            value = self.draft.exprs().add(Expr::Where(value, condition));
        }
        let extent = self.draft.extent(rank);
        let exists = self.draft.compare(CompareOp::Lt, at, extent);
        value = self.draft.exprs().add(Expr::Where(value, exists));
        let mut free = self.draft.free(&[value]);
        free.retain(|it| *it != chunk && *it != key);
        let mut dims: Vec<RankId> = self.draft.cascade.tensors[self.carried].dims.iter().map(|it| it.rank).collect();
        dims = self.draft.dims(&[free, vec![chunk]].concat(), &dims);
        let tensor = self.draft.sum(&format!("{}.gain", self.name), &dims, &[key], value);
        self.draft.read(tensor)
    }

    /// A value that is computed once for each token, if it has to be computed.
    fn held(&mut self, value: ExprId, order: &[RankId]) -> ExprId {
        let Tokens { chunk, place, rank, .. } = self.tokens;
        let free = self.draft.free(&[value]);
        if self.draft.is_held(value) || !(free.contains(&chunk) && free.contains(&place)) {
            return value;
        }
        let own: Vec<RankId> = free.into_iter().filter(|it| *it != chunk && *it != place).collect();
        let (outer, inner) = self.parted(&own, order);
        let dims = [outer.as_slice(), &[rank], &inner].concat();
        let tensor = self.draft.sum(&format!("{}.factor", self.name), &dims, &[], value);
        self.draft.read(tensor)
    }

    /// What a reading multiplies the state by; it is used for every pair of tokens, so it is no expression.
    fn weight(&mut self, value: ExprId, order: &[RankId]) -> ExprId {
        let value = self.held(value, order);
        let index = self.draft.exprs().index(self.tokens.held);
        let computed = match self.draft.cascade.exprs.get(value) {
            Expr::Read(tensor, ..) => self.draft.cascade.tensors[*tensor].role != Role::Input,
            _ => false,
        };
        if computed { self.draft.moved(value, self.tokens.rank, index) } else { value }
    }

    /// A sum over features, from the state before the chunk and from earlier tokens of the chunk.
    fn reading(&mut self, einsum: &Einsum, reading: &Reading) {
        let over = self.draft.atoms(&reading.over);
        let dims: Vec<RankId> = einsum.iterated();
        let name = self.draft.cascade.tensors[einsum.tensor].name.clone();
        let Reading { weights, inclusive, .. } = reading;
        let common = |&id: &ExprId| !self.draft.touches(id, &over) && self.draft.is_total(id);
        let (outside, inside): (Vec<ExprId>, Vec<ExprId>) = weights.factors.iter().partition(|it| common(it));
        let weights = Product {
            factors: inside.into_iter().map(|it| self.weight(it, &dims)).collect(),
            conditions: weights.conditions.clone(),
        };
        let mut value = self.before(&name, &dims, &reading.over, &weights, *inclusive);
        for term in &self.state.terms {
            let inner = self.within(&name, &dims, &reading.over, &weights, term, *inclusive);
            value = self.draft.plus(value, inner);
        }
        let outside = self.draft.multiplied(&outside);
        let mut value = self.draft.times(outside, value);
        if !inclusive && self.state.base.is_none() {
            // The first token sees nothing, whatever it would multiply it by.
            let (index, zero) = (self.draft.exprs().index(self.tokens.rank), self.draft.exprs().int(0));
            let (later, none) = (self.draft.compare(CompareOp::Gt, index, zero), self.draft.exprs().real(0.0));
            value = self.draft.exprs().add(Expr::If(later, value, none));
        }
        self.draft.new.push(Step::Einsum(Einsum { op: Op::Map, value, ..einsum.clone() }));
    }

    /// What the state before the chunk gives to a reading.
    fn before(
        &mut self,
        name: &str,
        dims: &[RankId],
        over: &[RankId],
        weights: &Product,
        inclusive: bool,
    ) -> ExprId {
        let atoms = self.draft.atoms(over);
        let state = self.draft.read(self.carried);
        let mut factors = [weights.factors.as_slice(), &[state]].concat();
        let fade = self.from_start(inclusive);
        let (inside, outside): (Vec<ExprId>, Vec<ExprId>) =
            fade.into_iter().partition(|&it| self.draft.touches(it, &atoms));
        factors.extend(inside);
        let value = self.conditioned(&factors, &weights.conditions);
        let mut free = self.draft.free(&[value]);
        free.retain(|it| !atoms.contains(it));
        free.extend([self.tokens.chunk, self.tokens.place]);
        free.sort_unstable();
        free.dedup();
        let dims = self.draft.dims(&free, dims);
        let tensor = self.draft.sum(&format!("{name}.before"), &dims, over, value);
        let read = self.draft.read(tensor);
        let outside = self.draft.multiplied(&outside);
        self.draft.times(outside, read)
    }

    /// The product of the gates from the start of the chunk to a token.
    fn from_start(&mut self, inclusive: bool) -> Option<ExprId> {
        let start = self.fading.as_ref()?.start;
        if inclusive {
            return Some(self.draft.read(start));
        }
        let place = self.tokens.place;
        let (index, zero) = (self.draft.exprs().index(place), self.draft.exprs().int(0));
        let (one, unit) = (self.draft.exprs().int(1), self.draft.exprs().real(1.0));
        let first = self.draft.compare(CompareOp::Eq, index, zero);
        let earlier = self.draft.exprs().binary(BinaryOp::Sub, index, one);
        let read = self.draft.read_at(start, &[(place, earlier)]);
        Some(self.draft.exprs().add(Expr::If(first, unit, read)))
    }

    /// The product of the gates between two tokens of a chunk, the earlier one excluded.
    fn between(&mut self, inclusive: bool) -> Option<ExprId> {
        let gate = self.gate?;
        let free = self.fading.as_ref()?.free.clone();
        let Tokens { chunk, place, key, .. } = self.tokens;
        let (mut last, mut from) = (gate, self.draft.exprs().index(key));
        let index = self.draft.exprs().index(place);
        if !inclusive {
            let one = self.draft.exprs().int(1);
            let earlier = self.draft.exprs().binary(BinaryOp::Sub, index, one);
            last = self.draft.moved(gate, place, earlier);
            from = self.draft.plus(from, one);
        }
        let one = self.draft.exprs().real(1.0);
        let later = self.draft.compare(CompareOp::Gt, index, from);
        let value = self.draft.exprs().add(Expr::If(later, last, one));
        let order = self.others.clone();
        let (mut outer, inner) = self.parted(&free, &order);
        if self.draft.free(&[value]).contains(&chunk) {
            outer.push(chunk);
        }
        let dims = [outer.as_slice(), &[place, key], &inner].concat();
        let tensor = self.draft.running(&format!("{}.between", self.name), &dims, ScanOp::Prod, place, value);
        Some(self.draft.read(tensor))
    }

    /// What earlier tokens of the chunk give to a reading.
    fn within(
        &mut self,
        name: &str,
        dims: &[RankId],
        over: &[RankId],
        weights: &Product,
        term: &Product,
        inclusive: bool,
    ) -> ExprId {
        let Tokens { rank, chunk, place, key, keys, .. } = self.tokens;
        let atoms = self.draft.atoms(over);
        let at = self.draft.exprs().index(keys);
        let others = self.others.clone();
        let held: Vec<ExprId> = term.factors.iter().map(|&it| self.held(it, &others)).collect();
        let mut moved: Vec<ExprId> = held.iter().map(|&it| self.draft.moved(it, rank, at)).collect();
        moved.extend(self.between(inclusive));
        let (inside, outside): (Vec<ExprId>, Vec<ExprId>) =
            moved.into_iter().partition(|&it| self.draft.touches(it, &atoms));
        let conditions: Vec<ExprId> = term.conditions.iter().map(|&it| self.draft.moved(it, rank, at)).collect();
        let (hidden, shown): (Vec<ExprId>, Vec<ExprId>) =
            conditions.into_iter().partition(|&it| self.draft.touches(it, &atoms));
        let score = self.conditioned(
            &[weights.factors.as_slice(), &inside].concat(),
            &[weights.conditions.as_slice(), &hidden].concat(),
        );
        let mut free = self.draft.free(&[score]);
        free.retain(|it| !atoms.contains(it));
        let order = [dims, &others, &[chunk, place, key]].concat();
        let ranks = self.draft.dims(&free, &order);
        let score = self.draft.sum(&format!("{name}.score"), &ranks, over, score);
        let score = self.draft.read(score);
        let (index, earlier) = (self.draft.exprs().index(place), self.draft.exprs().index(key));
        let op = if inclusive { CompareOp::Le } else { CompareOp::Lt };
        let sees = self.draft.compare(op, earlier, index);
        let value = self.conditioned(&[&[score], outside.as_slice()].concat(), &[shown.as_slice(), &[sees]].concat());
        let mut free = self.draft.free(&[value]);
        free.retain(|it| *it != key);
        free.extend([chunk, place]);
        free.sort_unstable();
        free.dedup();
        let ranks = self.draft.dims(&free, dims);
        let tensor = self.draft.sum(&format!("{name}.within"), &ranks, &[key], value);
        self.draft.read(tensor)
    }

    fn conditioned(&mut self, factors: &[ExprId], conditions: &[ExprId]) -> ExprId {
        let value = self.draft.multiplied(factors);
        conditions.iter().fold(value, |value, &it| self.draft.exprs().add(Expr::Where(value, it)))
    }

    /// The same step with the state before a chunk that is not there in place of the last state.
    fn with_lasts(&mut self, number: usize, step: Step) -> Step {
        let reads: Vec<ExprId> =
            self.state.lasts.iter().filter(|it| it.0 == number).map(|it| it.1).collect();
        if reads.is_empty() {
            return step;
        }
        let mut einsum = |mut it: Einsum| {
            for &read in &reads {
                let last = self.last(read);
                it.value = self.draft.replaced(it.value, read, last);
            }
            it
        };
        match step {
            Step::Einsum(it) => Step::Einsum(einsum(it)),
            Step::Recurrence(it) => Step::Recurrence(Recurrence {
                rank: it.rank,
                bases: it.bases.into_iter().map(&mut einsum).collect(),
                body: it.body.into_iter().map(&mut einsum).collect(),
            }),
        }
    }

    fn last(&mut self, read: ExprId) -> ExprId {
        let Expr::Read(_, mut coords, kind) = self.draft.cascade.exprs.get(read).clone() else {
            unreachable!("a read of the state is a read")
        };
        coords[self.state.axis] = self.draft.extent(self.tokens.chunk);
        let value = self.draft.exprs().add(Expr::Read(self.carried, coords, kind));
        if self.state.base.is_some() {
            return value;
        }
        // A running sum over nothing has no last value.
        let (extent, zero) = (self.draft.extent(self.tokens.rank), self.draft.exprs().int(0));
        let some = self.draft.compare(CompareOp::Gt, extent, zero);
        self.draft.exprs().add(Expr::Where(value, some))
    }
}
