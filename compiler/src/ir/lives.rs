//! How much is held at the same time, by something that has one definition and uses further on.

/// What is held from a position to another, and how much it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// Where it is defined.
    pub(crate) first: usize,
    /// Where it is used last.
    pub(crate) last: usize,
    /// What it takes.
    pub(crate) words: u32,
}

/// The most that is held at the same time. What a loop reads of what is defined before it lives until its last round; loops
/// are given by their first and last positions, those inside before those around them.
pub(crate) fn most_at_once(lives: impl IntoIterator<Item = Life>, loops: &[(usize, usize)]) -> u32 {
    let mut changes: Vec<(usize, i64)> = Vec::new();
    for Life { first, mut last, words } in lives {
        for &(start, end) in loops {
            if first < start && (start..=end).contains(&last) {
                last = end;
            }
        }
        changes.push((first, words.into()));
        changes.push((last, -i64::from(words)));
    }
    // What is used last where something else is defined makes room for it.
    changes.sort_unstable();
    let (mut held, mut most) = (0, 0);
    for (_, by) in changes {
        held += by;
        most = most.max(held);
    }
    u32::try_from(most).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loop_reads_lives_to_its_end() {
        let lives = [(0, 3, 2), (3, 4, 5), (4, 6, 1)].map(|(first, last, words)| Life { first, last, words });
        assert_eq!(most_at_once(lives, &[]), 5);
        assert_eq!(most_at_once(lives, &[(2, 5)]), 7);
    }
}
