//! What running something takes, and how that adds up.

use super::Footprint;

/// What running something takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Cost {
    /// Slots in which it computes.
    pub(super) slots: f64,
    /// Those of the task that takes most.
    pub(super) longest: f64,
    /// Operations on numbers.
    pub(super) flops: f64,
    /// Different bytes that are touched, by buffer.
    pub(super) touched: Vec<f64>,
    /// Bytes that each cache gets from beyond.
    pub(super) traffic: Vec<f64>,
}

/// What the caches hold, nearest first, for one thread; a share of what they have, for they hold other things, too.
pub(super) type Caches = Vec<f64>;

impl Cost {
    pub(super) fn none(buffers: usize, caches: &Caches) -> Cost {
        Cost { touched: vec![0.0; buffers], traffic: vec![0.0; caches.len()], ..Cost::default() }
    }

    /// All that is touched.
    pub(super) fn bytes(&self) -> f64 {
        self.touched.iter().sum()
    }

    /// One after the other; what both touch is the same.
    pub(super) fn then(&mut self, next: &Cost, caches: &Caches) {
        self.slots += next.slots;
        self.flops += next.flops;
        self.touched.iter_mut().zip(&next.touched).for_each(|(a, b)| *a = a.max(*b));
        let bytes = self.bytes();
        for ((moved, more), cache) in self.traffic.iter_mut().zip(&next.traffic).zip(caches) {
            *moved = if bytes <= *cache { bytes } else { *moved + more };
        }
    }

    /// Rounds of a loop, of which `self` is the sum, what moves along with it added up, what does not the most of all;
    /// `largest` is what one round touches at most.
    pub(super) fn looped(&mut self, largest: f64, most: &[f64], caches: &Caches) {
        self.touched.iter_mut().zip(most).for_each(|(bytes, most)| *bytes = bytes.min(*most));
        let bytes = self.bytes();
        for (moved, cache) in self.traffic.iter_mut().zip(caches) {
            // What one round leaves in a cache is there for the next.
            if largest <= *cache {
                *moved = moved.min(bytes);
            }
        }
    }

    /// A round more, or so many alike.
    pub(super) fn round(&mut self, round: &Cost, times: f64, moves: &[bool]) {
        self.slots += times * round.slots;
        self.flops += times * round.flops;
        for ((all, bytes), moves) in self.touched.iter_mut().zip(&round.touched).zip(moves) {
            *all = if *moves { *all + times * bytes } else { all.max(*bytes) };
        }
        self.traffic.iter_mut().zip(&round.traffic).for_each(|(all, it)| *all += times * it);
    }

    /// How many times longer threads take than if all had the same to do.
    pub(super) fn imbalance(&self, threads: f64) -> f64 {
        let even = self.slots / threads;
        if even > 0.0 { ((even + self.longest * (1.0 - 1.0 / threads)) / even).min(threads) } else { 1.0 }
    }
}

impl Footprint {
    /// Takes note of what something at a depth of loops touches.
    pub(super) fn note(&mut self, depth: usize, bytes: f64, scratch: f64) {
        let place = match depth {
            0 => &mut self.task,
            1 => &mut self.tile,
            2 => &mut self.strip,
            _ => return,
        };
        *place = place.max(bytes);
        self.scratch = self.scratch.max(scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bytes: [f64; 2]) -> Cost {
        let all = bytes.iter().sum();
        Cost { slots: 1.0, touched: bytes.to_vec(), traffic: vec![all, all], ..Cost::default() }
    }

    #[test]
    fn what_stays_in_a_cache_is_moved_once() {
        let caches = vec![100.0, 1000.0];
        let mut all = Cost::none(2, &caches);
        // 200 bytes that do not move along, 50 that do.
        all.round(&round([200.0, 50.0]), 10.0, &[false, true]);
        all.looped(250.0, &[1e9, 1e9], &caches);
        assert_eq!((all.slots, all.bytes()), (10.0, 700.0));
        assert_eq!(all.traffic, [2500.0, 700.0]);
    }

    #[test]
    fn no_more_is_touched_than_there_is() {
        let caches = vec![1000.0];
        let mut all = Cost::none(1, &caches);
        all.round(&Cost { touched: vec![80.0], traffic: vec![80.0], ..Cost::default() }, 10.0, &[true]);
        all.looped(80.0, &[320.0], &caches);
        assert_eq!((all.bytes(), all.traffic[0]), (320.0, 320.0));
    }
}
