//! The sixteen barriers of a block.

use super::fault::{Done, Problem};
use super::race::{Clock, NOTHING, Races, join};
use super::warp::LANES;

/// A barrier between uses or in one.
#[derive(Debug, Clone)]
struct Barrier {
    /// How often it was passed.
    generation: u64,
    /// The threads that this use waits for; all of the block where none are given.
    expected: Option<u32>,
    arrived: u32,
    /// The warps that have come, and those of them that wait.
    came: u32,
    waiting: u32,
    /// What those know that have come.
    known: Clock,
}

impl Barrier {
    /// One that was not used yet.
    const FREE: Barrier =
        Barrier { generation: 0, expected: None, arrived: 0, came: 0, waiting: 0, known: NOTHING };
}

/// The barriers.
#[derive(Debug)]
pub(super) struct Barriers {
    all: Vec<Barrier>,
}

impl Barriers {
    pub(super) fn new() -> Barriers {
        Barriers { all: vec![Barrier::FREE; 16] }
    }

    /// How often a barrier was passed.
    pub(super) fn generation(&self, id: usize) -> u64 {
        self.all[id].generation
    }

    /// A warp comes to a barrier, and waits or not. `live` are the warps that have not ended.
    pub(super) fn arrive(&mut self, call: Arrival, live: u32, races: &mut Races) -> Done {
        let Arrival { id, warp, expected, waits } = call;
        let barrier = &mut self.all[id];
        if barrier.came != 0 && barrier.expected != expected {
            let name = |threads: Option<u32>| threads.map_or("all".to_owned(), |threads| threads.to_string());
            let (mine, theirs) = (name(expected), name(barrier.expected));
            let why = format!("barrier {id} is taken to be for {mine} threads here, elsewhere for {theirs}");
            return Err(Problem::Barrier(why).into());
        }
        if let Some(threads) =
            expected.filter(|threads| *threads == 0 || !threads.is_multiple_of(LANES as u32))
        {
            return Err(Problem::Barrier(format!("{threads} threads are no whole number of warps")).into());
        }
        if barrier.came >> warp & 1 == 1 && expected.is_none() {
            return Err(Problem::Barrier(format!("a warp comes to barrier {id} twice")).into());
        }
        barrier.expected = expected;
        barrier.arrived += LANES as u32;
        barrier.came |= 1 << warp;
        barrier.waiting |= u32::from(waits) << warp;
        join(&mut barrier.known, &races.clocks[warp]);
        races.tick(warp);
        self.release(id, live, races)
    }

    /// Looks again whether barriers are complete, when a warp has ended.
    pub(super) fn warp_ended(&mut self, live: u32, races: &mut Races) -> Done {
        (0..self.all.len()).try_for_each(|id| self.release(id, live, races))
    }

    /// Lets those go that wait, if all have come.
    fn release(&mut self, id: usize, live: u32, races: &mut Races) -> Done {
        let barrier = &mut self.all[id];
        let complete = match barrier.expected {
            Some(threads) if barrier.arrived > threads => {
                let why =
                    format!("{} threads have come to barrier {id}, which is for {threads}", barrier.arrived);
                return Err(Problem::Barrier(why).into());
            }
            Some(threads) => barrier.arrived == threads,
            None => barrier.came != 0 && live & !barrier.came == 0,
        };
        if complete {
            for warp in super::warp::lanes_of(barrier.waiting) {
                join(&mut races.clocks[warp], &barrier.known);
            }
            let generation = barrier.generation + 1;
            *barrier = Barrier { generation, ..Barrier::FREE };
        }
        Ok(())
    }

    /// How far a barrier is, for people.
    pub(super) fn state(&self, id: usize) -> String {
        let barrier = &self.all[id];
        let expected = barrier.expected.map_or("all".to_owned(), |threads| threads.to_string());
        format!("barrier {id} has seen {} of {expected} threads", barrier.arrived)
    }
}

/// A warp that comes to a barrier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) id: usize,
    pub(super) warp: usize,
    /// The threads that the barrier is for.
    pub(super) expected: Option<u32>,
    /// Whether the warp waits.
    pub(super) waits: bool,
}
