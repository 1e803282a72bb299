//! Whether something is there at every coordinate of a rank where what lies one after the other along it is read.
//!
//! ```text
//! k[n = j] else ref[r = j - |n|]      |j| = |n| + |r|
//! 0 <= j < |n|                        |n| <= j < |n| + |r|      together all of j
//! ```

use std::collections::{BTreeMap, BTreeSet};

use attnc_dsl::ast::CompareOp;

use super::cascade::{Cascade, ExprId, Extent, ParamId, ParamValue, RankId, Role};
use super::expr::{BinaryOp, Expr, UnaryOp, parts};

/// What an integer is a multiple of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    /// The coordinate along a rank.
    Index(RankId),
    /// The extent of a rank, which is not negative.
    Extent(RankId),
}

/// A sum of multiples, of which none is by 0, and a number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Affine {
    multiples: BTreeMap<Symbol, i64>,
    number: i64,
}

/// The coordinates along a rank at which something is present: from the greatest of some numbers to below the least of
/// others.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    rank: RankId,
    from: Vec<Affine>,
    to: Vec<Affine>,
}

/// Extents of extents, and terms of terms, that are followed.
pub(crate) const DEPTH: u32 = 8;
/// Larger numbers are none: sums with them might wrap around.
const LARGEST: u64 = 1 << 40;

impl Affine {
    /// A number that is not so large that a sum with it may wrap around.
    pub(crate) fn number(number: i64) -> Option<Affine> {
        (number.unsigned_abs() <= LARGEST).then(|| Affine { number, ..Affine::default() })
    }

    /// The coordinate along a rank without parts.
    pub(crate) fn index(cascade: &Cascade, rank: RankId) -> Option<Affine> {
        cascade.ranks[rank].parts.is_empty().then(|| Affine::once(Symbol::Index(rank)))
    }

    /// The value of a parameter that is known; others may be so large that sums with them wrap around.
    pub(crate) fn param(cascade: &Cascade, param: ParamId) -> Option<Affine> {
        match cascade.params[param].value {
            ParamValue::Fixed(value) => Affine::expr(cascade, value),
            ParamValue::Launch(_) => None,
        }
    }

    /// The extent of a rank, by those of the ranks that decide it.
    pub(crate) fn extent(cascade: &Cascade, rank: RankId) -> Affine {
        Affine::extent_within(cascade, rank, DEPTH)
    }

    fn extent_within(cascade: &Cascade, rank: RankId, depth: u32) -> Affine {
        let made = match cascade.ranks[rank].extent {
            Extent::Fixed(extent) => Affine::number(extent),
            Extent::Derived(by) if depth > 0 => Affine::expr_within(cascade, by, depth - 1),
            Extent::Carried | Extent::Derived(_) => None,
        };
        made.unwrap_or_else(|| Affine::once(Symbol::Extent(rank)))
    }

    /// The value of an integer expression, if it is of this form.
    fn expr(cascade: &Cascade, id: ExprId) -> Option<Affine> {
        Affine::expr_within(cascade, id, DEPTH)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn expr_within(cascade: &Cascade, id: ExprId, depth: u32) -> Option<Affine> {
        let of = |id: ExprId| Affine::expr_within(cascade, id, depth);
        match *cascade.exprs.get(id) {
            Expr::Int(it) => Affine::number(it),
            Expr::Index(rank) => Affine::index(cascade, rank),
            Expr::Extent(rank) => Some(Affine::extent_within(cascade, rank, depth)),
            Expr::Param(param, _) => Affine::param(cascade, param),
            Expr::Unary(UnaryOp::Neg, a) => of(a)?.times(-1),
            Expr::Binary(op, a, b) => Affine::combined(op, &of(a)?, &of(b)?),
            _ => None,
        }
    }

    fn once(symbol: Symbol) -> Affine {
        Affine { multiples: BTreeMap::from([(symbol, 1)]), number: 0 }
    }

    /// What an operation makes of two of them, if it is one again.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    pub(crate) fn combined(op: BinaryOp, a: &Affine, b: &Affine) -> Option<Affine> {
        match op {
            BinaryOp::Add => a.plus(b),
            BinaryOp::Sub => a.plus(&b.times(-1)?),
            BinaryOp::Mul if b.multiples.is_empty() => a.times(b.number),
            BinaryOp::Mul if a.multiples.is_empty() => b.times(a.number),
            _ => None,
        }
    }

