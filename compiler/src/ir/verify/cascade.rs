//! The invariants of a cascade, as its module states them.

use std::collections::HashSet;

use attnc_dsl::ast::{CompareOp, Kind};

use super::{Broken, operands};
use crate::ir::cascade::{
    At, Cascade, Dim, Einsum, ExprId, Extent, Op, ParamValue, RankId, Recurrence, ReduceOp, Role, Step,
    TensorId,
};
use crate::ir::expr::{BinaryOp, Expr};

/// Every invariant holds, or those that do not.
pub fn cascade(cascade: &Cascade) -> Result<(), Broken> {
    let mut broken = Broken::default();
    operands::check(cascade, &mut broken);
    check_names(cascade, &mut broken);
    check_tensors(cascade, &mut broken);
    check_scalars(cascade, &mut broken);
    let mut defined: HashSet<TensorId> = cascade.inputs().collect();
    for step in &cascade.steps {
        match step {
            Step::Einsum(einsum) => {
                check_reads(cascade, einsum, &defined, &mut broken);
                check_einsum(cascade, einsum, &mut broken);
                let name = &cascade.tensors[einsum.tensor].name;
                broken.expect(defined.insert(einsum.tensor), name, "a tensor is defined once");
                let whole = |(at, dim): (&At, &Dim)| *at == At::Rank(dim.rank, 0) && dim.lag == 0;
                let dims = &cascade.tensors[einsum.tensor].dims;
                broken.expect(einsum.at.iter().zip(dims).all(whole), name, "all of a tensor is defined");
            }
            Step::Recurrence(it) => check_recurrence(cascade, it, &mut defined, &mut broken),
        }
    }
    for id in cascade.outputs() {
        broken.expect(defined.contains(&id), &cascade.tensors[id].name, "an output is defined");
    }
    for assume in &cascade.assumes {
        check_free(cascade, assume.condition, &assume.ranks, &assume.text, &mut broken);
        let is_bool = cascade.exprs.kind(assume.condition) == Kind::Bool;
        broken.expect(is_bool, &assume.text, "an assumption is a bool");
    }
    broken.verdict()
}

/// Names are unique.
fn check_names(cascade: &Cascade, broken: &mut Broken) {
    let ranks = cascade.ranks.iter().map(|(_, it)| &it.name);
    let params = cascade.params.iter().map(|(_, it)| &it.name);
    let tensors = cascade.tensors.iter().map(|(_, it)| &it.name);
    let mut seen = HashSet::new();
    for name in ranks.chain(params).chain(tensors) {
        broken.expect(seen.insert(name), name, "a name stands for one thing");
    }
}

/// The ranks of one tensor share no part, and what it stores is of its kind.
fn check_tensors(cascade: &Cascade, broken: &mut Broken) {
    for (_, tensor) in cascade.tensors.iter() {
        let mut seen = HashSet::new();
        let mut atoms = tensor.dims.iter().flat_map(|dim| cascade.atoms(dim.rank));
        broken.expect(atoms.all(|it| seen.insert(it)), &tensor.name, "the ranks of a tensor share no part");
        let fits = tensor.dtype.is_none_or(|dtype| dtype.kind() == tensor.kind);
        broken.expect(fits, &tensor.name, "a tensor stores values of its kind");
        let declared = tensor.role != Role::Input || tensor.dtype.is_some();
        broken.expect(declared, &tensor.name, "an input has a dtype");
    }
}

