//! Barriers in shared memory: they count arrivals and bytes, and pass from phase to phase.

use std::collections::BTreeMap;

use super::fault::{Done, Problem, Trouble};
use super::race::{Agent, Clock, MAX_MBARRIERS, NOTHING, Races, join};

/// A barrier.
#[derive(Debug, Clone)]
struct Mbarrier {
    /// Its number in the block.
    number: usize,
    /// The arrivals of each phase, and those that this one still awaits.
    count: i64,
    pending: i64,
    /// The bytes that this phase still awaits; more may have come than were announced so far.
    bytes: i64,
    /// The phases that are over.
    phase: u32,
    /// What those know that have arrived, and what they knew when the last phase was over.
    known: Clock,
    released: Clock,
    /// The warp that made it, until a fence lets asynchronous units see it.
    unfenced: Option<usize>,
}

/// The barriers of a block, by address.
#[derive(Debug, Default)]
pub(super) struct Mbarriers {
    all: BTreeMap<u64, Mbarrier>,
    made: usize,
}

impl Mbarriers {
    /// Makes a barrier.
    pub(super) fn init(&mut self, address: u64, count: u64, warp: usize) -> Done {
        if !(1..1 << 20).contains(&count) {
            return Err(Problem::Operand(format!("a phase has 1 to 2^20 - 1 arrivals, not {count}")).into());
        }
        // A barrier made anew keeps its number and phases, so that no copy of before is taken for a new one.
        let before = self.all.get(&address).map(|it| (it.number, it.phase));
        let (number, phase) = before.unwrap_or((self.made, 0));
        self.made += usize::from(before.is_none());
        if number >= MAX_MBARRIERS {
            return Err(Problem::Barrier(format!("more than {MAX_MBARRIERS} barriers in memory")).into());
        }
        let count = count.cast_signed();
        let phase = phase.next_multiple_of(2);
        let barrier = Mbarrier {
            number,
            count,
            pending: count,
            bytes: 0,
            phase,
            known: NOTHING,
            released: NOTHING,
            unfenced: Some(warp),
        };
        self.all.insert(address, barrier);
        Ok(())
    }

    /// Makes it plain memory.
    pub(super) fn inval(&mut self, address: u64) -> Done {
        self.get(address)?;
        self.all.remove(&address);
        Ok(())
    }

    /// A fence of a warp lets asynchronous units see what it made.
    pub(super) fn fence(&mut self, warp: usize) {
        self.all.values_mut().filter(|it| it.unfenced == Some(warp)).for_each(|it| it.unfenced = None);
    }

    fn get(&mut self, address: u64) -> Done<&mut Mbarrier> {
        self.all.get_mut(&address).ok_or_else(|| {
            Problem::Barrier(format!("there is no barrier at shared address {address:#x}")).into()
        })
    }

    /// A warp arrives so many times, after announcing bytes.
    pub(super) fn arrive(&mut self, address: u64, call: Arrive, races: &mut Races) -> Done<u32> {
        let barrier = self.get(address)?;
        let phase = barrier.phase;
        barrier.bytes += call.bytes;
        barrier.pending -= call.count;
        if barrier.pending < 0 {
            let why =
                format!("more than {} arrivals in a phase of the barrier at {address:#x}", barrier.count);
            return Err(Problem::Barrier(why).into());
        }
        join(&mut barrier.known, &races.clocks[call.warp]);
        races.tick(call.warp);
        barrier.pass();
        Ok(phase)
    }

    /// The barrier that a copy tells: who copies, and its period if it ended now.
    pub(super) fn agent(&mut self, address: u64) -> Done<(Agent, u32)> {
        let barrier = self.get(address)?;
        if let Some(warp) = barrier.unfenced {
            let why = format!(
                "the barrier at {address:#x} was made by warp {warp}, and neither fence.mbarrier_init nor fence.proxy.async follows"
            );
            return Err(Problem::Barrier(why).into());
        }
        self.agent_of_instructions(address)
    }

    /// The same for copies that need no fence to see the barrier.
    pub(super) fn agent_of_instructions(&mut self, address: u64) -> Done<(Agent, u32)> {
        let barrier = self.get(address)?;
        Ok((Agent::mbarrier(barrier.number), barrier.phase + 1))
    }

    /// A copy has ended: so many bytes have come, or so many arrivals are made.
    pub(super) fn complete(&mut self, address: u64, bytes: u64, arrivals: i64) -> Done {
        let barrier = self.get(address)?;
        barrier.bytes -= bytes.cast_signed();
        barrier.pending -= arrivals;
        if barrier.pending < 0 {
            return Err(barrier.too_many(address));
        }
        let agent = Agent::mbarrier(barrier.number);
        barrier.known[agent.index()] = barrier.phase + 1;
        barrier.pass();
        Ok(())
    }

    /// Whether the phase of a parity is over.
    pub(super) fn is_over(&self, address: u64, parity: u64) -> bool {
        self.all.get(&address).is_none_or(|it| u64::from(it.phase & 1) != parity & 1)
    }

    /// Whether it is, for a warp that then is ordered after its arrivals and copies.
    pub(super) fn observe(&mut self, address: u64, parity: u64, clock: &mut Clock) -> Done<bool> {
        self.get(address)?;
        let over = self.is_over(address, parity);
        if over {
            join(clock, &self.get(address)?.released);
        }
        Ok(over)
    }

    /// How far a barrier is, for people.
    pub(super) fn state(&self, address: u64) -> String {
        self.all.get(&address).map_or_else(
            || "there is no such barrier".to_owned(),
            |it| {
                let (phase, pending, count, bytes) = (it.phase, it.pending, it.count, it.bytes);
                format!("the barrier at {address:#x} is in phase {phase} and awaits {pending} of {count} arrivals and {bytes} bytes")
            },
        )
    }
}

impl Mbarrier {
    fn too_many(&self, address: u64) -> Box<Trouble> {
        let why = format!("more than {} arrivals in a phase of the barrier at {address:#x}", self.count);
        Problem::Barrier(why).into()
    }

    /// Goes to the next phase if nothing is awaited.
    fn pass(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.count;
            self.released = self.known;
        }
    }
}

/// A warp that arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrive {
    pub(super) warp: usize,
    pub(super) count: i64,
    /// The bytes that it announces.
    pub(super) bytes: i64,
}
