//! Rank declarations to a table: what each rank is and which atoms it stands for.
//!
//! After [`Ranks::resolve`] no composite or alias is defined by itself; one that was is an atom, so
//! that nothing else is blamed for it.

use crate::ast::{Expr, Part};
use crate::check::atoms::{Atoms, RankId};
use crate::check::report::Report;
use crate::diag::{Code, Diagnostic, Span};

/// How many parts all composite ranks of a kernel may have together.
const MAX_ATOMS: usize = 1 << 20;

/// The ranks of a kernel; those that inlined functions declare follow.
#[derive(Default)]
pub(super) struct Ranks<'a> {
    list: Vec<RankInfo<'a>>,
    n_of_kernel: usize,
}

/// What is known of a rank.
pub(super) struct RankInfo<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Where it is declared.
    pub(super) span: Span,
    /// Where its extent comes from.
    pub(super) def: Def<'a>,
    /// Itself, or what its parts stand for.
    pub(super) atoms: Atoms,
    /// Some tensor or expression needs its extent.
    pub(super) used: bool,
}

/// A declaration with its names resolved.
#[derive(Clone)]
pub(super) enum Def<'a> {
    /// `rank n`
    Symbolic,
    /// `rank j = 2 * w + 1`
    Fixed(&'a Expr),
    /// `rank n <= 8192`
    Bounded(i64, Span),
    /// `rank n2: n`
    Alias(RankId),
    /// `rank h = (hk, g)`
    Composite(Vec<RankId>),
}

impl<'a> Ranks<'a> {
    /// Adds a rank; it is an atom until [`Ranks::resolve`].
    pub(super) fn add(&mut self, name: &'a str, span: Span, def: Def<'a>) -> RankId {
        let id = RankId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(RankInfo { name, span, def, atoms: Atoms::of(vec![id]), used: false });
        id
    }

