//! What a warp has given to the tensor core of its group, and which registers that still holds.

use std::collections::VecDeque;

/// Products in groups, and the order of registers before them.
#[derive(Debug)]
pub(super) struct Products {
    /// Counts the fences. Before the first one, and read or written since the last, no register is ready for a product.
    pub(super) fences: u32,
    /// The registers that the open group holds, each as often as it stands in its products.
    pub(super) open: Vec<u32>,
    closed: VecDeque<Group>,
    committed: u32,
}

/// A group of products.
#[derive(Debug)]
struct Group {
    held: Vec<u32>,
    /// How many products the warp had issued when it closed the group.
    issued: usize,
}

impl Products {
    pub(super) fn new() -> Products {
        Products { fences: 0, open: Vec::new(), closed: VecDeque::new(), committed: 0 }
    }

    pub(super) fn fence(&mut self) {
        self.fences += 1;
    }

    /// Closes the open group.
    pub(super) fn commit(&mut self, issued: usize) {
        self.closed.push_back(Group { held: std::mem::take(&mut self.open), issued });
        self.committed += 1;
    }

    /// The number of the open group, from 1.
    pub(super) fn open_group(&self) -> u32 {
        self.committed + 1
    }

    /// How many products have to be issued before a wait is over that leaves so many groups.
    pub(super) fn awaited(&self, left: usize) -> usize {
        let last = self.closed.len().checked_sub(left + 1);
        last.map_or(0, |last| self.closed[last].issued)
    }

    /// Ends all groups but so many: the registers that they held, and the number of the last that ended.
    pub(super) fn retire(&mut self, left: usize) -> (Vec<u32>, u32) {
        let mut held = Vec::new();
        while self.closed.len() > left {
            held.extend(self.closed.pop_front().map(|group| group.held).unwrap_or_default());
        }
        (held, self.committed - self.closed.len() as u32)
    }
}
