//! Tensors that need each other to groups in the order of computation.
//!
//! `H[t+1] = f(H[t], u)` and `u[t] = g(H[t])` form one recurrence along `t`: in step `t`, first u, then H.

use crate::ast::{Expr, ExprKind};
use crate::check::Cx;
use crate::check::atoms::{Atoms, RankId};
use crate::check::equations::shifted;
use crate::check::graph::components;
use crate::check::names::What;
use crate::check::walk::{bound_ranks, children, read_name, walk};
use crate::diag::{Code, Diagnostic, Span};

/// Tensors that are computed together.
pub(super) struct Group {
    /// The rank along which they are computed step by step.
    pub(super) rank: Option<RankId>,
    /// The tensors, in the order of one step.
    pub(super) members: Vec<usize>,
}

const CYCLE_HELP: &str =
    "a recurrence defines a rank step by step from earlier ones: `H[0] = …`, `H[t+1] = … H[t] …`";

/// How many members of a cycle an error points at.
const MAX_SHOWN: usize = 8;

impl<'a> Cx<'a, '_> {
    /// Orders the tensors, checks every recurrence, and finds the kinds on the way.
    pub(super) fn infer_tensors(&mut self) -> Vec<Group> {
        let needs: Vec<Vec<usize>> = (0..self.tensors.len()).map(|it| self.needs(it)).collect();
        let mut groups = Vec::new();
        for members in components(&needs) {
            if self.tensors[members[0]].input {
                continue;
            }
            let cyclic = members.len() > 1 || needs[members[0]].contains(&members[0]);
            if cyclic {
                let known = members.iter().all(|it| self.tensors[*it].dims.is_some());
                let group = if known { self.recurrence(&members) } else { None };
                self.infer_group(group.as_ref().map_or(&members, |it| &it.members), &needs);
                groups.extend(group);
            } else {
                let lagged = self.tensors[members[0]].dims.iter().flatten().find(|it| it.lag > 0);
                let rank = lagged.map(|it| it.rank);
                self.infer_tensor_equations(members[0]);
                groups.push(Group { rank, members });
            }
        }
        groups
    }

    fn needs(&self, place: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for at in &self.tensors[place].equations {
            walk(&self.equations[*at].ast.value, &mut |e| found.extend(self.tensor_read(e)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn tensor_read(&self, e: &Expr) -> Option<usize> {
        match self.names.get(read_name(e)?)?.what {
            What::Defined(place) => Some(place),
            What::Rank(_) | What::Input(_) | What::Param(_) => None,
        }
    }

    /// Finds the rank along which a cyclic group can be computed, and the order in one step.
    fn recurrence(&mut self, members: &[usize]) -> Option<Group> {
        if !self.check_bases(members) {
            return None;
        }
        let mut wrong: Option<Diagnostic> = None;
        for rank in self.common_ranks(members) {
            match self.steps(members, rank) {
                Ok(members) => return Some(Group { rank: Some(rank), members }),
                Err(error) => {
                    let better = wrong.as_ref().is_none_or(|it| weight(error.code) > weight(it.code));
                    wrong = if better { Some(error) } else { wrong };
                }
            }
        }
        let error = wrong.unwrap_or_else(|| self.cycle(members));
        self.report.push(error);
        None
    }

    /// The ranks that all members have, those they are shifted along first.
    fn common_ranks(&self, members: &[usize]) -> Vec<RankId> {
        let dims = |place: usize| self.tensors[place].dims.iter().flatten();
        let mut found: Vec<RankId> = dims(members[0]).map(|it| it.rank).collect();
        found.retain(|rank| members.iter().all(|it| dims(*it).any(|dim| dim.rank == *rank)));
        found.sort_by_key(|rank| {
            !members.iter().any(|it| dims(*it).any(|dim| dim.rank == *rank && dim.lag > 0))
        });
        found
    }

    fn check_bases(&mut self, members: &[usize]) -> bool {
        let mut fits = true;
        for &place in members {
            for &base in &self.tensors[place].bases {
                let mut read = None;
                walk(&self.equations[base].ast.value, &mut |e| {
                    let inside = self.tensor_read(e).filter(|it| members.contains(it));
                    read = read.or(inside.map(|it| (it, e.span)));
                });
                let Some((other, span)) = read else { continue };
                fits = false;
                let (name, other) = (self.tensors[place].name, self.tensors[other].name);
                self.report.push(
                    Diagnostic::error(
                        Code::BaseCycle,
                        format!("the first coordinate of `{name}` depends on itself"),
                    )
                    .label(span, format!("`{other}` needs this coordinate"))
                    .label(self.equations[base].ast.name.span, "the first coordinate is defined here")
                    .help("start from an input or a constant".to_owned()),
                );
            }
        }
        fits
    }

    /// Members may read each other only where they are defined already: the order of one step, or why not.
    fn steps(&self, members: &[usize], rank: RankId) -> Result<Vec<usize>, Diagnostic> {
        let mut same_step = vec![Vec::new(); members.len()];
        let mut now = Vec::new();
        for (i, &place) in members.iter().enumerate() {
            let Some(step) = self.tensors[place].step else { continue };
            let mut reads = Vec::new();
            self.member_reads(&self.equations[step].ast.value, members, &Atoms::none(), &mut reads);
            for read in reads {
                let lag = self.lag_of(place, &read, rank)?;
                if lag < 0 {
                    return Err(self.later_read(place, &read, rank));
                }
                let other = members.iter().position(|it| *it == read.tensor).filter(|_| lag == 0);
                same_step[i].extend(other);
                now.extend(other.map(|other| (i, other, read.e.span)));
            }
        }
        let order = components(&same_step);
        let stuck = order.iter().find(|it| it.len() > 1 || same_step[it[0]].contains(&it[0]));
        if let Some(stuck) = stuck {
            let names: Vec<usize> = stuck.iter().map(|it| members[*it]).collect();
            let message = format!("{} within one step of `{}`", self.cycle_of(&names), self.ranks.name(rank));
            let inside = now.iter().filter(|(one, other, _)| stuck.contains(one) && stuck.contains(other));
            let mut error = Diagnostic::error(Code::Cycle, message);
            for (_, other, span) in inside.take(MAX_SHOWN) {
                error = error
                    .label(*span, format!("needs `{}` of the same step", self.tensors[members[*other]].name));
            }
            return Err(error.help(CYCLE_HELP.to_owned()));
        }
        Ok(order.into_iter().flatten().map(|it| members[it]).collect())
    }

    fn member_reads<'e>(
        &self,
        e: &'e Expr,
        members: &[usize],
        bound: &Atoms,
        reads: &mut Vec<MemberRead<'e>>,
    ) {
        if let Some(tensor) = self.tensor_read(e).filter(|it| members.contains(it)) {
            reads.push(MemberRead { tensor, e, bound: bound.clone() });
        }
        let ranks = bound_ranks(e).iter().filter_map(|it| match self.names.get(it.text.as_str())?.what {
            What::Rank(id) => Some(id),
            What::Input(_) | What::Defined(_) | What::Param(_) => None,
        });
        let bound = bound.or(&self.ranks.atoms(&ranks.collect::<Vec<_>>()));
        children(e).into_iter().for_each(|it| self.member_reads(it, members, &bound, reads));
    }

    /// How many steps before the current one the coordinate was written that is read.
    fn lag_of(&self, place: usize, read: &MemberRead<'_>, rank: RankId) -> Result<i64, Diagnostic> {
        let dims = self.tensors[read.tensor].dims.as_deref().unwrap_or_default();
        let name = self.ranks.name(rank);
        let Some((axis, dim)) = dims.iter().enumerate().find(|(_, it)| it.rank == rank) else { return Ok(0) };
        let coordinate = match &read.e.kind {
            ExprKind::Read { coords, .. } => coords.get(axis),
            ExprKind::Reindex { coords, .. } => {
                let own = |text: &str| match self.names.get(text).map(|it| it.what) {
                    Some(What::Rank(id)) => {
                        self.ranks.get(id).atoms.common(&self.ranks.get(rank).atoms).is_some()
                    }
                    Some(What::Input(_) | What::Defined(_) | What::Param(_)) | None => false,
                };
                let found = coords.iter().find(|(rank, _)| own(&rank.text));
                if let Some((part, e)) = found.filter(|(part, _)| part.text != name) {
                    return Err(self.not_a_step(place, read, rank, part.span.to(e.span), Some(e)));
                }
                found.map(|(_, e)| e)
            }
            ExprKind::Name(_) | ExprKind::Bars(_) => None,
            ExprKind::Int(_)
            | ExprKind::Real(_)
            | ExprKind::Bool(_)
            | ExprKind::Inf
            | ExprKind::Pi
            | ExprKind::Call { .. }
            | ExprKind::Select { .. }
            | ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::Compare(..)
            | ExprKind::If(..)
            | ExprKind::Where(..)
            | ExprKind::Else(..)
            | ExprKind::Refused => None,
        };
        if read.bound.common(&self.ranks.get(rank).atoms).is_some() {
            return Err(self.not_a_step(place, read, rank, read.e.span, None));
        }
        match coordinate.map(|e| (e, shifted(e))) {
            None => Ok(dim.lag),
            Some((_, Some((text, shift)))) if text == name => Ok(dim.lag.saturating_sub(shift)),
            Some((e, _)) => Err(self.not_a_step(place, read, rank, e.span, Some(e))),
        }
    }

    fn not_a_step(
        &self,
        place: usize,
        read: &MemberRead<'_>,
        rank: RankId,
        at: Span,
        e: Option<&Expr>,
    ) -> Diagnostic {
        let (name, other, rank) =
            (self.tensors[place].name, self.tensors[read.tensor].name, self.ranks.name(rank));
        let mut data = false;
        e.into_iter().for_each(|e| {
            walk(e, &mut |it| {
                let read = read_name(it).and_then(|it| self.names.get(it));
                data |= read.is_some_and(|it| matches!(it.what, What::Input(_) | What::Defined(_)));
            });
        });
        if data {
            return Diagnostic::error(
                Code::DataIndexRead,
                "a tensor may not read its own earlier coordinate at a data index",
            )
            .label(at, format!("which `{rank}` this is depends on data"))
            .label(self.tensors[place].span, format!("`{name}` is defined here"))
            .help("walk by steps instead: `up[s+1, t] = parent[up[s, t]]`".to_owned());
        }
        Diagnostic::error(Code::Cycle, format!("cyclic definition: `{name}` needs `{other}` at a coordinate that is not `{rank}` plus a constant"))
            .label(at, format!("not `{rank}` plus a constant"))
            .label(self.tensors[place].span, format!("`{name}` is defined here"))
            .help(format!("a recurrence along `{rank}` reads itself at `{rank}`, `{rank} - 1`, …; what needs all coordinates is another tensor's equation"))
    }

    fn later_read(&self, place: usize, read: &MemberRead<'_>, rank: RankId) -> Diagnostic {
        let (name, other, rank) =
            (self.tensors[place].name, self.tensors[read.tensor].name, self.ranks.name(rank));
        Diagnostic::error(
            Code::LaterRead,
            format!("`{name}` reads `{other}` at a later coordinate than the one being defined"),
        )
        .label(read.e.span, "not yet defined")
        .label(self.tensors[place].span, format!("`{name}` is defined here"))
        .help(format!("backwards in `{rank}`, read the inputs at `|{rank}| - 1 - {rank}`"))
    }

    fn cycle(&self, members: &[usize]) -> Diagnostic {
        let mut error = Diagnostic::error(Code::Cycle, self.cycle_of(members));
        for place in members.iter().take(MAX_SHOWN) {
            error = error.label(self.tensors[*place].span, "needs itself");
        }
        error.help(CYCLE_HELP.to_owned())
    }

    fn cycle_of(&self, members: &[usize]) -> String {
        let names: Vec<String> =
            members.iter().take(MAX_SHOWN).map(|it| format!("`{}`", self.tensors[*it].name)).collect();
        let more = if members.len() > MAX_SHOWN { ", …" } else { "" };
        format!("cyclic definition of {}{more}", names.join(", "))
    }
}

/// A read of a member of a group in a step of another.
struct MemberRead<'e> {
    tensor: usize,
    e: &'e Expr,
    /// The atoms that reductions and functions around it bind.
    bound: Atoms,
}

/// Which of several reasons says most.
fn weight(code: Code) -> u8 {
    [Code::DataIndexRead, Code::LaterRead]
        .iter()
        .position(|it| *it == code)
        .map_or(0, |it| if it == 0 { 1 } else { 2 })
}