    /// What is known of that rank.
    pub(super) fn get(&self, id: RankId) -> &RankInfo<'a> {
        &self.list[id.idx()]
    }

    /// Gives a rank another definition.
    pub(super) fn define(&mut self, id: RankId, def: Def<'a>) {
        self.list[id.idx()].def = def;
    }

    /// Its name.
    pub(super) fn name(&self, id: RankId) -> &'a str {
        self.get(id).name
    }

    /// The ranks that the kernel itself declares.
    pub(super) fn of_kernel(&self) -> impl Iterator<Item = (RankId, &RankInfo<'a>)> {
        (0..).map(RankId).zip(&self.list[..self.n_of_kernel])
    }

    /// Notes that something needs its extent.
    pub(super) fn mark_used(&mut self, id: RankId) {
        self.list[id.idx()].used = true;
    }

    /// Forgets what declarations need of each other; only what tensors and expressions need counts.
    pub(super) fn clear_used(&mut self) {
        self.list.iter_mut().for_each(|it| it.used = false);
    }

    /// Notes that the parts of a composite and the original of an alias are needed where these are.
    pub(super) fn spread_used(&mut self) {
        let mut todo: Vec<RankId> = self.of_kernel().filter(|(_, it)| it.used).map(|(id, _)| id).collect();
        while let Some(id) = todo.pop() {
            for below in self.definers(id).to_vec() {
                if !self.get(below).used {
                    self.mark_used(below);
                    todo.push(below);
                }
            }
        }
    }

    /// The atoms that several ranks stand for.
    pub(super) fn atoms(&self, ranks: &[RankId]) -> Atoms {
        match ranks {
            [one] => self.get(*one).atoms.clone(),
            several => Atoms::of(several.iter().flat_map(|it| self.get(*it).atoms.iter()).collect()),
        }
    }

    /// Whether that part, or the rank itself, is among the parts of a rank.
    pub(super) fn has_part(&self, mut rank: RankId, part: RankId) -> bool {
        let wanted = &self.get(part).atoms;
        while rank != part {
            let Def::Composite(parts) = &self.get(rank).def else { return false };
            let Some(&inner) = parts.iter().find(|it| self.get(**it).atoms.covers(wanted)) else {
                return false;
            };
            rank = inner;
        }
        true
    }

    /// Whether it has the extent of a composite, but not its parts.
    pub(super) fn is_alias_of_composite(&self, rank: RankId) -> bool {
        matches!(self.get(rank).def, Def::Alias(of) if matches!(self.get(of).def, Def::Composite(_)))
    }

    /// Makes a rank of a function body stand for its parts.
    pub(super) fn compose(&mut self, id: RankId, parts: &[RankId], report: &mut Report) {
        let atoms = self.atoms(parts);
        if atoms.len() < parts.iter().map(|it| self.get(*it).atoms.len()).sum() {
            report.push(self.part_twice(id, parts));
        }
        self.list[id.idx()].atoms = atoms;
    }

    /// Finds the atoms of every composite, and what is defined by itself.
    pub(super) fn resolve(&mut self, report: &mut Report) {
        self.n_of_kernel = self.list.len();
        let mut n_atoms = 0;
        for id in self.post_order(report) {
            if let Def::Composite(parts) = &self.get(id).def {
                let sum: usize = parts.iter().map(|it| self.get(*it).atoms.len()).sum();
                n_atoms += sum;
                if n_atoms > MAX_ATOMS {
                    let message = format!("the composite ranks have more than {MAX_ATOMS} parts in all");
                    report.push(
                        Diagnostic::error(Code::TooLarge, message).label(self.get(id).span, "with this one"),
                    );
                    return;
                }
                let atoms = self.atoms(parts);
                if atoms.len() < sum {
                    report.push(self.part_twice(id, parts));
                    self.list[id.idx()].def = Def::Symbolic;
                } else {
                    self.list[id.idx()].atoms = atoms;
                }
            }
        }
    }

    /// The kernel's ranks, each after those that define it. Cycles are reported and cut.
    fn post_order(&mut self, report: &mut Report) -> Vec<RankId> {
        let (mut order, mut open, mut done) =
            (Vec::new(), vec![false; self.list.len()], vec![false; self.list.len()]);
        for start in (0..).map(RankId).take(self.list.len()) {
            let mut path = vec![(start, 0)];
            while let Some((id, next)) = path.last_mut() {
                let id = *id;
                let below = self.definers(id).get(*next).copied();
                *next += 1;
                match below {
                    _ if done[id.idx()] => drop(path.pop()),
                    None => {
                        done[id.idx()] = true;
                        order.push(id);
                        path.pop();
                    }
                    Some(below) => {
                        open[id.idx()] = true;
                        if open[below.idx()] && !done[below.idx()] {
                            report.push(self.by_itself(below));
                            self.list[id.idx()].def = Def::Symbolic;
                        } else {
                            path.push((below, 0));
                        }
                    }
                }
            }
        }
        order
    }

    fn definers(&self, id: RankId) -> &[RankId] {
        match &self.get(id).def {
            Def::Composite(parts) => parts,
            Def::Alias(of) => std::slice::from_ref(of),
            Def::Symbolic | Def::Fixed(_) | Def::Bounded(..) => &[],
        }
    }

    fn by_itself(&self, id: RankId) -> Diagnostic {
        let name = self.name(id);
        Diagnostic::error(Code::RankCycle, format!("rank `{name}` is defined by itself"))
            .label(self.get(id).span, "a part or an alias of itself")
    }

    fn part_twice(&self, id: RankId, parts: &[RankId]) -> Diagnostic {
        let mut seen = Atoms::none();
        let twice = parts.iter().find(|it| {
            let atoms = &self.get(**it).atoms;
            let again = seen.common(atoms).is_some();
            seen = seen.or(atoms);
            again
        });
        let part = twice.map_or("", |it| self.name(*it));
        Diagnostic::error(Code::RankTwice, format!("rank `{}` has the part `{part}` twice", self.name(id)))
            .label(self.get(id).span, "the parts of a composite are different ranks")
            .help(format!("declare a copy, `rank {part}2: {part}`, and take that"))
    }

    /// Reports ranks of one tensor that have an atom in common.
    pub(super) fn check_disjoint(&self, tensor: &str, ranks: &[(RankId, Span)], report: &mut Report) {
        let mut first = std::collections::HashMap::new();
        for &(rank, span) in ranks {
            for atom in self.get(rank).atoms.iter() {
                let Some((other, place)) =
                    first.insert(atom, (rank, span)).filter(|it| it.1.start != span.start)
                else {
                    continue;
                };
                let (name, other) = (self.name(rank), self.name(other));
                let what = if name == other {
                    format!("has the rank `{name}` twice")
                } else {
                    format!("has the ranks `{other}` and `{name}`, which overlap")
                };
                report.push(
                    Diagnostic::error(Code::RankOverlap, format!("`{tensor}` {what}"))
                        .label(span, "overlaps")
                        .label(place, "this one")
                        .help(format!("declare an alias, `rank {name}2: {name}`, and use `{name}2` here")),
                );
                break;
            }
        }
    }
}

/// The parts that declare a rank by having an extent.
pub(super) fn fixed_parts(parts: &[Part]) -> impl Iterator<Item = (&Part, &Expr)> {
    parts.iter().filter_map(|it| it.extent.as_ref().map(|extent| (it, extent)))
}
