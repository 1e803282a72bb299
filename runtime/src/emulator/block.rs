//! A block of threads: its warps, its shared memory, and the loop that runs them.

use attnc_ptx::Op;

use super::barrier::Barriers;
use super::bulk::Load;
use super::exec::{Cx, Next};
use super::fault::{Fault, Problem, Result, Site, Trouble, Waiter};
use super::launch::{Launch, Report};
use super::mbarrier::Mbarriers;
use super::memory::DeviceMemory;
use super::order::Order;
use super::program::{Decoded, SHARED_START};
use super::race::Access;
use super::schedule::Scheduler;
use super::shared::Shared;
use super::warp::{LANES, Strand, Wait, Warp};
use super::warpgroup::Warpgroups;

/// What the warps of a block share.
pub(super) struct Block<'a> {
    pub(super) decoded: &'a Decoded,
    pub(super) launch: &'a Launch,
    pub(super) memory: &'a mut DeviceMemory,
    /// The arguments.
    pub(super) params: &'a [u8],
    /// Its place in the grid.
    pub(super) index: [u32; 3],
    pub(super) shared: Shared,
    pub(super) dynamic_shared: u64,
    pub(super) barriers: Barriers,
    pub(super) mbarriers: Mbarriers,
    /// The copies of tensors that are under way.
    pub(super) loads: Vec<Load>,
    pub(super) warpgroups: Warpgroups,
    pub(super) order: Order,
    /// The warps that have not ended.
    pub(super) live: u32,
    pub(super) report: &'a mut Report,
}

/// What a launch gives to each of its blocks.
pub(super) struct Setting<'a> {
    pub(super) decoded: &'a Decoded,
    pub(super) launch: &'a Launch,
    pub(super) params: &'a [u8],
    pub(super) dynamic_shared: u64,
    /// The least bytes of an access to shared memory.
    pub(super) grain: u64,
}

impl<'a> Block<'a> {
    /// Runs one block to its end.
    pub(super) fn run(
        setting: &Setting<'a>,
        index: [u32; 3],
        memory: &'a mut DeviceMemory,
        report: &'a mut Report,
        scheduler: &mut Scheduler,
    ) -> Result<()> {
        let Setting { decoded, launch, params, dynamic_shared, grain } = *setting;
        let threads: u32 = launch.block.iter().product();
        let count = threads.div_ceil(LANES as u32) as usize;
        let end = (decoded.dynamic_start + dynamic_shared).max(decoded.static_shared).max(SHARED_START);
        let mut block = Block {
            decoded,
            launch,
            memory,
            params,
            index,
            shared: Shared::new(end, count, grain),
            dynamic_shared,
            barriers: Barriers::new(),
            mbarriers: Mbarriers::default(),
            loads: Vec::new(),
            warpgroups: Warpgroups::new(count),
            order: Order::new(count),
            live: u32::MAX >> (32 - count),
            report,
        };
        let mut warps: Vec<Warp> = (0..count)
            .map(|id| {
                let lanes = (threads - (id * LANES) as u32).min(LANES as u32);
                Warp::new(id, u32::MAX >> (32 - lanes), decoded)
            })
            .collect();
        block.report.blocks += 1;
        block.turns(&mut warps, scheduler)
    }

    /// Gives warps their turns until all have ended.
    fn turns(&mut self, warps: &mut [Warp], scheduler: &mut Scheduler) -> Result<()> {
        while self.live != 0 {
            let order = scheduler.order(warps.len());
            let mut moved = false;
            for id in order {
                if warps[id].live == 0 {
                    continue;
                }
                let ran = self.turn(&mut warps[id], scheduler.length())?;
                moved |= ran;
                if ran && scheduler.starts_over() {
                    break;
                }
            }
            if !self.end_loads(scheduler, !moved)? && !moved {
                return Err(self.deadlock(warps));
            }
        }
        if self.loads.is_empty() {
            return Ok(());
        }
        let why = format!("a block ends while {} copies of tensors are under way", self.loads.len());
        Err(self.without_site(Problem::Barrier(why)))
    }

