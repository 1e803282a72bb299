//! In which order warps and blocks run, and for how long.

use super::launch::Schedule;

/// The state of a schedule.
#[derive(Debug)]
pub(super) struct Scheduler {
    schedule: Schedule,
    /// The state of a small generator, xorshift.
    state: u64,
    turns: u64,
}

impl Scheduler {
    pub(super) fn new(schedule: Schedule) -> Scheduler {
        let seed = match schedule {
            Schedule::RoundRobin => 0,
            Schedule::Random(seed) | Schedule::Adversarial(seed) => seed,
        };
        // Seeds that lie close together have to give orders that do not, and 0 must not stay 0.
        let state = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        Scheduler { schedule, state, turns: 0 }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % limit.max(1)
    }

    /// The positions up to `count` in the order in which they have their turns.
    pub(super) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        match self.schedule {
            Schedule::RoundRobin => {}
            Schedule::Random(_) => {
                for last in (1..count).rev() {
                    order.swap(last, self.below(last as u64 + 1) as usize);
                }
            }
            Schedule::Adversarial(seed) => {
                // The victim changes, so that none is ever first for long.
                self.turns += 1;
                let victim = (seed.wrapping_add(self.turns / 64) % count.max(1) as u64) as usize;
                order.reverse();
                order.retain(|it| *it != victim);
                order.push(victim);
            }
        }
        order
    }

    /// The instructions of a turn.
    pub(super) fn length(&mut self) -> u32 {
        match self.schedule {
            Schedule::RoundRobin => 64,
            Schedule::Random(_) => 1 + self.below(400) as u32,
            Schedule::Adversarial(_) => 4096,
        }
    }

    /// Whether a turn is followed by the first in order, not by the next.
    pub(super) fn starts_over(&self) -> bool {
        matches!(self.schedule, Schedule::Adversarial(_))
    }

    /// The positions of what is asynchronous that ends now, the last first; `forced` if all wait for it.
    pub(super) fn completions(&mut self, count: usize, forced: bool) -> Vec<usize> {
        let mut ending: Vec<usize> = match self.schedule {
            Schedule::RoundRobin => (0..count).collect(),
            Schedule::Random(_) => (0..count).filter(|_| self.below(10) < 3).collect(),
            Schedule::Adversarial(_) => Vec::new(),
        };
        if forced && ending.is_empty() && count > 0 {
            ending.push(self.below(count as u64) as usize);
        }
        ending.reverse();
        ending
    }
}