    fn plus(&self, other: &Affine) -> Option<Affine> {
        let mut sum = self.clone();
        sum.number += other.number;
        for (&symbol, &times) in &other.multiples {
            *sum.multiples.entry(symbol).or_insert(0) += times;
        }
        sum.multiples.retain(|_, times| *times != 0);
        sum.small()
    }

    fn times(&self, times: i64) -> Option<Affine> {
        let mut product = Affine { number: self.number.checked_mul(times)?, ..Affine::default() };
        for (&symbol, own) in self.multiples.iter().filter(|_| times != 0) {
            product.multiples.insert(symbol, own.checked_mul(times)?);
        }
        product.small()
    }

    /// Itself, if no number of it is too large.
    fn small(self) -> Option<Affine> {
        let is_small = |it: &i64| it.unsigned_abs() <= LARGEST;
        let all = is_small(&self.number) && self.multiples.values().all(is_small);
        all.then_some(self)
    }

    /// In no call is it more than another one.
    fn is_at_most(&self, other: &Affine) -> bool {
        let Some(more) = self.times(-1).and_then(|it| other.plus(&it)) else { return false };
        more.number >= 0 && more.multiples.values().all(|times| *times > 0)
    }
}

impl Piece {
    /// Where all of these comparisons hold; `None` if they are not bounds of one coordinate.
    pub(crate) fn of(bounds: impl IntoIterator<Item = Bound>) -> Option<Piece> {
        let mut piece: Option<Piece> = None;
        for (op, a, b) in bounds {
            let mut apart = a.plus(&b.times(-1)?)?;
            let along = apart.multiples.iter().find_map(|(symbol, &times)| match symbol {
                Symbol::Index(rank) => Some((*rank, times)),
                Symbol::Extent(_) => None,
            });
            let (rank, times) = along?;
            let piece = piece.get_or_insert_with(|| Piece { rank, from: Vec::new(), to: Vec::new() });
            apart.multiples.remove(&Symbol::Index(rank));
            let others = apart.multiples.keys().any(|it| matches!(it, Symbol::Index(_)));
            if piece.rank != rank || others || times.abs() != 1 {
                return None;
            }
            // `i + c < 0`, or `-i + c < 0`.
            let op = if times < 0 { mirrored(op) } else { op };
            let at = apart.times(-times)?;
            let next = |it: &Affine| it.plus(&Affine { number: 1, ..Affine::default() });
            match op {
                CompareOp::Lt => piece.to.push(at),
                CompareOp::Le => piece.to.push(next(&at)?),
                CompareOp::Ge => piece.from.push(at),
                CompareOp::Gt => piece.from.push(next(&at)?),
                CompareOp::Eq | CompareOp::Ne => return None,
            }
        }
        piece
    }
}

/// The comparison of the same operands the other way round.
fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        CompareOp::Eq | CompareOp::Ne => op,
    }
}

