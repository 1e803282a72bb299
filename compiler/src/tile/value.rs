//! Expressions to operations: absence becomes explicit, and each real gets its scalar.

use attnc_dsl::ast::{CompareOp, DType, Kind};

use super::Tiling;
use super::builder::Known;
use crate::ir::cascade::{ExprId, Extent, RankId, TensorId};
use crate::ir::cover::is_covered;
use crate::ir::expr::{BinaryOp, Expr, UnaryOp, operands};
use crate::ir::nest::{Op, Scalar, ValueId};
use crate::schedule::range::of_coordinate;

impl Tiling<'_> {
    /// An expression at the indices that are bound, in its own scalar.
    pub(super) fn value(&mut self, expr: ExprId) -> Known {
        // Operands first, so that deep expressions do not recurse.
        let mut todo = vec![expr];
        while let Some(&id) = todo.last() {
            if self.builder.recall(id).is_some() {
                todo.pop();
                continue;
            }
            let open: Vec<ExprId> = operands(self.cascade.exprs.get(id))
                .into_iter()
                .filter(|&it| self.builder.recall(it).is_none())
                .collect();
            if open.is_empty() {
                let known = self.operation(id);
                self.builder.remember(id, known);
                todo.pop();
            } else {
                todo.extend(open);
            }
        }
        self.known(expr)
    }

    /// An expression that is computed already.
    fn known(&self, expr: ExprId) -> Known {
        self.builder.recall(expr).expect("operands are computed first")
    }

    /// An operand in the scalar of the operation.
    fn operand(&mut self, expr: ExprId, scalar: Scalar) -> Known {
        let Known { value, present } = self.known(expr);
        Known { value: self.builder.convert(value, scalar), present }
    }

    fn always(value: ValueId) -> Known {
        Known { value, present: None }
    }

    fn operation(&mut self, id: ExprId) -> Known {
        let cascade = self.cascade;
        let scalar = self.widths.scalar(cascade, id);
        match cascade.exprs.get(id) {
            Expr::Int(value) => Self::always(self.builder.int(*value)),
            Expr::Real(bits) => Self::always(self.builder.real(f64::from_bits(*bits), scalar)),
            Expr::Bool(value) => Self::always(self.builder.bool(*value)),
            Expr::Extent(rank) => Self::always(self.extent(*rank)),
            Expr::Index(rank) => self.index(*rank),
            Expr::Param(param, kind) => {
                let held = if *kind == Kind::Real { Scalar::F64 } else { Scalar::I64 };
                let word = self.param_words[param];
                // A default may depend on a parameter that was filled in just before.
                let value = if self.in_defaults {
                    self.builder.word_here(word, held)
                } else {
                    self.builder.word(word, held)
                };
                Self::always(self.builder.convert(value, scalar))
            }
            Expr::Read(tensor, coords, _) => self.read(*tensor, coords),
            Expr::Unary(_, a) if self.powers.contains(&id) => {
                let Known { value, present } = self.known(*a);
                Known { value: self.builder.power(value), present }
            }
            Expr::Unary(op, a) => self.unary(*op, *a, scalar),
            Expr::Binary(op, a, b) => self.binary(*op, *a, *b, scalar),
            Expr::Compare(..) if self.is_holding(id) => Self::always(self.builder.bool(true)),
            Expr::Compare(op, a, b) => self.compare(*op, *a, *b),
            Expr::If(c, a, b) => {
                let (c, a, b) = (self.known(*c), self.operand(*a, scalar), self.operand(*b, scalar));
                let value = self.builder.select(c.value, a.value, b.value);
                let chosen = self.chosen(c.value, a.present, b.present);
                Known { value, present: self.builder.both(c.present, chosen) }
            }
            Expr::Where(x, c) if self.is_holding(*c) => self.operand(*x, scalar),
            Expr::Where(x, c) => {
                let (x, c) = (self.operand(*x, scalar), self.known(*c));
                let holds = self.builder.both(c.present, Some(c.value));
                Known { value: x.value, present: self.builder.both(x.present, holds) }
            }
            Expr::Else(x, y) => {
                let (x, y) = (self.operand(*x, scalar), self.operand(*y, scalar));
                let Some(there) = x.present else { return x };
                if y.present.is_none() && self.is_nothing(y.value) && self.is_nothing_unless(x.value, there) {
                    return Self::always(x.value);
                }
                let value = self.builder.select(there, x.value, y.value);
                let otherwise = y.present.filter(|_| !is_covered(cascade, id));
                Known { value, present: otherwise.map(|it| self.builder.or(there, it)) }
            }
            Expr::Present(x) => {
                let present = self.known(*x).present;
                Self::always(present.unwrap_or_else(|| self.builder.bool(true)))
            }
            Expr::Pick(i, values) => self.pick(*i, values, scalar),
            Expr::Cast(dtype, x) => {
                let Known { value, present } = self.known(*x);
                Known { value: self.cast(*dtype, value, scalar), present }
            }
        }
    }

    /// What a block loads is 0 where its guard does not hold, and a factor as it is.
    fn is_nothing_unless(&self, value: ValueId, there: ValueId) -> bool {
        let Some(&Op::Load { guard: Some(mut guard), .. }) = self.builder.definition(value) else {
            return false;
        };
        while let Some(&Op::Binary(BinaryOp::And, before, _)) = self.builder.definition(guard) {
            if guard == there {
                break;
            }
            guard = before;
        }
        self.team.is_some() && guard == there
    }

    fn is_nothing(&self, value: ValueId) -> bool {
        matches!(self.builder.definition(value), Some(Op::Real(zero)) if *zero == 0.0)
    }

    /// Where the chosen of two branches is present.
    fn chosen(&mut self, c: ValueId, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
        if a.is_none() && b.is_none() {
            return None;
        }
        let yes = self.builder.bool(true);
        Some(self.builder.select(c, a.unwrap_or(yes), b.unwrap_or(yes)))
    }

    /// The coordinate along a rank; that of a composite that is not iterated over as a whole is made of its parts.
    pub(super) fn index(&mut self, rank: RankId) -> Known {
        if let Some(&value) = self.builder.indices.get(&rank) {
            return Self::always(value);
        }
        let parts = &self.cascade.ranks[rank].parts;
        assert!(!parts.is_empty(), "rank `{}` is iterated over", self.cascade.ranks[rank].name);
        let mut index = self.index(parts[0]);
        for &part in &parts[1..] {
            let (extent, digit) = (self.extent(part), self.index(part));
            let major = self.builder.binary(BinaryOp::Mul, index.value, extent);
            index.value = self.builder.binary(BinaryOp::Add, major, digit.value);
            index.present = self.builder.both(index.present, digit.present);
        }
        let extent = self.extent(rank);
        let exists = self.builder.compare(CompareOp::Lt, index.value, extent);
        Known { value: index.value, present: self.builder.both(index.present, Some(exists)) }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn unary(&mut self, op: UnaryOp, a: ExprId, scalar: Scalar) -> Known {
        let Known { value: a, present } = self.known(a);
        match op {
            UnaryOp::ToReal => Known { value: self.builder.convert(a, scalar), present },
            UnaryOp::Ilog2 => {
                let zero = self.builder.int(0);
                let positive = self.builder.compare(CompareOp::Gt, a, zero);
                let value = self.builder.unary(op, a);
                Known { value, present: self.builder.both(present, Some(positive)) }
            }
            _ => Known { value: self.builder.unary(op, a), present },
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn binary(&mut self, op: BinaryOp, a: ExprId, b: ExprId, scalar: Scalar) -> Known {
        if op == BinaryOp::Div && scalar == Scalar::F32 && self.has_good_inverse(b) {
            return self.times_inverse(a, b);
        }
        let right = b;
        let (a, b) = (self.operand(a, scalar), self.operand(b, scalar));
        match op {
            BinaryOp::And => return self.decided(a, b, false),
            BinaryOp::Or => return self.decided(a, b, true),
            _ => {}
        }
        let is_square =
            op == BinaryOp::Pow && *self.cascade.exprs.get(right) == Expr::Real(2.0_f64.to_bits());
        let value = match is_square {
            true => self.builder.binary(BinaryOp::Mul, a.value, a.value),
            false => self.builder.binary(op, a.value, b.value),
        };
        let present = self.builder.both(a.present, b.present);
        let defined = match op {
            BinaryOp::FloorDiv | BinaryOp::Mod => self.nonzero(right, b.value),
            BinaryOp::Shl | BinaryOp::Shr => self.shift_count(right, b.value),
            _ => None,
        };
        Known { value, present: self.builder.both(present, defined) }
    }

    /// A number by which a product with the inverse divides as well as a division does, at a fraction of the time: it is
    /// the same everywhere, and either no number that quotients are exact for or a power of two.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn has_good_inverse(&self, divisor: ExprId) -> bool {
        let exprs = &self.cascade.exprs;
        if self.widths.scalar(self.cascade, divisor) != Scalar::F64 || !exprs.free(divisor).is_empty() {
            return false;
        }
        match *exprs.get(divisor) {
            Expr::Real(bits) => {
                let x = f64::from_bits(bits).abs();
                let is_rounded = f64::from(x as f32) != x;
                let is_power = x.to_bits().trailing_zeros() >= 52;
                (1e-30..1e30).contains(&x) && (is_rounded || is_power)
            }
            Expr::Unary(UnaryOp::Sqrt, of) => {
                let of_extents =
                    |id: ExprId| !matches!(exprs.get(id), Expr::Read(..) | Expr::Param(..) | Expr::Real(_));
                exprs.postorder(of).into_iter().all(of_extents)
            }
            _ => false,
        }
    }

    /// A quotient as a product with the inverse, which is rounded once.
    fn times_inverse(&mut self, a: ExprId, b: ExprId) -> Known {
        let (a, b) = (self.operand(a, Scalar::F32), self.operand(b, Scalar::F64));
        let one = self.builder.real(1.0, Scalar::F64);
        let inverse = self.builder.binary(BinaryOp::Div, one, b.value);
        let inverse = self.builder.convert(inverse, Scalar::F32);
        let value = self.builder.binary(BinaryOp::Mul, a.value, inverse);
        Known { value, present: self.builder.both(a.present, b.present) }
    }

    /// `and` and `or`: one present operand of that value decides.
    fn decided(&mut self, a: Known, b: Known, decider: bool) -> Known {
        let op = if decider { BinaryOp::Or } else { BinaryOp::And };
        if a.present.is_none() && b.present.is_none() {
            return Self::always(self.builder.binary(op, a.value, b.value));
        }
        // An absent operand counts as the neutral value, and the result is there if both are or one decides.
        let (neutral, yes) = (self.builder.bool(!decider), self.builder.bool(true));
        let mut sides = [a, b].map(|it| {
            let value = it.present.map_or(it.value, |there| self.builder.select(there, it.value, neutral));
            let decides = if decider { value } else { self.builder.not(value) };
            (value, decides, it.present.unwrap_or(yes))
        });
        let [(x, x_decides, x_there), (y, y_decides, y_there)] = &mut sides;
        let value = self.builder.binary(op, *x, *y);
        let (both, either) = (self.builder.and(*x_there, *y_there), self.builder.or(*x_decides, *y_decides));
        Known { value, present: Some(self.builder.or(both, either)) }
    }

    /// Where a divisor is not 0; `None` is everywhere.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn nonzero(&mut self, divisor: ExprId, value: ValueId) -> Option<ValueId> {
        match self.cascade.exprs.get(divisor) {
            Expr::Int(it) if *it != 0 => None,
            // An index along a rank exists, so its extent is not 0.
            Expr::Extent(rank) if self.builder.indices.contains_key(rank) => None,
            _ => {
                let zero = self.builder.int(0);
                Some(self.builder.compare(CompareOp::Ne, value, zero))
            }
        }
    }

    /// Where a shift count is in 0 … 63; `None` is everywhere.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn shift_count(&mut self, count: ExprId, value: ValueId) -> Option<ValueId> {
        let (low, high) = of_coordinate(self.cascade, count);
        if low >= 0.0 && high <= 63.0 {
            return None;
        }
        let mask = self.builder.int(63);
        let masked = self.builder.binary(BinaryOp::BitAnd, value, mask);
        Some(self.builder.compare(CompareOp::Eq, masked, value))
    }

    fn compare(&mut self, op: CompareOp, a: ExprId, b: ExprId) -> Known {
        let scalar = self.widths.joined(self.cascade, a, b);
        let (a, b) = (self.operand(a, scalar), self.operand(b, scalar));
        let value = self.builder.compare(op, a.value, b.value);
        Known { value, present: self.builder.both(a.present, b.present) }
    }

    fn pick(&mut self, i: ExprId, values: &[ExprId], scalar: Scalar) -> Known {
        let i = self.known(i);
        let mut result: Option<(ValueId, ValueId)> = None;
        for (at, &value) in (0i64..).zip(values) {
            let (at, it) = (self.builder.int(at), self.operand(value, scalar));
            let here = self.builder.compare(CompareOp::Eq, i.value, at);
            let there = it.present.map_or(here, |present| self.builder.and(here, present));
            result = Some(match result {
                None => (it.value, there),
                Some((before, found)) => {
                    (self.builder.select(here, it.value, before), self.builder.or(found, there))
                }
            });
        }
        let (value, found) = result.expect("`pick` has values");
        Known { value, present: self.builder.both(i.present, Some(found)) }
    }

    /// The value as a dtype stores it, in that scalar.
    pub(super) fn cast(&mut self, dtype: DType, value: ValueId, scalar: Scalar) -> ValueId {
        let b = &mut self.builder;
        match dtype {
            DType::F64 | DType::F32 | DType::I64 | DType::Bool => b.convert(value, scalar),
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                // Rounded before it is narrowed, so that it is rounded once.
                let real = if matches!(b.scalar(value), Scalar::F64 | Scalar::F32) {
                    value
                } else {
                    b.convert(value, Scalar::F64)
                };
                let rounded = b.round(dtype, real);
                b.convert(rounded, scalar)
            }
            DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::I4 => b.whole(dtype, value),
        }
    }

    /// A point of a tensor, absent outside.
    fn read(&mut self, tensor: TensorId, coords: &[ExprId]) -> Known {
        if self.is_tile(tensor) {
            return self.read_tile_at(tensor, coords);
        }
        let dims = self.cascade.tensors[tensor].dims.clone();
        let buffer = self.buffer(tensor);
        let extents = self.builder.nest.buffers[buffer].extents.clone();
        let mut guard = None;
        let mut index = Vec::new();
        for ((&coord, dim), extent) in coords.iter().zip(&dims).zip(extents) {
            let Known { value, present } = self.known(coord);
            guard = self.builder.both(guard, present);
            guard = self.guarded(guard, coord, (dim.rank, dim.lag), value, extent);
            index.push(value);
        }
        self.load(tensor, index, guard)
    }

    /// The elements of a tensor at some coordinates, absent where the guard does not hold.
    pub(super) fn load(&mut self, tensor: TensorId, index: Vec<ValueId>, guard: Option<ValueId>) -> Known {
        let buffer = self.buffer(tensor);
        let contiguous = self.is_contiguous(buffer, &index);
        let within = self.within_tile(&index, guard);
        let value = self.builder.load(buffer, index.clone(), within, contiguous);
        let Some(mask) = self.stored[&tensor].mask else { return Known { value, present: guard } };
        if self.takes_zeros && self.zeroed.contains(&tensor) && guard.is_none() {
            return Known { value, present: None };
        }
        let contiguous = self.is_contiguous(mask, &index);
        // Where the guard is false the mask reads as false, too.
        let there = self.builder.load(mask, index, within, contiguous);
        Known { value, present: Some(there) }
    }

    /// A guard of an access that leaves out what a tile has beyond the box. Values there are of no consequence, so they
    /// do not count as absent.
    pub(super) fn within_tile(&mut self, index: &[ValueId], guard: Option<ValueId>) -> Option<ValueId> {
        let mut within = guard;
        let shared = self.team.iter().flat_map(|it| it.lanes.clone());
        for lane in shared.chain(self.rows).chain(self.lane).collect::<Vec<_>>() {
            let mut all = index.iter().chain(&guard);
            if all.any(|it| self.builder.nest.values[*it].shape.contains(&lane.dim)) {
                within = self.builder.both(within, lane.mask);
            }
        }
        within
    }

    /// A guard that also holds only where a coordinate lies within its dimension.
    pub(super) fn guarded(
        &mut self,
        guard: Option<ValueId>,
        coord: ExprId,
        (rank, lag): (RankId, i64),
        value: ValueId,
        extent: ValueId,
    ) -> Option<ValueId> {
        if self.is_inside(coord, rank, lag) {
            return guard;
        }
        let zero = self.builder.int(0);
        let above = self.builder.compare(CompareOp::Le, zero, value);
        let below = self.builder.compare(CompareOp::Lt, value, extent);
        let inside = self.builder.and(above, below);
        self.builder.both(guard, Some(inside))
    }

    /// A coordinate is an index along the dimension's own rank (or one of the same extent), perhaps
    /// shifted within what a recurrence adds, or it lies between numbers that are known.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn is_inside(&mut self, coord: ExprId, rank: RankId, lag: i64) -> bool {
        let exprs = &self.cascade.exprs;
        if let Extent::Fixed(extent) = self.cascade.ranks[rank].extent {
            let (low, high) = of_coordinate(self.cascade, coord);
            if low >= 0.0 && high < extent.saturating_add(lag) as f64 {
                return true;
            }
        }
        let (index, shift) = match exprs.get(coord) {
            Expr::Binary(BinaryOp::Add, a, b) => match (exprs.get(*a), exprs.get(*b)) {
                (index, Expr::Int(shift)) | (Expr::Int(shift), index) => (index, *shift),
                _ => return false,
            },
            index => (index, 0),
        };
        let &Expr::Index(along) = index else { return false };
        if !self.builder.indices.contains_key(&along) || !(0..=lag).contains(&shift) {
            return false;
        }
        if self.may_reach_beyond(along) {
            return false;
        }
        self.cascade.have_same_extent(along, rank) || self.extent(along) == self.extent(rank)
    }
}
