//! Weights of a tile as most tiles are: no score is -inf, and scales are of a size at which their rounding is not seen.
//!
//! An element then takes a product with a sum and a power, where it would take two products, a difference, a comparison and a
//! selection besides: none is left out, a factor of all scores is that of the power, and the maximum is looked for among
//! scores before they are multiplied, for that keeps their order. Squares tell that no score is infinite or NaN, two elements
//! with each product: their sum is finite. All lanes of a warp go the same way. Where a tile is not like that, its weights
//! are computed as they stand.
//!
//! ```text
//! m = max(k S);  c = …;  P = exp(k S - c)     ->   m = k max(S);  c = …
//!                                                 if Σ S S' < inf and |c| < 2^10:  P = exp2(S (k log2 e) - c log2 e)
//!                                                 else:                            P = exp(k S - c)
//! ```

use std::collections::HashSet;
use std::f64::consts::LOG2_E;

use attnc_dsl::ast::CompareOp;
use attnc_ptx::modifier::{FloatCompare, Flush, Function, Vote};
use attnc_ptx::types::{Float, RegType};
use attnc_ptx::{Inst, Op, Reg, args};

use super::arith::{Lane, and, float_compare, select};
use super::block::Emitter;
use super::op::Tile;
use super::scalar;
use super::value::{Value, register};
use crate::codegen::math::{Arith, Format};
use crate::codegen::points::combination;
use crate::ir::cascade::ReduceOp;
use crate::ir::expr::{BinaryOp, UnaryOp};
use crate::ir::nest::{Op as TileOp, Scalar, Stmt, TileType, ValueId};

/// Scales that may be multiplied before they are subtracted: that is off by 2^-14 at most.
const SCALE: f32 = 1024.0;

/// What is known of weights that are powers of scores less a scale.
pub(super) struct Usual {
    /// The scores before they are multiplied, and by what they are.
    scores: ValueId,
    factor: f64,
    /// The largest of each row.
    peak: ValueId,
    /// The scale.
    scale: ValueId,
    /// The weights, and the logarithm to base two of what they are powers of.
    powers: ValueId,
    log2: f64,
    /// What holds of all scores, element by element or for rows.
    certain: Vec<ValueId>,
}