/// Extents, parameters and checks depend on no coordinate and on no tensor.
fn check_scalars(cascade: &Cascade, broken: &mut Broken) {
    let mut scalars: Vec<(ExprId, &str, Option<Kind>)> = Vec::new();
    for (_, rank) in cascade.ranks.iter() {
        if let Extent::Derived(value) = rank.extent {
            scalars.push((value, &rank.name, Some(Kind::Int)));
        }
    }
    for (_, param) in cascade.params.iter() {
        match param.value {
            ParamValue::Fixed(value) | ParamValue::Launch(Some(value)) => {
                scalars.push((value, &param.name, None));
            }
            ParamValue::Launch(None) => {}
        }
    }
    for check in &cascade.checks {
        scalars.push((check.condition, &cascade.ranks[check.rank].name, Some(Kind::Bool)));
    }
    for (value, name, kind) in scalars {
        let fits = kind.is_none_or(|kind| cascade.exprs.kind(value) == kind);
        broken.expect(fits, name, "an extent is an integer and a check a bool");
        let order = cascade.exprs.postorder(value);
        let reads = order.iter().any(|&id| matches!(cascade.exprs.get(id), Expr::Read(..)));
        let scalar = cascade.exprs.free(value).is_empty() && !reads;
        broken.expect(scalar, name, "what is known before a call runs has no coordinates and no tensors");
    }
}

/// What an expression reads is defined.
fn check_reads(cascade: &Cascade, einsum: &Einsum, defined: &HashSet<TensorId>, broken: &mut Broken) {
    let name = &cascade.tensors[einsum.tensor].name;
    for (read, _) in cascade.exprs.reads(einsum.value) {
        let text = format!("`{}` is defined before it is read", cascade.tensors[read].name);
        broken.expect(defined.contains(&read), name, &text);
    }
}

/// The left fits the tensor, and the value mentions only ranks that are walked.
fn check_einsum(cascade: &Cascade, einsum: &Einsum, broken: &mut Broken) {
    let tensor = &cascade.tensors[einsum.tensor];
    let (name, left) = (&tensor.name, einsum.iterated());
    broken.expect(einsum.at.len() == tensor.dims.len(), name, "there is a coordinate for each dimension");
    let fits = einsum.at.iter().zip(&tensor.dims).all(|(at, dim)| match at {
        At::Rank(rank, _) => *rank == dim.rank,
        At::Const(coord) => (0..dim.lag).contains(coord),
    });
    broken.expect(fits, name, "a coordinate on the left is one of its dimension");
    let kind = cascade.exprs.kind(einsum.value);
    broken.expect(einsum.op.kind(kind) == tensor.kind, name, "the result has the kind of the tensor");
    let takes_bools = match &einsum.op {
        Op::Map => kind == Kind::Bool,
        Op::Reduce(op, _) => matches!(op, ReduceOp::Any | ReduceOp::All | ReduceOp::Count),
        Op::Scan(..) | Op::Select(..) | Op::Place(_) | Op::Arg(..) => false,
    };
    broken.expect((kind == Kind::Bool) == takes_bools, name, "the operation takes values of that kind");
    let atoms = |ranks: &[RankId]| ranks.iter().flat_map(|&it| cascade.atoms(it)).collect::<Vec<_>>();
    let (on_left, reduced) = (atoms(&left), einsum.op.reduced());
    let apart = atoms(reduced).iter().all(|it| !on_left.contains(it));
    broken.expect(apart, name, "a rank that is reduced is not on the left");
    let mut walked = left.clone();
    walked.extend_from_slice(reduced);
    match &einsum.op {
        Op::Scan(_, along) | Op::Place(along) => {
            broken.expect(left.contains(along), name, "the left has the rank that is scanned");
        }
        Op::Select(_, _, to) => {
            broken.expect(left.contains(to), name, "the left has the rank of what is selected");
            walked.retain(|it| it != to);
        }
        Op::Map | Op::Reduce(..) | Op::Arg(..) => {}
    }
    check_free(cascade, einsum.value, &walked, name, broken);
}

fn check_free(cascade: &Cascade, value: ExprId, walked: &[RankId], at: &str, broken: &mut Broken) {
    for &free in cascade.exprs.free(value) {
        let bound = walked.iter().any(|&it| cascade.atoms(it).contains(&free));
        let text = format!("rank `{}` is walked where it is mentioned", cascade.ranks[free].name);
        broken.expect(bound, at, &text);
    }
}