    /// Lets copies of tensors end, some at least if nothing else happens; whether any has.
    fn end_loads(&mut self, scheduler: &mut Scheduler, forced: bool) -> Result<bool> {
        let mut ended = false;
        for position in scheduler.completions(self.loads.len(), forced) {
            let Load { pieces, barrier, arrives, access } = self.loads.remove(position);
            let mut bytes = 0;
            let period = self.mbarriers.agent_of_instructions(barrier).map(|(_, period)| period);
            let period = period.map_err(|trouble| self.without_site(trouble.problem))?;
            for (address, data) in pieces {
                self.shared.end_copy(address, &data, Access { period, ..access });
                bytes += data.len() as u64;
            }
            let (bytes, arrivals) = if arrives { (0, 1) } else { (bytes, 0) };
            let complete = self.mbarriers.complete(barrier, bytes, arrivals);
            complete.map_err(|trouble| self.without_site(trouble.problem))?;
            ended = true;
        }
        Ok(ended)
    }

    /// A fault that no instruction has.
    fn without_site(&self, problem: Problem) -> Box<Fault> {
        Box::new(Fault { kernel: self.decoded.kernel.name.clone(), site: None, problem })
    }

    /// Runs a warp for some instructions, or until it waits; whether it ran at all.
    fn turn(&mut self, warp: &mut Warp, length: u32) -> Result<bool> {
        for ran in 0..length {
            let (id, live) = (warp.id, warp.live);
            let ready = |strand: &Strand| self.is_ready(strand, id, live);
            if warp.live == 0 || !warp.choose(ready) {
                return Ok(ran > 0);
            }
            let strand = warp.strands[0];
            match self.step(warp) {
                Ok(true) => {}
                // It waits, and another strand may run.
                Ok(false) => continue,
                Err(trouble) => return Err(self.fault(warp, strand, *trouble)),
            }
            if self.report.instructions > self.launch.budget {
                let problem = Problem::Budget { instructions: self.launch.budget };
                return Err(self.fault(warp, strand, Trouble { problem, lane: None }));
            }
        }
        Ok(true)
    }

    /// Whether a strand may run.
    fn is_ready(&self, strand: &Strand, warp: usize, live: u32) -> bool {
        match strand.wait {
            None => true,
            Some(Wait::Barrier { id, generation }) => self.barriers.generation(id) > generation,
            Some(Wait::Lanes { here, live: before, .. }) => strand.lanes != here || live != before,
            Some(Wait::Phase { address, parity }) => self.mbarriers.is_over(address, parity),
            Some(Wait::Products { count }) => self.warpgroups.have_issued(warp, count),
        }
    }

    /// Runs an instruction of the first strand of a warp; whether it has left its place.
    fn step(&mut self, warp: &mut Warp) -> std::result::Result<bool, Box<Trouble>> {
        let strand = warp.strands[0];
        if let Some(Wait::Barrier { .. }) = strand.wait {
            warp.strands[0] = Strand { pc: strand.pc + 1, wait: None, ..strand };
            return Ok(true);
        }
        warp.strands[0].wait = None;
        let decoded = self.decoded;
        let Some(code) = decoded.codes.get(strand.pc as usize) else {
            // A kernel ends where its text does.
            self.end(warp, strand.lanes)?;
            return Ok(true);
        };
        let mut lanes = strand.lanes;
        if let Some((reg, holds)) = code.guard {
            let holding = warp.read(reg, lanes, decoded)?;
            let mask = (0..LANES).fold(0, |mask, lane| mask | ((holding[lane] as u32 & 1) << lane));
            lanes &= if holds { mask } else { !mask };
        }
        let next =
            if lanes == 0 { Next::Step } else { Cx { block: self, warp, code, strand, lanes }.execute()? };
        if let Next::Retry(wait) = next {
            warp.strands[0].wait = Some(wait);
            return Ok(false);
        }
        self.report.instructions += 1;
        self.report.thread_instructions += u64::from(lanes.count_ones());
        match next {
            Next::Step => warp.strands[0].pc += 1,
            Next::Jump(target) if lanes == strand.lanes => warp.strands[0].pc = target,
            Next::Jump(target) => {
                warp.strands[0] = Strand { pc: strand.pc + 1, lanes: strand.lanes & !lanes, wait: None };
                warp.strands.push(Strand { pc: target, lanes, wait: None });
            }
            Next::End => self.end(warp, lanes)?,
            Next::Wait(wait) => warp.strands[0].wait = Some(wait),
            Next::Retry(_) => {}
        }
        Ok(true)
    }