impl<'a> Emitter<'a> {
    /// What is known of weights that these statements compute, if they are such powers.
    pub(super) fn usual(
        &self,
        stmts: &[&'a Stmt],
        (powers, there): (ValueId, Option<ValueId>),
    ) -> Option<Usual> {
        if self.together().splits {
            return None;
        }
        let definition = |it| self.together().factors.definition(it);
        let (log2, exponent) = match definition(powers) {
            Some(&TileOp::Unary(UnaryOp::Exp, it)) => (LOG2_E, it),
            Some(&TileOp::Unary(UnaryOp::Exp2, it)) => (1.0, it),
            Some(_) | None => return None,
        };
        let &TileOp::Binary(BinaryOp::Sub, scaled, scale) = definition(exponent)? else { return None };
        let (scores, factor) = self.multiple(scaled);
        let ty = &self.nest.values[scores];
        if ty.shape.len() != 2 || ty.scalar != Scalar::F32 || self.nest.values[scale].shape.len() != 1 {
            return None;
        }
        let lets = stmts.iter().filter_map(|it| match it {
            Stmt::Let(value, op) => Some((*value, op)),
            Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => None,
        });
        let lets: Vec<(ValueId, &TileOp)> = lets.collect();
        let (peak, certain) = self.peak(&lets, (scores, factor))?;
        // Products leave out nothing else.
        there.is_none_or(|it| certain.contains(&it)).then_some(())?;
        Some(Usual { scores, factor, peak, scale, powers, log2, certain })
    }

    /// The largest of each row of some scores times a factor, and what says that they are not -inf.
    fn peak(&self, lets: &[(ValueId, &TileOp)], of: (ValueId, f64)) -> Option<(ValueId, Vec<ValueId>)> {
        let are_scores = |it: ValueId| {
            let (own, by) = self.multiple(it);
            by == of.1 && self.is_alike(own, of.0)
        };
        let those = |holds: &dyn Fn(&TileOp) -> bool| -> Vec<ValueId> {
            lets.iter().filter(|it| holds(it.1)).map(|it| it.0).collect()
        };
        let mut certain = those(
            &|op| matches!(*op, TileOp::Compare(CompareOp::Ne, a, b) if are_scores(a) && self.is_least(b)),
        );
        let peaks = those(&|op| {
            let &TileOp::Reduce(ReduceOp::Max, of) = op else { return false };
            match self.together().factors.definition(of) {
                Some(&TileOp::Select(there, a, b)) => {
                    certain.contains(&there) && are_scores(a) && self.is_least(b)
                }
                Some(_) | None => are_scores(of),
            }
        });
        let peak = *peaks.iter().find(|it| self.nest.values[**it].shape.len() == 1)?;
        certain.extend(those(&|op| matches!(op, TileOp::Reduce(ReduceOp::Any, a) if certain.contains(a))));
        Some((peak, certain))
    }

    /// A tile that another is a multiple of, and the factor, from 0 to 1: what is finite is so after that, too.
    fn multiple(&self, of: ValueId) -> (ValueId, f64) {
        let definition = |it| self.together().factors.definition(it);
        let Some(&TileOp::Binary(BinaryOp::Mul, a, b)) = definition(of) else { return (of, 1.0) };
        let factor = |it| match definition(it) {
            Some(&TileOp::Real(x)) if x > 0.0 && x <= 1.0 => Some(x),
            Some(_) | None => None,
        };
        let both = [(a, b), (b, a)].into_iter().find_map(|(tile, it)| Some((tile, factor(it)?)));
        both.unwrap_or((of, 1.0))
    }

    /// Whether it is -inf.
    fn is_least(&self, value: ValueId) -> bool {
        matches!(self.together().factors.definition(value), Some(TileOp::Real(it)) if *it == f64::NEG_INFINITY)
    }

    /// Whether two values are computed alike from the same.
    fn is_alike(&self, a: ValueId, b: ValueId) -> bool {
        let definition = |it| self.together().factors.definition(it);
        if a == b {
            return true;
        }
        let (Some(first), Some(second)) = (definition(a), definition(b)) else { return false };
        // What is loaded may have been written in between, and products are taken once.
        let computes = |it: &TileOp| it.is_by_element() && !matches!(it, TileOp::Load { .. });
        let (own, others) = (first.operands(), second.operands());
        let renamed = |it: ValueId| {
            let place = others.iter().position(|other| *other == it);
            place.and_then(|it| own.get(it)).copied().unwrap_or(it)
        };
        computes(first)
            && self.nest.values[a] == self.nest.values[b]
            && first.is(&second.on(renamed))
            && own.iter().zip(&others).all(|(a, b)| self.is_alike(*a, *b))
    }

    /// Computes weights, and all else that later ones need of these statements, for a tile as it is usually or as it stands.
    pub(super) fn usual_or_not(
        &mut self,
        usual: &Usual,
        (stmts, mut needed): (&[&'a Stmt], Vec<ValueId>),
        there: Option<ValueId>,
    ) {
        let mut done = HashSet::new();
        self.needed(stmts, &[usual.scores], &mut done);
        let ty = &self.nest.values[usual.peak];
        let rows = self.by_row(ty, usual.scores);
        let is_usual = self.find_peak(usual, rows.clone());
        done.insert(usual.peak);
        self.needed(stmts, &[usual.scale], &mut done);
        needed.retain(|it| !done.contains(it));
        let (w, scale) = (&self.writer, self.tile(usual.scale).elements.clone());
        let lane = Lane::new(w, Format::Single);
        let is_small = |it: &Value| lane.lt(lane.abs(*it), lane.float(SCALE.into()));
        let is_usual = scale.iter().map(is_small).fold(is_usual, |a, b| and(w, a, b));
        let (is_usual, all) = (w.reg(RegType::Pred, is_usual), w.fresh(RegType::Pred));
        w.add(Inst::new(Op::Vote { mode: Vote::All }, args![all, is_usual, -1]));
        let types = || needed.iter().map(|it| &self.nest.values[*it]);
        let registers =
            |ty: &TileType| -> Vec<Reg> { (0..ty.points()).map(|_| w.fresh(register(ty.scalar))).collect() };
        let into: Vec<Vec<Reg>> = types().map(registers).collect();
        let [rare, end] = ["rare", "weighed"].map(|it| w.label(it));
        w.bra(rare, Some((all, false)));
        w.open(true);
        self.usual_powers(usual, &scale);
        let mut made: HashSet<ValueId> = usual.certain.iter().copied().chain([usual.powers]).collect();
        made.extend(&done);
        self.needed(stmts, &needed, &mut made);
        self.hand_over(&needed, &into);
        self.writer.bra(end, None);
        self.writer.place(rare);
        self.writer.open(true);
        self.as_it_stands(usual, stmts, &done);
        self.mark(usual.powers, there);
        self.hand_over(&needed, &into);
        self.writer.place(end);
        for (&value, registers) in needed.iter().zip(into) {
            let ty = &self.nest.values[value];
            self.define(value, Tile { ty, elements: registers.into_iter().map(Value::Reg).collect() });
        }
        there.into_iter().for_each(|it| self.hold_always(it));
        for stmt in stmts {
            if let Stmt::Let(value, _) = stmt
                && self.together().factors.is_factor(*value)
            {
                self.stmt(stmt);
            }
        }
    }

    /// Closes a block behind which values are in these registers.
    fn hand_over(&self, values: &[ValueId], into: &[Vec<Reg>]) {
        let w = &self.writer;
        for (&value, registers) in values.iter().zip(into) {
            let elements = self.tile(value).spread(&self.nest.values[value]);
            registers.iter().zip(elements).for_each(|(to, it)| w.copy(*to, it));
        }
        let closed = w.close(&[]);
        w.append(closed);
    }

    /// Defines the largest score of each row of which a thread has these; whether all are finite.
    fn find_peak(&mut self, usual: &Usual, rows: Vec<Vec<Value>>) -> Value {
        let w = &self.writer;
        let lane = Lane::new(w, Format::Single);
        let squares = |row: &Vec<Value>| {
            let two = |sum: Option<Value>, it: &[Value]| {
                let (a, b) = (it[0], it[it.len() - 1]);
                Some(sum.map_or_else(|| lane.mul(a, b), |sum| lane.mul_add(a, b, sum)))
            };
            row.chunks(2).fold(None, two).expect("a row has elements")
        };
        let sums = rows.iter().map(squares).reduce(|a, b| lane.add(a, b)).expect("there are rows");
        let infinite = Value::F32(f32::INFINITY.to_bits());
        let are_finite = float_compare(w, Float::F32, FloatCompare::Lt, lane.abs(sums), infinite);
        let larger = |a, b| scalar::binary(w, combination(ReduceOp::Max), Scalar::F32, a, b);
        // Half of a row waits for nothing in the other.
        let largest = |row: Vec<Value>| {
            let halves = row.split_at(row.len() / 2);
            let of = |it: &[Value]| it.iter().copied().reduce(larger);
            match (of(halves.0), of(halves.1)) {
                (Some(a), Some(b)) => larger(a, b),
                (a, b) => a.or(b).expect("a row has elements"),
            }
        };
        let own: Vec<Value> = rows.into_iter().map(largest).collect();
        let factor = lane.float(usual.factor);
        let scaled = |it| if usual.factor == 1.0 { it } else { lane.mul(it, factor) };
        let peaks = own.into_iter().map(|it| scaled(self.across(ReduceOp::Max, Scalar::F32, it)));
        let (ty, elements) = (&self.nest.values[usual.peak], peaks.collect());
        self.define(usual.peak, Tile { ty, elements });
        are_finite
    }

    /// Defines powers where scores and scales are as usual, and what holds then.
    fn usual_powers(&mut self, usual: &Usual, scale: &[Value]) {
        let w = &self.writer;
        let lane = Lane::new(w, Format::Single);
        let by = lane.float(usual.factor * usual.log2);
        let log2 = lane.float(usual.log2);
        let below = |it: &Value| lane.neg(if usual.log2 == 1.0 { *it } else { lane.mul(*it, log2) });
        let below: Vec<Value> = scale.iter().map(below).collect();
        let (row, ty) = (&self.nest.values[usual.scale], &self.nest.values[usual.powers]);
        let below = Tile { ty: row, elements: below }.spread(ty);
        let scores = self.tile(usual.scores).spread(ty);
        let power = |(score, below): (Value, Value)| {
            let exponent = Value::Reg(w.reg(RegType::F32, lane.mul_add(score, by, below)));
            let op = Op::Function { f: Function::Ex2, flush: Flush::Ftz, ty: Float::F32 };
            w.pure(RegType::F32, op, &[exponent])
        };
        let elements = scores.into_iter().zip(below).map(power).collect();
        self.define(usual.powers, Tile { ty, elements });
        usual.certain.iter().for_each(|it| self.hold_always(*it));
    }

    /// From now on it holds everywhere.
    fn hold_always(&mut self, value: ValueId) {
        let ty = &self.nest.values[value];
        self.define(value, Tile { ty, elements: vec![Value::Bool(true); ty.points()] });
    }

    /// What is left of the statements.
    fn as_it_stands(&mut self, usual: &Usual, stmts: &[&'a Stmt], done: &HashSet<ValueId>) {
        for stmt in stmts {
            match stmt {
                Stmt::Let(value, TileOp::Reduce(_, of)) if *value == usual.peak => {
                    let peaks = self.tile(usual.peak).elements.clone();
                    let all = self.by_row(&self.nest.values[usual.peak], *of);
                    self.peaks.extend(all.into_iter().zip(peaks));
                }
                Stmt::Let(value, _) if done.contains(value) => {}
                Stmt::Let(..) | Stmt::Store { .. } | Stmt::Loop(_) | Stmt::If { .. } => self.stmt(stmt),
            }
        }
    }

    /// Marks those of some powers that products leave out.
    fn mark(&mut self, powers: ValueId, there: Option<ValueId>) {
        let Some(there) = there else { return };
        let ty = &self.nest.values[powers];
        let both = self.tile(powers).spread(ty).into_iter().zip(self.tile(there).spread(ty));
        let nothing = Value::F32((-0.0_f32).to_bits());
        let marked = both.map(|(it, there)| select(&self.writer, RegType::F32, there, it, nothing));
        let elements = marked.collect();
        self.define(powers, Tile { ty, elements });
    }

    /// Runs those of some statements that values are made of, if it is not done.
    fn needed(&mut self, stmts: &[&'a Stmt], values: &[ValueId], done: &mut HashSet<ValueId>) {
        let mut wanted: HashSet<ValueId> = values.iter().copied().collect();
        for stmt in stmts.iter().rev() {
            if let Stmt::Let(value, op) = stmt
                && wanted.contains(value)
                && !done.contains(value)
            {
                wanted.extend(op.operands());
            }
        }
        for stmt in stmts {
            if let Stmt::Let(value, _) = stmt
                && wanted.contains(value)
                && done.insert(*value)
            {
                self.stmt(stmt);
            }
        }
    }
}