/// Bases cover the lags and read nothing of their group; the body reads only what is already there.
fn check_recurrence(
    cascade: &Cascade,
    it: &Recurrence,
    defined: &mut HashSet<TensorId>,
    broken: &mut Broken,
) {
    let rank = &cascade.ranks[it.rank].name;
    for base in &it.bases {
        check_reads(cascade, base, defined, broken);
        check_einsum(cascade, base, broken);
    }
    let members: Vec<TensorId> = it.body.iter().map(|einsum| einsum.tensor).collect();
    for (place, einsum) in it.body.iter().enumerate() {
        let tensor = &cascade.tensors[einsum.tensor];
        check_einsum(cascade, einsum, broken);
        let fresh = !defined.contains(&einsum.tensor) && !members[..place].contains(&einsum.tensor);
        broken.expect(fresh, &tensor.name, "a tensor is defined once");
        let at = |dim: &Dim| At::Rank(dim.rank, if dim.rank == it.rank { dim.lag } else { 0 });
        let fits = tensor.dims.iter().map(at).eq(einsum.at.iter().copied());
        broken.expect(fits, &tensor.name, "a step writes behind its bases");
        let has_rank = tensor.dims.iter().any(|dim| dim.rank == it.rank);
        broken.expect(has_rank, &tensor.name, &format!("a member of a recurrence has its rank `{rank}`"));
        let lag: i64 = tensor.dims.iter().map(|dim| dim.lag).sum();
        let bases = it.bases.iter().filter(|base| base.tensor == einsum.tensor).count();
        broken.expect(bases as i64 == lag, &tensor.name, "there is a base for each coordinate in front");
        for (read, coords) in cascade.exprs.reads(einsum.value) {
            let is_there = match members.iter().position(|&it| it == read) {
                Some(member) => {
                    is_written(cascade, it.rank, (read, coords), member < place)
                        || is_earlier(cascade, it.rank, einsum, (read, coords))
                }
                None => defined.contains(&read),
            };
            let text = format!("`{}` is written before it is read", cascade.tensors[read].name);
            broken.expect(is_there, &tensor.name, &text);
        }
    }
    defined.extend(members);
}

/// A member is read at `index + constant`, no later than the coordinate that it wrote last.
fn is_written(cascade: &Cascade, rank: RankId, (read, coords): (TensorId, &[ExprId]), earlier: bool) -> bool {
    let dims = &cascade.tensors[read].dims;
    dims.iter().zip(coords).any(|(dim, &coord)| {
        let distance = if dim.rank == rank { shift_of(cascade, rank, coord) } else { None };
        distance.is_some_and(|shift| shift < dim.lag || shift == dim.lag && earlier)
    })
}

/// A member is read at all of its earlier coordinates: at the index of a rank that is reduced where it is less.
fn is_earlier(
    cascade: &Cascade,
    rank: RankId,
    einsum: &Einsum,
    (read, coords): (TensorId, &[ExprId]),
) -> bool {
    let exprs = &cascade.exprs;
    let &Expr::Where(_, condition) = exprs.get(einsum.value) else { return false };
    let &Expr::Compare(CompareOp::Lt, a, b) = exprs.get(condition) else { return false };
    let bounded = *exprs.get(b) == Expr::Index(rank)
        && einsum.op.reduced().iter().any(|&it| *exprs.get(a) == Expr::Index(it));
    let dims = &cascade.tensors[read].dims;
    bounded && dims.iter().zip(coords).any(|(dim, &coord)| dim.rank == rank && coord == a)
}

/// `c` of `index + c`.
fn shift_of(cascade: &Cascade, rank: RankId, coord: ExprId) -> Option<i64> {
    let exprs = &cascade.exprs;
    let Expr::Binary(op, a, b) = exprs.get(coord) else {
        return (*exprs.get(coord) == Expr::Index(rank)).then_some(0);
    };
    match (op, exprs.get(*a), exprs.get(*b)) {
        (BinaryOp::Add, a, Expr::Int(shift)) | (BinaryOp::Add, Expr::Int(shift), a)
            if *a == Expr::Index(rank) =>
        {
            Some(*shift)
        }
        (BinaryOp::Sub, a, Expr::Int(shift)) if *a == Expr::Index(rank) => Some(-shift),
        _ => None,
    }
}