/// Every coordinate of a rank is in one of its pieces.
pub(crate) fn covers(cascade: &Cascade, pieces: &[Piece]) -> bool {
    let ranks: BTreeSet<RankId> = pieces.iter().map(|it| it.rank).collect();
    ranks.into_iter().any(|rank| {
        let extent = Affine::extent(cascade, rank);
        let mut left: Vec<&Piece> = pieces.iter().filter(|it| it.rank == rank).collect();
        // All below are covered.
        let mut end = Affine::default();
        while !extent.is_at_most(&end) {
            let goes_on = |it: &&Piece| it.from.iter().all(|from| from.is_at_most(&end));
            let Some(at) = left.iter().position(goes_on) else { return false };
            let to = &left.remove(at).to;
            // What ends nowhere ends where the rank does.
            let Some(least) = least(to) else {
                if to.is_empty() {
                    return true;
                }
                continue;
            };
            if end.is_at_most(least) {
                end = least.clone();
            }
        }
        true
    })
}

/// The one that is at most as large as each of the others, if that is known.
fn least(of: &[Affine]) -> Option<&Affine> {
    of.iter().find(|it| of.iter().all(|other| it.is_at_most(other)))
}

/// One of the values that stand in for one another is present wherever a value is asked for.
#[allow(clippy::wildcard_enum_match_arm, reason = "asks for one form, whatever others there are")]
pub(crate) fn is_covered(cascade: &Cascade, value: ExprId) -> bool {
    let (mut pieces, mut rest) = (Vec::new(), Some(value));
    while let Some(id) = rest {
        let (first, others) = match *cascade.exprs.get(id) {
            Expr::Else(first, others) => (first, Some(others)),
            _ => (id, None),
        };
        rest = others;
        match bounds(cascade, first) {
            Some(all) if all.is_empty() => return true,
            all => pieces.extend(all.and_then(Piece::of)),
        }
    }
    covers(cascade, &pieces)
}

/// A comparison of two integers.
pub(crate) type Bound = (CompareOp, Affine, Affine);

/// Comparisons that, if they all hold, make a value present; `None` where more than comparisons decides.
fn bounds(cascade: &Cascade, value: ExprId) -> Option<Vec<Bound>> {
    let mut found = Vec::new();
    bound(cascade, value, &mut found)?;
    Some(found)
}

fn bound(cascade: &Cascade, value: ExprId, found: &mut Vec<Bound>) -> Option<()> {
    match cascade.exprs.get(value) {
        Expr::Int(_)
        | Expr::Real(_)
        | Expr::Bool(_)
        | Expr::Extent(_)
        | Expr::Param(..)
        | Expr::Present(_) => Some(()),
        Expr::Index(rank) => cascade.ranks[*rank].parts.is_empty().then_some(()),
        Expr::Read(tensor, coords, _) if cascade.tensors[*tensor].role == Role::Input => {
            for (&coord, dim) in coords.iter().zip(&cascade.tensors[*tensor].dims) {
                bound(cascade, coord, found)?;
                let is_in_place = matches!(*cascade.exprs.get(coord), Expr::Index(own)
                    if cascade.have_same_extent(own, dim.rank));
                if !is_in_place {
                    let at = Affine::expr(cascade, coord)?;
                    found.push((CompareOp::Ge, at.clone(), Affine::default()));
                    found.push((CompareOp::Lt, at, Affine::extent(cascade, dim.rank)));
                }
            }
            Some(())
        }
        Expr::Where(x, condition) => {
            bound(cascade, *x, found)?;
            for part in parts(&cascade.exprs, *condition) {
                let Expr::Compare(op, a, b) = *cascade.exprs.get(part) else { return None };
                found.push((op, Affine::expr(cascade, a)?, Affine::expr(cascade, b)?));
            }
            Some(())
        }
        Expr::Unary(UnaryOp::Ilog2, _)
        | Expr::Read(..)
        | Expr::Binary(
            BinaryOp::And | BinaryOp::Or | BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::Shl | BinaryOp::Shr,
            ..,
        )
        | Expr::If(..)
        | Expr::Else(..)
        | Expr::Pick(..) => None,
        Expr::Unary(_, a) | Expr::Cast(_, a) => bound(cascade, *a, found),
        Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => {
            bound(cascade, *a, found)?;
            bound(cascade, *b, found)
        }
    }
}