    /// Ends some lanes of the first strand; others of it go on.
    fn end(&mut self, warp: &mut Warp, lanes: u32) -> std::result::Result<(), Box<Trouble>> {
        let strand = &mut warp.strands[0];
        strand.lanes &= !lanes;
        strand.pc += 1;
        if strand.lanes == 0 {
            warp.strands.swap_remove(0);
        }
        warp.live &= !lanes;
        if warp.live == 0 {
            if warp.stores.open || warp.stores.waited < warp.stores.closed {
                let why = "a warp ends before its copies have read shared memory".to_owned();
                return Err(Problem::Barrier(why).into());
            }
            self.live &= !(1 << warp.id);
            self.barriers.warp_ended(self.live, &mut self.shared.races)?;
        }
        Ok(())
    }

    /// The fault that an instruction of a strand has.
    fn fault(&self, warp: &Warp, strand: Strand, trouble: Trouble) -> Box<Fault> {
        let Trouble { mut problem, lane } = trouble;
        #[allow(clippy::wildcard_enum_match_arm, reason = "most problems name no other instruction")]
        match &mut problem {
            Problem::Race { other: by, .. }
            | Problem::InFlight { by, .. }
            | Problem::Proxy { by, .. }
            | Problem::Locked { by, .. } => {
                *by = by.parse().map_or_else(|_| by.clone(), |pc| self.decoded.text(pc));
            }
            _ => {}
        }
        let site = Site {
            pc: strand.pc as usize,
            text: self.decoded.text(strand.pc as usize),
            block: self.index,
            warp: warp.id as u32,
            lanes: strand.lanes,
            lane,
            thread: lane.map(|lane| self.thread(warp.id * LANES + lane as usize)),
        };
        Box::new(Fault { kernel: self.decoded.kernel.name.clone(), site: Some(site), problem })
    }

    /// The place of a thread in its block.
    pub(super) fn thread(&self, linear: usize) -> [u32; 3] {
        let [x, y, _] = self.launch.block;
        let linear = linear as u32;
        [linear % x, linear / x % y, linear / (x * y)]
    }

    /// What all strands wait for.
    fn deadlock(&self, warps: &[Warp]) -> Box<Fault> {
        let mut waiting = Vec::new();
        for (warp, strand) in warps.iter().flat_map(|warp| warp.strands.iter().map(move |it| (warp, it))) {
            let why = match strand.wait {
                Some(Wait::Barrier { id, .. }) => self.barriers.state(id),
                Some(Wait::Lanes { wanted, .. }) => {
                    format!("lanes {:#010x} do not come", wanted & !strand.lanes)
                }
                Some(Wait::Phase { address, .. }) => self.mbarriers.state(address),
                Some(Wait::Products { .. }) => {
                    "other warps of its group have not issued as many products".to_owned()
                }
                None => "it may run".to_owned(),
            };
            let (pc, text) = (strand.pc as usize, self.decoded.text(strand.pc as usize));
            waiting.push(Waiter { warp: warp.id as u32, lanes: strand.lanes, pc, text, why });
        }
        self.without_site(Problem::Deadlock { waiting })
    }
}

/// The least bytes of an access to shared memory that a kernel makes.
pub(super) fn grain(decoded: &Decoded) -> u64 {
    let bytes = decoded.codes.iter().filter_map(|code| {
        #[allow(clippy::wildcard_enum_match_arm, reason = "other accesses have 4 bytes or more")]
        match code.op {
            Op::Ld { ty, .. } | Op::St { ty, .. } => Some(attnc_ptx::types::Type::from(ty).bits() / 8),
            _ => None,
        }
    });
    bytes.min().unwrap_or(4).min(4).into()
}
