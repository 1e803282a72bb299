//! Four warps that use a tensor core together: they issue the same products in the same order.

use super::fault::{Done, Problem};

/// What a warp issues, as its whole group has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Issue {
    pub(super) pc: u32,
    /// The descriptors, and whether the sums count.
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) adds: bool,
}

/// The products of a group.
#[derive(Debug, Default, Clone)]
struct Group {
    issued: Vec<Issue>,
    /// How many of them each warp has issued.
    counts: [usize; 4],
}

/// The groups of a block.
#[derive(Debug, Default)]
pub(super) struct Warpgroups {
    all: Vec<Group>,
}

impl Warpgroups {
    pub(super) fn new(warps: usize) -> Warpgroups {
        Warpgroups { all: vec![Group::default(); warps.div_ceil(4)] }
    }

    /// A warp issues a product.
    pub(super) fn issue(&mut self, warp: usize, issue: Issue) -> Done {
        let group = &mut self.all[warp / 4];
        let count = &mut group.counts[warp % 4];
        match group.issued.get(*count) {
            None => group.issued.push(issue),
            Some(other) if *other == issue => {}
            Some(other) => {
                let why = if other.pc == issue.pc {
                    "the warps of a group give this product different operands".to_owned()
                } else {
                    format!("another warp of the group has issued the product at pc {} instead", other.pc)
                };
                return Err(Problem::Barrier(why).into());
            }
        }
        *count += 1;
        Ok(())
    }

    /// How many products a warp has issued.
    pub(super) fn count(&self, warp: usize) -> usize {
        self.all[warp / 4].counts[warp % 4]
    }

    /// Whether all four warps of a group have issued so many.
    pub(super) fn have_issued(&self, warp: usize, count: usize) -> bool {
        self.all[warp / 4].counts.iter().all(|issued| *issued >= count)
    }
}
