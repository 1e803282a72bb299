//! Tiles that are made of what is just being computed: a contraction or a map, and the maps of its points, go through one
//! loop, so that values are worked on while they are in registers, and are stored only if something reads them later.
//!
//! ```text
//! for m in 6, n in 64                        for m in 6, n in 64
//!   S~[m, n] = sum[d](Q * K~)                  s = sum[d](Q * K~)
//! for m, n in 64                       ->      P~[m, n] = exp(s - c~[m])
//!   P~[m, n] = exp(S~ - c~[m])
//! ```

use std::collections::BTreeSet;

use super::Tiling;
use super::bounds::einsum;
use super::builder::Known;
use super::loops::Lane;
use crate::ir::cascade::{Einsum, ExprId, Op, RankId, TensorId};
use crate::ir::expr::{Expr, operands};
use crate::ir::nest::Scalar;
use crate::schedule::Act;

impl Tiling<'_> {
    /// Does the first of some acts together with those that go on with what it gives; says how many that were, if any.
    /// Others may read later what they define.
    pub(super) fn chained(&mut self, acts: &[Act], later: &[Act]) -> usize {
        let Some((Act::Define(first), others)) = acts.split_first() else { return 0 };
        let goes_on = |at: &usize| {
            let before = acts[..=*at].iter().filter_map(einsum);
            matches!(&others[*at], Act::Define(it) if self.goes_on(first, it) && self.comes_after(before, it))
        };
        let number = (0..others.len()).take_while(goes_on).count();
        let (with, behind) = others.split_at(number);
        let with: Vec<&Einsum> = with.iter().filter_map(einsum).collect();
        if with.is_empty() {
            return 0;
        }
        let Some(lane) = self.lane_of_chain(first, &with) else { return 0 };
        let is_read = |act: &Act| einsum(act).is_none_or(|it| self.asks_for(it.value, first.tensor));
        let is_read_later = self.read_later.contains(&first.tensor);
        let stores = is_read_later || behind.iter().chain(later).any(is_read) || !self.is_own(first.tensor);
        let floor = self.pin_tiles();
        self.chain(first, &with, (lane, stores));
        self.builder.unpin(floor);
        1 + number
    }

    /// A map at the points of a reduction that reads its result nowhere else than in place.
    fn goes_on(&self, first: &Einsum, it: &Einsum) -> bool {
        let exprs = &self.cascade.exprs;
        let ranks = |it: &Einsum| self.open_ranks(it).into_iter().collect::<BTreeSet<RankId>>();
        let goes_on = match first.op {
            Op::Reduce(..) => {
                let reads = |it: &Einsum| exprs.reads(it.value).any(|(tensor, _)| tensor == first.tensor);
                self.is_tile(first.tensor) && reads(it)
            }
            Op::Map => true,
            Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
        };
        goes_on && it.op == Op::Map && ranks(first) == ranks(it)
    }

    /// Point by point a map finds what acts before it leave, and they find nothing of it.
    fn comes_after<'e>(&self, mut before: impl Iterator<Item = &'e Einsum>, it: &Einsum) -> bool {
        let reads =
            |it: &Einsum, tensor: TensorId| self.cascade.exprs.reads(it.value).any(|all| all.0 == tensor);
        before.all(|other| {
            let is_apart = other.tensor != it.tensor && !reads(other, it.tensor);
            is_apart && self.reads_in_place(it, other.tensor)
        })
    }

    /// A tensor is read nowhere else than at the point at hand, if at all.
    pub(super) fn reads_in_place(&self, it: &Einsum, tensor: TensorId) -> bool {
        let exprs = &self.cascade.exprs;
        let dims = &self.cascade.tensors[tensor].dims;
        exprs.reads(it.value).all(|(read, coords)| {
            let mut both = coords.iter().zip(dims);
            read != tensor || both.all(|(it, dim)| *exprs.get(*it) == Expr::Index(dim.rank))
        })
    }

    /// The lane that all of a chain go along.
    fn lane_of_chain(&mut self, first: &Einsum, with: &[&Einsum]) -> Option<Lane> {
        let open = self.open_ranks(first);
        let mut lane = self.lane(first, &open).filter(|it| !first.op.reduced().contains(&it.rank))?;
        for it in with {
            let other = self.lane(it, &open).filter(|it| it.rank == lane.rank)?;
            lane.unit_strides = self.builder.both(lane.unit_strides, other.unit_strides);
            if let Some(rows) = &mut lane.rows {
                rows.padded &= self.is_tile(it.tensor);
            }
        }
        Some(lane)
    }

    /// An act and the maps of its points.
    fn chain(&mut self, first: &Einsum, with: &[&Einsum], (lane, stores): (Lane, bool)) {
        let open = self.open_ranks(first);
        self.for_each(&open, Some(lane), &mut |it| {
            let known = match &first.op {
                Op::Reduce(op, over) => it.reduction(*op, over, first.value, None),
                Op::Map | Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => it.value(first.value),
            };
            it.hand_on(first, known, with);
            if stores {
                it.store(first.tensor, &first.at, known);
            }
            for (at, map) in with.iter().enumerate() {
                let known = it.value(map.value);
                it.hand_on(map, known, &with[at + 1..]);
                it.store(map.tensor, &map.at, known);
            }
        });
    }

    /// Those that follow find what an act gives as if it had been stored and read.
    fn hand_on(&mut self, from: &Einsum, known: Known, to: &[&Einsum]) {
        let exprs = &self.cascade.exprs;
        let is_of_it = |id: &ExprId| matches!(exprs.get(*id), Expr::Read(it, ..) if *it == from.tensor);
        let reads: BTreeSet<ExprId> =
            to.iter().flat_map(|it| exprs.postorder(it.value)).filter(is_of_it).collect();
        if reads.is_empty() {
            return;
        }
        // What it was made of may have been what it was before.
        self.builder.forget_those(|id| exprs.reads(id).any(|(it, _)| it == from.tensor));
        let dtype = self.widths.stored(self.cascade, from.tensor);
        let value = self.cast(dtype, known.value, Scalar::of(dtype));
        for read in reads {
            self.builder.remember(read, Known { value, ..known });
        }
    }

    /// What a value comes to, as the conditions that hold are known to, depends on a tensor.
    #[allow(clippy::wildcard_enum_match_arm, reason = "asks for some forms, whatever others there are")]
    fn asks_for(&self, value: ExprId, tensor: TensorId) -> bool {
        let exprs = &self.cascade.exprs;
        let mut todo = vec![value];
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            match *exprs.get(id) {
                Expr::Compare(..) if self.is_holding(id) => {}
                Expr::Where(x, condition) if self.is_holding(condition) => todo.push(x),
                ref it => {
                    if matches!(it, Expr::Read(read, ..) if *read == tensor) {
                        return true;
                    }
                    todo.extend(operands(it).into_iter().filter(|it| seen.insert(*it)));
                }
            }
        }
        false
    }

    /// Only the acts at hand mention the tensor.
    fn is_own(&self, tensor: TensorId) -> bool {
        self.region.strip.is_own(tensor)
    }
}
