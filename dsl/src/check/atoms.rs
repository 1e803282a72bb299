//! Sets of atoms, the ranks without parts that expressions are functions of.

use std::rc::Rc;

/// A rank of a kernel, or one that a function body declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RankId(pub(super) u32);

impl RankId {
    /// Its place in a table of ranks.
    pub(super) fn idx(self) -> usize {
        self.0 as usize
    }
}

/// A set of atoms, sorted. Copies share their storage, for most expressions have the set of a part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Atoms(Rc<[RankId]>);

impl Default for Atoms {
    fn default() -> Atoms {
        Atoms::none()
    }
}

impl Atoms {
    /// No atoms.
    pub(super) fn none() -> Atoms {
        Atoms(Rc::from([]))
    }

    /// The set of these, in any order.
    pub(super) fn of(mut atoms: Vec<RankId>) -> Atoms {
        atoms.sort_unstable();
        atoms.dedup();
        Atoms(atoms.into())
    }

    /// Its elements, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = RankId> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has that one.
    pub(super) fn contains(&self, atom: RankId) -> bool {
        self.0.binary_search(&atom).is_ok()
    }

    /// Whether it has all of the other's.
    pub(super) fn covers(&self, other: &Atoms) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || other.iter().all(|it| self.contains(it))
    }

    /// One that both have.
    pub(super) fn common(&self, other: &Atoms) -> Option<RankId> {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        few.iter().find(|it| many.contains(*it))
    }

    /// Those of either.
    pub(super) fn or(&self, other: &Atoms) -> Atoms {
        if self.covers(other) {
            self.clone()
        } else if other.covers(self) {
            other.clone()
        } else {
            Atoms::of(self.iter().chain(other.iter()).collect())
        }
    }

    /// Those that the other lacks.
    pub(super) fn minus(&self, other: &Atoms) -> Atoms {
        if self.common(other).is_none() {
            return self.clone();
        }
        Atoms(self.iter().filter(|it| !other.contains(*it)).collect())
    }
}
